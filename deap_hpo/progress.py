"""The progress of a run: lines that are updated on a terminal, one in a notebook, elsewhere one per generation."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from deap_hpo.configuration.workload import Work, Workload
from deap_hpo.evaluation import Request
from deap_hpo.records.entries import Entry
from deap_hpo.running_lines import NotebookProgress, ProgressWithLines, RunningLines
from deap_hpo.study import Study
from deap_hpo.wording import format_value

_WIDE = 120  # columns of a terminal with room for a bar, the epochs and the time elapsed, even after days
_FIRST_LINES = 20  # without a terminal, so many generations have a line each; later ones only if enough time has passed
_SECONDS_BETWEEN_LINES = 1.0
_LONGEST_SILENCE = 60.0  # seconds without a line, after which the next evaluation has one


class ProgressDisplay:
    """A study's callback that shows the progress of the run in a line on a terminal or in a notebook.

    Below it is a line for each evaluation under way, once evaluations take more than two seconds.
    Elsewhere (nohup, Slurm, Docker), it can write a line after each generation that was not only replayed. Where
    generations take long, it writes one after an evaluation, too, if there was none for a minute.

    It says how many evaluations failed, diverged, were infeasible or repeated earlier ones, as far as the terminal has
    room. The totals are upper bounds: they shrink when trainings end early, or are duplicates of earlier ones. The time
    left is estimated from epochs, because some evaluations have more of them than others.

    Args:
        work: The evaluations and epochs that the run will request.
        epochs: Whether the evaluator has epochs; if not, only evaluations are counted.
        seconds: The time limit, if nothing else ends the run; then it is the only total that is shown.
        lines: Whether to write a line after each generation if there is neither a terminal nor a notebook.
        console: Where it is shown; standard error if None.
        clock: Gives seconds.

    Example::

        with ProgressDisplay(workload(config.search_space, config.evolution, epochs=5)) as progress:
            evolve(config, callbacks=[progress])
    """

    def __init__(
        self,
        work: Workload,
        *,
        epochs: bool = True,
        seconds: float | None = None,
        lines: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._work = work
        self._epochs = epochs
        self._seconds = seconds
        self._best = math.nan
        self._counted: set[int] = set()  # numbers of the evaluations in complete batches
        self._cost = 0  # cost of the complete batches
        self._new = Work(0, 0)  # work done beyond the complete batches
        self._noted: dict[int, str] = {}  # by number: what `_also` tells of an evaluation
        self._generation = 0  # complete batches
        self._last_words = ""
        self._written_at, self._unwritten = -math.inf, 0  # time of the last line, and a later generation without one
        self._written = ""  # the last line, without the time
        self._left = work.left()
        self._clock, self._since, self._since_cost = clock, clock(), 0  # since the last batch that was only replayed
        self._begun = self._heard_at = self._since  # when it began, and when something was last said
        self._console = console = console or Console(stderr=True)
        self._lines = None if console.is_terminal or console.is_jupyter else console
        self._after_generations = lines
        self._wide = wide = console.width >= _WIDE
        self._bar = min(24, console.width - _WIDE + 8)
        self._epochs_shown = epochs and (wide or console.is_jupyter or self._lines is not None)
        self._running = RunningLines()
        self._progress = ProgressWithLines(
            self._running,
            TextColumn("generation {task.fields[generation]}"),
            *([BarColumn(bar_width=self._bar)] if wide else []),
            TextColumn("{task.fields[counts]} · best {task.fields[best]}{task.fields[noted]}"),
            *([TextColumn("·"), TimeElapsedColumn(), TextColumn("elapsed")] if wide else []),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=console.is_jupyter or not console.is_terminal,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        self._notebook = NotebookProgress(self._running) if console.is_jupyter else None
        self._task = self._progress.add_task("")
        self._update(generation=0)

    def __enter__(self) -> ProgressDisplay:
        self._since = self._begun = self._heard_at = self._clock()
        self._progress.start()
        if self._notebook:
            self._notebook.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.study = None
        self._progress.stop()
        if self._notebook:
            self._notebook.stop()
        if self._after_generations and any(self._new):  # a budget or an interruption ended the run within a generation
            self._write_line(self._generation // self._work.stages + 1)
        elif self._unwritten:
            self._write_line(self._unwritten)
        if self._last_words:
            self._console.print(self._last_words, soft_wrap=True, highlight=False, markup=False)

    def end_with(self, text: str) -> None:
        """Add a sentence, such as why the run ended early, below the line at the end."""
        self._last_words = text

    def on_requests(self, study: Study, requests: Sequence[Request]) -> None:
        """Show the evaluations of the study that are under way from now on."""
        self._running.study = study

    def on_evaluation(self, study: Study, entry: Entry) -> None:
        """Count a new evaluation."""
        added = [entry]
        if not any(self._new) and len(study.record) > len(self._counted) + 1:  # the start of the batch was on record
            added = self._uncounted(study)
        work = self._work_of(study, added)
        if len(added) > 1:
            self._since, self._since_cost = self._clock(), self._cost + work.epochs
        self._new = Work(self._new.evaluations + work.evaluations, self._new.epochs + work.epochs)
        self._note(study, added)
        self._update(study.generation)
        if self._clock() - self._heard_at >= _LONGEST_SILENCE:
            self._write_line(study.generation // self._work.stages + 1)

    def on_generation(self, study: Study, entries: Sequence[Entry]) -> None:
        """Start the next batch; replayed evaluations are counted here."""
        replayed = not any(self._new)
        self._counted.update(entry.number for entry in entries)
        self._cost = study.budget.epochs if self._epochs else study.budget.evaluations
        # In a steady state, the next generation has already begun.
        self._new = Work(0, 0) if replayed else self._work_of(study, self._uncounted(study))
        self._left = self._work.left(study.generation, study.budget.evaluations, study.budget.epochs)
        if replayed:
            self._since, self._since_cost = self._clock(), self._cost
        self._note(study, entries)
        self._update(study.generation)
        self._heard_at = self._clock()
        if not replayed and self._after_generations and study.generation % self._work.stages == 0:
            generation = study.generation // self._work.stages
            if generation <= _FIRST_LINES or self._clock() - self._written_at >= _SECONDS_BETWEEN_LINES:
                self._write_line(generation)
            else:
                self._unwritten = generation

    def _uncounted(self, study: Study) -> list[Entry]:
        return [entry for entry in study.record if entry.number not in self._counted]

    def _work_of(self, study: Study, entries: Sequence[Entry]) -> Work:
        costs = [study.cost_of(entry) for entry in entries]
        return Work(len(entries), sum(costs if self._epochs else map(bool, costs)))

    def _update(self, generation: int) -> None:
        """Show the state after so many complete batches."""
        self._generation = generation
        evaluations, cost = len(self._counted) + self._new.evaluations, self._cost + self._new.epochs
        total = self._cost + self._left.epochs
        # The budget may end in a batch.
        expected = max(evaluations, len(self._counted) + self._left.evaluations) if cost < total else evaluations
        counts = f"{evaluations}/{expected} evaluations"
        complete = generation // self._work.stages
        generations = max(self._work.generations, complete)  # there are more if many evaluations are duplicates
        shown: dict[str, Any] = {
            "completed": cost,
            "total": total,
            "generation": f"{min(generations, complete + 1)}/{generations}",
            "counts": f"{counts}, {cost}/{total} epochs" if self._epochs_shown else counts,
            "left": self._time_left(cost, total),
        }
        if self._seconds is not None:
            gone = min(self._clock() - self._begun, self._seconds)
            shown |= {
                "completed": gone,
                "total": self._seconds,
                "generation": f"{complete + 1}",
                "counts": f"{evaluations} evaluations" + (f", {cost} epochs" if self._epochs_shown else ""),
                "left": f"· {timedelta(seconds=round(self._seconds - gone))} left",
            }
        shown["best"] = "-" if math.isnan(self._best) else format_value(self._best)
        shown["noted"] = self._also(math.inf if self._notebook else self._room(shown))
        self._progress.update(self._task, **shown)
        if self._notebook:
            self._notebook.show(self._progress.tasks[0])

    def _write_line(self, generation: int) -> None:
        if self._lines is None:
            return
        shown = self._progress.tasks[0].fields
        self._written_at = self._heard_at = self._clock()
        self._unwritten = 0
        gone = timedelta(seconds=round(self._written_at - self._begun))
        of_all = "" if self._seconds is not None else f"/{max(generation, self._work.generations)}"
        line = f"generation {generation}{of_all}: {shown['counts']}, best {shown['best']}{self._also()}"
        if line != self._written:  # as it is if the last evaluation of a generation had a line already
            self._lines.print(f"{line}, {gone}", soft_wrap=True, highlight=False)
        self._written = line

    def _also(self, room: float = math.inf) -> str:
        """Say how many evaluations went wrong or were not done, as far as there is room for it."""
        counts, said = Counter(self._noted.values()), ""
        for kind in ("failed", "diverged", "infeasible", "repeated"):
            more = f", {counts[kind]} {kind}" if counts[kind] else ""
            said += more if len(said + more) <= room else ""
        return said

    def _room(self, shown: Mapping[str, Any]) -> int:
        """Give the columns of the terminal that its line leaves free."""
        line = f"generation {shown['generation']} {shown['counts']} · best {shown['best']} {shown['left']}"
        if self._wide:
            elapsed = timedelta(seconds=int(self._progress.tasks[0].elapsed or 0))
            line += f" {'━' * self._bar} · {elapsed} elapsed"
        return self._console.width - len(line)

    def _time_left(self, cost: int, total: int) -> str:
        trained = cost - self._since_cost
        if trained < 1 or total <= cost:
            return ""
        seconds = (self._clock() - self._since) / trained * (total - cost)
        return f"· {timedelta(seconds=round(seconds))} left"

    def _note(self, study: Study, entries: Sequence[Entry]) -> None:
        better = min if study.directions[0] == "minimize" else max
        for entry in entries:
            if entry.evaluation.feasible:
                value = entry.evaluation.value
                self._best = value if math.isnan(self._best) else better(self._best, value)
            if entry.duplicate_of is not None:
                self._noted[entry.number] = "repeated"
            elif entry.evaluation.status in ("failed", "diverged", "infeasible"):
                self._noted[entry.number] = entry.evaluation.status
