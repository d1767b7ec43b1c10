"""Cross-validation in folds: each example is used for validation once. The first fold is the data's own split."""

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
    """Give the number of folds, if the data allow so many; None for no folds.

    Raises:
        InputError: It is less than 2, or more than the training examples allow; or there are repeats as well.

    Warns:
        DeapHPOWarning: The first fold, the data's own validation examples, differs much in size from the others.

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
    left = data.training[others] if others.any() else None
    splits = [data.validation] if left is None else [left, data.validation]
    training = Split(*(joined([getattr(one, what) for one in splits]) for what in ("inputs", "targets")))
    mean, std = _statistics(data, training)
    return replace(data, training=training, validation=data.training[part], mean=mean, std=std)


def _statistics(data: Data, training: Split) -> tuple[Statistic, Statistic]:
    """Give the mean and deviation that normalise a fold; those given by the user, or in hand-made `Data`, are kept."""
    how = data.description.get("normalize")
    if how in (True, "last") or (isinstance(how, list) and all(isinstance(name, str) for name in how)):
        return statistics_for(training.inputs, how)
    if how is None and "split_seed" in data.description:  # as the package's loaders do
        return overall_statistics(training.inputs)
    return data.mean, data.std
