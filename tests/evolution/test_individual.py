"""Individuals: one type per interpreter however it gets there, and a lineage that survives DEAP's conventions."""

import copy
import importlib
import multiprocessing
import pickle
import random
import subprocess
import sys
import warnings

import pytest
from deap import algorithms, base, creator, tools

from deap_hpo.evolution import individual as module
from deap_hpo.evolution.individual import Individual, individual_type, lineage, make_toolbox
from deap_hpo.search_space.space import Float, Space

SPACE = Space({"lr": Float(1e-4, 1.0), "momentum": Float(0.0, 0.9), "weight_decay": Float(0.0, 0.1)})


def make_individual(genes=(0.25, 0.5), weights=(-1.0,), loss=(0.3,), origin=(4,), operators=("mate",)):
    individual = individual_type(weights)(genes)
    individual.fitness.values = loss
    individual.origin, individual.operators = origin, operators
    return individual


def assert_same(first, second):
    assert type(first) is type(second)
    assert type(first.fitness) is type(second.fitness)
    assert (first, first.fitness.wvalues) == (second, second.fitness.wvalues)
    assert (first.origin, first.operators) == (second.origin, second.operators)


def test_there_is_one_type_per_weights():
    assert individual_type([-1]) is Individual
    assert individual_type((1.0, -1.0)) is individual_type((1.0, -1.0))
    names = {individual_type(weights).__name__ for weights in [(1.0,), (-1.0,), (1.5,), (15.0,), (1.0, -1.0)]}
    assert len(names) == 5


@pytest.mark.parametrize("weights", [(), (0.0,), (float("nan"),), (-1.0, float("inf"))])
def test_weights_are_checked(weights):
    with pytest.raises(ValueError, match="weights must be finite and not 0, one per objective; got"):
        individual_type(weights)


def test_maximisation():
    better, worse = make_individual(weights=(1.0,), loss=(0.9,)), make_individual(weights=(1.0,), loss=(0.1,))
    assert better.fitness > worse.fitness


def test_reloading_and_a_users_own_types_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        creator.create("Individual", list)
        del creator.Individual
        importlib.reload(module)
    assert module.Individual is Individual
    assert_same(pickle.loads(pickle.dumps(make_individual())), make_individual())


@pytest.mark.parametrize("weights", [(-1.0,), (0.1, -2.5)])
def test_pickle_gives_the_same_types(weights):
    individual = make_individual(weights=weights, loss=weights)
    assert_same(pickle.loads(pickle.dumps(individual)), individual)
    assert pickle.loads(pickle.dumps(type(individual))) is type(individual)


def test_cloudpickle_gives_the_same_types():
    cloudpickle = pytest.importorskip("cloudpickle")
    assert_same(pickle.loads(cloudpickle.dumps(make_individual())), make_individual())


def test_unpickles_in_an_interpreter_that_never_imported_the_module():
    code = """
import pickle, sys
individual = pickle.load(sys.stdin.buffer)
from deap_hpo.evolution.individual import individual_type
made = individual_type((0.1, -2.5))
assert type(individual) is made and type(individual.fitness) is type(made().fitness)
print(individual, individual.fitness.values, individual.origin, individual.operators)
"""
    pickled = pickle.dumps(make_individual(weights=(0.1, -2.5), loss=(1.0, 2.0)))
    command = [sys.executable, "-W", "error", "-c", code]
    printed = subprocess.run(command, input=pickled, capture_output=True, check=True).stdout.decode().strip()
    assert printed == "[0.25, 0.5] (1.0, 2.0) (4,) ('mate',)"


def test_goes_to_a_spawned_process_and_back():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert_same(pool.apply(copy.deepcopy, (make_individual(),)), make_individual())


def test_clone_is_independent():
    original = make_individual()
    clone = base.Toolbox().clone(original)
    assert_same(clone, original)
    clone[0], clone.origin = 9.0, (5,)
    del clone.fitness.values
    assert_same(original, make_individual())


def test_population_is_uniform_and_follows_the_global_seed():
    toolbox = make_toolbox(SPACE)
    random.seed(5)
    population = toolbox.population(n=4)
    random.seed(5)
    assert population == [[random.random() for _ in SPACE] for _ in range(4)]
    assert all(type(one) is Individual and not one.fitness.valid for one in population)
    assert all((one.origin, one.operators) == ((), ()) for one in population)


def test_operators_have_deaps_return_conventions_and_act_in_place():
    toolbox = make_toolbox(SPACE)
    first, second = toolbox.population(n=2)
    children = toolbox.mate(first, second)
    assert type(children) is tuple
    assert children[0] is first
    assert children[1] is second
    (mutant,) = toolbox.mutate(first)
    assert mutant is first


def test_lineage_is_the_union_of_the_parents():
    toolbox = make_toolbox(SPACE)
    first = make_individual([0.1, 0.2, 0.3], origin=(7, 9), operators=())
    second = make_individual([0.4, 0.5, 0.6], origin=(3, 7), operators=("mutate",))
    first, second = toolbox.mate(first, second)
    assert (first.origin, first.operators) == ((3, 7, 9), ("mate",))
    assert (second.origin, second.operators) == ((3, 7, 9), ("mutate", "mate"))
    (first,) = toolbox.mutate(first)
    assert (first.origin, first.operators) == ((3, 7, 9), ("mate", "mutate"))


def test_lineage_of_a_users_own_type():
    class Own(list):
        """As `creator.create("Own", list)` would make it: without a lineage."""

    first, second = make_toolbox(SPACE).mate(Own([0.1]), Own([0.9]))
    assert (first.origin, first.operators) == (second.origin, second.operators) == ((), ("mate",))


def test_lineage_of_an_operator_that_replaces_ours():
    toolbox = make_toolbox(SPACE)
    toolbox.register("mutate", tools.mutGaussian, mu=0.0, sigma=0.1, indpb=1.0)
    toolbox.decorate("mutate", lineage("mutGaussian"))
    (mutant,) = toolbox.mutate(make_individual(operators=()))
    assert (mutant.origin, mutant.operators) == ((4,), ("mutGaussian",))


def test_probabilities_reach_the_operators():
    untouched = make_toolbox(SPACE, indpb=0.0, cxindpb=0.0)
    first, second = untouched.mate(Individual([0.1] * 3), Individual([0.9] * 3))
    assert (first, second, untouched.mutate(first)) == ([0.1] * 3, [0.9] * 3, ([0.1] * 3,))
    certain = make_toolbox(SPACE, indpb=1.0, cxindpb=1.0)
    first, second = certain.mate(Individual([0.1] * 3), Individual([0.9] * 3))
    assert (first, second) == ([0.9] * 3, [0.1] * 3)
    assert 0.9 not in certain.mutate(first)[0]


@pytest.mark.parametrize("name", ["indpb", "cxindpb"])
def test_toolbox_refuses_what_is_no_probability(name):
    with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\]; got 1.5."):
        make_toolbox(SPACE, **{name: 1.5})


def test_deaps_own_algorithms_run_on_the_toolbox():
    random.seed(2)
    toolbox = make_toolbox(SPACE, weights=(1.0,))
    toolbox.register("evaluate", lambda genome: (sum(genome),))
    population, _ = algorithms.eaMuPlusLambda(toolbox.population(n=8), toolbox, 8, 8, 0.5, 0.5, 5, verbose=False)
    assert len(population) == 8
    assert type(population[0]) is individual_type((1.0,))
