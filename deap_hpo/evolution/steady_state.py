"""Steady-state evolution: a child is bred whenever an evaluation finishes, rather than a generation at a time.

Both algorithms use ``toolbox.each`` where others use ``toolbox.map``. It gives each evaluation when it finishes, and
accepts individuals that are added in the meantime. It is `deap_hpo.steady_study.SteadyStudy.each`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from deap import base, tools

from deap_hpo.checks import check_probability
from deap_hpo.errors import InputError


def eaSteadyState(
    population: list[Any],
    toolbox: base.Toolbox,
    cxpb: float,
    mutpb: float,
    nevals: int,
    stats: tools.Statistics | None = None,
    halloffame: tools.HallOfFame | None = None,
    verbose: bool = __debug__,
) -> tuple[list[Any], tools.Logbook]:
    """Evolve a population of the best individuals so far, one child at a time.

    The pseudocode goes as follows::

        start the evaluation of the whole population
        whenever an evaluation finishes:
            add the individual to the survivors; drop the worst if there are too many
            start the evaluation of a child of two of the survivors' better half

    Args:
        population: Individuals, at least 4; replaced in place by the survivors, best first. About half as many are
            under evaluation at any time, so it should have at least twice as many individuals as there are workers.
        toolbox: Has `clone`, `each`, `evaluate`, `select`, `mate` and `mutate` registered; `each` is
            `SteadyStudy.each`.
        cxpb: Probability of mating the parents, in [0, 1].
        mutpb: Probability of mutating the child, in [0, 1].
        nevals: Evaluations in total, the initial population's included.
        stats: Statistics of the survivors, for the logbook, such as `SteadyStudy.statistics`.
        halloffame: Updated with each evaluation.
        verbose: Whether to print the logbook as it grows.

    Returns:
        The population, and a logbook with a row for every ``len(population)`` finished evaluations, and a last row for
        the remaining ones. Its columns are `gen`, `nevals`, and those of `stats`.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> from deap_hpo import Float, Space, make_toolbox
        >>> from deap_hpo.steady_study import SteadyStudy
        >>> space = Space({"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0)})
        >>> with SteadyStudy(space, seed=1) as study:
        ...     toolbox = make_toolbox(space, indpb=0.5)
        ...     toolbox.register("evaluate", lambda params: params["x"] ** 2 + params["y"] ** 2)
        ...     toolbox.register("each", study.each)
        ...     start = toolbox.population(n=8)
        ...     population, logbook = eaSteadyState(start, toolbox, 0.5, 1.0, 80, study.statistics(), verbose=False)
        >>> population[0].fitness.values[0] < 0.5, len(study.record), logbook[-1]["gen"], logbook[-1]["nevals"]
        (True, 80, 9, 8)
    """
    size = len(population)
    if size < 4 or nevals < size:
        raise ValueError(f"population must be at least 4, and nevals at least that; got {size} and {nevals}.")
    check_probability("cxpb", cxpb)
    check_probability("mutpb", mutpb)
    log = _Log(stats, size, verbose)
    individuals = list(population)  # `each` also evaluates individuals that are added later
    survivors: list[Any] = []
    for individual, values in toolbox.each(toolbox.evaluate, individuals):
        individual.fitness.values = values
        if halloffame is not None:
            halloffame.update([individual])
        survivors.append(individual)
        if len(survivors) > size:
            del survivors[min(range(len(survivors)), key=lambda position: survivors[position].fitness)]
        if len(survivors) >= size // 2 and len(individuals) < nevals:
            individuals.append(_child(survivors, toolbox, cxpb, mutpb))
        log.count(survivors)
    log.end(survivors)
    population[:] = sorted(survivors, key=attrgetter("fitness"), reverse=True)
    return population, log.book


def eaSteadyGenerateUpdate(
    toolbox: base.Toolbox,
    size: int,
    nevals: int,
    halloffame: tools.HallOfFame | None = None,
    stats: tools.Statistics | None = None,
    verbose: bool = __debug__,
) -> tuple[list[Any], tools.Logbook]:
    """Generate and evaluate one individual at a time: DEAP's `eaGenerateUpdate` without generations.

    The pseudocode goes as follows::

        start the evaluations of `size` individuals from generate()
        whenever an evaluation finishes:
            update([individual])
            start the evaluation of an individual from generate()

    So for each proposal, a strategy knows the results of all evaluations but the `size - 1` that are under way.

    Args:
        toolbox: Has `each`, `evaluate`, `generate` and `update` registered; `each` is `SteadyStudy.each`. `generate`
            gives an individual (that of a strategy with ``batch_size=1``), or several at the start. If it gives none,
            nothing is started; the run ends when nothing is under way.
        size: Individuals under evaluation at any time, at least 1. With 1.5 times the number of workers, all are kept
            busy.
        nevals: Evaluations in total, at least 1.
        halloffame: Updated with each evaluation.
        stats: Statistics of the latest `size` individuals, for the logbook, such as `SteadyStudy.statistics`.
        verbose: Whether to print the logbook as it grows.

    Returns:
        The latest `size` individuals, and a logbook with a row for every `size` finished evaluations, and a last row
        for the remaining ones. Its columns are `gen`, `nevals`, and those of `stats`.

    Raises:
        InputError: `size` or `nevals` is below 1.

    Example:
        >>> from deap_hpo import Float, Individual, Space
        >>> from deap_hpo.steady_study import SteadyStudy
        >>> from deap_hpo.strategies import make_strategy
        >>> space = Space({"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0)})
        >>> strategy = make_strategy("surrogate", space, seed=1)
        >>> with SteadyStudy(space, seed=1) as study:
        ...     toolbox = base.Toolbox()
        ...     toolbox.register("generate", strategy.generate, Individual)
        ...     toolbox.register("update", strategy.update)
        ...     toolbox.register("evaluate", lambda params: params["x"] ** 2 + params["y"] ** 2)
        ...     toolbox.register("each", study.each)
        ...     population, logbook = eaSteadyGenerateUpdate(toolbox, size=4, nevals=30, verbose=False)
        >>> study.best_value < 0.5, len(population), logbook.select("nevals")
        (True, 4, [4, 4, 4, 4, 4, 4, 4, 2])
    """
    if size < 1 or nevals < 1:
        raise InputError(f"size and nevals must be at least 1; got {size} and {nevals}.")
    log = _Log(stats, size, verbose)
    individuals: list[Any] = []  # `each` also evaluates individuals that are added later
    proposed: deque[Any] = deque()
    latest: list[Any] = []

    def propose(finished: int) -> None:
        while len(individuals) < min(finished + size, nevals):
            proposed.extend(() if proposed else toolbox.generate())
            if not proposed:
                break
            individuals.append(proposed.popleft())

    propose(finished=0)
    for finished, (individual, values) in enumerate(toolbox.each(toolbox.evaluate, individuals), 1):
        individual.fitness.values = values
        toolbox.update([individual])
        if halloffame is not None:
            halloffame.update([individual])
        latest = [*latest, individual][-size:]
        propose(finished)
        log.count(latest)
    log.end(latest)
    return latest, log.book


def _child(survivors: list[Any], toolbox: base.Toolbox, cxpb: float, mutpb: float) -> Any:
    parents = toolbox.select(survivors, max(2, len(survivors) // 2))
    first, second = (toolbox.clone(parent) for parent in random.sample(parents, 2))
    if random.random() < cxpb:
        first, _ = toolbox.mate(first, second)
    if random.random() < mutpb:
        (first,) = toolbox.mutate(first)
    del first.fitness.values
    return first


class _Log:
    """A logbook with a row for every `size` finished evaluations, and a last row for the remaining ones."""

    def __init__(self, stats: tools.Statistics | None, size: int, verbose: bool) -> None:
        self.book = tools.Logbook()
        self.book.header = ["gen", "nevals"] + (stats.fields if stats else [])
        self._stats, self._size, self._verbose = stats, size, verbose
        self._finished = 0  # since the last row

    def count(self, population: Sequence[Any]) -> None:
        """Count an evaluation; if a row is due, write it with the statistics of `population`."""
        self._finished += 1
        if self._finished == self._size:
            self.end(population)

    def end(self, population: Sequence[Any]) -> None:
        """Write a row for the evaluations finished since the last one, if there are any."""
        if not self._finished:
            return
        row = self._stats.compile(population) if self._stats else {}
        self.book.record(gen=len(self.book), nevals=self._finished, **row)
        self._finished = 0
        if self._verbose:
            print(self.book.stream)
