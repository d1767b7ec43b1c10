"""Networks, losses and metrics that once had other results in a stack than alone: the same now, stacked or not."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import digits, small_task
from test_population import assert_same_curves, requests_of
from torch import nn

from deap_hpo.evaluation import Evaluation
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer

RATES = ({"lr": 0.05, "momentum": 0.9}, {"lr": 0.02, "weight_decay": 0.1})


def both(
    model: Callable[..., nn.Module],
    params: Sequence[Mapping[str, Any]] = RATES,
    seeds: Sequence[int] | None = None,
    validation: int = 50,
    repeats: int = 1,
    recipe: Mapping[str, Any] = {},
    **settings: Any,
) -> tuple[list[Evaluation], list[str]]:
    """Train as a population and one by one, two epochs; their results have to agree. Give the former, and warnings."""
    task = replace(small_task(model, digits(64, validation), **{"batch_size": 16, **recipe}), **settings)
    requests = requests_of(params, seeds)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        evaluations = dict(PopulationTrainer(task, epochs=2, device="cpu", repeats=repeats).evaluate_batch(requests))
    got = [evaluations[i] for i in range(len(requests))]
    reference = ReferenceTrainer(task, epochs=2, device="cpu", repeats=repeats)
    expected = [reference.evaluate(request) for request in requests]
    assert {one.status for one in expected} == {"ok"}
    assert_same_curves(got, expected, rel=1e-5)
    for one, other in zip(got, expected, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-5)
    return got, [str(one.message) for one in warned]


def stacks(evaluations: Sequence[Evaluation]) -> list[int | None]:
    return [one.environment.get("stack") for one in evaluations]


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class Dropping(nn.Module):
    """Two dropouts, of rates of their own."""

    def __init__(self, first: float = 0.1, second: float = 0.5) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(first), nn.Linear(32, 32))
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(second), nn.Linear(32, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def test_a_dropout_rate_of_0_is_no_call_beside_other_rates_too() -> None:
    rates = [(0.0, 0.5), (0.3, 0.5), (0.3, 0.0), (0.0, 0.0)]
    got, told = both(Dropping, [{"lr": 0.3, "first": first, "second": second} for first, second in rates])
    assert (stacks(got), told) == ([4] * 4, [])


def test_what_a_network_sees_of_a_batch_in_measuring_does_not_depend_on_the_stack() -> None:
    def model() -> nn.Module:
        norm = nn.BatchNorm1d(16, track_running_stats=False)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), norm, nn.ReLU(), nn.Linear(16, 10))

    rates = [{"lr": 0.05 / (i + 1)} for i in range(8)]
    got, told = both(model, rates, validation=300)
    assert (stacks(got), told) == ([8] * 8, [])
    both(model, rates[:3], validation=300, evaluation_batch_size=100)  # which then is the batch of both
