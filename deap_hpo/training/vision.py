"""Image data sets by name, read or downloaded by torchvision: MNIST, KMNIST, CIFAR-10."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deap_hpo.errors import InputError
from deap_hpo.files import expanded
from deap_hpo.training.data import Data, Split, load_digits, load_fashion_mnist, split_data
from deap_hpo.training.idx import download_folder


def load_torchvision(
    data_dir: str | Path | None = None,
    *,
    name: str,
    dataset: str,
    training_size: int | None = None,
    validation_size: int = 10_000,
    split_seed: int = 0,
    download: bool = True,
) -> Data:
    """Load a data set of `torchvision.datasets` with training and test images.

    Args:
        data_dir: Folder in torchvision's layout (its `root`); by default DEAP_HPO_DATA, else a cache into which
            torchvision downloads the files, whose checksums it tests.
        name: Name for display and for the record.
        dataset: Name of the class.
        training_size: Training images to keep; None keeps all that validation leaves.
        validation_size: Validation images.
        split_seed: Seed of the split.
        download: Whether torchvision may download where no folder is named.

    Returns:
        Images [N, C, H, W] as uint8, classes as int64.

    Raises:
        InputError: The files are missing and cannot be downloaded, or the sizes do not fit.
    """
    from torchvision import datasets

    asked = data_dir or os.environ.get("DEAP_HPO_DATA")
    root = expanded(asked) if asked else download_folder()
    try:
        parts = [
            getattr(datasets, dataset)(root=str(root), train=training, download=download and not asked)
            for training in (True, False)
        ]
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{name} was not found in {root}, as torchvision lays it out: {error} Name another folder (--data-dir or "
            "DEAP_HPO_DATA), or leave it out to let torchvision download it once, which needs the internet."
        ) from None
    development, test = (Split(_images(part.data), torch.as_tensor(part.targets).long()) for part in parts)
    return split_data(
        name,
        development,
        test,
        training_size=training_size,
        validation_size=validation_size,
        split_seed=split_seed,
    )


def _images(data: Any) -> Tensor:
    """Put channels first: grey [N, H, W] and coloured [N, H, W, C] images become [N, C, H, W]."""
    images = torch.as_tensor(data)
    return images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()


DATA_SETS: dict[str, Callable[..., Data]] = {
    "cifar-10": partial(load_torchvision, name="cifar-10", dataset="CIFAR10"),
    "digits": load_digits,
    "fashion-mnist": load_fashion_mnist,
    "kmnist": partial(load_torchvision, name="kmnist", dataset="KMNIST"),
    "mnist": partial(load_torchvision, name="mnist", dataset="MNIST"),
}
"""Loaders of data sets by name; each takes `data_dir`, `training_size`, `validation_size`, `split_seed`."""


def load_data(name: str, data_dir: str | Path | None = None, **settings: Any) -> Data:
    """Load a data set by its name.

    Raises:
        InputError: There is no such data set, or it cannot be loaded.

    Example:
        >>> len(load_data("digits", validation_size=100).validation)
        100
    """
    if name not in DATA_SETS:
        raise InputError(f"There is no data set {name!r}; expected one of {', '.join(DATA_SETS)}.")
    return DATA_SETS[name](data_dir, **settings)
