"""Paths as users give them, and files that are there whole or not at all: renamed when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def expanded(path: str | os.PathLike[str]) -> Path:
    """Give a path that a user gave, from Python or past a shell, with the home folder in place of its ``~``.

    Example:
        >>> expanded("~/runs") == Path.home() / "runs", expanded("runs/~old")
        (True, PosixPath('runs/~old'))
    """
    return Path(os.path.expanduser(path))


@contextmanager
def written_whole(path: Path, *, synced: bool = False) -> Iterator[Path]:
    """Give a path to write to instead; what was written there becomes `path` at the end, unless something is raised.

    Folders are made. Several processes may write the same file: the last one's is there in the end.

    Args:
        path: The file.
        synced: Whether it is to survive a machine that loses its power right after.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "figures" / "notes.txt"
        ...     with written_whole(path) as partial:
        ...         _ = partial.write_text("done")
        ...     path.read_text()
        'done'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # of a new file here; a library may make one for its owner alone
        yield partial
        partial.chmod(mode)
        if synced:
            _sync(partial, os.O_RDWR)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if synced and os.name == "posix":  # Windows cannot open a folder
        _sync(path.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    """Have the disk hold what was written to a file, or the names in a folder."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
