"""REINFORCE: the eligibilities of Williams (1992), rewards that are shares, and a policy that stays sane."""

import math

import pytest
import torch

from deap_hpo.evolution.individual import Individual
from deap_hpo.search_space.space import Categorical, Float, Space
from deap_hpo.strategies.reinforce import ReinforceStrategy, _ChoiceUnit, _NumberUnit


def eligibility(unit, action):
    """Gradient of the logarithm of the density of an action."""
    (gradient,) = torch.autograd.grad(unit.log_density(torch.tensor([action], dtype=torch.float64)), unit.parameters)
    return gradient.tolist()


def test_eligibilities_of_a_gaussian_unit():
    unit, mean, sigma, action = _NumberUnit(0.25), 0.5, 0.25, 0.9
    # Williams 1992, section 6; for the logarithm of the deviation, it is sigma times that of the deviation.
    expected = [(action - mean) / sigma**2, ((action - mean) ** 2 - sigma**2) / sigma**2]
    assert eligibility(unit, action) == pytest.approx(expected)


def test_eligibilities_of_a_choice_are_the_choice_less_the_probabilities():
    assert eligibility(_ChoiceUnit(4), 2.0) == pytest.approx([-0.25, -0.25, 0.75, -0.25])


def policy_after(costs):
    """Parameters of the unit of one number after one batch with these costs."""
    strategy = ReinforceStrategy(Space({"x": Float(0.0, 1.0)}), batch_size=len(costs), seed=2)
    population = strategy.generate(Individual)
    for individual, cost in zip(population, costs, strict=True):
        individual.fitness.values = (cost,)
    strategy.update(population)
    return strategy._units[0].parameters.tolist()


def test_only_the_order_of_outcomes_counts():
    assert policy_after([1.0, 2.0, 3.0]) == policy_after([-5.0, 100.0, math.inf])


def test_equal_outcomes_teach_nothing():
    assert policy_after([2.0, 2.0, 2.0]) == policy_after([math.inf] * 3) == pytest.approx([0.5, math.log(0.25)])


def test_the_policy_settles_on_the_right_choice_and_its_means_stay_inside():
    space = Space({"x": Float(0.0, 1.0), "act": Categorical(["relu", "tanh", "gelu"])})
    strategy = ReinforceStrategy(space, batch_size=8, seed=0)
    for _ in range(60):
        population = strategy.generate(Individual)
        for individual in population:
            params = space.decode(individual)
            individual.fitness.values = (params["x"] + (params["act"] != "tanh"),)
        strategy.update(population)
    number, choice = strategy._units
    assert 0.0 <= number.parameters[0] < 0.05  # The optimum is on the bound, beyond which the mean must not go.
    assert torch.softmax(choice.parameters, 0)[1] > 0.9
