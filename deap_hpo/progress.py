"""The live display of a run: generation, evaluations done, best value, time left."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from deap_hpo.study import Study
from deap_hpo.trials import Entry


class ProgressDisplay:
    """A study's callback that shows how far the run is, on a terminal or in a notebook; elsewhere nothing is shown.

    Args:
        evaluations: Evaluations of the whole run.
        generations: Generations of the whole run.

    Example::

        with ProgressDisplay(evaluations=12, generations=3) as progress:
            evolve(config, callbacks=[progress])
    """

    def __init__(self, evaluations: int, generations: int, console: Console | None = None) -> None:
        self._generations = generations
        self._best = math.nan
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("generation {task.fields[generation]}/{task.fields[generations]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("evaluations · best {task.fields[best]} ·"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=console.is_jupyter or not console.is_terminal,
            redirect_stdout=sys.stdout.isatty(),
            speed_estimate_period=3600,
        )
        self._notebook = _NotebookLine() if console.is_jupyter else None
        self._task = self._progress.add_task(
            "", total=evaluations, generation=1, generations=generations, best="-", completed=0
        )

    def __enter__(self) -> ProgressDisplay:
        self._progress.start()
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def on_evaluation(self, study: Study, entry: Entry) -> None:
        """Count a new evaluation."""
        self._note_best(study, [entry])
        self._progress.update(self._task, completed=len(study.record), best=self._shown_best())
        self._show()

    def on_generation(self, study: Study, entries: Sequence[Entry]) -> None:
        """Go on to the next generation; replayed evaluations are counted here."""
        self._note_best(study, entries)
        self._progress.update(
            self._task,
            completed=len(study.record),
            generation=min(self._generations, study.generation + 1),
            best=self._shown_best(),
        )
        self._show()

    def _show(self) -> None:
        if self._notebook:
            self._notebook.show(self._progress.tasks[0])

    def _note_best(self, study: Study, entries: Sequence[Entry]) -> None:
        better = min if study.directions[0] == "minimize" else max
        for entry in entries:
            if entry.evaluation.status == "ok":
                value = entry.evaluation.value
                self._best = value if math.isnan(self._best) else better(self._best, value)

    def _shown_best(self) -> str:
        return "-" if math.isnan(self._best) else f"{self._best:.4f}"


class _NotebookLine:
    """One line of a notebook cell's output that is replaced as the run goes on; it stays when the notebook is saved."""

    def __init__(self) -> None:
        from IPython import display

        tools: Any = display
        self._make = tools.HTML
        self._handle = tools.display(tools.HTML(""), display_id=True)

    def show(self, task: Task) -> None:
        """Show how far it is."""
        total = int(task.total or 0)
        left = "" if task.time_remaining is None else f", about {task.time_remaining:.0f} s left"
        self._handle.update(
            self._make(
                f"generation {task.fields['generation']}/{task.fields['generations']} "
                f'<progress value="{task.completed:.0f}" max="{total}"></progress> '
                f"{task.completed:.0f}/{total} evaluations · best {task.fields['best']} · "
                f"{task.elapsed or 0:.0f} s gone{left}"
            )
        )
