"""Operators: ranking of any fitness, genes that stay in their bounds, frequencies that agree with indpb."""

import copy
import math
import random
import re

import numpy as np
import pytest
from deap import tools
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import Individual, individual_type, make_toolbox
from deap_hpo.evolution.operators import mutBoundedResample, mutSelfAdaptive, selTruncation

repeatable = settings(derandomize=True, deadline=None)
inf, nan = math.inf, math.nan


def evaluated(*fitnesses, weights=(-1.0,)):
    population = []
    for index, values in enumerate(fitnesses):
        individual = individual_type(weights)([float(index)])
        individual.fitness.values = values if isinstance(values, tuple) else (values,)
        population.append(individual)
    return population


def order(population, k):
    return [int(individual[0]) for individual in selTruncation(population, k)]


@pytest.mark.parametrize(
    ("fitnesses", "weights", "expected"),
    [
        ([3, 1, 2], (-1.0,), [1, 2, 0]),
        ([3, 1, 2], (1.0,), [0, 2, 1]),
        ([1, 0, 1, 0], (-1.0,), [1, 3, 0, 2]),
        ([nan, inf, 2, nan, inf, 1], (-1.0,), [5, 2, 1, 4, 0, 3]),
        ([nan, -inf, 2, nan, -inf, 1], (1.0,), [2, 5, 1, 4, 0, 3]),
        ([-inf, 5], (-1.0,), [1, 0]),
        ([(1, inf), (9, 9), (1, nan), (9, 2)], (-1.0, -1.0), [3, 1, 0, 2]),
        ([(1, 5), (1, 9), (0, 0)], (-1.0, 1.0), [2, 1, 0]),
    ],
)
def test_truncation_ranks(fitnesses, weights, expected):
    population = evaluated(*fitnesses, weights=weights)
    for k in range(len(population) + 1):
        assert order(population, k) == expected[:k]


@repeatable
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=16), min_size=1), st.data())
def test_truncation_agrees_with_sel_best_on_finite_fitness(losses, data):
    population = evaluated(*losses)
    k = data.draw(st.integers(0, len(losses)))
    selected, best = selTruncation(population, k), tools.selBest(population, k)
    assert [one.fitness.values for one in selected] == [one.fitness.values for one in best]


def test_truncation_returns_references_and_leaves_its_argument():
    population = evaluated(2, 1)
    before = list(population)
    assert selTruncation(population, 1)[0] is population[1]
    assert all(now is then for now, then in zip(population, before, strict=True))


@pytest.mark.parametrize("k", [-1, 3])
def test_truncation_refuses_a_k_out_of_range(k):
    with pytest.raises(ValueError, match=f"k must be between 0 and the number of individuals, 2; got {k}."):
        selTruncation(evaluated(1, 2), k)


def test_truncation_refuses_unevaluated_individuals():
    with pytest.raises(ValueError, match="individuals must be evaluated before selection"):
        selTruncation([*evaluated(1), Individual([0.5])], 1)


bounds = st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).map(sorted)


@repeatable
@given(st.lists(bounds, min_size=1, max_size=6), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32))
def test_no_operator_leaves_the_bounds(ranges, cxindpb, indpb, seed):
    random.seed(seed)
    low, up = zip(*ranges, strict=True)
    first, second = ([random.uniform(*each) for each in ranges] for _ in range(2))
    tools.cxUniform(first, second, indpb=cxindpb)
    for individual in (first, second):
        (mutant,) = mutBoundedResample(individual, low, up, indpb)
        assert mutant is individual
        assert all(lower <= gene <= upper for gene, (lower, upper) in zip(mutant, ranges, strict=True))


@pytest.mark.parametrize("indpb", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_genes_mutate_with_probability_indpb(indpb):
    random.seed(0)
    (mutant,) = mutBoundedResample([-1.0] * 20_000, 0.0, 1.0, indpb)
    assert binomtest(sum(gene >= 0 for gene in mutant), 20_000, indpb).pvalue > 1e-3


def test_draws_are_uniform():
    random.seed(0)
    (mutant,) = mutBoundedResample([0.0] * 20_000, -3.0, 5.0, 1.0)
    for quartile in (-1.0, 1.0, 3.0):
        share = (quartile + 3.0) / 8.0
        assert binomtest(sum(gene < quartile for gene in mutant), 20_000, share).pvalue > 1e-3


def test_bounds_may_be_numpy_arrays_and_longer_than_the_individual():
    random.seed(0)
    (mutant,) = mutBoundedResample([0.0, 0.0], np.array([1.0, 5.0]), [2.0, 6.0, 7.0], 1.0)
    assert 1.0 <= mutant[0] <= 2.0
    assert 5.0 <= mutant[1] <= 6.0


@pytest.mark.parametrize(
    ("low", "up", "indpb", "message"),
    [
        (0.0, 1.0, 1.1, "indpb must be in [0, 1]; got 1.1."),
        (0.0, 1.0, nan, "indpb must be in [0, 1]; got nan."),
        (1.0, 0.0, 0.0, "low must be at most up, both finite; got low=1.0, up=0.0 for gene 0."),
        ([0.0, 2.0], 1.0, 0.5, "low must be at most up, both finite; got low=2.0, up=1.0 for gene 1."),
        (0.0, inf, 0.5, "low must be at most up, both finite; got low=0.0, up=inf for gene 0."),
        (nan, 1.0, 0.5, "low must be at most up, both finite; got low=nan, up=1.0 for gene 0."),
        ([0.0], 1.0, 0.5, "low must hold a bound for each of the 2 genes; got 1."),
        (0.0, [1.0], 0.5, "up must hold a bound for each of the 2 genes; got 1."),
    ],
)
def test_mutation_refuses_bad_arguments(low, up, indpb, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        mutBoundedResample([0.5, 0.5], low, up, indpb)


@repeatable
@given(st.data())
def test_self_adaptive_mutation_keeps_its_bounds(data):
    size = data.draw(st.integers(1, 6))
    low = data.draw(st.lists(st.floats(-1e3, 1e3), min_size=size, max_size=size))
    up = [lower + data.draw(st.floats(0, 1e3)) for lower in low]
    individual = Individual(
        [lower + data.draw(st.floats(0, 1)) * (upper - lower) for lower, upper in zip(low, up, strict=True)]
    )
    random.seed(data.draw(st.integers(0, 100)))
    for _ in range(30):
        mutSelfAdaptive(individual, low, up)
        assert all(lower <= gene <= upper for lower, gene, upper in zip(low, individual, up, strict=True))
        assert 1 / (3 * size) <= individual.mutation_rate <= 0.95
        assert 0.005 <= individual.mutation_step <= 0.5


def test_self_adaptive_mutation_moves_as_many_genes_and_as_far_as_the_individual_says():
    random.seed(0)
    size, times = 50, 400
    moves = []
    for _ in range(times):
        individual = Individual([0.5] * size)
        individual.mutation_rate, individual.mutation_step = 0.3, 0.05
        mutSelfAdaptive(individual, 0.0, 1.0, tau=0.0)
        moves += [gene - 0.5 for gene in individual if gene != 0.5]
    # The odds of a false alarm are about 1 in 10^6 each: 5 standard errors.
    assert abs(len(moves) - 0.3 * size * times) < 5 * math.sqrt(size * times * 0.3 * 0.7)
    assert abs(np.std(moves) / 0.05 - 1) < 5 / math.sqrt(2 * len(moves))


def test_self_adaptive_mutation_leaves_a_rate_of_0():
    individual = Individual([0.5] * 4)
    individual.mutation_rate = 0.0
    mutSelfAdaptive(individual, 0.0, 1.0)
    assert individual.mutation_rate == 1 / 12


def test_self_adaptive_mutation_hands_its_rate_and_step_down():
    random.seed(0)
    parent = Individual([0.5, 0.5])
    mutSelfAdaptive(parent, 0.0, 1.0)
    child = copy.deepcopy(parent)
    assert (child.mutation_rate, child.mutation_step) == (parent.mutation_rate, parent.mutation_step)
    mutSelfAdaptive(child, 0.0, 1.0)
    assert (child.mutation_rate, child.mutation_step) != (parent.mutation_rate, parent.mutation_step)


def test_selection_finds_the_step_that_a_sphere_asks_for():
    random.seed(1)
    toolbox = make_toolbox(range(3))
    toolbox.register("mutate", mutSelfAdaptive, low=0.0, up=1.0)
    toolbox.register("evaluate", lambda genome: (sum((gene - 0.5) ** 2 for gene in genome),))
    population, _ = eaTruncation(toolbox.population(n=20), toolbox, 0.5, 1.0, ngen=60, verbose=False)
    # It began with 0.2; near the optimum only small steps survive.
    assert np.median([individual.mutation_step for individual in population]) < 0.05


def test_self_adaptive_mutation_refuses_a_negative_tau():
    with pytest.raises(ValueError, match=re.escape("tau must be a finite number of at least 0; got -1.")):
        mutSelfAdaptive([0.5], 0.0, 1.0, tau=-1)
