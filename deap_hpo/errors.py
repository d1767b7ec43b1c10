"""Errors and warnings for users: one error type for wrong input, and warnings that point at the user's line.

A message can be understood on its own, so the command line prints it without a traceback.
"""

import json
import sys
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

# Packages whose frames lie between the user's line and a warning.
_NOT_THE_USERS = {"deap_hpo", "deap", "contextlib", "functools", "sklearn"}
_MOST_CHARACTERS = 200  # of a value in a sentence


class InputError(ValueError):
    """An argument, a file or a setting cannot be used.

    The message is a sentence or two: the argument, what was expected, what was given, and what to do.
    """


class ArgumentError(InputError):
    """The value given for an argument cannot be used.

    To raise it under another name, such as that of a setting: ``ArgumentError(other_name, error.rest)``.

    Args:
        name: Name of the argument.
        rest: The rest of the message: "must be an integer of at least 1; got 0."

    Example:
        >>> error = ArgumentError("epochs", "must be at least 1; got 0.")
        >>> str(error), str(ArgumentError("training.epochs", error.rest))
        ('epochs must be at least 1; got 0.', 'training.epochs must be at least 1; got 0.')
    """

    def __init__(self, name: str, rest: str) -> None:
        super().__init__(f"{name} {rest}")
        self.name, self.rest = name, rest

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.rest)


class ResultError(InputError):
    """An objective returned something that it must not return; this does not depend on the hyperparameters."""


class DeapHPOWarning(RuntimeWarning):
    """The category of all warnings of this package, for filters.

    Example:
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", DeapHPOWarning)
        ...     warn("something is odd")
        Traceback (most recent call last):
            ...
        deap_hpo.errors.DeapHPOWarning: something is odd
    """


class FailureNotice(DeapHPOWarning):
    """The warning that an evaluation has failed."""


def warn(message: str, category: type[DeapHPOWarning] = DeapHPOWarning) -> None:
    """Warn, with the location of the user's line that led to the warning.

    Args:
        message: A sentence without its full stop.
        category: The category of the warning.

    Warns:
        DeapHPOWarning: Always, of the given category.

    Example:
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warnings.simplefilter("always")
        ...     warn("something is odd")
        >>> str(told[0].message), told[0].category.__name__
        ('something is odd', 'DeapHPOWarning')
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USERS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Give the known name that was probably meant; None if none is similar enough.

    Args:
        name: The given name; case does not matter.
        known: The known names.
        cutoff: The least similarity of a name, in [0, 1].
    """
    names = {one.lower(): one for one in known}
    near = get_close_matches(str(name).lower(), list(names), n=1, cutoff=cutoff)
    return names[near[0]] if near else None


def did_you_mean(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Give the name that was probably meant, in brackets for use in a sentence; empty if none is similar.

    Example:
        >>> did_you_mean("popluation", ["population", "seed"]), did_you_mean("x", ["population", "seed"])
        (" (did you mean 'population'?)", '')
    """
    near = nearest(name, known, cutoff=cutoff)
    return f" (did you mean {near!r}?)" if near else ""


def hint(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Give a sentence with the name that was probably meant, or with all known names if none is similar.

    Example:
        >>> hint("popluation", ["population", "seed"]), hint("x", ["population", "seed"])
        ("Did you mean 'population'?", 'There are: population, seed.')
    """
    names = list(known)
    near = nearest(name, names, cutoff=cutoff)
    return f"Did you mean {near!r}?" if near else f"There are: {', '.join(names)}."


def shown(value: object) -> str:
    """Give the text of a value for a sentence, cut off if it is long, as that of a tensor.

    Example:
        >>> shown([0.5] * 100)[180:]
        ' 0.5, 0.5, 0.5, 0...'
    """
    text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."


def different_genes(recorded: Sequence[Any], given: Sequence[Any]) -> tuple[str, str]:
    """Describe two genomes that differ for a sentence; if they are long, by the first gene that does.

    Example:
        >>> different_genes((0.5, 1.0), (0.5, 0.0)), different_genes((0.0,) * 100, (0.0,) * 99 + (1.0,))
        (('genes (0.5, 1.0)', '(0.5, 0.0)'), ('gene_99 = 0.0', 'gene_99 = 1.0'))
    """
    if max(len(repr(recorded)), len(repr(given))) <= _MOST_CHARACTERS:
        return f"genes {recorded!r}", repr(given)
    texts = [list(map(repr, genes)) for genes in (recorded, given)]  # as text, NaN equals NaN
    place = _place(*texts)
    if place == min(map(len, texts)):
        return f"number of genes {len(recorded)}", f"{len(given)}; the first {place} are the same"
    old, new = (one[place] for one in texts)
    at = _place(old, new)
    return f"gene_{place} = {_around(old, at)}", f"gene_{place} = {_around(new, at)}"


def _place(first: Sequence[str], second: Sequence[str]) -> int:
    """Find the first place at which sequences differ; at the latest where the shorter one ends."""
    return next(
        (i for i, (one, other) in enumerate(zip(first, second, strict=False)) if one != other),
        min(len(first), len(second)),
    )


def _around(text: str, at: int) -> str:
    """Give a text, or the part around a position if it is long."""
    if len(text) <= _MOST_CHARACTERS:
        return text
    start, end = max(0, at - 50), at + 50
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"


def first_difference(recorded: Any, given: Any) -> tuple[str, str]:
    """Find the first entry in which two JSON values differ, and describe it for a sentence.

    Example:
        >>> first_difference({"data": {"name": "digits"}, "epochs": 2}, {"data": {"name": "iris"}, "epochs": 2})
        ('data.name = "digits"', 'data.name = "iris"')
        >>> first_difference({"x": 1}, {"x": 1, "y": 2})
        ('y not set', 'y = 2')
    """
    if not isinstance(recorded, dict) or not isinstance(given, dict):
        return json.dumps(recorded), json.dumps(given)
    for key in [*recorded, *given]:
        if key not in recorded or key not in given:
            told = [f"{key} = {json.dumps(one[key])}" if key in one else f"{key} not set" for one in (recorded, given)]
            return told[0], told[1]
        if recorded[key] != given[key]:
            inner = first_difference(recorded[key], given[key])
            joint = "." if isinstance(recorded[key], dict) and isinstance(given[key], dict) else " = "
            return f"{key}{joint}{inner[0]}", f"{key}{joint}{inner[1]}"
    return json.dumps(recorded), json.dumps(given)
