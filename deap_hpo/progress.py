"""The live display of a run: generation, evaluations done, best value, time left."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from deap_hpo.study import Study
from deap_hpo.trials import Entry


class ProgressDisplay:
    """A study's callback that shows how far the run is; nothing is shown where standard error is no terminal.

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
            disable=not (console.is_terminal or console.is_jupyter),
            redirect_stdout=sys.stdout.isatty(),
            speed_estimate_period=3600,
        )
        self._task = self._progress.add_task(
            "", total=evaluations, generation=1, generations=generations, best="-", completed=0
        )

    def __enter__(self) -> ProgressDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def on_evaluation(self, study: Study, entry: Entry) -> None:
        """Count a new evaluation."""
        self._note_best(study, [entry])
        self._progress.update(self._task, completed=len(study.record), best=self._shown_best())

    def on_generation(self, study: Study, entries: Sequence[Entry]) -> None:
        """Go on to the next generation; replayed evaluations are counted here."""
        self._note_best(study, entries)
        self._progress.update(
            self._task,
            completed=len(study.record),
            generation=min(self._generations, study.generation + 1),
            best=self._shown_best(),
        )

    def _note_best(self, study: Study, entries: Sequence[Entry]) -> None:
        better = min if study.directions[0] == "minimize" else max
        for entry in entries:
            if entry.evaluation.status == "ok":
                value = entry.evaluation.value
                self._best = value if math.isnan(self._best) else better(self._best, value)

    def _shown_best(self) -> str:
        return "-" if math.isnan(self._best) else f"{self._best:.4f}"
