"""A study judged by another objective than its own: all its results are by that one."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded import SPACE, entries
from rich.console import Console
from sklearn.datasets import load_digits
from torch import nn

from deap_hpo import Categorical, Float, Int, MedianPruner, Study, Task, load_study, make_trainer, optimize
from deap_hpo.errors import InputError
from deap_hpo.recorded import Recorded
from deap_hpo.reports.study import describe, print_study
from deap_hpo.visualization import plot_intermediate_values, plot_optimization_history, plot_slice

pytestmark = pytest.mark.filterwarnings("ignore:evaluation .* failed")

PLANE = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)}


def measured(params: dict[str, Any]) -> dict[str, float]:
    if params["x"] > 0.9:
        raise ValueError("too far")
    return {"loss": params["x"] ** 2, "size": 1 - params["y"], "score": params["x"] + params["y"]}


def searched(**changed: Any) -> Study:
    goals = {"metric": ["loss", "size"], "direction": ["minimize", "minimize"], **changed}
    return optimize(measured, PLANE, **goals, algorithm="random", max_evaluations=40, seed=1, progress=False)


def ended(study: Study) -> list[dict[str, Any]]:
    return [study.params_of(entry) for entry in study.entries if entry.evaluation.status == "ok"]


def test_one_of_several_objectives_or_a_metric_decides() -> None:
    study = searched()
    by_size, by_score = study.judged_by("size"), study.judged_by("score", "maximize")
    assert by_size.best_params == max(ended(study), key=lambda params: params["y"])
    assert by_size.best_value == 1 - by_size.best_params["y"]
    assert by_score.best_params == max(ended(study), key=lambda params: params["x"] + params["y"])
    assert study.judged_by("score", "minimize").best_params == min(ended(study), key=lambda p: p["x"] + p["y"])
    assert by_size.directions == ("minimize",)
    again = searched(direction=["maximize", "minimize"]).judged_by("size").judged_by("loss")
    assert again.directions == ("maximize",), "as the study said"
    assert by_size.objective_names == ["size"]
    assert [study.judged_by(name).importances()["hyperparameter"][0] for name in ("loss", "size")] == ["x", "y"]


def test_a_duplicate_counts_with_the_seconds_of_the_evaluation_that_answered() -> None:
    space = {"x": Categorical(["a", "b"])}
    with Study(space, seed=1) as study:
        study.map(lambda params: {"a": 1.0, "b": 2.0}[params["x"]], [[0.2], [0.7], [0.2], [0.7]])
    judged = study.judged_by("seconds")
    times = [entry.evaluation.value for entry in judged.entries]
    assert [entry.duplicate_of for entry in judged.entries] == [None, None, 0, 1]
    assert times == [study.entries[i].evaluation.seconds for i in (0, 1, 0, 1)]
    assert min(times) > 0


def test_objectives_become_metrics_and_what_failed_stays_the_worst() -> None:
    study = searched()
    trials, judged = study.trials_dataframe(), study.judged_by("score", "maximize").trials_dataframe()
    done = trials["status"].eq("ok")
    assert 0 < (~done).sum() < 10
    assert judged["status"].equals(trials["status"])
    assert judged["value"][done].equals(trials["metrics_score"][done].rename("value"))
    assert (judged["value"][~done] == -math.inf).all()
    assert judged["metrics_loss"][done].equals(trials["values_loss"][done].rename("metrics_loss"))
    assert "metrics_score" not in judged


def test_a_metric_that_is_infinite_is_the_worst_as_it_is_for_an_objective() -> None:
    """A division by zero in a metric makes no evaluation the best."""

    def objective(params: dict[str, Any]) -> dict[str, float]:
        return {"loss": params["x"], "acc": math.inf if params["x"] > 0.6 else 1 - params["x"]}

    space = {"x": Float(0.0, 1.0)}
    common: dict[str, Any] = {"algorithm": "random", "max_evaluations": 40, "seed": 1, "progress": False}
    judged = optimize(objective, space, metric="loss", **common).judged_by("acc")
    searched = optimize(objective, space, metric="acc", direction="maximize", **common)
    assert (judged.trials_dataframe()["value"] == -math.inf).sum() > 5
    assert judged.trials_dataframe()["value"].equals(searched.trials_dataframe()["value"])
    assert judged.best_value == searched.best_value


def test_a_study_stays_as_it_is() -> None:
    study = searched()
    before, view = study.trials_dataframe(), study.judged_by("size")
    assert study.trials_dataframe().equals(before)
    assert view.judged_by("loss").trials_dataframe()["value"].equals(before["value"])
    assert study.objective_names == ["loss", "size"]


def test_objectives_without_names_have_those_of_the_study() -> None:
    study = optimize(
        lambda params: (params["x"], params["y"]), PLANE, direction=["minimize"] * 2, max_evaluations=20, seed=1
    )
    assert study.judged_by("value 2").best_value == min(study.trials_dataframe()["values_1"])


def test_figures_are_of_it() -> None:
    study = optimize(measured, PLANE, metric="loss", algorithm="sobol", max_evaluations=30, seed=1, progress=False)
    assert plot_optimization_history(study.judged_by("size", "minimize")).axes[0].get_ylabel() == "size"
    assert plot_slice(study.judged_by("score", "maximize"), ["x"]).axes[0].get_ylabel() == "score"


def test_a_record_is_judged_as_the_study_that_made_it(tmp_path: Path) -> None:
    made = optimize(
        measured, PLANE, metric="loss", algorithm="sobol", max_evaluations=20, seed=1, storage=f"{tmp_path}/a.db"
    )
    read = load_study("study", f"{tmp_path}/a.db").judged_by("size", "minimize")
    assert read.trials_dataframe().equals(made.judged_by("size", "minimize").trials_dataframe())


def test_networks_are_those_of_the_best_by_it() -> None:
    def network(width: int = 8) -> nn.Module:
        return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    task = Task.from_data(network, load_digits(return_X_y=True), objective=["loss", "parameters"], test=0.2)
    space = {"lr": Float(0.01, 1.0, log=True), "width": Int(2, 32)}
    study = optimize(make_trainer(task, epochs=1), space, algorithm="nsga-ii", population=6, generations=2, seed=1)
    small = study.judged_by("parameters")
    widths = [study.params_of(entry)["width"] for entry in study.entries]
    assert small.best_model()[0].out_features == min(widths)
    assert small.test_metrics() == study.test_metrics(entry=small.best) != study.test_metrics()
    with torch.no_grad():
        outputs = small.best_model()(task.data.prepare(task.data.test.inputs))
    loss = nn.functional.cross_entropy(outputs, task.data.test.targets).item()
    assert small.test_metrics()["loss"] == pytest.approx(loss, rel=1e-5)
    assert plot_intermediate_values(study.judged_by("accuracy")).axes[0].get_ylabel() == "accuracy"


def test_final_measurements_are_not_of_another_best_network() -> None:
    study = Recorded("run", ("minimize",), SPACE, entries(), {"evaluator": {"task": "t"}, "final": {"number": 2}})
    assert "final" not in study.judged_by("accuracy").attributes
    assert study.judged_by("accuracy").best.number == 2, "of the others no accuracy is on record"
    assert study.judged_by("seconds").best.number == 1


@pytest.mark.parametrize(
    ("name", "direction", "said"),
    [
        ("sise", None, "objective must be what evaluations measured; got 'sise'. Did you mean 'size'?"),
        ("score", None, "direction must be given ('minimize' or 'maximize'): it is not known for 'score'."),
        ("score", "up", "direction must be 'minimize' or 'maximize'; got 'up'."),
    ],
)
def test_what_nobody_measured_or_ranked_is_refused(name: str, direction: Any, said: str) -> None:
    study = optimize(measured, {"x": Float(0.0, 0.5), "y": Float(0.0, 1.0)}, metric="loss", max_evaluations=5)
    with pytest.raises(InputError) as caught:
        study.judged_by(name, direction)
    assert str(caught.value) == said


def test_pruned_evaluations_keep_what_they_had_measured() -> None:
    def reporting(params: dict[str, Any], report: Any) -> dict[str, float]:
        for epoch in range(1, 4):
            report(epoch, params["x"] / epoch, size=params["y"])
        return {"loss": params["x"], "size": params["y"]}

    study = optimize(
        reporting, PLANE, metric="loss", pruner=MedianPruner(startup=3), algorithm="random", max_evaluations=20, seed=1
    )
    judged = study.judged_by("size", "minimize")
    pruned = [entry for entry in judged.entries if entry.evaluation.status == "pruned"]
    assert pruned
    assert all(math.isfinite(entry.evaluation.value) for entry in pruned)
    assert judged.best.evaluation.status == "ok"


def test_what_an_objective_saved_is_had_of_the_best_by_another(tmp_path: Path) -> None:
    def saving(params: dict[str, Any], checkpoint: Any, epochs: int = 1) -> dict[str, float]:
        checkpoint.save({"y": params["y"]})
        return {"loss": params["x"], "size": params["y"]}

    goals: dict[str, Any] = {"metric": ["loss", "size"], "direction": ["minimize"] * 2}
    study = optimize(saving, PLANE, **goals, algorithm="random", max_evaluations=20, seed=1)
    view = study.judged_by("size")
    assert view.best_state() == {"y": view.best_params["y"]}


def test_an_epoch_is_no_objective(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=2, device="cpu", keep_best=True)
    study = optimize(trainer, {"lr": Float(0.01, 0.1)}, algorithm="random", population=2, generations=1)
    with pytest.raises(InputError, match="got 'best_epoch'"):
        study.judged_by("best_epoch", "minimize")


def test_a_metric_without_a_finite_value_has_no_best_evaluation_anywhere() -> None:
    def objective(params: dict[str, Any]) -> dict[str, float]:
        return {"loss": params["x"], "ratio": math.inf}

    study = optimize(
        objective, {"x": Float(0.0, 1.0)}, metric="loss", algorithm="random", max_evaluations=4, progress=False
    )
    judged = study.judged_by("ratio", "minimize")
    assert "<table" not in judged._repr_html_()
    console = Console(file=io.StringIO(), width=100)
    print_study(judged, console, 5)
    assert "inf" not in console.file.getvalue()  # type: ignore[attr-defined]
    assert describe(judged)["best"] is None
