"""The learning curve of an objective: it says how far it has come, and is told to end where that is not enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import perf_counter

from deap_hpo.checks import is_integer
from deap_hpo.errors import InputError, warn
from deap_hpo.evaluation import Direction, Epoch, sign_of


class Reporter:
    """Takes the learning curve of one evaluation: ``report(epoch, value, **metrics)``.

    It ends the evaluation where the value is not finite, or worse than the pruner's limit at that epoch, by raising an
    exception that ``except Exception`` does not catch. The function's ``with`` and ``finally`` still do their work.
    """

    def __init__(
        self, limits: Mapping[int, float], direction: Direction, before: int = -1, epochs: int | None = None
    ) -> None:
        self._limits = limits
        self._before, self._epochs = before, epochs  # of the training: those before, and those at the end
        self._sign = sign_of(direction)
        self._start = perf_counter()
        self.curve: list[Epoch] = []
        self.is_pruned = False
        self.value = math.nan
        self.metrics: Mapping[str, float] = {}

    def __call__(self, epoch: float, value: float, **metrics: float) -> None:
        """Record what was reached at the end of an epoch.

        Args:
            epoch: Number of the epoch, at least 0. One that was reported before is left as it is, with a warning.
            value: The objective's value by now.
            metrics: Further measurements, by name.

        Raises:
            InputError: The epoch is no such number, earlier than the last one reported, or was trained before.
        """
        if isinstance(epoch, float) and epoch.is_integer():  # as some trainers count
            epoch = int(epoch)
        last = self.curve[-1].epoch if self.curve else self._before
        if self.curve and epoch == last:
            warn(f"epoch {last} was reported twice; the second value is left out")
            return
        if not is_integer(epoch) or epoch <= last:
            about = "reported" if self.curve or self._before < 0 else "trained before, checkpoint.epoch"
            raise InputError(f"epoch must be an integer larger than the last one {about}, {last}; got {epoch!r}.")
        if self._epochs is not None and epoch > self._epochs:
            raise InputError(f"epoch must be at most `epochs`, here {self._epochs}; got {epoch!r}.")
        epoch = int(epoch)  # numpy's cannot be put on record
        self.value, self.metrics = float(value), {name: float(one) for name, one in metrics.items()}
        if not math.isfinite(self.value):
            raise Ended
        now = perf_counter()
        self.curve.append(Epoch(epoch, math.nan, self.value, self.metrics, now - self._start))
        self._start = now
        if epoch in self._limits and self._sign * self.value > self._sign * self._limits[epoch]:
            self.is_pruned = True
            raise Ended


class Ended(BaseException):
    """Ends an objective from within; no `except Exception` of its own holds it up."""
