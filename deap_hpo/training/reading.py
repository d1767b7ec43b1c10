"""How arrays, tables and images become tensors of the types that training knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from deap_hpo.errors import InputError


def as_tensor(argument: str, values: Any) -> Tensor:
    """Make a tensor of one of the types that training knows: uint8, int64, float32 or bool.

    Args:
        argument: What the values were given as, for who reads what is wrong with them.
        values: Arrays of any library that NumPy understands, tables of pandas, lists, or a tensor.

    Raises:
        InputError: They are no numbers, not of one shape, or a single number.

    Example:
        >>> as_tensor("data", [[1, 2], [3, 4]]).dtype, as_tensor("data", np.ones(3)).dtype
        (torch.int64, torch.float32)
    """
    if not isinstance(values, Tensor):
        values = torch.from_numpy(_array(argument, values).copy())  # of its own, and with strides that torch knows
    tensor: Tensor = values.detach().cpu()
    if tensor.dim() == 0:
        raise InputError(f"{argument} must hold examples along its first dimension; got a single number.")
    if tensor.is_floating_point():
        return tensor.float()
    kept = tensor.dtype == torch.bool or (tensor.dtype == torch.uint8 and tensor.dim() > 1)
    return tensor if kept else tensor.long()


def _array(argument: str, values: Any) -> Any:
    types = [kind.kind for kind in values.dtypes] if hasattr(values, "columns") else []
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O" and types and set(types) <= set("biuf"):  # such as pandas.get_dummies makes
            array = np.asarray(values, float if "f" in types else int)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{argument} must hold examples of one shape (pad or resize them), without gaps; {error}."
        ) from None
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{argument} must hold numbers; got {array.dtype}{_columns(values)}. Encode what is not one first."
        )
    return array


def _columns(table: Any) -> str:
    """Name the columns of a table of pandas that hold no numbers."""
    kinds = table.dtypes.items() if hasattr(table, "columns") else ()
    named = [str(name) for name, kind in kinds if kind.kind not in "biuf"]
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return f" in {', '.join(named[:5])}{more}" if named else ""


def image_pixels(example: Any) -> Any:
    """Turn a PIL image, as torchvision's datasets give without a transform, into uint8 channels first.

    Example:
        >>> image_pixels([1, 2])
        [1, 2]
    """
    if not hasattr(example, "getbands"):
        return example
    pixels: Tensor = torch.from_numpy(np.array(example))
    return pixels.unsqueeze(0) if pixels.dim() == 2 else pixels.permute(2, 0, 1)
