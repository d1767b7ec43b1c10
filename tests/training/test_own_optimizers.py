"""The user's own optimisers: with groups of parameters, of other kinds, in stacks, over pauses."""

from __future__ import annotations

import gc
import re
import warnings
import weakref
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import STACKABLE, ResidualNet, digits, in_double_precision, small_task
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from deap_hpo import Categorical, Float, ProcessExecutor, Task, make_trainer, optimize
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.records.entries import schedule_of
from deap_hpo.training.checkpoints import FolderCheckpoints
from deap_hpo.training.costs import measured_costs
from deap_hpo.training.keyed import keyed_model, keyed_permutation
from deap_hpo.training.models import MLP
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.reference import ReferenceTrainer

TRAINERS = [ReferenceTrainer, PopulationTrainer]
# A fall-back on the reference would compare it with itself, and show nothing.
pytestmark = pytest.mark.filterwarnings("error:networks of the task")


def without_decay(network: nn.Module, lr: float = 0.01, weight_decay: float = 0.1, head: float = 1.0) -> Optimizer:
    """AdamW as for transformers: no decay of biases and norms, and a separate rate for the head."""
    own = dict(network.named_parameters())
    last = [name for name in own if "head" in name or "classifier" in name or name.startswith("layers.3")]
    decayed = [one for name, one in own.items() if one.dim() > 1 and name not in last]
    rest = [one for name, one in own.items() if one.dim() <= 1 and name not in last]
    groups = [
        {"params": rest, "weight_decay": 0.0},
        {"params": [own[name] for name in last], "lr": lr * head},
        {"params": decayed},
    ]
    return AdamW([group for group in groups if group["params"]], lr=lr, weight_decay=weight_decay, eps=1e-3)


def momentum_of_some(
    network: nn.Module, lr: float = 0.01, momentum: float = 0.9, nesterov: bool = False, decay: float = 0.0
) -> Optimizer:
    """SGD whose momentum is for matrices only; the last parameter stays as it is."""
    *parameters, _ = network.parameters()
    matrices = {"params": [one for one in parameters if one.dim() > 1], "momentum": momentum, "nesterov": nesterov}
    vectors = {"params": [one for one in parameters if one.dim() <= 1], "lr": lr / 2, "weight_decay": decay}
    return SGD([matrices, vectors], lr=lr)


class Lion(Optimizer):
    """Chen et al., "Symbolic discovery of optimization algorithms" (arXiv:2302.06675), with its own count."""

    def __init__(self, params: Any, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.99) -> None:
        super().__init__(params, {"lr": lr, "betas": (beta1, beta2)})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            first, second = group["betas"]
            for one in group["params"]:
                if one.grad is None:
                    continue
                state = self.state[one]
                mean = state.setdefault("mean", torch.zeros_like(one))
                state["count"] = state.get("count", 0) + 1
                rate = group["lr"] * (1 if state["count"] % 2 else 0.5)
                one.sub_(rate * torch.sign(torch.lerp(mean, one.grad, 1 - first)))
                mean.lerp_(one.grad, 1 - second)


class Replacing(SGD):
    """Gives parameters new tensors, rather than new values."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for one in group["params"]:
                one.data = one.data - group["lr"] * one.grad


def muon(network: nn.Module, lr: float = 0.02) -> Optimizer:
    return torch.optim.Muon([one for one in network.parameters() if one.dim() == 2], lr=lr)


def amsgrad(network: nn.Module, lr: float = 0.01, kind: str = "adam") -> Optimizer:
    return {"adam": Adam, "adamw": AdamW}[kind](network.parameters(), lr=lr, amsgrad=True)


# Each with the settings that differ between members; the stacks' losses are compared with the reference's.
GROUPED: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "adamw": (
        without_decay,
        [
            {"lr": 0.01, "weight_decay": 0.5, "head": 0.1},
            {"lr": 0.003, "head": 3.0},
            {},
            {"lr": 0.005, "weight_decay": 0.0, "head": 0.0, "max_grad_norm": 0.1},
        ],
    ),
    "sgd": (
        momentum_of_some,
        [
            {"lr": 0.05, "momentum": 0.0},
            {"lr": 0.02, "decay": 0.1, "schedule": "cosine"},
            {"lr": 0.03, "momentum": 0.5, "max_grad_norm": 0.1},
            {"lr": 0.01, "momentum": 0.95, "schedule": "constant", "warmup": 2.0},
        ],
    ),
    "class": (AdamW, [{"lr": 0.01, "weight_decay": 0.5}, {"lr": 0.003, "eps": 0.1}, {}, {"lr": 0.002}]),
}
OTHERS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "nadam": (torch.optim.NAdam, [{"lr": 0.01, "momentum_decay": 0.1}, {"eps": 0.01}]),
    "radam": (torch.optim.RAdam, [{"lr": 0.01, "weight_decay": 0.1}, {"eps": 0.01}]),
    "adagrad": (torch.optim.Adagrad, [{"lr": 0.05, "lr_decay": 0.1}, {"lr": 0.02, "max_grad_norm": 0.1}]),
    "adadelta": (torch.optim.Adadelta, [{"lr": 0.5, "rho": 0.8}, {}]),
    "adamax": (partial(torch.optim.Adamax, eps=1e-3), [{"lr": 0.01}, {"weight_decay": 0.1}]),
    "asgd": (torch.optim.ASGD, [{"lr": 0.05, "lambd": 1e-3}, {"lr": 0.02, "alpha": 0.5}]),
    "centred": (partial(RMSprop, centered=True, eps=0.01), [{"lr": 0.005}, {"lr": 0.002, "momentum": 0.5}]),
    "amsgrad": (amsgrad, [{"lr": 0.003}, {"lr": 0.001}]),
    "lion": (Lion, [{"lr": 1e-3}, {"lr": 2e-3, "beta1": 0.5}]),
    **({"muon": (muon, [{"lr": 0.02}, {"lr": 0.01}])} if hasattr(torch.optim, "Muon") else {}),  # since PyTorch 2.9
}
CASES = {**GROUPED, **OTHERS}


def task_of(optimizer: Any, model: Any = None, **recipe: Any) -> Task:
    return replace(small_task(model, batch_size=24, **recipe), optimizer=optimizer)


def losses(*evaluations: Evaluation) -> list[float]:
    assert {one.status for one in evaluations} == {"ok"}, [one.error for one in evaluations]
    return [loss for one in evaluations for epoch in one.curve for loss in (epoch.training_loss, epoch.validation_loss)]


def together(task: Task, params: list[dict[str, Any]], epochs: int, seeds: list[int] | None = None) -> list[Evaluation]:
    trainer = PopulationTrainer(task, epochs=epochs, device="cpu")
    requests = [Request(i, one, seeds[i] if seeds else 3) for i, one in enumerate(params)]
    evaluations = dict(trainer.evaluate_batch(requests))
    return [evaluations[i] for i in range(len(params))]


def test_each_group_is_trained_with_its_own_settings_and_what_is_in_none_stays() -> None:
    data, model = digits(), partial(MLP, inputs=64, width=16)
    task = Task("digits", model, data, recipe=Recipe(schedule="step", gamma=0.5), optimizer=momentum_of_some)
    params = {"lr": 0.1, "momentum": 0.5, "decay": 0.1}
    trained, _ = ReferenceTrainer(task, epochs=2, device="cpu").train(params, seed=5)
    expected = keyed_model(model, seed=5)
    bias, *_ = [one for one in expected.parameters() if one.dim() == 1]
    matrices = [one for one in expected.parameters() if one.dim() == 2]
    optimizer = SGD(
        [{"params": matrices, "momentum": 0.5, "lr": 0.1}, {"params": [bias], "weight_decay": 0.1, "lr": 0.05}]
    )
    for epoch in range(2):
        for batch in torch.split(keyed_permutation(64, 5, epoch), 64):
            F.cross_entropy(
                expected(data.prepare(data.training.inputs[batch])), data.training.targets[batch]
            ).backward()
            optimizer.step()
            optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] *= 0.5
    for one, other in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    *_, last = expected.parameters()
    assert torch.equal(last, [*keyed_model(model, seed=5).parameters()][-1])


@pytest.mark.parametrize("seeds", [[3, 3, 3, 3], [3, 4, 5, 6]], ids=["common seed", "seeds"])
@pytest.mark.parametrize("network", ["mlp", "batch-norm", "residual", "transformer"])
@pytest.mark.parametrize("case", GROUPED)
def test_a_stack_updates_groups_as_the_reference_does(case: str, network: str, seeds: list[int]) -> None:
    optimizer, params = GROUPED[case]
    task = task_of(optimizer, partial(in_double_precision, STACKABLE[network][0]))
    got = together(task, params, 7, seeds)
    assert {one.environment["stack"] for one in got} == {4}
    for one, own, seed in zip(got, params, seeds, strict=True):
        alone = ReferenceTrainer(task, epochs=7, device="cpu")(own, seed=seed)
        assert losses(one) == pytest.approx(losses(alone), rel=1e-6)
    assert len({one.value for one in got}) == 4


@pytest.mark.parametrize("case", CASES)
def test_in_single_precision_20_steps_agree(case: str) -> None:
    optimizer, params = CASES[case]
    task = task_of(optimizer, ResidualNet)
    got = together(task, params, 7)  # of 3 steps
    assert {one.environment["stack"] for one in got} == {len(params)}
    for one, own in zip(got, params, strict=True):
        assert losses(one) == pytest.approx(
            losses(ReferenceTrainer(task, epochs=7, device="cpu")(own, seed=3)), rel=1e-4
        )


@pytest.mark.parametrize("case", ["adamw", "sgd", "nadam", "lion"])
def test_who_is_beside_whom_changes_nothing(case: str) -> None:
    optimizer, params = CASES[case]
    task = task_of(optimizer)
    bad = {"lr": 1e30}
    alone = [together(task, [one], 2)[0] for one in params]
    bad_first, *got, bad_last = together(task, [bad, *params[::-1], bad], 2)
    assert (bad_first.status, bad_last.status) == ("diverged", "diverged")
    for one, other in zip(got[::-1], alone, strict=True):
        assert losses(one) == pytest.approx(losses(other), rel=1e-4)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", TRAINERS)
def test_2_epochs_and_3_more_are_5_bit_for_bit(kind: Any, case: str, tmp_path: Any) -> None:
    optimizer, params = CASES[case]
    trainer = kind(task_of(optimizer, ResidualNet), epochs=5, device="cpu", checkpoints=FolderCheckpoints(tmp_path))

    def trained(start: str | None, epochs: int) -> Evaluation:
        return trainer.evaluate(Request(0, params[0], 3, epochs=epochs, start_from=start, keep=True))

    whole, first = trained(None, 5), trained(None, 2)
    second = trained(first.checkpoint, 5)
    assert losses(first, second) == losses(whole)
    assert second.checkpoint == whole.checkpoint, "named by its content"


@pytest.mark.parametrize("kind", TRAINERS)
def test_two_that_go_on_from_one_checkpoint_leave_each_other_alone(kind: Any) -> None:
    trainer = kind(task_of(torch.optim.NAdam), epochs=4, device="cpu")
    start = trainer.evaluate(Request(0, {"lr": 0.01}, 3, epochs=2, keep=True)).checkpoint
    one, other = (trainer.evaluate(Request(i, {"lr": 0.01}, 3, start_from=start)) for i in range(2))
    assert losses(one) == losses(other)


@pytest.mark.parametrize(
    ("optimizer", "changes"),
    [
        (without_decay, [{"lr": 0.01}, {"lr": 0.003, "head": 2.0}, {"weight_decay": 0.5}]),
        (momentum_of_some, [{"momentum": 0.9}, {"momentum": 0.0}, {"momentum": 0.5, "decay": 0.1}]),
        (torch.optim.NAdam, [{"lr": 0.01}, {"lr": 0.003}, {"lr": 0.01, "momentum_decay": 0.1}]),
    ],
)
def test_both_trainers_agree_where_settings_change_in_between(optimizer: Any, changes: list[dict[str, Any]]) -> None:
    task, ended = task_of(optimizer, partial(in_double_precision, ResidualNet)), []
    for kind in TRAINERS:
        trainer = kind(task, epochs=4, device="cpu")
        evaluations: list[Evaluation] = []
        for epochs, params in enumerate(changes, 2):
            start = evaluations[-1].checkpoint if evaluations else None
            evaluations.append(trainer.evaluate(Request(0, params, 3, epochs=epochs, start_from=start, keep=True)))
        ended.append((losses(*evaluations), trainer.checkpoints.load(evaluations[-1].checkpoint)))
    (got, kept), (expected, reference) = ended
    assert got == pytest.approx(expected, rel=1e-9)
    assert kept.keys() == reference.keys()
    for name in kept:
        torch.testing.assert_close(kept[name], reference[name])


def test_other_groups_and_other_kinds_are_stacked_apart() -> None:
    def chosen(network: nn.Module, kind: str = "sgd", lr: float = 0.01, apart: bool = False) -> Optimizer:
        parameters = list(network.parameters())
        groups = [{"params": parameters[:2]}, {"params": parameters[2:]}] if apart else [{"params": parameters}]
        return {"sgd": SGD, "adam": Adam, "nadam": torch.optim.NAdam}[kind](groups, lr=lr)

    params: list[dict[str, Any]] = [
        {"kind": "sgd", "lr": 0.1},
        {"kind": "sgd", "lr": 0.01},
        {"kind": "sgd", "apart": True},
        {"kind": "adam"},
        {"kind": "nadam"},
        {"kind": "nadam", "lr": 0.003},
    ]
    task = task_of(chosen)
    got = together(task, params, 2)
    assert [one.environment["stack"] for one in got] == [2, 2, 1, 1, 2, 2]
    for one, own in zip(got, params, strict=True):
        assert losses(one) == pytest.approx(
            losses(ReferenceTrainer(task, epochs=2, device="cpu")(own, seed=3)), rel=1e-4
        )


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.second(self.first(x.flatten(1)).relu())
        return x


def freezing(network: Plain, lr: float = 0.05, frozen: bool = False, kind: str = "sgd") -> Optimizer:
    network.first.requires_grad_(not frozen)
    return {"sgd": SGD, "nadam": torch.optim.NAdam}[kind](network.parameters(), lr=lr)


def scaling(network: Plain, lr: float = 0.05, scale: float = 1.0, kind: str = "sgd") -> Optimizer:
    with torch.no_grad():
        for one in network.parameters():
            one.mul_(scale)
    return {"sgd": SGD, "nadam": torch.optim.NAdam}[kind](network.parameters(), lr=lr)


def clamped(network: Plain, lr: float = 0.05, bound: float = 1.0) -> Optimizer:
    def clamp(optimizer: Optimizer, *_: Any) -> None:
        for one in network.parameters():
            one.data.clamp_(-bound, bound)

    optimizer = SGD(network.parameters(), lr=lr)
    optimizer.register_step_post_hook(clamp)
    return optimizer


def stepping(network: Plain, lr: float = 0.05, times: int = 1) -> Optimizer:
    optimizer = SGD(network.parameters(), lr=lr)
    step = optimizer.step
    optimizer.step = lambda *_: [step() for _ in range(times)][-1]  # type: ignore[method-assign]
    return optimizer


def drawing(network: Plain, lr: float = 0.05) -> Optimizer:
    return SGD(network.parameters(), lr=lr * float(1 + torch.rand(())))


def with_frozen(network: Plain, lr: float = 0.05, kind: str = "adamw") -> Optimizer:
    network.first.weight.requires_grad_(False)
    return {"adamw": AdamW, "nadam": torch.optim.NAdam}[kind](network.parameters(), lr=lr)


@pytest.mark.parametrize("seeds", [[3, 3, 3], [3, 4, 5]], ids=["common seed", "seeds"])
@pytest.mark.parametrize(
    ("optimizer", "params", "stacks"),
    [
        (freezing, [{"frozen": True}, {"frozen": False}, {"frozen": True, "lr": 0.1}], [2, 1, 2]),
        (freezing, [{"frozen": True, "kind": "nadam"}, {"kind": "nadam"}, {"kind": "nadam", "lr": 0.01}], [1, 2, 2]),
        (scaling, [{"scale": 0.5}, {"scale": 2.0}, {}], [3, 3, 3]),
        (scaling, [{"scale": scale, "kind": "nadam", "lr": 0.01} for scale in (0.5, 2.0, 1.0)], [3, 3, 3]),
        (clamped, [{"bound": 0.1}, {"bound": 0.05}, {}], [3, 3, 3]),
        (stepping, [{"times": 1}, {"times": 2}, {"times": 3, "lr": 0.01}], [3, 3, 3]),
        (drawing, [{"lr": 0.05}, {"lr": 0.01}, {"lr": 0.1}], [3, 3, 3]),
        (with_frozen, [{"lr": 0.01}, {"lr": 0.003}, {"lr": 0.001}], [3, 3, 3]),
        (with_frozen, [{"lr": lr, "kind": "nadam"} for lr in (0.01, 0.003, 0.001)], [3, 3, 3]),
        (partial(SGD, maximize=True), [{"lr": 1e-3}, {"lr": 1e-4}, {"lr": 2e-3}], [3, 3, 3]),
        (partial(SGD, momentum=0.9), [{"dampening": 0.5}, {"dampening": 0.1}, {"dampening": 0.9}], [3, 3, 3]),
        (partial(SGD, momentum=0.9, lr=0.02), [{"nesterov": True}, {"nesterov": False}, {"nesterov": True}], [2, 1, 2]),
    ],
)
def test_whatever_it_does_to_the_network_a_stack_does_as_the_reference(
    optimizer: Any, params: list[dict[str, Any]], stacks: list[int], seeds: list[int]
) -> None:
    task = task_of(optimizer, Plain)
    got = together(task, params, 3, seeds)
    assert [one.environment["stack"] for one in got] == stacks
    for one, own, seed in zip(got, params, seeds, strict=True):
        alone = ReferenceTrainer(task, epochs=3, device="cpu")(own, seed=seed)
        assert losses(one) == pytest.approx(losses(alone), rel=1e-4)
        assert one.metrics["parameters"] == alone.metrics["parameters"] == measured_costs(task, own)["parameters"]


def test_one_that_hooks_into_the_network_is_left_to_the_reference() -> None:
    def reading(network: Plain, lr: float = 0.05, factor: float = 1.0) -> Optimizer:
        network.second.register_forward_hook(lambda module, inputs, output: output * factor)
        return SGD(network.parameters(), lr=lr)

    def bounding(network: Plain, lr: float = 0.05, factor: float = 1.0) -> Optimizer:
        network.second.bias.register_hook(lambda gradient: gradient.clamp(-factor, factor))
        return SGD(network.parameters(), lr=lr)

    for hooked, reason in ((reading, "its optimizer registers hooks on the network"), (bounding, "there is a hook on")):
        task = task_of(hooked, Plain)
        with pytest.warns(RuntimeWarning, match=f"trained one at a time: {reason}"):
            got = together(task, [{"factor": 0.1}, {"factor": 0.01}], 1)
        for one, factor in zip(got, (0.1, 0.01), strict=True):
            assert losses(one) == losses(ReferenceTrainer(task, device="cpu")({"factor": factor}, seed=3))


def test_one_that_changes_frozen_parameters_is_left_to_the_reference() -> None:
    class Decaying(SGD):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            super().step()
            for one in self.param_groups[0]["params"]:
                one.mul_(0.9)

    def half_frozen(network: Plain, lr: float = 0.05) -> Optimizer:
        network.first.weight.requires_grad_(False)
        return Decaying(network.parameters(), lr=lr)

    task = task_of(half_frozen, Plain)
    with pytest.warns(
        RuntimeWarning, match="replaces its parameters instead of changing them in place, or changes frozen ones"
    ):
        got = together(task, [{"lr": 0.1}, {"lr": 0.01}], 1)
    for one, lr in zip(got, (0.1, 0.01), strict=True):
        assert losses(one) == losses(ReferenceTrainer(task, device="cpu")({"lr": lr}, seed=3))


class Counting(SGD):
    """Counts its steps among its options and beside its parameters, and keeps numbers of several types."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, lr=lr)
        self.param_groups[0]["steps"], self.sign = 0, float(torch.rand(()))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        group["steps"] += 1
        self.state["all"] = self.state.get("all", 0) + 1
        for one in group["params"]:
            state = self.state[one]
            mask = state.setdefault("mask", torch.zeros_like(one, dtype=torch.bool))
            order = state.setdefault("order", torch.arange(one.shape[0]))
            total = state.setdefault("total", torch.zeros_like(one, dtype=torch.float64))
            total += one.grad.double() / (group["steps"] + self.state["all"] + self.sign)
            mask.copy_(total > 0)
            one.sub_(torch.where(mask, group["lr"] * total[order], 0.1 * total).float())


@pytest.mark.parametrize("kind", TRAINERS)
def test_counts_and_numbers_of_any_type_go_on_bit_for_bit(kind: Any, tmp_path: Any) -> None:
    trainer = kind(task_of(Counting, Plain), epochs=4, device="cpu", checkpoints=FolderCheckpoints(tmp_path))
    whole = trainer.evaluate(Request(0, {"lr": 0.05}, 3, keep=True))
    first = trainer.evaluate(Request(0, {"lr": 0.05}, 3, epochs=2, keep=True))
    second = trainer.evaluate(Request(0, {"lr": 0.05}, 3, start_from=first.checkpoint, keep=True))
    assert losses(first, second) == losses(whole)
    assert second.checkpoint == whole.checkpoint


def momentum_in_parts(network: Plain, momentum: float = 0.0, lr: float = 0.01) -> Optimizer:
    groups = [
        {"params": network.first.parameters(), "momentum": 0.9},
        {"params": network.second.parameters(), "momentum": momentum},
    ]
    return RMSprop(groups, lr=lr, eps=0.01)


@pytest.mark.parametrize(
    ("optimizer", "changes"),
    [
        (momentum_in_parts, [{"momentum": 0.0}, {"momentum": 0.5}, {"momentum": 0.0}]),
        (partial(RMSprop, centered=True, lr=0.01, eps=0.01), [{"momentum": 0.0}, {"momentum": 0.5}, {"momentum": 0.9}]),
        (partial(Adam, maximize=True, lr=1e-3), [{"amsgrad": False}, {"amsgrad": True}, {"amsgrad": True}]),
        (freezing, [{"frozen": True, "kind": "nadam"}, {"kind": "nadam"}, {"frozen": True, "kind": "nadam"}]),
        (freezing, [{"kind": "sgd"}, {"kind": "nadam"}, {"kind": "sgd"}]),
    ],
)
def test_what_is_kept_of_a_parameter_starts_afresh_where_something_is_missing(
    optimizer: Any, changes: list[dict[str, Any]]
) -> None:
    task, ended = task_of(optimizer, Plain), []
    for kind in TRAINERS:
        trainer = kind(task, epochs=3, device="cpu")
        evaluations: list[Evaluation] = []
        for epochs, params in enumerate(changes, 1):
            start = evaluations[-1].checkpoint if evaluations else None
            evaluations.append(trainer.evaluate(Request(0, params, 3, epochs=epochs, start_from=start, keep=True)))
        ended.append(losses(*evaluations))
    assert ended[0] == pytest.approx(ended[1], rel=1e-4)


def test_more_parameters_than_before_are_left_to_the_reference_by_adam() -> None:
    def some(network: Plain, all_of: bool = False) -> Optimizer:
        return Adam(network.parameters() if all_of else network.second.parameters(), lr=0.01)

    task = task_of(some, Plain)
    values = []
    for kind in TRAINERS:
        trainer = kind(task, epochs=2, device="cpu")
        start = trainer.evaluate(Request(0, {"all_of": False}, 3, epochs=1, keep=True)).checkpoint
        if kind is PopulationTrainer:
            with pytest.warns(RuntimeWarning, match="some parameters have had fewer steps than others"):
                values.append(trainer.evaluate(Request(0, {"all_of": True}, 3, start_from=start)).value)
        else:
            values.append(trainer.evaluate(Request(0, {"all_of": True}, 3, start_from=start)).value)
    assert values[0] == values[1]


def test_networks_of_members_are_let_go() -> None:
    built: list[weakref.ref[nn.Module]] = []

    def model() -> nn.Module:
        network = Plain()
        built.append(weakref.ref(network.first.weight))
        return network

    task = small_task(model, batch_size=24)
    trainer = PopulationTrainer(task, epochs=1, device="cpu")
    alive = []
    for position, _ in trainer.evaluate_batch([Request(i, {"lr": 0.1}, i) for i in range(4)]):
        gc.collect()
        alive.append((position, sum(one() is not None for one in built)))
    assert max(count for _, count in alive) == 1, "the code that all share, and nothing of the others"


def test_one_that_puts_other_tensors_in_place_is_left_to_the_reference() -> None:
    task = task_of(Replacing)
    with pytest.warns(
        RuntimeWarning, match="one at a time: Replacing replaces its parameters instead of changing them in place"
    ):
        got = together(task, [{"lr": 0.1}, {"lr": 0.01}], 1)
    for one, lr in zip(got, (0.1, 0.01), strict=True):
        assert losses(one) == losses(ReferenceTrainer(task, device="cpu")({"lr": lr}, seed=3))


def test_one_that_draws_random_numbers_is_left_to_the_reference() -> None:
    class Langevin(SGD):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            super().step()
            for one in self.param_groups[0]["params"]:
                one.add_(torch.randn_like(one), alpha=self.param_groups[0]["lr"] / 10)

    task = task_of(Langevin)
    with pytest.warns(RuntimeWarning, match="trained one at a time"):
        got = together(task, [{"lr": 0.1}, {"lr": 0.01}], 2)
    for one, lr in zip(got, (0.1, 0.01), strict=True):
        assert losses(one) == losses(ReferenceTrainer(task, epochs=2, device="cpu")({"lr": lr}, seed=3))


def test_what_no_checkpoint_holds_fails_only_where_one_is_asked_for() -> None:
    class Keeping(SGD):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for one in self.param_groups[0]["params"]:
                self.state[one]["object"] = object()
            super().step()

    trainer = ReferenceTrainer(task_of(Keeping), device="cpu")
    assert trainer.evaluate(Request(0, {"lr": 0.1}, 3)).status == "ok"
    with pytest.raises(InputError, match="got a object at"):
        trainer.evaluate(Request(0, {"lr": 0.1}, 3, keep=True))


def test_a_search_finds_them_side_by_side_too_and_gives_the_network() -> None:
    task = task_of(without_decay)
    space = {"lr": Float(1e-4, 0.1, log=True), "head": Float(0.1, 10.0, log=True), "batch_size": Categorical([16, 32])}
    trainer = make_trainer(task, device="cpu", epochs=2)
    studies = [
        optimize(trainer, space, algorithm="random", population=3, generations=2, seed=1, executor=executor)
        for executor in (None, ProcessExecutor(2))
    ]
    assert studies[0].best_params == studies[1].best_params
    assert studies[0].best_value == studies[1].best_value
    loss, _ = trainer.measure(studies[0].best_model(), trainer.data.validation)
    assert loss == studies[0].best_value
    assert "lr" not in trainer.settings["recipe"]
    assert trainer.settings["recipe"]["batch_size"] == 24


def test_another_optimizer_is_noticed_when_a_study_goes_on(tmp_path: Any) -> None:
    def study(optimizer: Any, generations: int) -> Any:
        return optimize(
            make_trainer(task_of(optimizer), device="cpu"),
            {"lr": Float(0.01, 0.1)},
            algorithm="random",
            population=2,
            generations=generations,
            storage=tmp_path / "record.db",
            name="one",
            resume=True,
        )

    study(without_decay, 1)
    assert len(study(without_decay, 2).entries) == 4
    with pytest.raises(InputError, match="optimizer"):
        study(torch.optim.NAdam, 3)


def test_population_based_training_goes_on_with_what_the_optimizer_kept() -> None:
    task = task_of(torch.optim.NAdam, Plain)
    study = optimize(
        make_trainer(task, device="cpu", epochs=3),
        {"lr": Float(1e-3, 0.1, log=True), "momentum_decay": Float(1e-3, 0.1, log=True)},
        algorithm="pbt",
        population=4,
        generations=3,
        seed=1,
    )
    assert {entry.evaluation.status for entry in study.entries} == {"ok"}
    ended = [entry for entry in study.entries if entry.epochs == 3 and entry.start_from is not None]
    schedules = {entry.number: schedule_of(study.entries, entry.number, study.space) for entry in ended}  # type: ignore[arg-type]
    assert any(len({str(params) for params, _ in schedule}) > 1 for schedule in schedules.values())
    data = task.data
    for entry in ended:
        network = keyed_model(Plain, entry.seed)
        optimizer = torch.optim.NAdam(network.parameters())  # one for all epochs, whose options change
        for epoch, (params, _) in enumerate(schedules[entry.number]):
            optimizer.param_groups[0].update(params)
            for batch in torch.split(keyed_permutation(64, entry.seed, epoch), 24):
                output = network(data.prepare(data.training.inputs[batch]))  # type: ignore[index]
                optimizer.zero_grad()
                F.cross_entropy(output, data.training.targets[batch]).backward()  # type: ignore[index]
                optimizer.step()
        with torch.no_grad():
            loss = F.cross_entropy(network(data.prepare(data.validation.inputs)), data.validation.targets)  # type: ignore[arg-type]
        assert entry.evaluation.value == pytest.approx(loss.item(), rel=1e-5)


def wrong_kind(network: nn.Module) -> Any:
    return network


def of_others(network: nn.Module) -> Optimizer:
    return SGD(nn.Linear(2, 2).parameters(), lr=0.1)


def twice(network: nn.Module) -> Optimizer:
    first, *others = network.parameters()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SGD([first, *others, first], lr=0.1)


def without_rate(network: nn.Module) -> Optimizer:
    class Bare(Optimizer):
        def step(self, closure: Any = None) -> None: ...

    return Bare(network.parameters(), {})


class Asking(SGD):
    def step(self, loss: Any) -> None: ...  # type: ignore[override]


def choosing(network: nn.Module, kind: str = "sgd") -> Optimizer:
    return {"sgd": SGD}[kind](network.parameters(), lr=0.1)


def needs_lr(network: nn.Module, lr: float) -> Optimizer:
    return SGD(network.parameters(), lr=lr)


@pytest.mark.parametrize(
    ("optimizer", "params", "said"),
    [
        (wrong_kind, {}, "optimizer must give a torch.optim.Optimizer; it gave a MLP."),
        (of_others, {}, "optimizer must have parameters of the network that it is given; it has others."),
        (
            torch.optim.LBFGS,
            {},
            "optimizer must make an optimizer whose step() needs no closure; that of LBFGS needs one.",
        ),
        (needs_lr, {}, "missing 1 required positional argument: 'lr'"),
        (lambda network: AdamW([{"params": []}], lr=0.1), {}, "optimizer must have trainable parameters;"),
        (twice, {}, "optimizer must have each parameter once; it has one of them twice."),
        (without_rate, {}, "optimizer must have a learning rate, lr, in each group of parameters; Bare has none."),
        (Asking, {}, "could not be trained by its optimizer: Asking.step() missing 1 required positional argument"),
        (torch.optim.SparseAdam, {}, "could not be trained by its optimizer: SparseAdam does not support dense"),
        (choosing, {"kind": "adam"}, "could not be trained by its optimizer: KeyError: 'adam'."),
        (
            lambda network, **given: AdamW(network.parameters(), **given),
            {"lr": 0.1},
            "(it takes none by name)",
        ),
        (AdamW, {"lr": -1.0}, "Invalid learning rate: -1.0"),
        (
            AdamW,
            {"momentum": 0.9},
            "Settings of the recipe's optimizers are not used beside",
        ),
        (AdamW, {"epochs": 3}, "Epochs are the trainer's, make_trainer(epochs=...)"),
        (AdamW, {"learning_rate": 0.9}, "Did you mean 'lr'?"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_trained(optimizer: Any, params: Any, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        task_of(optimizer).check(params)


def test_a_scheduler_of_torch_is_refused_and_told_where_schedules_are() -> None:
    def scheduled(network: nn.Module, lr: float = 0.05) -> Optimizer:
        optimizer = SGD(network.parameters(), lr=lr)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=40)
        optimizer.register_step_post_hook(lambda *_: scheduler.step())
        return optimizer

    with pytest.raises(InputError, match=r"optimizer must have no scheduler.*Recipe\(schedule="):
        task_of(scheduled).check({})

    def noted(network: nn.Module, lr: float = 0.05) -> Optimizer:
        return SGD([{"params": list(network.parameters()), "initial_lr": lr}], lr=lr)

    task_of(noted).check({})  # a number that it would start from is no scheduler


def test_what_is_another_function_in_training_is_tried_as_in_training() -> None:
    class Averaging(nn.Module):
        """Evaluates by an average, which has no gradients."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if self.training:
                return self.layer(inputs.flatten(1))
            with torch.no_grad():
                return self.layer(inputs.flatten(1))

    task_of(lambda network, lr=0.1: SGD(network.parameters(), lr=lr), Averaging).check({"lr": 0.05})


def test_names_that_two_would_take_are_refused() -> None:
    def warming(network: nn.Module, warmup: int = 3, width: int = 8, label_smoothing: float = 0.0) -> Optimizer:
        return SGD(network.parameters(), lr=0.1)

    task = task_of(warming)
    for name, said in [
        ("warmup", "is a training setting and an argument of the optimizer; give that of the optimizer another name"),
        ("width", "is an argument of the optimizer and an argument of the model; give that of the model another name"),
        ("label_smoothing", "is an argument of the optimizer and an argument of the loss"),
    ]:
        with pytest.raises(InputError, match=f"hyperparameter '{name}' {said}"):
            task.check_names([name])


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (SGD([nn.Parameter(torch.zeros(1))], lr=0.1), "or a class such as torch.optim.NAdam; got SGD ("),
        ("adam", "got 'adam' (by name it is recipe=Recipe(optimizer='adam'))."),
    ],
)
def test_what_makes_no_optimizer_is_refused(optimizer: Any, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        task_of(optimizer)


def test_a_recipe_that_nobody_would_follow_is_refused() -> None:
    with pytest.raises(InputError, match=r"recipe must not set weight_decay .* got weight_decay=0\.1"):
        task_of(AdamW, weight_decay=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", TRAINERS)
@pytest.mark.parametrize("case", CASES)
def test_on_cuda_losses_are_those_of_the_cpu_and_go_on_after_a_pause(case: str, kind: Any, tmp_path: Any) -> None:
    optimizer, params = CASES[case]
    task = task_of(optimizer, ResidualNet)
    here = ReferenceTrainer(task, epochs=4, device="cpu")
    there = kind(task, epochs=4, device="cuda", checkpoints=FolderCheckpoints(tmp_path))
    for own in params:
        first = there.evaluate(Request(0, own, 3, epochs=2, keep=True))
        second = there.evaluate(Request(0, own, 3, start_from=first.checkpoint))
        assert losses(first, second) == pytest.approx(losses(here(own, seed=3)), rel=1e-3)
