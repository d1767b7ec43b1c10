"""Networks, losses and metrics that once had other results in a stack than alone: the same now, stacked or not."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from networks import digits, small_task
from test_population import assert_same_curves, requests_of
from torch import nn

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation
from deap_hpo.training.measures import accuracy
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


def macro_f1(outputs: torch.Tensor, targets: torch.Tensor) -> np.floating[Any]:
    """The unweighted mean over classes of F1, as scikit-learn gives it: no mean over batches."""
    assert not outputs.requires_grad
    guesses, truth = outputs.argmax(1).numpy(), targets.numpy()
    scores = []
    for one in np.unique(truth):
        hits = ((guesses == one) & (truth == one)).sum()
        scores.append(2 * hits / ((guesses == one).sum() + (truth == one).sum()))
    return np.mean(scores)


@pytest.mark.parametrize(
    "shaped", [float, np.float32, torch.tensor, lambda x: torch.tensor([[x]]), lambda x: np.array([x])]
)
def test_a_metric_is_called_once_with_all_of_a_split(shaped: Callable[[Any], Any]) -> None:
    metrics = {"f1": lambda *given: shaped(float(macro_f1(*given))), "accuracy": accuracy}
    got, told = both(linear, validation=50, evaluation_batch_size=7, metrics=metrics)
    assert (stacks(got), told) == ([2, 2], [])
    task = replace(small_task(linear, digits(64, 50), batch_size=16, **RATES[0]), metrics=metrics)
    trainer = ReferenceTrainer(task, epochs=2, device="cpu")
    model, one = trainer.train({}, 3)
    with torch.no_grad():
        expected = macro_f1(model(task.data.prepare(task.data.validation.inputs)), task.data.validation.targets)
    assert one.metrics["f1"] == pytest.approx(float(expected))
    assert list(one.curve[-1].metrics) == list(metrics)


def test_a_metric_that_gives_several_numbers_is_named() -> None:
    task = replace(small_task(linear, digits(64, 50)), metrics={"rows": lambda outputs, targets: outputs.sum(1)})
    with pytest.raises(InputError, match=r"The metric 'rows' must give a single number; got a Tensor of shape \[50\]"):
        ReferenceTrainer(task, device="cpu")({})


def test_a_metric_is_not_asked_about_outputs_that_are_no_numbers() -> None:
    def refusing(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        if not outputs.isfinite().all():
            raise ValueError("Input contains NaN.")
        return 1.0

    task = replace(small_task(linear, digits(64, 50), batch_size=64), metrics={"refusing": refusing})
    params = [{"lr": 1e38}, {"lr": 0.1}]
    got = dict(PopulationTrainer(task, device="cpu").evaluate_batch(requests_of(params)))
    reference = [ReferenceTrainer(task, device="cpu")(one, 3) for one in params]
    assert [got[i].status for i in range(2)] == [one.status for one in reference] == ["diverged", "ok"]
