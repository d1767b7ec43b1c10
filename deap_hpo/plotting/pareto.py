"""The figure of several objectives: every evaluation, with the Pareto front highlighted; computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from deap_hpo.evaluation import Direction
from deap_hpo.plotting.axes import label_values, literal, log_scale
from deap_hpo.plotting.marks import BROKEN, BROKEN_LOOK
from deap_hpo.plotting.style import figure_size, font_size, style

_DECADES = 30.0  # ratio of largest to smallest value above which an axis is logarithmic
_APART = 12.0  # least distance of two marks with numbers, in points (1/72 inch)
_GAP = 3.0  # least gap between two numbers, in points


@style()
def plot_pareto_front(table: pd.DataFrame, objectives: Sequence[str], directions: Sequence[Direction]) -> Figure:
    """Draw the first objective against each other one: all evaluations, and the front coloured by generation.

    With two objectives, a staircase bounds the region that the front dominates. With more, there are several panels; in
    one of them, a point of the front may look dominated, because it is better in an objective of another panel.

    Args:
        table: As returned by `deap_hpo.analysis.fronts.front_table`.
        objectives: Names of at least 2 objectives, for which the table has columns `values_*`.
        directions: "minimize" or "maximize" for each.
    """
    others = list(zip(objectives, directions, strict=True))[1:]
    first = f"values_{objectives[0]}"
    figure, grid = plt.subplots(
        1, len(others), figsize=figure_size(max(6.4, 3.6 * len(others) + 1.2), 4.2), sharey=True, squeeze=False
    )
    front = table[table["front"]]
    broken, dominated = table[table["violation"].gt(0)], table[table["violation"].eq(0) & ~table["front"]]
    for axes, (name, direction) in zip(grid[0], others, strict=True):
        column = f"values_{name}"
        axes.plot(dominated[column], dominated[first], "o", ms=4, color="0.7", mec="none", label="dominated")
        axes.plot(broken[column], broken[first], ls="", ms=5, label=BROKEN, **BROKEN_LOOK)
        if len(others) == 1:
            line = front.sort_values(column)  # each step bounds what the point on its better side dominates
            where = "post" if direction == "minimize" else "pre"
            axes.step(line[column], line[first], where=where, color="0.3", lw=1)
        points = axes.scatter(
            front[column], front[first], c=front["generation"], s=42, ec="black", lw=0.8, zorder=3, vmin=0,
            vmax=max(1, table["generation"].max()), label="Pareto front",
        )  # fmt: skip
        axes.set_xlabel(_labelled(name, direction))
        _scale(axes, table[column])
    label_values(grid[0][0], _labelled(objectives[0], directions[0]), directions[0])
    bar = figure.colorbar(points, ax=grid[0].tolist(), label="generation (of the front)")
    bar.locator = MaxNLocator(integer=True)
    bar.update_ticks()
    handles, labels = grid[0][0].get_legend_handles_labels()
    shown = [i for i, label in enumerate(labels) if label != BROKEN or len(broken)]
    figure.legend([handles[i] for i in shown], [labels[i] for i in shown], loc="outside lower center", ncols=3)
    figure.suptitle("Pareto front: what no other evaluation beats in everything")
    figure.draw_without_rendering()  # computes the layout
    for axes, (name, direction) in zip(grid[0], others, strict=True):
        _number(axes, front.set_index("number")[[f"values_{name}", first]], rising=direction != directions[0])
    return figure


def _number(axes: Axes, points: pd.DataFrame, *, rising: bool) -> None:
    """Write beside each point, if there is room, the number that ``export --evaluation`` takes.

    If the front is rising, the number stands to the left, where no other point of the front is.
    """
    beside: dict[str, Any] = {"xytext": (-5, 4), "ha": "right"} if rising else {"xytext": (5, 4), "ha": "left"}
    written: list[tuple[NDArray[np.float64], Bbox]] = []
    point = axes.figure.get_dpi() / 72  # 1/72 inch, in pixels
    for number, at in points.iterrows():
        place = axes.transData.transform(at.to_numpy(dtype=float)) / point
        if any(np.hypot(*(place - other)) <= _APART for other, _ in written):
            continue
        text = axes.annotate(str(number), at, **beside, textcoords="offset points", fontsize=font_size(7))
        box = text.get_window_extent().padded(_GAP / 2 * point)
        if any(box.overlaps(other) for _, other in written):
            text.remove()
        else:
            written.append((place, box))


def _labelled(name: str, direction: Direction) -> str:
    return f"{literal(name)} ({'less' if direction == 'minimize' else 'more'} is better)"


def _scale(axes: Axes, values: pd.Series[float]) -> None:
    """Choose a log scale for values that span decades, as numbers of parameters do."""
    if values.min() > 0 and values.max() / values.min() > _DECADES:
        log_scale(axes, "x")
        axes.xaxis.set_major_locator(LogLocator(numticks=8))
        axes.xaxis.set_minor_formatter(NullFormatter())
