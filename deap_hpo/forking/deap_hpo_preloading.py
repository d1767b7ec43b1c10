"""Run by the process that workers are forked from, before the first of them: it imports what they will need.

It is no part of the package, which that process might find elsewhere: `deap_hpo.fork_server` names this folder, and
tells by a variable what to import, from which files, and which variables to put back.
"""

import gc
import json
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C now ends this process without a word
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

told = json.loads(os.environ.pop("DEAP_HPO_PRELOADING"))
for name, value in told["environment"].items():
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value

# After all others: beside a user's modules may be files that are named as modules of Python's library are.
sys.path += dict.fromkeys(str(Path(file).parents[1]) for file in told["packages"].values())
for name in told["modules"]:
    package = name.partition(".")[0]
    with suppress(Exception, SystemExit):  # what fails is imported again, and told, where it is used
        found = find_spec(package)
        if found and found.origin == told["packages"][package]:
            import_module(name)

# Garbage collections of the workers would look through all of it, and write to it: then it were no longer shared.
gc.collect()
gc.freeze()

_SERVER = os.getpid()


def _seed_numpy() -> None:
    """Give a new worker's generator a state of its own, as the one of `random` has; its own children inherit it."""
    if os.getppid() == _SERVER and "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


os.register_at_fork(after_in_child=_seed_numpy)
signal.signal(signal.SIGINT, signal.SIG_IGN)  # which workers inherit: Ctrl-C is the driver's affair
