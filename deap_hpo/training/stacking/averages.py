"""The moving averages of all members' weights, as one matrix beside the weights; see `deap_hpo.training.averaging`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Averages:
    """The averages of a stack's members, [P, D]; the row of a member without one is its weights.

    Args:
        decays: Each member's decay, in [0, 1), or None for no average.
        weights: The weights, [P, D].

    Example:
        >>> weights = torch.tensor([[1.0], [1.0]])
        >>> averages = Averages([0.5, None], weights)
        >>> for step, value in enumerate((1.0, 2.0)):
        ...     averages.update(weights.fill_(value), torch.tensor(step))
        >>> averages.of(weights).tolist()
        [[1.5], [2.0]]
    """

    def __init__(self, decays: Sequence[float | None], weights: Tensor) -> None:
        self.any = any(decay is not None for decay in decays)
        if self.any:
            shares = [[1.0 if decay is None else 1 - decay] for decay in decays]
            self._shares = torch.tensor(shares, dtype=weights.dtype, device=weights.device)
            self._averages = weights.clone()

    def restore(self, i: int, average: Tensor) -> None:
        """Set the average of member `i`, [D], if its training continues from a state."""
        if self.any:
            self._averages[i] = average

    def update(self, weights: Tensor, trained: Tensor) -> None:
        """Add the weights after a step, before which `trained` steps were trained."""
        if self.any:
            self._averages.lerp_(weights, torch.where(trained == 0, torch.ones_like(self._shares), self._shares))

    def of(self, weights: Tensor) -> Tensor:
        """Give what is measured: the averages, or the weights if no member has an average."""
        return self._averages if self.any else weights

    def keep(self, index: Tensor) -> None:
        """Keep the rows of the members that continue."""
        if self.any:
            self._averages, self._shares = self._averages[index], self._shares[index]
