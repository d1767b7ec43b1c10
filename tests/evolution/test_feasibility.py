"""Deb's rules: an order written by hand, which everything that compares follows, DEAP's own operators included."""

from __future__ import annotations

import math
import pickle
import random
from typing import Any

import pytest
from deap import base, tools
from hypothesis import given
from hypothesis import strategies as st

from deap_hpo.evolution.feasibility import selFeasibleFirst, selFeasibleTournament
from deap_hpo.evolution.individual import individual_type
from deap_hpo.evolution.operators import selTruncation
from deap_hpo.strategies.outcomes import cost_of

Pair = individual_type((-1.0, 1.0))
few = st.integers(-2, 2).map(float)  # so that ties are common
worst = st.just((math.inf, -math.inf))
outcomes = st.tuples(st.one_of(st.tuples(few, few), worst), st.sampled_from([0.0, 0.0, 0.5, 2.0]))


def individual(outcome: tuple[tuple[float, float], float]) -> Any:
    made = Pair([random.random()])
    made.fitness.values, made.fitness.violation = outcome
    return made


def better(one: Any, other: Any) -> bool | None:
    """Deb's rules spelled out; None if they leave the decision to the values."""
    finite = [all(map(math.isfinite, fitness.values)) for fitness in (one, other)]
    usable = [f.violation > 0 or good for f, good in zip((one, other), finite, strict=True)]
    if usable[0] != usable[1]:
        return usable[0]
    if not usable[0] or one.violation == other.violation:
        return None
    return bool(one.violation < other.violation)


@given(outcomes, outcomes)
def test_comparisons_and_dominance_go_by_the_rules(first: Any, second: Any) -> None:
    one, other = individual(first).fitness, individual(second).fitness
    rule = better(one, other)
    if rule is None:
        plain = [base_fitness(fitness) for fitness in (one, other)]
        assert (one > other, one < other, one == other) == (
            plain[0] > plain[1],
            plain[0] < plain[1],
            plain[0] == plain[1],
        )
        assert one.dominates(other) == plain[0].dominates(plain[1])
    else:
        assert (one > other, one >= other, one < other, one <= other, one == other) == (
            rule,
            rule,
            not rule,
            not rule,
            0,
        )
        assert (one.dominates(other), other.dominates(one)) == (rule, not rule)


def base_fitness(fitness: Any) -> Any:
    class Plain(base.Fitness):  # type: ignore[misc]
        weights = (-1.0, 1.0)

    return Plain(fitness.values)


@given(outcomes, outcomes, outcomes)
def test_dominance_is_a_partial_order(first: Any, second: Any, third: Any) -> None:
    a, b, c = (individual(one).fitness for one in (first, second, third))
    assert not a.dominates(a)
    assert not (a.dominates(b) and b.dominates(a))
    assert a.dominates(c) or not (a.dominates(b) and b.dominates(c))


@given(st.lists(outcomes, min_size=1, max_size=12), st.data())
def test_truncation_and_nsga_leave_nobody_out_who_is_better_by_the_rules(found: list[Any], data: Any) -> None:
    population = [individual(one) for one in found]
    k = data.draw(st.integers(1, len(population)))
    by_niches = tools.selNSGA3WithMemory(tools.uniform_reference_points(2, 3))
    for chosen in (
        selTruncation(population, k),
        tools.selNSGA2(population, k),
        tools.selBest(population, k),
        selFeasibleFirst(population, k, select=by_niches),
    ):
        assert len({id(one) for one in chosen}) == k
        left = [one for one in population if all(one is not other for other in chosen)]
        assert not any(better(one.fitness, other.fitness) for one in left for other in chosen)


def test_truncation_finds_the_boundary_of_a_constraint() -> None:
    """Less is better, but at least 1 is required: the optimum breaks the constraint, the answer is its boundary."""
    single = individual_type((-1.0,))
    random.seed(1)
    population = [single([random.uniform(-3, 3)]) for _ in range(20)]
    for _ in range(60):
        for one in population:
            one.fitness.values, one.fitness.violation = (one[0] ** 2,), max(0.0, 1 - one[0])
        parents = selTruncation(population, 10)
        population = [*parents, *(single([one[0] + random.gauss(0, 0.05)]) for one in parents)]
    assert parents[0].fitness.violation == 0
    assert parents[0][0] == pytest.approx(1.0, abs=0.01)


def test_copies_and_pickles_keep_the_violation_and_new_genomes_lose_it() -> None:
    one = individual(((1.0, 2.0), 0.5))
    for copied in (base.Toolbox().clone(one), pickle.loads(pickle.dumps(one))):
        assert (copied.fitness.values, copied.fitness.violation) == ((1.0, 2.0), 0.5)
        assert copied.fitness == one.fitness
    del one.fitness.values
    assert (one.fitness.valid, one.fitness.violation) == (False, 0.0)


def test_the_pareto_front_of_deap_holds_the_feasible() -> None:
    front = tools.ParetoFront()
    front.update([individual(((0.0, 9.0), 0.1)), individual(((2.0, 1.0), 0.0)), individual(((1.0, 0.0), 0.0))])
    assert [one.fitness.values for one in front] == [(1.0, 0.0), (2.0, 1.0)]


def test_a_tournament_prefers_the_less_infeasible_and_lets_chance_decide_among_equals() -> None:
    random.seed(2)
    feasible, broken = individual(((5.0, 0.0), 0.0)), individual(((0.0, 5.0), 0.1))
    assert all(one is feasible for one in selFeasibleTournament([broken, feasible], 10))
    equal = [individual(((1.0, 0.0), 0.0)), individual(((0.0, 1.0), 0.0))]
    assert {id(one) for one in selFeasibleTournament(equal, 20)} == {id(one) for one in equal}


def test_strategies_for_one_objective_take_the_infeasible_for_worthless() -> None:
    assert cost_of(individual(((1.0, 0.0), 0.0))) == 1.0
    assert cost_of(individual(((1.0, 0.0), 0.1))) == math.inf
