"""Who may call `map` of a study: a program, with one population at a time, but not its evaluations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from deap_hpo.errors import InputError

_Map = TypeVar("_Map", bound=Callable[..., Any])
_INSIDE = (
    "An evaluation must not call `map` of the study that it belongs to: its evaluations would be recorded among the "
    "program's. Use the built-in `map`, or a study of its own."
)


class StudyElsewhere:
    """What a study is in another process: evaluations may use the toolbox that holds its `map`, but not call that.

    Example:
        >>> StudyElsewhere().map(len, [])
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: An evaluation must not call `map` of the study that it belongs to: ...
    """

    def map(self, *_: Any) -> Any:
        """Raise an error.

        Raises:
            InputError: Always.
        """
        raise InputError(_INSIDE)


class StaysHere:
    """Base of a study: it keeps its record and workers to itself, and goes to other processes as a `StudyElsewhere`.

    Example:
        >>> import pickle
        >>> pickle.loads(pickle.dumps(StaysHere()))
        <deap_hpo.mapping.StudyElsewhere object at ...>
    """

    _is_mapping = False

    def __reduce__(self) -> Any:
        return StudyElsewhere, ()

    def __copy__(self) -> Any:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other


def for_programs(function: _Map) -> _Map:
    """Let a study's `map` refuse calls from its own evaluations, and calls with several populations.

    Raises:
        InputError: It was called like this.

    Example:
        >>> from deap_hpo import Study
        >>> with Study() as study:
        ...     study.map(max, [[1.0]], [[2.0]])
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: map takes one population; got 2. Zip them, and `evaluate` gets a tuple of ...
    """

    @functools.wraps(function)
    def checked(self: Any, evaluate: Any, individuals: Any, *others: Any) -> Any:
        if others:
            raise InputError(
                f"map takes one population; got {len(others) + 1}. Zip them, and `evaluate` gets a tuple of "
                "individuals: map(evaluate, zip(hosts, parasites))."
            )
        if self._is_mapping:
            raise InputError(_INSIDE)
        self._is_mapping = True
        try:
            return function(self, evaluate, individuals)
        finally:
            self._is_mapping = False

    return cast("_Map", checked)
