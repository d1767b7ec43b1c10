"""Hyperparameters of every kind, drawn at random by Hypothesis, for tests of properties that all have."""

import math

from hypothesis import settings
from hypothesis import strategies as st

from deap_hpo.search_space.categorical import Categorical
from deap_hpo.search_space.hyperparameters import Float, Int

repeatable = settings(derandomize=True, deadline=None)
any_gene = st.floats(allow_nan=False)


@st.composite
def floats(draw):
    log = draw(st.booleans())
    bound = st.floats(1e-300, 1e300) if log else st.floats(-1e300, 1e300) | st.floats(-10, 10)
    low, high = sorted([draw(bound), draw(bound)])
    return Float(low, low if high - low < 1e6 * math.ulp(max(-low, high)) else high, log=log)


@st.composite
def ints(draw):
    log = draw(st.booleans())
    smallest = 1 if log else -(2**40)
    bound = st.integers(smallest, 2**40) | st.integers(max(smallest, -5), 20)
    return Int(*sorted([draw(bound), draw(bound)]), log=log)


@st.composite
def decimal_steps(draw):
    """Steps as people write them: up to six digits, at any scale."""
    place = draw(st.integers(-12, 6))
    step = draw(st.integers(1, 999_999))
    low = draw(st.sampled_from([0, -step]) | st.integers(-999_999, 999_999))
    last = draw(st.integers(0, 12) | st.integers(0, 100_000))
    return Float(float(f"{low}e{place}"), float(f"{low + last * step}e{place}"), step=float(f"{step}e{place}"))


@st.composite
def whole_steps(draw):
    step = draw(st.integers(1, 20) | st.integers(1, 2**40))
    low = draw(st.integers(-(2**40), 2**40))
    return Int(low, low + step * draw(st.integers(0, (2**40 - low) // step)), step=step)


steps = decimal_steps() | whole_steps()
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
categoricals = st.lists(scalars, min_size=1, max_size=8, unique=True).map(Categorical)
hyperparameters = floats() | ints() | steps | categoricals
