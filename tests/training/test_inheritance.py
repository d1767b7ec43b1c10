"""Which genes stay with the weights, for networks of several kinds and conditional spaces."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from deap_hpo.errors import InputError
from deap_hpo.optimization import optimize
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.training.inheritance import architecture_genes
from deap_hpo.training.models import MLP
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import make_trainer

LR = Float(0.01, 1.0)


def of_kinds(kind: str = "plain", width: int = 32, slope: float = 0.1) -> nn.Module:
    """The conditions of the spaces below decide which kinds use the width and the slope; others have the defaults."""
    torch.rand(3), random.random()
    if kind == "broken":
        raise ValueError("not built yet")
    return nn.Sequential(nn.Linear(64, width), nn.LeakyReLU(slope), nn.Linear(width, 10))


def with_buffer(size: int = 3, bias: bool = True) -> nn.Module:
    network = nn.Linear(64, 10, bias=bias)
    network.register_buffer("seen", torch.zeros(size))
    return network


def hidden(wide: bool = False, width: int = 8) -> nn.Module:
    return nn.Linear(64, width if wide else 10)


class Attention(nn.Module):
    def __init__(self, heads: int = 2, drop: float = 0.1, norm_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, heads, 16, drop, norm_first=norm_first, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Convolution(nn.Module):
    """Only `drop_rate` and `layer_p` are dropout rates; what `gain` does shows in no attribute."""

    def __init__(
        self, dilation: int = 1, activation: str = "relu", drop_rate: float = 0.0, layer_p: float = 0.1, gain: float = 1
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 4, 3, dilation=dilation)
        nn.init.normal_(self.convolution.weight, std=gain)
        self.activation = nn.ReLU() if activation == "relu" else nn.GELU()
        self.of_unknown_kind = object()
        self.drop_rate = drop_rate
        self.dropout = nn.Dropout(drop_rate) if drop_rate else nn.Identity()
        self.channels = nn.Dropout1d(layer_p)


def recurrent(dropout: float = 0.0, nonlinearity: str = "tanh") -> nn.Module:
    return nn.RNN(8, 4, 2, dropout=dropout, nonlinearity=nonlinearity)


class Configured(nn.Module):
    """Keeps its dropout rate where no module shows it."""

    def __init__(self, dropout: float = 0.1, dropped: int = 0) -> None:
        super().__init__()
        self.config = {"dropout": dropout}
        self.layer = nn.Linear(64 - dropped, 10)


KINDS = {"kind": Categorical(["plain", "leaky", "broken", "wide"])}


@pytest.mark.parametrize(
    ("model", "space", "expected"),
    [
        (MLP, Space({"lr": LR, "momentum": LR, "batch_size": Int(8, 64)}), []),
        (MLP, Space({"lr": LR, "dropout": LR}), []),
        (MLP, Space({"label_smoothing": LR, "width": Int(4, 8)}), ["width"]),
        (MLP, Space({"momentum": Float(0.0, 9.0), "width": Int(4, 8)}), ["width"]),
        (MLP, Space({"width": Int(4, 8), "lr": LR, "depth": Int(0, 1)}), ["width", "depth"]),
        (MLP, Space({"width": Int(8, 8), "depth": Categorical([2])}), []),
        (with_buffer, Space({"lr": LR, "size": Int(1, 4), "bias": Categorical([True, False])}), ["size", "bias"]),
        (hidden, Space({"wide": Categorical([True, False]), "width": Int(4, 64)}), ["wide", "width"]),
        (of_kinds, Space({"lr": LR, **KINDS, "slope": LR}, when={"slope": {"kind": "leaky"}}), ["kind", "slope"]),
        (
            # In the middle, the width is that of the default: by itself, the kind seems to change nothing.
            of_kinds,
            Space({"lr": LR, **KINDS, "width": Int(16, 48)}, when={"width": {"kind": "wide"}}),
            ["kind", "width"],
        ),
        (
            of_kinds,
            Space(
                {"optimizer": Categorical(["sgd", "adam"]), **KINDS, "width": Int(16, 48), "slope": LR},
                when={"kind": {"optimizer": "adam"}, "width": {"kind": ["leaky", "wide"]}, "slope": {"kind": "leaky"}},
            ),
            ["optimizer", "kind", "width", "slope"],
        ),
        (
            Attention,
            Space(
                {
                    "heads": Categorical([1, 2, 4]),
                    "drop": Float(0.0, 0.5),
                    "norm_first": Categorical([True, False]),
                    "lr": LR,
                }
            ),
            ["heads", "norm_first"],
        ),
        (
            Convolution,
            Space({"dilation": Int(1, 2), "activation": Categorical(["relu", "gelu"])}),
            ["dilation", "activation"],
        ),
        (Convolution, Space({"drop_rate": Categorical([0, 0.5]), "gain": Float(0.5, 2.0)}), ["gain"]),
        (Convolution, Space({"layer_p": LR, "lr": LR}), []),
        (recurrent, Space({"dropout": Float(0.0, 0.5), "lr": LR}), []),
        (Configured, Space({"dropout": Float(0.0, 0.5), "dropped": Int(0, 3)}), ["dropped"]),
        (
            recurrent,
            Space({"dropout": Float(0.0, 0.5), "nonlinearity": Categorical(["relu", "tanh"])}),
            ["nonlinearity"],
        ),
    ],
)
def test_what_changes_the_network_in_more_than_dropout_and_what_that_depends_on(
    digits_task: Task, model: Any, space: Space, expected: list[str]
) -> None:
    task = replace(digits_task, model=model)
    found = architecture_genes(task, space)
    assert [list(space)[i] for i in found] == expected


def test_what_is_to_vary_does_so_as_long_as_the_weights_fit(digits_task: Task) -> None:
    attention = Space({"heads": Categorical([1, 4]), "norm_first": Categorical([True, False]), "drop": Float(0.0, 0.5)})
    task = replace(digits_task, model=Attention)
    assert architecture_genes(task, attention, ["heads"]) == (1,)
    assert architecture_genes(task, attention, ["heads", "norm_first", "drop"]) == ()
    task = replace(digits_task, model=with_buffer)
    for name, one in (("size", Int(1, 5)), ("bias", Categorical([True, False]))):
        with pytest.raises(InputError, match=f"varied must not have '{name}': with other values, the weights have"):
            architecture_genes(task, Space({name: one}), [name])


class Noisy(nn.Module):
    """Noise as an augmentation, whose strength is an argument of the factory."""

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__()
        self.noise, self.layer = noise, nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.layer(x + self.noise * torch.sin(40 * x) if self.training else x)


@pytest.mark.parametrize("varied", [[], ["noise"]])
def test_population_based_training_varies_the_strength_of_an_augmentation_if_asked(
    digits_task: Task, varied: list[str]
) -> None:
    study = optimize(
        make_trainer(replace(digits_task, model=Noisy), epochs=4, device="cpu"),
        {"lr": Float(1e-3, 1.0, log=True), "noise": Float(0.0, 1.0)},
        algorithm="pbt",
        arguments={"varied": varied},
        population=4,
        generations=4,
        seed=1,
        progress=False,
    )
    came_from = [(entry, study.entries[entry.start_from]) for entry in study.entries if entry.start_from is not None]
    assert any(entry.genes[0] != source.genes[0] for entry, source in came_from)
    assert any(entry.genes[1] != source.genes[1] for entry, source in came_from) == bool(varied)


@pytest.mark.parametrize(
    ("given", "message"), [("noise", "varied must be a list"), (["nois"], "varied: the space has")]
)
def test_names_of_what_is_to_vary_are_checked(digits_task: Task, given: Any, message: str) -> None:
    trainer = make_trainer(replace(digits_task, model=Noisy), device="cpu")
    with pytest.raises(InputError, match=message):
        optimize(trainer, {"noise": Float(0.0, 1.0)}, algorithm="pbt", arguments={"varied": given}, population=4)


def test_torchs_generator_is_left_as_it_was(digits_task: Task) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    architecture_genes(replace(digits_task, model=of_kinds), Space({"width": Int(1, 9)}))
    assert torch.equal(torch.get_rng_state(), before)
