"""The C library's allocator, told to keep freed memory, because a training process soon asks for the same again."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_BLOCKS = (1 << 30, 1 << 25)  # glibc before 2.35 accepts only the second


def keep_memory() -> None:
    """Let this process keep the memory that it frees; for processes that only train and measure.

    glibc returns large blocks to the kernel as soon as they are free. A training step frees blocks and asks for the
    same ones again, and the kernel clears every page each time. With another C library, this does nothing.

    Source:
        `mallopt(3)`; benchmarks/README.md shows the gain.

    Example:
        >>> keep_memory()
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    # Both or neither: once one of them is set, glibc no longer adapts the other.
    if any(libc.mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST_BLOCKS):
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
