"""Look-ups of the system's processes, for tests of those that a run starts and leaves behind."""

from __future__ import annotations

import os
import time
from pathlib import Path


def all_gone(pids: list[int], seconds: float = 10) -> bool:
    """Wait until none of the processes runs."""
    deadline = time.monotonic() + seconds
    while any(_runs(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _runs(pid: int) -> bool:
    try:
        # Another thread may end after the main one, and until then the files of the process are open.
        return len(os.listdir(f"/proc/{pid}/task")) > 1 or _fields(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid: int) -> int:
    return int(_fields(pid)[1])


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
