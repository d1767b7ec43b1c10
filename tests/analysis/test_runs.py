"""Tables of several runs, and the test of a difference between two of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from recorded import SPACE, entries
from scipy.spatial.distance import pdist

from deap_hpo import Float, optimize
from deap_hpo.analysis.runs import environments, generations_table, paired_difference, runs_table, stacked
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Epoch, Evaluation
from deap_hpo.evolution import algorithms
from deap_hpo.recorded import Recorded
from deap_hpo.records.entries import Entry

CONFIG = {"evolution": {"algorithm": "truncation", "population": 3, "generations": 2, "indpb": 0.1}}
FINAL = {"number": 2, "test_loss": 0.6, "test_metrics": {"accuracy": 0.65}}


def recorded(seed: int = 1, **attributes: object) -> Recorded:
    return Recorded("run", ("minimize",), SPACE, entries(), {"seed": seed, "config": CONFIG, **attributes})


def test_a_run_is_a_row_with_its_best_network() -> None:
    (row,) = runs_table({"run_2": [recorded(final=FINAL)]}).to_dict("records")
    assert row["run"] == "run_2"
    assert (row["population"], row["generations"], row["mutation_rate"]) == (3, 2, 0.1)
    assert (row["best"], row["training_loss"], row["validation_loss"]) == (2, 0.6, 0.5)
    assert (row["test_loss"], row["test_accuracy"]) == (0.6, 0.65)
    assert (row["trained"], row["cached"], row["diverged"]) == (4, 1, 1)


def test_the_training_loss_is_that_of_the_epoch_that_the_network_is_judged_after() -> None:
    curve = (Epoch(1, 0.9, 0.8), Epoch(2, 0.6, 0.5), Epoch(3, 0.2, 0.7))
    best = Entry(0, 0, (0.4, 0.7), Evaluation((0.5,), curve=curve, metrics={"best_epoch": 2.0}), seed=7)
    (row,) = runs_table({"a": [replace(recorded(), entries=(best,))]}).to_dict("records")
    assert (row["training_loss"], row["validation_loss"]) == (0.6, 0.5)


def test_what_was_not_tested_is_missing_and_what_has_no_settings_is_an_error() -> None:
    assert math.isnan(runs_table({"a": [recorded()]})["test_loss"][0])
    with pytest.raises(InputError, match="was not started by"):
        runs_table({"a": [Recorded("run", ("minimize",), SPACE, entries(), {"seed": 1})]})


def test_tables_of_all_studies_stand_under_one_another() -> None:
    runs = {"a": [recorded(1), recorded(2)], "b": [recorded(1)]}
    trials = stacked(runs, "trials")
    assert trials.groupby(["run", "seed"]).size().to_dict() == {("a", 1): 5, ("a", 2): 5, ("b", 1): 5}
    assert len(stacked(runs, "epochs")) == 9
    with pytest.raises(InputError, match="table must be one of"):
        stacked(runs, "trails")


def test_generations_have_the_best_so_far_and_the_survivors_in_their_diversity() -> None:
    genes = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.2)]
    values = [0.1, 0.9, 0.5, 0.05]
    made = [
        Entry(i, int(i == 3), gene, Evaluation((value,)), seed=1)
        for i, (gene, value) in enumerate(zip(genes, values, strict=True))
    ]
    table = generations_table(Recorded("run", ("minimize",), SPACE, tuple(made), {"config": CONFIG}))
    assert table["best"].tolist() == [0.1, 0.05]
    assert table["trainings"].tolist() == [3, 4]
    assert table["diversity"][0] == pytest.approx((1 + 1 + math.sqrt(2)) / 3)
    assert table["diversity"][1] == pytest.approx(0.2)  # the best one of three survives
    alone = generations_table(Recorded("run", ("minimize",), SPACE, tuple(made), {}))
    assert math.isnan(alone["diversity"][1])


@pytest.mark.parametrize("stopping", ["median", "halving"])
def test_with_stages_the_diversity_is_that_of_the_population(stopping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An individual is one member of it, however many stages it reached."""
    populations: list[Any] = []
    original = algorithms.next_generation

    def watched(*args: Any) -> Any:
        population = original(*args)
        populations.append(np.array(population))
        return population

    monkeypatch.setattr(algorithms, "next_generation", watched)
    study = optimize(
        lambda params, epochs: (params["x"] - 0.3) ** 2 + (params["y"] - 0.6) ** 2 + 1 / epochs,
        {"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)},
        algorithm="truncation",
        arguments={"stages": [1, 2, 4], "stopping": stopping},
        population=6,
        generations=4,
        seed=3,
        progress=False,
    )
    recorded = study.found()
    table = generations_table(recorded)
    first = np.array([entry.genes for entry in recorded.entries if entry.generation == 0])
    assert len(first) == 6 < sum(entry.generation < recorded.stages for entry in recorded.entries)
    assert table["diversity"].tolist() == pytest.approx([pdist(one).mean() for one in (first, *populations)])


def test_the_best_so_far_of_a_maximised_run_rises() -> None:
    table = generations_table(Recorded("run", ("maximize",), SPACE, entries(), {}))
    assert table["best"].tolist() == [0.8, 0.8]


def test_a_difference_has_an_interval_that_covers_the_truth_and_an_exact_p() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        first = generator.normal(0.5, 0.1, size=5)
        found = paired_difference(list(first), list(first + generator.normal(0.2, 0.1, size=5)))
        covered += found["low"] <= -0.2 <= found["high"]
        assert found["p"] >= found["least_p"] == 0.0625
    assert covered >= 178  # fails by chance once in 3,000


def test_pairs_of_equals_make_no_small_p_possible() -> None:
    found = paired_difference([0.5, 0.4, 0.6, 0.7, 0.3], [0.5, 0.6, 0.6, 0.8, 0.9])
    assert (found["lower"], found["equal"], found["higher"]) == (3, 2, 0)
    assert found["p"] == found["least_p"] == 0.25


def test_of_many_pairs_the_least_p_is_that_of_the_random_flips() -> None:
    second = [float(i) for i in range(1, 41)]
    found = paired_difference([0.0] * 40, second)
    assert found["p"] == found["least_p"] == 2 / 10_000
    assert paired_difference([0.0] * 30, [0.0] * 28 + [1.0, 1.0])["least_p"] == 0.5


def test_equal_runs_show_nothing() -> None:
    found = paired_difference([0.5, 0.5], [0.5, 0.5])
    assert found["least_p"] == 1
    assert (found["mean"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1)
    with pytest.raises(InputError, match="2 or more seeds"):
        paired_difference([0.5], [0.4])


def test_environments_are_listed_once() -> None:
    one = Evaluation((0.5,), environment={"device": "cpu", "stack": 3})
    other = Evaluation((0.5,), environment={"device": "cpu", "stack": 4})
    made = tuple(Entry(i, 0, (0.1, 0.1), evaluation, seed=1) for i, evaluation in enumerate((one, other)))
    assert environments({"a": [Recorded("run", ("minimize",), SPACE, made, {})]}) == [{"device": "cpu"}]


def test_what_broke_a_constraint_survives_after_what_did_not() -> None:
    made = [
        Entry(0, 0, (0.0, 0.0), Evaluation((0.9,)), seed=1),
        Entry(1, 0, (1.0, 1.0), Evaluation((0.1,), violation=0.5), seed=1),
        Entry(2, 0, (0.5, 0.5), Evaluation((math.inf,), "diverged"), seed=1),
        Entry(3, 0, (0.0, 0.1), Evaluation((0.8,)), seed=1),
        Entry(4, 1, (0.0, 0.0), Evaluation((0.7,)), seed=1),
    ]
    table = generations_table(Recorded("run", ("minimize",), SPACE, tuple(made), {"config": CONFIG}))
    assert table["diversity"][1] == pytest.approx((0.1 + 0.1 + 0.0) / 3)


def test_infinite_values_are_no_difference_where_both_are_and_no_probability_where_one_is() -> None:
    found = paired_difference([1.0, 2.0, math.inf], [1.0, 3.0, math.inf])
    assert (found["mean"], found["lower"], found["p"]) == (pytest.approx(-1 / 3), 1, 1.0)
    for first, mean in (([0.5, math.inf], math.inf), ([0.5, math.nan], math.nan)):
        found = paired_difference(first, [0.4, 0.4])
        assert found["mean"] == pytest.approx(mean, nan_ok=True)
        assert all(math.isnan(found[name]) for name in ("low", "high", "p"))


@pytest.mark.parametrize("genomes", [[("a",), ("b",)], [(1.0,), (1.0, 2.0)], [((1.0, 2.0),), ((1.0, 3.0),)]])
def test_genomes_that_are_no_vectors_have_no_diversity(genomes: list[tuple[Any, ...]]) -> None:
    run = [Entry(i, 0, genes, Evaluation((0.5,)), seed=0) for i, genes in enumerate(genomes)]
    table = generations_table(Recorded("run", ("minimize",), None, run, {"seed": 1}))
    assert (table["best"][0], math.isnan(table["diversity"][0])) == (0.5, True)
