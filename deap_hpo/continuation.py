"""Evaluations that continue earlier ones: where they start, which are duplicates, and how checkpoints are restored.

An individual asks for this by two attributes: `epochs`, the total when its evaluation ends, and `start_from`, the
number of the evaluation to continue. A checkpoint is a cache: a missing one is made again from the record.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from deap_hpo.checks import check_integer
from deap_hpo.closures import own_values
from deap_hpo.errors import InputError, warn
from deap_hpo.evaluation import Direction, Evaluation, Request
from deap_hpo.evaluator import Evaluator, PlainFunction
from deap_hpo.execution.executors import Executor
from deap_hpo.genomes import genes_of
from deap_hpo.interruption import interruptions_kept, undisturbed
from deap_hpo.parts import check_parts
from deap_hpo.records.entries import Entry, find_best
from deap_hpo.records.record import Record
from deap_hpo.seeding import generators_kept

if TYPE_CHECKING:
    from deap_hpo.training.checkpoints import CheckpointStore


class Start(NamedTuple):
    """Where an evaluation starts, and how far it goes.

    Attributes:
        epochs: Total epochs when it ends; None for the evaluator's own number.
        goes_on_from: The evaluation whose checkpoint it continues.
        seeded_by: The evaluation whose seed it gets: the same one, or, without checkpoints, the one it trains again.
    """

    epochs: int | None = None
    goes_on_from: Entry | None = None
    seeded_by: Entry | None = None


class Continuations:
    """The evaluations of a run as links of lineages.

    Args:
        record: The run's record.
        executor: Does evaluations again if needed.
        decode: Gives the hyperparameters of a genome.
    """

    def __init__(self, record: Record, executor: Executor, decode: Callable[[Any], Any]) -> None:
        self._record, self._executor, self._decode = record, executor, decode
        self._evaluator: Evaluator  # set by `use`, before anything else
        self._called: Any = None
        self._made_of: list[Any] = []
        self._identities: dict[int, tuple[Any, ...]] = {}
        self._first: dict[tuple[Any, ...], int] = {}
        self._again: dict[int, str] = {}  # checkpoints of evaluations that were done again
        self._is_replay = True  # so far; evaluations that were interrupted may continue where they were

    def use(self, evaluator: Evaluator) -> None:
        """Set the evaluator; its `epochs` hold for individuals that ask for none.

        Results of another evaluator are not reused for this one.
        """
        called = evaluator.brought if isinstance(evaluator, PlainFunction) else evaluator
        made_of = _made_of(called)
        alike = len(made_of) == len(self._made_of) and all(map(operator.is_, made_of, self._made_of))
        if called != self._called and not alike:
            self._first.clear()
        self._evaluator, self._called, self._made_of = evaluator, called, made_of

    def asked_by(self, individual: Any) -> Start:
        """Give the start that an individual asks for.

        Raises:
            InputError: There is no such evaluation, there are no epochs to add, or the evaluator cannot continue it.
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
        """Total epochs trained at the end of an evaluation, those before its start included."""
        return entry.epochs or self._evaluator.epochs or 1

    def cost(self, entry: Entry) -> int:
        """Epochs that an evaluation adds: those planned, or those done if it is on record; 0 if it was not trained."""
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
        """Give the number of the earlier evaluation that this one duplicates, or None.

        A duplicate is the same training: the same configuration, for as many epochs, from the same start. A training
        that continues with an unchanged configuration is the same as one that was never paused. An evaluation that did
        not end well cannot be continued: its continuation is its duplicate.

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

    def requests(self, entries: Sequence[Entry], params: Sequence[Any], limits: Mapping[int, float]) -> list[Request]:
        """Give the requests for evaluations; missing checkpoints that they need are made again first.

        Raises:
            InputError: A missing checkpoint could not be made again.
        """
        self._restore({entry.start_from for entry in entries if entry.start_from is not None})
        if entries and self._is_replay:
            self._is_replay = False
            if not self._record.is_resumed:  # a study of this name may have been deleted by hand, not these files
                self._drop_underway()
        told: Any = {"limits": limits, "progress": self._record.progress.open()} if entries else {}
        return [replace(self._request(entry, one), **told) for entry, one in zip(entries, params, strict=True)]

    def _request(self, entry: Entry, params: Any) -> Request:
        start = None if entry.start_from is None else self.reference(entry.start_from)
        return Request(
            entry.number, params, entry.seed, epochs=entry.epochs, start_from=start, keep=entry.epochs is not None
        )

    def reference(self, number: int) -> str | None:
        """Give the reference of an evaluation's checkpoint, or of the one that was made again since."""
        return self._again.get(number, self._record[number].evaluation.checkpoint)

    def _restore(self, numbers: Iterable[int]) -> None:
        """Do evaluations again whose checkpoints are missing; those from which they start come first."""
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
        """Make missing checkpoints of the best again, once a retry has passed the last superseded evaluation."""
        last = max((entry.number for entry in self._record.superseded), default=None)
        if last not in {entry.number for entry in batch}:
            return  # a superseded result that is reused later may be better
        numbers = [one.number for one in _best(self._record, directions) if one.evaluation.checkpoint is not None]
        # If one cannot be made again, only those who ask for it need to know, and they get an error.
        with interruptions_kept(), generators_kept(), suppress(InputError):
            self._restore(numbers)

    def _has(self, reference: str | None) -> bool:
        """Whether a checkpoint is there to continue from."""
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
        """Keep the checkpoints that algorithms continue (of the batch, and of paused ones), and those of the best.

        The best is one evaluation or, with several objectives, the front.
        """
        if self._checkpoints is None:
            return  # saves searching the whole record for the best after each batch
        self._restore_best(batch, directions)
        paused = dict.fromkeys(number for one in individuals for number in getattr(one, "paused", ()))
        worst_first = sorted(batch, key=lambda entry: entry.evaluation.value, reverse=directions[0] == "minimize")
        best = _best(self._record, directions)
        needed = [*paused, *(entry.number for entry in [*worst_first, *best])]  # the least important first
        # Superseded evaluations beyond the run so far may still be reused.
        ahead = [entry for entry in self._record.superseded if entry.number not in self._record]
        references = [*(entry.evaluation.checkpoint for entry in ahead), *(self.reference(number) for number in needed)]
        with undisturbed():
            self._checkpoints.collect([reference for reference in references if reference is not None])
            if not self._is_replay:
                self._drop_underway()

    def _drop_underway(self) -> None:
        """Delete states of evaluations under way: all are on record, or no evaluation of this study has begun."""
        drop: Callable[[], None] | None = getattr(self._checkpoints, "drop_underway", None)
        if drop is not None:
            drop()


def _best(record: Record, directions: Sequence[Direction]) -> list[Entry]:
    best = find_best(record, directions[0])
    if best is None or len(directions) == 1:
        return [] if best is None else [best]
    from deap_hpo.analysis.fronts import pareto_front  # a study with one objective does not need this import

    return pareto_front(record, directions)


def _made_of(evaluate: Any) -> list[Any]:
    """Give the parts by which an evaluator is recognised: a loop creates a new lambda each time, of the same parts."""
    if not isinstance(evaluate, FunctionType):
        return [evaluate]
    return [evaluate.__code__, *own_values(evaluate)]
