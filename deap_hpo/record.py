"""The record of a run: one Optuna study in a database, one trial for each evaluation, written as each one ends.

Only the driver of a run writes. What `Record.append` has returned from is committed: it survives a `kill -9`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from deap_hpo.driver_lock import DriverLock
from deap_hpo.errors import InputError, nearest
from deap_hpo.evaluation import Direction
from deap_hpo.interruption import undisturbed
from deap_hpo.space import Space
from deap_hpo.storage import check_name, open_storage
from deap_hpo.trials import Entry, distributions, to_entry, to_trial

optuna.logging.set_verbosity(optuna.logging.WARNING)


class ReplayError(InputError):
    """What is asked for is not the run that the record holds; nothing was written."""


class Record:
    """The evaluations of one run, in memory and in an Optuna storage.

    Args:
        name: Name of the study: letters, digits, dots, dashes and underscores, starting with a letter or a digit.
        storage: Path of an SQLite file, the URL of a database, or None to keep the record in memory only.
        space: The search space, or None where genes have no meaning known here.
        directions: "minimize" or "maximize" for each objective.
        identity: What makes the run this run (seed, settings, ...), JSON values by name. A record that was made with
            another identity is refused.
        resume: Whether the study may exist already.

    Raises:
        InputError: The name is not allowed, or exists although `resume` is false; the storage cannot be used; another
            process is writing to the same study.
        ReplayError: The record was made with another identity.

    Example:
        >>> from deap_hpo.evaluation import Evaluation
        >>> from deap_hpo.space import Float
        >>> record = Record("trial-run", None, Space({"x": Float(0.0, 1.0)}), ["minimize"], {"seed": 1})
        >>> record.append(Entry(0, 0, (0.5,), Evaluation((0.25,)), seed=1))
        >>> record[0].evaluation.value, len(record)
        (0.25, 1)
    """

    def __init__(
        self,
        name: str,
        storage: str | Path | None,
        space: Space | None,
        directions: Sequence[Direction],
        identity: Mapping[str, Any],
        *,
        resume: bool = False,
    ) -> None:
        self.name = check_name(name)
        self._space = space
        self._distributions = distributions(space) if space else {}
        self._entries: dict[int, Entry] = {}
        backend = open_storage(storage)
        self._lock = DriverLock(storage, name)
        try:
            with _errors_named(name):
                if not resume and _has_study(backend, name):
                    raise InputError(
                        f"A study named {name!r} exists already. Resume it (`deap-hpo resume {name}`, or resume=True), "
                        "or choose another name."
                    )
                self._study = optuna.create_study(
                    storage=backend, study_name=name, directions=list(directions), load_if_exists=True
                )
                self._check_directions(directions)
                trials = self._study.get_trials(deepcopy=False)
                _check_ours(name, trials)
                self._entries = {entry.number: entry for entry in (to_entry(one, directions) for one in trials)}
                for key, value in {"space": space.to_dict() if space else None, **identity}.items():
                    self.check(key, value)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def __getitem__(self, number: int) -> Entry:
        return self._entries[number]

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[number] for number in sorted(self._entries))

    def as_completed(self) -> list[int]:
        """Numbers of the evaluations, in the order in which they came to be on record."""
        return list(self._entries)

    @undisturbed()
    def append(self, entry: Entry) -> None:
        """Put an evaluation on record; it is committed when this returns."""
        with _errors_named(self.name):
            self._study.add_trial(to_trial(entry, self._space, self._distributions))
        self._entries[entry.number] = entry

    def note(self, key: str, value: Any) -> None:
        """Keep a fact about the run (a JSON value), which `read_record` gives back among the attributes."""
        self._study.set_user_attr(key, value)

    def check(self, key: str, value: Any) -> None:
        """Note a fact the first time; afterwards insist that it is the same.

        Raises:
            ReplayError: The record holds another value.
        """
        value = json.loads(json.dumps(value))
        known = self._study.user_attrs
        if key not in known or not self._entries:  # nothing was made with what is noted
            self.note(key, value)
        elif known[key] != value:
            recorded, given = _first_difference(known[key], value)
            raise ReplayError(
                f"The study {self.name!r} was recorded with {key} {recorded}, and cannot go on with {given}. "
                "Give what was recorded, or choose another name."
            )

    def _check_directions(self, directions: Sequence[Direction]) -> None:
        recorded = _directions(self._study)
        if recorded != tuple(directions):
            raise ReplayError(
                f"The study {self.name!r} was recorded with the directions {', '.join(recorded)}, and cannot go on "
                f"with {', '.join(directions)}. Give what was recorded, or choose another name."
            )

    def check_replay(self, planned: Entry) -> None:
        """Insist that an evaluation, if it is on record, is the one that is asked for.

        Raises:
            ReplayError: It is another one.
        """
        recorded = self._entries.get(planned.number, planned)
        for name in ("genes", "epochs", "start_from"):
            old, new = getattr(recorded, name), getattr(planned, name)
            if old != new:
                raise ReplayError(
                    f"The study {self.name!r} cannot be resumed like this: evaluation {planned.number} on record has "
                    f"the {name} {old}, this run has {new}. Resume it with the algorithm and the version that made it, "
                    "or choose another name; nothing was written."
                )

    def close(self) -> None:
        """Let another process write to the study."""
        self._lock.release()


class ForeignStudyError(InputError):
    """A study holds trials that are no evaluations of this package."""


@dataclass(frozen=True)
class Recorded:
    """A study as it was found on record, to be looked at.

    Attributes:
        name: Name of the study.
        directions: "minimize" or "maximize" for each objective.
        space: The search space, or None where the study had none.
        entries: The evaluations, by number.
        attributes: What was noted about the run: seed, configuration, ...
    """

    name: str
    directions: tuple[Direction, ...]
    space: Space | None
    entries: tuple[Entry, ...]
    attributes: Mapping[str, Any]

    def config(self, advice: str = "") -> Mapping[str, Any]:
        """Give the configuration of the run, as plain data.

        Args:
            advice: What the error tells the user to do instead.

        Raises:
            InputError: The study was not started by `deap-hpo run`, which notes it.
        """
        config: Mapping[str, Any] | None = self.attributes.get("config")
        if config is None:
            raise InputError(
                f"The study {self.name!r} was not started by `deap-hpo run`, so its configuration is not on record."
                + (f" {advice}" if advice else "")
            )
        return config


def read_record(name: str, storage: str | Path) -> Recorded:
    """Read a study from a storage that exists; nothing is written, and it may be running.

    Raises:
        InputError: The storage cannot be used, or has no such study (the nearest name is offered).
    """
    backend = open_storage(storage, must_exist=True)
    with _errors_named(name):
        if not _has_study(backend, name):
            near = nearest(name, optuna.get_all_study_names(backend))
            hint = f"Did you mean {near!r}?" if near else "`deap-hpo list` shows what there is."
            raise InputError(f"There is no study named {name!r} on record. {hint}")
        study = optuna.load_study(study_name=name, storage=backend)
        trials = study.get_trials(deepcopy=False)
        _check_ours(name, trials)
        space = study.user_attrs.get("space")
        directions = _directions(study)
        return Recorded(
            name=name,
            directions=directions,
            space=Space.from_dict(space) if space else None,
            entries=tuple(sorted((to_entry(one, directions) for one in trials), key=lambda entry: entry.number)),
            attributes=study.user_attrs,
        )


def _directions(study: optuna.Study) -> tuple[Direction, ...]:
    return tuple("minimize" if one.name == "MINIMIZE" else "maximize" for one in study.directions)


def note(name: str, storage: str | Path, key: str, value: Any) -> None:
    """Keep a fact (a JSON value) about a study that has ended.

    Raises:
        InputError: The storage cannot be used, or another process is running the study.
    """
    backend = open_storage(storage, must_exist=True)
    lock = DriverLock(storage, check_name(name))
    try:
        with _errors_named(name):
            optuna.load_study(study_name=name, storage=backend).set_user_attr(key, value)
    finally:
        lock.release()


def study_names(storage: str | Path) -> list[str]:
    """List the studies in a storage that exists, by name.

    Raises:
        InputError: The storage cannot be used.
    """
    return sorted(optuna.get_all_study_names(open_storage(storage, must_exist=True)))


def _has_study(backend: optuna.storages.BaseStorage, name: str) -> bool:
    try:
        return backend.get_study_id_from_name(name) is not None  # listing all names takes long where there are many
    except KeyError:
        return False


def _check_ours(name: str, trials: Sequence[FrozenTrial]) -> None:
    if any("evaluation" not in trial.user_attrs for trial in trials):
        raise ForeignStudyError(
            f"The study {name!r} holds trials that deap-hpo did not write, and cannot be used. Choose another name."
        )


@contextmanager
def _errors_named(name: str) -> Iterator[None]:
    """Turn the database's own errors into one sentence."""
    try:
        yield
    except optuna.exceptions.StorageInternalError as error:
        cause = getattr(error.__cause__, "orig", None) or error.__cause__ or error
        raise InputError(
            f"The record of the study {name!r} could not be used: {cause}. What was written before is still there."
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"The record of the study {name!r} is damaged: it holds what nobody wrote ({error}). It was left as it is; "
            "restore it from a copy."
        ) from error


def _first_difference(recorded: Any, given: Any) -> tuple[str, str]:
    """Narrow two different JSON values down to the first entry that differs, to name it in an error."""
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key in [*recorded, *given]:
            if recorded.get(key) != given.get(key):
                inner_recorded, inner_given = _first_difference(recorded.get(key), given.get(key))
                return f"{key} = {inner_recorded}", f"{key} = {inner_given}"
    return json.dumps(recorded), json.dumps(given)
