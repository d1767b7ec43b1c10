"""CMA-ES: DEAP's own, step for step, until a bound is met."""

import numpy as np
import pytest
from deap import cma

from deap_hpo.evolution.individual import Individual
from deap_hpo.search_space.space import Float, Space
from deap_hpo.strategies.cma_es import CMAStrategy

SPACE = Space({name: Float(0.0, 1.0) for name in "abc"})


def run(strategy, ngen, optimum):
    populations = []
    for _ in range(ngen):
        population = strategy.generate(Individual)
        for individual in population:
            individual.fitness.values = (
                sum((gene - best) ** 2 for gene, best in zip(individual, optimum, strict=True)),
            )
        populations.append([list(individual) for individual in population])
        strategy.update(population)
    return populations


def test_equals_deap_where_no_bound_is_met(monkeypatch):
    optimum, sigma = [0.6, 0.45, 0.5], 0.03
    ours = run(CMAStrategy(SPACE, seed=2, sigma=sigma), 30, optimum)
    assert all(0 < gene < 1 for population in ours for genome in population for gene in genome)
    monkeypatch.setattr(np.random, "standard_normal", np.random.default_rng(2).standard_normal)
    deaps = run(cma.Strategy([0.5] * 3, sigma), 30, optimum)
    np.testing.assert_allclose(ours, deaps, rtol=1e-9)


def test_finds_optima_on_and_beyond_the_bounds():
    for optimum in ([0.0, 1.0, 0.4], [-0.3, 1.2, 0.4]):
        nearest = np.clip(optimum, 0, 1)
        last = run(CMAStrategy(SPACE, seed=1), 60, optimum)[-1]
        assert min(np.abs(np.array(genome) - nearest).max() for genome in last) < 1e-3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("genes", [1, 2])
@pytest.mark.parametrize(
    "loss", [lambda genome: 1.0, lambda genome: sum(genome), lambda genome: (genome[0] - 0.3) ** 2]
)
def test_long_after_it_has_converged_it_still_draws_genomes(genes, loss):
    strategy = CMAStrategy(Space({f"x{i}": Float(0.0, 1.0) for i in range(genes)}), population_size=4, seed=1)
    for _ in range(2500):
        population = strategy.generate(Individual)
        for individual in population:
            individual.fitness.values = (loss(individual),)
        strategy.update(population)
    assert all(0 <= gene <= 1 for individual in population for gene in individual)
    widths = strategy._strategy.sigma * strategy._strategy.diagD
    assert (widths > 1e-20).all()
    assert (widths < 1e7).all()
