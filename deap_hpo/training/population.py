"""The population trainer: the networks of many evaluations trained as one program."""

from __future__ import annotations

import math
import traceback
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from deap_hpo.checks import check_optional_integer
from deap_hpo.errors import warn
from deap_hpo.evaluation import Evaluation, Request, failure
from deap_hpo.evaluator import BatchEvaluator
from deap_hpo.training.checkpoints import CheckpointStore
from deap_hpo.training.memory import fitting_members, free_memory, is_out_of_memory
from deap_hpo.training.outcome import combine, infeasible, repeat_seeds
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.resumption import start_states, with_checkpoint
from deap_hpo.training.stacking.engines import resolve_engine
from deap_hpo.training.stacking.footprint import member_bytes
from deap_hpo.training.stacking.stackable import NotStackable
from deap_hpo.training.stacking.structure import Member, member_structure, training_structure
from deap_hpo.training.stacking.training import StackTraining, Trained
from deap_hpo.training.state import added_epochs
from deap_hpo.training.task import Task
from deap_hpo.training.underway import Underway

# More members make a CPU no faster, and overflow its caches.
_STACK_SIZE_ON_CPU = 8


class PopulationTrainer(BatchEvaluator):
    """Trains the networks of a whole batch of evaluations together; otherwise like `ReferenceTrainer`.

    A member's result is the reference's (within rounding), whether it is trained alone or with others. A network whose
    loss stops being finite is dropped, and the others continue without it. Networks of different structure (batch size,
    width, depth, optimiser) are trained in separate stacks. A stack too large for the memory is trained in parts. The
    reference trains networks that cannot be stacked, and a warning says why.

    Args:
        task: What to train.
        epochs: Epochs of one evaluation, and the length of the schedules; see `ReferenceTrainer`.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1".
        precision: "fp32", "bf16", or "auto" (bf16 for classes, if the processor supports it).
        repeats: Trainings of one evaluation, each with its own seed, at least 1; for this and the next three arguments
            see `ReferenceTrainer`.
        folds: As for `ReferenceTrainer`. Each fold has its own stacks.
        keep_best: Whether to keep the network of the best epoch.
        patience: Epochs without improvement after which a training ends; the others of its stack continue.
        checkpoints: Where trainings leave their state for others to continue from; by default in memory, on the device.
        stack_size: How many members may be trained together, at least 1; None for as many as the memory allows (on a
            CPU at most 8). Changes the speed only.
        memory_limit: Bytes that a stack may take, at least 1; None for the free memory of the device.
        engine: How steps are run: "eager", "graph" (a CUDA graph), or "auto" (a graph on CUDA). Changes the speed only.

    Raises:
        InputError: An argument is out of range, or the device is not there.

    Example:
        >>> from functools import partial
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> trainer = PopulationTrainer(Task("digits", partial(MLP, inputs=64), load_digits()), epochs=3, device="cpu")
        >>> requests = [Request(i, {"lr": lr, "momentum": 0.9}, seed=1) for i, lr in enumerate([0.1, 0.01, 1e30])]
        >>> evaluations = dict(trainer.evaluate_batch(requests))
        >>> [evaluations[i].status for i in range(3)]
        ['ok', 'ok', 'diverged']
        >>> evaluations[0].value < evaluations[1].value
        True
    """

    def __init__(
        self,
        task: Task,
        *,
        epochs: int = 1,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        repeats: int = 1,
        folds: int | Iterable[tuple[Any, Any]] | None = None,
        keep_best: bool = False,
        patience: int | None = None,
        checkpoints: CheckpointStore | None = None,
        stack_size: int | None = None,
        memory_limit: int | None = None,
        engine: str = "auto",
    ) -> None:
        self.reference = ReferenceTrainer(
            task,
            epochs=epochs,
            device=device,
            precision=precision,
            repeats=repeats,
            folds=folds,
            keep_best=keep_best,
            patience=patience,
            checkpoints=checkpoints,
        )
        for name, value in (("stack_size", stack_size), ("memory_limit", memory_limit)):
            check_optional_integer(name, value, 1)
        self.task: Task = task
        self.goals = task.goals
        self.epochs: int = epochs
        self.repeats = self.reference.repeats
        self.whole_trainings = self.reference.whole_trainings
        self.checkpoints: CheckpointStore = self.reference.checkpoints
        self.device: torch.device = self.reference.device
        self.precision = self.reference.precision
        self.engine = resolve_engine(engine, self.device)
        self.memory_limit = memory_limit
        self.stack_size = stack_size or (_STACK_SIZE_ON_CPU if self.device.type == "cpu" else None)
        self._sizes: dict[Hashable, int] = {}  # by structure: how many members fit; 0 if they cannot be stacked
        self._structures: dict[tuple[str, int], Hashable] = {}  # by architecture and seed

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on besides hyperparameters and seed: the same as for the reference."""
        return self.reference.settings

    def __call__(self, params: Mapping[str, Any], seed: int = 0) -> Evaluation:
        """Train and validate one configuration.

        Raises:
            InputError: A hyperparameter is unknown or out of its range, or network, data and loss do not fit together.
        """
        self.task.configure(params)
        return super().__call__(params, seed)

    def with_checkpoints(self, checkpoints: CheckpointStore) -> PopulationTrainer:
        """Give the same trainer with another store of checkpoints."""
        other = super().with_checkpoints(checkpoints)
        other.reference = self.reference.with_checkpoints(checkpoints)
        return other

    def prepare_worker(self) -> None:
        """Prepare a process that does nothing but evaluate."""
        self.reference.prepare_worker()

    def evaluate_batch(self, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Train and validate the configurations of all requests.

        Args:
            requests: Configurations, each with its seed, its epochs, and where it starts.

        Yields:
            (position in `requests`, evaluation) at the end of the epoch in which it is decided; that is early if a
            training diverged or its patience ran out.
            Its `seconds` are wall-clock seconds since the start of its stack, whose other members share them.
        """
        groups: dict[Hashable, list[Member]] = {}
        for position, request in enumerate(requests):
            try:
                if refused := infeasible(self.reference.costs, self.task.goals, request.params):
                    yield position, refused
                    continue
                for member, group in self._members(position, request):
                    groups.setdefault(group, []).append(member)
            except Exception:
                yield position, failure(traceback.format_exc())
        done: dict[int, dict[int, Trained]] = {}
        for group, members in groups.items():
            for trained in self._train_group(group, members):
                member = trained.member
                repeats = done.setdefault(member.position, {})
                repeats[member.repeat] = trained
                if len(repeats) == self.repeats:
                    _, evaluations, states = zip(*(repeats[i] for i in range(self.repeats)), strict=True)
                    seconds = max(one.seconds for one in evaluations)
                    evaluation = combine(evaluations, seconds, self.task.goals, costs=self.reference.costs.names)
                    try:
                        evaluation = with_checkpoint(requests[member.position], evaluation, states, self.checkpoints)
                    except Exception:  # this evaluation alone fails, for example over a tensor that no file can hold
                        evaluation = failure(traceback.format_exc())
                    yield member.position, evaluation

    def _members(self, position: int, request: Request) -> list[tuple[Member, Hashable]]:
        """Give the trainings of a request, each with a key that is equal for the members of a stack."""
        recipe, architecture = self.task.configure(request.params)
        members: list[tuple[Member, Hashable]] = []
        states = start_states(request, self.checkpoints, self.repeats)
        for i, (seed, begins) in enumerate(zip(repeat_seeds(request.seed, self.repeats), states, strict=True)):
            epochs = added_epochs(begins, request.epochs, self.epochs, recipe, whole=self.whole_trainings)
            underway, alone = (Underway(self.checkpoints, request, i, stacked=one) for one in (True, False))
            curve = self.reference.new_curve(len(epochs), request.params)
            state, _ = underway.training(begins, curve)
            configured = request.params, recipe, architecture, epochs[len(curve.epochs) :]
            member = Member(position, i, seed, *configured, state, underway, curve.epochs, begins, alone)
            fold = i if self.reference.folds else 0  # a stack has the data of one fold
            members.append((member, (fold, training_structure(member), self._structure(member))))
        return members

    def _structure(self, member: Member) -> Hashable:
        """Give `member_structure`, computed once for each architecture and seed."""
        if self.task.optimizer is not None:  # the optimiser that it makes may depend on any hyperparameter
            return member_structure(self.task, member)
        key = (repr(member.architecture), member.seed)
        if key not in self._structures:
            self._structures[key] = member_structure(self.task, member)
        return self._structures[key]

    def _train_group(self, group: Hashable, members: Sequence[Member]) -> Iterator[Trained]:
        """Train members of equal structure: in stacks that fit into memory, or else one at a time."""
        waiting, reason = list(members), ""
        while waiting:
            size = 0
            try:
                size = self._next_size(group, waiting)
                if size:
                    for trained in StackTraining(self.reference, waiting[:size], engine=self.engine).run():
                        waiting.remove(trained.member)
                        yield trained
            except Exception as error:
                self._sizes[group], reason = self._smaller_size(size, error)
            if self._sizes[group] == 0:
                for member in waiting:
                    trained = self._train_alone(member)
                    if reason and trained.evaluation.status != "failed":  # or else the network itself does not work
                        warn(f"networks of the task {self.task.name!r} are trained one at a time: {reason}")
                        reason = ""
                    yield trained
                return

    def _next_size(self, group: Hashable, waiting: Sequence[Member]) -> int:
        """Give how many of the waiting members to train next: stacks of nearly equal size, none larger than fits."""
        if group not in self._sizes:
            self._sizes[group] = self._fitting(waiting[0])
        largest = self._sizes[group]
        return math.ceil(len(waiting) / math.ceil(len(waiting) / largest)) if largest else 0

    def _fitting(self, member: Member) -> int:
        """Measure one training step of one member, and give how many members fit into memory."""
        needed = member_bytes(self.reference.of_repeat(member.repeat), member, recorded=self.engine == "graph")
        fitting = fitting_members(needed, self.memory_limit or free_memory(self.device))
        return min(fitting, self.stack_size or fitting)

    def _smaller_size(self, size: int, error: Exception) -> tuple[int, str]:
        """Give the size to continue with after an error: half if memory ran out, else 0 with the reason."""
        if is_out_of_memory(error) and size > 1:
            return size // 2, ""
        said = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        return 0, said if isinstance(error, NotStackable) else f"as a stack they raised {type(error).__name__}: {said}"

    def _train_alone(self, member: Member) -> Trained:
        """Train a member with the reference, which also judges whether the network works at all."""
        try:
            train = self.reference.of_repeat(member.repeat).train_on
            asked = member.begins, member.params, member.seed, member.epochs.stop
            with member.alone or nullcontext():
                _, evaluation, state = train(*asked, underway=member.alone)
        except Exception:
            return Trained(member, failure(traceback.format_exc()), None)
        return Trained(member, evaluation, state)
