"""Freeze-thaw: which trainings are started, continued and completed, in batches too, and how much that gains."""

import functools
import math

import numpy as np
import pytest
from continuing import Creeping
from deap import algorithms, base

from deap_hpo.budget import BudgetSpent
from deap_hpo.errors import InputError
from deap_hpo.evolution.individual import Individual
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.strategies import make_strategy
from deap_hpo.strategies.freeze_thaw import FreezeThawStrategy
from deap_hpo.strategies.partial_trainings import PartialTrainings
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import FolderCheckpoints

SPACE = Space({f"x{i}": Float(0.0, 1.0) for i in range(4)})


def bowl(genome):
    return sum((gene - 0.3) ** 2 for gene in genome)


def telling(genome, epochs):
    """A curve whose beginning predicts its end."""
    return bowl(genome) + 1 / epochs


def misleading(genome, epochs):
    """A curve whose beginning is another function: the best early on is far from the best in the end."""
    share = math.log(epochs) / math.log(16)
    return share * bowl(genome) + (1 - share) * sum((gene - 0.8) ** 2 for gene in genome) + 1


def run(strategy, loss, budget=math.inf, batches=1000):
    """Run a strategy for some batches or epochs; return batches of (genome, epochs, start_from, number, loss)."""
    made, number, spent, epochs = [], 0, 0, {}
    while len(made) < batches:
        population = strategy.generate(Individual)
        spent += sum(one.epochs - epochs.get(one.start_from, 0) for one in population)
        if spent > budget or not population:
            break
        batch = []
        for one in population:
            one.fitness.values = (float(loss(list(one), one.epochs)),)
            one.origin, epochs[number] = (number,), one.epochs
            batch.append((tuple(one), one.epochs, one.start_from, number, one.fitness.values[0], one.paused))
            number += 1
        strategy.update(population)
        made.append(batch)
    return made


def best_of(made, epochs):
    return min(loss for batch in made for _, total, _, _, loss, _ in batch if total == epochs)


@pytest.mark.usefixtures("light_model")
def test_the_start_is_halved():
    made = run(FreezeThawStrategy(SPACE, epochs=16, seed=1), telling, batches=15)
    steps = [(epochs, start is None) for ((_, epochs, start, *_),) in made]
    assert steps == [(2, True)] * 8 + [(4, False)] * 4 + [(8, False)] * 2 + [(16, False)]
    ranked = sorted(range(8), key=lambda i: bowl(made[i][0][0]))
    assert [made[i][0][2] for i in range(8, 12)] == ranked[:4]
    whole = FreezeThawStrategy(SPACE, epochs=16, seed=1, batch_size=3)
    assert [len(batch) for batch in run(whole, telling, batches=6)] == [3] * 6


@pytest.mark.usefixtures("light_model")
@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_every_training_is_begun_once_and_goes_on_from_where_it_was(batch_size):
    made = run(FreezeThawStrategy(SPACE, epochs=16, seed=2, batch_size=batch_size, n_children=100), telling, budget=320)
    reached = {}
    for batch in made:
        assert len(batch) == batch_size
        assert len({genome for genome, *_ in batch}) == batch_size
        paused = batch[0][5]
        waiting = {number for epochs, number in reached.values() if epochs < 16}
        assert set(paused) == waiting - {start for _, _, start, *_ in batch}
        for genome, epochs, start, number, _, _ in batch:
            assert epochs in (2, 4, 8, 16)
            before, last = reached.get(genome, (0, None))
            assert start == last
            assert epochs > before
            reached[genome] = epochs, number
    assert sum(epochs == 16 for epochs, _ in reached.values()) >= 3


@functools.cache
def searched(loss, seed, trainings):
    """The batches of a search with the epochs of `trainings` whole trainings; with few children, to be quicker."""
    return run(FreezeThawStrategy(SPACE, epochs=16, seed=seed, n_children=100), loss, budget=trainings * 16)


def test_the_hopeless_are_left_early_where_the_beginning_tells_the_end():
    begun = [{genome for batch in searched(telling, seed, 10) for genome, *_ in batch} for seed in range(3)]
    assert np.mean([len(genomes) for genomes in begun]) > 20, "10 whole trainings' epochs"


def test_telling_curves_save_epochs():
    found, known = [], []
    for seed in range(3):
        found.append(best_of(searched(telling, seed, 10), 16) - 1 / 16)
        surrogate = make_strategy("surrogate", SPACE, seed=seed)
        losses = []
        for _ in range(10):
            (one,) = surrogate.generate(Individual)
            one.fitness.values = (bowl(one),)
            surrogate.update([one])
            losses.append(one.fitness.values[0])
        known.append(min(losses))
    assert np.mean(found) < 0.2 * np.mean(known), (found, known)


def test_misleading_curves_are_seen_through():
    found, drawn = [], []
    for seed in range(3):
        found.append(best_of(searched(misleading, seed, 15), 16) - 1)
        drawn.append(min(map(bowl, np.random.default_rng(seed).random((15, 4)))))
    assert np.mean(found) < 0.5 * np.mean(drawn), (found, drawn)


@pytest.mark.usefixtures("light_model")
@pytest.mark.parametrize("batch_size", [1, 4])
def test_what_diverged_is_left_where_it_is(batch_size):
    def loss(genome, epochs):
        return math.inf if genome[0] > 0.5 and epochs > 2 else telling(genome, epochs)

    made = run(FreezeThawStrategy(SPACE, epochs=16, seed=3, batch_size=batch_size), loss, budget=20 * 16)
    lost = {number for batch in made for _, _, _, number, value, _ in batch if value == math.inf}
    assert lost
    assert not lost & {start for batch in made for _, _, start, *_ in batch}
    assert not lost & {number for batch in made for number in batch[0][5]}
    late = [genome[0] for batch in made[len(made) // 2 :] for genome, *_ in batch]
    assert np.mean(np.array(late) > 0.5) < 0.3


@pytest.mark.usefixtures("light_model")
def test_nothing_but_infinity_is_endured():
    made = run(FreezeThawStrategy(SPACE, epochs=16, seed=3), lambda genome, epochs: math.inf, batches=15)
    assert [(epochs, start) for ((_, epochs, start, *_),) in made] == [(2, None)] * 15
    assert len({genome for batch in made for genome, *_ in batch}) == 15


@pytest.mark.usefixtures("light_model")
@pytest.mark.parametrize("space", [Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}), Space({"n": Int(1, 3)})])
def test_where_all_that_was_begun_has_diverged_the_next_is_begun(space):
    late = FreezeThawStrategy(space, epochs=8, n_start=2)
    made = run(late, lambda genome, epochs: 1.0 if epochs == 1 else math.inf, batches=12)
    assert all(epochs <= 2 for batch in made for _, epochs, *_ in batch)
    begun = {genome for batch in made for genome, *_ in batch}
    assert len(begun) == 3 if len(space) == 1 else len(begun) > 4


@pytest.mark.usefixtures("light_model")
def test_a_finite_space_is_trained_to_its_end():
    space = Space({"n": Int(1, 3), "act": Categorical(["relu", "tanh", "gelu"])})
    for loss in (telling, lambda genome, epochs: math.inf if genome[0] > 0.9 else 1.0):
        made = run(FreezeThawStrategy(space, epochs=4, batch_size=2), loss)
        last = {}
        for batch in made:
            for genome, epochs, _, _, value, _ in batch:
                last[genome] = epochs, value
        assert len(last) == 9
        assert all(epochs == 4 or value == math.inf for epochs, value in last.values())


@pytest.mark.usefixtures("light_model")
def test_a_space_of_one_configuration_is_trained_once():
    space = Space({"x": Float(1.0, 1.0)})
    made = run(FreezeThawStrategy(space, epochs=4), telling)
    assert [(epochs, start) for ((_, epochs, start, *_),) in made] == [(1, None), (4, 0)]


def test_without_parts_it_trains_to_the_end():
    made = run(FreezeThawStrategy(SPACE, epochs=1, seed=1), lambda genome, epochs: bowl(genome), batches=25)
    assert {(epochs, start) for ((_, epochs, start, *_),) in made} == {(1, None)}
    assert best_of(made, 1) < 0.01


def test_a_warm_start_counts_as_whole_trainings():
    strategy = FreezeThawStrategy(SPACE, epochs=16, seed=1)
    known = [Individual([0.3, 0.3, 0.3, gene]) for gene in (0.1, 0.3, 0.9)]
    for one in known:
        one.fitness.values = (telling(one, 16),)
    strategy.learn(known)
    made = run(strategy, telling, batches=40)
    assert [epochs for ((_, epochs, *_),) in made][:8] == [2] * 8
    assert all(genome != tuple(one) for one in known for ((genome, *_),) in made)
    assert min(bowl(genome) for ((genome, *_),) in made[8:]) < 0.05


@pytest.mark.usefixtures("light_model")
def test_paused_checkpoints_stay_and_nothing_is_trained_twice(tmp_path):
    space = Space({"x": Float(0.0, 8.0), "y": Float(0.0, 1.0)})
    evaluate = Creeping(FolderCheckpoints(tmp_path / "kept"), epochs=16)
    strategy = FreezeThawStrategy(space, epochs=16, batch_size=2, seed=5)
    with Study(space, seed=5, max_epochs=150) as study:
        toolbox = base.Toolbox()
        toolbox.register("generate", strategy.generate, Individual)
        toolbox.register("update", strategy.update)
        toolbox.register("evaluate", evaluate)
        toolbox.register("map", study.map)
        with pytest.raises(BudgetSpent):
            algorithms.eaGenerateUpdate(toolbox, ngen=100, verbose=False)
        waits = [entry.number - entry.start_from for entry in study.record if entry.start_from is not None]
        assert max(waits) > 4, "some went on after others had had their turn"
        assert sorted(evaluate.asked) == list(range(len(study.record)))
        added = sum(entry.evaluation.trained_epochs for entry in study.record)
        assert 134 <= added <= 150


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1; got 0."),
        ({"min_epochs": 0}, "min_epochs must be an integer of at least 1; got 0."),
        ({"min_epochs": 17}, "epochs must be at least min_epochs, 17; got 16."),
        ({"eta": 1}, "eta must be an integer of at least 2; got 1."),
        ({"n_start": 1}, "n_start must be an integer of at least 2; got 1."),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0."),
    ],
)
def test_bad_arguments_are_named(arguments, said):
    with pytest.raises(InputError, match=said):
        FreezeThawStrategy(SPACE, **{"epochs": 16, **arguments})


def test_losses_of_earlier_rungs_are_brought_to_the_scale_of_the_last():
    trainings = PartialTrainings([1, 2, 4])
    rng = np.random.default_rng(0)
    for i, final in enumerate(rng.uniform(1, 2, 30)):
        for rung, epochs in enumerate((1, 2, 4)[: 1 + i % 3]):
            # The spread halves at each later rung: slopes of a half, and of a quarter from the first rung.
            trainings.add((i,), [0.5], epochs=epochs, loss=2 ** (2 - rung) * final + 3 - rung, number=i)
    scales = trainings.scales()
    assert scales[2] == (1.0, 0.0)
    assert 0.5 < scales[1][0] < 0.65, "drawn a little towards 1"
    assert 0.25 < scales[0][0] < 0.45
    for rung in (0, 1):
        slope, offset = scales[rung]
        assert slope * (2 ** (2 - rung) * 1.5 + 3 - rung) + offset == pytest.approx(1.5 + 1, abs=0.1)
