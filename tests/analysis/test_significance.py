"""Tests and intervals: equal to scipy's, correctly paired, and in words no stronger than the evidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deap_hpo.analysis.significance import friedman, pairwise, summarise, verdict
from deap_hpo.errors import InputError


def outcomes(shift: float, seeds: int = 12) -> pd.DataFrame:
    """Three methods; c is worse than a and b by `shift`, which differ by noise."""
    rng = np.random.default_rng(1)
    difficulty = rng.normal(size=(seeds, 1))
    return pd.DataFrame(difficulty + 0.1 * rng.normal(size=(seeds, 3)) + [0, 0, shift], columns=["a", "b", "c"])


def test_tests_are_those_of_scipy() -> None:
    table = outcomes(0.1)
    assert friedman(table) == stats.friedmanchisquare(table["a"], table["b"], table["c"]).pvalue
    pairs = pairwise(table).set_index(["first", "second"])
    for first, second in (("a", "b"), ("a", "c"), ("b", "c")):
        expected = stats.wilcoxon(table[first], table[second], zero_method="zsplit").pvalue
        assert pairs.loc[(first, second), "p"] == pytest.approx(expected)


def test_holm_multiplies_by_the_pairs_left() -> None:
    pairs = pairwise(outcomes(0.1)).sort_values("p")
    stepwise = np.maximum.accumulate(pairs["p"].to_numpy() * [3, 2, 1])
    assert pairs["p_holm"].tolist() == pytest.approx(np.minimum(stepwise, 1).tolist())


def test_a_clear_difference_is_named_with_its_direction() -> None:
    said = " ".join(verdict(outcomes(1.0)))
    assert "The methods differ" in said
    assert "a is better than c: lower in 12 of 12 pairs" in said
    assert "b is better than c" in said
    assert "a is better than b" not in said
    assert "b is better than a" not in said


def test_noise_shows_no_difference() -> None:
    assert verdict(outcomes(0.0))[0].startswith("No difference is shown between the methods")


def test_false_alarms_are_as_rare_as_they_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 comparisons of equal methods, about 5 % may be significant; 21 or more has odds of 6e-4."""
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels calls it each time, and it may take seconds
    rng = np.random.default_rng(0)
    alarms = sum(
        not verdict(pd.DataFrame(rng.normal(size=(10, 3)), columns=list("abc")))[0].startswith("No difference")
        for _ in range(200)
    )
    assert alarms <= 20


def test_too_few_seeds_are_said_to_be_too_few() -> None:
    assert "more seeds are needed" in verdict(outcomes(5.0, seeds=4))[-1]
    assert "more seeds are needed" not in " ".join(verdict(outcomes(5.0, seeds=12)))


def test_a_method_without_a_value_is_worst_and_breaks_nothing() -> None:
    table = outcomes(0.0)
    table.loc[:, "c"] = math.inf
    summary = summarise(table)
    assert summary.index[-1] == "c"
    assert math.isnan(summary.loc["c", "low"])
    assert pairwise(table).set_index(["first", "second"]).loc[("a", "c"), "effect"] == -1.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        ([math.inf, 1.0, math.inf, 1.0], [1.0, math.inf, 1.0, math.inf], 0.0),
        ([math.inf, math.inf, 3.0, 1.0], [1.0, 1.0, 1.0, 2.0], math.inf),
        ([math.inf, math.inf, 1.0], [math.inf, 1.0, 2.0], 0.0),
    ],
)
def test_the_median_difference_of_methods_that_failed_is_a_number(
    first: list[float], second: list[float], difference: float
) -> None:
    assert pairwise(pd.DataFrame({"a": first, "b": second})).loc[0, "difference"] == difference


@pytest.mark.parametrize("judge", [summarise, verdict])
def test_an_outcome_that_is_missing_is_refused_rather_than_a_tie(judge: Callable[[pd.DataFrame], object]) -> None:
    with pytest.raises(InputError, match="got NaN of 'b'"):
        judge(pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, math.nan, 3.0]}))


@pytest.mark.parametrize("judge", [summarise, verdict])
@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.DataFrame(), "a column for each method; got 0 rows and 0 columns."),
        (pd.DataFrame({"a": [], "b": []}), "a column for each method; got 0 rows and 2 columns."),
        ({"a": [1, 2], "b": [3, 4]}, "must be a pandas.DataFrame .*; got {'a': \\[1, 2\\], 'b': \\[3, 4\\]}."),
        (pd.DataFrame({"a": [1.0, 2.0], "b": ["3", "4"]}), "outcomes must be numbers; got '3' of 'b'."),
    ],
)
def test_outcomes_that_are_no_table_of_numbers_are_refused(
    judge: Callable[[Any], object], table: Any, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        judge(table)


def test_one_method_has_nothing_to_be_compared_with() -> None:
    alone = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    assert summarise(alone).loc["a", "mean_rank"] == 1.0
    with pytest.raises(InputError, match=r"outcomes must be of at least 2 methods to compare; got 'a' alone\.$"):
        verdict(alone)


def test_of_one_seed_no_interval_is_known() -> None:
    table = pd.DataFrame({"a": [1.0], "b": [2.0]})
    row = summarise(table).loc["a"]
    assert row["mean"] == row["median"] == 1.0
    assert row[["low", "high"]].isna().all()
    assert verdict(table)[-1].startswith("With 1 seed and 1 pair no corrected p can fall below 1:")


def test_ties_are_not_among_the_ranks_of_an_effect() -> None:
    """Kerby's simple difference formula: only the pairs that differ are ranked."""
    table = pairwise(pd.DataFrame({"a": [1.0, 1.0, 1.0, 3.0], "b": [1.0, 2.0, 3.0, 0.0]}))
    assert table.loc[0, "effect"] == (3 - 1 - 2) / 6


def test_equal_methods_are_equal() -> None:
    table = pd.DataFrame({"a": [1.0, 1.0, 1.0], "b": [1.0, 1.0, 1.0]})
    assert pairwise(table).loc[0, ["p", "effect"]].tolist() == [1.0, 0.0]
    assert summarise(table).loc["a", ["low", "high"]].tolist() == [1.0, 1.0]


def test_the_interval_holds_the_mean_and_shrinks_with_more_seeds() -> None:
    widths = []
    for seeds in (5, 50):
        row = summarise(outcomes(0.0, seeds)).loc["a"]
        assert row["low"] < row["mean"] < row["high"]
        widths.append(row["high"] - row["low"])
    assert widths[1] < widths[0]


def test_where_higher_is_better_the_same_is_said_of_what_is_higher() -> None:
    losses = pd.DataFrame({"a": [1.0, 2, 3, 4, 5, 6], "b": [2.0, 4, 6, 8, 10, 12]})
    assert verdict(-losses, "maximize")[0] == verdict(losses)[0].replace("lower", "higher")
    assert summarise(-losses, "maximize")["mean_rank"].to_dict() == summarise(losses)["mean_rank"].to_dict()
    assert list(summarise(losses, "maximize").index) == ["b", "a"]
