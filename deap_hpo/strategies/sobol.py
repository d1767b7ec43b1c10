"""Quasi-random search: a scrambled Sobol sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from deap_hpo.checks import check_integer
from deap_hpo.search_space.space import Space


class SobolStrategy:
    """A Sobol sequence: like random search, but points fill the gaps that earlier ones left.

    The scrambling (Owen's) makes runs of different seeds independent estimates, and keeps points off the bounds. Any
    number of evaluations will do; powers of 2 cover the space most evenly.

    Args:
        space: The search space, of at most 21,201 hyperparameters (the longest table of direction numbers).
        batch_size: Genomes per batch, at least 1. The sequence is the same for all batch sizes.
        seed: Seed of the scrambling, at least 0.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Sobol', "On the distribution of points in a cube and the approximate evaluation of integrals", USSR
        Computational Mathematics and Mathematical Physics 7(4), 1967; recommended for hyperparameters by Bergstra and
        Bengio, "Random search for hyper-parameter optimization", JMLR 13, 2012, section 5.

    Example:
        >>> from deap_hpo import Float
        >>> strategy = SobolStrategy(Space({"lr": Float(1e-4, 1.0, log=True)}), batch_size=4)
        >>> sorted(int(4 * gene) for (gene,) in strategy.generate(list))  # one in each quarter
        [0, 1, 2, 3]
    """

    def __init__(self, space: Space, *, batch_size: int = 1, seed: int = 0) -> None:
        self.batch_size = check_integer("batch_size", batch_size, 1)
        rng = np.random.default_rng(check_integer("seed", seed, 0))
        self._points = qmc.Sobol(len(space), scramble=True, rng=rng)

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the next individuals."""
        # One point at a time: scipy warns of a first draw whose size is not a power of 2.
        return [ind_init(self._points.random(1)[0].tolist()) for _ in range(self.batch_size)]

    def update(self, population: Sequence[Any]) -> None:
        """Learn nothing."""
