"""The figure of a population's schedules: the hyperparameters of every network, and the network it descends from."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deap_hpo.evaluation import Direction
from deap_hpo.plotting.axes import literal, scale_axis, wrapped
from deap_hpo.plotting.style import COLORS, figure_size, style
from deap_hpo.search_space.space import Categorical, Space


@style()
def plot_lineage(
    lineages: pd.DataFrame, space: Space, *, value_name: str = "validation loss", direction: Direction = "minimize"
) -> Figure:
    """Draw the hyperparameters of every network over the epochs, coloured by its loss; the winner's is highlighted.

    A horizontal line is a part of a training; a thin one leads to it from the part whose weights it continued with. The
    worst tenth of the values have one colour, so that a network that learnt nothing does not dominate the scale.

    Args:
        lineages: As returned by `deap_hpo.analysis.lineages.lineage_table`, at least one row.
        space: The search space.
        value_name: Name of the objective.
        direction: Whether lower or higher values are better.
    """
    size = figure_size(6.4, 1.2 + 1.7 * len(space))
    figure, axes = plt.subplots(len(space), 1, squeeze=False, sharex=True, figsize=size, layout="constrained")
    values = lineages["value"].dropna()
    minimize = direction == "minimize"
    colours = "viridis_r" if minimize else "viridis"
    low, high = values.quantile([0.0, 0.9] if minimize else [0.1, 1.0]) if len(values) else (1.0, 2.0)
    logarithmic = minimize and (len(values) == 0 or values.min() > 0)  # for losses, but not for accuracies
    norm = (LogNorm if logarithmic else Normalize)(low, high)
    lines: Any = None
    for axis, (name, hyperparameter) in zip(axes[:, 0], space.items(), strict=True):
        column = lineages[f"params_{name}"]
        if isinstance(hyperparameter, Categorical):
            choices = list(hyperparameter.choices)
            column = column.map(lambda choice, known=choices: known.index(choice) if choice in known else math.nan)
            axis.set_yticks(range(len(choices)), [literal(str(choice)) for choice in choices])
        else:
            scale_axis(axis, hyperparameter, "y")
        height = dict(zip(lineages["number"], column, strict=True))
        rows = list(lineages.itertuples(index=False))
        parts = [[(row.start_epoch, height[row.number]), (row.epoch, height[row.number])] for row in rows]
        lines = LineCollection(parts, array=lineages["value"], norm=norm, cmap=colours, lw=1.6)
        axis.add_collection(lines)
        links = [
            [(row.start_epoch, height[row.start_from]), (row.start_epoch, height[row.number])]
            for row in rows
            if row.start_from in height
        ]
        axis.add_collection(LineCollection(links, colors="0.35", lw=1.0, ls=":", zorder=0))
        winner = sorted((row for row in rows if row.winner), key=lambda row: row.epoch)
        epochs = [epoch for row in winner for epoch in (row.start_epoch, row.epoch)]
        axis.plot(
            epochs, [height[row.number] for row in winner for _ in "ab"], color=COLORS[1], label="the best network's"
        )
        axis.autoscale_view()
        axis.set_ylabel(wrapped(name))
    axes[-1, 0].set_xlabel("epoch")
    axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    beyond = len(values) > 0 and (values.max() > high if minimize else values.min() < low)
    end = {True: "max", False: "min"}[minimize] if beyond else "neither"
    figure.colorbar(lines, ax=axes[:, 0].tolist(), label=literal(value_name), extend=end)
    changing = lineages.groupby("founder")[[f"params_{name}" for name in space]].nunique().gt(1).to_numpy().any()
    figure.suptitle("Schedules of a population" if changing else "Trainings, and how far they went")
    return figure
