"""The Gaussian process against finite differences, the dense formula and scikit-learn."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from deap_hpo.strategies.gaussian_process import JITTER, GaussianProcess


def fitted(groups, *, optimise=True, n=25, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.random((n, len(groups)))
    targets = np.sin(5 * inputs[:, 0]) + inputs[:, -1] ** 2 + 0.1 * rng.normal(size=n)
    process = GaussianProcess(groups)
    process.fit(inputs, (targets - targets.mean()) / targets.std(), optimise=optimise)
    return process


@pytest.mark.parametrize("groups", [[0], [0, 1, 2], [0, 1, 1, 1, 2]])
def test_gradient_agrees_with_finite_differences(groups):
    process = fitted(groups, optimise=False)
    theta = process.theta + np.random.default_rng(1).normal(0, 0.5, len(process.theta))
    _, gradient = process.negative_log_posterior(theta)
    numeric = approx_fprime(theta, lambda t: process.negative_log_posterior(t)[0], 1e-6)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)


def test_prediction_agrees_with_scikit_learn():
    process = fitted([0, 1, 2])
    variance, noise = np.exp(process.theta[-2:])
    kernel = ConstantKernel(variance) * Matern(np.exp(process.theta[:3]), nu=2.5) + WhiteKernel(noise + JITTER)
    reference = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None)
    reference.fit(process._inputs, process._targets)
    points = np.random.default_rng(2).random((50, 3))
    mean, deviation = process.predict(points)
    expected_mean, expected_deviation = reference.predict(points, return_std=True)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-8)
    # Scikit-learn's deviation is that of a noisy observation, ours that of the function.
    np.testing.assert_allclose(deviation**2 + noise + JITTER, expected_deviation**2, atol=1e-8)


def test_fit_reaches_a_stationary_point_of_the_posterior():
    process = fitted([0, 1])
    process.fit(process._inputs, process._targets, iterations=200)
    value, gradient = process.negative_log_posterior(process.theta)
    low, high = np.array(process._bounds).T
    inside = (process.theta > low) & (process.theta < high)
    assert np.abs(gradient[inside]).max() < 0.01
    assert value < process.negative_log_posterior(process._prior_mean)[0]


def test_conditioning_equals_fitting_with_the_same_hyperparameters():
    process, whole = fitted([0, 1]), GaussianProcess([0, 1])
    points, targets = np.array([[0.2, 0.9], [0.7, 0.1]]), np.array([0.3, -0.4])
    whole.theta = process.theta
    whole.fit(np.vstack([process._inputs, points]), np.append(process._targets, targets), optimise=False)
    process.condition(points, targets)
    grid = np.random.default_rng(3).random((20, 2))
    np.testing.assert_allclose(process.predict(grid), whole.predict(grid), atol=1e-9)


def test_columns_of_a_category_share_a_lengthscale_and_all_choices_are_equally_far():
    process = GaussianProcess([0, 0, 0])
    one_hot = np.eye(3) * np.sqrt(0.5)
    process.fit(one_hot, np.array([-1.0, 0.0, 1.0]), optimise=False)
    radius, _ = process._kernel(one_hot, one_hot, np.zeros(3))
    np.testing.assert_allclose(radius, np.sqrt(5) * (1 - np.eye(3)), atol=1e-7)


def test_repeated_and_constant_observations_are_no_trouble():
    process = GaussianProcess([0, 1])
    process.fit(np.full((6, 2), 0.5), np.zeros(6))
    mean, deviation = process.predict(np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert np.isfinite(mean).all()
    assert deviation[0] < deviation[1]
