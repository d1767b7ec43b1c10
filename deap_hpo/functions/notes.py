"""What an objective returns beside numbers, as text: paths, tables of confusions, reports, to be recorded with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_MOST = 100_000  # characters, and elements of an array: a record is no place for data
_DEEPEST = 50


def note_of(value: Any) -> str | None:
    """Give a text as it is, and several values as JSON: lists, dicts, sets, arrays, tables of pandas.

    Numbers that are not finite are null in it, keys are texts, and what JSON has no type for is written as `str` gives
    it. Of several values with more than 100,000 characters, or elements of an array, only the size is told.

    Args:
        value: What was returned under a name.

    Returns:
        The text; None for a number, an array of one, and what holds objects that no text stands for.

    Example:
        >>> import numpy as np
        >>> note_of([[np.int64(3), 1], np.array([0.0, np.nan])]), note_of({np.int64(1): 0.5}), note_of(0.5)
        ('[[3, 1], [0.0, null]]', '{"1": 0.5}', None)
    """
    if isinstance(value, str):
        return value
    elements = math.prod(value.shape) if getattr(value, "ndim", None) and hasattr(value, "shape") else None
    if elements == 1 or (elements is None and not isinstance(value, (list, tuple, set, frozenset, Mapping))):
        return None
    if elements is None or elements <= _MOST:
        try:
            text = json.dumps(_plain(value))
        except TypeError:
            return None
        if len(text) <= _MOST:
            return text
    size = f"of shape {list(value.shape)}" if elements else f"of {len(value)} items"
    return f"{type(value).__name__} {size}, too large to be recorded; give the path of a file"


def _plain(value: Any, within: tuple[int, ...] = ()) -> Any:
    """What JSON has types for."""
    if len(within) > _DEEPEST or id(value) in within:
        return "..."
    within = (*within, id(value))
    with suppress(TypeError, RuntimeError, NotImplementedError):  # of sparse tensors, say
        if getattr(value, "ndim", None) == 2 and hasattr(value, "to_dict"):
            value = value.to_dict("list")
        elif hasattr(value, "tolist"):  # arrays, tensors and their numbers
            value = value.tolist()
    if isinstance(value, Mapping):
        return {str(_plain(key, within)): _plain(one, within) for key, one in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(one, within) for one in value), key=str)
    if isinstance(value, (list, tuple)):
        return [_plain(one, within) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not any({"__repr__", "__str__"} & vars(kind).keys() for kind in type(value).__mro__[:-1]):
        raise TypeError("it would be written by its address, which is another one in each process")
    return str(value)
