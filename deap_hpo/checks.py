"""Checks of users' input: numbers, flags, arguments by name."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from deap_hpo.errors import ArgumentError, InputError, hint
from deap_hpo.vocabulary import argument_here


def is_number(value: object) -> bool:
    """Tell whether a value is a real number; True and False, which are numbers to Python, do not count.

    Example:
        >>> is_number(1), is_number(0.5), is_number(True), is_number("1")
        (True, True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def is_integer(value: object) -> bool:
    """Tell whether a value is an integer of Python or numpy; True and False do not count.

    Example:
        >>> is_integer(1), is_integer(1.0), is_integer(True)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_integer(name: str, value: Any, low: int) -> int:
    """Return an integer that is at least `low`, as Python's own type.

    Raises:
        InputError: It is not an integer, or smaller.

    Example:
        >>> check_integer("batch_size", 0, 1)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.ArgumentError: batch_size must be an integer of at least 1; got 0.
    """
    if not is_integer(value) or value < low:
        raise ArgumentError(name, f"must be an integer of at least {low}; got {value!r}.")
    return int(value)


def check_optional_integer(name: str, value: Any, low: int) -> int | None:
    """Return None, or an integer that is at least `low`.

    Raises:
        InputError: It is neither.

    Example:
        >>> check_optional_integer("workers", None, 1), check_optional_integer("workers", 2, 1)
        (None, 2)
    """
    if value is not None and (not is_integer(value) or value < low):
        raise InputError(f"{name} must be an integer of at least {low}, or None; got {value!r}.")
    return None if value is None else int(value)


def check_flag(name: str, value: Any) -> bool:
    """Return a bool as it is.

    Raises:
        InputError: It is anything else, such as "no", which would count as true.

    Example:
        >>> check_flag("resume", "no")
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: resume must be True or False; got 'no'.
    """
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False; got {value!r}.")
    return value


def check_arguments(what: str, arguments: Iterable[str], known: Iterable[str]) -> None:
    """Check that the names of arguments are known.

    Raises:
        InputError: One is not; the error offers the nearest name.

    Example:
        >>> check_arguments("pbt", {"intervall": 2}, ["interval", "share"])
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: pbt has no argument 'intervall'. Did you mean 'interval'?
    """
    known = list(known)
    for name in arguments:
        if name not in known:
            here = argument_here(name, known)
            raise InputError(f"{what} has no argument {name!r}{f'{here}.' if here else f'. {hint(name, known)}'}")


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Check that an argument is a number between two others, or one of them.

    Raises:
        InputError: It is not.

    Example:
        >>> check_range("share", 0.6, 0.0, 0.5)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: share must be from 0 to 0.5; got 0.6.
    """
    if not (is_number(value) and low <= value <= high):
        raise InputError(f"{name} must be from {low:g} to {high:g}; got {value!r}.")


def check_probability(name: str, value: float) -> None:
    """Check that an argument is a probability.

    Raises:
        InputError: It is not a number in [0, 1].

    Example:
        >>> check_probability("indpb", 20)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: indpb must be in [0, 1]; got 20.
    """
    if not is_number(value) or not 0 <= value <= 1:
        raise InputError(f"{name} must be in [0, 1]; got {value!r}.")
