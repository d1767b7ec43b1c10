"""Studies on record, for reading; they may be running."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
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
from deap_hpo.records.run_files import progress_folder
from deap_hpo.records.storage import check_name, errors_named, has_study, opened
from deap_hpo.records.trials import ForeignStudyError, check_ours, directions_of, to_entry
from deap_hpo.running_evaluations import RunningEvaluation, running_evaluations
from deap_hpo.search_space.space import Space
from deap_hpo.trained_results import TrainedResults

_MOST_NAMES = 6  # names of studies in an error message


@dataclass(frozen=True, repr=False)
class Recorded(TrainedResults):
    """A study as it was on record when it was read: `best_params`, `trials_dataframe()` and its other results.

    Attributes:
        name: Name of the study.
        directions: "minimize" or "maximize" for each objective.
        space: The search space, or None if the study had none.
        entries: The evaluations, by number.
        attributes: The facts recorded about the run: seed, configuration, ...
        storage: Path or URL from which it was read.
        superseded: The evaluations that retries of failed ones have superseded, in the order of the record.
        evaluator: The evaluator, if it is known.
        running: The evaluations that were under way, by number; they are known on the machine that runs the study, and
            on others that share the folder of its record.
    """

    name: str
    directions: tuple[Direction, ...]
    space: Space | None
    entries: tuple[Entry, ...]
    attributes: Mapping[str, Any]
    storage: str | None = None
    superseded: tuple[Entry, ...] = ()
    evaluator: Evaluator | None = None
    running: tuple[RunningEvaluation, ...] = ()

    def judged_by(self, objective: str, direction: Direction | None = None) -> Recorded:
        """Give the study as if another measurement had been its only objective: one of several, or any metric.

        All results and figures then use this objective: `best_params`, `best_model()`, `importances()`,
        `deap_hpo.visualization.plot_slice` and so on. Nothing is evaluated, and the record does not change.

        Args:
            objective: Name of an objective or a metric (a column ``values_*`` or ``metrics_*`` of
                `trials_dataframe`, without the prefix), or "seconds".
            direction: "minimize" or "maximize"; by default the direction that the study had for this name, or the usual
                one of a common name: "maximize" for "accuracy", "minimize" for "loss", "parameters" and "seconds".

        Returns:
            The study; its former objectives are metrics. Evaluations without this measurement have the worst value.

        Raises:
            InputError: Nothing of that name was measured, or its direction is unknown.

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

        The record has every setting with its default. If the task is the user's own, the settings that describe a named
        data set and network are left out, because they do not apply.

        Args:
            advice: What the error tells the user to do instead.

        Raises:
            InputError: The study was not started by `deap-hpo run`, which records the configuration.
        """
        config: Mapping[str, Any] | None = self.attributes.get("config")
        if config is None:
            raise InputError(
                f"The study {self.name!r} was not started by `deap-hpo run`, so its configuration is not on record."
                + (f" {advice}" if advice else "")
            )
        made = {**config, "task": applying(config.get("task", {}))}
        recipe = self.evaluator_settings.get("recipe", {})
        if recipe.get("schedule") == "step":
            # If neither the run nor its task said so, it was the default at that time.
            training = made["training"]
            made["training"] = {**training, "recipe": {"schedule": "step", **training["recipe"]}}
        return made

    def config_of_network(self) -> Mapping[str, Any]:
        """Give the configuration with which to train the best network again.

        Raises:
            InputError: The study was not started by `deap-hpo run`.
        """
        return self.config(
            "In the script that made it, `study.best_model()` trains the network again, and "
            "`deap_hpo.training.program.save_program` writes it."
            if "task" in self.evaluator_settings
            else "It is of a function: `study.best_params` has the hyperparameters, `study.best_state()` what it saved."
        )


def load_study(name: str, storage: str | Path) -> Recorded:
    """Read a study from an existing storage; nothing is written, and the study may be running.

    Args:
        name: Name of the study.
        storage: Path of an SQLite file, or the URL of a database.

    Returns:
        The study as it is now, with the same results as a closed `Study`: `entries`, `best`, `best_params`,
        `best_value`, `trials_dataframe()`, `pareto_front()`, `best_model(trainer)`. Later evaluations are not in it.

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
    """Read a study as `load_study` does, from an open storage, so that several can be read.

    Args:
        name: Name of the study.
        storage: Path or URL of the storage, kept as the study's `storage`.
        backend: The same storage, open.

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
            running=running_evaluations(progress_folder(name, storage)),
        )


def find_study(name: str, backend: BaseStorage) -> optuna.Study:
    """Give the Optuna study of a study of this package.

    Raises:
        InputError: The storage has no such study (the nearest name is offered).
        ForeignStudyError: It holds trials that this package did not write.
    """
    with errors_named(f"record of the study {name!r}"):
        if not has_study(backend, name):
            raise InputError(f"There is no study named {name!r} on record. {_hint(name, backend)}")
        study = optuna.load_study(study_name=name, storage=backend)
        try:
            check_ours(name, study.get_trials(deepcopy=False))
        except ForeignStudyError:
            study.user_attrs  # noqa: B018 - fails if it was deleted between its trials and what is recorded of them
            raise
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
    """Record a fact (a JSON value) about a study that has ended.

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
    """List the names of the studies in an existing storage.

    Raises:
        InputError: The storage cannot be used.
    """
    with opened(storage) as backend, errors_named("list of studies"):
        return sorted(optuna.get_all_study_names(backend))


def matching_names(patterns: Iterable[str], storage: str | Path) -> list[str]:
    """Give the names that patterns stand for: those with ``*``, ``?`` or ``[...]`` for the studies that match.

    Raises:
        InputError: No study matches a pattern, or the storage cannot be used.

    Example:
        >>> import tempfile
        >>> from deap_hpo import Float, Study
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     storage = f"{folder}/studies.db"
        ...     for name in ("rivals-tpe-1", "rivals-tpe-2", "quick"):
        ...         Study({"x": Float(0.0, 1.0)}, name=name, storage=storage).close()
        ...     matching_names(["quick", "rivals-*"], storage)
        ['quick', 'rivals-tpe-1', 'rivals-tpe-2']
    """
    names: list[str] = []
    for pattern in patterns:
        found = [pattern]
        if re.search(r"[*?[]", pattern):  # which no name has
            found = [name for name in study_names(storage) if fnmatchcase(name, pattern)]
        if not found:
            raise InputError(f"No study on record matches {pattern!r}.")
        names += found
    return list(dict.fromkeys(names))
