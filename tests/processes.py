"""Look-ups of the system's processes, for tests of those that a run starts and leaves behind, and one to be killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from deap_hpo.execution.fork_server import ensure_fork_server


def exit_code_of(function: Callable[..., Any], *arguments: Any, **environment: str) -> int | None:
    """Call a function in a process of its own, with more variables in its environment.

    It is forked from a process that has imported torch, where that is possible: to import it takes seconds.
    """
    ensure_fork_server()
    process = get_context("forkserver").Process(target=_call, args=(function, arguments, environment))
    process.start()
    process.join()
    return process.exitcode


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    function(*arguments)


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
