"""Data for training: tensors in memory, split once and for all into training, validation and test examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deap_hpo.errors import InputError
from deap_hpo.training.idx import read_fashion_mnist
from deap_hpo.training.inputs import Inputs, Targets, described, each, joined, number_of_examples, tensors
from deap_hpo.training.normalization import Statistic, facts, moved, normalizes, overall_statistics, prepared
from deap_hpo.training.reading import as_stored


@dataclass(frozen=True)
class Split:
    """Examples and their targets, aligned by the first dimension.

    Attributes:
        inputs: Tensor [N, ...], or several by name; uint8 images stay uint8 here and are scaled batch by batch.
        targets: Tensor [N, ...], or several by name; int64 classes or float values.
    """

    inputs: Inputs
    targets: Targets

    def __post_init__(self) -> None:
        sizes = {len(one) for one in (*tensors(self.inputs), *tensors(self.targets))}
        if len(sizes) > 1 or sizes == {0}:
            inputs, targets = (described(one, lambda one: str(len(one))) for one in (self.inputs, self.targets))
            raise InputError(
                f"inputs and targets must hold the same number of examples, at least one; got {inputs} and {targets}."
            )

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return tensors(self.targets)[0].device

    def __len__(self) -> int:
        return number_of_examples(self.targets)

    def __getitem__(self, index: Any) -> Split:
        return Split(*(each(lambda one: one[index], part) for part in (self.inputs, self.targets)))

    def to(self, device: torch.device | str) -> Split:
        """Copy to a device (no copy where it already is)."""
        return Split(*(each(lambda one: one.to(device), part) for part in (self.inputs, self.targets)))

    def followed_by(self, other: Split) -> Split:
        """Give a copy of these examples and, after them, those of another split."""
        return Split(joined([self.inputs, other.inputs]), joined([self.targets, other.targets]))


@dataclass(frozen=True)
class Data:
    """Three disjoint splits, and how a batch of inputs becomes what the network sees.

    Attributes:
        name: Name of the data set.
        training: Examples that networks train on.
        validation: Examples by which networks are judged during the search.
        test: Examples that no search may see; measured once, at the end. None if there are none.
        mean: Subtracted from every input, after uint8 is divided by 255: a number, or a tensor that broadcasts; for
            several inputs, a dict of these by name.
        std: Every input is divided by it after that.
        description: Identifies the data and their splits: seed, sizes, digests. Recorded with every run; folds are
            stratified and normalised by it.
        drawn: Which splits were drawn at random from the examples, of "validation" and "test"; None if unknown.

    Example:
        >>> data = load_digits(training_size=100, validation_size=50)
        >>> len(data.training), len(data.validation), data.training.inputs.dtype
        (100, 50, torch.uint8)
        >>> data.prepare(data.training.inputs[:2]).shape
        torch.Size([2, 1, 8, 8])
    """

    name: str
    training: Split
    validation: Split
    test: Split | None
    mean: Statistic = 0.0
    std: Statistic = 1.0
    description: Mapping[str, Any] = field(default_factory=dict)
    drawn: tuple[str, ...] | None = field(default=None, compare=False)

    def prepare(self, inputs: Any) -> Inputs:
        """Turn a batch of inputs into the form that the network sees, floats or tokens: a copy, which it may change.

        Args:
            inputs: Inputs like those of the splits, as tensors, or in another form that `Task.from_data` takes.

        Raises:
            InputError: They have another shape or type, for example pixels from 0 to 1 where the splits have bytes.
        """
        return self.normalized(as_stored(inputs, self.training.inputs, mean=self.mean if self.normalizes else None))

    def normalized(self, inputs: Inputs) -> Inputs:
        """Do what `prepare` does, for inputs in the splits' own form; they may have further leading dimensions."""
        return prepared(inputs, self.mean, self.std)

    @property
    def normalizes(self) -> bool:
        """Whether `prepare` changes inputs; it leaves tokens, and inputs without normalisation, as they are."""
        return normalizes(self.training.inputs, self.mean, self.std)

    def expected_inputs(self) -> dict[str, Any]:
        """Describe in plain numbers what `prepare` takes and does, for files used where this package is not.

        Returns:
            `shape` and `dtype` of a stored example, and `divide_by`, `mean` and `std`: the network sees
            ``(inputs / divide_by - mean) / std``, where nested lists broadcast against a batch. Whole numbers and
            booleans with mean 0.0 and std 1.0 stay as they are. For several inputs, a dict of these by name.

        Example:
            >>> images = Split(torch.full((2, 1, 8, 8), 51, dtype=torch.uint8), torch.tensor([0, 1]))
            >>> Data("grey", images, images, None, mean=0.2, std=0.5).expected_inputs()
            {'shape': [1, 8, 8], 'dtype': 'uint8', 'divide_by': 255, 'mean': 0.2, 'std': 0.5}
        """
        return facts(self.training.inputs, self.mean, self.std)

    def to(self, device: torch.device | str) -> Data:
        """Copy all splits to a device."""
        return replace(
            self,
            training=self.training.to(device),
            validation=self.validation.to(device),
            test=self.test and self.test.to(device),
            mean=moved(self.mean, device),
            std=moved(self.std, device),
        )

    def share_memory_(self) -> Data:
        """Move the tensors to shared memory, so that worker processes read them without a copy."""
        for split in (self.training, self.validation, self.test):
            for tensor in (*tensors(split.inputs), *tensors(split.targets)) if split else ():
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        return self


def split_data(
    name: str,
    development: Split,
    test: Split | None,
    *,
    training_size: int | None = None,
    validation_size: int,
    split_seed: int = 0,
    order: Tensor | None = None,
) -> Data:
    """Split development examples into training and validation by one seeded permutation, or in a given order.

    The validation examples are the same for every `training_size`, and smaller training splits are prefixes of larger
    ones, so that results at different sizes are comparable.

    Args:
        name: Name of the data set.
        development: Examples to split.
        test: Examples kept apart.
        training_size: Training examples to keep; None keeps all that validation leaves.
        validation_size: Validation examples, at least 1.
        split_seed: Seed of the permutation; it is not a run's seed, so no run changes the split.
        order: Positions of all examples, those for validation first; by default the permutation.

    Raises:
        InputError: The sizes are not positive, or larger than the data.
    """
    available = len(development) - validation_size
    training_size = available if training_size is None else training_size
    if validation_size < 1 or training_size < 1 or training_size > available:
        raise InputError(
            f"training_size + validation_size must be at most {len(development)} with at least 1 each for {name}; "
            f"got {training_size} and {validation_size}."
        )
    if order is None:
        order = torch.randperm(len(development), generator=torch.Generator().manual_seed(split_seed))
    training = development[order[validation_size : validation_size + training_size]]
    mean, std = overall_statistics(training.inputs)
    return Data(
        name=name,
        training=training,
        validation=development[order[:validation_size]],
        test=test,
        mean=mean,
        std=std,
        description={
            "name": name,
            "training_size": training_size,
            "validation_size": validation_size,
            "test_size": len(test) if test else 0,
            "split_seed": split_seed,
        },
        drawn=("validation",),
    )


def load_fashion_mnist(
    data_dir: str | Path | None = None,
    *,
    training_size: int | None = None,
    validation_size: int = 10_000,
    split_seed: int = 0,
    download: bool = True,
) -> Data:
    """Load Fashion-MNIST: 60,000 training images, split in two, and 10,000 test images; 28x28 grey, 10 classes.

    The files are read from `data_dir` (or the environment's DEAP_HPO_DATA), if one is given; else from the system's
    copy; else torchvision downloads them. Every file is checked before use.

    Args:
        data_dir: Folder with the four files, as they are or below ``FashionMNIST/raw`` (torchvision's layout).
        training_size: Training images to keep, 1 to 60,000 - `validation_size`; None keeps all.
        validation_size: Validation images.
        split_seed: Seed of the split.
        download: Whether torchvision may download.

    Raises:
        InputError: No source works, a file is corrupt, or the sizes do not fit.

    Source: Xiao et al., "Fashion-MNIST" (arXiv:1708.07747).
    """
    files = read_fashion_mnist(data_dir, download=download)
    return split_data(
        "fashion-mnist",
        Split(files["train-images"].unsqueeze(1), files["train-labels"].long()),
        Split(files["t10k-images"].unsqueeze(1), files["t10k-labels"].long()),
        training_size=training_size,
        validation_size=validation_size,
        split_seed=split_seed,
    )


def load_digits(
    data_dir: str | Path | None = None,
    *,
    training_size: int | None = None,
    validation_size: int = 300,
    split_seed: int = 0,
    download: bool = False,
) -> Data:
    """Load scikit-learn's digits: 1,797 real images, 8x8 grey, 10 classes; ships with scikit-learn, needs no network.

    The last 297 images are the test split. `data_dir` and `download` are ignored; all loaders have these arguments.

    Source: Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998).
    """
    images, targets = (whole.clone() for whole in _digits())
    return split_data(
        "digits",
        Split(images[:1500], targets[:1500]),
        Split(images[1500:], targets[1500:]),
        training_size=training_size,
        validation_size=validation_size,
        split_seed=split_seed,
    )


@cache
def _digits() -> tuple[Tensor, Tensor]:
    """Read all images and classes, 0.1 MB: scikit-learn has them as text, which takes longer than a small training."""
    from sklearn.datasets import load_digits as load

    digits = load()
    # Grey levels 0..16 are spread over uint8's range.
    images = torch.from_numpy((digits.images * (255 / 16)).round().astype("uint8")).unsqueeze(1)
    return images, torch.from_numpy(digits.target).long()
