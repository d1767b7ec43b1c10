"""What evaluates, by name and as a digest of its code, so that a resumed study notices when it has changed."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from deap_hpo.records.written_to import ANYTHING, read_globals, read_keys, stored, written_to

_SIMPLE = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, tuple, set, frozenset, Mapping)
_LIBRARIES = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platlib", "purelib")})
# Where libraries are that this Python did not install: of the user, of Debian, of the Python that a venv was made of.
_OF_LIBRARIES = frozenset({"site-packages", "dist-packages"})
_LOOKED_AT = 2**25  # bytes at each end of an array that is larger
_MOST_ITEMS = 10_000  # of a container
_SCHEME = "b"  # changes with what is looked at: digests of another scheme are not compared


def described(made_of: Any) -> Any:
    """Name a function, a class or an object; of a `partial`, its arguments too, where they are simple.

    Args:
        made_of: The thing, or a mapping of things by name.

    Returns:
        A name, or names by name.

    Example:
        >>> described({"loss": partial(max, 0, key=len), "model": Path("a")})
        {'loss': 'partial(max, 0, key=len)', 'model': 'PosixPath'}
    """
    if isinstance(made_of, Mapping):
        return {name: described(one) for name, one in made_of.items()}
    if isinstance(made_of, partial):
        arguments = [*map(_shown, made_of.args), *(f"{name}={_shown(one)}" for name, one in made_of.keywords.items())]
        return f"partial({', '.join([described(made_of.func), *arguments])})"
    return str(getattr(made_of, "__qualname__", type(made_of).__qualname__))


def _shown(argument: Any) -> str:
    if isinstance(argument, Mapping):
        return type(argument).__name__
    return repr(argument) if isinstance(argument, _SIMPLE) else described(argument)


def code_digest(made_of: Any) -> str:
    """Give a digest of what a function, a class or an object does, as far as it is the user's own code.

    It depends on the bytecode of functions and methods and of the functions and classes that they refer to by name, on
    their defaults, and on the values that they use: numbers and texts, arrays, tensors and tables, containers and
    objects of them, trainers and tasks; unless they write into any of these. It does not depend on comments, nor on
    what they count or store while they run, nor on files that they read. Of libraries only names count. Another version
    of Python gives another digest.

    Example:
        >>> __name__ = "script"  # rather than this package, whose code is not looked at
        >>> code_digest(lambda x: x + 1) == code_digest(lambda x: x + 1)
        True
        >>> code_digest(lambda x: x + 1) == code_digest(lambda x: x + 2)
        False
    """
    digest = blake2b(digest_size=8)
    seen: dict[int, tuple[int, Any]] = {}
    waiting = [made_of]  # rather than by recursion: code refers to code many functions deep
    while waiting:
        thing = waiting.pop()
        facts: list[Any] = [type(thing).__name__, thing]
        parts: list[Any] = []
        if id(thing) in seen:
            facts = [seen[id(thing)][0]]
        elif not isinstance(thing, _SIMPLE):
            seen[id(thing)] = len(seen), thing  # the thing too, so that no other gets its id
            facts, parts = _facts_and_parts(thing)
        digest.update(repr((facts, len(parts))).encode(errors="surrogatepass"))
        waiting += reversed(parts)
    return f"{sys.version_info.major}.{sys.version_info.minor}{_SCHEME}-{digest.hexdigest()}"


def _facts_and_parts(thing: Any) -> tuple[list[Any], list[Any]]:
    """What there is to say of something by itself, and the things that it is made of."""
    if isinstance(thing, partial):
        return ["partial"], [thing.func, thing.args, thing.keywords]
    if _is_array(thing):
        return [type(thing).__name__, str(thing.dtype), *_content(thing)], []
    if _is_table(thing):
        return [type(thing).__name__, *_content_of_table(thing)], []
    if isinstance(thing, MethodType):
        return ["method"], [thing.__func__, thing.__self__]
    if isinstance(thing, (list, tuple)):
        return [type(thing).__name__, len(thing)], list(thing[:_MOST_ITEMS])
    if isinstance(thing, (set, frozenset)):
        return [type(thing).__name__, *sorted(map(_shown, thing))[:_MOST_ITEMS]], []
    if isinstance(thing, Mapping):
        names = {_shown(name): value for name, value in islice(thing.items(), _MOST_ITEMS)}
        return [type(thing).__name__, len(thing), *sorted(names)], [names[name] for name in sorted(names)]
    if isinstance(thing, FunctionType):
        return _of_function(thing) if _is_users(thing.__module__) else ([described(thing)], [])
    if isinstance(thing, type):
        named = dict(_members(thing)) if _is_users(thing.__module__) else {}
        bases = thing.__bases__ if _is_users(thing.__module__) else ()
        return [described(thing), *named], [*bases, *named.values()]
    if _is_ours(type(thing).__module__):
        return _of_ours(thing)
    own = [kind for kind in type(thing).__mro__ if kind is type(thing) or _is_users(kind.__module__)]
    methods = [one for kind in own for _, one in _members(kind)]
    changing = {name for one in methods for name in stored(one, "STORE_ATTR")}
    users = _is_users(type(thing).__module__)
    used, writes = _is_data if users else _holds_arrays, users and any(ANYTHING in written_to(one) for one in methods)
    attributes = getattr(thing, "__dict__", {})
    kept = {
        name: value
        for name, value in sorted(attributes.items())
        if name not in changing and (isinstance(value, _SIMPLE) or callable(value) or (used(value) and not writes))
    }
    kept |= {name: attributes[name] for name in ("_modules",) if attributes.get(name)}  # of torch
    return [described(thing), *kept], [type(thing), *kept.values()]


def _of_ours(thing: Any) -> tuple[list[Any], list[Any]]:
    """An object of this package: of what evaluates, its settings and parts; of a dataclass, such as a task, its fields.

    The device is where it happens to be computed.
    """
    if isinstance(settings := getattr(thing, "settings", None), Mapping) and hasattr(thing, "parts"):
        return [described(thing)], [{**settings, "device": None}, thing.parts]
    if is_dataclass(thing):
        return [described(thing)], [getattr(thing, field.name, None) for field in fields(thing)]
    return [described(thing)], []


def _of_function(function: FunctionType) -> tuple[list[Any], list[Any]]:
    code = function.__code__
    names, closed = _names(code), zip(code.co_freevars, function.__closure__ or (), strict=True)
    counted = stored(function, "STORE_DEREF") | stored(function, "STORE_GLOBAL")
    used = {name: cell.cell_contents for name, cell in closed if _has_value(cell)}
    used |= {name: function.__globals__[name] for name in read_globals(code) if name in function.__globals__}
    for module in [value for value in used.values() if isinstance(value, ModuleType) and _is_users(value.__name__)]:
        used |= {f"{module.__name__}.{name}": vars(module)[name] for name in names if name in vars(module)}
    kinds, written = (*_SIMPLE, FunctionType, type, partial, MethodType), written_to(function)
    sets_attributes = bool(stored(function, "STORE_ATTR"))  # of whichever object

    def is_read_only(name: str, value: Any) -> bool:
        return written.isdisjoint((name, ANYTHING)) and not (sets_attributes and hasattr(value, "__dict__"))

    used = {
        name: value
        for name, value in used.items()
        if name not in counted and (isinstance(value, kinds) or (_is_data(value) and is_read_only(name, value)))
    }
    used = {name: _part_read(function, name, value) for name, value in used.items()}
    facts = [described(function), *_facts_of_code(code, function.__doc__), *used]
    return facts, [function.__defaults__ or (), function.__kwdefaults__ or {}, *used.values()]


def _part_read(function: FunctionType, name: str, value: Any) -> Any:
    """Of a mapping what a function reads by its keys: others, as of the arguments of a script, may change."""
    keys = read_keys(function, name) if type(value) is dict else None
    return value if keys is None else {key: value[key] for key in sorted(keys) if key in value}


def _is_array(thing: Any) -> bool:
    torch = sys.modules.get("torch")
    return isinstance(thing, np.ndarray) or (torch is not None and isinstance(thing, torch.Tensor))


def _holds_arrays(thing: Any) -> bool:
    """Tell arrays, and what holds nothing but arrays by name, as a `state_dict`: other containers may be caches."""
    if isinstance(thing, Mapping):
        return bool(thing) and all(map(_is_array, thing.values()))
    return _is_array(thing)


def _is_table(thing: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(thing, (pandas.DataFrame, pandas.Series))


def _is_data(thing: Any) -> bool:
    """Tell values that code may go by, other than simple ones: arrays, containers, objects of the user's or ours."""
    module = type(thing).__module__
    known = isinstance(thing, _CONTAINERS) or _is_array(thing) or _is_table(thing)
    return known or _is_users(module) or module.startswith("deap_hpo.")


def _content(array: Any) -> list[Any]:
    """Give an array's shape and a digest of its numbers, of very many of the first and the last; or nothing."""
    try:
        shape = tuple(array.shape)
        if not isinstance(array, np.ndarray):  # a tensor, which numpy may have no type for
            array = array.detach().cpu().contiguous().view(-1).view(sys.modules["torch"].uint8).numpy()
        if array.dtype.hasobject:
            return []
        numbers = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        # It has no numbers at hand, as sparse, nested or uninitialised tensors: its type is all that is told.
        return []
    digest = blake2b(numbers if len(numbers) <= 2 * _LOOKED_AT else numbers[:_LOOKED_AT], digest_size=8)
    if len(numbers) > 2 * _LOOKED_AT:
        digest.update(numbers[-_LOOKED_AT:])
    return [shape, digest.hexdigest()]


def _content_of_table(table: Any) -> list[Any]:
    """Give the columns of a table of pandas and a digest of its values; or nothing, where they are of no plain type."""
    try:
        values = sys.modules["pandas"].util.hash_pandas_object(table).to_numpy()
    except (TypeError, ValueError):
        return []
    return [list(map(str, getattr(table, "columns", []))), *_content(values)]


def _facts_of_code(code: CodeType, doc: str | None = None) -> Iterator[Any]:
    yield code.co_code
    yield _names(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _facts_of_code(constant)
        elif constant != doc:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)


def _names(code: CodeType) -> list[str]:
    """The names that code refers to, that of functions inside included, in order."""
    inner = [name for constant in code.co_consts if isinstance(constant, CodeType) for name in _names(constant)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _members(kind: type) -> list[tuple[str, Any]]:
    """The functions and simple constants of a class, by name."""
    found = []
    for name, value in sorted(vars(kind).items()):
        value = getattr(value, "__func__", getattr(value, "fget", value))  # of static and class methods, properties
        constant = isinstance(value, _SIMPLE) and not name.startswith("__")
        if isinstance(value, FunctionType) or constant:
            found.append((name, value))
    return found


def _has_value(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # of a variable that has no value yet
        return False
    return True


def _is_ours(module_name: str) -> bool:
    return module_name.partition(".")[0] in ("deap_hpo", "builtins")


def _is_users(module_name: str | None) -> bool:
    """Whether a module is neither of a library nor of this package."""
    name = module_name or ""
    if _is_ours(name):
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return name == "__main__" or name not in sys.modules
    return not _is_of_a_library(file)


@cache
def _is_of_a_library(file: str) -> bool:
    path = Path(file).resolve()
    return not _OF_LIBRARIES.isdisjoint(path.parts) or any(path.is_relative_to(library) for library in _LIBRARIES)
