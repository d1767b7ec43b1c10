"""Stores of checkpoints, in memory or in a folder, where each is named by its content's hash; nothing is ever pickled.

A checkpoint is a cache: its content can be trained again from the record. Losing one costs time, nothing else.
"""

from __future__ import annotations

import hashlib
import shutil
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol
from uuid import uuid4

import safetensors.torch
import torch
from torch import Tensor

from deap_hpo.checks import check_optional_integer
from deap_hpo.errors import InputError, warn
from deap_hpo.files import expanded, written_whole

_SUFFIX = ".safetensors"
_UNDERWAY = ".underway"  # the same content, of an evaluation that has not ended
_AS_REAL = "@complex128"  # ends the name of a tensor of that type, which safetensors lacks: stored as real pairs


class CheckpointStore(Protocol):
    """The interface of a store of checkpoints: tensors by name, under a reference that the store gives.

    Attributes:
        shared: Whether worker processes and the driver see the same checkpoints.
    """

    shared: bool

    def save(self, tensors: Mapping[str, Tensor]) -> str:
        """Keep tensors, which must not be changed afterwards, and give the reference to load them by."""
        ...

    def load(self, reference: str) -> dict[str, Tensor]:
        """Give the tensors behind a reference; InputError where they are missing or damaged."""
        ...

    def __contains__(self, reference: str) -> bool:
        """Tell whether `load` would succeed."""
        ...

    def collect(self, needed: Sequence[str]) -> None:
        """Drop every checkpoint that is not needed; `needed` is ordered from the least to the most important."""
        ...


class MemoryCheckpoints:
    """Keeps checkpoints in this process, on the device where they were made, so that continuing is a mere index copy.

    Example:
        >>> import torch
        >>> checkpoints = MemoryCheckpoints()
        >>> reference = checkpoints.save({"weights": torch.ones(2)})
        >>> checkpoints.load(reference)["weights"]
        tensor([1., 1.])
        >>> checkpoints.collect(needed=[])
        >>> reference in checkpoints
        False
    """

    shared = False

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Tensor]] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"_kept": {}}

    def save(self, tensors: Mapping[str, Tensor]) -> str:
        """Keep tensors; see `CheckpointStore`."""
        # Unique: a reference from another process, or from an earlier run of this study, must not be found here.
        reference = f"memory/{uuid4().hex}"
        self._kept[reference] = dict(tensors)
        return reference

    def load(self, reference: str) -> dict[str, Tensor]:
        """Give the tensors behind a reference."""
        if reference not in self._kept:
            raise InputError(f"The checkpoint {reference} is not in this process's memory.")
        return self._kept[reference]

    def __contains__(self, reference: str) -> bool:
        return reference in self._kept

    def collect(self, needed: Sequence[str]) -> None:
        """Drop every checkpoint but those needed."""
        self._kept = {reference: self._kept[reference] for reference in needed if reference in self._kept}


class FolderCheckpoints:
    """Keeps checkpoints as safetensors files in a folder, which worker processes share.

    A file is named by the SHA-256 of its content. It is written under another name, synced to the disk, and only then
    renamed, so it is complete or absent, whenever the process is killed. Workers on several machines (Ray) need a
    folder that all of them see.

    Args:
        folder: The folder, one for each study; created when it is needed.
        limit: Bytes that the checkpoints may take after a generation, at least 1; None for no limit. Checkpoints beyond
            it are dropped, the least important first, and a warning says how many. They are trained again if a run asks
            for them.

    Raises:
        InputError: The limit is out of its range.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = FolderCheckpoints(folder)
        ...     reference = checkpoints.save({"weights": torch.ones(2)})
        ...     len(reference), FolderCheckpoints(folder).load(reference)
        (64, {'weights': tensor([1., 1.])})
    """

    shared = True

    def __init__(self, folder: str | Path, *, limit: int | None = None) -> None:
        check_optional_integer("limit", limit, 1)
        self.folder = expanded(folder).absolute()  # a worker may have another working directory
        self.limit = limit

    def save(self, tensors: Mapping[str, Tensor]) -> str:
        """Write tensors; see `CheckpointStore`.

        Raises:
            InputError: A tensor has a type or a layout that a file cannot hold.
        """
        content = _encoded(tensors)
        reference = _hash(content)
        if reference not in self:  # a damaged file is not in it, and is written again
            _write(self._path(reference), content)
        return reference

    def load(self, reference: str) -> dict[str, Tensor]:
        """Read the tensors behind a reference.

        Raises:
            InputError: The file is missing, or its content does not match its name.
        """
        path = self._path(reference)
        content = path.read_bytes() if path.exists() else b""
        if _hash(content) != reference:
            raise InputError(
                f"The checkpoint {path} is {'damaged' if content else 'missing'}. Workers on several machines need a "
                "folder that all of them see; after an interruption, resuming the study trains it again."
            )
        return _decoded(content)

    def __contains__(self, reference: str) -> bool:
        path = self._path(reference)
        return path.exists() and _hash(path.read_bytes()) == reference

    def collect(self, needed: Sequence[str]) -> None:
        """Delete every checkpoint that is not needed, and needed ones beyond the limit."""
        if not self.folder.exists():
            return
        kept = dict.fromkeys(reference for reference in needed if self._path(reference).exists())
        for path in [*self.folder.glob(f"*{_SUFFIX}"), *self.folder.glob(".*.partial")]:
            if path.name.removesuffix(_SUFFIX) not in kept:
                path.unlink(missing_ok=True)
        sizes = {reference: self._path(reference).stat().st_size for reference in kept}
        excess = sum(sizes.values()) - (self.limit or sum(sizes.values()))
        dropped = []
        for reference, size in sizes.items():
            if excess <= 0:
                break
            dropped.append(size)
            excess -= size
            self._path(reference).unlink()
        if dropped:
            warn(
                f"{len(dropped)} of {len(sizes)} checkpoints ({sum(dropped):,} of {sum(sizes.values()):,} bytes) in "
                f"{self.folder} were dropped for the limit of {self.limit:,} bytes; dropped checkpoints are trained "
                "again if they are needed"
            )

    def save_underway(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Write the state of an evaluation that has not ended, in place of the one before; see `underway.Underway`."""
        content = _encoded(tensors)
        path = self.folder / f"{key}-{_hash(content)}{_UNDERWAY}"
        before = set(self.folder.glob(f"{key}-*{_UNDERWAY}"))
        _write(path, content)
        for old in before - {path}:
            old.unlink(missing_ok=True)

    def load_underway(self, key: str) -> dict[str, Tensor] | None:
        """Read the latest state of an evaluation that has not ended; None if there is none, or only damaged ones."""
        newest_first = sorted(self.folder.glob(f"{key}-*{_UNDERWAY}"), key=lambda one: -one.stat().st_mtime)
        for path in newest_first:
            content = path.read_bytes()
            if path.name == f"{key}-{_hash(content)}{_UNDERWAY}":
                return _decoded(content)
        return None

    def drop_underway(self, key: str = "") -> None:
        """Delete the states of an evaluation that has not ended, or by default of all of them."""
        for path in self.folder.glob(f"{key}*{_UNDERWAY}"):
            path.unlink(missing_ok=True)

    def _path(self, reference: str) -> Path:
        return self.folder / f"{reference}{_SUFFIX}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with written_whole(path, synced=True) as partial:
        partial.write_bytes(content)


def _encoded(tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save(dict(_storable(*one) for one in tensors.items()))


def _decoded(content: bytes) -> dict[str, Tensor]:
    return {
        name.removesuffix(_AS_REAL): torch.view_as_complex(one) if name.endswith(_AS_REAL) else one
        for name, one in safetensors.torch.load(content).items()
    }


def _storable(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested or tensor.dtype == torch.complex32:
        kind = f"{tensor.layout}, {tensor.dtype}"
        raise InputError(f"A checkpoint holds dense tensors of the usual types; {name.split('/')[-1]} is {kind}.")
    # Cloned, because safetensors refuses tensors that share memory.
    own = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().clone()
    return (name + _AS_REAL, torch.view_as_real(own)) if own.dtype == torch.complex128 else (name, own)


class TemporaryCheckpoints(FolderCheckpoints):
    """Keeps checkpoints in a temporary folder, which is deleted with this object; worker processes share it.

    Example:
        >>> import torch
        >>> checkpoints = TemporaryCheckpoints()
        >>> checkpoints.save({"weights": torch.ones(2)}) in checkpoints
        True
        >>> folder = checkpoints.folder
        >>> del checkpoints
        >>> folder.exists()
        False
    """

    def __init__(self) -> None:
        super().__init__(mkdtemp(prefix="deap-hpo-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> TemporaryCheckpoints:
        return self  # a copy would outlive the folder
