"""From a study on record to tidy tables; draws nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from deap_hpo.evaluation import Direction
from deap_hpo.records.entries import Entry, param_columns
from deap_hpo.search_space.space import Space

TIMES = ("datetime_start", "datetime_complete")
"""Columns of `trials_table` that differ between runs that are otherwise the same, as do `seconds`."""


def trials_table(
    entries: Sequence[Entry],
    space: Space | None,
    direction: Direction = "minimize",
    *,
    objectives: Sequence[str] = (),
    constrained: bool = False,
    stages: int = 1,
    whole: int | None = None,
) -> pd.DataFrame:
    """One row for each evaluation, in order.

    Columns: `number`, `generation`, `value` (the first objective), `best` (the best feasible value so far; NaN until
    there is one), `status`, `duplicate_of` (missing if it was trained), `seconds`, `params_*` (or `gene_*`),
    `metrics_*`, `notes_*`. Some are there only if they are needed: `reason` (why it failed) if one failed; `values_*`
    (one for each objective) with several objectives; `violation` (0 if none is broken) with constraints; `epochs`
    (after which the value was reached) if trainings were asked for in parts; `datetime_start` and `datetime_complete`
    (local times) if it is on record when the evaluations were done.

    Args:
        entries: The evaluations.
        space: The search space, which decodes genes.
        direction: Whether lower or higher values of the first objective are better.
        objectives: Names of several objectives, for the columns `values_*`; by default they are numbered.
        constrained: Whether there are constraints; this is assumed if one was broken.
        stages: Number of batches per generation.
        whole: Epochs of a whole training, for evaluations without a number of `epochs`, such as enqueued ones.

    Example:
        >>> from deap_hpo import Evaluation, Float
        >>> entries = [Entry(i, 0, (gene,), Evaluation((gene,)), seed=0) for i, gene in enumerate((0.4, 0.7, 0.1))]
        >>> trials_table(entries, Space({"x": Float(0.0, 1.0)}))["best"].tolist()
        [0.4, 0.4, 0.1]
    """
    better = min if direction == "minimize" else max
    constrained = constrained or any(entry.evaluation.violation for entry in entries)
    failed = any(entry.evaluation.status == "failed" for entry in entries)
    in_parts = any(entry.epochs is not None for entry in entries)
    timed = any(entry.datetime_complete for entry in entries)
    best = math.nan
    rows = []
    for entry in entries:
        evaluation = entry.evaluation
        if evaluation.feasible:
            best = evaluation.value if math.isnan(best) else better(best, evaluation.value)
        rows.append(
            {
                "number": entry.number,
                "generation": entry.generation // stages,
                **({"epochs": entry.epochs or whole} if in_parts else {}),
                "value": evaluation.value,
                **_by_objective(evaluation.values, objectives),
                "best": best,
                "status": evaluation.status,
                **({"reason": evaluation.reason if evaluation.status == "failed" else None} if failed else {}),
                "duplicate_of": entry.duplicate_of,
                "seconds": evaluation.seconds,
                **({name: getattr(entry, name) for name in TIMES} if timed else {}),
                **({"violation": evaluation.violation} if constrained else {}),
                **param_columns(entry, space),
                **{f"metrics_{name}": value for name, value in evaluation.metrics.items()},
                **{f"notes_{name}": text for name, text in evaluation.notes.items()},
            }
        )
    if not rows:
        return pd.DataFrame()
    integers = {"duplicate_of": "Int64", **({"epochs": "Int64"} if in_parts else {})}
    return with_params(rows, space).astype(integers)


def _by_objective(values: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    if len(values) == 1:
        return {}
    return dict(zip(value_columns(names, len(values)), values, strict=True))


def value_columns(names: Sequence[str], count: int) -> list[str]:
    """Return the columns of `count` objectives in `trials_table`, with their names or, without any, numbered.

    Example:
        >>> value_columns(["loss", "size"], 2), value_columns([], 2), value_columns(["loss"], 1)
        (['values_loss', 'values_size'], ['values_0', 'values_1'], ['value'])
    """
    return ["value"] if count == 1 else [f"values_{name}" for name in names or range(count)]


def column_label(column: str) -> str:
    """Return the heading of a column for readers: the name of its hyperparameter or metric, others as they are.

    Example:
        >>> column_label("params_lr"), column_label("metrics_metrics_x"), column_label("gene_0")
        ('lr', 'metrics_x', 'gene_0')
    """
    prefix = next((one for one in ("params_", "metrics_") if column.startswith(one)), "")
    return column[len(prefix) :]


def with_params(rows: Sequence[Mapping[str, Any]], space: Space | None) -> pd.DataFrame:
    """Make a table of at least one row with the columns of `deap_hpo.records.entries.param_columns`."""
    table = pd.DataFrame(rows)
    for name in space or ():
        values = [row[f"params_{name}"] for row in rows]
        if None in values:  # a choice, which must not become NaN: that means not in use
            table[f"params_{name}"] = pd.Series(values, dtype=object)
        elif f"params_{name}" not in table:  # in use nowhere so far
            table[f"params_{name}"] = math.nan
    return table


def best_trials(trials: pd.DataFrame, direction: Direction = "minimize") -> pd.DataFrame:
    """Return the feasible rows of `trials_table` that were not answered by an earlier one, the best first."""
    feasible = trials["status"].eq("ok") & trials["duplicate_of"].isna() & np.isfinite(trials["value"])
    if "violation" in trials:
        feasible &= trials["violation"].eq(0)
    return trials[feasible].sort_values("value", ascending=direction == "minimize", kind="stable")


def epochs_table(entries: Sequence[Entry]) -> pd.DataFrame:
    """One row for each epoch of each evaluation that was trained.

    Columns: `number`, `generation`, `status`, `epoch` (from 1), `training_loss`, `validation_loss`, `metrics_*`,
    `seconds`.
    """
    return pd.DataFrame(
        {
            "number": entry.number,
            "generation": entry.generation,
            "status": entry.evaluation.status,
            "epoch": epoch.epoch,
            "training_loss": epoch.training_loss,
            "validation_loss": epoch.validation_loss,
            **{f"metrics_{name}": value for name, value in epoch.metrics.items()},
            "seconds": epoch.seconds,
        }
        for entry in entries
        if entry.duplicate_of is None
        for epoch in entry.evaluation.curve
    )


def summary(entries: Sequence[Entry], stages: int = 1) -> dict[str, int | float]:
    """Count evaluations by their outcomes; each generation has `stages` batches of them.

    Keys: `evaluations`, `trained`, `cached` (answered by an earlier one), `infeasible` (that break a constraint,
    trained or not), `pruned`, `diverged`, `failed`, `timed_out` (of the failed ones), `retries` (because a worker was
    lost), `generations`, and `seconds` (summed).
    """
    asked = [entry for entry in entries if entry.duplicate_of is None]
    trained = [entry for entry in asked if entry.evaluation.status != "infeasible"]
    return {
        "evaluations": len(entries),
        "trained": len(trained),
        "cached": len(entries) - len(asked),
        "infeasible": sum(entry.evaluation.violation > 0 for entry in asked),
        "pruned": sum(entry.evaluation.status == "pruned" for entry in trained),
        "diverged": sum(entry.evaluation.status == "diverged" for entry in trained),
        "failed": sum(entry.evaluation.status == "failed" for entry in trained),
        "timed_out": sum(entry.evaluation.timed_out for entry in trained),
        "retries": sum(entry.evaluation.retries for entry in trained),
        "generations": len({entry.generation // stages for entry in entries}),
        "seconds": sum(entry.evaluation.seconds for entry in trained),
    }
