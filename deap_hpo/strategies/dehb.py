"""Hyperband whose brackets begin with configurations bred by differential evolution, after DEHB."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deap_hpo.checks import check_integer, check_range
from deap_hpo.search_space.space import Space
from deap_hpo.strategies.hyperband import Genome, HyperbandStrategy
from deap_hpo.strategies.outcomes import costs

Array = NDArray[np.float64]


class DEHBStrategy:
    """Hyperband whose brackets begin with children of the best known configurations, bred by differential evolution.

    For each number of epochs, the `memory_size` best configurations trained so far are remembered. New configurations
    are bred from those of the largest number of epochs for which at least four are remembered: the genes of a mutant
    a + F (b - c) replace those of a fourth one with probability CR each. With probability `random_share`, a new
    configuration is a uniform draw instead. The brackets are Hyperband's: the better configurations continue where they
    stopped, and only the added epochs are trained.

    The rungs are successive halving: a configuration itself is promoted, with its weights. In the paper, by contrast,
    every rung after the first bracket breeds its own mutants, which are trained from scratch.

    Args:
        space: The search space.
        epochs: Epochs of a whole training.
        min_epochs: Epochs of the shortest training, at least 1.
        eta: One in `eta` configurations is promoted to the next rung; at least 2.
        memory_size: Configurations remembered for each number of epochs, at least 4.
        factor: Scale of the difference, F, in [0, 2].
        rate: Probability that a gene comes from the mutant, CR, in [0, 1]; one gene always does.
        random_share: Probability of a uniform draw, in [0, 1].
        seed: Seed of all draws, at least 0.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Awad, Mallik and Hutter, "DEHB: Evolutionary Hyberband for scalable, robust and efficient hyperparameter
        optimization", IJCAI 2021 (F = CR = 0.5, rand/1/bin, genes outside [0, 1] drawn again).

    Example:
        >>> from deap_hpo import Float, Individual
        >>> strategy = DEHBStrategy(Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}), epochs=9, seed=1)
        >>> best = 1.0
        >>> for rung in range(60):
        ...     population = strategy.generate(Individual)
        ...     for individual in population:
        ...         individual.fitness.values = (sum((gene - 0.7) ** 2 for gene in individual) + 1 / individual.epochs,)
        ...     strategy.update(population)
        ...     best = min(best, *(one.fitness.values[0] for one in population))
        >>> best - 1 / 9 < 1e-3
        True
    """

    def __init__(
        self,
        space: Space,
        *,
        epochs: int,
        min_epochs: int = 1,
        eta: int = 3,
        memory_size: int = 10,
        factor: float = 0.5,
        rate: float = 0.5,
        random_share: float = 0.1,
        seed: int = 0,
    ) -> None:
        check_range("factor", factor, 0, 2)
        check_range("rate", rate, 0, 1)
        check_range("random_share", random_share, 0, 1)
        self._size = check_integer("memory_size", memory_size, 4)
        self._factor, self._rate, self._random_share = factor, rate, random_share
        self._rng = np.random.default_rng(check_integer("seed", seed, 0))
        self._genes = len(space)
        self._known: dict[int, list[tuple[float, Genome]]] = {}  # by epochs, best first
        self._hyperband = HyperbandStrategy(
            space, epochs=epochs, min_epochs=min_epochs, eta=eta, seed=seed, propose=self._propose
        )
        self._asked: list[Genome] = []
        self._epochs = 0

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the configurations of a rung."""
        individuals = self._hyperband.generate(ind_init)
        self._asked = [list(individual) for individual in individuals]
        self._epochs = individuals[0].epochs
        return individuals

    def update(self, population: Sequence[Any]) -> None:
        """Remember the best configurations of the rung, and promote one in `eta`."""
        found = costs(self._asked, population)
        known = self._known.setdefault(self._epochs, [])
        known += [(cost, genome) for cost, genome in zip(found, self._asked, strict=True) if math.isfinite(cost)]
        known.sort(key=lambda one: one[0])
        del known[self._size :]
        self._hyperband.update(population)

    def batches(self, continues: bool = True) -> Iterator[tuple[int, int]]:
        """Yield the size of each batch and the epochs that each individual adds; see `HyperbandStrategy.batches`."""
        return self._hyperband.batches(continues)

    def _propose(self, count: int) -> list[Genome]:
        enough = [epochs for epochs, known in self._known.items() if len(known) >= 4]
        pool = np.array([genome for _, genome in self._known[max(enough)]]) if enough else None
        return [self._child(pool).tolist() for _ in range(count)]

    def _child(self, pool: Array | None) -> Array:
        rng = self._rng
        fresh: Array = rng.random(self._genes)
        if pool is None or rng.random() < self._random_share:
            return fresh
        a, b, c, target = pool[rng.choice(len(pool), 4, replace=False)]
        mutant = a + self._factor * (b - c)
        mutant = np.where((mutant < 0) | (mutant > 1), fresh, mutant)
        crossed = rng.random(self._genes) < self._rate
        crossed[rng.integers(self._genes)] = True
        child: Array = np.where(crossed, mutant, target)
        return child
