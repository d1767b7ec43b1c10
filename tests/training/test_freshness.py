"""Factories that hand out the same parts again are refused, before a run and in it."""

from __future__ import annotations

import gc
import pickle
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import digits, small_task
from torch import nn

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.training.freshness import Freshness
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer

BODY = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8))
WEIGHTS = deepcopy(BODY.state_dict())
ASSIGNED = deepcopy(WEIGHTS)
FROZEN = nn.Sequential(nn.Flatten(), nn.Linear(64, 8)).requires_grad_(False)


def shared() -> nn.Module:
    return nn.Sequential(BODY, nn.Linear(8, 10))


def copied() -> nn.Module:
    return nn.Sequential(deepcopy(BODY), nn.Linear(8, 10))


def with_frozen() -> nn.Module:
    return nn.Sequential(FROZEN, nn.Linear(8, 10))


def with_running_statistics() -> nn.Module:
    norm = nn.BatchNorm1d(8)
    norm.running_mean = BODY[2].running_mean
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), norm, nn.Linear(8, 10))


TABLE = torch.rand(64, 8)


def with_a_table() -> nn.Module:
    linear = nn.Linear(64, 8, bias=False)
    linear.weight = nn.Parameter(TABLE.T)  # a new parameter each time, with the same memory
    return nn.Sequential(nn.Flatten(), linear, nn.Linear(8, 10))


def assigned() -> nn.Module:
    network = nn.Sequential(deepcopy(BODY), nn.Linear(8, 10))
    network[0].load_state_dict(ASSIGNED, assign=True)
    return network


class InEvaluation(nn.Module):
    """Keeps a frozen body that is shared in evaluation, or frees it when it is trained."""

    def __init__(self, frees: bool = False) -> None:
        super().__init__()
        self.body, self.head, self.frees = SHARED, nn.Linear(8, 10), frees

    def train(self, mode: bool = True) -> InEvaluation:
        super().train(mode)
        self.body.eval()
        if mode and self.frees:
            self.body.requires_grad_(True)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


SHARED = deepcopy(BODY).requires_grad_(False)


def test_what_shares_memory_is_refused_too() -> None:
    for model in (with_a_table, assigned):
        with pytest.raises(InputError, match=r"weight is a part of one that it made before"):
            small_task(model).check({})
        before = TABLE.clone()
        trainer = ReferenceTrainer(small_task(model, digits()), device="cpu")
        trainer.evaluate(Request(0, {"lr": 0.1}, 1))
        with pytest.raises(InputError, match=r"weight is a part of one that it made before"):
            trainer.evaluate(Request(0, {"lr": 0.1}, 1))
        TABLE.copy_(before)


def test_what_stays_in_evaluation_may_be_shared_and_what_is_freed_may_not() -> None:
    small_task(InEvaluation).check({})
    trainer = ReferenceTrainer(small_task(InEvaluation), device="cpu")
    assert trainer({"lr": 0.1}, seed=1).value == trainer({"lr": 0.1}, seed=1).value
    with pytest.raises(InputError, match=r"body\.1\.weight is a part of one that it made before"):
        small_task(lambda: InEvaluation(frees=True)).check({})
    SHARED.requires_grad_(False)


def test_optimisers_of_a_stack_do_not_change_one_part_of_several_networks() -> None:
    body = nn.Linear(64, 8)

    def partly(pre: bool = False) -> nn.Module:
        return nn.Sequential(nn.Flatten(), body if pre else nn.Linear(64, 8), nn.Linear(8, 10))

    task = replace(small_task(partly), optimizer=torch.optim.NAdam)
    requests = [Request(i, {"lr": lr, "pre": True}, 1) for i, lr in enumerate([0.1, 0.2])]
    with pytest.warns(RuntimeWarning, match="model must make a fresh network each time"):
        got = dict(PopulationTrainer(task, device="cpu").evaluate_batch(requests))
    assert [got[i].status for i in range(2)] == ["ok", "failed"]
    assert "is a part of one that it made before" in got[1].error


def test_what_is_shared_is_refused_before_a_run() -> None:
    with pytest.raises(InputError, match=r"fresh network each time; 0\.1\.weight is a part of one .* copy\.deepcopy"):
        small_task(shared).check({})
    with pytest.raises(InputError, match=r"2\.running_mean is a part of one that it made before"):
        small_task(with_running_statistics).check({})
    small_task(copied).check({})
    small_task(with_frozen).check({})


@pytest.mark.parametrize("model", [copied, with_frozen])
def test_what_was_loaded_once_is_the_same_at_the_beginning_of_each_training(model: Any) -> None:
    trainer = ReferenceTrainer(small_task(model, digits()), epochs=2, device="cpu")
    first, second = (trainer({"lr": 0.1}, seed=1) for _ in range(2))
    assert first.value == second.value
    assert all(torch.equal(one, WEIGHTS[name]) for name, one in BODY.state_dict().items())


def test_a_trainer_refuses_it_when_it_sees_it_again() -> None:
    def anew() -> nn.Module:
        return nn.Sequential(nn.Flatten(), body, nn.Linear(8, 10))

    body = nn.Linear(64, 8)
    trainer = ReferenceTrainer(small_task(anew), device="cpu")
    assert trainer.evaluate(Request(0, {"lr": 0.1}, 0)).status == "ok"
    with pytest.raises(InputError, match=r"1\.weight is a part of one that it made before"):
        trainer.evaluate(Request(0, {"lr": 0.1}, 0))
    with pytest.raises(InputError, match=r"1\.weight is a part of one that it made before"):
        ReferenceTrainer(small_task(anew), device="cpu")({"lr": 0.1})
    assert pickle.loads(pickle.dumps(trainer.reference._freshness)) is not None
    together = dict(PopulationTrainer(small_task(anew), device="cpu").evaluate_batch([Request(0, {"lr": 0.1}, 1)] * 2))
    assert [one.status for one in together.values()] == ["ok", "ok"], "a stack trains copies"


def test_networks_are_not_kept() -> None:
    freshness = Freshness()
    for _ in range(3):
        freshness.check(nn.Linear(2, 2))
    gc.collect()
    freshness.check(nn.Linear(2, 2))
    assert len(freshness._known) == 2


def test_it_is_seen_in_the_memory_that_is_trained() -> None:
    """A convolution gets another layout, and so other memory, before it is trained; on a GPU, all do."""

    def anew() -> nn.Module:
        return nn.Sequential(body, nn.Flatten(), nn.Linear(8 * 36, 10))

    body = nn.Conv2d(1, 8, 3, bias=False)
    trainer = ReferenceTrainer(small_task(anew), device="cpu")
    assert trainer.evaluate(Request(0, {"lr": 0.1}, 0)).status == "ok"
    with pytest.raises(InputError, match=r"0\.weight is a part of one that it made before"):
        trainer.evaluate(Request(0, {"lr": 0.1}, 0))
