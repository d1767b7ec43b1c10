"""What counts in the budget of a run: trainings, rather than configurations that are infeasible before any training."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from deap_hpo import Float, Int, ProcessExecutor, Task, make_trainer, optimize
from deap_hpo.errors import DeapHPOWarning

pytestmark = pytest.mark.usefixtures("light_model")

SPACE = {"lr": Float(0.01, 0.5, log=True), "width": Int(4, 64)}


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))


def search(most: int = 60, epochs: int = 1, **options: Any) -> Any:
    """Search networks of at most so many parameters; of 61 widths, 8 have at most 60."""
    inputs = np.random.default_rng(0).normal(size=(40, 2)).astype("float32")
    data = (inputs, (inputs[:, 0] > 0).astype(int))
    task = Task.from_data(network, data, validation=0.5, constraints=[f"parameters <= {most}"])
    trainer = make_trainer(task, epochs=epochs, device="cpu")
    return optimize(trainer, SPACE, **{"population": 5, "seed": 1, "progress": False, **options})


def told(study: Any) -> list[Any]:
    return [(one.number, one.genes, one.evaluation.values, one.evaluation.status) for one in study.entries]


def trained(study: Any) -> int:
    return sum(one.duplicate_of is None and one.evaluation.status != "infeasible" for one in study.entries)


@pytest.mark.parametrize("steady_state", [False, True])
@pytest.mark.parametrize("algorithm", ["surrogate", "truncation", "random", "tpe"])
def test_a_budget_is_spent_on_trainings_alone(algorithm: str, steady_state: bool) -> None:
    study = search(algorithm=algorithm, steady_state=steady_state, max_evaluations=7)
    assert trained(study) == 7 < len(study.entries)


def test_so_is_one_of_epochs_and_that_of_methods_that_train_in_parts() -> None:
    assert trained(search(algorithm="random", max_epochs=7)) == 7
    study = search(algorithm="hyperband", epochs=3, max_evaluations=7)
    assert trained(study) == 7 < len(study.entries)


@pytest.mark.parametrize("algorithm", ["surrogate", "random"])
@pytest.mark.parametrize("steady_state", [False, True])
def test_a_run_that_was_continued_is_the_same(algorithm: str, steady_state: bool, tmp_path: Path) -> None:
    again = partial(search, algorithm=algorithm, steady_state=steady_state)
    whole = again(max_evaluations=9)
    for budget in (2, 5, 9):
        parts = again(max_evaluations=budget, name="parts", storage=tmp_path / "a.db", resume=True)
        assert trained(parts) == budget
    assert told(parts) == told(whole)
    assert told(again(max_evaluations=9, executor=ProcessExecutor(2))) == told(whole)


@pytest.mark.parametrize("options", [{}, {"steady_state": True}, {"algorithm": "truncation"}])
def test_a_run_ends_if_nothing_can_be_trained(options: dict[str, Any]) -> None:
    with pytest.warns(DeapHPOWarning, match=r"^all \d+ evaluations of the study 'study' break a constraint: none can"):
        assert trained(search(most=20, max_evaluations=4, generations=4, **options)) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeapHPOWarning)
        assert len(search(most=20, algorithm="random", max_evaluations=4).entries) == 4 * 50
        assert len(search(most=20, algorithm="random", max_evaluations=40).entries) == 500


def test_the_progress_tells_what_was_not_trained(capfd: pytest.CaptureFixture[str]) -> None:
    study = search(algorithm="random", max_evaluations=7, progress=True)
    refused = len(study.entries) - 7
    assert f"evaluations, 7/7 epochs, best {study.best_value:.4f}, {refused} infeasible, " in capfd.readouterr().err
