"""Which hyperparameters a figure has panels for, and how its title says so."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from deap_hpo.plotting.style import style
from deap_hpo.search_space.space import Space

MOST_PANELS = 12  # more are too many to look at


def panels(space: Space, important: Sequence[str] | None) -> tuple[list[str], str]:
    """Choose the hyperparameters that have panels, and say which they are if not all have.

    Args:
        space: The search space.
        important: Its hyperparameters, the most important first; None if that is not known.

    Returns:
        At most 12 names, the most important or else the first, and the text to add to a title or a caption.

    Example:
        >>> from deap_hpo import Float
        >>> names, which = panels(Space({f"x{i}": Float(0.0, 1.0) for i in range(40)}), None)
        >>> len(names), which
        (12, ': the 12 first of 40')
    """
    if len(space) <= MOST_PANELS:
        return list(space), ""
    names, which = (list(space), "first") if important is None else (list(important), "most important")
    return names[:MOST_PANELS], f": the {MOST_PANELS} {which} of {len(space)}"


@style()
def entitled(figure: Figure, more: str) -> Figure:
    """Add text to the title of a figure, and return the figure.

    Example:
        >>> figure = Figure()
        >>> _ = figure.suptitle("Losses")
        >>> entitled(figure, ", by epoch").get_suptitle()
        'Losses, by epoch'
    """
    figure.suptitle(f"{figure.get_suptitle()}{more}")
    return figure
