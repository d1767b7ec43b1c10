"""The process from which workers are forked: it imports torch once for all of them, and nothing of the user's.

A worker that imports torch itself takes seconds to start, and hundreds of megabytes more of its own (docs/scaling.md
has the figures). User modules are imported after the fork, so each worker opens its own files, connections and GPU.
They see the environment of the server's start; the evaluator runs with the driver's current one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import get_start_method, resource_tracker, set_start_method
from pathlib import Path
from threading import Lock
from types import ModuleType

from deap_hpo.execution.output import passed_on

# Only modules that start no threads on import, unlike pyarrow (and so pandas): a process with threads is not forked.
_SLOW_TO_IMPORT = ("numpy", "deap", "optuna", "sqlalchemy", "torch", "torchvision")
_OPTIMIZERS_IMPORT = "torch._dynamo"  # at their first step, which takes nearly as long as importing torch

_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

_lock = Lock()  # the environment belongs to the whole process


def ensure_fork_server() -> bool:
    """Start the server, unless it is running; it imports, in the background, what this process has imported so far.

    It is the one that `multiprocessing` has for each process, and it ends with the process.

    Returns:
        Whether there is one: on Linux, from Python 3.11 on. Elsewhere each worker must be a new interpreter.

    Example:
        >>> ensure_fork_server() == (sys.platform == "linux" and sys.version_info >= (3, 11))
        True
    """
    # On other systems, a process that has loaded system libraries must not be forked. Before 3.11, an interpreter looks
    # for modules in the working directory first, and may find others there than this process has.
    if sys.platform != "linux" or sys.version_info < (3, 11) or sys.flags.ignore_environment:
        return False
    from multiprocessing import forkserver  # not available on Windows

    names = _imported()
    packages = {name: str(sys.modules[name].__file__) for name in dict.fromkeys(one.partition(".")[0] for one in names)}
    folder = str(Path(__file__).parent / "forking")
    where = {"PYTHONPATH": folder, "PYTHONSAFEPATH": "1"}
    back = {name: os.environ.get(name) for name in (*where, *_ONE_THREAD)}
    told = json.dumps({"modules": names, "packages": packages, "environment": back})
    forkserver.set_forkserver_preload(["deap_hpo_preloading"])
    sys.path.append(folder)  # later releases of Python 3.14 give the server this path instead
    try:
        with starting_workers({**where, "DEAP_HPO_PRELOADING": told}):
            forkserver.ensure_running()
    except OSError:  # for example, the name of the temporary folder is too long for a socket
        return False
    finally:
        sys.path.remove(folder)
    return True


def _imported() -> list[str]:
    theirs = [name for name in _SLOW_TO_IMPORT if name in sys.modules]
    ours = [name for name in list(sys.modules) if name.startswith("deap_hpo.training.")]
    return [*theirs, *([_OPTIMIZERS_IMPORT] if "torch" in theirs else []), *ours]


def worker_environment() -> dict[str, str]:
    """Give a worker's environment: that of this process, by default with one thread in each numerical library.

    Example:
        >>> worker_environment()["OPENBLAS_NUM_THREADS"] == os.environ.get("OPENBLAS_NUM_THREADS", "1")
        True
    """
    return {**_ONE_THREAD, **os.environ}


@contextmanager
def starting_workers(more: Mapping[str, str] | None = None) -> Iterator[None]:
    """Start processes inside, with a worker's environment and with Ctrl-C blocked, which the driver handles.

    Args:
        more: Further variables of their environment.

    Example:
        >>> with starting_workers({"DEAP_HPO_ONLY_INSIDE": "1"}):
        ...     os.environ["DEAP_HPO_ONLY_INSIDE"]
        '1'
        >>> "DEAP_HPO_ONLY_INSIDE" in os.environ
        False
    """
    if sys.platform != "win32":
        resource_tracker.ensure_running()  # if it were started inside, it would unblock Ctrl-C
    with _lock:
        wanted = {**worker_environment(), **(more or {})}
        before = {name: os.environ.get(name) for name, value in wanted.items() if os.environ.get(name) != value}
        masked = hasattr(signal, "pthread_sigmask")
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masked else set()
        os.environ.update({name: wanted[name] for name in before})
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            if masked:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class ProcessState:
    """Per-process state other than memory, which a worker takes over from the driver.

    Without it, a forked worker would have the state of the server's start.

    Args:
        more: Environment variables that should differ.

    Attributes:
        environment: See `worker_environment`.
        umask: Permissions that new files do not get.
        cores: Numbers of the cores that it may use; None if the system does not tell.
        niceness: From -20 (first served) to 19; None if the system does not tell.
        start_method: How `multiprocessing` starts processes of the user's own, such as those of a `DataLoader`; None
            if the script has not said.
        passed_on: Streams on which this process prints for others; see `deap_hpo.execution.output`.

    Example:
        >>> state = ProcessState()
        >>> state.take_over()  # in the same process, where it changes only numbers of threads
        >>> ProcessState().umask == state.umask
        True
    """

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        self.environment = {**worker_environment(), **(more or {})}
        self.umask = os.umask(0)
        os.umask(self.umask)
        self.cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        self.niceness = os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else None
        self.passed_on = passed_on()
        self.start_method = get_start_method(allow_none=True)  # without fixing it

    def take_over(self) -> None:
        """Apply this state to the current process."""
        os.environ.clear()
        os.environ.update(self.environment)
        os.umask(self.umask)
        # A worker's own would start each process of a `DataLoader` as slowly as a worker, and that in every epoch.
        set_start_method(self.start_method, force=True)
        with suppress(OSError):  # the process may not be allowed to
            if self.cores is not None:
                os.sched_setaffinity(0, self.cores)
            if self.niceness is not None:
                os.setpriority(os.PRIO_PROCESS, 0, self.niceness)


class Surroundings:
    """What a worker has of the driver as it was when the worker started: its state, paths, arguments and modules.

    Example:
        >>> before = Surroundings()
        >>> Surroundings().include(before)
        True
        >>> os.environ["DEAP_HPO_SET_LATER"] = "1"
        >>> Surroundings().include(before)
        False
        >>> del os.environ["DEAP_HPO_SET_LATER"]
    """

    def __init__(self) -> None:
        folder = None
        with suppress(OSError):  # it was deleted
            folder = os.getcwd()
        self._told = vars(ProcessState()), folder, list(sys.path), list(sys.argv)
        # Not by `getattr`, which would load modules that wait for their first use. Some entries only act as modules.
        modules = {name: one for name, one in list(sys.modules.items()) if issubclass(type(one), ModuleType)}
        self._specs = {name: object.__getattribute__(one, "__dict__").get("__spec__") for name, one in modules.items()}

    def include(self, earlier: Surroundings) -> bool:
        """Tell whether all is as it was earlier, but for further modules; one that was reloaded is another one."""
        return self._told == earlier._told and all(self._specs.get(name) is one for name, one in earlier._specs.items())
