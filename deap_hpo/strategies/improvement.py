"""A model of losses, and the improvement that it expects of configurations not yet tried."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, logsumexp, ndtr
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from deap_hpo.strategies.gaussian_process import GaussianProcess
from deap_hpo.strategies.outcomes import standardise

Array = NDArray[np.float64]

MODEL_LIMIT = 300  # Most observations to give to a model: its cost grows with their cube.


class Sampling(NamedTuple):
    """Samples in a model of at least so many observations, and steps of their chains for each new observation."""

    observations: int
    samples: int
    steps: int


# With more observations, fewer hyperparameters are plausible, and a sample costs more.
SAMPLING = (Sampling(100, 5, 2), Sampling(60, 5, 5), Sampling(40, 10, 10), Sampling(0, 20, 20))


class ImprovementModel:
    """A Gaussian process that is fitted to losses again and again, and the improvement that it expects.

    Losses may be infinite, and are modelled on the scale of `standardise`. The Markov chains of the hyperparameters
    continue from one fit to the next, with more steps for more new observations.

    Args:
        groups: For each input column, the number of its lengthscale; see `GaussianProcess`.
        rng: Source of randomness.
        rough_from: Number of observations from which the model also learns how rough the losses are; by default never.

    Attributes:
        process: The Gaussian process.

    Source:
        Expected improvement: Jones, Schonlau & Welch 1998, "Efficient global optimization of expensive black-box
        functions". Kriging believer (`believe`): Ginsbourger, Le Riche & Carraro 2010, "Kriging is well-suited to
        parallelize optimization".

    Example:
        >>> model = ImprovementModel([0], np.random.default_rng(0))
        >>> inputs = np.linspace(0, 1, 5)[:, None]
        >>> model.fit(inputs, (inputs[:, 0] - 0.4) ** 2, observations=5)
        >>> model.improve_on(model.means(inputs))
        >>> elsewhere = np.array([[0.1], [0.4], [0.9]])
        >>> int(model.merits(elsewhere).argmax())
        1
    """

    def __init__(self, groups: Sequence[int], rng: np.random.Generator, *, rough_from: float = math.inf) -> None:
        self.process = GaussianProcess(groups, rng, n_samples=SAMPLING[-1].samples)
        self._rough_from = rough_from
        self._fitted = 0  # Number of observations at the last fit.
        self._best: Array = np.full((SAMPLING[-1].samples, 1), np.inf)  # The value to improve on, for each sample.

    def fit(self, inputs: Array, losses: Array, *, observations: int) -> None:
        """Fit the model, and forget earlier beliefs and the values to improve on.

        Args:
            inputs: Array [n, columns].
            losses: Array [n], at least one of them finite.
            observations: Number of all observations so far, of which the n may be a selection.
        """
        new = min(observations - self._fitted, 10)
        sampling = next(one for one in SAMPLING if len(inputs) >= one.observations)
        self.process.thin(sampling.samples)
        rough = len(inputs) >= self._rough_from
        self.process.fit(inputs, standardise(losses), steps=sampling.steps * new, sample_smoothness=rough)
        self._fitted = observations
        self._best = np.full((len(self.process.theta), 1), np.inf)

    def means(self, inputs: Array) -> Array:
        """Means that each sample of the model predicts at inputs [m, columns], as an array [samples, m]."""
        return self.process.predict(inputs)[0]

    def believe(self, inputs: Array) -> Array:
        """Count inputs [m, columns] as observed, with the means that each sample predicts; return these, [samples, m].

        So the next proposal is a different one while the outcome of this one is awaited.
        """
        return self.process.believe(inputs)

    def improve_on(self, means: Array) -> None:
        """Require of an improvement that it is below these means [samples, m] too, not only below earlier ones."""
        self._best = np.minimum(self._best, means.min(axis=1, keepdims=True))

    def merits(self, inputs: Array) -> Array:
        """Logarithms of the expected improvement at inputs [m, columns] up to a constant, as an array [m].

        They still tell inputs apart where the improvement itself underflows. Call `improve_on` first, which sets the
        values to improve on.
        """
        means, deviations = self.process.predict(inputs)  # [samples, m]
        improvements = np.log(deviations) + log_improvement((self._best - means) / deviations)
        merits: Array = logsumexp(improvements, axis=0)
        return merits


def log_improvement(z: Array) -> Array:
    """Logarithm of z Phi(z) + phi(z), the expected improvement in units of the deviation.

    Source:
        Ament, Daulton, Eriksson, Balandat & Bakshy 2023, "Unexpected improvements to expected improvement for Bayesian
        optimization", equation 9.

    Example:
        >>> log_improvement(np.array([0.0, -50.0])).round(2).tolist()
        [-0.92, -1258.74]
    """
    density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    near = np.maximum(z, -1.0)
    far = np.clip(z, -1e4, -1.0)
    # Phi(z) / phi(z) = sqrt(pi / 2) erfcx(-z / sqrt(2)), which does not underflow.
    tail = np.log1p(np.sqrt(np.pi / 2) * far * erfcx(-far / np.sqrt(2)))
    bulk = np.log(near * ndtr(near) + np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi))
    logarithm: Array = np.where(z > -1.0, bulk, density + tail)
    return logarithm


def one_blas_thread() -> AbstractContextManager[Any]:
    """Limit linear algebra to one thread: small matrices are faster so, and sums always have the same order.

    Example:
        >>> with one_blas_thread():
        ...     np.ones((2, 2)) @ np.ones(2)
        array([2., 2.])
    """
    limited: AbstractContextManager[Any] = _blas().limit(limits=1, user_api="blas")
    return limited


@functools.cache
def _blas() -> ThreadpoolController:
    """The loaded libraries of linear algebra, cached because finding them takes some milliseconds."""
    return ThreadpoolController()
