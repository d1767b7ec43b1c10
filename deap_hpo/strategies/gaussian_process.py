"""A small Gaussian process for records of expensive evaluations, averaged over samples of its hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.linalg.lapack import dpotrf, dtrtrs

Array = NDArray[np.float64]


class Prior(NamedTuple):
    """The log-normal prior of a hyperparameter; `deviation` is the standard deviation of its logarithm."""

    median: float
    deviation: float
    least: float
    most: float


# They are meant for inputs in the unit cube and targets of mean 0 and variance 1. The median lengthscale is multiplied
# by the fourth root of the dimension, since random points lie farther apart in more dimensions (Hvarfner, Hellsten &
# Nardi 2024, "Vanilla Bayesian optimization performs great in high dimensions", take the square root).
LENGTHSCALE = Prior(0.7, 1.0, 0.05, 10.0)
VARIANCE = Prior(1.0, 1.0, 0.05, 20.0)
NOISE = Prior(1e-3, 2.0, 1e-5, 0.5)
JITTER = 1e-8
# Matérn kernels of these orders: 5/2 for functions with two derivatives, 3/2 for rougher ones with one.
SMOOTH, ROUGH = 2.5, 1.5


class GaussianProcess:
    """Regression by a Gaussian process of mean 0, with a few samples of its hyperparameters from their posterior.

    With ten observations, many lengthscales are plausible, and the likeliest alone would be overconfident. The kernel
    is Matérn 5/2 (or 3/2, see `fit`) with one lengthscale per group of input columns. A group of several columns is a
    one-hot encoded category, scaled by sqrt(1/2) so that any two different categories are at distance 1.

    Args:
        groups: For each input column, the number of its lengthscale, from 0.
        rng: Source of randomness.
        n_samples: Number of samples, at least 1; each is a Markov chain that continues from one fit to the next.

    Attributes:
        theta: Logarithms of the lengthscales, the signal variance and the noise variance, [samples, lengthscales + 2].
        smoothness: Order of each sample's Matérn kernel, 2.5 or 1.5, [samples].

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
        lengthscale = LENGTHSCALE._replace(median=LENGTHSCALE.median * dimension**0.25)
        medians, self._prior_deviation, low, high = np.array([lengthscale] * dimension + [VARIANCE, NOISE]).T
        self._prior_mean, self._low, self._high = np.log(medians), np.log(low), np.log(high)
        self._turn = 0
        draws = self._prior_mean + self._prior_deviation * rng.normal(size=(n_samples, dimension + 2))
        self.theta: Array = np.clip(draws, self._low, self._high)
        self.smoothness: Array = np.full(n_samples, SMOOTH)

    def fit(self, inputs: Array, targets: Array, *, steps: int = 10, sample_smoothness: bool = False) -> None:
        """Condition on observations.

        Args:
            inputs: Array [n, columns].
            targets: Array [n] of about mean 0 and variance 1; finite.
            steps: Number of steps of the Markov chains, which take turns.
            sample_smoothness: Whether a step also draws the order of the kernel, for which 5/2 and 3/2 are equally
                likely a priori. Otherwise the order stays as it is; it starts as 5/2.
        """
        self._inputs, self._targets = inputs, np.tile(targets, (len(self.theta), 1))
        for _ in range(steps):
            self._turn = turn = (self._turn + 1) % len(self.theta)
            if sample_smoothness:
                self.smoothness[turn] = self._draw_smoothness(self.theta[turn], self.smoothness[turn], targets)
            self.theta[turn] = self._slice(self.theta[turn], self.smoothness[turn], targets)
        self._factorise()

    def thin(self, n_samples: int) -> None:
        """Keep at most `n_samples` samples, from the next fit on."""
        self.theta, self.smoothness = self.theta[:n_samples], self.smoothness[:n_samples]

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Return the means and standard deviations of the noise-free function that each sample predicts.

        Args:
            inputs: Array [m, columns].

        Returns:
            Two arrays [samples, m].
        """
        means, variances = [], []
        samples = zip(self.theta, self.smoothness, self._factors, self._weights, strict=True)
        for theta, smoothness, factor, weights in samples:
            cross = self._kernel(inputs, self._inputs, theta, smoothness)
            half = _solve(factor, cross.T)
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

    def log_likelihood(self, theta: Array, smoothness: float, targets: Array) -> float:
        """Logarithm of the marginal likelihood up to a constant; -inf outside of the ranges of `theta`."""
        if np.any(theta < self._low) or np.any(theta > self._high):
            return -np.inf
        factor, not_positive = dpotrf(self._covariance(theta, smoothness), lower=1)
        if not_positive:
            return -np.inf
        whitened = _solve(factor, targets)
        return float(-0.5 * whitened @ whitened - np.log(np.diag(factor)).sum())

    def _draw_smoothness(self, theta: Array, smoothness: float, targets: Array) -> float:
        """One step of Metropolis between the two orders."""
        other = ROUGH if smoothness == SMOOTH else SMOOTH
        gain = self.log_likelihood(theta, other, targets) - self.log_likelihood(theta, smoothness, targets)
        return other if np.log(self._rng.random()) < gain else smoothness

    def _slice(self, theta: Array, smoothness: float, targets: Array) -> Array:
        """One step of elliptical slice sampling (Murray, Adams & MacKay 2010, figure 2)."""
        rng, offset = self._rng, theta - self._prior_mean
        direction = self._prior_deviation * rng.normal(size=len(theta))
        threshold = self.log_likelihood(theta, smoothness, targets) - rng.exponential()
        angle = rng.uniform(0, 2 * np.pi)
        low, high = angle - 2 * np.pi, angle
        while high - low > 1e-6:  # The interval shrinks towards angle 0, which is theta itself.
            proposal: Array = self._prior_mean + offset * np.cos(angle) + direction * np.sin(angle)
            if self.log_likelihood(proposal, smoothness, targets) > threshold:
                return proposal
            low, high = (angle, high) if angle < 0 else (low, angle)
            angle = rng.uniform(low, high)
        return theta

    def _factorise(self) -> None:
        samples = zip(self.theta, self.smoothness, strict=True)
        self._factors = [cholesky(self._covariance(theta, smoothness), lower=True) for theta, smoothness in samples]
        self._weights = [
            cho_solve((factor, True), targets) for factor, targets in zip(self._factors, self._targets, strict=True)
        ]

    def _covariance(self, theta: Array, smoothness: float) -> Array:
        covariance = self._kernel(self._inputs, self._inputs, theta, smoothness)
        covariance.flat[:: len(covariance) + 1] += np.exp(theta[-1]) + JITTER
        return covariance

    def _kernel(self, left: Array, right: Array, theta: Array, smoothness: float) -> Array:
        """Covariances [m, n] of the scaled distances r = sqrt(2 order) |x - x'|.

        They are v (1 + r + r^2/3) exp(-r) for the order 5/2 and v (1 + r) exp(-r) for 3/2.
        """
        scale = np.exp(theta[self._groups]) / np.sqrt(2 * smoothness)
        left, right = left / scale, right / scale
        square = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
        radius: Array = np.sqrt(np.maximum(square, 0, out=square), out=square)
        kernel: Array = radius.copy()  # In place from here on: half of a proposal's time is spent in these lines.
        if smoothness == SMOOTH:
            kernel /= 3
            kernel += 1
            kernel *= radius
        kernel += 1
        kernel *= np.exp(np.subtract(theta[-2], radius, out=radius), out=radius)
        return kernel


def _solve(factor: Array, right: Array) -> Array:
    """Solve factor x = right for a lower triangle as LAPACK returns it.

    The checks of `scipy.linalg.solve_triangular` take longer than to solve for some tens of observations.
    """
    solution: Array = dtrtrs(factor, right, lower=1)[0]
    return solution
