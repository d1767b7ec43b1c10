"""Normalisation of stored inputs: uint8 is divided by 255, then all are shifted by the mean and scaled by the std."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from deap_hpo.errors import InputError
from deap_hpo.training.inputs import Inputs, tensors

Statistic = float | Tensor | dict[str, float | Tensor]
"""A mean or a standard deviation: a number, a tensor that broadcasts against a batch, or a dict of these by input."""


def prepared(inputs: Inputs, mean: Statistic, std: Statistic) -> Inputs:
    """Normalise a batch of stored inputs in a copy; see `deap_hpo.training.data.Data.prepare`.

    Example:
        >>> prepared({"pixels": torch.tensor([0, 255], dtype=torch.uint8), "tokens": torch.tensor([3, 4])}, 0.0, 1.0)
        {'pixels': tensor([0., 1.]), 'tokens': tensor([3, 4])}
    """
    if isinstance(inputs, dict):
        return {name: _prepared(one, of_input(name, mean), of_input(name, std)) for name, one in inputs.items()}
    return _prepared(inputs, of_input("", mean), of_input("", std))


def _prepared(inputs: Tensor, mean: float | Tensor, std: float | Tensor) -> Tensor:
    mean, std = (one.to(inputs.device) if isinstance(one, Tensor) else one for one in (mean, std))
    if inputs.dtype == torch.uint8:
        return inputs.float().div_(255).sub_(mean).div_(std)
    return inputs.sub(mean).div_(std) if _normalizes(inputs, mean, std) else inputs.clone()


def of_input(name: str, statistic: Statistic) -> float | Tensor:
    """Give the statistic of one of several inputs; a single one has no name.

    Example:
        >>> of_input("numbers", {"numbers": 0.5, "tokens": 0.0}), of_input("", 0.5)
        (0.5, 0.5)
    """
    return statistic[name] if isinstance(statistic, dict) else statistic


def feature_axis(inputs: Tensor, mean: float | Tensor) -> int:
    """Give the axis along which features or channels are normalised: 1, or the last if the means are a vector.

    Example:
        >>> sequences = torch.zeros(9, 20, 3)
        >>> feature_axis(sequences, torch.zeros(3)), feature_axis(sequences, torch.zeros(20, 1))
        (2, 1)
    """
    return inputs.dim() - 1 if isinstance(mean, Tensor) and mean.dim() == 1 else 1


def normalizes(inputs: Inputs, mean: Statistic, std: Statistic) -> bool:
    """Tell whether `prepared` changes inputs; it leaves tokens, and inputs without normalisation, as they are.

    Example:
        >>> normalizes(torch.tensor([3, 4]), 0.0, 1.0), normalizes(torch.rand(4), 0.5, 0.3)
        (False, True)
    """
    named = inputs if isinstance(inputs, dict) else {"": inputs}
    return any(_normalizes(one, of_input(name, mean), of_input(name, std)) for name, one in named.items())


def _normalizes(inputs: Tensor, mean: float | Tensor, std: float | Tensor) -> bool:
    plain = isinstance(mean, float) and isinstance(std, float) and (mean, std) == (0.0, 1.0)
    return inputs.dtype == torch.uint8 or not plain


def moved(statistic: Statistic, device: torch.device | str) -> Statistic:
    """Give a statistic on a device.

    Example:
        >>> moved({"numbers": torch.ones(2), "tokens": 0.0}, "cpu")
        {'numbers': tensor([1., 1.]), 'tokens': 0.0}
    """
    if isinstance(statistic, dict):
        return {name: one.to(device) if isinstance(one, Tensor) else one for name, one in statistic.items()}
    return statistic.to(device) if isinstance(statistic, Tensor) else statistic


def facts(inputs: Inputs, mean: Statistic, std: Statistic) -> dict[str, Any]:
    """Describe in plain numbers what `prepared` takes and does; see `deap_hpo.training.data.Data.expected_inputs`.

    Example:
        >>> facts({"tokens": torch.tensor([[3, 4]])}, 0.0, 1.0)
        {'tokens': {'shape': [2], 'dtype': 'int64', 'divide_by': 1, 'mean': 0.0, 'std': 1.0}}
    """
    if isinstance(inputs, dict):
        return {name: facts(one, of_input(name, mean), of_input(name, std)) for name, one in inputs.items()}
    return {
        "shape": list(inputs.shape[1:]),
        "dtype": str(inputs.dtype).removeprefix("torch."),
        "divide_by": 255 if inputs.dtype == torch.uint8 else 1,
        "mean": mean.tolist() if isinstance(mean, Tensor) else mean,
        "std": std.tolist() if isinstance(std, Tensor) else std,
    }


Normalize = bool | Literal["last"] | Sequence[str] | tuple[Any, Any]
"""Whether inputs are normalised; "last", if features are along the last axis of floats; or the names of those that are
normalised; or the mean and standard deviation to use."""


def statistics_for(inputs: Inputs, normalize: Normalize) -> tuple[Statistic, Statistic]:
    """Give the mean and standard deviation by which inputs are normalised, as `normalize` asks.

    Raises:
        InputError: `normalize` is not of the type `Normalize`, or names an input that does not exist; or it is "last",
            and no input has floats.

    Example:
        >>> inputs = {"numbers": torch.tensor([1.0, 3.0]), "mask": torch.tensor([0.0, 1.0])}
        >>> statistics_for(inputs, ["numbers"])
        ({'numbers': 2.0, 'mask': 0.0}, {'numbers': 1.4142135623730951, 'mask': 1.0})
        >>> statistics_for(torch.zeros(9, 1, 8, 8), (0.5, 0.25))
        (0.5, 0.25)
        >>> [one.shape for one in statistics_for(torch.zeros(9, 20, 3), "last")]
        [torch.Size([3]), torch.Size([3])]
    """
    if normalize is True:
        return channel_statistics(inputs)
    if normalize is False:
        return 0.0, 1.0
    if isinstance(normalize, str) and normalize == "last":
        if not any(one.is_floating_point() for one in tensors(inputs)):
            raise InputError('normalize must be "last" only for inputs of a floating-point type; got none of these.')
        return _of_each(lambda _, one: _channel_statistics(one, -1 if one.is_floating_point() else 1), inputs)
    if isinstance(normalize, tuple) and len(normalize) == 2 and not any(isinstance(one, str) for one in normalize):
        return _given("mean", normalize[0], inputs), _given("standard deviation", normalize[1], inputs)
    named = inputs if isinstance(inputs, dict) else {}
    names = isinstance(normalize, Sequence) and all(isinstance(one, str) for one in normalize)
    if isinstance(normalize, str) or not names or not set(normalize) <= named.keys():
        which = f" ({', '.join(named)})" if named else " (there are no named inputs here)"
        raise InputError(
            'normalize must be True, False, "last", a pair (mean, standard deviation), or a list of names of inputs'
            f"{which}; got {normalize!r}."
        )
    plain = named.keys() - set(normalize)
    return _of_each(lambda name, one: (0.0, 1.0) if name in plain else _channel_statistics(one), inputs)


def recorded(normalize: Normalize) -> Any:
    """Give the setting `normalize` in JSON types, for the record.

    Example:
        >>> recorded((torch.tensor([0.5, 0.25]), 1.0)), recorded(True)
        ([[0.5, 0.25], 1.0], True)
    """
    if not isinstance(normalize, tuple) or any(isinstance(one, str) for one in normalize):
        return normalize
    return [one.tolist() if hasattr(one, "tolist") else one for one in normalize]


def _given(what: str, values: Any, inputs: Inputs) -> float | Tensor:
    """Read a mean or a standard deviation: one number, or one per feature or channel."""
    if isinstance(inputs, dict) or not (inputs.dtype == torch.uint8 or inputs.is_floating_point()):
        raise InputError(
            "normalize must not be a pair if there are several inputs, or if they are whole numbers, which have no "
            "mean."
        )
    channels = inputs.shape[1] if inputs.dim() > 1 else 1
    try:
        tensor = torch.as_tensor(values, dtype=torch.float32).detach()
    except (TypeError, ValueError, RuntimeError):
        tensor = torch.full((0, 0), torch.nan)
    least = 0.0 if what == "mean" else torch.finfo(torch.float32).tiny
    usable = tensor.isfinite().all() and (what == "mean" or bool((tensor >= least).all()))
    if tuple(tensor.shape) not in ((), (channels,)) or not usable:
        raise InputError(
            f"normalize must have as {what} a finite number{'' if what == 'mean' else ' above 0'}, or {channels} of "
            f"them, one for each feature or channel; got {values!r}."
        )
    return float(values) if tensor.dim() == 0 else tensor.reshape([-1] + [1] * (inputs.dim() - 2))


def channel_statistics(inputs: Inputs) -> tuple[Statistic, Statistic]:
    """Give mean and standard deviation of each feature [N, F] or channel [N, C, ...]; that of a constant is 1.

    They broadcast against a batch. Whole numbers other than uint8 (tokens) get 0 and 1, which leaves them as they are.

    Example:
        >>> mean, std = channel_statistics(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
        >>> mean.tolist(), [round(one, 3) for one in std.tolist()]
        ([1.0, 5.0], [1.414, 1.0])
    """
    return _of_each(lambda _, one: _channel_statistics(one), inputs)


def overall_statistics(inputs: Inputs) -> tuple[Statistic, Statistic]:
    """Give mean and standard deviation of all values; the deviation of a constant is 1e-8, of a single value 1.

    Example:
        >>> overall_statistics(torch.tensor([[0.0], [1.0], [2.0]]))
        (1.0, 1.0)
    """
    return _of_each(lambda _, one: _overall_statistics(one), inputs)


def _of_each(
    statistics: Callable[[str, Tensor], tuple[float | Tensor, float | Tensor]], inputs: Inputs
) -> tuple[Statistic, Statistic]:
    if not isinstance(inputs, dict):
        return statistics("", inputs)
    found = {name: statistics(name, one) for name, one in inputs.items()}
    return {name: mean for name, (mean, _) in found.items()}, {name: std for name, (_, std) in found.items()}


def _overall_statistics(inputs: Tensor) -> tuple[float, float]:
    values = _unscaled(inputs)
    return values.mean().item(), max(values.std().item(), 1e-8) if values.numel() > 1 else 1.0


def _unscaled(inputs: Tensor) -> Tensor:
    return inputs.double().div(255 if inputs.dtype == torch.uint8 else 1)


def _channel_statistics(inputs: Tensor, axis: int = 1) -> tuple[float | Tensor, float | Tensor]:
    if inputs.dtype != torch.uint8 and not inputs.is_floating_point():
        return 0.0, 1.0
    values = _unscaled(inputs)
    if inputs.dim() == 1:
        mean, std = values.mean(), values.std() if len(values) > 1 else values.new_zeros(())
        return mean.item(), _at_constants_1(mean, std).item()
    axis %= inputs.dim()
    others = [dimension for dimension in range(inputs.dim()) if dimension != axis]
    shape = [-1] + [1] * (inputs.dim() - 1 - axis)
    mean, std = values.mean(others), values.std(others)
    std = _at_constants_1(mean, std)
    return mean.float().reshape(shape), std.float().reshape(shape)


def _at_constants_1(mean: Tensor, std: Tensor) -> Tensor:
    """Replace the standard deviation of constant features by 1; that of one example, which is NaN, too.

    What is left by rounding, beside the mean or beside other features (as in components of a decomposition), is no
    spread.
    """
    least = (torch.maximum(mean.abs(), std.max()) * 1e-12).clamp_min(torch.finfo(torch.float32).tiny)
    return torch.where(std > least, std, 1.0)
