"""Axes, scales and names that all figures share."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter, ScalarFormatter

from deap_hpo.checks import is_number
from deap_hpo.evaluation import Direction
from deap_hpo.search_space.space import Categorical, Hyperparameter

_DECADES_OF_PLAIN_NUMBERS = 3
_FEW_VALUES = 18  # A number with more values than these has ticks at round numbers.
_MOST_TICKS = 6  # A panel of three inches holds this many numbers of four digits.
_MOST_LETTERS = 28  # of names side by side in such a panel
_LONGEST_LINE = 20  # of a choice's name


def label_values(axes: Axes, name: str, direction: Direction = "minimize") -> None:
    """Label the axis of values, on a log scale if all are positive and small ones are good, as with losses.

    Losses differ most where they are small; high accuracies would be crowded on a log scale. If all values are equal,
    the scale stays linear: a log scale would show the decades around them.
    """
    axes.set_ylabel(literal(name))
    low, high = axes.dataLim.y0, axes.dataLim.y1
    if low <= 0 or low == high or direction != "minimize":
        return
    axes.set_yscale("log")
    number_log_scale(axes.yaxis, low, high)


def number_log_scale(axis: Axis, low: float, high: float) -> None:
    """Number a log scale of values from `low` to `high`: with powers of ten if it spans more than three decades."""
    if high > 10**_DECADES_OF_PLAIN_NUMBERS * low:
        axis.set_major_formatter(_LogFormatter())
        axis.set_minor_formatter(NullFormatter())
        return
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(_PlainFormatter())
    axis.set_minor_formatter(_PlainFormatter() if low < high < 8 * low else NullFormatter())


def rows_in_use(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """Leave out the trials in which the hyperparameter of a column is not in use."""
    return trials[~trials[column].map(_is_nan).astype(bool)]


def places(column: pd.Series[Any], hyperparameter: Hyperparameter) -> Any:
    """Return the places of a hyperparameter's values on an axis: numbers as they are, other choices by name."""
    return [_choice_name(value) for value in column] if has_names(hyperparameter) else column.astype(float)


def scale_axis(axes: Axes, hyperparameter: Hyperparameter, which: Literal["x", "y"] = "x") -> None:
    """Prepare an axis for a hyperparameter, before anything is drawn: set its scale, and put its choices in order.

    A number with few values, in steps, has its ticks at these, since nothing lies between them.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if isinstance(hyperparameter, Categorical):
        if has_names(hyperparameter):
            names = [_choice_name(choice) for choice in hyperparameter.choices]
            axis.update_units(names)  # type: ignore[no-untyped-call]
            longest = max(len(line) for name in names for line in name.split("\n"))
            if which == "x" and (len(names) > _MOST_TICKS or len(names) * longest > _MOST_LETTERS):
                axis.set_tick_params(labelrotation=90, labelsize=6 if len(names) > _MOST_TICKS else 8)
            return
        choices: list[float] = [float(choice) for choice in hyperparameter.choices]  # type: ignore[arg-type]
        axes.set(**{f"{which}scale": "log" if 0 < 10 * min(choices) <= max(choices) else "linear"})
        if len(choices) <= _MOST_TICKS:
            axis.set_ticks(choices, [f"{choice:g}" for choice in choices])
            axis.set_ticks([], minor=True)
    elif hyperparameter.log:
        log_scale(axes, which)
    elif hyperparameter.size <= _FEW_VALUES:
        values = hyperparameter.grid(_FEW_VALUES)
        axis.set_ticks(values[:: -(-len(values) // _MOST_TICKS)])


def log_scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """Put an axis on a log scale; if it spans less than two decades, with plain numbers (20, 30, 40)."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(_LogFormatter())
    axis.set_minor_formatter(_LogFormatter())


class _PlainFormatter(ScalarFormatter):
    """Plain numbers; if they are near to each other, with enough decimals to tell them apart."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        low, high = sorted(self.axis.get_view_interval())  # type: ignore[union-attr]
        return f"{x:g}" if high > 5 * low else super().__call__(x, pos)

    def get_offset(self) -> str:
        low, high = sorted(self.axis.get_view_interval())  # type: ignore[union-attr]
        return "" if high > 5 * low else super().get_offset()


class _LogFormatter(LogFormatterSciNotation):
    def __call__(self, x: float, pos: int | None = None) -> str:
        text = super().__call__(x, pos)
        low, high = sorted(self.axis.get_view_interval())  # type: ignore[union-attr]
        return f"{x:g}" if text and high < 100 * low else text  # 2 x 10^1, 3 x 10^1, ... would overlap


def has_names(hyperparameter: Hyperparameter) -> bool:
    """Say whether the values of a hyperparameter are drawn by name, with nothing between them."""
    return isinstance(hyperparameter, Categorical) and not all(map(is_number, hyperparameter.choices))


def _choice_name(choice: Any) -> str:
    return wrapped(str(choice), _LONGEST_LINE)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Give each row of a figure its name, the first on top."""
    axes.set_yticks(range(len(names)), [literal(name) for name in names])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def wrapped(name: str, width: int = 26) -> str:
    """Break a long name after an underscore, a point or a space; dollar signs are drawn as they are.

    Example:
        >>> wrapped("weight_decay", width=8).split()
        ['weight_', 'decay']
    """
    lines = [""]
    for part in re.split(r"(?<=[ _.])", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    broken = [line[start : start + width] for line in lines for start in range(0, len(line), width)]
    return literal("\n".join(line.rstrip(" ") for line in broken))


def literal(text: str) -> str:
    r"""Escape text so that it is drawn as it is: between two dollar signs, matplotlib would read mathematics.

    Example:
        >>> print(literal("lr in $ per $"))
        lr in \$ per \$
    """
    return text.replace("$", r"\$")
