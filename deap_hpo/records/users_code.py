"""Which code is the user's own, rather than a library's or this package's, and which names it reads."""

from __future__ import annotations

import dis
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from deap_hpo.closures import Unset, closure

_INSTALLED_IN = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platlib", "purelib")})
# Folders of libraries installed elsewhere: for the user, by Debian, or in the Python from which a venv was made.
_LIBRARY_FOLDERS = frozenset({"site-packages", "dist-packages"})
_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
# The instructions that load a name from outside the function.
_OUTER = _GLOBAL | {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF", "LOAD_FROM_DICT_OR_GLOBALS"}
_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
# Instructions that do not affect which parts are read.
_SKIPPED = frozenset({"CACHE", "NOP", "EXTENDED_ARG", "PUSH_NULL", "COPY", "DUP_TOP"})
_LONGEST_CHAIN = 20  # instructions


def as_attribute(name: str) -> str:
    """Give the notation of an attribute, as it is written after the object.

    Example:
        >>> as_attribute("rate")
        '.rate'
    """
    return f".{name}"


def as_item(key: str) -> str:
    """Give the notation of an item by its key, as it is written after the container.

    Example:
        >>> as_item("rate")
        "['rate']"
    """
    return f"[{key!r}]"


def is_ours_or_built_in(module_name: Any) -> bool:
    """Whether a module belongs to this package, or is built into Python.

    Example:
        >>> is_ours_or_built_in("deap_hpo.study"), is_ours_or_built_in("builtins"), is_ours_or_built_in("os")
        (True, True, False)
    """
    return str(module_name).partition(".")[0] in ("deap_hpo", "builtins")


def is_users(module_name: Any) -> bool:
    """Whether a module is the user's, not a library's or this package's; one that was never imported is the user's.

    Example:
        >>> is_users("script"), is_users("sys"), is_users("os.path"), is_users("deap_hpo")
        (True, False, False, False)
    """
    name = str(module_name)  # a user's class may have None or a number there
    if is_ours_or_built_in(name):
        return False
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)  # for a package
    if file is None:
        return name == "__main__" or name not in sys.modules
    return not _is_of_a_library(file)


@cache
def _is_of_a_library(file: str) -> bool:
    path = Path(file).resolve()
    return not _LIBRARY_FOLDERS.isdisjoint(path.parts) or any(path.is_relative_to(library) for library in _INSTALLED_IN)


def closed_over(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Give the names and values in a function's closure; a variable that has no value yet is left out.

    Example:
        >>> def made(factor):
        ...     return lambda x: x * factor
        >>> list(closed_over(made(2)))
        [('factor', 2)]
    """
    yield from ((name, value) for name, value in closure(function).items() if not isinstance(value, Unset))


def inner_code(code: CodeType) -> list[CodeType]:
    """Give the code of the functions that are defined inside code.

    Example:
        >>> [one.co_name for one in inner_code((lambda x: lambda y: x + y).__code__)]
        ['<lambda>']
    """
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def names_in(code: CodeType) -> list[str]:
    """Give the names that code and the functions inside it refer to, attributes included, in order.

    Example:
        >>> names_in((lambda x: max(x, 1).real).__code__)
        ['max', 'real']
    """
    return list(dict.fromkeys([*code.co_names, *(name for inner in inner_code(code) for name in names_in(inner))]))


@cache
def read_globals(code: CodeType) -> tuple[str, ...]:
    """Give the global names that code and the functions inside it read, without attributes, in order.

    Example:
        >>> read_globals((lambda x: max(x, 1).real).__code__)
        ('max',)
    """
    own = [one.argval for one in dis.get_instructions(code) if one.opname in _GLOBAL]
    return tuple(dict.fromkeys([*own, *(name for inner in inner_code(code) for name in read_globals(inner))]))


@cache
def read_parts(code: CodeType) -> Mapping[str, frozenset[tuple[str, ...]]]:
    """Give the parts that code reads of objects from outside, by the objects' names in the code.

    Args:
        code: The code of a function; functions inside it are included.

    Returns:
        For each name, chains of keys (``['key']``) and attributes (``.attribute``). A chain is empty if the object
        itself is used, for example as an argument.

    Example:
        >>> found = read_parts((lambda x: x * config["rate"] + config.sub.shift + sum(x)).__code__)
        >>> sorted(found["config"]), list(found["sum"])
        ([('.sub', '.shift'), ("['rate']",)], [()])
    """
    found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    instructions = _meaningful(code)
    for i, one in enumerate(instructions):
        if one.opname in _OUTER:
            found[one.argval] |= _read_by(instructions[i + 1 : i + 1 + _LONGEST_CHAIN])
    for inner in inner_code(code):
        for name, chains in read_parts(inner).items():
            found[name] |= chains
    return {name: frozenset(chains) for name, chains in found.items()}


@cache
def read_of_self(code: CodeType) -> frozenset[tuple[str, ...]]:
    """Give the parts that a method reads of its own object, as `read_parts` does for other objects.

    Example:
        >>> def call(self, x):
        ...     self.calls = 1
        ...     return x * self.settings.rate
        >>> read_of_self(call.__code__)
        frozenset({('.settings', '.rate')})
    """
    if not code.co_argcount:
        return frozenset()
    name, found = code.co_varnames[0], set[tuple[str, ...]]()
    instructions = _meaningful(code)
    for i, one in enumerate(instructions):
        names = one.argval if isinstance(one.argval, tuple) else (one.argval,)  # some instructions have two variables
        if "LOAD_FAST" in one.opname and name in names:
            is_last = names[-1] == name
            found |= _read_by(instructions[i + 1 : i + 1 + _LONGEST_CHAIN]) if is_last else {()}
    inner = (read_parts(one).get(name, frozenset()) for one in inner_code(code))
    return frozenset(found.union(*inner, read_parts(code).get(name, frozenset())))


def _meaningful(code: CodeType) -> list[dis.Instruction]:
    return [one for one in dis.get_instructions(code) if one.opname not in _SKIPPED]


def _read_by(following: Sequence[dis.Instruction]) -> set[tuple[str, ...]]:
    """The parts read by the instructions after an object is loaded; none if they set an attribute of it."""
    is_set = bool(following) and following[0].opname in ("STORE_ATTR", "DELETE_ATTR")
    return set() if is_set else {_chain(following)}


def _chain(following: Sequence[dis.Instruction]) -> tuple[str, ...]:
    """The chain of parts that the instructions read of an object that has just been loaded."""
    chain: list[str] = []
    position = 0
    while position < len(following):
        use = following[position]
        after = following[position + 1] if position + 1 < len(following) else None
        subscript = after is not None and (after.opname == "BINARY_SUBSCR" or after.argrepr == "[]")
        if use.opname in _ATTRIBUTE:
            chain.append(as_attribute(use.argval))
            position += 1
        elif use.opname == "LOAD_CONST" and isinstance(use.argval, str) and subscript:
            chain.append(as_item(use.argval))
            position += 2
        else:
            break
    return tuple(chain)
