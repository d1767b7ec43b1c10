"""How a batch of evaluations is done: in this process, side by side in worker processes, or on a Ray cluster.

Every executor has the same two methods, and gives the same results: ``run(evaluate, requests)``, which yields
(position, evaluation) as each is finished, and ``close()``. None of them touches the record.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Protocol

from deap_hpo.errors import InputError
from deap_hpo.evaluation import TIMED_OUT, BatchEvaluator, Evaluation, Request
from deap_hpo.workers import Evaluate, Worker, WorkerDied, evaluate_one, failure, wait_for

_SECONDS_BETWEEN_LOOKS_AT_WORKERS = 1.0
_STARTS_KILLED_IN_A_ROW = 10


class Executor(Protocol):
    """The shape of an executor."""

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished, in any order."""
        ...

    def close(self) -> None:
        """Give back what the executor holds; it may be used again afterwards."""
        ...


class SerialExecutor:
    """Evaluates in this process: one after the other, or a whole batch at once where the evaluator can.

    Example:
        >>> requests = [Request(number=0, params={"x": 3.0}, seed=0)]
        >>> [(i, e.value) for i, e in SerialExecutor().run(lambda params: params["x"] ** 2, requests)]
        [(0, 9.0)]
    """

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished."""
        if isinstance(evaluate, BatchEvaluator):
            yield from evaluate.evaluate_batch(requests)
        else:
            for i, request in enumerate(requests):
                yield i, evaluate_one(evaluate, request)

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""


@dataclass
class _Job:
    """A request under way: how often its worker has died, and when its time is up."""

    position: int
    retries: int = 0
    started: float = 0.0


class ProcessExecutor:
    """Evaluates in worker processes, each with one thread; what becomes of one evaluation never harms another.

    An evaluation that raises is "failed", with its traceback. One that runs longer than `timeout` is ended and
    "failed". One whose worker dies is started again, up to `retries` times, then "failed".

    Args:
        workers: Number of processes, at least 1; None takes one per usable core.
        timeout: Seconds that one evaluation may take; None for no limit.
        retries: How often an evaluation whose worker died is started again, at least 0.

    Raises:
        InputError: An argument is out of its range; from `run`: the evaluator does not work in another process.

    The evaluator and its data go to each worker once, when it starts; torch's tensors are shared, not copied. Workers
    are started with "spawn": the evaluator has to pickle, and a script that uses this executor needs the
    ``if __name__ == "__main__":`` of any such script.

    Example:
        >>> requests = [Request(number=i, params=-i, seed=0) for i in range(3)]
        >>> executor = ProcessExecutor(workers=2, timeout=60)
        >>> sorted((i, evaluation.value) for i, evaluation in executor.run(abs, requests))
        [(0, 0.0), (1, 1.0), (2, 2.0)]
        >>> executor.close()
    """

    def __init__(self, workers: int | None = None, *, timeout: float | None = None, retries: int = 2) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"workers must be an integer of at least 1, or None for one per core; got {workers!r}.")
        check_limits(timeout, retries)
        self.workers = workers or usable_cores()
        self.timeout = timeout
        self.retries = retries
        self._evaluate: Evaluate | None = None
        self._idle: list[Worker] = []  # started, ready or not, without a request
        self._busy: dict[Worker, _Job] = {}
        self._failed_starts = 0

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished, in order of completion."""
        if self._evaluate is not evaluate:
            self.close()
            self._evaluate = evaluate
        waiting = deque(_Job(i) for i in range(len(requests)))
        try:
            while waiting or self._busy:
                self._hand_out(waiting, requests)
                finished: list[tuple[int, Evaluation]] = []
                for worker in wait_for([*self._idle, *self._busy], self._seconds_to_wait()):
                    self._listen(worker, waiting, finished)
                self._end_what_is_late(finished)
                # What is yielded is put on record, which takes time: the workers have their next requests before.
                self._hand_out(waiting, requests)
                yield from finished
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        for worker in [*self._idle, *self._busy]:
            worker.kill()
        self._idle, self._busy, self._evaluate, self._failed_starts = [], {}, None, 0

    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in [*self._idle, *self._busy]]

    def _hand_out(self, waiting: deque[_Job], requests: Sequence[Request]) -> None:
        """Start the workers that are wanted, and give a request to each that is ready."""
        while len(self._idle) < min(self.workers - len(self._busy), len(waiting)):
            try:
                self._idle.append(Worker(self._evaluate))  # type: ignore[arg-type]
            except WorkerDied as death:
                self._count_failed_start(death)
        for worker in [worker for worker in self._idle if worker.ready][: len(waiting)]:
            self._idle.remove(worker)
            job = waiting.popleft()
            try:
                worker.send(requests[job.position])
            except WorkerDied:  # while it was idle: no evaluation's fault
                waiting.appendleft(job)
            else:
                job.started = monotonic()
                self._busy[worker] = job

    def _listen(self, worker: Worker, waiting: deque[_Job], finished: list[tuple[int, Evaluation]]) -> None:
        job = self._busy.pop(worker, None)
        if job is None:
            self._idle.remove(worker)
        try:
            evaluation = worker.receive()
        except WorkerDied as death:
            if job is not None:
                self._start_again(job, death, waiting, finished)
            elif not worker.ready:
                self._count_failed_start(death)
        else:
            self._idle.append(worker)
            self._failed_starts = 0
            if job is not None and evaluation is not None:
                finished.append((job.position, replace(evaluation, retries=job.retries)))

    def _start_again(
        self, job: _Job, death: WorkerDied, waiting: deque[_Job], finished: list[tuple[int, Evaluation]]
    ) -> None:
        if job.retries < self.retries:
            job.retries += 1
            waiting.appendleft(job)
        else:
            error = f"The worker process died {job.retries + 1} time(s) in this evaluation (exit code {death})."
            finished.append((job.position, replace(failure(error), retries=job.retries)))

    def _count_failed_start(self, death: WorkerDied) -> None:
        # What ends by itself will do so again; what is killed may have been unlucky.
        self._failed_starts += 1
        killed = isinstance(death.args[0], int) and death.args[0] < 0
        if not killed or self._failed_starts >= _STARTS_KILLED_IN_A_ROW:
            raise InputError(
                f"A worker process ended before it was ready (exit code {death}); what it printed stands above. A "
                'script needs `if __name__ == "__main__":` around what it runs; otherwise, is there enough memory?'
            )

    def _end_what_is_late(self, finished: list[tuple[int, Evaluation]]) -> None:
        for worker, job in list(self._busy.items()):
            seconds = monotonic() - job.started
            if self.timeout is not None and seconds > self.timeout and not worker.has_spoken_or_died():
                worker.kill()
                del self._busy[worker]
                error = f"{TIMED_OUT}: ended after {seconds:.1f} s; the time limit is {self.timeout:g} s."
                finished.append((job.position, replace(failure(error, seconds), retries=job.retries)))

    def _seconds_to_wait(self) -> float:
        if self.timeout is None or not self._busy:
            return _SECONDS_BETWEEN_LOOKS_AT_WORKERS
        first = min(job.started for job in self._busy.values()) + self.timeout
        return min(max(0.0, first - monotonic()), _SECONDS_BETWEEN_LOOKS_AT_WORKERS)


def usable_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_limits(timeout: float | None, retries: int) -> None:
    """Check the limits of an evaluation.

    Raises:
        InputError: The timeout is not positive, or the number of retries is negative.
    """
    if timeout is not None and not (timeout > 0 and math.isfinite(timeout)):
        raise InputError(f"timeout must be a positive number of seconds, or None; got {timeout!r}.")
    if retries < 0:
        raise InputError(f"retries must be an integer of at least 0; got {retries!r}.")


EXECUTORS: dict[str, Any] = {"serial": SerialExecutor, "processes": ProcessExecutor}
