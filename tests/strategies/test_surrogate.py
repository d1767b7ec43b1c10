"""The surrogate-assisted strategy: what it finds, in batches, under noise and infinities; it repeats nothing."""

import math

import numpy as np
import pytest
from deap import algorithms, base, tools

from deap_hpo.errors import InputError
from deap_hpo.evolution.individual import Individual, individual_type
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.strategies.breeding import OPERATORS, Breeder, into_box
from deap_hpo.strategies.freeze_thaw import FreezeThawStrategy
from deap_hpo.strategies.genes import GeneColumns, maximin_latin_hypercube
from deap_hpo.strategies.outcomes import standardise
from deap_hpo.strategies.surrogate import SurrogateStrategy

SQUARE = Space({"x": Float(-2.0, 2.0), "y": Float(-2.0, 2.0)})
MIXED = Space(
    {
        "lr": Float(1e-5, 1.0, log=True),
        "width": Int(8, 512, log=True),
        "depth": Int(1, 6),
        "act": Categorical(["relu", "tanh", "gelu", "silu"]),
        "bias": Categorical([False, True]),
    }
)
SMALL = Space({"depth": Int(1, 4), "act": Categorical(["relu", "tanh", "gelu"])})


def sphere(params):
    return (params["x"] - 0.6) ** 2 + (params["y"] + 1.1) ** 2


def mixed(params):
    """Least, at 0, for lr = 0.01, width = 128, depth = 3, gelu with bias."""
    loss = math.log10(params["lr"] / 0.01) ** 2 + math.log2(params["width"] / 128) ** 2 / 4
    loss += (params["depth"] - 3) ** 2 / 4
    return loss + {"gelu": 0.0, "relu": 0.7, "silu": 0.4, "tanh": 1.0}[params["act"]] + 0.3 * (not params["bias"])


def evolve(strategy, space, loss, evaluations):
    """Run the strategy by DEAP's own loop; return all individuals, in the order of their evaluation."""
    record = []

    def evaluate(individual):
        record.append(individual)
        return (float(loss(space.decode(individual))),)

    toolbox = base.Toolbox()
    toolbox.register("generate", strategy.generate, Individual)
    toolbox.register("update", strategy.update)
    toolbox.register("evaluate", evaluate)
    generations = math.ceil(evaluations / strategy._batch_size)
    algorithms.eaGenerateUpdate(toolbox, generations, halloffame=tools.HallOfFame(1), verbose=False)
    return record


def best_loss(record):
    return min(individual.fitness.values[0] for individual in record)


# Seed 0, and Rosenbrock's valley, are those of test_optimum.
@pytest.mark.parametrize(
    ("space", "loss", "evaluations", "precision", "seed"),
    [
        *((SQUARE, sphere, 25, 1e-3, seed) for seed in range(3)),
        (MIXED, mixed, 60, 0.01, 1),
    ],
)
def test_finds_the_optimum(space, loss, evaluations, precision, seed):
    assert best_loss(evolve(SurrogateStrategy(space, seed=seed), space, loss, evaluations)) < precision


@pytest.mark.parametrize("batch_size", [5, 20])
def test_batches_find_it_too_and_repeat_nothing(batch_size):
    record = evolve(SurrogateStrategy(MIXED, batch_size=batch_size, seed=2), MIXED, mixed, 60)
    assert len(record) == 60
    assert len({tuple(MIXED.decode(individual).values()) for individual in record}) == 60
    assert best_loss(record) < 0.05  # four times the worst of four seeds


@pytest.mark.usefixtures("light_model")
def test_is_a_function_of_the_seed_and_the_outcomes():
    runs = [evolve(SurrogateStrategy(MIXED, batch_size=3, seed=seed), MIXED, mixed, 36) for seed in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.usefixtures("light_model")
def test_leaves_the_global_generators_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    evolve(SurrogateStrategy(SQUARE, seed=0), SQUARE, sphere, 12)
    assert (np.random.get_state()[1] == before).all()


def test_stands_infinite_losses():
    def diverging(params):
        return math.inf if params["lr"] > 0.05 else mixed(params)

    record = evolve(SurrogateStrategy(MIXED, seed=1), MIXED, diverging, 70)
    assert best_loss(record) < 0.1
    diverged = [individual for individual in record[10:] if math.isinf(individual.fitness.values[0])]
    assert len(diverged) < 20


@pytest.mark.usefixtures("light_model")
@pytest.mark.parametrize("loss", [lambda params: math.inf, lambda params: 1.0])
def test_goes_on_where_losses_tell_nothing(loss):
    assert len(evolve(SurrogateStrategy(MIXED, batch_size=4, seed=0), MIXED, loss, 40)) == 40


def test_stands_noise():
    rng = np.random.default_rng(3)
    record = evolve(SurrogateStrategy(SQUARE, seed=3), SQUARE, lambda p: sphere(p) + 0.1 * rng.normal(), 60)
    assert np.median([sphere(SQUARE.decode(individual)) for individual in record[-10:]]) < 0.1


@pytest.mark.usefixtures("light_model")
@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_finite_space_is_searched_whole_and_then_nothing_is_proposed(batch_size):
    strategy = SurrogateStrategy(SMALL, batch_size=batch_size, seed=0)
    proposed = []
    while len(proposed) < 12:
        population = strategy.generate(Individual)
        for individual in population:
            individual.fitness.values = (sum(individual),)
        strategy.update(population)
        proposed += population
    assert strategy.generate(Individual) == []
    assert len({tuple(SMALL.decode(individual).values()) for individual in proposed}) == len(proposed) == 12


@pytest.mark.usefixtures("light_model")
def test_takes_individuals_that_it_did_not_propose_and_does_not_propose_them():
    known = [Individual(MIXED.snap(MIXED.sample(np.random.default_rng(seed)))) for seed in range(9)]
    for individual in known:
        individual.fitness.values = (mixed(MIXED.decode(individual)),)
    strategy = SurrogateStrategy(MIXED, seed=0)
    strategy.update(known)
    (first,) = strategy.generate(Individual)
    assert first.operators[0] in OPERATORS  # The start is over.
    record = evolve(strategy, MIXED, mixed, 60)
    assert not {tuple(individual) for individual in known} & {tuple(individual) for individual in record}


@pytest.mark.usefixtures("light_model")
def test_may_generate_again_before_all_is_told():
    strategy = SurrogateStrategy(SQUARE, seed=4)
    evolve(strategy, SQUARE, sphere, 20)
    first, second = strategy.generate(Individual)[0], strategy.generate(Individual)[0]
    assert np.linalg.norm(np.subtract(first, second)) > 1e-5


@pytest.mark.usefixtures("light_model")
def test_genomes_are_canonical():
    record = evolve(SurrogateStrategy(MIXED, batch_size=4, seed=0), MIXED, mixed, 40)
    assert all(MIXED.snap(individual) == list(individual) for individual in record)


def test_a_long_record_is_cut_for_the_model(monkeypatch):
    monkeypatch.setattr("deap_hpo.strategies.surrogate.MODEL_LIMIT", 20)
    strategy = SurrogateStrategy(SQUARE, seed=0)
    record = evolve(strategy, SQUARE, sphere, 45)
    assert len(strategy._model.process._targets) <= 21
    assert best_loss(record) < 0.01


@pytest.mark.parametrize(
    "argument", [{"batch_size": 0}, {"seed": -1}, {"n_start": 1}, {"n_children": 0}], ids=lambda one: next(iter(one))
)
def test_refuses_arguments_out_of_range(argument):
    name, value = next(iter(argument.items()))
    with pytest.raises(InputError, match=f"{name} must be an integer of at least .; got {value}"):
        SurrogateStrategy(SQUARE, **argument)


def test_refuses_nan():
    strategy = SurrogateStrategy(SQUARE)
    population = strategy.generate(Individual)
    population[0].fitness.values = (math.nan,)
    with pytest.raises(InputError, match="other than NaN"):
        strategy.update(population)


def test_refuses_individuals_without_fitness():
    strategy = SurrogateStrategy(SQUARE)
    with pytest.raises(InputError, match="evaluated before update"):
        strategy.update(strategy.generate(Individual))


@pytest.mark.usefixtures("light_model")
def test_maximises_where_the_weight_is_positive():
    maximised, minimised = SurrogateStrategy(SQUARE, seed=0), SurrogateStrategy(SQUARE, seed=0)
    for _ in range(12):
        (high,) = maximised.generate(individual_type((1.0,)))
        (low,) = minimised.generate(Individual)
        assert high == low
        low.fitness.values = (sphere(SQUARE.decode(low)),)
        high.fitness.values = (-low.fitness.values[0],)
        maximised.update([high])
        minimised.update([low])


def test_columns_snap_as_the_space_does():
    genomes = np.random.default_rng(0).random((300, len(MIXED)))
    one_by_one = [MIXED.snap(genome) for genome in genomes.tolist()]
    np.testing.assert_allclose(GeneColumns(MIXED).snap(genomes), one_by_one, atol=1e-12)


def test_every_genome_of_a_finite_space():
    columns = GeneColumns(SMALL)
    genomes = columns.every_genome()
    assert len({tuple(SMALL.decode(genome).values()) for genome in genomes}) == len(genomes) == columns.size == 12
    assert GeneColumns(MIXED).size == math.inf


def test_every_genome_of_a_space_with_conditions():
    numbers = {f"{model}{i}": Int(1, 20) for model in "abc" for i in range(2)}  # 20**6 combinations if all were in use
    space = Space({"model": Categorical(list("abc")), **numbers}, when={name: {"model": name[0]} for name in numbers})
    genomes = GeneColumns(space).every_genome()
    assert genomes.tolist() == [space.snap(genome) for genome in genomes]
    assert len({tuple(space.decode(genome).items()) for genome in genomes}) == len(genomes) == 3 * 20**2


def test_shares_follow_success():
    breeder = Breeder(GeneColumns(SQUARE))
    for _ in range(20):
        breeder.reward("gaussian", True)
        breeder.reward("crossover", False)
    shares = dict(zip(OPERATORS, breeder.shares, strict=True))
    assert math.isclose(sum(shares.values()), 1.0)
    assert shares["crossover"] < shares["resample"] < shares["gaussian"]
    assert min(shares.values()) > 0.1


def test_into_box():
    genomes = into_box(np.random.default_rng(0), np.array([[-0.2, 1.3, 0.4]] * 200))
    assert set(np.unique(genomes.round(9))) == {0.0, 0.2, 0.4, 0.7, 1.0}


def test_standardise_stands_equal_and_huge_values():
    assert standardise(np.ones(5)).tolist() == [0.0] * 5
    assert np.abs(standardise(np.array([1.0, 2.0, 3.0, 1e300, math.inf, -math.inf]))).max() < 3
    largest = np.finfo(float).max  # a value that some use as a penalty
    targets = standardise(np.array([1.0, 2.0, largest, largest, largest, -largest, math.inf]))
    assert targets.mean() == pytest.approx(0)
    assert targets.std() == pytest.approx(1)


def test_standardise_has_no_scale_and_knows_what_is_bad_where_half_are_the_best():
    usual = standardise(np.array([1.0, 2.0, 3.0, 4.0]))
    for scale in (1e-14, 1e-200, 5e-324 * 1e6, 1e200):
        np.testing.assert_allclose(standardise(np.array([1.0, 2.0, 3.0, 4.0]) * scale), usual)
    targets = standardise(np.array([0.1] * 5 + [0.5, 0.6, 0.9, 2.3]))
    assert (np.diff(targets[4:]) > 0).all()
    for values in ([1.0, 1.0, 1.0, math.inf], [0.0, 0.0, 0.0, math.inf], [1.0, 1.0, 1.0, 2.0, 1e9]):
        targets = standardise(np.array(values))
        assert targets[-1] > targets[0] + 1
    assert targets[0] < targets[3] < targets[4]


def test_latin_hypercube_has_one_point_in_each_stratum():
    design = np.array(maximin_latin_hypercube(np.random.default_rng(0), 7, 3))
    assert (np.sort((design * 7).astype(int), axis=0) == np.arange(7)[:, None]).all()


def kinks(params):
    return abs((3 * params["x"]) % 1 - 0.5) + abs((3 * params["y"]) % 1 - 0.5)


def orders_after(strategy, space, count, proposals=1):
    """Tell a strategy `count` random evaluations, let it propose, and return the orders of its model's samples."""
    rng = np.random.default_rng(3)

    def tell(individuals):
        for individual in individuals:
            individual.fitness.values = (kinks(space.decode(individual)),)
        strategy.update(individuals)

    tell([Individual(space.snap(rng.random(len(space)).tolist())) for _ in range(count)])
    for _ in range(proposals):
        tell(strategy.generate(Individual))
    return strategy._model.process.smoothness


def test_from_fifty_observations_on_the_model_learns_how_rough_losses_are():
    assert (orders_after(SurrogateStrategy(SQUARE, seed=1), SQUARE, 49) == 2.5).all()
    assert (orders_after(SurrogateStrategy(SQUARE, seed=1), SQUARE, 60) == 1.5).any()


def test_freeze_thaw_keeps_the_kernel_that_it_was_measured_with():
    assert (orders_after(FreezeThawStrategy(SQUARE, epochs=8, seed=1), SQUARE, 60, proposals=20) == 2.5).all()
