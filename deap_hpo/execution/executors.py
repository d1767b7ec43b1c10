"""How a batch of evaluations runs: in this process, in parallel in worker processes, or on a Ray cluster.

Every executor gives the same results, and has the same two methods: ``run(evaluate, requests)``, which yields
(position, evaluation) as each is finished, and ``close()``. None of them touches the record.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Protocol

from deap_hpo.checks import check_optional_integer
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import BatchEvaluator, Evaluate, Evaluator, evaluate_all, evaluate_one
from deap_hpo.execution.fork_server import Surroundings
from deap_hpo.execution.gpus import VISIBLE, check_device, check_gpus, visible_as
from deap_hpo.execution.parcel import pack_for_running
from deap_hpo.execution.pool import WorkerPool
from deap_hpo.execution.workers import Worker, wait_for
from deap_hpo.interruption import raise_swallowed
from deap_hpo.vocabulary import hinting


class Executor(Protocol):
    """The interface of an executor.

    Attributes:
        in_process: Whether evaluations run in this process, and so may leave something in its memory. An executor
            without this attribute counts as one whose evaluations run elsewhere.
    """

    in_process: bool

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished, in any order.

        `requests` may grow meanwhile: requests that are there after an evaluation was yielded are evaluated, too. It
        may also be emptied: evaluations under way are then finished, and no others are started.
        """
        ...

    def close(self) -> None:
        """Release what the executor holds; it may be used again afterwards."""
        ...


class SerialExecutor:
    """Evaluates in this process: one after the other, or a whole batch at once if the evaluator can.

    Example:
        >>> requests = [Request(number=0, params={"x": 3.0}, seed=0)]
        >>> [(i, e.value) for i, e in SerialExecutor().run(lambda params: params["x"] ** 2, requests)]
        [(0, 9.0)]
    """

    in_process = True

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished."""
        if isinstance(evaluate, BatchEvaluator):
            done = 0
            while done < len(requests):  # they may grow meanwhile
                batch = requests[done:]
                for i, evaluation in evaluate_all(evaluate, batch):
                    raise_swallowed()
                    yield done + i, evaluation
                done += len(batch)
        else:
            for i, request in enumerate(requests):
                evaluation = evaluate_one(evaluate, request)
                raise_swallowed()  # otherwise its answer to Ctrl-C would become its outcome
                yield i, evaluation

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class ProcessExecutor:
    """Evaluates in worker processes, each with one thread; no evaluation can harm another one.

    An evaluation that raises is "failed", with its traceback. One that runs longer than `timeout` is ended and
    "failed". One whose worker dies is repeated up to `retries` times, and then "failed".

    Args:
        workers: Number of processes, at least 1; None for one per GPU given, or else one per usable core.
        gpus: Numbers of the GPUs that the workers share, such as [0, 1], as this process counts them. Each worker sees
            one of them only, as "cuda". If none are given, workers see what this process sees.
        chunk: Requests that a worker is given at once, at least 1. It is the size of a stack, for an evaluator that
            takes batches, such as the population trainer.
        timeout: Seconds that one evaluation may take (for a chunk, times its number of requests); None for no limit.
        retries: How often an evaluation whose worker died is repeated, at least 0.
        max_tasks_per_child: Evaluations after which a worker is replaced by a new one, at least 1, for example for code
            that leaks memory; None for no limit.

    The evaluator and its data are sent to each worker once, when it starts; torch's tensors are shared, not copied.
    Workers take another function as they are, and start anew for one that holds tensors or is an `Evaluator`. A
    worker imports the evaluator's modules itself, so a script that uses this executor needs the usual guard
    ``if __name__ == "__main__":``. (`deap_hpo.execution.fork_server` preloads torch.) Lambdas, local functions and
    definitions in a notebook or at a prompt are sent with the variables that they use; none of these may belong to one
    process, as an open file does. See `deap_hpo.execution.parcel`.

    Raises:
        InputError: An argument is out of its range. From `run`: the evaluator or its arguments cannot be sent to
            another process, or do not work there.

    Example:
        >>> requests = [Request(number=i, params=-i, seed=0) for i in range(3)]
        >>> with ProcessExecutor(workers=2, timeout=60) as executor:
        ...     sorted((i, evaluation.value) for i, evaluation in executor.run(abs, requests))
        [(0, 0.0), (1, 1.0), (2, 2.0)]
        >>> executor.worker_pids()
        []
    """

    in_process = False

    @hinting
    def __init__(
        self,
        workers: int | None = None,
        *,
        gpus: Sequence[int] = (),
        chunk: int = 1,
        timeout: float | None = None,
        retries: int = 2,
        max_tasks_per_child: int | None = None,
    ) -> None:
        check_optional_integer("workers", workers, 1)
        self.gpus = check_gpus(gpus)
        self.workers = workers or len(gpus) or usable_cores()
        self._evaluate: Evaluate | None = None
        self._pool = WorkerPool(
            self._start,
            wait_for,
            timeout=timeout,
            retries=retries,
            chunk=chunk,
            max_tasks_per_child=max_tasks_per_child,
        )

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished, in order of completion."""
        if self._evaluate is not evaluate:
            known, self._evaluate = self._evaluate, None  # until all workers have the same again
            if not self._hand_over(known, evaluate):
                self.close()
            check_device(evaluate, self.gpus)
            self._evaluate = evaluate
        yield from self._pool.run(requests, self.workers)

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        self._pool.close()
        self._evaluate = None

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def worker_pids(self) -> list[int]:
        """Give the process ids of the workers."""
        return [worker.pid for worker in self._pool.workers]

    def _hand_over(self, known: Evaluate | None, evaluate: Evaluate) -> bool:
        """Give another function to the workers that are there, if new ones would differ from them in nothing.

        A function must not depend on what its process did before, since that may be the driver's process. Evaluators
        may: trainers, for example, leave much in memory.
        """
        functions = known is not None and not isinstance(known, Evaluator) and not isinstance(evaluate, Evaluator)
        workers = self._pool.workers
        if not functions or not workers or self._pool.is_busy:
            return False
        now = Surroundings()
        packed = pack_for_running(evaluate) if all(now.include(one.surroundings) for one in workers) else None
        if packed is None:
            return False
        self._pool.tell(lambda worker: worker.give(packed, now))
        return True

    def _start(self) -> Worker:
        if self._evaluate is None:
            raise RuntimeError("there is nothing to evaluate")
        if not self.gpus:
            return Worker(self._evaluate)
        taken = [worker.environment[VISIBLE] for worker in self._pool.workers]
        free = min(map(visible_as, self.gpus), key=taken.count)
        return Worker(self._evaluate, {VISIBLE: free})


def check_executor(executor: Executor) -> Executor:
    """Check that something is an executor, and give it.

    Raises:
        InputError: It has no `run`, or is a class.

    Example:
        >>> check_executor("processes")
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: executor must be an object such as ProcessExecutor(), or None; got 'processes'.
    """
    if isinstance(executor, type) or not hasattr(executor, "run"):
        raise InputError(f"executor must be an object such as ProcessExecutor(), or None; got {executor!r}.")
    return executor


def in_this_process(executor: Executor | None) -> bool:
    """Tell whether evaluations run in this process, as without an executor; one that does not say counts as not.

    Example:
        >>> in_this_process(None), in_this_process(ProcessExecutor(2))
        (True, False)
    """
    return executor is None or getattr(executor, "in_process", False)


def usable_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
