"""A digest of a value's content: the same in every process, different if numbers, texts or parts are different."""

from __future__ import annotations

import marshal
import re
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import PurePath
from types import FunctionType, MappingProxyType, MethodType
from typing import Any
from uuid import UUID

import numpy as np

from deap_hpo.records.users_code import as_attribute, is_ours_or_built_in, is_users

SIMPLE = (bool, int, float, complex, str, bytes, type(None))
# Types whose `repr` is their whole content.
_SHOWN = (PurePath, date, time, timedelta, tzinfo, Decimal, Fraction, UUID, range, slice, re.Pattern, np.dtype)
_FLAT = frozenset({float, int, bool, str, type(None)})
# Libraries whose objects have settings and data as public attributes. Objects of other libraries may have times,
# addresses, files or each other there, and so count by their type alone.
_LIBRARIES = frozenset({"numpy", "scipy", "sklearn", "pandas", "torch", "torchvision", "types", "argparse"})
_LOOKED_AT = 2**25  # bytes at each end of an array that is larger
_MOST_ITEMS = 100_000  # of a value; an array or plain list of numbers counts as one; beyond, only types are digested
_DEEPEST = 40  # nested containers


def described(made_of: Any) -> str:
    """Name a function, a class or an object; for a `partial`, with its arguments.

    Example:
        >>> described(partial(max, 0, key=len)), described(PurePath("a"))
        ('partial(max, 0, key=len)', 'PurePosixPath')
    """
    kind = type(made_of)
    if issubclass(kind, partial):
        arguments = [*map(_shown, made_of.args), *(f"{name}={_shown(one)}" for name, one in made_of.keywords.items())]
        return f"partial({', '.join([described(made_of.func), *arguments])})"
    try:
        return str(getattr(made_of, "__qualname__", kind.__qualname__))
    except Exception:  # reading an attribute may raise anything
        return kind.__qualname__


def _shown(argument: Any) -> str:
    return repr(argument) if type(argument) in SIMPLE else described(argument)


def content_digest(value: Any, tell: Callable[[Any], None] = lambda code: None) -> str:
    """Give a digest of a value: of numbers, texts, arrays, tables, and the contents of containers and objects.

    Functions and classes count by their names only, objects of libraries by their public attributes. An object that
    cannot be read counts by its type; nothing is raised.

    Args:
        value: The value; it is not changed.
        tell: Called with each function and class that is found, since their code is not part of the digest.

    Example:
        >>> content_digest([1, {"a": np.ones(2)}]) == content_digest([1, {"a": np.ones(2)}])
        True
        >>> content_digest([1, {"a": np.ones(2)}]) == content_digest([1, {"a": np.zeros(2)}])
        False
    """
    return _Looking(tell).at(value).hex()


class _Looking:
    """A single pass over a value and everything in it."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self._tell, self._left, self._within = tell, _MOST_ITEMS, set[int]()

    def at(self, thing: Any) -> bytes:
        """Give the digest of an object; it depends on no order that Python does not guarantee."""
        kind = type(thing)
        self._left -= 1
        digest = blake2b(kind.__qualname__.encode(errors="surrogatepass"), digest_size=8)
        if self._left < 0 or len(self._within) > _DEEPEST or id(thing) in self._within:
            return digest.digest()
        self._within.add(id(thing))
        try:
            for fact in self._facts(kind, thing):
                digest.update(
                    fact if isinstance(fact, (bytes, memoryview)) else repr(fact).encode(errors="surrogatepass")
                )
                digest.update(b";")
        except Exception:  # as in `described`; the facts found until then count
            pass
        finally:
            self._within.discard(id(thing))
        return digest.digest()

    def _facts(self, kind: type, thing: Any) -> Iterator[Any]:
        if kind in SIMPLE:
            yield hex(thing) if kind is int else thing  # `repr` refuses integers with thousands of digits
        elif issubclass(kind, (np.generic, np.ndarray)) or _is_tensor(thing):
            yield from self._of_array(thing)
        elif issubclass(kind, Enum):
            yield thing.name
        elif issubclass(kind, _SHOWN) or (kind.__module__ == "torch" and kind.__name__ in ("device", "dtype")):
            yield repr(thing)
        elif any(issubclass(kind, one) for one in SIMPLE):
            base: Any = next(one for one in SIMPLE if issubclass(kind, one))
            yield self.at(base.__new__(base, thing))  # a subclass may have another `repr`
        elif issubclass(kind, (bytearray, array)):
            yield bytes(thing)
        elif _is_table(thing):
            yield from self._of_table(thing)
        elif issubclass(kind, (partial, MethodType)):
            yield from map(self.at, parts_of(thing).values())
        elif issubclass(kind, (list, tuple, deque, set, frozenset, dict, MappingProxyType)):
            yield from self._of_container(kind, thing)
        elif issubclass(kind, (FunctionType, type)):
            yield described(thing)
            self._tell(thing)
        else:
            yield from self._of_object(kind, thing)

    def _of_object(self, kind: type, thing: Any) -> Iterator[Any]:
        if callable(thing):
            yield described(thing)
        if "__wrapped__" in getattr(thing, "__dict__", ()):
            yield self.at(thing.__wrapped__)  # for example with `lru_cache`
        self._tell(kind)
        for name, part in sorted(parts_of(thing).items()):
            yield name
            yield self.at(part)

    def _of_container(self, kind: type, thing: Any) -> Iterator[Any]:
        """The items, read by the methods of the built-in types because those of a subclass may do anything."""
        base: Any = next(one for one in (list, tuple, deque, set, frozenset, dict, object) if issubclass(kind, one))
        if issubclass(base, (set, frozenset)):
            yield base.__len__(thing)
            if set(map(type, base.__iter__(thing))) <= _FLAT:
                yield from sorted(map(repr, base.__iter__(thing)))
            elif base.__len__(thing) <= self._left:  # each process would digest other items if it took only some
                yield from sorted(map(self.at, base.__iter__(thing)))
        elif base in (dict, object):  # `object` for a MappingProxyType
            items = dict.items(thing) if base is dict else thing.items()
            yield len(items)
            yield from sorted(self.at(key) + self.at(one) for key, one in islice(items, max(self._left, 0)))
        else:
            yield base.__len__(thing)
            items = base.__iter__(thing)
            if set(map(type, base.__iter__(thing))) <= _FLAT:
                # A hundred times as fast as single items. Version 2, because later ones also write which items are
                # shared, and so may differ for equal lists.
                yield marshal.dumps(list(items), 2)
            else:
                yield from map(self.at, islice(items, max(self._left, 0)))

    def _of_array(self, array: Any) -> Iterator[Any]:
        """The type, the shape and the numbers; of a large array, only the first and the last ones."""
        yield str(array.dtype)
        yield [length if type(length) is int else None for length in array.shape]  # nested tensors have symbols, too
        if _is_tensor(array):  # as bytes, since numpy lacks some types of torch
            array = array.detach().cpu().contiguous().view(-1).view(sys.modules["torch"].uint8).numpy()
        yield self.at(array.mask) if issubclass(type(array), np.ma.MaskedArray) else None
        array = np.asarray(array)
        if array.dtype.hasobject:
            yield self.at(array.tolist())
            return
        numbers = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        yield from (numbers,) if len(numbers) <= 2 * _LOOKED_AT else (numbers[:_LOOKED_AT], numbers[-_LOOKED_AT:])

    def _of_table(self, table: Any) -> Iterator[Any]:
        pandas = sys.modules["pandas"]
        names = getattr(table, "columns", None)
        yield [str(one) for one in ([table.name] if names is None else names)]
        columns = [table] if names is None else [table.iloc[:, i] for i in range(len(names))]
        for one in [*columns, *([table.index] if hasattr(table, "index") else [])]:
            yield str(one.dtype)
            if isinstance(one.dtype, np.dtype) and one.dtype.hasobject:
                yield self.at(one.tolist())
            else:
                yield pandas.util.hash_pandas_object(one, index=False).to_numpy().tobytes()


def parts_of(thing: Any) -> dict[str, Any]:
    """Give the parts of an object by name: its attributes as ``.attribute``, or the arguments of a `partial`.

    Objects of some libraries have their public attributes as parts, those of other libraries none. Objects of this
    package have the settings and parts that affect results, and so not the device.

    Raises:
        Exception: Whatever the object raises when its attributes are read.

    Example:
        >>> parts_of(partial(max, 1, key=len))
        {'()': <built-in function max>, 'args[0]': 1, 'key': <built-in function len>}
    """
    kind = type(thing)
    if issubclass(kind, partial):
        return {"()": thing.func, **{f"args[{i}]": one for i, one in enumerate(thing.args)}, **thing.keywords}
    if issubclass(kind, MethodType):
        return {"()": thing.__func__, ".": thing.__self__}
    if is_ours_or_built_in(kind.__module__):
        return _parts_of_ours(thing)
    users = is_users(kind.__module__)
    if not users and not _is_looked_into(kind):
        return {}
    attributes = dict(getattr(thing, "__dict__", {}))
    attributes |= {name: getattr(thing, name) for name in _slots(kind) if hasattr(thing, name)}
    of_torch = ("_modules", "_parameters", "_buffers")
    return {
        as_attribute(name): value
        for name, value in attributes.items()
        if not name.startswith("_") or (users and not name.startswith("__")) or (name in of_torch and value)
    }


def _is_looked_into(kind: type) -> bool:
    """Whether objects of a type from a library are read by their public attributes."""
    module = kind.__module__
    return module.partition(".")[0] in _LIBRARIES and not module.startswith("torch.utils.tensorboard")


def _parts_of_ours(thing: Any) -> dict[str, Any]:
    """Give the settings and parts of an evaluator, or the fields by which a dataclass such as a task is compared."""
    if isinstance(settings := getattr(thing, "settings", None), Mapping) and hasattr(thing, "parts"):
        return {as_attribute("settings"): {**settings, "device": None}, as_attribute("parts"): dict(thing.parts)}
    if is_dataclass(thing):
        return {as_attribute(field.name): getattr(thing, field.name, None) for field in fields(thing) if field.compare}
    return {}


def _slots(kind: type) -> Iterator[str]:
    for one in kind.__mro__:
        slots: Iterable[str] = vars(one).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots


def _is_tensor(thing: Any) -> bool:
    """Whether an object is a torch tensor; it is none if torch has not been imported."""
    torch = sys.modules.get("torch")
    return torch is not None and issubclass(type(thing), torch.Tensor)


def _is_table(thing: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and issubclass(type(thing), (pandas.DataFrame, pandas.Series, pandas.Index))
