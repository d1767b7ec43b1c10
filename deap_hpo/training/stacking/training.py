"""The training of a stack: its epochs one by one, until it is decided how each member ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from time import perf_counter
from typing import Any, NamedTuple

from deap_hpo.evaluation import Epoch, Evaluation
from deap_hpo.training.hardware import computing, environment, training_clock
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.stacking.draws import refusing_draws
from deap_hpo.training.stacking.stack import Stack
from deap_hpo.training.stacking.structure import Member
from deap_hpo.training.state import TrainingState
from deap_hpo.training.underway import Pace


class Trained(NamedTuple):
    """A member that is done.

    Attributes:
        member: The member.
        evaluation: Its evaluation.
        state: The state in which it ended; None if it left its stack early, or failed.
    """

    member: Member
    evaluation: Evaluation
    state: TrainingState | None


class StackTraining:
    """Trains members of equal structure together.

    Args:
        reference: The trainer of single networks, which has the task, the device and the precision.
        members: The members, at least one.
        engine: How steps are run; see `deap_hpo.training.stacking.engines`.

    Raises:
        NotStackable: See `Stack`; also from `run`.
        InputError: A state belongs to another architecture.

    Example:
        >>> from functools import partial
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> from deap_hpo.training.task import Task
        >>> task = Task("digits", partial(MLP, inputs=64), load_digits())
        >>> members = [Member(i, 0, 1, {"lr": lr}, *task.configure({"lr": lr})) for i, lr in enumerate([0.1, 1e30])]
        >>> training = StackTraining(ReferenceTrainer(task, device="cpu"), members, engine="eager")
        >>> [(one.member.position, one.evaluation.status) for one in training.run()]
        [(1, 'diverged'), (0, 'ok')]
    """

    def __init__(self, reference: ReferenceTrainer, members: Sequence[Member], *, engine: str) -> None:
        self._start = training_clock()
        self._computing = reference.device, reference.precision
        self._environment = {**environment(*self._computing), "trainer": "population", "stack": len(members)}
        self._epochs = members[0].epochs
        self._curves = {
            one: reference.new_curve(len(one.curve) + len(self._epochs), one.params, one.curve) for one in members
        }
        self._pace = Pace()
        task = reference.of_repeat(members[0].repeat).placed
        self._validation = task.data.validation
        with computing(*self._computing):
            how: Any = {"epochs": reference.epochs, "precision": reference.precision, "engine": engine}
            self._stack = Stack(task, task.data, members, **how)

    def run(self) -> Iterator[Trained]:
        """Yield each member at the end of the epoch in which it is decided how it ends."""
        end = self._epochs.stop
        with closing(self._stack) as stack:
            for epoch in self._epochs:
                for member in self._train_epoch(epoch):
                    yield Trained(member, self._evaluation(member), None)
                if not stack.in_training:
                    return
                if self._pace.is_due and epoch + 1 < end:
                    self._save(epoch + 1)
            for member, state in zip(stack.members, stack.states(end), strict=True):
                yield Trained(member, self._evaluation(member), state)

    def _train_epoch(self, epoch: int) -> list[Member]:
        """Train and measure all members for an epoch, and drop and give those that have diverged, or need no other."""
        start, stack = perf_counter(), self._stack
        with computing(*self._computing), refusing_draws():
            dropped = stack.train_epoch(epoch)
            measured = stack.measure(self._validation) if stack.in_training else []
            dropped += stack.keep([math.isfinite(loss) for loss, _ in measured])
        seconds = perf_counter() - start
        finite = [(loss, metrics) for loss, metrics in measured if math.isfinite(loss)]
        for one, (loss, metrics) in zip(stack.in_training, finite, strict=True):
            measurements = Epoch(epoch + 1, one.training_loss, loss, metrics, seconds)
            self._curves[one.member].add(measurements)
            if one.member.underway is not None:
                one.member.underway.log(measurements)
            one.validation_losses.append(loss)
        if epoch + 1 < self._epochs.stop:
            dropped += stack.keep([not self._curves[member].finished for member in stack.members])
        return dropped

    def _save(self, epochs: int) -> None:
        """Write the states of all members after so many epochs, from which they continue if the process is killed."""
        with self._pace.writing():
            for member, state in zip(self._stack.members, self._stack.states(epochs), strict=True):
                if member.underway is not None:
                    member.underway.save_training(state, curve=self._curves[member].epochs)

    def _evaluation(self, member: Member) -> Evaluation:
        before = member.underway.seconds_before if member.underway else 0.0
        seconds = before + perf_counter() - self._start
        return self._curves[member].evaluation(self._stack.parameters, seconds, self._environment)
