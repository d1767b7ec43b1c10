"""Evolutionary operators beyond those of `deap.tools`, of the same form: they draw from the global `random`."""

from __future__ import annotations

import math
import random
from collections.abc import MutableSequence, Sequence
from typing import Any, TypeVar

_Individual = TypeVar("_Individual", bound=MutableSequence[float])
_Fit = TypeVar("_Fit")


def selTruncation(individuals: Sequence[_Fit], k: int) -> list[_Fit]:
    """Select the best `k` individuals, best first; equals keep their order.

    Individuals with a non-finite fitness come last, whatever the weights: infinite ones, then NaN, which DEAP's own
    comparison would rank by chance.

    Args:
        individuals: Individuals with a valid fitness.
        k: Number of individuals to select, 0 <= k <= len(individuals).

    Returns:
        References to the selected individuals.

    Raises:
        ValueError: `k` is out of range, or an individual has not been evaluated.

    Source:
        Truncation selection: Mühlenbein and Schlierkamp-Voosen, "Predictive models for the breeder genetic
        algorithm I", Evolutionary Computation 1(1), 1993.

    Example:
        >>> from deap_hpo.individual import Individual
        >>> population = [Individual([0.1]), Individual([0.2]), Individual([0.3])]
        >>> for individual, loss in zip(population, [0.5, float("inf"), 0.4]):
        ...     individual.fitness.values = (loss,)
        >>> selTruncation(population, 2)
        [[0.3], [0.1]]
    """
    if not 0 <= k <= len(individuals):
        raise ValueError(f"k must be between 0 and the number of individuals, {len(individuals)}; got {k}.")
    return sorted(individuals, key=_badness)[:k]


def mutBoundedResample(
    individual: _Individual, low: float | Sequence[float], up: float | Sequence[float], indpb: float
) -> tuple[_Individual]:
    """Replace each gene, with probability `indpb`, by a fresh uniform draw from its range.

    Args:
        individual: Real-valued individual, changed in place.
        low: Lower bound of the genes, or one for each (a longer sequence's rest is not used).
        up: Upper bound of the genes, or one for each, at least `low`.
        indpb: Independent probability of each gene to be replaced, in [0, 1].

    Returns:
        A tuple of the individual.

    Raises:
        ValueError: `indpb` is outside [0, 1], there are fewer bounds than genes, or a range is not finite and ordered.

    Source:
        The mutation of "Evolving hyperparameters: genetic algorithms for dynamic neural network optimization" (The
        AI Scientist, 2024).

    Example:
        >>> random.seed(1)
        >>> mutBoundedResample([2.0, 2.0, 2.0], low=0.0, up=1.0, indpb=0.5)
        ([0.8474337369372327, 2.0, 0.49543508709194095],)
    """
    check_probability("indpb", indpb)
    size = len(individual)
    for index, lower, upper in zip(range(size), _bounds("low", low, size), _bounds("up", up, size), strict=True):
        if not 0 <= upper - lower < math.inf:
            raise ValueError(f"low must be at most up, both finite; got low={lower}, up={upper} for gene {index}.")
        if random.random() < indpb:
            individual[index] = random.uniform(lower, upper)
    return (individual,)


def check_probability(name: str, value: float) -> None:
    """Refuse an argument that is no probability.

    Raises:
        ValueError: The value is outside [0, 1].

    Example:
        >>> check_probability("indpb", 20)
        Traceback (most recent call last):
            ...
        ValueError: indpb must be in [0, 1]; got 20.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1]; got {value}.")


def _badness(individual: Any) -> tuple[int, tuple[float, ...]]:
    if not individual.fitness.valid:
        raise ValueError(f"individuals must be evaluated before selection; got {individual} without a fitness.")
    weighted: tuple[float, ...] = individual.fitness.wvalues
    if any(map(math.isnan, weighted)):
        return 2, ()  # NaN has no order: these keep the one they came in.
    return int(any(map(math.isinf, weighted))), tuple(-value for value in weighted)


def _bounds(name: str, bounds: float | Sequence[float], size: int) -> Sequence[float]:
    if isinstance(bounds, (int, float)):
        return [bounds] * size
    if len(bounds) < size:
        raise ValueError(f"{name} must hold a bound for each of the {size} genes; got {len(bounds)}.")
    return bounds[:size]
