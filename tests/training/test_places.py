"""What users get works with what users have, wherever the trainers compute.

These tests run on a GPU where there is one, and in `test_another_device.py` on a device that only pretends to be one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deap_hpo import Float, Task, make_trainer, optimize
from deap_hpo.training.data import Split
from deap_hpo.training.program import save_program

RNG = np.random.default_rng(0)
TABLE = (RNG.normal(size=(80, 4)) * [1.0, 10.0, 0.1, 5.0] + 3.0).astype("float32")
CLASSES = (TABLE[:, 0] > 3).astype(int)
WEIGHTS = torch.tensor([1.0, 3.0])


def network(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2))


def far(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs[:, 1] - targets).abs().max()


@pytest.fixture(scope="module")
def searched() -> Any:
    task = Task.from_data(
        network, (TABLE, CLASSES), loss=nn.CrossEntropyLoss(WEIGHTS), metrics={"far": far}, validation=20, test=20
    )
    trainer = make_trainer(task, epochs=2, trainer="population", precision="fp32")
    return task, trainer, optimize(trainer, {"lr": Float(1e-3, 1e-1)}, max_evaluations=6, progress=False)


def test_trainers_compute_where_these_tests_are_to_run(searched: Any) -> None:
    expected = os.environ.get("DEAP_HPO_TEST_DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
    assert searched[1].device.type == expected


@pytest.mark.parametrize("how", ["best_model", "refit"])
def test_a_network_takes_the_tasks_prepared_inputs(searched: Any, how: str) -> None:
    task, trainer, study = searched
    best = getattr(study, how)()
    validation = task.data.validation
    with torch.no_grad():
        outputs = best(task.data.prepare(validation.inputs))
    assert {tensor.device.type for tensor in best.state_dict().values()} == {"cpu"}
    loss = nn.functional.cross_entropy(outputs, validation.targets, WEIGHTS).item()
    if how == "best_model":
        assert loss == pytest.approx(study.best_value, rel=1e-4)
    measured, metrics = trainer.reference.measure(best, validation)
    assert (measured, metrics["far"]) == pytest.approx((loss, far(outputs, validation.targets).item()), rel=1e-4)
    assert {tensor.device.type for tensor in best.state_dict().values()} == {"cpu"}, "it is back"


def test_examples_are_measured_and_prepared_wherever_they_are(searched: Any) -> None:
    task, trainer, study = searched
    test, best = task.data.test, study.best_model()
    there = Split(test.inputs.to(trainer.device), test.targets.to(trainer.device))
    prepared = task.data.prepare(there.inputs)
    assert prepared.device.type == trainer.device.type
    assert torch.equal(prepared.cpu(), task.data.prepare(test.inputs))
    measured = [trainer.reference.measure(best, split)[0] for split in (test, there)]
    assert measured == pytest.approx([study.test_metrics()["loss"]] * 2)


def test_a_program_of_a_network_takes_raw_inputs(searched: Any, tmp_path: Path) -> None:
    task, _, study = searched
    best = study.best_model()
    save_program(best, task.data, tmp_path / "network.pt2")
    program = torch.export.load(tmp_path / "network.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(program(task.data.test.inputs), best(task.data.prepare(task.data.test.inputs)))


@pytest.mark.parametrize("algorithm", ["pbt", "hyperband"])
def test_trainings_go_on_from_their_checkpoints(algorithm: str) -> None:
    task = Task.from_data(network, (TABLE, CLASSES))
    found = [
        optimize(
            make_trainer(task, epochs=4, trainer=trainer, precision="fp32"),
            {"lr": Float(1e-3, 1e-1), "momentum": Float(0.0, 0.9)},
            algorithm=algorithm, population=4, max_epochs=24, seed=1, progress=False,
        )
        for trainer in ("population", "reference")
    ]  # fmt: skip
    values = [[entry.evaluation.value for entry in study.entries] for study in found]
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert any(entry.start_from is not None for entry in found[0].entries)
