"""The progress of a run on a terminal, with a line below it for each evaluation that is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any

from rich.console import RenderableType
from rich.progress import Progress
from rich.text import Text

from deap_hpo.analysis.running import RunningRow, running_rows
from deap_hpo.results import Results
from deap_hpo.wording import format_cell, format_params, plural

_SECONDS_BETWEEN_READINGS = 1.0
_LEAST_SECONDS = 2.0  # of an evaluation that has a line: lines of shorter ones would only flicker
_MOST_LINES = 8


class ProgressWithLines(Progress):
    """A progress display of rich whose last lines are given by a function, each time it is drawn.

    Args:
        below: Gives the lines.
        columns: As for `rich.progress.Progress`.
        options: As for `rich.progress.Progress`.
    """

    def __init__(self, below: Callable[[], Sequence[str]], *columns: Any, **options: Any) -> None:
        self._below = below
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Give what is drawn."""
        yield from super().get_renderables()
        for line in self._below():
            yield Text(line, style="dim", no_wrap=True, overflow="ellipsis")


class RunningLines:
    """Lines on the evaluations of a study that are under way, read anew at most once a second.

    Args:
        clock: Gives seconds.

    Attributes:
        study: The study; without one, there are no lines.

    Example:
        >>> from types import SimpleNamespace
        >>> from deap_hpo.running_evaluations import RunningEvaluation
        >>> one = RunningEvaluation(3, 75.0, {"lr": 0.1})
        >>> lines = RunningLines()
        >>> lines.study = SimpleNamespace(running=(one,), evaluator_settings={}, objective_names=["loss"])
        >>> lines()
        ['  evaluation 3 · 1 min 15 s · lr 0.1']
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.study: Results | None = None
        self._clock = clock
        self._read_at = -_SECONDS_BETWEEN_READINGS
        self._lines: list[str] = []

    def __call__(self) -> list[str]:
        """Give the lines."""
        if self.study is None:
            return []
        now = self._clock()
        if now - self._read_at >= _SECONDS_BETWEEN_READINGS:
            self._read_at, self._lines = now, _lines_of(self.study)
        return self._lines


def _lines_of(study: Results) -> list[str]:
    if all(one.seconds < _LEAST_SECONDS for one in study.running):
        return []
    rows = running_rows(study)
    more = [f"  and {plural(len(rows) - _MOST_LINES, 'evaluation')} more"] if len(rows) > _MOST_LINES else []
    return [*map(_line, rows[:_MOST_LINES]), *more]


def _line(row: RunningRow) -> str:
    facts = dict(row.facts)
    time = facts.pop("time")
    measured = [f"{name} {format_cell(value)}" for name, value in facts.items()]
    return "  " + " · ".join(filter(None, [*measured, time, format_params(row.params)]))
