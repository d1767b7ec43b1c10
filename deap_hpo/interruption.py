"""Ctrl-C without damage or loss: postponed where it would do harm, kept where Python would drop it."""

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
    """Shared by all contexts of the process: one hook, one handler per signal, and the interruption to raise."""

    def __init__(self) -> None:
        self.undisturbed = 0
        self.kept: Callable[[], object] | None = None
        self.delivered: Callable[[], object] | None = None  # the last one that was raised, even if it was caught
        self._contexts = self._contexts_of_main = 0  # open contexts of all threads, and of the main one; may overlap
        self._hook: Any = None
        self._handlers: dict[int, Callable[..., object]] = {}

    def install(self) -> None:
        self._contexts += 1
        if self._contexts == 1:
            self.kept = self.delivered = None
            self._hook, sys.unraisablehook = sys.unraisablehook, self._on_unraisable
        if current_thread() is main_thread():  # Python sets and runs signal handlers in this thread only
            self._contexts_of_main += 1
            if self._contexts_of_main == 1:
                for number in _SIGNALS:
                    handler = signal.getsignal(number)
                    if callable(handler) and handler != self._on_signal:  # an interrupted `remove` may have left ours
                        self._handlers[number] = handler
                        signal.signal(number, self._on_signal)

    def remove(self) -> None:
        if current_thread() is main_thread():
            self._contexts_of_main -= 1
            if self._contexts_of_main == 0:
                for number, handler in self._handlers.items():
                    if signal.getsignal(number) == self._on_signal:  # no other handler was set since
                        signal.signal(number, handler)
        self._contexts -= 1
        if self._contexts == 0:
            sys.unraisablehook, self.delivered = self._hook, None

    def _on_signal(self, number: int, frame: Any) -> None:
        handle = partial(self._handlers[number], number, frame)
        if self.undisturbed and self.kept is None:
            self.kept = handle
        else:  # also for a second signal while one is kept
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
    """Lose no interruption in a `with` block, and let `undisturbed` postpone one; raise a kept one at the end.

    Ctrl-C raises `KeyboardInterrupt` wherever the main thread is. In a callback of the garbage collector or a
    ``__del__``, Python only prints "Exception ignored in" and continues, so that the interruption is lost. In a library
    that is changing its own state, it leaves the change incomplete: torch, for example, may then compute no gradients
    for the rest of the process, which matters if a notebook cell is interrupted and run again.

    Raises:
        KeyboardInterrupt: The kept one, if any.

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
    """Postpone Ctrl-C and SIGTERM in a `with` block until the next `raise_kept`; a second one is not postponed.

    It works only inside `interruptions_kept`; elsewhere it does nothing.

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
    """Raise the kept interruption, if there is one; call this where no change is incomplete.

    Raises:
        KeyboardInterrupt: The kept one, or what the handler of its signal raises; see `undisturbed` for an example.
    """
    if _keeper.kept is not None:
        kept, _keeper.kept = _keeper.kept, None
        kept()


def raise_swallowed() -> None:
    """Raise an interruption again that other code may have caught; call this after such code.

    Lightning, for example, ends the current training and raises `SystemExit`; other libraries return an incomplete
    result. Neither is the result of the whole evaluation.

    Raises:
        KeyboardInterrupt: The caught one, or what the handler of its signal raises.

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
