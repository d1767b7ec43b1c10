"""Which targets count: among classes, those of -100 have no label, as of padding."""

from __future__ import annotations

import torch
from torch import Tensor

from deap_hpo.training.inputs import Targets, tensors

IGNORED = -100
"""The target of what has no label; torch's cross-entropy leaves it out, too."""


class Counting:
    """Counts of batches by how many targets a mean over them is: all, or those with a label where some have none.

    Args:
        targets: All targets of a split. Only among the classes of a single target are there such without a label.

    Example:
        >>> full, partly = Counting(torch.tensor([0, 1, 2])), Counting(torch.tensor([[0, -100], [1, 2]]))
        >>> full.of(torch.tensor([0, 1])), partly.of(torch.tensor([[0, -100]])), partly.whole
        (2, tensor(1), tensor(3))
    """

    def __init__(self, targets: Targets) -> None:
        self._has_unlabelled = False
        if isinstance(targets, Tensor) and not (targets.is_floating_point() or targets.is_meta):
            self._has_unlabelled = bool(torch.eq(targets, IGNORED).any())
        self.whole = self.of(targets)

    def of(self, targets: Targets, *, members: bool = False) -> int | Tensor:
        """Count a batch; of members that have one each, in the first dimension, that of each."""
        first = tensors(targets)[0]
        if not self._has_unlabelled:
            return first.shape[int(members)]
        return (first != IGNORED).flatten(int(members)).sum(-1)


def summed(mean: Tensor, count: int | Tensor) -> Tensor:
    """Give the sum over a batch of what has this mean over it; 0 where a batch has no label, whose mean is NaN.

    Args:
        mean: The mean, or that of each member.
        count: Examples, or labels.

    Example:
        >>> summed(torch.tensor(0.5), 4), summed(torch.tensor(torch.nan), torch.tensor(0))
        (tensor(2.), tensor(0.))
    """
    return mean * count if isinstance(count, int) else torch.where(count > 0, mean * count, 0.0)
