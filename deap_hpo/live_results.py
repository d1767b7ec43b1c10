"""What a study that may be running has found so far: it is read from the record as that grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deap_hpo.evaluation import Direction
from deap_hpo.records.entries import Entry
from deap_hpo.records.record import Record
from deap_hpo.results import Results
from deap_hpo.search_space.space import Space

if TYPE_CHECKING:
    from deap_hpo.continuation import Continuations


class LiveResults(Results):
    """Those of a study that may be running: they are read from its record as it grows."""

    record: Record
    space: Space | None
    directions: tuple[Direction, ...]
    _continuations: Continuations

    def _checkpoint_of(self, entry: Entry) -> str | None:
        noted, number = entry.evaluation.checkpoint, entry.number
        of_the_run = number in self.record and self.record[number].evaluation.checkpoint == noted  # not superseded
        return self._continuations.reference(entry.trained_number) if of_the_run else noted

    @property
    def name(self) -> str:
        """Name of the study in its storage."""
        return self.record.name

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The evaluations on record, by number."""
        return tuple(self.record)

    @property
    def superseded(self) -> tuple[Entry, ...]:
        """The evaluations that gave way when failed ones were tried again, in the order in which they were recorded."""
        return tuple(self.record.superseded)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What was noted about the run: seed, settings, ..."""
        return self.record.attributes
