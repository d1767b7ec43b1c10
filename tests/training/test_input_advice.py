"""Inputs that normalisation or rounding would spoil are told of, with a remedy; ordinary ones are not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
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


@pytest.mark.parametrize("value", [0.0, 1e-30, 0.1, 1e9])
@pytest.mark.parametrize("shape", [(200,), (200, 1), (200, 1, 1)])
def test_constant_features_become_0(value: float, shape: tuple[int, ...]) -> None:
    data = read_data("data", (np.full(shape, value), CLASSES))
    assert torch.equal(data.prepare(data.training.inputs), torch.zeros(160, *shape[1:]))
    assert data.std == 1.0 if len(shape) == 1 else torch.equal(torch.as_tensor(data.std).flatten(), torch.ones(1))
