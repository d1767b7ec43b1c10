"""Inputs that normalisation or rounding would spoil are told of, with a remedy; ordinary ones are not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.training.arrays import read_data
from deap_hpo.training.input_advice import warn_of_rounding

rng = np.random.default_rng(0)
CLASSES = np.arange(200) % 2
TIMES = 1.7e9 + rng.uniform(0, 100, 200)
NUMBERS = rng.normal(size=200)


def told_of(inputs: Any, **settings: Any) -> list[str]:
    """Read data, and give what is told of them."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read_data("data", (inputs, CLASSES), **settings)
    assert {one.category for one in told} <= {DeapHPOWarning}
    return [str(one.message) for one in told]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (np.c_[NUMBERS, TIMES], "data loses feature 1: "),
        (torch.from_numpy(np.c_[NUMBERS, TIMES, 1e5 + NUMBERS / 100]), "data loses feature 1 and 1 more: "),
        (pd.DataFrame({"x": NUMBERS, "seen at": TIMES}), "data loses column 'seen at': "),
        ({"x": NUMBERS[:, None], "t": TIMES}, "data (input 't') loses feature 0: "),
        (np.stack([np.c_[NUMBERS, NUMBERS], np.c_[TIMES, TIMES]], 2), "data loses feature 1 along axis 2: "),
        (np.stack([np.c_[NUMBERS, NUMBERS], np.c_[TIMES, TIMES]], 1), "data loses feature 1 along axis 1: "),
        (-1e5 - NUMBERS / 100, "data loses feature 0: "),
    ],
)
def test_features_that_float32_cannot_hold_are_named(inputs: Any, said: str) -> None:
    (message,) = told_of(inputs, normalize=False)
    assert message.startswith(said)
    assert "subtract an offset" in message


def test_those_of_a_dataset_are_named_once() -> None:
    data = TensorDataset(torch.from_numpy(np.c_[NUMBERS, TIMES]), torch.from_numpy(CLASSES))
    with pytest.warns(DeapHPOWarning, match="^data loses feature 1") as told:
        read_data("data", data, validation=data, test=data)
    assert len(told) == 1
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    "inputs",
    [
        np.c_[NUMBERS, 0.1 + rng.uniform(-1e-17, 1e-17, 200)],  # constant, but for the rounding of float64
        np.c_[TIMES, NUMBERS].astype("float32"),  # nothing to be done about it any more
        np.c_[1.7e9 + rng.uniform(0, 3e7, 200), rng.uniform(1990, 2020, 200).round(), 1e9 * NUMBERS, 0 * NUMBERS],
        np.c_[TIMES - 1.7e9, 1e-9 * NUMBERS],
        rng.normal(100, 30, (200, 3, 8, 8)),
        np.full((200, 2), 7.0),
    ],
)
def test_features_that_it_holds_are_not(inputs: Any) -> None:
    assert told_of(inputs) == []


def test_data_without_spread_or_examples_are_no_trouble() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_data("data", (np.full((3, 1), 1.7e9), [0, 1, 0]), validation=1)
        warn_of_rounding("data", torch.ones(1, 3, dtype=torch.float64))
        with pytest.raises(InputError, match="at least one example; it is empty"):
            read_data("data", (np.zeros((0, 3)), np.zeros(0)))


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e9, 1e30])
@pytest.mark.parametrize("shape", [(200,), (200, 1), (200, 1, 1)])
def test_features_of_any_scale_are_normalised(scale: float, shape: tuple[int, ...]) -> None:
    data = read_data("data", ((scale * (3 + NUMBERS)).reshape(shape), CLASSES))
    prepared: Any = data.prepare(data.training.inputs)
    assert prepared.mean().item() == pytest.approx(0, abs=1e-5)
    assert prepared.std().item() == pytest.approx(1, rel=1e-4)


def test_what_rounding_leaves_beside_other_features_is_not_scaled_up() -> None:
    """The last component of data that have fewer dimensions than features is about 1e-16."""
    table = np.stack([NUMBERS, 1e-16 * NUMBERS[::-1], 1e-9 * NUMBERS], 1)
    data = read_data("data", (table, CLASSES))
    prepared: Any = data.prepare(data.training.inputs)
    assert prepared[:, 1].abs().max() < 1e-14
    assert prepared[:, [0, 2]].std(0).tolist() == pytest.approx([1.0, 1.0], rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 1e-30, 0.1, 1e9])
@pytest.mark.parametrize("shape", [(200,), (200, 1), (200, 1, 1)])
def test_constant_features_become_0(value: float, shape: tuple[int, ...]) -> None:
    data = read_data("data", (np.full(shape, value), CLASSES))
    assert torch.equal(data.prepare(data.training.inputs), torch.zeros(160, *shape[1:]))
    assert data.std == 1.0 if len(shape) == 1 else torch.equal(torch.as_tensor(data.std).flatten(), torch.ones(1))


def sequences(steps: int, scales: Any, offsets: Any = 0.0) -> Any:
    scales = np.asarray(scales)
    return rng.normal(size=(200, steps, len(scales))) * scales + offsets


def padded(values: Any) -> Any:
    lengths = rng.integers(3, values.shape[1] + 1, 200)
    return values * (np.arange(values.shape[1]) < lengths[:, None])[:, :, None]


def positions(count: int) -> Any:
    return np.arange(count) / count


@pytest.mark.parametrize("normalize", [True, ["x"]])
@pytest.mark.parametrize(
    "inputs",
    [
        sequences(20, [1, 500], [0, 1000]),
        sequences(20, [1, 1], [0, 1000]),
        sequences(20, [1, 1], [-1000, 1000]),
        sequences(20, 10.0 ** np.arange(-3, 3)),
        sequences(5, np.exp(rng.normal(size=30) * 2)),
        np.cumsum(sequences(50, [1, 100, 0.1]), 1),
        padded(sequences(30, [1, 100, 1, 5])),
    ],
)
def test_sequences_whose_features_are_normalised_together_are_told_of(inputs: Any, normalize: Any) -> None:
    steps, features = inputs.shape[1:]
    (message,) = told_of({"x": inputs, "y": NUMBERS}, normalize=normalize)
    assert message.startswith(f"input 'x' [N, {steps}, {features}] is normalised along axis 1")
    assert message.endswith('set normalize="last"')
    assert told_of(inputs)[0].startswith(f"inputs [N, {steps}, {features}] are")
    for other in ("last", False, (0.0, 1.0)):
        assert told_of(inputs, normalize=other) == []


ORDINARY = {
    "images": load_digits().images[:200],
    "images with a margin": np.pad(load_digits().images[:200], ((0, 0), (4, 4), (4, 4))),
    "noisy images with a margin": rng.normal(size=(200, 16, 16))
    + 300 * np.pad(rng.random((200, 8, 8)), ((0, 0), (4, 4), (4, 4))),
    "sequences of one feature": sequences(12, [1]),
    "sequences of like features": sequences(20, [1, 3, 6]),
    "signals": sequences(3, np.ones(24)),
    "unlike channels": sequences(3, np.ones(24)) * np.array([1, 1000, 0.1])[:, None],
    "waves": sequences(4, np.ones(1)) * np.sin(10 * positions(32)),
    "an event in the middle": sequences(8, 0.001 + np.exp(-((positions(60) - 0.5) ** 2) * 50)),
    "long signals with a sudden event": sequences(3, np.where(positions(300) > 0.3, 100, 1)),
    "random walks": np.cumsum(sequences(6, np.ones(40)), 2),
    "one channel": sequences(1, np.where(positions(7) > 0.3, 100, 1)),
    "products of features": np.einsum("nti,ntj->nij", *[sequences(20, [1, 100, 1, 5, 0.1])] * 2),
    "one-hot rows": np.eye(5)[rng.integers(0, 5, (200, 20))],
    "nothing but padding": np.zeros((200, 12, 3)),
    "colours": rng.normal(size=(200, 3, 4, 4)) * [1, 100, 1, 1],
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_images_and_signals_are_not(kind: str) -> None:
    assert told_of(ORDINARY[kind]) == []


MASK = rng.random((200, 4)) < 0.5


@pytest.mark.parametrize("normalize", [True, "last"])
@pytest.mark.parametrize("mask", [MASK.astype("float32"), np.ones((200, 4))])
def test_a_mask_of_floats_among_several_inputs_is_told_of(mask: Any, normalize: Any) -> None:
    (message,) = told_of({"x": NUMBERS, "mask": mask, "seen": MASK}, normalize=normalize)
    assert message.startswith("the numbers 0 and 1 of input 'mask' are normalised to others")
    assert message.endswith("if they are a mask, give booleans, or name the inputs to normalise: normalize=['x']")


def test_a_mask_of_bytes_is_to_be_booleans() -> None:
    (message,) = told_of({"x": NUMBERS, "mask": MASK.astype("uint8"), "other": MASK * 1.0})
    assert message.startswith("the numbers 0 and 1 of inputs 'mask', 'other' are normalised")
    assert message.endswith("if they are a mask, give booleans")


@pytest.mark.parametrize("normalize", [["x", "mask"], ["x"], False])
def test_a_mask_is_not_told_of_where_the_user_chose(normalize: Any) -> None:
    assert told_of({"x": NUMBERS, "mask": MASK * 1.0}, normalize=normalize) == []
    assert told_of({"x": NUMBERS, "mask": MASK, "kind": MASK.astype(int)}) == []
    assert told_of(MASK * 1.0) == []
