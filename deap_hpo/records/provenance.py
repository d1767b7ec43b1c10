"""What is noted about a run beside its evaluations: version, configuration, what evaluates; and whether it agrees."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from contextlib import suppress
from types import FunctionType
from typing import Any, ClassVar

import deap_hpo
from deap_hpo.closures import own_values
from deap_hpo.errors import InputError, warn
from deap_hpo.evaluator import Evaluator
from deap_hpo.records.content import described
from deap_hpo.records.fingerprint import comparable, fingerprint, is_code
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
        >>> facts.record.attributes["plan"], facts.record.attributes["version"] == deap_hpo.__version__
        ('a grid of 5 by 5', True)
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self._waiting: dict[str, Any] = {}
        self._is_written = record.is_new
        self._facts = _Facts(record.attributes.get(_FACTS) or {})
        self._brought: Any = None
        self._looked_at: Any = None  # that, or the parts that it is made of
        self._is_measured = False
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
        if _is_same(evaluate.brought, self._brought):
            if not self._is_measured:  # after the first batch, since a run that is killed never comes to `close`
                self._measure()
            return
        self._brought, self._looked_at = evaluate.brought, parts or evaluate.brought
        if parts or "parts" in self.record.attributes:
            self.check("parts", _names(parts))
        before = self._facts.as_json()
        changed = self._facts.take(fingerprint(self._looked_at), compare=replaying)
        if changed:
            shown = ", ".join(changed[:_SHOWN]) + (f" and {len(changed) - _SHOWN} more" if changed[_SHOWN:] else "")
            warn(
                f"what evaluates has changed since the evaluations on record in the study {self.record.name!r} were "
                f"made: {shown}. They stay as they are. If it gives other values now, begin a study under another name"
            )
        if self._facts.as_json() != before:
            self.note(_FACTS, self._facts.as_json())

    def close(self) -> None:
        """Note what has changed while the run went on, and close the record."""
        try:
            self._measure()
        finally:
            self.record.close()

    def _measure(self) -> None:
        """Note which values have changed while they were used, such as caches and counts: they are not compared."""
        if not self._is_written or self._looked_at is None:
            return
        self._is_measured = True
        before = self._facts.as_json()
        self._facts.exempt_what_changed(fingerprint(self._looked_at))
        if self._facts.as_json() != before:
            with suppress(InputError):  # of a disk that is full, say, which was told
                self.record.note(_FACTS, self._facts.as_json())


def _is_same(one: Any, other: Any) -> bool:
    """Whether things are one, or two functions that a loop has made of the same code and values, as by a lambda."""
    if type(one) is not FunctionType or type(other) is not FunctionType:
        return one is other
    mine, theirs = ([f.__code__, f.__globals__, *own_values(f)] for f in (one, other))
    return len(mine) == len(theirs) and all(map(operator.is_, mine, theirs))


def _names(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The names of parts, and of those of parts that have several by names, as metrics."""
    several = {name for name, one in parts.items() if isinstance(one, Mapping) and not callable(one)}
    return {name: _names(one) if name in several else described(one) for name, one in parts.items()}


class _Facts:
    """The digests by name of what has evaluated, on record and in this run: several where it was changed in between.

    What changes while a run goes on is what it counts, caches or learns, rather than what it goes by; and so it is in
    the next run of the same code in this process, which may begin with what this one has counted.

    Args:
        recorded: Digests by name; None for what changes while a run goes on.
    """

    changing: ClassVar[set[tuple[frozenset[str], str]]] = set()  # by the digests of the code, and by name

    def __init__(self, recorded: Mapping[str, list[str] | None]) -> None:
        self._known = {name: None if digests is None else list(digests) for name, digests in recorded.items()}
        self._now: dict[str, str] = {}
        self._code = frozenset[str]()

    def as_json(self) -> dict[str, list[str] | None]:
        """Give the digests as they are recorded."""
        return {name: None if digests is None else list(digests) for name, digests in self._known.items()}

    def take(self, facts: Mapping[str, str], *, compare: bool) -> list[str]:
        """Add what evaluates from now on; give the names of what is not as it was, where that is asked for."""
        self._code = frozenset(digest for name, digest in facts.items() if is_code(name))
        self.exempt_what_changed(facts)
        changed = []
        for name, digest in facts.items():
            self._now.setdefault(name, digest)
            known = self._known.setdefault(name, None if (self._code, name) in self.changing else [])
            if known is None or digest in known:
                continue
            if compare and any(comparable(one, digest) for one in known):
                changed.append(name)
            known.append(digest)
        return changed

    def exempt_what_changed(self, facts: Mapping[str, str]) -> None:
        """Compare values no more that have changed since they were taken."""
        for name in self._now.keys() & facts.keys():
            if facts[name] != self._now[name] and not is_code(name):
                self._known[name] = None
                self.changing.add((self._code, name))
