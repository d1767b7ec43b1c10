"""Networks, losses and metrics that once had other results in a stack than alone; now they are the same."""

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import digits, small_task
from test_population import assert_same_curves, requests_of
from torch import nn

from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.training.checkpoints import FolderCheckpoints
from deap_hpo.training.hardware import use_channels_last
from deap_hpo.training.measures import accuracy
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.state import unpack

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
    """Train as a population and one by one, two epochs; the results must agree. Return the former, and the warnings."""
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
    return got, [str(one.message) for one in warned if issubclass(one.category, DeapHPOWarning)]


def stacks(evaluations: Sequence[Evaluation]) -> list[int | None]:
    return [one.environment.get("stack") for one in evaluations]


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class Dropping(nn.Module):
    """Two dropouts, with their own rates."""

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
    both(model, rates[:3], validation=300, evaluation_batch_size=100)  # then both measure in such batches


def macro_f1(outputs: torch.Tensor, targets: torch.Tensor) -> np.floating[Any]:
    """The unweighted mean over classes of F1, as scikit-learn gives it: it is not a mean over batches."""
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
    task = replace(task, evaluation_batch_size=7)
    trainer = ReferenceTrainer(task, epochs=2, device="cpu")
    model, one = trainer.train({}, 3)
    with torch.no_grad():
        expected = macro_f1(model(task.data.prepare(task.data.validation.inputs)), task.data.validation.targets)
    assert one.metrics["f1"] == pytest.approx(float(expected))
    assert list(one.curve[-1].metrics) == list(metrics)


def test_a_metric_that_gives_several_numbers_is_named() -> None:
    task = replace(small_task(linear, digits(64, 50)), metrics={"rows": lambda outputs, targets: outputs.sum(1)})
    trainer = ReferenceTrainer(task, device="cpu")
    with pytest.raises(InputError, match=r"The metric 'rows' must give a single number; got a Tensor of shape \[2\]"):
        trainer({})
    with pytest.raises(InputError, match=r"The metric 'rows' must give a single number; got a Tensor of shape \[50\]"):
        trainer.evaluate(Request(0, {}, 0))


def test_a_check_gives_metrics_outputs_without_gradients_as_a_training_does() -> None:
    """The loss, which is tried before, gets outputs with gradients."""
    metrics = {"with_gradients": lambda outputs, _: float(outputs.requires_grad)}
    said = []
    task = replace(
        small_task(linear, digits(64, 50)), metrics={"said": lambda *given: said.append(macro_f1(*given)) or 0.0}
    )
    task.check({})
    assert len(said) == 1
    assert ReferenceTrainer(replace(task, metrics=metrics), device="cpu")({}).metrics["with_gradients"] == 0.0


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


class RunningMean(nn.Module):
    """Assigns a new tensor to a buffer in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(64, 16), nn.Linear(16, 10)
        self.register_buffer("mean", torch.zeros(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x.flatten(1))
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.head(x - self.mean)


class Reading(nn.Module):
    """Reads the rate of its dropout while it is measured."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(64, 10), nn.Dropout(rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.linear(self.drop(x) if self.training else self.drop(x) * (1 - self.drop.p))


class MonteCarlo(Reading):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(F.dropout(x.flatten(1), self.drop.p, training=True))


class Annealed(Reading):
    def train(self, mode: bool = True) -> nn.Module:
        self.drop.p *= 0.5 if mode else 1
        return super().train(mode)


def made(change: Callable[[nn.Module], object]) -> Callable[[], nn.Module]:
    """Return a factory of linear networks, each changed by `change`."""

    def factory() -> nn.Module:
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        change(model)
        return model

    return factory


def shrink(parameter: nn.Parameter) -> None:
    parameter.grad.mul_(0.1)


class Listed(nn.Module):
    def __init__(self, hide: Callable[[nn.Parameter], Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(10, 64) / 8)
        self.kept = hide(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.kept[0] if isinstance(self.kept, list) else self.kept
        return F.linear(x.flatten(1), weight) if isinstance(weight, nn.Parameter) else self.kept(x.flatten(1))


class TiedByMemory(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(64, 10, bias=False), nn.Linear(10, 64, bias=False)
        self.decode.weight = nn.Parameter(self.encode.weight.t())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encode(self.decode(self.encode(x.flatten(1)).tanh()))


class Thawing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head, self.epochs = nn.Linear(64, 16).requires_grad_(False), nn.Linear(16, 10), 0

    def train(self, mode: bool = True) -> nn.Module:
        self.epochs += mode
        self.first.requires_grad_(self.epochs > 1)
        return super().train(mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.first(x.flatten(1)).relu())


class InTurns(nn.Module):
    """Trains one of two heads in a step."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.calls = nn.ModuleList(nn.Linear(64, 10) for _ in range(2)), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        return self.heads[self.calls % 2](x.flatten(1))


class Drawing(nn.Module):
    """Draws from Python's generator, or numpy's, while it is trained."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw, self.linear = draw, nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1)) * (self.draw() if self.training else 1)


class Counting(nn.Module):
    """Counts the batches that it is measured on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls = nn.Linear(64, 10), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += not self.training
        return self.linear(x.flatten(1)) / (1 + self.calls)


class Ramp(nn.CrossEntropyLoss):
    calls = 0

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(output, target) * min(1, self.calls / 10)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(output, target)
        self.mean = 0.9 * self.mean + 0.1 * loss.detach()
        return loss / self.mean


def bootstrap(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    chosen = torch.randint(len(target), (len(target),))
    return accuracy(output[chosen], target[chosen])


class Doing(nn.Module):
    """Does something with a layer and inputs [N, 64]; a linear layer of 10 inputs takes the result."""

    def __init__(self, layer: Callable[[], nn.Module], do: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.do, self.head = layer(), do, nn.Linear(10, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.do(self.layer, x.flatten(1)))


def doing(layer: Callable[[], nn.Module], do: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> Any:
    return partial(Doing, layer, do), {"params": RATES[:1] + ({"lr": 0.02},)}, "as a stack they raised"


def brightest(x: torch.Tensor) -> torch.Tensor:
    return x.argmax(1)


def rescaled(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    layer.weight.data.mul_(0.9)
    return layer(x)


TWO_RATES = ({"rate": 0.2}, {"rate": 0.6})
STACKED: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "a buffer assigned anew": (RunningMean, {}),
    "a dropout rate that is read in measuring": (Reading, {"params": TWO_RATES}),
    "one rate that the network changes": (Annealed, {}),
}
ALONE: dict[str, tuple[Callable[..., nn.Module], dict[str, Any], str]] = {
    "a list of parameters": (partial(Listed, lambda w: [w]), {}, "attribute 'kept' of the network holds a parameter"),
    "a partial of one": (partial(Listed, lambda w: partial(F.linear, weight=w)), {}, "attribute 'kept'"),
    "a closure over one": (partial(Listed, lambda w: lambda x: x @ w.t()), {}, "attribute 'kept'"),
    "a hook on a gradient": (made(lambda m: m[1].weight.register_hook(lambda g: g * 0.1)), {}, "hook on 1.weight"),
    "a hook after it": (
        made(lambda m: m[1].weight.register_post_accumulate_grad_hook(shrink)),
        {},
        "hook on 1.weight",
    ),
    "a backward hook": (
        made(lambda m: m[1].register_full_backward_hook(lambda _, given, __: None)),
        {},
        "as a stack they raised",
    ),
    "memory that is shared": (TiedByMemory, {}, "encode.weight and decode.weight share memory"),
    "a buffer that views a weight": (
        made(lambda m: m[1].register_buffer("view", m[1].weight.data)),
        {},
        "1.weight and 1.view share memory",
    ),
    "weights that thaw": (Thawing, {}, "changes which of its parameters are trained"),
    "heads in turns": (InTurns, {}, "heads.0.weight has no gradient"),
    "heads in turns, Adam": (InTurns, {"recipe": {"optimizer": "adam"}}, "heads.0.weight has no gradient"),
    "dropout in measuring": (MonteCarlo, {"params": TWO_RATES}, "as a stack they raised"),
    "rates that the network changes": (Annealed, {"params": TWO_RATES}, "sets dropout rates itself"),
    "draws of Python": (partial(Drawing, random.random), {}, "draws random numbers"),
    "draws of numpy": (partial(Drawing, np.random.rand), {}, "draws random numbers"),
    "a metric that draws": (linear, {"metrics": {"bootstrap": bootstrap}}, "draws random numbers"),
    "calls that are counted in measuring": (Counting, {}, "counts its calls when it is measured"),
    "max_norm": doing(lambda: nn.Embedding(64, 10, max_norm=1.0), lambda layer, x: layer(brightest(x))),
    "sparse gradients": doing(lambda: nn.Embedding(64, 10, sparse=True), lambda layer, x: layer(brightest(x))),
    "boolean indexing": doing(lambda: nn.Linear(64, 10), lambda layer, x: layer(x)[layer(x) > -9].view(-1, 10)),
    "one_hot": doing(
        lambda: nn.Linear(10, 10), lambda layer, x: layer(F.one_hot(layer(x[:, :10]).argmax(1)).sum() + x[:, :10])
    ),
    "weight.data": doing(lambda: nn.Linear(64, 10), rescaled),
    "gaussian_nll_loss": (
        linear,
        {"loss": lambda output, target: F.gaussian_nll_loss(output[:, 0], target / 9, 1 + output[:, 1] ** 2)},
        "as a stack they raised",
    ),
    "a loss that counts": (linear, {"loss": Ramp()}, "the loss keeps something"),
    "a loss with a buffer": (linear, {"loss": Scaled()}, "the loss keeps something"),
}


@pytest.mark.parametrize("name", STACKED)
def test_is_stacked(name: str) -> None:
    model, settings = STACKED[name]
    got, told = both(model, **settings)
    assert (stacks(got), told) == ([2, 2], [])


@pytest.mark.parametrize("name", ALONE)
def test_is_trained_alone_and_says_why(name: str) -> None:
    model, settings, reason = ALONE[name]
    digits(64, 50)  # the first call imports modules that draw from Python's generator
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
    got, told = both(model, **settings)
    assert stacks(got) == [None, None]
    assert len(told) == 1
    assert "one at a time: " in told[0]
    assert reason in told[0]
    assert states == (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())


class Hooked(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.linear.register_forward_hook(lambda module, inputs, output: output * scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1))


def test_what_hooks_do_counts_as_structure() -> None:
    got, told = both(Hooked, [{"scale": 1.0, "lr": 0.1}, {"scale": 0.3}, {"scale": 1.0}])
    assert (stacks(got), told) == ([2, 1, 2], [])


class Teacher(nn.Module):
    """Has a network in a list, so that it is not trained, drawn for each seed."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = [nn.Linear(64, 16)], nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden[0](x.flatten(1)).relu())


class Closed(nn.Module):
    """Has a matrix in a closure."""

    def __init__(self) -> None:
        super().__init__()
        matrix = torch.randn(64, 16) / 8
        self.project, self.head = lambda x: x @ matrix, nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.project(x.flatten(1)).relu())


class Holder:
    def __init__(self) -> None:
        self.matrix = torch.randn(64, 16) / 8


class Unknown(nn.Module):
    """Has a matrix in an object of unknown kind."""

    def __init__(self) -> None:
        super().__init__()
        self.holder, self.head = Holder(), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x.flatten(1) @ self.holder.matrix).relu())


class Permuted(nn.Module):
    """Draws with numpy when it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.register_buffer("order", torch.from_numpy(np.random.permutation(64)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1)[:, self.order].cumsum(1) / 8)


@pytest.mark.parametrize(("model", "alike"), [(Teacher, 2), (Closed, 2), (Unknown, 2), (Permuted, 3)])
def test_what_is_drawn_beside_parameters_is_each_seeds_own(model: Callable[[], nn.Module], alike: int) -> None:
    got, told = both(model, RATES[:1] * 2 + RATES[1:], seeds=[1, 2, 1])
    assert (stacks(got), told) == ([alike, 1 if alike == 2 else 3, alike], [])


class Adjacent(nn.Module):
    """Has a sparse matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.adjacency, self.linear = torch.eye(64).to_sparse(), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.sparse.mm(self.adjacency, x.flatten(1).t()).t())


def test_a_sparse_matrix_is_no_obstacle() -> None:
    got, told = both(Adjacent)
    assert (stacks(got), told) == ([2, 2], [])


@pytest.mark.parametrize("loss", [Ramp, Scaled])
def test_what_a_loss_keeps_is_each_trainings_own(loss: Callable[[], nn.Module]) -> None:
    task = replace(small_task(linear, digits(64, 50), batch_size=16), loss=loss())
    trainer = ReferenceTrainer(task, device="cpu")
    first, second = trainer({}, 3), trainer({}, 3)
    assert first.value == second.value


class Wrong(nn.Module):
    def __init__(self, width: int = 7) -> None:
        super().__init__()
        self.linear, self.width = nn.Linear(width, 10), width

    def forward(self, x: torch.Tensor) -> Any:
        return {"logits": self.linear(x.flatten(1))}


@pytest.mark.parametrize(
    ("width", "reason"),
    [(7, "mat1 and mat2 shapes"), (64, "must be Tensor, not dict")],
)
def test_a_network_that_does_not_work_is_not_blamed_on_the_stack(width: int, reason: str) -> None:
    task = small_task(partial(Wrong, width), digits(64, 50), batch_size=16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = dict(PopulationTrainer(task, device="cpu").evaluate_batch(requests_of(RATES)))
    assert [reason in got[i].reason for i in range(2)] == [True, True]


class FirstBatch(nn.Module):
    """Shifts activations by the mean of the first batch that it sees."""

    def __init__(self, on_images: bool = False) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten()) if on_images else linear()
        self.head, self.mean = nn.Linear(4 if on_images else 10, 10), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        if self.mean is None:
            self.mean = x.detach().mean(0)
        return self.head(x - self.mean)


class CallsInABuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(1, 4, 3), nn.Linear(144, 10)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.head(self.convolution(x).flatten(1)) / (1 + self.calls).sqrt()


class Strided(nn.Module):
    """Reads the columns of an image by its strides; other strides than torch's own would scramble them."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.linear = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(192, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.wide(x)
        return self.linear(x.as_strided((len(x), 192), (192, 1)))


@pytest.mark.parametrize("model", [FirstBatch, partial(FirstBatch, True), CallsInABuffer])
def test_a_network_trains_as_if_it_had_not_been_tried_before(model: Callable[[], nn.Module]) -> None:
    both(model)


def test_a_tensor_kept_from_training_is_refused_where_members_are_measured_in_parts() -> None:
    got, told = both(FirstBatch, evaluation_batch_size=25)
    assert stacks(got) == [None, None]
    assert "keeps a tensor from an earlier call" in told[0]


def test_channels_come_last_only_where_the_output_stays_what_it_was() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    plain, strided = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Flatten()), Strided()
    assert not use_channels_last(plain, images, "fp32")[0].weight.is_contiguous()
    assert use_channels_last(strided, images, "fp32").wide.weight.is_contiguous()
    assert use_channels_last(strided.train(), images, "fp32").training, "its mode is left to the training"


class Late(nn.Module):
    """Uses a part of itself from its fifth step on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.more = nn.Linear(64, 10), nn.Linear(64, 10)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        x = x.flatten(1)
        return self.linear(x) + (self.more(x) if self.calls > 4 else 0)


@pytest.mark.parametrize("kind", [ReferenceTrainer, PopulationTrainer])
@pytest.mark.filterwarnings("ignore:networks of the task")
def test_adams_steps_of_each_parameter_go_on(kind: Callable[..., Any], tmp_path: Path) -> None:
    task = small_task(Late, digits(64, 50), batch_size=16, optimizer="adam")
    trainer = kind(task, epochs=4, device="cpu", checkpoints=FolderCheckpoints(tmp_path))
    first = trainer.evaluate(Request(0, {}, 3, epochs=2, keep=True))
    (state,) = unpack(trainer.checkpoints.load(first.checkpoint))
    assert (state.moments.updates, state.moments.counts) == (8, {"more.weight": 4, "more.bias": 4})
    second = trainer.evaluate(Request(1, {}, 3, epochs=4, start_from=first.checkpoint))
    assert second.value == trainer.evaluate(Request(2, {}, 3, epochs=4)).value


def test_a_stack_refuses_parameters_of_different_steps_and_takes_a_checkpoint_without_them() -> None:
    trainer = PopulationTrainer(small_task(linear, digits(64, 50), optimizer="adam"), epochs=2, device="cpu")
    first = trainer.evaluate(Request(0, {}, 3, epochs=1, keep=True))
    tensors = trainer.checkpoints.load(first.checkpoint)
    assert not any("updates" in name for name in tensors), "as checkpoints were before"
    assert trainer.evaluate(Request(1, {}, 3, start_from=first.checkpoint)).environment["stack"] == 1
    uneven = trainer.checkpoints.save({**tensors, "0/updates/1.bias": torch.tensor(0)})
    with pytest.warns(DeapHPOWarning, match="some parameters have had fewer steps than others"):
        got = dict(trainer.evaluate_batch([Request(2, {}, 3, start_from=uneven)]))
    assert got[0].status == "ok"


def buffered(tensor: torch.Tensor) -> Callable[[], nn.Module]:
    return made(lambda model: model.register_buffer("more", tensor))


def test_buffers_of_unusual_types_are_kept_or_fail_alone(tmp_path: Path) -> None:
    wide = torch.full((2,), 1 + 2j, dtype=torch.complex128)
    trainer = PopulationTrainer(
        small_task(buffered(wide.conj()), digits(64, 50)), device="cpu", checkpoints=FolderCheckpoints(tmp_path)
    )
    one = trainer.evaluate(Request(0, {}, 3, keep=True))
    (state,) = unpack(trainer.checkpoints.load(one.checkpoint))
    assert torch.equal(state.weights["more"], wide.conj())
    half = small_task(buffered(torch.ones(2, dtype=torch.complex32)), digits(64, 50))
    trainer = PopulationTrainer(half, device="cpu", checkpoints=FolderCheckpoints(tmp_path))
    got = dict(trainer.evaluate_batch([Request(0, {}, 3, keep=True), Request(1, {}, 3)]))
    assert [got[i].status for i in range(2)] == ["failed", "ok"]
    assert "A checkpoint holds dense tensors of the usual types; more is" in got[0].reason
