"""Run by the process that workers are forked from, before the first fork: it imports what they will need.

It is not part of the package, which that process might find elsewhere. `deap_hpo.execution.fork_server` puts this
folder on the path, and passes in a variable what to import, from which files, and which variables to restore.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def preload(modules: list[str], packages: dict[str, str], environment: dict[str, str | None]) -> None:
    """Import modules, and prepare this process for being forked.

    Args:
        modules: Names of the modules to import, if they are found in the same files as by the driver.
        packages: The file in which the driver found each of their packages.
        environment: Variables to restore, or to delete (None).
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C now ends this process without a message
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    # At the end of the path: beside a user's modules may be files with the names of Python's own library modules.
    sys.path += dict.fromkeys(str(Path(file).parents[1]) for file in packages.values())
    for name in modules:
        package = name.partition(".")[0]
        with suppress(Exception, SystemExit):  # a failed import is repeated, and reported, where it is used
            found = find_spec(package)
            if found and found.origin == packages[package]:
                import_module(name)

    # Only now, when numerical libraries have read the variables and started no threads.
    for variable, value in environment.items():
        if value is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = value

    # Workers' garbage collections would otherwise visit all these objects and write to them, which ends their sharing.
    gc.collect()
    gc.freeze()

    server = os.getpid()

    def seed_numpy() -> None:  # as Python does for `random`; the worker's own children inherit its state
        if os.getppid() == server and "numpy" in sys.modules:
            numpy: Any = sys.modules["numpy"]
            numpy.random.seed()

    os.register_at_fork(after_in_child=seed_numpy)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # workers inherit this, because the driver handles Ctrl-C


if "DEAP_HPO_PRELOADING" in os.environ:
    preload(**json.loads(os.environ.pop("DEAP_HPO_PRELOADING")))
