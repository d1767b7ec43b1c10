"""Untried configurations: none is proposed twice, and the best is found by any measure of merit."""

import math

import numpy as np
import pytest

from deap_hpo.errors import InputError
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.strategies.breeding import OPERATORS
from deap_hpo.strategies.prospects import ENUMERABLE, Prospects

SMALL = Space({"depth": Int(1, 4), "act": Categorical(["relu", "tanh", "gelu"])})
SQUARE = Space({"x": Float(-2.0, 2.0), "y": Float(-2.0, 2.0)})
LARGE = Space({"a": Int(1, 60), "b": Int(1, 60)})  # more than are enumerated at first
ARCHIVE = np.random.default_rng(1).random((10, 2))


def near(target):
    """The merit of being near a genome, which is 0 at most."""
    return lambda genomes: -np.linalg.norm(genomes - target, axis=1)


def prospects(space, seed=0):
    return Prospects(space, np.random.default_rng(seed))


def best(them):
    return them.most_promising(ARCHIVE, near(0.5))[0]


@pytest.mark.parametrize("choose", [Prospects.random, best])
def test_a_finite_space_is_used_up_and_nothing_in_it_twice(choose):
    them = prospects(SMALL)
    keys = []
    while them.left:
        genome = choose(them)
        assert genome in them
        assert them.key(genome) == them.key(genome[:])
        keys.append(them.mark_tried(genome))
        assert genome not in them
        assert (them.tried, them.left) == (len(keys), 12 - len(keys))
    assert len(set(keys)) == 12


def test_a_configuration_is_known_whatever_its_genome():
    them = prospects(SMALL)
    assert them.mark_tried([0.01, 0.01]) == them.key([0.24, 0.3]) == (("depth", 1), ("act", "relu"))
    assert [0.24, 0.3] not in them
    assert [0.26, 0.3] in them
    them.mark_tried([0.2, 0.2])
    assert them.tried == 1


def test_an_infinite_space_has_no_end():
    them = prospects(SQUARE)
    them.mark_tried(them.random())
    assert (them.tried, them.left) == (1, math.inf)


def test_a_design_is_followed_from_its_end_and_then_left_to_chance():
    them = prospects(SMALL)
    design = [[0.9, 0.9], [0.1, 0.1], [0.12, 0.12], [0.6, 0.5]]
    taken = []
    for _ in range(4):
        taken.append(them.next_of(design))
        them.mark_tried(taken[-1])
    assert taken[:3] == [SMALL.snap(genome) for genome in ([0.6, 0.5], [0.12, 0.12], [0.9, 0.9])]
    assert design == []
    assert len({them.key(genome) for genome in taken}) == 4


def test_a_small_space_is_searched_whole():
    them = prospects(SMALL)
    every = them.columns.every_genome()
    ranked = every[np.argsort(-near([0.3, 0.9])(every), kind="stable")]
    for genome in ranked.tolist():
        found, origin, merit = them.most_promising(ARCHIVE, near([0.3, 0.9]))
        np.testing.assert_allclose(found, genome)
        assert origin == "enumeration"
        assert merit == near([0.3, 0.9])(np.array([genome]))[0]
        them.mark_tried(found)


def test_a_large_space_is_searched_by_breeding_up_to_a_point():
    them = prospects(LARGE)
    assert them.columns.size > ENUMERABLE
    _, origin, merit = them.most_promising(ARCHIVE, near([0.77, 0.11]))
    assert origin in OPERATORS
    assert merit > -1 / 60, "the very bin, or one beside it"
    for genome in them.columns.every_genome()[: 60 * 60 // 2].tolist():
        them.mark_tried(genome)
    assert them.most_promising(ARCHIVE, near([0.77, 0.11]))[1] == "enumeration"


def test_what_is_bred_is_evolved_towards_the_merit():
    genome, origin, merit = prospects(SQUARE).most_promising(ARCHIVE, near([0.123, 0.456]))
    np.testing.assert_allclose(genome, [0.123, 0.456], atol=0.005)
    assert origin in OPERATORS
    assert merit == near([0.123, 0.456])(np.array([genome]))[0]


def test_where_all_that_was_bred_is_tried_chance_decides(monkeypatch):
    them = prospects(SQUARE)
    tried = [SQUARE.snap(genome) for genome in ARCHIVE.tolist()]
    for genome in tried:
        them.mark_tried(genome)
    bred = np.array(tried), np.repeat("gaussian", len(tried)), np.zeros(len(tried))
    monkeypatch.setattr(them, "_candidates", lambda archive, merits: bred)
    genome, origin, merit = them.most_promising(ARCHIVE, near([0.5, 0.5]))
    assert origin == "random"
    assert genome in them
    assert merit == near([0.5, 0.5])(np.array([genome]))[0]


def test_refuses_too_few_children():
    with pytest.raises(InputError, match="n_children must be an integer of at least 4; got 3"):
        Prospects(SQUARE, np.random.default_rng(0), n_children=3)
