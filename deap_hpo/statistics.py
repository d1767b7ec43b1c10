"""The columns of a logbook: statistics of a generation that leave out values that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from deap import tools

from deap_hpo.records.entries import Entry


def generation_statistics(batch: Callable[[], tuple[Sequence[Entry], float]]) -> tools.Statistics:
    """Give the statistics that `Study.statistics` describes.

    Args:
        batch: Gives the entries of the latest generation, and the seconds that it took.

    Example:
        >>> from deap_hpo import Individual
        >>> population = [Individual([0.1]), Individual([0.2])]
        >>> population[0].fitness.values, population[1].fitness.values = (0.5,), (math.inf,)
        >>> row = generation_statistics(lambda: ([], 0.0)).compile(population)
        >>> row["avg"], row["max"]
        (0.5, 0.5)
    """
    statistics = tools.Statistics(lambda individual: individual.fitness.values[0])
    functions: dict[str, Callable[[Any], Any]] = {"avg": np.mean, "std": np.std, "min": np.min, "max": np.max}
    for name, function in functions.items():
        statistics.register(name, partial(_of_finite, function))
    statistics.register("diverged", lambda _: _count(batch()[0], "diverged", "failed"))
    statistics.register("cached", lambda _: sum(entry.duplicate_of is not None for entry in batch()[0]))
    statistics.register("seconds", lambda _: round(batch()[1], 1))
    return statistics


def _count(entries: Sequence[Entry], *statuses: str) -> int:
    return sum(entry.evaluation.status in statuses for entry in entries)


def _of_finite(function: Callable[[Any], Any], values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(function(finite)) if finite else math.nan
