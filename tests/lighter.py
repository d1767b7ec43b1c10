"""Shortcuts for slow parts that a test is not about; conftest has them as fixtures for single tests."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.script import ScriptDirectory
from optuna.samplers import GPSampler
from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache


def use_light_model(patch: pytest.MonkeyPatch) -> None:
    """Let the surrogate and Optuna's Gaussian process draw and search their models coarsely, in a tenth of the time.

    For tests in which any proposals will do; not for tests of how good they are.
    """
    from deap_hpo.strategies.improvement import Sampling  # imports SciPy, which most tests do without

    patch.setattr("deap_hpo.strategies.improvement.SAMPLING", (Sampling(observations=0, samples=2, steps=1),))
    patch.setattr("deap_hpo.strategies.prospects.REFINEMENTS", 1)
    start: Any = GPSampler.__init__

    def with_a_coarse_search(sampler: Any, *arguments: Any, **keywords: Any) -> None:
        start(sampler, *arguments, **keywords)
        sampler._n_preliminary_samples, sampler._n_local_search = 64, 2

    patch.setattr(GPSampler, "__init__", with_a_coarse_search)


def draw_no_figures(patch: pytest.MonkeyPatch) -> None:
    """Let the commands draw nothing, since figures take longer than small runs: for tests that look at no figure."""
    patch.setattr("deap_hpo.reports.figures.save_figures", lambda recorded, folder, **_: [])
    patch.setattr("deap_hpo.reports.comparison_files.save", lambda figure, path: [])
    patch.setattr("deap_hpo.reports.comparison_files.figure_html", lambda figure, alternative: "")


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


def use_small_forests(patch: pytest.MonkeyPatch) -> None:
    """Let importances rest on small forests, since large ones take longer than what is made of them.

    For tests that draw or write importances, whatever they are; not for tests of how good they are.
    """
    patch.setattr("deap_hpo.analysis.importance._RESAMPLES", 2)
    patch.setattr("deap_hpo.analysis.importance._TREES", 8)
    patch.setattr("deap_hpo.analysis.importance._TREES_OF_A_RESAMPLE", 2)


def compile_statements_once() -> None:
    """Let all records share SQLAlchemy's compiled statements, which otherwise are made anew for each opened record."""
    DefaultDialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
    DefaultDialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
    start: Any = Engine.__init__
    statements: LRUCache[Any, Any] = LRUCache(2000)

    def with_shared_statements(engine: Any, *arguments: Any, **keywords: Any) -> None:
        start(engine, *arguments, **keywords)
        engine._compiled_cache = statements

    Engine.__init__ = with_shared_statements  # type: ignore[method-assign]
