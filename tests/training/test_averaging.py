"""Moving averages of weights: equal to torch's, alone and in stacks, over pauses, measured and kept."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from evaluated import evaluated, losses
from networks import NormalisedCNN, small_task
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from deap_hpo import Categorical, Float, Recipe, Space, Task, make_trainer, optimize
from deap_hpo.errors import InputError
from deap_hpo.training.checkpoints import FolderCheckpoints
from deap_hpo.training.keyed import keyed_model, keyed_permutation
from deap_hpo.training.models import MLP
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer

TRAINERS = [ReferenceTrainer, PopulationTrainer]
MEMBERS: list[dict[str, Any]] = [
    {"lr": 0.5, "ema": 0.9},
    {"lr": 0.3, "ema": None},
    {"lr": 0.1, "ema": 0.5},
    {"lr": 0.5, "ema": 0.0},
]
# A fall-back on the reference would compare it with itself, and show nothing.
pytestmark = pytest.mark.filterwarnings("error:networks of the task")


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95])
def test_it_is_that_of_torch(decay: float) -> None:
    network, epochs, seed, size = partial(MLP, inputs=64, width=16, dropout=0.0), 3, 5, 100
    task = small_task(network, batch_size=size, ema=decay)
    trainer = ReferenceTrainer(task, epochs=epochs, device="cpu")
    model, evaluation = trainer.train({"lr": 0.3}, seed)
    plain, training = keyed_model(network, seed), task.data.training
    averaged = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(decay))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.3)
    for epoch in range(epochs):
        for batch in torch.split(keyed_permutation(len(training), seed, epoch), size):
            optimizer.zero_grad()
            cross_entropy(plain(task.data.normalized(training.inputs[batch])), training.targets[batch]).backward()
            optimizer.step()
            averaged.update_parameters(plain)
    for one, other in zip(model.parameters(), averaged.module.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert trainer.measure(model, task.data.validation)[0] == evaluation.value


@pytest.mark.parametrize("network", [None, NormalisedCNN], ids=["mlp", "batch-norm"])
def test_a_stack_is_trained_as_each_alone(network: Any) -> None:
    task = small_task(network, batch_size=100)
    alone, stack = (losses(evaluated(kind(task, epochs=4, device="cpu"), MEMBERS)) for kind in TRAINERS)
    torch.testing.assert_close(stack, alone, rtol=1e-3, atol=1e-5)
    without = losses(evaluated(ReferenceTrainer(task, epochs=4, device="cpu"), [{"lr": one["lr"]} for one in MEMBERS]))
    assert [one == other for one, other in zip(alone, without, strict=True)] == [False, True, False, True]


def test_one_that_diverges_leaves_the_others_their_averages() -> None:
    task = small_task(batch_size=100)
    members = [{"lr": 1e30, "ema": 0.9}, *MEMBERS]
    mixed, alone = (evaluated(PopulationTrainer(task, epochs=3, device="cpu"), one) for one in (members, MEMBERS))
    assert mixed[0].status == "diverged"
    torch.testing.assert_close(losses(mixed[1:]), losses(alone), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_pause_changes_nothing(trainer: type, tmp_path: Any) -> None:
    one = trainer(small_task(batch_size=100), epochs=4, device="cpu", checkpoints=FolderCheckpoints(tmp_path))
    whole = evaluated(one, MEMBERS)
    first = evaluated(one, MEMBERS, epochs=2, keep=True)
    rest = evaluated(one, MEMBERS, [evaluation.checkpoint for evaluation in first])
    assert [a + b for a, b in zip(losses(first), losses(rest), strict=True)] == losses(whole)


@pytest.mark.parametrize(("before", "after"), list(zip(TRAINERS, TRAINERS[::-1], strict=True)))
def test_either_trainer_goes_on_from_the_other(before: type, after: type, tmp_path: Any) -> None:
    task, where = small_task(batch_size=100), FolderCheckpoints(tmp_path)
    whole = evaluated(before(task, epochs=4, device="cpu"), MEMBERS)
    first = evaluated(before(task, epochs=4, device="cpu", checkpoints=where), MEMBERS, epochs=2, keep=True)
    starts = [evaluation.checkpoint for evaluation in first]
    rest = evaluated(after(task, epochs=4, device="cpu", checkpoints=where), MEMBERS, starts)
    torch.testing.assert_close(losses(rest), [one[2:] for one in losses(whole)], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_average_may_begin_later(trainer: type, tmp_path: Any) -> None:
    """For example when population-based training changes hyperparameters."""
    task = small_task(batch_size=100)
    one = trainer(task, epochs=2, device="cpu", checkpoints=FolderCheckpoints(tmp_path))
    first = evaluated(one, [{"lr": 0.5}], epochs=1, keep=True)
    (going_on,) = evaluated(one, [{"lr": 0.5, "ema": 0.999999}], [first[0].checkpoint])
    assert going_on.value == pytest.approx(first[0].value, rel=1e-3), "hardly moved from where it began"


def test_the_best_epoch_is_that_of_the_average() -> None:
    task = small_task(batch_size=50)
    trainer = ReferenceTrainer(task, epochs=6, device="cpu", keep_best=True)
    model, evaluation = trainer.train({"lr": 2.5, "ema": 0.6}, 3)
    found = [epoch.validation_loss for epoch in evaluation.curve]
    assert found.index(min(found)) < 5
    assert trainer.measure(model, trainer.data.validation)[0] == min(found) == evaluation.value


def test_a_search_finds_and_gives_networks_with_their_averages() -> None:
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(300, 4, generator=rng)
    task = Task.from_data(lambda: nn.Linear(4, 1), (inputs, inputs.sum(1)), recipe=Recipe(ema=0.9))
    space = Space(
        {"lr": Float(0.01, 0.3, log=True), "ema": Float(0.5, 0.99), "optimizer": Categorical(["sgd", "adam"])}
    )
    study = optimize(make_trainer(task, epochs=3), space, algorithm="random", max_evaluations=6, seed=1, progress=False)
    with torch.no_grad():
        outputs = study.best_model()(task.data.prepare(task.data.validation.inputs))
    loss = (outputs.squeeze(1) - task.data.validation.targets).pow(2).mean().item()
    assert loss == pytest.approx(study.best_value, rel=1e-4)
    assert study.attributes["evaluator"]["recipe"]["ema"] == 0.9


@pytest.mark.parametrize("ema", [1.0, -0.1, math.nan, True, "0.9"])
def test_a_decay_out_of_its_range_is_refused(ema: Any) -> None:
    with pytest.raises(InputError, match="ema must be a number from 0 to less than 1, or None; got"):
        Recipe(ema=ema)


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["eager", "graph"])
def test_on_cuda_averages_and_schedules_are_those_of_the_cpu(engine: str) -> None:
    members = [{**MEMBERS[0], "schedule": "one_cycle"}, {**MEMBERS[1], "schedule": "plateau"}, MEMBERS[2]]
    here = losses(evaluated(ReferenceTrainer(small_task(batch_size=100), epochs=4, device="cpu"), members))
    there = PopulationTrainer(small_task(batch_size=100), epochs=4, device="cuda", engine=engine)
    torch.testing.assert_close(losses(evaluated(there, members)), here, rtol=1e-3, atol=1e-5)
