"""The C library's allocator, told to keep what is freed: a process that trains asks for the same again at once."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_BLOCKS = (1 << 30, 1 << 25)  # glibc before 2.35 takes no more than the second


def keep_memory() -> None:
    """Let this process keep the memory that it frees; for processes that do nothing but train and measure.

    glibc gives large blocks back to the kernel as soon as they are free. A training step frees and asks for the same
    ones again, and the kernel clears every page each time. Does nothing where the C library is another one.

    Source:
        `mallopt(3)`; benchmarks/README.md has what it gains.

    Example:
        >>> keep_memory()
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    # Both or neither: with either of them set, glibc no longer adapts the other one.
    if any(libc.mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST_BLOCKS):
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
