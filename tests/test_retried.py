"""Results of a study come from the evaluations that the run has, not from those that a retry replaced."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_cli import CONFIG, call

from deap_hpo import Individual, Task, make_trainer
from deap_hpo.best import finish
from deap_hpo.compared_runs import _is_of_another
from deap_hpo.comparison import compare, parse_method
from deap_hpo.configuration.config import load_config
from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.evaluation import Evaluation, failure
from deap_hpo.functions.objective import Objective
from deap_hpo.optimization import optimize
from deap_hpo.recorded import load_study
from deap_hpo.records.record import ReplayError
from deap_hpo.retraining import Retraining
from deap_hpo.search_space.space import Float, Space
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import FolderCheckpoints
from deap_hpo.training.reference import ReferenceTrainer

pytestmark = pytest.mark.filterwarnings("ignore::deap_hpo.errors.DeapHPOWarning")  # of failures


def fail_first(patch: pytest.MonkeyPatch) -> None:
    """Let evaluation 0 fail."""
    evaluate = ReferenceTrainer.evaluate

    def failing(self: Any, request: Any) -> Evaluation:
        return failure("no memory") if request.number == 0 else evaluate(self, request)

    patch.setattr(ReferenceTrainer, "evaluate", failing)


def test_the_network_that_is_saved_is_not_one_that_gave_way(digits_task: Task, tmp_path: Path) -> None:
    space, storage = Space({"lr": Float(0.001, 0.5, log=True)}), str(tmp_path / "a.db")
    trainer = make_trainer(digits_task, epochs=1, device="cpu", trainer="reference")

    def evolve(*later: float, **more: Any) -> None:
        with Study(space, storage=storage, **more) as study:
            ((loss,),) = study.map(trainer, [[0.01]])
            study.map(trainer, [[0.8 if loss == float("inf") else 0.9]])
            study.map(trainer, [[gene] for gene in later])

    with pytest.MonkeyPatch.context() as patch:
        fail_first(patch)
        evolve()
    before = finish(trainer, load_study("study", storage), tmp_path)
    evolve(resume=True, retry_failed=True)
    study = load_study("study", storage)
    after = finish(trainer, study, tmp_path)
    assert before.number == after.number == study.best.number == 1
    assert before.params != after.params == study.best_params
    evolve(0.0, resume=True, retry_failed=True)  # where nothing has failed
    assert load_study("study", storage).attributes["final"]["params"] == after.params


def test_a_generation_of_nobody_is_none_of_what_gave_way(tmp_path: Path) -> None:
    broken = {"now": True}

    def objective(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
        if broken["now"]:
            raise RuntimeError("broken")
        checkpoint.save(params["x"])
        return float(params["x"])

    search: dict[str, Any] = {
        "storage": tmp_path / "a.db",
        "algorithm": "fixed",
        "arguments": {"params": {"x": 0.5}},
        "epochs": 1,
    }
    with pytest.raises(InputError, match="The first evaluation failed"):
        optimize(objective, {"x": Float(0.0, 1.0)}, **search)
    broken["now"] = False
    study = optimize(objective, {"x": Float(0.0, 1.0)}, **search, resume=True, retry_failed=True)
    assert len(study.entries) == len(study.superseded) == 1
    assert study.best_state() == 0.5


@pytest.mark.parametrize("again", [True, False])
def test_the_state_of_the_best_that_another_run_had_dropped_is_made_again(again: bool, tmp_path: Path) -> None:
    broken = {0.0}

    def function(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
        if params["x"] in broken:
            raise RuntimeError("broken")
        checkpoint.save(params["x"])
        return 1.0 - float(params["x"])

    objective = Objective(function, epochs=1, checkpoints=FolderCheckpoints(tmp_path / "states"))

    def evolve(**more: Any) -> Study:
        with Study({"x": Float(0.0, 1.0)}, storage=tmp_path / "a.db", **more) as study:
            _, loss = study.map(objective, [[0.5], [0.0]])
            for gene in (0.25 if math.isfinite(loss[0]) else 0.75, 0.125, 0.0625):
                study.map(objective, [[gene]])
        return study

    assert evolve().best_state() == 0.75
    broken = set() if again else {0.5}  # the run itself does not need it
    study = evolve(resume=True, retry_failed=True)
    assert study.best.number == 0
    if not again:
        with pytest.raises(InputError, match=r"The state of evaluation 0 .* does not exist any more"):
            study.best_state()
        return
    assert study.best_state() == load_study("study", tmp_path / "a.db").best_state(objective.checkpoints) == 0.5


def test_states_of_what_may_still_answer_are_not_dropped_before(tmp_path: Path) -> None:
    broken, asked = {0.0}, []

    def function(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
        asked.append(params["x"])
        if params["x"] in broken:
            raise RuntimeError("broken")
        checkpoint.save(params["x"])
        return 1.0 - float(params["x"])

    def evolve(**more: Any) -> Study:
        with Study({"x": Float(0.0, 1.0)}, storage=tmp_path / "a.db", **more) as study:
            for genes in ([0.5], [0.0, 0.75]):
                study.map(objective, [[gene] for gene in genes])
        return study

    objective = Objective(function, epochs=1, checkpoints=FolderCheckpoints(tmp_path / "states"))
    evolve()
    broken.clear()
    assert evolve(resume=True, retry_failed=True).best_state() == 0.75
    assert asked == [0.5, 0.0, 0.75, 0.0]


@pytest.mark.usefixtures("no_figures")
def test_a_comparison_goes_on_with_what_a_retry_has_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(CONFIG)
    config = load_config("small.toml", ["study.storage=runs/studies.db", "training.trainer=reference"])

    def run(experiment: str) -> pd.DataFrame:
        methods = [parse_method(one) for one in ("random", "fixed:params={lr=10.0,momentum=0.5}")]
        runs, _ = compare(config, methods, experiment=experiment, seeds=2, budget=2, repeats=1)
        return runs.drop(columns=["wall_seconds", "training_seconds"])

    never = run("never")
    with pytest.MonkeyPatch.context() as patch:
        fail_first(patch)
        before = run("trial")
    assert not before["best"].equals(never["best"])
    for seed in (1, 2):
        for method in ("random", "fixed"):
            ended = call("resume", f"trial-{method}-{seed}", "--retry-failed")
            assert ended.exit_code == 0, ended.output
    pd.testing.assert_frame_equal(run("trial"), never)
    config = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 3})})
    with pytest.raises(ReplayError, match="epochs"):  # the choice is the same
        run("trial")


@pytest.mark.usefixtures("no_figures")
def test_a_comparison_tries_again_what_failed_of_runs_and_of_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(CONFIG)
    config = load_config("small.toml", ["study.storage=runs/studies.db", "training.trainer=reference"])
    methods = [parse_method(one) for one in ("random", "fixed:params={lr=0.1,momentum=0.5}")]

    def run(experiment: str, **more: Any) -> pd.DataFrame:
        runs, _ = compare(config, methods, experiment=experiment, seeds=2, budget=2, repeats=2, **more)
        return runs.drop(columns=["wall_seconds", "training_seconds"])

    never = run("never")
    retrain = Retraining.evaluate
    with pytest.MonkeyPatch.context() as patch:
        fail_first(patch)
        patch.setattr(
            Retraining,
            "evaluate",
            lambda self, request: failure("no memory") if request.number == 1 else retrain(self, request),
        )
        run("trial")
    told = r"what trial-random-1 has chosen failed when it was trained again, .*: no memory \(.* --retry-failed"
    with pytest.warns(DeapHPOWarning, match=told):
        assert run("trial")["retrained"].eq(math.inf).all()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("deap_hpo.compared_runs.note", interrupted)
        with pytest.raises(KeyboardInterrupt):  # in the middle of the retry, which a plain run then continues
            run("trial", retry_failed=True)
    assert not load_study("trial-random-1", "runs/studies.db").attributes["comparison"]
    run("trial")
    assert load_study("trial-random-1", "runs/studies.db").attributes["comparison"]
    pd.testing.assert_frame_equal(run("trial", retry_failed=True), never)
    pd.testing.assert_frame_equal(run("trial"), never)


@pytest.mark.parametrize("flags", [[], ["--retry-failed"]])
def test_the_command_line_hands_on_what_is_tried_again(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, retry_failed: bool, **__: object) -> None:
        raise InputError(f"retry_failed is {retry_failed}")

    monkeypatch.setattr("deap_hpo.comparison.compare", asked)
    assert f"retry_failed is {bool(flags)}" in call("compare", "random", "tpe", *flags).output


def test_a_choice_is_another_one_with_other_genes_or_another_schedule(tmp_path: Path, digits_task: Task) -> None:
    trainer, storage = make_trainer(digits_task, epochs=2, device="cpu"), str(tmp_path / "a.db")
    first, second = ([({"lr": 0.1}, 1), ({"lr": later}, 2)] for later in (0.01, 0.02))
    with Study({"lr": Float(0.0, 1.0)}, name="choice", storage=storage) as study:
        study.map(Retraining(trainer, first), [Individual([0.01])])
    (choice,) = study.entries
    known = load_study("choice", storage)
    assert not _is_of_another(known, choice, Retraining(trainer, first), 0)
    assert _is_of_another(known, choice, Retraining(trainer, second), 0)
    assert _is_of_another(known, replace(choice, genes=(0.02,)), Retraining(trainer, first), 0)
    assert _is_of_another(known, choice, Retraining(trainer, first), 1), "with another seed"
