"""The inputs and targets of a network: one tensor, or several by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | dict[str, Tensor]
"""Examples [N, ...], or several tensors of them by name, aligned by their first dimension; the names are those of the
arguments of the network's `forward`."""
Targets = Tensor | dict[str, Tensor]
"""Their targets [N, ...], or several tensors of them by name, as the loss takes them."""


def each(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Apply a function to the tensor, or to each of several.

    Example:
        >>> each(torch.Tensor.sum, {"a": torch.ones(3), "b": torch.zeros(3)})
        {'a': tensor(3.), 'b': tensor(0.)}
    """
    return {name: function(one) for name, one in inputs.items()} if isinstance(inputs, dict) else function(inputs)


def tensors(inputs: Inputs) -> list[Tensor]:
    """List the tensors.

    Example:
        >>> tensors({"a": torch.ones(1), "b": torch.zeros(1)})
        [tensor([1.]), tensor([0.])]
    """
    return list(inputs.values()) if isinstance(inputs, dict) else [inputs]


def number_of_examples(inputs: Inputs) -> int:
    """Count the examples.

    Example:
        >>> number_of_examples({"a": torch.ones(3, 2), "b": torch.zeros(3)})
        3
    """
    return len(tensors(inputs)[0])


def described(inputs: Inputs, tell: Callable[[Tensor], str]) -> str:
    """Describe the tensor, or each of several by name.

    Example:
        >>> described({"a": torch.ones(3, 2), "b": torch.zeros(3)}, lambda one: str(list(one.shape)))
        'a [3, 2], b [3]'
    """
    if not isinstance(inputs, dict):
        return tell(inputs)
    return ", ".join(f"{name} {tell(one)}" for name, one in inputs.items())


def in_parts(inputs: Inputs, size: int) -> list[Inputs]:
    """Cut inputs into parts of `size` examples; the last may have fewer.

    Example:
        >>> in_parts({"a": torch.arange(3)}, 2)
        [{'a': tensor([0, 1])}, {'a': tensor([2])}]
    """
    starts = range(0, number_of_examples(inputs), size)
    return [each(itemgetter(slice(start, start + size)), inputs) for start in starts]


def joined(parts: Sequence[Inputs]) -> Inputs:
    """Join parts along the first dimension.

    Example:
        >>> joined([{"a": torch.arange(2)}, {"a": torch.arange(1)}])
        {'a': tensor([0, 1, 0])}
    """
    made = [torch.cat(one) for one in zip(*map(tensors, parts), strict=True)]
    return dict(zip(parts[0], made, strict=True)) if isinstance(parts[0], dict) else made[0]


def call_arguments(inputs: Inputs) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Give the positional and the keyword arguments with which a network is called.

    Example:
        >>> network = nn.Bilinear(2, 3, 1)
        >>> arguments, named = call_arguments({"input1": torch.ones(5, 2), "input2": torch.ones(5, 3)})
        >>> network(*arguments, **named).shape
        torch.Size([5, 1])
    """
    return ((), inputs) if isinstance(inputs, dict) else ((inputs,), {})


def call(network: nn.Module, inputs: Inputs) -> Any:
    """Call a network with inputs.

    Example:
        >>> call(nn.Linear(2, 1), torch.ones(5, 2)).shape
        torch.Size([5, 1])
    """
    arguments, named = call_arguments(inputs)
    return network(*arguments, **named)
