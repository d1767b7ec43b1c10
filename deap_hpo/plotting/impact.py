"""Figures of the effects of hyperparameters, from the tables of `deap_hpo.analysis`; computes nothing."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deap_hpo.evaluation import Direction
from deap_hpo.plotting.axes import (
    has_names,
    label_values,
    literal,
    log_scale,
    number_log_scale,
    places,
    rows_in_use,
    scale_axis,
    wrapped,
)
from deap_hpo.plotting.marks import mark_without_value, no_value, without_value
from deap_hpo.plotting.style import COLORS, figure_size, font_size, style
from deap_hpo.search_space.space import Categorical, Hyperparameter, Space

_MOST_COLUMNS = 4  # with more columns, panels are too small on a page


@style()
def plot_param_importances(importances: pd.DataFrame, *, title: str = "Importance of each hyperparameter") -> Figure:
    """Draw the importances of hyperparameters, over the whole space and among the best, each with its spread.

    Args:
        importances: As returned by `deap_hpo.analysis.importance.importances`.
        title: Title of the figure.
    """
    figure, axes = plt.subplots(figsize=figure_size(6.4, 1.6 + 0.5 * len(importances)))
    kinds = (
        ("fanova", COLORS[0], "", "whole space (fANOVA)"),
        ("ped_anova", COLORS[4], "///", "the best tenth (PED-ANOVA)"),
    )
    for i, (column, colour, hatch, name) in enumerate(kinds):
        heights = [place + (i - 0.5) * 0.36 for place in range(len(importances))]
        share, spread = importances[column], importances[f"{column}_std"]
        ends = [np.minimum(spread, share), np.minimum(spread, 1 - share)]  # a share is between 0 and 1
        bars = axes.barh(
            heights, share, 0.34, color=colour, hatch=hatch, ec="white", label=name, xerr=ends, error_kw={"lw": 1}
        )
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=font_size(8))
    axes.set_yticks(range(len(importances)), [wrapped(name) for name in importances["hyperparameter"]])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share, ± 1 standard deviation over resamples")
    figure.suptitle(title)  # centred on the figure, not on the axes, which long names shift
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@style()
def plot_partial_dependence(
    dependence: pd.DataFrame,
    trials: pd.DataFrame,
    space: Space,
    *,
    value_name: str = "validation loss",
    direction: Direction = "minimize",
) -> Figure:
    """Draw every complete evaluation against each hyperparameter, and over them the modelled mean effect.

    Args:
        dependence: As returned by `deap_hpo.analysis.impact.partial_dependence`.
        trials: As returned by `deap_hpo.analysis.tables.trials_table`.
        space: The search space: it gives names and scales.
        value_name: Name of the objective.
        direction: Whether lower or higher values are better.
    """
    columns = min(_MOST_COLUMNS, len(space))
    rows = -(-len(space) // columns)
    size = figure_size(max(2.9 * columns, 5.8), 2.9 * rows + 0.5)  # titles and legends need some width
    figure, grid = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
    panels = grid.ravel().tolist()
    good, bad = trials[trials["status"].eq("ok")], without_value(trials)
    for axes, name in zip(panels, space, strict=False):
        hyperparameter, column = space[name], f"params_{name}"
        curve = dependence[dependence["hyperparameter"].eq(name)]
        well, ill = rows_in_use(good, column), rows_in_use(bad, column)
        scale_axis(axes, hyperparameter)
        at = places(well[column], hyperparameter)
        axes.plot(at, well["value"], "o", ms=3, color="0.6", mec="none", label="one evaluation")
        mark_without_value(axes, places(ill[column], hyperparameter), no_value(bad), direction=direction, size=4)
        along, low, high = places(curve["value"], hyperparameter), curve["low"], curve["high"]
        band = {"color": COLORS[0], "alpha": 0.15, "label": "80 % of the evaluations' own curves"}
        if isinstance(hyperparameter, Categorical):  # nothing lies between its choices
            axes.vlines(along, low, high, lw=10, **band)
            axes.plot(along, curve["mean"], "_", color=COLORS[0], ms=10, mew=2, label="modelled mean")
        else:
            axes.fill_between(along, low, high, lw=0, **band)
            axes.plot(along, curve["mean"], color=COLORS[0], lw=2, label="modelled mean")
        axes.set_xlabel(wrapped(name))
    for axes in panels[len(space) :]:
        axes.set_axis_off()
    for row in grid:
        label_values(row[0], value_name, direction)
    named = (reversed(axes.get_legend_handles_labels()) for axes in reversed(panels[: len(space)]))
    handles = {label: handle for pairs in named for label, handle in zip(*pairs, strict=True)}
    in_a_row = len(handles) if columns > 2 else 2
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=in_a_row)
    several = "What each hyperparameter does, averaged over the others"
    figure.suptitle(several if len(space) > 1 else "What the hyperparameter does")
    figure.align_xlabels()
    return figure


@style()
def plot_interactions(
    maps: pd.DataFrame,
    trials: pd.DataFrame,
    space: Space,
    *,
    value_name: str = "validation loss",
    direction: Direction = "minimize",
) -> Figure:
    """Draw the modelled objective over two hyperparameters at a time, with the trainings that it was fitted to.

    Pruned trainings are not in the model, and are not drawn. If one of the two has choices with names, each choice has
    its own strip, since nothing lies between them.

    Args:
        maps: As returned by `deap_hpo.analysis.impact.interactions`.
        trials: As returned by `deap_hpo.analysis.tables.trials_table`.
        space: The search space: it gives names and scales.
        value_name: Name of the objective.
        direction: Whether lower or higher values are better.
    """
    pairs = list(dict.fromkeys(zip(maps["first"], maps["second"], strict=True)))
    figure, grid = plt.subplots(1, len(pairs), figsize=figure_size(3.1 * len(pairs) + 0.6, 3.3), squeeze=False)
    positive = direction == "minimize" and bool(maps["mean"].min() > 0)
    limits = (maps["mean"].min(), maps["mean"].max())
    norm = LogNorm(*limits) if positive else Normalize(*limits)
    levels = (np.geomspace if positive else np.linspace)(*limits, 7)[1:-1]
    trials = trials[trials["status"].ne("pruned")]
    bad = trials["status"].ne("ok")
    for axes, (first, second) in zip(grid[0], pairs, strict=True):
        cells = maps[maps["first"].eq(first) & maps["second"].eq(second)]
        of_first, of_second = (pd.Series(cells[f"{which}_value"].unique()) for which in ("first", "second"))
        table = cells["mean"].to_numpy().reshape(len(of_first), len(of_second)).T
        scale_axis(axes, space[first], "x")
        scale_axis(axes, space[second], "y")
        if has_names(space[first]) or has_names(space[second]):
            x, y = _edges(of_first, space[first], axes.xaxis), _edges(of_second, space[second], axes.yaxis)
            mesh = axes.pcolormesh(x, y, table, norm=norm, shading="flat", rasterized=True)
        else:
            x, y = places(of_first, space[first]), places(of_second, space[second])
            mesh = axes.pcolormesh(x, y, table, norm=norm, shading="gouraud", rasterized=True)
            axes.contour(x, y, table, colors="white", linewidths=0.7, levels=levels)
        for part, mark in ((trials[~bad], {"marker": ".", "ms": 2.5, "color": "white", "alpha": 0.7}),
                           (trials[bad], {"marker": "x", "ms": 4, "color": COLORS[1], "mew": 1.2})):  # fmt: skip
            used = rows_in_use(rows_in_use(part, f"params_{first}"), f"params_{second}")
            at = (places(used[f"params_{name}"], space[name]) for name in (first, second))
            axes.plot(*at, linestyle="", **mark)
        axes.set(xlabel=wrapped(first), ylabel=wrapped(second))
        axes.grid(visible=False)
    bar = figure.colorbar(mesh, ax=grid[0].tolist(), label=literal(value_name), pad=0.1 / len(pairs))
    for level in levels:
        bar.ax.axhline(level, color="white", lw=0.7)  # the levels of the lines in the maps
    if positive:
        number_log_scale(bar.ax.yaxis, *limits)
    else:
        bar.ax.ticklabel_format(axis="y", useOffset=False)
    return figure


def _edges(values: pd.Series[Any], hyperparameter: Hyperparameter, axis: Axis) -> NDArray[np.float64]:
    """Return the borders of cells around values, on the scale of their axis; the outermost values end the range."""
    if has_names(hyperparameter):
        return np.arange(len(values) + 1, dtype=np.float64) - 0.5
    scale = axis.get_transform()
    at = np.asarray(scale.transform(values.to_numpy(dtype=float)))
    edges = scale.inverted().transform(np.concatenate([at[:1], (at[:-1] + at[1:]) / 2, at[-1:]]))
    return np.asarray(edges, dtype=float)


@style()
def plot_trade_off(trials: pd.DataFrame, effective: str, *, value_name: str = "validation loss") -> Figure:
    """Draw the objective against the learning rate, and against the effective learning rate with momentum.

    Args:
        trials: As returned by `deap_hpo.analysis.tables.trials_table`, with `params_lr`, `params_momentum`, and the
            column that `effective` names.
        effective: Name of the column with lr / (1 - momentum).
        value_name: Name of the objective.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=figure_size(7.4, 3.5), sharey=True)
    good, bad = trials[trials["status"].eq("ok")], trials[trials["status"].ne("ok")]
    for axes, column, name in (
        (left, "params_lr", "learning rate"),
        (right, effective, "learning rate / (1 - momentum)"),
    ):
        points = axes.scatter(
            good[column], good["value"], c=good["params_momentum"], s=16, ec="0.3", lw=0.3, vmin=0.0, vmax=0.9
        )
        axes.scatter(
            bad[column], [1.0] * len(bad), c=bad["params_momentum"], marker="X", s=26, ec="0.3", lw=0.3, vmin=0.0,
            vmax=0.9, clip_on=False, transform=axes.get_xaxis_transform(),
        )  # fmt: skip
        log_scale(axes, "x")
        axes.set_xlabel(name)
    label_values(left, value_name)
    left.scatter([], [], marker="X", color="0.5", label="diverged (no value)")
    figure.legend(loc="outside lower left")
    figure.colorbar(points, ax=[left, right], label="momentum")
    return figure


@style()
def plot_noise(noise: pd.DataFrame, repeats: pd.DataFrame, *, value_name: str = "validation loss") -> Figure:
    """Draw the values of configurations with different seeds, ordered by their mean.

    Args:
        noise: As returned by `deap_hpo.analysis.impact.noise`.
        repeats: One row for each training: `configuration`, `value`, `status`.
        value_name: Name of the objective.
    """
    figure, axes = plt.subplots(figsize=figure_size(6.4, 3.6))
    places = {configuration: place for place, configuration in enumerate(noise["configuration"], 1)}
    good, bad = repeats[repeats["status"].eq("ok")], repeats[repeats["status"].ne("ok")]
    axes.vlines(list(places.values()), noise["low"], noise["high"], color="0.75", lw=3, zorder=1)
    axes.plot(good["configuration"].map(places), good["value"], "o", ms=4, color=COLORS[0], label="one seed")
    axes.plot(list(places.values()), noise["mean"], "_", ms=14, mew=2, color=COLORS[1], label="mean of the seeds")
    mark_without_value(axes, bad["configuration"].map(places), "diverged")
    axes.set_xticks(list(places.values()))
    axes.set_xlabel("configuration, ordered by mean")
    label_values(axes, value_name)
    axes.legend()
    return figure
