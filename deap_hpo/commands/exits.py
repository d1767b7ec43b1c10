"""How commands end: wrong input and interruptions give one sentence and an exit code; warnings give a sentence too."""

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
    """Raised on SIGTERM, which schedulers and service managers send before they kill a process."""


def _terminate(*_: object) -> None:
    raise _Terminated


def _interruption_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interruption behind an error, if a library was interrupted and turned that into its own error."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__context__
    return behind


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Show warnings of this package without their place in the program; those of other code keep it."""

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
            except typer.Exit:  # a `reporting` inside this one has already printed the reason
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
        if error.filename is None:  # no file was at fault, so it is a fault of the program
            raise
        if debug:
            traceback.print_exc()
        errors.print(f"[red]Error:[/red] {escape(str(error.filename))} could not be used: {error.strerror}.")
        raise typer.Exit(WRONG_INPUT) from None
    except KeyboardInterrupt as stop:
        go_on = f" Continue with: {resume}" if resume else ""
        errors.print(f"\nInterrupted; every finished evaluation is on record.{go_on}")
        raise typer.Exit(TERMINATED if isinstance(stop, _Terminated) else INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
