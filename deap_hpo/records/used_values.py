"""The values that functions and objects use, named by the parts that they read."""

from __future__ import annotations

from argparse import Namespace
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import cached_property, partialmethod, singledispatchmethod
from types import FunctionType, MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

from deap_hpo.records.content import parts_of
from deap_hpo.records.users_code import (
    as_attribute,
    as_item,
    closed_over,
    is_ours_or_built_in,
    is_users,
    read_globals,
    read_of_self,
    read_parts,
)

_BY_NAME = (dict, OrderedDict, defaultdict, MappingProxyType)  # containers whose items have names


def used_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Give the values that a function uses, named by the parts that it reads.

    Example:
        >>> config = {"rate": 0.1, "verbose": True}
        >>> list(used_by(lambda x: x * config["rate"]))
        [("config['rate']", 0.1)]
    """
    code = function.__code__
    used = dict(closed_over(function))
    used |= {name: function.__globals__[name] for name in read_globals(code) if name in function.__globals__}
    read = read_parts(code)
    for name, value in used.items():
        found: dict[str, Any] = {}
        try:
            for chain in sorted(read.get(name, {()})):
                found |= _at_the_end(name, value, chain)
        except Exception:  # reading an object may raise anything; the other names are still read
            found = {name: value}
        yield from found.items()


def used_by_methods(name: str, value: Any) -> dict[str, Any]:
    """Give the parts of an object that its methods read, by names that start with its own; {} if it cannot be told.

    Args:
        name: The name of the object.
        value: An object of a user's class.

    Example:
        >>> class Scaled:
        ...     def __init__(self, factor, verbose):
        ...         self.factor, self.verbose = factor, verbose
        ...     def __call__(self, x):
        ...         return x * self.factor
        >>> Scaled.__module__ = "script"  # rather than this package
        >>> used_by_methods("Scaled", Scaled(2.0, verbose=True))
        {'Scaled.factor': 2.0}
    """
    kind = type(value)
    if not is_users(kind.__module__):
        return {}
    read = set[tuple[str, ...]]()
    for member in [one for base in kind.__mro__ if is_users(base.__module__) for one in vars(base).values()]:
        for function in underlying(member):
            if isinstance(function, FunctionType) and function.__name__ not in ("__init__", "__post_init__"):
                read |= read_of_self(function.__code__)
    parts = named_parts(value)
    of_parts = {chain for chain in read if chain and chain[0] in parts}
    of_the_class = {chain for chain in read - of_parts if chain and hasattr(kind, chain[0][1:])}
    if of_parts | of_the_class != read:
        return {}
    return {part: one for chain in sorted(of_parts) for part, one in _at_the_end(name, value, chain).items()}


def _at_the_end(name: str, value: Any, chain: Sequence[str]) -> dict[str, Any]:
    """The value at the end of a chain of keys and attributes, as far as it can be followed; none if it is a module."""
    for part in chain:
        parts = _readable_parts(value)
        if part not in parts:
            break
        name, value = name + part, parts[part]
    return {} if issubclass(type(value), ModuleType) else {name: value}


def _readable_parts(value: Any) -> Mapping[str, Any]:
    """The parts of a value that can be read by its own keys and attributes; of a class, those that are no functions."""
    kind = type(value)
    if issubclass(kind, ModuleType):
        return {as_attribute(name): one for name, one in vars(value).items()} if is_users(value.__name__) else {}
    if issubclass(kind, type):
        return {as_attribute(name): one for name, one in vars(value).items() if not hasattr(type(one), "__get__")}
    return named_parts(value)


def named_parts(value: Any) -> dict[str, Any]:
    """Give the named parts of a value, by their notation after its name.

    These are the items of plain dicts whose keys are all texts, and the attributes of objects of the user's classes.

    Example:
        >>> named_parts({"a": 1, "b": 2}), named_parts([1, 2])
        ({"['a']": 1, "['b']": 2}, {})
    """
    kind = type(value)
    if issubclass(kind, _BY_NAME) and all(type(key) is str for key in value):
        return {as_item(key): one for key, one in value.items()}
    if is_users(kind.__module__) or kind in (SimpleNamespace, Namespace):
        return parts_of(value) if not issubclass(kind, Enum) else {}
    return {}


def underlying(member: Any) -> tuple[Any, ...]:
    """Give the functions inside a static or class method, a property, ...; for other members of a class, the member.

    Example:
        >>> underlying(3), underlying(partialmethod(max, 1))
        ((3,), (<built-in function max>, (1,), {}))
    """
    if isinstance(member, (staticmethod, classmethod)):
        return (member.__func__,)
    if isinstance(member, property):
        return (member.fget, member.fset)
    if isinstance(member, partialmethod):
        return member.func, member.args, member.keywords
    return (member.func,) if isinstance(member, (cached_property, singledispatchmethod)) else (member,)


def is_built_in_descriptor(value: Any) -> bool:
    """Whether a value is one of Python's own descriptors, such as those for slots.

    Example:
        >>> is_built_in_descriptor(vars(type)["__dict__"]), is_built_in_descriptor(0.5)
        (True, False)
    """
    return is_ours_or_built_in(type(value).__module__) and hasattr(type(value), "__get__")
