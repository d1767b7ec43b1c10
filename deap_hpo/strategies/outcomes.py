"""Outcomes as strategies take them: checked to be of what was asked for, as costs, and as targets of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deap_hpo.errors import InputError

CUT = 2.0  # Losses count up to the median and so many times its distance from the best.


def cost_of(individual: Any) -> float:
    """Return what a strategy minimises: the first objective of an individual, by the sign of its weight.

    What breaks a constraint costs as much as what has no value, ``inf``: strategies for one objective know no better
    (an extreme barrier; Audet and Dennis, SIAM Journal on Optimization 17(1), 2006).

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
    """Map losses to targets of mean 0 and variance 1, with what is far above the median (or infinite) cut off.

    Where a network diverges or learns nothing, its loss says little but that it is bad; cut off at the median and
    twice its distance from the best, it does not set the scale for the others. Where the median is the best, since half
    of the losses are, it is the (lower) median of the others.

    Example:
        >>> standardise(np.array([1.0, 2.0, 3.0, np.inf])).round(2).tolist()
        [-1.34, -0.45, 0.45, 1.34]
    """
    values = values / max(1.0, np.abs(values[np.isfinite(values)]).max() / 1e150)  # Squares are not to overflow.
    finite = values[np.isfinite(values)]
    best, median = finite.min(), np.median(finite)
    if median == best < finite.max():
        median = np.quantile(finite[finite > best], 0.5, method="lower")
    if best == finite.max():  # There are the good ones and the infinite ones.
        cut = (values > best).astype(float)
    else:
        cut = np.clip(values, best, median + CUT * (median - best))
    if np.ptp(cut) == 0:
        return np.zeros(len(cut))
    if np.ptp(cut) < 1e-100:  # Nor to underflow.
        cut = (cut - cut.min()) / np.ptp(cut)
    targets: NDArray[np.float64] = (cut - cut.mean()) / cut.std()
    return targets
