"""Figures of one study, from the tables of `deap_hpo.analysis.tables`; computes nothing that a table could hold."""

from __future__ import annotations

import math
from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deap_hpo.plotting.style import (
    label_values,
    mark_without_value,
    places,
    rows_in_use,
    scale_axis,
    style,
    without_value,
)
from deap_hpo.space import Space

_PRUNED = "v"
_MOST_SHADES = 200  # generations beyond which each is too narrow to be seen, and drawing them is slow


@style()
def plot_optimization_history(trials: pd.DataFrame, *, value_name: str = "validation loss") -> Figure:
    """Draw the value of every evaluation and the best so far; of up to 200 generations, every other is shaded.

    Args:
        trials: As returned by `deap_hpo.analysis.tables.trials_table`.
        value_name: What the objective is called.
    """
    figure, axes = plt.subplots()
    _shade_generations(axes, trials)
    trained = trials[trials["status"].eq("ok") & trials["duplicate_of"].isna()]
    cached = trials[trials["status"].eq("ok") & trials["duplicate_of"].notna()]
    axes.plot(trained["number"], trained["value"], "o", ms=5, color="C0", label="evaluation")
    if len(cached):
        axes.plot(cached["number"], cached["value"], "o", ms=5, mfc="none", color="C0", label="repeated configuration")
    axes.step(trials["number"], trials["best"], where="post", color="C1", lw=2, label="best so far")
    pruned = trials[trials["status"].eq("pruned")]
    if len(pruned):
        axes.plot(pruned["number"], pruned["value"], _PRUNED, ms=5, mfc="none", color="0.5", label="pruned")
    bad = without_value(trials)
    mark_without_value(axes, bad["number"], _no_value(bad))
    axes.set_xlabel("evaluation")
    label_values(axes, value_name)
    axes.set_title("Optimisation history")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@style()
def plot_intermediate_values(epochs: pd.DataFrame, best: int, *, value_name: str = "validation loss") -> Figure:
    """Draw the validation loss of every evaluation over its epochs, with that of number `best` highlighted.

    Args:
        epochs: As returned by `deap_hpo.analysis.lineages.curves_table`, which joins the parts of a training, or
            `deap_hpo.analysis.tables.epochs_table`.
        best: Number of the evaluation to highlight.
        value_name: What the values are called.
    """
    figure, axes = plt.subplots()
    others: list[tuple[float, float]] = []  # One line with gaps: thousands of lines take a minute.
    for number, curve in epochs.groupby("number"):
        points = zip(curve["epoch"], curve["validation_loss"], strict=True)
        if number == best:
            name = f"best (evaluation {best})"
            axes.plot(*zip(*points, strict=True), marker="o", ms=4, lw=2.5, color="C1", zorder=3, label=name)
        else:
            others += [*points, (math.nan, math.nan)]
    axes.plot([x for x, _ in others], [y for _, y in others], marker="o", ms=2, lw=1, color="0.6", zorder=2)
    axes.plot([], [], color="0.6", lw=1, label="the others")
    axes.set_xlabel("epoch")
    label_values(axes, value_name)
    axes.set_title("Validation loss during training")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@style()
def plot_slice(trials: pd.DataFrame, space: Space, *, value_name: str = "validation loss") -> Figure:
    """Draw each hyperparameter against the value, one panel each, coloured by generation.

    Args:
        trials: As returned by `deap_hpo.analysis.tables.trials_table`.
        space: The search space: it gives names and scales.
        value_name: What the objective is called.
    """
    columns = min(3, len(space))
    rows = -(-len(space) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.2 * columns, 3.1 * rows), sharey=True, squeeze=False)
    kinds = {status: trials[trials["status"].eq(status)] for status in ("ok", "pruned")}
    bad = without_value(trials)
    panels = grid.ravel()
    colours = Normalize(trials["generation"].min(), trials["generation"].max())  # the same in all panels
    for axes, (name, hyperparameter) in zip(panels, space.items(), strict=False):
        column = f"params_{name}"
        scale_axis(axes, hyperparameter)
        for status, marker in (("ok", "o"), ("pruned", _PRUNED)):
            rows = rows_in_use(kinds[status], column)
            if status == "pruned" and not len(rows):
                continue
            points = axes.scatter(
                places(rows[column], hyperparameter), rows["value"], c=rows["generation"], norm=colours, s=25,
                ec="white", lw=0.5, marker=marker, label="pruned" if status == "pruned" else None,
            )  # fmt: skip
        mark_without_value(axes, places(rows_in_use(bad, column)[column], hyperparameter), _no_value(bad))
        axes.set_xlabel(fill(name, 26))  # about as wide as a panel
    for axes in panels[len(space) :]:
        axes.set_axis_off()
    for row in grid:
        label_values(row[0], value_name)
    marks = {name: mark for axes in panels for mark, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if marks:
        figure.legend(marks.values(), marks.keys(), loc="outside lower left", ncols=2)
    bar = figure.colorbar(points, ax=panels.tolist(), label="generation")
    bar.locator = MaxNLocator(integer=True)
    bar.update_ticks()
    figure.suptitle("Hyperparameters against the objective")
    return figure


def _shade_generations(axes: Axes, trials: pd.DataFrame) -> None:
    if trials["generation"].nunique() > _MOST_SHADES:
        return
    for generation, batch in trials.groupby("generation"):
        if int(generation) % 2 == 1:
            axes.axvspan(batch["number"].min() - 0.5, batch["number"].max() + 0.5, color="0.95", lw=0, zorder=0)


def _no_value(bad: pd.DataFrame) -> str:
    infeasible = "infeasible, " if bad["status"].eq("infeasible").any() else ""
    return f"no value ({infeasible}diverged or failed)"
