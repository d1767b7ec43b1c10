"""Hyperband and successive halving: many configurations for a few epochs, the better ones for more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, pairwise
from typing import Any

import numpy as np

from deap_hpo.checks import check_integer
from deap_hpo.errors import ArgumentError, warn
from deap_hpo.search_space.space import Space
from deap_hpo.strategies.outcomes import costs

Genome = list[float]


def rungs(epochs: int, min_epochs: int, eta: int) -> list[int]:
    """Return the numbers of epochs at which configurations are compared: `epochs` divided by powers of `eta`.

    Raises:
        InputError: An argument is out of its range.

    Warns:
        DeapHPOWarning: There is only one rung, so that no training ends early.

    Example:
        >>> rungs(27, 1, 3), rungs(5, 1, 2)
        ([1, 3, 9, 27], [1, 2, 5])
    """
    check_integer("min_epochs", min_epochs, 1)
    check_integer("eta", eta, 2)
    if check_integer("epochs", epochs, 1) < min_epochs:
        raise ArgumentError("epochs", f"must be at least min_epochs, {min_epochs}; got {epochs}.")
    count = math.floor(math.log(epochs / min_epochs) / math.log(eta) + 1e-9) + 1
    if count == 1:
        warn(f"no training ends early with epochs = {epochs}, min_epochs = {min_epochs} and eta = {eta}: all are whole")
    return [max(min_epochs, round(epochs / eta**k)) for k in reversed(range(count))]


def hyperband_brackets(epochs: int, min_epochs: int, eta: int) -> list[tuple[int, list[int]]]:
    """Return Hyperband's brackets: the number of configurations that each begins with, and the epochs of its rungs.

    Example:
        >>> hyperband_brackets(9, 1, 3)
        [(9, [1, 3, 9]), (5, [3, 9]), (3, [9])]
    """
    levels = rungs(epochs, min_epochs, eta)
    most = len(levels)
    # -(-a // b) is a / b rounded up.
    return [(-(-most * eta ** (most - 1 - i) // (most - i)), levels[i:]) for i in range(most)]


class HyperbandStrategy:
    """Hyperband: one bracket of successive halving after another, from many short trainings to few whole ones.

    A batch is a rung: all its configurations are trained up to the same number of epochs. The best of them, one in
    `eta`, are promoted: `Study.map` continues their trainings, so that only the added epochs are trained.

    Args:
        space: The search space.
        epochs: Epochs of a whole training.
        min_epochs: Epochs of the shortest training, at least 1.
        eta: One in `eta` configurations is promoted to the next rung, which has `eta` times the epochs; at least 2.
        seed: Seed of all draws, at least 0.
        brackets: The brackets to repeat: pairs of (number of configurations, epochs of the rungs). None takes
            Hyperband's own.
        propose: Called with a number, returns that many genomes. None draws them uniformly.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Li et al., "Hyperband: a novel bandit-based approach to hyperparameter optimization", JMLR 18(185), 2018,
        algorithm 1; here with its brackets repeated until the budget is spent.

    Example:
        >>> from deap_hpo import Float, Individual
        >>> strategy = HyperbandStrategy(Space({"x": Float(0.0, 1.0)}), epochs=9)
        >>> for rung in range(3):
        ...     population = strategy.generate(Individual)
        ...     print(len(population), "for", population[0].epochs, "epochs")
        ...     for individual in population:
        ...         individual.fitness.values = (individual[0],)
        ...     strategy.update(population)
        9 for 1 epochs
        3 for 3 epochs
        1 for 9 epochs
    """

    def __init__(
        self,
        space: Space,
        *,
        epochs: int,
        min_epochs: int = 1,
        eta: int = 3,
        seed: int = 0,
        brackets: Sequence[tuple[int, list[int]]] | None = None,
        propose: Callable[[int], list[Genome]] | None = None,
    ) -> None:
        self._eta = check_integer("eta", eta, 2)
        rng = np.random.default_rng(check_integer("seed", seed, 0))
        self._propose = propose or (lambda count: rng.random((count, len(space))).tolist())
        self._cycle = brackets or hyperband_brackets(epochs, min_epochs, eta)
        self._brackets = cycle(self._cycle)
        self._rungs: list[int] = []  # those of this bracket that are left, the current one first
        self._asked: list[Genome] = []
        self._starts: list[int | None] = []  # for each genome, the evaluation that it continues

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the configurations of a rung: new ones, or promoted ones that continue where they stopped."""
        if not self._rungs:
            count, rungs = next(self._brackets)
            self._rungs = list(rungs)
            self._asked, self._starts = self._propose(count), [None] * count
        individuals = [ind_init(list(genome)) for genome in self._asked]
        for individual, start in zip(individuals, self._starts, strict=True):
            individual.epochs, individual.start_from = self._rungs[0], start
        return individuals

    def update(self, population: Sequence[Any]) -> None:
        """Promote the best of the rung; ties go to those that were asked for first."""
        found = costs(self._asked, population)
        self._rungs = self._rungs[1:]
        promoted = sorted(range(len(found)), key=found.__getitem__)[: len(found) // self._eta]
        promoted = [i for i in promoted if math.isfinite(found[i])]
        if not promoted:
            self._rungs = []
        # After `Study.map`, an individual's origin is its own evaluation.
        self._starts = [population[i].origin[0] if population[i].origin else None for i in promoted]
        self._asked = [self._asked[i] for i in promoted]

    def batches(self, continues: bool = True) -> Iterator[tuple[int, int]]:
        """Yield for each batch, without end, the number of individuals and the epochs that each of them adds.

        If a whole rung diverges, its bracket ends sooner than predicted here.

        Args:
            continues: Whether trainings continue where they stopped, rather than start from the beginning.

        Example:
            >>> from itertools import islice
            >>> from deap_hpo import Float
            >>> list(islice(HyperbandStrategy(Space({"x": Float(0.0, 1.0)}), epochs=9).batches(), 5))
            [(9, 1), (3, 2), (1, 6), (5, 3), (1, 6)]
        """
        for count, levels in cycle(self._cycle):
            for before, epochs in pairwise([0, *levels]):
                if count:
                    yield count, epochs - before if continues else epochs
                count //= self._eta


def halving_strategy(
    space: Space, *, epochs: int, population_size: int = 27, min_epochs: int = 1, eta: int = 3, seed: int = 0
) -> HyperbandStrategy:
    """Make successive halving, repeated: one in `eta` of random configurations is promoted to each next rung.

    Args:
        space: The search space.
        epochs: Epochs of a whole training.
        population_size: Number of configurations to begin with, at least `eta`, so that one is promoted.
        min_epochs: Epochs of the shortest training, at least 1.
        eta: One in `eta` configurations is promoted to the next rung; at least 2.
        seed: Seed of all draws, at least 0.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016.
    """
    levels = rungs(epochs, min_epochs, eta)
    size = check_integer("population_size", population_size, eta if len(levels) > 1 else 1)
    bracket = (size, levels)
    return HyperbandStrategy(space, epochs=epochs, min_epochs=min_epochs, eta=eta, seed=seed, brackets=[bracket])
