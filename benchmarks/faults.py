"""Do faults to real runs, resume these, and compare them with a run without faults.

    python benchmarks/faults.py            # every fault as often as the table in benchmarks/README.md says
    python benchmarks/faults.py --short    # each once, as the tests do it

An evaluation is acknowledged once `Study` has told its callbacks of it. "Lost" counts acknowledged evaluations that are
not on record, with the same values, after the fault. The exit code is 1 if an evaluation was lost, a run ended
differently from the run without faults, or a refusal was not one clear sentence.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from driven_run import Run

_INTERRUPTIONS_OF_A_RUN = 5


@dataclass
class Row:
    """The results of a fault: how often it was done, to how many runs, how these ended, and what they lost."""

    times: int = 0
    runs: int = 0
    identical: int = 0
    lost: int = 0
    refusals_unclear: int = 0

    def count(self, run: Run, expected: str) -> None:
        """Count the evaluations that a run has lost, and whether it ends as expected."""
        self.runs += 1
        self.lost += run.lost()
        self.identical += run.finish() == expected


@dataclass
class Faults:
    """The faults; each method takes the number of times to do it."""

    root: Path
    expected: str
    seconds: float

    def interrupted(self, times: int, number: signal.Signals) -> Row:
        """Send the driver of a run a signal at a random moment, and again after each resume, up to five times."""
        row = Row()
        while row.times < times:
            run = Run(self.root)
            most = row.times + _INTERRUPTIONS_OF_A_RUN
            while not run.ended() and row.times < min(times, most):
                row.lost += run.lost()
                process = run.start()
                time.sleep(random.uniform(0, self.seconds / 2))
                if process.poll() is None:
                    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
                    row.times += 1
                process.communicate()
            row.count(run, self.expected)
        return row

    def processes_killed(self, times: int, of: Callable[[int], list[int]]) -> Row:
        """Kill one of a driver's processes at a random moment, five times in a run; the driver must continue."""
        row = Row()
        while row.times < times:
            run = Run(self.root)
            process = run.start()
            for _ in range(_INTERRUPTIONS_OF_A_RUN):
                time.sleep(random.uniform(0, self.seconds / 5))
                found = of(process.pid)
                if found and row.times < times:
                    os.kill(random.choice(found), signal.SIGKILL)
                    row.times += 1
            process.communicate()
            row.refusals_unclear += process.returncode != 0  # the driver itself must reach the end
            row.count(run, self.expected)
        return row

    def disk_full(self, times: int) -> Row:
        """Set a limit on the size of files that is met somewhere in the run, and lift it for the resume."""
        row = Row()
        for _ in range(times):
            run = Run(self.root)
            # Enough for the tables of an empty record, but not for the whole run.
            process = run.start(most_bytes=random.randrange(300_000, 900_000))
            error = process.communicate()[1]
            row.times += process.returncode == 2
            row.refusals_unclear += not _is_one_sentence(error, "could not be used")
            row.count(run, self.expected)
        return row

    def locked(self, times: int, statement: str) -> Row:
        """Let another program hold the database: for reading until the run ends, or exclusively for 2 s."""
        row = Row()
        for _ in range(times):
            run = Run(self.root)
            process = run.start()
            while not run.acknowledged() and process.poll() is None:
                time.sleep(0.01)
            with closing(sqlite3.connect(run.storage, timeout=60, isolation_level=None)) as other:
                other.execute(statement)
                other.execute("SELECT count(*) FROM trials").fetchone()
                row.times += process.poll() is None
                if "EXCLUSIVE" in statement:
                    time.sleep(2)
                    other.execute("ROLLBACK")
                process.communicate()
            row.refusals_unclear += process.returncode != 0
            row.count(run, self.expected)
        return row

    def second_driver(self, times: int) -> Row:
        """Start a second driver of a study while the first one runs (paused, so that it does not end too soon)."""
        row = Row()
        while row.times < times:
            run = Run(self.root)
            first = run.start()
            while not run.acknowledged() and first.poll() is None:
                time.sleep(0.01)
            os.kill(first.pid, signal.SIGSTOP)
            error = run.start().communicate()[1]
            os.kill(first.pid, signal.SIGCONT)
            row.times += 1
            row.refusals_unclear += not _is_one_sentence(error, "Another process is running the study 'run'")
            first.communicate()
            row.count(run, self.expected)
        return row

    def truncated(self, times: int) -> Row:
        """Cut the file off somewhere: a resume must refuse it and leave it as it is, and continue from a copy."""
        row = Row()
        for i in range(times):
            run = Run(self.root)
            process = run.start()
            while not run.acknowledged() and process.poll() is None:
                time.sleep(0.01)
            time.sleep(random.uniform(0, self.seconds / 4))
            process.kill()
            process.communicate()
            with closing(sqlite3.connect(run.storage)) as database:  # into one file, to cut it anywhere
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            whole = run.storage.read_bytes()
            empty = i == 1
            cut = whole[: 0 if empty else random.randrange(1, len(whole))]
            run.storage.write_bytes(cut)
            error = run.finish()
            row.times += 1
            row.refusals_unclear += not _is_one_sentence(error, "an empty file" if empty else "not an intact SQLite")
            row.refusals_unclear += run.storage.read_bytes() != cut
            run.storage.write_bytes(whole)
            row.count(run, self.expected)
        return row

    def power_cut(self, times: int) -> Row:
        """Restore the files on disk after an acknowledgement, with the next write done in part, or garbled."""
        whole = Run(self.root)
        whole.start(images=True).communicate()
        images = sorted(whole.folder.glob("image-*"))
        row = Row()
        for _ in range(times):
            before, after = random.choice(list(itertools.pairwise(images)))
            run = Run(self.root)
            shutil.copy(before / "studies.db", run.storage)
            old, new = ((image / "studies.db-wal").read_bytes() for image in (before, after))
            run.storage.with_name("studies.db-wal").write_bytes(_torn(old, new))
            said = (whole.folder / "acknowledged").read_text().splitlines(keepends=True)
            (run.folder / "acknowledged").write_text("".join(said[: 1 + int(before.name[-3:])]))
            row.times += 1
            row.count(run, self.expected)
        return row


def _torn(old: bytes, new: bytes) -> bytes:
    """Return the write-ahead log as if the last write had reached the disk up to some byte, with garbage after it."""
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    cut = random.randint(same, len(new))
    garbled = random.choice([b"", bytes(len(new) - cut), random.randbytes(len(new) - cut)])
    return new[:cut] + (garbled or old[cut:])


def _fork_servers_of(driver: int) -> list[int]:
    return [child for child in _children(driver) if "forkserver" in Path(f"/proc/{child}/cmdline").read_text()]


def _workers_of(driver: int) -> list[int]:
    return [worker for server in _fork_servers_of(driver) for worker in _children(server)]


def _children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except FileNotFoundError:  # it has ended
        return []


def _is_one_sentence(error: str, expected: str) -> bool:
    return expected in error and "Traceback" not in error and len(error.splitlines()) == 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="each fault once")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and places of the faults")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
    with tempfile.TemporaryDirectory() as root:
        whole = Run(Path(root))
        start = time.monotonic()
        faults = Faults(Path(root), whole.finish(), time.monotonic() - start)
        table: list[tuple[str, int, Callable[[int], Row]]] = [
            ("`kill -9` of the driver", 50, partial(faults.interrupted, number=signal.SIGKILL)),
            ("`kill -9` of a worker", 20, partial(faults.processes_killed, of=_workers_of)),
            (
                "`kill -9` of the process that forks the workers",
                10,
                partial(faults.processes_killed, of=_fork_servers_of),
            ),
            ("Ctrl-C", 10, partial(faults.interrupted, number=signal.SIGINT)),
            ("SIGTERM", 10, partial(faults.interrupted, number=signal.SIGTERM)),
            ("disk full", 5, faults.disk_full),
            ("database held by a reader", 3, partial(faults.locked, statement="BEGIN")),
            ("database locked for 2 s", 3, partial(faults.locked, statement="BEGIN EXCLUSIVE")),
            ("second driver", 3, faults.second_driver),
            ("database file truncated", 10, faults.truncated),
            ("loss of power in a write", 20, faults.power_cut),
        ]
        print(
            "| fault | times | runs | ended bit-identical | evaluations lost |\n|---|---:|---:|---:|---:|", flush=True
        )
        wrong = 0
        for name, times, fault in table:
            row = fault(1 if arguments.short else times)
            wrong += row.lost + row.runs - row.identical + row.refusals_unclear
            unclear = f" (refusal unclear: {row.refusals_unclear})" if row.refusals_unclear else ""
            print(f"| {name}{unclear} | {row.times} | {row.runs} | {row.identical} | {row.lost} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
