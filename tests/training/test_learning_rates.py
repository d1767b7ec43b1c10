"""Schedules that are functions of the step: one_cycle, plateau and the user's own, alone, in stacks and over pauses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from evaluated import evaluated, losses
from networks import digits, small_task
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from deap_hpo import Categorical, Float, Int, ProcessExecutor, Recipe, Space, Task, make_trainer, optimize
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.training.checkpoints import FolderCheckpoints
from deap_hpo.training.keyed import keyed_model, keyed_permutation
from deap_hpo.training.learning_rates import LrSchedule, one_cycle, plateau, warmup_cosine, warmup_linear
from deap_hpo.training.models import MLP
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.state import TrainingState, pack, unpack

NETWORK = partial(MLP, inputs=64)
TRAINERS = [ReferenceTrainer, PopulationTrainer]
# A fall-back on the reference would compare it with itself, and show nothing.
pytestmark = pytest.mark.filterwarnings("error:networks of the task")


def polynomial(step: int, steps: int, power: float = 2.0) -> float:
    return (1 - step / steps) ** power


def jumpy(step: int, steps: int, losses: Sequence[float], factor: float = 0.5) -> float:
    """Falls after each epoch that was worse than the one before."""
    return factor ** sum(later > earlier for earlier, later in pairwise(losses))


# Each with the settings that differ between members. Rates are so high that losses jump.
SCHEDULES: dict[str, tuple[str | LrSchedule, list[dict[str, Any]]]] = {
    "one_cycle": ("one_cycle", [{"lr": 0.5}, {"lr": 0.3, "pct_start": 0.5}, {"lr": 0.1, "div_factor": 2.0}]),
    "plateau": (
        "plateau",
        [
            {"lr": 1.0, "plateau_patience": 0, "plateau_factor": 0.3},
            {"lr": 2.0, "plateau_patience": 1},
            {"lr": 0.8, "plateau_patience": 0},
        ],
    ),
    "own": (polynomial, [{"lr": 0.3}, {"lr": 0.5, "power": 1.0}, {"lr": 0.1, "power": 0.5}]),
    "own by losses": (jumpy, [{"lr": 1.0}, {"lr": 0.8, "factor": 0.1}, {"lr": 1.2, "factor": 0.9}]),
}


def task_with(schedule: str | LrSchedule, **changed: Any) -> Task:
    return small_task(schedule=schedule, batch_size=100, **changed)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_stack_is_trained_as_each_alone(schedule: str) -> None:
    function, members = SCHEDULES[schedule]
    alone, stack = (
        losses(evaluated(trainer(task_with(function), epochs=6, device="cpu"), members)) for trainer in TRAINERS
    )
    torch.testing.assert_close(stack, alone, rtol=1e-3, atol=1e-5)
    constant = losses(
        evaluated(
            ReferenceTrainer(task_with("constant"), epochs=6, device="cpu"), [{"lr": one["lr"]} for one in members]
        )
    )
    for one, other in zip(alone, constant, strict=True):
        assert one != other, "the schedule makes a difference for each"


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_pause_changes_nothing(schedule: str, trainer: type, tmp_path: Any) -> None:
    function, members = SCHEDULES[schedule]
    one = trainer(task_with(function), epochs=6, device="cpu", checkpoints=FolderCheckpoints(tmp_path))
    whole = evaluated(one, members)
    first = evaluated(one, members, epochs=3, keep=True)
    rest = evaluated(one, members, [evaluation.checkpoint for evaluation in first])
    assert [a + b for a, b in zip(losses(first), losses(rest), strict=True)] == losses(whole)


def test_the_reference_is_plain_torch_with_lambda_lr() -> None:
    task, seed, epochs, size = task_with(partial(polynomial, power=1.5), model=NETWORK), 5, 2, 100
    model, _ = ReferenceTrainer(task, epochs=epochs, device="cpu").train({"lr": 0.2, "width": 16, "dropout": 0.0}, seed)
    training = task.data.training
    plain = keyed_model(partial(NETWORK, width=16, dropout=0.0), seed)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.2)
    steps = math.ceil(len(training) / size)
    scheduler = LambdaLR(optimizer, lambda step: polynomial(step, epochs * steps, power=1.5))
    for epoch in range(epochs):
        for batch in torch.split(keyed_permutation(len(training), seed, epoch), size):
            optimizer.zero_grad()
            cross_entropy(plain(task.data.normalized(training.inputs[batch])), training.targets[batch]).backward()
            optimizer.step()
            scheduler.step()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("falls", ["much", "hardly"])
@pytest.mark.parametrize(("factor", "patience"), [(0.1, 10), (0.5, 0), (0.3, 2)])
def test_plateau_is_that_of_torch(factor: float, patience: int, falls: str) -> None:
    generator = torch.Generator().manual_seed(0)
    found = (torch.rand(60, generator=generator).cumsum(0) * 0.01 + 1 / torch.arange(1, 61)).tolist()
    if falls == "hardly":
        found = [1 - 1e-6 * i for i in range(60)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience, eps=0.0)
    rates = []
    for loss in found:
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step(loss)
    ours = [plateau(0, 1, found[:epoch], factor, patience) for epoch in range(60)]
    assert ours == pytest.approx(rates)
    assert len(set(ours)) > 2


def test_short_trainings_have_a_top_too() -> None:
    assert one_cycle(0, 10, pct_start=0.1) == 1.0, "which is the first step"
    assert one_cycle(0, 1) < one_cycle(1, 10, pct_start=0.2) == 1.0
    assert [warmup_linear(step, 10, warmup_ratio=0.25) for step in range(4)] == [0.0, 1 / 3, 2 / 3, 1.0]
    assert warmup_linear(0, 10, warmup_ratio=0.0) == 1.0
    assert warmup_cosine(10, 10, warmup_ratio=1.0) == 1.0
    with pytest.raises(InputError, match=r"warmup_ratio must be a number from 0 to 1; got 1\.5"):
        warmup_linear(0, 10, warmup_ratio=1.5)


def test_a_checkpoint_of_before_losses_and_averages_were_kept_goes_on() -> None:
    (state,) = unpack(pack([TrainingState(2, 10, {"bias": torch.zeros(3)}, losses=(0.5, 0.25))]))
    assert (state.losses, state.averaged) == ((0.5, 0.25), {})
    tensors = {name: one for name, one in pack([state]).items() if "losses" not in name}
    assert unpack(tensors)[0].losses == ()


def test_its_arguments_and_schedules_themselves_are_searched() -> None:
    data = digits()
    task = Task.from_data(NETWORK, (data.training.inputs, data.training.targets), recipe=Recipe(batch_size=200))
    space = Space(
        {
            "lr": Float(0.01, 0.5),
            "schedule": Categorical(["cosine", "one_cycle", "plateau"]),
            "pct_start": Float(0.1, 0.9),
            "plateau_patience": Int(0, 3),
        },
        when={"pct_start": {"schedule": "one_cycle"}, "plateau_patience": {"schedule": "plateau"}},
    )
    study = optimize(
        make_trainer(task, epochs=2), space, algorithm="random", max_evaluations=12, seed=1, progress=False
    )
    assert {entry.evaluation.status for entry in study.entries} == {"ok"}
    assert {study.params_of(entry)["schedule"] for entry in study.entries} == {"cosine", "one_cycle", "plateau"}


def test_the_same_in_processes() -> None:
    trainer = ReferenceTrainer(task_with(jumpy), epochs=3, device="cpu")
    members = SCHEDULES["own by losses"][1]
    executor = ProcessExecutor(2)
    try:
        requests = [Request(i, params, seed=3) for i, params in enumerate(members)]
        side_by_side = dict(executor.run(trainer, requests))
    finally:
        executor.close()
    assert losses([side_by_side[i] for i in range(3)]) == losses(evaluated(trainer, members))


def test_what_is_on_record_tells_schedules_apart() -> None:
    def settings(schedule: str | LrSchedule) -> Any:
        return ReferenceTrainer(task_with(schedule), device="cpu").settings["recipe"]["schedule"]

    assert [settings(one) for one in ("plateau", plateau, partial(polynomial, power=3), polynomial)] == [
        "plateau",
        "plateau",
        "polynomial()",
        "polynomial()",
    ]
    assert task_with(polynomial).parts["schedule"] is polynomial
    assert "schedule" not in task_with("one_cycle").parts


@pytest.mark.parametrize(
    ("schedule", "params", "said"),
    [
        (
            polynomial,
            {"pover": 1.0},
            "hyperparameter 'pover' must be .* or of the schedule .*power.* Did you mean 'power'",
        ),
        ("cosine", {"pct_start": 0.5}, "'pct_start' must be an argument of the schedule; cosine has none"),
        (
            lambda step, steps, width: 1.0,
            {"width": 8},
            "'width' is an argument of the schedule and an argument of the mo",
        ),
        (lambda step, steps, lr=1.0: 1.0, {"lr": 0.1}, "'lr' is a training setting and an argument of the schedule"),
        (lambda step, steps: -0.1, {}, r"a finite number of at least 0; <lambda>\(\) gives -0.1 at step 0 of 1"),
        (lambda step, steps: None, {}, r"a finite number of at least 0; <lambda>\(\) gives None"),
        (lambda step, steps: math.nan, {}, r"a finite number of at least 0; <lambda>\(\) gives nan"),
        (lambda step: 1.0, {}, r"schedule <lambda>\(\) raised TypeError"),
        (lambda step, steps: 1 / step, {}, r"schedule <lambda>\(\) raised ZeroDivisionError"),
        (
            max,
            {},
            r"schedule must be a function \(step, steps, ...\) with .* the arguments of max\(\) cannot",
        ),
        ("one_cycle", {"pct_start": 1.5}, "pct_start must be a number from 0 to 1; got 1.5"),
        ("one_cycle", {"div_factor": 0}, "div_factor must be a number above 0; got 0"),
        ("plateau", {"plateau_factor": 1.0}, "plateau_factor must be a number between 0 and 1; got 1.0"),
        ("plateau", {"plateau_patience": -1}, "plateau_patience must be a number of at least 0; got -1"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_trained(
    schedule: str | LrSchedule, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        task_with(schedule, model=NETWORK).check(params)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda step, steps: 1 - step / (steps - 1),
        lambda step, steps: 1 - math.log(1 + step) / math.log(steps),
        lambda step, steps: min(1.0, step / int(0.1 * steps)),
    ],
)
def test_schedules_of_more_steps_than_one_are_tried_with_as_many(schedule: LrSchedule) -> None:
    task_with(schedule, model=NETWORK).check({})


def test_arguments_of_searched_schedules_are_not_for_a_factory_that_takes_anything() -> None:
    def network(**anything: Any) -> MLP:
        built.append(anything)
        return NETWORK()

    built: list[dict[str, Any]] = []
    task_with("one_cycle", model=network).check({"pct_start": 0.5, "depth": 3})
    task_with("constant", model=network).check({"schedule": "one_cycle", "pct_start": 0.5, "depth": 3})
    assert built
    assert all(one == {"depth": 3} for one in built)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "one_cycle", "warmup_linear", "warmup_cosine"])
def test_schedules_that_end_have_an_end(schedule: str) -> None:
    trainer = ReferenceTrainer(task_with(schedule), epochs=2, device="cpu")
    with pytest.raises(InputError, match=f"at most 2, where the trainer's {schedule} schedule ends; got 3"):
        trainer.train_on(None, {"lr": 0.1}, epochs=3)


def test_others_go_on() -> None:
    assert ReferenceTrainer(task_with(jumpy), epochs=2, device="cpu").train_on(None, {}, epochs=3)[1].status == "ok"
