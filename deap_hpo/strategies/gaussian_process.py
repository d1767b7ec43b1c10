"""A small Gaussian process for records of expensive evaluations: Matérn 5/2, one lengthscale per gene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

# Every hyperparameter has a log-normal prior: (median, standard deviation of the logarithm, least, most). They are
# meant for inputs in the unit cube and targets of mean 0 and variance 1. The median lengthscale grows with the square
# root of the dimension, as the distance between random points does (Hvarfner et al. 2024, "Vanilla Bayesian
# optimization performs great in high dimensions"); at 1 dimension it is `LENGTHSCALE[0]`.
LENGTHSCALE = (0.4, 1.0, 0.05, 10.0)
VARIANCE = (1.0, 1.0, 0.05, 20.0)
NOISE = (1e-3, 2.0, 1e-5, 0.5)
JITTER = 1e-8


class GaussianProcess:
    """Regression by a Gaussian process of mean 0 whose hyperparameters maximise their posterior density.

    The kernel is Matérn 5/2 with one lengthscale per group of input columns (Rasmussen & Williams 2006, "Gaussian
    Processes for Machine Learning", equation 4.17 and algorithm 2.1). A group of several columns is a category in
    one-hot code: scaled by sqrt(1/2), two different categories are at distance 1, whichever they are.

    Args:
        groups: For each input column, the number of its lengthscale, from 0.

    Example:
        >>> inputs = np.linspace(0, 1, 9)[:, None]
        >>> process = GaussianProcess([0])
        >>> process.fit(inputs, np.sin(6 * inputs[:, 0]))
        >>> mean, deviation = process.predict(np.array([[0.3]]))
        >>> bool(abs(mean[0] - np.sin(1.8)) < 0.01), bool(deviation[0] < 0.1)
        (True, True)
    """

    def __init__(self, groups: Sequence[int]) -> None:
        self.groups = np.asarray(groups, dtype=int)
        self.n_lengthscales = int(self.groups.max()) + 1
        dimension = self.n_lengthscales
        lengthscale = (LENGTHSCALE[0] * dimension**0.25, *LENGTHSCALE[1:])
        medians, self._prior_deviation, low, high = np.array([lengthscale] * dimension + [VARIANCE, NOISE]).T
        self._prior_mean = np.log(medians)
        self._bounds = list(zip(np.log(low), np.log(high), strict=True))
        #: Logarithms of the lengthscales, the signal variance and the noise variance, in this order.
        self.theta: Array = self._prior_mean.copy()

    def fit(self, inputs: Array, targets: Array, *, optimise: bool = True, iterations: int = 30) -> None:
        """Condition on observations; the hyperparameters start from those of the last fit.

        Args:
            inputs: Array [n, columns].
            targets: Array [n] of about mean 0 and variance 1; finite.
            optimise: Whether to adjust the hyperparameters, or to keep them.
            iterations: The most steps of L-BFGS-B.
        """
        self._inputs, self._targets = inputs, targets
        if optimise:
            found = minimize(
                self.negative_log_posterior,
                self.theta,
                jac=True,
                method="L-BFGS-B",
                bounds=self._bounds,
                options={"maxiter": iterations},
            )
            if np.isfinite(found.fun):
                self.theta = found.x
        self._factor = cholesky(self._covariance(self.theta), lower=True)
        self._weights = cho_solve((self._factor, True), targets)

    @property
    def noise(self) -> float:
        """Variance of the noise in an observation."""
        return float(np.exp(self.theta[-1]))

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the noise-free function at `inputs` [m, columns], as two arrays [m]."""
        _, cross = self._kernel(inputs, self._inputs, self.theta)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = np.exp(self.theta[-2]) - np.einsum("ij,ij->j", half, half)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-12))

    def condition(self, inputs: Array, targets: Array) -> None:
        """Add observations and keep the hyperparameters, as for evaluations that are still under way."""
        self.fit(np.vstack([self._inputs, inputs]), np.append(self._targets, targets), optimise=False)

    def negative_log_posterior(self, theta: Array) -> tuple[float, Array]:
        """Negative log posterior density of `theta` up to a constant, and its gradient (Rasmussen & Williams, 5.9)."""
        n = len(self._targets)
        scaled = self._inputs / self._lengthscales(theta)
        variance, noise = np.exp(theta[-2:])
        radius, covariance = self._kernel(self._inputs, self._inputs, theta)
        try:
            factor = cholesky(covariance + (noise + JITTER) * np.eye(n), lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        weights = cho_solve((factor, True), self._targets, check_finite=False)
        # d/dt = 1/2 tr(S dK/dt) with S = K^-1 - K^-1 y y^T K^-1.
        sensitivity = cho_solve((factor, True), np.eye(n), check_finite=False) - np.outer(weights, weights)
        # dk / d log l_j = 5/3 variance (1 + r) exp(-r) (difference_j / l_j)^2.
        pull = sensitivity * (5 / 3 * variance * (1 + radius) * np.exp(-radius))
        by_column = pull.sum(1) @ scaled**2 - np.einsum("ij,ij->j", scaled, pull @ scaled)
        deviation = (theta - self._prior_mean) / self._prior_deviation
        gradient = deviation / self._prior_deviation
        gradient[:-2] += np.bincount(self.groups, by_column, self.n_lengthscales)
        gradient[-2] += 0.5 * np.sum(sensitivity * covariance)
        gradient[-1] += 0.5 * noise * np.trace(sensitivity)
        fit_term = 0.5 * self._targets @ weights + np.log(np.diag(factor)).sum()
        return float(fit_term + 0.5 * deviation @ deviation), gradient

    def _lengthscales(self, theta: Array) -> Array:
        lengthscales: Array = np.exp(theta[self.groups])
        return lengthscales

    def _kernel(self, left: Array, right: Array, theta: Array) -> tuple[Array, Array]:
        """Scaled distances r = sqrt(5) |x - x'| and covariances v (1 + r + r^2/3) exp(-r), both [m, n]."""
        scale = self._lengthscales(theta)
        left, right = left / scale, right / scale
        square = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
        radius = np.sqrt(5 * np.maximum(square, 0))
        return radius, np.exp(theta[-2]) * (1 + radius + radius**2 / 3) * np.exp(-radius)

    def _covariance(self, theta: Array) -> Array:
        _, covariance = self._kernel(self._inputs, self._inputs, theta)
        noisy: Array = covariance + (np.exp(theta[-1]) + JITTER) * np.eye(len(covariance))
        return noisy
