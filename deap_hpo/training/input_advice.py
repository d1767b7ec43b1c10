"""Warnings about inputs that can be read, but would be trained on in another way than they are meant."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence

import torch
from torch import Tensor

from deap_hpo.errors import warn
from deap_hpo.training.inputs import Inputs
from deap_hpo.training.normalization import Normalize

_LOST = 0.01  # share of a feature's standard deviation that rounding may amount to
_CONSTANT = 1e-12  # standard deviation, as a share of the values, up to which a feature of float64 is constant
_FEW = 1000  # examples on which axes are compared
_MANY = 20_000  # examples in which rounding is looked for, evenly over the data
_LONG = 8  # times axis 1 from which on the last axis is that of a signal
_SQUASHED = 0.05  # standard deviation of a normalised feature that is far too small
_ALIKE = 0.25  # of the least deviation of a step, that of a feature must be less to differ from those of steps


def warn_of_rounding(argument: str, values: Tensor, columns: Sequence[object] = ()) -> None:
    """Warn of features of float64 whose differences are lost in float32, as those of time stamps.

    Args:
        argument: Name of the argument that holds them.
        values: Examples [N, ...]. Features are along the second axis; with more than two axes, also along the last.
        columns: Names of the features of a table.

    Warns:
        DeapHPOWarning: The error of rounding is more than a hundredth of a feature's standard deviation.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warn_of_rounding("data", torch.tensor([[1.7e9, 1.0], [1.7e9 + 60, 2.0]], dtype=torch.float64))
        >>> str(told[0].message)[:57]
        'data loses feature 0: training computes in float32, which'
    """
    values = values[:: max(1, -(-len(values) // _MANY))]
    for axis in sorted({min(1, values.dim() - 1), values.dim() - 1}):
        others = [other for other in range(values.dim()) if other != axis or values.dim() == 1]
        largest = torch.maximum(values.amax(others), -values.amin(others)).reshape(-1)
        std = (values.std(others) if len(values) > 1 else torch.zeros_like(largest)).reshape(-1)
        lost = (std > _CONSTANT * largest) & (largest * 2**-24 > _LOST * std)
        if lost.any():
            i, more = int(lost.nonzero()[0]), int(lost.sum()) - 1
            named = f"column {columns[i]!r}" if len(columns) == len(std) else f"feature {i}"
            along = f" along axis {axis}" if values.dim() > 2 else ""
            others_too = f" and {more} more{along}" if more else along
            _warn(
                f"{argument} loses {named}{others_too}: training computes in float32, which rounds values up to "
                f"{float(largest[i]):.3g} by up to {float(largest[i]) * 2**-24:.2g}, and their standard deviation is "
                f"{float(std[i]):.2g}; subtract an offset, such as the mean, before you give the data"
            )
            return


def warn_of_axis(inputs: Inputs, normalize: Normalize) -> None:
    """Warn of sequences [N, steps, features] whose features would be normalised together, step by step.

    An input is told to be such a sequence if one of its positions along the last axis would have hardly any spread left
    after that, while the steps are alike. Positions that mostly hold one value, as padding and the margin of images do,
    do not count, nor do signals: their last axis is far longer than axis 1, or values change gradually along it.

    Args:
        inputs: The training examples.
        normalize: How they are normalised; only those whose axis was not chosen by the user can be told of.

    Warns:
        DeapHPOWarning: There are such.

    Example:
        >>> import warnings
        >>> sequences = torch.rand(50, 20, 2) * torch.tensor([1.0, 1000.0])
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warn_of_axis(sequences, True)
        >>> "[N, 20, 2]" in str(told[0].message), 'normalize="last"' in str(told[0].message)
        (True, True)
    """
    if normalize == "last":
        return
    for name, one in _normalized(inputs, normalize).items():
        if one.is_floating_point() and one.dim() == 3 and one.shape[2] <= _LONG * one.shape[1]:
            left = _left_of_features(one[:: -(-len(one) // _FEW)].double())
            if left < _SQUASHED:
                shape = f"[N, {one.shape[1]}, {one.shape[2]}]"
                what = f"input {name!r} {shape} is" if name else f"inputs {shape} are"
                _warn(
                    f"{what} normalised along axis 1, as channels of signals [N, channels, length] are; a "
                    f"feature of the last axis then has a standard deviation of {left:.2g} within a step. If they are "
                    'sequences [N, steps, features], set normalize="last"'
                )


def _left_of_features(values: Tensor) -> float:
    """Give the least deviation that a feature of the last axis has after steps are normalised; 1 if steps differ."""
    steps = values[:, _spread(values.movedim(1, -1))]
    features = steps[:, :, _spread(steps)] if steps.numel() else steps
    if features.shape[1] < 2 or features.shape[2] < 2:
        return 1.0
    of_steps, of_features = features.std((0, 2)), features.std((0, 1))
    squashed, least_step = (float(one.min() / of_steps.mean()) for one in (of_features, of_steps))
    levels = torch.stack([features.mean((0, 1)), of_features])
    largest_jump, extent = levels.diff().norm(dim=0).max(), (levels.amax(1) - levels.amin(1)).norm()
    return squashed if squashed < _ALIKE * least_step and largest_jump > extent / 2 else 1.0


def _spread(values: Tensor) -> Tensor:
    """Tell of each position along the last axis whether at most half of its values are the same."""
    rows = values.flatten(0, 1)
    return (rows == rows.median(0).values).double().mean(0) <= 0.5


def warn_of_masks(inputs: Inputs, normalize: Normalize) -> None:
    """Warn of masks among several inputs that are given as numbers, and so are normalised.

    Args:
        inputs: The training examples.
        normalize: How they are normalised; inputs that the user named for that are not told of.

    Warns:
        DeapHPOWarning: One of several inputs holds nothing but 0 and 1.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warn_of_masks({"numbers": torch.rand(9, 4), "mask": torch.ones(9, 4)}, True)
        >>> str(told[0].message)[:59]
        "the numbers 0 and 1 of input 'mask' are normalised to other"
    """
    if not isinstance(inputs, dict) or not (normalize is True or normalize == "last"):
        return
    normalized = _normalized(inputs, normalize)
    masks = [name for name, one in normalized.items() if bool(((one == 0) | (one == 1)).all())]
    if masks:
        named = f"input{'s' if len(masks) > 1 else ''} {', '.join(map(repr, masks))}"
        others = [name for name in normalized if name not in masks]
        bytes_too = any(one.dtype == torch.uint8 for name, one in normalized.items() if name in masks)
        # Bytes that are not named are still divided by 255.
        or_else = "" if bytes_too else f", or name the inputs to normalise: normalize={others}"
        _warn(f"the numbers 0 and 1 of {named} are normalised to others; if they are a mask, give booleans{or_else}")


def _normalized(inputs: Inputs, normalize: Normalize) -> dict[str, Tensor]:
    """Give the inputs whose statistics are computed, by name."""
    named = inputs if isinstance(inputs, dict) else {"": inputs}
    names = normalize if isinstance(normalize, Sequence) and normalize != "last" else ()
    chosen = named if normalize is True or normalize == "last" else [one for one in names if isinstance(one, str)]
    kinds = torch.uint8, torch.float32
    return {name: one for name, one in named.items() if name in chosen and one.dtype in kinds}


def warn_of_redrawn(arguments: Sequence[str]) -> None:
    """Warn of datasets that gave other examples when they were read again.

    Args:
        arguments: Names of the arguments that hold them; if there are none, nothing is said.

    Warns:
        DeapHPOWarning: There are such.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warn_of_redrawn([])
        ...     warn_of_redrawn(["data"])
        >>> [str(one.message)[:22] for one in told]
        ['data gave other values']
    """
    if arguments:
        _warn(
            f"{' and '.join(arguments)} gave other values when examples were read a second time, as a dataset with "
            "random augmentation does. Data are read into memory once, so every epoch uses the same draw of each "
            "example. Move random transforms from the dataset to the network's forward, to be applied while "
            "self.training is true (docs/how-to/network.md, Augmentation), or train in a function of your own."
        )


def _warn(message: str) -> None:
    if multiprocessing.parent_process() is None:  # not again in workers, which may read data, too
        warn(message)
