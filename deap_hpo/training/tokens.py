"""Texts that are equal for equal values; they tell apart networks that differ in more than numbers."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deap_hpo.closures import own_values

PLAIN = (bool, int, float, complex, str, bytes, type(None), range, torch.dtype, torch.device, torch.Size)
"""Types whose `repr` identifies a value."""

HOOKS = frozenset({"_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"})
"""The attributes that hold a module's hooks."""

OF_EVERY_MODULE = frozenset(nn.Module().__dict__) - HOOKS - {"training"}
"""Attributes of every module besides its hooks and its mode: its parts, and what has no effect on what it does."""

# Attributes in which recurrent layers keep their parameters a second time.
_AGAIN = frozenset({"_flat_weights", "_flat_weight_refs"})
_OF_EVERY_CLASS = frozenset({"__dict__", "__weakref__", "__doc__"})


def own_attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of the attributes that decide what a module does, besides its parts.

    Example:
        >>> dict(own_attributes(nn.Dropout(0.5)))["p"]
        0.5
    """
    for name, value in sorted(vars(module).items()):
        if name not in OF_EVERY_MODULE and not (name in _AGAIN and isinstance(module, nn.RNNBase)):
            yield name, list(value.values()) if name in HOOKS else value  # hooks are numbered throughout the process


class Tokens:
    """Gives values texts that are equal for equal values, and None if that cannot be determined.

    Functions and classes are identified by the name under which they can be imported, or else by their code and the
    values that it captures where it is made; modules and tensors by their whole content.

    Args:
        network: Its own modules are only named, wherever they occur.
        any_object: Whether objects of any kind have texts, by their types and attributes: for one object at two times.

    Example:
        >>> def scaled_by(factor):
        ...     return lambda x: factor * x
        >>> tokens = Tokens(nn.Linear(1, 1))
        >>> tokens.of(scaled_by(2)) == tokens.of(scaled_by(2)), tokens.of(scaled_by(2)) == tokens.of(scaled_by(3))
        (True, False)
        >>> print(tokens.of(object()))
        None
    """

    def __init__(self, network: nn.Module, *, any_object: bool = False) -> None:
        self._names = {id(module): name for name, module in network.named_modules()}
        self._any_object = any_object
        self._open: list[int] = []  # the values being examined, from the outermost

    def of(self, value: Any) -> str | None:
        """Give the text of a value."""
        if isinstance(value, PLAIN):
            return repr(value)
        if id(value) in self._names:
            return f"module {self._names[id(value)]!r}"
        if id(value) in self._open:
            return f"above {self._open.index(id(value))}"  # the value contains itself
        self._open.append(id(value))
        try:
            return self._of(value)
        except RecursionError:
            return None
        finally:
            self._open.pop()

    def _of(self, value: Any) -> str | None:
        if isinstance(value, Tensor):
            return _of_tensor(value)
        if isinstance(value, np.ndarray):
            return None if value.dtype.hasobject else f"{value.dtype}{value.shape}{_digest(value)}"
        if isinstance(value, dict):
            return self._together(value, [*value.items(), *_further(value)])
        if isinstance(value, (list, tuple)):
            return self._together(value, [*value, *_further(value)])
        if isinstance(value, (set, frozenset)):
            return None if _further(value) else self._together(value, value)
        if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
            return _importable(value) or self._of_code(value)
        if isinstance(value, MethodType):
            return self._together(value, (value.__func__, value.__self__))
        if isinstance(value, partial):
            return self._together(value, (value.func, value.args, value.keywords))
        if isinstance(value, property):
            return self._together(value, (value.fget, value.fset, value.fdel))
        if isinstance(value, (staticmethod, classmethod)):
            return self._together(value, (value.__func__,))
        if isinstance(value, ModuleType):
            return value.__name__
        if isinstance(value, Enum):
            return self._together(value, (type(value), value.name))
        known = isinstance(value, nn.Module) or is_dataclass(value) or self._any_object
        if known and hasattr(value, "__dict__"):
            return self._together(value, (type(value), vars(value)))
        return None

    def _of_code(self, value: Any) -> str | None:
        """Give the text of a function or class that was made at run time."""
        if isinstance(value, type):
            content = {name: one for name, one in vars(value).items() if name not in _OF_EVERY_CLASS}
            return self._together(value, (value.__qualname__, value.__bases__, content))
        if not isinstance(value, FunctionType):
            return None
        code = value.__code__
        # Within one process, equal code has equal hashes.
        place = (code.co_filename, code.co_firstlineno, hash(code))
        return self._together(value, (place, own_values(value), *_further(value)))

    def _together(self, value: Any, parts: Iterable[Any]) -> str | None:
        tokens = [self.of(part) for part in parts]
        if any(token is None for token in tokens):
            return None
        return f"{type(value).__name__}{sorted(map(str, tokens)) if isinstance(value, (set, frozenset)) else tokens}"


def _further(value: Any) -> list[Any]:
    """Give the attributes that a function, or an object of a subclass of a container, has besides its content."""
    return list(getattr(value, "__dict__", {}).items())


def _importable(value: Any) -> str | None:
    """Give the name by which a class or function can be imported; one made at run time may have another's name."""
    module = sys.modules.get(value.__module__ or "")
    for name in (value.__qualname__, value.__name__):
        if getattr(module, name, None) is value:
            return f"{value.__module__}.{name}"
    return None


def _of_tensor(tensor: Tensor) -> str | None:
    try:
        # As bytes, because numpy does not know all types.
        content = tensor.detach().cpu().resolve_conj().resolve_neg().flatten().view(torch.uint8)
        return f"{tensor.dtype}{tuple(tensor.shape)}{_digest(content.numpy())}"
    except (RuntimeError, TypeError):  # sparse, nested, or on "meta": these have no such bytes
        return None


def _digest(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
