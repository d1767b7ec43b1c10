"""What every strategy checks: its whole-number arguments, and that the outcomes it is told are of what it asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from deap_hpo.errors import InputError


def check_integer(name: str, value: Any, low: int) -> int:
    """Return a whole number that is at least `low`.

    Raises:
        InputError: It is not.

    Example:
        >>> check_integer("batch_size", 0, 1)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: batch_size must be an integer of at least 1; got 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise InputError(f"{name} must be an integer of at least {low}; got {value!r}.")
    return value


def costs(asked: Sequence[Sequence[float]], population: Sequence[Any]) -> list[float]:
    """Return what is to be minimised: the first objective of each individual, by the sign of its weight.

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
    if not all(individual.fitness.valid for individual in population):
        raise InputError("population must be evaluated before update; got an individual without fitness values.")
    # DEAP's weighted values are to be maximised, whatever the direction of the objective.
    found = [-float(individual.fitness.wvalues[0]) for individual in population]
    if any(map(math.isnan, found)):
        raise InputError("fitness values must be numbers other than NaN; the worst value is inf.")
    return found
