"""By what a network's output is judged where nothing else is asked for: accuracy and errors, means over a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from deap_hpo.errors import InputError

Measure = Callable[[Tensor, Tensor], Tensor]
"""Of (output, target), the mean over the batch as a 0-dim tensor."""


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Give the share of rows of `output` [N, C] whose largest entry is at `target` [N], as a 0-dim float tensor."""
    return (output.argmax(1) == target).float().mean()


def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Give the mean squared error as a 0-dim tensor; an output [N, 1] agrees with a target [N]."""
    return F.mse_loss(_aligned(output, target), target)


def mean_absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Give the mean absolute error as a 0-dim tensor; an output [N, 1] agrees with a target [N]."""
    return F.l1_loss(_aligned(output, target), target)


def _aligned(output: Tensor, target: Tensor) -> Tensor:
    # Broadcasting [N, 1] against [N] would compare everything with everything.
    if output.numel() != target.numel():
        raise InputError(f"The network's output {list(output.shape)} must fit the targets {list(target.shape)}.")
    return output.reshape(target.shape)


def check_measure(argument: str, measure: Any) -> None:
    """Refuse what is no function of outputs and targets.

    Raises:
        InputError: It cannot be called, or is a class, whose objects may be such a function.

    Example:
        >>> check_measure("loss", accuracy)
        >>> check_measure("loss", nn.L1Loss)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: loss must be a function (outputs, targets) -> mean over the batch, or a module \
that is one, such as nn.CrossEntropyLoss(); got <class 'torch.nn.modules.loss.L1Loss'> (did you mean L1Loss()?).
    """
    if callable(measure) and not (isinstance(measure, type) and issubclass(measure, nn.Module)):
        return
    name = getattr(measure, "__name__", "")
    hint = f" (did you mean {name}()?)" if name else ""
    raise InputError(
        f"{argument} must be a function (outputs, targets) -> mean over the batch, or a module that is one, such as "
        f"nn.CrossEntropyLoss(); got {measure!r}{hint}."
    )
