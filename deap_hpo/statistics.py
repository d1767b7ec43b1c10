"""The columns of a logbook: statistics of a generation that leave out what diverged or breaks a constraint."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from deap import tools

from deap_hpo.evolution.feasibility import infeasibility
from deap_hpo.records.entries import Entry


def generation_statistics(
    batch: Callable[[], tuple[Sequence[Entry], float]], *, constrained: bool = False
) -> tools.Statistics:
    """Give the statistics that `Study.statistics` describes.

    Args:
        batch: Gives the entries of the latest generation, and the seconds that it took.
        constrained: See `Study.statistics`.

    Example:
        >>> from deap_hpo import Individual
        >>> population = [Individual([0.1]), Individual([0.2]), Individual([0.3])]
        >>> for individual, value in zip(population, (0.5, math.inf, 0.1)):
        ...     individual.fitness.values = (value,)
        >>> population[2].fitness.violation = 1.0
        >>> row = generation_statistics(lambda: ([], 0.0)).compile(population)
        >>> row["avg"], row["min"], row["max"]
        (0.5, 0.5, 0.5)
    """
    statistics = tools.Statistics(_usable_value)
    functions: dict[str, Callable[[Any], Any]] = {"avg": np.mean, "std": np.std, "min": np.min, "max": np.max}
    for name, function in functions.items():
        statistics.register(name, partial(_of_usable, function))
    statistics.register("diverged", lambda _: _count(batch()[0], "diverged", "failed"))
    if constrained:
        statistics.register("infeasible", lambda _: sum(map(_is_infeasible, batch()[0])))
    statistics.register("cached", lambda _: sum(entry.duplicate_of is not None for entry in batch()[0]))
    statistics.register("seconds", lambda _: round(batch()[1], 1))
    return statistics


def _count(entries: Sequence[Entry], *statuses: str) -> int:
    return sum(entry.evaluation.status in statuses for entry in entries)


def _usable_value(individual: Any) -> float:
    return math.nan if infeasibility(individual.fitness) > 0 else float(individual.fitness.values[0])


def _is_infeasible(entry: Entry) -> bool:
    return entry.evaluation.violation > 0 and entry.evaluation.status not in ("diverged", "failed")


def _of_usable(function: Callable[[Any], Any], values: Sequence[float]) -> float:
    usable = [value for value in values if not math.isnan(value)]
    return float(function(usable)) if usable else math.nan
