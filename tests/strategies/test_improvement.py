"""The expected improvement of untried inputs: its formula, the values to improve on, and beliefs."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from deap_hpo.strategies.improvement import SAMPLING, ImprovementModel, log_improvement


def fitted(count=12, **arguments):
    """A model of a bowl with its bottom at 0.4, and its inputs."""
    model = ImprovementModel([0], np.random.default_rng(0), **arguments)
    inputs = np.linspace(0, 1, count)[:, None]
    model.fit(inputs, (inputs[:, 0] - 0.4) ** 2, observations=count)
    return model, inputs


def test_log_improvement_is_the_logarithm_of_the_closed_form():
    z = np.linspace(-6, 6, 25)
    np.testing.assert_allclose(log_improvement(z), np.log(z * norm.cdf(z) + norm.pdf(z)), rtol=1e-5)
    far = log_improvement(np.array([-1e6, -1e3, -30.0, -20.0]))
    assert np.isfinite(far).all()
    assert (np.diff(far) > 0).all()


def test_merits_are_the_closed_form_summed_over_samples():
    model, inputs = fitted()
    model.improve_on(model.means(inputs))
    elsewhere = np.array([[0.35], [0.55], [0.8]])
    means, deviations = model.process.predict(elsewhere)
    z = (model.means(inputs).min(axis=1, keepdims=True) - means) / deviations
    expected = (deviations * (z * norm.cdf(z) + norm.pdf(z))).sum(axis=0)
    np.testing.assert_allclose(np.exp(model.merits(elsewhere)), expected, rtol=1e-5, atol=1e-12)


def test_improvement_is_on_the_least_of_all_means_since_the_fit():
    model, inputs = fitted()
    apart, together = [], []
    for merits, parts in ((apart, (inputs[:6], inputs[6:], inputs[:1])), (together, (inputs,))):
        model.fit(inputs, (inputs[:, 0] - 0.4) ** 2, observations=12)  # nothing new: only what to improve on is reset
        for part in parts:
            model.improve_on(model.means(part))
        merits.extend(model.merits(inputs))
    np.testing.assert_allclose(apart, together)
    model.improve_on(model.means(inputs) - 1)
    assert (model.merits(inputs) < together).all()


def test_what_is_believed_keeps_its_means_and_is_no_longer_uncertain():
    model, _ = fitted(5)
    there = np.array([[0.4], [0.9]])
    means, deviations = model.process.predict(there)
    np.testing.assert_array_equal(model.believe(there), means)
    after, surer = model.process.predict(there)
    np.testing.assert_allclose(after, means, atol=1e-4)
    assert (surer < deviations).all()
    # The next fit forgets the belief.
    model.fit(np.zeros((1, 1)), np.zeros(1), observations=5)
    assert model.process._targets.shape[1] == 1


def test_the_chains_go_on_by_what_is_new():
    model, inputs = fitted()
    losses, before = (inputs[:, 0] - 0.4) ** 2, model.process.theta.copy()
    model.fit(inputs, losses, observations=12)
    np.testing.assert_array_equal(model.process.theta, before)
    model.fit(inputs, losses, observations=13)
    assert (model.process.theta != before).any()


@pytest.mark.parametrize("count", [39, 40, 60, 100])
def test_samples_are_fewer_where_there_are_more_observations(count):
    model, _ = fitted(count)
    assert len(model.process.theta) == next(one.samples for one in SAMPLING if count >= one.observations)


@pytest.mark.parametrize(("rough_from", "orders"), [(13, {2.5}), (12, {1.5, 2.5}), (math.inf, {2.5})])
def test_roughness_is_learnt_from_so_many_observations_on(rough_from, orders):
    model = ImprovementModel([0], np.random.default_rng(0), rough_from=rough_from)
    inputs = np.linspace(0, 1, 12)[:, None]
    model.fit(inputs, abs(inputs[:, 0] - 0.4), observations=12)
    assert set(model.process.smoothness) == orders
