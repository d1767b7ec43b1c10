"""One hyperparameter: a real number, a whole number or a choice, and its gene in [0, 1].

The three classes share a shape, not a base: `decode`, `encode`, `snap` and `grid`. Standard library only, so that
reading a space costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

Choice = bool | int | float | str | None

_INT_LIMIT = 2**40  # Within it, also on a log scale, rounding moves no bin's centre out of its bin.


@dataclass(frozen=True)
class Float:
    """A real number, uniform between two bounds on a linear or a logarithmic scale.

    Attributes:
        low: Smallest value, finite; greater than 0 where `log`.
        high: Largest value, finite, at least `low`; equal to it, the value is fixed.
        log: Whether the logarithm of the value is what is uniform.

    Raises:
        TypeError: A bound is not a number, or `log` not a bool.
        ValueError: The bounds are not finite, in the wrong order, too far apart for a float, so close that there is
            next to nothing between them, or not positive where `log`.

    Example:
        >>> learning_rate = Float(1e-4, 1.0, log=True)
        >>> round(learning_rate.decode(0.5), 6), learning_rate.encode(0.01)
        (0.01, 0.5)
        >>> Float(0.0, 0.9).grid(4)
        [0.0, 0.3, 0.6, 0.9]
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", _number("low", self.low))
        object.__setattr__(self, "high", _number("high", self.high))
        _check_bounds(self.low, self.high, self.log)
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"high - low must be finite; got low={self.low}, high={self.high}.")
        # A search that tries nothing twice would run out of numbers, and look for more without end.
        if 0 < self.high - self.low < 1e6 * math.ulp(max(-self.low, self.high)):
            raise ValueError(
                f"high must equal low, or have a million floating-point numbers below it down to low; "
                f"got low={self.low}, high={self.high}."
            )

    def decode(self, gene: float) -> float:
        """Return the value of a gene; a gene outside [0, 1] counts as the nearest bound.

        Raises:
            TypeError: The gene is not a number.
            ValueError: The gene is NaN.
        """
        return _between(self.low, self.high, self.log, _clip(gene))

    def encode(self, value: float) -> float:
        """Return the gene of a value, up to rounding; 0.5 where only one value is possible.

        Raises:
            TypeError: The value is not a number.
            ValueError: The value is outside [low, high].
        """
        value = _number("value", value)
        _check_inside(value, self.low, self.high)
        start, width = _scale(self.low, self.high, self.log)
        return _clip(((math.log(value) if self.log else value) - start) / width) if width else 0.5

    def snap(self, gene: float) -> float:
        """Return the gene within [0, 1] of the same value (exactly the same, unlike ``encode(decode(gene))``)."""
        return _clip(gene) if self.high > self.low else 0.5

    def grid(self, resolution: int) -> list[float]:
        """Return `resolution` values, evenly spaced on the scale, both bounds included; of one, the middle."""
        return _evenly_spaced(self.low, self.high, self.log, resolution)


@dataclass(frozen=True)
class Int:
    """A whole number between two bounds, both included.

    The genes [0, 1] are cut into one bin per value: of equal width, or as wide as [value - 0.5, value + 0.5]
    on a logarithmic scale.

    Attributes:
        low: Smallest value, at least -2**40; greater than 0 where `log`.
        high: Largest value, at least `low`, at most 2**40.
        log: Whether the scale is logarithmic.

    Raises:
        TypeError: A bound is not an integer (of Python or numpy; bools are none), or `log` not a bool.
        ValueError: The bounds are in the wrong order or beyond the limits.

    Example:
        >>> width = Int(1, 4)
        >>> [width.decode(gene) for gene in (0.0, 0.24, 0.26, 1.0)]
        [1, 1, 2, 4]
        >>> width.encode(2)
        0.375
        >>> Int(16, 256, log=True).grid(3)
        [16, 64, 256]
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", _integer("low", self.low))
        object.__setattr__(self, "high", _integer("high", self.high))
        _check_bounds(self.low, self.high, self.log)
        if max(-self.low, self.high) > _INT_LIMIT:
            raise ValueError(f"low and high must lie within +-2**40; got low={self.low}, high={self.high}.")

    def decode(self, gene: float) -> int:
        """Return the value of a gene; a gene outside [0, 1] counts as the nearest bound.

        Raises:
            TypeError: The gene is not a number.
            ValueError: The gene is NaN.
        """
        start, width = self._scale()
        edge = start + _clip(gene) * width
        return min(max(math.floor((math.exp(edge) if self.log else edge) + 0.5), self.low), self.high)

    def encode(self, value: int) -> float:
        """Return the centre of the value's bin, so that `decode` gives the value back exactly.

        Raises:
            TypeError: The value is not an integer.
            ValueError: The value is outside [low, high].
        """
        value = _integer("value", value)
        _check_inside(value, self.low, self.high)
        start, width = self._scale()
        centre = (math.log(value - 0.5) + math.log(value + 0.5)) / 2 if self.log else value
        return (centre - start) / width

    def snap(self, gene: float) -> float:
        """Return the centre of the gene's bin."""
        return self.encode(self.decode(gene))

    def grid(self, resolution: int) -> list[int]:
        """Return up to `resolution` values, evenly spaced on the scale, both bounds included."""
        if _resolution(resolution) > self.high - self.low:
            return list(range(self.low, self.high + 1))
        return list(dict.fromkeys(map(round, _evenly_spaced(self.low, self.high, self.log, resolution))))

    def _scale(self) -> tuple[float, float]:
        return _scale(self.low - 0.5, self.high + 0.5, self.log)


@dataclass(frozen=True)
class Categorical:
    """One of a few choices, each with an equal share of the genes [0, 1].

    Attributes:
        choices: None, bools, ints, finite floats and strings, at least one, no two equal (1, 1.0 and True are).

    Raises:
        TypeError: `choices` is not a list or tuple, or a choice is of another type.
        ValueError: There is no choice, a choice is not finite, or two are equal.

    Example:
        >>> optimizer = Categorical(["sgd", "adam"])
        >>> optimizer.decode(0.3), optimizer.encode("adam")
        ('sgd', 0.75)
    """

    choices: Sequence[Choice]
    # Compared along with the choices, for which Python holds (0, 1) and (False, True) to be equal.
    _types: tuple[type, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.choices, (list, tuple)):
            raise TypeError(f"choices must be a list or tuple; got {self.choices!r}.")
        choices = tuple(_plain(choice) for choice in self.choices)
        if not choices:
            raise ValueError("choices must hold at least one choice; got none.")
        for index, choice in enumerate(choices):
            if not isinstance(choice, (bool, int, float, str, type(None))):
                raise TypeError(f"choices must be None, bools, ints, floats or strings; got {choice!r}.")
            if isinstance(choice, float) and not math.isfinite(choice):
                raise ValueError(f"choices must be finite; got {choice!r}.")
            if choice in choices[:index]:
                raise ValueError(f"choices must differ (1, 1.0 and True do not); got {choice!r} again.")
        object.__setattr__(self, "choices", choices)
        object.__setattr__(self, "_types", tuple(map(type, choices)))

    def decode(self, gene: float) -> Choice:
        """Return the choice of a gene; a gene outside [0, 1] counts as the nearest bound.

        Raises:
            TypeError: The gene is not a number.
            ValueError: The gene is NaN.
        """
        count = len(self.choices)
        return self.choices[min(int(_clip(gene) * count), count - 1)]

    def encode(self, value: Choice) -> float:
        """Return the centre of the choice's bin, so that `decode` gives the choice back exactly.

        Raises:
            ValueError: The value is none of the choices (True is not 1 here).
        """
        value = _plain(value)
        for index, choice in enumerate(self.choices):
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return (index + 0.5) / len(self.choices)
        raise ValueError(f"value must be one of {list(self.choices)}; got {value!r}.")

    def snap(self, gene: float) -> float:
        """Return the centre of the gene's bin."""
        return self.encode(self.decode(gene))

    def grid(self, resolution: int) -> list[Choice]:
        """Return all choices, whatever the resolution."""
        _resolution(resolution)
        return list(self.choices)


def _scale(low: float, high: float, log: bool) -> tuple[float, float]:
    """Where a scale starts, and how wide it is."""
    start, end = (math.log(low), math.log(high)) if log else (low, high)
    return start, end - start


def _between(low: float, high: float, log: bool, gene: float) -> float:
    if gene in (0.0, 1.0):  # Arithmetic, the logarithm's above all, would miss the bounds by a rounding.
        return high if gene else low
    start, width = _scale(low, high, log)
    value = start + gene * width
    return min(max(math.exp(value) if log else value, low), high)


def _evenly_spaced(low: float, high: float, log: bool, resolution: int) -> list[float]:
    resolution = _resolution(resolution)
    genes = [index / (resolution - 1) for index in range(resolution)] if resolution > 1 else [0.5]
    return list(dict.fromkeys(_between(low, high, log, gene) for gene in genes))


def _plain(value: Any) -> Any:
    """Return numpy's scalars as Python's, and anything else as it is."""
    return value.item() if hasattr(value, "item") else value


def _number(name: str, value: Any) -> float:
    value = _plain(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; got {value!r}.")
    return float(value)


def _integer(name: str, value: Any) -> int:
    value = _plain(value)
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer; got {value!r}.")
    return int(value)


def _check_bounds(low: float, high: float, log: Any) -> None:
    if not isinstance(log, bool):
        raise TypeError(f"log must be a bool; got {log!r}.")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"low and high must be finite; got low={low}, high={high}.")
    if low > high:
        raise ValueError(f"low must be at most high; got low={low}, high={high}.")
    if log and low <= 0:
        raise ValueError(f"low must be greater than 0 on a logarithmic scale; got low={low}.")


def _check_inside(value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"value must be within [{low}, {high}]; got {value}.")


def _clip(gene: float) -> float:
    if not isinstance(gene, Real):
        raise TypeError(f"gene must be a number; got {gene!r}.")
    if math.isnan(gene):
        raise ValueError("gene must be a number other than NaN; got nan.")
    return min(max(float(gene), 0.0), 1.0)


def _resolution(resolution: int) -> int:
    resolution = _integer("resolution", resolution)
    if resolution < 1:
        raise ValueError(f"resolution must be at least 1; got {resolution}.")
    return resolution
