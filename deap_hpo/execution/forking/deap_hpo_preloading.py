"""Run by the process that workers are forked from, before the first of them: it imports what they will need.

It is not part of the package, which that process might find elsewhere: `deap_hpo.execution.fork_server` names this
folder, and tells by a variable what to import, from which files, and which variables to put back.
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
    """Import modules, and make this process one to be forked.

    Args:
        modules: Names of what is imported, where it is found in the same files as by the driver.
        packages: The file that each package of theirs was found in.
        environment: Variables to put back, or to delete (None).
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C now ends this process without a word
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    # After all others: beside a user's modules may be files that are named as modules of Python's library are.
    sys.path += dict.fromkeys(str(Path(file).parents[1]) for file in packages.values())
    for name in modules:
        package = name.partition(".")[0]
        with suppress(Exception, SystemExit):  # what fails is imported again, and told, where it is used
            found = find_spec(package)
            if found and found.origin == packages[package]:
                import_module(name)

    # Not before: numerical libraries have read it now, and started no threads.
    for variable, value in environment.items():
        if value is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = value

    # Garbage collections of the workers would look through all of it, and write to it, which ends its being shared.
    gc.collect()
    gc.freeze()

    server = os.getpid()

    def seed_numpy() -> None:  # as `random` is by Python; the worker's own children inherit its state
        if os.getppid() == server and "numpy" in sys.modules:
            numpy: Any = sys.modules["numpy"]
            numpy.random.seed()

    os.register_at_fork(after_in_child=seed_numpy)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which workers inherit: Ctrl-C is the driver's affair


if "DEAP_HPO_PRELOADING" in os.environ:
    preload(**json.loads(os.environ.pop("DEAP_HPO_PRELOADING")))
