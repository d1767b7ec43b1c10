"""Which hyperparameters are in use, given the choices of others: momentum only where the optimiser is SGD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deap_hpo.categorical import Categorical, Choice
from deap_hpo.hyperparameters import Float, Int

When = Mapping[str, Mapping[str, Choice | Sequence[Choice]]]


class Conditions:
    """The conditions of a space, checked.

    Args:
        hyperparameters: All hyperparameters, in the order of the genes.
        when: For the name of a hyperparameter that is not always in use: the `Categorical` ones that decide, and
            which of their choices (one, or several) let it be. All of them must; each stands earlier in the order.

    Attributes:
        allowed: The same, with tuples of choices.

    Raises:
        TypeError: `when` is not a mapping of mappings.
        ValueError: A name is unknown, comes later, or is not a `Categorical`; or a choice is not among its choices.

    Example:
        >>> optimizer, momentum = Categorical(["sgd", "adam"]), Float(0.0, 0.9)
        >>> conditions = Conditions({"optimizer": optimizer, "momentum": momentum}, {"momentum": {"optimizer": "sgd"}})
        >>> conditions.in_use({"optimizer": "adam", "momentum": 0.5})
        {'optimizer': 'adam'}
    """

    def __init__(self, hyperparameters: Mapping[str, Float | Int | Categorical], when: When) -> None:
        if not isinstance(when, Mapping) or not all(isinstance(one, Mapping) for one in when.values()):
            raise TypeError(f"when must be a mapping of names to mappings of names to choices; got {when!r}.")
        order = list(hyperparameters)
        self.allowed: dict[str, dict[str, tuple[Choice, ...]]] = {}
        for name in sorted(when, key=lambda name: order.index(name) if name in order else -1):
            if name not in order:
                raise ValueError(f"when names {name!r}, which is none of {', '.join(order)}.")
            if not when[name]:
                raise ValueError(f"when must say what {name} depends on; got nothing.")
            self.allowed[name] = {}
            for parent, choices in when[name].items():
                if parent not in order[: order.index(name)]:
                    raise ValueError(f"{name} can depend on what stands before it only; got {parent!r}.")
                decides = hyperparameters[parent]
                if not isinstance(decides, Categorical):
                    raise ValueError(f"{name} can depend on a Categorical only; {parent} is {decides!r}.")
                several: Sequence[Any] = choices if isinstance(choices, (list, tuple)) else [choices]
                self.allowed[name][parent] = tuple(decides.decode(decides.encode(choice)) for choice in several)

    @property
    def deciding(self) -> list[str]:
        """Names of those on which others depend."""
        return list(dict.fromkeys(parent for parents in self.allowed.values() for parent in parents))

    def holds(self, name: str, params: Mapping[str, Any]) -> bool:
        """Say whether a hyperparameter is in use; `params` has those before it that are."""
        conditions = self.allowed.get(name, {}).items()
        return all(parent in params and params[parent] in choices for parent, choices in conditions)

    def in_use(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the hyperparameters that are in use; `params` names all, in order."""
        used: dict[str, Any] = {}
        for name, value in params.items():
            if self.holds(name, used):
                used[name] = value
        return used
