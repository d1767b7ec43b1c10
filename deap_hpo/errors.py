"""The one error type for what a user gave: its message is the whole story, so the command line prints it bare."""

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral, Real


class InputError(ValueError):
    """An argument, a file or a setting cannot be used.

    The message is one sentence or two: what it is about, what was expected, what was given, what to do.
    """


def hint(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Say which name was probably meant, or else which there are.

    Example:
        >>> hint("popluation", ["population", "seed"]), hint("x", ["population", "seed"])
        ("Did you mean 'population'?", 'There are: population, seed.')
    """
    names = list(known)
    near = get_close_matches(str(name), names, n=1, cutoff=cutoff)
    return f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names)}."


def is_number(value: object) -> bool:
    """Tell whether a value is a real number; True and False, which Python counts among them, are none.

    Example:
        >>> is_number(1), is_number(0.5), is_number(True), is_number("1")
        (True, True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def is_integer(value: object) -> bool:
    """Tell whether a value is a whole number, of Python or numpy; True and False are none.

    Example:
        >>> is_integer(1), is_integer(1.0), is_integer(True)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)
