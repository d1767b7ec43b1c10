"""SHADE: its selection, its archive, what it remembers, and children that stay inside."""

import math

import numpy as np
import pytest

from deap_hpo.evolution.individual import Individual
from deap_hpo.search_space.space import Float, Space
from deap_hpo.strategies.differential_evolution import DifferentialEvolutionStrategy

SPACE = Space({name: Float(0.0, 1.0) for name in "abcd"})


def step(strategy, costs):
    """One batch with the given costs; return the genomes."""
    population = strategy.generate(Individual)
    for individual, cost in zip(population, costs, strict=True):
        individual.fitness.values = (cost,)
    strategy.update(population)
    return [list(individual) for individual in population]


def test_the_better_of_child_and_parent_stays_and_the_beaten_parent_is_archived():
    strategy = DifferentialEvolutionStrategy(SPACE, population_size=4)
    parents = step(strategy, [1.0, 2.0, math.inf, math.inf])
    children = step(strategy, [0.5, 3.0, 4.0, math.inf])
    assert strategy._members.tolist() == [children[0], parents[1], children[2], children[3]]
    assert strategy._costs.tolist() == [0.5, 2.0, 4.0, math.inf]
    assert np.array(strategy._archive).tolist() == [parents[0], parents[2]]


def test_the_archive_never_exceeds_the_population():
    strategy = DifferentialEvolutionStrategy(SPACE, population_size=5)
    for cost in range(10, 0, -1):
        step(strategy, [float(cost)] * 5)
    assert len(strategy._archive) == 5


def test_remembers_the_weighted_means_of_what_succeeded():
    strategy = DifferentialEvolutionStrategy(SPACE, population_size=4, memory_size=2)
    step(strategy, [1.0, 1.0, 1.0, math.inf])
    population = strategy.generate(Individual)
    strategy._drawn = [(0.2, 0.1), (0.8, 0.9), (0.5, 0.5), (1.0, 0.0)]
    for individual, cost in zip(population, [0.0, 0.5, 2.0, 7.0], strict=True):
        individual.fitness.values = (cost,)
    strategy.update(population)
    # Gains are 1, 0.5 and infinite, which counts as the largest finite one: weights 0.4, 0.2, 0.4.
    factors, rates, weights = np.array([0.2, 0.8, 1.0]), np.array([0.1, 0.9, 0.0]), np.array([0.4, 0.2, 0.4])
    assert strategy._factors == pytest.approx([(weights @ factors**2) / (weights @ factors), 0.5])
    assert strategy._rates == pytest.approx([weights @ rates, 0.5])


def test_a_batch_without_success_changes_no_memory():
    strategy = DifferentialEvolutionStrategy(SPACE, population_size=4)
    step(strategy, [1.0] * 4)
    step(strategy, [2.0] * 4)
    assert set(strategy._factors) == set(strategy._rates) == {0.5}
    assert strategy._archive == []


def test_children_stay_inside_though_the_best_lie_on_the_bounds():
    strategy = DifferentialEvolutionStrategy(SPACE, seed=3)
    costs = [0.0] * strategy.population_size
    for _ in range(60):
        population = strategy.generate(Individual)
        costs = [abs(genome[0]) + abs(1 - genome[1]) for genome in population]
        for individual, cost in zip(population, costs, strict=True):
            assert all(0.0 <= gene <= 1.0 for gene in individual)
            individual.fitness.values = (cost,)
        strategy.update(population)
    assert min(costs) < 1e-3


def test_donors_differ_by_members_of_population_and_archive():
    strategy = DifferentialEvolutionStrategy(SPACE, population_size=6)
    strategy._members = np.full((6, 4), 0.5)
    strategy._costs = np.zeros(6)
    strategy._archive = [np.full(4, 0.4)] * 6
    children = [strategy._child(i % 6, np.arange(6), factor=0.7, rate=1.0) for i in range(200)]
    # The other one comes from the 4 members, which are all equal, or the 6 of the archive.
    assert all(np.allclose(child, 0.5) or np.allclose(child, 0.57) for child in children)
    assert 90 < sum(np.allclose(child, 0.57) for child in children) < 150


@pytest.mark.filterwarnings("error")
def test_the_largest_costs_there_are_are_compared():
    largest = np.finfo(float).max
    strategy = DifferentialEvolutionStrategy(SPACE, population_size=4)
    step(strategy, [largest, largest, largest, 1.0])
    step(strategy, [-largest, 0.5, largest, 1.0])
    assert strategy._costs.tolist() == [-largest, 0.5, largest, 1.0]
