"""What evaluates, as facts by name: its code and the values that it goes by; a resumed study notices others."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Sequence
from enum import Enum
from functools import cached_property, partial
from hashlib import blake2b
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from deap_hpo.records.content import content_digest, described, parts_of
from deap_hpo.records.users_code import as_attribute, as_item, inner_code, is_users, names_in, read_globals, read_parts

_SCHEME = "c"  # changes with what is looked at: digests of another scheme are not compared
_MOST_FACTS = 600  # by names of their own: all are in one row of a database
_MOST_PARTS = 50  # of a container or an object whose parts are facts of their own
_DEEPEST = 2  # parts of parts that are facts of their own
_BY_NAME = (
    dict,
    OrderedDict,
    defaultdict,
    MappingProxyType,
)  # whose items are facts of their own


def fingerprint(made_of: Any) -> dict[str, str]:
    """Give what a function, a class or an object does and goes by, as digests by name.

    There is a fact for the code of each function and class of the user's that it leads to by name (bytecode, constants,
    the names that it refers to), and for each value that they go by: globals, closures, defaults, constants of classes,
    attributes of objects, items of dicts (of the last two only those that are read, where all are read by name). Of
    libraries only names count. Comments and files that it reads do not.

    Args:
        made_of: The thing, or a dict of things by name.

    Returns:
        Digests by name: ``train()`` is code, which differs between versions of Python, and ``weights in train`` or
        ``config['rate'] in train`` a value. Whatever cannot be looked at is left out; nothing is raised.

    Example:
        >>> def made(factor):
        ...     return lambda x: x * factor
        >>> made.__module__ = "script"  # rather than this package, whose code is not looked at
        >>> two, three = fingerprint(partial(made, 2)), fingerprint(partial(made, 3))
        >>> list(two), [name for name in two if two[name] != three[name]]
        (['made()', 'args[0] of made'], ['args[0] of made'])
    """
    return _Walk(made_of).facts


class _Name(NamedTuple):
    """What a fact is called: ``config['rate']`` of a function, say, as seen ``in train``."""

    path: str = ""
    where: str = ""

    def part(self, written: str) -> _Name:
        """The name of a part of it, an attribute or an item."""
        return self._replace(path=self.path + written)

    def __str__(self) -> str:
        return f"{self.path} {self.where}".rstrip()


def is_code(name: str) -> bool:
    """Whether a fact is the code of a function: another of the same name is no change, but another function."""
    return name.endswith("()")


def comparable(one: str, other: str) -> bool:
    """Whether two digests say of the same whether it has changed: they are of one scheme, and code of one Python."""
    return one.partition("-")[0] == other.partition("-")[0]


class _Walk:
    """From what evaluates to all that it uses, each thing once, by a queue: code refers to code many functions deep."""

    def __init__(self, made_of: Any) -> None:
        self.facts: dict[str, str] = {}
        self._seen: dict[int, Any] = {}  # the things too, so that no other gets the id of one
        start = made_of if type(made_of) is dict else {"": made_of}
        self._waiting = deque((_Name(name), thing, 0) for name, thing in start.items())
        while self._waiting:
            self._look(*self._waiting.popleft())

    def _look(self, name: _Name, thing: Any, depth: int) -> None:
        try:
            for part in self._facts_and_parts(name, thing, depth):
                self._waiting.append(part)
        except Exception:  # objects may raise anything when they are looked into, and a run must begin
            pass

    def _facts_and_parts(self, name: _Name, thing: Any, depth: int) -> Iterator[tuple[_Name, Any, int]]:
        """Note what there is to say of a thing by itself, and give the things that it leads to."""
        kind = type(thing)
        wraps = "__wrapped__" in getattr(thing, "__dict__", ())
        if not wraps and not issubclass(kind, (FunctionType, MethodType, partial, type)):
            yield from self._of_value(name if name.path else _Name(described(thing)), thing, depth)
            return
        if name.path:
            self._note(str(name), described(thing))
        if id(thing) in self._seen:
            return
        self._seen[id(thing)] = thing
        if issubclass(kind, FunctionType):
            yield from self._of_function(thing)
        elif issubclass(kind, type):
            yield from self._of_class(thing)
        elif issubclass(kind, MethodType):
            yield _Name(), thing.__func__, depth
            yield name, thing.__self__, depth
        elif issubclass(kind, partial):
            yield _Name(), thing.func, depth
            of = f"of {_short(described(thing.func))}"
            yield from ((_Name(part, of), one, depth) for part, one in parts_of(thing).items() if part != "()")
        else:  # as by `lru_cache`
            yield _Name(), thing.__wrapped__, depth

    def _of_value(self, name: _Name, value: Any, depth: int) -> Iterator[tuple[_Name, Any, int]]:
        """A value whose parts have names is as many facts, so that one of them may change while the others do not."""
        kind = type(value)
        if is_users(kind.__module__):
            yield _Name(), kind, 0
        parts = _named_parts(value)
        if not parts or len(parts) > _MOST_PARTS or depth >= _DEEPEST:
            found: list[Any] = []
            self._note(str(name), content_digest(value, found.append))
            yield from ((_Name(), one, 0) for one in found)
            return
        self._note(str(name), kind.__qualname__, sorted(parts))
        for part, one in sorted(parts.items()):
            yield name.part(part), one, depth + 1

    def _of_function(self, function: FunctionType) -> Iterator[tuple[_Name, Any, int]]:
        if not is_users(function.__module__):
            return
        code, of = function.__code__, _short(described(function))
        self._note(f"{of}()", *_facts_of_code(code, function.__doc__), code=True)
        for name, value in _used_by(function):
            known = issubclass(type(value), (FunctionType, type)) and _short(described(value)) == name
            yield _Name() if known else _Name(name, f"in {of}"), value, 0
        defaults = function.__defaults__ or ()
        with_default = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
        for name, value in (*zip(with_default, defaults, strict=True), *(function.__kwdefaults__ or {}).items()):
            yield _Name(name, f"in {of}"), value, 0

    def _of_class(self, kind: type) -> Iterator[tuple[_Name, Any, int]]:
        if not is_users(kind.__module__):
            return
        of = _short(described(kind))
        self._note(of, *map(described, kind.__bases__))
        for base in kind.__bases__:
            yield _Name(), base, 0
        members = {name: one.value for name, one in kind.__members__.items()} if issubclass(kind, Enum) else {}
        for name, value in sorted({**vars(kind), **members}.items()):
            value = _underlying(value)
            if issubclass(type(value), FunctionType):
                yield _Name(), value, 0
            elif not name.startswith("_") and not hasattr(type(value), "__get__"):
                yield _Name(of + as_attribute(name)), value, 0

    def _note(self, name: str, *facts: Any, code: bool = False) -> None:
        """Note facts under a name; where two things share it, those of both."""
        if name not in self.facts and len(self.facts) >= _MOST_FACTS:
            name = "further functions()" if code else "further values"
        digest = blake2b(self.facts.get(name, "").encode(), digest_size=6)
        digest.update(repr(facts).encode(errors="surrogatepass"))
        python = f"{sys.version_info.major}.{sys.version_info.minor}" if code else ""
        self.facts[name] = f"{python}{_SCHEME}-{digest.hexdigest()}"


def _used_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The values that a function goes by, by the names of what it reads of them."""
    code, names = function.__code__, names_in(function.__code__)
    closed = zip(code.co_freevars, function.__closure__ or (), strict=True)
    used = {name: cell.cell_contents for name, cell in closed if _has_value(cell)}
    used |= {name: function.__globals__[name] for name in read_globals(code) if name in function.__globals__}
    for name, value in used.items():
        try:
            yield from _read_of(name, value, read_parts(code, name), names)
        except Exception:  # as above; the other names are still looked at
            yield name, value


def _read_of(name: str, value: Any, read: frozenset[str] | None, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """What is read of a value, where that is known, or else all of it."""
    kind = type(value)
    if issubclass(kind, ModuleType):
        if is_users(value.__name__):
            parts = {as_attribute(one): vars(value)[one] for one in names if one in vars(value)}
            yield from ((name + part, one) for part, one in parts.items() if read is None or part in read)
        return
    parts = {}
    if issubclass(kind, type):
        parts = {as_attribute(one): member for one, member in vars(value).items() if not hasattr(member, "__get__")}
    elif read:
        parts = _named_parts(value)
    if read and read <= parts.keys():
        yield from ((name + part, parts[part]) for part in sorted(read))
    else:
        yield name, value


def _named_parts(value: Any) -> dict[str, Any]:
    """The items and attributes of a value that are facts of their own, as they are written after it."""
    kind = type(value)
    if issubclass(kind, _BY_NAME) and all(type(key) is str for key in value):
        return {as_item(key): one for key, one in value.items()}
    if is_users(kind.__module__) or kind in (SimpleNamespace, Namespace):
        return parts_of(value) if not issubclass(kind, Enum) else {}
    return {}


def _underlying(member: Any) -> Any:
    """The function of a static or class method or of a property; else the member of a class itself."""
    if isinstance(member, (staticmethod, classmethod)):
        return member.__func__
    if isinstance(member, property):
        return member.fget
    return member.func if isinstance(member, cached_property) else member


def _short(name: str) -> str:
    """The name of a function without those that it was made in."""
    return name.rpartition("<locals>.")[2]


def _facts_of_code(code: CodeType, doc: str | None = None) -> Iterator[Any]:
    yield code.co_code
    yield names_in(code)
    for constant in code.co_consts:
        if not isinstance(constant, CodeType) and constant != doc:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)
    for inner in inner_code(code):
        yield from _facts_of_code(inner)


def _has_value(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # of a variable that has no value yet
        return False
    return True
