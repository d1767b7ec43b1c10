"""Which targets count: among classes, -100 stands for no label, for example in padding."""

from __future__ import annotations

import torch
from torch import Tensor

from deap_hpo.training.inputs import Targets, tensors

IGNORED = -100
"""The target of an element without a label; torch's cross-entropy leaves it out, too."""


class Counting:
    """Counts the targets that a batch's mean is taken over: all, or only those with a label if some have none.

    Args:
        targets: All targets of a split. Only the classes of a single target may lack labels.

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
        """Count a batch's targets; with `members`, count those of each member, along the first dimension."""
        first = tensors(targets)[0]
        if not self._has_unlabelled:
            return first.shape[int(members)]
        return (first != IGNORED).flatten(int(members)).sum(-1)


def summed(mean: Tensor, count: int | Tensor) -> Tensor:
    """Turn a mean over a batch into the sum; 0 for a batch without labels, whose mean is NaN.

    Args:
        mean: The mean, or one per member.
        count: Number of examples or labels, or one per member.

    Example:
        >>> summed(torch.tensor(0.5), 4), summed(torch.tensor(torch.nan), torch.tensor(0))
        (tensor(2.), tensor(0.))
    """
    return mean * count if isinstance(count, int) else torch.where(count > 0, mean * count, 0.0)
