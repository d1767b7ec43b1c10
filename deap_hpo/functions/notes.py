"""What an objective returns beside numbers, as text: paths, tables of confusions, reports, to be recorded with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_MOST = 1_000_000  # characters: a record is no place for data
_MOST_ITEMS = 200_000
_DEEPEST = 50


class _TooLarge(Exception):
    """There are more items than are recorded."""


def note_of(value: Any) -> str | None:
    """Give a text as it is, and several values as JSON: lists, dicts, sets, arrays, tables of pandas.

    Numbers that are not finite are null in it, keys are texts, and what JSON has no type for is written as `str` gives
    it. Of several values with more than 1,000,000 characters, or 200,000 items, only the size is told.

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
    is_array = bool(getattr(value, "ndim", None)) and hasattr(value, "shape")
    if is_array and math.prod(value.shape) == 1:
        return None
    if not is_array and not isinstance(value, (list, tuple, set, frozenset, Mapping)):
        return None
    try:
        text = json.dumps(_Conversion().of(value))
        if len(text) <= _MOST:
            return text
    except _TooLarge:
        pass
    except TypeError:
        return None
    size = f"of shape {list(value.shape)}" if is_array else f"of {len(value)} items"
    return f"{type(value).__name__} {size}, too large to be recorded; give the path of a file"


class _Conversion:
    """What JSON has types for, as long as it is not too much."""

    def __init__(self) -> None:
        self._left = _MOST_ITEMS

    def of(self, value: Any, within: tuple[int, ...] = ()) -> Any:
        """Convert a value; whatever holds itself ends there.

        Raises:
            _TooLarge: There are too many items.
            TypeError: No text stands for it.
        """
        if len(within) > _DEEPEST or id(value) in within:
            return "..."
        within = (*within, id(value))
        self._left -= math.prod(value.shape) if hasattr(value, "shape") else 1
        if self._left < 0:
            raise _TooLarge
        with suppress(TypeError, RuntimeError, NotImplementedError):  # sparse tensors have no lists; they have a text
            if getattr(value, "ndim", None) == 2 and hasattr(value, "to_dict"):
                value = value.to_dict("list")
            elif hasattr(value, "tolist"):  # arrays, tensors and their numbers
                value = value.tolist()
        if isinstance(value, Mapping):
            return {str(self.of(key, within)): self.of(one, within) for key, one in value.items()}
        if isinstance(value, (set, frozenset)):
            return sorted((self.of(one, within) for one in value), key=str)
        if isinstance(value, (list, tuple)):
            return [self.of(one, within) for one in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value if value is None or isinstance(value, (bool, int, float, str)) else _text(value)


def _text(value: Any) -> str:
    try:
        text = str(value)
    except Exception as error:
        raise TypeError(f"it has no text: {error}") from error
    if " at 0x" in text:
        raise TypeError("an address is another one in each process")
    return text
