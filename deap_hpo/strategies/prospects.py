"""The untried configurations of a space: the next of a design, a random one, or the most promising that can be bred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deap_hpo.checks import check_integer
from deap_hpo.search_space.space import Space
from deap_hpo.strategies.breeding import OPERATORS, Breeder
from deap_hpo.strategies.genes import GeneColumns

Array = NDArray[np.float64]
Key = tuple[Any, ...]
"""What identifies a configuration: the names and values of the hyperparameters in use."""
Merits = Callable[[Array], Array]
"""Gives for genomes [m, genes] the merit of trying each of them, [m]."""

ENUMERABLE = 2000  # Spaces of up to this many configurations are enumerated, rather than searched by breeding.
REFINEMENTS = 10  # Generations of evolution by merit alone, before a proposal.


class Prospects:
    """The configurations of a space that have not been tried, and ways to choose one of them.

    Genomes that decode to the same hyperparameters are one configuration. A genome that a method returns stays a
    prospect until it is marked as tried.

    Args:
        space: The search space.
        rng: Source of randomness.
        n_children: Number of children bred in search of the most promising one, at least 4.

    Attributes:
        columns: The genes of the space.
        breeder: Breeds the children; it may be rewarded for those that turn out well.

    Raises:
        InputError: `n_children` is out of its range.

    Example:
        >>> from deap_hpo import Float, Space
        >>> prospects = Prospects(Space({"x": Float(0.0, 1.0)}), np.random.default_rng(0))
        >>> evaluated = np.array([[0.2], [0.6], [0.9]])
        >>> genome, operator, merit = prospects.most_promising(evaluated, lambda genomes: -abs(genomes[:, 0] - 0.371))
        >>> round(genome[0], 3), operator in OPERATORS, genome in prospects
        (0.371, True, True)
        >>> key = prospects.mark_tried(genome)
        >>> genome in prospects, prospects.tried, prospects.left
        (False, 1, inf)
    """

    def __init__(self, space: Space, rng: np.random.Generator, *, n_children: int = 600) -> None:
        self.columns = GeneColumns(space)
        self.breeder = Breeder(self.columns)
        self._space, self._rng = space, rng
        self._n_children = check_integer("n_children", n_children, len(OPERATORS))
        self._tried: set[Key] = set()

    @property
    def tried(self) -> int:
        """Number of configurations that have been tried."""
        return len(self._tried)

    @property
    def left(self) -> float:
        """Number of configurations that have not been tried; infinite if the space is continuous."""
        return self.columns.size - len(self._tried)

    def __contains__(self, genome: Sequence[float]) -> bool:
        return self.key(genome) not in self._tried

    def key(self, genome: Sequence[float]) -> Key:
        """Return the key of a configuration, which is the same for all its genomes."""
        return tuple(self._space.decode(genome).items())

    def mark_tried(self, genome: Sequence[float]) -> Key:
        """Count a configuration as tried, and return its key."""
        key = self.key(genome)
        self._tried.add(key)
        return key

    def forget(self) -> None:
        """Count all configurations as untried."""
        self._tried.clear()

    def next_of(self, design: list[list[float]]) -> list[float]:
        """Take genomes off the end of a design, and return the first untried one; if there is none, a random one.

        Example:
            >>> from deap_hpo import Int, Space
            >>> prospects, design = Prospects(Space({"n": Int(1, 4)}), np.random.default_rng(0)), [[0.9], [0.6], [0.1]]
            >>> _ = prospects.mark_tried([0.2])
            >>> prospects.next_of(design), design
            ([0.625], [[0.9]])
        """
        while design:
            genome = self._space.snap(design.pop())
            if genome in self:
                return genome
        return self.random()

    def random(self) -> list[float]:
        """Return a random untried genome; there must be one left."""
        if self.columns.size <= 2 * len(self._tried):  # Too few are left to be hit by chance.
            untried = [genome for genome in map(self._space.snap, self.columns.every_genome()) if genome in self]
            return untried[self._rng.integers(len(untried))]
        while True:
            genome = self._space.snap(self._space.sample(self._rng))
            if genome in self:
                return genome

    def most_promising(self, archive: Array, merits: Merits) -> tuple[list[float], str, float]:
        """Return the best untried genome found, its origin, and its merit; there must be one left.

        Args:
            archive: Genomes to breed from [n, genes], best first.
            merits: Tells how worthwhile it is to try a genome.

        Returns:
            The genome; its origin: "enumeration" if the whole space was searched, "random" if all bred genomes have
            been tried, else the name of the operator; and its merit.
        """
        genomes, origins, values = self._candidates(archive, merits)
        for index in np.argsort(-values, kind="stable"):
            genome = self._space.snap(genomes[index])
            if genome in self:
                return genome, str(origins[index]), float(values[index])
        genome = self.random()
        return genome, "random", float(merits(np.array([genome]))[0])

    def _candidates(self, archive: Array, merits: Merits) -> tuple[Array, NDArray[np.str_], Array]:
        """Return genomes, including tried ones, with the origin and the merit of each.

        For a small space, these are all its genomes; otherwise they are children, evolved further by merit alone.
        """
        if self.columns.size <= max(ENUMERABLE, 2 * len(self._tried)):
            everything = self.columns.every_genome()
            return everything, np.full(len(everything), "enumeration"), merits(everything)
        rng, genes = self._rng, len(self._space)
        candidates, operators = self.breeder.breed(rng, archive, self._n_children)
        values = merits(candidates)
        for _ in range(REFINEMENTS):
            best = np.argsort(-values, kind="stable")[:30]
            parents = best[rng.integers(len(best), size=200)]
            mask = self.breeder.mask(rng, len(parents), [1 / genes, 1.0])
            step = 10 ** rng.uniform(-2.5, -0.7, (len(parents), 1))
            children = self.breeder.perturb(rng, candidates[parents], mask, step)
            candidates = np.vstack([candidates[best], children])
            operators = np.append(operators[best], operators[parents])
            values = np.append(values[best], merits(children))
        return candidates, operators, values
