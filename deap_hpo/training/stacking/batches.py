"""The batches and the learning rates of a stack's epoch, as tables made beforehand: no step has to ask the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deap_hpo.training.keyed import keyed_permutation
from deap_hpo.training.stacking.structure import Member


def epoch_tables(
    members: Sequence[Member],
    lrs: Sequence[Sequence[float]],
    losses: Sequence[Sequence[float]],
    shared: bool,
    size: int,
    epoch: int,
    epochs: int,
) -> list[Tensor]:
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
        Four tables on the CPU: the examples of the full batches, [steps, B], or [steps, P, B] if seeds differ; their
        learning rates, [steps, P, groups], float64; and both for the smaller last batch, if there is one.
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
    return [order, table[:full], last_order, table[full:]]
