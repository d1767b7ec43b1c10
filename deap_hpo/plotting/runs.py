"""Figures of several runs side by side, from the tables of `analysis.runs`; computes nothing."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deap_hpo.plotting.axes import label_values, literal
from deap_hpo.plotting.style import COLORS, line_look, style


@style()
def plot_runs(
    runs: pd.DataFrame,
    summary: pd.DataFrame,
    published: pd.DataFrame | None = None,
    *,
    column: str = "validation_loss",
    value_name: str = "validation loss",
    title: str = "",
) -> Figure:
    """Draw a value of each run: every seed, mean and standard deviation, and the published value beside them.

    Args:
        runs: As returned by `deap_hpo.analysis.runs.runs_table`, with a column `label`.
        summary: One row for each label, in the order to draw: `label`, `mean`, `std`.
        published: One row for each label with a published claim: `label` and the column; drawn as a hollow diamond.
        column: Column of the value.
        value_name: Name of the value.
        title: Title of the figure.
    """
    figure, axes = plt.subplots()
    places = {label: place for place, label in enumerate(summary["label"])}
    axes.plot(
        runs["label"].map(places) - 0.12, runs[column], "o", ms=4, color="0.55", mec="white", mew=0.5,
        label="each seed", zorder=2,
    )  # fmt: skip
    axes.errorbar(
        range(len(summary)), summary["mean"], yerr=summary["std"], fmt="s", ms=7, color=COLORS[0], capsize=4, lw=1.5,
        label="mean ± standard deviation", zorder=3,
    )  # fmt: skip
    beside: dict[str, Any] = {"xytext": (9, 0), "textcoords": "offset points", "va": "center"}
    for place, mean in enumerate(summary["mean"]):
        axes.annotate(f"{mean:.3f}", (place, mean), color=COLORS[0], **beside)
    if published is not None:
        at = published["label"].map(places)
        axes.plot(at, published[column], "D", ms=7, mfc="none", mew=1.5, color=COLORS[1], label="published claim")
        for place, value in zip(at, published[column], strict=True):
            axes.annotate(f"{value:.3f}", (place, value), color=COLORS[1], **beside)
    axes.set_xticks(range(len(summary)), list(summary["label"]))
    axes.set_xlim(-0.5, len(summary) - 0.35)
    axes.set_ylim(bottom=0)
    axes.margins(y=0.1)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(value_name)
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@style()
def plot_bands(
    bands: pd.DataFrame,
    *,
    x: str,
    x_name: str,
    value_name: str,
    title: str = "",
    logarithmic: bool = True,
) -> Figure:
    """Draw a mean over seeds along an axis, one line for each run, with the extremes of the seeds as a band.

    Args:
        bands: One row for each label and point: `label`, the column `x`, `mean`, `low`, `high`.
        x: The column along the axis, whole numbers.
        x_name: Name of that axis.
        value_name: Name of the values.
        title: Title of the figure.
        logarithmic: Whether positive values are drawn on a log scale.
    """
    figure, axes = plt.subplots()
    for i, (label, band) in enumerate(bands.groupby("label", sort=False)):
        (line,) = axes.plot(band[x], band["mean"], ms=5, lw=1.8, label=literal(str(label)), **line_look(i, len(band)))
        axes.fill_between(band[x], band["low"], band["high"], color=line.get_color(), alpha=0.12, lw=0)
    axes.set_xlabel(x_name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylabel(value_name)
    if logarithmic:
        label_values(axes, value_name)
    axes.set_title(title)
    figure.legend(loc="outside right upper")
    return figure
