"""The Gaussian process against scikit-learn, and its samples against the posterior by quadrature."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from deap_hpo.strategies.gaussian_process import JITTER, GaussianProcess


def observations(columns, n=25, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.random((n, columns))
    targets = np.sin(5 * inputs[:, 0]) + inputs[:, -1] ** 2 + 0.1 * rng.normal(size=n)
    return inputs, (targets - targets.mean()) / targets.std()


def reference(theta, inputs, targets, smoothness=2.5):
    """The same process by scikit-learn."""
    variance, noise = np.exp(theta[-2:])
    kernel = ConstantKernel(variance) * Matern(np.exp(theta[:-2]), nu=smoothness) + WhiteKernel(noise + JITTER)
    return GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(inputs, targets)


def test_each_sample_predicts_as_scikit_learn_does():
    inputs, targets = observations(3)
    process = GaussianProcess([0, 1, 2], np.random.default_rng(0), n_samples=4)
    process.smoothness[1::2] = 1.5
    process.fit(inputs, targets)
    points = np.random.default_rng(2).random((50, 3))
    samples = zip(process.theta, process.smoothness, *process.predict(points), strict=True)
    for theta, smoothness, mean, deviation in samples:
        expected = reference(theta, inputs, targets, smoothness)
        expected_mean, expected_deviation = expected.predict(points, return_std=True)
        np.testing.assert_allclose(mean, expected_mean, atol=1e-8)
        # Scikit-learn's deviation is that of a noisy observation, ours that of the function.
        np.testing.assert_allclose(deviation**2 + np.exp(theta[-1]) + JITTER, expected_deviation**2, atol=1e-8)


@pytest.mark.parametrize("smoothness", [1.5, 2.5])
def test_likelihood_is_that_of_scikit_learn(smoothness):
    inputs, targets = observations(2)
    process = GaussianProcess([0, 1], np.random.default_rng(0))
    process.fit(inputs, targets)
    for theta in process.theta:
        expected = reference(theta, inputs, targets, smoothness).log_marginal_likelihood()
        constant = -0.5 * len(targets) * np.log(2 * np.pi)
        assert process.log_likelihood(theta, smoothness, targets) + constant == pytest.approx(expected, abs=1e-6)


def test_samples_follow_the_posterior():
    """Mean and deviation of the log lengthscale, the other hyperparameters integrated out on a grid."""
    inputs, targets = observations(1, n=8)
    process = GaussianProcess([0], np.random.default_rng(1), n_samples=1)
    process.fit(inputs, targets)
    samples = [walked.theta[0].copy() for walked in chain(process, inputs, targets)]
    grid, prior = grid_of(process)
    density = np.array([process.log_likelihood(theta, 2.5, targets) for theta in grid]) + prior
    weights = np.exp(density - density.max())
    mean = np.average(grid, axis=0, weights=weights)
    deviation = np.sqrt(np.average((grid - mean) ** 2, axis=0, weights=weights))
    # A few hundred of the samples count as independent: standard errors are about 0.06 deviations.
    np.testing.assert_array_less(np.abs(np.mean(samples, axis=0) - mean), 0.3 * deviation)
    np.testing.assert_allclose(np.std(samples, axis=0), deviation, rtol=0.3)


def test_the_order_of_the_kernel_follows_the_posterior():
    """Its share among the samples, against both likelihoods summed over a grid of the other hyperparameters."""
    inputs, targets = observations(1, n=8)
    process = GaussianProcess([0], np.random.default_rng(1), n_samples=1)
    process.fit(inputs, targets)
    orders = [walked.smoothness[0] for walked in chain(process, inputs, targets, sample_smoothness=True)]
    grid, prior = grid_of(process)
    densities = [
        np.exp([process.log_likelihood(theta, order, targets) for theta in grid] + prior) for order in (1.5, 2.5)
    ]
    rough = np.sum(densities[0]) / np.sum(densities)
    assert 0.05 < rough < 0.95
    assert np.mean(np.equal(orders, 1.5)) == pytest.approx(rough, abs=0.06)


def chain(process, inputs, targets, **settings):
    """Give the process after each of many steps of its Markov chain."""
    for _ in range(3000):
        process.fit(inputs, targets, steps=1, **settings)
        yield process


def grid_of(process):
    """Points all over the ranges of the hyperparameters of a process, and the logarithm of their prior density."""
    axes = [np.linspace(low, high, 16) for low, high in zip(process._low, process._high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    return grid, -0.5 * (((grid - process._prior_mean) / process._prior_deviation) ** 2).sum(1)


def test_rough_functions_are_told_from_smooth_ones():
    """By the share of rough samples, for three functions drawn from a process of either order."""
    inputs = np.linspace(0, 1, 60)[:, None]
    shares = {}
    for order in (1.5, 2.5):
        factor = np.linalg.cholesky(Matern(0.3, nu=order)(inputs) + 1e-9 * np.eye(60))
        rough = []
        for seed in range(3):
            drawn = factor @ np.random.default_rng(seed).normal(size=60)
            process = GaussianProcess([0], np.random.default_rng(0), n_samples=4)
            for _ in range(10):
                process.fit(inputs, (drawn - drawn.mean()) / drawn.std(), steps=20, sample_smoothness=True)
                rough.append(np.mean(process.smoothness == 1.5))
        shares[order] = np.mean(rough)
    assert shares[2.5] < 0.45
    assert shares[1.5] > 0.6


def test_belief_moves_no_mean_and_lowers_the_deviation():
    inputs, targets = observations(2)
    process = GaussianProcess([0, 1], np.random.default_rng(0))
    process.fit(inputs, targets)
    points = np.array([[0.2, 0.9], [0.7, 0.1]])
    grid = np.vstack([points, np.random.default_rng(3).random((20, 2))])
    means, deviations = process.predict(grid)
    process.believe(points)
    believed_means, believed_deviations = process.predict(grid)
    np.testing.assert_allclose(believed_means, means, atol=1e-6)
    assert (believed_deviations < deviations + 1e-9).all()
    assert (believed_deviations[:, :2] < deviations[:, :2]).all()


def test_columns_of_a_category_share_a_lengthscale_and_all_choices_are_equally_far():
    process = GaussianProcess([0, 0, 0], np.random.default_rng(0), n_samples=2)
    one_hot = np.eye(3) * np.sqrt(0.5)
    kernel = process._kernel(one_hot, one_hot, np.zeros(3), 2.5)
    distance = np.sqrt(5)  # Between different choices, at lengthscale 1.
    expected = (1 + distance + distance**2 / 3) * np.exp(-distance)
    np.testing.assert_allclose(kernel, np.where(np.eye(3), 1.0, expected), atol=1e-7)


def test_repeated_and_constant_observations_are_no_trouble():
    process = GaussianProcess([0, 1], np.random.default_rng(0))
    process.fit(np.full((6, 2), 0.5), np.zeros(6))
    means, deviations = process.predict(np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert np.isfinite(means).all()
    assert (deviations[:, 0] < deviations[:, 1]).all()
