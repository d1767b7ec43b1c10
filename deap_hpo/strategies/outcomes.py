"""Outcomes for strategies: checked to belong to the individuals asked for, as costs, and as targets of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deap_hpo.errors import InputError

CUT = 2.0  # Losses are cut off at the median plus this many times its distance from the best.


def cost_of(individual: Any) -> float:
    """Return the cost that a strategy minimises: an individual's first objective, negated if its weight is positive.

    An individual that breaks a constraint costs ``inf``, like one without a value, since strategies for one objective
    have no notion of constraints (an extreme barrier; Audet and Dennis, SIAM Journal on Optimization 17(1), 2006).

    Raises:
        InputError: It has not been evaluated, or its value is NaN.

    Example:
        >>> from deap_hpo import Individual
        >>> individual = Individual([0.5])
        >>> individual.fitness.values = (3.0,)
        >>> cost_of(individual)
        3.0
    """
    if not individual.fitness.valid:
        raise InputError("population must be evaluated before update; got an individual without fitness values.")
    # DEAP's weighted values are always maximised, whatever the direction of the objective.
    cost = -float(individual.fitness.wvalues[0])
    if math.isnan(cost):
        raise InputError("fitness values must be numbers other than NaN; the worst value is inf.")
    return math.inf if getattr(individual.fitness, "violation", 0.0) > 0 else cost


def costs(asked: Sequence[Sequence[float]], population: Sequence[Any]) -> list[float]:
    """Return the cost of each individual; see `cost_of`.

    Args:
        asked: The genomes of the individuals that the last `generate` returned.
        population: The same individuals, evaluated, in the same order.

    Raises:
        InputError: These are other individuals, one of them has not been evaluated, or a value is NaN.

    Example:
        >>> from deap_hpo import Individual
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


def standardise(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map losses to targets of mean 0 and variance 1, cutting off those far above the median and infinite ones.

    If a network diverges or learns nothing, its loss says little except that it is bad. Cut off at the median plus
    twice its distance from the best, such a loss does not set the scale for the others. If the median is the best,
    because half of the losses are, the (lower) median of the others replaces it.

    Example:
        >>> standardise(np.array([1.0, 2.0, 3.0, np.inf])).round(2).tolist()
        [-1.34, -0.45, 0.45, 1.34]
    """
    values = values / max(1.0, np.abs(values[np.isfinite(values)]).max() / 1e150)  # So that squares do not overflow.
    finite = values[np.isfinite(values)]
    best, median = finite.min(), np.median(finite)
    if median == best < finite.max():
        median = np.quantile(finite[finite > best], 0.5, method="lower")
    if best == finite.max():  # The finite losses are all equal; others are infinite.
        cut = (values > best).astype(float)
    else:
        cut = np.clip(values, best, median + CUT * (median - best))
    if np.ptp(cut) == 0:
        return np.zeros(len(cut))
    if np.ptp(cut) < 1e-100:  # So that squares do not underflow.
        cut = (cut - cut.min()) / np.ptp(cut)
    targets: NDArray[np.float64] = (cut - cut.mean()) / cut.std()
    return targets
