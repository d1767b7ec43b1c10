"""Cross-validation in folds: each example is for validation once. The first fold is the split that the data have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from deap_hpo.checks import check_integer
from deap_hpo.errors import InputError, warn
from deap_hpo.training.data import Data, Split
from deap_hpo.training.inputs import joined, tensors
from deap_hpo.training.normalization import Statistic, overall_statistics, statistics_for


def check_folds(data: Data, folds: int | None, repeats: int) -> int | None:
    """Give the number of folds, if data can have so many.

    Raises:
        InputError: It is less than 2, or more than the training examples allow; or there are repeats, too.

    Warns:
        DeapHPOWarning: The first fold, the validation examples of the data, is of another size than the others.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> check_folds(load_digits(), 5, 1)
        5
    """
    if folds is None:
        return None
    folds = check_integer("folds", folds, 2)
    if repeats > 1:
        raise InputError(
            f"repeats must be 1 beside folds, which are trained by a seed of their own each; got {repeats}."
        )
    if folds > len(data.training) + 1:
        raise InputError(f"folds must be at most {len(data.training) + 1}, of one example each; got {folds}.")
    first, others = len(data.validation), len(data.training) / (folds - 1)
    if not 2 / 3 <= first / others <= 1.5:
        warn(
            f"the first of {folds} folds has the {first} validation examples of the data, the others about "
            f"{others:.0f} each; with validation={1 / folds:.3g} they are of one size"
        )
    return folds


def other_folds(data: Data, folds: int) -> list[Data]:
    """Give the folds after the first: in each, another part of the training examples is for validation.

    The parts are of nearly equal size, and of equal shares of each class where the data were split like that. What is
    left, and the validation examples of the first fold, is trained on. Test examples are in none. Inputs are
    normalised by the training examples of the fold, if the data's are by theirs.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> data = load_digits(training_size=1200, validation_size=300)
        >>> [(len(fold.training), len(fold.validation)) for fold in other_folds(data, 5)]
        [(1200, 300), (1200, 300), (1200, 300), (1200, 300)]
    """
    return [_fold(data, part) for part in _parts(data, folds - 1)]


def _parts(data: Data, number: int) -> list[Tensor]:
    """Numbers of training examples, which are in the order of a permutation already, in so many parts."""
    examples = torch.arange(len(data.training))
    if not data.description.get("stratify") or number == 1:
        return list(examples.tensor_split(number))
    from sklearn.model_selection import StratifiedKFold  # slow to import, and rarely needed

    targets = tensors(data.training.targets)[0].flatten()
    return [torch.from_numpy(part) for _, part in StratifiedKFold(number).split(np.zeros(len(examples)), targets)]


def _fold(data: Data, part: Tensor) -> Data:
    others = torch.ones(len(data.training), dtype=torch.bool)
    others[part] = False
    left = data.training[others] if others.any() else None
    splits = [data.validation] if left is None else [left, data.validation]
    training = Split(*(joined([getattr(one, what) for one in splits]) for what in ("inputs", "targets")))
    mean, std = _statistics(data, training)
    return replace(data, training=training, validation=data.training[part], mean=mean, std=std)


def _statistics(data: Data, training: Split) -> tuple[Statistic, Statistic]:
    """Give the mean and deviation that normalise a fold; numbers of the user's, or of `Data` made by hand, are kept."""
    how = data.description.get("normalize")
    if how is True or (isinstance(how, list) and all(isinstance(name, str) for name in how)):
        return statistics_for(training.inputs, how)
    if how is None and "split_seed" in data.description:  # as the loaders of the package do
        return overall_statistics(training.inputs)
    return data.mean, data.std
