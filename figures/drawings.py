"""Figures that only `draw.py` draws: of the runs of the paper, and of the strategies' regrets."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from deap_hpo.plotting.axes import label_values, literal, name_rows
from deap_hpo.plotting.style import COLORS, figure_size, font_size, line_look, style


@style()
def plot_final_curves(curves: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw training and validation loss of each run's best network over its epochs, one panel for each run.

    Args:
        curves: One row for each seed and epoch of a best network: `label`, `seed`, `epoch`, `training_loss`,
            `validation_loss`.
        title: Title of the figure.
    """
    labels = list(dict.fromkeys(curves["label"]))
    figure, grid = plt.subplots(
        1, len(labels), figsize=figure_size(1.7 * len(labels) + 1.0, 3.2), sharey=True, squeeze=False
    )
    kinds = (
        ("training_loss", COLORS[1], "s", "--", "training (dropout on)"),
        ("validation_loss", COLORS[0], "o", "-", "validation"),
    )
    for axes, label in zip(grid[0], labels, strict=True):
        for _, curve in curves[curves["label"].eq(label)].groupby("seed"):
            for column, colour, marker, line, _ in kinds:
                axes.plot(curve["epoch"], curve[column], color=colour, marker=marker, ls=line, ms=4, lw=1.2, alpha=0.8)
        axes.set_title(literal(str(label)), fontsize=font_size(9))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(x=0.15)
    label_values(grid[0][0], "loss")
    for _, colour, marker, line, name in kinds:
        grid[0][0].plot([], [], color=colour, marker=marker, ls=line, ms=4, label=name)
    figure.legend(loc="outside lower center", ncols=2)
    figure.suptitle(title)
    return figure


@style()
def plot_costs(costs: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw what each run costs as a share of the baseline: evaluations, trainings, and the published time.

    Args:
        costs: One row for each run: `label`, `evaluations` (asked for), `trained` (not answered by an earlier one),
            `published` (time).
        title: Title of the figure.
    """
    figure, axes = plt.subplots(figsize=figure_size(6.4, 4.4))
    kinds = (
        ("evaluations", COLORS[2], "^", "evaluations of the protocol"),
        ("trained", COLORS[0], "s", "networks trained"),
        ("published", COLORS[1], "D", "published time"),
    )
    for i, (column, colour, marker, name) in enumerate(kinds):
        heights = [place + (i - 1) * 0.27 for place in range(len(costs))]
        hollow = "none" if column == "published" else colour
        axes.hlines(heights, 0, costs[column], color=colour, lw=1.2, alpha=0.6)
        axes.plot(costs[column], heights, marker, ms=7, color=colour, mfc=hollow, mew=1.5, label=name)
        for height, value in zip(heights, costs[column], strict=True):
            axes.annotate(
                f"{value:.2f}", (value, height), (8, 0), textcoords="offset points", va="center", fontsize=font_size(8)
            )
    axes.set_yticks(range(len(costs)), list(costs["label"]))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the baseline's")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@style()
def plot_work(work: pd.DataFrame, seeds: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw how many images each run trained on, and how many the record has saved it.

    Args:
        work: One row for each run, in millions of images: `label`, `whole` (trainings that ended well), `short` (those
            that did not), `answered` (the images of repeated configurations), and `note` (a text).
        seeds: One row for each run and seed: `label`, and `trained`, in millions of images.
        title: Title of the figure.
    """
    figure, axes = plt.subplots(figsize=figure_size(6.4, 4.2))
    places = range(len(work))
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("whole", {"color": COLORS[0], "label": "trained to the end"}),
        ("short", {"color": COLORS[5], "label": "diverged or failed"}),
        ("answered", {"color": "none", "ec": "0.55", "hatch": "///", "label": "answered from the record"}),
    )
    left = work["whole"] * 0
    for column, look in kinds:
        axes.barh(places, work[column], left=left, height=0.5, **look)
        left = left + work[column]
    for place, label, end, note in zip(places, work["label"], left, work["note"], strict=True):
        dots = seeds.loc[seeds["label"].eq(label), "trained"]
        axes.plot(
            dots,
            [place] * len(dots),
            "o",
            ms=5,
            color=COLORS[6],
            mfc="white",
            label=None if place else "trained, each seed",
        )
        axes.annotate(
            note, (max(end, dots.max()), place), (7, 0), textcoords="offset points", va="center", fontsize=font_size(8)
        )
    name_rows(axes, list(work["label"]))
    axes.set_xlim(0, 1.36 * max(left.max(), seeds["trained"].max()))
    axes.set_xlabel("million training images, epoch by epoch: mean of the seeds")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@style()
def plot_regrets(regrets: pd.DataFrame, *, first: str, title: str = "") -> Figure:
    """Draw how regret falls with the evaluations, one line for each method, with an interval as a band.

    Args:
        regrets: One row for each method and number of evaluations: `method`, `budget`, `regret`, `low`, `high`; all
            positive.
        first: The method to highlight.
        title: Title of the figure.
    """
    figure, axes = plt.subplots(figsize=figure_size(7.6, 4.6))
    last = regrets[regrets["budget"].eq(regrets["budget"].max())].sort_values("regret")
    for i, method in enumerate(last["method"]):
        curve = regrets[regrets["method"].eq(method)]
        width = 3.0 if method == first else 1.4
        (line,) = axes.plot(
            curve["budget"], curve["regret"], ms=4, lw=width, label=literal(method), **line_look(i, len(curve))
        )
        axes.fill_between(curve["budget"], curve["low"], curve["high"], color=line.get_color(), alpha=0.12, lw=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("evaluations")
    label_values(axes, "normalised regret")
    axes.set_title(title)
    figure.legend(loc="outside right upper")
    return figure
