"""Where records live: an SQLite file, a database server, or memory; checked before use, one writer at a time."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import IO
from urllib.parse import quote

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from deap_hpo.errors import InputError

if os.name == "posix":
    import fcntl

_SECONDS_TO_WAIT_FOR_A_READER = 60


def sqlite_path(storage: str) -> Path | None:
    """Give the file behind a storage, or None for a database server.

    Example:
        >>> sqlite_path("runs/studies.db"), sqlite_path("sqlite:///runs/studies.db")
        (PosixPath('runs/studies.db'), PosixPath('runs/studies.db'))
        >>> sqlite_path("postgresql://db.example/studies") is None
        True
    """
    if storage.startswith("sqlite:///"):
        return Path(storage.removeprefix("sqlite:///"))
    return None if "://" in storage else Path(storage)


def open_storage(storage: str | None, *, must_exist: bool = False) -> BaseStorage:
    """Open the Optuna storage behind a path or a URL; None is one in memory.

    Args:
        storage: Path of an SQLite file, ``sqlite:///path``, any other URL that SQLAlchemy knows, or None.
        must_exist: Refuse to create an SQLite file.

    Raises:
        InputError: The file is no intact database, cannot be read or written, or the URL cannot be used.
    """
    if storage is None:
        return InMemoryStorage()
    path = sqlite_path(storage)
    if path is None:
        return _open_server(storage)
    if path.exists() or must_exist:
        _check_sqlite(path)
    else:
        _create_sqlite(path)
    return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": _SECONDS_TO_WAIT_FOR_A_READER}})


def _check_sqlite(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"There is no record at {path}. Give the path of one, or start a run with `deap-hpo run`.")
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
        raise InputError(
            f"The record {path} must be in a folder, and be a file, that you may read and write; you may not. "
            "Change the permissions, or name another place with --storage."
        )
    if path.stat().st_size == 0:
        raise InputError(f"The record {path} is an empty file, not a database. Restore it from a copy, or delete it.")
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw", uri=True, timeout=_SECONDS_TO_WAIT_FOR_A_READER
        )
        try:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise InputError(
            f"The record {path} is not an intact SQLite database ({verdict}); it was left as it is. "
            "Restore it from a copy, or name another file with --storage."
        )


def _create_sqlite(path: Path) -> None:
    """Make the file with write-ahead logging: readers (a dashboard) never block the writer, and commits are faster."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    except (OSError, sqlite3.OperationalError) as error:
        raise InputError(
            f"The record {path} could not be created ({error}). Name a place that you may write to with --storage."
        ) from None


def _open_server(url: str) -> BaseStorage:
    scheme, _, rest = url.partition("://")
    shown = f"{scheme}://{rest.rpartition('@')[2]}"  # without the credentials
    try:
        return RDBStorage(url)
    except (ArgumentError, ImportError) as error:
        raise InputError(f"The storage {shown} cannot be used: {error}.") from None
    except (SQLAlchemyError, optuna.exceptions.OptunaError):
        raise InputError(
            f"The database server at {shown} could not be reached or refused the connection. "
            "Check that it runs, and the name, user and password in the URL."
        ) from None


class DriverLock:
    """Keeps a second process from driving the same study; the system lets go of it however the process ends.

    Only for SQLite files, where the system can be asked.

    Raises:
        InputError: Another process holds it.
    """

    def __init__(self, storage: str | None, name: str) -> None:
        self._file: IO[str] | None = None
        path = sqlite_path(storage) if storage else None
        if path is None or os.name != "posix" or not os.access(path.parent, os.W_OK):
            return
        lock = path.with_name(f"{path.name}.{name}.lock")
        while self._file is None:
            file = open(lock, "a")  # noqa: SIM115 - held until release
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                raise InputError(
                    f"Another process is running the study {name!r} in {path}. "
                    "Wait for it, stop it, or choose another name."
                ) from None
            # Between opening and locking, the holder before us may have taken the file away.
            if lock.exists() and os.fstat(file.fileno()).st_ino == lock.stat().st_ino:
                self._file = file
            else:
                file.close()

    def release(self) -> None:
        """Let go, and take the lock's file away."""
        if self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)
            self._file.close()
            self._file = None
