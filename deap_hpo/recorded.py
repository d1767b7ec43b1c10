"""Studies as they are found on record, to be looked at; they may be running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from deap_hpo.driver_lock import DriverLock
from deap_hpo.entries import Entry
from deap_hpo.errors import InputError, nearest
from deap_hpo.evaluation import Direction
from deap_hpo.goals import GOALS
from deap_hpo.space import Space
from deap_hpo.storage import check_name, errors_named, has_study, open_storage
from deap_hpo.trials import check_ours, directions_of, to_entry


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

        The record has every setting with its default. Of those of a task, the ones that describe a named data set and
        network are left out where the task is one's own, which they do not describe.

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
        task = config.get("task", {})
        if not task.get("source"):
            return config
        apply = {name: task[name] for name in task if name == "source" or (name in GOALS and task[name])}
        return {**config, "task": apply}


def load_study(name: str, storage: str | Path) -> Recorded:
    """Read a study from a storage that exists; nothing is written, and it may be running.

    Raises:
        InputError: The storage cannot be used, or has no such study (the nearest name is offered).
    """
    backend = open_storage(storage, must_exist=True)
    with errors_named(f"record of the study {name!r}"):
        if not has_study(backend, name):
            near = nearest(name, optuna.get_all_study_names(backend))
            hint = f"Did you mean {near!r}?" if near else "`deap-hpo list` shows what there is."
            raise InputError(f"There is no study named {name!r} on record. {hint}")
        study = optuna.load_study(study_name=name, storage=backend)
        trials = study.get_trials(deepcopy=False)
        check_ours(name, trials)
        space = study.user_attrs.get("space")
        directions = directions_of(study)
        return Recorded(
            name=name,
            directions=directions,
            space=Space.from_dict(space) if space else None,
            entries=tuple(sorted((to_entry(one, directions) for one in trials), key=lambda entry: entry.number)),
            attributes=study.user_attrs,
        )


def note(name: str, storage: str | Path, key: str, value: Any) -> None:
    """Keep a fact (a JSON value) about a study that has ended.

    Raises:
        InputError: The storage cannot be used, or another process is running the study.
    """
    backend = open_storage(storage, must_exist=True)
    lock = DriverLock(storage, check_name(name))
    try:
        with errors_named(f"record of the study {name!r}"):
            optuna.load_study(study_name=name, storage=backend).set_user_attr(key, value)
    finally:
        lock.release()


def study_names(storage: str | Path) -> list[str]:
    """List the studies in a storage that exists, by name.

    Raises:
        InputError: The storage cannot be used.
    """
    backend = open_storage(storage, must_exist=True)
    with errors_named("list of studies"):
        return sorted(optuna.get_all_study_names(backend))
