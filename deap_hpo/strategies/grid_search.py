"""Grid search: the full factorial design, as fine as asked for or as the budget allows."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deap_hpo.checks import check_integer
from deap_hpo.errors import InputError
from deap_hpo.search_space.space import Categorical, Float, Int, Space


class GridStrategy:
    """Every combination of evenly spaced values, each once, in an order drawn from the seed.

    The order is random (as in Optuna's grid sampler), so that a grid that is cut short has still covered the whole
    space, not a corner of it. The strategy's `str` describes the grid.

    Args:
        space: The search space.
        resolution: Number of values of each `Float` and `Int`, one for all or by name, as in `Space.grid`.
        budget: Maximum number of evaluations, instead of a resolution. The finest grid that fits is taken. Numbers of
            values then differ by at most one, except for hyperparameters with fewer values; the first names get more.
        batch_size: Genomes per batch, at least 1; the last batch may be smaller.
        seed: Seed of the order, at least 0.

    Attributes:
        resolution: Number of values of each hyperparameter, by name.
        size: Number of combinations. After that many individuals, `generate` returns empty lists. To end a run of
            `eaGenerateUpdate` there, pass ``ngen=math.ceil(strategy.size / strategy.batch_size)``.

    Raises:
        InputError: Not exactly one of `resolution` and `budget` is given, a number is out of its range, a name is
            missing or unknown, or even the coarsest grid, one value of each number and all choices, exceeds the budget.

    Source:
        Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 13, 2012, on why a grid wastes
        evaluations wherever some hyperparameters matter more than others.

    Example:
        >>> from deap_hpo import Float, Int
        >>> strategy = GridStrategy(Space({"lr": Float(0.0, 1.0), "width": Int(1, 2)}), budget=8, batch_size=5)
        >>> str(strategy)
        'grid of 8 evaluations: lr 4, width 2'
        >>> [len(strategy.generate(list)) for _ in range(3)]
        [5, 3, 0]
    """

    def __init__(
        self,
        space: Space,
        *,
        resolution: int | Mapping[str, int] | None = None,
        budget: int | None = None,
        batch_size: int = 1,
        seed: int = 0,
    ) -> None:
        if (resolution is None) == (budget is None):
            raise InputError(
                "grid needs a resolution (values of each hyperparameter) or a budget (the most evaluations), and not "
                f"both; got resolution={resolution!r}, budget={budget!r}."
            )
        self.batch_size = check_integer("batch_size", batch_size, 1)
        rng = np.random.default_rng(check_integer("seed", seed, 0))
        if resolution is None:
            resolution = _finest(space, check_integer("budget", budget, 1))
        try:
            points = space.grid(resolution)
        except (TypeError, ValueError) as error:
            raise InputError(f"resolution does not fit the space: {error}") from None
        self.resolution = {name: len({repr(point[name]) for point in points if name in point}) for name in space}
        self.size = len(points)
        self._genomes = [space.encode(points[i]) for i in rng.permutation(self.size)]
        self._next = 0

    def __str__(self) -> str:
        values = ", ".join(f"{name} {count}" for name, count in self.resolution.items())
        return f"grid of {self.size} evaluations: {values}"

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the next individuals; none after the last point."""
        batch = self._genomes[self._next : self._next + self.batch_size]
        self._next += len(batch)
        return [ind_init(list(genome)) for genome in batch]

    def update(self, population: Sequence[Any]) -> None:
        """Learn nothing."""


def _finest(space: Space, budget: int) -> dict[str, int]:
    """Raise the resolution of the coarsest hyperparameter, the first among equals, while the grid fits."""
    coarsest = dict.fromkeys(space, 1)
    least = _size(space, coarsest)
    if least > budget:
        raise InputError(
            f"budget must be at least {least}, the number of combinations of all choices alone; got {budget}."
        )
    # The choices of a Categorical are all there from the start.
    most = {name: 1 if isinstance(one, Categorical) else one.size for name, one in space.items()}
    used = {name for point in space.grid(coarsest) for name in point}  # Others would never make a grid larger.

    def level(count: int) -> dict[str, int]:
        """Give the resolution with so many values of each, as far as it has that many."""
        return {name: int(min(count, most[name])) if name in used else 1 for name in space}

    # First the largest level that fits, found without making much larger grids; then one more for the first names.
    count = 1
    while _size(space, level(2 * count)) <= budget and level(2 * count) != level(count):
        count *= 2
    fitting = bisect_right(range(count, 2 * count), budget, key=lambda values: _size(space, level(values)))
    resolution = level(count + max(fitting - 1, 0))
    while growing := [name for name in space if name in used and resolution[name] < most[name]]:
        name = min(growing, key=resolution.__getitem__)
        finer = {**resolution, name: resolution[name] + 1}
        if _size(space, finer) > budget:
            break
        resolution = finer
    return resolution


def _size(space: Space, resolution: Mapping[str, int]) -> int:
    if space.conditions.allowed:
        return len(space.grid(resolution))
    return math.prod(_number(space[name], count) for name, count in resolution.items())


def _number(hyperparameter: Float | Int | Categorical, resolution: int) -> int:
    """Number of values that a grid has of a hyperparameter, counted without making those of a continuous one."""
    return resolution if math.isinf(hyperparameter.size) else len(hyperparameter.grid(resolution))
