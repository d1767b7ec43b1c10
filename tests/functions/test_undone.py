"""A function that loads its optimiser's state last trains with the hyperparameters of another: a note says so."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from deap_hpo.evolution.individual import Individual
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.functions.objective import Objective
from deap_hpo.functions.undone import UNDONE, optimizer_settings, undone
from deap_hpo.optimization import optimize
from deap_hpo.search_space.space import Float, Int, Space
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import MemoryCheckpoints

SPACE = {"learning_rate": Float(1e-3, 1.0, log=True), "momentum": Float(0.0, 0.9), "depth": Int(1, 9)}
pbt = partial(
    optimize, space=SPACE, algorithm="pbt", population=6, generations=3, seed=1, progress=False, max_evaluations=18
)


def train(params: dict[str, Any], epochs: int, checkpoint: Any, *, how: str = "last") -> float:
    network = nn.Linear(3, 1)
    frozen = {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.05, "momentum": 0.0}
    groups = [{"params": list(network.parameters())}, frozen]
    optimizer = torch.optim.SGD(groups, lr=params["learning_rate"], momentum=params["momentum"])
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    if state := checkpoint.load():
        network.load_state_dict(state["parts"][0])
        optimizer.load_state_dict(state["parts"][1])
        if how != "last":
            optimizer.param_groups[0].update(lr=params["learning_rate"], momentum=params["momentum"])
    for _ in range(checkpoint.epoch, epochs):
        loss = network(torch.ones(1, 3)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if how == "scheduled":
            scheduler.step()
    checkpoint.save({"parts": (network.state_dict(), optimizer.state_dict())})
    return loss.item()


def loads_last(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
    return train(params, epochs, checkpoint)


@pytest.mark.parametrize("workers", [0, 2])
def test_hyperparameters_that_a_loaded_optimiser_undoes_are_told_once(workers: int) -> None:
    told = r"evaluation \d+ of the study 'study' was not trained with its own learning_rate, momentum, but with that of"
    with pytest.warns(RuntimeWarning, match=told) as warned:
        study = pbt(loads_last, executor=ProcessExecutor(workers) if workers else None)
    assert len(warned) == 1
    inherited = {e.number for e in study.entries if e.start_from is not None and e.start_from % 6 != e.number % 6}
    assert inherited
    assert {e.number for e in study.entries if UNDONE in e.evaluation.notes} >= inherited


@pytest.mark.parametrize("kind", ["exponential", "lambda"])
def test_a_scheduler_undoes_what_it_computes_from_its_own_rate(kind: str) -> None:
    def function(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
        network = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(network.parameters(), lr=params["learning_rate"])
        scheduler: Any = (
            torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
            if kind == "exponential"
            else torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch)
        )
        parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "scheduler": scheduler}
        for name, state in (checkpoint.load() or {}).items():
            parts[name].load_state_dict(state)
        optimizer.param_groups[0]["lr"] = params["learning_rate"]
        for _ in range(checkpoint.epoch, epochs):
            loss = network(torch.ones(1, 3)).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        checkpoint.save({name: part.state_dict() for name, part in parts.items()})
        return loss.item()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pbt(function)
    said = [str(one.message) for one in told if "was not trained with its own learning_rate" in str(one.message)]
    assert len(said) == (kind == "lambda")


@pytest.mark.parametrize("how", ["first", "scheduled"])
def test_what_is_set_after_loading_or_scheduled_is_not_told(how: str) -> None:
    def function(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
        return train(params, epochs, checkpoint, how=how)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = pbt(function)
    assert any(e.start_from is not None and e.start_from % 6 != e.number % 6 for e in study.entries)
    assert not any(e.evaluation.notes for e in study.entries)


def test_a_checkpoint_of_an_earlier_version_is_gone_on_with() -> None:
    class Earlier(MemoryCheckpoints):
        def save(self, tensors: Any) -> str:
            return super().save({name: one for name, one in tensors.items() if not name.startswith("params/")})

    with Study(Space(SPACE), seed=1) as study:
        evaluate, individual = Objective(loads_last, checkpoints=Earlier()), Individual([0.5] * 3)
        individual.epochs = 1  # type: ignore[attr-defined]
        study.map(evaluate, [individual])
        child = Individual([0.25] * 3)
        child.epochs, child.start_from = 2, 0  # type: ignore[attr-defined]
        study.map(evaluate, [child])
    assert [(entry.evaluation.status, dict(entry.evaluation.notes)) for entry in study.entries] == [("ok", {})] * 2


@pytest.mark.parametrize(
    ("params", "loaded", "saved", "names"),
    [
        ({"lr": 0.2}, {"/0/lr": 0.1}, {"/0/lr": 0.1}, ["lr"]),
        ({"lr": 0.2}, {"/0/lr": 0.1}, {"/0/lr": 0.2}, []),
        ({"lr": 0.2}, {"/0/lr": 0.1}, {"/0/lr": 0.05}, []),  # a schedule
        ({"lr": 0.2}, {"/0/lr": 0.01}, {"/0/lr": 0.01}, []),  # a group with its own rate
        ({"lr": 0.2}, {"/0/lr": 0.09, "/s/0/base_lrs": 0.1}, {"/0/lr": 0.08, "/s/0/base_lrs": 0.1}, ["lr"]),
        (
            {"lr": 0.2},
            {"/0/lr": 0.09, "/s/0/base_lrs": 0.1},
            {"/0/lr": 0.08, "/s/0/base_lrs": 0.2},
            [],
        ),  # set there too
        ({"lr": 0.2}, {"/0/lr": 0.1}, {}, []),  # not saved again
        ({"lr": 0.1}, {"/0/lr": 0.1}, {"/0/lr": 0.1}, []),  # the same anyway
        ({"lr": 0.2, "width": 7}, {"/0/momentum": 3.0}, {"/0/momentum": 3.0}, []),
        ({"lr": 0.2, "kind": "b"}, {"/a/lr": 0.0, "/b/lr": 0.1}, {"/a/lr": 0.0, "/b/lr": 0.1}, ["lr"]),
    ],
)
def test_it_is_undone_only_if_the_value_is_the_others_before_and_after(
    params: dict[str, Any], loaded: dict[str, float], saved: dict[str, float], names: list[str]
) -> None:
    assert undone(params, {"lr": 0.1, "width": 3}, loaded, saved) == names


@pytest.mark.parametrize(
    ("params", "saved", "names"),
    [
        ({"lr_g": 0.2, "lr_d": 0.4}, {"/g/0/lr": 0.1, "/d/0/lr": 0.3}, ["lr_g", "lr_d"]),  # two optimisers
        ({"lr_g": 0.2, "lr_d": 0.4}, {"/g/0/lr": 0.2, "/d/0/lr": 0.3}, ["lr_d"]),
        ({"lr_g": 0.2, "lr_d": 0.1}, {"/g/0/lr": 0.2, "/d/0/lr": 0.1}, []),
        ({"lr_g": 0.2, "lr_d": 0.1}, {"/d/0/lr": 0.1}, []),  # the other one's, as far as can be seen
        ({"optimizer.lr": 0.2}, {"/0/lr": 0.1}, ["optimizer.lr"]),
        ({"head_learning_rate": 0.2}, {"/0/lr": 0.1}, ["head_learning_rate"]),
        ({"polr": 0.2, "lrs": 0.2}, {"/0/lr": 0.1}, []),
    ],
)
def test_the_name_of_a_setting_may_be_part_of_a_hyperparameters_name(
    params: dict[str, Any], saved: dict[str, float], names: list[str]
) -> None:
    before = {"lr_g": 0.1, "lr_d": 0.3, "optimizer.lr": 0.1, "head_learning_rate": 0.1, "polr": 0.1, "lrs": 0.1}
    loaded = {"/g/0/lr": 0.1, "/d/0/lr": 0.3, "/0/lr": 0.1}
    if params.get("lr_d") == 0.1:
        loaded["/d/0/lr"] = 0.1
    assert undone(params, before, loaded, saved) == names


def test_settings_are_found_wherever_an_optimiser_is_in_a_state() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.25)
    found = optimizer_settings({"networks": [{"weight": torch.ones(2)}], "both": (1, {"adam": optimizer.state_dict()})})
    assert found["/both/1/adam/0/lr"] == 0.25
    assert not any("amsgrad" in path or "params" in path for path in found)
    assert optimizer_settings([1, "param_groups", {"param_groups": None}]) == {}
