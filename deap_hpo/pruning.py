"""Pruning: ending evaluations before their last epoch, as a function of those that were complete before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deap_hpo.checks import check_integer, is_number
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.evaluator import Evaluator
from deap_hpo.records.entries import Entry
from deap_hpo.vocabulary import hinting_class


class Pruner(Protocol):
    """The interface of a pruner. Its `repr` is recorded: a resumed study must have the same."""

    def limits(self, entries: Sequence[Entry], direction: Direction) -> Mapping[int, float]:
        """Give the worst value allowed at each epoch, from the evaluations of all earlier batches.

        These evaluations are the same when a run is replayed, whatever ran in parallel, and so are the results.
        """
        ...


@hinting_class
@dataclass(frozen=True)
class MedianPruner:
    """Ends an evaluation whose value at an epoch is worse than the median of the earlier ones at that epoch.

    Attributes:
        startup: Complete evaluations that are needed before any is ended, at least 1.
        warmup: Number of first epochs at which no evaluation is ended, at least 0.
        quantile: The quantile of earlier values, from the best on, that an evaluation must reach, in (0, 1): 0.5 is the
            median; 0.75 ends only those that would be in the worst quarter.

    Raises:
        InputError: An argument is out of its range.

    Source:
        The median stopping rule of Golovin et al., "Google Vizier" (KDD 2017), applied to the value at the epoch.
        Theirs compares running averages, Optuna's the best value so far.

    Example:
        >>> from deap_hpo.evaluation import Epoch, Evaluation
        >>> curves = [(0.9, 0.5), (0.7, 0.3), (0.8, 0.2)]
        >>> entries = [
        ...     Entry(i, 0, (0.5,), Evaluation((b,), curve=(Epoch(1, a, a), Epoch(2, b, b))), seed=0)
        ...     for i, (a, b) in enumerate(curves)
        ... ]
        >>> MedianPruner(startup=3).limits(entries, "minimize")
        {1: 0.8, 2: 0.3}
        >>> MedianPruner(startup=4).limits(entries, "minimize")
        {}
    """

    startup: int = 5
    warmup: int = 0
    quantile: float = 0.5

    def __post_init__(self) -> None:
        for name, low in (("startup", 1), ("warmup", 0)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), low))
        if not (is_number(self.quantile) and 0 < self.quantile < 1):
            raise InputError(f"quantile must be between 0 and 1; got {self.quantile!r}.")
        object.__setattr__(self, "quantile", float(self.quantile))  # its repr is recorded

    def limits(self, entries: Sequence[Entry], direction: Direction) -> Mapping[int, float]:
        """Give the quantile of the values of complete evaluations at each epoch."""
        complete = [one.evaluation for one in entries if one.evaluation.status == "ok" and one.duplicate_of is None]
        if len(complete) < self.startup:
            return {}
        values: dict[int, list[float]] = defaultdict(list)
        for evaluation in complete:
            for epoch in evaluation.curve:
                values[epoch.epoch].append(epoch.validation_loss)
        quantile = self.quantile if direction == "minimize" else 1 - self.quantile
        return {epoch: float(np.quantile(values[epoch], quantile)) for epoch in sorted(values) if epoch > self.warmup}


def check_reports(pruner: Pruner | None, evaluator: Evaluator) -> None:
    """Check that an evaluator can report to a pruner, if there is one.

    Raises:
        InputError: It is a trainer, which does not report.

    Example:
        >>> from deap_hpo.functions.objective import Objective
        >>> check_reports(MedianPruner(), Objective(lambda params, report: 0.5))
    """
    if pruner is not None and evaluator.task is not None:
        raise InputError(
            "pruner is for functions, which report to it; trainings of a trainer end early with the algorithm "
            f"'hyperband' and its kin, or with `stages`, an argument of 'truncation'. Got {pruner!r}."
        )


def check_pruner(pruner: Pruner, objectives: int) -> Pruner:
    """Give a pruner, if a study with so many objectives can use it.

    Raises:
        InputError: It has no `limits`, is a class, or has no `repr` of its own; or there are several objectives.

    Example:
        >>> check_pruner(MedianPruner(), objectives=2)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: pruner needs a single objective, which its limits are for; got 2.
    """
    if objectives > 1:
        raise InputError(f"pruner needs a single objective, which its limits are for; got {objectives}.")
    if isinstance(pruner, type) or not hasattr(pruner, "limits"):
        raise InputError(f"pruner must be an object such as deap_hpo.MedianPruner(), or None; got {pruner!r}.")
    if type(pruner).__repr__ is object.__repr__:
        raise InputError(
            "pruner must have a __repr__ that says its settings, as a dataclass has: it is recorded, and a resumed "
            f"run has to have the same; got {pruner!r}."
        )
    return pruner
