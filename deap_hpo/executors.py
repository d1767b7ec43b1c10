"""How a batch of evaluations is done: in this process, or side by side in worker processes.

Every executor has the same two methods, and gives the same results: ``run(evaluate, requests)``, which yields
(position, evaluation) as each is finished, and ``close()``. None of them touches the record.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from pebble import ProcessExpired, ProcessPool

from deap_hpo.errors import InputError
from deap_hpo.evaluation import BatchEvaluator, Evaluation, Request

Evaluate = Callable[..., Any]


class Executor(Protocol):
    """The shape of an executor."""

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished, in any order."""
        ...

    def close(self) -> None:
        """Give back what the executor holds; it may be used again afterwards."""
        ...


def evaluate_one(evaluate: Evaluate, request: Request) -> Evaluation:
    """Do one request here and now; whatever it raises becomes a "failed" evaluation.

    `evaluate` is a trainer (anything with ``evaluate(request)``), or a plain function of the hyperparameters that
    returns a number, a tuple of numbers, or an `Evaluation`. For a plain function the global generators of `random`,
    numpy and torch are seeded from the request first, so that the same request gives the same result anywhere.
    """
    start = perf_counter()
    try:
        if hasattr(evaluate, "evaluate"):
            result = evaluate.evaluate(request)
        else:
            _seed_generators(request.seed)
            result = evaluate(request.params)
        return result if isinstance(result, Evaluation) else _as_evaluation(result, perf_counter() - start)
    except Exception:
        return failure(traceback.format_exc(), perf_counter() - start)


def failure(error: str, seconds: float = 0.0) -> Evaluation:
    """Give the evaluation that stands for one that could not be done."""
    return Evaluation(values=(math.inf,), status="failed", seconds=seconds, error=error)


def _as_evaluation(result: Any, seconds: float) -> Evaluation:
    values = tuple(float(value) for value in (result if isinstance(result, (tuple, list)) else (result,)))
    if any(math.isnan(value) for value in values):
        return Evaluation(tuple(math.inf for _ in values), status="diverged", seconds=seconds)
    return Evaluation(values, status="ok" if all(map(math.isfinite, values)) else "diverged", seconds=seconds)


def _seed_generators(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


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


class ProcessExecutor:
    """Evaluates in worker processes, each with one thread; what becomes of one evaluation never harms another.

    An evaluation that raises is "failed", with its traceback. One that runs longer than `timeout` is ended and
    "failed". One whose worker dies is started again, up to `retries` times, then "failed".

    Args:
        workers: Number of processes, at least 1; None takes one per usable core.
        timeout: Seconds that one evaluation may take; None for no limit.
        retries: How often an evaluation whose worker died is started again, at least 0.

    Raises:
        InputError: An argument is out of its range.

    The evaluator and its data go to each worker once, when it starts. Workers are started with "spawn": the evaluator
    has to pickle, and a script that uses this executor needs the ``if __name__ == "__main__":`` of any such script.
    """

    def __init__(self, workers: int | None = None, *, timeout: float | None = None, retries: int = 2) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"workers must be an integer of at least 1, or None for one per core; got {workers!r}.")
        if timeout is not None and not timeout > 0:
            raise InputError(f"timeout must be a positive number of seconds, or None; got {timeout!r}.")
        if retries < 0:
            raise InputError(f"retries must be an integer of at least 0; got {retries!r}.")
        self.workers = workers or len(os.sched_getaffinity(0))
        self.timeout = timeout
        self.retries = retries
        self._pool: ProcessPool | None = None
        self._evaluate: Evaluate | None = None

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished, in order of completion."""
        tries = [0] * len(requests)
        waiting = list(range(len(requests)))
        running: dict[Future[Evaluation], int] = {}
        try:
            while waiting or running:
                for i in waiting:
                    running[self._schedule(evaluate, requests[i])] = i
                waiting = []
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    i = running.pop(future)
                    evaluation = self._outcome(future, tries[i])
                    if evaluation is None:
                        tries[i] += 1
                        waiting.append(i)
                    else:
                        yield i, evaluation
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
        self._pool = self._evaluate = None

    def _schedule(self, evaluate: Evaluate, request: Request) -> Future[Evaluation]:
        if self._pool is not None and (self._evaluate is not evaluate or not self._pool.active):
            self.close()
        if self._pool is None:
            self._evaluate = evaluate
            # The evaluator travels as an argument of the worker's start, where torch passes tensors by shared memory.
            self._pool = ProcessPool(
                self.workers, initializer=_start_worker, initargs=(evaluate,), context=get_context("spawn")
            )
        future: Future[Evaluation] = self._pool.schedule(_work, args=(request,), timeout=self.timeout)
        return future

    def _outcome(self, future: Future[Evaluation], tries: int) -> Evaluation | None:
        """Give the evaluation, or None where it is to be started again."""
        try:
            return future.result()
        except TimeoutError:
            return failure(f"The evaluation was ended after its time limit of {self.timeout:g} seconds.")
        except (ProcessExpired, BrokenProcessPool) as error:
            if tries < self.retries:
                return None
            return failure(f"The worker process died {tries + 1} times during this evaluation ({error}).")


_evaluate: Evaluate | None = None


def _start_worker(evaluate: Evaluate) -> None:
    """Prepare a worker: Ctrl-C is the driver's to handle; one thread, so that workers do not fight for cores."""
    global _evaluate
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if hasattr(evaluate, "prepare_worker"):
        evaluate.prepare_worker()
    _evaluate = evaluate


def _work(request: Request) -> Evaluation:
    if _evaluate is None:
        raise RuntimeError("the worker was not started with an evaluator")
    return evaluate_one(_evaluate, request)


EXECUTORS: dict[str, Callable[..., Executor]] = {"serial": SerialExecutor, "processes": ProcessExecutor}
