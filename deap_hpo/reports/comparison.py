"""A comparison in numbers and words: tests, tables, Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

import deap_hpo
from deap_hpo.analysis.significance import friedman, pairwise, summarise, verdict
from deap_hpo.configuration.config import RunConfig
from deap_hpo.configuration.settings import applying
from deap_hpo.evaluation import Direction
from deap_hpo.reports.screen import print_table
from deap_hpo.reports.strict_json import json_types
from deap_hpo.wording import format_seconds

_COVERED = {2: 50, 3: 72, 4: 80, 5: 84, 6: 85, 7: 87, 8: 89, 9: 89}
"""By the number of seeds, the percentage of intervals that hold the true mean where values are normal (simulated)."""


Table = tuple[list[str], list[list[str]]]
"""Names of the columns, and rows of texts."""


def anytime_bands(anytime: pd.DataFrame) -> pd.DataFrame:
    """Summarise best-so-far curves over seeds, at every number of epochs at which any of them changes.

    Args:
        anytime: One row for each training: `method`, `seed`, `epochs` (trained so far), `best` (so far).

    Returns:
        One row for each method and number of epochs: `method`, `epochs`, `median`, `low` and `high` (quartiles). Curves
        begin where every seed has a value. A run that ended early keeps its last value to the end of the longest.

    Example:
        >>> rows = pd.DataFrame({"method": "a", "seed": [1, 1, 2], "epochs": [1, 2, 1], "best": [0.5, 0.3, 0.4]})
        >>> anytime_bands(rows)["median"].tolist()
        [0.45, 0.35]
    """
    bands = []
    for method, curves in anytime.groupby("method", sort=False):
        # Several trainings may end at the same epoch count (a diverged one adds few): the last one counts.
        wide = curves.pivot_table(index="epochs", columns="seed", values="best", aggfunc="last")
        wide = wide.reindex(wide.index.union([anytime["epochs"].max()])).ffill().dropna()
        band = pd.DataFrame({"method": method, "epochs": wide.index, "median": wide.median(axis=1).to_numpy()})
        band["low"], band["high"] = _quantile(wide, 0.25).to_numpy(), _quantile(wide, 0.75).to_numpy()
        bands.append(band)
    return pd.concat(bands, ignore_index=True)


def _quantile(wide: pd.DataFrame, share: float) -> pd.Series[float]:
    """Give a quantile of each row; between two infinite values, or a finite and an infinite one, it is infinite."""
    below, above = (wide.quantile(share, axis=1, interpolation=side) for side in ("lower", "higher"))
    with np.errstate(invalid="ignore"):  # it subtracts neighbours from each other, which gives NaN for infinite ones
        linear = wide.quantile(share, axis=1)
    between = linear.where(np.isfinite(below) & np.isfinite(above), below + above)
    return between.where(below.ne(above), below)


def results(
    runs: pd.DataFrame,
    anytime: pd.DataFrame,
    config: RunConfig,
    command: str,
    *,
    objective: str = "loss",
    direction: Direction = "minimize",
) -> dict[str, Any]:
    """Put a comparison into JSON's types: tables, tests, verdicts, and how it was made.

    Args:
        runs: As returned by `deap_hpo.comparison.compare`.
        anytime: Likewise.
        config: The configuration that all methods have in common.
        command: The command that made the comparison.
        objective: The objective of the comparison, "loss" or a metric.
        direction: Which way is better.
    """
    outcomes: dict[str, Any] = {}
    for measure in ("best", f"test_{objective}"):
        table = runs.pivot(index="seed", columns="method", values=measure)[list(runs["method"].unique())]
        outcomes[measure] = {
            "summary": summarise(table, direction).reset_index(names="method").to_dict("records"),
            "friedman_p": friedman(table),
            "pairs": pairwise(table).to_dict("records"),
            "verdict": verdict(table, direction),
        }
    costs = ["gap", "trainings", "epochs", "wall_seconds", "training_seconds"]
    means = runs.groupby("method", sort=False)[costs].mean()
    made: dict[str, Any] = json_types(
        {
            "command": command,
            "date": date.today().isoformat(),
            "version": deap_hpo.__version__,
            "objective": objective,
            "direction": direction,
            "task": applying(config.task.model_dump(mode="json")),
            "training": config.training.model_dump(mode="json"),
            "space": config.space,
            "seeds": int(runs["seed"].nunique()),
            "outcomes": outcomes,
            "costs": means.reset_index().to_dict("records"),
            "runs": runs.to_dict("records"),
            "anytime": anytime_bands(anytime).to_dict("records"),
        }
    )
    return made


def print_comparison(result: dict[str, Any], console: Console) -> None:
    """Print a comparison for people: its table, and what the tests show."""
    console.print(introduction(result), markup=False)
    print_table(*table_of_methods(result), console)
    for measure, title in measures(result).items():
        for sentence in result["outcomes"][measure]["verdict"]:
            console.print(f"{title}: {sentence}", markup=False)


def markdown(result: dict[str, Any]) -> str:
    """Write a comparison as Markdown: a table of the methods, what the tests show, and a table of each pair."""
    lines = [introduction(result), "", *_table(*table_of_methods(result))]
    for measure, title in measures(result).items():
        outcome = result["outcomes"][measure]
        lines += ["", f"{title}:", "", *[f"- {sentence}" for sentence in outcome["verdict"]]]
        lines += ["", *_table(*table_of_pairs(outcome["pairs"]))]
    return "\n".join([*lines, "", f"Made by `{result['command']}`.", ""])


def _judged(result: dict[str, Any]) -> tuple[str, str]:
    """Return the objective and its direction; earlier versions did not write them, and compared losses only."""
    return result.get("objective", "loss"), result.get("direction", "minimize")


def measures(result: dict[str, Any]) -> dict[str, str]:
    """Give the measures by which methods are judged: keys of the outcomes, with their titles.

    Example:
        >>> measures({"objective": "accuracy"})
        {'best': 'Best validation accuracy', 'test_accuracy': 'Test accuracy'}
    """
    objective, _ = _judged(result)
    return {"best": f"Best validation {objective}", f"test_{objective}": f"Test {objective}"}


def introduction(result: dict[str, Any]) -> str:
    """Say how many seeds there were, what the numbers are, and how far their intervals can be trusted.

    Example:
        >>> introduction({"seeds": 20, "direction": "maximize", "objective": "accuracy"}).splitlines()[0][:64]
        '20 paired seeds; values are means over them, with 95 % bootstrap'
    """
    objective, direction = _judged(result)
    values = "losses" if objective == "loss" else "values"
    better = "lower" if direction == "minimize" else "higher"
    seeds, few = result["seeds"], ""
    if seeds in _COVERED:
        few = (
            f"\nIntervals over {seeds} seeds are too narrow: of normal values, {_COVERED[seeds]} % rather than 95 % "
            "of them hold the true mean."
        )
    return (
        f"{seeds} paired seeds; {values} are means over them, with 95 % bootstrap intervals; {better} is "
        f"better.\nThe test {objective} is that of the chosen hyperparameters, trained again on fresh seeds; the gap "
        f"is by how\nmuch their validation {objective} was worse there than the search had seen (the winner's curse)."
        f"{few}"
    )


def table_of_methods(result: dict[str, Any]) -> Table:
    """Give the outcomes and costs of each method, as they are printed; seconds are mean ones of a run.

    Example:
        >>> row = {"method": "tpe", "mean": 0.5, "low": 0.4, "high": 0.6, "median": 0.5, "mean_rank": 1.0}
        >>> costs = {"method": "tpe", "trainings": 9, "epochs": 9, "wall_seconds": 5.0, "training_seconds": 4.0}
        >>> outcomes = {"best": {"summary": [row]}, "test_loss": {"summary": [row]}}
        >>> header, rows = table_of_methods({"outcomes": outcomes, "costs": [{**costs, "gap": 0.01}]})
        >>> list(zip(header, rows[0]))[:3]
        [('method', 'tpe'), ('best validation loss', '0.5000 [0.4000, 0.6000]'), ('median', '0.5000')]
    """
    _, tested = measures(result)
    titles = (title.lower() for title in measures(result).values())
    judged = [name for title in titles for name in (title, "median", "mean rank")]
    test = {row["method"]: row for row in result["outcomes"][tested]["summary"]}
    costs = {row["method"]: row for row in result["costs"]}
    rows = []
    for row in result["outcomes"]["best"]["summary"]:
        method = row["method"]
        cost = costs[method]
        rows.append(
            [
                method,
                _with_interval(row),
                _number(row["median"]),
                f"{row['mean_rank']:.2f}",
                _with_interval(test[method]),
                _number(test[method]["median"]),
                f"{test[method]['mean_rank']:.2f}",
                "-" if cost["gap"] is None else f"{cost['gap']:+.4f}",
                f"{cost['trainings']:.0f}",
                f"{cost['epochs']:.0f}",
                format_seconds(cost["wall_seconds"]),
                format_seconds(cost["training_seconds"]),
            ]
        )
    return ["method", *judged, "gap", "trainings", "epochs", "wall time", "training time"], rows


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write a table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def table_of_pairs(pairs: list[dict[str, Any]]) -> Table:
    """Give for each pair the median difference, p of the signed-rank test, p after Holm, and the effect (-1 to 1).

    Args:
        pairs: As returned by `deap_hpo.analysis.significance.pairwise`, as records.

    Example:
        >>> pair = {"first": "a", "second": "b", "difference": -0.1, "p": 0.02, "p_holm": 0.04, "effect": -0.8}
        >>> table_of_pairs([pair])[1]
        [['a - b', '-0.1000', '0.02', '0.04', '-0.80']]
    """
    rows = [
        [
            f"{pair['first']} - {pair['second']}",
            _number(pair["difference"]),
            f"{pair['p']:.2g}",
            f"{pair['p_holm']:.2g}",
            f"{pair['effect']:+.2f}",
        ]
        for pair in pairs
    ]
    return ["pair", "median difference", "p (Wilcoxon)", "p (Holm)", "rank-biserial effect"], rows


def _with_interval(row: dict[str, Any]) -> str:
    return f"{_number(row['mean'])} [{_number(row['low'])}, {_number(row['high'])}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
