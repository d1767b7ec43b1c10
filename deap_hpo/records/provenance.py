"""What is noted about a run beside its evaluations: version, configuration, what evaluates; and whether it agrees."""

from __future__ import annotations

from typing import Any

import deap_hpo
from deap_hpo.errors import warn
from deap_hpo.evaluator import Evaluator
from deap_hpo.records.fingerprint import code_digest, described
from deap_hpo.records.record import Record


class Provenance:
    """The facts about a run, put on record as soon as the run is sure to be the recorded one.

    That is at once where nothing is on record, else when a replay has come to what is not: a run that is refused has
    changed nothing.

    Args:
        record: The run's record.

    Example:
        >>> facts = Provenance(Record("run", None, None, ["minimize"], {}))
        >>> facts.note("plan", "a grid of 5 by 5")
        >>> facts.record.attributes["plan"], facts.record.attributes["version"]
        ('a grid of 5 by 5', '0.1.0')
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self._waiting: dict[str, Any] = {}
        self._digests = list(record.attributes.get("code", ()))
        self._brought: Any = None
        self.note("version", deap_hpo.__version__)

    def note(self, key: str, value: Any) -> None:
        """Keep a fact (a JSON value), which `load_study` gives back among the attributes."""
        self._waiting[key] = value
        if self.record.is_new:
            self.write()

    def check(self, key: str, value: Any) -> None:
        """Insist that a fact is the one on record; where there is none, keep it.

        Raises:
            ReplayError: The record holds another value.
        """
        if key in self.record.attributes:
            self.record.check(key, value)
        else:
            self.note(key, value)

    def write(self) -> None:
        """Put what waits on record, before an evaluation is begun or answered."""
        self.record.begin()
        for key, value in self._waiting.items():
            self.record.note(key, value)
        self._waiting.clear()

    def use(self, evaluate: Evaluator, *, replaying: bool) -> None:
        """Compare what evaluates from now on with what made the evaluations on record.

        Settings, and the names of network, loss, metrics or function, have to be the same. Of changed code, which may
        give the same values all the same, there is a warning.

        Args:
            evaluate: What evaluates.
            replaying: Whether there are evaluations on record still to come.

        Raises:
            ReplayError: Settings or names are others.
        """
        parts = dict(evaluate.parts)
        if evaluate.settings is not None:
            self.record.check("evaluator", evaluate.settings)
        if evaluate.brought is self._brought:
            return
        self._brought = evaluate.brought
        if parts or "parts" in self.record.attributes:
            self.check("parts", described(parts))
        digest = code_digest(parts or evaluate.brought)
        if digest in self._digests:
            return
        python, _, _ = digest.partition("-")
        if replaying and any(one.startswith(f"{python}-") for one in self._digests):
            warn(
                f"the evaluations on record in the study {self.record.name!r} were made by other code than what "
                "evaluates now; they stay as they are. If it gives other values, begin a study under another name"
            )
        self._digests.append(digest)
        self.note("code", self._digests)
