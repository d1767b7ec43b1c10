"""What makes a test lighter where it is about something else; conftest has fixtures of it for single tests."""

from __future__ import annotations

import pytest


def use_light_model(patch: pytest.MonkeyPatch) -> None:
    """Have the surrogate draw and search its model coarsely, at a tenth of the time.

    For tests of what goes on around its proposals, whatever these are; not for those of how good they are.
    """
    patch.setattr("deap_hpo.strategies.improvement.SAMPLING", ((0, 2, 1),))
    patch.setattr("deap_hpo.strategies.prospects.REFINEMENTS", 1)


def draw_no_figures(patch: pytest.MonkeyPatch) -> None:
    """Have the commands draw nothing, which takes longer than small runs do: for tests that look at no figure."""
    patch.setattr("deap_hpo.reports.figures.save_figures", lambda recorded, folder, **_: [])
