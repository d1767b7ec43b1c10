"""Feasibility before quality: a fitness that compares by Deb's rules, and selection operators that follow them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from deap import base

_Fit = TypeVar("_Fit")


def infeasibility(fitness: Any) -> float:
    """Give how far a fitness is from being usable; 0 if it is feasible and finite.

    This is its `violation` if that is above 0; otherwise it is ``inf`` if a value is not finite, because nothing is
    known about an evaluation that diverged or failed.
    """
    violation: float = getattr(fitness, "violation", 0.0)
    return violation if violation > 0 or all(map(math.isfinite, fitness.wvalues)) else math.inf


class Fitness(base.Fitness):  # type: ignore[misc]
    """A fitness with a `violation`, so that everything in DEAP that compares fitnesses follows Deb's rules.

    The fitness with the smaller violation is better, whatever the values; the values decide among the feasible. A
    fitness with a value that is not finite comes last. So `selBest`, `selTournament`, `selNSGA2`, `selTournamentDCD`,
    `HallOfFame` and `ParetoFront` need no change. (`sortLogNondominated` compares bare values, and so ignores this.)

    DEAP's own `ConstrainedFitness` is not suitable: a copy of it, and so every clone of an individual, loses the
    violation; all infeasible ones are equal; and one that breaks a constraint must not have values.

    Source:
        Deb, "An efficient constraint handling method for genetic algorithms", Computer Methods in Applied Mechanics and
        Engineering 186, 2000, section 3; for dominance Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist
        multiobjective genetic algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6(2), 2002,
        definition 1.

    Example:
        >>> from deap_hpo.evolution.individual import individual_type
        >>> Individual = individual_type((-1.0, -1.0))
        >>> good, bad = Individual([0.1]), Individual([0.2])
        >>> good.fitness.values, bad.fitness.values = (0.5, 3e6), (0.2, 1e6)
        >>> bad.fitness.violation = 0.1
        >>> good.fitness > bad.fitness, good.fitness.dominates(bad.fitness)
        (True, True)
    """

    violation = 0.0

    @base.Fitness.values.deleter  # type: ignore[untyped-decorator]
    def values(self) -> None:
        """Delete the values and the violation, since both belong to the genome before it was changed."""
        self.wvalues = ()
        self.violation = 0.0

    def dominates(self, other: Any, obj: slice = slice(None)) -> bool:
        """Tell whether this is less infeasible or, if equally so, no worse in all objectives and better in one."""
        # Sorting compares every pair. Most are feasible, and a sum is the fastest check that all values are finite.
        violated = self.violation or getattr(other, "violation", 0.0)
        if not violated and math.isfinite(sum(self.wvalues + other.wvalues)):
            return bool(super().dominates(other, obj))
        ours, theirs = infeasibility(self), infeasibility(other)
        return ours < theirs if ours != theirs else bool(super().dominates(other, obj))

    def __lt__(self, other: Any) -> bool:
        return _rank(self) < _rank(other)

    def __le__(self, other: Any) -> bool:
        return _rank(self) <= _rank(other)

    def __eq__(self, other: Any) -> bool:
        return _rank(self) == _rank(other)

    __hash__ = base.Fitness.__hash__

    def __deepcopy__(self, memo: dict[int, Any]) -> Fitness:
        copied = self.__class__()
        copied.wvalues, copied.violation = self.wvalues, self.violation
        return copied


def _rank(fitness: Any) -> tuple[float, tuple[float, ...]]:
    return -infeasibility(fitness), fitness.wvalues


def selFeasibleFirst(
    individuals: Sequence[_Fit], k: int, select: Callable[[list[_Fit], int], list[_Fit]]
) -> list[_Fit]:
    """Select feasible individuals first, by an operator that compares bare values, such as `selNSGA3WithMemory`.

    The remaining places go to the others, the least infeasible first; equals keep their order.

    Args:
        individuals: Individuals with a valid fitness.
        k: Number of individuals to select, 0 <= k <= len(individuals).
        select: Called with the feasible and finite individuals, if there are any, and how many of them to select.

    Returns:
        References to the selected individuals.

    Source:
        Jain and Deb, "An evolutionary many-objective optimization algorithm using reference-point based nondominated
        sorting approach, part II: handling constraints", IEEE Transactions on Evolutionary Computation 18(4), 2014,
        section II.

    Example:
        >>> from deap import tools
        >>> from deap_hpo.evolution.individual import individual_type
        >>> population = [individual_type((-1.0, -1.0))([gene]) for gene in (0.1, 0.2, 0.3, 0.4)]
        >>> for individual, violation in zip(population, (2.0, 0.0, 1.0, 0.0)):
        ...     individual.fitness.values = (individual[0], -individual[0])
        ...     individual.fitness.violation = violation
        >>> selFeasibleFirst(population, 3, select=tools.selNSGA2)
        [[0.2], [0.4], [0.3]]
    """
    ranks = [infeasibility(individual.fitness) for individual in individuals]  # type: ignore[attr-defined]
    feasible = [one for one, rank in zip(individuals, ranks, strict=True) if rank == 0]
    chosen = select(feasible, min(k, len(feasible))) if feasible else []
    others = [i for i in sorted(range(len(ranks)), key=ranks.__getitem__) if ranks[i] > 0]
    return [*chosen, *(individuals[i] for i in others[: k - len(chosen)])]


def selFeasibleTournament(individuals: Sequence[_Fit], k: int) -> list[_Fit]:
    """Select `k` times the less infeasible of two random individuals; either of the two if they are equal.

    This is the mating selection of NSGA-III, in which feasible individuals do not compete.

    Source:
        Jain and Deb 2014 (see `selFeasibleFirst`), algorithm 2.

    Example:
        >>> from deap_hpo import Individual
        >>> pair = [Individual([0.1]), Individual([0.2])]
        >>> pair[0].fitness.values, pair[1].fitness.values = (1.0,), (math.inf,)
        >>> selFeasibleTournament(pair, 3)
        [[0.1], [0.1], [0.1]]
    """
    pairs = [random.sample(list(individuals), 2) for _ in range(k)]
    return [min(pair, key=lambda one: infeasibility(one.fitness)) for pair in pairs]  # type: ignore[attr-defined]
