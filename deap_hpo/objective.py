"""An objective: any Python function of the hyperparameters as an evaluator, with learning curves and early ends."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction, Epoch, Evaluation, Request
from deap_hpo.seeding import seed_generators

_OFFERED = ("report", "seed")


class Objective:
    """A function of the hyperparameters, to be registered as `evaluate` or handed to `optimize`.

    The function gets a dict of hyperparameters, and returns

    - a number, or
    - a mapping of metrics, of which `metric` names the one that counts; the others are recorded with it.

    If it has a parameter named `report`, it is passed a `Reporter`: ``report(epoch, value, **metrics)`` records a
    learning curve, and ends the evaluation where the study's pruner says so. If it has one named `seed`, that is
    the evaluation's seed; `random`, numpy and torch are seeded with it anyway.

    What the function raises makes the evaluation "failed"; a value that is not finite makes it "diverged".

    Args:
        function: The function; at the top level of a module where worker processes are to call it.
        metric: Name of the metric that counts; None where the function returns a number or a single metric.
        direction: "minimize" or "maximize".

    Raises:
        InputError: `function` cannot be called with one argument, or `direction` is neither.

    Example:
        >>> def objective(params, report):
        ...     for epoch in range(1, 4):
        ...         report(epoch, params["x"] ** 2 / epoch)
        ...     return {"loss": params["x"] ** 2 / 3, "size": 7}
        >>> evaluation = Objective(objective, metric="loss").evaluate(Request(0, {"x": 3.0}, seed=0))
        >>> evaluation.value, dict(evaluation.metrics), [epoch.validation_loss for epoch in evaluation.curve]
        (3.0, {'size': 7.0}, [9.0, 4.5, 3.0])
    """

    def __init__(
        self, function: Callable[..., Any], *, metric: str | None = None, direction: Direction = "minimize"
    ) -> None:
        if direction not in ("minimize", "maximize"):
            raise InputError(f"direction must be 'minimize' or 'maximize'; got {direction!r}.")
        self.function = function
        self.metric = metric
        self.direction: Direction = direction
        self._offered = _parameters(function)

    @property
    def settings(self) -> dict[str, Any]:
        """What a resumed study has to have in common with the recorded one."""
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return {"function": name, "metric": self.metric, "direction": self.direction}

    def __call__(self, params: Mapping[str, Any], seed: int = 0) -> Evaluation:
        """Evaluate hyperparameters, by themselves."""
        return self.evaluate(Request(0, params, seed))

    def evaluate(self, request: Request) -> Evaluation:
        """Do one request of an executor."""
        start = perf_counter()
        seed_generators(request.seed)
        reporter = Reporter(request.limits, self.direction)
        offered = {"report": reporter, "seed": request.seed}
        try:
            result = self.function(dict(request.params), **{name: offered[name] for name in self._offered})
            value, metrics = self._read(result)
        except _Ended:
            value, metrics = reporter.value, {**reporter.metrics}
        if not math.isfinite(value):
            reporter.status, value, metrics = "diverged", math.inf, {}
        seconds = perf_counter() - start
        return Evaluation((value,), reporter.status, tuple(reporter.curve), metrics, seconds)

    def _read(self, result: Any) -> tuple[float, dict[str, float]]:
        if not isinstance(result, Mapping):
            if result is None:
                raise InputError("The objective must return a number or a mapping of metrics; it returned None.")
            return float(result), {}
        metrics = {str(name): float(value) for name, value in result.items()}
        name = self.metric or (next(iter(metrics)) if len(metrics) == 1 else None)
        if name not in metrics:
            raise InputError(
                f"metric must name one of those that the objective returns ({', '.join(metrics) or 'none'}); "
                f"got {self.metric!r}."
            )
        return metrics.pop(name), metrics


class Reporter:
    """Takes the learning curve of one evaluation: ``report(epoch, value, **metrics)``.

    It ends the evaluation, by raising what only `BaseException` catches, where the value is not finite, or worse than
    the pruner's limit at that epoch. ``with`` and ``finally`` of the function do their work as at its usual end.
    """

    def __init__(self, limits: Mapping[int, float], direction: Direction) -> None:
        self._limits = limits
        self._sign = 1 if direction == "minimize" else -1
        self._start = perf_counter()
        self.curve: list[Epoch] = []
        self.status: Any = "ok"
        self.value = math.nan
        self.metrics: Mapping[str, float] = {}

    def __call__(self, epoch: int, value: float, **metrics: float) -> None:
        """Record what was reached at the end of an epoch.

        Args:
            epoch: Number of the epoch, at least 0, larger than the one before.
            value: The objective's value by now.
            metrics: Further measurements, by name.

        Raises:
            InputError: The epoch is no such number.
        """
        last = self.curve[-1].epoch if self.curve else -1
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch <= last:
            raise InputError(f"epoch must be an integer larger than the last one reported, {last}; got {epoch!r}.")
        self.value, self.metrics = float(value), {name: float(one) for name, one in metrics.items()}
        if not math.isfinite(self.value):
            raise _Ended
        now = perf_counter()
        self.curve.append(Epoch(epoch, math.nan, self.value, self.metrics, now - self._start))
        self._start = now
        if epoch in self._limits and self._sign * self.value > self._sign * self._limits[epoch]:
            self.status = "pruned"
            raise _Ended


class _Ended(BaseException):
    """Ends an objective from within; no `except Exception` of its own holds it up."""


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Which of the offered arguments a function takes."""
    if not callable(function):
        raise InputError(f"The objective must be a function of the hyperparameters; got {function!r}.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C
        return ()
    offered = tuple(name for name in _OFFERED if name in signature.parameters)
    try:
        signature.bind({}, **dict.fromkeys(offered))
    except TypeError as error:
        raise InputError(
            f"The objective must take the hyperparameters, and beside them only {' and '.join(_OFFERED)}; {error}."
        ) from None
    return offered
