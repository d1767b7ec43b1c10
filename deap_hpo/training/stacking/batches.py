"""The batches and the learning rates of a stack's epoch, as tables made beforehand: no step has to ask the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from deap_hpo.training.keyed import keyed_permutation
from deap_hpo.training.stacking.structure import Member


class EpochTables(NamedTuple):
    """The batches of an epoch, and their learning rates.

    Attributes:
        order: The examples of the full batches, [steps, B], or [steps, P, B] if seeds differ.
        lrs: Their learning rates, [steps, P, groups].
        last_order: The examples of the smaller last batch, if there is one.
        last_lrs: Its learning rates.
    """

    order: Tensor
    lrs: Tensor
    last_order: Tensor
    last_lrs: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> EpochTables:
        """Copy to a device, with learning rates of a type."""
        types = torch.int64, dtype, torch.int64, dtype
        return EpochTables(*(table.contiguous().to(device, one) for table, one in zip(self, types, strict=True)))

    def take_over(self, other: EpochTables) -> bool:
        """Copy other tables into these if they have the same shapes, and tell whether they have."""
        if [table.shape for table in self] != [table.shape for table in other]:
            return False
        for table, content in zip(self, other, strict=True):
            table.copy_(content)
        return True

    def keep(self, index: Tensor, *, shared: bool) -> EpochTables:
        """Give the tables without all members but those at `index`; if batches are shared, these stay as they are."""
        order, last_order = (one if shared else one[:, index] for one in (self.order, self.last_order))
        return EpochTables(order, self.lrs[:, index], last_order, self.last_lrs[:, index])


def epoch_tables(
    members: Sequence[Member],
    lrs: Sequence[Sequence[float]],
    losses: Sequence[Sequence[float]],
    shared: bool,
    size: int,
    epoch: int,
    epochs: int,
) -> EpochTables:
    """Lay out the batches and the learning rates of an epoch.

    Args:
        members: The members, P of them, which have one batch size B.
        lrs: Their learning rates before any schedule, one per group of parameters.
        losses: Their validation losses after each epoch so far.
        shared: Whether they have one seed, and so the same batches.
        size: Training examples.
        epoch: Epochs trained so far, from 0.
        epochs: Length of the schedules.

    Returns:
        The tables, on the CPU; learning rates are float64.
    """
    batch_size = members[0].recipe.batch_size
    seeds = [member.seed for member in members[: 1 if shared else None]]
    permutations = torch.stack([keyed_permutation(size, seed, epoch) for seed in seeds])
    full, steps = size // batch_size, -(-size // batch_size)
    order = permutations[:, : full * batch_size].view(len(seeds), full, batch_size).transpose(0, 1)
    last_order = permutations[:, full * batch_size :].unsqueeze(0)
    if shared:
        order, last_order = order[:, 0], last_order[:, 0]
    factors = [
        member.recipe.lr_factors(epoch, steps, epochs, known) for member, known in zip(members, losses, strict=True)
    ]
    table = torch.tensor(factors, dtype=torch.float64).T.unsqueeze(2) * torch.tensor(lrs, dtype=torch.float64)
    return EpochTables(order, table[:full], last_order, table[full:])
