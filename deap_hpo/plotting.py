"""From tidy tables to figures; computes nothing that a table could hold."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from textwrap import fill
from typing import Any, Literal

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from deap_hpo.errors import is_number
from deap_hpo.files import written_whole
from deap_hpo.space import Categorical, Hyperparameter, Space

_MOST_SHADES = 200  # generations beyond which each is too narrow to be seen, and drawing them is slow


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style inside."""
    with resources.as_file(resources.files("deap_hpo") / "deap_hpo.mplstyle") as path, plt.style.context(path):
        yield


@style()
def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PNG and PDF, byte for byte the same each time, and close it.

    Args:
        figure: What to write.
        path: Where to, without a suffix; folders are made.

    Returns:
        The two paths.
    """
    base = Path(path)
    written = []
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None, "Producer": None})):
        target = base.with_name(base.name + suffix)
        with written_whole(target) as partial:
            figure.savefig(partial, format=suffix[1:], metadata=metadata)
        written.append(target)
    plt.close(figure)
    return written


@style()
def to_svg(figure: Figure) -> bytes:
    """Give a figure as SVG, the same each time, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return buffer.getvalue()


@style()
def plot_optimization_history(trials: pd.DataFrame, *, value_name: str = "validation loss") -> Figure:
    """Draw the value of every evaluation and the best so far; of up to 200 generations, every other is shaded.

    Args:
        trials: As returned by `deap_hpo.analysis.trials_table`.
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
    bad = trials[trials["status"].ne("ok")]
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
        epochs: As returned by `deap_hpo.lineages.curves_table`, which joins the parts of a training, or
            `deap_hpo.analysis.epochs_table`.
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
        trials: As returned by `deap_hpo.analysis.trials_table`.
        space: The search space: it gives names and scales.
        value_name: What the objective is called.
    """
    columns = min(3, len(space))
    rows = -(-len(space) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.2 * columns, 3.1 * rows), sharey=True, squeeze=False)
    good = trials[trials["status"].eq("ok")]
    bad = trials[trials["status"].ne("ok")]
    panels = grid.ravel()
    colours = Normalize(trials["generation"].min(), trials["generation"].max())  # the same in all panels
    for axes, (name, hyperparameter) in zip(panels, space.items(), strict=False):
        column = f"params_{name}"
        well, ill = rows_in_use(good, column), rows_in_use(bad, column)
        scale_axis(axes, hyperparameter)
        points = axes.scatter(
            places(well[column], hyperparameter), well["value"], c=well["generation"], norm=colours, s=25, ec="white",
            lw=0.5,
        )  # fmt: skip
        if len(bad):
            # On the upper edge: there is no value, but where it happened is worth seeing.
            axes.scatter(
                places(ill[column], hyperparameter), [1.0] * len(ill), marker="x", color="C1", clip_on=False,
                transform=axes.get_xaxis_transform(), label=_no_value(bad),
            )  # fmt: skip
        axes.set_xlabel(fill(name, 26))  # about as wide as a panel
    for axes in panels[len(space) :]:
        axes.set_axis_off()
    for row in grid:
        label_values(row[0], value_name)
    if len(bad):
        figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower left")
    bar = figure.colorbar(points, ax=panels.tolist(), label="generation")
    bar.locator = MaxNLocator(integer=True)
    bar.update_ticks()
    figure.suptitle("Hyperparameters against the objective")
    return figure


@style()
def plot_comparison(anytime: pd.DataFrame, *, value_name: str = "best validation loss") -> Figure:
    """Draw the best so far over the epochs trained: median over seeds, and the middle half of them as a band.

    Args:
        anytime: As returned by `deap_hpo.comparison_report.anytime_bands`.
        value_name: What the objective is called.
    """
    figure, axes = plt.subplots()
    for i, (method, band) in enumerate(anytime.groupby("method", sort=False)):
        colour = f"C{i % 7}"
        axes.fill_between(band["epochs"], band["low"], band["high"], step="post", color=colour, alpha=0.15, lw=0)
        axes.step(
            band["epochs"],
            band["median"],
            where="post",
            color=colour,
            label=str(method),
            ls=("-", "--", ":")[i // 7 % 3],
        )
    axes.set_xlabel("epochs trained")
    label_values(axes, value_name)
    axes.set_title("Best so far: median and middle half of the seeds")
    figure.legend(loc="outside right upper")
    return figure


def _shade_generations(axes: Axes, trials: pd.DataFrame) -> None:
    if trials["generation"].nunique() > _MOST_SHADES:
        return
    for generation, batch in trials.groupby("generation"):
        if int(generation) % 2 == 1:
            axes.axvspan(batch["number"].min() - 0.5, batch["number"].max() + 0.5, color="0.95", lw=0, zorder=0)


def label_values(axes: Axes, name: str) -> None:
    """Label the axis of values; on a log scale where all are positive, as losses differ most where they are small."""
    axes.set_ylabel(name)
    if axes.dataLim.y0 > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(ScalarFormatter() if axes.dataLim.height < axes.dataLim.y0 else NullFormatter())


def mark_without_value(axes: Axes, places: Sequence[Any], label: str, *, size: float | None = None) -> None:
    """Draw crosses on the upper edge: there is no value, but where it happened is worth seeing."""
    if len(places):
        edge = axes.get_xaxis_transform()  # 1 is the upper edge
        axes.plot(places, [1.0] * len(places), "x", ms=size, color="C1", label=label, transform=edge, clip_on=False)


def _no_value(bad: pd.DataFrame) -> str:
    infeasible = "infeasible, " if bad["status"].eq("infeasible").any() else ""
    return f"no value ({infeasible}diverged or failed)"


def rows_in_use(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """Leave out the trials in which the hyperparameter of a column is not in use."""
    return trials[~trials[column].map(_is_nan).astype(bool)]


def places(column: pd.Series[Any], hyperparameter: Hyperparameter) -> Any:
    """Give where the values of a hyperparameter are drawn on an axis: numbers as they are, other choices by name."""
    return [str(value) for value in column] if _has_names(hyperparameter) else column.astype(float)


def scale_axis(axes: Axes, hyperparameter: Hyperparameter, which: Literal["x", "y"] = "x") -> None:
    """Prepare an axis for a hyperparameter, before anything is drawn: on its scale, its choices in their order."""
    if isinstance(hyperparameter, Categorical):
        if _has_names(hyperparameter):
            axis = axes.xaxis if which == "x" else axes.yaxis
            axis.update_units([str(choice) for choice in hyperparameter.choices])  # type: ignore[no-untyped-call]
    elif hyperparameter.log:
        log_scale(axes, which)


def log_scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """Put an axis on a log scale; where it spans less than two decades, with plain numbers (20, 30, 40)."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(_LogFormatter())
    axis.set_minor_formatter(_LogFormatter())


class _LogFormatter(LogFormatterSciNotation):
    def __call__(self, x: float, pos: int | None = None) -> str:
        text = super().__call__(x, pos)
        low, high = sorted(self.axis.get_view_interval())  # type: ignore[union-attr]
        return f"{x:g}" if text and high < 100 * low else text  # 2 x 10^1, 3 x 10^1, ... would overlap


def _has_names(hyperparameter: Hyperparameter) -> bool:
    return isinstance(hyperparameter, Categorical) and not all(map(is_number, hyperparameter.choices))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
