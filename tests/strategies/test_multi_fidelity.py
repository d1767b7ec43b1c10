"""Strategies that decide how long each individual is trained: which start, which are promoted, at which cost."""

import math
import random
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from continuing import Creeping
from deap import algorithms, base
from hypothesis import given
from hypothesis import strategies as st

from deap_hpo.budget import BudgetSpent
from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.evolution.individual import Individual, individual_type
from deap_hpo.search_space.space import Float, Int, Space
from deap_hpo.strategies import MULTI_FIDELITY, make_strategy
from deap_hpo.strategies.hyperband import hyperband_brackets, rungs
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import FolderCheckpoints

# What the surrogate of freeze-thaw proposes does not matter here.
pytestmark = pytest.mark.usefixtures("light_model")

SPACE = Space({"x": Float(0.0, 8.0), "n": Int(1, 3)})
every_strategy = pytest.mark.parametrize("name", MULTI_FIDELITY)
hyperband_and_kin = pytest.mark.parametrize("name", sorted(set(MULTI_FIDELITY) - {"freeze-thaw"}))


def batches(strategy, count, cost=lambda one: abs(one[0] - 0.3) + 1 / one.epochs, kind=Individual):
    """Run a strategy without a study: (genome, epochs, start_from) of each individual of each batch."""
    made, number = [], 0
    for _ in range(count):
        population = strategy.generate(kind)
        made.append([(list(one), one.epochs, one.start_from) for one in population])
        for one in population:
            one.fitness.values = (cost(one),)
            one.origin, number = (number,), number + 1
        strategy.update(population)
    return made


@given(st.integers(1, 200), st.integers(1, 20), st.integers(2, 5))
def test_rungs_grow_from_the_shortest_to_the_whole_training(epochs, min_epochs, eta):
    if epochs < min_epochs:
        with pytest.raises(InputError, match="epochs must be at least min_epochs"):
            rungs(epochs, min_epochs, eta)
        return
    made = rungs(epochs, min_epochs, eta)
    assert made[-1] == epochs
    assert made[0] >= min_epochs
    assert made == sorted(set(made))
    assert epochs / eta ** len(made) < min_epochs <= epochs / eta ** (len(made) - 1) * (1 + 1e-9)


@every_strategy
def test_where_no_training_can_end_early_it_is_said(name):
    with pytest.warns(DeapHPOWarning, match="^no training ends early with epochs = 1, min_epochs = 1 and eta = "):
        make_strategy(name, SPACE, seed=0, epochs=1)


def test_the_brackets_are_those_of_the_paper():
    # Li et al. 2018, table 1: R = 81, eta = 3.
    made = hyperband_brackets(81, 1, 3)
    assert [(count, levels[0]) for count, levels in made] == [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]
    assert all(levels[-1] == 81 for _, levels in made)


@pytest.mark.parametrize(("eta", "most"), [(2, 15), (3, 11), (4, 8)])
def test_brackets_are_rounded_up_exactly(eta, most):
    made = hyperband_brackets(eta ** (most - 1), 1, eta)
    exact = [math.ceil(Fraction(most * eta**further, further + 1)) for further in reversed(range(most))]
    assert [count for count, _ in made] == exact


@hyperband_and_kin
def test_the_better_ones_go_on_where_they_stopped(name):
    made = batches(make_strategy(name, SPACE, epochs=9, seed=1), 12)
    number, promoted = 0, 0
    for before, batch in zip([[], *made[:-1]], made, strict=True):
        starts = {start for _, _, start in batch}
        if starts == {None}:
            number += len(batch)
            continue
        promoted += len(batch)
        first = number - len(before)
        ranked = sorted(range(len(before)), key=lambda i: abs(before[i][0][0] - 0.3))[: len(before) // 3]
        assert [start - first for _, _, start in batch] == ranked
        for genome, epochs, start in batch:
            assert genome == before[start - first][0]
            assert epochs > before[start - first][1]
        number += len(batch)
    assert promoted >= 8


@every_strategy
def test_what_is_trained_is_on_the_steps(name):
    space = Space({"x": Float(0.0, 8.0, step=0.4), "n": Int(16, 64, step=16)})
    made = batches(make_strategy(name, space, epochs=9, seed=1), 12)
    params = [space.decode(genome) for batch in made for genome, _, _ in batch]
    assert {repr(one["x"]) for one in params} <= set(map(repr, space["x"].grid(21)))
    assert {one["n"] for one in params} == {16, 32, 48, 64}


@every_strategy
def test_seed_and_outcomes_decide_and_nothing_else(name):
    random.seed(1), np.random.seed(1)
    first = batches(make_strategy(name, SPACE, epochs=9, seed=3), 16)
    random.seed(2), np.random.seed(2)
    assert batches(make_strategy(name, SPACE, epochs=9, seed=3), 16) == first
    assert batches(make_strategy(name, SPACE, epochs=9, seed=4), 16) != first
    assert batches(make_strategy(name, SPACE, epochs=9, seed=3), 16, lambda one: -one[0]) != first
    genomes = [genome for batch in first for genome, _, _ in batch]
    assert all(type(gene) is float and 0 <= gene <= 1 for genome in genomes for gene in genome)
    mirrored = batches(
        make_strategy(name, SPACE, epochs=9, seed=3), 16, lambda one: -abs(one[0] - 0.3) - 1 / one.epochs,
        individual_type((1.0,)),
    )  # fmt: skip
    assert mirrored == first, "maximises where the weight is positive"


@hyperband_and_kin
@pytest.mark.parametrize("cost", [lambda one: math.inf, lambda one: math.inf if one[0] > 0.3 else 1.0])
def test_what_has_no_value_is_not_promoted(name, cost):
    for before, batch in zip(
        *[made := batches(make_strategy(name, SPACE, epochs=9), 20, cost), made[1:]], strict=False
    ):
        if batch[0][2] is not None:
            assert all(genome[0] <= 0.3 for genome, _, _ in batch)
            assert any(genome[0] <= 0.3 for genome, _, _ in before)


@every_strategy
def test_refuses_what_it_did_not_ask_for(name):
    strategy = make_strategy(name, SPACE, epochs=9)
    population = strategy.generate(Individual)
    with pytest.raises(InputError, match="must be evaluated before update"):
        strategy.update(population)
    for arguments, said in (({"eta": 1}, "eta must be an integer of at least 2"), ({"epochs": 0}, "epochs must be")):
        with pytest.raises(InputError, match=said):
            make_strategy(name, SPACE, **{"epochs": 9, **arguments})
    with pytest.raises(InputError, match=f"{name} needs the argument 'epochs'"):
        make_strategy(name, SPACE)


def test_halving_begins_enough_for_one_to_be_promoted():
    make_strategy("halving", SPACE, epochs=1, population_size=1)  # a single rung, with no promotion
    with pytest.raises(InputError, match="population_size must be an integer of at least 3; got 2"):
        make_strategy("halving", SPACE, epochs=9, population_size=2)


def test_dehb_takes_no_truth_value_for_a_share():
    with pytest.raises(InputError, match=r"rate must be from 0 to 1; got True"):
        make_strategy("dehb", SPACE, epochs=9, rate=True)


@every_strategy
def test_interrupted_and_resumed_it_ends_the_same_and_only_added_epochs_are_trained(name, tmp_path):
    def run(folder, **arguments):
        evaluate = Creeping(FolderCheckpoints(tmp_path / folder), epochs=9)
        with Study(SPACE, seed=5, **arguments) as study:
            strategy = make_strategy(name, SPACE, epochs=9, seed=5)
            toolbox = base.Toolbox()
            toolbox.register("generate", strategy.generate, Individual)
            toolbox.register("update", strategy.update)
            toolbox.register("evaluate", evaluate)
            toolbox.register("map", study.map)
            with pytest.raises(BudgetSpent):
                algorithms.eaGenerateUpdate(toolbox, ngen=100, verbose=False)
            return [(e.genes, e.epochs, e.start_from, e.evaluation.values) for e in study.record], study

    options = {"name": name, "storage": f"{tmp_path}/runs.db"}
    whole, study = run("whole", max_epochs=100)
    run("cut", max_epochs=37, **options)
    assert run("cut", max_epochs=100, resume=True, **options)[0] == whole
    trained = {}
    for entry in study.record:
        if entry.duplicate_of is None:
            epochs = [epoch.epoch for epoch in entry.evaluation.curve]
            trained.setdefault(entry.genes, []).extend(epochs)
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in trained.values())
    assert 91 <= sum(map(len, trained.values())) <= 100


def test_dehb_draws_a_share_of_its_children_uniformly():
    """With a share of 1, children do not depend on earlier outcomes."""
    strategy = make_strategy("dehb", SPACE, epochs=9, seed=2, random_share=1.0)
    made = batches(strategy, 40, lambda one: abs(one[0] - 0.3) + abs(one[1] - 0.9))
    late = [genome for batch in [batch for batch in made if batch[0][2] is None][-10:] for genome, _, _ in batch]
    assert np.mean([abs(g[0] - 0.3) + abs(g[1] - 0.9) for g in late]) > 0.5  # 0.69 of uniform draws


def test_dehb_breeds_from_what_was_best_of_the_most_epochs():
    strategy = make_strategy("dehb", SPACE, epochs=9, seed=2, random_share=0.0)
    made = batches(strategy, 40, lambda one: abs(one[0] - 0.3) + abs(one[1] - 0.9))
    new = [batch for batch in made if batch[0][2] is None]
    early, late = ([genome for batch in part for genome, _, _ in batch] for part in (new[:1], new[-3:]))
    distance = [np.mean([abs(g[0] - 0.3) + abs(g[1] - 0.9) for g in part]) for part in (early, late)]
    assert distance[1] < 0.25 * distance[0]
    assert list(islice(map(len, made), 3)) == [9, 3, 1]
