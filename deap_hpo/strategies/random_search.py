"""Random search: every genome drawn uniformly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deap_hpo.checks import check_integer
from deap_hpo.search_space.space import Space


class RandomStrategy:
    """Uniform, independent genomes: the baseline that any search has to beat.

    Args:
        space: The search space.
        batch_size: Genomes per batch, at least 1. The sequence is the same for all batch sizes.
        seed: Seed of all draws, at least 0.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 13, 2012.

    Example:
        >>> from deap_hpo import Float
        >>> strategy = RandomStrategy(Space({"lr": Float(1e-4, 1.0, log=True)}), batch_size=2, seed=1)
        >>> strategy.generate(list)
        [[0.5118216247002567], [0.9504636963259353]]
    """

    def __init__(self, space: Space, *, batch_size: int = 1, seed: int = 0) -> None:
        self._space = space
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self._rng = np.random.default_rng(check_integer("seed", seed, 0))

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the next individuals."""
        return [ind_init(self._space.sample(self._rng)) for _ in range(self.batch_size)]

    def update(self, population: Sequence[Any]) -> None:
        """Learn nothing."""
