"""Cross-validation in folds: a number of them, the first of which is the data's own split, or given ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deap_hpo.checks import check_integer
from deap_hpo.errors import InputError, shown, warn
from deap_hpo.training.data import Data, Split
from deap_hpo.training.inputs import tensors
from deap_hpo.training.normalization import Statistic, overall_statistics, statistics_for

Folds = int | list[tuple[Tensor, Tensor]]
"""The number of folds, or of each fold the positions to train on and those to validate on: among the training examples
followed by the validation examples."""


def check_folds(data: Data, folds: Any, repeats: int) -> Folds | None:
    """Give the folds, if the data allow them; None for no folds.

    Args:
        data: The data that are cut.
        folds: Their number; or pairs (positions to train on, positions to validate on), as scikit-learn's splitters
            give them; or None.
        repeats: Trainings with seeds of their own.

    Raises:
        InputError: There are less than 2, or more than the training examples allow; or positions are not of the
            examples, or in both parts of a fold, or examples were drawn at random; or there are repeats as well.

    Warns:
        DeapHPOWarning: A number is given, and the validation examples were given apart, so that folds mix them with the
            training examples; or the first fold, the data's own validation examples, differs much in size from others.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> check_folds(load_digits(), 5, 1)
        5
        >>> in_order = replace(load_digits(), drawn=())
        >>> check_folds(in_order, [([0, 1], [2]), ([0, 1, 2], [3])], 1)
        [(tensor([0, 1]), tensor([2])), (tensor([0, 1, 2]), tensor([3]))]
    """
    if folds is None:
        return None
    positions = isinstance(folds, Iterable) and not isinstance(folds, str)
    checked = _positions(data, list(folds)) if positions else check_integer("folds", folds, 2)
    if repeats > 1:
        raise InputError(
            f"repeats must be 1 if folds are given, because each fold is trained with its own seed; got {repeats}."
        )
    if isinstance(checked, int):
        _check_number(data, checked)
    return checked


def _positions(data: Data, folds: Sequence[Any]) -> list[tuple[Tensor, Tensor]]:
    total = len(data.training) + len(data.validation)
    pairs = all(isinstance(one, (tuple, list)) and len(one) == 2 for one in folds)
    if len(folds) < 2 or not pairs:
        raise InputError(
            "folds must be a number, or at least two pairs (positions to train on, positions to validate on); got "
            f"{shown(folds)}."
        )
    if data.drawn:
        raise InputError(
            f"folds must be a number where {' and '.join(data.drawn)} examples were drawn at random: positions refer "
            "to the order of the data, which is then lost. Give these examples as separate data."
        )
    found = []
    for i, fold in enumerate(folds):
        parts = [np.asarray(part) for part in fold]
        if not all(part.ndim == 1 and part.size and part.dtype.kind in "iu" for part in parts):
            raise InputError(f"folds must hold positions of examples, at least one in each part; fold {i} has others.")
        if any(part.min() < 0 or part.max() >= total for part in parts):
            raise InputError(f"folds must hold positions from 0 to {total - 1} (training, then validation); fold {i}.")
        if np.intersect1d(parts[0], parts[1]).size:
            raise InputError(f"folds must validate on other examples than they train on; fold {i} has some in both.")
        train, validate = (torch.from_numpy(part.astype(np.int64)) for part in parts)
        found.append((train, validate))
    return found


def _check_number(data: Data, folds: int) -> None:
    if folds > len(data.training) + 1:
        raise InputError(f"folds must be at most {len(data.training) + 1}, of one example each; got {folds}.")
    first, others = len(data.validation), len(data.training) / (folds - 1)
    if data.drawn is not None and "validation" not in data.drawn:
        warn(
            f"{folds} folds mix the validation examples, which were given apart, with the training examples. That is "
            "wrong for a split by time or by groups, for example; give such folds as pairs (positions to train on, "
            "positions to validate on)"
        )
    elif not 2 / 3 <= first / others <= 1.5:
        warn(
            f"the first of {folds} folds has the {first} validation examples of the data, the others about "
            f"{others:.0f} each; with validation={1 / folds:.3g} they are of one size"
        )


def number_of(folds: Folds | None) -> int:
    """Count folds.

    Example:
        >>> number_of(None), number_of(5), number_of([(torch.tensor([0]), torch.tensor([1]))] * 2)
        (0, 5, 2)
    """
    return len(folds) if isinstance(folds, list) else folds or 0


def recorded(folds: Folds) -> Any:
    """Give the folds in JSON types, for the record; positions are known by their digest.

    Example:
        >>> recorded(5), list(recorded([(torch.tensor([0]), torch.tensor([1]))] * 2))
        (5, ['number', 'sha256'])
    """
    if isinstance(folds, int):
        return folds
    digest = hashlib.sha256()
    for part in (part for fold in folds for part in fold):
        digest.update(np.int64(len(part)).tobytes() + part.numpy().tobytes())
    return {"number": len(folds), "sha256": digest.hexdigest()}


def data_of(data: Data, folds: Folds | None) -> dict[int, Data]:
    """Give the data of each fold by its place; without that of the first if it is the data's own split.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> data = replace(load_digits(training_size=90, validation_size=30), drawn=())
        >>> list(data_of(data, 4)), list(data_of(data, check_folds(data, [([0, 1], [2]), ([0, 1, 2], [3])], 1)))
        ([1, 2, 3], [0, 1])
    """
    if not isinstance(folds, list):
        return dict(enumerate(other_folds(data, folds), 1)) if folds else {}
    whole = data.training.followed_by(data.validation)
    return {i: _of_splits(data, whole[train], whole[validate]) for i, (train, validate) in enumerate(folds)}


def other_folds(data: Data, folds: int) -> list[Data]:
    """Give the folds after the first; in each, another part of the training examples is used for validation.

    The parts are of nearly equal size, with equal shares of each class if the data were split like that. A fold trains
    on the other parts and on the validation examples of the first fold. Test examples are in no fold. Inputs are
    normalised by the fold's training examples, if the data's are by theirs.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> data = load_digits(training_size=1200, validation_size=300)
        >>> [(len(fold.training), len(fold.validation)) for fold in other_folds(data, 5)]
        [(1200, 300), (1200, 300), (1200, 300), (1200, 300)]
    """
    return [_fold(data, part) for part in _parts(data, folds - 1)]


def _parts(data: Data, number: int) -> list[Tensor]:
    """Split the positions of the training examples, which are in random order already, into so many parts."""
    examples = torch.arange(len(data.training))
    if not data.description.get("stratify") or number == 1:
        return list(examples.tensor_split(number))
    from sklearn.model_selection import StratifiedKFold  # slow to import, and rarely needed

    targets = tensors(data.training.targets)[0].flatten()
    return [torch.from_numpy(part) for _, part in StratifiedKFold(number).split(np.zeros(len(examples)), targets)]


def _fold(data: Data, part: Tensor) -> Data:
    others = torch.ones(len(data.training), dtype=torch.bool)
    others[part] = False
    training = data.training[others].followed_by(data.validation) if others.any() else data.validation
    return _of_splits(data, training, data.training[part])


def _of_splits(data: Data, training: Split, validation: Split) -> Data:
    mean, std = _statistics(data, training)
    return replace(data, training=training, validation=validation, mean=mean, std=std)


def _statistics(data: Data, training: Split) -> tuple[Statistic, Statistic]:
    """Give the mean and deviation that normalise a fold; those given by the user, or in hand-made `Data`, are kept."""
    how = data.description.get("normalize")
    if how in (True, "last") or (isinstance(how, list) and all(isinstance(name, str) for name in how)):
        return statistics_for(training.inputs, how)
    if how is None and "split_seed" in data.description:  # as the package's loaders do
        return overall_statistics(training.inputs)
    return data.mean, data.std
