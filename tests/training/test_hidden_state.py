"""What members of a stack would share without its showing: state outside named tensors, layers that are left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import digits, small_task
from test_deviations import both, stacks
from test_population import assert_same_curves, requests_of
from torch import Tensor, nn

from deap_hpo.evaluation import Request
from deap_hpo.training.checkpoints import MemoryCheckpoints
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.stacking.forward import vanished
from deap_hpo.training.stacking.networks import Unchanged
from deap_hpo.training.stacking.stackable import NotStackable
from deap_hpo.training.task import Task


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x.flatten(1)).relu())


class Guarded(Base):
    """Has the usual guard against a last batch of one example."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(16)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.a(x.flatten(1))
        return self.b((self.norm(hidden) if len(hidden) > 1 else hidden).relu())


class FreezesLater(Base):
    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        hidden = self.a(x.flatten(1)).relu()
        return self.b(hidden.detach() if self.steps > 2 else hidden)


class Counts(Base):
    """Counts its steps, and all of its parameters have gradients in each."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(x) / (1 + self.steps)


class LoRA(Base):
    """Merges its adapter in evaluation mode, as loralib does."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Parameter(torch.randn(4, 64) / 8), nn.Parameter(torch.zeros(16, 4))
        self.merged = False
        self.a.weight.requires_grad_(False)

    def train(self, mode: bool = True) -> LoRA:
        super().train(mode)
        if mode == self.merged:
            self.a.weight.data += (-1 if mode else 1) * self.up.detach() @ self.down.detach()
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        hidden = self.a(x) if self.merged else self.a(x) + x @ self.down.t() @ self.up.t()
        return self.b(hidden.relu())


class Epochs(Base):
    """Counts its epochs in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("epoch", torch.zeros(()))

    def train(self, mode: bool = True) -> Epochs:
        super().train(mode)
        self.epoch += mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / (1 + self.epoch)


class Cached(Base):
    """Computes its weights once for evaluation."""

    def train(self, mode: bool = True) -> Cached:
        super().train(mode)
        self.ready = None if mode else self.a.weight.detach().tanh()
        return self

    def forward(self, x: Tensor) -> Tensor:
        weight = self.a.weight.tanh() if self.training else self.ready
        return self.b(F.linear(x.flatten(1), weight, self.a.bias).relu())


class Resets(Base):
    """Has statistics of the present epoch, which are zero at the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(16))

    def train(self, mode: bool = True) -> Resets:
        super().train(mode)
        if mode:
            self.mean.zero_()
        return self

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.a(x.flatten(1))
        if self.training:
            self.mean.mul_(0.5).add_(hidden.detach().mean(0))
        return self.b((hidden - self.mean).relu())


class NormStaysFixed(Base):
    """Has a mode of its own that changes nothing but modes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(16)

    def train(self, mode: bool = True) -> NormStaysFixed:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.norm(self.a(x.flatten(1))).relu())


BACKBONE = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64)).requires_grad_(False).eval()


class OnBackbone(Base):
    """Shares a frozen backbone with all networks, and keeps it in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = BACKBONE

    def train(self, mode: bool = True) -> OnBackbone:
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.backbone(x.flatten(1)))


class Hidden(Base):
    """Uses its first weight by another way than its name."""

    def __init__(self, hide: Callable[[Tensor], Any], find: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.hidden, self.find = hide(self.a.weight), find

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.linear(x.flatten(1), self.find(self.hidden)).relu() + self.a(x.flatten(1)))


class Padded(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1) if kind == "encoder" else layer
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, 8, 8)
        hidden = self.encoder(x, src_key_padding_mask=torch.arange(8, device=x.device).expand(len(x), 8) > 5)
        return self.head(hidden.mean(1))


class Ramp:
    """A loss with a state, which is no module."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return F.cross_entropy(outputs, targets) * min(1, self.calls / 20)


class RampModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ramp = Ramp()

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.ramp(outputs, targets)


class Half(Base):
    def __init__(self) -> None:
        super().__init__()
        self.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(torch.bfloat16)).float()


class Shared(Base):
    """Has a trained module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.ModuleDict({"b": self.b})

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.again["b"](self.a(x.flatten(1)))


class Scales(nn.Module):
    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)


class TwoBuffers(Base):
    """Has a buffer under two names, and replaces it in one place."""

    def __init__(self) -> None:
        super().__init__()
        scale = torch.ones(())
        self.one, self.other = Scales(scale), Scales(scale)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.other.scale = self.other.scale * 0.9
        return super().forward(x) * self.one.scale + self.other.scale * x[:, :1].flatten(1).sum(1, keepdim=True)


class CountsInMeasuring(Base):
    """Counts in a collection how often it is measured."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.seen: Any = {"dict": {"calls": 0}, "list": [0], "count": count()}[kind]

    def forward(self, x: Tensor) -> Tensor:
        calls = 0
        if not self.training:
            if isinstance(self.seen, count):
                calls = next(self.seen)
            else:
                key: Any = "calls" if isinstance(self.seen, dict) else 0
                self.seen[key] += 1
                calls = self.seen[key]
        return super().forward(x) + 0.1 * calls * x[:, :1].flatten(1).sum(1, keepdim=True)


class Teacher(Base):
    """Drops out in a part without gradients."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            taught = F.dropout(x.flatten(1).sin(), 0.3, self.training)
        return super().forward(x + taught.view_as(x))


class Caches(Base):
    """Computes a table of positions once, and keeps it in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if 16 not in self.tables:
            self.tables[16] = torch.linspace(0, 1, 16).sin()
        return self.b(self.a(x.flatten(1)).relu() + self.tables[16])


CALLS = "the network counts its calls when it is measured"
OTHERWISE = "otherwise than by its name"
MODE = "changes or makes tensors when it is set to training or measuring"
ADAM = {"recipe": {"optimizer": "adam"}}
ALONE: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a norm that the last batch goes without": (
        Guarded,
        {"recipe": {"batch_size": 21}},
        "in the last step of an epoch",
    ),
    "a body that is detached later": (FreezesLater, {}, "no gradient in some steps, of a network that counts them"),
    "an adapter merged in evaluation": (LoRA, {}, MODE),
    "epochs counted in a buffer": (Epochs, {}, MODE),
    "weights prepared for evaluation": (Cached, {}, MODE),
    "statistics of an epoch": (Resets, {}, MODE),
    "a weight in a deque": (partial(Hidden, lambda w: deque([w]), lambda held: held[0]), {}, OTHERWISE),
    "a bound method": (partial(Hidden, lambda w: w.abs, lambda held: held()), {}, OTHERWISE),
    "a buffer replaced in one of two places": (
        TwoBuffers,
        {},
        "replaces its buffer one.scale in one of several places",
    ),
    "calls counted in a dict": (partial(CountsInMeasuring, "dict"), {}, CALLS),
    "calls counted in a list": (partial(CountsInMeasuring, "list"), {}, CALLS),
    "calls counted by an iterator": (partial(CountsInMeasuring, "count"), {}, CALLS),
    "parameters in bf16": (Half, ADAM, "not all of type float32, or all of type float64"),
    "padding in an encoder": (partial(Padded, "encoder"), {}, "has a padding mask, where torch computes zeros"),
    "padding in a layer of one": (partial(Padded, "layer"), {}, "has a padding mask"),
    "a loss that is an object": (Base, {"loss": Ramp()}, "the loss keeps something"),
    "a partial of a module": (Base, {"loss": partial(RampModule())}, "the loss keeps something"),
}


@pytest.mark.parametrize("name", ALONE)
def test_is_trained_alone_and_says_why(name: str) -> None:
    model, settings, reason = ALONE[name]
    got, told = both(model, **settings)
    assert stacks(got) == [None, None]
    assert len(told) == 1
    assert reason in told[0]


@pytest.mark.parametrize("model", [Counts, NormStaysFixed, Shared, Caches, Teacher])
def test_what_does_no_harm_is_stacked(model: Any) -> None:
    got, told = both(model)
    assert (stacks(got), told) == ([2, 2], [])


def test_a_frozen_backbone_that_networks_share_stays_as_it_is() -> None:
    before = [one.clone() for one in BACKBONE.state_dict().values()]
    got, told = both(OnBackbone)
    assert (stacks(got), told) == ([2, 2], [])
    assert all(map(torch.equal, before, BACKBONE.state_dict().values()))


def test_what_a_mode_did_to_frozen_weights_is_taken_back() -> None:
    """They may be shared; adding and subtracting leaves their rounding."""
    network = LoRA()
    before = network.a.weight.clone()
    with pytest.raises(NotStackable, match=MODE):
        Unchanged(network, {}, F.cross_entropy).check(training=False)
    assert torch.allclose(network.a.weight, before, atol=1e-5)


class Activated(Base):
    """Its activation is one of those that it has."""

    def __init__(self, name: str = "relu") -> None:
        super().__init__()
        self.all = nn.ModuleDict({"relu": nn.ReLU(), "tanh": nn.Tanh()})
        self.activation = self.all[name]

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.activation(self.a(x.flatten(1))))


class Tied(nn.Module):
    """Its third weight is its first or its second."""

    def __init__(self, to: str = "first") -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(64, 64, bias=False) for _ in range(3))
        self.third.weight = getattr(self, to).weight
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.third(self.second(self.first(x.flatten(1)).tanh()).tanh()))


class Scaled(dict[str, int]):
    factor = 1.0


class Configured(Base):
    def __init__(self, kind: str = "function", factor: float = 1.0) -> None:
        super().__init__()
        self.given: Any = Scaled() if kind == "dict" else lambda x: x
        self.given.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.given.factor


@pytest.mark.parametrize(
    ("model", "one", "other"),
    [
        (Activated, {"name": "relu"}, {"name": "tanh"}),
        (Tied, {"to": "first"}, {"to": "second"}),
        (partial(Configured, "dict"), {"factor": 1.0}, {"factor": 3.0}),
        (partial(Configured, "function"), {"factor": 1.0}, {"factor": 3.0}),
    ],
)
def test_members_that_differ_in_it_are_in_stacks_of_their_own(model: Any, one: Any, other: Any) -> None:
    got, told = both(model, [{**one, "lr": 0.1}, other, one])
    assert (stacks(got), told) == ([2, 1, 2], [])
    assert got[1].values != got[2].values


class Follows(Base):
    """Has a frozen weight that follows a trained one."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = nn.Linear(64, 16).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.slow.weight.mul_(0.5).add_(0.5 * self.a.weight.detach())
        return super().forward(x) + self.b(self.slow(x.flatten(1)))


def test_what_is_not_trained_is_not_averaged() -> None:
    got, told = both(Follows, [{"ema": 0.9, "lr": 0.1}, {"ema": 0.5, "lr": 0.2}])
    assert (stacks(got), told) == ([2, 2], [])


def test_a_parameter_that_thaws_between_parts_begins_its_average_then() -> None:
    def optimizer(network: nn.Module, lr: float = 0.1, frozen: bool = False) -> torch.optim.Optimizer:
        network.get_submodule("a").requires_grad_(not frozen)
        return torch.optim.SGD([one for one in network.parameters() if one.requires_grad], lr=lr)

    task = replace(small_task(Base, digits(64, 50), batch_size=16, ema=0.9), optimizer=optimizer)
    ended = []
    for kind in (ReferenceTrainer, PopulationTrainer):
        trainer = kind(task, epochs=2, device="cpu", checkpoints=MemoryCheckpoints())
        first = trainer.evaluate(Request(0, {"frozen": True}, 3, epochs=1, keep=True))
        ended.append(trainer.evaluate(Request(1, {"frozen": False}, 3, epochs=2, start_from=first.checkpoint)))
    assert_same_curves(ended[1:], ended[:1], rel=1e-5)


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(17, 8, padding_idx=0), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding((x.flatten(1) * 16).long().clamp(0, 16)).mean(1))


def test_the_padding_of_an_embedding_stays_zero_with_losses_of_their_own() -> None:
    params = [{"label_smoothing": 0.0}, {"label_smoothing": 0.1}, {"label_smoothing": 0.2}]
    got, told = both(Embedded, params, seeds=[1, 2, 3])
    assert (stacks(got), told) == ([3, 3, 3], [])


def test_a_metric_may_change_outputs_and_targets_in_place() -> None:
    """The next metric, the next network and the next epoch get what they would have got without."""

    def spoiling(outputs: Tensor, targets: Tensor) -> float:
        targets.zero_()
        return float(outputs.zero_().sum())

    def error(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) != targets).float().mean()

    data = digits(64, 50)
    before = data.validation.targets.clone()
    plain, _ = both(Base, metrics={"error": error})
    got, told = both(Base, metrics={"spoiling": spoiling, "error": error})
    assert (stacks(got), told) == ([2, 2], [])
    assert [one.metrics["error"] for one in got] == [one.metrics["error"] for one in plain]
    assert torch.equal(data.validation.targets, before)


def test_a_loss_of_ones_own_kind_begins_anew_in_each_training() -> None:
    for loss in (Ramp(), partial(RampModule())):
        task = replace(small_task(Base, digits(64, 50), batch_size=16), loss=loss)
        evaluate = ReferenceTrainer(task, epochs=2, device="cpu")
        assert evaluate({}, 3).value == evaluate({}, 3).value


class KeepsItsLast(nn.Module):
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.last = F.cross_entropy(outputs, targets)
        return self.last


def test_a_loss_may_keep_its_last_value() -> None:
    """With its graph, which cannot be copied."""
    task = Task("digits", Base, digits(64, 50), loss=KeepsItsLast())
    task.check({})
    assert ReferenceTrainer(task, device="cpu")({}).status == "ok"


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_decays_may_be_given_as_whole_numbers(optimizer: str) -> None:
    got, told = both(Base, [{"beta1": 0, "lr": 0.01}, {"beta1": 0, "lr": 0.02}], recipe={"optimizer": optimizer})
    assert (stacks(got), told) == ([2, 2], [])


class Rows(torch.optim.Optimizer):
    """Looks at each gradient as a matrix with a row for each output."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for one in group["params"]:
                rows = one.grad.view(one.grad.size(0), -1)
                one.add_((rows / (1 + rows.norm(dim=1, keepdim=True))).view_as(one), alpha=-group["lr"])


def test_an_optimiser_of_ones_own_sees_weights_in_their_usual_layout() -> None:
    def convolutional() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 10))

    def made(network: nn.Module, lr: float = 0.05) -> Rows:
        return Rows(network.parameters(), lr)

    task = replace(small_task(convolutional, digits(64, 50), batch_size=16), optimizer=made)
    reference = ReferenceTrainer(task, epochs=2, device="cpu")
    together = dict(PopulationTrainer(task, epochs=2, device="cpu").evaluate_batch(requests_of([{"lr": 0.02}])))
    assert together[0].value == pytest.approx(reference.evaluate(requests_of([{"lr": 0.02}])[0]).value, rel=1e-4)


def test_a_gradient_has_vanished_if_that_of_a_whole_parameter_is_zero_for_a_member() -> None:
    shapes = [("weight", torch.Size([2, 1])), ("bias", torch.Size([1]))]
    assert not vanished(torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0]]), shapes)
    assert vanished(torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]]), shapes)
