"""The values that a function carries from its definition: those in its closure, and its defaults."""

from __future__ import annotations

from types import FunctionType
from typing import Any


class Unset:
    """Stands for a variable that has no value yet; no two instances are equal."""


def closure(function: FunctionType) -> dict[str, Any]:
    """Give the values in a function's closure, by name.

    Example:
        >>> def made(factor):
        ...     return lambda x: x * factor
        >>> closure(made(2))
        {'factor': 2}
    """
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: _content(cell) for name, cell in cells}


def own_values(function: FunctionType) -> list[Any]:
    """Give the values in a function's closure, then its defaults.

    Example:
        >>> own_values(lambda x, y=1, *, z=2: x)
        [1, 2]
    """
    return [*closure(function).values(), *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return Unset()
