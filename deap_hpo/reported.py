"""Warnings about learning curves that mislead: none for a pruner, one of another metric, one that gets worse."""

from __future__ import annotations

import math
from typing import Any

from deap_hpo.errors import warn
from deap_hpo.evaluation import sign_of
from deap_hpo.goals import usual_direction
from deap_hpo.records.entries import Entry, find_best


class ReportedWarning:
    """A study's callback that warns, once each, of what makes a pruner useless or harmful.

    A function reports nothing to it; or a loss where a score counts; or a pruned evaluation seems better than all whole
    ones, because values get worse along the way.

    Example:
        >>> import warnings
        >>> from deap_hpo import Float, MedianPruner, optimize
        >>> with warnings.catch_warnings(record=True) as said:
        ...     study = optimize(lambda params: params["x"], {"x": Float(0, 1)}, pruner=MedianPruner(), generations=1)
        >>> str(said[0].message)[:64]
        "evaluation 0 of the study 'study' reported nothing to the pruner"
    """

    def __init__(self) -> None:
        self._heard = self._compared = self._drawn = False

    def on_evaluation(self, study: Any, entry: Entry) -> None:
        """Warn of a new evaluation, as the class describes."""
        evaluation, name = entry.evaluation, f"evaluation {entry.number} of the study {study.name!r}"
        if evaluation.curve:
            self._heard = True
        elif study.pruner and evaluation.status == "ok" and not self._heard:
            self._heard = True
            warn(
                f"{name} reported nothing to the pruner, which ends none then: give the objective a parameter named "
                "report, and call report(epoch, value) after each epoch"
            )
        if not self._drawn and (best := _worse_than_pruned(study, entry)) is not None:
            self._drawn = True
            warn(
                f"{name} was pruned at {evaluation.value:.4g}, which is better than the best whole one, {best:.4g}: "
                "values get worse along the way, and draw the search to what was pruned. Report and return the best "
                "value so far, or leave out the pruner"
            )
        if not self._compared and (other := _reported_instead(study, entry)):
            self._compared = True
            warn(
                f"{name} reported {other!r} as its learning curve, but another value counts, and is "
                f"{study.directions[0].replace('ize', 'ise')}d: a pruner would end the best. Report the value that "
                "counts, as in report(epoch, value, other=...)"
            )


def _worse_than_pruned(study: Any, entry: Entry) -> float | None:
    """Give the best whole evaluation's value if it is worse than that of one that the pruner ended."""
    if study.pruner is None or entry.evaluation.status != "pruned":
        return None
    best, sign = find_best(study.record, study.directions[0]), sign_of(study.directions[0])
    if best is None or sign * best.evaluation.value <= sign * entry.evaluation.value:
        return None
    return best.evaluation.value


def _reported_instead(study: Any, entry: Entry) -> str | None:
    """Name a metric that a function reported instead of its objective, if by its name the other direction is better."""
    curve = entry.evaluation.curve
    if not curve or not math.isnan(curve[-1].training_loss):  # a trainer reports all
        return None
    last = curve[-1].validation_loss
    if last in entry.evaluation.values or last % 1 == 0:  # whole numbers may be equal by chance
        return None
    names = [name for name, value in entry.evaluation.metrics.items() if value == last]
    return next((one for one in names if usual_direction(one) not in (None, study.directions[0])), None)
