"""Shortcuts for slow parts that a test is not about; conftest has them as fixtures for single tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from alembic.script import ScriptDirectory
from optuna.samplers import GPSampler
from sqlalchemy import Engine
from sqlalchemy.util import LRUCache


def use_light_model(patch: pytest.MonkeyPatch) -> None:
    """Let the surrogate and Optuna's Gaussian process draw and search their models coarsely, in a tenth of the time.

    For tests in which any proposals will do; not for tests of how good they are.
    """
    patch.setattr("deap_hpo.strategies.improvement.SAMPLING", ((0, 2, 1),))
    patch.setattr("deap_hpo.strategies.prospects.REFINEMENTS", 1)
    start: Any = GPSampler.__init__

    def with_a_coarse_search(sampler: Any, *arguments: Any, **keywords: Any) -> None:
        start(sampler, *arguments, **keywords)
        sampler._n_preliminary_samples, sampler._n_local_search = 64, 2

    patch.setattr(GPSampler, "__init__", with_a_coarse_search)


def draw_no_figures(patch: pytest.MonkeyPatch) -> None:
    """Let the commands draw nothing, since figures take longer than small runs: for tests that look at no figure."""
    patch.setattr("deap_hpo.reports.figures.save_figures", lambda recorded, folder, **_: [])


def read_migrations_once() -> None:
    """Let Optuna read its migration files once, rather than for each new record, which takes a tenth of a second."""
    read: Any = ScriptDirectory.from_config
    known: dict[str, ScriptDirectory] = {}

    def from_config(config: Any) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        if folder not in known:
            known[folder] = read(config)
        return known[folder]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]


def note_no_stacks() -> None:
    """Let torch seed GPUs, before they are in use, without noting the stack, which is deep in a test."""
    for backend in (torch.cuda, torch.mtia):
        if hasattr(backend, "traceback"):
            backend.traceback = SimpleNamespace(format_stack=list)


class _CompiledStatements(LRUCache[Any, Any]):
    """SQL by what it depends on: the kind of the database, rather than the connection to it, and the statement."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(self._of_its_kind(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(self._of_its_kind(key), value)

    def _of_its_kind(self, key: Any) -> Any:
        dialect, *statement = key
        return (type(dialect), *statement)


def compile_statements_once() -> None:
    """Let SQLAlchemy make the SQL of a statement once, rather than for each record, which takes a tenth of a second."""
    start: Any = Engine.__init__
    compiled = _CompiledStatements(1000)

    def with_what_others_compiled(engine: Any, *arguments: Any, **keywords: Any) -> None:
        start(engine, *arguments, **keywords)
        engine._compiled_cache = compiled

    Engine.__init__ = with_what_others_compiled  # type: ignore[method-assign]
