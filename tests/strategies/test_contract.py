"""The contract of every strategy, whatever its method: the same tests for all of `STRATEGIES`."""

import copy
import math
import random
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from deap import algorithms, base, tools

from deap_hpo.budget import BudgetSpent
from deap_hpo.errors import InputError
from deap_hpo.evolution.individual import Individual, individual_type
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.strategies import STRATEGIES, make_strategy
from deap_hpo.study import Study

# What the surrogate proposes does not matter here.
pytestmark = pytest.mark.usefixtures("light_model")

SPACES = {
    "single": Space({"x": Float(-5.0, 5.0)}),
    "mixed": Space(
        {"lr": Float(1e-4, 1.0, log=True), "width": Int(1, 16), "act": Categorical(["relu", "tanh", "gelu"])}
    ),
    "steps": Space(
        {"lr": Float(1e-4, 1.0, log=True), "dropout": Float(0.0, 0.5, step=0.1), "width": Int(16, 256, step=16)}
    ),
    "with a fixed gene": Space({"x": Float(-5.0, 5.0), "y": Float(1.0, 1.0), "z": Int(3, 3)}),
}
SIZED_BY_POPULATION = ["cma", "de"]
LEARNING = [name for name in STRATEGIES if name not in ("fixed", "grid", "random", "sobol")]
QUICK_START = {"gp": {"n_startup_trials": 3}, "tpe": {"n_startup_trials": 4}, "nsga2": {"population_size": 6}}

every_strategy = pytest.mark.parametrize("name", STRATEGIES)


def size_of(name):
    return 2 if name == "gp" else 4  # each proposal of gp takes a while


def make(name, space=SPACES["mixed"], size=None, **arguments):
    """A strategy whose model, if it has one, starts in the second or third batch."""
    if name == "cmaes":
        pytest.importorskip("cmaes")
    sizes = {"population_size" if name in SIZED_BY_POPULATION else "batch_size": size or size_of(name)}
    needed = {}
    if name == "grid":
        needed = {"budget": 40}
    if name == "fixed":
        needed = {"params": space.decode([0.4] * len(space)), "repeats": 40}
    return make_strategy(name, space, **{**sizes, **needed, **QUICK_START.get(name, {}), **arguments})


def cost_of(genome):
    return sum((gene - 0.3) ** 2 for gene in genome)


def batches_of(strategy, count, cost=cost_of):
    """Run a strategy for some batches; return their genomes."""
    batches = []
    for _ in range(count):
        population = strategy.generate(Individual)
        for individual in population:
            individual.fitness.values = (cost(individual),)
        strategy.update(population)
        batches.append([list(individual) for individual in population])
    return batches


def toolbox_of(strategy, study):
    toolbox = base.Toolbox()
    toolbox.register("generate", strategy.generate, Individual)
    toolbox.register("update", strategy.update)
    toolbox.register("evaluate", lambda params: cost_of(study.space.encode(params)))
    toolbox.register("map", study.map)
    return toolbox


@every_strategy
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_genomes_are_lists_of_floats_within_0_and_1(name, space):
    genomes = [genome for batch in batches_of(make(name, space), 4) for genome in batch]
    assert genomes
    assert all(len(genome) == len(space) for genome in genomes)
    assert all(type(gene) is float and 0.0 <= gene <= 1.0 for genome in genomes for gene in genome)


@every_strategy
def test_the_same_seed_and_outcomes_give_the_same_genomes(name):
    assert batches_of(make(name, seed=3), 4) == batches_of(make(name, seed=3), 4)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "fixed"])
def test_other_seeds_give_other_genomes(name):
    assert batches_of(make(name, seed=3), 1) != batches_of(make(name, seed=4), 1)


@pytest.mark.parametrize("name", LEARNING)
def test_other_outcomes_give_other_genomes(name):
    there, elsewhere = (batches_of(make(name), 5, cost) for cost in (cost_of, lambda genome: -cost_of(genome)))
    assert there[0] == elsewhere[0]
    assert there[4] != elsewhere[4]


@every_strategy
def test_a_batch_has_the_size_asked_for(name):
    assert [len(batch) for batch in batches_of(make(name, size=5), 2)] == [5, 5]


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - set(SIZED_BY_POPULATION)))
def test_a_batch_is_one_individual_unless_asked(name):
    assert len(make(name, size=1).generate(Individual)) == 1


@every_strategy
@pytest.mark.parametrize(
    "cost",
    [
        lambda genome: math.inf,
        lambda genome: math.inf if genome[0] > 0.5 else cost_of(genome),
        lambda genome: 1.0,
    ],
    ids=["all diverge", "some diverge", "all equal"],
)
def test_goes_on_whatever_the_outcomes(name, cost):
    genomes = [genome for batch in batches_of(make(name), 4, cost) for genome in batch]
    assert all(0.0 <= gene <= 1.0 for genome in genomes for gene in genome)


@every_strategy
def test_leaves_the_individuals_and_the_space_as_they_are(name):
    space = Space(dict(SPACES["mixed"]))
    strategy = make(name, space)
    population = strategy.generate(Individual)
    for individual in population:
        individual.fitness.values = (cost_of(individual),)
    before, members = copy.deepcopy(population), list(population)
    strategy.update(population)
    strategy.generate(Individual)
    assert space == SPACES["mixed"]
    assert all(one is other for one, other in zip(population, members, strict=True))
    assert population == before
    assert [one.fitness.values for one in population] == [other.fitness.values for other in before]


@every_strategy
def test_neither_moves_nor_heeds_the_global_generators(name):
    seen = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        seen.append(batches_of(make(name), 3))
        assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", sorted(set(LEARNING) - {"surrogate"}))
def test_refuses_outcomes_of_what_it_did_not_ask_for(name):
    strategy = make(name)
    population = strategy.generate(Individual)
    with pytest.raises(InputError, match="must be evaluated before update"):
        strategy.update(population)
    for individual in population:
        individual.fitness.values = (1.0,)
    population[0].fitness.values = (math.nan,)
    with pytest.raises(InputError, match="other than NaN; the worst value is inf"):
        strategy.update(population)
    population[0].fitness.values = (1.0,)
    with pytest.raises(InputError, match=r"expected \d genome\(s\) .* got \d"):
        strategy.update(population[1:])
    population[0][0] += 0.1
    with pytest.raises(InputError, match="unchanged and in the same order"):
        strategy.update(population)


@pytest.mark.parametrize("name", sorted(set(LEARNING) - {"surrogate"}))
def test_maximises_where_the_weight_is_positive(name):
    def genomes_of(weight):
        strategy = make(name)
        for _ in range(4):
            population = strategy.generate(individual_type((weight,)))
            for individual in population:
                individual.fitness.values = (-weight * cost_of(individual),)
            strategy.update(population)
        return population

    assert genomes_of(1.0) == genomes_of(-1.0)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return str(tmp_path_factory.mktemp("record") / "runs.db")


@every_strategy
@pytest.mark.parametrize("space", ["mixed", "steps"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(name, space, storage):
    """Four batches, stopped in the middle of the third, when the models have started."""
    study_name, space = f"{name}-{space}", SPACES[space]

    def run(**arguments):
        with Study(space, seed=5, common_random_numbers=False, **arguments) as study:
            algorithms.eaGenerateUpdate(toolbox_of(make(name, space, seed=5), study), ngen=4, verbose=False)
            return [(entry.genes, entry.evaluation.values) for entry in study.record]

    with pytest.raises(BudgetSpent):
        run(name=study_name, storage=storage, max_evaluations=2 * size_of(name) + 1)
    resumed = run(name=study_name, storage=storage, resume=True)
    assert len(resumed) == 4 * size_of(name)
    assert resumed == run()


@every_strategy
def test_what_is_evaluated_and_recorded_is_on_the_steps(name):
    """Three hyperparameters in steps; Optuna's own samplers count them in floats."""
    space = Space({"a": Float(0.0, 0.5, step=0.1), "b": Float(-0.3, 0.3, step=0.1), "c": Int(16, 256, step=16)})
    seen = []

    def evaluate(params):
        seen.append(params)
        return cost_of(space.encode(params))

    with Study(space) as study:
        strategy = make(name, space)
        toolbox = toolbox_of(strategy, study)
        toolbox.register("evaluate", evaluate)
        algorithms.eaGenerateUpdate(toolbox, ngen=4, verbose=False)
        record = [space.decode(entry.genes) for entry in study.record]
    assert len(record) == 4 * size_of(name)
    values = {key: {repr(value) for value in one.grid(int(one.size))} for key, one in space.items()}
    for params in [*seen, *record]:
        assert all(repr(value) in values[key] for key, value in params.items())
    assert name == "fixed" or all(len({params[key] for params in record}) > 1 for key in space)


@pytest.mark.parametrize("name", ["fixed", "grid"])
def test_a_strategy_that_ends_gives_a_shorter_batch_and_then_empty_ones(name):
    space = Space({"x": Float(0.0, 1.0), "act": Categorical(["relu", "tanh"])})
    arguments = {"budget": 10} if name == "grid" else {"params": {"x": 0.5, "act": "relu"}, "repeats": 10}
    with Study(space, common_random_numbers=False) as study:
        strategy = make_strategy(name, space, batch_size=4, **arguments)
        best = tools.HallOfFame(1)
        _, logbook = algorithms.eaGenerateUpdate(
            toolbox_of(strategy, study), ngen=5, halloffame=best, stats=study.statistics(), verbose=False
        )
    assert logbook.select("nevals") == [4, 4, 2, 0, 0]
    assert best[0].fitness.values[0] == study.best_value


def test_fixed_hyperparameters_get_seeds_of_their_own_where_evaluations_do():
    space = SPACES["single"]
    with Study(space, common_random_numbers=False) as study:
        strategy = make_strategy("fixed", space, params={"x": 1.0}, repeats=5)
        algorithms.eaGenerateUpdate(toolbox_of(strategy, study), ngen=5, verbose=False)
        assert len({entry.seed for entry in study.record}) == 5
        assert all(entry.duplicate_of is None for entry in study.record)


@every_strategy
@pytest.mark.parametrize("argument", ["seed", "size"])
def test_numbers_out_of_range_are_refused_by_name(name, argument):
    named = argument if argument == "seed" else ("population_size" if name in SIZED_BY_POPULATION else "batch_size")
    with pytest.raises(ValueError, match=f"{named} must be .*at least"):
        make(name, **{argument: -1})


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("tpee", {}, r"There is no strategy 'tpee' \(did you mean 'tpe'\?\); expected one of cma, .*, tpe\."),
        ("tpe", {"batchsize": 1}, r"tpe has no argument 'batchsize' \(did you mean 'batch_size'\?\); expected batch_"),
        ("fixed", {"repeats": 1}, "fixed needs the argument 'params'; got repeats"),
        ("fixed", {"params": {"lr": 0.1}}, "missing width, act"),
        ("fixed", {"params": {"lr": 2.0, "width": 1, "act": "relu"}}, r"lr: value must be within \[0.0001, 1.0\]"),
        ("fixed", {"params": 3}, "params is not a point of the space"),
        (
            "grid",
            {"resolution": True},
            "resolution does not fit the space: lr: resolution must be an integer; got True",
        ),
        ("grid", {"resolution": {"lr": 2}}, "resolution does not fit the space: .*missing width"),
        ("grid", {}, "a resolution .* or a budget .* and not both; got resolution=None, budget=None"),
        ("grid", {"resolution": 2, "budget": 9}, "and not both; got resolution=2, budget=9"),
        ("grid", {"budget": 2}, "budget must be at least 3, the number of combinations of all choices alone; got 2"),
        ("cma", {"sigma": 0.0}, "sigma must be greater than 0 and finite; got 0.0"),
        ("cma", {"sigma": True}, "sigma must be greater than 0 and finite; got True"),
        ("cma", {"population_size": 3}, "population_size must be an integer of at least 4; got 3"),
        ("de", {"memory_size": 0}, "memory_size must be an integer of at least 1; got 0"),
        ("reinforce", {"learning_rate": -1.0}, "learning_rate must be greater than 0"),
        ("reinforce", {"learning_rate": "fast"}, "learning_rate must be greater than 0 and finite; got 'fast'"),
        ("reinforce", {"sigma": 2.0}, "sigma must be greater than 0 and at most 1; got 2.0"),
        ("reinforce", {"sigma": True}, "sigma must be greater than 0 and at most 1; got True"),
        ("reinforce", {"memory": 1}, "memory must be an integer of at least 2; got 1"),
        ("nsga2", {"population_size": 1}, "population_size must be an integer of at least 2; got 1"),
        ("tpe", {"seed": 2**32}, r"seed must be below 2\*\*32"),
    ],
)
def test_errors_say_what_was_expected_and_given(name, arguments, message):
    with pytest.raises(InputError, match=message):
        make_strategy(name, SPACES["mixed"], **arguments)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(InputError, match=r"pip install 'deap-hpo\[cmaes\]'"):
        make_strategy("cmaes", SPACES["single"])


def test_importing_the_package_imports_none_of_what_strategies_need():
    heavy = ["optuna", "scipy", "sklearn", "torch"]
    code = f"import sys, deap_hpo.strategies; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_fine_grid_is_found_soon(monkeypatch):
    asked = []
    made = Float.grid
    monkeypatch.setattr(Float, "grid", lambda self, count: asked.append(count) or made(self, count))
    assert make_strategy("grid", Space({"x": Float(0.0, 1.0)}), budget=3000).size == 3000
    assert sum(asked) < 10_000, "not a grid of each size"


def test_a_fine_grid_of_whole_numbers_is_found_soon(monkeypatch):
    asked = []
    made = Int.grid
    monkeypatch.setattr(Int, "grid", lambda self, count: asked.append(count) or made(self, count))
    space = Space({"k": Categorical(["p", "q"]), "n": Int(1, 10**6), "x": Float(0.0, 1.0)}, when={"x": {"k": ["p"]}})
    assert make_strategy("grid", space, budget=20_000).size == 19_881  # 141 x 140, and 141 without x
    assert len(asked) < 100, "not a grid of each size"


def test_grids_are_the_finest_that_fit():
    def resolution(budget, **hyperparameters):
        return list(make_strategy("grid", Space(hyperparameters), budget=budget).resolution.values())

    free, log = partial(Float, 0.0, 1.0), Int(1, 16, log=True)
    assert resolution(60, a=free(), b=free(), c=free()) == [4, 4, 3]
    assert resolution(64, a=free(), b=free(), c=free()) == [4, 4, 4]
    assert resolution(60, a=Int(1, 2), b=free(), c=Categorical([1, 2, 3])) == [2, 10, 3]
    assert resolution(60, a=Float(1.0, 1.0), b=Int(0, 1)) == [1, 2]
    assert resolution(16, a=log) == [16]
    assert resolution(60, a=Float(0.0, 0.5, step=0.25), b=Int(16, 128, step=16), c=free()) == [3, 5, 4]
    assert resolution(1000, a=Float(0.0, 0.5, step=0.25), b=Int(16, 128, step=16)) == [3, 8]
