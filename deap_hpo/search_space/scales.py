"""The arithmetic of hyperparameters: checked numbers, and the scales between genes and values.

This module needs the standard library only. It raises plain TypeError and ValueError, to which a space adds the name of
the hyperparameter.
"""

from __future__ import annotations

import math
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

_SLACK = 1e-8  # fraction of a step that a value may be off as a rounding error; the same as Optuna's
_MOST_STEPS = 10**7  # from 0 to a bound: beyond that, float rounding comes near the slack
_MOST_DIGITS = 15  # any number of so many decimal digits survives the conversion to a float and back


class DecimalSteps:
    """The numbers low, low + step, ..., high, each the float that is read from its decimal digits.

    Steps are counted in whole units of the last decimal place, so that only the final number is rounded. The same step
    always has the same bits, and Optuna, which also counts in decimals, finds the same numbers.

    Args:
        low: The first number, finite.
        high: The last number, finite, at least `low`, a whole number of steps above it up to rounding.
        step: The distance between them.

    Raises:
        ValueError: The step is not greater than 0 and finite, too small, does not lead to `high`, or leads to numbers
            of more than 15 digits.

    Example:
        >>> steps = DecimalSteps(0.0, 0.5, 0.1)
        >>> [steps[index] for index in range(len(steps))]
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
        >>> steps.index(0.1 + 0.2)
        3
    """

    def __init__(self, low: float, high: float, step: float) -> None:
        if not 0 < step < math.inf:
            raise ValueError(f"step must be greater than 0 and finite; got {step}.")
        if max(abs(low), abs(high)) > _MOST_STEPS * step:
            raise ValueError(
                f"step must be at least a ten-millionth of low and high; got low={low}, high={high}, step={step}."
            )
        self._low, self._step = low, step
        (first, first_place), (stride, stride_place) = _decimal(low), _decimal(step)
        self._place = min(first_place, stride_place) if first else stride_place
        self._first = first * 10 ** (first_place - self._place) if first else 0
        self._stride = stride * 10 ** (stride_place - self._place)
        position = (high - low) / step
        self._last = round(position)
        if max(abs(self._first), abs(self._first + self._last * self._stride)) >= 10**_MOST_DIGITS:
            raise ValueError(
                f"every low + k * step must be a decimal number of at most {_MOST_DIGITS} digits, as 0.3 is and a "
                f"third is not; got low={low}, step={step}."
            )
        if abs(position - self._last) > _SLACK:
            raise self._beside("high", high, position)

    def __len__(self) -> int:
        return self._last + 1

    def __getitem__(self, index: int) -> float:
        return float(f"{self._first + index * self._stride}e{self._place}")

    def index(self, value: float) -> int:
        """Return the index of the step that equals a value up to rounding.

        Raises:
            ValueError: The value is outside the bounds, or off the steps.
        """
        position = (value - self._low) / self._step
        if -_SLACK <= position <= self._last + _SLACK and abs(position - round(position)) <= _SLACK:
            return round(position)
        check_inside(value, self[0], self[self._last])
        raise self._beside("value", value, position)

    def _beside(self, name: str, value: float, position: float) -> ValueError:
        below = math.floor(position)
        return _beside_steps(name, value, self._low, self._step, self[below], self[below + 1])


def _decimal(value: float) -> tuple[int, int]:
    """Return a number's decimal digits as an integer, and the place of the last one: 25 and -2 for 0.25."""
    negative, digits, place = Decimal(repr(value)).as_tuple()
    number, place = int("".join(map(str, digits))), int(place)
    while number and number % 10 == 0:
        number, place = number // 10, place + 1
    return -number if negative else number, place


def check_whole_steps(name: str, value: int, low: int, step: int) -> None:
    """Check that a whole number is a whole number of steps above another.

    Raises:
        ValueError: It is not.

    Example:
        >>> check_whole_steps("high", 250, 16, 16)
        Traceback (most recent call last):
            ...
        ValueError: high must be a whole number of steps of 16 above 16, such as 240 or 256; got 250.
    """
    if beyond := (value - low) % step:
        raise _beside_steps(name, value, low, step, value - beyond, value - beyond + step)


def _beside_steps(name: str, value: float, low: float, step: float, below: float, above: float) -> ValueError:
    return ValueError(
        f"{name} must be a whole number of steps of {step} above {low}, such as {below} or {above}; got {value}."
    )


def scale(low: float, high: float, log: bool) -> tuple[float, float]:
    """Return where a scale starts, and how wide it is.

    Example:
        >>> scale(2.0, 5.0, log=False)
        (2.0, 3.0)
    """
    start, end = (math.log(low), math.log(high)) if log else (low, high)
    return start, end - start


def between(low: float, high: float, log: bool, gene: float) -> float:
    """Return the value at a gene in [0, 1]: `low` at 0, `high` at 1.

    Example:
        >>> between(2.0, 5.0, False, 0.5)
        3.5
    """
    if gene in (0.0, 1.0):  # arithmetic, above all with logarithms, would miss the bounds by a rounding error
        return high if gene else low
    start, width = scale(low, high, log)
    value = start + gene * width
    return min(max(math.exp(value) if log else value, low), high)


def evenly_spaced(low: float, high: float, log: bool, resolution: int) -> list[float]:
    """Return `resolution` values with both bounds, fewer if floats are too close; the middle if it is 1.

    Example:
        >>> evenly_spaced(0.0, 1.0, False, 3)
        [0.0, 0.5, 1.0]
    """
    resolution = check_resolution(resolution)
    genes = [index / (resolution - 1) for index in range(resolution)] if resolution > 1 else [0.5]
    return list(dict.fromkeys(between(low, high, log, gene) for gene in genes))


def clip(gene: float) -> float:
    """Return the nearest gene in [0, 1].

    Raises:
        TypeError: The gene is not a number.
        ValueError: The gene is NaN.

    Example:
        >>> clip(1.5)
        1.0
    """
    if not isinstance(gene, Real):
        raise TypeError(f"gene must be a number; got {gene!r}.")
    if math.isnan(gene):
        raise ValueError("gene must be a number other than NaN; got nan.")
    return min(max(float(gene), 0.0), 1.0)


def plain(value: Any) -> Any:
    """Return a numpy scalar as Python's type, and anything else as it is.

    Example:
        >>> import numpy
        >>> plain(numpy.int64(3)), plain("sgd")
        (3, 'sgd')
    """
    return value.item() if hasattr(value, "item") else value


def as_float(name: str, value: Any) -> float:
    """Return a real number as a float.

    Raises:
        TypeError: The value is not a number; a bool does not count as one.

    Example:
        >>> as_float("low", 1)
        1.0
    """
    value = plain(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; got {value!r}.")
    return float(value)


def as_integer(name: str, value: Any) -> int:
    """Return an integer of Python or numpy as Python's.

    Raises:
        TypeError: The value is not an integer; floats and bools do not count as one.

    Example:
        >>> as_integer("low", 1.0)
        Traceback (most recent call last):
            ...
        TypeError: low must be an integer; got 1.0.
    """
    value = plain(value)
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer; got {value!r}.")
    return int(value)


def check_bounds(low: float, high: float, log: Any) -> None:
    """Check the bounds of a scale, and the type of `log`.

    Raises:
        TypeError: `log` is not a bool.
        ValueError: The bounds are not finite, in the wrong order, or not positive although `log`.

    Example:
        >>> check_bounds(2, 1, log=False)
        Traceback (most recent call last):
            ...
        ValueError: low must be at most high; got low=2, high=1.
    """
    if not isinstance(log, bool):
        raise TypeError(f"log must be a bool; got {log!r}.")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"low and high must be finite; got low={low}, high={high}.")
    if low > high:
        raise ValueError(f"low must be at most high; got low={low}, high={high}.")
    if log and low <= 0:
        raise ValueError(f"low must be greater than 0 on a logarithmic scale; got low={low}.")


def check_inside(value: float, low: float, high: float) -> None:
    """Check that a value lies between two bounds, or on one.

    Raises:
        ValueError: It does not.

    Example:
        >>> check_inside(5, 1, 4)
        Traceback (most recent call last):
            ...
        ValueError: value must be within [1, 4]; got 5.
    """
    if not low <= value <= high:
        raise ValueError(f"value must be within [{low}, {high}]; got {value}.")


def check_resolution(resolution: int) -> int:
    """Return the resolution of a grid as an int, checked.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is below 1.

    Example:
        >>> check_resolution(3)
        3
    """
    resolution = as_integer("resolution", resolution)
    if resolution < 1:
        raise ValueError(f"resolution must be at least 1; got {resolution}.")
    return resolution
