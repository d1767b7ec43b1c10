"""A pool of workers: it hands out requests, repeats them when a worker died, and ends those that take too long."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Generic, Protocol, TypeVar

from deap_hpo.checks import check_integer, check_optional_integer, is_number
from deap_hpo.errors import InputError
from deap_hpo.evaluation import TIMED_OUT, Evaluation, Request, failure
from deap_hpo.execution.workers import WorkerDied

_SECONDS_BETWEEN_LOOKS_AT_WORKERS = 1.0
_STARTS_KILLED_IN_A_ROW = 10


class PoolWorker(Protocol):
    """The interface of a worker in a pool; see `deap_hpo.execution.workers.Worker`."""

    ready: bool

    def send(self, requests: Sequence[Request]) -> None:
        """Hand over requests."""
        ...

    def receive(self) -> list[Evaluation] | None:
        """Receive the worker's message: that it is ready (None), or evaluations."""
        ...

    def has_spoken_or_died(self) -> bool:
        """Tell whether `receive` would return or raise at once."""
        ...

    def kill(self) -> object:
        """End the worker, whatever it is doing."""
        ...


_Worker = TypeVar("_Worker", bound=PoolWorker)


@dataclass
class _Job:
    """Requests that were handed out together, how often their worker has died, and when they started."""

    positions: list[int]
    retries: int = 0
    started: float = 0.0


class WorkerPool(Generic[_Worker]):
    """Workers of any kind, and the requests that they work on.

    Args:
        start: Starts a worker.
        wait_for: Waits until some of the given workers have spoken or died, some seconds at most; gives those workers.
        timeout: Seconds that one evaluation may take; None for no limit.
        retries: How often an evaluation whose worker died is repeated.
        chunk: Requests that a worker is given at once. If the worker dies, each of them is repeated alone, so that a
            fatal one does not take the others with it.
        max_tasks_per_child: Evaluations after which a worker is replaced by a new one; None for no limit.

    Raises:
        InputError: `timeout` is not positive, `retries` is negative, or `chunk` or `max_tasks_per_child` is below 1.
    """

    def __init__(
        self,
        start: Callable[[], _Worker],
        wait_for: Callable[[list[_Worker], float | None], list[_Worker]],
        *,
        timeout: float | None,
        retries: int,
        chunk: int = 1,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if timeout is not None and not (is_number(timeout) and 0 < timeout < math.inf):
            raise InputError(f"timeout must be a positive number of seconds, or None; got {timeout!r}.")
        check_integer("retries", retries, 0)
        check_integer("chunk", chunk, 1)
        check_optional_integer("max_tasks_per_child", max_tasks_per_child, 1)
        self._start = start
        self._wait_for = wait_for
        self._timeout = timeout
        self._retries = retries
        self._most_tasks = max_tasks_per_child
        self._tasks: dict[_Worker, int] = {}  # evaluations that a worker has done
        self._chunk = chunk
        self._idle: list[_Worker] = []  # started, ready or not, without a job
        self._busy: dict[_Worker, _Job] = {}
        self._waiting: deque[_Job] = deque()
        self._finished: list[tuple[int, Evaluation]] = []
        self._failed_starts = 0

    @property
    def workers(self) -> list[_Worker]:
        """The workers, idle and busy."""
        return [*self._idle, *self._busy]

    @property
    def is_busy(self) -> bool:
        """Whether some worker has requests, as in a run that was not finished."""
        return bool(self._busy)

    def run(self, requests: Sequence[Request], most_workers: int) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished; `requests` may grow, or be emptied."""
        taken = 0
        try:
            while self._busy or (requests and (self._waiting or taken < len(requests))):
                new = range(taken, len(requests))
                taken = len(requests)
                # Small enough for every worker to get a share.
                chunk = max(1, min(self._chunk, -(-len(new) // most_workers)))
                self._waiting.extend(_Job(list(new[i : i + chunk])) for i in range(0, len(new), chunk))
                self._hand_out(requests, most_workers)
                for worker in self._wait_for(self.workers, self._seconds_to_wait()):
                    self._listen(worker)
                self._end_what_is_late()
                # The caller records the evaluations, which takes time: the workers get their next requests before.
                self._hand_out(requests, most_workers)
                finished, self._finished = self._finished, []
                yield from finished
            self._waiting.clear()  # jobs are left if `requests` was emptied
        except BaseException:
            self.close()
            raise

    def tell(self, say: Callable[[_Worker], None]) -> None:
        """Say something to all workers, none of which may be busy; those that have died are left out."""
        for worker in self.workers:
            try:
                say(worker)
            except WorkerDied:  # while idle, which is no evaluation's fault
                self._idle.remove(worker)
                self._tasks.pop(worker, None)

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        for worker in self.workers:
            worker.kill()
        self._idle, self._busy, self._waiting, self._finished, self._failed_starts = [], {}, deque(), [], 0
        self._tasks = {}

    def _hand_out(self, requests: Sequence[Request], most_workers: int) -> None:
        """Start the workers that are needed, and give a job to each that is ready."""
        if not requests:
            self._waiting.clear()
        while len(self._idle) < min(most_workers - len(self._busy), len(self._waiting)):
            try:
                self._idle.append(self._start())
            except WorkerDied as death:
                self._count_failed_start(death)
        for worker in [worker for worker in self._idle if worker.ready][: len(self._waiting)]:
            self._idle.remove(worker)
            job = self._waiting.popleft()
            try:
                worker.send([requests[i] for i in job.positions])
            except WorkerDied:  # while idle, which is no evaluation's fault
                self._waiting.appendleft(job)
            else:
                job.started = monotonic()
                self._busy[worker] = job

    def _listen(self, worker: _Worker) -> None:
        job = self._busy.pop(worker, None)
        if job is None:
            self._idle.remove(worker)
        try:
            evaluations = worker.receive()
        except WorkerDied as death:
            self._tasks.pop(worker, None)
            if job is not None:
                self._start_again(job, death)
            elif not worker.ready:
                self._count_failed_start(death)
        except InputError:
            self._idle.append(worker)  # to be ended with the others
            raise
        else:
            self._failed_starts = 0
            if job is not None and evaluations is not None:
                self._finish(job, evaluations)
                self._tasks[worker] = self._tasks.get(worker, 0) + len(evaluations)
            if self._most_tasks is not None and self._tasks.get(worker, 0) >= self._most_tasks:
                self._end(worker)
            else:
                self._idle.append(worker)

    def _end(self, worker: _Worker) -> None:
        worker.kill()
        self._tasks.pop(worker, None)

    def _finish(self, job: _Job, evaluations: Sequence[Evaluation]) -> None:
        for i, evaluation in zip(job.positions, evaluations, strict=True):
            self._finished.append((i, replace(evaluation, retries=job.retries)))

    def _start_again(self, job: _Job, death: WorkerDied) -> None:
        if job.retries < self._retries:
            self._waiting.extendleft(_Job([i], job.retries + 1) for i in reversed(job.positions))
        else:
            error = f"The worker died {job.retries + 1} time(s) in this evaluation ({death})."
            self._finish(job, [failure(error)] * len(job.positions))

    def _count_failed_start(self, death: WorkerDied) -> None:
        # A worker that ended by itself will do so again; one that was killed may have been unlucky.
        self._failed_starts += 1
        if not death.killed or self._failed_starts >= _STARTS_KILLED_IN_A_ROW:
            raise InputError(
                f"A worker ended before it was ready ({death}); see its output above. If there is none, check that "
                "there is enough memory."
            )

    def _end_what_is_late(self) -> None:
        for worker, job in list(self._busy.items()):
            limit = self._limit(job)
            seconds = monotonic() - job.started
            if limit is not None and seconds > limit and not worker.has_spoken_or_died():
                self._end(worker)
                del self._busy[worker]
                error = f"{TIMED_OUT}: ended after {seconds:.1f} s; the time limit is {limit:g} s."
                self._finish(job, [failure(error, seconds)] * len(job.positions))

    def _limit(self, job: _Job) -> float | None:
        return None if self._timeout is None else self._timeout * len(job.positions)

    def _seconds_to_wait(self) -> float:
        if self._timeout is None or not self._busy:
            return _SECONDS_BETWEEN_LOOKS_AT_WORKERS
        first = min(job.started + (self._limit(job) or 0) for job in self._busy.values())
        return min(max(0.0, first - monotonic()), _SECONDS_BETWEEN_LOOKS_AT_WORKERS)
