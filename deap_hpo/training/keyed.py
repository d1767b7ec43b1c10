"""Random numbers as functions of a key: initial weights, batch order and masks.

A member of a population must train to the same network whether it is alone or one of sixty-four, and in any order. A
shared generator cannot give that; hashing (seed, purpose, step, element) can.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from deap_hpo.interruption import undisturbed


def derive_key(*parts: object) -> int:
    """Hash any printable parts to a signed 32-bit key, the same on every machine and in every process.

    Example:
        >>> derive_key("dropout", 7) == derive_key("dropout", 7)
        True
        >>> derive_key("dropout", 7) == derive_key("dropout", 8)
        False
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little", signed=True)


def gpus_in_use() -> list[int]:
    """Give the numbers of the GPUs whose generators may have been used: none before CUDA is in use."""
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return list(range(torch.cuda.device_count())) if in_use else []


@contextmanager
def generators_restored(gpus: Sequence[int]) -> Iterator[None]:
    """Put the generators of torch, numpy and Python back afterwards.

    Args:
        gpus: Numbers of the GPUs whose generators are restored as well; see `gpus_in_use`.

    Example:
        >>> before = random.getstate()
        >>> with generators_restored(gpus_in_use()):
        ...     number = random.random()
        >>> random.getstate() == before
        True
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with undisturbed(), torch.random.fork_rng(devices=gpus):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators of torch, numpy and Python inside, and put them back afterwards.

    CUDA's generators are seeded only if CUDA is in use; otherwise `torch.manual_seed` would keep a seed for its start.
    """
    gpus = gpus_in_use()
    with generators_restored(gpus):
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        np.random.seed(seed)
        yield


def keyed_model(factory: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a model whose initial weights depend on `seed` alone, and leave the caller's generators as they were.

    The weights are drawn on the CPU, so that they are the same for every device.
    """
    with _seeded(derive_key("weights", seed) & 0x7FFFFFFF):
        return factory()


@contextmanager
def keyed_generators(seed: int, epoch: int = 0) -> Iterator[None]:
    """Seed the generators that networks themselves draw from in an epoch, and put them back afterwards.

    These are torch's, numpy's global one, and that of Python's `random`.
    """
    with _seeded(derive_key("own", seed, epoch) & 0x7FFFFFFF):
        yield


def keyed_permutation(size: int, seed: int, epoch: int) -> Tensor:
    """Give the order of the training examples in one epoch: a permutation of ``range(size)``, int64 on the CPU.

    Example:
        >>> keyed_permutation(5, seed=1, epoch=0).sort().values.tolist()
        [0, 1, 2, 3, 4]
    """
    key = derive_key("batches", seed, epoch) & 0xFFFFFFFF
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=key)).permutation(size))


def int32(value: int) -> int:
    """Wrap a Python integer to the signed 32 bits that torch's int32 arithmetic wraps to.

    Example:
        >>> int32(2**31), int32(5)
        (-2147483648, 5)
    """
    return (value + 2**31) % 2**32 - 2**31


# Multiply-xorshift finalisers of 32 bits with low bias (C. Wellons, "Prospecting for Hash Functions", 2018, and the
# hash-prospector project's later constants). There are two, so that hashing an index and hashing the sum of an index
# and a key have nothing in common. torch has no unsigned 32-bit shift: the masks make it one.
def _mix_index(x: Tensor) -> Tensor:
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * int32(0x7FEB352D)
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * int32(0x846CA68B)
    return x ^ ((x >> 16) & 0xFFFF)


def mix_key(x: Tensor) -> Tensor:
    """Hash keys, int32 of any shape.

    Example:
        >>> mix_key(torch.tensor([1, 2], dtype=torch.int32)).tolist()
        [-2032993677, 229111015]
    """
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * int32(0x21F0AAAD)
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * int32(0x735A2D97)
    return x ^ ((x >> 15) & 0x1FFFF)


def member_keys(seeds: Iterable[int], device: torch.device | str = "cpu") -> Tensor:
    """Give the dropout keys of members with these seeds: int32, shape [P]."""
    return torch.tensor([derive_key("dropout", seed) for seed in seeds], dtype=torch.int32, device=device)


def step_keys(keys: Tensor, step: int | Tensor) -> Tensor:
    """Turn member keys into the keys of one training step.

    Args:
        keys: int32, any shape ([P] for a population, [] for one member).
        step: Steps trained so far; a 0-dim int32 tensor if no host value may be used (CUDA graphs).
    """
    offset = step * int32(0x85EBCA6B) if isinstance(step, Tensor) else int32(step * 0x85EBCA6B)
    return mix_key(mix_key(keys) + offset)


_INDEX_HASHES: dict[tuple[int, str], Tensor] = {}


def _index_hashes(count: int, device: torch.device) -> Tensor:
    """Give the hashes of 0 .. count - 1, cached: a network asks for the same few sizes at every step.

    Only sizes of powers of two are cached, and other sizes are taken from their beginnings; otherwise a search over
    batch sizes and widths would fill the memory. They are never freed, because a CUDA graph may read them.
    """
    if torch.compiler.is_compiling():
        # A cached tensor cannot be traced; computed here, it is fused with what follows.
        return _mix_index(torch.arange(count, dtype=torch.int32, device=device))
    size = 1 << (count - 1).bit_length()
    kept = (size, str(device))
    if kept not in _INDEX_HASHES:
        _INDEX_HASHES[kept] = _mix_index(torch.arange(size, dtype=torch.int32, device=device))
    return _INDEX_HASHES[kept][:count]


def keyed_mask(shape: torch.Size, p: float | Tensor, key: Tensor) -> Tensor:
    """Draw a keep-mask: bool, `shape`; an element is False with probability ``min(round(p * 65536), 65535) / 65536``.

    Args:
        shape: Shape of the mask (of one member, under `vmap`).
        p: Probability of dropping, 0 <= p <= 1; a 0-dim float64 tensor (batched under `vmap`) where members differ.
        key: 0-dim int32 tensor (batched under `vmap`).

    Each 32-bit hash decides for two elements, 16 bits each.
    """
    count = shape.numel()
    hashes = mix_key(_index_hashes((count + 1) // 2, key.device) + key)
    if isinstance(p, Tensor):
        threshold: int | Tensor = ((p * 65536).round().int() - 32768).clamp(max=32767)
    else:
        threshold = min(round(p * 65536), 65535) - 32768
    return hashes.view(torch.int16)[..., :count].ge(threshold).view(shape)
