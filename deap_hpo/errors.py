"""The one error type for what a user gave: its message is the whole story, so the command line prints it bare."""

from collections.abc import Iterable
from difflib import get_close_matches


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
