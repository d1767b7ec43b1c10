"""What makes a test lighter where it is about something else; conftest has fixtures of it for single tests."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.script import ScriptDirectory


def use_light_model(patch: pytest.MonkeyPatch) -> None:
    """Have the surrogate draw and search its model coarsely, at a tenth of the time.

    For tests of what goes on around its proposals, whatever these are; not for those of how good they are.
    """
    patch.setattr("deap_hpo.strategies.improvement.SAMPLING", ((0, 2, 1),))
    patch.setattr("deap_hpo.strategies.prospects.REFINEMENTS", 1)


def draw_no_figures(patch: pytest.MonkeyPatch) -> None:
    """Have the commands draw nothing, which takes longer than small runs do: for tests that look at no figure."""
    patch.setattr("deap_hpo.reports.figures.save_figures", lambda recorded, folder, **_: [])


def read_migrations_once() -> None:
    """Have Optuna read the files of its migrations once, and not for each record that is made: a tenth of a second."""
    read: Any = ScriptDirectory.from_config
    known: dict[str, ScriptDirectory] = {}

    def from_config(config: Any) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        if folder not in known:
            known[folder] = read(config)
        return known[folder]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]
