"""A check whether a loss or a metric compares every output with every target, rather than each with its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class BroadcastWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes whether a column [N, 1] and a row of N numbers are broadcast to a square [N, N] inside.

    Torch does that with the outputs [N, 1] of a network and targets [N], for example in ``outputs - targets`` or
    `torch.nn.MSELoss`: there is no error, and the number is meaningless.

    Args:
        count: N, at least 2.

    Attributes:
        found: Whether it happened.

    Example:
        >>> outputs, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 2.0])
        >>> with BroadcastWatch(2) as watch:
        ...     error = (outputs - targets).abs().mean()
        >>> error.item(), watch.found
        (0.5, True)
        >>> with BroadcastWatch(2) as watch:
        ...     error = (outputs.squeeze(1) - targets).abs().mean()
        >>> error.item(), watch.found
        (0.0, False)
    """

    def __init__(self, count: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._column, self._row, self._square = (count, 1), (count,), (count, count)
        self.found = False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation, and check the shape of its result."""
        result = func(*args, **(kwargs or {}))
        shapes = {tuple(one.shape) for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        spread = func is torch.ops.aten.expand.default and shapes <= {self._column, self._row}
        if isinstance(result, Tensor) and tuple(result.shape) == self._square:
            self.found |= spread or {self._column, self._row} <= shapes
        return result
