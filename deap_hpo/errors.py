"""The one error type for what a user gave: its message is the whole story, so the command line prints it bare."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """An argument, a file or a setting cannot be used.

    The message is one sentence or two: what it is about, what was expected, what was given, what to do.
    """


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Give the known name that was probably meant; None where none is similar enough.

    Args:
        name: What was given.
        known: The names that there are.
        cutoff: Similarity from which on a name is offered, in [0, 1].
    """
    return next(iter(get_close_matches(str(name), list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Give a bracket with the name that was probably meant, to go into a sentence; nothing where none is similar.

    Example:
        >>> did_you_mean("popluation", ["population", "seed"]), did_you_mean("x", ["population", "seed"])
        (" (did you mean 'population'?)", '')
    """
    near = nearest(name, known, cutoff=cutoff)
    return f" (did you mean {near!r}?)" if near else ""


def hint(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Give a sentence with the name that was probably meant, or else with all that there are.

    Example:
        >>> hint("popluation", ["population", "seed"]), hint("x", ["population", "seed"])
        ("Did you mean 'population'?", 'There are: population, seed.')
    """
    names = list(known)
    near = nearest(name, names, cutoff=cutoff)
    return f"Did you mean {near!r}?" if near else f"There are: {', '.join(names)}."
