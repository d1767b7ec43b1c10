"""The search space: hyperparameters by name, and genomes that decode to their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, Protocol, TypeVar

from deap_hpo.errors import InputError, did_you_mean
from deap_hpo.search_space.categorical import Categorical
from deap_hpo.search_space.conditions import Conditions, When
from deap_hpo.search_space.hyperparameters import Float, Int

__all__ = ["Categorical", "Float", "Hyperparameter", "Int", "Space", "UniformSource"]

Hyperparameter = Float | Int | Categorical

_KINDS: dict[str, type[Hyperparameter]] = {"float": Float, "int": Int, "categorical": Categorical}

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class UniformSource(Protocol):
    """Draws uniformly from [0, 1): a `random.Random`, the module `random` or a `numpy.random.Generator`."""

    def random(self) -> float:
        """Return the next draw."""
        ...


class Space(Mapping[str, Hyperparameter]):
    """A read-only mapping of names to hyperparameters; its order is the order of the genes.

    A genome is a list of floats in [0, 1], one per hyperparameter. So any operator on bounded real vectors works on it,
    and none can leave the space.

    Args:
        hyperparameters: `Float`, `Int` or `Categorical` by name, at least one.
        when: Conditions, such as ``{"momentum": {"optimizer": ["sgd", "nag"]}}``: momentum is in use only if the
            optimizer is one of these two. If a hyperparameter depends on several others, all conditions must hold. The
            others stand before it; each is a `Categorical`, or an `Int` without `log` and with at most 100 values.
            While it is not in use, its gene has no effect and its value does not appear.

    Attributes:
        conditions: The checked conditions.

    Raises:
        TypeError: Not a mapping of strings to hyperparameters, or conditions of another form.
        ValueError: The mapping or a name is empty, or a condition does not fit the hyperparameters.

    Example:
        >>> space = Space({"lr": Float(1e-4, 1.0, log=True), "width": Int(1, 4), "bias": Categorical([False, True])})
        >>> space.decode([0.0, 0.6, 1.0])
        {'lr': 0.0001, 'width': 3, 'bias': True}
        >>> space.encode({"lr": 1.0, "width": 3, "bias": True})
        [1.0, 0.625, 0.75]
        >>> space.encode({"lrr": 1.0, "width": 3, "bias": True})
        Traceback (most recent call last):
            ...
        ValueError: params has the unknown name 'lrr' (did you mean 'lr'?); expected lr, width, bias.
        >>> either = {"optimizer": Categorical(["sgd", "adam"]), "momentum": Float(0.0, 0.9)}
        >>> space = Space(either, when={"momentum": {"optimizer": "sgd"}})
        >>> space.decode([0.2, 0.5]), space.decode([0.8, 0.5])
        ({'optimizer': 'sgd', 'momentum': 0.45}, {'optimizer': 'adam'})
    """

    @classmethod
    def of(cls, given: Space | Mapping[str, Hyperparameter]) -> Space:
        """Return a space as it is, and a mapping as the space that it describes.

        Raises:
            InputError: It is neither.

        Example:
            >>> Space.of({"x": Float(0.0, 1.0)})
            Space({'x': Float(low=0.0, high=1.0, log=False, step=None)})
        """
        try:
            return given if isinstance(given, Space) else cls(given)
        except (TypeError, ValueError) as error:
            raise InputError(f"space: {error}") from None

    def __init__(self, hyperparameters: Mapping[str, Hyperparameter], when: When | None = None) -> None:
        if not isinstance(hyperparameters, Mapping):
            raise TypeError(f"hyperparameters must be a mapping of names; got {hyperparameters!r}.")
        if not hyperparameters:
            raise ValueError("hyperparameters must hold at least one; got none.")
        for name, hyperparameter in hyperparameters.items():
            if not isinstance(name, str):
                raise TypeError(f"names must be strings; got {name!r}.")
            if not name:
                raise ValueError("names must not be empty; got ''.")
            if not isinstance(hyperparameter, (Float, Int, Categorical)):
                raise TypeError(f"{name} must be a Float, Int or Categorical; got {hyperparameter!r}.")
        self._hyperparameters = dict(hyperparameters)
        self.conditions = Conditions(self._hyperparameters, when or {})

    def __getitem__(self, name: str) -> Hyperparameter:
        return self._hyperparameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hyperparameters)

    def __len__(self) -> int:
        return len(self._hyperparameters)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Space):
            return NotImplemented
        return (list(self.items()), self._when) == (list(other.items()), other._when)

    def __hash__(self) -> int:
        return hash(tuple(self.items()))

    def __repr__(self) -> str:
        when = f", when={self._when!r}" if self._when else ""
        return f"Space({self._hyperparameters!r}{when})"

    @property
    def _when(self) -> dict[str, dict[str, list[Any]]]:
        """The conditions in JSON's types."""
        allowed = self.conditions.allowed
        return {name: {parent: list(one) for parent, one in parents.items()} for name, parents in allowed.items()}

    def decode(self, genome: Sequence[float]) -> dict[str, Any]:
        """Return a genome's values in use, by name; genes outside [0, 1] count as the nearest bound.

        Raises:
            TypeError: A gene is not a number.
            ValueError: The genome is of the wrong length, or a gene is NaN.
        """
        return self.conditions.in_use(dict(zip(self, self._of_genes("decode", genome), strict=True)))

    def encode(self, params: Mapping[str, Any]) -> list[float]:
        """Return the genome of values by name; `decode` gives the values back (a `Float` up to rounding).

        The gene of a hyperparameter that is not in use is 0.5.

        Raises:
            TypeError: A value is of the wrong type.
            ValueError: A name is missing, unknown or not in use, or a value is outside its bounds.
        """
        self._refuse_unknown("params", params)
        used = [name for name in self if self.conditions.holds(name, params)]
        missing = [name for name in used if name not in params]
        if missing:
            raise ValueError(f"params must name every hyperparameter; missing {', '.join(missing)}.")
        for name in params:
            if name not in used:
                raise ValueError(f"{name} is not in use where {_said(self._when[name])}; leave it out.")
        return [_named(name, self[name].encode, params[name]) if name in used else 0.5 for name in self]

    def snap(self, genome: Sequence[float]) -> list[float]:
        """Return the canonical genome of the same values: the centres of bins, or a continuous `Float`'s gene, clipped.

        The gene of a hyperparameter that is not in use is 0.5.

        Raises:
            TypeError: A gene is not a number.
            ValueError: The genome is of the wrong length, or a gene is NaN.

        Example:
            >>> Space({"lr": Float(0.0, 1.0), "width": Int(1, 2)}).snap([1.7, 0.4])
            [1.0, 0.25]
        """
        used = self.decode(genome)
        snapped = self._of_genes("snap", genome)
        return [gene if name in used else 0.5 for name, gene in zip(self, snapped, strict=True)]

    def sample(self, rng: UniformSource) -> list[float]:
        """Return a genome drawn uniformly; `rng` is advanced by one draw per hyperparameter, in order.

        Example:
            >>> import random
            >>> space = Space({"lr": Float(1e-4, 1.0, log=True)})
            >>> space.sample(random.Random(0))
            [0.8444218515250481]
        """
        return [float(rng.random()) for _ in self]

    def grid(self, resolution: int | Mapping[str, int]) -> list[dict[str, Any]]:
        """Return the full factorial design: every combination of values in use, the last name varying fastest.

        Args:
            resolution: Number of values of each `Float` and `Int` (fewer if it has fewer), at least 1; one number for
                all, or a number by name. A `Categorical` contributes all of its choices and need not be named.

        Raises:
            TypeError: A resolution is not an integer.
            ValueError: A resolution is below 1, or a name is missing or unknown.

        Example:
            >>> Space({"momentum": Float(0.0, 0.5), "width": Int(1, 9)}).grid({"momentum": 2, "width": 1})
            [{'momentum': 0.0, 'width': 5}, {'momentum': 0.5, 'width': 5}]
        """
        if not isinstance(resolution, Mapping):
            resolution = dict.fromkeys(self, resolution)
        self._refuse_unknown("resolution", resolution)
        points: list[dict[str, Any]] = [{}]
        for name, hyperparameter in self.items():
            if name not in resolution and not isinstance(hyperparameter, Categorical):
                raise ValueError(f"resolution must name every Float and Int; missing {name}.")
            values: Sequence[Any] = _named(name, hyperparameter.grid, resolution.get(name, 1))
            each: list[dict[str, Any]] = [{name: value} for value in values]
            points = [
                {**point, **one} for point in points for one in (each if self.conditions.holds(name, point) else [{}])
            ]
        return points

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the space in JSON's types; the order of the names matters. A step is written only if there is one.

        Example:
            >>> Space({"width": Int(1, 4)}).to_dict()
            {'width': {'type': 'int', 'low': 1, 'high': 4, 'log': False}}
        """
        when = self._when
        return {
            name: {**_to_dict(hyperparameter), **({"when": when[name]} if name in when else {})}
            for name, hyperparameter in self.items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Mapping[str, Any]]) -> Space:
        """Return the space that `to_dict` wrote; `log`, `step` and `when` may be left out.

        Raises:
            TypeError: An entry is not a mapping, or a value is of the wrong type.
            ValueError: A type or a key is unknown, a key is missing, or a value is out of range.

        Example:
            >>> Space.from_dict({"width": {"type": "int", "low": 1, "high": 4}})
            Space({'width': Int(low=1, high=4, log=False, step=1)})
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"data must be a mapping of names; got {data!r}.")
        when = {name: entry["when"] for name, entry in data.items() if isinstance(entry, Mapping) and "when" in entry}
        return cls({name: _named(name, _from_dict, entry) for name, entry in data.items()}, when)

    def _of_genes(self, method: str, genome: Sequence[float]) -> list[Any]:
        if len(genome) != len(self):
            raise ValueError(f"genome must have {len(self)} genes ({', '.join(self)}); got {len(genome)}.")
        return [_named(name, getattr(self[name], method), gene) for name, gene in zip(self, genome, strict=True)]

    def _refuse_unknown(self, argument: str, names: Iterable[str]) -> None:
        _refuse_unknown(f"{argument} has the unknown name", names, self)


def _said(conditions: Mapping[str, Sequence[Any]]) -> str:
    """Describe a hyperparameter's conditions in the negative, as they read when it is not in use."""
    return " or ".join(f"{parent} is not {' or '.join(map(repr, choices))}" for parent, choices in conditions.items())


def _named(name: str, function: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
    """Call the function, and put the hyperparameter's name in front of its error messages."""
    try:
        return function(argument)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _refuse_unknown(complaint: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known, cutoff=0.5)
            raise ValueError(f"{complaint} {name!r}{hint}; expected {', '.join(known)}.")


def _to_dict(hyperparameter: Hyperparameter) -> dict[str, Any]:
    if isinstance(hyperparameter, Categorical):
        return {"type": "categorical", "choices": list(hyperparameter.choices)}
    kind = type(hyperparameter).__name__.lower()
    told = {"type": kind, "low": hyperparameter.low, "high": hyperparameter.high, "log": hyperparameter.log}
    # Without a step, the form is that of earlier versions, which knew no steps, so that their records can be resumed.
    return told if hyperparameter.step == type(hyperparameter).step else {**told, "step": hyperparameter.step}


def _from_dict(entry: Mapping[str, Any]) -> Hyperparameter:
    if not isinstance(entry, Mapping):
        raise TypeError(f"expected a mapping with a type; got {entry!r}.")
    if "type" not in entry:
        raise ValueError(f"type must be given, one of {', '.join(_KINDS)}; got {dict(entry)}.")
    _refuse_unknown("unknown type", [entry["type"]], _KINDS)
    kind = _KINDS[entry["type"]]
    arguments = {key: value for key, value in entry.items() if key not in ("type", "when")}
    known = [argument.name for argument in fields(kind) if argument.init]
    _refuse_unknown("unknown key", arguments, known)
    needed = [argument.name for argument in fields(kind) if argument.init and argument.default is MISSING]
    missing = [key for key in needed if key not in arguments]
    if missing:
        raise ValueError(f"{entry['type']} must have {', '.join(needed)}; missing {', '.join(missing)}.")
    return kind(**arguments)
