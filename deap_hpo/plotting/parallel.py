"""Parallel coordinates of a study, from the table of `deap_hpo.analysis.tables`: one line for each evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from deap_hpo.evaluation import Direction
from deap_hpo.plotting.axes import has_names, rows_in_use, wrapped
from deap_hpo.plotting.marks import kinds
from deap_hpo.plotting.style import COLORS, figure_size, font_size, style
from deap_hpo.search_space.space import Categorical, Hyperparameter, Int, Space

_TICKS = 5
_MOST_CHOICES = 12  # names of choices on an axis
_NOT_IN_USE = -0.12  # below the axis, where nothing else is
_DISTINCT = 60  # lines; the more there are beyond these, the paler they are
_WORST, _BEST = 0.2, 0.85  # shades of grey


@style()
def plot_parallel_coordinate(
    trials: pd.DataFrame, space: Space, *, value_name: str = "validation loss", direction: Direction = "minimize"
) -> Figure:
    """Draw every evaluation as a line through its hyperparameters to its value; the better, the darker.

    Each hyperparameter has its own axis, on its scale; lines of evaluations without it pass below. The axis of values
    is logarithmic if all are positive and small ones are good. Evaluations are left out if they have no value, break a
    constraint, repeat another or were pruned; among trainings in parts, also those with fewer epochs than the longest.

    Args:
        trials: As returned by `deap_hpo.analysis.tables.trials_table`.
        space: The search space: it gives names and scales.
        value_name: Name of the objective.
        direction: Whether lower or higher values are better.

    Example:
        >>> from deap_hpo import Float
        >>> rows = {"number": [0, 1], "value": [0.5, 0.4], "status": "ok", "duplicate_of": None, "params_x": [0.1, 0.7]}
        >>> figure = plot_parallel_coordinate(pd.DataFrame(rows), Space({"x": Float(0.0, 1.0)}))
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['best (evaluation 1)']

    Source: Inselberg, "The plane with parallel coordinates", The Visual Computer 1, 1985.
    """
    whole, title = trials[kinds(trials).eq("evaluation")], "Hyperparameters of every evaluation"
    if "epochs" in whole and whole["epochs"].nunique() > 1:
        longest = whole["epochs"].max()
        whole, title = whole[whole["epochs"].eq(longest)], f"Hyperparameters of trainings of {longest} epochs"
    # The best comes last, on top; among equal ones, the first evaluation does.
    rows = whole.iloc[::-1].sort_values("value", ascending=direction == "maximize", kind="stable")
    values = rows["value"].to_numpy(float)
    log = direction == "minimize" and bool(values.min() > 0)
    columns = [_heights(rows, f"params_{name}", one) for name, one in space.items()]
    lines = np.stack([*columns, _between(values, log)], axis=1)
    figure, axes = plt.subplots(figsize=figure_size(max(4.8, 1.4 * lines.shape[1]), 4.0))
    segments = np.stack([np.broadcast_to(np.arange(lines.shape[1]), lines.shape), lines], axis=2)
    shades = np.linspace(_WORST, _BEST, len(lines))  # by rank, so that bad outliers do not dominate the scale
    greys = plt.get_cmap("Greys")(shades)
    pale = min(1.0, _DISTINCT / len(lines)) ** 0.5
    axes.add_collection(LineCollection(list(segments), colors=greys, alpha=pale, lw=1))
    best = f"best (evaluation {rows['number'].iloc[-1]})"
    axes.plot(*segments[-1].T, color=COLORS[1], lw=2.5, marker="o", ms=4, label=best, zorder=3)
    for at, (one, column) in enumerate(zip(space.values(), columns, strict=True)):
        heights, names = _ticks(one)
        gaps = [(_NOT_IN_USE, "not in use")] if min(column) < 0 else []
        _draw_axis(axes, at, [*heights, *(at for at, _ in gaps)], [*names, *(name for _, name in gaps)])
    places = np.linspace(0, 1, _TICKS).tolist() if np.ptp(values) else [0.5]
    _draw_axis(axes, len(space), places, [f"{one:.3g}" for one in _values_at(np.array(places), values, log)])
    axes.set_xticks(range(lines.shape[1]), [wrapped(name, 14) for name in (*space, value_name)])
    axes.set(xlim=(-0.5, len(space) + 0.3), ylim=(-0.2 if (lines < 0).any() else -0.05, 1.05), yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_title(title)
    figure.legend(loc="outside lower center")
    return figure


def _heights(rows: pd.DataFrame, column: str, hyperparameter: Hyperparameter) -> Any:
    """Heights of the values of a hyperparameter on its axis, from 0 to 1: their genes."""
    used = rows_in_use(rows, column).index
    exact = int if isinstance(hyperparameter, Int) else lambda value: value  # in a column with gaps, ints are floats
    return [hyperparameter.encode(exact(rows.at[i, column])) if i in used else _NOT_IN_USE for i in rows.index]


def _ticks(hyperparameter: Hyperparameter) -> tuple[list[float], list[str]]:
    """Heights and names of the ticks of a hyperparameter's axis; of many choices, only every second or so has one."""
    values: Sequence[Any] = hyperparameter.grid(_TICKS)
    if isinstance(hyperparameter, Categorical):
        values = values[:: -(-len(values) // _MOST_CHOICES)]
    heights = [hyperparameter.encode(one) for one in values]
    digits = 6 if isinstance(hyperparameter, Int) else 3
    return heights, [wrapped(str(one), 12) if has_names(hyperparameter) else f"{one:.{digits}g}" for one in values]


def _between(values: Any, log: bool) -> Any:
    """Heights of values between the lowest and the highest."""
    scaled = np.log(values) if log else values
    width = np.ptp(scaled)
    return (scaled - scaled.min()) / width if width else np.full(len(values), 0.5)


def _values_at(heights: Any, values: Any, log: bool) -> Any:
    """The values at heights: the inverse of `_between`."""
    low, high = (np.log(values.min()), np.log(values.max())) if log else (values.min(), values.max())
    at = low + heights * (high - low)
    return np.exp(at) if log else at


def _draw_axis(axes: Axes, at: int, heights: Sequence[float], names: Sequence[str]) -> None:
    axes.plot([at, at], [0, 1], color="0.3", lw=1, zorder=2)
    for height, name in zip(heights, names, strict=True):
        axes.plot([at - 0.03, at], [height, height], color="0.3", lw=1, zorder=2)
        box = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.9}
        axes.text(at - 0.05, height, name, ha="right", va="center", fontsize=font_size(7), bbox=box, zorder=4)
