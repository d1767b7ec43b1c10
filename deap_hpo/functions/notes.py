"""What an objective returns beside numbers, as text: paths, tables of confusions, reports, to be recorded with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_MOST = 100_000  # characters; a record is no place for data
_DEEPEST = 50


def note_of(value: Any) -> str | None:
    """Give a text as it is, and several values as JSON: lists, dicts, sets, arrays, tables of pandas.

    Numbers that are not finite are null in it, keys are texts, and what JSON has no type for is written as `str` gives
    it. Of what has more than 100,000 characters only that is said.

    Args:
        value: What was returned under a name.

    Returns:
        The text; None for a number, what is to be one, and what holds objects that no text stands for.

    Example:
        >>> import numpy as np
        >>> note_of([[np.int64(3), 1], np.array([0.0, np.nan])]), note_of({np.int64(1): 0.5}), note_of(0.5)
        ('[[3, 1], [0.0, null]]', '{"1": 0.5}', None)
    """
    if isinstance(value, str):
        return value
    is_array = bool(getattr(value, "ndim", None)) and hasattr(value, "shape")
    if not isinstance(value, (list, tuple, set, frozenset, Mapping)) and not (is_array and math.prod(value.shape) != 1):
        return None
    if is_array and math.prod(value.shape) > _MOST:
        return f"{type(value).__name__} of shape {list(value.shape)}, too large to be recorded; give the path of a file"
    try:
        text = json.dumps(_plain(value))
    except TypeError:
        return None
    if len(text) > _MOST:
        return f"{type(value).__name__} of {len(value)} items, too large to be recorded; give the path of a file"
    return text


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
    if not {"__repr__", "__str__"} & {name for kind in type(value).__mro__[:-1] for name in vars(kind)}:
        raise TypeError("an address would be other in each process")
    return str(value)
