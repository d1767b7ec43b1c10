"""Differential evolution that adapts its step sizes and crossover rates to what has succeeded (SHADE)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deap_hpo.checks import check_integer
from deap_hpo.search_space.space import Space
from deap_hpo.strategies.outcomes import costs

Array = NDArray[np.float64]


class DifferentialEvolutionStrategy:
    """SHADE: DE/current-to-pbest/1/bin with an archive and success-history based adaptation.

    The first batch is uniform. From then on, every member x of the population has one child per batch. Its donor is

        v = x + F (p - x) + F (a - b)

    where p is one of the best members, a another member, and b from the population or the archive. The donor's genes
    replace those of x with probability CR each. The better of child and member stays. F and CR are drawn around a
    remembered pair. The pairs that made better children are averaged, weighted by the improvement, and remembered next.

    Args:
        space: The search space.
        population_size: Size of the population and of every batch, at least 4 (a member and three to learn from). The
            paper has 100, and 10,000 evaluations per gene. Sizes of 6, 8, 10, 15, 20 and 30 were compared at the 60
            and 200 evaluations that training can afford (20 seeds; spheres, an ellipsoid, Rosenbrock, and functions
            with several valleys). The smallest two nearly always had the best median; 8 keeps more diversity.
        seed: Seed of all draws, at least 0.
        memory_size: Number of remembered pairs (H), at least 1; 6 as in its successor L-SHADE.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Tanabe and Fukunaga, "Success-history based parameter adaptation for differential evolution", IEEE CEC 2013;
        mutation, archive and bounds from Zhang and Sanderson, "JADE: adaptive differential evolution with optional
        external archive", IEEE Transactions on Evolutionary Computation 13(5), 2009.

    Example:
        >>> from deap import algorithms, base
        >>> from deap_hpo import Float, Individual
        >>> strategy = DifferentialEvolutionStrategy(Space({"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0)}), seed=1)
        >>> toolbox = base.Toolbox()
        >>> toolbox.register("generate", strategy.generate, Individual)
        >>> toolbox.register("evaluate", lambda genome: (sum((gene - 0.7) ** 2 for gene in genome),))
        >>> toolbox.register("update", strategy.update)
        >>> population, _ = algorithms.eaGenerateUpdate(toolbox, ngen=25, verbose=False)
        >>> min(individual.fitness.values for individual in population)[0] < 1e-3
        True
    """

    def __init__(self, space: Space, *, population_size: int = 8, seed: int = 0, memory_size: int = 6) -> None:
        self.population_size = check_integer("population_size", population_size, 4)
        self._rng = np.random.default_rng(check_integer("seed", seed, 0))
        memory_size = check_integer("memory_size", memory_size, 1)
        self._genes = len(space)
        self._members: Array = np.empty((0, self._genes))
        self._costs: Array = np.empty(0)
        self._archive: list[Array] = []
        self._factors = np.full(memory_size, 0.5)
        self._rates = np.full(memory_size, 0.5)
        self._slot = 0
        self._asked: list[list[float]] = []
        self._drawn: list[tuple[float, float]] = []  # (F, CR) of each child

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the first population, or one child of each member."""
        if len(self._members):
            self._drawn = [self._draw_factor_and_rate() for _ in range(self.population_size)]
            ranking = np.argsort(self._costs, kind="stable")
            children = [self._child(i, ranking, *drawn) for i, drawn in enumerate(self._drawn)]
        else:
            children = list(self._rng.random((self.population_size, self._genes)))
        self._asked = [child.tolist() for child in children]
        return [ind_init(list(genome)) for genome in self._asked]

    def update(self, population: Sequence[Any]) -> None:
        """Let each child that is as good as its parent replace it, and learn from those that are better."""
        new = np.array(costs(self._asked, population))
        children = np.array(self._asked)
        if not len(self._members):
            self._members, self._costs = children, new
            return
        better = new < self._costs
        self._archive += list(self._members[better])
        while len(self._archive) > self.population_size:
            self._archive.pop(self._rng.integers(len(self._archive)))
        if better.any():
            self._remember(np.array(self._drawn)[better], _gains(self._costs[better], new[better]))
        replaced = new <= self._costs  # Ties too, so that plateaus (for example of diverged trainings) can be crossed.
        self._members = np.where(replaced[:, None], children, self._members)
        self._costs = np.where(replaced, new, self._costs)

    def _draw_factor_and_rate(self) -> tuple[float, float]:
        slot = self._rng.integers(len(self._factors))
        factor = 0.0
        while factor <= 0.0:  # A factor above 1 is cut off, one of 0 or less is drawn again.
            factor = min(1.0, self._factors[slot] + 0.1 * self._rng.standard_cauchy())
        rate = min(max(self._rng.normal(self._rates[slot], 0.1), 0.0), 1.0)
        return float(factor), float(rate)

    def _child(self, i: int, ranking: NDArray[np.intp], factor: float, rate: float) -> Array:
        rng, size = self._rng, self.population_size
        # The share of members that count as the best is uniform in [2/N, 0.2], so these are at least two.
        share = rng.uniform(2 / size, max(0.2, 2 / size))
        best = ranking[rng.integers(max(2, int(share * size)))]
        pool = [*self._members, *self._archive]
        first = rng.choice([j for j in range(size) if j != i])
        second = rng.choice([j for j in range(len(pool)) if j not in (i, first)])
        parent = self._members[i]
        donor = parent + factor * (self._members[best] - parent) + factor * (self._members[first] - pool[second])
        # A gene that would leave [0, 1] is set halfway between the parent's gene and the bound.
        donor = np.where(donor < 0, parent / 2, np.where(donor > 1, (1 + parent) / 2, donor))
        crossed = rng.random(self._genes) < rate
        crossed[rng.integers(self._genes)] = True
        child: Array = np.where(crossed, donor, parent)
        return child

    def _remember(self, drawn: Array, gains: Array) -> None:
        weights = gains / gains.sum()
        factors, rates = drawn.T
        self._factors[self._slot] = (weights @ factors**2) / (weights @ factors)  # Lehmer mean: favours large steps
        self._rates[self._slot] = weights @ rates
        self._slot = (self._slot + 1) % len(self._factors)


def _gains(before: Array, after: Array) -> Array:
    """Improvements as shares of the largest finite one; an improvement from an infinite cost counts as 1."""
    with np.errstate(over="ignore"):  # A gain that overflows to infinity counts as 1 too.
        gains = before - after
    finite = gains[np.isfinite(gains)]
    return np.where(np.isfinite(gains), gains / finite.max(), 1.0) if len(finite) else np.ones_like(gains)
