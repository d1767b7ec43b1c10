"""The record of a run: an Optuna study in a database, with a trial for each evaluation, written when it ends.

Only the driver of a run writes. Once `Record.append` has returned, the evaluation is committed and survives `kill -9`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna

from deap_hpo.errors import InputError, different_genes, first_difference
from deap_hpo.evaluation import Direction, Evaluation
from deap_hpo.interruption import undisturbed
from deap_hpo.records.driver_lock import DriverLock
from deap_hpo.records.entries import Entry
from deap_hpo.records.progress_folder import ProgressFolder
from deap_hpo.records.quiet_optuna import quiet_optuna
from deap_hpo.records.retries import RETRIES, Attempts, check_retry
from deap_hpo.records.run_files import progress_folder
from deap_hpo.records.storage import check_name, close_storage, errors_named, has_study, open_storage, storage_option
from deap_hpo.records.trials import check_ours, directions_of, distributions, to_entry, to_trial
from deap_hpo.search_space.space import Space


class ReplayError(InputError):
    """The run that is asked for is not the run on record; nothing was written."""


class Record:
    """The evaluations of one run, in memory and in an Optuna storage.

    Args:
        name: Name of the study: letters, digits, dots, dashes and underscores, starting with a letter or a digit.
        storage: Path of an SQLite file, the URL of a database, or None to keep the record in memory only.
        space: The search space, or None if only the caller knows what genes mean.
        directions: "minimize" or "maximize" for each objective.
        identity: Facts that identify the run (seed, settings, ...), JSON values by name. A record with another identity
            is refused.
        resume: Whether the study may exist already.
        retry: Whether failed evaluations are tried again, so that they and all later ones are superseded; see
            `Attempts`.

    Attributes:
        is_resumed: Whether the study was there, and is continued with the same facts.
        progress: The folder in which evaluations log that they are under way, until the record is closed.

    Raises:
        InputError: The name is not allowed, or exists although `resume` is false; the storage cannot be used; another
            process is writing to the same study.
        ReplayError: The record was made with another identity, or with other directions.

    Example:
        >>> from deap_hpo import Evaluation, Float
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
        retry: bool = False,
    ) -> None:
        self.name = check_name(name)
        check_retry(retry, resume)
        self._space = space
        self._distributions = distributions(space) if space else {}
        self._retries: list[list[int]] | None = None  # written before the first evaluation starts
        self._at_the_end: Mapping[str, Any] | None = None  # the attributes at the time it was closed
        self.storage = None if storage is None else str(storage)
        self.progress = ProgressFolder(None if storage is None else progress_folder(name, storage))
        self._backend = open_storage(storage)
        try:
            self._lock = DriverLock(storage, name)
        except BaseException:
            close_storage(self._backend)
            raise
        try:
            with errors_named(f"record of the study {name!r}"):
                self.is_resumed = self._continues(resume)
                with quiet_optuna():
                    self._study = optuna.create_study(
                        storage=self._backend, study_name=name, directions=list(directions), load_if_exists=True
                    )
                self._check_directions(directions)
                trials = self._study.get_trials(deepcopy=False)
                check_ours(name, trials)
                entries = [to_entry(one, directions) for one in trials]
                self._is_new = not entries
                self._attempts = Attempts(entries, self.attributes.get(RETRIES, []))
                for key, value in {"space": space.to_dict() if space else None, **identity}.items():
                    self.check(key, value)
                if retry:
                    self._retries = self._attempts.with_retry()
                    self._attempts = Attempts(entries, self._retries)
                self._entries = {entry.number: entry for entry in self._attempts.current}
        except BaseException:
            self._let_go()
            raise

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def __getitem__(self, number: int) -> Entry:
        return self._entries[number]

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[number] for number in sorted(self._entries))

    @property
    def is_new(self) -> bool:
        """Whether no evaluation has been recorded, superseded ones included."""
        return self._is_new

    @property
    def superseded(self) -> Sequence[Entry]:
        """The evaluations that a retry has superseded, in the order in which they were recorded."""
        return self._attempts.superseded

    def goes_on(self, count: int) -> bool:
        """Whether evaluations are on record beyond the first `count`, superseded ones included."""
        return count < len(self) or any(entry.number >= count for entry in self.superseded)

    def known_outcome(self, planned: Entry) -> Evaluation | None:
        """Give the result of a planned evaluation if it is known already; None otherwise.

        It is known if the evaluation duplicates an earlier one, or is identical to one that a retry has superseded.
        """
        if planned.duplicate_of is None:
            start = None if planned.start_from is None else self[planned.start_from]
            return self._attempts.outcome_of(planned, start)
        if planned.duplicate_of not in self:
            return None
        return replace(self[planned.duplicate_of].evaluation, seconds=0.0, retries=0)

    def as_completed(self) -> list[int]:
        """Numbers of the evaluations, in the order in which they were recorded."""
        return list(self._entries)

    def check_open(self) -> None:
        """Check that the record is open for writing.

        Raises:
            InputError: It is closed, so that another process may be writing to it.
        """
        if self._at_the_end is not None:
            raise InputError(f"The study {self.name!r} is closed. To continue, open it again: Study(..., resume=True).")

    def begin(self) -> None:
        """Record which evaluations the retry supersedes; from here on, resuming the study continues this retry."""
        if self._retries and self._retries != self.attributes.get(RETRIES):
            for key in ("final", "comparison"):  # these may be of superseded evaluations; the run has not ended yet
                if key in self.attributes:
                    self.note(key, None)
            self.note(RETRIES, self._retries)
        self._retries = None

    @undisturbed()
    def append(self, entry: Entry) -> None:
        """Record an evaluation; it is committed when this returns."""
        self.check_open()
        self.begin()
        entry = replace(entry, datetime_complete=datetime.now())
        with errors_named(f"record of the study {self.name!r}"):
            self._study.add_trial(to_trial(entry, self._space, self._distributions))
        self._entries[entry.number] = entry
        self._is_new = False

    @undisturbed()
    def note(self, key: str, value: Any) -> None:
        """Record a fact about the run (a JSON value), which `load_study` gives back among the attributes."""
        self.check_open()
        with errors_named(f"record of the study {self.name!r}"):
            self._study.set_user_attr(key, value)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The facts recorded about the run, by name."""
        if self._at_the_end is not None:
            return self._at_the_end
        with errors_named(f"record of the study {self.name!r}"):
            return self._study.user_attrs

    def check(self, key: str, value: Any) -> None:
        """Record a fact the first time; afterwards check that it is the same.

        Raises:
            ReplayError: The record holds another value.
        """
        value = json.loads(json.dumps(value))
        known = self.attributes
        if key not in known or self.is_new:  # no evaluation was made with the recorded fact
            self.is_resumed = self.is_resumed and known.get(key, value) == value
            self.note(key, value)
        elif known[key] != value:
            recorded, given = first_difference(known[key], value)
            begin = (
                " A new study can begin with the best of this one: `enqueue=earlier.best_configurations(3)`, or "
                f"`--enqueue-from {self.name}:3`."
            )
            raise ReplayError(
                f"The study {self.name!r} was recorded with {'' if key == 'settings' else f'{key} '}{recorded}, and "
                f"cannot be continued with {given}. Give the recorded value, or choose another name."
                + (begin if key in ("settings", "space") else "")
            )
        elif key == "space" and value and list(known[key]) != list(value):  # genes are assigned by position
            raise ReplayError(
                f"The study {self.name!r} was recorded with the hyperparameters in the order {', '.join(known[key])}, "
                f"and cannot be continued with {', '.join(value)}. Give the recorded order, or choose another name."
            )

    def _continues(self, resume: bool) -> bool:
        """Tell whether the study is there to be continued.

        One of this package without evaluations, which nobody runs, is left from a run that was refused, or interrupted
        at once. If the study is not to be resumed, it is deleted here.

        Raises:
            InputError: It has evaluations, or may be another's, and is not to be resumed.
        """
        if not has_study(self._backend, self.name):
            return False
        if resume:
            return True
        study = optuna.load_study(study_name=self.name, storage=self._backend)
        ours = "seed" in study.user_attrs and self._lock.keeps_others_out
        if not ours or study.get_trials(deepcopy=False):
            raise InputError(_taken(study, str(self.storage)))
        optuna.delete_study(study_name=self.name, storage=self._backend)
        return False

    def _check_directions(self, directions: Sequence[Direction]) -> None:
        recorded = directions_of(self._study)
        if recorded != tuple(directions):
            raise ReplayError(
                f"The study {self.name!r} was recorded with the directions {', '.join(recorded)}, and cannot be "
                f"continued with {', '.join(directions)}. Give the recorded directions, or choose another name."
            )

    def check_replay(self, planned: Entry) -> None:
        """Check that a planned evaluation, if its number is on record, is the recorded one.

        Raises:
            ReplayError: They differ.
        """
        recorded = self._entries.get(planned.number, planned)
        for name in ("genes", "epochs", "start_from"):
            old, new = getattr(recorded, name), getattr(planned, name)
            if repr(old) != repr(new):  # as text, NaN equals NaN; genes may be NaN if there is no space
                outside = name == "genes" and planned.generation == 0
                has, would_have = different_genes(old, new) if name == "genes" else (f"{name} {old}", str(new))
                raise ReplayError(
                    f"The study {self.name!r} cannot be resumed like this: evaluation {planned.number} on record has "
                    f"the {has}, this run has {would_have}. "
                    + ("Make the population inside `with Study(...)`, which seeds its draws. " if outside else "")
                    + "Resume it with the algorithm and the version that made it, or choose another name; nothing was "
                    "written."
                )

    def close(self) -> None:
        """Release the study for other processes, and close the storage; what is in memory can still be read."""
        at_the_end: Mapping[str, Any] = {}
        with suppress(InputError):  # a full disk, for example, which was reported before
            at_the_end = self.attributes
        self._at_the_end = at_the_end
        self._let_go()

    def _let_go(self) -> None:
        self.progress.close()
        self._lock.release()
        close_storage(self._backend)


def _taken(study: optuna.Study, storage: str) -> str:
    """Say that there is a study of this name, and how to continue."""
    name, option = study.study_name, storage_option(storage)
    resume = f"`deap-hpo resume {name}{option}`" if "config" in study.user_attrs else "resume=True"
    return (
        f"A study named {name!r} exists already. Resume it ({resume}), delete it (`deap-hpo delete {name}{option}`, or "
        "`delete_study`), or choose another name."
    )
