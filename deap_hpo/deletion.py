"""Deleting a study: its record, and the files that its run has left next to it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import optuna

from deap_hpo.recorded import find_study
from deap_hpo.records.driver_lock import DriverLock
from deap_hpo.records.storage import check_name, errors_named, opened, run_folder, states_folder

# The run's folder has the name of the study, and so may hold files of the user's: files not listed here stay.
_FIGURES = (
    *("history", "curves", "hyperparameters", "pareto", "lineage"),
    *("importances", "partial_dependence"),
)
_CHECKPOINTS = ("*.safetensors", ".*.partial")
_WRITTEN = (
    *(f"best.{suffix}" for suffix in ("safetensors", "json", "toml", "pt2")),
    *(f"evaluation-*.{suffix}" for suffix in ("safetensors", "toml", "pt2")),
    *(f"{figure}.{suffix}" for figure in _FIGURES for suffix in ("png", "pdf")),
    "report.html",
    ".*.partial",
)


def delete_study(name: str, storage: str | Path) -> None:
    """Delete a study: its record, and its checkpoints, networks and figures in the folder next to it.

    Files in that folder that this package does not write stay, and so does the folder then. If the deletion is
    interrupted, the study is still there and can be deleted again.

    Args:
        name: Name of the study.
        storage: Path of an SQLite file, or the URL of a database.

    Raises:
        InputError: The storage cannot be used, or has no such study (the nearest name is offered), or another process
            is running it.

    Example:
        >>> import tempfile
        >>> from deap_hpo import Float, optimize
        >>> space = {"x": Float(0.0, 1.0)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     storage = f"{folder}/studies.db"
        ...     for slope in (1.0, 2.0):
        ...         study = optimize(lambda params: slope * params["x"], space, max_evaluations=5, storage=storage)
        ...         delete_study("study", storage)  # which frees its name
    """
    with opened(storage, read_only=False) as backend:
        find_study(name, backend)
        lock = DriverLock(storage, check_name(name))
        try:
            folder = run_folder(name, storage)
            for kept_in in (folder / "checkpoints", states_folder(name, storage)):
                _delete_files(kept_in, _CHECKPOINTS)
            for by_another_objective in folder.glob("by-*"):
                _delete_files(by_another_objective, _WRITTEN)
            _delete_files(folder, _WRITTEN)
            with errors_named(f"record of the study {name!r}"):
                optuna.delete_study(study_name=name, storage=backend)
        finally:
            lock.release()


def check_deletable(name: str, storage: str | Path) -> int:
    """Make the checks of `delete_study`, and count the evaluations that would be lost.

    Raises:
        InputError: As for `delete_study`.
    """
    with opened(storage, read_only=False) as backend:
        count = len(find_study(name, backend).get_trials(deepcopy=False))
    DriverLock(storage, check_name(name)).release()
    return count


def _delete_files(folder: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    with suppress(OSError):  # it does not exist, or is not empty
        folder.rmdir()
