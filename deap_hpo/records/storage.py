"""Where records live: an SQLite file, a database server, or memory; checked before use."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from deap_hpo.errors import InputError
from deap_hpo.records import DEFAULT_STORAGE, STORAGE_VARIABLE
from deap_hpo.records.sqlite_file import (
    SECONDS_TO_WAIT_FOR_A_READER,
    as_text,
    check_sqlite,
    create_sqlite,
    sqlite_path,
    unwritable_uri,
)

_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET default_transaction_read_only = on",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}
_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}  # those of the extras, by dialect
_LONG_TEXTS = ("study_user_attributes", "study_system_attributes", "trial_user_attributes", "trial_system_attributes")
_WHERE_TEXTS_ARE_SHORT = (
    "Tables that deap-hpo has not made may need `ALTER TABLE trial_user_attributes MODIFY value_json LONGTEXT`."
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MISTYPED_URL = re.compile(r"[A-Za-z][A-Za-z0-9+]+:/(?!/)")
_GONE = "Record does not exist."  # what Optuna says of a study or a trial that is not there any more
_compatible: set[str] = set()  # versions of the tables that Optuna has found compatible in this process


def check_name(name: str) -> str:
    """Return a study's name if it can also be the name of a folder.

    Raises:
        InputError: It cannot.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            "name must be 1 to 100 letters, digits, dots, dashes or underscores, starting with a letter or a digit; "
            f"got {name!r}."
        )
    return name


def open_storage(
    storage: str | os.PathLike[str] | None, *, must_exist: bool = False, read_only: bool = False
) -> BaseStorage:
    """Open the Optuna storage at a path or a URL; None is a storage in memory.

    Args:
        storage: Path of an SQLite file, ``sqlite:///path``, any other URL that SQLAlchemy knows, or None.
        must_exist: Whether to refuse to create an SQLite file.
        read_only: Whether the database should refuse writes through the returned storage.

    Raises:
        InputError: The file is not an intact database, cannot be read or written, or the URL cannot be used.
    """
    if storage is None:
        return InMemoryStorage()
    storage = as_text(storage)
    path = sqlite_path(storage)
    if path is None:
        backend: RDBStorage = _open_server(storage)
        if read_only:
            return _made_read_only(backend)
        _make_texts_long(backend)
        return backend
    if _MISTYPED_URL.match(storage):
        # Taken as a path, it would put a password into the name of a folder.
        raise InputError(f"storage looks like a URL without its '://'; got {storage.partition(':')[0]}:... .")
    if "?" in str(path):
        raise InputError(f"storage must be a path without '?', which begins the options of a URL; got {path}.")
    if path.exists() or must_exist:
        writable = check_sqlite(path, read_only=read_only)
    else:
        create_sqlite(path)
        writable = True
    url = f"sqlite:///{path}" if writable else f"sqlite:///{unwritable_uri(path)}&uri=true"
    backend = _open_tables(url, connect_args={"timeout": SECONDS_TO_WAIT_FOR_A_READER})
    return _made_read_only(backend) if read_only else backend


@contextmanager
def opened(storage: str | Path, *, read_only: bool = True) -> Iterator[BaseStorage]:
    """Open an existing storage for a `with` block; its connections and files are closed afterwards.

    Args:
        storage: Path of an SQLite file, or the URL of a database.
        read_only: Whether it is only read, which needs no permission to write.

    Raises:
        InputError: See `open_storage`.

    Example:
        >>> with opened("nowhere.db") as backend:
        ...     pass
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: There is no record at nowhere.db. Give the path of one, or start a run with \
`deap-hpo run`.
    """
    backend = open_storage(storage, must_exist=True, read_only=read_only)
    try:
        yield backend
    finally:
        close_storage(backend)


def close_storage(backend: BaseStorage) -> None:
    """Close the connections of a storage; it opens new ones when it is used again."""
    if isinstance(backend, RDBStorage):
        backend.remove_session()
        backend.engine.dispose()


def _open_tables(url: str, **engine: Any) -> RDBStorage:
    """Open Optuna's storage, and let it check each version of the tables once, since the check is slow.

    It reads the files of all migrations, which takes ten times as long as the rest.
    """
    backend = RDBStorage(url, engine_kwargs=engine, skip_compatibility_check=True)
    version = backend.get_current_version()
    if version not in _compatible:
        close_storage(backend)
        backend = RDBStorage(url, engine_kwargs=engine)
        _compatible.add(version)
    return backend


def _made_read_only(storage: RDBStorage) -> RDBStorage:
    statement = _READ_ONLY.get(storage.engine.dialect.name)
    if statement:

        def forbid_writing(connection: Any, _: Any) -> None:
            cursor = connection.cursor()
            cursor.execute(statement)
            cursor.close()
            connection.commit()

        sqlalchemy.event.listen(storage.engine, "connect", forbid_writing)
        storage.engine.dispose()  # connections opened before could still write
    return storage


def without_password(storage: str) -> str:
    """Give a storage in a form that can be shown: without user, password and options.

    Example:
        >>> without_password("postgresql://ada:secret@db.example/studies?sslpassword=secret")
        'postgresql://db.example/studies'
        >>> without_password("runs/studies.db")
        'runs/studies.db'
    """
    scheme, separator, rest = storage.partition("://")
    if not separator or sqlite_path(storage) is not None:
        return storage
    address, _, options = rest.partition("?")
    if "@" in options:  # a password contains "?", or the options contain a password: where it ends is unknown
        return f"{scheme}://..."
    return f"{scheme}://{address.rpartition('@')[2]}"


def storage_option(storage: str) -> str:
    """Give the option that a printed command needs to find a study; empty if it is in the default place.

    Example:
        >>> storage_option("my runs/a.db")
        " --storage 'my runs/a.db'"
    """
    default = os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)
    return "" if storage == default else f" --storage {shlex.quote(without_password(storage))}"


def server_url(storage: str) -> str:
    """Give the URL for SQLAlchemy: with the driver of the extra, if that is installed and no other one is named."""
    scheme, _, rest = storage.partition("://")
    dialect = "postgresql" if scheme == "postgres" else scheme
    if driver := _DRIVERS.get(dialect):
        return f"{dialect}{f'+{driver}' if find_spec(driver) else ''}://{rest}"
    return storage


def _open_server(url: str) -> RDBStorage:
    # The texts of some errors are left out because they might contain the URL with its password.
    try:
        return _open_tables(server_url(url), pool_pre_ping=True)
    except ImportError as error:
        raise InputError(
            f"The storage {without_password(url)} needs a further package ({error.__cause__ or error}). "
            "For PostgreSQL: pip install 'deap-hpo[postgresql]'; for MySQL and MariaDB: pip install 'deap-hpo[mysql]'."
        ) from None
    except (ArgumentError, ValueError):
        raise InputError(
            f"storage must be the path of an SQLite file, or a URL such as postgresql://user@host/database; "
            f"{without_password(url)} is neither."
        ) from None
    except (SQLAlchemyError, optuna.exceptions.OptunaError):
        raise InputError(
            f"The database server at {without_password(url)} could not be reached or refused the connection. "
            "Check that it runs, and the name, user and password in the URL."
        ) from None


def _make_texts_long(backend: RDBStorage) -> None:
    """Make room for long learning curves in a new database of MySQL, whose texts end after 64 kB, if we may."""
    if backend.engine.dialect.name in ("mysql", "mariadb"):
        with suppress(SQLAlchemyError), backend.engine.begin() as connection:
            if connection.execute(sqlalchemy.text("SELECT COUNT(*) FROM studies")).scalar() == 0:
                for table in _LONG_TEXTS:
                    connection.execute(sqlalchemy.text(f"ALTER TABLE {table} MODIFY value_json LONGTEXT"))


def has_study(backend: BaseStorage, name: str) -> bool:
    """Say whether a storage holds a study of this name."""
    try:
        return backend.get_study_id_from_name(name) is not None  # listing all names is slow if there are many
    except KeyError:
        return False


@contextmanager
def errors_named(what: str) -> Iterator[None]:
    """Turn the database's errors in a `with` block into an `InputError` about `what`."""
    try:
        yield
    except optuna.exceptions.StorageInternalError as error:
        cause = getattr(error.__cause__, "orig", None) or error.__cause__ or error
        hint = f" {_WHERE_TEXTS_ARE_SHORT}" if "Data too long" in str(cause) else ""
        raise InputError(
            f"The {what} could not be used: {cause}. What was written before is still there.{hint}"
        ) from error
    except KeyError as error:
        if error.args != (_GONE,):
            raise
        raise InputError(f"The {what} is gone: another process has deleted it meanwhile.") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"The {what} is damaged: it holds invalid data ({error}). It was not changed; restore it from a copy."
        ) from error
