"""What is noted about a run beside its evaluations: version, configuration, what evaluates; and whether it agrees."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

import deap_hpo
from deap_hpo.errors import InputError, warn
from deap_hpo.evaluator import Evaluator
from deap_hpo.records.content import described
from deap_hpo.records.fingerprint import fingerprint
from deap_hpo.records.record import Record

_FACTS = "fingerprint"  # the attribute
_SHOWN = 5  # names of what has changed


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
        self._is_written = record.is_new
        self._facts = _Facts(record.attributes.get(_FACTS) or {})
        self._evaluating: tuple[Any, Any] = (None, None)  # what the user has brought, and what is looked at of it
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
        self._is_written = True
        self.record.begin()
        for key, value in self._waiting.items():
            self.record.note(key, value)
        self._waiting.clear()

    def use(self, evaluate: Evaluator, *, replaying: bool) -> None:
        """Compare what evaluates from now on with what made the evaluations on record.

        Settings, and the names of network, loss, metrics or function, have to be the same. Of changed code and values,
        which may give the same results all the same, there is a warning that names them.

        Args:
            evaluate: What evaluates.
            replaying: Whether there are evaluations on record still to come.

        Raises:
            ReplayError: Settings or names are others.
        """
        parts = dict(evaluate.parts)
        if evaluate.settings is not None:
            self.record.check("evaluator", evaluate.settings)
        if evaluate.brought is self._evaluating[0]:
            return
        self._evaluating = evaluate.brought, parts or evaluate.brought
        if parts or "parts" in self.record.attributes:
            self.check("parts", described(parts))
        before = self._facts.as_json()
        changed = self._facts.take(fingerprint(self._evaluating[1]), compare=replaying)
        if changed:
            shown = ", ".join(changed[:_SHOWN]) + (f" and {len(changed) - _SHOWN} more" if changed[_SHOWN:] else "")
            warn(
                f"what evaluates has changed since the evaluations on record in the study {self.record.name!r} were "
                f"made: {shown}. They stay as they are. If it gives other values now, begin a study under another name"
            )
        if self._facts.as_json() != before:
            self.note(_FACTS, self._facts.as_json())

    def end(self) -> None:
        """Note which values have changed while they were used, such as caches and counts: they are not compared."""
        if not self._is_written or self._evaluating[1] is None:
            return
        before = self._facts.as_json()
        self._facts.take_again(fingerprint(self._evaluating[1]))
        if self._facts.as_json() != before:
            with suppress(InputError):  # of a disk that is full, say, which was told
                self.record.note(_FACTS, self._facts.as_json())


class _Facts:
    """The digests by name of what has evaluated, on record and in this run: several where it was changed in between.

    What changes while a run goes on is what it counts, caches or learns, rather than what it goes by; and so it is in
    the next run of this process, which may begin with what this one has counted.

    Args:
        recorded: Digests by name; None for what changes while a run goes on.
    """

    changing: ClassVar[set[str]] = set()

    def __init__(self, recorded: Mapping[str, list[str] | None]) -> None:
        self._known = {name: None if digests is None else list(digests) for name, digests in recorded.items()}
        self._now: dict[str, str] = {}

    def as_json(self) -> dict[str, list[str] | None]:
        """Give the digests as they are recorded."""
        return {name: None if digests is None else list(digests) for name, digests in self._known.items()}

    def take(self, facts: Mapping[str, str], *, compare: bool) -> list[str]:
        """Add what evaluates from now on; give the names of what is not as it was, where that is asked for."""
        changed = []
        for name, digest in facts.items():
            known = self._known.setdefault(name, None if name in self.changing else [])
            if self._changes(name, digest) or known is None or digest in known:
                continue
            scheme = digest.partition("-")[0]
            if compare and any(one.startswith(f"{scheme}-") for one in known):
                changed.append(name)
            known.append(digest)
        return changed

    def take_again(self, facts: Mapping[str, str]) -> None:
        """Tell what has changed since it was taken."""
        for name in self._now.keys() & facts.keys():
            self._changes(name, facts[name])

    def _changes(self, name: str, digest: str) -> bool:
        """Whether it is a value that has changed since it was taken; another function of the same name is no value."""
        if self._now.setdefault(name, digest) == digest or name.endswith("()"):
            return False
        self._known[name] = None
        self.changing.add(name)
        return True
