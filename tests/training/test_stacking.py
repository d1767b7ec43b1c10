"""Which networks can be stacked: the table of docs/stacking.md, checked."""

import re
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import DataDependent, Noisy, small_task
from test_population import CLIPPED, MEMBERS, assert_same_curves, requests_of
from torch import nn
from torch.nn.utils import parametrizations

from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.stacking.structure import network_structure


class Body(nn.Module):
    """Some layers on images [N, 1, 8, 8], and a linear one on their output."""

    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(self.body.eval()(torch.zeros(2, 1, 8, 8)).flatten(1).shape[1], 10)
        self.train()

    def forward(self, x):
        return F.log_softmax(self.head(self.body(x).flatten(1)), dim=1)


class Rows(nn.Module):
    """A layer on the rows of an image as a sequence [N, 8, 8]."""

    def __init__(self, layer, *arguments):
        super().__init__()
        self.layer, self.arguments = layer, arguments

    def forward(self, x):
        rows = x.squeeze(1)
        output = self.layer(*[rows] * 3) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(rows)
        return output[0] if isinstance(output, tuple) else output


class Attending(nn.Module):
    """Causal attention as small language models write it."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(8, 24)

    def forward(self, rows):
        query, key, value = self.project(rows).unflatten(-1, (2, 12)).transpose(1, 2).chunk(3, -1)
        dropout = 0.2 if self.training else 0.0
        output = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return output.transpose(1, 2).flatten(2)


class Packed(nn.Module):
    """Reads sequences of several lengths."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(8, 8, batch_first=True)

    def forward(self, rows):
        lengths = torch.tensor([8] * len(rows))
        output, _ = self.gru(nn.utils.rnn.pack_padded_sequence(rows, lengths, batch_first=True))
        return nn.utils.rnn.pad_packed_sequence(output, batch_first=True)[0]


class Stepping(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(8, 8)

    def forward(self, rows):
        states, outputs = None, []
        for row in rows.unbind(1):
            states = self.cell(row, states)
            outputs.append(states[0])
        return torch.stack(outputs, 1)


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(64, 32).requires_grad_(False)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return F.log_softmax(self.head(self.frozen(x.flatten(1)).relu()), dim=1)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight

    def forward(self, x):
        return F.log_softmax(self.head(self.second(self.first(x.flatten(1)).relu())), dim=1)


def convolved(*layers):
    return Body(nn.Conv2d(1, 4, 3), *layers)


STACKED = {
    "strided": lambda: Body(nn.Conv2d(1, 4, 3, stride=2)),
    "depthwise": lambda: convolved(nn.Conv2d(4, 4, 3, groups=4)),
    "dilated, same padding": lambda: Body(nn.Conv2d(1, 4, 3, dilation=2, padding="same")),
    "transposed": lambda: Body(nn.ConvTranspose2d(1, 4, 3)),
    "1d": lambda: Body(nn.Flatten(2), nn.Conv1d(1, 4, 5)),
    "batch norm 1d": lambda: Body(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16)),
    "batch norm without statistics": lambda: convolved(nn.BatchNorm2d(4, track_running_stats=False)),
    "other norms": lambda: convolved(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.LayerNorm(6)),
    "pooling": lambda: convolved(nn.AvgPool2d(2), nn.AdaptiveMaxPool2d(2)),
    "upsampling": lambda: convolved(nn.Upsample(scale_factor=2), nn.PixelShuffle(2)),
    "activations": lambda: convolved(nn.PReLU(), nn.SiLU(), nn.ELU(inplace=True), nn.Softmax(-1)),
    "dropouts": lambda: convolved(nn.Dropout(0.2), nn.Dropout2d(0.2)),
    "tied weights": Tied,
    "frozen weights": Frozen,
    "weight norm": lambda: Body(nn.Flatten(), parametrizations.weight_norm(nn.Linear(64, 8))),
    "attention": lambda: Body(Rows(nn.MultiheadAttention(8, 2, batch_first=True))),
    "attention with dropout": lambda: Body(Rows(nn.MultiheadAttention(8, 2, 0.2, batch_first=True))),
    "transformer": lambda: Body(Rows(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True))),
    "attention by function": lambda: Body(Rows(Attending())),
    "lstm": lambda: Body(Rows(nn.LSTM(8, 8, 2, dropout=0.2, batch_first=True))),
    "gru": lambda: Body(Rows(nn.GRU(8, 4, bidirectional=True, batch_first=True))),
    "rnn": lambda: Body(Rows(nn.RNN(8, 8, batch_first=True))),
    "cell": lambda: Body(Rows(Stepping())),
}
ALONE = {
    "branches on a value": (DataDependent, "data-dependent control flow"),
    "own random numbers": (Noisy, "random operation"),
    "alpha dropout": (lambda: convolved(nn.AlphaDropout(0.2)), "random operation"),
    "packed": (lambda: Body(Rows(Packed())), "as a stack they raised RuntimeError"),
    "spectral norm": (lambda: Body(nn.Flatten(), parametrizations.spectral_norm(nn.Linear(64, 8))), "Batching rule"),
    "batch norm without momentum": (lambda: convolved(nn.BatchNorm2d(4, momentum=None)), "item()"),
}


def trained(model):
    task = small_task(model, batch_size=16)
    params = CLIPPED[:3]  # a norm is over all weights that are trained, tied ones once
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        got = dict(PopulationTrainer(task, device="cpu").evaluate_batch(requests_of(params)))
    reference = ReferenceTrainer(task, device="cpu")
    assert_same_curves([got[i] for i in range(3)], [reference(one, 3) for one in params])
    messages = [str(one.message) for one in warned if "one at a time" in str(one.message)]
    return [one.environment.get("stack") for one in got.values()], messages


def documented_augmentation():
    """The layer that docs/how-to/network.md has."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "network.md").read_text()
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Augment" in code]
    names = {"torch": torch, "nn": nn}
    exec(code, names)
    return names["Augment"]()


STACKED["augmentation"] = lambda: Body(documented_augmentation(), nn.Conv2d(1, 4, 3))


def test_the_documented_augmentation_shifts_and_mirrors_in_training_alone():
    augment = documented_augmentation()
    images = torch.zeros(400, 1, 8, 16)
    images[:, :, 3, 4] = 1.0
    assert torch.equal(augment.eval()(images), images)
    torch.manual_seed(0)
    changed = augment.train()(images)
    assert torch.equal(changed.sum((1, 2, 3)), torch.ones(400))
    rows, columns = (changed.sum(axis).argmax(-1).flatten() for axis in (3, 2))
    assert set(rows.tolist()) == {1, 2, 3, 4, 5}
    assert set(columns.tolist()) == {2, 3, 4, 5, 6, 9, 10, 11, 12, 13}
    assert 0.4 < (columns > 8).float().mean() < 0.6


@pytest.mark.parametrize("network", STACKED)
def test_is_stacked(network):
    assert trained(STACKED[network]) == ([3, 3, 3], [])


@pytest.mark.parametrize("network", ALONE)
def test_is_left_to_the_reference(network):
    model, reason = ALONE[network]
    stacks, messages = trained(model)
    assert stacks == [None] * 3
    assert len(messages) == 1
    assert reason in messages[0]


@dataclass
class Settings:
    depth: int


def scaled_by(factor):
    return lambda x: x * factor


def containing_itself(number):
    made = [number]
    made.append(made)
    return made


class Configured(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value
        self.layer = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (1, 1, True),
        (1, 2, False),
        ([1, {"a": "b"}], [1, {"a": "b"}], True),
        ((1, 2), [1, 2], False),
        (torch.ones(3), torch.ones(3), True),
        (torch.ones(3), torch.zeros(3), False),
        (torch.ones((), dtype=torch.bfloat16), torch.ones((), dtype=torch.bfloat16), True),
        (torch.ones(3, dtype=torch.bfloat16), torch.zeros(3, dtype=torch.bfloat16), False),
        (nn.Linear, nn.Linear, True),
        (nn.Linear, nn.Conv2d, False),
        (len, len, True),
        (F.relu, torch.relu, False),
        (F.gelu, F.gelu, True),
        (partial(F.elu, alpha=0.5), partial(F.elu, alpha=0.5), True),
        (partial(F.elu, alpha=0.5), partial(F.elu, alpha=0.6), False),
        (scaled_by(0.5), scaled_by(0.5), True),
        (scaled_by(0.5), scaled_by(0.6), False),
        (scaled_by(torch.ones(1)), scaled_by(torch.zeros(1)), False),
        ([nn.PReLU(init=0.5)], [nn.PReLU(init=0.5)], True),  # in a list, where the network does not see it
        ([nn.PReLU(init=0.5)], [nn.PReLU(init=0.6)], False),
        (np.ones(3), np.ones(3), True),
        (np.ones(3), np.zeros(3), False),
        (F, F, True),  # a module of Python's
        (F, torch, False),
        (Settings(1), Settings(1), True),
        (Settings(1), Settings(2), False),
        (containing_itself(1), containing_itself(1), True),
        (containing_itself(1), containing_itself(2), False),
        (torch.ones(2, dtype=torch.cfloat).conj(), torch.ones(2, dtype=torch.cfloat).conj(), True),
        # These cannot be compared: everything they were made from must be equal, and here it is not.
        (torch.eye(2).to_sparse(), torch.eye(2).to_sparse(), False),
        (torch.empty(2, device="meta"), torch.empty(2, device="meta"), False),
        (torch.nested.nested_tensor([torch.ones(2)]), torch.nested.nested_tensor([torch.ones(2)]), False),
        (object(), object(), False),
    ],
)
def test_plain_attributes_are_compared_by_value(first, second, same):
    one, other = (network_structure(Configured(value), {"argument": i}) for i, value in enumerate([first, second]))
    assert (one == other) == same


def test_objects_of_unknown_kind_need_equal_arguments_and_seeds():
    first, second = (Configured(object()) for _ in range(2))
    assert network_structure(first, {"a": 1}, 3) == network_structure(second, {"a": 1}, 3)
    assert network_structure(first, {"a": 1}, 3) != network_structure(second, {"a": 2}, 3)
    assert network_structure(first, {"a": 1}, 3) != network_structure(second, {"a": 1}, 4)


class Projected(nn.Module):
    """Draws a plain tensor, neither parameter nor buffer, which differs between seeds."""

    def __init__(self):
        super().__init__()
        self.projection = torch.randn(64, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return F.log_softmax(self.head(x.flatten(1) @ self.projection), dim=1)


def test_plain_tensors_that_depend_on_the_seed_are_not_mixed_up():
    task = small_task(Projected, batch_size=16)
    got = dict(PopulationTrainer(task, device="cpu").evaluate_batch(requests_of(MEMBERS[:3], seeds=[3, 4, 3])))
    reference = ReferenceTrainer(task, device="cpu")
    expected = [reference(params, seed) for params, seed in zip(MEMBERS, [3, 4, 3], strict=False)]
    assert_same_curves([got[i] for i in range(3)], expected)
    assert [got[i].environment["stack"] for i in range(3)] == [2, 1, 2]


class Unusual(nn.Module):
    """All its weights are complex numbers."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 10, dtype=torch.complex64) / 8)

    def forward(self, x):
        return (x.flatten(1).to(torch.complex64) @ self.weight).abs()


def test_complex_weights_are_trained_as_torch_does_it():
    task = small_task(Unusual, batch_size=16, optimizer="adam", lr=0.01)
    with pytest.warns(RuntimeWarning, match="one at a time"):
        got = PopulationTrainer(task, epochs=2, device="cpu")({})
    assert got.value == ReferenceTrainer(task, epochs=2, device="cpu")({}).value
