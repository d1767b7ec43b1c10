"""Studies as they are found on record, to be looked at; they may be running."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from deap_hpo.configuration.settings import applying
from deap_hpo.errors import InputError, nearest
from deap_hpo.evaluation import Direction
from deap_hpo.evaluator import Evaluator
from deap_hpo.judging import judged_by
from deap_hpo.records.driver_lock import DriverLock
from deap_hpo.records.entries import Entry
from deap_hpo.records.retries import RETRIES, Attempts
from deap_hpo.records.storage import check_name, errors_named, has_study, opened
from deap_hpo.records.trials import check_ours, directions_of, to_entry
from deap_hpo.results import Results
from deap_hpo.search_space.space import Space

_MOST_NAMES = 6  # of studies, in a sentence


@dataclass(frozen=True, repr=False)
class Recorded(Results):
    """A study as it was found on record, to be looked at: `best_params`, `trials_dataframe()` and what else it found.

    Attributes:
        name: Name of the study.
        directions: "minimize" or "maximize" for each objective.
        space: The search space, or None where the study had none.
        entries: The evaluations, by number.
        attributes: What was noted about the run: seed, configuration, ...
        storage: Path or URL that it was read from.
        superseded: The evaluations that gave way when failed ones were tried again, as they were recorded.
        evaluator: What evaluated, where that is known.
    """

    name: str
    directions: tuple[Direction, ...]
    space: Space | None
    entries: tuple[Entry, ...]
    attributes: Mapping[str, Any]
    storage: str | None = None
    superseded: tuple[Entry, ...] = ()
    evaluator: Evaluator | None = None

    def judged_by(self, objective: str, direction: Direction | None = None) -> Recorded:
        """Give the study as if another measurement had been its only objective: of several one, or any metric.

        All that is asked of it, and drawn of it, is by that one then: `best_params`, `best_model()`, `importances()`,
        `deap_hpo.visualization.plot_slice` and the other figures. Nothing is evaluated, and the record stays as it is.

        Args:
            objective: Name of an objective or a metric (a column ``values_*`` or ``metrics_*`` of
                `trials_dataframe`, without that), or "seconds".
            direction: Which way is better; by default as in the study, "maximize" for a metric "accuracy", "minimize"
                for "loss", "parameters" and "seconds".

        Returns:
            The study; objectives that it had are metrics. Evaluations in which nothing of that name was
            measured are infinitely bad.

        Raises:
            InputError: Nothing of that name was measured, or nobody says which way is better.

        Example:
            >>> from deap_hpo import Float, optimize
            >>> def objective(params):
            ...     return {"loss": params["x"] ** 2, "size": 1 - params["y"]}
            >>> space = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)}
            >>> goals = {"metric": ["loss", "size"], "direction": ["minimize", "minimize"]}
            >>> study = optimize(objective, space, **goals, max_evaluations=30, seed=1)
            >>> study.importances()["hyperparameter"][0], study.judged_by("size").importances()["hyperparameter"][0]
            ('x', 'y')
        """
        return replace(self, **judged_by(self, objective, direction))

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
        made = {**config, "task": applying(config.get("task", {}))}
        recipe = self.attributes.get("evaluator", {}).get("recipe", {})
        if recipe.get("schedule") == "step":
            # Where neither the run nor its task said so, it was the default of that time.
            training = made["training"]
            made["training"] = {**training, "recipe": {"schedule": "step", **training["recipe"]}}
        return made

    def config_of_network(self) -> Mapping[str, Any]:
        """Give the configuration by which the best network is trained again.

        Raises:
            InputError: The study was not started by `deap-hpo run`.
        """
        trained = "task" in (self.attributes.get("evaluator") or {})
        return self.config(
            "In the script that made it, `study.best_model()` trains the network again, and "
            "`deap_hpo.training.program.save_program` writes it."
            if trained
            else "It is of a function: `study.best_params` has the hyperparameters, `study.best_state()` what it saved."
        )


def load_study(name: str, storage: str | Path) -> Recorded:
    """Read a study from a storage that exists; nothing is written, and it may be running.

    Args:
        name: Name of the study.
        storage: Path of an SQLite file, or the URL of a database.

    Returns:
        The study as it is now, with what a closed `Study` has for reading: `entries`, `best`, `best_params`,
        `best_value`, `trials_dataframe()`, `pareto_front()`, `best_model(trainer)`. What is recorded later is not in
        it.

    Raises:
        InputError: The storage cannot be used, or has no such study (the nearest name is offered).

    Example:
        >>> import tempfile
        >>> from deap_hpo import Float, optimize
        >>> space = {"x": Float(-1.0, 1.0)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     storage = f"{folder}/studies.db"
        ...     made = optimize(lambda params: params["x"] ** 2, space, max_evaluations=5, name="run", storage=storage)
        ...     study = load_study("run", storage)
        >>> study.best_params == made.best_params, len(study.trials_dataframe())
        (True, 5)
    """
    with opened(storage) as backend:
        return read_study(name, storage, backend)


def read_study(name: str, storage: str | Path, backend: BaseStorage) -> Recorded:
    """Read a study as `load_study` does, from a storage that is open: one of many.

    Args:
        name: Name of the study.
        storage: Path or URL of the storage, which the study remembers.
        backend: The same, open.

    Raises:
        InputError: See `find_study`.

    Example:
        >>> import tempfile
        >>> from deap_hpo import Float, optimize
        >>> from deap_hpo.records.storage import opened
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     storage = f"{folder}/studies.db"
        ...     for name in ("a", "b"):
        ...         made = optimize(len, {"x": Float(0, 1)}, max_evaluations=2, name=name, storage=storage)
        ...     with opened(storage) as backend:
        ...         [len(read_study(name, storage, backend).entries) for name in ("a", "b")]
        [2, 2]
    """
    study = find_study(name, backend)
    with errors_named(f"record of the study {name!r}"):
        trials = study.get_trials(deepcopy=False)
        space = study.user_attrs.get("space")
        directions = directions_of(study)
        attempts = Attempts([to_entry(one, directions) for one in trials], study.user_attrs.get(RETRIES, []))
        return Recorded(
            name=name,
            directions=directions,
            space=Space.from_dict(space) if space else None,
            entries=tuple(sorted(attempts.current, key=lambda entry: entry.number)),
            attributes=study.user_attrs,
            storage=str(storage),
            superseded=tuple(attempts.superseded),
        )


def find_study(name: str, backend: BaseStorage) -> optuna.Study:
    """Give Optuna's view of a study, which is one of ours.

    Raises:
        InputError: The storage has no such study (the nearest name is offered).
        ForeignStudyError: It holds trials that are no evaluations of this package.
    """
    with errors_named(f"record of the study {name!r}"):
        if not has_study(backend, name):
            raise InputError(f"There is no study named {name!r} on record. {_hint(name, backend)}")
        study = optuna.load_study(study_name=name, storage=backend)
        check_ours(name, study.get_trials(deepcopy=False))
        return study


def _hint(name: str, backend: BaseStorage) -> str:
    names = sorted(optuna.get_all_study_names(backend))
    runs = [one for one in names if re.fullmatch(rf"{re.escape(name)}-.+-\d+", one)]
    if runs:
        return f"Is it an experiment of `deap-hpo compare`? Its runs are studies, {runs[0]!r} for one."
    near = nearest(name, names)
    if near or not names:
        return f"Did you mean {near!r}?" if near else "The record is empty."
    return f"There are: {', '.join(names[:_MOST_NAMES])}{', ...' if len(names) > _MOST_NAMES else '.'}"


def note(name: str, storage: str | Path, key: str, value: Any) -> None:
    """Keep a fact (a JSON value) about a study that has ended.

    Raises:
        InputError: The storage cannot be used, or another process is running the study.
    """
    with opened(storage, read_only=False) as backend:
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
    with opened(storage) as backend, errors_named("list of studies"):
        return sorted(optuna.get_all_study_names(backend))
