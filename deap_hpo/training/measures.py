"""Measures of a network's output: the loss and metrics. The package's metrics are accuracy and two errors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deap_hpo.errors import InputError, warn
from deap_hpo.training.inputs import Targets
from deap_hpo.training.labels import IGNORED

Measure = Callable[[Any, Any], Any]
"""A function (outputs, targets) -> one number; both are a tensor or several, as given by the network and the data.

A loss is called batch by batch and gives the batch's mean as a 0-dim tensor. A metric is called once with the outputs
and targets of a whole split, so it need not be a mean: F1 and the area under a curve are possible. It gets tensors
without gradients on the training's device, and gives a tensor of one element, a float or a numpy number.
"""

Cost = Callable[[nn.Module], Any]
"""A function of an untrained network, in evaluation mode on the training's device, that returns one number."""


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Give the share of rows of `output` [N, C] whose largest entry is at `target` [N], as a 0-dim float tensor.

    More dimensions, as of pixels or tokens, come after these. Targets of -100 do not count; in a task, those of its
    loss's `ignore_index` do not, either. Targets that are floats of the output's shape are probabilities, such as
    one-hot rows: their largest entry is the class.

    Example:
        >>> import torch
        >>> accuracy(torch.eye(4), torch.tensor([0, 1, 3, -100]))
        tensor(0.6667)
        >>> accuracy(torch.eye(2), torch.tensor([[0.9, 0.1], [0.8, 0.2]]))
        tensor(0.5000)
    """
    target = target.argmax(1) if target.is_floating_point() else target
    return (output.argmax(1) == target).float().mean() / (target != IGNORED).float().mean()


def label_accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Give the share of labels, 0.0 or 1.0, that logits of the same number predict, as a 0-dim float tensor.

    Example:
        >>> import torch
        >>> label_accuracy(torch.tensor([[2.0, -1.0], [0.5, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor(0.7500)
    """
    return ((_aligned(output, target) > 0) == (target > 0.5)).float().mean()


def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Give the mean squared error as a 0-dim tensor; an output [N, 1] fits a target [N]."""
    return F.mse_loss(_aligned(output, target), target)


def mean_absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Give the mean absolute error as a 0-dim tensor; an output [N, 1] fits a target [N]."""
    return F.l1_loss(_aligned(output, target), target)


ACCURACIES: tuple[Measure, ...] = (accuracy, label_accuracy)
AVERAGED: tuple[Measure, ...] = (*ACCURACIES, mean_squared_error, mean_absolute_error)
"""Metrics whose mean over batches is their mean over all examples: measured like the loss, without keeping outputs."""


def own_copy(measure: Measure) -> Measure:
    """Copy a loss or a metric that is an object, which may have a state, such as a count of its calls.

    Functions are given as they are, and so is an object that cannot be copied.

    Example:
        >>> own_copy(accuracy) is accuracy
        True
    """
    if isinstance(measure, (FunctionType, BuiltinFunctionType)):
        return measure
    try:
        return deepcopy(measure)
    except Exception:
        return measure


def placed(measure: Measure, device: torch.device | str) -> Measure:
    """Give a loss or a metric on a device: a module, which may have class weights, is copied there.

    Example:
        >>> placed(accuracy, "cpu") is accuracy
        True
    """
    return deepcopy(measure).to(device) if isinstance(measure, nn.Module) else measure


def usual_measures(task: str, targets: Targets, loss: Measure | None) -> tuple[Measure, dict[str, Measure]]:
    """Give the loss and the metrics of a task that does not name others.

    Args:
        task: Name of the task.
        targets: Its training targets: classes if they are whole numbers; floats are probabilities of classes or labels
            if the loss is one for those, else the targets of a regression.
        loss: The loss that the task names, or None.

    Raises:
        InputError: There are several targets and no loss.

    Warns:
        DeapHPOWarning: All targets of a regression are 0 or 1.

    Example:
        >>> import torch
        >>> loss, metrics = usual_measures("digits", torch.arange(10), None)
        >>> loss.__name__, list(metrics)
        ('cross_entropy', ['accuracy'])
        >>> usual_measures("tags", torch.rand(10, 3), nn.BCEWithLogitsLoss())
        (BCEWithLogitsLoss(), {'accuracy': <function label_accuracy at ...>})
    """
    if isinstance(targets, dict):
        if loss is None:
            raise InputError(f"loss must be given where there are several targets; got those of {', '.join(targets)}.")
        return loss, {}
    if not targets.is_floating_point():
        return loss or F.cross_entropy, {"accuracy": accuracy}
    if loss is None and ((targets == 0) | (targets == 1)).all():
        warn(
            f"the targets of the task {task!r}, 0.0 and 1.0, are taken for a regression; for labels, give a loss such "
            "as torch.nn.BCEWithLogitsLoss(), or classes as whole numbers"
        )
    if loss is None:
        return mean_squared_error, {"mean_absolute_error": mean_absolute_error}
    function = loss.func if isinstance(loss, partial) else loss
    if function is F.cross_entropy or isinstance(function, nn.CrossEntropyLoss):
        return loss, {"accuracy": accuracy}
    if function is F.binary_cross_entropy_with_logits or isinstance(function, nn.BCEWithLogitsLoss):
        return loss, {"accuracy": label_accuracy}
    return loss, {"mean_absolute_error": mean_absolute_error}


def one_number(name: str, value: Any) -> float:
    """Turn the return value of a metric into a float.

    Raises:
        InputError: It is not one number.

    Example:
        >>> import numpy as np, torch
        >>> one_number("f1", torch.ones(1)), one_number("f1", np.float32(0.5)), one_number("f1", 1)
        (1.0, 0.5, 1.0)
        >>> one_number("f1", torch.zeros(3))
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: The metric 'f1' must give a single number; got a Tensor of shape [3].
    """
    try:
        # numpy arrays of one element are read by `item`, because `float` will soon refuse them.
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        shape = f" of shape {list(value.shape)}" if hasattr(value, "shape") else ""
        raise InputError(
            f"The metric {name!r} must give a single number; got a {type(value).__name__}{shape}."
        ) from None


def _aligned(output: Tensor, target: Tensor) -> Tensor:
    # Broadcasting [N, 1] against [N] would compare everything with everything.
    if output.numel() != target.numel():
        raise InputError(f"The network's output {list(output.shape)} must fit the targets {list(target.shape)}.")
    return output.reshape(target.shape)


def check_measure(argument: str, measure: Any) -> None:
    """Refuse a measure that is not a function of outputs and targets.

    Raises:
        InputError: It cannot be called, or is a module class instead of an object.

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


def check_measures(loss: Any, metrics: Any, costs: Any, taken: Collection[str]) -> None:
    """Refuse a task's loss, metrics and costs that are not functions, or have names that others have.

    Args:
        loss: The loss.
        metrics: Measures of outputs and targets, by name.
        costs: Measures of an untrained network, by name.
        taken: Names of what is always measured.

    Raises:
        InputError: They are not functions by name, or two have a name.

    Example:
        >>> check_measures(F.cross_entropy, {"accuracy": accuracy}, {"size": trainable_parameters}, taken=["loss"])
        >>> check_measures(F.cross_entropy, {"size": accuracy}, {"size": trainable_parameters}, taken=["loss"])
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: costs must not have the name 'size', which is that of a metric.
    """
    check_measure("loss", loss)
    if not isinstance(metrics, Mapping):
        raise InputError(f"metrics must be a dict of functions by name; got {metrics!r}.")
    for name, measure in metrics.items():
        check_measure(f"metrics[{name!r}]", measure)
    if not isinstance(costs, Mapping) or not all(map(callable, costs.values())):
        raise InputError(f"costs must be a dict of functions of a network by name; got {costs!r}.")
    for kind, names in (("metrics", metrics), ("costs", costs)):
        for name in names:
            if name in taken:
                raise InputError(f"{kind} must not have the name {name!r}, which is always measured.")
    for name in costs:
        if name in metrics:
            raise InputError(f"costs must not have the name {name!r}, which is that of a metric.")


def trainable_parameters(model: nn.Module) -> int:
    """Count the parameters that training changes; shared ones once.

    Example:
        >>> trainable_parameters(nn.Linear(4, 3))
        15
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
