"""Plain data as TOML text: the standard library reads TOML, but does not write it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def to_toml(data: Mapping[str, Any], path: str = "") -> str:
    """Write nested mappings as tables with headers. TOML has no null: None is left out, and is "None" in lists.

    Args:
        data: Strings, numbers, bools, lists and mappings, by name.
        path: Dotted name of the table that holds them; empty at the top.

    Example:
        >>> print(to_toml({"name": "a", "lr": 0.1, "space": {"x": {"low": 0}}}), end="")
        name = "a"
        lr = 0.1
        <BLANKLINE>
        [space.x]
        low = 0
    """
    plain = {key: value for key, value in data.items() if not isinstance(value, Mapping) and value is not None}
    text = "".join(f"{_key(key)} = {_value(value)}\n" for key, value in plain.items())
    if text and path:
        text = f"\n[{path}]\n{text}"
    for key, value in data.items():
        if isinstance(value, Mapping):
            text += to_toml(value, f"{path}.{_key(key)}" if path else _key(key))
    return text


def config_to_toml(config: Mapping[str, Mapping[str, Any]]) -> str:
    """Write a run's recorded configuration the way people write it: one line for each setting.

    `deap-hpo run` reads it back.

    Example:
        >>> print(config_to_toml({"study": {"name": "a", "seed": 1}, "space": {"lr": {"type": "float", "low": 0.1}}}))
        [study]
        name = "a"
        seed = 1
        <BLANKLINE>
        [space]
        lr = { type = "float", low = 0.1 }
    """
    sections = []
    for section, values in config.items():
        lines = [f"{_key(key)} = {_value(value)}" for key, value in values.items() if value is not None]
        sections.append("\n".join([f"[{_key(section)}]", *lines]))
    return "\n\n".join(sections)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items() if one is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if value is None:
        return '"None"'  # in a list of choices (settings that are None are left out); JSON's null is not TOML
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf and nan, as TOML spells them; JSON spells them differently
    # DEL is the one character that JSON allows unescaped and TOML does not.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
