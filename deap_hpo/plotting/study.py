"""Figures of one study, from the tables of `deap_hpo.analysis.tables`; computes nothing that a table could hold."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deap_hpo.evaluation import Direction
from deap_hpo.plotting.axes import label_values, literal, places, rows_in_use, scale_axis, wrapped
from deap_hpo.plotting.marks import BROKEN, BROKEN_LOOK, kinds, mark_without_value, no_value, without_value
from deap_hpo.plotting.style import COLORS, figure_size, style
from deap_hpo.search_space.space import Categorical, Space

_LOOKS: dict[str, dict[str, Any]] = {
    "evaluation": {"marker": "o", "color": COLORS[0]},
    "repeated configuration": {"marker": "o", "color": COLORS[0], "mfc": "none"},
    "pruned": {"marker": "v", "color": "0.5", "mfc": "none"},
    BROKEN: BROKEN_LOOK,
}
_MOST_SHADES = 200  # with more generations, each is too narrow to be seen, and drawing them is slow


@style()
def plot_optimization_history(
    trials: pd.DataFrame, *, value_name: str = "validation loss", direction: Direction = "minimize"
) -> Figure:
    """Draw the value of every evaluation and the best so far; with up to 200 generations, every other one is shaded.

    If trainings are in parts, those with fewer epochs than the longest are pale.

    Args:
        trials: As returned by `deap_hpo.analysis.tables.trials_table`.
        value_name: Name of the objective.
        direction: Whether lower or higher values are better.
    """
    figure, axes = plt.subplots()
    _shade_generations(axes, trials)
    of_kind = kinds(trials)
    for kind, look in _LOOKS.items():
        rows = trials[of_kind.eq(kind)]
        if kind == "evaluation" and _has_parts(trials):
            longest = trials["epochs"].max()
            early = rows["epochs"].lt(longest)
            axes.plot(
                rows["number"][early], rows["value"][early], ls="", ms=5, label="fewer epochs", alpha=0.35, **look
            )
            axes.plot(rows["number"][~early], rows["value"][~early], ls="", ms=5, label=f"{longest} epochs", **look)
        elif len(rows) or kind == "evaluation":
            axes.plot(rows["number"], rows["value"], ls="", ms=5, label=kind, **look)
    axes.step(trials["number"], trials["best"], where="post", color=COLORS[1], lw=2, label="best so far")
    bad = without_value(trials)
    mark_without_value(axes, bad["number"], no_value(bad), direction=direction)
    axes.set_xlabel("evaluation")
    label_values(axes, value_name, direction)
    axes.set_title("Optimisation history")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@style()
def plot_intermediate_values(
    epochs: pd.DataFrame,
    best: int,
    *,
    value_name: str = "validation loss",
    direction: Direction = "minimize",
    objective: str = "validation loss",
    metric: str | None = None,
    kept: float | None = None,
) -> Figure:
    """Draw the learning curve of every evaluation over its epochs, with that of number `best` highlighted.

    Args:
        epochs: As returned by `deap_hpo.analysis.lineages.curves_table`, which joins the parts of a training, or
            `deap_hpo.analysis.tables.epochs_table`.
        best: Number of the evaluation to highlight.
        value_name: Name of the values that the curves show.
        direction: Whether lower or higher values are better.
        objective: Name of the objective in which `best` is the best; it may differ from `value_name`.
        metric: Name of the metric that is drawn; None for the validation loss.
        kept: The epoch whose weights the best evaluation's network has, to be marked; None for its last.
    """
    column = "validation_loss" if metric is None else f"metrics_{metric}"
    figure, axes = plt.subplots()
    others: list[tuple[float, float]] = []  # One line with gaps: thousands of lines take a minute.
    for number, curve in epochs.groupby("number"):
        points = list(zip(curve["epoch"], curve[column], strict=True))
        if number == best:
            name = f"best {objective} (evaluation {best})"
            axes.plot(*zip(*points, strict=True), marker="o", ms=4, lw=2.5, color=COLORS[1], zorder=3, label=name)
            marked = [point for point in points if point[0] == kept]
            if marked:
                axes.plot(
                    *marked[0], marker="*", ms=13, linestyle="", color=COLORS[1], zorder=4, label="its best epoch"
                )
        else:
            others += [*points, (math.nan, math.nan)]
    axes.plot([x for x, _ in others], [y for _, y in others], marker="o", ms=2, lw=1, color="0.6", zorder=2)
    if others:
        axes.plot([], [], color="0.6", lw=1, label="the others")
    axes.set_xlabel("epoch")
    label_values(axes, value_name, direction)
    axes.set_title(literal(f"{value_name[:1].upper()}{value_name[1:]} by epoch"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@style()
def plot_slice(
    trials: pd.DataFrame,
    space: Space,
    *,
    value_name: str = "validation loss",
    direction: Direction = "minimize",
) -> Figure:
    """Draw the value against each hyperparameter in a panel, coloured by generation (trainings in parts: by epochs).

    Args:
        trials: As returned by `deap_hpo.analysis.tables.trials_table`.
        space: The search space: it gives names and scales.
        value_name: Name of the objective.
        direction: Whether lower or higher values are better.
    """
    columns = min(3, len(space))
    rows = -(-len(space) // columns)
    size = figure_size(max(3.2 * columns, 4.8), 3.1 * rows)  # the title needs some width
    figure, grid = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
    of_kind = kinds(trials).replace("repeated configuration", "evaluation")
    bad = without_value(trials)
    panels = grid.ravel()
    area = max(5.0, 25 * min(1.0, 200 / len(trials)))  # large points of the latest of thousands would cover the others
    by = "epochs" if _has_parts(trials) else "generation"
    colours = Normalize(trials[by].min(), trials[by].max())  # the same in all panels
    for axes, (name, hyperparameter) in zip(panels, space.items(), strict=False):
        column = f"params_{name}"
        scale_axis(axes, hyperparameter)
        for kind in ("evaluation", "pruned", BROKEN):
            used = rows_in_use(trials[of_kind.eq(kind)], column)
            if kind != "evaluation" and not len(used):
                continue
            points = axes.scatter(
                places(used[column], hyperparameter), used["value"], c=used[by].astype(float), norm=colours, s=area,
                ec="0.3", lw=0.3, marker=_LOOKS[kind]["marker"], label=None if kind == "evaluation" else kind,
            )  # fmt: skip
        at = places(rows_in_use(bad, column)[column], hyperparameter)
        mark_without_value(axes, at, no_value(bad), direction=direction)
        if isinstance(hyperparameter, Categorical):
            axes.margins(x=0.15)
        axes.set_xlabel(wrapped(name))
    for axes in panels[len(space) :]:
        axes.set_axis_off()
    for row in grid:
        label_values(row[0], value_name, direction)
    marks = {name: mark for axes in panels for mark, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if marks:
        figure.legend(marks.values(), marks.keys(), loc="outside lower left", ncols=2)
    if colours.vmin != colours.vmax:
        bar = figure.colorbar(points, ax=panels.tolist(), label=by, shrink=min(1.0, 2 / len(grid)))
        bar.locator = MaxNLocator(integer=True)
        bar.update_ticks()
    figure.suptitle("Hyperparameters against the objective")
    figure.align_xlabels()
    return figure


def _has_parts(trials: pd.DataFrame) -> bool:
    """Tell whether trainings were evaluated after different numbers of epochs."""
    return "epochs" in trials and trials["epochs"].nunique() > 1


def _shade_generations(axes: Axes, trials: pd.DataFrame) -> None:
    if trials["generation"].nunique() > _MOST_SHADES:
        return
    label: str | None = "every other generation"
    for generation, batch in trials.groupby("generation"):
        if int(generation) % 2 == 1:
            ends = batch["number"].min() - 0.5, batch["number"].max() + 0.5
            axes.axvspan(*ends, color="0.95", lw=0, zorder=0, label=label)
            label = None
