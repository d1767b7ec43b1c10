"""`optimize`: a function or a trainer in, a study out; stopped, pruned, resumed."""

from __future__ import annotations

import json
import math
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from evaluators import report_curve, square

from deap_hpo import (
    BudgetSpent,
    EarlyStopping,
    Float,
    Int,
    MedianPruner,
    ProcessExecutor,
    Study,
    Task,
    make_trainer,
    optimize,
)
from deap_hpo.configuration.algorithm import algorithm_of
from deap_hpo.configuration.demands import evaluator_of
from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.evaluation import Epoch, Evaluation, failure
from deap_hpo.failures import NotAllFailed
from deap_hpo.functions.objective import Objective
from deap_hpo.optimization import Interrupted
from deap_hpo.recorded import load_study
from deap_hpo.records.entries import Entry
from deap_hpo.records.record import ReplayError
from deap_hpo.reported import ReportedWarning
from deap_hpo.search_space.space import Categorical, Space
from deap_hpo.seeding import generator_states
from deap_hpo.training.checkpoints import FolderCheckpoints
from deap_hpo.training.recipe import Recipe

# What the surrogate proposes matters little here.
pytestmark = pytest.mark.usefixtures("light_model")

SPACE = {"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0)}
quick = partial(optimize, progress=False, algorithm="random", population=8, generations=4, seed=1)


def fails(params: dict[str, Any]) -> float:
    raise KeyError("lr")


def bowl(params: dict[str, Any]) -> float:
    return float(params["x"] ** 2 + params["y"] ** 2)


def outcomes(study: Study) -> list[tuple[Any, ...]]:
    return [(entry.genes, entry.evaluation.status, entry.evaluation.values) for entry in study.record]


@pytest.mark.parametrize("algorithm", ["truncation", "surrogate", "tpe"])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_either_direction_with_any_algorithm(algorithm: str, direction: Any) -> None:
    sign = 1 if direction == "minimize" else -1
    study = optimize(
        lambda params: sign * bowl(params), SPACE, direction=direction, algorithm=algorithm, seed=2, progress=False
    )
    assert sign * study.best_value == min(sign * value for (value,) in (e.evaluation.values for e in study.record))
    assert sign * study.best_value < 1.0


def test_metrics_are_on_record() -> None:
    study = quick(lambda params: {"cost": bowl(params), "size": params["x"]}, SPACE, metric="cost")
    assert study.best_value == min(map(bowl, (study.space.decode(entry.genes) for entry in study.record)))
    assert study.trials_dataframe()["metrics_size"].tolist() == [e.evaluation.metrics["size"] for e in study.record]


@pytest.mark.parametrize("cut", [3, 8, 13, 30])
def test_pruning_is_the_same_however_a_run_is_cut_and_wherever_it_is_done(tmp_path: Path, cut: int) -> None:
    """The limits of a batch come from earlier batches only."""
    pruned = partial(quick, report_curve, SPACE, pruner=MedianPruner(startup=4))
    whole = pruned()
    statuses = [status for _, status, _ in outcomes(whole)]
    assert statuses.count("pruned") >= 5
    assert "pruned" not in statuses[:8]
    storage = str(tmp_path / "study.db")
    pruned(storage=storage, max_evaluations=cut)
    again = pruned(storage=storage, resume=True, executor=ProcessExecutor(2) if cut == 13 else None)
    assert outcomes(again) == outcomes(whole)
    recorded = load_study("study", storage)
    assert [entry.evaluation.status for entry in recorded.entries] == statuses
    assert all(entry.evaluation.curve for entry in recorded.entries)
    assert again.best.evaluation.status == "ok"


def test_a_grid_is_laid_out_for_its_budget_and_goes_on_with_no_other(tmp_path: Path) -> None:
    grid = partial(quick, bowl, SPACE, name="grid", storage=tmp_path / "r.db", algorithm="grid", resume=True)
    small = grid(max_evaluations=9)
    with pytest.raises(
        ReplayError, match='with plan "grid of 9 evaluations: x 3, y 3", and cannot be continued with "grid of 30'
    ):
        grid()
    assert outcomes(grid(max_evaluations=9)) == outcomes(small)
    again = partial(grid, name="fixed", arguments={"resolution": 3})
    again(max_evaluations=4)
    assert sorted(outcomes(again())) == sorted(outcomes(small))


def test_another_pruner_is_refused(tmp_path: Path) -> None:
    storage = str(tmp_path / "study.db")
    quick(report_curve, SPACE, pruner=MedianPruner(), storage=storage)
    with pytest.raises(ReplayError, match=r"pruner .*startup=5.*startup=6"):
        quick(report_curve, SPACE, pruner=MedianPruner(startup=6), storage=storage, resume=True)


def test_pruning_ends_no_evaluation_that_is_among_the_better_half() -> None:
    study = quick(report_curve, SPACE, pruner=MedianPruner(startup=1, quantile=0.5), generations=6)
    free = quick(report_curve, SPACE, generations=6)
    assert study.best_value == free.best_value
    for entry in study.record:
        if entry.evaluation.status == "pruned":
            assert entry.evaluation.value > study.best_value


def test_it_stops_at_a_target_and_again_when_it_is_replayed(tmp_path: Path) -> None:
    storage = str(tmp_path / "study.db")
    stopped = quick(bowl, SPACE, storage=storage, target=5.0)
    assert stopped.best_value <= 5.0
    assert len(stopped.record) < 32
    again = quick(bowl, SPACE, storage=storage, target=5.0, resume=True)
    assert outcomes(again) == outcomes(stopped)
    assert outcomes(quick(bowl, SPACE, storage=storage, resume=True)) == outcomes(quick(bowl, SPACE))


def test_a_target_of_what_is_maximised_is_reached_from_below() -> None:
    study = quick(lambda params: -bowl(params), SPACE, direction="maximize", target=-5.0)
    assert len(study.record) < 32
    last = study.record[len(study.record) - 1].generation
    best = {last: -math.inf, last - 1: -math.inf}
    for entry in study.record:
        if entry.generation in best:
            best[entry.generation] = max(best[entry.generation], entry.evaluation.value)
    assert best[last] >= -5.0 > best[last - 1]


def test_it_stops_when_nothing_gets_better() -> None:
    study = quick(lambda params: 1.0, SPACE, patience=2)
    assert len(study.record) == 3 * 8  # the first generation, and two without a better value
    staged = quick(
        lambda params, epochs=2: 1.0, SPACE, algorithm="truncation", arguments={"stages": [1, 2]}, patience=2
    )
    assert staged.generation == 2 * 3
    maximal = quick(lambda params: params["x"], SPACE, direction="maximize", patience=1, generations=100)
    bests = [max(e.evaluation.value for e in maximal.record if e.generation <= g) for g in range(maximal.generation)]
    assert all(before < after for before, after in pairwise(bests[:-1]))
    assert bests[-1] == bests[-2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"startup": 0}, "startup must be an integer of at least 1; got 0"),
        ({"warmup": True}, "warmup must be an integer of at least 0; got True"),
        ({"quantile": "half"}, "quantile must be between 0 and 1; got 'half'"),
    ],
)
def test_a_pruner_takes_numbers_in_their_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MedianPruner(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None), "neither"),
        ((math.nan, None), "target must be a finite"),
        (("best", None), "target must be a finite"),
        ((None, 0), "patience must be"),
        ((None, "3"), "patience must be"),
        ((True, None), "target must be a finite number, or None; got True"),
        ((None, True), "patience must be an integer of at least 1, or None; got True"),
    ],
)
def test_stopping_takes_a_target_or_a_patience(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EarlyStopping(*arguments)


def test_an_objective_that_always_fails_ends_the_study_with_its_reason() -> None:
    with (
        pytest.warns(RuntimeWarning, match="evaluation 0 of the study 'study' failed and counts as the worst: KeyErr"),
        pytest.raises(InputError, match=r"All of the first 5 .*") as ended,
    ):
        quick(lambda params: params["lr"], SPACE)
    first, traceback = str(ended.value).split("\n\n")
    assert first == (
        "All of the first 5 evaluations failed. The first one said: KeyError: 'lr'. The space has x, y. When the "
        "objective is mended, start again."
    )
    assert traceback.startswith("Traceback (most recent call last):")
    assert traceback.endswith("KeyError: 'lr'")


def test_who_asks_the_hyperparameters_for_an_attribute_is_told_how_to_have_it() -> None:
    said = r"'dict' object has no attribute 'x'\. Hyperparameters are a dict by name, as in params\['lr'\]\. When the "
    with pytest.warns(RuntimeWarning, match="evaluation 0"), pytest.raises(InputError, match=said):
        quick(lambda params: params.x, SPACE)


def test_a_failure_without_a_traceback_is_said_once() -> None:
    said = r"^All of the first 5 evaluations failed\. The first one said: no memory\. When .*, start again\.$"
    study = Study(SPACE, callbacks=[NotAllFailed()])
    with study, pytest.raises(InputError, match=said), pytest.warns(DeapHPOWarning):
        study.map(lambda _: failure("no memory"), [[0.1 * i] * len(SPACE) for i in range(5)])


@pytest.mark.filterwarnings("ignore:evaluation 0")
@pytest.mark.parametrize(
    ("returned", "arguments", "said"),
    [
        ({"loss": 1.0, "accuracy": 0.5}, {"metric": "acuracy"}, "metric must name one of those that the objective"),
        ({"loss": 1.0, "accuracy": 0.5}, {}, "metric must name one of those that the objective"),
        (
            {"loss": 1.0},
            {"metric": "loss", "constraints": ["meem <= 100"]},
            "constraints must be on what the objective",
        ),
        ((1.0, 2.0), {}, "must return a number or a mapping"),
        (None, {}, "must return a number or a mapping"),
        ("good", {}, "must return numbers; value is 'good'"),
        ("0.5", {}, "must return numbers; value is '0.5'"),
    ],
)
def test_what_no_hyperparameters_can_mend_ends_the_study_at_once(returned: Any, arguments: Any, said: str) -> None:
    asked: list[Any] = []

    def objective(params: Any) -> Any:
        asked.append(params)
        return returned

    with pytest.raises(InputError, match=rf"^The first evaluation failed\. It said: .*{said}"):
        quick(objective, SPACE, population=20, **arguments)
    assert len(asked) == 1


@pytest.mark.filterwarnings("ignore:evaluation 0")
def test_failures_of_several_kinds_may_be_the_hyperparameters() -> None:
    def objective(params: dict[str, float]) -> float:
        if params["x"] < 0.9:
            raise RuntimeError(f"x = {params['x']} does not work")
        return params["x"]

    study = quick(objective, {"x": Float(0.0, 1.0)}, algorithm="random", population=40, generations=1, seed=0)
    assert [study.record[i].evaluation.status for i in range(5)] == ["failed"] * 5
    assert study.best_value >= 0.9


@pytest.mark.filterwarnings("ignore:evaluation 0")
def test_failures_on_record_are_said_to_be_from_before_and_how_to_begin_anew(tmp_path: Path) -> None:
    options: Any = {"storage": f"{tmp_path}/my runs.db", "resume": True, "population": 2, "generations": 1}
    with pytest.raises(InputError, match=r"All of the first 2 evaluations failed. The first one said"):
        quick(fails, SPACE, **options)
    with pytest.raises(InputError, match=r"from before, and were not tried again(?s:.*)delete study --storage '/"):
        quick(fails, SPACE, **options)
    assert len(load_study("study", f"{tmp_path}/my runs.db").entries) == 2


def test_the_first_failure_is_warned_of_and_no_further_one() -> None:
    with pytest.warns(RuntimeWarning) as warned:
        quick(lambda params: 1 / int(params["x"] > 0), SPACE, seed=1)
    assert len([one for one in warned if "failed and counts as the worst: ZeroDivisionError" in str(one.message)]) == 1


def test_what_a_user_of_optuna_or_of_a_network_brings_is_told_what_to_bring_here() -> None:
    def objective(trial: Any) -> float:
        return float(trial.suggest_float("x", 0, 1))

    with pytest.raises(InputError, match=r"by name \(params\['lr'\]\), not a trial"):
        optimize(objective, SPACE)
    for network in (torch.nn.Linear, torch.nn.Linear(2, 3)):
        with pytest.raises(InputError, match=r"A network is trained by a trainer: make_trainer\(Task\.from_data"):
            optimize(network, SPACE)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ({"population": "10"}, "^population must be a number, not a text; got '10'"),
        ({"max_evaluations": "10"}, "^max_evaluations must be a number, not a text; got '10'"),
        ({"resume": "yes"}, "^resume must be True or False; got 'yes'"),
        ({"progress": "off"}, "^progress must be True or False; got 'off'"),
        ({"storage": 7}, "^storage must be the path of an SQLite file, the URL of a database, or None; got 7"),
    ],
)
def test_arguments_of_another_type_are_refused(argument: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        optimize(bowl, SPACE, **argument)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_where_none_of_the_first_has_a_value_a_warning_says_so(value: float) -> None:
    with pytest.warns(DeapHPOWarning, match="the first 5 evaluations .* all ended without a finite value") as warned:
        quick(lambda params: value, SPACE)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(lambda params: value if params["x"] < 0 else 1.0, SPACE)


def test_many_failures_are_told_at_the_end_too() -> None:
    def fails_below(limit: float) -> Any:
        return lambda params: params["x"] if params["x"] > limit else 1 / 0

    options: Any = {"algorithm": "random", "population": 30, "generations": 1, "seed": 0}
    with pytest.warns(
        DeapHPOWarning, match=r"\d+ of 30 evaluations of the study 'study' failed and count as the worst"
    ):
        quick(fails_below(0.0), {"x": Float(-1.0, 1.0)}, **options)
    with pytest.warns(DeapHPOWarning) as warned:
        quick(fails_below(-0.9), {"x": Float(-1.0, 1.0)}, **options)
    assert not [one for one in warned if "of 30 evaluations" in str(one.message)]


def test_if_all_are_pruned_a_warning_says_so_and_why_there_is_no_best() -> None:
    def hopeless(params: dict[str, Any]) -> float:
        raise optuna.TrialPruned

    with pytest.warns(DeapHPOWarning, match="^all 6 evaluations of the study 'study' were pruned: none can be"):
        study = quick(hopeless, SPACE, max_evaluations=6)
    with pytest.raises(InputError, match=r"^There is no best evaluation: 6 of 6 pruned\.$"):
        _ = study.best


def test_where_constraints_leave_no_best_values_are_not_said_to_be_infinite() -> None:
    made: Any = {"metric": "loss", "constraints": ["size <= 2"], "max_evaluations": 6}
    with pytest.warns(DeapHPOWarning, match="break a constraint"):
        study = quick(lambda params: {"loss": 0.5, "size": 3.0}, SPACE, **made)
    with pytest.raises(InputError, match=r"^There is no best evaluation: 6 of 6 break their constraints\.$"):
        _ = study.best


def test_a_metric_that_is_mostly_maximised_is_not_minimised_without_a_word() -> None:
    def objective(params: Any) -> dict[str, float]:
        return {"accuracy": params["x"], "size": 1.0}

    with pytest.warns(DeapHPOWarning, match=r"'accuracy' is minimised; .* \('maximize'\)"):
        quick(objective, SPACE, metric="accuracy", generations=1)
    with pytest.warns(DeapHPOWarning, match=r"'accuracy' is minimised; .* \(one for each, 'maximize' for it\)"):
        evaluator_of(objective, Space(SPACE), metric=["accuracy", "size"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(objective, SPACE, metric="accuracy", direction="minimize", generations=1)
        quick(objective, SPACE, metric="size", generations=1)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("worsens", [True, False])
def test_pruned_evaluations_that_seem_better_than_all_whole_ones_are_warned_of(direction: Any, worsens: bool) -> None:
    def objective(params: Any, report: Any) -> float:
        value, sign = 0.0, 1 if direction == "minimize" else -1
        for epoch in range(1, 5):
            value = sign * (1 + params["x"] ** 2) * (epoch if worsens else 5 - epoch)
            report(epoch, value)
        return value

    options: Any = {"direction": direction, "pruner": MedianPruner(), "generations": 4, "algorithm": "random"}
    with warnings.catch_warnings(record=True) as said:
        study = quick(objective, SPACE, **options)
    assert any(entry.evaluation.status == "pruned" for entry in study.entries)
    told = [str(one.message) for one in said if "values get worse along the way" in str(one.message)]
    assert len(told) == worsens


def test_a_best_whole_value_of_zero_is_one_that_a_pruned_evaluation_may_seem_better_than() -> None:
    ends = [Evaluation((0.0,)), Evaluation((-1.0,), status="pruned", curve=(Epoch(1, 0.5, -1.0),))]
    record = [Entry(i, 0, (0.5,), evaluation, seed=0) for i, evaluation in enumerate(ends)]
    study = SimpleNamespace(name="mine", record=record, pruner=MedianPruner(), directions=["minimize"])
    with pytest.warns(DeapHPOWarning, match="evaluation 1 .* was pruned at -1, .* than the best whole one, 0:"):
        ReportedWarning().on_evaluation(study, record[1])


def test_a_pruner_that_hears_nothing_is_warned_of_once() -> None:
    functions: list[Any] = [lambda params: params["x"], lambda params, report: params["x"]]
    for function in functions:
        with pytest.warns(DeapHPOWarning, match="evaluation 0 .* reported nothing to the pruner") as warned:
            quick(function, SPACE, pruner=MedianPruner(), generations=1)
        assert len(warned) == 1


def test_a_loss_that_is_reported_where_a_score_is_maximised_is_warned_of_once() -> None:
    def objective(params: Any, report: Any, reported: str = "val_loss") -> dict[str, float]:
        result = {"return": params["x"] ** 2, "val_loss": 1 / (0.3 + abs(params["x"])), "first": params["x"]}
        report(1, result[reported])
        return result

    with pytest.warns(DeapHPOWarning, match=r"evaluation 0 .* reported 'val_loss' .* maximised: a pruner") as warned:
        quick(objective, SPACE, metric="return", direction="maximize", generations=1)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(objective, SPACE, metric="return", direction="minimize", generations=1)
        for other in ("return", "first"):  # the latter may be an estimate of it
            quick(partial(objective, reported=other), SPACE, metric="return", direction="maximize", generations=1)


def test_one_direction_for_several_metrics_that_does_not_suit_all_of_them_is_warned_of() -> None:
    def objective(params: Any) -> dict[str, float]:
        return {"accuracy": params["x"], "parameters": 1.0}

    names = ["accuracy", "parameters"]
    for direction, said in (("maximize", "'parameters' is maximised, .* less"), ("minimize", "'accuracy' .* more")):
        with pytest.warns(DeapHPOWarning, match=said):
            evaluator_of(objective, Space(SPACE), metric=names, direction=direction)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluator_of(objective, Space(SPACE), metric=names, direction=["maximize", "minimize"])
        evaluator_of(objective, Space(SPACE), metric=names, direction=["maximize", "maximize"])
        evaluator_of(objective, Space(SPACE), metric="parameters", direction="maximize")


def test_the_callers_generators_stay_as_they_were() -> None:
    def draws(params: Any) -> float:
        return random.random() + float(np.random.random()) + torch.rand(1).item()

    states = generator_states()
    first, again = quick(draws, SPACE), quick(draws, SPACE)
    assert outcomes(first) == outcomes(again)
    now = generator_states()
    assert (now["random"], now["numpy"]) == (states["random"], states["numpy"])
    assert torch.equal(now["torch"], states["torch"])


def test_without_generations_the_budget_is_used_up() -> None:
    for algorithm in ("random", "truncation", "surrogate"):
        study = quick(bowl, SPACE, algorithm=algorithm, generations=None, max_evaluations=30)
        assert sum(entry.duplicate_of is None for entry in study.record) == 30
    assert len(quick(bowl, SPACE, algorithm="random", generations=None).record) == 80


@pytest.mark.parametrize(("algorithm", "ends"), [("random", False), ("de", False), ("grid", True)])
def test_the_time_alone_ends_a_run(algorithm: str, ends: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Except for a grid, which divides its budget."""

    def slow(params: dict[str, Any]) -> float:
        time.sleep(0.001)
        return params["x"]

    study = optimize(slow, SPACE, algorithm=algorithm, population=4, max_seconds=0.5)
    assert (len(study.entries) <= 40) == ends
    if not ends:
        *_, last, why = capsys.readouterr().err.splitlines()
        assert re.match(rf"generation \d+: {len(study.entries)} evaluations, best ", last), last
        assert why == f"The study 'study' has used its budget, max_seconds, after {len(study.entries)} evaluations."


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"target": 0.5}, r"The study 'study' reached its target 0\.5 in generation \d, with 0\.\d+\."),
        ({"patience": 1}, r"The study 'study' stopped in generation \d+: nothing better for 1 generation\."),
        ({"max_evaluations": 9}, r"The study 'study' has used its budget, max_evaluations, after 9 evaluations\."),
        (
            {"max_evaluations": 9, "space": {"k": Int(1, 4)}},
            r".* ended after .*every configuration of its space has been .*",
        ),
        ({}, r"generation 20/20: .*"),
    ],
)
def test_what_ended_a_run_is_said_below_its_progress(
    limits: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options: Any = {"space": {"x": Float(0.0, 1.0)}, "population": 4, "generations": 20, "seed": 1} | limits
    optimize(lambda params: sum(params.values()), algorithm="random", **options)
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(said, last), last
    optimize(lambda params: sum(params.values()), algorithm="random", progress=False, **options)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("steady_state", [False, True])
def test_a_time_in_which_no_worker_starts_is_warned_of(steady_state: bool, tmp_path: Path) -> None:
    options: Any = {"storage": tmp_path / "a.db", "resume": True, "steady_state": steady_state, "progress": False}
    options |= {"max_seconds": 0.001, "algorithm": "random"}
    said = "^no evaluation of the study 'study' was started within max_seconds=0.001: the workers were still starting. "
    with pytest.warns(DeapHPOWarning, match=said):
        assert not optimize(square, {"x": Float(0, 1)}, executor=ProcessExecutor(2), **options).entries
    with pytest.warns(DeapHPOWarning, match="started within max_seconds=1e-09. With as few seconds, it cannot go on"):
        optimize(square, {"x": Float(0, 1)}, **options | {"max_seconds": 1e-9})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert optimize(square, {"x": Float(0, 1)}, **options | {"max_seconds": 0.3}).entries


def test_the_time_is_not_over_after_some_number_of_generations() -> None:
    study = optimize(lambda params: params["x"], SPACE, algorithm="random", population=1, max_seconds=2, progress=False)
    assert len(study.entries) > 60


def test_a_run_by_time_ends_where_nothing_is_left() -> None:
    began = time.perf_counter()
    study = optimize(lambda params: params["x"], {"x": Int(0, 3)}, algorithm="random", max_seconds=60, progress=False)
    assert {entry.genes for entry in study.entries} == {entry.genes for entry in study.entries[:40]}
    assert time.perf_counter() - began < 30


def test_callbacks_are_told_of_the_generation_in_which_another_one_ends_the_study() -> None:
    class Told:
        generations = 0

        def on_generation(self, study: Study, entries: Any) -> None:
            self.generations += 1

    before, after = Told(), Told()
    quick(lambda params: params["x"], SPACE, callbacks=[before, EarlyStopping(target=5.0), after])
    assert before.generations == after.generations == 1


def test_an_objective_that_is_called_leaves_the_generators_as_they_were() -> None:
    """For example in a loop of DEAP, whose operators draw from them."""
    objective = Objective(lambda params: random.random() + np.random.random() + torch.rand(()).item())
    states = []
    for seed in (1, 2):
        random.seed(seed)
        objective({"x": 1.0})
        states.append(random.random())
    assert states[0] != states[1]


def test_names_of_the_user_that_look_like_settings_are_left_alone() -> None:
    with pytest.raises(InputError, match=r"one of \['training.csv', 'b'\]; got 'study.csv'"):
        quick(lambda params: 0.0, {"data": Categorical(["training.csv", "b"])}, enqueue=[{"data": "study.csv"}])
    with pytest.raises(InputError, match=r"^population must be at least 4"):
        optimize(lambda params: 0.0, SPACE, algorithm="truncation", population=2)


def test_objective_and_space_in_the_other_order_are_noticed() -> None:
    with pytest.raises(InputError, match="takes the objective first, then the space"):
        optimize(SPACE, bowl)


def test_more_enqueued_than_a_first_generation_takes_is_refused_rather_than_dropped() -> None:
    six = [{"x": i / 10, "y": 0.0} for i in range(6)]
    for algorithm in ("truncation", "pbt", "nsga-ii"):
        with pytest.raises(
            InputError, match=f"enqueue must hold at most 4 .*, the population size of {algorithm}; got 6"
        ):
            algorithm_of(Space(SPACE), EvolutionConfig(algorithm=algorithm, population=4, enqueue=six), ["minimize"])
    study = quick(bowl, SPACE, algorithm="random", population=4, enqueue=six)
    assert [study.params_of(study.record[i])["x"] for i in range(6)] == pytest.approx([i / 10 for i in range(6)])


def test_a_callback_ends_a_study_which_can_go_on(tmp_path: Path) -> None:
    class StopsAt:
        def __init__(self, number: int) -> None:
            self.number = number

        def on_evaluation(self, study: Study, entry: Any) -> None:
            if entry.number == self.number:
                study.stop()

    options: Any = {"storage": f"{tmp_path}/a.db", "resume": True, "algorithm": "random"}
    assert len(quick(bowl, SPACE, callbacks=[StopsAt(10)], **options).record) == 11
    whole = quick(bowl, SPACE, algorithm="random")
    assert [one.genes for one in quick(bowl, SPACE, **options).record] == [one.genes for one in whole.record]

    class StopsAfter:
        def on_generation(self, study: Study, entries: Any) -> None:
            if study.generation == 2:
                study.stop()

    for _ in range(2):
        study = quick(bowl, SPACE, callbacks=[StopsAfter()], **{**options, "storage": f"{tmp_path}/b.db"})
        assert len(study.record) == 16
    study = quick(bowl, SPACE, callbacks=[StopsAfter()], **options)
    assert (len(study.record), study.generation) == (32, 2), "it stops there in a replay that could go on, too"


def test_what_is_enqueued_may_fail() -> None:
    def fails_where_wide(params: dict[str, Any]) -> float:
        if params["width"] > 60:
            raise MemoryError
        return 1 / params["width"]

    options: Any = {"population": 5, "generations": 3, "seed": 1, "progress": False}
    study = optimize(fails_where_wide, {"width": Int(1, 100)}, enqueue=[{"width": 80}], **options)
    assert study.record[0].evaluation.status == "failed"
    assert study.best_params["width"] > 40


def test_a_mistyped_argument_leaves_the_name_free(tmp_path: Path) -> None:
    options: Any = {"algorithm": "tpe", "storage": f"{tmp_path}/a.db", "population": 2, "generations": 2}
    with pytest.raises(InputError, match="did you mean 'n_startup_trials'"):
        optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, arguments={"n_startup_trial": 5}, **options)
    optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, arguments={"n_startup_trials": 5}, **options)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"algorithm": "surogate"}, "Did you mean 'surrogate'"),
        ({"population": 0}, "^population must be at least 1; got 0"),
        ({"generations": 0}, "^generations must be at least 1"),
        ({"generations": True}, "^generations must be a number, not true or false; got True"),
        ({"seed": -1}, "^seed must be an integer of at least 0; got -1"),
        ({"space": {"x": 1.0}}, "x must be a Float, Int or Categorical; got 1.0"),
        ({"algorithm": "truncation", "arguments": {"cxbp": 0.1}}, "truncation has no 'cxbp'. Did you mean 'cxpb'"),
        ({"algorithm": "truncation", "arguments": {"population": 8}}, "arguments: truncation has no 'population'"),
        ({"algorithm": "truncation", "arguments": {"algorithm": "random"}}, "truncation has no 'algorithm'"),
        ({"algorithm": "truncation", "arguments": {"target": 1.0}}, "truncation has no 'target'"),
        ({"algorithm": "truncation", "arguments": {"cxpb": 2.0}}, "^cxpb must be at most"),
        ({"algorithm": "random", "arguments": {"cxpb": 0.1}}, "no argument 'cxpb'"),
        ({"objective": lambda: 0}, "must take the hyperparameters"),
        ({"algorithm": "pbt"}, r"'pbt' asks for trainings in parts. That takes a trainer .*; got <function bowl"),
        ({"algorithm": "hyperband"}, "'hyperband' asks for trainings in parts"),
        ({"epochs": 5}, "epochs is for functions that have a parameter named epochs; got 5, and <function bowl"),
        ({"max_epochs": 5}, "max_epochs is for trainers, and for functions with a parameter named epochs"),
        ({"callbacks": [print]}, "callbacks must be objects"),
        ({"enqueue": {"x": 1.0, "y": 1.0}}, r"enqueue must be a list of .*, such as \[study.best_params\]; got {'x'"),
        ({"enqueue": Space({"x": Float(0.0, 1.0)})}, "enqueue must be a list of mappings"),
        ({"enqueue": [(1.0, 1.0)]}, "enqueue must be a list of mappings"),
    ],
)
def test_wrong_arguments_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quick(**{"objective": bowl, "space": SPACE, **changed})


def test_a_trainer_is_an_objective_and_the_best_network_comes_back(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=2, device="cpu")
    study = quick(trainer, {"lr": Float(1e-3, 1.0, log=True)}, population=3, generations=1)
    loss, metrics = trainer.measure(study.best_model(), trainer.data.validation)
    assert (loss, {**metrics, "parameters": 2410.0}) == (study.best_value, study.best.evaluation.metrics)
    test_loss, test_metrics = trainer.measure(study.best_model(), trainer.data.test)
    assert study.test_metrics() == {"loss": test_loss, **test_metrics} != {"loss": loss, **metrics}
    with pytest.raises(InputError, match="metric is for functions"):
        quick(trainer, {"lr": Float(1e-3, 1.0)}, metric="accuracy")
    with pytest.raises(InputError, match=r"^pruner is for functions, which report to it; .* Got MedianPruner"):
        quick(trainer, {"lr": Float(1e-3, 1.0)}, pruner=MedianPruner())
    with pytest.raises(InputError, match=r"^momentum must be a finite number from 0 to 1; got 1.5.$"):
        quick(trainer, {"momentum": Float(0.0, 1.5)})
    with pytest.raises(InputError, match=r"^optimizer must be one of adam, adamw, rmsprop, sgd; got 'adma'.$"):
        quick(trainer, {"optimizer": Categorical(["sgd", "adam", "adma"])})


def test_an_objectives_checkpoints_outlive_the_process_too(tmp_path: Path) -> None:
    def training(params: Any, epochs: int, checkpoint: Any) -> float:
        checkpoint.save({"epochs": epochs})
        return float(params["x"] / epochs)

    asked: Any = {"algorithm": "pbt", "population": 2, "generations": 2, "storage": f"{tmp_path}/studies.db"}
    study = quick(Objective(training, epochs=2), {"x": Float(0.0, 1.0)}, **asked)
    assert study.best_state() == {"epochs": 2}
    kept = {path.stem for path in (tmp_path / "study" / "states").iterdir()}
    assert study.best.evaluation.checkpoint in kept


@pytest.mark.parametrize("name", ["reference", "population"])
def test_a_trainers_checkpoints_are_seen_by_workers_and_outlive_the_process(
    name: str, digits_task: Task, tmp_path: Path
) -> None:
    trainer = make_trainer(digits_task, trainer=name, epochs=3, device="cpu")
    space = {"lr": Float(1e-3, 0.1, log=True)}
    asked: Any = {"algorithm": "pbt", "population": 2, "generations": 3, "seed": 2}

    def run(**more: Any) -> list[Any]:
        study = quick(trainer, space, **{**asked, **more})
        assert isinstance(study.best_model(), torch.nn.Module)
        return [(entry.genes, entry.start_from, entry.evaluation.values) for entry in study.record]

    here = run()
    assert run(executor=ProcessExecutor(2)) == here
    storage = f"{tmp_path}/studies.db"
    begun = run(storage=storage, generations=2)
    kept = {path.stem for path in (tmp_path / "study" / "states").iterdir()}
    assert {entry.evaluation.checkpoint for entry in load_study("study", storage).entries[-2:]} <= kept
    assert begun == here[:4]
    asked_again: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        whole = type(trainer).evaluate
        patch.setattr(type(trainer), "evaluate", lambda self, one: asked_again.append(one.number) or whole(self, one))
        if name == "population":
            batch = type(trainer).evaluate_batch
            noted = lambda self, many: asked_again.extend(one.number for one in many) or batch(self, many)  # noqa: E731
            patch.setattr(type(trainer), "evaluate_batch", noted)
        assert run(storage=storage, resume=True) == here
    states = FolderCheckpoints(tmp_path / "study" / "states")
    with pytest.raises(InputError, match="holds no state that a function saved; a trainer's has a network"):
        load_study("study", storage).best_state(states)
    assert asked_again == [4, 5], "nothing is trained again for want of a checkpoint"
    assert trainer.checkpoints.collect([]) is None
    assert not trainer.checkpoints.shared, "the trainer that was given is as it was"


def test_a_trainer_is_trained_in_stages_and_a_function_cannot_be(digits_task: Task, tmp_path: Path) -> None:
    trainer = make_trainer(digits_task, epochs=2, device="cpu")
    staged = {"algorithm": "truncation", "arguments": {"stages": [1, 2], "stopping": "halving"}, "generations": 1}
    study = quick(trainer, {"lr": Float(1e-3, 0.1, log=True)}, population=4, **staged)
    assert [entry.epochs for entry in study.record] == [1, 1, 1, 1, 2, 2]
    assert study.budget.epochs == 6
    storage = f"{tmp_path}/studies.db"
    with pytest.raises(InputError, match="'truncation' with stages asks for trainings in parts"):
        quick(bowl, SPACE, storage=storage, **staged)
    assert not list(tmp_path.iterdir()), "the name is still free"
    cosine = make_trainer(replace(digits_task, recipe=Recipe(schedule="cosine")), epochs=1, device="cpu")
    with pytest.raises(InputError, match="at most 1, where the trainer's cosine schedule ends; got 2"):
        quick(cosine, {"lr": Float(1e-3, 0.1, log=True)}, population=4, **staged)


def test_a_study_of_a_function_has_no_network() -> None:
    with pytest.raises(InputError, match="best_params has the hyperparameters"):
        quick(bowl, SPACE).best_model()


@pytest.mark.parametrize("executor", [None, ProcessExecutor(2)])
def test_an_interruption_carries_what_was_found(executor: Any) -> None:
    class Pressing:
        def on_evaluation(self, study: Study, entry: Entry) -> None:
            if len(study.record) == 11:
                raise KeyboardInterrupt

    with pytest.raises(
        KeyboardInterrupt,
        match=r"interrupted after 11 evaluations\. .* sys.last_value.study\. With a storage and resume=T",
    ) as caught:
        quick(bowl, SPACE, callbacks=[Pressing()], executor=executor)
    assert isinstance(caught.value, Interrupted)
    study = caught.value.study
    whole = quick(bowl, SPACE)
    assert {entry.number: entry.evaluation.values for entry in study.record}.items() <= {
        entry.number: entry.evaluation.values for entry in whole.record
    }.items()
    assert study.best_value == min(entry.evaluation.value for entry in study.record)
    assert len(study.trials_dataframe()) == 11
    assert caught.traceback[-1].name == "on_evaluation", "it tells where it was"


def test_a_study_shows_itself_in_a_notebook() -> None:
    study = quick(report_curve, SPACE, pruner=MedianPruner(startup=1), name="shown")
    html = study._repr_html_()
    assert "<b>shown</b> (seed 1, minimize): 32 evaluations in 4 generations, " in html
    assert f"<td>{study.best.number}</td>" in html
    assert "pruned" in html
    assert html.count("<tr") == 1 + 5
    with Study(name="empty") as empty:
        assert "no evaluations yet" in empty._repr_html_()
    named = quick(lambda params: {"accuracy": params["x"], "size": 3.0}, SPACE, metric="accuracy", direction="maximize")
    assert re.findall("<th>(.*?)</th>", named._repr_html_()) == ["number", "generation", "accuracy", "x", "y", "size"]
    names = ["error", "size"]
    both = quick(lambda params: {"error": params["x"], "size": 3.0}, SPACE, metric=names, direction=["minimize"] * 2)
    assert re.findall("<th>(.*?)</th>", both._repr_html_()) == ["number", "generation", *names, "x", "y"]


def test_the_callers_generator_is_left_to_the_study() -> None:
    """Two runs with one seed are one run, whatever torch drew between them."""
    first = outcomes(quick(bowl, SPACE))
    torch.rand(3)
    assert outcomes(quick(bowl, SPACE)) == first


def test_a_function_is_tuned_without_torch_here_and_in_the_workers(tmp_path: Path) -> None:
    """Its import takes seconds, in every process."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import sys
            from deap_hpo import Float, MedianPruner, ProcessExecutor, optimize

            def imported(params):
                return params["x"] + (2.0 if "torch" in sys.modules else 0.0)

            if __name__ == "__main__":
                options = {"generations": 3, "population": 4, "executor": ProcessExecutor(1), "progress": True}
                options |= {"name": "light", "storage": "light.db", "pruner": MedianPruner(), "target": -9.0}
                study = optimize(imported, {"x": Float(0.0, 1.0)}, **options)
                print(max(entry.evaluation.value for entry in study.record) < 2, "torch" in sys.modules)
        """)
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True False"


def test_numbers_of_numpy_are_as_good_as_pythons(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=np.int64(1), repeats=np.int64(1), device="cpu")
    arguments: Any = {"algorithm": "random", "population": np.int64(2), "max_evaluations": np.int64(2)}
    study = optimize(trainer, {"lr": Float(0.01, 0.1)}, seed=np.int64(1), progress=False, **arguments)
    assert len(study.entries) == 2
    assert trainer({"lr": np.float32(0.1)}).value == trainer({"lr": float(np.float32(0.1))}).value
    pruner = MedianPruner(startup=np.int64(5), quantile=np.float64(0.5))
    assert repr(pruner) == repr(MedianPruner())
    assert json.dumps(Recipe(lr=np.float32(0.5), batch_size=np.int64(8)).settings)


def test_one_direction_is_the_same_in_a_list(tmp_path: Path) -> None:
    options: Any = {"storage": tmp_path / "a.db", "algorithm": "random", "population": 2, "progress": False}
    optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, direction="minimize", max_evaluations=2, **options)
    study = optimize(
        lambda params: params["x"],
        {"x": Float(0.0, 1.0)},
        direction=["minimize"],
        max_evaluations=4,
        resume=True,
        **options,
    )
    assert len(study.entries) == 4


def test_a_function_of_several_objectives_that_prunes_itself_has_no_values() -> None:
    def half(params: dict[str, Any], report: Any) -> tuple[float, float]:
        report(1, params["x"])
        if params["x"] > 0.5:
            raise optuna.TrialPruned
        return params["x"], -params["x"]

    study = optimize(half, {"x": Float(0.0, 1.0)}, direction=["minimize", "maximize"], progress=False)
    assert {entry.evaluation.status for entry in study.entries} == {"ok", "pruned"}
    assert {entry.evaluation.values for entry in study.entries if entry.evaluation.status == "pruned"} == {
        (math.inf, -math.inf)
    }
    assert all(entry.evaluation.status == "ok" for entry in study.pareto_front())


@pytest.mark.parametrize("answer", [lambda: 0.0, sys.exit])
def test_ctrl_c_that_a_function_catches_ends_the_run_nevertheless(answer: Any, tmp_path: Path) -> None:
    """Lightning catches it, for example; the value that the function then returns is not its outcome."""

    def train(params: dict[str, Any]) -> float:
        calls.append(params)
        if len(calls) == 3:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                return float(answer())
        return bowl(params)

    calls: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        quick(train, SPACE, storage=tmp_path / "r.db")
    assert [entry.evaluation.status for entry in load_study("study", tmp_path / "r.db").entries] == ["ok", "ok"]


def test_what_has_no_finite_value_is_never_the_best() -> None:
    with Study({"x": Float(0.0, 1.0)}, seed=1) as study:
        study.map(lambda params: Evaluation((math.inf if params["x"] < 0.5 else params["x"],)), [[0.25], [0.75]])
        assert study.best_value == 0.75
        assert [entry.number for entry in study.pareto_front()] == [1]


def test_noise_is_drawn_anew_where_it_is_asked_for() -> None:
    def noise(params: dict[str, Any]) -> float:
        return random.random()

    values = [
        {entry.evaluation.value for entry in found.entries}
        for found in (
            optimize(noise, {"x": Float(0.0, 1.0)}, algorithm="random", progress=False, common_random_numbers=common)
            for common in (True, False)
        )
    ]
    assert (len(values[0]), len(values[1])) == (1, 100)


def test_of_many_quick_generations_the_first_and_the_last_have_lines(capsys: pytest.CaptureFixture[str]) -> None:
    optimize(lambda params: params["x"], SPACE, algorithm="random", population=2, generations=60, seed=1)
    told = [int(re.match(r"generation (\d+)/60: ", line)[1]) for line in capsys.readouterr().err.splitlines()]  # type: ignore[index]
    assert told[:20] == list(range(1, 21))
    assert told[-1] == 60
    assert len(told) < 30


def test_of_two_callbacks_that_end_a_study_the_first_is_heard() -> None:
    class Ends:
        def __init__(self, why: str) -> None:
            self.why = why

        def on_generation(self, study: Study, entries: Any) -> None:
            raise BudgetSpent(self.why, "stop")

    with Study(SPACE, callbacks=[Ends("first"), Ends("second")]) as study, pytest.raises(BudgetSpent, match="first"):
        study.map(lambda params: params["x"], [[0.5, 0.5]])


def test_a_study_refused_with_more_to_begin_with_says_how_that_is_done(tmp_path: Path) -> None:
    options: Any = {"space": {"x": Float(0.0, 1.0)}, "storage": tmp_path / "a.db", "population": 4, "generations": 2}
    earlier = optimize(lambda params: params["x"], name="first", **options)
    refused = r"evolution.enqueue = \[\{\"x\": 0.5\}\]\. .*`enqueue=earlier.best_configurations\(3\)`, .*first:3`"
    with pytest.raises(ReplayError, match=refused):
        optimize(lambda params: params["x"], name="first", resume=True, enqueue=[{"x": 0.5}], **options)
    known = [{"x": 0.5}, *earlier.best_configurations(3)]
    later = optimize(lambda params: params["x"], name="second", enqueue=known, **options)
    assert [later.params_of(entry)["x"] for entry in later.entries[:2]] == pytest.approx([0.5, earlier.best_value])
