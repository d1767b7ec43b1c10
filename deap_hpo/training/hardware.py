"""Where and how exactly training computes: device, precision, threads."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from deap_hpo.errors import InputError

PRECISIONS = ("fp32", "bf16")


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:1" into a device that exists; "auto" is CUDA where there is one.

    Raises:
        InputError: No such device.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise InputError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got {device!r}.") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!r} is not there: {torch.cuda.device_count()} CUDA devices were found.")
    return resolved


def check_precision(precision: str) -> str:
    """Return `precision` if it is a known one.

    Raises:
        InputError: It is not.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    return precision


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Give the context in which a forward pass runs; it does nothing for "fp32"."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute with one CPU thread inside.

    One thread makes the order of summation, and so every bit of a result, independent of the machine's load and of
    how many evaluations run side by side; side by side is also where the other cores are used best.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@lru_cache
def device_name(device: torch.device) -> str:
    """Name the hardware behind a device, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Describe where an evaluation ran, for its record."""
    return {
        "device": device.type,
        "device_name": device_name(device),
        "precision": precision,
        "torch": torch.__version__,
    }
