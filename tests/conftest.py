"""Fixtures for several test files: small tasks, and marks for tests that a machine may not support."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from lighter import compile_statements_once, draw_no_figures, read_migrations_once, use_light_model, use_small_forests

from deap_hpo.errors import InputError
from deap_hpo.training.data import load_digits
from deap_hpo.training.idx import find_fashion_mnist
from deap_hpo.training.models import MLP
from deap_hpo.training.task import Task

# A shell starts background jobs with Ctrl-C ignored, and their child processes inherit that. Tests that press Ctrl-C
# would then wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# At each commit SQLite waits for the disk, which took up to half of the time. In memory nothing waits: a killed process
# loses nothing there either, and what a loss of power leaves behind is written by the tests of that.
MEMORY, ROOM = Path("/dev/shm"), 2 * 2**30  # bytes; a tenth of that is needed
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ.setdefault("RAY_TMPDIR", tempfile.gettempdir())  # Ray leaves its logs behind
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

read_migrations_once()
compile_statements_once()


def pytest_collection() -> None:
    gc.disable()  # everything that is imported from here on stays


def pytest_collection_finish() -> None:
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = {}
    if not torch.cuda.is_available():
        missing["gpu"] = "no CUDA device"
    try:
        find_fashion_mnist(download=False)
    except InputError as error:
        missing["fashion_mnist"] = str(error)
    for item in items:
        for mark, reason in missing.items():
            if mark in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def digits_task() -> Task:
    """A small real task: an MLP of 32 units on 300 of scikit-learn's digits."""
    return Task("digits", partial(MLP, inputs=64, width=32), load_digits(training_size=300, validation_size=200))


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two threads, since `make test` sets one: for tests that use one thread inside and restore the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def light_model(monkeypatch: pytest.MonkeyPatch) -> None:
    use_light_model(monkeypatch)


@pytest.fixture
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_forests(monkeypatch)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_no_figures(monkeypatch)


@pytest.fixture(autouse=True, scope="module")
def what_is_imported_is_no_garbage() -> None:
    """Limit garbage collections, which took a fifth of the time, to the objects that a file's own tests have made."""
    gc.collect()
    gc.freeze()


_others: dict[str, int] = {}  # which modules are of none of the tests' own files
_all: list[int] = []  # the same of all names in their order, since to look up each takes milliseconds


@pytest.fixture(autouse=True)
def own_modules_are_forgotten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget the modules that a test has imported from its own files: another test may have a file of the same name."""
    yield
    if _identities() == _all:
        return
    temporary = str(tmp_path_factory.getbasetemp())
    for name, module in list(sys.modules.items()):
        if _others.get(name) == id(module):
            continue
        if str(getattr(module, "__dict__", {}).get("__file__")).startswith(temporary):
            del sys.modules[name]
        else:
            _others[name] = id(module)
    _all[:] = _identities()


def _identities() -> list[int]:
    return list(map(id, sys.modules.values()))
