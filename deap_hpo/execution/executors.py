"""How a batch of evaluations is done: in this process, side by side in worker processes, or on a Ray cluster.

Every executor has the same two methods, and gives the same results: ``run(evaluate, requests)``, which yields
(position, evaluation) as each is finished, and ``close()``. None of them touches the record.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

from deap_hpo.checks import check_integer, check_optional_integer, is_number
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import BatchEvaluator, Evaluate, evaluate_all, evaluate_one
from deap_hpo.execution.gpus import VISIBLE, check_device, check_gpus, visible_as
from deap_hpo.execution.pool import WorkerPool
from deap_hpo.execution.workers import Worker, wait_for
from deap_hpo.interruption import raise_swallowed
from deap_hpo.vocabulary import hinting


class Executor(Protocol):
    """The shape of an executor.

    Attributes:
        in_process: Whether evaluations are done in this process, and so may leave something in its memory; an executor
            that does not say is taken for one whose evaluations do not.
    """

    in_process: bool

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished, in any order.

        `requests` may be added to meanwhile: what is there when an evaluation has been yielded is done, too. It may
        also be emptied: then what is under way is finished, and nothing else is begun.
        """
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
                raise_swallowed()  # else what it gave in answer to Ctrl-C would be its outcome
                yield i, evaluation

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""


class ProcessExecutor:
    """Evaluates in worker processes, each with one thread; what becomes of one evaluation never harms another.

    An evaluation that raises is "failed", with its traceback. One that runs longer than `timeout` is ended and
    "failed". One whose worker dies is started again, up to `retries` times, then "failed".

    Args:
        workers: Number of processes, at least 1; None takes one per usable core, or per GPU.
        gpus: Numbers of the GPUs that the workers share out among themselves, such as [0, 1], as this process counts
            them. Each worker sees its own alone, as "cuda". With none given, workers see what this process sees.
        chunk: Requests that a worker is given at once, at least 1, where the evaluator takes batches, as the population
            trainer does: the size of a stack.
        timeout: Seconds that one evaluation may take (a chunk: as many times that); None for no limit.
        retries: How often an evaluation whose worker died is started again, at least 0.

    The evaluator and its data go to each worker once, when it starts; torch's tensors are shared, not copied. A worker
    imports the evaluator's modules for itself, and a script that uses this executor needs the
    ``if __name__ == "__main__":`` of any such script. (`deap_hpo.execution.fork_server` preloads torch.) Lambdas, local
    functions, and what is defined in a notebook or at a prompt go with the variables that they use; among these may be
    nothing that belongs to one process, as an open file does. See `deap_hpo.execution.parcel`.

    Raises:
        InputError: An argument is out of its range; from `run`: the evaluator, or what it is given, does not reach or
            work in another process.

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
    ) -> None:
        check_optional_integer("workers", workers, 1)
        check_integer("chunk", chunk, 1)
        check_limits(timeout, retries)
        self.gpus = check_gpus(gpus)
        self.workers = workers or len(gpus) or usable_cores()
        self._evaluate: Evaluate | None = None
        self._pool = WorkerPool(self._start, wait_for, timeout=timeout, retries=retries, chunk=chunk)

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished, in order of completion."""
        if self._evaluate is not evaluate:
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
        """Process ids of the workers."""
        return [worker.pid for worker in self._pool.workers]

    def _start(self) -> Worker:
        if self._evaluate is None:
            raise RuntimeError("there is nothing to evaluate")
        if not self.gpus:
            return Worker(self._evaluate)
        taken = [worker.environment[VISIBLE] for worker in self._pool.workers]
        free = min(map(visible_as, self.gpus), key=taken.count)
        return Worker(self._evaluate, {VISIBLE: free})


def check_executor(executor: Executor) -> Executor:
    """Give an executor, if it is one.

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
    """Tell whether an executor evaluates in this process, as it is done without one; one that does not say, does not.

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


def check_limits(timeout: float | None, retries: int) -> None:
    """Check the limits of an evaluation.

    Raises:
        InputError: The timeout is not positive, or the number of retries is negative.
    """
    if timeout is not None and not (is_number(timeout) and 0 < timeout < math.inf):
        raise InputError(f"timeout must be a positive number of seconds, or None; got {timeout!r}.")
    check_integer("retries", retries, 0)
