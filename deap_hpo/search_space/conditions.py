"""Which hyperparameters are in use, given others: momentum with SGD only, the third width with three layers only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deap_hpo.errors import hint
from deap_hpo.search_space.categorical import Categorical, Choice
from deap_hpo.search_space.hyperparameters import Float, Int

When = Mapping[str, Mapping[str, Choice | Sequence[Choice]]]

_MOST_VALUES = 100  # of an Int on which others depend


class Conditions:
    """The checked conditions of a space.

    Args:
        hyperparameters: All hyperparameters, in the order of the genes.
        when: For each hyperparameter that is not always in use, by name: the hyperparameters on which it depends, and
            the choices or values with which it is in use (one, or several, also as a range). All of its conditions must
            hold. The others stand earlier in the order; each is a `Categorical`, or an `Int` without `log` and with at
            most 100 values.

    Attributes:
        allowed: The same, with tuples of choices.

    Raises:
        TypeError: `when` is not a mapping of mappings.
        ValueError: A name is unknown, comes later in the order, or is not of these kinds; or a choice is not one of the
            other's choices.

    Example:
        >>> optimizer, momentum = Categorical(["sgd", "adam"]), Float(0.0, 0.9)
        >>> conditions = Conditions({"optimizer": optimizer, "momentum": momentum}, {"momentum": {"optimizer": "sgd"}})
        >>> conditions.in_use({"optimizer": "adam", "momentum": 0.5})
        {'optimizer': 'adam'}
        >>> widths = {f"width_{i}": Int(8, 64) for i in range(1, 4)}
        >>> deeper = {f"width_{i}": {"layers": range(i, 4)} for i in range(2, 4)}
        >>> conditions = Conditions({"layers": Int(1, 3), **widths}, deeper)
        >>> list(conditions.in_use({"layers": 2, "width_1": 8, "width_2": 8, "width_3": 8}))
        ['layers', 'width_1', 'width_2']
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
            self.allowed[name] = {
                parent: _choices(name, parent, choices, hyperparameters) for parent, choices in when[name].items()
            }

    @property
    def deciding(self) -> list[str]:
        """Names of the hyperparameters on which others depend."""
        return list(dict.fromkeys(parent for parents in self.allowed.values() for parent in parents))

    def holds(self, name: str, params: Mapping[str, Any]) -> bool:
        """Say whether a hyperparameter is in use; `params` holds those before it that are in use."""
        conditions = self.allowed.get(name, {}).items()
        return all(parent in params and params[parent] in choices for parent, choices in conditions)

    def required(self, names: Iterable[str]) -> dict[str, tuple[Choice, ...]]:
        """Return the choices or values, by name, that others must have so that all those named are in use.

        If no choice of another hyperparameter allows all of them, its tuple is empty.

        Example:
            >>> optimizer, momentum = Categorical(["sgd", "nag", "adam"]), Float(0.0, 0.9)
            >>> one = {"optimizer": optimizer, "momentum": momentum, "dampening": Float(0.0, 0.5)}
            >>> when = {"momentum": {"optimizer": ["sgd", "nag"]}, "dampening": {"optimizer": ["sgd"]}}
            >>> conditions = Conditions(one, when)
            >>> conditions.required(["momentum"]), conditions.required(["momentum", "dampening"])
            ({'optimizer': ('sgd', 'nag')}, {'optimizer': ('sgd',)})
        """
        named = set(names)
        found: dict[str, tuple[Choice, ...]] = {}
        for name in reversed(self.allowed):  # a hyperparameter stands after those on which it depends
            if name in named or name in found:
                for parent, choices in self.allowed[name].items():
                    found[parent] = tuple(one for one in found.get(parent, choices) if one in choices)
        return found

    def in_use(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the hyperparameters that are in use; `params` names all, in order."""
        used: dict[str, Any] = {}
        for name, value in params.items():
            if self.holds(name, used):
                used[name] = value
        return used


def _can_decide(one: Float | Int | Categorical) -> bool:
    return isinstance(one, Categorical) or (isinstance(one, Int) and not one.log and one.size <= _MOST_VALUES)


def _choices(
    name: str, parent: str, given: Any, hyperparameters: Mapping[str, Float | Int | Categorical]
) -> tuple[Choice, ...]:
    """Check one condition, and give the choices of the parent with which the hyperparameter is in use."""
    order = list(hyperparameters)
    if parent not in order:
        raise ValueError(f"when, {name}: there is no {parent!r} to depend on. {hint(parent, order)}")
    if parent not in order[: order.index(name)]:
        raise ValueError(f"{name} can depend only on hyperparameters before it; got {parent!r}.")
    decides: Any = hyperparameters[parent]
    if not _can_decide(decides):
        raise ValueError(
            f"{name} can depend on a Categorical, or on an Int without log and of at most {_MOST_VALUES} values; "
            f"{parent} is {decides!r}."
        )
    choices = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not choices:
        raise ValueError(f"when must say with which {parent} {name} is in use; got {given!r}.")
    try:
        return tuple(decides.decode(decides.encode(choice)) for choice in choices)
    except (TypeError, ValueError) as error:
        raise type(error)(f"when, {name}, {parent}: {error}") from None
