"""Evaluations that go on from earlier ones: which is which, where they start, and what becomes of a lost checkpoint.

An individual asks for it by two attributes: `epochs`, the total when its evaluation is done, and `start_from`, the
number of the evaluation to go on from. A checkpoint is a cache: one that is missing is made again, as the record tells.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from deap_hpo.checks import check_integer
from deap_hpo.closures import own_values
from deap_hpo.errors import InputError, warn
from deap_hpo.evaluation import Direction, Evaluation, Request
from deap_hpo.evaluator import Evaluator, PlainFunction
from deap_hpo.execution.executors import Executor, in_this_process
from deap_hpo.interruption import interruptions_kept, undisturbed
from deap_hpo.records.entries import Entry, find_best, genes_of
from deap_hpo.records.record import Record
from deap_hpo.seeding import generators_kept

if TYPE_CHECKING:
    from deap_hpo.training.checkpoints import CheckpointStore


def check_whole(evaluator: Evaluator, asked_by: str) -> None:
    """Check that what evaluates may train in parts.

    Raises:
        InputError: It looks at whole trainings.
    """
    if evaluator.whole_trainings:
        raise InputError(
            f"{asked_by} asks for trainings in parts, which go on from where another one has stopped. A trainer with "
            "keep_best or patience looks at whole trainings; leave them out."
        )


def check_parts(evaluator: Evaluator, executor: Executor | None, asked_by: str) -> None:
    """Check that what evaluates can train in parts, and that its checkpoints are seen wherever it does so.

    Args:
        evaluator: What evaluates.
        executor: Where it does so; None for this process.
        asked_by: Who asks for parts, for the error.

    Raises:
        InputError: It cannot, or they are not.

    Example:
        >>> check_parts(PlainFunction(len), None, "Hyperband")
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: Hyperband asks for trainings in parts. That takes a trainer \
(`make_trainer(task)`), or an objective whose function has a parameter named epochs, and one named checkpoint if it \
is to go on where it stopped; got <built-in function len>.
    """
    check_whole(evaluator, asked_by)
    checkpoints = evaluator.checkpoints
    if checkpoints is None and not evaluator.takes_epochs:
        raise InputError(
            f"{asked_by} asks for trainings in parts. That takes a trainer (`make_trainer(task)`), or an objective "
            "whose function has a parameter named epochs, and one named checkpoint if it is to go on where it stopped; "
            f"got {evaluator.brought!r}."
        )
    if checkpoints is not None and not checkpoints.shared and not in_this_process(executor):
        raise InputError(
            "Checkpoints in memory cannot be seen by worker processes: give what evaluates "
            "checkpoints=FolderCheckpoints(folder), or evaluate in this process (SerialExecutor, or an executor of "
            "your own that says in_process = True)."
        )


class Start(NamedTuple):
    """Where an evaluation begins, and how far it goes.

    Attributes:
        epochs: Epochs in all, when it is done; None for as many as what evaluates trains.
        goes_on_from: The evaluation from whose checkpoint it goes on.
        seeded_by: The evaluation whose seed it has: that one, or, without checkpoints, the one that is trained anew.
    """

    epochs: int | None = None
    goes_on_from: Entry | None = None
    seeded_by: Entry | None = None


class Continuations:
    """The evaluations of a run as links of lineages.

    Args:
        record: The run's record.
        executor: Does what has to be done again.
        decode: Gives the hyperparameters of a genome.
    """

    def __init__(self, record: Record, executor: Executor, decode: Callable[[Any], Any]) -> None:
        self._record = record
        self._executor = executor
        self._decode = decode
        self._evaluator: Evaluator  # by `use`, before anything else
        self._called: Any = None
        self._made_of: list[Any] = []
        self._identities: dict[int, tuple[Any, ...]] = {}
        self._first: dict[tuple[Any, ...], int] = {}
        self._again: dict[int, str] = {}  # checkpoints of evaluations that were done again

    def use(self, evaluator: Evaluator) -> None:
        """Set the evaluator; its `epochs` hold for individuals that ask for none.

        What another evaluator gave for a configuration does not answer for this one.
        """
        called = evaluator.brought if isinstance(evaluator, PlainFunction) else evaluator
        made_of = _made_of(called)
        alike = len(made_of) == len(self._made_of) and all(map(operator.is_, made_of, self._made_of))
        if called != self._called and not alike:
            self._first.clear()
        self._evaluator, self._called, self._made_of = evaluator, called, made_of

    def asked_by(self, individual: Any) -> Start:
        """Give what an individual asks for.

        Raises:
            InputError: There is no such evaluation, there are no epochs to add, or the evaluator cannot go on.
        """
        epochs, number = getattr(individual, "epochs", None), getattr(individual, "start_from", None)
        if epochs is None and number is None:
            return Start()
        check_parts(self._evaluator, self._executor, "An individual with `epochs`")
        epochs = check_integer("epochs of an individual", epochs, 1)
        if number is None:
            return Start(epochs)
        if number not in self._record:
            raise InputError(f"start_from must be the number of an evaluation on record; got {number!r}.")
        start = self._record[number]
        if epochs <= self.total(start):
            raise InputError(
                f"epochs must be more than the {self.total(start)} of evaluation {number}, to go on from it; "
                f"got {epochs}."
            )
        if self._checkpoints is not None:
            return Start(epochs, start, start)
        if self._decode(genes_of(individual)) != self._decode(start.genes):
            raise InputError(
                "An evaluation that goes on with other hyperparameters needs what the earlier one has learnt: the "
                f"objective must have a parameter named checkpoint; got {self._evaluator.brought!r}."
            )
        return Start(epochs, None, start)

    @property
    def _checkpoints(self) -> CheckpointStore | None:
        return self._evaluator.checkpoints

    def total(self, entry: Entry) -> int:
        """Epochs trained after an evaluation, those before its start included."""
        return entry.epochs or self._evaluator.epochs or 1

    def cost(self, entry: Entry) -> int:
        """Epochs that an evaluation adds: as planned, or as it took where it is on record; 0 if it was not trained."""
        if entry.duplicate_of is not None or entry.evaluation.status == "infeasible":
            return 0
        evaluation = entry.evaluation
        before = 0 if entry.start_from is None else self.total(self._record[entry.start_from])
        planned = self.total(entry) - before
        if not self._evaluator.takes_epochs:
            return evaluation.trained_epochs or planned
        if evaluation.status == "ok" or not evaluation.curve:
            return planned  # a function may report only some of its epochs, or none
        return min(planned, evaluation.curve[-1].epoch - before + (evaluation.status != "pruned"))

    def answered_by(self, entry: Entry, configuration: Any, *, common: bool) -> int | None:
        """Give the number of the earlier evaluation that answers for one, if one does.

        One does if it is the same training: the same configuration, for as many epochs, from the same start. A training
        that goes on with an unchanged configuration is the same as one that was never paused. An evaluation that did
        not end well has nothing to go on from: it answers for its own continuation.

        Args:
            entry: The evaluation.
            configuration: Its decoded hyperparameters, hashable.
            common: Whether equal configurations have equal seeds.
        """
        origin = None
        if entry.start_from is not None:
            start = self._record[entry.start_from]
            if start.evaluation.status != "ok":
                self._identities[entry.number] = self._identities[start.trained_number]
                return start.trained_number
            known, _, before = self._identities[start.trained_number]
            origin = before if known == configuration else start.trained_number
        identity = (configuration, self.total(entry), origin)
        self._identities[entry.number] = identity
        first = self._first.setdefault(identity, entry.number) if common else entry.number
        return None if first == entry.number else first

    def requests(self, entries: Sequence[Entry], params: Sequence[Any]) -> list[Request]:
        """Ask for evaluations; checkpoints that they need and that are missing are made again first.

        Raises:
            InputError: A missing checkpoint could not be made again.
        """
        self._restore({entry.start_from for entry in entries if entry.start_from is not None})
        return [self._request(entry, one) for entry, one in zip(entries, params, strict=True)]

    def _request(self, entry: Entry, params: Any) -> Request:
        start = None if entry.start_from is None else self.reference(entry.start_from)
        return Request(
            entry.number, params, entry.seed, epochs=entry.epochs, start_from=start, keep=entry.epochs is not None
        )

    def reference(self, number: int) -> str | None:
        """Give the reference of the checkpoint that an evaluation left, or that was made again since."""
        return self._again.get(number, self._record[number].evaluation.checkpoint)

    def _restore(self, numbers: Iterable[int]) -> None:
        """Do evaluations again whose checkpoints are missing, those that they started from first."""
        missing = []
        for number in sorted(numbers):
            reference = self.reference(number)
            if not self._has(reference):
                missing.append(self._record[number])
        if not missing:
            return
        self._restore({entry.start_from for entry in missing if entry.start_from is not None})
        requests = [replace(self._request(entry, self._decode(entry.genes)), keep=True) for entry in missing]
        for i, evaluation in self._executor.run(self._evaluator, requests):
            self._accept(missing[i], evaluation)

    def _restore_best(self, batch: Sequence[Entry], directions: Sequence[Direction]) -> None:
        """Make checkpoints of the best again that were dropped before a retry, as soon as that has come as far."""
        last = max((entry.number for entry in self._record.superseded), default=None)
        if last not in {entry.number for entry in batch}:
            return  # for what answers may be better
        numbers = [one.number for one in _best(self._record, directions) if one.evaluation.checkpoint is not None]
        # One that cannot be made again is missed by nobody but whoever asks for it, who is told.
        with interruptions_kept(), generators_kept(), suppress(InputError):
            self._restore(numbers)

    def _has(self, reference: str | None) -> bool:
        """Whether a checkpoint is there to go on from."""
        return reference is not None and self._checkpoints is not None and reference in self._checkpoints

    def _accept(self, entry: Entry, evaluation: Evaluation) -> None:
        if evaluation.checkpoint is None:
            raise InputError(
                f"The checkpoint of evaluation {entry.number} is missing, and training it again ended as "
                f"{evaluation.status}{': ' if evaluation.error else '.'}{evaluation.error}"
            )
        if not self._has(evaluation.checkpoint):
            raise InputError(
                f"The checkpoint that a worker left of evaluation {entry.number} cannot be seen from here. Workers on "
                "several machines need a folder for checkpoints that all of them see; a run's is beside its record."
            )
        if evaluation.values != entry.evaluation.values:
            warn(
                f"the checkpoint of evaluation {entry.number} was missing; trained again, its value is "
                f"{evaluation.value:g} rather than {entry.evaluation.value:g}: another device, or another version"
            )
        self._again[entry.number] = evaluation.checkpoint

    def collect(self, batch: Sequence[Entry], individuals: Sequence[Any], directions: Sequence[Direction]) -> None:
        """Keep the checkpoints from which algorithms go on (a batch's, and what is paused), and those of the best.

        The best is one evaluation, or with several objectives the front.
        """
        if self._checkpoints is None:
            return  # rather than look for the best of all, after each batch, for nothing
        self._restore_best(batch, directions)
        paused = dict.fromkeys(number for one in individuals for number in getattr(one, "paused", ()))
        worst_first = sorted(batch, key=lambda entry: entry.evaluation.value, reverse=directions[0] == "minimize")
        best = _best(self._record, directions)
        needed = [*paused, *(entry.number for entry in [*worst_first, *best])]  # the least important first
        # What gave way to a retry may still be asked for.
        ahead = [entry for entry in self._record.superseded if entry.number not in self._record]
        references = [*(entry.evaluation.checkpoint for entry in ahead), *(self.reference(number) for number in needed)]
        with undisturbed():
            self._checkpoints.collect([reference for reference in references if reference is not None])


def _best(record: Record, directions: Sequence[Direction]) -> list[Entry]:
    best = find_best(record, directions[0])
    if best is None or len(directions) == 1:
        return [] if best is None else [best]
    from deap_hpo.analysis.fronts import pareto_front  # imports what a study of one objective does without

    return pareto_front(record, directions)


def _made_of(evaluate: Any) -> list[Any]:
    """Give what tells an evaluator from others: a lambda in a loop is made anew, out of the same parts."""
    if not isinstance(evaluate, FunctionType):
        return [evaluate]
    return [evaluate.__code__, *own_values(evaluate)]
