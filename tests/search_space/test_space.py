"""The space: genomes that decode within it, JSON both ways, grids, and errors that name the hyperparameter."""

import json
import math
import pickle
import random
import re
import subprocess
import sys

import numpy as np
import pytest
from drawn import any_gene, hyperparameters, repeatable
from hypothesis import given
from hypothesis import strategies as st

from deap_hpo.search_space.space import Categorical, Float, Int, Space

spaces = st.dictionaries(st.text(min_size=1), hyperparameters, min_size=1, max_size=5).map(Space)


@st.composite
def spaces_and_genomes(draw):
    space = draw(spaces)
    return space, [draw(any_gene) for _ in space]


@repeatable
@given(spaces_and_genomes())
def test_any_genome_decodes_within_the_space(case):
    space, genome = case
    params = space.decode(genome)
    assert list(params) == list(space)
    assert len(space.encode(params)) == len(space)


@repeatable
@given(spaces_and_genomes())
def test_snap_keeps_the_values_and_is_idempotent(case):
    space, genome = case
    snapped = space.snap(genome)
    assert all(0.0 <= gene <= 1.0 for gene in snapped)
    assert space.decode(snapped) == space.decode(genome)
    assert space.snap(snapped) == snapped


@repeatable
@given(spaces)
def test_space_survives_json_pickle_and_repr(space):
    assert Space.from_dict(json.loads(json.dumps(space.to_dict(), allow_nan=False))) == space
    copy = pickle.loads(pickle.dumps(space))
    assert (copy, hash(copy)) == (space, hash(space))
    assert eval(repr(space)) == space


def test_a_step_is_told_where_there_is_one():
    space = Space({"x": Float(0.0, 0.5, step=0.1), "width": Int(16, 256, step=16)})
    told = {
        "x": {"type": "float", "low": 0.0, "high": 0.5, "log": False, "step": 0.1},
        "width": {"type": "int", "low": 16, "high": 256, "log": False, "step": 16},
    }
    assert space.to_dict() == told
    assert Space.from_dict(told) == space
    without = Space({"x": Float(0.0, 0.5), "width": Int(16, 256, step=1)})
    assert space != without
    for entry in told.values():  # as written before there were steps: such records can be resumed
        del entry["step"]
    assert without.to_dict() == told


def test_order_is_part_of_a_space():
    lr, momentum = Float(1e-4, 1.0), Float(0.0, 0.9)
    space = Space({"lr": lr, "momentum": momentum})
    assert space != Space({"momentum": momentum, "lr": lr})
    assert space != {"lr": lr, "momentum": momentum}
    assert list(space.items()) == [("lr", lr), ("momentum", momentum)]


def test_space_does_not_follow_its_argument():
    hyperparameters = {"lr": Float(0.0, 1.0)}
    space = Space(hyperparameters)
    hyperparameters["width"] = Int(1, 4)
    assert list(space) == ["lr"]


SPACE = Space({"lr": Float(1e-4, 1.0, log=True), "width": Int(1, 4), "optimizer": Categorical(["sgd", "adam"])})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Space({}), ValueError, "hyperparameters must hold at least one; got none."),
        (lambda: Space([("lr", Float(0, 1))]), TypeError, "hyperparameters must be a mapping of names"),
        (lambda: Space({1: Float(0, 1)}), TypeError, "names must be strings; got 1."),
        (lambda: Space({"": Float(0, 1)}), ValueError, "names must not be empty; got ''."),
        (lambda: Space({"lr": (0, 1)}), TypeError, "lr must be a Float, Int or Categorical; got (0, 1)."),
        (lambda: SPACE.decode([0.5]), ValueError, "genome must have 3 genes (lr, width, optimizer); got 1."),
        (
            lambda: SPACE.decode([0.5, math.nan, 0.5]),
            ValueError,
            "width: gene must be a number other than NaN; got nan.",
        ),
        (lambda: SPACE.encode({"lr": 1.0, "width": 1}), ValueError, "missing optimizer."),
        (
            lambda: SPACE.encode({"lr": 1.0, "widht": 1, "optimizer": "sgd"}),
            ValueError,
            "params has the unknown name 'widht' (did you mean 'width'?); expected lr, width, optimizer.",
        ),
        (
            lambda: SPACE.encode({"lr": 1.0, "width": 1, "optimizer": "lion"}),
            ValueError,
            "optimizer: value must be one of ['sgd', 'adam']; got 'lion'.",
        ),
        (lambda: SPACE.encode({"lr": 1.0, "width": 1.0, "optimizer": "sgd"}), TypeError, "width: value must be an int"),
        (lambda: SPACE.grid({"lr": 2}), ValueError, "resolution must name every Float and Int; missing width."),
        (lambda: SPACE.grid({"lr": 2, "width": 1, "depth": 1}), ValueError, "resolution has the unknown name 'depth'"),
        (lambda: SPACE.grid(2.0), TypeError, "lr: resolution must be an integer; got 2.0."),
        (lambda: Space.from_dict([1]), TypeError, "data must be a mapping of names; got [1]."),
        (lambda: Space.from_dict({"lr": [0, 1]}), TypeError, "lr: expected a mapping with a type; got [0, 1]."),
        (lambda: Space.from_dict({"lr": {"low": 0}}), ValueError, "lr: type must be given, one of float, int, categ"),
        (
            lambda: Space.from_dict({"lr": {"type": "flaot", "low": 0, "high": 1}}),
            ValueError,
            "lr: unknown type 'flaot' (did you mean 'float'?); expected float, int, categorical.",
        ),
        (
            lambda: Space.from_dict({"lr": {"type": "float", "low": 0, "hihg": 1}}),
            ValueError,
            "lr: unknown key 'hihg' (did you mean 'high'?); expected low, high, log, step.",
        ),
        (
            lambda: Space.from_dict({"lr": {"type": "float", "low": 0}}),
            ValueError,
            "lr: float must have low, high; missing high.",
        ),
        (
            lambda: Space.from_dict({"lr": {"type": "float", "low": 2, "high": 1}}),
            ValueError,
            "lr: low must be at most",
        ),
        (
            lambda: Space.from_dict({"width": {"type": "int", "low": 16, "high": 250, "step": 16}}),
            ValueError,
            "width: high must be a whole number of steps of 16 above 16, such as 240 or 256; got 250.",
        ),
        (
            lambda: Space({"width": Int(16, 256, step=16)}).encode({"width": 100}),
            ValueError,
            "width: value must be a whole number of steps of 16 above 16, such as 96 or 112; got 100.",
        ),
    ],
)
def test_errors_of_a_space_name_the_hyperparameter(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_grid_is_the_full_factorial_design():
    grid = SPACE.grid({"lr": 3, "width": 9})
    assert len(grid) == 3 * 4 * 2
    assert grid[0] == {"lr": 1e-4, "width": 1, "optimizer": "sgd"}
    assert grid[1] == {"lr": 1e-4, "width": 1, "optimizer": "adam"}
    assert grid[-1] == {"lr": 1.0, "width": 4, "optimizer": "adam"}
    assert sorted({params["lr"] for params in grid}) == pytest.approx([1e-4, 1e-2, 1.0])


@repeatable
@given(spaces, st.integers(1, 3))
def test_grid_stays_in_the_space_and_repeats_nothing(space, resolution):
    grid = space.grid(resolution)
    assert len({tuple(params.values()) for params in grid}) == len(grid)
    for params in grid[:20]:
        space.encode(params)


@pytest.mark.parametrize("rng", [random.Random(1), np.random.default_rng(1), random])
def test_sample_draws_from_any_source_of_uniform_numbers(rng):
    genome = SPACE.sample(rng)
    assert len(genome) == 3
    assert all(type(gene) is float and 0.0 <= gene < 1.0 for gene in genome)


def test_import_needs_the_standard_library_only():
    code = "import sys, deap_hpo.search_space.space; print(*{'deap', 'numpy', 'optuna', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
