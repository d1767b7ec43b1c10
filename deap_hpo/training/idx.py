"""The Fashion-MNIST files: where to find them, how to check them, how to read their IDX format."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from deap_hpo.errors import InputError
from deap_hpo.files import expanded

SYSTEM_COPY = Path("/usr/share/datasets/fashion-mnist")

# Of the uncompressed content, so that it does not matter how a copy is gzipped, or whether it is.
_SHA256 = {
    "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_FILES = {part: f"{part}-idx{3 if 'images' in part else 1}-ubyte" for part in _SHA256}


def read_fashion_mnist(data_dir: str | Path | None, *, download: bool) -> dict[str, Tensor]:
    """Find, check and read the four files.

    Returns:
        uint8 tensors by part: "train-images" [60000, 28, 28], "train-labels" [60000], "t10k-images", "t10k-labels".

    Raises:
        InputError: No source has the files, or one of them is corrupt.
    """
    folder = find_fashion_mnist(data_dir, download=download)
    return {part: _parse(_checked_content(folder, part)) for part in _FILES}


def find_fashion_mnist(data_dir: str | Path | None = None, *, download: bool = True) -> Path:
    """Find the folder that holds the four files: the requested one, the system's copy, or torchvision's download.

    Raises:
        InputError: The requested folder lacks them, or no source has them.
    """
    asked = data_dir or os.environ.get("DEAP_HPO_DATA")
    if asked:
        for folder in (expanded(asked), expanded(asked) / "FashionMNIST" / "raw"):
            if all(_path(folder, part) for part in _FILES):
                return folder
        raise InputError(
            f"The data folder {asked} (--data-dir or DEAP_HPO_DATA) must hold the four Fashion-MNIST files "
            f"({', '.join(_FILES.values())}, gzipped or not), there or below FashionMNIST/raw; it does not. "
            "Name another folder, or leave the option out to use the system's copy or a download."
        )
    if all(_path(SYSTEM_COPY, part) for part in _FILES):
        return SYSTEM_COPY
    if download:
        try:
            return _download()
        except (OSError, RuntimeError) as error:
            reason = f"torchvision's download failed ({error})"
    else:
        reason = "downloading is switched off"
    raise InputError(
        f"Fashion-MNIST was not found: {SYSTEM_COPY} has no copy, neither --data-dir nor DEAP_HPO_DATA names one, "
        f"and {reason}. On Debian or Ubuntu, install it with `apt-get install dataset-fashion-mnist`; "
        "elsewhere, connect to the internet once, or name a folder with --data-dir."
    )


def _download() -> Path:
    from torchvision.datasets import FashionMNIST

    root = download_folder()
    FashionMNIST(root=str(root), download=True)
    return root / "FashionMNIST" / "raw"


def download_folder() -> Path:
    """Give the folder for downloads."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deap-hpo"


def _path(folder: Path, part: str) -> Path | None:
    return next(_existing(folder / _FILES[part]), None)


def _existing(plain: Path) -> Iterator[Path]:
    return (path for path in (plain, plain.with_name(plain.name + ".gz")) if path.is_file())


def _checked_content(folder: Path, part: str) -> bytes:
    path = _path(folder, part)
    if path is None:  # deleted since it was found
        raise InputError(f"{folder / _FILES[part]} is gone.")
    raw = path.read_bytes()
    try:
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is damaged and cannot be unpacked ({error}). Get a fresh copy of it.") from None
    if hashlib.sha256(content).hexdigest() != _SHA256[part]:
        raise InputError(
            f"{path} is not the Fashion-MNIST file it should be: its SHA-256 checksum differs. Get a fresh copy of it."
        )
    return content


def _parse(content: bytes) -> Tensor:
    """Read IDX: two zero bytes, the type (8 is uint8), the number of dimensions, each size as a big-endian int32."""
    dimensions = content[3]
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=4 + 4 * dimensions).reshape(shape)
