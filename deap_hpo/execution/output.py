"""What workers print, passed on by the driver: on a terminal it would disturb the progress, in a notebook be lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import RLock, Thread, current_thread
from typing import Any

STREAMS = {b"o": "stdout", b"e": "stderr"}
"""The streams that are passed on, by the first byte of a message with text for one, with which no pickle begins."""


def passed_on() -> tuple[str, ...]:
    """Name the streams of this process, the driver, on which it should print for its workers.

    They are those that a terminal or a notebook shows. What goes into a file or a pipe, workers write there themselves.

    Example:
        >>> set(passed_on()) <= {"stdout", "stderr"}
        True
    """
    return tuple(name for name in STREAMS.values() if _is_shown(getattr(sys, name), getattr(sys, f"__{name}__")))


def _is_shown(stream: Any, original: Any) -> bool:
    if stream is None or stream is not original:  # replaced, as in a notebook, or while progress is shown
        return stream is not None
    with suppress(Exception):  # it may be closed
        return bool(stream.isatty())
    return False


def print_for_worker(message: bytes) -> bool:
    """Print a worker's message if it is text for a stream, and tell whether it is.

    Example:
        >>> is_text = print_for_worker("oepoch 1".encode())
        epoch 1
        >>> is_text, print_for_worker(b"an answer")
        (True, False)
    """
    name = STREAMS.get(message[:1])
    if name is None:
        return False
    with suppress(Exception):  # the driver's stream may be closed by now
        getattr(sys, name).write(message[1:].decode(errors="replace"))
        getattr(sys, name).flush()
    return True


class Channel:
    """The worker's end of the pipe to the driver, on which several threads may send.

    A thread of its own sends, so that whatever interrupts the sender, such as an alarm, leaves no part of a message.

    Args:
        send: Sends bytes.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._waiting: SimpleQueue[tuple[bytes, SimpleQueue[bool]]] = SimpleQueue()
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def send(self, message: bytes) -> bool:
        """Send a message whole, wait until it was sent, and tell whether it was; if not, the driver is gone."""
        sent: SimpleQueue[bool] = SimpleQueue()
        self._waiting.put((message, sent))
        # The thread itself may be the sender, by a finaliser that prints.
        return current_thread() is self._thread or sent.get()

    def _work(self) -> None:
        while True:
            message, sent = self._waiting.get()
            with suppress(Exception):
                self._send(message)
                sent.put(True)
                continue
            sent.put(False)


class PassedOn:
    """A text stream that sends complete lines to the driver; in a forked process it is the original one.

    Of what is written without a line break, the last part after a carriage return is kept until the next line break, so
    that of a progress bar only its end is passed on.

    Args:
        original: The stream that it replaces, which has all its other attributes.
        mark: The first byte of its messages; see `STREAMS`.
        channel: Where to send them.

    Example:
        >>> sent = []
        >>> stream = PassedOn(sys.stdout, b"o", Channel(sent.append))
        >>> print("epoch", 1, file=stream)
        >>> stream.write("10%" + chr(13) + "20%")
        7
        >>> stream.end_line()
        >>> [message.splitlines() for message in sent]
        [[b'oepoch 1'], [b'o20%']]
    """

    def __init__(self, original: Any, mark: bytes, channel: Channel) -> None:
        self._original, self._mark, self._channel = original, mark, channel
        self._process = os.getpid()
        self._begun: list[str] = []  # parts of a line
        self._changing = RLock()  # is never held while something is sent

    def write(self, text: str) -> int:
        """Send the lines that are complete now."""
        if os.getpid() != self._process:
            return int(self._original.write(text))
        lines, end, rest = text.rpartition("\n")
        with self._changing:
            begun = self._begun
            if end:
                self._begun = []
            if "\r" in rest:
                self._begun = [_without_the_overwritten("".join([*self._begun, rest]))]
            elif rest:
                self._begun.append(rest)
        if end:
            whole = _without_the_overwritten("".join([*begun, lines])) + end
            self._channel.send(self._mark + whole.encode(errors="replace"))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Do nothing: complete lines were sent, and others wait for their end."""
        if os.getpid() != self._process:
            self._original.flush()

    def end_line(self) -> None:
        """Send a line that has no end yet, after an evaluation."""
        if self._begun:
            self.write("\n")

    def isatty(self) -> bool:
        """Whether it is a terminal, which it is not."""
        return False

    def __getattr__(self, name: str) -> Any:
        if name == "_original":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._original, name)


def _without_the_overwritten(text: str) -> str:
    """Leave out, of the first line, what a carriage return has overwritten."""
    line, end, more = text.partition("\n")
    return line[line.rstrip("\r").rfind("\r") + 1 :] + end + more


def pass_on(names: tuple[str, ...], channel: Channel) -> list[PassedOn]:
    """Replace streams of this process, a worker, by those that send to the driver, and give them."""
    streams = []
    for mark, name in STREAMS.items():
        if name in names and (original := getattr(sys, name)) is not None:
            streams.append(PassedOn(original, mark, channel))
            setattr(sys, name, streams[-1])
    return streams
