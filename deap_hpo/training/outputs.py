"""The outputs of a network: a tensor, or several in tuples, lists and dicts, which may be nested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

Outputs = Any
"""A tensor, or a structure of tensors that torch knows, as in `torch.func.vmap`: tuples, lists, dicts, `namedtuple`,
and types that libraries have registered, such as the outputs of Transformers' models."""


def mapped(function: Callable[[Tensor], Tensor], outputs: Outputs) -> Outputs:
    """Apply a function to the tensor, or to each of several.

    Example:
        >>> mapped(torch.Tensor.sum, (torch.ones(3), {"a": torch.zeros(3)}))
        (tensor(3.), {'a': tensor(0.)})
    """
    return tree_map(function, outputs)


def leaves(outputs: Outputs) -> list[Tensor]:
    """List the tensors.

    Example:
        >>> leaves((torch.ones(1), {"a": torch.zeros(1)}))
        [tensor([1.]), tensor([0.])]
    """
    return tree_flatten(outputs)[0]


def together(parts: Sequence[Outputs], dim: int = 0) -> Outputs:
    """Join outputs of equal structure along a dimension.

    Example:
        >>> together([(torch.ones(1), torch.zeros(1)), (torch.ones(1), torch.zeros(1))])
        (tensor([1., 1.]), tensor([0., 0.]))
    """
    if len(parts) == 1:
        return parts[0]
    columns = zip(*map(leaves, parts), strict=True)
    return tree_unflatten([torch.cat(column, dim) for column in columns], tree_flatten(parts[0])[1])


def unshared(several: Any) -> Any:
    """Copy a dict for a loss or a metric, which may take something out of it; give anything else as it is.

    Example:
        >>> outputs = {"a": torch.ones(1)}
        >>> unshared(outputs).pop("a"), list(outputs)
        (tensor([1.]), ['a'])
    """
    return dict(several) if type(several) is dict else several


def own_tensors(several: Any) -> Any:
    """Copy outputs or targets, tensors included, for a function of the user's, which may change them in place.

    Example:
        >>> targets = torch.ones(1)
        >>> own_tensors(targets).zero_(), targets
        (tensor([0.]), tensor([1.]))
    """
    return unshared(mapped(torch.clone, several))


def output_shapes(outputs: Outputs) -> str:
    """Describe the shapes of outputs.

    Example:
        >>> output_shapes(torch.ones(2, 3)), output_shapes((torch.ones(2, 3), {"a": torch.zeros(2)}))
        ('[2, 3]', "([2, 3], {'a': [2]})")
    """
    return str(tree_map(lambda one: list(one.shape), outputs))


def widened(outputs: Outputs) -> Outputs:
    """Give a network's outputs in a precision that losses can be computed in: fp32 instead of bf16, else unchanged.

    Raises:
        TypeError: The outputs contain anything but tensors, or nothing.

    Example:
        >>> widened((torch.ones(1, dtype=torch.bfloat16), torch.ones(1, dtype=torch.float64)))[0].dtype
        torch.float32
    """
    found = leaves(outputs)
    if not found or not all(isinstance(one, Tensor) for one in found):
        kinds = sorted({type(one).__name__ for one in found if not isinstance(one, Tensor)}) or ["nothing"]
        raise TypeError(f"the network must return a tensor, or several; it returned {', '.join(kinds)}")
    return tree_map(lambda one: one.float() if one.dtype == torch.bfloat16 else one, outputs)
