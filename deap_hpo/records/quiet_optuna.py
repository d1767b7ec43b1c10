"""Optuna without its log messages, which would be about this package's studies rather than the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import optuna


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna log warnings only, and restore its verbosity afterwards.

    Example:
        >>> before = optuna.logging.get_verbosity()
        >>> with quiet_optuna():
        ...     study = optuna.create_study()
        >>> optuna.logging.get_verbosity() == before
        True
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
