"""Evaluations under way: every process writes a log of its own into a folder, which others may read at any time."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from deap_hpo.evaluation import Epoch, Request

if os.name == "posix":
    import fcntl

LOGS = ("*.jsonl", ".*.partial")
"""Patterns of the names of logs, and of those that are being made."""

_LEAST_SIZE = 1 << 16  # bytes of a log that is written anew, with its present content only


@dataclass(frozen=True)
class RunningEvaluation:
    """An evaluation under way, as its process had last described it.

    Attributes:
        number: Running number of the evaluation in its run.
        seconds: Seconds since it was started; since the last time, if its worker was lost.
        params: Hyperparameters by name, those that JSON does not know as text; empty if the study has no space.
        epochs: Epochs of each of its trainings at the end; None if that is not known.
        trainings: How many trainings it takes: more than one with repeats or folds.
        latest: The last epoch of each training that has begun, by its number from 0.

    Example:
        >>> one = RunningEvaluation(3, 60.0, {"lr": 0.1}, 10, latest={0: Epoch(4, 0.31, 0.4, {"accuracy": 0.9})})
        >>> one.progress, one.measured(["accuracy"])
        ('4/10', ('accuracy', 0.9))
    """

    number: int
    seconds: float
    params: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    trainings: int = 1
    latest: Mapping[int, Epoch] = field(default_factory=dict)

    @property
    def progress(self) -> str:
        """The epochs done in all its trainings, of how many; empty if there are none."""
        done = sum(epoch.epoch for epoch in self.latest.values())
        if self.epochs is None:
            return str(done) if self.latest else ""
        return f"{done}/{self.epochs * self.trainings}"

    def measured(self, objectives: Sequence[str], *, trains: bool = False) -> tuple[str, float] | None:
        """Give the first objective that is measured after each epoch, and the mean of its latest values.

        Without one, they are those of the loss; before the first epoch, it is None.

        Args:
            objectives: Names of the objectives.
            trains: Whether it is of a trainer, whose epochs have a validation loss and metrics, and not of a function,
                which reports its first objective.
        """
        if not (epochs := list(self.latest.values())):
            return None
        for name in objectives:
            if all(name in epoch.metrics for epoch in epochs):
                return name, fmean(epoch.metrics[name] for epoch in epochs)
        return "loss" if trains else objectives[0], fmean(epoch.validation_loss for epoch in epochs)


class _Log:
    """The log of this process in a folder: a line whenever one of its evaluations begins, goes on or ends.

    It is locked until it is closed, or the process has ended, however that may be. When it has grown long, it is
    written anew without what is over.

    Attributes:
        of: What is known of each evaluation under way, by number.
    """

    def __init__(self, folder: str) -> None:
        self._path = Path(folder, f"{platform.node()}-{os.getpid()}.jsonl")
        self.of: dict[int, dict[str, Any]] = {}
        self._file = -1
        self._begin()

    def _begin(self) -> None:
        new = self._path.with_name(f".{self._path.name}.partial")
        text = "".join(map(self._line, self.of)).encode()
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(file, text)
            os.rename(new, self._path)  # locked and complete
        except OSError:
            os.close(file)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._most = file, len(text), max(_LEAST_SIZE, 2 * len(text))

    def _line(self, number: int) -> str:
        return json.dumps({"number": number, **self.of.get(number, {})}, default=str) + "\n"

    def say(self, number: int, facts: dict[str, Any] | None) -> None:
        """Write what is known now of an evaluation; None if it has ended."""
        if facts is None:
            self.of.pop(number, None)
        else:
            self.of[number] = facts
        line = self._line(number).encode()
        os.write(self._file, line)
        self._size += len(line)
        if self._size > self._most:
            self._begin()

    def close(self) -> None:
        """Delete it; what is said later, of an evaluation that was given up, is lost."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = -1


_logs: dict[str, _Log] = {}  # by folder, those of this process
_changing = threading.RLock()


def _leave_to_the_parent() -> None:
    """Close the logs in a process that was forked: it would hold their locks, and end what its parent does."""
    global _changing
    _changing = threading.RLock()  # another thread may have held it
    for log in _logs.values():
        os.close(log._file)
        log._file = -1
    _logs.clear()


if os.name == "posix":
    os.register_at_fork(after_in_child=_leave_to_the_parent)


class Logged:
    """An evaluation that is logged as being under way, until it is closed.

    Args:
        request: Its request, which says where; nothing is logged if that is nowhere, or cannot be written.
        epochs: Epochs of an evaluation whose request names none.
        trainings: How many trainings it takes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     request = Request(7, {"lr": 0.1}, seed=0, progress=folder)
        ...     log = Logged(request, epochs=2)
        ...     log_epoch(request, Epoch(1, 0.6, 0.5))
        ...     during = running_evaluations(folder)
        ...     log.close()
        ...     after = running_evaluations(folder)
        >>> [(one.number, one.params, one.progress) for one in during], after
        ([(7, {'lr': 0.1}, '1/2')], ())
    """

    def __init__(self, request: Request, *, epochs: int | None = None, trainings: int = 1) -> None:
        self._number, self._log = request.number, None
        if request.progress is None or os.name != "posix":
            return
        params = request.params if isinstance(request.params, Mapping) else {}
        facts = {"params": dict(params), "epochs": request.epochs or epochs, "trainings": trainings}
        with _changing, suppress(OSError):  # without a place for it, evaluations go on all the same
            self._log = _log_in(request.progress)
            self._log.say(self._number, {"started": time.time(), **facts, "latest": {}})

    def close(self) -> None:
        """Log that it has ended."""
        if self._log is not None:
            with _changing, suppress(OSError):
                self._log.say(self._number, None)


def log_epoch(request: Request, epoch: Epoch, training: int = 0) -> None:
    """Log an epoch of an evaluation that is `Logged`; of others, do nothing.

    Args:
        request: The evaluation's request.
        epoch: The epoch.
        training: Number of the training, from 0, if the evaluation takes several.

    Example:
        >>> log_epoch(Request(0, {"lr": 0.1}, seed=0), Epoch(1, 0.6, 0.5))  # which is logged nowhere
    """
    log = _logs.get(request.progress or "")
    if log and (facts := log.of.get(request.number)):
        facts["latest"][training] = asdict(epoch)
        with _changing, suppress(OSError):
            log.say(request.number, facts)


def _log_in(folder: str) -> _Log:
    """Give this process's log in a folder; it stays open for further evaluations, and those in other folders do not."""
    if folder not in _logs:
        for other in [one for one, log in _logs.items() if not log.of]:
            _logs.pop(other).close()
        _logs[folder] = _Log(folder)
    return _logs[folder]


def close_log(folder: str) -> None:
    """Close and delete the log of this process in a folder, if there is one."""
    with _changing:
        if log := _logs.pop(folder, None):
            log.close()


def running_evaluations(folder: str | Path) -> tuple[RunningEvaluation, ...]:
    """Read which evaluations are under way, by number, from the logs in a folder; those of dead processes are not.

    Example:
        >>> running_evaluations("there/is/no/such/folder")
        ()
    """
    known: dict[int, dict[str, Any]] = {}
    for path in sorted(Path(folder).glob(LOGS[0])):
        told = {}
        for line in _read_if_alive(path).split("\n")[:-1]:  # the last one may be a part of a line
            with suppress(ValueError):  # the disk was full in the middle of it
                facts = json.loads(line)
                told[facts["number"]] = facts
        known |= {number: facts for number, facts in told.items() if "started" in facts}  # the others have ended
    return tuple(_as_running(known[number]) for number in sorted(known))


def _as_running(facts: Mapping[str, Any]) -> RunningEvaluation:
    latest = {int(training): Epoch(**epoch) for training, epoch in facts["latest"].items()}
    seconds = max(0.0, time.time() - facts["started"])  # clocks of several machines may differ
    return RunningEvaluation(facts["number"], seconds, facts["params"], facts["epochs"], facts["trainings"], latest)


def _read_if_alive(path: Path) -> str:
    """Give the content of a log, if its process holds its lock; otherwise nothing."""
    with suppress(OSError), open(path, encoding="utf-8") as file:  # it may be gone, or on a file system without locks
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read()
    return ""
