"""Which genes weights depend on, so that both are inherited, for networks of several kinds and conditional spaces."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.training.inheritance import architecture_genes
from deap_hpo.training.models import MLP
from deap_hpo.training.task import Task

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
        (of_kinds, Space({"lr": LR, **KINDS, "slope": LR}, when={"slope": {"kind": "leaky"}}), []),
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
            ["optimizer", "kind", "width"],
        ),
    ],
)
def test_what_changes_the_shapes_of_weights_and_what_that_depends_on(
    digits_task: Task, model: Any, space: Space, expected: list[str]
) -> None:
    task = replace(digits_task, model=model)
    found = architecture_genes(task, space)
    assert [list(space)[i] for i in found] == expected


def test_torchs_generator_is_left_as_it_was(digits_task: Task) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    architecture_genes(replace(digits_task, model=of_kinds), Space({"width": Int(1, 9)}))
    assert torch.equal(torch.get_rng_state(), before)
