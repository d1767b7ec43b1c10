"""Is one method better than another? Intervals, ranks and library tests for outcomes paired by seed."""

from __future__ import annotations

from itertools import combinations
from typing import Any, SupportsFloat

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from deap_hpo.errors import InputError, shown
from deap_hpo.evaluation import Direction
from deap_hpo.wording import plural

LEVEL = 0.05
_RESAMPLES = 9999


def summarise(outcomes: pd.DataFrame, direction: Direction = "minimize") -> pd.DataFrame:
    """Summarise outcomes.

    Args:
        outcomes: One row for each seed, one column for each method. A method that failed has inf (or -inf if higher is
            better).
        direction: Whether lower or higher values are better.

    Raises:
        InputError: It is not such a table, or it is empty; or an outcome is not a number, or NaN.

    Returns:
        One row for each method, best mean rank first: `mean`, `median`, `low` and `high` (95 % bootstrap interval of
        the mean, Efron's BCa; the value itself if all are equal, NaN for a single seed, or if one is infinite; with
        few seeds it is too narrow: of normal values, 72 % hold the true mean with three, 84 % with five), `mean_rank`
        (1 is best; ties share).

    Example:
        >>> table = summarise(pd.DataFrame({"a": [0.1, 0.2, 0.3], "b": [0.2, 0.4, 0.5]}))
        >>> table["mean_rank"].to_dict()
        {'a': 1.0, 'b': 2.0}
    """
    _check(outcomes)
    minimize = direction == "minimize"
    ranks = outcomes.rank(axis="columns", ascending=minimize).mean()
    rows = {}
    for method, values in outcomes.items():
        low, high = _interval(values.to_numpy(float))
        rows[method] = {"mean": values.mean(), "median": values.median(), "low": low, "high": high}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["mean_rank"] = ranks
    return table.sort_values(["mean_rank", "mean"], ascending=[True, minimize], kind="stable")


def _check(outcomes: Any) -> None:
    """Check that outcomes are a table of numbers other than NaN, of at least one seed and method."""
    if not isinstance(outcomes, pd.DataFrame):
        raise InputError(
            "outcomes must be a pandas.DataFrame with a row for each seed and a column for each method; got "
            f"{shown(outcomes)}."
        )
    if outcomes.empty:
        raise InputError(
            "outcomes must have a row for each seed and a column for each method; got "
            f"{plural(len(outcomes), 'row')} and {plural(outcomes.shape[1], 'column')}."
        )
    for method, values in outcomes.items():
        if values.isna().any():
            raise InputError(f"outcomes must be numbers, inf for a method that failed; got NaN of {method!r}.")
        for value in values:
            if not isinstance(value, SupportsFloat):
                raise InputError(f"outcomes must be numbers; got {shown(value)} of {method!r}.")


def _interval(values: Any) -> tuple[float, float]:
    if len(values) < 2 or not np.isfinite(values).all():
        return float("nan"), float("nan")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    generator = np.random.default_rng(0)  # the same data give the same interval
    interval = stats.bootstrap((values,), np.mean, n_resamples=_RESAMPLES, method="BCa", rng=generator)
    return float(interval.confidence_interval.low), float(interval.confidence_interval.high)


def friedman(outcomes: pd.DataFrame) -> float | None:
    """Test whether any method differs from any other; None for fewer than 3 methods, or if all have equal outcomes.

    Source: Friedman (1937), as recommended for several methods by Demšar, "Statistical comparisons of classifiers over
    multiple data sets" (JMLR 7, 2006).
    """
    if outcomes.shape[1] < 3 or (outcomes.nunique(axis="columns") == 1).all():
        return None
    return float(stats.friedmanchisquare(*(outcomes[method] for method in outcomes)).pvalue)


def pairwise(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Compare every pair of methods.

    Returns:
        One row for each pair: `first`, `second`, `difference` (median of the differences, first minus second; 0
        between -inf and inf), `p` (Wilcoxon's signed-rank test, two-sided), `p_holm` (corrected for the number of
        pairs), `effect` (rank-biserial correlation of the pairs that differ: -1 if the first was lower in all of these,
        1 if the second was).

    Source: Wilcoxon (1945); Holm (1979); Kerby, "The simple difference formula" (2014), for the effect.

    Example:
        >>> table = pairwise(pd.DataFrame({"a": [1.0, 2, 3, 4, 5, 6], "b": [2.0, 4, 6, 8, 10, 12]}))
        >>> float(table.loc[0, "p_holm"]), float(table.loc[0, "effect"])
        (0.03125, -1.0)
    """
    rows = []
    for first, second in combinations(outcomes.columns, 2):
        differences = (outcomes[first] - outcomes[second]).fillna(0.0)  # inf - inf: neither is better
        if (differences == 0).all():
            p, effect = 1.0, 0.0
        else:
            p = float(stats.wilcoxon(differences, zero_method="zsplit", method="auto").pvalue)
            unequal = differences[differences != 0]
            ranks = unequal.abs().rank()
            effect = float((np.sign(unequal) * ranks).sum() / ranks.sum())
        with np.errstate(invalid="ignore"):
            median = differences.median()
        if np.isnan(median):  # between -inf and inf
            median = 0.0
        rows.append({"first": first, "second": second, "difference": median, "p": p, "effect": effect})
    table = pd.DataFrame(rows, columns=["first", "second", "difference", "p", "effect"])
    table.insert(4, "p_holm", multipletests(table["p"], LEVEL, method="holm")[1] if rows else [])
    return table


def verdict(outcomes: pd.DataFrame, direction: Direction = "minimize") -> list[str]:
    """Say in words what the tests show, and no more than that.

    Args:
        outcomes: As for `summarise`, with at least 2 methods.
        direction: Whether lower or higher values are better.

    Raises:
        InputError: As for `summarise`, or there is only one method.

    Example:
        >>> verdict(pd.DataFrame({"a": [1.0, 2, 3, 4, 5, 6], "b": [2.0, 4, 6, 8, 10, 12]}))
        ['a is better than b: lower in 6 of 6 pairs, Holm-corrected p = 0.031.']
        >>> verdict(pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.1, 1.9, 3.2]}))[0]
        'No difference is shown between a and b (p = 0.75).'
    """
    _check(outcomes)
    if outcomes.shape[1] < 2:
        raise InputError(f"outcomes must be of at least 2 methods to compare; got {outcomes.columns[0]!r} alone.")
    said = []
    overall = friedman(outcomes)
    pairs = pairwise(outcomes)
    if overall is not None:
        begin = "The methods differ" if overall < LEVEL else "No difference is shown between the methods"
        said.append(f"{begin} (Friedman test, p = {overall:.2g}).")
    if overall is None or overall < LEVEL:  # only then are pairs compared
        said += _said_of_pairs(outcomes, pairs, direction, overall=overall is not None)
    count = len(outcomes)
    least = 2.0 ** (1 - count) * max(1, len(pairs))
    if least >= LEVEL:
        said.append(
            f"With {plural(count, 'seed')} and {plural(len(pairs), 'pair')} no corrected p can fall below "
            f"{min(least, 1.0):.2g}: more seeds are needed to show a difference between two methods."
        )
    return said


def _said_of_pairs(outcomes: pd.DataFrame, pairs: pd.DataFrame, direction: Direction, *, overall: bool) -> list[str]:
    """Say which pairs differ; if none does, name each, unless the methods are known to differ `overall`."""
    differ = pairs[pairs["p_holm"] < LEVEL]
    if differ.empty and overall:
        return ["No single pair differs by the corrected tests."]
    if differ.empty:
        return [
            f"No difference is shown between {pair['first']} and {pair['second']} (p = {pair['p_holm']:.2g})."
            for _, pair in pairs.iterrows()
        ]
    said = []
    for _, pair in differ.iterrows():
        lower, higher = (pair["first"], pair["second"]) if pair["effect"] < 0 else (pair["second"], pair["first"])
        wins = int((outcomes[lower] < outcomes[higher]).sum())
        better, worse, how = (lower, higher, "lower") if direction == "minimize" else (higher, lower, "higher")
        said.append(
            f"{better} is better than {worse}: {how} in {wins} of {len(outcomes)} pairs, "
            f"Holm-corrected p = {pair['p_holm']:.2g}."
        )
    return said
