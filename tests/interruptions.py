"""Helpers for tests of interrupted or killed runs: when it happens, and how much is on record by then."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable
from typing import Any

from deap_hpo.errors import InputError
from deap_hpo.recorded import load_study
from deap_hpo.records.sqlite_file import sqlite_path


class InterruptedAt:
    """Counts evaluations, and presses Ctrl-C at one of them."""

    def __init__(self, at: int, function: Callable[..., Any]) -> None:
        self.calls, self.at, self.function = 0, at, function

    def __call__(self, params: dict[str, Any]) -> Any:
        self.calls += 1
        if self.calls > self.at:
            raise KeyboardInterrupt
        return self.function(params)


def wait_until_recorded(
    count: int, process: subprocess.Popen[Any], name: str = "run", storage: str = "runs/studies.db"
) -> None:
    """Wait until a process has put at least `count` evaluations on record."""
    while count_recorded(name, storage) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def count_recorded(name: str = "run", storage: str = "runs/studies.db") -> int:
    """Number of evaluations on record; a file is read directly, to leave the processor to the process waited for."""
    path = sqlite_path(storage)
    if path is None:
        try:
            return len(load_study(name, storage).entries)
        except InputError:
            return 0
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    except sqlite3.OperationalError:  # not there yet
        return 0
    try:
        query = "SELECT count(*) FROM trials JOIN studies USING (study_id) WHERE study_name = ?"
        return int(connection.execute(query, (name,)).fetchone()[0])
    finally:
        connection.close()
