"""How a command ends: wrong input and interruption as one sentence and an exit code; warnings as a sentence, too."""

from __future__ import annotations

import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.interruption import interruptions_kept

DONE, WRONG_INPUT, INTERRUPTED, TERMINATED = 0, 2, 130, 143

output = Console(soft_wrap=True, highlight=False)
errors = Console(stderr=True, soft_wrap=True, highlight=False)


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what schedulers and service managers send before they kill."""


def _terminate(*_: object) -> None:
    raise _Terminated


def _interruption_behind(error: BaseException) -> KeyboardInterrupt | None:
    """What came in the middle of something a library does, and of which the library made an error of its own."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__context__
    return behind


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Leave out where in the program a warning of this package arose; those of a user's own code keep their line."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, DeapHPOWarning):
            said = str(message)
            errors.print(f"[yellow]Warning:[/yellow] {escape(said if said.endswith(('.', '?')) else f'{said}.')}")
        else:
            before(message, category, *place, **more)

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def reporting(debug: bool, resume: str = "") -> Iterator[None]:
    """Turn wrong input and interruption into one sentence and an exit code, and warnings into sentences."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with interruptions_kept(), _warnings_as_sentences():
            try:
                yield
            except typer.Exit:  # of a `reporting` inside this one: it is told
                raise
            except Exception as error:
                interruption = _interruption_behind(error)
                if interruption is None:
                    raise
                raise interruption from error
    except InputError as error:
        if debug:
            traceback.print_exc()
        errors.print(f"[red]Error:[/red] {escape(str(error))}")
        raise typer.Exit(WRONG_INPUT) from None
    except OSError as error:
        if error.filename is None:  # nothing that was given: a fault of the program
            raise
        if debug:
            traceback.print_exc()
        errors.print(f"[red]Error:[/red] {escape(str(error.filename))} could not be used: {error.strerror}.")
        raise typer.Exit(WRONG_INPUT) from None
    except KeyboardInterrupt as stop:
        go_on = f" Go on with: {resume}" if resume else ""
        errors.print(f"\nInterrupted; every finished evaluation is on record.{go_on}")
        raise typer.Exit(TERMINATED if isinstance(stop, _Terminated) else INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
