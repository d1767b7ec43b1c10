"""Experiment trackers as callbacks: every new evaluation, with its learning curve, in TensorBoard or MLflow."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deap_hpo.analysis.names import curves_of
from deap_hpo.analysis.shown import shown_params
from deap_hpo.errors import InputError
from deap_hpo.files import expanded
from deap_hpo.records.entries import Entry
from deap_hpo.study import Study


class TensorBoardCallback:
    """Writes each new evaluation as a separate run, for the scalars and the HParams page of TensorBoard.

    It needs the extra `tensorboard`. Replayed evaluations are not written again. An evaluation that a retry has
    superseded is replaced by the new one with its number.

    Args:
        folder: Folder for the event files: ``<folder>/<study>/evaluation-00012``.

    Raises:
        InputError: TensorBoard is not installed.

    Example::

        optimize(objective, space, callbacks=[TensorBoardCallback("runs/tensorboard")])
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError('TensorBoardCallback needs TensorBoard: pip install "deap-hpo[tensorboard]".') from error
        self._folder = expanded(folder)
        self._writer: Any = SummaryWriter

    def on_evaluation(self, study: Study, entry: Entry) -> None:
        """Write a new evaluation."""
        folder = self._folder / study.name / f"evaluation-{entry.number:05d}"
        if _replaces_another(study, entry):
            for path in folder.glob("events.out.tfevents.*"):
                path.unlink()
        with self._writer(str(folder)) as writer:
            for step, values in _curve(study, entry):
                for name, value in values.items():
                    writer.add_scalar(name, value, step)
            finite = {f"result/{name}": value for name, value in _results(entry).items()}
            plain = {name: _plain(value) for name, value in shown_params([entry], study.space)[0].items()}
            writer.add_hparams({**plain, "status": entry.evaluation.status}, finite, run_name=".")


class MLflowCallback:
    """Writes each new evaluation as a run nested in the run of its study.

    It needs the extra `mlflow`. A resumed study continues in the same run. An evaluation that a retry has superseded is
    deleted when there is a new one with its number; MLflow can restore it. Duplicates have the tag `duplicate_of`.

    Args:
        experiment: Name of the experiment; created if there is none.
        tracking_uri: Where MLflow keeps its runs; by default the value of MLFLOW_TRACKING_URI.

    Raises:
        InputError: MLflow is not installed.

    Example::

        optimize(objective, space, callbacks=[MLflowCallback("my-network")])
    """

    def __init__(self, experiment: str = "deap-hpo", tracking_uri: str | None = None) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise InputError('MLflowCallback needs MLflow: pip install "deap-hpo[mlflow]".') from error
        self._client: Any = MlflowClient(tracking_uri)
        known = self._client.get_experiment_by_name(experiment)
        self._experiment = known.experiment_id if known else self._client.create_experiment(experiment)
        self._parents: dict[str, str] = {}

    def on_evaluation(self, study: Study, entry: Entry) -> None:
        """Write a new evaluation."""
        parent, name = self._parent(study.name), f"{study.name}-{entry.number:05d}"
        if _replaces_another(study, entry):
            for old in self._runs(f"tags.`mlflow.parentRunId` = '{parent}' and attributes.run_name = '{name}'"):
                self._client.delete_run(old.info.run_id)
        tags = {"mlflow.parentRunId": parent, "status": entry.evaluation.status, "generation": entry.generation}
        if entry.duplicate_of is not None:
            tags["duplicate_of"] = entry.duplicate_of
        run = self._client.create_run(self._experiment, run_name=name, tags=tags)
        identity = run.info.run_id
        try:
            for name, value in shown_params([entry], study.space)[0].items():
                self._client.log_param(identity, _allowed(name), value)
            for step, values in _curve(study, entry):
                for name, value in values.items():
                    self._client.log_metric(identity, _allowed(name), value, step=step)
            for name, value in _results(entry).items():
                self._client.log_metric(identity, _allowed(name), value)
        finally:
            self._client.set_terminated(identity, "FAILED" if entry.evaluation.status == "failed" else "FINISHED")

    def _parent(self, study: str) -> str:
        """Give the run of a study, which is found again by its tag."""
        if study not in self._parents:
            found = self._runs(f"tags.`deap_hpo.study` = '{study}'")
            run = found[0] if found else self._new_parent(study)
            self._parents[study] = run.info.run_id
        return self._parents[study]

    def _runs(self, filters: str) -> Any:
        return self._client.search_runs([self._experiment], filters)

    def _new_parent(self, study: str) -> Any:
        run = self._client.create_run(self._experiment, run_name=study, tags={"deap_hpo.study": study})
        self._client.set_terminated(run.info.run_id)  # it only holds the others
        return run


def _replaces_another(study: Study, entry: Entry) -> bool:
    """Tell whether an evaluation has the number of one that a retry has superseded."""
    return any(one.number == entry.number for one in study.superseded)


def _allowed(name: str) -> str:
    """Give a name in which characters that MLflow does not allow are replaced."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _results(entry: Entry) -> dict[str, float]:
    """Give the finite objectives (numbered from 0 if there are several) and metrics of an evaluation."""
    values = entry.evaluation.values
    names = ["objective"] if len(values) == 1 else [f"objective_{i}" for i in range(len(values))]
    results = {**dict(zip(names, values, strict=True)), **entry.evaluation.metrics}
    return {name: value for name, value in results.items() if math.isfinite(value)}


def _curve(study: Study, entry: Entry) -> list[tuple[int, Mapping[str, float]]]:
    """Give the finite measurements of each epoch, by name."""
    name = curves_of(study)[0].replace(" ", "_")
    rows = (
        (one.epoch, {"training_loss": one.training_loss, name: one.validation_loss, **one.metrics})
        for one in entry.evaluation.curve
    )
    return [(step, {name: value for name, value in row.items() if math.isfinite(value)}) for step, row in rows]


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
