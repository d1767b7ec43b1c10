"""Figures of methods side by side: their progress, and how good their choices are; computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from deap_hpo.evaluation import Direction
from deap_hpo.plotting.axes import label_values, literal, name_rows
from deap_hpo.plotting.style import COLORS, figure_size, line_look, style
from deap_hpo.wording import plural


@style()
def plot_outcomes(
    summary: Sequence[dict[str, Any]],
    *,
    seeds: int | None = None,
    value_name: str = "test loss",
    title: str = "Chosen hyperparameters, fresh seeds",
) -> Figure:
    """Draw a comparison's outcomes: mean and 95 % interval of each method, the best mean rank first.

    A method without a finite mean, because one of its choices diverged, is shown by its median, if that is finite.

    Args:
        summary: Rows as returned by `deap_hpo.analysis.significance.summarise`, with `method`.
        seeds: Number of seeds, for the axis.
        value_name: Name of the outcome.
        title: Title of the figure.
    """
    figure, axes = plt.subplots(figsize=figure_size(6.4, 1.4 + 0.32 * len(summary)))
    names = []
    for place, row in enumerate(summary):
        name = f"{row['method']}  (mean rank {row['mean_rank']:.1f})"
        if row["mean"] is not None:
            if row["low"] is not None:  # of a single seed there is no interval
                axes.hlines(place, row["low"], row["high"], color=COLORS[0], lw=2)
            axes.plot(row["mean"], place, "s", color=COLORS[0], ms=6)
        elif row["median"] is not None:
            axes.plot(row["median"], place, "o", color=COLORS[0], ms=6, mfc="none")
            name += "\na choice diverged: median"
        else:
            name += "\nmost choices diverged"
        names.append(name)
    name_rows(axes, names)
    axes.set_ylim(len(summary) - 0.5, -0.5)
    axes.set_xlabel(f"{literal(value_name)}: mean and 95 % interval over {_seeds(seeds)}")
    axes.set_title(title)
    return figure


@style()
def plot_comparison(
    anytime: pd.DataFrame,
    *,
    seeds: int | None = None,
    value_name: str = "best validation loss",
    direction: Direction = "minimize",
) -> Figure:
    """Draw the best so far over the epochs trained: median over seeds, and the middle half of them as a band.

    Args:
        anytime: As returned by `deap_hpo.reports.comparison.anytime_bands`.
        seeds: Number of seeds, for the title.
        value_name: Name of the objective.
        direction: Whether lower or higher values are better.
    """
    figure, axes = plt.subplots()
    for i, (method, band) in enumerate(anytime.groupby("method", sort=False)):
        at, low, high, shown = band["epochs"], band["low"], band["high"], line_look(i, len(band))
        (line,) = axes.step(at, band["median"], where="post", ms=4, label=literal(str(method)), **shown)
        axes.fill_between(at, low, high, step="post", color=line.get_color(), alpha=0.15, lw=0)
    axes.set_xlabel("epochs trained")
    label_values(axes, value_name, direction)
    axes.set_title(f"Best so far: median and middle half of {_seeds(seeds)}")
    figure.legend(loc="outside right upper")
    return figure


def _seeds(count: int | None) -> str:
    return "the seeds" if count is None else plural(count, "seed")
