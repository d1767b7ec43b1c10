"""Data: the split, the sources of Fashion-MNIST, and the messages when a file or a folder is wrong."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch

from deap_hpo.errors import InputError
from deap_hpo.training import idx
from deap_hpo.training.data import Data, Split, load_digits, load_fashion_mnist, split_data
from deap_hpo.training.vision import load_data


def whole() -> Split:
    return Split(torch.arange(100).float().unsqueeze(1), torch.arange(100))


def test_the_split_is_disjoint_and_complete() -> None:
    data = split_data("numbers", whole(), whole(), validation_size=30)
    training, validation = set(data.training.targets.tolist()), set(data.validation.targets.tolist())
    assert (len(training), len(validation)) == (70, 30)
    assert training | validation == set(range(100))


@pytest.mark.parametrize("mean", [0.0, 2.0, torch.tensor([[0.5], [1.5]])])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.int64])
def test_what_is_said_of_inputs_in_plain_numbers_is_what_is_done_to_them(dtype: torch.dtype, mean: float) -> None:
    examples = Split(torch.arange(24).view(3, 2, 4).to(dtype), torch.arange(3))
    data = Data("numbers", examples, examples, None, mean=mean, std=mean * 2 + 1.0)
    said = json.loads(json.dumps(data.expected_inputs()))
    assert (said["shape"], said["dtype"]) == ([2, 4], str(dtype).partition(".")[2])
    by_hand = (examples.inputs / said["divide_by"] - torch.tensor(said["mean"])) / torch.tensor(said["std"])
    done = data.prepare(examples.inputs)
    assert torch.allclose(by_hand, done.float())
    assert data.normalizes == (not torch.equal(done, examples.inputs))


def test_smaller_splits_are_prefixes_of_larger_ones() -> None:
    large = split_data("numbers", whole(), whole(), validation_size=30)
    small = split_data("numbers", whole(), whole(), validation_size=30, training_size=10)
    assert torch.equal(small.training.targets, large.training.targets[:10])
    assert torch.equal(small.validation.targets, large.validation.targets)


def test_the_split_depends_on_its_seed_alone() -> None:
    first = split_data("numbers", whole(), whole(), validation_size=30)
    torch.manual_seed(1234)
    again = split_data("numbers", whole(), whole(), validation_size=30)
    other = split_data("numbers", whole(), whole(), validation_size=30, split_seed=1)
    assert torch.equal(first.training.targets, again.training.targets)
    assert not torch.equal(first.training.targets, other.training.targets)


def test_a_training_split_of_a_single_number_is_divided_by_1() -> None:
    numbers = Split(torch.tensor([1.0, 2.0]), torch.tensor([0, 1]))
    data = split_data("numbers", numbers, None, training_size=1, validation_size=1, split_seed=0)
    assert data.std == 1.0


def test_inputs_are_scaled_by_the_training_split_alone() -> None:
    data = load_digits()
    prepared = data.prepare(data.training.inputs)
    assert prepared.dtype == torch.float32
    assert abs(prepared.mean().item()) < 1e-4
    assert abs(prepared.std().item() - 1) < 1e-3
    scaled = data.training.inputs.double() / 255
    assert data.mean == pytest.approx(scaled.mean().item())


def test_who_changes_loaded_images_changes_those_of_no_other() -> None:
    before = load_digits()
    changed = load_digits()
    for split in (changed.training, changed.validation, changed.test):
        split.inputs.zero_()
        split.targets.zero_()
    after = load_digits()
    assert torch.equal(after.training.inputs, before.training.inputs)
    assert torch.equal(after.test.inputs, before.test.inputs)
    assert torch.equal(after.test.targets, before.test.targets)
    assert after.test.inputs.any()
    assert after.test.targets.any()


@pytest.mark.parametrize(("training", "validation"), [(0, 10), (10, 0), (91, 10), (-1, 10)])
def test_sizes_that_do_not_fit_are_refused(training: int, validation: int) -> None:
    with pytest.raises(InputError, match="training_size \\+ validation_size must be at most 100"):
        split_data("numbers", whole(), whole(), training_size=training, validation_size=validation)


def test_inputs_and_targets_have_to_match() -> None:
    with pytest.raises(InputError, match="same number of examples"):
        Split(torch.zeros(3, 1), torch.zeros(2))


@pytest.mark.parametrize("name", ["digits", "fashion-mnist"])
@pytest.mark.fashion_mnist
def test_every_loader_gives_images_and_classes(name: str) -> None:
    """Those that torchvision reads are in test_vision.py."""
    data = load_data(name, training_size=500, validation_size=100)
    assert data.name == name
    for split in (data.training, data.validation, data.test):
        assert split.inputs.dtype == torch.uint8
        assert split.targets.dtype == torch.int64
        assert split.inputs.dim() == 4
        assert set(split.targets.unique().tolist()) == set(range(10))


@pytest.mark.fashion_mnist
def test_fashion_mnist_is_whole() -> None:
    assert len(load_fashion_mnist(validation_size=20_000).training) == 40_000
    data = load_fashion_mnist()
    assert (len(data.training), len(data.validation), len(data.test)) == (50_000, 10_000, 10_000)
    assert data.test.targets.bincount().tolist() == [1000] * 10
    assert torch.cat([data.training.targets, data.validation.targets]).bincount().tolist() == [6000] * 10


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the real files, to damage."""
    source = idx.find_fashion_mnist(download=False)
    for file in source.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


@pytest.mark.fashion_mnist
def test_a_folder_of_ones_own_is_read_gzipped_or_not(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zipped = copy / "t10k-labels-idx1-ubyte.gz"
    (copy / "t10k-labels-idx1-ubyte").write_bytes(gzip.decompress(zipped.read_bytes()))
    zipped.unlink()
    monkeypatch.setenv("DEAP_HPO_DATA", str(copy))
    assert idx.find_fashion_mnist() == copy
    nested = copy / "FashionMNIST" / "raw"
    nested.mkdir(parents=True)
    for file in list(copy.glob("*ubyte*")):
        file.rename(nested / file.name)
    assert idx.find_fashion_mnist(copy) == nested
    assert len(load_fashion_mnist(copy).test) == 10_000


@pytest.mark.fashion_mnist
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[: len(content) // 2], "is damaged and cannot be unpacked"),
        (lambda content: b"no gzip at all", "is damaged and cannot be unpacked"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-1] + b"\xff"), "its SHA-256 checksum differs"),
    ],
)
def test_a_damaged_file_is_named(copy: Path, damage: object, said: str) -> None:
    file = copy / "train-labels-idx1-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(InputError, match=said) as caught:
        load_fashion_mnist(copy)
    assert str(file) in str(caught.value)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"must hold the four Fashion-MNIST files .*; it does not"):
            load_fashion_mnist(folder)


def test_all_three_ways_are_said_where_none_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DEAP_HPO_DATA", raising=False)
    monkeypatch.setattr(idx, "SYSTEM_COPY", tmp_path / "none")

    def offline() -> Path:
        raise OSError("no network")

    monkeypatch.setattr(idx, "_download", offline)
    with pytest.raises(InputError) as caught:
        load_fashion_mnist()
    for way in ("apt-get install dataset-fashion-mnist", "--data-dir", "DEAP_HPO_DATA", "download failed (no network)"):
        assert way in str(caught.value)
