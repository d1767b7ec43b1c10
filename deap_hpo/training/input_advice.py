"""Warnings about inputs that can be read, but would be trained on in another way than they are meant."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence

import torch
from torch import Tensor

from deap_hpo.errors import warn

_LOST = 0.01  # share of a feature's standard deviation that rounding may amount to
_CONSTANT = 1e-12  # standard deviation, as a share of the values, up to which a feature of float64 is constant


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


def warn_of_redrawn(arguments: Sequence[str]) -> None:
    """Warn of datasets that gave other examples when they were read again.

    Args:
        arguments: Names of the arguments that hold them; if there are none, nothing is said.

    Warns:
        DeapHPOWarning: There are such.
    """
    if arguments:
        _warn(
            f"{' and '.join(arguments)} gave other values when an example was read again, as a dataset does that draws "
            "at random (augmentation). It is read into memory once, so every epoch has one and the same draw of each "
            "example. Take what is random out of the dataset, and do it in the network's forward while self.training "
            "is true (docs/how-to/network.md, Augmentation), or train in a function of your own."
        )


def _warn(message: str) -> None:
    if multiprocessing.parent_process() is None:  # not again in workers, which may read data, too
        warn(message)
