"""What a function reads and writes, by its bytecode: what it counts in or caches, rather than what it goes by."""

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


def read_globals(code: CodeType) -> list[str]:
    """Give the global names that code reads, that of functions inside included, in order; attributes are none.

    Example:
        >>> read_globals((lambda x: max(x, 1).real).__code__)
        ['max']
    """
    own = [one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    return list(dict.fromkeys([*own, *(name for inner in _inner(code) for name in read_globals(inner))]))


def read_keys(function: FunctionType, name: str) -> frozenset[str] | None:
    """Give the keys of a mapping from outside that a function reads; None where it may read any.

    Args:
        function: The function.
        name: By which it knows the mapping.

    Example:
        >>> config = {"rate": 0.1, "verbose": True}
        >>> read_keys(lambda x: x * config["rate"], "config"), read_keys(lambda x: dict(config), "config")
        (frozenset({'rate'}), None)
    """
    return _read_keys(function.__code__, name)


@cache
def _read_keys(code: CodeType, name: str) -> frozenset[str] | None:
    instructions = _meaningful(code)
    found: set[str] = set()
    for i, one in enumerate(instructions):
        if one.opname in _OUTER and one.argval == name:
            key, use = (instructions[i + 1 : i + 3] + [None, None])[:2]
            subscript = use is not None and (use.opname == "BINARY_SUBSCR" or use.argrepr == "[]")
            if key is None or key.opname != "LOAD_CONST" or not isinstance(key.argval, str) or not subscript:
                return None
            found.add(key.argval)
    for inner in _inner(code):
        keys = _read_keys(inner, name)
        if keys is None:
            return None
        found |= keys
    return frozenset(found)


def _can_write(function: Any) -> bool:
    return isinstance(function, FunctionType) and function.__name__ not in ("__init__", "__post_init__")


@cache
def _stores(code: CodeType) -> frozenset[tuple[str, str]]:
    own = {(one.opname, str(one.argval)) for one in dis.get_instructions(code) if one.opname.startswith("STORE_")}
    return frozenset(own.union(*map(_stores, _inner(code))))


@cache
def _written_to(code: CodeType) -> frozenset[str]:
    instructions = _meaningful(code)
    found: set[str] = set()
    for i, one in enumerate(instructions):
        if one.opname in _INTO:
            found |= _base_of_container(instructions[:i])
        elif one.opname in _ATTRIBUTE and (one.argval in _WRITING or _in_place(one.argval)):
            found |= _base(instructions[:i])
    return frozenset(found.union(*map(_written_to, _inner(code))))


def _meaningful(code: CodeType) -> list[dis.Instruction]:
    return [one for one in dis.get_instructions(code) if one.opname not in ("CACHE", "NOP", "EXTENDED_ARG")]


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
