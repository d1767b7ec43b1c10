"""The evaluator as facts by name, for its code and the values it uses, so that a resumed study notices changes."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from enum import Enum
from functools import partial
from hashlib import blake2b
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

from deap_hpo.records.content import content_digest, described, parts_of
from deap_hpo.records.used_values import is_built_in_descriptor, named_parts, underlying, used_by, used_by_methods
from deap_hpo.records.users_code import (
    as_attribute,
    inner_code,
    is_users,
    names_in,
)

_SCHEME = "c"  # changed when other content is digested: digests of different schemes are not compared
_MOST_FACTS = 600  # further facts share a name, because all are in one row of the database
_LONGEST_NAME = 100  # characters
_MOST_PARTS = 50  # a container or object with more parts is a single fact
_ROOT = -1  # the depth of the evaluator itself
_DEEPEST = 2  # below this depth, parts are not facts of their own


def fingerprint(made_of: Any) -> dict[str, str]:
    """Give digests by name of the code of a function, a class or an object, and of the values that the code uses.

    There is a fact for the code of each of the user's functions and classes that it refers to by name (bytecode,
    constants, names), directly or indirectly. There is a fact for each value that they use: globals, closures,
    defaults, constants of classes, attributes of objects, items of dicts. (If all attributes or items are read by name,
    only those that are read count.) Libraries count by name only. Comments, and files that are read, do not count.

    Args:
        made_of: The object, or a dict of objects by name.

    Returns:
        Digests by name. ``train()`` is code, which differs between versions of Python; ``weights in train`` or
        ``config['rate'] in train`` is a value. Whatever cannot be read is left out; nothing is raised.

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
    """The name of a fact, such as ``config['rate']`` with where it is used, ``in train``."""

    path: str = ""
    where: str = ""

    def part(self, written: str) -> _Name:
        """The name of a part of the value: an attribute or an item."""
        return self._replace(path=self.path + written)

    def __str__(self) -> str:
        return f"{self.path} {self.where}".rstrip()


class _Found(NamedTuple):
    """An object that is to be looked at: what it is called, if it is a value, and how deep within another one it is."""

    thing: Any
    name: _Name = _Name()
    depth: int = 0


def is_code(name: str) -> bool:
    """Whether a fact is the code of a function.

    If its digest differs during a run, another function was found under the same name; no value has changed.

    Example:
        >>> is_code("train()"), is_code("weights in train")
        (True, False)
    """
    return name.endswith("()")


def comparable(one: str, other: str) -> bool:
    """Whether different digests mean a change: both have the same scheme and, for code, the same version of Python.

    Example:
        >>> comparable("3.11c-12ab", "3.11c-34cd"), comparable("3.11c-12ab", "3.12c-12ab")
        (True, False)
    """
    return one.partition("-")[0] == other.partition("-")[0]


class _Walk:
    """Visits the evaluator and everything it uses, each object once. Code is nested deeply, hence a queue."""

    def __init__(self, made_of: Any) -> None:
        self._found: dict[str, list[str]] = {}
        self._seen: dict[int, Any] = {}  # keeps the objects alive, so that their ids are not used again
        start = made_of if type(made_of) is dict else {"": made_of}
        # The part "function" gets its own name. At this depth, only what an object's methods read counts.
        self._waiting = deque(
            _Found(thing, _Name("" if name == "function" else name), _ROOT) for name, thing in start.items()
        )
        while self._waiting:
            self._look(self._waiting.popleft())

    @property
    def facts(self) -> dict[str, str]:
        """The digests by name; if several objects share a name, a digest of all, whatever the order they are found."""
        return {
            name: digests[0] if len(digests) == 1 else f"{digests[0].partition('-')[0]}-{_digest(*sorted(digests))}"
            for name, digests in self._found.items()
        }

    def _look(self, found: _Found) -> None:
        try:
            for part in self._facts_and_parts(found):
                self._waiting.append(part)
        except Exception:  # reading an object may raise anything, which must not keep a run from starting
            pass

    def _facts_and_parts(self, found: _Found) -> Iterator[_Found]:
        """Note the facts about an object itself, and give the objects to which it leads."""
        thing, name, depth = found
        kind = type(thing)
        wraps = "__wrapped__" in getattr(thing, "__dict__", ())
        if not wraps and not issubclass(kind, (FunctionType, MethodType, partial, type)):
            yield from self._of_value(found)
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
            yield _Found(thing.__func__)
            yield _Found(thing.__self__, name, depth)
        elif issubclass(kind, partial):
            yield _Found(thing.func, depth=depth)
            of = f"of {_short(described(thing.func))}"
            arguments = {part: one for part, one in parts_of(thing).items() if part != "()"}
            yield from (_Found(one, _Name(part, of), max(depth, 0)) for part, one in arguments.items())
        else:  # for example with `lru_cache`, or a decorator of the user's
            yield _Found(thing.__wrapped__, depth=depth)
            if is_users(kind.__module__):
                yield from self._of_value(found)

    def _of_value(self, found: _Found) -> Iterator[_Found]:
        """A value with named parts is a fact for each part, so that a part can change while the others do not."""
        value, name, depth = found
        name = name if name.path else _Name(_short(described(value)))
        kind = type(value)
        if is_users(kind.__module__):
            yield _Found(kind)
        parts = named_parts(value)
        read = used_by_methods(name.path, value) if depth == _ROOT else {}
        if read:
            yield from (_Found(one, _Name(part)) for part, one in read.items())
            return
        if not parts or len(parts) > _MOST_PARTS or depth >= _DEEPEST:
            code: list[Any] = []
            self._note(str(name), content_digest(value, code.append))
            yield from map(_Found, code)
            return
        self._note(str(name), kind.__qualname__, sorted(parts))
        for part, one in sorted(parts.items()):
            yield _Found(one, name.part(part), depth + 1)

    def _of_function(self, function: FunctionType) -> Iterator[_Found]:
        if not is_users(function.__module__):
            return
        code, of = function.__code__, _short(described(function))
        self._note(f"{of}()", *_facts_of_code(code, function.__doc__))
        for name, value in used_by(function):
            known = issubclass(type(value), (FunctionType, type)) and _short(described(value)) == name
            yield _Found(value, _Name() if known else _Name(name, f"in {of}"))
        defaults = function.__defaults__ or ()
        with_default = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
        for name, value in (*zip(with_default, defaults, strict=True), *(function.__kwdefaults__ or {}).items()):
            yield _Found(value, _Name(name, f"in {of}"))

    def _of_class(self, kind: type) -> Iterator[_Found]:
        if not is_users(kind.__module__):
            return
        of = _short(described(kind))
        self._note(of, *map(described, kind.__bases__))
        for base in kind.__bases__:
            yield _Found(base)
        yield _Found(type(kind))
        members = {name: one.value for name, one in kind.__members__.items()} if issubclass(kind, Enum) else {}
        for name, member in sorted({**vars(kind), **members}.items()):
            for value in underlying(member):
                if issubclass(type(value), FunctionType) or "__wrapped__" in getattr(value, "__dict__", ()):
                    yield _Found(value)
                elif not name.startswith("__") and not is_built_in_descriptor(value):
                    yield _Found(value, _Name(of + as_attribute(name)))

    def _note(self, name: str, *facts: Any) -> None:
        if len(name) > _LONGEST_NAME:
            name = f"{name[:_LONGEST_NAME]}... ({_digest(name)})"
        if name not in self._found and len(self._found) >= _MOST_FACTS:
            name = "further functions()" if is_code(name) else "further values"
        python = f"{sys.version_info.major}.{sys.version_info.minor}" if is_code(name) else ""
        self._found.setdefault(name, []).append(f"{python}{_SCHEME}-{_digest(*facts)}")


def _digest(*facts: Any) -> str:
    return blake2b(repr(facts).encode(errors="surrogatepass"), digest_size=6).hexdigest()


def _short(name: str) -> str:
    """The name of a function without the functions around it."""
    return name.rpartition("<locals>.")[2]


def _facts_of_code(code: CodeType, doc: str | None = None) -> Iterator[Any]:
    yield code.co_code
    yield names_in(code)
    yield code.co_freevars, code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for constant in code.co_consts:
        if not isinstance(constant, CodeType) and constant != doc:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)
    for inner in inner_code(code):
        yield from _facts_of_code(inner)
