"""The total budget of a run: evaluations, epochs and seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from time import perf_counter
from typing import TypeVar

from deap_hpo.checks import check_optional_integer, is_number
from deap_hpo.errors import InputError

_T = TypeVar("_T")

MOST_PROPOSALS = 50
"""Evaluations, those that cost nothing included, for each evaluation (or epoch) of the budget, before a run ends."""


class BudgetSpent(Exception):
    """The study's evaluations, epochs or time are used up; everything done so far is on record.

    Attributes:
        limit: The limit that was reached: ``max_evaluations``, ``max_epochs`` or ``max_seconds``; ``target``,
            ``patience`` or ``stop`` if the run was stopped early. With another value of it, the run can be continued.
            Or ``space``, if nothing in it is left to evaluate.
    """

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


class Budget:
    """Counts what was spent, and says which evaluations may still be started.

    Args:
        max_evaluations: Evaluations in total that are done, without duplicates of earlier ones and without those that
            break a constraint by a value known beforehand; None for no limit.
        max_epochs: Epochs trained in total; an evaluation that continues another one costs the added epochs. None for
            no limit.
        max_seconds: Seconds since the first use of `time_is_up`; None for no limit.

    Raises:
        InputError: An argument is out of its range.

    Example:
        >>> budget = Budget(max_epochs=10)
        >>> budget.spend(4)
        >>> budget.allowed([(1, 3), (2, 3), (3, 3)])
        2
    """

    def __init__(
        self, max_evaluations: int | None = None, max_epochs: int | None = None, max_seconds: float | None = None
    ) -> None:
        for name, value in (("max_evaluations", max_evaluations), ("max_epochs", max_epochs)):
            check_optional_integer(name, value, 1)
        if max_seconds is not None and not (is_number(max_seconds) and max_seconds > 0):
            raise InputError(f"max_seconds must be a positive number, or None; got {max_seconds!r}.")
        self._evaluations = math.inf if max_evaluations is None else max_evaluations
        self._epochs = math.inf if max_epochs is None else max_epochs
        self._seconds = math.inf if max_seconds is None else max_seconds
        self._start: float | None = None
        self.is_stopped = False
        self._limit = "max_evaluations"
        self._endless = False  # whether the run was ended because almost nothing that it proposed could be done
        self.evaluations = 0
        self.epochs = 0

    def spend(self, epochs: int) -> None:
        """Count an evaluation that took so many epochs; one that took none was not done."""
        self.evaluations += epochs > 0
        self.epochs += epochs

    def allowed(self, planned: Iterable[tuple[int, int]]) -> int:
        """Count the planned evaluations, (number, epochs), up to the first that the budget does not allow.

        Those that cost no epochs are not done.
        """
        evaluations, epochs, count = self.evaluations, self.epochs, 0
        for number, cost in planned:
            evaluations, epochs = evaluations + (cost > 0), epochs + cost
            # An algorithm that proposes nothing to be done would never use up its budget.
            endless = number >= MOST_PROPOSALS * min(self._evaluations, self._epochs)
            if evaluations > self._evaluations or epochs > self._epochs or endless:
                by_epochs = epochs > self._epochs or (endless and self._epochs < self._evaluations)
                self._limit = "max_epochs" if by_epochs else "max_evaluations"
                self._endless = endless
                break
            count += 1
        return count

    def stop(self) -> None:
        """Allow no further evaluation to start."""
        self.is_stopped = True

    @property
    def time_is_up(self) -> bool:
        """Whether no further evaluation may start."""
        self._start = self._start or perf_counter()
        return self.is_stopped or perf_counter() - self._start > self._seconds

    def spent(self, study: str, recorded: int) -> BudgetSpent:
        """Give the exception that ends a study of so many recorded evaluations."""
        if self.is_stopped:
            return BudgetSpent(f"The study {study!r} was stopped after {recorded} evaluations.", "stop")
        limit = "max_seconds" if self.time_is_up else self._limit
        if self._endless and limit != "max_seconds":
            return BudgetSpent(
                f"The study {study!r} ended after {recorded} evaluations, though its budget, {limit}, allows more: "
                "almost all repeated earlier ones, or were not done because they break a constraint.",
                limit,
            )
        return BudgetSpent(f"The study {study!r} has used its budget, {limit}, after {recorded} evaluations.", limit)


class WhileTimeLasts(list[_T]):
    """A list that empties itself if its truth value is asked for after a budget's time is up.

    An executor checks it before each item, and so starts none afterwards.

    Example:
        >>> budget = Budget()
        >>> waiting = WhileTimeLasts(["a", "b"], budget)
        >>> bool(waiting)
        True
        >>> budget.stop()
        >>> bool(waiting), len(waiting)
        (False, 0)
    """

    def __init__(self, items: Iterable[_T], budget: Budget) -> None:
        super().__init__(items)
        self._budget = budget

    def __bool__(self) -> bool:
        if self._budget.time_is_up:
            self.clear()
        return len(self) > 0
