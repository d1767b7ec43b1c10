"""No search at all: given hyperparameters, trained again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deap_hpo.checks import check_integer
from deap_hpo.errors import InputError
from deap_hpo.search_space.space import Space


class FixedStrategy:
    """The same hyperparameters `repeats` times: the result without tuning, and how much it varies by chance.

    Repeats differ only if each evaluation has its own seed: ``Study(..., common_random_numbers=False)``. With common
    random numbers, all repeats are the same evaluation, and all but the first cost nothing.

    Args:
        space: The search space.
        params: Value of each hyperparameter by name.
        repeats: Evaluations in all, at least 1; after them, batches are empty.
        batch_size: Evaluations per batch, at least 1; the last batch may be smaller.
        seed: Accepted as by every strategy, but nothing is drawn.

    Attributes:
        size: `repeats`.

    Raises:
        InputError: A number is out of its range, a name is missing or unknown, or a value is outside the space.

    Example:
        >>> from deap_hpo import Float
        >>> space = Space({"momentum": Float(0.0, 1.0)})
        >>> strategy = FixedStrategy(space, params={"momentum": 0.9}, repeats=3, batch_size=2)
        >>> [strategy.generate(list) for _ in range(3)]
        [[[0.9], [0.9]], [[0.9]], []]
    """

    def __init__(
        self, space: Space, *, params: Mapping[str, Any], repeats: int = 1, batch_size: int = 1, seed: int = 0
    ) -> None:
        try:
            self._genome = space.encode(params)
        except (TypeError, ValueError) as error:
            raise InputError(f"params is not a point of the space: {error}") from None
        self._left = self.size = check_integer("repeats", repeats, 1)
        self.batch_size = check_integer("batch_size", batch_size, 1)
        check_integer("seed", seed, 0)

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the next individuals; none after the last repeat."""
        count = min(self.batch_size, self._left)
        self._left -= count
        return [ind_init(list(self._genome)) for _ in range(count)]

    def update(self, population: Sequence[Any]) -> None:
        """Learn nothing."""
