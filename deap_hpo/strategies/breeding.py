"""Breeding in bulk: hundreds of children of an archive at once, by operators whose shares follow their success."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deap_hpo.strategies.genes import GeneColumns

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Operator = Callable[["Breeder", np.random.Generator, Array, int], Array]

LEAST_SHARE = 0.1  # So that no operator is lost for good.
PRIOR_TRIALS = 4.0  # Every operator starts as if it had been tried this often, with success in half of the trials.
MEMORY = 0.9  # Weight that the earlier trials of an operator keep at each new trial.


class Breeder:
    """Breeds candidates from a record of evaluated genomes.

    Args:
        columns: The genes of the space.

    Example:
        >>> from deap_hpo import Float, Space
        >>> breeder = Breeder(GeneColumns(Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})))
        >>> rng = np.random.default_rng(0)
        >>> children, operators = breeder.breed(rng, rng.random((9, 2)), 100)
        >>> children.shape, {str(name): int((operators == name).sum()) for name in OPERATORS}
        ((100, 2), {'differential': 25, 'crossover': 25, 'gaussian': 25, 'resample': 25})
    """

    def __init__(self, columns: GeneColumns) -> None:
        self.columns = columns
        self._tried = np.full(len(OPERATORS), PRIOR_TRIALS)
        self._won = np.full(len(OPERATORS), PRIOR_TRIALS / 2)

    @property
    def shares(self) -> Array:
        """Share of children that each operator makes: at least a tenth, the rest in proportion to success rates."""
        rates = self._won / self._tried
        shares: Array = LEAST_SHARE + (1 - LEAST_SHARE * len(rates)) * rates / rates.sum()
        return shares

    def reward(self, operator: str, success: bool) -> None:
        """Note whether a child of the operator turned out well; older outcomes count less and less."""
        index = list(OPERATORS).index(operator)
        self._tried[index] = PRIOR_TRIALS + MEMORY * (self._tried[index] + 1 - PRIOR_TRIALS)
        self._won[index] = PRIOR_TRIALS / 2 + MEMORY * (self._won[index] + success - PRIOR_TRIALS / 2)

    def breed(self, rng: np.random.Generator, archive: Array, count: int) -> tuple[Array, NDArray[np.str_]]:
        """Return `count` children [count, genes] and the name of the operator that made each [count].

        Args:
            rng: Source of randomness.
            archive: Evaluated genomes [n, genes], best first.
            count: Number of children.
        """
        edges = np.rint(np.cumsum(self.shares) * count).astype(int)
        counts = np.diff(edges, prepend=0)
        children = [operator(self, rng, archive, n) for operator, n in zip(OPERATORS.values(), counts, strict=True)]
        return self.columns.snap(into_box(rng, np.vstack(children))), np.repeat(list(OPERATORS), counts)

    def perturb(self, rng: np.random.Generator, parents: Array, mask: Mask, step: Array) -> Array:
        """Return canonical genomes with Gaussian steps added to the masked genes; masked categories are redrawn."""
        # A step smaller than a bin would mostly give the same value again.
        step = np.maximum(step, np.where(mask, 1 / self.columns.bins, 0.0))
        children = parents + mask * step * rng.normal(size=parents.shape)
        fresh = mask & self.columns.categorical
        return self.columns.snap(into_box(rng, np.where(fresh, rng.random(parents.shape), children)))

    def mask(self, rng: np.random.Generator, count: int, rates: list[float]) -> Mask:
        """Choose the genes to change, [count, genes]: in each row at one of the rates, and at least one gene."""
        genes = len(self.columns.bins)
        mask = rng.random((count, genes)) < rng.choice(rates, (count, 1))
        mask[np.arange(count), rng.integers(genes, size=count)] = True
        return mask


def into_box(rng: np.random.Generator, genomes: Array) -> Array:
    """Bring genes into [0, 1]: half are clipped, so that optima on a bound are found, half reflected."""
    reflected = np.abs(genomes)
    reflected = np.clip(np.where(reflected > 1, 2 - reflected, reflected), 0, 1)
    return np.where(rng.random(genomes.shape) < 0.5, np.clip(genomes, 0, 1), reflected)


def elite_size(evaluated: int) -> int:
    """Number of genomes that breed, given the number of evaluated ones."""
    return min(evaluated, 10 + evaluated // 10)


def _draw(rng: np.random.Generator, genomes: Array, count: int) -> Array:
    return genomes[rng.integers(len(genomes), size=count)]


def differential(breeder: Breeder, rng: np.random.Generator, archive: Array, count: int) -> Array:
    """DE/current-to-pbest/1/bin (Zhang & Sanderson 2009, "JADE", equation 6), F from a Cauchy distribution."""
    parents = _draw(rng, archive[: elite_size(len(archive))], count)
    best, first, second = _draw(rng, archive[:3], count), _draw(rng, archive, count), _draw(rng, archive, count)
    factor = np.clip(0.5 + 0.3 * rng.standard_cauchy((count, 1)), 0.1, 1.0)
    mutants = parents + factor * (best - parents) + factor * (first - second)
    # Categories cannot be subtracted: one that changes is copied from a donor.
    donors = np.where(rng.random(parents.shape) < 0.5, best, first)
    mutants = np.where(breeder.columns.categorical, donors, mutants)
    return np.where(breeder.mask(rng, count, [0.3, 0.6, 0.9]), mutants, parents)


def crossover(breeder: Breeder, rng: np.random.Generator, archive: Array, count: int) -> Array:
    """Uniform crossover of two good parents, and a small Gaussian mutation of some genes."""
    elite = archive[: elite_size(len(archive))]
    mother, father = _draw(rng, elite, count), _draw(rng, elite, count)
    children = np.where(rng.random(mother.shape) < 0.5, mother, father)
    return breeder.perturb(rng, children, rng.random(mother.shape) < 0.3, np.full((count, 1), 0.1))


def gaussian(breeder: Breeder, rng: np.random.Generator, archive: Array, count: int) -> Array:
    """Gaussian mutation of one gene, half or all of one of the three best, with steps from 0.01 to 0.3."""
    step = 10 ** rng.uniform(-2, -0.5, (count, 1))
    mask = breeder.mask(rng, count, [0.0, 0.5, 1.0])
    return breeder.perturb(rng, _draw(rng, archive[:3], count), mask, step)


def resample(breeder: Breeder, rng: np.random.Generator, archive: Array, count: int) -> Array:
    """New uniform draws for about one gene of a good parent, or for all its genes."""
    parents = _draw(rng, archive[: elite_size(len(archive))], count)
    genes = parents.shape[1]
    rates = np.where(rng.random((count, 1)) < 0.5, 1 / genes, 1.0)
    return np.where(rng.random(parents.shape) < rates, rng.random(parents.shape), parents)


OPERATORS: dict[str, Operator] = {
    "differential": differential,
    "crossover": crossover,
    "gaussian": gaussian,
    "resample": resample,
}
