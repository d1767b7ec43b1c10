"""Hyperparameters: exact round trips, no value out of bounds, errors that name the argument."""

import math
import re
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
from drawn import (
    any_gene,
    categoricals,
    decimal_steps,
    floats,
    hyperparameters,
    ints,
    repeatable,
    steps,
)
from hypothesis import given
from hypothesis import strategies as st

from deap_hpo.search_space.categorical import Categorical
from deap_hpo.search_space.hyperparameters import Float, Int


def same(first, second):
    """Equality under which 1, 1.0 and True differ."""
    return first == second and type(first) is type(second)


@repeatable
@given(floats(), any_gene)
def test_float_stays_within_its_bounds_and_meets_them(hyperparameter, gene):
    value = hyperparameter.decode(gene)
    assert type(value) is float
    assert hyperparameter.low <= value <= hyperparameter.high
    assert hyperparameter.decode(0.0) == hyperparameter.low
    assert hyperparameter.decode(1.0) == hyperparameter.high


@repeatable
@given(floats(), st.floats(0, 1))
def test_float_round_trip_up_to_rounding(hyperparameter, gene):
    value = hyperparameter.decode(gene)
    again = hyperparameter.decode(hyperparameter.encode(value))
    if hyperparameter.log:  # An error of the logarithm, at most 691, is relative in the value.
        assert again == pytest.approx(value, rel=5e-12)
    else:
        assert again == pytest.approx(value, abs=2e-15 * max(-hyperparameter.low, hyperparameter.high))


@repeatable
@given(ints(), st.data())
def test_int_round_trip_is_exact(hyperparameter, data):
    value = data.draw(st.integers(hyperparameter.low, hyperparameter.high))
    for each in (value, hyperparameter.low, hyperparameter.high):
        gene = hyperparameter.encode(each)
        assert 0 < gene < 1
        assert same(hyperparameter.decode(gene), each)


@pytest.mark.parametrize("log", [False, True])
def test_int_round_trip_is_exact_for_every_value(log):
    hyperparameter = Int(1, 3000, log=log)
    assert all(hyperparameter.decode(hyperparameter.encode(value)) == value for value in range(1, 3001))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("value", [1, 2**39, 2**40 - 1, 2**40])
def test_int_round_trip_is_exact_at_the_limits(log, value):
    hyperparameter = Int(1 if log else -(2**40), 2**40, log=log)
    assert hyperparameter.decode(hyperparameter.encode(value)) == value


@repeatable
@given(ints() | floats() | steps, any_gene, any_gene)
def test_numbers_rise_with_their_gene(hyperparameter, first, second):
    low, high = sorted([first, second])
    assert hyperparameter.decode(low) <= hyperparameter.decode(high)


def test_int_bins_have_equal_width():
    genes = [(index + 0.5) / 1000 for index in range(1000)]
    values = [Int(-2, 2).decode(gene) for gene in genes]
    assert [values.count(value) for value in range(-2, 3)] == [200] * 5


def test_int_bins_on_a_log_scale_reach_half_a_unit_each_way():
    hyperparameter = Int(1, 100, log=True)
    edge = math.log(2.5 / 0.5) / math.log(100.5 / 0.5)
    assert hyperparameter.decode(edge - 1e-9) == 2
    assert hyperparameter.decode(edge + 1e-9) == 3


@repeatable
@given(categoricals)
def test_categorical_round_trip_is_exact_for_every_choice(hyperparameter):
    for choice in hyperparameter.choices:
        assert same(hyperparameter.decode(hyperparameter.encode(choice)), choice)


def test_categorical_tells_true_from_one():
    with pytest.raises(ValueError, match=re.escape("value must be one of [1, 2]; got True.")):
        Categorical([1, 2]).encode(True)
    assert Categorical([0, 1]) != Categorical([False, True])
    assert Categorical([0, 1]) != Categorical([0.0, 1.0])


def test_numpy_scalars_are_taken_for_pythons():
    assert repr(Int(np.int64(1), np.int32(4))) == "Int(low=1, high=4, log=False, step=1)"
    assert repr(Float(np.float32(0.5), 1)) == "Float(low=0.5, high=1.0, log=False, step=None)"
    assert repr(Int(16, 64, step=np.int64(16))) == "Int(low=16, high=64, log=False, step=16)"
    assert repr(Float(0, 1, step=np.float64(0.25))) == "Float(low=0.0, high=1.0, log=False, step=0.25)"
    assert Categorical(list(np.array([32, 64]))) == Categorical((32, 64))
    assert Categorical([32, 64]).encode(np.int64(64)) == 0.75
    assert Int(1, 4).encode(np.int64(2)) == 0.375


@pytest.mark.parametrize(
    "fixed",
    [
        Float(0.3, 0.3),
        Float(3.0, 3.0, log=True),
        Int(3, 3),
        Int(3, 3, log=True),
        Float(0.3, 0.3, step=0.1),
        Int(3, 3, step=5),
    ],
)
def test_fixed_value(fixed):
    assert fixed.decode(0.0) == fixed.decode(0.7) == fixed.decode(1.0) == fixed.low
    assert fixed.encode(fixed.low) == pytest.approx(0.5)
    assert fixed.snap(0.9) == pytest.approx(0.5)
    assert fixed.grid(5) == [fixed.low]
    assert fixed.size == 1


@repeatable
@given(hyperparameters)
def test_nan_gene_is_refused(hyperparameter):
    with pytest.raises(ValueError, match="gene must be a number other than NaN"):
        hyperparameter.decode(math.nan)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Float(1.0, 0.0), ValueError, "low must be at most high; got low=1.0, high=0.0."),
        (
            lambda: Float(0.0, 1.0, log=True),
            ValueError,
            "low must be greater than 0 on a logarithmic scale; got low=0.0",
        ),
        (lambda: Float(0.0, math.inf), ValueError, "low and high must be finite; got low=0.0, high=inf."),
        (lambda: Float(math.nan, 1.0), ValueError, "low and high must be finite; got low=nan, high=1.0."),
        (lambda: Float(-1.7e308, 1.7e308), ValueError, "high - low must be finite"),
        (lambda: Float(1.0, 1.0000000000000007), ValueError, "high must equal low, or have a million"),
        (lambda: Float(-2.0, -1.9999999999999996), ValueError, "high must equal low, or have a million"),
        (lambda: Float("0", 1.0), TypeError, "low must be a number; got '0'."),
        (lambda: Float(0.0, True), TypeError, "high must be a number; got True."),
        (lambda: Float(0.0, 1.0, log=1), TypeError, "log must be a bool; got 1."),
        (lambda: Float(0.0, 1.0).encode(1.5), ValueError, "value must be within [0.0, 1.0]; got 1.5."),
        (lambda: Float(0.0, 1.0).encode(math.nan), ValueError, "value must be within [0.0, 1.0]; got nan."),
        (lambda: Int(4, 1), ValueError, "low must be at most high; got low=4, high=1."),
        (lambda: Int(0, 4, log=True), ValueError, "low must be greater than 0 on a logarithmic scale; got low=0."),
        (lambda: Int(0, 2**40 + 1), ValueError, "low and high must lie within +-2**40"),
        (lambda: Int(1.0, 4), TypeError, "low must be an integer; got 1.0."),
        (lambda: Int(False, 4), TypeError, "low must be an integer; got False."),
        (lambda: Int(1, 4).encode(True), TypeError, "value must be an integer; got True."),
        (lambda: Int(1, 4).encode(np.bool_(True)), TypeError, "value must be an integer; got True."),
        (lambda: Int(1, 4).encode(5), ValueError, "value must be within [1, 4]; got 5."),
        (lambda: Int(1, 4).grid(0), ValueError, "resolution must be at least 1; got 0."),
        (lambda: Int(1, 4).decode("1"), TypeError, "gene must be a number; got '1'."),
        (lambda: Categorical([]), ValueError, "choices must hold at least one choice; got none."),
        (
            lambda: Categorical("abc"),
            TypeError,
            "choices must be a list, tuple, range or one-dimensional array; got 'abc'.",
        ),
        (
            lambda: Categorical({1, 2}),
            TypeError,
            "choices must be a list, tuple, range or one-dimensional array; got {1, 2}.",
        ),
        (
            lambda: Categorical(np.eye(2)),
            TypeError,
            "choices must be a list, tuple, range or one-dimensional array; got",
        ),
        (
            lambda: Categorical(np.array(1)),
            TypeError,
            "choices must be a list, tuple, range or one-dimensional array; got",
        ),
        (lambda: Categorical(range(0)), ValueError, "choices must hold at least one choice; got none."),
        (lambda: Categorical(np.array([1.0, np.nan])), ValueError, "choices must be finite; got nan."),
        (lambda: Float(0.0, 1.0, step=0.0), ValueError, "step must be greater than 0 and finite; got 0.0."),
        (lambda: Float(0.0, 1.0, step=-0.1), ValueError, "step must be greater than 0 and finite; got -0.1."),
        (lambda: Float(0.0, 1.0, step=math.nan), ValueError, "step must be greater than 0 and finite; got nan."),
        (lambda: Float(0.0, 1.0, step=True), TypeError, "step must be a number; got True."),
        (
            lambda: Float(0.1, 1.0, log=True, step=0.1),
            ValueError,
            "step cannot be combined with log; got step=0.1.",
        ),
        (
            lambda: Float(0.0, 1.0, step=0.3),
            ValueError,
            "high must be a whole number of steps of 0.3 above 0.0, such as 0.9 or 1.2; got 1.0.",
        ),
        (
            lambda: Float(0.0, 1.0, step=1 / 3),
            ValueError,
            "every low + k * step must be a decimal number of at most 15 digits, as 0.3 is and a third is not; "
            "got low=0.0, step=0.3333333333333333.",
        ),
        (
            lambda: Float(0.0, 1.0, step=1e-8),
            ValueError,
            "step must be at least a ten-millionth of low and high; got low=0.0, high=1.0, step=1e-08.",
        ),
        (
            lambda: Float(0.0, 0.5, step=0.1).encode(0.25),
            ValueError,
            "value must be a whole number of steps of 0.1 above 0.0, such as 0.2 or 0.3; got 0.25.",
        ),
        (lambda: Float(0.0, 0.5, step=0.1).encode(0.6), ValueError, "value must be within [0.0, 0.5]; got 0.6."),
        (lambda: Float(0.0, 0.5, step=0.1).encode(math.nan), ValueError, "value must be within [0.0, 0.5]; got nan."),
        (lambda: Float(0.0, 0.5, step=0.1).encode(-math.inf), ValueError, "value must be within [0.0, 0.5]; got -inf."),
        (lambda: Int(1, 9, step=0), ValueError, "step must be at least 1; got 0."),
        (lambda: Int(1, 9, step=2.0), TypeError, "step must be an integer; got 2.0."),
        (lambda: Int(1, 9, log=True, step=2), ValueError, "step cannot be combined with log; got step=2."),
        (
            lambda: Int(16, 250, step=16),
            ValueError,
            "high must be a whole number of steps of 16 above 16, such as 240 or 256; got 250.",
        ),
        (
            lambda: Int(16, 256, step=16).encode(100),
            ValueError,
            "value must be a whole number of steps of 16 above 16, such as 96 or 112; got 100.",
        ),
        (lambda: Int(16, 256, step=16).encode(272), ValueError, "value must be within [16, 256]; got 272."),
        (
            lambda: Categorical([[1]]),
            TypeError,
            "choices must be None, bools, ints, floats or strings; got [1]. Give anything else a name, and look it up",
        ),
        (lambda: Categorical([math.nan]), ValueError, "choices must be finite; got nan."),
        (
            lambda: Categorical([1, 2, True]),
            ValueError,
            "choices must differ (1, 1.0 and True do not); got True again.",
        ),
    ],
)
def test_errors_name_the_argument_and_what_was_given(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()


@repeatable
@given(steps, st.data())
def test_steps_are_exact_both_ways(hyperparameter, data):
    index = data.draw(st.integers(0, hyperparameter.size - 1))
    value = hyperparameter.decode((index + 0.5) / hyperparameter.size)
    for each in (value, hyperparameter.low, hyperparameter.high):
        gene = hyperparameter.encode(each)
        assert 0 < gene < 1
        assert same(hyperparameter.decode(gene), each)
        assert hyperparameter.snap(gene) == gene
    assert hyperparameter.decode(0.0) == hyperparameter.low
    assert hyperparameter.decode(1.0) == hyperparameter.high


@repeatable
@given(decimal_steps(), st.data())
def test_float_steps_are_what_counting_in_decimals_gives(hyperparameter, data):
    index = data.draw(st.integers(0, hyperparameter.size - 1))
    low, step = Decimal(repr(hyperparameter.low)), Decimal(repr(hyperparameter.step))
    expected = float(low + index * step)
    assert hyperparameter.encode(expected) == pytest.approx((index + 0.5) / hyperparameter.size)
    assert hyperparameter.decode((index + 0.5) / hyperparameter.size) == expected
    assert Decimal(repr(expected)) == low + index * step, "no digits that nobody wrote"
    # Despite rounding in the arithmetic of floats, it is the same step.
    assert hyperparameter.snap(hyperparameter.encode(hyperparameter.low + index * hyperparameter.step)) == (
        hyperparameter.encode(expected)
    )


def test_steps_are_the_numbers_that_people_write():
    dropout = Float(0.0, 0.5, step=0.1)
    assert [repr(value) for value in dropout.grid(6)] == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    assert dropout.encode(3 * 0.1) == dropout.encode(0.3)
    assert Float(-0.3, 0.3, step=0.1).grid(7) == [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3]
    assert Float(1e-5, 1e-4, step=1e-5).grid(3) == [1e-5, 5e-5, 1e-4]
    assert Float(0.05, 0.25, step=0.1).grid(3) == [0.05, 0.15, 0.25]
    assert Float(0, 1e20, step=2e19).grid(6) == [0, 2e19, 4e19, 6e19, 8e19, 1e20]
    assert Float(0.0, 3 * 0.1, step=0.1) == Float(0.0, 0.3, step=0.1), "rounding in a bound is no other space"


def test_steps_do_not_depend_on_the_precision_that_others_set():
    with localcontext() as context:
        context.prec = 1
        assert Float(0.05, 0.25, step=0.1).grid(3) == [0.05, 0.15, 0.25]


@pytest.mark.parametrize("stepped", [Float(0.0, 0.4, step=0.1), Int(-10, 30, step=10)])
def test_steps_have_bins_of_equal_width(stepped):
    values = [stepped.decode((index + 0.5) / 1000) for index in range(1000)]
    assert [values.count(value) for value in stepped.grid(5)] == [200] * 5
    assert stepped.encode(stepped.grid(5)[1]) == stepped.snap(0.25) == pytest.approx(0.3)


def test_a_step_of_1_is_none():
    assert Int(1, 9, step=1) == Int(1, 9)
    assert Int(1, 9, log=True, step=1) == Int(1, 9, log=True)


@pytest.mark.parametrize(
    ("hyperparameter", "size"),
    [
        (Float(0.0, 1.0), math.inf),
        (Float(0.0, 0.5, step=0.1), 6),
        (Int(-2, 2), 5),
        (Int(1, 16, log=True), 16),
        (Int(16, 256, step=16), 16),
        (Categorical(["sgd", "adam"]), 2),
    ],
)
def test_the_size_is_the_number_of_values(hyperparameter, size):
    assert hyperparameter.size == size


@repeatable
@given(steps, st.integers(1, 50))
def test_grids_of_steps_are_even_and_have_both_bounds(hyperparameter, resolution):
    values = hyperparameter.grid(resolution)
    assert len(values) == len(set(values)) == min(resolution, hyperparameter.size)
    if resolution > 1:
        assert {values[0], values[-1]} == {hyperparameter.low, hyperparameter.high}
    places = [hyperparameter.encode(value) * hyperparameter.size for value in values]
    gaps = [after - before for before, after in pairwise(places)]
    assert not gaps or max(gaps) - min(gaps) == pytest.approx(0, abs=1.01 + 1e-9 * hyperparameter.size)


@pytest.mark.parametrize(
    "given_as",
    [range(8, 40, 8), np.arange(8, 40, 8), np.array([8, 16, 24, 32], dtype=np.int16)],
    ids=["range", "array", "of another type"],
)
def test_choices_may_be_a_range_or_an_array(given_as):
    categorical = Categorical(given_as)
    assert categorical == Categorical([8, 16, 24, 32])
    assert all(type(choice) is int for choice in categorical.choices)


def test_choices_of_an_array_are_pythons_own():
    assert Categorical(np.array(["sgd", "adam"])) == Categorical(["sgd", "adam"])
    assert Categorical(np.array([0.5, 1.5])) == Categorical([0.5, 1.5])
    assert Categorical(np.array([False, True])) == Categorical([False, True])
    assert Categorical(np.array([None, "relu"], dtype=object)) == Categorical([None, "relu"])
    types = [type(one) for kind in (["a"], [0.5], [True]) for one in Categorical(np.array(kind)).choices]
    assert types == [str, float, bool]


def test_int_grid_at_the_limits_where_floats_are_too_close_for_a_float_of_ours():
    assert Int(2**40 - 100, 2**40).grid(5) == [2**40 - 100, 2**40 - 75, 2**40 - 50, 2**40 - 25, 2**40]


@repeatable
@given(ints(), st.integers(2, 50))
def test_int_grid_has_both_bounds_and_never_too_many_values(hyperparameter, resolution):
    values = hyperparameter.grid(resolution)
    assert {values[0], values[-1]} == {hyperparameter.low, hyperparameter.high}
    assert len(values) == len(set(values)) <= min(resolution, hyperparameter.high - hyperparameter.low + 1)
    if not hyperparameter.log:
        assert len(values) == min(resolution, hyperparameter.high - hyperparameter.low + 1)
