"""Early stopping inside a generation: a batch is trained in stages, and hopeless trainings are ended after each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median_low
from typing import Any

from deap_hpo.checks import is_integer
from deap_hpo.errors import InputError

_ENOUGH = 5  # costs, for their median to mean something


class StagedMap:
    """A `map` that trains a batch in stages of growing epochs, and ends the trainings that a rule calls hopeless.

    Register it around a study's `map`, and any DEAP algorithm stops early::

        toolbox.register("map", StagedMap(study.map, stages=[1, 2, 5]))

    A training that is ended keeps its latest value. The others continue where they stopped, so that no epoch is trained
    twice. The rule depends on the results alone, not on the order in which trainings finish: the same ones end with any
    executor, and when a run is replayed. Each stage is a batch of the study, with its own evaluations.

    Args:
        map: `Study.map`.
        stages: Total epochs after each stage, growing; the last is the length of a whole training.
        rule: "median" (Vizier's: ends those worse than the median of all so far, once there are 5), "halving" (ends
            those not among the better half of the batch), or a function of the batch's costs and the earlier costs at
            that stage, which says for each whether it continues. Lower costs are better, whatever the direction.

    Raises:
        InputError: The stages do not grow, or there is no such rule.

    Source:
        Golovin et al., "Google Vizier: a service for black-box optimization" (KDD 2017), section 3.5.2.

    Example:
        See `deap_hpo.configuration.algorithm.Algorithm.run`, with ``evolution.stages``.
    """

    def __init__(
        self,
        map: Callable[..., list[tuple[float, ...]]],
        stages: Sequence[int],
        rule: str | Callable[[Sequence[float], Sequence[float]], Sequence[bool]] = "median",
    ) -> None:
        check_stages(stages)
        if isinstance(rule, str) and rule not in RULES:
            raise InputError(f"rule must be one of {', '.join(RULES)}, or a function; got {rule!r}.")
        self._map = map
        self._stages = list(stages)
        self._rule = RULES[rule] if isinstance(rule, str) else rule
        self._seen: dict[int, list[float]] = defaultdict(list)

    def __call__(self, evaluate: Callable[..., Any], individuals: Iterable[Any]) -> list[tuple[float, ...]]:
        """Evaluate individuals; see `Study.map`."""
        everybody = list(individuals)
        going = everybody
        values: dict[int, tuple[float, ...]] = {}
        for epochs in self._stages:
            for individual in going:
                individual.start_from = individual.origin[0] if epochs > self._stages[0] else None
                individual.epochs = epochs
            found = self._map(evaluate, going)
            values |= {id(individual): value for individual, value in zip(going, found, strict=True)}
            costs = [
                -math.copysign(1.0, individual.fitness.weights[0]) * value[0]
                for individual, value in zip(going, found, strict=True)
            ]
            goes_on = self._rule(costs, self._seen[epochs])
            self._seen[epochs] += costs
            going = [
                individual
                for individual, cost, keeps in zip(going, costs, goes_on, strict=True)
                if keeps and math.isfinite(cost)
            ]
        return [values[id(individual)] for individual in everybody]


def check_stages(stages: Sequence[int]) -> None:
    """Check stages.

    Raises:
        InputError: There are no stages, one is not a whole number of at least 1, or they do not grow.

    Example:
        >>> check_stages([1, 5, 2])
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: stages must be growing numbers of epochs, at least 1; got [1, 5, 2].
    """
    if not stages or not all(map(is_integer, stages)) or stages[0] < 1 or any(b <= a for a, b in pairwise(stages)):
        raise InputError(f"stages must be growing numbers of epochs, at least 1; got {list(stages)}.")


def median_rule(costs: Sequence[float], earlier: Sequence[float]) -> list[bool]:
    """Keep costs no worse than the median of these and all earlier ones; keep all while there are fewer than 5.

    Example:
        >>> median_rule([0.4, 0.1, 0.3, 0.6], [0.2])
        [False, True, True, False]
    """
    known = [*earlier, *costs]
    limit = median_low(known) if len(known) >= _ENOUGH else math.inf
    return [cost <= limit for cost in costs]


def halving_rule(costs: Sequence[float], earlier: Sequence[float]) -> list[bool]:
    """Keep the better half of a batch; among equal costs, the earlier ones come first.

    Example:
        >>> halving_rule([0.4, 0.1, 0.3, 0.6, 0.3], [])
        [False, True, True, False, True]
    """
    ranked = sorted(range(len(costs)), key=costs.__getitem__)[: math.ceil(len(costs) / 2)]
    return [i in ranked for i in range(len(costs))]


RULES: dict[str, Callable[[Sequence[float], Sequence[float]], list[bool]]] = {
    "median": median_rule,
    "halving": halving_rule,
}
