"""TensorBoard and MLflow, read back with their own libraries."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from evaluators import report_curve

from deap_hpo import Categorical, Float, Int, Study, Task, make_trainer, optimize
from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.trackers import MLflowCallback, TensorBoardCallback

SPACE = {"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0), "kind": Categorical(["a", "b"])}
quick = partial(
    optimize, report_curve, SPACE, algorithm="random", population=3, generations=2, seed=1, name="run", progress=False
)


def test_tensorboard_has_a_run_for_each_evaluation_and_none_twice(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    quick(storage=str(tmp_path / "s.db"), max_evaluations=4, callbacks=[TensorBoardCallback(tmp_path / "tb")])
    study = quick(storage=str(tmp_path / "s.db"), resume=True, callbacks=[TensorBoardCallback(tmp_path / "tb")])
    folders = sorted((tmp_path / "tb" / "run").iterdir())
    assert [folder.name for folder in folders] == [f"evaluation-{number:05d}" for number in range(6)]
    for folder, entry in zip(folders, study.record, strict=True):
        events = EventAccumulator(str(folder))
        events.Reload()
        curve = [(event.step, event.value) for event in events.Scalars("value")]
        assert curve == [(one.epoch, pytest.approx(one.validation_loss)) for one in entry.evaluation.curve]
        assert events.Scalars("result/objective")[0].value == pytest.approx(entry.evaluation.value)


def retried(callback: Any, storage: Path) -> Study:
    """A study of 4 evaluations, of which evaluation 1 failed and was tried again."""
    failing = {1}

    def objective(params: dict[str, Any], number: int, report: Any) -> float:
        if number in failing:
            raise RuntimeError("broken")
        report(1, params["x"])
        return float(params["x"])

    search = partial(optimize, objective, {"x": Int(1, 3)}, algorithm="random", population=4, generations=1, seed=1)
    search = partial(search, storage=storage, progress=False)
    with pytest.warns(DeapHPOWarning, match="evaluation 1 of the study 'study' failed"):
        search(callbacks=[callback])
    failing.clear()
    return search(resume=True, retry_failed=True, callbacks=[callback])


def test_tensorboard_has_nothing_of_what_gave_way_to_a_retry(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    study = retried(TensorBoardCallback(tmp_path / "tb"), tmp_path / "s.db")
    assert [entry.number for entry in study.superseded] == [1, 2, 3]
    for entry in study.entries:
        folder = tmp_path / "tb" / "study" / f"evaluation-{entry.number:05d}"
        events = EventAccumulator(str(folder))
        events.Reload()
        (told,) = events.Scalars("value")
        assert told.value == pytest.approx(entry.evaluation.value)
        assert len(list(folder.iterdir())) == 2  # the scalars, and the hyperparameters


def test_mlflow_has_nothing_of_what_gave_way_to_a_retry(tmp_path: Path, monkeypatch: Any) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    study = retried(MLflowCallback("mine", uri), tmp_path / "s.db")
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id], "tags.generation = '0'")
    assert {run.info.run_name for run in runs} == {f"study-{number:05d}" for number in range(4)}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == len(study.entries) == 4
    answered = {run.info.run_name: run.data.tags.get("duplicate_of") for run in runs}
    for entry in study.entries:
        answer = None if entry.duplicate_of is None else str(entry.duplicate_of)
        assert answered[f"study-{entry.number:05d}"] == answer
    assert any(answered.values())


def test_curves_are_named_by_what_they_are_of(digits_task: Task, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def told(params: dict[str, Any], report: Any) -> dict[str, float]:
        report(1, 0.5)
        return {"accuracy": params["x"]}

    told_writer, trained_writer = TensorBoardCallback(tmp_path / "told"), TensorBoardCallback(tmp_path / "trained")
    optimize(
        told, SPACE, metric="accuracy", direction="maximize", generations=1, callbacks=[told_writer], progress=False
    )
    trainer = make_trainer(digits_task, epochs=1, device="cpu")
    optimize(trainer, {"lr": Float(0.01, 0.1)}, population=1, generations=1, callbacks=[trained_writer], progress=False)
    for folder, name in (("told", "accuracy"), ("trained", "validation_loss")):
        events = EventAccumulator(str(tmp_path / folder / "study" / "evaluation-00000"))
        events.Reload()
        assert len(events.Scalars(name)) == 1


two_objectives = partial(
    optimize,
    lambda params: (params["x"], params["y"]),
    SPACE,
    direction=["minimize", "minimize"],
    population=4,
    generations=1,
    seed=1,
    progress=False,
)


def test_every_objective_is_in_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    study = two_objectives(name="two", callbacks=[TensorBoardCallback(tmp_path)])
    for entry in study.record:
        events = EventAccumulator(str(tmp_path / "two" / f"evaluation-{entry.number:05d}"))
        events.Reload()
        written = [events.Scalars(f"result/objective_{i}")[0].value for i in range(2)]
        assert written == [pytest.approx(value) for value in entry.evaluation.values]


def test_every_objective_is_in_mlflow(tmp_path: Path, monkeypatch: Any) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    study = two_objectives(name="two", callbacks=[MLflowCallback("mine", uri)])
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    metrics = {run.info.run_name: run.data.metrics for run in runs}
    assert len(metrics) == 1 + len(study.record)
    for entry in study.record:
        written = metrics[f"two-{entry.number:05d}"]
        assert [written[f"objective_{i}"] for i in range(2)] == [
            pytest.approx(value) for value in entry.evaluation.values
        ]


def test_mlflow_has_a_nested_run_for_each_evaluation_and_none_twice(tmp_path: Path, monkeypatch: Any) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    quick(storage=str(tmp_path / "s.db"), max_evaluations=4, callbacks=[MLflowCallback("mine", uri)])
    study = quick(storage=str(tmp_path / "s.db"), resume=True, callbacks=[MLflowCallback("mine", uri)])
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    (parent,) = [run for run in runs if "deap_hpo.study" in run.data.tags]
    nested = {run.info.run_name: run for run in runs if run is not parent}
    assert len(nested) == 6
    for entry in study.record:
        run = nested[f"run-{entry.number:05d}"]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params["kind"] == study.params_of(entry)["kind"]
        assert run.data.metrics["objective"] == pytest.approx(entry.evaluation.value)
        losses = client.get_metric_history(run.info.run_id, "value")
        assert [(one.step, one.value) for one in losses] == [
            (one.epoch, pytest.approx(one.validation_loss)) for one in entry.evaluation.curve
        ]


def test_names_that_mlflow_does_not_allow_are_written_with_others(tmp_path: Path, monkeypatch: Any) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    optimize(
        lambda params: {"loss": params["x (m)"], "f1@0.5": 0.5},
        {"x (m)": Float(0.0, 1.0)},
        metric="loss",
        name="odd",
        population=2,
        generations=1,
        callbacks=[MLflowCallback("mine", uri)],
        progress=False,
    )
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    written = [run.data for run in runs if run.data.params]
    assert [sorted(data.params) for data in written] == [["x _m_"]] * 2
    assert [data.metrics["f1_0.5"] for data in written] == [0.5] * 2


@pytest.mark.parametrize(
    ("callback", "module"), [(TensorBoardCallback, "torch.utils.tensorboard"), (MLflowCallback, "mlflow")]
)
def test_what_is_not_installed_is_named(callback: Any, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r'pip install "deap-hpo\['):
        callback("anything")
