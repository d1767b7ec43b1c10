"""Data sets that torchvision reads, from small files in its own formats; the models by name on them."""

from __future__ import annotations

import hashlib
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from deap_hpo.configuration.assembly import make_task
from deap_hpo.configuration.config import make_config
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.training.hardware import has_channels_last, use_channels_last
from deap_hpo.training.models import MODELS, ResNet, shape_arguments
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.vision import load_data

rng = np.random.default_rng(0)
SPACE = {"lr": {"type": "float", "low": 0.01, "high": 0.1}}


def idx(array: np.ndarray[Any, Any]) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype("uint8").tobytes()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as torchvision fills it: 60 training and 20 test images of each data set."""
    for folder in ("MNIST", "KMNIST"):
        raw = tmp_path / folder / "raw"
        raw.mkdir(parents=True)
        for part, size in (("train", 60), ("t10k", 20)):
            (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(rng.integers(0, 256, (size, 28, 28))))
            (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(size) % 10))
    cifar = tmp_path / "cifar-10-batches-py"
    cifar.mkdir()
    sums = {}
    for name, size in [("data_batch_1", 60), ("test_batch", 20)]:
        images = rng.integers(0, 256, (size, 3072), dtype="uint8")
        (cifar / name).write_bytes(pickle.dumps({"data": images, "labels": [i % 10 for i in range(size)]}))
        sums[name] = hashlib.md5((cifar / name).read_bytes()).hexdigest()
    (cifar / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    meta = hashlib.md5((cifar / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [("data_batch_1", sums["data_batch_1"])])
    monkeypatch.setattr(CIFAR10, "test_list", [("test_batch", sums["test_batch"])])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": meta})
    return tmp_path


@pytest.mark.parametrize(
    ("name", "shape"), [("mnist", (1, 28, 28)), ("kmnist", (1, 28, 28)), ("cifar-10", (3, 32, 32))]
)
def test_each_gives_bytes_with_channels_first(root: Path, name: str, shape: tuple[int, ...]) -> None:
    data = load_data(name, root, training_size=30, validation_size=20)
    assert data.test is not None
    for split, size in ((data.training, 30), (data.validation, 20), (data.test, 20)):
        assert split.inputs.shape == (size, *shape)
        assert (split.inputs.dtype, split.targets.dtype) == (torch.uint8, torch.int64)
    assert data.test.targets.tolist() == [i % 10 for i in range(20)]
    assert data.description["name"] == name


def test_colours_are_not_mixed_up(root: Path) -> None:
    raw = pickle.loads((root / "cifar-10-batches-py" / "test_batch").read_bytes())["data"]
    test = load_data("cifar-10", root, validation_size=10).test
    assert test is not None
    assert np.array_equal(test.inputs.numpy().reshape(20, -1), raw)


def test_the_environment_names_the_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEAP_HPO_DATA", str(root))
    assert len(load_data("mnist", validation_size=10).validation) == 10


def test_a_damaged_file_is_refused(root: Path) -> None:
    with (root / "cifar-10-batches-py" / "test_batch").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"cifar-10 was not found .*corrupted"):
        load_data("cifar-10", root, validation_size=10)


def test_nothing_is_downloaded_into_a_folder_that_was_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mnist was not found"):
        load_data("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["mnist", "cifar-10"])
def test_a_model_gets_its_shape_from_the_data(root: Path, name: str, model: str) -> None:
    task = {"data": name, "data_dir": str(root), "model": model, "validation_size": 20}
    config = make_config({"task": task, "space": SPACE})
    if (name, model) == ("cifar-10", "paper-cnn"):
        with pytest.raises(InputError, match="does not fit the data"):
            make_task(config)
    else:
        assert ReferenceTrainer(make_task(config), device="cpu")({"lr": 0.01}).status == "ok"


def test_the_resnet_trains_as_a_population(root: Path) -> None:
    task = make_task(
        make_config(
            {
                "task": {
                    "data": "cifar-10",
                    "data_dir": str(root),
                    "model": "resnet",
                    "validation_size": 20,
                    "arguments": {"width": 4},
                },
                "space": SPACE,
            }
        )
    )
    params = [{"lr": 0.01, "batch_size": 20, "dropout": 0.1}, {"lr": 0.03, "batch_size": 20, "dropout": 0.4}]
    reference = ReferenceTrainer(task, epochs=2, device="cpu")
    population = PopulationTrainer(task, epochs=2, device="cpu")
    together = dict(population.evaluate_batch([Request(i, one, 1) for i, one in enumerate(params)]))
    for i, one in enumerate(params):
        assert together[i].environment["stack"] == 2
        assert together[i].value == pytest.approx(reference(one, seed=1).value, rel=1e-3)


def test_depth_three_is_resnet_20() -> None:
    """0.27 million parameters (He et al., table 6), and here those of two 1x1 shortcuts."""
    count = sum(parameter.numel() for parameter in ResNet(depth=3).parameters())
    assert count == pytest.approx(0.27e6, rel=0.02)


def test_arguments_that_are_given_stay(root: Path) -> None:
    data = load_data("mnist", root, validation_size=20)
    assert shape_arguments(ResNet, data) == {"channels": 1, "classes": 10}
    assert shape_arguments(partial(ResNet, width=8), data)["channels"] == 1


@pytest.mark.parametrize(("width", "last"), [(4, False), (16, True)])
def test_strided_1x1_convolutions_of_few_channels_keep_theirs_first(width: int, last: bool) -> None:
    """With channels last, torch's backward pass ended the process on some CPUs."""
    model = use_channels_last(ResNet(width=width), torch.rand(2, 3, 32, 32), "fp32")
    assert has_channels_last(model) is last
