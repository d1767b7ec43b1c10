"""Ctrl-C is not lost where Python drops it: raised in the garbage collector, it is kept and raised again after."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Keeper:
    """What the contexts of all threads share: they may overlap, and the hook is one for the process."""

    def __init__(self) -> None:
        self.depth = 0
        self.kept: KeyboardInterrupt | None = None
        self._before: Any = None

    def install(self) -> None:
        self.depth += 1
        if self.depth == 1:
            self.kept, self._before, sys.unraisablehook = None, sys.unraisablehook, self._keep

    def remove(self) -> None:
        self.depth -= 1
        if self.depth == 0:
            sys.unraisablehook = self._before

    def _keep(self, unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            self.kept = unraisable.exc_value
        else:
            self._before(unraisable)


_keeper = _Keeper()


@contextmanager
def interruptions_kept() -> Iterator[None]:
    """Inside, keep an interruption that cannot be raised where it arrives; it is raised at the end, or by `raise_kept`.

    Ctrl-C raises `KeyboardInterrupt` wherever the main thread is. Where that is a callback of the garbage collector or
    a ``__del__``, Python prints "Exception ignored in" and goes on: whoever pressed it waits for nothing.

    Raises:
        KeyboardInterrupt: The one that was kept.

    Example:
        >>> class Interrupted:
        ...     def __del__(self):
        ...         raise KeyboardInterrupt
        >>> try:
        ...     with interruptions_kept():
        ...         unused = Interrupted()
        ...         del unused  # Python alone would go on here
        ... except KeyboardInterrupt:
        ...     print("interrupted")
        interrupted
    """
    _keeper.install()
    try:
        yield
        raise_kept()
    finally:
        _keeper.remove()


def raise_kept() -> None:
    """Raise the interruption that was kept, if there is one, in the middle of `interruptions_kept`."""
    if _keeper.kept is not None:
        kept, _keeper.kept = _keeper.kept, None
        raise kept
