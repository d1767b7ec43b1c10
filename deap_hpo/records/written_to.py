"""What a function writes into, by its bytecode: what it counts in or caches, rather than what it goes by."""

from __future__ import annotations

import dis
from collections.abc import Sequence
from functools import cache
from types import CodeType, FunctionType
from typing import Any

# The methods by which containers are written into; those of tensors end in an underscore.
_WRITING = frozenset(
    ("append", "appendleft", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "popleft")
    + ("remove", "discard", "clear", "sort", "reverse")
)
_INTO = frozenset({"STORE_SUBSCR", "STORE_SLICE"})  # the instructions that put something into a container
_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_OUTER = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"})  # of names from outside
ANYTHING = "*"


def stored(function: Any, instruction: str) -> frozenset[str]:
    """Give the names to which a function gives new values: what it counts, or keeps for later.

    Args:
        function: The function; a constructor counts nothing.
        instruction: How: "STORE_GLOBAL", "STORE_DEREF" or "STORE_ATTR".

    Example:
        >>> def call(self, x):
        ...     self.calls += 1
        >>> sorted(stored(call, "STORE_ATTR"))
        ['calls']
    """
    stores = _stores(function.__code__) if _can_write(function) else ()
    return frozenset(name for kind, name in stores if kind == instruction)


def written_to(function: Any) -> frozenset[str]:
    """Give the names from outside into whose values a function writes; `ANYTHING` where that cannot be told.

    Args:
        function: The function; a constructor writes into nothing that was there before.

    Example:
        >>> seen, scale = [], {"by": 2.0}
        >>> def objective(x):
        ...     found = {}
        ...     found["x"] = x * scale["by"]
        ...     seen.append(x)
        >>> sorted(written_to(objective))
        ['seen']
    """
    return _written_to(function.__code__) if _can_write(function) else frozenset()


def _can_write(function: Any) -> bool:
    return isinstance(function, FunctionType) and function.__name__ not in ("__init__", "__post_init__")


@cache
def _stores(code: CodeType) -> frozenset[tuple[str, str]]:
    own = {(one.opname, str(one.argval)) for one in dis.get_instructions(code) if one.opname.startswith("STORE_")}
    return frozenset(own.union(*map(_stores, _inner(code))))


@cache
def _written_to(code: CodeType) -> frozenset[str]:
    instructions = [one for one in dis.get_instructions(code) if one.opname not in ("CACHE", "NOP", "EXTENDED_ARG")]
    found: set[str] = set()
    for i, one in enumerate(instructions):
        if one.opname in _INTO:
            found |= _base_of_container(instructions[:i])
        elif one.opname in _ATTRIBUTE and (one.argval in _WRITING or _in_place(one.argval)):
            found |= _base(instructions[:i])
    return frozenset(found.union(*map(_written_to, _inner(code))))


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _in_place(method: str) -> bool:
    return method.endswith("_") and not method.startswith("_")


def _base_of_container(before: Sequence[dis.Instruction]) -> set[str]:
    """The name of the container whose item is stored: it is loaded before the key, if that is a simple one."""
    if not before or not before[-1].opname.startswith("LOAD_") or before[-1].opname in _ATTRIBUTE:
        return {ANYTHING}
    both = before[-1].opname.count("LOAD_FAST") == 2  # container and key by one instruction
    return set() if both else _base(before[:-1])


def _base(before: Sequence[dis.Instruction]) -> set[str]:
    """The name from outside that the last of some instructions have loaded, or an attribute of it."""
    last = len(before) - 1
    while last >= 0 and before[last].opname in _ATTRIBUTE:
        last -= 1
    if last < 0:
        return {ANYTHING}
    one = before[last]
    if one.opname in _OUTER:
        return {str(one.argval)}
    names = one.argval if isinstance(one.argval, tuple) else (one.argval,)
    is_local = "LOAD_FAST" in one.opname and names[-1] != "self"
    return set() if is_local or one.opname in ("CALL", "CALL_FUNCTION", "CALL_METHOD") else {ANYTHING}
