"""What code is the user's own, rather than of a library or of this package; and which names of its own it reads."""

from __future__ import annotations

import dis
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

_INSTALLED_IN = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platlib", "purelib")})
# Where libraries are that this Python did not install: of the user, of Debian, of the Python that a venv was made of.
_LIBRARY_FOLDERS = frozenset({"site-packages", "dist-packages"})
_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_OUTER = _GLOBAL | {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}  # of names from outside
_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})


def as_attribute(name: str) -> str:
    """Give how an attribute is written after what has it."""
    return f".{name}"


def as_item(key: str) -> str:
    """Give how the item of a key is written after what has it."""
    return f"[{key!r}]"


def is_ours_or_built_in(module_name: Any) -> bool:
    """Whether a module is of this package, or built into Python."""
    return str(module_name).partition(".")[0] in ("deap_hpo", "builtins")


def is_users(module_name: Any) -> bool:
    """Whether a module is neither of a library nor of this package, as one that was never imported.

    Example:
        >>> is_users("script"), is_users("sys"), is_users("os.path"), is_users("deap_hpo")
        (True, False, False, False)
    """
    name = str(module_name)  # an own class may have None or a number there
    if is_ours_or_built_in(name):
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return name == "__main__" or name not in sys.modules
    return not _is_of_a_library(file)


@cache
def _is_of_a_library(file: str) -> bool:
    path = Path(file).resolve()
    return not _LIBRARY_FOLDERS.isdisjoint(path.parts) or any(path.is_relative_to(library) for library in _INSTALLED_IN)


def inner_code(code: CodeType) -> list[CodeType]:
    """Give the code of the functions that are defined inside code."""
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def names_in(code: CodeType) -> list[str]:
    """Give the names that code refers to, of attributes too, that of functions inside included, in order."""
    return list(dict.fromkeys([*code.co_names, *(name for inner in inner_code(code) for name in names_in(inner))]))


def read_globals(code: CodeType) -> list[str]:
    """Give the global names that code reads, that of functions inside included, in order; attributes are none.

    Example:
        >>> read_globals((lambda x: max(x, 1).real).__code__)
        ['max']
    """
    own = [one.argval for one in dis.get_instructions(code) if one.opname in _GLOBAL]
    return list(dict.fromkeys([*own, *(name for inner in inner_code(code) for name in read_globals(inner))]))


@cache
def read_parts(code: CodeType, name: str) -> frozenset[str] | None:
    """Give the keys and the attributes that code reads of something from outside; None where it may read any.

    Args:
        code: The code of a function.
        name: By which it knows the thing.

    Returns:
        Keys as ``['key']``, attributes as ``.attribute``.

    Example:
        >>> sorted(read_parts((lambda x: x * config["rate"] + config.shift).__code__, "config"))
        ['.shift', "['rate']"]
        >>> read_parts((lambda x: dict(config)).__code__, "config") is None
        True
    """
    skipped = ("CACHE", "NOP", "EXTENDED_ARG")
    instructions = [*(one for one in dis.get_instructions(code) if one.opname not in skipped), None, None]
    found: set[str] = set()
    for i, one in enumerate(instructions):
        if one is not None and one.opname in _OUTER and one.argval == name:
            part = _part(instructions[i + 1], instructions[i + 2])
            if part is None:
                return None
            found.add(part)
    for inner in inner_code(code):
        parts = read_parts(inner, name)
        if parts is None:
            return None
        found |= parts
    return frozenset(found)


def _part(use: dis.Instruction | None, after: dis.Instruction | None) -> str | None:
    """What is read of a thing that has just been loaded, by the two instructions that follow."""
    if use is not None and use.opname in _ATTRIBUTE:
        return as_attribute(use.argval)
    subscript = after is not None and (after.opname == "BINARY_SUBSCR" or after.argrepr == "[]")
    if use is None or use.opname != "LOAD_CONST" or not isinstance(use.argval, str) or not subscript:
        return None
    return as_item(use.argval)
