"""What an objective returns besides numbers (paths, confusion matrices, reports), as text for the record."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, time, timedelta
from enum import Enum
from numbers import Number
from typing import Any

_MOST = 1_000_000  # characters: large data does not belong in a record
_MOST_ITEMS = 200_000
_DEEPEST = 50
_TEXTS = (os.PathLike, date, time, timedelta, Enum, bytes)


class _TooLarge(Exception):
    """There are more items than a record takes."""


def note_of(value: Any) -> str | None:
    """Give a text as it is, paths, dates, enums and bytes as text, and collections as JSON: lists, dicts, arrays, ...

    In the JSON, numbers that are not finite are null, keys are texts, and `str` converts objects for which JSON has no
    type. Of a collection with more than 1,000,000 characters or 200,000 items, only the size is given.

    Args:
        value: The value that was returned under a name.

    Returns:
        The text; None for any other single value, such as a number or an array with one element, and for a collection
        that holds an object without a useful text.

    Example:
        >>> import numpy as np
        >>> note_of([[np.int64(3), 1], np.array([0.0, np.nan])]), note_of({np.int64(1): 0.5}), note_of(0.5)
        ('[[3, 1], [0.0, null]]', '{"1": 0.5}', None)
    """
    if isinstance(value, str):
        return value
    if isinstance(value, _TEXTS) and not isinstance(value, Number):
        return text_of(value)
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


def text_of(value: Any) -> str:
    """Give the text of any object, without its address in memory, which differs in each process.

    Example:
        >>> text_of(1 + 2j), text_of(object())
        ('(1+2j)', '<object object>')
    """
    try:
        text = str(value)
    except Exception:
        text = object.__repr__(value)
    if len(text) > _MOST:
        return f"{type(value).__name__} of {len(text)} characters, too large to be recorded; give the path of a file"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


class _Conversion:
    """Converts values to the types of JSON, up to a total number of items."""

    def __init__(self) -> None:
        self._left = _MOST_ITEMS

    def of(self, value: Any, within: tuple[int, ...] = ()) -> Any:
        """Convert a value; where a collection contains itself, "..." stands for it.

        Raises:
            _TooLarge: There are too many items.
            TypeError: It has no useful text.
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
