"""Evaluations that figures mark: without a value, pruned, or breaking a constraint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from deap_hpo.evaluation import Direction
from deap_hpo.plotting.style import COLORS

BROKEN = "breaks a constraint"
BROKEN_LOOK: dict[str, Any] = {"marker": "X", "color": COLORS[3]}
"""Legend and look of evaluations that broke a constraint."""


def mark_without_value(
    axes: Axes,
    places: Sequence[Any],
    label: str,
    *,
    direction: Direction = "minimize",
    size: float | None = None,
) -> None:
    """Draw crosses on the edge of the worst values, to show where evaluations have no value."""
    if len(places):
        edge = 1.0 if direction == "minimize" else 0.0
        axes.plot(
            places, [edge] * len(places), "x", ms=size, color=COLORS[1], label=label,
            transform=axes.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip


def kinds(trials: pd.DataFrame) -> pd.Series[str]:
    """Return the kind of each trial in a figure, in the words of the legend; "no value" if it has no finite one.

    Example:
        >>> rows = {"value": [0.5, 0.4, 0.3], "status": "ok", "duplicate_of": [None, 0, None], "violation": [0, 0, 0.1]}
        >>> kinds(pd.DataFrame(rows)).tolist()
        ['evaluation', 'repeated configuration', 'breaks a constraint']
    """
    named = {
        "no value": ~np.isfinite(trials["value"]),
        "pruned": trials["status"].eq("pruned"),
        BROKEN: trials["violation"].gt(0) if "violation" in trials else trials["status"].eq("infeasible"),
        "repeated configuration": trials["duplicate_of"].notna(),
    }
    return pd.Series(np.select(list(named.values()), list(named), "evaluation"), trials.index)


def without_value(trials: pd.DataFrame) -> pd.DataFrame:
    """Pick the trials that have no finite value: infeasible, diverged or failed."""
    return trials[~np.isfinite(trials["value"])]


def no_value(trials: pd.DataFrame) -> str:
    """Return the legend of the trials without a value."""
    infeasible = "infeasible, " if trials["status"].eq("infeasible").any() else ""
    return f"no value ({infeasible}diverged or failed)"
