"""The progress of a run on a terminal or in a notebook, with a line below it for each evaluation under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from threading import Event, Thread
from time import perf_counter
from typing import Any

from rich.console import RenderableType
from rich.progress import Progress, Task
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


class NotebookProgress:
    """A line in the output of a notebook's cell that is updated during the run; it stays when the notebook is saved.

    Args:
        below: Gives the lines below it, which a thread looks for every second between `start` and `stop`.
    """

    def __init__(self, below: Callable[[], Sequence[str]]) -> None:
        from IPython import display

        tools: Any = display
        self._make = tools.HTML
        self._handle = tools.display(tools.HTML(""), display_id=True)
        self._below = below
        self._task: Task | None = None
        self._lines: Sequence[str] = ()
        self._stopping, self._thread = Event(), Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Begin to follow the lines below."""
        self._thread.start()

    def stop(self) -> None:
        """Show the progress for the last time."""
        self._stopping.set()
        self._thread.join()
        self._show_changes()

    def _follow(self) -> None:
        while not self._stopping.wait(_SECONDS_BETWEEN_READINGS):
            self._show_changes()

    def _show_changes(self) -> None:
        if self._task is not None and self._below() != self._lines:
            self.show(self._task)

    def show(self, task: Task) -> None:
        """Show the progress."""
        self._task, self._lines, shown = task, self._below(), task.fields
        below = "".join(f"<br><small>{escape(line)}</small>" for line in self._lines)
        self._handle.update(
            self._make(
                f"generation {shown['generation']} "
                f'<progress value="{task.completed:.0f}" max="{task.total:.0f}"></progress> '
                f"{shown['counts']} · best {shown['best']}{shown['noted']} "
                f"· {task.elapsed or 0:.0f} s elapsed {shown['left']}{below}"
            )
        )


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
        if (study := self.study) is None:  # another thread may take it away
            return []
        now = self._clock()
        if now - self._read_at >= _SECONDS_BETWEEN_READINGS:
            self._read_at, self._lines = now, _lines_of(study)
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
