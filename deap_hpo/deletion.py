"""Deleting a study: its record, and the files that its run has left next to it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import optuna

from deap_hpo.recorded import find_study
from deap_hpo.records.driver_lock import DriverLock
from deap_hpo.records.run_files import run_folder, written_in
from deap_hpo.records.storage import check_name, errors_named, opened


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
            for folder, files in written_in(run_folder(name, storage)):
                for path in files:
                    path.unlink(missing_ok=True)
                with suppress(OSError):  # it does not exist, or is not empty
                    folder.rmdir()
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
