"""A worker process, which runs one evaluation after the other and has its own pipe."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe, connection, current_process, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any
from weakref import WeakSet

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request, failure
from deap_hpo.evaluator import Evaluate, Evaluator, as_evaluator, evaluate_chunk
from deap_hpo.execution.fork_server import ProcessState, Surroundings, ensure_fork_server, starting_workers
from deap_hpo.execution.output import Channel, pass_on, print_for_worker
from deap_hpo.execution.parcel import NOT_SENDABLE, Arrived, Parcel, importing_what_is_there, pack_requests

_ABOVE_THE_GUARD = (
    'A worker imports the script without the code under `if __name__ == "__main__":`. Define the evaluator, and '
    "everything it uses, above that line."
)
_UNGUARDED = (
    "A worker process imported this script and started to run it again: put the code that the script runs under "
    '`if __name__ == "__main__":`, below its definitions.'
)
_NAME = "deap-hpo worker"
_BEGAN_AGAIN = 97  # the exit code of a worker that has started the script again
_MOST_LINES_AT_ONCE = 1000  # printed for a worker before others are listened to; its pipe holds fewer
_SERVER_KILLED = 255  # the exit code that multiprocessing gives if its server was killed


class WorkerDied(Exception):
    """A worker has ended.

    Attributes:
        killed: Whether something else ended it, so that another start may succeed.
    """

    def __init__(self, how: str, *, killed: bool) -> None:
        super().__init__(how)
        self.killed = killed


class Worker:
    """A process that evaluates requests; those that it is given at once are one batch.

    It shares nothing with other workers: no queue, no lock. So whatever kills it, at whatever moment, affects only its
    own evaluations. (A pool with one queue for all workers hung, or failed the evaluations of others, when workers were
    killed again and again.) It ends by itself when the driver is gone, however the driver ended.

    Args:
        evaluate: The evaluator.
        environment: Variables of its environment that differ from this process's.

    Attributes:
        pid: Process id.
        environment: As given.
        ready: Whether it has said that it can take requests.
        surroundings: Those of its start, and of the last function since.

    Raises:
        InputError: The evaluator cannot be sent to another process.
        WorkerDied: The process was killed while it started.
    """

    def __init__(self, evaluate: Evaluate, environment: Mapping[str, str] | None = None) -> None:
        end_if_only_imported()
        self._connection, theirs = Pipe()
        self._exit_code: int | None = None
        self._next: bytes | None = None
        self._message: bytes | None = None  # that was received, but not asked for yet
        self.ready = False
        self.environment = dict(environment or {})
        try:
            self.surroundings = Surroundings()
            self._process = _start(theirs, evaluate, self.environment)
        except BrokenPipeError:
            raise WorkerDied("while it started", killed=True) from None
        except (*NOT_SENDABLE, OSError) as error:
            raise _refusal("The evaluator", error) from error
        except BaseException:  # Ctrl-C; a worker that starts nevertheless ends with its pipe
            self._connection.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid or 0
        _alive.add(self)

    def send(self, requests: Sequence[Request]) -> None:
        """Hand over requests.

        Raises:
            InputError: The content of a request cannot be sent to another process.
            WorkerDied: The process has ended.
        """
        try:
            packed = pack_requests(requests)
        except NOT_SENDABLE as error:
            raise _refusal(f"The arguments of evaluation {requests[0].number}", error) from error
        self._send_bytes(packed)

    def give(self, packed: bytes, surroundings: Surroundings) -> None:
        """Hand over another function, as `pack_for_running` gives it; the worker is `ready` again when it has that.

        Raises:
            WorkerDied: The process has ended.
        """
        self._next, self.surroundings = packed, surroundings
        if self.ready:
            if self.has_spoken_or_died():
                raise self._death()
            self._send_next()

    def _send_next(self) -> None:
        packed, self._next, self.ready = self._next or b"", None, False
        self._send_bytes(packed)

    def _send_bytes(self, packed: bytes) -> None:
        try:
            self._connection.send_bytes(packed)
        except OSError:
            raise self._death() from None

    def receive(self) -> list[Evaluation] | None:
        """Wait for the worker's message: that it is ready (None; see `ready`), or evaluations.

        Raises:
            InputError: The evaluator could not be made ready in the worker.
            WorkerDied: The process has ended without a message.
        """
        while self._message is None:
            if not self._connection.poll() and not self._process.is_alive():
                raise self._end()
            try:
                self._take()
            except (EOFError, OSError):
                raise self._end() from None
        answer, self._message = pickle.loads(self._message), None
        if isinstance(answer, str):
            remedy = _ABOVE_THE_GUARD if "__mp_main__" in answer.splitlines()[-1] else ""
            raise InputError(f"The evaluator could not be made ready in a worker process:\n{answer}{remedy}")
        self.ready = True
        if answer is None and self._next is not None:
            self._send_next()
        return answer  # type: ignore[no-any-return]

    def _take(self) -> None:
        """Take what the worker sends next: print it, or keep it as its message."""
        message = self._connection.recv_bytes()
        if not print_for_worker(message):
            self._message = message

    def _end(self) -> WorkerDied | InputError:
        death = self._death()
        return InputError(_UNGUARDED) if self._exit_code == _BEGAN_AGAIN and not self.ready else death

    def _death(self) -> WorkerDied:
        code = self.kill()
        return WorkerDied(f"exit code {code}", killed=code is None or code < 0 or code == _SERVER_KILLED)

    def kill(self) -> int | None:
        """End the process, whatever it is doing, and give its exit code."""
        _alive.discard(self)
        with suppress(ValueError):  # an earlier call has closed the process
            if self._process.is_alive():
                self._process.kill()
            self._process.join()
            self._exit_code = self._process.exitcode
            self._process.close()  # this closes a pipe, too, by which a worker that has outlived its server ends
        self._connection.close()
        return self._exit_code

    def has_spoken_or_died(self) -> bool:
        """Tell whether `receive` would return or raise at once; what it has printed is printed first."""
        try:
            for _ in range(_MOST_LINES_AT_ONCE):
                if self._message is not None or not self._connection.poll():
                    break
                self._take()
        except (EOFError, OSError):
            return True
        return self._message is not None or not (self._connection.poll() or self._process.is_alive())


def end_if_only_imported() -> None:
    """End this process if it is a worker that still imports the script, and so is about to repeat the driver's work.

    Otherwise it would continue until it is refused, as a worker within a worker or by a study's lock, with long errors.

    Example:
        >>> end_if_only_imported()  # this process is not such a worker
    """
    if getattr(current_process(), "_inheriting", False):  # while multiprocessing imports the script
        if current_process().name != _NAME:  # a process of the user's own; for our workers, the driver says it
            print(_UNGUARDED, file=sys.stderr, flush=True)
        os._exit(_BEGAN_AGAIN)


def _refusal(what: str, error: Exception) -> InputError:
    return InputError(
        f"{what} could not be sent to a worker process: {str(error).rstrip('.')}. Make what belongs to one process "
        "(open files, locks, generators, connections) inside the function that uses it, or evaluate in this process "
        "(without an executor; on the command line, --executor serial)."
    )


def wait_for(workers: list[Worker], timeout: float | None) -> list[Worker]:
    """Wait until workers have something to say or have died, `timeout` seconds at most; give those workers."""
    # A process that a dead worker has left behind may hold its end of the pipe open, so the death itself is checked.
    connection.wait([worker._connection for worker in workers], timeout)
    return [worker for worker in workers if worker.has_spoken_or_died()]


_alive: WeakSet[Worker] = WeakSet()


@atexit.register
def _kill_all() -> None:
    # Otherwise multiprocessing would wait for them when the interpreter exits.
    for worker in list(_alive):
        worker.kill()


def _start(driver: connection.Connection, evaluate: Evaluate, environment: Mapping[str, str]) -> BaseProcess:
    arguments = (driver, ProcessState(environment), Parcel(evaluate))
    if ensure_fork_server():
        forked = get_context("forkserver").Process(target=_serve, args=arguments, name=_NAME)
        # This fails if the server was killed, or if the evaluator has more tensors to share than can be passed at once.
        with suppress(EOFError, OSError, ValueError), importing_what_is_there():
            forked.start()
            return forked
    spawned = get_context("spawn").Process(target=_serve, args=arguments, name=_NAME)
    with starting_workers(), importing_what_is_there():
        spawned.start()
    return spawned


def _serve(driver: connection.Connection, state: ProcessState, message: Any) -> None:
    """Evaluate what the driver sends, by the evaluator that it has sent last, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    state.take_over()
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    channel = Channel(driver.send_bytes)
    streams = pass_on(state.passed_on, channel)
    evaluate: Any = None
    with suppress(EOFError, BrokenPipeError):  # the driver has closed its end
        while True:
            if isinstance(message, Arrived):
                evaluate = None  # its memory is free before the next one takes any
                try:
                    evaluate = _made_ready(message)
                except Exception:
                    channel.send(pickle.dumps(traceback.format_exc()))
                    return
                answer = None
            else:
                answer = list(map(_that_pickles, evaluate_chunk(evaluate, message)))
            for stream in streams:
                stream.end_line()
            if not channel.send(pickle.dumps(answer)):
                return
            message = driver.recv()


def _made_ready(parcel: Arrived) -> Evaluator:
    evaluate = as_evaluator(parcel.open())
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    evaluate.prepare_worker()
    return evaluate


def _that_pickles(evaluation: Evaluation) -> Evaluation:
    try:
        pickle.loads(pickle.dumps(evaluation))
    except Exception:
        return failure(traceback.format_exc(), evaluation.seconds)
    return evaluation


def _end_with_the_driver() -> None:
    """End this process as soon as the driver is gone, even in the middle of an evaluation."""
    driver = parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
