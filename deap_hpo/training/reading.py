"""Conversion of arrays, tables and images into tensors of the types that training uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deap_hpo.errors import InputError
from deap_hpo.training.input_advice import warn_of_rounding
from deap_hpo.training.inputs import Inputs
from deap_hpo.training.normalization import Statistic, feature_axis, of_input


def as_tensor(argument: str, values: Any) -> Tensor:
    """Make a tensor of one of the types that training uses: uint8, int64, float32 or bool.

    Args:
        argument: Name of the argument, for error messages.
        values: Arrays of any library that NumPy understands, pandas tables, lists, or a tensor.

    Raises:
        InputError: They are not numbers, not of one shape, or a single number.

    Example:
        >>> as_tensor("data", [[1, 2], [3, 4]]).dtype, as_tensor("data", np.ones(3)).dtype
        (torch.int64, torch.float32)
    """
    return _narrowed(_numbers(argument, values))


def as_training_inputs(argument: str, values: Any) -> Tensor:
    """Make a tensor of inputs to train on, as `as_tensor` does.

    Raises:
        InputError: As for `as_tensor`.

    Warns:
        DeapHPOWarning: They are float64, and float32 cannot hold the differences of a feature.

    Example:
        >>> as_training_inputs("data", [[0.5], [1.5]]).dtype
        torch.float32
    """
    numbers = _numbers(argument, values)
    if numbers.dtype == torch.float64 and numbers.numel():
        warn_of_rounding(argument, numbers, list(getattr(values, "columns", ())))
    return _narrowed(numbers)


def _numbers(argument: str, values: Any) -> Tensor:
    """Make a tensor of examples, in their own type."""
    if not isinstance(values, Tensor):
        values = torch.from_numpy(_array(argument, values).copy())  # a copy, with strides that torch supports
    tensor: Tensor = values.detach().cpu()
    if tensor.dim() == 0:
        raise InputError(f"{argument} must hold examples along its first dimension; got a single number.")
    return tensor


def _narrowed(tensor: Tensor) -> Tensor:
    """Convert to a type that training uses."""
    if tensor.is_floating_point():
        return tensor.float()
    kept = tensor.dtype == torch.bool or (tensor.dtype == torch.uint8 and tensor.dim() > 1)
    return tensor if kept else tensor.long()


def _array(argument: str, values: Any) -> Any:
    types = [kind.kind for kind in values.dtypes] if hasattr(values, "columns") else []
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O" and types and set(types) <= set("biuf"):  # for example from pandas.get_dummies
            array = np.asarray(values, float if "f" in types else int)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{argument} must hold examples of one shape (pad or resize them), without gaps; {error}."
        ) from None
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{argument} must hold numbers; got {array.dtype}{_columns(values)}. Encode other values as numbers first."
        )
    return array


def _columns(table: Any) -> str:
    """Name the columns of a pandas table that hold no numbers."""
    kinds = table.dtypes.items() if hasattr(table, "columns") else ()
    named = [str(name) for name, kind in kinds if kind.kind not in "biuf"]
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return f" in {', '.join(named[:5])}{more}" if named else ""


def as_stored(inputs: Any, stored: Inputs, *, mean: Statistic | None = 0.0) -> Inputs:
    """Turn inputs for a trained network into the types that it was trained on.

    Args:
        inputs: Examples in any form that `as_tensor` takes, or several by name; tensors stay on their device.
        stored: Inputs of the data.
        mean: Subtracted from the inputs afterwards, so that the number of features or channels must be equal; None if
            inputs are not normalised.

    Raises:
        InputError: They differ from the data in names, in the number of dimensions or features, or in type: for example
            pixels from 0 to 1 where the data have bytes, or fractions where they have whole numbers.

    Example:
        >>> as_stored(np.ones((2, 3)), torch.zeros(9, 3)).dtype
        torch.float32
        >>> as_stored(torch.rand(2, 1, 8, 8), torch.zeros(9, 1, 8, 8, dtype=torch.uint8))
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: inputs must have the type uint8, like the inputs that the network was trained on \
(pixels from 0 to 255); got torch.float32.
    """
    if not isinstance(stored, dict):
        return _as_stored("inputs", inputs, stored, None if mean is None else of_input("", mean))
    if not isinstance(inputs, Mapping) or inputs.keys() != stored.keys():
        got = list(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
        raise InputError(f"inputs must be several by name, {', '.join(stored)}; got {got}.")
    means = {name: None if mean is None else of_input(name, mean) for name in stored}
    return {name: _as_stored(f"inputs[{name!r}]", inputs[name], one, means[name]) for name, one in stored.items()}


def _as_stored(argument: str, inputs: Any, stored: Tensor, mean: float | Tensor | None) -> Tensor:
    given: Tensor = inputs if isinstance(inputs, Tensor) else as_tensor(argument, inputs)
    by_feature = stored.dim() > 1 and stored.dtype in (torch.uint8, torch.float32)
    axis = feature_axis(stored, mean) if by_feature and mean is not None else 0
    if given.dim() != stored.dim() or (axis and given.shape[axis] != stored.shape[axis]):
        shape = ", ".join(["N", *map(str, stored.shape[1:])])
        raise InputError(f"{argument} must be a batch of examples, [{shape}]; got {list(given.shape)}.")
    if given.dtype == stored.dtype:
        return given
    pixels = given.dtype == torch.uint8 and given.dim() > 2  # as floats they would be 255 times too large
    if stored.is_floating_point() and not given.is_complex() and not pixels:
        return given.to(stored.dtype)
    whole = not (given.is_floating_point() or given.is_complex())
    if stored.dtype == torch.int64 and whole:
        return given.long()
    kinds = {torch.uint8: "pixels from 0 to 255", torch.int64: "whole numbers", torch.float32: "real numbers"}
    raise InputError(
        f"{argument} must have the type {str(stored.dtype).removeprefix('torch.')}, like the inputs that the network "
        f"was trained on ({kinds.get(stored.dtype, 'true or false')}); got {given.dtype}."
    )


def image_pixels(example: Any) -> Any:
    """Turn a PIL image, as torchvision's datasets give it without a transform, into uint8 with channels first.

    Example:
        >>> image_pixels([1, 2])
        [1, 2]
    """
    if not hasattr(example, "getbands"):
        return example
    pixels: Tensor = torch.from_numpy(np.array(example))
    return pixels.unsqueeze(0) if pixels.dim() == 2 else pixels.permute(2, 0, 1)
