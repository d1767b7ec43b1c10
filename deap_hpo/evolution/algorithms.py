"""Evolutionary algorithms beyond those of `deap.algorithms`, of the same form."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from deap import base, tools

from deap_hpo.checks import check_probability


def eaTruncation(
    population: list[Any],
    toolbox: base.Toolbox,
    cxpb: float,
    mutpb: float,
    ngen: int,
    stats: tools.Statistics | None = None,
    halloffame: tools.HallOfFame | None = None,
    verbose: bool = __debug__,
) -> tuple[list[Any], tools.Logbook]:
    """Evolve a population whose best half survives and breeds the other half.

    The pseudocode goes as follows::

        evaluate(population)
        for g in range(ngen):
            parents = select(population, len(population) // 2)
            children = breed(parents, len(population) - len(parents))
            evaluate(children)
            population = parents + children

    Children come in pairs: two different parents are cloned, and mated with probability `cxpb`; then each child is
    mutated with probability `mutpb`. A child that is neither mated nor mutated keeps its fitness, as the surviving
    parents do. Only individuals without a valid fitness are evaluated, all of a generation in one call of
    ``toolbox.map``. (With `deap_hpo.evolution.stages.StagedMap` as `map`, hopeless trainings end early.)

    Args:
        population: Individuals, at least 4; replaced in place, as by `deap.algorithms.eaSimple`. At the end, the
            survivors come first (best first if ``toolbox.select`` sorts), then the children of the last generation.
        toolbox: Has `clone`, `map`, `evaluate`, `select`, `mate` and `mutate` registered.
        cxpb: Probability of mating a pair, in [0, 1].
        mutpb: Probability of mutating a child, in [0, 1].
        ngen: Number of generations after the initial population, which is generation 0; at least 0.
        stats: Statistics of each generation, for the logbook.
        halloffame: Updated with each generation.
        verbose: Whether to print the logbook as it grows.

    Returns:
        The population, and a logbook with the columns `gen`, `nevals` (evaluations in that generation), and those of
        `stats`.

    Raises:
        ValueError: The population is smaller than 4, so that there are not two parents; `cxpb` or `mutpb` is outside
            [0, 1]; or `ngen` is negative.

    Source:
        "Evolving hyperparameters: genetic algorithms for dynamic neural network optimization" (The AI Scientist,
        2024). It does not say whether the parents survive; here they do.

    Example:
        >>> from deap_hpo import Float, Space, make_toolbox
        >>> random.seed(3)
        >>> toolbox = make_toolbox(Space({"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0)}))
        >>> toolbox.register("evaluate", lambda genome: (sum((gene - 0.5) ** 2 for gene in genome),))
        >>> population, logbook = eaTruncation(toolbox.population(n=10), toolbox, 1.0, 0.5, ngen=20, verbose=False)
        >>> min(individual.fitness.values for individual in population)[0] < 0.01
        True
        >>> logbook.select("nevals")[:3]
        [10, 5, 5]
    """
    if len(population) < 4:
        raise ValueError(f"population must have at least 4 individuals, of which 2 breed; got {len(population)}.")
    if ngen < 0:
        raise ValueError(f"ngen must be at least 0; got {ngen}.")
    check_probability("cxpb", cxpb)
    check_probability("mutpb", mutpb)
    logbook = tools.Logbook()
    logbook.header = ["gen", "nevals"] + (stats.fields if stats else [])

    for gen in range(ngen + 1):
        generation = next_generation(population, toolbox, cxpb, mutpb) if gen > 0 else population

        nevals = evaluate_invalid(generation, toolbox)

        population[:] = generation
        if halloffame is not None:
            halloffame.update(population)
        logbook.record(gen=gen, nevals=nevals, **(stats.compile(population) if stats else {}))
        if verbose:
            print(logbook.stream)

    return population, logbook


def evaluate_invalid(individuals: Iterable[Any], toolbox: base.Toolbox) -> int:
    """Evaluate the individuals without a valid fitness, in one call of ``toolbox.map``; return their number."""
    invalid = [individual for individual in individuals if not individual.fitness.valid]
    for individual, values in zip(invalid, toolbox.map(toolbox.evaluate, invalid), strict=True):
        individual.fitness.values = values
    return len(invalid)


def next_generation(population: list[Any], toolbox: base.Toolbox, cxpb: float, mutpb: float) -> list[Any]:
    """Return the surviving parents and the children, which are separate objects: one step of `eaTruncation`."""
    parents = toolbox.select(population, len(population) // 2)
    count = len(population) - len(parents)

    children: list[Any] = []
    while len(children) < count:
        pair = [toolbox.clone(parent) for parent in random.sample(parents, 2)]
        if random.random() < cxpb:
            pair = toolbox.mate(*pair)
            for child in pair:
                del child.fitness.values
        children += pair
    del children[count:]

    for index, child in enumerate(children):
        if random.random() < mutpb:
            (children[index],) = toolbox.mutate(child)
            del children[index].fitness.values

    return list(parents) + children
