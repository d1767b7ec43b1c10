"""What a study tells while it runs: the shape of a callback, and a check that something has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from deap_hpo.budget import BudgetSpent
from deap_hpo.errors import InputError, nearest
from deap_hpo.records.entries import Entry

_METHODS = ("on_evaluation", "on_generation")


class Callback(Protocol):
    """What a `Study` tells while it runs; one of the methods is enough."""

    def on_evaluation(self, study: Any, entry: Entry) -> None:
        """Be told of an evaluation that was just recorded."""

    def on_generation(self, study: Any, entries: Sequence[Entry]) -> None:
        """Be told of a batch that is complete, replayed or new."""


def tell(callbacks: Iterable[Any], event: str, study: Any, argument: Any) -> None:
    """Tell those callbacks of an event that have a method of its name.

    Raises:
        BudgetSpent: One of them ends the study with that; the others are told before.
    """
    ending: BudgetSpent | None = None
    for callback in callbacks:
        if hasattr(callback, event):
            try:
                getattr(callback, event)(study, argument)
            except BudgetSpent as stop:
                ending = ending or stop
    if ending is not None:
        raise ending


def check_callbacks(callbacks: Iterable[Any]) -> list[Any]:
    """Return callbacks as a list.

    Raises:
        InputError: One of them would never be told anything, such as a function; or has a method whose name is nearly
            that of one.

    Example:
        >>> class Printer:
        ...     def on_evaluation(self, study, entry):
        ...         print(entry.evaluation.value)
        >>> len(check_callbacks([Printer()]))
        1
    """
    callbacks = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    for one in callbacks:
        for name in dir(one):
            meant = nearest(name, _METHODS, cutoff=0.9) if name.startswith("on") and name not in _METHODS else None
            if meant and not hasattr(one, meant):
                raise InputError(f"callbacks have no method {name!r}, as {one!r} has. Did you mean {meant!r}?")
        if not (hasattr(one, "on_evaluation") or hasattr(one, "on_generation")):
            raise InputError(
                "callbacks must be objects with on_evaluation(study, entry) or on_generation(study, entries); "
                f"got {one!r}."
            )
    return callbacks
