"""How a network is trained: optimiser, schedule and batch size, as one value that hyperparameters override."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from deap_hpo.checks import check_integer, is_number
from deap_hpo.errors import InputError
from deap_hpo.search_space.scales import plain
from deap_hpo.training.learning_rates import FUNCTIONS, LrSchedule, arguments_of, factors, name_of
from deap_hpo.vocabulary import hinting_class


@hinting_class
@dataclass(frozen=True)
class Recipe:
    """Settings of one training. By default each optimiser has lr 0.01 and no weight decay.

    Attributes:
        optimizer: "sgd", "rmsprop", "adam" or "adamw" (decoupled weight decay), as in `torch.optim`.
        lr: Learning rate, >= 0.
        momentum: Momentum of SGD and RMSprop, in [0, 1].
        nesterov: Nesterov momentum (SGD with momentum > 0 only).
        weight_decay: Weight decay, >= 0.
        beta1: Decay of Adam's first moment, in [0, 1).
        beta2: Decay of Adam's second moment, in [0, 1).
        alpha: Decay of RMSprop's mean square, in [0, 1).
        eps: Term that keeps the denominator of Adam and RMSprop from zero, >= 0.
        batch_size: Examples per training step, >= 1; the last batch of an epoch may be smaller.
        schedule: "constant", "step" (times `gamma` every `step_size` epochs), "cosine" or "linear" (both reach zero
            after the last step); "one_cycle", "plateau", "warmup_linear" or "warmup_cosine", whose arguments may be
            hyperparameters (see `deap_hpo.training.learning_rates`); or your own function (step, steps, ...) of the
            factor by which the learning rate is multiplied (see `LrSchedule` there).
        gamma: Factor of the step schedule, >= 0.
        step_size: Epochs between two factors of the step schedule, >= 1.
        warmup: Epochs of linear warm-up from zero, >= 0, which multiplies any schedule; may be a fraction.
        max_grad_norm: Bound of the gradient's norm (L2, over all parameters of the network), > 0. A larger gradient is
            scaled down to it, as by `torch.nn.utils.clip_grad_norm_`. None for no bound.
        ema: Decay of an exponential moving average of the weights, in [0, 1), usually 0.99 or more. The network is
            trained without the average, but measured, kept and returned with it; see `deap_hpo.training.averaging`.
            None for no average.

    Raises:
        InputError: A value is out of its range.

    Example:
        >>> Recipe(lr=0.1, momentum=0.9).batch_size
        64
        >>> Recipe(optimizer="sdg")
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: optimizer must be one of adam, adamw, rmsprop, sgd; got 'sdg'.
    """

    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    alpha: float = 0.99
    eps: float = 1e-8
    batch_size: int = 64
    schedule: str | LrSchedule = "constant"
    gamma: float = 0.7
    step_size: int = 1
    warmup: float = 0.0
    max_grad_norm: float | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, str) or self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer must be one of {', '.join(sorted(OPTIMIZERS))}; got {self.optimizer!r}.")
        if not callable(self.schedule) and not (isinstance(self.schedule, str) and self.schedule in _SCHEDULE_NAMES):
            raise InputError(
                f"schedule must be one of {', '.join(sorted(_SCHEDULE_NAMES))}, or a function; got {self.schedule!r}."
            )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not _is_within(value, low, high):
                raise InputError(f"{name} must be a finite number from {low:g} to {high:g}; got {value!r}.")
        for name in ("beta1", "beta2", "alpha"):
            if getattr(self, name) == 1:
                raise InputError(f"{name} must be less than 1; got {getattr(self, name)!r}.")
        bound = self.max_grad_norm
        if bound is not None and not (_is_within(bound, 0.0, _UNBOUNDED) and bound > 0):
            raise InputError(f"max_grad_norm must be a finite number above 0, or None; got {bound!r}.")
        if self.ema is not None and not (_is_within(self.ema, 0.0, 1.0) and self.ema < 1):
            raise InputError(f"ema must be a number from 0 to less than 1, or None; got {self.ema!r}.")
        if self.nesterov not in (True, False):
            raise InputError(f"nesterov must be True or False; got {self.nesterov!r}.")
        for name in ("batch_size", "step_size"):
            check_integer(name, getattr(self, name), 1)
        for name, value in self._values().items():
            object.__setattr__(self, name, plain(value))  # numpy's numbers cannot be recorded

    @property
    def settings(self) -> dict[str, Any]:
        """All values by name, as recorded; fields added in later versions only if they are not the default.

        Example:
            >>> "max_grad_norm" in Recipe().settings, Recipe(max_grad_norm=1.0).settings["max_grad_norm"]
            (False, 1.0)
        """
        unset = {name for name, default in LATER_FIELDS.items() if getattr(self, name) == default}
        named = {**self._values(), "schedule": name_of(self.schedule)}
        return {name: value for name, value in named.items() if name not in unset}

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def ends(self) -> bool:
        """Whether the schedule ends near zero, so that further epochs would train nothing."""
        return name_of(self.schedule) in _ENDING

    def with_schedule_arguments(self, arguments: Mapping[str, Any]) -> Recipe:
        """Give a recipe whose schedule has the given hyperparameters as arguments.

        Raises:
            InputError: The schedule has no such argument.

        Example:
            >>> recipe = Recipe(schedule="one_cycle").with_schedule_arguments({"div_factor": 10.0})
            >>> round(recipe.lr_factors(0, 5, epochs=2)[0], 3)
            0.1
        """
        if not arguments:
            return self
        function = self._function
        known = arguments_of(function) if function else ()
        for name in arguments:
            if name not in known:
                raise InputError(
                    f"hyperparameter {name!r} must be an argument of the schedule; {name_of(self.schedule)} has none "
                    "of that name. If schedules are searched, make the hyperparameter conditional on one that has it."
                )
        assert function is not None  # without a function there are no known arguments
        return replace(self, schedule=partial(function, **arguments))

    @property
    def _function(self) -> LrSchedule | None:
        return self.schedule if callable(self.schedule) else FUNCTIONS.get(self.schedule)

    def lr_factors(self, epoch: int, steps_per_epoch: int, epochs: int, losses: Sequence[float] = ()) -> list[float]:
        """Give the factor of the learning rate at each step of an epoch.

        Args:
            epoch: Epochs trained so far, from 0.
            steps_per_epoch: Training steps in an epoch.
            epochs: Length of the whole schedule in epochs.
            losses: Validation losses after each epoch so far, which some schedules use.

        Raises:
            InputError: The user's own function does not give a valid factor.

        Example:
            >>> recipe = Recipe(schedule="step", gamma=0.7)
            >>> [[round(factor, 2) for factor in recipe.lr_factors(epoch, 2, epochs=3)] for epoch in range(3)]
            [[1.0, 1.0], [0.7, 0.7], [0.49, 0.49]]
        """
        within = range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch)
        if self._function is None:
            factor = SCHEDULES[str(self.schedule)]
            found = [factor(self, step, steps_per_epoch, epochs) for step in within]
        else:
            found = factors(self._function, within, steps_per_epoch * epochs, losses)
        ramp = self.warmup * steps_per_epoch
        if ramp == 0:
            return found
        return [one * min(1.0, (step + 1) / ramp) for step, one in zip(within, found, strict=True)]


_UNBOUNDED = sys.float_info.max
# Fields added in later versions. A record without them has these values.
LATER_FIELDS = {"max_grad_norm": None, "alpha": 0.99, "ema": None}
_RANGES = {
    "lr": (0.0, _UNBOUNDED),
    "momentum": (0.0, 1.0),
    "weight_decay": (0.0, _UNBOUNDED),
    "beta1": (0.0, 1.0),
    "beta2": (0.0, 1.0),
    "alpha": (0.0, 1.0),
    "eps": (0.0, _UNBOUNDED),
    "gamma": (0.0, _UNBOUNDED),
    "warmup": (0.0, _UNBOUNDED),
}


def _is_within(value: Any, low: float, high: float) -> bool:
    return is_number(value) and low <= float(value) <= high


def _sgd(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov and recipe.momentum > 0,
    )


def _rmsprop(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(
        parameters, recipe.lr, recipe.alpha, recipe.eps, recipe.weight_decay, momentum=recipe.momentum
    )


def _adam(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    betas = (float(recipe.beta1), float(recipe.beta2))
    return torch.optim.Adam(parameters, recipe.lr, betas, recipe.eps, recipe.weight_decay)


def _adamw(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    betas = (float(recipe.beta1), float(recipe.beta2))
    return torch.optim.AdamW(parameters, recipe.lr, betas, recipe.eps, recipe.weight_decay)


def _step(recipe: Recipe, step: int, steps_per_epoch: int, epochs: int) -> float:
    return float(recipe.gamma ** (step // steps_per_epoch // recipe.step_size))


def _cosine(recipe: Recipe, step: int, steps_per_epoch: int, epochs: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / (steps_per_epoch * epochs))))


def _linear(recipe: Recipe, step: int, steps_per_epoch: int, epochs: int) -> float:
    return 1 - min(1.0, step / (steps_per_epoch * epochs))


def _constant(recipe: Recipe, step: int, steps_per_epoch: int, epochs: int) -> float:
    return 1.0


USED_BY: dict[str, frozenset[str]] = {
    "sgd": frozenset({"lr", "momentum", "nesterov", "weight_decay"}),
    "rmsprop": frozenset({"lr", "alpha", "eps", "momentum", "weight_decay"}),
    "adam": frozenset({"lr", "beta1", "beta2", "eps", "weight_decay"}),
    "adamw": frozenset({"lr", "beta1", "beta2", "eps", "weight_decay"}),
    "step": frozenset({"gamma", "step_size"}),
}
"""Which fields an optimiser or a schedule uses, of the fields that only some of them use."""
OPTIMIZERS: dict[str, Callable[[Recipe, Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adamw,
}
SCHEDULES: dict[str, Callable[[Recipe, int, int, int], float]] = {
    "step": _step,
    "cosine": _cosine,
    "linear": _linear,
    "constant": _constant,
}
_SCHEDULE_NAMES = SCHEDULES.keys() | FUNCTIONS.keys()
_ENDING = frozenset({"cosine", "linear", "one_cycle", "warmup_linear", "warmup_cosine"})
RECIPE_FIELDS = frozenset(field.name for field in fields(Recipe))
OPTIMIZER_FIELDS = frozenset({"optimizer"}).union(*(USED_BY[name] for name in OPTIMIZERS))
"""The recipe's optimiser and its settings, which are unused if a task has its own optimiser."""
