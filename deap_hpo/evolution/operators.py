"""Evolutionary operators beyond those of `deap.tools`, in the same form: they draw from the global `random`."""

from __future__ import annotations

import math
import random
from collections.abc import MutableSequence, Sequence
from typing import Any, TypeVar

from deap_hpo.checks import check_probability
from deap_hpo.evolution.feasibility import infeasibility

_Individual = TypeVar("_Individual", bound=MutableSequence[float])
_Fit = TypeVar("_Fit")


def selTruncation(individuals: Sequence[_Fit], k: int) -> list[_Fit]:
    """Select the best `k` individuals, best first; equals keep their order.

    Feasible individuals come first; then those that break constraints (their fitness has a `violation` above 0), the
    least violation first. Last come those with a non-finite fitness, whatever the weights: infinite values first, then
    NaN, which DEAP's own comparison would rank by chance.

    Args:
        individuals: Individuals with a valid fitness.
        k: Number of individuals to select, 0 <= k <= len(individuals).

    Returns:
        References to the selected individuals.

    Raises:
        ValueError: `k` is out of range, or an individual has not been evaluated.

    Source:
        Truncation selection: Mühlenbein and Schlierkamp-Voosen, "Predictive models for the breeder genetic
        algorithm I", Evolutionary Computation 1(1), 1993. Feasibility: Deb, "An efficient constraint handling method
        for genetic algorithms", Computer Methods in Applied Mechanics and Engineering 186, 2000.

    Example:
        >>> from deap_hpo import Individual
        >>> population = [Individual([0.1]), Individual([0.2]), Individual([0.3])]
        >>> for individual, loss in zip(population, [0.5, float("inf"), 0.4]):
        ...     individual.fitness.values = (loss,)
        >>> selTruncation(population, 2)
        [[0.3], [0.1]]
    """
    if not 0 <= k <= len(individuals):
        raise ValueError(f"k must be between 0 and the number of individuals, {len(individuals)}; got {k}.")
    return sorted(individuals, key=_badness)[:k]


def mutBoundedResample(
    individual: _Individual, low: float | Sequence[float], up: float | Sequence[float], indpb: float
) -> tuple[_Individual]:
    """Replace each gene, with probability `indpb`, by a new uniform draw from its range.

    Args:
        individual: Real-valued individual, changed in place.
        low: Lower bound of the genes, or one per gene (further elements are ignored).
        up: Upper bound of the genes, or one per gene, at least `low`.
        indpb: Independent probability that a gene is replaced, in [0, 1].

    Returns:
        A tuple of the individual.

    Raises:
        ValueError: `indpb` is outside [0, 1], there are fewer bounds than genes, or a range is not finite and ordered.

    Source:
        The mutation of "Evolving hyperparameters: genetic algorithms for dynamic neural network optimization" (The
        AI Scientist, 2024).

    Example:
        >>> random.seed(1)
        >>> mutBoundedResample([2.0, 2.0, 2.0], low=0.0, up=1.0, indpb=0.5)
        ([0.8474337369372327, 2.0, 0.49543508709194095],)
    """
    check_probability("indpb", indpb)
    size = len(individual)
    for index, lower, upper in zip(range(size), _bounds("low", low, size), _bounds("up", up, size), strict=True):
        _check_range(index, lower, upper)
        if random.random() < indpb:
            individual[index] = random.uniform(lower, upper)
    return (individual,)


def mutPerturb(
    individual: _Individual, low: float | Sequence[float], up: float | Sequence[float], step: float, indpb: float
) -> tuple[_Individual]:
    """Move each gene, with probability `indpb`, up or down by a fixed step, but not beyond its bounds.

    For a hyperparameter on a log scale, a step is a factor: in a range from 1e-4 to 1, a step of 0.02 multiplies the
    value by 1.2 or 0.83.

    Args:
        individual: Real-valued individual, changed in place.
        low: Lower bound of the genes, or one per gene (further elements are ignored).
        up: Upper bound of the genes, or one per gene, at least `low`.
        step: Size of the step as a share of a gene's range, in (0, 1].
        indpb: Independent probability that a gene is moved, in [0, 1].

    Returns:
        A tuple of the individual.

    Raises:
        ValueError: `indpb` or `step` is out of its range, there are fewer bounds than genes, or a range is not finite
            and ordered.

    Source:
        The perturbation of Jaderberg et al., "Population based training of neural networks" (arXiv:1711.09846).

    Example:
        >>> random.seed(1)
        >>> mutPerturb([0.5, 0.5, 0.95], low=0.0, up=1.0, step=0.25, indpb=1.0)
        ([0.25, 0.75, 1.0],)
    """
    check_probability("indpb", indpb)
    if not 0 < step <= 1:
        raise ValueError(f"step must be above 0 and at most 1; got {step}.")
    size = len(individual)
    for index, lower, upper in zip(range(size), _bounds("low", low, size), _bounds("up", up, size), strict=True):
        _check_range(index, lower, upper)
        if random.random() < indpb:
            moved = individual[index] + random.choice((-1, 1)) * step * (upper - lower)
            individual[index] = min(max(moved, lower), upper)
    return (individual,)


def mutSelfAdaptive(
    individual: _Individual, low: float | Sequence[float], up: float | Sequence[float], tau: float = 0.5
) -> tuple[_Individual]:
    """Move genes by Gaussian steps, with a rate and a step size that the individual carries and its clones inherit.

    Rate and step size are first changed at random and then used, so that selecting good children also selects good
    rates and step sizes. A step that would leave a range is reflected at its bound. At least one gene is moved.

    Args:
        individual: Real-valued individual, changed in place. It carries the attributes `mutation_rate` (probability
            that a gene is moved) and `mutation_step` (standard deviation, as a share of a gene's range). Without them
            it starts with 0.2 (or 1 / genes, if that is more) and 0.2.
        low: Lower bound of the genes, or one per gene (further elements are ignored).
        up: Upper bound of the genes, or one per gene, at least `low`.
        tau: Standard deviation of the change of the logarithm of the step size, and of the logit of the rate, >= 0.

    Returns:
        A tuple of the individual.

    Raises:
        ValueError: `tau` is negative, there are fewer bounds than genes, or a range is not finite and ordered.

    Source:
        Self-adaptation: Schwefel, "Numerical optimization of computer models", 1981; of the rate, Bäck and Schütz,
        "Intelligent mutation rate control in canonical genetic algorithms", ISMIS 1996, equation 3.

    Example:
        >>> from deap_hpo import Individual
        >>> random.seed(1)
        >>> individual, = mutSelfAdaptive(Individual([0.5, 0.5]), low=0.0, up=1.0)
        >>> [round(gene, 2) for gene in individual]
        [0.5, 0.05]
        >>> round(individual.mutation_rate, 2), round(individual.mutation_step, 2)
        (0.66, 0.41)
    """
    if not 0 <= tau < math.inf:
        raise ValueError(f"tau must be a finite number of at least 0; got {tau}.")
    size = len(individual)
    carrier: Any = individual
    rate = getattr(carrier, "mutation_rate", max(0.2, 1 / size))
    step = getattr(carrier, "mutation_step", 0.2)
    rate = max(rate, 1e-6)  # a rate of 0 would stay 0 forever
    odds = rate / (1 - rate) * math.exp(tau * random.gauss(0, 1)) if rate < 1 else math.inf
    carrier.mutation_rate = min(max(1 / (1 + 1 / odds), 1 / (3 * size)), 0.95)
    carrier.mutation_step = min(max(step * math.exp(tau * random.gauss(0, 1)), 0.005), 0.5)
    moved = [index for index in range(size) if random.random() < carrier.mutation_rate] or [random.randrange(size)]
    lows, ups = _bounds("low", low, size), _bounds("up", up, size)
    for index in moved:
        lower, upper = lows[index], ups[index]
        _check_range(index, lower, upper)
        moved_to = individual[index] + random.gauss(0, carrier.mutation_step) * (upper - lower)
        individual[index] = _reflected(moved_to, lower, upper)
    return (individual,)


def _check_range(index: int, lower: float, upper: float) -> None:
    if not 0 <= upper - lower < math.inf:
        raise ValueError(f"low must be at most up, both finite; got low={lower}, up={upper} for gene {index}.")


def _reflected(value: float, lower: float, upper: float) -> float:
    """Return a value after it is reflected at both bounds as often as needed."""
    width = upper - lower
    if width == 0:
        return lower
    beyond = (value - lower) % (2 * width)
    return min(max(lower + min(beyond, 2 * width - beyond), lower), upper)


def _badness(individual: Any) -> tuple[float, bool, tuple[float, ...]]:
    if not individual.fitness.valid:
        raise ValueError(f"individuals must be evaluated before selection; got {individual} without a fitness.")
    weighted: tuple[float, ...] = individual.fitness.wvalues
    has_nan = any(map(math.isnan, weighted))  # NaN cannot be ordered: these individuals keep their order
    return infeasibility(individual.fitness), has_nan, () if has_nan else tuple(-value for value in weighted)


def _bounds(name: str, bounds: float | Sequence[float], size: int) -> Sequence[float]:
    if isinstance(bounds, (int, float)):
        return [bounds] * size
    if len(bounds) < size:
        raise ValueError(f"{name} must hold a bound for each of the {size} genes; got {len(bounds)}.")
    return bounds[:size]
