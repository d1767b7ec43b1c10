"""The study: replay after an interruption anywhere, for any DEAP algorithm; refusal of a run that is not the same."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import random
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evaluators
import numpy as np
import optuna
import pytest
import torch
from deap import algorithms, cma, tools
from interruptions import InterruptedAt

import deap_hpo
from deap_hpo.budget import BudgetSpent
from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import Evaluator
from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import Individual, individual_type, make_toolbox
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.functions.objective import Objective
from deap_hpo.pruning import MedianPruner
from deap_hpo.recorded import load_study
from deap_hpo.records.driver_lock import DriverLock
from deap_hpo.records.record import ReplayError
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.study import Study
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import make_trainer

SPACE = Space({"x": Float(-5.0, 5.0), "y": Float(0.1, 10.0, log=True), "n": Int(1, 4), "kind": Categorical(["a", "b"])})


LINE = {"x": Float(0.0, 1.0)}


def objective(params: dict[str, Any]) -> float:
    """Has an optimum, a region without a value, and its own random draws."""
    if params["n"] == 4:
        return math.nan
    return (params["x"] - 1) ** 2 + math.log(params["y"]) ** 2 + 0.01 * random.random() + 0.01 * np.random.rand()


def truncation(study: Study, evaluate: Callable[..., Any]) -> tuple[Any, ...]:
    toolbox = _toolbox(study, evaluate)
    return eaTruncation(toolbox.population(n=6), toolbox, 1.0, 1.0, 3, study.statistics(), verbose=False)


def simple(study: Study, evaluate: Callable[..., Any]) -> tuple[Any, ...]:
    toolbox = _toolbox(study, evaluate)
    toolbox.register("select", tools.selTournament, tournsize=3)
    return algorithms.eaSimple(toolbox.population(n=6), toolbox, 0.5, 0.5, 3, study.statistics(), verbose=False)


def mu_plus_lambda(study: Study, evaluate: Callable[..., Any]) -> tuple[Any, ...]:
    toolbox = _toolbox(study, evaluate)
    toolbox.register("select", tools.selBest)
    start = toolbox.population(n=4)
    return algorithms.eaMuPlusLambda(start, toolbox, 4, 6, 0.4, 0.4, 3, study.statistics(), verbose=False)


def generate_update(study: Study, evaluate: Callable[..., Any]) -> tuple[Any, ...]:
    toolbox = _toolbox(study, evaluate)
    strategy = cma.Strategy(centroid=[0.5] * 4, sigma=0.3, lambda_=5)
    toolbox.register("generate", strategy.generate, Individual)
    toolbox.register("update", strategy.update)
    return algorithms.eaGenerateUpdate(toolbox, 4, stats=study.statistics(), verbose=False)


def _toolbox(study: Study, evaluate: Callable[..., Any]) -> Any:
    toolbox = make_toolbox(SPACE)
    toolbox.register("evaluate", evaluate)
    toolbox.register("map", study.map)
    return toolbox


ALGORITHMS = [truncation, simple, mu_plus_lambda, generate_update]


def result(study: Study, outcome: tuple[Any, ...]) -> dict[str, Any]:
    """All that must be equal: logbook (timings aside), population, best, and the whole record."""
    population, logbook = outcome
    return {
        "logbook": [{k: repr(v) for k, v in row.items() if k != "seconds"} for row in logbook],
        "population": [(list(map(float, one)), one.fitness.values) for one in population],
        "best": (study.best_params, study.best_value),
        "entries": [
            (e.number, e.generation, e.genes, e.evaluation.values, e.duplicate_of, e.parents) for e in study.record
        ],
    }


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_interrupted_at_any_evaluation_and_resumed_it_ends_the_same(algorithm: Any, tmp_path: Path) -> None:
    with Study(SPACE, name="whole", storage=f"{tmp_path}/a.db", seed=3) as study:
        counter = InterruptedAt(10**9, objective)
        expected = result(study, algorithm(study, counter))
    assert counter.calls >= 10

    def study_of(name: str) -> Study:
        return Study(SPACE, name=name, storage=f"{tmp_path}/a.db", seed=3, resume=True)

    for boundary in range(counter.calls):  # at each, in one run that is resumed for one evaluation at a time
        with study_of("at-each") as study, pytest.raises(KeyboardInterrupt):
            algorithm(study, InterruptedAt(1 if boundary else 0, objective))
    for boundary in (0, counter.calls // 2):
        with study_of(f"cut-{boundary}") as study, pytest.raises(KeyboardInterrupt):
            algorithm(study, InterruptedAt(boundary, objective))
    for name, left in (("at-each", 1), ("cut-0", counter.calls), (f"cut-{counter.calls // 2}", -(-counter.calls // 2))):
        with study_of(name) as study:
            second = InterruptedAt(10**9, objective)
            assert result(study, algorithm(study, second)) == expected
        assert second.calls == left


def test_the_finished_run_replays_without_one_evaluation(tmp_path: Path) -> None:
    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}
    with Study(SPACE, **options) as study:
        expected = result(study, truncation(study, objective))
    with Study(SPACE, **options, resume=True) as study:
        assert result(study, truncation(study, InterruptedAt(0, objective))) == expected


def test_in_memory_and_on_disk_give_the_same(tmp_path: Path) -> None:
    with Study(SPACE, seed=3) as memory:
        first = result(memory, truncation(memory, objective))
    with Study(SPACE, seed=3, storage=f"{tmp_path}/b.db") as disk:
        assert result(disk, truncation(disk, objective)) == first


@pytest.mark.parametrize(
    ("evaluate", "named"),
    [
        (lambda params, report: 1.0, r"missing a required argument: 'report'.* Objective\(train\)"),
        (lambda: 1.0, "too many positional arguments"),
        (0.5, r"must be a function of the hyperparameters, a trainer or another Evaluator; got 0\.5"),
    ],
)
def test_what_cannot_be_called_is_said_once_and_nothing_recorded(evaluate: Any, named: str) -> None:
    with Study(SPACE) as study, pytest.raises(InputError, match=named):
        study.map(evaluate, [Individual([0.5] * len(SPACE))])
    assert len(study.record) == 0


@pytest.mark.parametrize("evaluate", [max, lambda *args: 0.5, lambda genes, seed=0: genes[1]])
def test_what_can_be_called_may_have_more_parameters_or_no_signature(evaluate: Any) -> None:
    with Study() as study:
        assert study.map(evaluate, [[0.25, 0.5]]) == [(0.5,)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 4}, "seed 3"),
        ({"space": Space({**SPACE, "x": Float(-5.0, 6.0)})}, "recorded with space x.high = 5.0, and cannot"),
        ({"settings": {"epochs": 2}}, "recorded with epochs not set, and cannot be continued with epochs = 2"),
        ({"common_random_numbers": False}, "common_random_numbers"),
    ],
)
def test_another_run_is_refused_and_the_record_left_alone(change: Any, named: str, tmp_path: Path) -> None:
    options = {"space": SPACE, "name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}
    with Study(**options) as study:
        truncation(study, objective)
    before = load_study("run", f"{tmp_path}/a.db")
    with pytest.raises(ReplayError, match=named):
        Study(**{**options, **change}, resume=True)
    assert load_study("run", f"{tmp_path}/a.db") == before


def test_a_population_made_outside_the_study_is_told_where_to_make_it(tmp_path: Path) -> None:
    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3, "resume": True}
    for value in (0.25, 0.5):
        population = [Individual([value] * len(SPACE))]  # as drawn before anything is seeded
        with Study(SPACE, **options) as study:
            if value == 0.25:
                study.map(objective, population)
                continue
            with pytest.raises(ReplayError, match=r"evaluation 0 .* Make the population inside `with Study\(\.\.\.\)`"):
                study.map(objective, population)


def test_another_algorithm_is_refused_and_the_record_left_alone(tmp_path: Path) -> None:
    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}
    with Study(SPACE, **options) as study:
        truncation(study, objective)
    before = load_study("run", f"{tmp_path}/a.db")
    with Study(SPACE, **options, resume=True) as study, pytest.raises(ReplayError) as refusal:
        simple(study, objective)
    assert "evaluation 6 on record" in str(refusal.value)
    assert "inside `with Study" not in str(refusal.value)
    assert load_study("run", f"{tmp_path}/a.db") == before


def test_a_refused_run_changes_no_fact_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: Any = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}
    with Study(SPACE, **options) as study:
        study.provenance.note("config", {"generations": 3})
        truncation(study, objective)
    before = dict(load_study("run", f"{tmp_path}/a.db").attributes)
    monkeypatch.setattr(deap_hpo, "__version__", "99.0")
    with Study(SPACE, resume=True, **options) as study:
        study.provenance.note("config", {"generations": 9})
        with pytest.raises(ReplayError):
            simple(study, objective)  # differs only after the first generation
    assert load_study("run", f"{tmp_path}/a.db").attributes == before

    with Study(SPACE, resume=True, **options) as study:
        study.provenance.note("config", {"generations": 9})
        truncation(study, InterruptedAt(0, objective))
        assert load_study("run", f"{tmp_path}/a.db").attributes == before, "nothing was added"
        noted: list[Any] = []

        def look(params: dict[str, Any]) -> float:
            noted.append(load_study("run", f"{tmp_path}/a.db").attributes)
            return 1.0

        study.map(look, [Individual([0.123, 0.5, 0.5, 0.5])])
    for one in (before, *noted):
        one.pop("fingerprint")  # `look` is another function, which is not the point here
    changed = {**before, "config": {"generations": 9}, "version": "99.0"}
    assert noted == [changed], "it is on record before what is added has ended"


def test_another_evaluator_is_refused(tmp_path: Path) -> None:
    class Trainer(Evaluator):
        def __init__(self, epochs: int) -> None:
            self.epochs = epochs

        @property
        def settings(self) -> dict[str, Any]:
            return {"epochs": self.epochs}

        def evaluate(self, request: Request) -> Evaluation:
            return Evaluation((objective(request.params),))

    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}
    with Study(SPACE, **options) as study:
        truncation(study, Trainer(1))
    with Study(SPACE, **options, resume=True) as study, pytest.raises(ReplayError, match="evaluator epochs = 1"):
        truncation(study, Trainer(2))


def test_a_name_under_which_nothing_was_evaluated_is_free(tmp_path: Path) -> None:
    storage = f"{tmp_path}/a.db"
    with Study(SPACE, name="run", storage=storage):
        pass
    with Study(LINE, name="run", storage=storage, directions="maximize") as study:
        assert study.directions == ("maximize",)
        study.map(lambda params: 1.0, [individual_type([1.0])([0.5])])
    with pytest.raises(InputError, match="exists already"):
        Study(LINE, name="run", storage=storage, directions="maximize")
    optuna.create_study(study_name="theirs", storage=f"sqlite:///{storage}")
    with pytest.raises(InputError, match="exists already"):
        Study(LINE, name="theirs", storage=storage)


def test_a_name_is_not_free_where_no_lock_says_that_nobody_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Study(SPACE, name="run", storage=f"{tmp_path}/a.db"):
        pass
    monkeypatch.setattr(DriverLock, "keeps_others_out", False)  # as on a server without such a lock
    with pytest.raises(InputError, match="exists already"):
        Study(SPACE, name="run", storage=f"{tmp_path}/a.db")


def test_resuming_a_study_without_evaluations_keeps_its_facts(tmp_path: Path) -> None:
    options: Any = {"name": "run", "storage": f"{tmp_path}/a.db"}
    with Study(SPACE, **options) as study:
        study.provenance.note("config", {"generations": 3})
    with Study(SPACE, resume=True, **options):
        assert load_study("run", f"{tmp_path}/a.db").attributes["config"] == {"generations": 3}


def test_a_closed_study_evaluates_and_writes_nothing(tmp_path: Path) -> None:
    """Another study may have continued its record meanwhile: the same number would be used twice."""
    calls: list[Any] = []

    def first(genome: Any) -> float:
        calls.append(genome[0])
        return float(genome[0])

    options: Any = {"name": "run", "storage": f"{tmp_path}/a.db"}
    with Study(None, **options) as closed:
        closed.map(first, [Individual([1.0])])
    with Study(None, resume=True, **options) as other:
        other.map(first, [Individual([1.0])])
        with pytest.raises(InputError, match=r"'run' is closed. To continue, open it again"):
            closed.map(first, [Individual([7.0])])
        other.map(first, [Individual([2.0])])
    assert [entry.evaluation.value for entry in load_study("run", f"{tmp_path}/a.db").entries] == [1.0, 2.0]
    assert calls == [1.0, 2.0]
    assert closed.best_value == 1.0


def test_a_gene_that_is_nan_is_on_record_like_any_other(tmp_path: Path) -> None:
    options: Any = {"name": "run", "storage": f"{tmp_path}/a.db", "resume": True}
    for _ in range(2):
        with Study(None, **options) as study:
            assert study.map(len, [Individual([math.nan, 1.0])]) == [(2.0,)]
    assert len(study.record) == 1


def test_a_study_that_another_process_runs_leaves_no_connection_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Any] = []
    monkeypatch.setattr("deap_hpo.records.record.close_storage", closed.append)
    options: Any = {"name": "run", "storage": f"{tmp_path}/a.db", "resume": True}
    with Study(SPACE, **options):
        with pytest.raises(InputError, match="Another process"):
            Study(SPACE, **options)
        assert len(closed) == 1


def test_a_name_that_exists_is_refused(tmp_path: Path) -> None:
    with Study(SPACE, name="run", storage=f"{tmp_path}/a.db") as study:
        study.map(objective, [Individual([0.5] * 4)])
    with pytest.raises(InputError, match=r"exists already. Resume it .* delete it .* or choose another name"):
        Study(SPACE, name="run", storage=f"{tmp_path}/a.db")


def test_what_an_evaluation_draws_does_not_move_the_algorithm() -> None:
    def frugal(params: dict[str, Any]) -> float:
        return params["x"] ** 2

    def wasteful(params: dict[str, Any]) -> float:
        random.random(), np.random.rand(7)
        return params["x"] ** 2

    genes = []
    for evaluate in (frugal, wasteful):
        with Study(SPACE, seed=3) as study:
            truncation(study, evaluate)
            genes.append([entry.genes for entry in study.record])
    assert genes[0] == genes[1]


def test_repeated_configurations_are_evaluated_once() -> None:
    space = Space({"n": Int(1, 3)})
    numbers = itertools.count()

    def counted(params: dict[str, Any]) -> int:
        return next(numbers)

    with Study(space, seed=1) as study:
        individuals = [Individual([gene]) for gene in (0.1, 0.2, 0.9, 0.15)]
        assert study.map(counted, individuals) == [(0.0,), (0.0,), (1.0,), (0.0,)]
        assert [entry.duplicate_of for entry in study.record] == [None, 0, None, 0]
        assert study.map(counted, [Individual([0.95])]) == [(1.0,)]
        assert study.record[4].duplicate_of == 2


def test_what_is_answered_by_an_earlier_evaluation_took_no_time_and_no_worker() -> None:
    class Slow(Evaluator):
        def evaluate(self, request: Request) -> Evaluation:
            return Evaluation((1.0,), seconds=3.0, retries=2)

    with Study(SPACE) as study:
        study.map(Slow(), [Individual([0.5] * 4)] * 2)
    first, second = (entry.evaluation for entry in study.record)
    assert (first.seconds, first.retries) == (3.0, 2)
    assert (second.seconds, second.retries, second.value) == (0.0, 0, 1.0)


def test_another_function_is_not_answered_by_what_one_before_it_gave(tmp_path: Path) -> None:
    """For example the evaluation of one species together with representatives of the other, which change."""

    def run(stop: int) -> tuple[list[Any], list[int | None]]:
        values = []
        with Study(SPACE, storage=tmp_path / "studies.db", resume=True) as study:
            for number in range(stop):
                partner = number // 2  # the lambda depends on it
                values += study.map(lambda params: partner, [Individual([0.5] * 4)])  # noqa: B023
            return values, [entry.duplicate_of for entry in study.record]

    assert run(3) == ([(0.0,), (0.0,), (1.0,)], [None, 0, None])
    assert run(5) == ([(0.0,), (0.0,), (1.0,), (1.0,), (2.0,)], [None, 0, None, 2, None])


def test_seeds_are_shared_or_one_each() -> None:
    def draw(_: Any) -> float:
        return random.random()

    individuals = [Individual([gene]) for gene in (0.1, 0.2, 0.1)]
    space = Space({"x": Float(0.0, 1.0)})
    with Study(space, seed=1) as study:
        shared = study.map(draw, individuals)
    with Study(space, seed=1, common_random_numbers=False) as study:
        own = study.map(draw, individuals)
        assert [entry.duplicate_of for entry in study.record] == [None, None, None]
    assert len(set(shared)) == 1
    assert len(set(own)) == 3


def test_an_evaluation_that_raises_is_failed_with_its_traceback() -> None:
    def broken(params: dict[str, Any]) -> float:
        raise RuntimeError("no such thing")

    with Study(SPACE, seed=1) as study:
        assert study.map(broken, [Individual([0.5] * 4)]) == [(math.inf,)]
        assert study.record[0].evaluation.status == "failed"
        assert "no such thing" in study.record[0].evaluation.error
        with pytest.raises(InputError, match="no best evaluation"):
            _ = study.best
        with pytest.raises(
            InputError, match=r"finite value; 1 of 1 failed, number 0 with RuntimeError: no such thing\.$"
        ):
            _ = study.best_value


@pytest.mark.parametrize(
    "returned", [np.array([0.25, 3.0]), [np.float32(0.25), np.int64(3)], torch.tensor([0.25, 3.0])]
)
def test_arrays_are_values_as_tuples_are(returned: Any) -> None:
    with Study(SPACE, directions=["minimize", "maximize"]) as study:
        assert study.map(lambda params: returned, [individual_type([-1.0, 1.0])([0.5] * 4)]) == [(0.25, 3.0)]
    with Study(SPACE) as study:
        assert study.map(lambda params: returned[:1], [Individual([0.5] * 4)]) == [(0.25,)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_count_as_worst(bad: float) -> None:
    for direction, worst in (("minimize", math.inf), ("maximize", -math.inf)):
        individual = individual_type([-1.0 if direction == "minimize" else 1.0])([0.5] * 4)
        with Study(SPACE, directions=[direction]) as study:
            assert study.map(lambda params: bad, [individual]) == [(worst,)]
            assert study.record[0].evaluation.status == "diverged"


def test_maximisation_finds_the_largest() -> None:
    with Study(Space({"x": Float(0.0, 1.0)}), directions=["maximize"]) as study:
        study.map(lambda params: params["x"], [individual_type([1.0])([gene]) for gene in (0.2, 0.9, 0.4)])
        assert study.best_value == 0.9


@pytest.mark.parametrize("directions", [["maximize"], ["minimize", "minimize"]])
def test_directions_that_disagree_with_the_weights_are_refused(directions: Any) -> None:
    with (
        Study(SPACE, directions=directions) as study,
        pytest.raises(InputError, match=r"weights .*, \(-1.0,\), which say minimize; the study's are " + directions[0]),
    ):
        study.map(objective, [Individual([0.5] * 4)])


def test_several_objectives_are_kept() -> None:
    with Study(SPACE, directions=["minimize", "maximize"]) as study:
        both = individual_type([-1.0, 1.0])
        assert study.map(lambda params: (1.0, 2.0), [both([0.5] * 4)]) == [(1.0, 2.0)]
        with pytest.raises(InputError, match=r"2 value\(s\), one per direction; got 1"):
            study.map(lambda params: 1.0, [both([0.4] * 4)])


def test_without_a_space_the_individual_is_handed_over() -> None:
    with Study(seed=1) as study:
        assert study.map(lambda individual: (sum(individual),), [Individual([1.5, 2.0])]) == [(3.5,)]
        assert study.best_params == {"gene_0": 1.5, "gene_1": 2.0}


def test_bare_lists_and_arrays_are_evaluated_too() -> None:
    with Study(seed=1) as study:
        assert study.map(sum, [[1.5, 2.0]]) == [(3.5,)]
        assert study.map(sum, np.array([[1.5, 2.0], [0.5, 1.0]])) == [(3.5,), (1.5,)]


def test_lineage_is_recorded() -> None:
    with Study(SPACE, seed=3) as study:
        truncation(study, objective)
        children = [entry for entry in study.record if entry.generation > 0]
        assert children
        for entry in children:
            assert entry.operators == ("mate", "mutate")
            assert len(entry.parents) == 2
            assert max(entry.parents) < entry.number
        assert all(entry.parents == () for entry in study.record if entry.generation == 0)


def test_statistics_leave_out_what_has_no_value() -> None:
    with Study(SPACE, seed=1) as study:
        values = iter([1.0, math.nan, 3.0])
        individuals = [Individual([gene] * 4) for gene in (0.1, 0.2, 0.3)]
        for one, fitness in zip(individuals, study.map(lambda params: next(values), individuals), strict=True):
            one.fitness.values = fitness
        row = study.statistics().compile(individuals)
    assert {k: row[k] for k in ("avg", "min", "max", "diverged", "cached")} == {
        "avg": 2.0, "min": 1.0, "max": 3.0, "diverged": 1, "cached": 0,
    }  # fmt: skip


def test_statistics_leave_out_what_breaks_a_constraint_and_count_it() -> None:
    """A value that may not be used is no minimum; without a usable value there is none."""
    objective = Objective(
        lambda params: {"loss": params["x"], "size": 10 * params["x"]}, metric="loss", constraints=["size >= 5"]
    )
    with Study({"x": Float(0.0, 1.0)}, seed=1) as study:
        individuals = [Individual([gene]) for gene in (0.1, 0.6, 0.9)]
        for one, fitness in zip(individuals, study.map(objective, individuals), strict=True):
            one.fitness.values = fitness
        row = study.statistics(constrained=True).compile(individuals)
        assert (row["min"], row["avg"], row["max"], row["diverged"], row["infeasible"]) == (0.6, 0.75, 0.9, 0, 1)
        assert math.isnan(study.statistics().compile(individuals[:1])["min"])
        assert "infeasible" not in study.statistics().fields


def test_the_budget_of_evaluations_is_a_total(tmp_path: Path) -> None:
    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}
    with Study(SPACE, **options, max_evaluations=8) as study, pytest.raises(BudgetSpent, match="its budget, max_eval"):
        truncation(study, objective)
    entries = load_study("run", f"{tmp_path}/a.db").entries
    assert sum(entry.duplicate_of is None for entry in entries) == 8
    with Study(SPACE, **options, max_evaluations=8, resume=True) as study, pytest.raises(BudgetSpent):
        truncation(study, InterruptedAt(0, objective))
    with Study(SPACE, **options, resume=True) as study:
        population, _ = truncation(study, objective)
    with Study(SPACE, seed=3) as study:
        assert truncation(study, objective)[0] == population


def test_an_algorithm_that_proposes_nothing_new_ends_all_the_same() -> None:
    with Study(Space({"n": Int(1, 2)}), max_evaluations=3) as study:
        for _ in range(150):
            study.map(lambda params: params["n"], [Individual([0.1])])
        with pytest.raises(BudgetSpent, match="after 150 evaluations, though its budget, max_evaluations, allows more"):
            study.map(lambda params: params["n"], [Individual([0.1])])
    with Study(Space({"n": Int(1, 2)}), max_epochs=2) as study:
        for _ in range(100):
            study.map(lambda params: params["n"], [Individual([0.1])])
        with pytest.raises(BudgetSpent, match="max_epochs, allows more: almost all repeated earlier ones") as spent:
            study.map(lambda params: params["n"], [Individual([0.1])])
    assert spent.value.limit == "max_epochs"


def test_the_time_limit_ends_a_run_that_can_go_on(tmp_path: Path) -> None:
    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}

    def slow(params: dict[str, Any]) -> float:
        time.sleep(0.02)
        return objective(params)

    with Study(SPACE, **options, max_seconds=0.1) as study, pytest.raises(BudgetSpent, match="max_seconds"):
        truncation(study, slow)
    assert 0 < len(load_study("run", f"{tmp_path}/a.db").entries) < 15
    with Study(SPACE, **options, resume=True) as study:
        assert len(truncation(study, objective)[1]) == 4


def test_when_time_is_up_what_workers_are_at_is_still_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def on_evaluation(self, study: Study, entry: Any) -> None:
            time.sleep(0.4)  # so that the next one is finished meanwhile
            clock[0] += 10

    clock = [1.0]  # the test's own clock, since workers take an unknown time to start
    monkeypatch.setattr("deap_hpo.budget.perf_counter", lambda: clock[0])
    population = [Individual([x, 0.5, 0.5, 0.5]) for x in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)]
    options: Any = {"executor": ProcessExecutor(2), "max_seconds": 5, "callbacks": [Slow()]}
    with Study(SPACE, **options) as study, pytest.raises(BudgetSpent, match="max_seconds"):
        study.map(partial(evaluators.leaves_a_mark, folder=str(tmp_path)), population)
    assert 2 <= len(list(tmp_path.iterdir())) == len(study.record) < len(population)


def test_callbacks_hear_of_new_evaluations_and_of_every_generation(tmp_path: Path) -> None:
    class Listener:
        def __init__(self) -> None:
            self.new, self.generations = 0, 0

        def on_evaluation(self, study: Study, entry: Any) -> None:
            assert entry.number in study.record
            self.new += 1

        def on_generation(self, study: Study, entries: Any) -> None:
            self.generations += 1

    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}
    for resume, new in ((False, 15), (True, 0)):
        listener = Listener()
        with Study(SPACE, **options, resume=resume, callbacks=[listener]) as study:
            truncation(study, objective)
        assert (listener.new, listener.generations) == (new, 4)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"max_evaluations": 0}, "max_evaluations"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"max_seconds": True}, "max_seconds must be a positive number, or None; got True"),
        ({"max_seconds": "1h"}, "max_seconds must be a positive number, or None; got '1h'"),
        (
            {"executor": "processes"},
            r"executor must be an object such as ProcessExecutor\(\), or None; got 'processes'",
        ),
        ({"executor": ProcessExecutor}, r"such as ProcessExecutor\(\), or None; got <class"),
        ({"pruner": "median"}, r"pruner must be an object such as deap_hpo\.MedianPruner\(\), or None; got 'median'"),
        ({"pruner": MedianPruner}, r"such as deap_hpo\.MedianPruner\(\), or None; got <class"),
        ({"pruner": evaluators.NamelessPruner()}, "pruner must have a __repr__ that says its settings"),
        ({"directions": "up"}, "direction must be 'minimize' or 'maximize'; got 'up'"),
        ({"directions": []}, "direction must be 'minimize' or 'maximize'; got "),
        ({"callbacks": [print]}, "callbacks must be objects with on_evaluation.*; got <built-in function print>"),
        ({"callbacks": print}, "callbacks must be objects with on_evaluation"),
        (
            {"callbacks": [SimpleNamespace(on_evaluaton=print, on_generation=print)]},
            "callbacks have no method 'on_evaluaton', .* Did you mean 'on_evaluation'",
        ),
        ({"name": "../escape"}, "name"),
        ({"name": ""}, "name"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Study(SPACE, **arguments)


def test_a_space_is_given_as_a_mapping_too_and_nothing_else_is_one() -> None:
    with Study(LINE) as study:
        assert study.map(lambda params: params["x"], [Individual([0.25])]) == [(0.25,)]
    with pytest.raises(InputError, match="space: hyperparameters must be a mapping of names; got 'x'"):
        Study("x")


def test_an_evaluation_may_be_given_whole() -> None:
    with Study(SPACE) as study:
        study.map(lambda params: Evaluation((0.5,), metrics={"accuracy": 0.9}), [Individual([0.5] * 4)])
        assert study.record[0].evaluation.metrics == {"accuracy": 0.9}


if os.name == "posix":

    def test_a_second_driver_of_the_same_study_is_refused(tmp_path: Path) -> None:
        storage = f"{tmp_path}/a.db"
        with Study(SPACE, name="run", storage=storage), pytest.raises(InputError, match="Another process is running"):
            Study(SPACE, name="run", storage=storage, resume=True)
        Study(SPACE, name="run", storage=storage, resume=True).close()
        assert not list(tmp_path.glob("*.lock"))


def test_a_function_leaves_no_checkpoints_and_is_not_searched_for_the_best(monkeypatch):
    """The search takes longer with every batch: thousands of evaluations one by one took minutes."""
    monkeypatch.setattr("deap_hpo.results.best_entry", lambda *_: pytest.fail("looked for the best"))
    with Study(Space({"x": Float(0.0, 1.0)})) as study:
        assert study.map(lambda params: params["x"], [[0.5], [0.25]]) == [(0.5,), (0.25,)]


def test_an_evaluation_that_changes_its_individual_is_refused() -> None:
    def improves(individual: Any) -> float:
        individual[0] *= 0.5
        return float(individual[0])

    with (
        Study(seed=1) as study,
        pytest.raises(InputError, match=r"evaluation 0 has changed the genes \(1\.0,\) to \(0\.5,\)"),
    ):
        study.map(improves, [[1.0]])
    assert len(study.record) == 0, "nothing false is written"
    with Study(seed=1) as study:
        study.map(lambda individual: 0.5, [np.array([math.nan, 1.0])])
        assert len(study.record) == 1


def test_a_flag_is_no_text() -> None:
    with pytest.raises(InputError, match="common_random_numbers must be True or False; got 'no'"):
        Study(SPACE, common_random_numbers="no")  # type: ignore[arg-type]


def test_a_study_knows_where_it_is_recorded(tmp_path: Path) -> None:
    with Study(SPACE, storage=tmp_path / "a.db") as study:
        assert study.storage == str(tmp_path / "a.db")
    with Study(SPACE) as study:
        assert study.storage is None


def test_a_pruner_to_which_nothing_reports_is_refused(digits_task: Task) -> None:
    with (
        Study({"lr": Float(0.01, 0.1)}, pruner=MedianPruner()) as study,
        pytest.raises(InputError, match="pruner is for functions, which report to it"),
    ):
        study.map(make_trainer(digits_task, device="cpu"), [Individual([0.5])])
    assert len(study.record) == 0


def test_a_record_of_before_such_a_pruner_was_refused_goes_on(
    digits_task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainer, options = make_trainer(digits_task, device="cpu"), {"pruner": MedianPruner(), "storage": tmp_path / "a.db"}
    with monkeypatch.context() as patch, Study({"lr": Float(0.01, 0.1)}, **options) as study:
        patch.setattr("deap_hpo.study.check_reports", lambda *_: None)
        study.map(trainer, [Individual([0.5])])
    with Study({"lr": Float(0.01, 0.1)}, **options, resume=True) as study:
        study.map(trainer, [Individual([0.5])])
        study.map(trainer, [Individual([0.25])])
    assert [entry.evaluation.status for entry in study.entries] == ["ok", "ok"]


def test_what_is_replayed_takes_none_of_the_time(tmp_path: Path) -> None:
    """Proposals are made again, which may take longer than the time limit."""

    def go_on(generations: int, **limits: Any) -> int:
        with Study(SPACE, storage=tmp_path / "a.db", resume=True, **limits) as study:
            for i in range(generations):
                if limits:
                    time.sleep(0.2)
                study.map(lambda params: params["x"], [Individual([0.1 * (i + 1)] * 4)])
            return len(study.record)

    assert go_on(3) == 3
    assert go_on(4, max_seconds=0.15) == 4


@pytest.mark.parametrize("settings", ["text", ["x"], {"stages": [1, 2]}, {"algorithm": "mine", "stages": 3}])
def test_settings_of_the_users_own_are_not_taken_for_those_of_an_algorithm(settings: Any) -> None:
    with Study(SPACE, settings={"evolution": settings}) as study:
        truncation(study, objective)
    assert (study.stages, len(study.trials_dataframe())) == (1, len(study.entries))
    assert study.evolution == (settings if isinstance(settings, dict) and "algorithm" in settings else {})


def test_what_a_trial_of_optuna_has_is_said_to_be_elsewhere() -> None:
    with Study(SPACE, seed=1) as study:
        study.map(objective, make_toolbox(SPACE).population(n=1))
    for name, there in (
        ("params", "study.params_of(entry)"),
        ("value", "evaluation.value"),
        ("state", "evaluation.st"),
    ):
        said = rf"'Entry' object has no attribute '{name}'; here it is {re.escape(there)}"
        with pytest.raises(AttributeError, match=said):
            getattr(study.best, name)
    with pytest.raises(AttributeError, match=r"no attribute 'colour'$"):
        _ = study.best.colour
    assert pickle.loads(pickle.dumps(study.best)) == study.best


def test_a_record_in_memory_has_nothing_to_resume() -> None:
    with pytest.warns(DeapHPOWarning, match="resume=True does nothing without a storage"):
        Study(SPACE, resume=True).close()
