"""The results so far of a study that may be running, read from its growing record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deap_hpo.evaluation import Direction
from deap_hpo.records.entries import Entry
from deap_hpo.records.record import Record
from deap_hpo.running_evaluations import RunningEvaluation
from deap_hpo.search_space.space import Space
from deap_hpo.trained_results import TrainedResults

if TYPE_CHECKING:
    from deap_hpo.continuation import Continuations
    from deap_hpo.recorded import Recorded


class LiveResults(TrainedResults):
    """The results of a study that may be running, read from its growing record."""

    record: Record
    space: Space | None
    directions: tuple[Direction, ...]
    _continuations: Continuations

    def found(self) -> Recorded:
        """Give the study as it is now; later evaluations do not change the result."""
        from deap_hpo.recorded import Recorded

        return Recorded(
            name=self.name,
            directions=self.directions,
            space=self.space,
            entries=tuple(self._with_its_checkpoint(entry) for entry in self.record),
            attributes=dict(self.attributes),
            superseded=self.superseded,
            evaluator=self.evaluator,
            running=self.running,
        )

    def judged_by(self, objective: str, direction: Direction | None = None) -> Recorded:
        """Give the study, as it is now, as if another measurement had been its objective; see `Recorded.judged_by`."""
        return self.found().judged_by(objective, direction)

    def _with_its_checkpoint(self, entry: Entry) -> Entry:
        return replace(entry, evaluation=replace(entry.evaluation, checkpoint=self._checkpoint_of(entry)))

    def _checkpoint_of(self, entry: Entry) -> str | None:
        noted, number = entry.evaluation.checkpoint, entry.number
        of_the_run = number in self.record and self.record[number].evaluation.checkpoint == noted  # not superseded
        return self._continuations.reference(entry.trained_number) if of_the_run else noted

    @property
    def name(self) -> str:
        """Name of the study in its storage."""
        return self.record.name

    @property
    def storage(self) -> str | None:  # type: ignore[override]
        """Path or URL of its record; None if that is in memory."""
        return self.record.storage

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The evaluations on record, by number."""
        return tuple(self.record)

    @property
    def superseded(self) -> tuple[Entry, ...]:
        """The evaluations that retries of failed ones have superseded, in the order in which they were recorded."""
        return tuple(self.record.superseded)

    @property
    def running(self) -> tuple[RunningEvaluation, ...]:
        """The evaluations under way now, by number; those on machines that do not share the run's folder are missing.

        Example:
            >>> from deap_hpo import Float, Objective, Space, Study
            >>> def loss(params, report):
            ...     report(1, params["x"])
            ...     print([(one.number, one.progress) for one in study.running])
            ...     return params["x"]
            >>> with Study({"x": Float(0.0, 1.0)}) as study:
            ...     values = study.map(Objective(loss), [[0.5]])
            [(0, '1')]
        """
        return self.record.progress.read()

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The facts recorded about the run: seed, settings, ..."""
        return self.record.attributes
