"""Several runs side by side: requests made at the same time are one batch, and so one stack on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Semaphore, Thread
from typing import Any

from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import Evaluate
from deap_hpo.execution.executors import Executor, in_this_process


def side_by_side(runs: Sequence[Callable[[Executor], Any]], executor: Executor) -> list[Any]:
    """Call functions that each run a study, and evaluate their batches together.

    Each function is given an executor for its study, and runs until it asks for evaluations. When all have asked, all
    requests go to `executor` as one batch, and each function gets its own evaluations as they are finished. Only one
    function runs at any time, and a study keeps its random generators around every evaluation, so each run ends as it
    would have ended alone.

    Args:
        runs: The functions.
        executor: Evaluates the batches; it is closed at the end.

    Returns:
        The functions' return values, in order.

    Raises:
        Exception: What one of them raised; the others are ended, and what they have recorded is kept.

    Example:
        >>> from deap_hpo.execution.executors import SerialExecutor
        >>> def run(seed):
        ...     def with_executor(executor):
        ...         return [evaluation.value for _, evaluation in executor.run(abs, [Request(0, -seed, 0)])]
        ...     return with_executor
        >>> side_by_side([run(1), run(2)], SerialExecutor())
        [[1.0], [2.0]]
    """
    seats = [_Seat(function, executor) for function in runs]
    try:
        for seat in seats:
            seat.go_on()
        while waiting := [seat for seat in seats if seat.requests]:
            _evaluate_together(waiting, executor)
    finally:
        for seat in seats:
            seat.end()
        executor.close()
    return [seat.result for seat in seats]


def _evaluate_together(seats: Sequence[_Seat], executor: Executor) -> None:
    """Evaluate what the seats wait for, in one batch for each evaluator."""
    evaluators = {id(seat.evaluate): seat.evaluate for seat in seats if seat.evaluate is not None}
    for evaluate in evaluators.values():
        places = [
            (seat, seat.asked, i, request)
            for seat in seats
            if seat.evaluate is evaluate
            for i, request in enumerate(seat.requests)
        ]
        for seat, *_ in places:
            seat.requests = ()
        for place, evaluation in executor.run(evaluate, [request for *_, request in places]):
            seat, asked, i, _ = places[place]
            if seat.asked == asked:  # a run whose time was up does not wait any longer
                seat.answer = (i, evaluation)
                seat.go_on()


class _Ended(BaseException):
    """Raised in a function that waits for evaluations that will not come."""


class _Seat:
    """One of the functions, in a thread that runs only while the caller waits; it is also the function's executor."""

    def __init__(self, function: Callable[[Executor], Any], shared: Executor) -> None:
        self.in_process = in_this_process(shared)
        self.evaluate: Evaluate | None = None  # until the function asks for evaluations
        self.requests: Sequence[Request] = ()
        self.asked = 0
        self.answer: tuple[int, Evaluation] | None = None
        self.result: Any = None
        self._function = function
        self._error: BaseException | None = None
        self._ending = self._ended = False
        self._mine, self._callers = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._live, daemon=True)
        self._thread.start()

    def go_on(self) -> None:
        """Let the function run until it waits or ends.

        Raises:
            Exception: What the function raised.
        """
        if not self._ended:
            self._mine.release()
            self._callers.acquire()
        if self._error:
            raise self._error

    def end(self) -> None:
        """End the function wherever it waits."""
        self._ending = True
        while self._thread.is_alive():
            self._mine.release()
            self._thread.join(0.01)

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished; called by the function."""
        self.evaluate = evaluate
        first = answered = asked = 0
        while answered < len(requests):
            if answered == asked:  # at first, and whenever requests have been added
                first, asked = asked, len(requests)
                self.requests = requests[first:]
                self.asked += 1
            self._callers.release()
            self._mine.acquire()
            if self._ending or self.answer is None:
                raise _Ended
            answered += 1
            i, evaluation = self.answer
            yield first + i, evaluation

    def close(self) -> None:
        """Do nothing: the shared executor outlives the run."""

    def _live(self) -> None:
        self._mine.acquire()
        try:
            if not self._ending:
                self.result = self._function(self)
        except _Ended:
            pass
        except BaseException as error:
            self._error = error
        self.requests = ()
        self.asked += 1
        self._ended = True
        self._callers.release()
