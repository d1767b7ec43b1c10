"""Facts recorded about a run besides its evaluations (version, configuration, evaluator), and checks of them."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
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
from deap_hpo.wording import plural

_FACTS = "fingerprint"  # the attribute
_SHOWN = 5  # names of changed facts in a warning


class Provenance:
    """The facts about a run, recorded as soon as it is certain that the run is the recorded one.

    With an empty record, this is at once. Otherwise it is when the replay reaches the first evaluation that is not on
    record, so that a run that is refused changes nothing.

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
        self._looked_at: Any = None  # what the user brought, or its parts
        self._is_measured = False
        self.note("version", deap_hpo.__version__)

    def note(self, key: str, value: Any) -> None:
        """Keep a fact (a JSON value) for the record; `load_study` gives it back among the attributes."""
        self._waiting[key] = value
        if self.record.is_new:
            self.write()

    def check(self, key: str, value: Any) -> None:
        """Check that a fact is the same as on record; if it is not on record, keep it.

        Raises:
            ReplayError: The record holds another value.
        """
        if key in self.record.attributes:
            self.record.check(key, value)
        else:
            self.note(key, value)

    def write(self) -> None:
        """Write the kept facts to the record, before an evaluation is started or answered."""
        self._is_written = True
        self.record.begin()
        for key, value in self._waiting.items():
            self.record.note(key, value)
        self._waiting.clear()

    def use(self, evaluate: Evaluator, *, replaying: bool) -> None:
        """Compare the evaluator used from now on with the one that made the evaluations on record.

        Settings, and the names of network, loss, metrics or function, must be the same. Changed code and values may
        still give the same results; a warning names them.

        Args:
            evaluate: The evaluator.
            replaying: Whether further evaluations are on record.

        Raises:
            ReplayError: Settings or names are different.
        """
        parts = dict(evaluate.parts)
        if evaluate.settings is not None:
            self.record.check("evaluator", evaluate.settings)
        if _is_same(evaluate.brought, self._brought):
            if not self._is_measured:  # after the first batch, because a run that is killed never reaches `close`
                self._measure()
            return
        self._brought, self._looked_at = evaluate.brought, parts or evaluate.brought
        if parts or "parts" in self.record.attributes:
            self.check("parts", names_of(parts))
        before = self._facts.as_json()
        changed = self._facts.take(fingerprint(self._looked_at), compare=replaying)
        if changed:
            warn_of_changes(self.record.name, changed)
        if self._facts.as_json() != before:
            self.note(_FACTS, self._facts.as_json())

    def close(self) -> None:
        """Note which values have changed during the run, and close the record."""
        try:
            self._measure()
        finally:
            self.record.close()

    def _measure(self) -> None:
        """Note which values change when they are used, such as caches and counts; they are not compared."""
        if not self._is_written or self._looked_at is None:
            return
        self._is_measured = True
        before = self._facts.as_json()
        self._facts.exempt_what_changed(fingerprint(self._looked_at))
        if self._facts.as_json() != before:
            with suppress(InputError):  # a full disk, for example, which was reported before
                self.record.note(_FACTS, self._facts.as_json())


def changes_since(attributes: Mapping[str, Any], evaluate: Evaluator) -> list[str]:
    """Give the names of the code and the values of an evaluator that have changed since those on record.

    Args:
        attributes: Those of the record.
        evaluate: The evaluator.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> from deap_hpo.evaluator import as_evaluator
        >>> slope = 1.0
        >>> def line(params):
        ...     return slope * params["x"]
        >>> line.__module__ = "script"  # rather than this package, whose code is not looked at
        >>> study = optimize(line, {"x": Float(0.0, 1.0)}, generations=1)
        >>> slope = 2.0
        >>> changes_since(study.record.attributes, as_evaluator(line))
        ['slope in line']
    """
    facts = fingerprint(dict(evaluate.parts) or evaluate.brought)
    return _Facts(attributes.get(_FACTS) or {}).take(facts, compare=True)


def warn_of_changes(study: str, changed: Sequence[str], others: int = 0) -> None:
    """Warn that the evaluator of a study, and of a number of others, has changed in the named code and values.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warn_of_changes("quick", ["network()", "rate in network"], others=2)
        >>> print(told[0].message)
        the evaluator of the study 'quick' (and of 2 others) has changed since ... made: network(), rate in network. ...
    """
    shown = ", ".join(changed[:_SHOWN]) + (f" and {len(changed) - _SHOWN} more" if changed[_SHOWN:] else "")
    of = f"{study!r} (and of {plural(others, 'other')})" if others else repr(study)
    warn(
        f"the evaluator of the study {of} has changed since the evaluations on record were made: {shown}. They are "
        "kept. If it gives different values now, start a study with another name"
    )


def _is_same(one: Any, other: Any) -> bool:
    """Whether two objects are the same, or functions of the same code and values, such as a lambda made in a loop."""
    if type(one) is not FunctionType or type(other) is not FunctionType:
        return one is other
    mine, theirs = ([f.__code__, f.__globals__, *own_values(f)] for f in (one, other))
    return len(mine) == len(theirs) and all(map(operator.is_, mine, theirs))


def names_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Give the names of an evaluator's parts; a part that is a mapping, such as metrics, gives a dict of names.

    Example:
        >>> names_of({"loss": max, "metrics": {"largest": max, "smallest": min}})
        {'loss': 'max', 'metrics': {'largest': 'max', 'smallest': 'min'}}
    """
    several = {name for name, one in parts.items() if isinstance(one, Mapping) and not callable(one)}
    return {name: names_of(one) if name in several else described(one) for name, one in parts.items()}


class _Facts:
    """The evaluator's digests by name, on record and in this run; a fact that was changed in between has several.

    A value that changes during a run is a count, a cache or something learnt, rather than a setting. It is not compared
    in the next run of the same code in this process either, because that may start with the counts of this one.

    Args:
        recorded: Digests by name; None for values that change during a run.
    """

    changing: ClassVar[set[tuple[frozenset[str], str]]] = set()  # digests of the code, and name of the value

    def __init__(self, recorded: Mapping[str, list[str] | None]) -> None:
        self._known = {name: None if digests is None else list(digests) for name, digests in recorded.items()}
        self._now: dict[str, str] = {}
        self._code = frozenset[str]()

    def as_json(self) -> dict[str, list[str] | None]:
        """Give the digests as they are recorded."""
        return {name: None if digests is None else list(digests) for name, digests in self._known.items()}

    def take(self, facts: Mapping[str, str], *, compare: bool) -> list[str]:
        """Add the facts of the evaluator used from now on; give the names of the changed ones if `compare`."""
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
        """Exempt values that have changed since `take` from comparison."""
        for name in self._now.keys() & facts.keys():
            if facts[name] != self._now[name] and not is_code(name):
                self._known[name] = None
                self.changing.add((self._code, name))
