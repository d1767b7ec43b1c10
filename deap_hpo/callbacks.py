"""The callbacks of a running study: their interface, and a check of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deap_hpo.budget import BudgetSpent
from deap_hpo.errors import InputError, nearest

# on_requests(study, requests) takes what is about to be evaluated, on_evaluation(study, entry) an evaluation that was
# just recorded, on_generation(study, entries) a batch that is complete, replayed or new. One of them is enough.
_METHODS = ("on_requests", "on_evaluation", "on_generation")


def tell(callbacks: Iterable[Any], event: str, study: Any, argument: Any) -> None:
    """Call the method named by an event on those callbacks that have it.

    Raises:
        BudgetSpent: One of them ends the study by raising it; the others are called first.
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
        InputError: One of them has none of the methods, such as a function; or it has a method whose name looks like a
            misspelling of one.

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
        if not any(hasattr(one, name) for name in _METHODS):
            raise InputError(
                "callbacks must be objects with on_evaluation(study, entry) or on_generation(study, entries); "
                f"got {one!r}."
            )
    return callbacks
