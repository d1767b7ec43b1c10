"""What evaluates, by name and as a digest of its code, so that a resumed study notices when it has changed."""

from __future__ import annotations

import dis
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_SIMPLE = (bool, int, float, complex, str, bytes, type(None))
_LIBRARIES = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platlib", "purelib")})


def described(made_of: Any) -> Any:
    """Name a function, a class or an object; of a `partial`, its arguments too, where they are simple.

    Args:
        made_of: It, or several of them by name.

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
    return repr(argument) if isinstance(argument, _SIMPLE) else described(argument)


def code_digest(made_of: Any) -> str:
    """Give a digest of what a function, a class or an object does, as far as it is the user's own code.

    It depends on the bytecode of functions and methods and of the functions and classes that they refer to by name, on
    their defaults and simple constants; not on comments, nor on what they count or store while they run. Of libraries
    only names count. Another version of Python gives another digest.

    Example:
        >>> __name__ = "script"  # rather than this package, whose code is not looked at
        >>> code_digest(lambda x: x + 1) == code_digest(lambda x: x + 1)
        True
        >>> code_digest(lambda x: x + 1) == code_digest(lambda x: x + 2)
        False
    """
    digest = blake2b(digest_size=8)
    for part in _parts(made_of, {}):
        digest.update(repr(part).encode(errors="surrogatepass"))
    return f"{sys.version_info.major}.{sys.version_info.minor}-{digest.hexdigest()}"


def _parts(thing: Any, seen: dict[int, Any]) -> Iterator[Any]:
    """Walk through what something is made of, each object once."""
    if isinstance(thing, _SIMPLE):
        yield type(thing).__name__, thing
        return
    if id(thing) in seen:
        return
    seen[id(thing)] = thing  # kept, so that no other gets its id
    if isinstance(thing, partial):
        yield from _parts([thing.func, thing.args, thing.keywords], seen)
    elif isinstance(thing, MethodType):
        yield from _parts([thing.__func__, thing.__self__], seen)
    elif isinstance(thing, (list, tuple)):
        for one in thing:
            yield from _parts(one, seen)
    elif isinstance(thing, Mapping):
        for name in sorted(thing, key=repr):
            yield repr(name)
            yield from _parts(thing[name], seen)
    elif isinstance(thing, FunctionType):
        yield described(thing)
        if _is_users(thing.__module__):
            yield from _parts_of_function(thing, seen)
    elif isinstance(thing, type):
        yield described(thing)
        if _is_users(thing.__module__):
            yield from _parts([*thing.__bases__, *(one for _, one in _members(thing))], seen)
    else:
        yield described(thing)
        yield from _parts(type(thing), seen)
        changing = {name for _, one in _members(type(thing)) for name in _stored(one, "STORE_ATTR")}
        attributes = getattr(thing, "__dict__", {})
        for name, value in sorted(attributes.items()) if not _is_ours(type(thing).__module__) else ():
            if name not in changing and (isinstance(value, _SIMPLE) or callable(value)):
                yield name
                yield from _parts(value, seen)


def _parts_of_function(function: FunctionType, seen: dict[int, Any]) -> Iterator[Any]:
    code = function.__code__
    yield from _parts_of_code(code, function.__doc__)
    yield from _parts([function.__defaults__ or (), function.__kwdefaults__ or {}], seen)
    counted = _stored(function, "STORE_DEREF")
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if name not in counted and _has_value(cell):
            yield from _parts_of_reference(name, cell.cell_contents, seen)
    counted = _stored(function, "STORE_GLOBAL")
    for name in _names(code):
        if name in function.__globals__ and name not in counted:
            value = function.__globals__[name]
            yield from _parts_of_reference(name, value, seen)
            if isinstance(value, ModuleType) and _is_users(value.__name__):
                for inner in _names(code):
                    yield from _parts_of_reference(inner, getattr(value, inner, None), seen)


def _parts_of_reference(name: str, value: Any, seen: dict[int, Any]) -> Iterator[Any]:
    if isinstance(value, (*_SIMPLE, FunctionType, type, partial, MethodType)):
        yield name
        yield from _parts(value, seen)


def _parts_of_code(code: CodeType, doc: str | None = None) -> Iterator[Any]:
    yield code.co_code
    yield _names(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts_of_code(constant)
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


def _stored(function: Any, instruction: str) -> set[str]:
    """Names to which a function other than a constructor gives new values: what it counts, or keeps for later."""
    if not isinstance(function, FunctionType) or function.__name__ in ("__init__", "__post_init__"):
        return set()
    return {str(one.argval) for one in dis.get_instructions(function) if one.opname == instruction}


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
    path = Path(file).resolve()
    return not any(path.is_relative_to(library) for library in _LIBRARIES)
