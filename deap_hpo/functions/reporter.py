"""The learning curve of an objective: the function reports its epochs, and is ended early if a value is too poor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from deap_hpo.checks import is_integer
from deap_hpo.errors import InputError, shown, warn
from deap_hpo.evaluation import Direction, Epoch, sign_of
from deap_hpo.vocabulary import no_attribute

_ELSEWHERE = {
    "report": "report(epoch, value)",
    "should_prune": "report(epoch, value), which ends the evaluation if the pruner says so",
}
"""Methods of Optuna's trials, with their names here."""


class Reporter:
    """Takes the learning curve of one evaluation: ``report(epoch, value, **metrics)``.

    It ends the evaluation if the value is not finite, or worse than the pruner's limit at that epoch. To do so it
    raises an exception that ``except Exception`` does not catch; ``with`` and ``finally`` blocks still clean up.
    """

    def __init__(
        self,
        limits: Mapping[int, float],
        direction: Direction,
        before: int = -1,
        epochs: int | None = None,
        curve: list[Epoch] | None = None,
        log: Callable[[Epoch], None] | None = None,
    ) -> None:
        self._limits, self._log = limits, log
        self._before, self._epochs = before, epochs  # epochs trained before this evaluation, and at its end
        self._sign = sign_of(direction)
        self._start = perf_counter()
        self.curve: list[Epoch] = [] if curve is None else curve  # with the epochs before an interruption
        self.is_pruned = False
        self.value = self.curve[-1].validation_loss if self.curve else math.nan
        self.metrics: Mapping[str, float] = self.curve[-1].metrics if self.curve else {}

    def __call__(self, epoch: float, value: float, **metrics: float) -> None:
        """Record the measurements at the end of an epoch.

        Args:
            epoch: Number of the epoch, at least 0. If the last epoch is reported again, the second report is ignored,
                with a warning.
            value: The objective's current value.
            metrics: Further measurements, by name.

        Raises:
            InputError: A value is not a number; or the epoch is not an integer, is earlier than the last one reported,
                was already trained by the evaluation that is continued, or is larger than `epochs`.
        """
        if isinstance(epoch, float) and epoch.is_integer():  # some trainers count in floats
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
        epoch = int(epoch)  # a numpy integer cannot be recorded
        self.value = _number("value", value)
        self.metrics = {name: _number(name, one) for name, one in metrics.items()}
        if not math.isfinite(self.value):
            raise Ended
        now = perf_counter()
        self.curve.append(Epoch(epoch, math.nan, self.value, self.metrics, now - self._start))
        self._start = now
        if self._log:
            self._log(self.curve[-1])
        if epoch in self._limits and self._sign * self.value > self._sign * self._limits[epoch]:
            self.is_pruned = True
            raise Ended

    if not TYPE_CHECKING:  # with `__getattr__`, type checkers would accept every attribute

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, _ELSEWHERE)


def _number(name: str, value: Any) -> float:
    """Give a number that was reported; a tensor may still be part of a graph."""
    try:
        if isinstance(value, (str, bytes)):  # float would read "0.5", which is a number only by accident
            raise TypeError
        return float(value.detach() if hasattr(value, "detach") else value)
    except Exception:  # whatever an object's own conversion raises
        raise InputError(f"report takes numbers; {name} is {shown(value)}.") from None


class Ended(BaseException):
    """Ends an objective from within; its own `except Exception` does not catch this."""
