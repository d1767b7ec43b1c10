"""Arrays, tables, lists and masks as they are given: how they are converted, and the messages if they are refused."""

from __future__ import annotations

import sys
from collections import UserDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_model
from torch import Tensor, nn
from typer.testing import CliRunner

from deap_hpo.cli import app
from deap_hpo.configuration.config import tomllib
from deap_hpo.configuration.starting import load_source
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.training.arrays import read_data
from deap_hpo.training.hardware import has_channels_last, use_channels_last
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.program import save_program
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

rng = np.random.default_rng(0)
NUMBERS = rng.normal(size=(40, 4))
TOKENS = rng.integers(1, 9, size=(40, 6))
MASK = np.arange(6) < rng.integers(1, 7, size=(40, 1))
CLASSES = (TOKENS == 3).any(1).astype(int)
IMAGES = rng.integers(0, 256, size=(40, 1, 4, 4), dtype="uint8")


class MaskedText(nn.Module):
    """The mean of the words that the mask leaves; it works with booleans only."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(9, width), nn.Linear(width, 2)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        words = self.words(tokens).masked_fill(~mask.unsqueeze(2), 0)
        return self.out(words.sum(1) / mask.sum(1, keepdim=True))


class Row:
    """A dataset of texts with their masks."""

    def __getitem__(self, index: int) -> Any:
        return {"tokens": TOKENS[index], "mask": MASK[index].tolist()}, CLASSES[index]

    def __len__(self) -> int:
        return len(CLASSES)


@pytest.mark.parametrize("data", [({"tokens": TOKENS, "mask": MASK}, CLASSES), Row()])
def test_a_mask_stays_one_of_booleans(data: Any, tmp_path: Path) -> None:
    task = Task.from_data(MaskedText, data, recipe=Recipe(batch_size=16))
    assert not task.data.normalizes
    assert task.data.expected_inputs()["mask"]["dtype"] == "bool"
    requests = [Request(i, {"lr": lr}, seed=1) for i, lr in enumerate((0.1, 0.3))]
    reference, population = (kind(task, epochs=2, device="cpu") for kind in (ReferenceTrainer, PopulationTrainer))
    for number, evaluation in population.evaluate_batch(requests):
        assert evaluation.environment["stack"] == 2
        assert evaluation.value == pytest.approx(reference.evaluate(requests[number]).value, rel=1e-5)
    network = MaskedText().eval()
    save_program(network, task.data, tmp_path / "network.pt2")
    inputs = task.data.validation.inputs
    assert isinstance(inputs, dict)
    assert torch.allclose(torch.export.load(tmp_path / "network.pt2").module()(**inputs), network(**inputs))


NAMED = """
from deap_hpo import Float, Task
from sklearn.datasets import load_digits
from torch import nn
class Named(nn.Linear):
    def __init__(self): super().__init__(64, 10)
    def forward(self, pixels, mask): return super().forward(pixels * mask)
pixels, digits = load_digits(return_X_y=True)
space = {"lr": Float(0.01, 0.1)}
task = Task.from_data(Named, ({"pixels": pixels, "mask": pixels > 3}, digits))
"""


def test_what_is_exported_says_how_each_input_is_normalised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("named_input_task.py").write_text(NAMED)
    short = ["evolution.algorithm=random", "evolution.population=1", "evolution.generations=1", "training.device=cpu"]
    settings = [part for one in short for part in ("--set", one)]
    for command in (["run", "named_input_task.py:task", *settings], ["export", "named_input_task", "--output", "net"]):
        ended = CliRunner().invoke(app, command)
        assert ended.exit_code == 0, ended.output
    text = Path("net/best.toml").read_text()
    assert "of each (input / divide_by - mean) / std, with what [inputs.NAME] says" in text
    facts, raw = tomllib.loads(text)["inputs"], load_source("named_input_task.py:task").data.validation.inputs
    assert isinstance(raw, dict)
    assert {name: one["dtype"] for name, one in facts.items()} == {"mask": "bool", "pixels": "float32"}
    network = nn.Linear(64, 10)
    load_model(network, "net/best.safetensors")
    mean, std = (torch.tensor(facts["pixels"][name]) for name in ("mean", "std"))
    by_hand = network((raw["pixels"] - mean) / std * raw["mask"])
    assert torch.allclose(torch.export.load("net/best.pt2").module()(**raw), by_hand, atol=1e-5)


def test_the_only_input_and_targets_count_booleans() -> None:
    split = read_data("flags", (MASK, CLASSES > 0)).training
    assert isinstance(split.inputs, Tensor)
    assert (split.inputs.dtype, split.targets.dtype) == (torch.int64, torch.int64)


@pytest.mark.parametrize(("number", "dtype"), [(1.5, torch.float32), (7, torch.int64)])
def test_a_table_may_hold_booleans_beside_numbers(number: float, dtype: torch.dtype) -> None:
    table = pd.get_dummies(pd.DataFrame({"x": [number] * 40, "kind": ["a", "b"] * 20}))
    inputs = read_data("table", (table, CLASSES)).training.inputs
    assert isinstance(inputs, Tensor)
    assert inputs.dtype == dtype
    assert set(map(tuple, inputs.tolist())) == {(number, 0, 1), (number, 1, 0)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((NUMBERS, [[0], [1, 2]]), r"^data must hold examples of one shape"),
        (({"a": [[1.0], [1.0, 2.0]]}, CLASSES), r"^data \(input 'a'\) must hold examples of one shape \(pad or resize"),
        ((NUMBERS, {"y": [[0], [1, 2]]}), r"^data \(target 'y'\) must hold examples of one shape"),
        ((pd.DataFrame({"x": [1.0] * 40, "y": ["b"] * 40}), CLASSES), r"must hold numbers; got object in y\. Encode"),
        ((pd.DataFrame({"x": pd.array([None, 1]), "y": [True] * 2}), [0, 1]), r"without gaps; .*NA"),
        (((NUMBERS, TOKENS), CLASSES), r"example 1 is a ndarray\. Several inputs go together, by their names"),
        (([NUMBERS, TOKENS], CLASSES), r"example 1 is a ndarray\. Several inputs go together, by their names"),
    ],
)
def test_what_is_refused(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_data("table", data)


def test_a_network_that_does_not_fit_is_told_of_names_and_types() -> None:
    given = {"tokens": TOKENS.astype("uint8"), "mask": MASK}
    with pytest.raises(InputError, match=r"have their names, here as mask bool, tokens float32\.$"):
        Task.from_data(MaskedText, (given, CLASSES)).check({})
    with pytest.raises(InputError, match=r"argument: 'mask'\. Several inputs are given as a dict, by the names"):
        Task.from_data(MaskedText, (TOKENS, CLASSES)).check({})


def test_an_input_named_like_a_keyword_makes_no_program(tmp_path: Path) -> None:
    class Words(nn.Linear):
        def forward(self, **inputs: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(inputs["class"])

    task = Task.from_data(lambda: Words(4, 2), ({"class": NUMBERS}, CLASSES))
    task.check({})
    with pytest.raises(InputError, match=r"torch.export can turn into a program .*'class' is not a valid"):
        save_program(task.model(), task.data, tmp_path / "network.pt2")


def test_all_inputs_and_their_statistics_are_moved_and_shared() -> None:
    data = read_data("both", ({"numbers": NUMBERS, "tokens": TOKENS}, CLASSES))
    elsewhere = data.to("meta")
    assert isinstance(elsewhere.training.inputs, dict)
    assert isinstance(elsewhere.mean, dict)
    moved = [*elsewhere.training.inputs.values(), elsewhere.mean["numbers"]]
    assert [one.device.type for one in moved if isinstance(one, Tensor)] == ["meta"] * 3
    inputs = data.share_memory_().training.inputs
    assert isinstance(inputs, dict)
    assert all(one.is_shared() for one in inputs.values())


def test_examples_may_be_mappings_other_than_dicts() -> None:
    rows = [(UserDict(numbers=NUMBERS[i]), CLASSES[i]) for i in range(40)]
    assert list(read_data("rows", rows).training.inputs) == ["numbers"]


def test_images_are_laid_out_with_channels_last_wherever_they_are_among_the_inputs() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.linear = nn.Conv2d(3, 8, 3), nn.Linear(4, 8)

        def forward(self, pixels: Tensor, numbers: Tensor) -> Tensor:
            return self.convolution(pixels).mean((2, 3)) + self.linear(numbers)

    inputs = {"numbers": torch.rand(5, 4), "pixels": torch.rand(5, 3, 6, 6)}
    assert has_channels_last(use_channels_last(Both(), inputs, "fp32"))


@pytest.mark.parametrize(
    "inputs",
    [NUMBERS, NUMBERS.tolist(), torch.tensor(NUMBERS), pd.DataFrame(NUMBERS)],
)
def test_a_network_is_asked_with_what_data_are_made_of(inputs: Any) -> None:
    data = read_data("table", (NUMBERS, CLASSES))
    expected = data.prepare(torch.from_numpy(NUMBERS).float())
    got = data.prepare(inputs)
    assert isinstance(got, Tensor)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)


def test_what_is_not_normalised_may_be_longer() -> None:
    series = rng.normal(size=(40, 12, 1))
    assert read_data("series", (series, CLASSES), normalize=False).prepare(series[:2, :5]).shape == (2, 5, 1)  # type: ignore[union-attr]


def test_bytes_of_a_table_are_numbers_and_whole_numbers_tokens() -> None:
    table = read_data("table", (NUMBERS, CLASSES))
    whole = torch.arange(NUMBERS.size).reshape(NUMBERS.shape) % 9
    assert torch.equal(table.prepare(whole.to(torch.uint8)), table.prepare(whole.float()))  # type: ignore[arg-type]
    tokens = read_data("tokens", (TOKENS, CLASSES))
    shorter = np.asarray(TOKENS)[:, :2].astype("int32")
    assert torch.equal(tokens.prepare(shorter), torch.from_numpy(shorter).long())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stored", "inputs", "message"),
    [
        (
            NUMBERS,
            NUMBERS[0],
            rf"inputs must be a batch of examples, \[N, {NUMBERS.shape[1]}\]; got \[{NUMBERS.shape[1]}\]",
        ),
        (NUMBERS, NUMBERS[:, :1], r"inputs must be a batch of examples, .* got \[\d+, 1\]"),
        (NUMBERS, [["a"]], r"inputs must hold numbers"),
        (TOKENS, np.ones((2, 3)), r"inputs must have the type int64, .* \(whole numbers\); got torch.float32"),
        (IMAGES, IMAGES / 255, r"inputs must have the type uint8, .* \(pixels from 0 to 255\); got torch.float32"),
        (IMAGES, IMAGES.astype(int), r"inputs must have the type uint8, .* got torch.int64"),
        (IMAGES, IMAGES[:, :, :2].swapaxes(1, 2), r"inputs must be a batch of examples, \[N, 1, 4, 4\]; got"),
        (
            IMAGES / 255,
            np.ones((2, 3, 4, 4)),
            r"inputs must be a batch of examples, \[N, 1, 4, 4\]; got \[2, 3, 4, 4\]",
        ),
        (IMAGES / 255, IMAGES, r"inputs must have the type float32, .* \(real numbers\); got torch.uint8"),
        (NUMBERS, torch.ones(2, 4, dtype=torch.complex64), r"have the type float32, .* got torch.complex64"),
        ({"a": NUMBERS}, {"a": NUMBERS, "b": NUMBERS}, r"inputs must be several by name, a; got \['a', 'b'\]"),
        ({"a": NUMBERS}, NUMBERS, r"inputs must be several by name, a; got ndarray"),
        ({"a": NUMBERS}, {"b": NUMBERS}, r"inputs must be several by name, a; got \['b'\]"),
        ({"a": NUMBERS}, {"a": NUMBERS[0]}, r"inputs\['a'\] must be a batch of examples"),
        (
            {"a": NUMBERS[:, :2] > 0},
            {"a": np.ones((2, 2))},
            r"inputs\['a'\] must have the type bool, .* \(true or false\)",
        ),
    ],
)
def test_a_network_is_not_asked_with_anything_else(stored: Any, inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_data("data", (stored, CLASSES)).prepare(inputs)
