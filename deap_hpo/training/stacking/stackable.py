"""Obstacles that keep a network out of a stack, as far as they show in the network itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from deap_hpo.closures import own_values
from deap_hpo.training.tokens import OF_EVERY_MODULE

_DEPTH = 5  # of objects within objects that are searched


class NotStackable(Exception):
    """A network that would be trained differently in a stack than alone; the text says why."""


def obstacle(network: nn.Module) -> str | None:
    """Say why a stack would train a network differently than it is trained alone; None if no obstacle is found.

    A stack passes each member's tensors to the network by their names. Code that reaches a parameter in another way (by
    a list of parameters, or by memory that two tensors share) still finds the one that the network was made with, and a
    hook on a parameter is never called.

    Example:
        >>> network = nn.Linear(2, 2)
        >>> print(obstacle(network))
        None
        >>> network.all = [network.weight]
        >>> obstacle(network)
        "the attribute 'all' of the network holds a parameter or a buffer"
    """
    owners: dict[int, str] = {}
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
            return f"there is a hook on {name}"
        memory = _memory(tensor)
        if memory is not None and owners.setdefault(memory, name) != name:
            return f"{owners[memory]} and {name} share memory"
    registered = {id(module) for module in network.modules()}
    for path, module in network.named_modules():
        if isinstance(module, nn.RNNBase):
            continue  # it keeps a list of its weights, but updates it
        for name, value in vars(module).items():
            if name in OF_EVERY_MODULE:
                continue  # a stack handles these
            if any(_memory(tensor) in owners for tensor in tensors_in(value, set(registered))):
                return f"the attribute {name!r} of {path or 'the network'} holds a parameter or a buffer"
    return None


def _memory(tensor: Tensor) -> int | None:
    """Identify a tensor by its memory, whatever part of it the tensor views; None for a tensor without memory."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.untyped_storage().nbytes() == 0:
        return None
    return tensor.untyped_storage().data_ptr()


def tensors_in(value: Any, seen: set[int] | None = None, depth: int = _DEPTH) -> Iterator[Tensor]:
    """Find the tensors that a value holds, except in objects in `seen`; searched objects are added to it.

    Example:
        >>> list(tensors_in({"a": [torch.ones(1)], "b": 2}))
        [tensor([1.])]
    """
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        yield value
    elif depth and id(value) not in seen:
        seen.add(id(value))
        for part in _parts(value):
            yield from tensors_in(part, seen, depth - 1)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, FunctionType):
        return own_values(value)
    if isinstance(value, (type, ModuleType)) or not hasattr(value, "__dict__"):
        return []
    return list(vars(value).values())
