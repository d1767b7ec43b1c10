"""What every strategy checks: that the outcomes it is told have values, and are of what it asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from deap_hpo.errors import InputError


def cost_of(individual: Any) -> float:
    """Return what a strategy minimises: the first objective of an individual, by the sign of its weight.

    What breaks a constraint costs as much as what has no value, ``inf``: strategies for one objective know no better
    (an extreme barrier; Audet and Dennis, SIAM Journal on Optimization 17(1), 2006).

    Raises:
        InputError: It has not been evaluated, or its value is NaN.

    Example:
        >>> from deap_hpo.individual import Individual
        >>> individual = Individual([0.5])
        >>> individual.fitness.values = (3.0,)
        >>> cost_of(individual)
        3.0
    """
    if not individual.fitness.valid:
        raise InputError("population must be evaluated before update; got an individual without fitness values.")
    # DEAP's weighted values are to be maximised, whatever the direction of the objective.
    cost = -float(individual.fitness.wvalues[0])
    if math.isnan(cost):
        raise InputError("fitness values must be numbers other than NaN; the worst value is inf.")
    return math.inf if getattr(individual.fitness, "violation", 0.0) > 0 else cost


def costs(asked: Sequence[Sequence[float]], population: Sequence[Any]) -> list[float]:
    """Return what is to be minimised of each individual; see `cost_of`.

    Args:
        asked: The genomes that the last `generate` gave out.
        population: The same individuals, evaluated, in the same order.

    Raises:
        InputError: These are other individuals, one of them has not been evaluated, or a value is NaN.

    Example:
        >>> from deap_hpo.individual import Individual
        >>> individual = Individual([0.5])
        >>> individual.fitness.values = (3.0,)
        >>> costs([[0.5]], [individual])
        [3.0]
    """
    if len(population) != len(asked) or any(list(a) != list(b) for a, b in zip(asked, population, strict=True)):
        raise InputError(
            "population must be the individuals of the last generate, unchanged and in the same order; "
            f"expected {len(asked)} genome(s) starting with {list(asked[0]) if asked else None}, "
            f"got {len(population)} starting with {list(population[0]) if population else None}."
        )
    return [cost_of(individual) for individual in population]
