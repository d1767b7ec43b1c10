"""JSON that every program can read: numpy's numbers become Python's, and NaN and infinity become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def json_types(value: Any) -> Any:
    """Turn a value and all inside it into JSON's types.

    Example:
        >>> json_types({"losses": (np.float64(0.5), math.inf), 1: np.True_})
        {'losses': [0.5, None], '1': True}
    """
    if isinstance(value, Mapping):
        return {str(name): json_types(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_types(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def strict_json(value: Any) -> str:
    """Write JSON that every program can read: NaN and infinity, which it does not have, become null.

    Example:
        >>> strict_json({"accuracy": [0.5, float("nan")]})
        '{"accuracy": [0.5, null]}'
    """
    return json.dumps(json_types(value))
