"""The paper's genetic algorithm with adaptive mechanisms, as methods of `strategies.py`: truncation+self-adaptive, ...

Self-adaptive mutation became a part of the package; restarts and ageing did not improve the rank and exist only here.
"""

from __future__ import annotations

import random
from functools import partial
from statistics import fmean, pstdev
from typing import Any

from deap_hpo.evolution.algorithms import next_generation
from deap_hpo.evolution.individual import make_toolbox
from deap_hpo.evolution.operators import mutSelfAdaptive, selTruncation
from deap_hpo.search_space.space import Space

POPULATION = 20
LEAST_DIVERSITY = 0.05  # mean standard deviation of a gene in the population; 0.29 at the start
MOST_GENERATIONS = 5  # older individuals are selected last, except for the best


def evolve(
    space: Space,
    objective: Any,
    *,
    budget: int,
    batch_size: int,
    seed: int,
    population_size: int = POPULATION,
    self_adaptive: bool = False,
    restarts: bool = False,
    ageing: bool = False,
) -> None:
    """Run `eaTruncation` with mechanisms; its batches are its generations, whatever `batch_size`."""
    random.seed(seed)
    toolbox = make_toolbox(space)
    if self_adaptive:
        toolbox.register("mutate", mutSelfAdaptive, low=0.0, up=1.0)
    if ageing:
        toolbox.register("select", select_young)
    population = toolbox.population(n=population_size)
    for _ in range(budget):
        evaluate(space, objective, population)
        if restarts and fmean(pstdev(genes) for genes in zip(*population, strict=True)) < LEAST_DIVERSITY:
            population = selTruncation(population, 1) + toolbox.population(n=population_size - 1)
            evaluate(space, objective, population)
        for individual in population:
            individual.age = getattr(individual, "age", 0) + 1
        population = next_generation(population, toolbox, 1.0, 1.0)
        for child in population:
            child.age = child.age if child.fitness.valid else 0


def select_young(individuals: list[Any], k: int) -> list[Any]:
    """Select the best individual, then the others by fitness, those that have lived too long last."""
    best, *others = selTruncation(individuals, len(individuals))
    young = [one for one in others if one.age <= MOST_GENERATIONS]
    old = [one for one in others if one.age > MOST_GENERATIONS]
    return [best, *young, *old][:k]


def evaluate(space: Space, objective: Any, population: list[Any]) -> None:
    invalid = [individual for individual in population if not individual.fitness.valid]
    for individual, loss in zip(invalid, objective([space.decode(one) for one in invalid]), strict=True):
        individual.fitness.values = (loss,)


VARIANTS = {
    "truncation+self-adaptive": partial(evolve, self_adaptive=True),
    "truncation+restarts": partial(evolve, restarts=True),
    "truncation+ageing": partial(evolve, ageing=True),
    "truncation-10": partial(evolve, population_size=10),
    "truncation-10+self-adaptive": partial(evolve, population_size=10, self_adaptive=True),
    "truncation-10+self-adaptive+restarts": partial(evolve, population_size=10, self_adaptive=True, restarts=True),
    "truncation-10+self-adaptive+ageing": partial(evolve, population_size=10, self_adaptive=True, ageing=True),
}
