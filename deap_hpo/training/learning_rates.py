"""Schedules of the learning rate that are functions of the step: named ones, and the user's own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from deap_hpo.errors import InputError
from deap_hpo.search_space.scales import plain

LrSchedule = Callable[..., Any]
"""A function (step, steps, ...) that gives the factor of the learning rate, a number >= 0.

`step` counts from 0, and `steps` is the number of steps of the whole training. Further arguments are hyperparameters,
except one named `losses`, which receives the validation losses after each epoch so far.
"""
LOSSES = "losses"


def one_cycle(
    step: int, steps: int, pct_start: float = 0.3, div_factor: float = 25.0, final_div_factor: float = 1e4
) -> float:
    """Rise to the learning rate and fall again, each in half a cosine, as `torch.optim.lr_scheduler.OneCycleLR`.

    Momentum is not changed (``cycle_momentum=False``).

    Args:
        step: The step, from 0.
        steps: Steps of the whole training.
        pct_start: Share of the steps in which the learning rate rises, in [0, 1].
        div_factor: The learning rate is divided by it at the first step, > 0.
        final_div_factor: The first step's learning rate is divided by it at the last step, > 0.

    Raises:
        InputError: A number is out of its range.

    References:
        L. N. Smith and N. Topin. Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates,
        2019.

    Example:
        >>> [round(one_cycle(step, 11, pct_start=0.5), 3) for step in (0, 2, 4, 7, 10)]
        [0.04, 0.437, 0.971, 0.571, 0.0]
    """
    if not 0 <= pct_start <= 1:
        raise InputError(f"pct_start must be a number from 0 to 1; got {pct_start!r}.")
    for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
        if not value > 0:
            raise InputError(f"{name} must be a number above 0; got {value!r}.")
    first, top, last = 1 / div_factor, pct_start * steps - 1, steps - 1
    if step <= top and top > 0:
        return _on_a_cosine(first, 1.0, step / top)
    return _on_a_cosine(1.0, first / final_div_factor, (step - top) / (last - top) if last > top else 1.0)


def _on_a_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def plateau(
    step: int, steps: int, losses: Sequence[float], plateau_factor: float = 0.1, plateau_patience: int = 10
) -> float:
    """Fall by a factor whenever the validation loss has not fallen for some epochs, as torch's `ReduceLROnPlateau`.

    Args:
        step: The step, from 0.
        steps: Steps of the whole training.
        losses: Validation losses after each epoch so far; a loss counts as lower if it is below the best by more than
            a share of 1e-4.
        plateau_factor: The learning rate is multiplied by it each time, in (0, 1).
        plateau_patience: Epochs without a lower loss that are tolerated, >= 0.

    Raises:
        InputError: A number is out of its range.

    Example:
        >>> [plateau(0, 1, [0.5, 0.4, 0.4, 0.4, 0.4][:epoch], 0.5, plateau_patience=1) for epoch in range(6)]
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    """
    if not 0 < plateau_factor < 1:
        raise InputError(f"plateau_factor must be a number between 0 and 1; got {plateau_factor!r}.")
    if not plateau_patience >= 0:
        raise InputError(f"plateau_patience must be a number of at least 0; got {plateau_patience!r}.")
    factor, best, waited = 1.0, math.inf, 0
    for loss in losses:
        best, waited = (loss, 0) if loss < best * (1 - 1e-4) else (best, waited + 1)
        if waited > plateau_patience:
            factor, waited = factor * plateau_factor, 0
    return factor


def warmup_linear(step: int, steps: int, warmup_ratio: float = 0.1) -> float:
    """Rise from zero to the learning rate in a line, then fall to zero in a line, as Transformers' ``linear`` schedule.

    Args:
        step: The step, from 0.
        steps: Steps of the whole training.
        warmup_ratio: Share of the steps in which the learning rate rises, in [0, 1].

    Raises:
        InputError: The share is out of its range.

    Example:
        >>> [warmup_linear(step, 10, warmup_ratio=0.2) for step in (0, 1, 2, 6, 10)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    return _after_warm_up(step, steps, warmup_ratio, lambda share: 1 - share)


def warmup_cosine(step: int, steps: int, warmup_ratio: float = 0.1) -> float:
    """Rise from zero to the learning rate in a line, then fall to zero in half a cosine, as Transformers' ``cosine``.

    Args:
        step: The step, from 0.
        steps: Steps of the whole training.
        warmup_ratio: Share of the steps in which the learning rate rises, in [0, 1].

    Raises:
        InputError: The share is out of its range.

    Example:
        >>> [round(warmup_cosine(step, 10, warmup_ratio=0.2), 2) for step in (0, 1, 2, 6, 10)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    return _after_warm_up(step, steps, warmup_ratio, lambda share: _on_a_cosine(1.0, 0.0, share))


def _after_warm_up(step: int, steps: int, warmup_ratio: float, factor_of: Callable[[float], float]) -> float:
    if not 0 <= warmup_ratio <= 1:
        raise InputError(f"warmup_ratio must be a number from 0 to 1; got {warmup_ratio!r}.")
    rising = math.ceil(warmup_ratio * steps)
    if step < rising:
        return step / rising
    return factor_of(min(1.0, (step - rising) / max(1, steps - rising)))


FUNCTIONS: dict[str, LrSchedule] = {
    "one_cycle": one_cycle,
    "plateau": plateau,
    "warmup_linear": warmup_linear,
    "warmup_cosine": warmup_cosine,
}
"""Schedules by name, whose hyperparameters are arguments of the function rather than fields of a recipe."""


def arguments_of(schedule: LrSchedule) -> frozenset[str]:
    """Give the names of a schedule's arguments that may be hyperparameters.

    Example:
        >>> sorted(arguments_of(plateau))
        ['plateau_factor', 'plateau_patience']
    """
    return frozenset(list(_parameters(schedule))[2:]) - {LOSSES}


def _parameters(schedule: LrSchedule) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(schedule).parameters
    except (TypeError, ValueError):  # some functions written in C
        raise InputError(
            "schedule must be a function (step, steps, ...) with a readable signature; the arguments of "
            f"{name_of(schedule)} cannot be determined."
        ) from None


def name_of(schedule: str | LrSchedule) -> str:
    """Give the name of a schedule for display and for the record; that of a user's function ends in ``()``.

    Example:
        >>> name_of("cosine"), name_of(partial(one_cycle, pct_start=0.5)), name_of(max)
        ('cosine', 'one_cycle', 'max()')
    """
    if isinstance(schedule, str):
        return schedule
    function = schedule.func if isinstance(schedule, partial) else schedule
    known = next((name for name, one in FUNCTIONS.items() if one is function), None)
    return known or f"{getattr(function, '__name__', type(function).__name__)}()"


def factors(schedule: LrSchedule, within: range, steps: int, losses: Sequence[float]) -> list[float]:
    """Give the factor of the learning rate at each of some steps.

    Args:
        schedule: A function; see `LrSchedule`.
        within: The steps, from 0.
        steps: Steps of the whole training.
        losses: Validation losses after each epoch so far.

    Raises:
        InputError: The function raises, or gives anything but a finite number of at least 0.

    Example:
        >>> factors(lambda step, steps: 1 - step / steps, range(2, 4), 4, ())
        [0.5, 0.25]
    """
    given = {LOSSES: tuple(losses)} if LOSSES in _parameters(schedule) else {}
    try:
        found = [plain(schedule(step, steps, **given)) for step in within]
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"schedule {name_of(schedule)} raised {type(error).__name__}: {error}") from error
    for step, factor in zip(within, found, strict=True):
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < math.inf:
            raise InputError(
                "schedule must give what the learning rate is multiplied by, a finite number of at least 0; "
                f"{name_of(schedule)} gives {factor!r} at step {step} of {steps}."
            )
    return [float(factor) for factor in found]
