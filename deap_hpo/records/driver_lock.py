"""One driver for each study: a lock that is released however the driver ends."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO, NamedTuple

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from deap_hpo.errors import InputError
from deap_hpo.records.sqlite_file import sqlite_path
from deap_hpo.records.storage import server_url, without_password

if os.name == "posix":
    import fcntl


class _ServerLock(NamedTuple):
    """How a kind of server locks: settings of the session, and a query that gives a true value if it got the lock."""

    settings: tuple[str, ...]
    query: str


_MYSQL = _ServerLock(("SET SESSION wait_timeout = 31536000",), "SELECT GET_LOCK(CONCAT('deap-hpo/', :key), 0)")
_LOCKS = {
    "postgresql": _ServerLock(
        # The server drops a driver whose machine vanished after a minute, not after TCP's two hours.
        ("SET tcp_keepalives_idle = 30", "SET tcp_keepalives_interval = 10", "SET tcp_keepalives_count = 3"),
        "SELECT pg_try_advisory_lock(:key)",
    ),
    "mysql": _MYSQL,  # its sessions end after eight idle hours, with their locks, unless told otherwise
    "mariadb": _MYSQL,
}


class DriverLock:
    """Keeps a second process from driving the same study.

    The operating system (for an SQLite file) or the server (PostgreSQL, MySQL, MariaDB: a lock of the session) releases
    it when its process ends, even by ``kill -9``. On other servers, nobody is kept out.

    Args:
        storage: Path of an SQLite file, the URL of a database, or None for a record in memory.
        name: Name of the study.

    Raises:
        InputError: Another process holds it, or the server cannot be reached.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lock = DriverLock(f"{folder}/studies.db", "quick")
        ...     try:
        ...         DriverLock(f"{folder}/studies.db", "quick")
        ...     except InputError as error:
        ...         print(str(error).split(" in ")[0])
        ...     lock.release()
        Another process is running the study 'quick'
    """

    def __init__(self, storage: str | os.PathLike[str] | None, name: str) -> None:
        self._file: IO[str] | None = None
        self._connection: sqlalchemy.Connection | None = None
        if storage is None:
            return
        path = sqlite_path(storage)
        if path is not None:
            self._lock_file(path, name)
        else:
            self._lock_on_server(os.fspath(storage), name)

    def _lock_file(self, path: Path, name: str) -> None:
        if os.name != "posix" or not os.access(path.parent, os.W_OK):
            return
        lock = path.with_name(f"{path.name}.{name}.lock")
        while self._file is None:
            file = open(lock, "a")  # noqa: SIM115 - held until release
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                raise _held(name, str(path)) from None
            # Between opening and locking, the previous holder may have deleted the file.
            if _is_at(file, lock):
                self._file = file
            else:
                file.close()

    def _lock_on_server(self, storage: str, name: str) -> None:
        engine = sqlalchemy.create_engine(server_url(storage), poolclass=sqlalchemy.NullPool)
        kind = engine.dialect.name
        if kind not in _LOCKS:
            return
        # MySQL's locks are those of the whole server, PostgreSQL's those of a database. Names that differ in case only
        # are one to MySQL's tables.
        of_what = f"deap-hpo/{name}" if kind == "postgresql" else f"{engine.url.database}/{name.lower()}"
        key = int.from_bytes(blake2b(of_what.encode(), digest_size=8).digest(), "big", signed=True)
        connection = None
        try:
            connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            for statement in _LOCKS[kind].settings:
                connection.execute(sqlalchemy.text(statement))
            got = connection.execute(sqlalchemy.text(_LOCKS[kind].query), {"key": key}).scalar()
        except SQLAlchemyError:
            if connection is not None:
                connection.close()
            raise InputError(
                f"The database server at {without_password(storage)} could not be reached, or refused the lock of the "
                "study."
            ) from None
        if not got:
            connection.close()
            raise _held(name, without_password(storage))
        self._connection = connection

    @property
    def keeps_others_out(self) -> bool:
        """Whether a lock is really held; there is none in memory, on other servers and in read-only folders."""
        return self._file is not None or self._connection is not None

    def release(self) -> None:
        """Release the lock, and delete its file."""
        if self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)
            self._file.close()
            self._file = None
        if self._connection is not None:
            with suppress(SQLAlchemyError):  # if the server is gone, so is the lock
                self._connection.close()
            self._connection = None


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _held(name: str, where: str) -> InputError:
    return InputError(
        f"Another process is running the study {name!r} in {where}. Wait for it, stop it, or choose another name."
    )
