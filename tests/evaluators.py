"""Evaluators for the tests of executors: at the top level of a module without torch, so that workers start fast."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import BatchEvaluator, Evaluator
from deap_hpo.running_evaluations import running_evaluations


def draw(params: dict[str, Any]) -> tuple[float, float]:
    """Depends on both global generators."""
    return params["x"] + random.random(), float(np.random.rand())


def square(params: dict[str, Any]) -> float:
    return float(params["x"] ** 2)


def break_at_2(params: dict[str, Any]) -> float:
    if params["x"] == 2:
        raise RuntimeError("no such thing")
    return float(params["x"])


def exit_at_2(params: dict[str, Any]) -> float:
    if params["x"] == 2:
        raise SystemExit("enough")
    return float(params["x"])


def hang_at_2(params: dict[str, Any]) -> float:
    if params["x"] == 2:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
    return float(params["x"])


class Watching(Evaluator):
    """The value is 1 if its own evaluation is logged as being under way."""

    def evaluate(self, request: Request) -> Evaluation:
        numbers = [one.number for one in running_evaluations(request.progress or "")]
        return Evaluation((float(request.number in numbers),))


def sleep(params: dict[str, Any]) -> float:
    time.sleep(params.get("seconds", 0.1))
    return float(params["x"])


def sleep_and_tell_parent(params: dict[str, Any]) -> tuple[float, float]:
    time.sleep(params["seconds"])
    return float(params["x"]), float(os.getppid())


def visible_gpu(params: dict[str, Any]) -> tuple[float, float]:
    """The number of the GPU that this process may see, and the process."""
    time.sleep(0.2)
    return float(os.environ["CUDA_VISIBLE_DEVICES"]), float(os.getpid())


def unpicklable_at_2(params: dict[str, Any]) -> Evaluation:
    environment = {"lock": threading.Lock()} if params["x"] == 2 else {}
    return Evaluation((float(params["x"]),), environment=environment)


def own_memory(params: dict[str, Any]) -> float:
    """Megabytes of this process, after work that allocates."""
    sum(np.ones(100_000) for _ in range(5))
    return resident_megabytes(os.getpid())


def threads(params: dict[str, Any]) -> tuple[float, float]:
    """Threads of the numerical libraries in this process: torch's, and the most of any other's."""
    import torch
    from threadpoolctl import threadpool_info

    return float(torch.get_num_threads()), float(max(one["num_threads"] for one in threadpool_info()))


def environment(params: dict[str, Any]) -> Evaluation:
    """Tells the environment of its process."""
    return Evaluation((0.0,), environment=dict(os.environ))


def resident_megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class DiesAt2:
    """Kills its own process, as the system does when memory is short, the first `times` times."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder, self.times = folder, times

    def __call__(self, params: dict[str, Any]) -> float:
        if params["x"] == 2:
            count = len(list(self.folder.iterdir()))
            if count < self.times:
                (self.folder / str(count)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return float(params["x"])


class Draws(Evaluator):
    """Draws from both global generators, which nobody has seeded."""

    def evaluate(self, request: Request) -> Evaluation:
        time.sleep(0.2)  # so that each worker gets one
        return Evaluation((random.random(), float(np.random.rand())))


class BreaksWhenUnpickled(Draws):
    def __reduce__(self) -> Any:
        return _no_such_file, ()


def _no_such_file() -> None:
    raise FileNotFoundError("no such data")


class DiesWhenUnpickled(Draws):
    def __reduce__(self) -> Any:
        return os._exit, (7,)


class BreaksInPreparation(Evaluator):
    def prepare_worker(self) -> None:
        raise RuntimeError("not prepared")

    def evaluate(self, request: Request) -> Evaluation:
        return Evaluation((0.0,))


_IMPORTED_BY = os.getpid()


class BirthOf:
    """Tells which of some modules its process had when this was unpickled, how many objects are left out of its
    garbage collections, and which process imported this module.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = modules

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.there = tuple(float(name in sys.modules) for name in self.modules)

    def __call__(self, params: dict[str, Any]) -> tuple[float, ...]:
        time.sleep(0.2)  # so that each worker gets one
        return (*self.there, float(gc.get_freeze_count()), float(_IMPORTED_BY))


class ProcessAttributes:
    """Tells further properties of its process: the mask of its files' permissions, its cores, its niceness."""

    def __call__(self, params: dict[str, Any]) -> tuple[float, ...]:
        mask = os.umask(0)
        os.umask(mask)
        return float(mask), float(len(os.sched_getaffinity(0))), float(os.getpriority(os.PRIO_PROCESS, 0))


class Weighs:
    """Holds bytes, and tells how many."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __call__(self, params: dict[str, Any]) -> float:
        return float(len(self.data))


class SlowToOpen:
    """Takes a while to unpickle."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        time.sleep(0.5)

    def __getstate__(self) -> dict[str, Any]:
        return {"some": "state"}

    def __call__(self, params: dict[str, Any]) -> float:
        return float(params["x"])


class SharedTensors:
    """Holds many tensors."""

    def __init__(self, tensors: Sequence[Any]) -> None:
        self.tensors = tensors

    def __call__(self, params: dict[str, Any]) -> float:
        return float(sum(tensor.sum() for tensor in self.tensors))


class SharedTensor(Evaluator):
    """Holds a tensor, and tells this process's share of the shared memory, in megabytes."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def evaluate(self, request: Request) -> Evaluation:
        time.sleep(0.5)  # so that each worker gets one
        return Evaluation((float(self.tensor.sum()), shared_megabytes()))


class PrivateMemory(Evaluator):
    """Holds a tensor, and tells how many megabytes this process has to itself."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def evaluate(self, request: Request) -> Evaluation:
        total = float(self.tensor.sum())
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        private = next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon")) * 1024 / 1e6
        return Evaluation((total, private))


def shared_megabytes() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Shmem")) * 1024 / 1e6


class Batches(BatchEvaluator):
    """Takes whole batches, and dies as `DiesAt2` does; the second value is the size of the batch."""

    def __init__(self, folder: Path, times: int) -> None:
        self.dies_at_2 = DiesAt2(folder, times)

    def evaluate_batch(self, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        for i, request in enumerate(requests):
            yield i, Evaluation((self.dies_at_2(request.params), float(len(requests))))


class BreaksInBatches(Batches):
    """Takes x = 2 only in a batch of its own."""

    def evaluate_batch(self, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        if len(requests) > 1 and any(request.params["x"] == 2 for request in requests):
            raise RuntimeError("no such batch")
        yield from super().evaluate_batch(requests)


def sleep_by_x(params: dict[str, Any]) -> float:
    time.sleep(0.03 + 0.2 * params["x"])
    return float(params["x"])


def leaves_a_mark(params: dict[str, Any], folder: str) -> float:
    """Takes 0.2 s, and leaves a file when it is finished."""
    time.sleep(0.2)
    tempfile.mkstemp(dir=folder)
    return 1.0


class FirstComesLate(Evaluator):
    """Gives x; evaluation 0 ends only when evaluation `last` has been done, by another worker.

    Args:
        folder: An empty folder.
        last: Number of an evaluation that is asked for while 0 is under way.
    """

    def __init__(self, folder: Path, last: int) -> None:
        self.mark, self.last = folder / "mark", last

    def evaluate(self, request: Request) -> Evaluation:
        deadline = time.monotonic() + 60
        while request.number == 0 and not self.mark.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        if request.number == self.last:
            self.mark.touch()
        return Evaluation((float(request.params["x"]),))


def saves_x(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
    checkpoint.save({"x": params["x"]})
    return float(params["x"])


def report_curve(params: dict[str, Any], report: Any) -> float:
    """Reports a curve that nears a plateau over five epochs."""
    plateau = float(params["x"] ** 2 + params["y"] ** 2)
    for epoch in range(1, 6):
        report(epoch, plateau + 10.0 / epoch)
    return plateau + 2.0


def two_values(params: dict[str, Any]) -> Evaluation:
    """Two objectives that conflict, and a constraint."""
    return Evaluation((float(params["x"]), -float(params["x"]) + params["y"]), violation=max(0.0, 1 - params["y"]))


class NamelessPruner:
    """A pruner that does not say what it does."""

    def limits(self, entries: Any, direction: Any) -> dict[int, float]:
        return {}
