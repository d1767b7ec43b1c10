"""Paths as users give them, and files that exist completely or not at all, since they are renamed when complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def expanded(path: str | os.PathLike[str]) -> Path:
    """Give a user's path with the home folder in place of ``~``, which no shell may have expanded.

    Example:
        >>> expanded("~/runs") == Path.home() / "runs", expanded("runs/~old")
        (True, PosixPath('runs/~old'))
    """
    return Path(os.path.expanduser(path))


@contextmanager
def written_whole(path: Path, *, synced: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to; that file becomes `path` at the end, unless the block raises.

    Folders are created. If several processes write the same file, the last one wins.

    Args:
        path: The file.
        synced: Whether the file must survive a power failure right afterwards.

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
        mode = partial.stat().st_mode  # the mode of a new file here; a library may write one for its owner only
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
    """Flush a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, completely or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
