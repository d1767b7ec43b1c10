"""The epochs of one training: which of them its network is judged after, and whether to continue."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from deap_hpo.evaluation import BEST_EPOCH, Epoch, Evaluation, sign_of
from deap_hpo.goals import Goals
from deap_hpo.training.outcome import judged

_THE_SAME_IN_ALL_EPOCHS = ("parameters", "seconds")


class LearningCurve:
    """The measurements of a training so far, epoch by epoch.

    Epochs are compared by the first objective that changes from epoch to epoch, a loss or a metric; without one, by the
    validation loss. Of equal epochs, the earlier one is better.

    Args:
        goals: What the training is judged by.
        epochs: Planned number of epochs.
        keep_best: Whether to keep the network of the best epoch rather than of the last.
        patience: Epochs without improvement after which the training ends; None for all epochs.
        costs: What was measured before the training, by name.
        so_far: Epochs to begin with.

    Example:
        >>> curve = LearningCurve(Goals(), epochs=10, keep_best=True, patience=2)
        >>> [curve.add(Epoch(i + 1, 0.0, loss)) for i, loss in enumerate([0.5, 0.3, 0.4, 0.6])]
        [True, True, False, False]
        >>> curve.finished, curve.evaluation(parameters=10, seconds=1.0, environment={}).value
        (True, 0.3)
    """

    def __init__(
        self,
        goals: Goals,
        epochs: int,
        *,
        keep_best: bool = False,
        patience: int | None = None,
        costs: Mapping[str, float] = MappingProxyType({}),
        so_far: Sequence[Epoch] = (),
    ) -> None:
        self._goals = goals
        self._costs = costs
        self._planned = epochs
        self._keep_best = keep_best
        self._patience = patience
        self._epochs: list[Epoch] = []
        self._best: Epoch | None = None
        self._told_by, self._sign = _told_by(goals, costs)
        for epoch in so_far:
            self.add(epoch)

    def add(self, epoch: Epoch) -> bool:
        """Add an epoch; tell whether, as far as is known yet, the network should be kept as it is now."""
        self._epochs.append(epoch)
        if self._best is None or self._cost(epoch) < self._cost(self._best):
            self._best = epoch
        return epoch is self._kept

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """The epochs so far."""
        return tuple(self._epochs)

    @property
    def finished(self) -> bool:
        """Whether there is no epoch left to add: all are there, or the patience has run out."""
        waited = len(self._epochs) - 1 - self._epochs.index(self._best) if self._best else 0
        return len(self._epochs) >= self._planned or (self._patience is not None and waited >= self._patience)

    def evaluation(self, parameters: int, seconds: float, environment: Mapping[str, Any]) -> Evaluation:
        """Make the evaluation of the training: "diverged" unless it is finished and its objectives are finite.

        A diverged training ended in the epoch after the last one added. Otherwise the values are the objectives, and
        the metrics are the other measurements: after the epoch that counts loss and the task's metrics, and
        `parameters` and the task's costs.

        Args:
            parameters: Trainable parameters of the network.
            seconds: Wall-clock seconds of the training.
            environment: Where it ran.
        """
        curve = tuple(self._epochs)
        if not self.finished:
            return Evaluation(self._goals.worst, "diverged", curve, seconds=seconds, environment=environment)
        kept = self._kept
        measured = {**kept.metrics, "loss": kept.validation_loss, "parameters": float(parameters), **self._costs}
        if self._keep_best:
            measured[BEST_EPOCH] = float(kept.epoch)
        evaluation = Evaluation((math.inf,), curve=curve, environment=environment)
        return judged(evaluation, self._goals, measured, seconds)

    @property
    def _kept(self) -> Epoch:
        return self._best if self._keep_best and self._best is not None else self._epochs[-1]

    def _cost(self, epoch: Epoch) -> float:
        value = epoch.validation_loss if self._told_by == "loss" else epoch.metrics[self._told_by]
        return math.inf if math.isnan(value) else self._sign * value  # a metric may be 0 / 0


def _told_by(goals: Goals, costs: Collection[str]) -> tuple[str, int]:
    for name, direction in zip(goals.objectives, goals.directions, strict=True):
        if name not in _THE_SAME_IN_ALL_EPOCHS and name not in costs:
            return name, sign_of(direction)
    return "loss", 1
