"""Hyperparameters that are numbers, real or whole, and their gene in [0, 1].

They have the same interface as `Categorical` (`decode`, `encode`, `snap`, `grid` and `size`), but no common base class.
This module needs the standard library only, so that reading a space takes next to no time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from deap_hpo.search_space.scales import (
    DecimalSteps,
    as_float,
    as_integer,
    between,
    check_bounds,
    check_inside,
    check_resolution,
    check_whole_steps,
    clip,
    evenly_spaced,
    scale,
)
from deap_hpo.vocabulary import hinting_class

_INT_LIMIT = 2**40  # within this limit, rounding moves no bin's centre out of its bin, even on a log scale


@hinting_class
@dataclass(frozen=True)
class Float:
    """A real number, uniform between two bounds on a linear or a logarithmic scale, or in steps.

    With a step the values are low, low + step, low + 2 step, ..., high, each with an equal share of the genes [0, 1].
    Steps are computed in decimals: the third step of 0.1 is 0.3, although 3 * 0.1 is 0.30000000000000004 in floats.

    Attributes:
        low: Smallest value, finite; greater than 0 if `log`.
        high: Largest value, finite, at least `low`; if they are equal, the value is fixed. With a step, it must be a
            whole number of steps above `low`.
        log: Whether the logarithm of the value is uniform, rather than the value.
        step: Distance between neighbouring values, greater than 0, at least a ten-millionth of the bounds; None for a
            continuous range. Not together with `log`.

    Raises:
        TypeError: A bound or the step is not a number, or `log` is not a bool.
        ValueError: The bounds are not finite, in the wrong order, too far apart for a float, so close that there are
            too few floats between them, or not positive although `log`; or the step is out of its range, does not lead
            to `high`, or leads to numbers of more than 15 digits.

    Example:
        >>> learning_rate = Float(1e-4, 1.0, log=True)
        >>> round(learning_rate.decode(0.5), 6), learning_rate.encode(0.01)
        (0.01, 0.5)
        >>> Float(0.0, 0.9).grid(4)
        [0.0, 0.3, 0.6, 0.9]
        >>> dropout = Float(0.0, 0.5, step=0.1)
        >>> dropout.size, dropout.decode(0.6), dropout.encode(0.3)
        (6, 0.3, 0.5833333333333334)
        >>> Float(0.0, 0.5, step=0.2)
        Traceback (most recent call last):
            ...
        ValueError: high must be a whole number of steps of 0.2 above 0.0, such as 0.4 or 0.6; got 0.5.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", as_float("low", self.low))
        object.__setattr__(self, "high", as_float("high", self.high))
        check_bounds(self.low, self.high, self.log)
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"high - low must be finite; got low={self.low}, high={self.high}.")
        # With fewer numbers, a search that tries nothing twice would run out of them and look for new ones forever.
        if 0 < self.high - self.low < 1e6 * math.ulp(max(-self.low, self.high)):
            raise ValueError(
                f"high must equal low, or have a million floating-point numbers below it down to low; "
                f"got low={self.low}, high={self.high}."
            )
        if self.step is not None:
            object.__setattr__(self, "step", as_float("step", self.step))
            if self.log:
                raise ValueError(f"step cannot be combined with log; got step={self.step}.")
        if self._steps is not None:
            # The last step in decimals: the bound that was given may carry a rounding error from arithmetic.
            object.__setattr__(self, "high", self._steps[len(self._steps) - 1])

    @property
    def size(self) -> float:
        """Number of values: infinite unless there is a step or the bounds are equal."""
        if self._steps is not None:
            return len(self._steps)
        return math.inf if self.low < self.high else 1

    @cached_property
    def _steps(self) -> DecimalSteps | None:
        return None if self.step is None else DecimalSteps(self.low, self.high, self.step)

    @cached_property
    def _index(self) -> Int:
        """The index of the step, as a hyperparameter with the same gene."""
        return Int(0, int(self.size) - 1)

    def decode(self, gene: float) -> float:
        """Return the value of a gene; a gene outside [0, 1] counts as the nearest bound.

        Raises:
            TypeError: The gene is not a number.
            ValueError: The gene is NaN.
        """
        if self._steps is not None:
            return self._steps[self._index.decode(gene)]
        return between(self.low, self.high, self.log, clip(gene))

    def encode(self, value: float) -> float:
        """Return the gene of a value, up to rounding; 0.5 if only one value is possible.

        With a step it is the centre of the value's bin, so that `decode` gives the value back exactly.

        Raises:
            TypeError: The value is not a number.
            ValueError: The value is outside [low, high], or off the steps by more than rounding.
        """
        value = as_float("value", value)
        if self._steps is not None:
            return self._index.encode(self._steps.index(value))
        check_inside(value, self.low, self.high)
        start, width = scale(self.low, self.high, self.log)
        return clip(((math.log(value) if self.log else value) - start) / width) if width else 0.5

    def snap(self, gene: float) -> float:
        """Return the gene in [0, 1] with the same value (exactly the same, unlike ``encode(decode(gene))``).

        With a step it is the centre of the gene's bin.
        """
        if self._steps is not None:
            return self._index.snap(gene)
        return clip(gene) if self.high > self.low else 0.5

    def grid(self, resolution: int) -> list[float]:
        """Return `resolution` values, evenly spaced on the scale with both bounds; the middle if it is 1.

        With a step they are as evenly spaced as it allows, and no more than there are values.
        """
        if self._steps is not None:
            return [self._steps[index] for index in self._index.grid(resolution)]
        return evenly_spaced(self.low, self.high, self.log, resolution)


@hinting_class
@dataclass(frozen=True)
class Int:
    """A whole number between two bounds, both included.

    The genes [0, 1] are cut into one bin per value. On a linear scale all have the same width; on a logarithmic scale
    each is as wide as [value - 0.5, value + 0.5].

    Attributes:
        low: Smallest value, at least -2**40; greater than 0 if `log`.
        high: Largest value, at least `low`, at most 2**40; it must be a whole number of steps above `low`.
        log: Whether the scale is logarithmic.
        step: Distance between neighbouring values, at least 1; 1 if `log`.

    Raises:
        TypeError: A bound or the step is not an integer (Python's or numpy's; a bool is none), or `log` is not a bool.
        ValueError: A bound or the step is out of its range, the bounds are in the wrong order, or the step does not
            lead to `high`.

    Example:
        >>> width = Int(1, 4)
        >>> [width.decode(gene) for gene in (0.0, 0.24, 0.26, 1.0)]
        [1, 1, 2, 4]
        >>> width.encode(2)
        0.375
        >>> Int(16, 256, log=True).grid(3)
        [16, 64, 256]
        >>> Int(16, 256, step=16).grid(4)
        [16, 96, 176, 256]
        >>> Int(16, 256, step=16).encode(20)
        Traceback (most recent call last):
            ...
        ValueError: value must be a whole number of steps of 16 above 16, such as 16 or 32; got 20.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            object.__setattr__(self, name, as_integer(name, getattr(self, name)))
        check_bounds(self.low, self.high, self.log)
        if max(-self.low, self.high) > _INT_LIMIT:
            raise ValueError(f"low and high must lie within +-2**40; got low={self.low}, high={self.high}.")
        if self.step < 1:
            raise ValueError(f"step must be at least 1; got {self.step}.")
        if self.log and self.step != 1:
            raise ValueError(f"step cannot be combined with log; got step={self.step}.")
        check_whole_steps("high", self.high, self.low, self.step)

    @property
    def size(self) -> int:
        """Number of values."""
        return (self.high - self.low) // self.step + 1

    def decode(self, gene: float) -> int:
        """Return the value of a gene; a gene outside [0, 1] counts as the nearest bound.

        Raises:
            TypeError: The gene is not a number.
            ValueError: The gene is NaN.
        """
        start, width = self._scale()
        edge = start + clip(gene) * width
        return self._stepped(math.floor((math.exp(edge) if self.log else edge) + 0.5))

    def encode(self, value: int) -> float:
        """Return the centre of the value's bin, so that `decode` gives the value back exactly.

        Raises:
            TypeError: The value is not an integer.
            ValueError: The value is outside [low, high], or off the steps.
        """
        value = as_integer("value", value)
        check_inside(value, self.low, self.high)
        check_whole_steps("value", value, self.low, self.step)
        start, width = self._scale()
        value = self.low + (value - self.low) // self.step
        centre = (math.log(value - 0.5) + math.log(value + 0.5)) / 2 if self.log else value
        return (centre - start) / width

    def snap(self, gene: float) -> float:
        """Return the centre of the gene's bin."""
        return self.encode(self.decode(gene))

    def grid(self, resolution: int) -> list[int]:
        """Return up to `resolution` values, evenly spaced on the scale with both bounds; the middle if it is 1."""
        if check_resolution(resolution) >= self.size:
            return list(range(self.low, self.high + 1, self.step))
        places = evenly_spaced(self.low, self.low + self.size - 1, self.log, resolution)
        return list(dict.fromkeys(self._stepped(round(place)) for place in places))

    # On the internal scale, the values are `low`, `low` + 1, `low` + 2, ...: the k-th step stands at `low` + k.

    def _scale(self) -> tuple[float, float]:
        return scale(self.low - 0.5, self.low + self.size - 0.5, self.log)

    def _stepped(self, place: int) -> int:
        return min(max(self.low + (place - self.low) * self.step, self.low), self.high)
