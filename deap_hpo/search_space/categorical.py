"""The hyperparameter that is a choice from a list, and its gene in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from deap_hpo.search_space.scales import check_resolution, clip, plain
from deap_hpo.vocabulary import hinting_class

Choice = bool | int | float | str | None


@hinting_class
@dataclass(frozen=True)
class Categorical:
    """One of a few choices, each with an equal share of the genes [0, 1].

    Attributes:
        choices: A list, tuple, range or one-dimensional numpy array, kept as a tuple of Python's own types. It has at
            least one choice, of None, bools, ints, finite floats and strings; no two are equal (1, 1.0 and True are).

    Raises:
        TypeError: `choices` is not a sequence of these kinds, or a choice is of another type.
        ValueError: There is no choice, a choice is not finite, or two are equal.

    Example:
        >>> optimizer = Categorical(["sgd", "adam"])
        >>> optimizer.decode(0.3), optimizer.encode("adam")
        ('sgd', 0.75)
        >>> Categorical(range(1, 4))
        Categorical(choices=(1, 2, 3))
    """

    choices: Sequence[Choice]
    # Compared together with the choices, because Python considers (0, 1) and (False, True) equal.
    _types: tuple[type, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # An array is recognised by its `ndim`: importing numpy for an isinstance check would take too long.
        if not isinstance(self.choices, (list, tuple, range)) and getattr(self.choices, "ndim", None) != 1:
            raise TypeError(f"choices must be a list, tuple, range or one-dimensional array; got {self.choices!r}.")
        choices = tuple(plain(choice) for choice in self.choices)
        if not choices:
            raise ValueError("choices must hold at least one choice; got none.")
        seen: set[Choice] = set()
        for choice in choices:
            if not isinstance(choice, (bool, int, float, str, type(None))):
                raise TypeError(
                    f"choices must be None, bools, ints, floats or strings; got {choice!r}. Give anything else a "
                    'name, and look it up where it is used: {"relu": nn.ReLU}[params["activation"]]. '
                    "(EvolutionSearchCV takes a plain list of any choices.)"
                )
            if isinstance(choice, float) and not math.isfinite(choice):
                raise ValueError(f"choices must be finite; got {choice!r}.")
            if choice in seen:
                raise ValueError(f"choices must differ (1, 1.0 and True do not); got {choice!r} again.")
            seen.add(choice)
        object.__setattr__(self, "choices", choices)
        object.__setattr__(self, "_types", tuple(map(type, choices)))

    @property
    def size(self) -> int:
        """Number of choices."""
        return len(self.choices)

    def decode(self, gene: float) -> Choice:
        """Return the choice of a gene; a gene outside [0, 1] counts as the nearest bound.

        Raises:
            TypeError: The gene is not a number.
            ValueError: The gene is NaN.
        """
        return self.choices[min(int(clip(gene) * self.size), self.size - 1)]

    def encode(self, value: Choice) -> float:
        """Return the centre of the choice's bin, so that `decode` gives the choice back exactly.

        Raises:
            ValueError: The value is not one of the choices (True is not 1 here).
        """
        value = plain(value)
        for index, choice in enumerate(self.choices):
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return (index + 0.5) / len(self.choices)
        raise ValueError(f"value must be one of {list(self.choices)}; got {value!r}.")

    def snap(self, gene: float) -> float:
        """Return the centre of the gene's bin."""
        return self.encode(self.decode(gene))

    def grid(self, resolution: int) -> list[Choice]:
        """Return all choices, whatever the resolution."""
        check_resolution(resolution)
        return list(self.choices)
