"""An SQLite file as a record: created completely or not at all, checked before use, readable in read-only folders."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from deap_hpo.errors import InputError
from deap_hpo.files import expanded

SECONDS_TO_WAIT_FOR_A_READER = 60
_LEAST_FREE = 1_000_000  # bytes on the disk; an empty record takes 200,000, and its log as many


def sqlite_path(storage: str | os.PathLike[str]) -> Path | None:
    """Give the file behind a storage, or None for a database server.

    Example:
        >>> sqlite_path("runs/studies.db"), sqlite_path("sqlite:///runs/studies.db")
        (PosixPath('runs/studies.db'), PosixPath('runs/studies.db'))
        >>> sqlite_path("postgresql://db.example/studies") is None
        True
    """
    storage = as_text(storage)
    if storage.startswith("sqlite:///"):
        return expanded(storage.removeprefix("sqlite:///"))
    return None if "://" in storage else expanded(storage)


def as_text(storage: Any) -> str:
    """Return a storage as text.

    Raises:
        InputError: It is neither a path nor a text.

    Example:
        >>> as_text(Path("runs") / "studies.db")
        'runs/studies.db'
    """
    if not isinstance(storage, (str, os.PathLike)):
        raise InputError(
            f"storage must be the path of an SQLite file, the URL of a database, or None; got {storage!r}."
        )
    return os.fspath(storage)


def unwritable_uri(path: Path) -> str:
    """Give the URI with which SQLite reads a file where it may not write, not even the index of the log.

    If the file has a log, another process may be writing, and SQLite must read the log, too. Otherwise the URI says
    that the file does not change.

    Example:
        >>> unwritable_uri(Path("an archive/studies.db"))
        'file:an%20archive/studies.db?mode=ro&immutable=1'
    """
    return f"file:{quote(str(path))}?mode=ro{'' if _has_log(path) else '&immutable=1'}"


def check_sqlite(path: Path, *, read_only: bool) -> bool:
    """Check that a record can be used, and tell whether it may be written to.

    Args:
        path: The file.
        read_only: Whether reading is enough.

    Raises:
        InputError: It does not exist, is not an intact database, or may not be read (or written, if needed).
    """
    if path.is_dir():
        raise InputError(f"storage must be the path of a file, such as {path / 'studies.db'}; {path} is a folder.")
    if not path.is_file():
        others = [str(one) for one in sorted(path.parent.glob("*.db"))[:3]]
        there = f", but at {', '.join(others)} (--storage {others[0]})" if others else ""
        raise InputError(
            f"There is no record at {path}{there}. Give the path of one, or start a run with `deap-hpo run`."
        )
    writable = os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)
    if not writable and not (read_only and os.access(path, os.R_OK)):
        raise InputError(
            f"The record {path} must be in a folder, and be a file, that you may read and write; you may not. "
            "Change the permissions, or name another place as storage."
        )
    if path.stat().st_size == 0:
        raise InputError(f"The record {path} is an empty file, not a database. Restore it from a copy, or delete it.")
    try:
        uri = f"file:{quote(str(path))}?mode=rw" if writable else unwritable_uri(path)
        connection = sqlite3.connect(uri, uri=True, timeout=SECONDS_TO_WAIT_FOR_A_READER)
        try:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0].splitlines()[-1]  # after a heading
            page_size = connection.execute("PRAGMA page_size").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if not writable and _has_log(path):
            raise InputError(
                f"The record {path} has a write-ahead log that must be merged into it first, but its folder is "
                "read-only. Copy both into a folder that you may write to."
            ) from None
        verdict = str(error)
    if verdict == "ok" and path.stat().st_size % page_size and not _has_log(path):
        # SQLite itself reads the missing end of the last page as zeros.
        verdict = "its last page is cut off"
    if verdict != "ok":
        raise InputError(
            f"The record {path} is not an intact SQLite database ({verdict}); it was left as it is. "
            "Restore it from a copy, or name another file as storage."
        )
    return writable


def _has_log(path: Path) -> bool:
    """Whether there is a write-ahead log with pages that the file may lack."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def create_sqlite(path: Path) -> None:
    """Create the complete file before it gets its name, so that a file of that name always has its tables.

    It has write-ahead logging: readers (such as a dashboard) never block the writer, and commits are faster.

    Raises:
        InputError: It could not be created, for example because the disk is full; nothing is left of it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     create_sqlite(Path(folder) / "studies.db")
        ...     check_sqlite(Path(folder) / "studies.db", read_only=False)
        True
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(new)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        RDBStorage(f"sqlite:///{new}", skip_compatibility_check=True).engine.dispose()
        with closing(sqlite3.connect(new)) as connection:  # pages that do not fit on the disk would stay in the log
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with suppress(FileExistsError):  # another process was faster
            os.link(new, path)
    except (OSError, sqlite3.DatabaseError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        why = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error  # the database's message
        if path.parent.exists() and shutil.disk_usage(path.parent).free < _LEAST_FREE:
            why = "the disk is full"
        raise InputError(
            f"The record {path} could not be created ({why}). Name a place that you may write to as storage."
        ) from None
    finally:
        for left in (new, *(new.with_name(f"{new.name}-{log}") for log in ("wal", "shm"))):
            with suppress(OSError):
                left.unlink()
