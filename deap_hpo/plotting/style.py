"""The style that all figures share, and how figures are written to files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from deap_hpo.files import expanded, written_whole

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of Okabe & Ito (2008), which the colour-blind can tell apart. Names such as "C0" would be looked up only when
a figure is shown, and in a notebook that is after the style has been left."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
_MARKERS_OF_A_LINE = 8


@contextmanager
def style() -> Iterator[None]:
    """Use the project's style for the figures that are drawn inside, except where `rcParams` were changed before.

    So the fonts, sizes and resolution that somebody has set for a publication apply to these figures, too. A value that
    equals matplotlib's default counts as not set: matplotlib does not tell the two apart.
    """
    interactive = plt.isinteractive()
    try:
        with plt.style.context(_style()):
            try:
                yield
            finally:
                interactive = plt.isinteractive()
    finally:
        # A notebook's backend turns this on when the first figure is made. Leaving the style would turn it off again,
        # and further cells would show no figures.
        matplotlib.interactive(interactive)


def _style() -> dict[str, Any]:
    """Give the project's style, without the parameters that were changed from matplotlib's defaults."""
    with resources.as_file(resources.files("deap_hpo.plotting") / "deap_hpo.mplstyle") as file:
        ours = matplotlib.rc_params_from_file(file, use_default_template=False)
    now, default = matplotlib.rcParams, matplotlib.rcParamsDefault
    kept: dict[str, Any] = {name: value for name, value in ours.items() if now[name] == default[name]}
    if "font.size" not in kept:
        for name in kept.keys() & {"axes.titlesize", "axes.labelsize"}:
            kept[name] *= now["font.size"] / ours["font.size"]
    return kept


def figure_size(width: float, height: float) -> tuple[float, float]:
    """Give the size of a figure, for which 6.4 x 4.0 stands for ``rcParams["figure.figsize"]``."""
    of_one = matplotlib.rcParams["figure.figsize"]
    return width * (of_one[0] / 6.4), height * (of_one[1] / 4.0)


def font_size(size: float) -> float:
    """Give the size of letters, for which 9 stands for ``rcParams["font.size"]``."""
    return size * (float(matplotlib.rcParams["font.size"]) / 9)


def line_look(i: int, points: int) -> dict[str, Any]:
    """Return colour, marker and line style of the i-th of several lines; the first 49 differ even without colours.

    Args:
        i: Number of the line, from 0.
        points: Its number of points; if there are many, only some have a marker.

    Example:
        >>> line_look(7, points=5)
        {'color': '#0072B2', 'marker': '^', 'ls': '--', 'markevery': (0, 1)}
    """
    row, column = divmod(i, 7)
    # Two Latin squares of order 7, orthogonal to each other: no pair of marker and line style comes twice.
    marker, line = MARKERS[(column + 2 * row) % 7], LINES[(column + row) % 7]
    every = max(1, points // _MARKERS_OF_A_LINE)
    return {"color": COLORS[column], "marker": marker, "ls": line, "markevery": (i % every, every)}


@style()
def save(figure: Figure, path: str | Path, *, pdf: bool = True) -> list[Path]:
    """Write a figure as PNG and PDF, byte for byte the same each time, and close it.

    Args:
        figure: The figure.
        path: Path of the files, without a suffix; missing folders are made.
        pdf: Whether to write a PDF for print too, which takes longer than the PNG, since it embeds the fonts.

    Returns:
        The paths.
    """
    base = expanded(path)
    written = []
    kinds: dict[str, dict[str, None]] = {".png": {"Software": None}}
    if pdf:
        kinds[".pdf"] = {"CreationDate": None, "Producer": None}
    for suffix, metadata in kinds.items():
        target = base.with_name(base.name + suffix)
        with written_whole(target) as partial:
            figure.savefig(partial, format=suffix[1:], metadata=metadata)
        written.append(target)
    plt.close(figure)
    return written


@style()
def to_svg(figure: Figure) -> bytes:
    """Return a figure as SVG, the same each time, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return buffer.getvalue()
