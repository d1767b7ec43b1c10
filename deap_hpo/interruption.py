"""Ctrl-C that breaks nothing and is not lost: put off where it would do harm, kept where Python would drop it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import current_thread, main_thread
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Keeper:
    """What all contexts of the process share: one hook, one handler a signal, and the interruption to be raised."""

    def __init__(self) -> None:
        self.undisturbed = 0
        self.kept: Callable[[], object] | None = None
        self.delivered: Callable[[], object] | None = None  # the last one that was raised, whoever caught it
        self._contexts = self._contexts_of_main = 0  # open ones, of all threads and of the main one; they may overlap
        self._hook: Any = None
        self._handlers: dict[int, Callable[..., object]] = {}

    def install(self) -> None:
        self._contexts += 1
        if self._contexts == 1:
            self.kept = self.delivered = None
            self._hook, sys.unraisablehook = sys.unraisablehook, self._on_unraisable
        if current_thread() is main_thread():  # the only one that sets handlers, and runs them
            self._contexts_of_main += 1
            if self._contexts_of_main == 1:
                for number in _SIGNALS:
                    handler = signal.getsignal(number)
                    if callable(handler) and handler != self._on_signal:  # which an interrupted `remove` has left
                        self._handlers[number] = handler
                        signal.signal(number, self._on_signal)

    def remove(self) -> None:
        if current_thread() is main_thread():
            self._contexts_of_main -= 1
            if self._contexts_of_main == 0:
                for number, handler in self._handlers.items():
                    if signal.getsignal(number) == self._on_signal:  # nobody has set another one since
                        signal.signal(number, handler)
        self._contexts -= 1
        if self._contexts == 0:
            sys.unraisablehook, self.delivered = self._hook, None

    def _on_signal(self, number: int, frame: Any) -> None:
        handle = partial(self._handlers[number], number, frame)
        if self.undisturbed and self.kept is None:
            self.kept = handle
        else:  # also where the same is asked for a second time
            self.delivered = handle
            handle()

    def _on_unraisable(self, unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            self.kept = partial(_raise, unraisable.exc_value)
        else:
            self._hook(unraisable)


_keeper = _Keeper()


def _raise(error: BaseException) -> None:
    raise error


@contextmanager
def interruptions_kept() -> Iterator[None]:
    """Inside, no interruption is lost, and `undisturbed` can put one off; at the end, one that was kept is raised.

    Ctrl-C raises `KeyboardInterrupt` wherever the main thread is. Where that is a callback of the garbage collector or
    a ``__del__``, Python prints "Exception ignored in" and goes on: whoever pressed it waits for nothing. Where it is
    in the middle of what a library does to its own state, this stays half done: torch may then compute no gradients
    for the rest of the process, as where a cell of a notebook is interrupted and run again.

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


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM inside, to the next `raise_kept`; a second one is not put off.

    Only where `interruptions_kept` is around it; else it does nothing.

    Example:
        >>> from signal import SIGINT, raise_signal
        >>> with interruptions_kept():
        ...     try:
        ...         with undisturbed():
        ...             raise_signal(SIGINT)
        ...             print("all of this is done")
        ...         raise_kept()
        ...     except KeyboardInterrupt:
        ...         print("interrupted")
        all of this is done
        interrupted
    """
    mine = int(current_thread() is main_thread())
    _keeper.undisturbed += mine
    try:
        yield
    finally:
        _keeper.undisturbed -= mine


def raise_kept() -> None:
    """Raise the interruption that was kept, if there is one: to be called where nothing is half done.

    Raises:
        KeyboardInterrupt: It, or what the handler of its signal raises; see `undisturbed` for an example.
    """
    if _keeper.kept is not None:
        kept, _keeper.kept = _keeper.kept, None
        kept()


def raise_swallowed() -> None:
    """Raise an interruption again that was caught by code which knows nothing of us: to be called after such code.

    Lightning, say, ends the training under way and raises `SystemExit`, others return what they have by then. Either is
    not the outcome of the whole evaluation.

    Raises:
        KeyboardInterrupt: It, or what the handler of its signal raises.

    Example:
        >>> from signal import SIGINT, raise_signal
        >>> with interruptions_kept():
        ...     try:
        ...         try:
        ...             raise_signal(SIGINT)
        ...         except KeyboardInterrupt:
        ...             pass
        ...         raise_swallowed()
        ...     except KeyboardInterrupt:
        ...         print("interrupted")
        interrupted
    """
    if _keeper.delivered is not None:
        delivered, _keeper.delivered = _keeper.delivered, None
        delivered()
