"""Clipping of a stack's gradients, each by its own norm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_BLOCK = 4096


class Clipping:
    """Scales the gradient of each member down to its own bound, as `torch.nn.utils.clip_grad_norm_` does.

    Args:
        bounds: Bound of the L2 norm for each member, > 0; None for no bound.
        weights: The members' weights [P, D]; gradients have the same type and device.

    Example:
        >>> clipping = Clipping([1.0, None], torch.zeros(2, 2))
        >>> [[round(one, 4) for one in row] for row in clipping(torch.tensor([[3.0, 4.0], [3.0, 4.0]])).tolist()]
        [[0.6, 0.8], [3.0, 4.0]]
    """

    def __init__(self, bounds: Sequence[float | None], weights: Tensor) -> None:
        columns = [[math.inf if bound is None else bound] for bound in bounds]
        bounded = any(bound is not None for bound in bounds)
        self._bounds = torch.tensor(columns, dtype=weights.dtype, device=weights.device) if bounded else None

    def keep(self, index: Tensor) -> None:
        """Drop all members but those at `index`, int64 [kept]."""
        if self._bounds is not None:
            self._bounds = self._bounds.index_select(0, index)

    def __call__(self, gradient: Tensor) -> Tensor:
        """Give the gradient [P, D] with each row scaled down to its member's bound; itself if there are no bounds."""
        if self._bounds is None:
            return gradient
        factor = (self._bounds / (row_norms(gradient) + 1e-6)).clamp(max=1)
        # A row without a bound stays the same to the bit, even where infinity / infinity would make it NaN.
        return gradient * factor.masked_fill(self._bounds.isinf(), 1)


def row_norms(matrix: Tensor) -> Tensor:
    """Give the L2 norm of each row of a matrix [P, D], as a column [P, 1].

    Example:
        >>> row_norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
        [[5.0], [1.0]]
    """
    # In blocks, because a CPU adds up long rows in single precision: the norm of 30 million entries would be 0.2 % off.
    members, blocks = len(matrix), matrix.shape[1] // _BLOCK
    whole, rest = matrix[:, : blocks * _BLOCK].reshape(members, blocks, _BLOCK), matrix[:, blocks * _BLOCK :]
    norms = [torch.linalg.vector_norm(whole, dim=2), torch.linalg.vector_norm(rest, dim=1, keepdim=True)]
    norm: Tensor = torch.linalg.vector_norm(torch.cat(norms, 1), dim=1, keepdim=True)
    return norm
