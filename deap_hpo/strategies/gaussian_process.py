"""A small Gaussian process for records of expensive evaluations, averaged over samples of its hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular

Array = NDArray[np.float64]

# Every hyperparameter has a log-normal prior: (median, standard deviation of the logarithm, least, most). They are
# meant for inputs in the unit cube and targets of mean 0 and variance 1. The median lengthscale is this one times the
# fourth root of the dimension: random points lie farther apart in more dimensions (Hvarfner, Hellsten & Nardi 2024,
# "Vanilla Bayesian optimization performs great in high dimensions", take the square root).
LENGTHSCALE = (0.7, 1.0, 0.05, 10.0)
VARIANCE = (1.0, 1.0, 0.05, 20.0)
NOISE = (1e-3, 2.0, 1e-5, 0.5)
JITTER = 1e-8


class GaussianProcess:
    """Regression by a Gaussian process of mean 0, with a few samples of its hyperparameters from their posterior.

    From ten observations, many lengthscales are plausible, and the likeliest alone would be overconfident. The kernel
    is Matérn 5/2 with one lengthscale per group of input columns. A group of several columns is a category in one-hot
    code: scaled by sqrt(1/2), two different categories are at distance 1, whichever they are.

    Args:
        groups: For each input column, the number of its lengthscale, from 0.
        rng: Source of randomness.
        n_samples: Number of samples, at least 1; each is a Markov chain that goes on from one fit to the next.

    Attributes:
        theta: Logarithms of the lengthscales, the signal variance and the noise variance, [samples, lengthscales + 2].

    Source:
        Rasmussen & Williams 2006, "Gaussian processes for machine learning", equation 4.17 and algorithm 2.1; Murray,
        Adams & MacKay 2010, "Elliptical slice sampling"; for averaging, Snoek, Larochelle & Adams 2012, "Practical
        Bayesian optimization of machine learning algorithms".

    Example:
        >>> inputs = np.linspace(0, 1, 9)[:, None]
        >>> process = GaussianProcess([0], np.random.default_rng(0))
        >>> process.fit(inputs, np.sin(6 * inputs[:, 0]), steps=200)
        >>> means, deviations = process.predict(np.array([[0.3]]))
        >>> means.shape, bool(abs(means.mean() - np.sin(1.8)) < 0.02), bool(deviations.max() < 0.1)
        ((10, 1), True, True)
    """

    def __init__(self, groups: Sequence[int], rng: np.random.Generator, *, n_samples: int = 10) -> None:
        self._groups, self._rng = np.asarray(groups, dtype=int), rng
        dimension = int(self._groups.max()) + 1
        lengthscale = (LENGTHSCALE[0] * dimension**0.25, *LENGTHSCALE[1:])
        medians, self._prior_deviation, low, high = np.array([lengthscale] * dimension + [VARIANCE, NOISE]).T
        self._prior_mean, self._low, self._high = np.log(medians), np.log(low), np.log(high)
        self._turn = 0
        draws = self._prior_mean + self._prior_deviation * rng.normal(size=(n_samples, dimension + 2))
        self.theta: Array = np.clip(draws, self._low, self._high)

    def fit(self, inputs: Array, targets: Array, *, steps: int = 10) -> None:
        """Condition on observations.

        Args:
            inputs: Array [n, columns].
            targets: Array [n] of about mean 0 and variance 1; finite.
            steps: Number of steps of the Markov chains, which take turns.
        """
        self._inputs, self._targets = inputs, np.tile(targets, (len(self.theta), 1))
        for _ in range(steps):
            self._turn = (self._turn + 1) % len(self.theta)
            self.theta[self._turn] = self._slice(self.theta[self._turn], targets)
        self._factorise()

    def thin(self, n_samples: int) -> None:
        """Keep at most `n_samples` samples, from the next fit on."""
        self.theta = self.theta[:n_samples]

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Means and standard deviations of the noise-free function, by each sample.

        Args:
            inputs: Array [m, columns].

        Returns:
            Two arrays [samples, m].
        """
        means, variances = [], []
        for theta, factor, weights in zip(self.theta, self._factors, self._weights, strict=True):
            cross = self._kernel(inputs, self._inputs, theta)
            half = solve_triangular(factor, cross.T, lower=True, check_finite=False)
            means.append(cross @ weights)
            variances.append(np.exp(theta[-2]) - np.einsum("ij,ij->j", half, half))
        return np.array(means), np.sqrt(np.maximum(variances, 1e-12))

    def believe(self, inputs: Array) -> Array:
        """Count inputs [m, columns] as observed, with the means that each sample predicts.

        Returns:
            These means, [samples, m].
        """
        means, _ = self.predict(inputs)
        self._inputs, self._targets = np.vstack([self._inputs, inputs]), np.hstack([self._targets, means])
        self._factorise()
        return means

    def log_likelihood(self, theta: Array, targets: Array) -> float:
        """Logarithm of the marginal likelihood up to a constant; -inf outside of the ranges of `theta`."""
        if np.any(theta < self._low) or np.any(theta > self._high):
            return -np.inf
        try:
            factor = cholesky(self._covariance(theta), lower=True, check_finite=False)
        except LinAlgError:
            return -np.inf
        whitened = solve_triangular(factor, targets, lower=True, check_finite=False)
        return float(-0.5 * whitened @ whitened - np.log(np.diag(factor)).sum())

    def _slice(self, theta: Array, targets: Array) -> Array:
        """One step of elliptical slice sampling (Murray, Adams & MacKay 2010, figure 2)."""
        rng, offset = self._rng, theta - self._prior_mean
        direction = self._prior_deviation * rng.normal(size=len(theta))
        threshold = self.log_likelihood(theta, targets) - rng.exponential()
        angle = rng.uniform(0, 2 * np.pi)
        low, high = angle - 2 * np.pi, angle
        while high - low > 1e-6:  # At angle 0 is theta itself.
            proposal: Array = self._prior_mean + offset * np.cos(angle) + direction * np.sin(angle)
            if self.log_likelihood(proposal, targets) > threshold:
                return proposal
            low, high = (angle, high) if angle < 0 else (low, angle)
            angle = rng.uniform(low, high)
        return theta

    def _factorise(self) -> None:
        self._factors = [cholesky(self._covariance(theta), lower=True) for theta in self.theta]
        self._weights = [
            cho_solve((factor, True), targets) for factor, targets in zip(self._factors, self._targets, strict=True)
        ]

    def _covariance(self, theta: Array) -> Array:
        covariance = self._kernel(self._inputs, self._inputs, theta)
        covariance.flat[:: len(covariance) + 1] += np.exp(theta[-1]) + JITTER
        return covariance

    def _kernel(self, left: Array, right: Array, theta: Array) -> Array:
        """Covariances v (1 + r + r^2/3) exp(-r) of the scaled distances r = sqrt(5) |x - x'|, [m, n]."""
        scale = np.exp(theta[self._groups]) / np.sqrt(5)
        left, right = left / scale, right / scale
        square = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
        radius: Array = np.sqrt(np.maximum(square, 0, out=square), out=square)
        kernel = radius / 3  # In place from here on: half of a proposal's time is spent in these lines.
        kernel += 1
        kernel *= radius
        kernel += 1
        kernel *= np.exp(np.subtract(theta[-2], radius, out=radius), out=radius)
        return kernel
