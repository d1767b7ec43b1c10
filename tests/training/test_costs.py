"""Costs of a network: measured once, before it is trained, alike by all trainers; objectives and constraints."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deap_hpo import Float, Int, ProcessExecutor, Task, optimize
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.records.record import ReplayError
from deap_hpo.training.costs import Costs
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.trainers import make_trainer

INPUTS = torch.linspace(-1, 1, 200).reshape(100, 2)
TARGETS = (INPUTS.sum(1) > 0).long()
SPACE = {"lr": Float(0.01, 0.5, log=True), "width": Int(2, 40)}


def network(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.Dropout(0.2), nn.ReLU(), nn.Linear(width, 2))


def operations(model: nn.Module) -> int:
    """The multiplications for one example."""
    return sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear))


def of(costs: Any, **settings: Any) -> Task:
    return Task.from_data(network, (INPUTS, TARGETS), costs=costs, **settings)


@pytest.mark.parametrize("trainer", ["reference", "population"])
def test_a_cost_is_measured_once_for_each_architecture_before_any_training(trainer: str) -> None:
    calls: Counter[int] = Counter()

    def latency(model: nn.Module) -> torch.Tensor:
        assert not model.training
        assert not torch.is_grad_enabled()
        out: torch.Tensor = model(torch.ones(1, 2))
        assert not out.requires_grad
        calls[operations(model)] += 1
        return torch.tensor([2.0 * operations(model)])

    evaluate = make_trainer(of({"latency": latency}), trainer=trainer, device="cpu", precision="fp32", repeats=2)
    requests = [Request(i, {"lr": 0.1 * (i + 1), "width": width}, seed=i) for i, width in enumerate((4, 4, 6))]
    found = dict(SerialExecutor().run(evaluate, requests))
    assert [found[i].metrics["latency"] for i in range(3)] == [32.0, 32.0, 48.0]
    assert calls == {16: 1, 24: 1}
    assert "latency_std" not in found[0].metrics
    assert "accuracy_std" in found[0].metrics


def test_costs_are_no_part_of_the_training() -> None:
    """Even if their functions draw random numbers, which are the same ones each time, and change the network."""

    def drawing(model: nn.Module) -> float:
        nn.init.zeros_(model[0].weight)  # type: ignore[index,arg-type]
        return float(torch.rand(())) + random.random() + float(np.random.random())

    plain, costly = (make_trainer(task, device="cpu", epochs=2) for task in (of({}), of({"drawn": drawing})))
    without, alone = plain({"lr": 0.1}, seed=3), costly({"lr": 0.1}, seed=3)
    assert [one.validation_loss for one in alone.curve] == [one.validation_loss for one in without.curve]
    assert alone.values == without.values
    assert costly({"lr": 0.2, "width": 9}, seed=4).metrics["drawn"] == alone.metrics["drawn"]


@pytest.mark.parametrize("trainer", ["reference", "population"])
def test_a_network_that_costs_too_much_is_not_trained_and_costs_no_budget(trainer: str) -> None:
    task = of({"operations": operations}, objective=["loss", "operations"], constraints=["operations <= 80"])
    evaluate = make_trainer(task, trainer=trainer, device="cpu", precision="fp32")
    study = optimize(evaluate, SPACE, population=8, max_evaluations=16, seed=1, progress=False)
    ended = [entry.evaluation for entry in study.entries if entry.duplicate_of is None]
    refused = [one for one in ended if one.status == "infeasible"]
    assert refused
    assert len(ended) - len(refused) == 16
    for one in refused:
        assert one.metrics["operations"] > 80
        assert one.violation == pytest.approx(one.metrics["operations"] / 80 - 1)
        assert not one.curve
    for entry in study.pareto_front():
        assert entry.evaluation.values[1] == 4 * study.params_of(entry)["width"] <= 80


def test_workers_measure_the_same() -> None:
    task = of({"operations": operations}, objective="loss", constraints=["operations <= 80"])
    evaluate = make_trainer(task, device="cpu", precision="fp32")
    options: Any = {"population": 4, "generations": 2, "seed": 1, "progress": False}
    here = optimize(evaluate, SPACE, **options)
    there = optimize(evaluate, SPACE, executor=ProcessExecutor(2), **options)
    assert [one.evaluation.metrics for one in here.entries] == [one.evaluation.metrics for one in there.entries]


def test_epochs_are_not_compared_by_a_cost() -> None:
    """It is the same in all: the best epoch is that of the next objective."""
    task = of({"operations": operations}, objective=["operations", "loss"])
    evaluation = make_trainer(task, device="cpu", epochs=4, keep_best=True)({"lr": 0.4, "width": 4}, seed=2)
    losses = [one.validation_loss for one in evaluation.curve]
    assert evaluation.metrics["best_epoch"] == losses.index(min(losses)) + 1
    assert evaluation.values == (16.0, min(losses))


def test_an_architecture_whose_parameters_a_factory_freezes_by_a_hyperparameter_is_measured_for_each() -> None:
    def optimizer(model: nn.Module, lr: float = 0.1, frozen: bool = False) -> torch.optim.Optimizer:
        model[0].requires_grad_(not frozen)  # type: ignore[index]
        return torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=lr)

    costs = Costs(of({"operations": operations}, optimizer=optimizer))
    assert costs.of({"frozen": False}) == {"parameters": 42.0, "operations": 32.0}
    assert costs.of({"frozen": True}) == {"parameters": 18.0, "operations": 32.0}


def test_a_study_continues_with_its_costs_only(tmp_path: Path) -> None:
    def run(costs: dict[str, Callable[[nn.Module], Any]]) -> Any:
        options: Any = {"population": 4, "storage": tmp_path / "a.db", "resume": True, "progress": False}
        return optimize(make_trainer(of(costs), device="cpu"), SPACE, generations=1, **options)

    first = run({"operations": operations})
    assert len(run({"operations": operations}).entries) == len(first.entries)
    with pytest.raises(ReplayError, match="costs"):
        run({"operations": len})


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ([operations], r"costs must be a dict of functions of a network by name; got \[<function operations"),
        ({"size": 3}, r"costs must be a dict of functions of a network by name; got \{'size': 3\}"),
        ({"loss": operations}, "costs must not have the name 'loss', which is always measured"),
        ({"accuracy": operations}, "costs must not have the name 'accuracy', which is that of a metric"),
    ],
)
def test_what_cannot_be_a_cost_is_refused(costs: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        of(costs)


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (lambda model: model(torch.ones(1, 3)), r"could not be measured by costs\['own'\]: .*mat1 and mat2"),
        (lambda model: torch.ones(3), r"by costs\['own'\]: The metric 'own' must give a single number; got a Tensor"),
        (lambda: 1, r"could not be measured by costs\['own'\]: .*takes 0 positional arguments but 1 was given"),
    ],
)
def test_a_cost_that_does_not_work_is_reported_before_any_training(cost: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        optimize(make_trainer(of({"own": cost}), device="cpu"), SPACE, population=4, generations=1, progress=False)


def test_the_name_under_which_the_kept_epoch_is_told_is_taken() -> None:
    with pytest.raises(InputError, match="must not have the name 'best_epoch'"):
        make_trainer(of({"best_epoch": operations}), device="cpu", keep_best=True)


def test_costs_come_last_so_that_the_arguments_before_keep_their_places() -> None:
    data = of({}).data
    assert Task("task", network, data, nn.functional.cross_entropy, {}, Recipe(lr=0.3)).recipe.lr == 0.3
