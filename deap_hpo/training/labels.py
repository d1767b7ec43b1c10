"""Which targets count: among classes, -100 or the loss's `ignore_index` stands for no label, as in padding."""

from __future__ import annotations

from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from deap_hpo.checks import is_integer
from deap_hpo.training.inputs import Targets, tensors

IGNORED = -100
"""The target of an element without a label, if the loss has no `ignore_index`; that of torch's cross-entropy, too."""


def ignored_by(loss: Any) -> int:
    """Give the target that a loss leaves out: its `ignore_index`, as an attribute of a module or a default argument.

    Example:
        >>> from torch import nn
        >>> ignored_by(nn.NLLLoss(ignore_index=0)), ignored_by(partial(nn.functional.cross_entropy, ignore_index=-1))
        (0, -1)
        >>> ignored_by(nn.functional.cross_entropy), ignored_by(nn.MSELoss())
        (-100, -100)
    """
    found: Any = getattr(loss, "ignore_index", None)
    if found is None and isinstance(loss, partial) and "ignore_index" not in loss.keywords:
        return ignored_by(loss.func)
    if found is None and callable(loss):
        try:
            parameter = signature(loss).parameters.get("ignore_index")
        except (TypeError, ValueError):  # of a function that is not Python's
            parameter = None
        found = parameter and parameter.default
    return found if is_integer(found) else IGNORED


class Counting:
    """Counts the targets that a batch's mean is taken over: all, or only those with a label if some have none.

    Args:
        targets: All targets of a split. Only the classes of a single target may lack labels.
        ignored: The target of an element without a label.

    Example:
        >>> full, partly = Counting(torch.tensor([0, 1, 2])), Counting(torch.tensor([[0, -100], [1, 2]]))
        >>> full.of(torch.tensor([0, 1])), partly.of(torch.tensor([[0, -100]])), partly.whole
        (2, tensor(1), tensor(3))
    """

    def __init__(self, targets: Targets, ignored: int = IGNORED) -> None:
        self._has_unlabelled, self._ignored = False, ignored
        if isinstance(targets, Tensor) and not (targets.is_floating_point() or targets.is_meta):
            self._has_unlabelled = bool(torch.eq(targets, ignored).any())
        self.whole = self.of(targets)

    def of(self, targets: Targets, *, members: bool = False) -> int | Tensor:
        """Count a batch's targets; with `members`, count those of each member, along the first dimension."""
        first = tensors(targets)[0]
        if not self._has_unlabelled:
            return first.shape[int(members)]
        return (first != self._ignored).flatten(int(members)).sum(-1)

    def marked(self, targets: Targets) -> Targets:
        """Give a batch's targets with -100 where there is no label, as `accuracy` takes them.

        Example:
            >>> Counting(torch.tensor([0, 1, 2]), ignored=0).marked(torch.tensor([0, 1]))
            tensor([-100,    1])
        """
        if not self._has_unlabelled or self._ignored == IGNORED or isinstance(targets, dict):
            return targets
        return targets.long().masked_fill(targets == self._ignored, IGNORED)


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
