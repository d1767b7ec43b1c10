"""Trainings in parts: the rungs that each has reached, its losses there, and how losses of different rungs compare."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from deap_hpo.strategies.prospects import Key

PRIOR_PAIRS = 3  # The slope between two rungs is pulled towards 1 with the weight of this many trainings.


class Scale(NamedTuple):
    """The line that brings losses of a rung to the scale of those of whole trainings."""

    slope: float = 1.0
    offset: float = 0.0

    def of(self, loss: float) -> float:
        """Give a loss on the scale of whole trainings."""
        return self.slope * loss + self.offset


class PartialTrainings:
    """A record of trainings that are paused at rungs.

    Args:
        rungs: Epochs of each rung, ascending; the last are those of a whole training.

    Attributes:
        rungs: The same.
        genes: The genome of each training, by its key, in the order in which they were first recorded.

    Example:
        >>> trainings = PartialTrainings([1, 2, 4])
        >>> trainings.add(("a",), [0.2], epochs=1, loss=0.9, number=0)
        >>> trainings.add(("b",), [0.7], epochs=1, loss=0.8, number=1)
        >>> trainings.add(("b",), [0.7], epochs=4, loss=0.5, number=2)
        >>> trainings.rung(("a",)), trainings.rung(("b",)), list(trainings.paused())
        (0, 2, [('a',)])
        >>> trainings.worst_first([("b",), ("a",)]), trainings.scales()[0].slope
        ([('a',), ('b',)], 1.0)
    """

    def __init__(self, rungs: Sequence[int]) -> None:
        self.rungs = list(rungs)
        self.genes: dict[Key, list[float]] = {}
        self._losses: dict[Key, dict[int, float]] = {}  # by rung
        self._numbers: dict[Key, int | None] = {}

    @property
    def last(self) -> int:
        """The last rung."""
        return len(self.rungs) - 1

    def add(self, key: Key, genes: list[float], *, epochs: int | None, loss: float, number: int | None) -> None:
        """Take an evaluation into the record.

        Args:
            key: The key of the training.
            genes: Its genome.
            epochs: Its epochs so far; None for a whole training. Between two rungs, the lower one counts.
            loss: Its loss then, possibly infinite.
            number: Number of the evaluation, from which the training may continue.
        """
        rung = max(0, bisect_right(self.rungs, epochs or self.rungs[-1]) - 1)
        self.genes.setdefault(key, genes)
        self._losses.setdefault(key, {})[rung] = loss
        self._numbers[key] = number

    def loss(self, key: Key, rung: int) -> float | None:
        """The loss of a training at a rung; None if it is not on record there."""
        return self._losses.get(key, {}).get(rung)

    def rung(self, key: Key) -> int:
        """The rung that a training has reached; -1 if it has not started."""
        return max(self._losses.get(key, {}), default=-1)

    def epochs(self, key: Key) -> int:
        """The number of epochs that a training has had."""
        return self.rungs[self.rung(key)] if key in self._losses else 0

    def number(self, key: Key) -> int | None:
        """The evaluation that a training would continue from."""
        return self._numbers.get(key)

    def observations(self) -> Iterator[tuple[Key, int, float]]:
        """Give training, rung and loss of each evaluation."""
        for key, losses in self._losses.items():
            for rung, loss in losses.items():
                yield key, rung, loss

    def alive(self) -> Iterator[Key]:
        """Give the trainings whose last loss is finite."""
        return (key for key, losses in self._losses.items() if math.isfinite(losses[max(losses)]))

    def paused(self) -> Iterator[Key]:
        """Give the trainings that can continue."""
        return (key for key in self.alive() if self.rung(key) < self.last)

    def worst_first(self, keys: Iterable[Key]) -> list[Key]:
        """Sort trainings by their last losses, brought to the scale of whole trainings, worst first."""
        scales = self.scales()

        def scaled(key: Key) -> float:
            return scales[self.rung(key)].of(self._losses[key][self.rung(key)])

        return sorted(keys, key=scaled, reverse=True)

    def scales(self) -> list[Scale]:
        """Return the scale of each rung; that of the last one changes nothing.

        They are fitted by least squares to the trainings that continued to a later rung. While these are few, the slope
        is pulled towards 1.
        """
        scales = [Scale()] * len(self.rungs)
        for rung in reversed(range(self.last)):
            pairs = []
            for losses in self._losses.values():
                later = [other for other, loss in losses.items() if other > rung and math.isfinite(loss)]
                if later and rung in losses:
                    pairs.append((losses[rung], scales[min(later)].of(losses[min(later)])))
            if pairs:
                seen, meant = np.array(pairs).T
                prior = PRIOR_PAIRS * max(float(seen.var()), 1e-12)
                slope = float((seen - seen.mean()) @ (meant - meant.mean()) + prior) / (len(seen) * seen.var() + prior)
                slope = float(np.clip(slope, 0.1, 1.5))
                scales[rung] = Scale(slope, float(meant.mean() - slope * seen.mean()))
        return scales
