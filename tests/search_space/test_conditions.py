"""Hyperparameters that are in use only if others have a certain value."""

import itertools
import json
import math
import pickle
import random
import re
from typing import Any

import numpy as np
import pytest
from deap import algorithms, base
from drawn import any_gene, hyperparameters, repeatable
from hypothesis import given
from hypothesis import strategies as st

from deap_hpo.configuration.config import load_config
from deap_hpo.evolution.individual import Individual, make_toolbox
from deap_hpo.recorded import load_study
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.strategies import STRATEGIES, make_strategy
from deap_hpo.strategies.genes import GeneColumns
from deap_hpo.study import Study

HYPERPARAMETERS = {
    "optimizer": Categorical(["sgd", "adam", "lion"]),
    "momentum": Float(0.0, 0.9),
    "schedule": Categorical(["step", "constant"]),
    "gamma": Float(0.1, 1.0),
}
SPACE = Space(HYPERPARAMETERS, when={"momentum": {"optimizer": ["sgd", "lion"]}, "gamma": {"schedule": "step"}})
FINITE = Space(
    {"a": Categorical(["x", "y", "z"]), "b": Categorical([0, 1]), "c": Int(1, 3)},
    when={"b": {"a": ["x", "y"]}, "c": {"b": 1}},
)


DEEP = Space(
    {
        "layers": Int(1, 3),
        **{f"width_{i}": Int(8, 64, step=8) for i in range(1, 4)},
        "skip": Categorical([False, True]),
    },
    when={"width_2": {"layers": [2, 3]}, "width_3": {"layers": 3}, "skip": {"layers": range(2, 4)}},
)


def values_of(one):
    """The values that a condition may require of it; none if it cannot decide."""
    if isinstance(one, Int) and not one.log and one.size <= 100:
        return list(range(one.low, one.high + 1, one.step))
    return one.choices if isinstance(one, Categorical) else ()


@st.composite
def conditional_spaces(draw):
    named = draw(st.dictionaries(st.text(min_size=1), hyperparameters, min_size=2, max_size=6))
    when = {}
    for index, name in enumerate(named):
        parents = [one for one in list(named)[:index] if values_of(named[one])]
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            when[name] = {parent: draw(st.lists(st.sampled_from(values_of(named[parent])), min_size=1, max_size=3))}
    return Space(named, when)


@repeatable
@given(conditional_spaces(), st.data())
def test_what_is_in_use_survives_encoding(space, data):
    genome = [data.draw(any_gene) for _ in space]
    params = space.decode(genome)
    assert set(params) <= set(space)
    assert space.decode(space.encode(params)).keys() == params.keys()
    snapped = space.snap(genome)
    assert space.decode(snapped) == params
    assert space.snap(snapped) == snapped


@repeatable
@given(conditional_spaces(), st.data())
def test_a_gene_that_is_not_in_use_has_no_effect(space, data):
    genome = [data.draw(st.floats(0, 1)) for _ in space]
    params = space.decode(genome)
    changed = [gene if name in params else data.draw(st.floats(0, 1)) for name, gene in zip(space, genome, strict=True)]
    assert space.decode(changed) == params
    assert space.snap(changed) == space.snap(genome)


@repeatable
@given(conditional_spaces())
def test_conditions_survive_json_and_pickle(space):
    assert Space.from_dict(json.loads(json.dumps(space.to_dict(), allow_nan=False))) == space
    assert pickle.loads(pickle.dumps(space)) == space
    assert eval(repr(space)) == space


@repeatable
@given(conditional_spaces(), st.integers(1, 3))
def test_a_grid_holds_every_combination_of_what_is_in_use_once(space, resolution):
    axes = [hyperparameter.grid(resolution) for hyperparameter in space.values()]
    if math.prod(map(len, axes)) > 5000:
        return
    points = [space.conditions.in_use(dict(zip(space, values, strict=True))) for values in itertools.product(*axes)]
    assert space.grid(resolution) == list({tuple(point.items()): point for point in points}.values())


def test_a_grid_does_not_grow_with_what_is_not_in_use():
    numbers = {f"{model}{i}": Float(0.0, 1.0) for model in "abcdef" for i in range(2)}
    space = Space(
        {"model": Categorical(list("abcdef")), **numbers}, when={name: {"model": name[0]} for name in numbers}
    )
    assert len(space.grid(4)) == 6 * 4**2  # of 6 * 4**12 combinations
    assert make_strategy("grid", space, budget=100).size == 100  # one name has one more value


@pytest.mark.timeout(20)
def test_a_grid_does_not_wait_for_what_is_in_use_nowhere():
    named = {"a": Categorical(["x", "y"]), "b": Categorical([1, 2]), "c": Float(0.0, 1.0)}
    space = Space(named, when={"b": {"a": "x"}, "c": {"a": "y", "b": 1}})
    assert make_strategy("grid", space, budget=10).size == 3


def test_conditions_are_part_of_a_space():
    assert Space(HYPERPARAMETERS) != SPACE


def test_conditions_chain():
    assert FINITE.decode([0.0, 0.9, 0.5]) == {"a": "x", "b": 1, "c": 2}
    assert FINITE.decode([0.0, 0.1, 0.5]) == {"a": "x", "b": 0}
    assert FINITE.decode([0.9, 0.9, 0.5]) == {"a": "z"}


def test_a_grid_has_each_configuration_once():
    assert len(FINITE.grid(3)) == 1 + 2 * (1 + 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Space(HYPERPARAMETERS, {"momentun": {"optimizer": "sgd"}}), "when names 'momentun'"),
        (
            lambda: Space(HYPERPARAMETERS, {"optimizer": {"momentum": 0.1}}),
            "optimizer can depend on",
        ),
        (
            lambda: Space(HYPERPARAMETERS, {"gamma": {"momentum": 0.1}}),
            "gamma can depend on a Categorical, or on an Int without log and of at most 100 values; momentum is Float(",
        ),
        (lambda: Space({"n": Int(1, 101), "x": Int(1, 2)}, {"x": {"n": 2}}), "n is Int(low=1, high=101"),
        (
            lambda: Space({"n": Int(1, 4, log=True), "x": Int(1, 2)}, {"x": {"n": 2}}),
            "n is Int(low=1, high=4, log=True",
        ),
        (lambda: Space({"n": Int(1, 4), "x": Int(1, 2)}, {"x": {"n": range(3, 6)}}), "value must"),
        (
            lambda: Space(HYPERPARAMETERS, {"gamma": {"optimizer": "sdg"}}),
            "value must be one of",
        ),
        (lambda: Space(HYPERPARAMETERS, {"gamma": {}}), "when must say what gamma depends on"),
        (
            lambda: SPACE.encode({"optimizer": "adam", "momentum": 0.5, "schedule": "constant"}),
            "momentum is not in use where optimizer is not 'sgd' or 'lion'; leave it out.",
        ),
        (lambda: SPACE.encode({"optimizer": "sgd", "schedule": "constant"}), "missing momentum"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_a_number_decides():
    assert DEEP.decode([0.0, 0.1, 0.1, 0.1, 0.9]) == {"layers": 1, "width_1": 8}
    assert DEEP.decode([0.5, 0.1, 0.1, 0.1, 0.9]) == {"layers": 2, "width_1": 8, "width_2": 8, "skip": True}
    assert DEEP.decode([1.0, 0.1, 0.1, 0.1, 0.1]).keys() == set(DEEP)
    assert GeneColumns(DEEP).size == 8 + 8**2 * 2 + 8**3 * 2 == len(GeneColumns(DEEP).every_genome())
    assert len(DEEP.grid(3)) == 3 + 3**2 * 2 + 3**3 * 2
    with pytest.raises(ValueError, match="width_3 is not in use where layers is not 3; leave it out"):
        DEEP.encode({"layers": 1, "width_1": 8, "width_3": 8})


def test_many_numbers_that_decide_are_counted_at_once():
    numbers = {f"n{i}": Int(1, 100) for i in range(8)}
    space = Space(
        {**numbers, **{f"x{i}": Int(1, 2) for i in range(8)}}, {f"x{i}": {f"n{i}": range(33, 101)} for i in range(8)}
    )
    assert GeneColumns(space).size == (32 + 68 * 2) ** 8


def test_many_that_decide_are_counted_at_once_alone_in_a_chain_and_below_one() -> None:
    switches = {f"on{i}": Categorical([False, True]) for i in range(60)}
    numbers = {f"n{i}": Int(1, 3) for i in range(60)}
    alone = Space({**switches, **numbers}, {f"n{i}": {f"on{i}": True} for i in range(60)})
    assert GeneColumns(alone).size == 4.0**60
    chain = Space(switches, {f"on{i}": {f"on{i - 1}": True} for i in range(1, 60)})
    assert GeneColumns(chain).size == 61
    whole = {"whole": Categorical(["a", "b", "c"])}
    under = {f"on{i}": {"whole": ["a", "b"]} for i in range(60)} | {f"n{i}": {f"on{i}": True} for i in range(60)}
    assert GeneColumns(Space({**whole, **switches, **numbers}, under)).size == 2 * 4.0**60 + 1
    turns = {f"t{i}": Categorical(["a", "b", "c"]) for i in range(31)}
    waits = {f"s{i}": {f"t{i}": ["a", "b"], f"t{i + 1}": "a"} for i in range(30)}
    overlapping = Space({**turns, **{f"s{i}": Int(1, 2) for i in range(30)}}, waits)
    before = {True: 2.0, False: 1.0}  # combinations of the turns so far, by whether the last allows the next number
    for _ in range(30):
        last_is_a = before[True] * 2 + before[False]
        others = before[True] + before[False]
        before = {True: last_is_a + others, False: others}
    assert GeneColumns(overlapping).size == pytest.approx(sum(before.values()))
    endless = Space({**switches, "x": Float(0.0, 1.0)}, {"x": {"on59": True}})
    assert GeneColumns(endless).size == math.inf


def test_counted_are_as_many_as_there_are() -> None:
    rng = random.Random(0)
    for _ in range(100):
        names = [f"h{i}" for i in range(rng.randint(1, 6))]
        made = {name: rng.choice([Categorical(["a", "b", "c"]), Categorical([0, 1]), Int(1, 3)]) for name in names}
        when: dict[str, dict[str, Any]] = {}
        for i, name in enumerate(names):
            for parent in rng.sample(names[:i], min(i, rng.randint(0, 2))):
                values = list(made[parent].grid(int(made[parent].size)))
                when.setdefault(name, {})[parent] = rng.sample(values, rng.randint(1, len(values)))
        columns = GeneColumns(Space(made, when))
        assert columns.size == len(columns.every_genome()), (made, when)


def test_values_that_let_it_be_in_use_come_in_any_collection():
    spaces = [
        Space({"n": Int(1, 4), "x": Int(1, 2)}, {"x": {"n": values}})
        for values in ([2, 3], (2, 3), range(2, 4), np.arange(2, 4), dict.fromkeys([2, 3]))
    ]
    assert all(space == spaces[0] for space in spaces)
    with pytest.raises(ValueError, match=r"^when must say with which n x is in use; got range\(5, 4\)"):
        Space({"n": Int(1, 4), "x": Int(1, 2)}, {"x": {"n": range(5, 4)}})
    with pytest.raises(ValueError, match=r"^when, x, n: value must"):
        Space({"n": Int(1, 4), "x": Int(1, 2)}, {"x": {"n": 7}})


def test_a_toml_file_says_so(tmp_path):
    (tmp_path / "deep.toml").write_text(
        '[space]\nlayers = { type = "int", low = 1, high = 3 }\n'
        'width_3 = { type = "int", low = 8, high = 64, when = { layers = [3] } }\n'
    )
    space = load_config(str(tmp_path / "deep.toml")).search_space
    assert space == Space({"layers": Int(1, 3), "width_3": Int(8, 64)}, when={"width_3": {"layers": 3}})


every_strategy = pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"fixed"}))


def configurations(name, space, evaluate, budget):
    """What a strategy proposes in 15 batches; `budget` is that of a grid."""
    strategy = make_strategy(name, space, seed=1, **({"budget": budget} if name == "grid" else {}))
    toolbox = base.Toolbox()
    toolbox.register("generate", strategy.generate, Individual)
    toolbox.register("update", strategy.update)
    toolbox.register("evaluate", evaluate)
    with Study(space, seed=1) as study:
        toolbox.register("map", study.map)
        algorithms.eaGenerateUpdate(toolbox, ngen=15, verbose=False)
    assert len(study.record) >= 8
    return [space.decode(entry.genes) for entry in study.record]


@every_strategy
def test_every_strategy_works_on_conditions(name):
    def evaluate(params):
        return abs(params.get("momentum", 0.2) - 0.7) + params.get("gamma", 0.5)

    for params in configurations(name, SPACE, evaluate, budget=12):
        assert ("momentum" in params) == (params["optimizer"] != "adam")


@every_strategy
def test_every_strategy_works_where_a_number_decides(name):
    def evaluate(params):
        return abs(sum(value for key, value in params.items() if key.startswith("width")) - 100)

    for params in configurations(name, DEEP, evaluate, budget=40):
        assert sum(key.startswith("width") for key in params) == params["layers"]


def test_the_surrogate_exhausts_a_conditional_space():
    strategy = make_strategy("surrogate", FINITE, seed=1)
    seen = []
    while individuals := strategy.generate(Individual):
        for individual in individuals:
            seen.append(tuple(FINITE.decode(individual).items()))
            individual.fitness.values = (float(len(seen) % 4),)
        strategy.update(individuals)
    assert len(seen) == len(set(seen)) == len(FINITE.grid(3))


def test_a_record_holds_what_was_in_use_and_trains_it_once(tmp_path):
    storage = str(tmp_path / "studies.db")
    toolbox = make_toolbox(SPACE)
    calls = []
    toolbox.register("evaluate", lambda params: calls.append(params) or float(len(calls)))
    with Study(SPACE, storage=storage) as study:
        toolbox.register("map", study.map)
        same = [Individual([0.5, gene, 0.9, gene]) for gene in (0.1, 0.8)]  # adam, constant: nothing else is in use
        toolbox.map(toolbox.evaluate, [*same, Individual([0.1, 0.5, 0.1, 0.5])])
    assert calls == [{"optimizer": "adam", "schedule": "constant"}, SPACE.decode([0.1, 0.5, 0.1, 0.5])]
    recorded = load_study("study", storage)
    assert recorded.space == SPACE
    assert [entry.duplicate_of for entry in recorded.entries] == [None, 0, None]


def test_a_misspelt_decider_is_offered_the_nearest():
    optimizer = Categorical(["sgd", "adam"])
    with pytest.raises(ValueError, match=r"when, momentum: there is no 'optim' to depend on\. Did you mean 'opt"):
        Space({"optimizer": optimizer, "momentum": Float(0.0, 0.9)}, when={"momentum": {"optim": "sgd"}})
    with pytest.raises(ValueError, match="momentum can depend only on hyperparameters before it; got 'optimizer'"):
        Space({"momentum": Float(0.0, 0.9), "optimizer": optimizer}, when={"momentum": {"optimizer": "sgd"}})
