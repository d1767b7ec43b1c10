"""Failed evaluations: the first one causes a warning; if all fail, the study ends with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from deap_hpo.errors import FailureNotice, InputError, ResultError, warn
from deap_hpo.records.entries import Entry
from deap_hpo.records.storage import storage_option
from deap_hpo.search_space.space import Space

_RESULT_ERROR = f"{ResultError.__module__}.{ResultError.__qualname__}: "  # its name in a traceback
_ENOUGH = 5  # if so many fail, the hyperparameters are not the cause


class FailureWarning:
    """A study's callback that warns of the first new evaluation that failed.

    It also warns of the first training that ended well with an objective that is not finite (a function may mean it),
    and if the first five evaluations all diverged.
    """

    def __init__(self) -> None:
        self._warned = self._told = False
        self._diverged = 0  # new evaluations that diverged

    def on_evaluation(self, study: Any, entry: Entry) -> None:
        """Warn of the first failed evaluation; warn of diverged ones, as the class describes."""
        self._diverged += entry.evaluation.status == "diverged"
        if self._diverged == len(study.record) == _ENOUGH and entry.evaluation.status == "diverged":
            warn(
                f"the first {_ENOUGH} evaluations of the study {study.name!r} all ended without a finite value "
                "(diverged): is it the objective, or are the ranges too wide?"
            )
        ended_well = bool(entry.evaluation.metrics)  # which what has diverged otherwise does not have
        if entry.evaluation.status == "diverged" and entry.evaluation.error and ended_well and not self._told:
            self._told = True
            warn(
                f"evaluation {entry.number} of the study {study.name!r} counts as the worst: {entry.evaluation.error} "
                "(further ones are recorded without a warning)"
            )
        if entry.evaluation.status != "failed" or self._warned:
            return
        self._warned = True
        has_traceback = entry.evaluation.error.strip() != entry.evaluation.reason
        where = f"the traceback is in `study.entries[{entry.number}].evaluation.error`; " if has_traceback else ""
        warn(
            f"evaluation {entry.number} of the study {study.name!r} failed and counts as the worst: "
            f"{entry.evaluation.reason} ({where}further failures are recorded without a warning)"
            f"{_hint_of_shapes(study, entry)}",
            FailureNotice,
        )


def warn_of_many_failures(study: Any) -> None:
    """Warn, after a study has ended, if at least a third of its evaluations failed, and more than one.

    Also warn if all of them break a constraint or were pruned, so that there is no best one.

    Warns:
        DeapHPOWarning: They did, or do.

    Example:
        >>> import warnings
        >>> from types import SimpleNamespace
        >>> from deap_hpo.evaluation import Evaluation, failure
        >>> ends = [failure("no"), failure("no"), Evaluation((0.5,))]
        >>> record = [Entry(i, 0, (0.5,), evaluation, seed=0) for i, evaluation in enumerate(ends)]
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warn_of_many_failures(SimpleNamespace(name="mine", record=record))
        >>> str(told[0].message)
        "2 of 3 evaluations of the study 'mine' failed and count as the worst"
    """
    asked = [entry for entry in study.record if entry.duplicate_of is None]
    failed = sum(entry.evaluation.status == "failed" for entry in asked)
    if failed * 3 >= len(asked) > 1 and failed > 1:
        warn(f"{failed} of {len(asked)} evaluations of the study {study.name!r} failed and count as the worst")
    if asked and all(entry.evaluation.violation > 0 for entry in asked):
        warn(f"all {len(asked)} evaluations of the study {study.name!r} break a constraint: none can be the best")
    elif asked and all(entry.evaluation.status == "pruned" for entry in asked):
        warn(
            f"all {len(asked)} evaluations of the study {study.name!r} were pruned: none can be the best. Does the "
            "objective end itself (TrialPruned) by a wrong condition?"
        )


class NotAllFailed:
    """A study's callback that ends it if its first evaluations all failed, since the objective must be wrong."""

    def __init__(self) -> None:
        self._new = 0

    def on_evaluation(self, study: Any, entry: Entry) -> None:
        """Check the first new evaluations once there are enough, or the first one if all others are sure to fail."""
        self._new += 1
        if entry.evaluation.status != "failed" or self._new > _ENOUGH:
            return
        sure = entry.evaluation.reason.startswith(_RESULT_ERROR)
        if sure or len({one.evaluation.reason for one in study.record}) == 1:  # the same reason each time
            self.check(study, least=1 if sure else _ENOUGH)

    def on_generation(self, study: Any, entries: Sequence[Entry]) -> None:
        """Check a complete batch, since replayed evaluations are not passed to `on_evaluation`."""
        if all(entry.evaluation.status == "failed" for entry in entries):
            self.check(study, least=_ENOUGH)

    def check(self, study: Any, *, least: int) -> None:
        """Check that not all evaluations failed, if there are at least `least`.

        Raises:
            InputError: All failed.
        """
        first = list(study.record)
        if len(first) < least or any(entry.evaluation.status != "failed" for entry in first):
            return
        said = "." if self._new else "; they are on record from before, and were not tried again."
        one = len(first) == 1
        failed = "The first evaluation failed" if one else f"All of the first {len(first)} evaluations failed"
        evaluation = first[0].evaluation
        reason, whole = evaluation.reason.removeprefix(_RESULT_ERROR).rstrip("."), evaluation.error.strip()
        at_length = "" if whole == evaluation.reason else f"\n\n{whole}"  # a traceback
        it_said = f"{'It' if one else 'The first one'} said: {reason}.{_hint(reason, study.space)}"
        raise InputError(f"{failed}{said} {it_said} When the objective is mended, {_how_to_go_on(study)}.{at_length}")


def _hint_of_shapes(study: Any, entry: Entry) -> str:
    """Say how population-based training keeps hyperparameters with the weights, if these did not fit."""
    if "size mismatch" not in entry.evaluation.error or study.evolution.get("algorithm") != "pbt":
        return ""
    params, before = (study.params_of(one) for one in (entry, study.record[entry.start_from or 0]))
    kept = [name for name, value in params.items() if not isinstance(value, float) and value != before.get(name)]
    return (
        f'. Hyperparameters on which shapes depend must stay with the weights: arguments={{"kept": {json.dumps(kept)}}}'
    )


def _how_to_go_on(study: Any) -> str:
    """Say how to try again, or else how to be rid of what is on record."""
    if study.storage is None:
        return "start again"
    named = f"{study.name}{storage_option(study.storage)}"
    by_command = "config" in study.attributes
    retry = f"`deap-hpo resume {named} --retry-failed`" if by_command else "resume=True, retry_failed=True"
    return f"try again ({retry}), or delete what is on record (`deap-hpo delete {named}`)"


def _hint(reason: str, space: Space | None) -> str:
    """Say how an objective gets its hyperparameters, if it looked for them elsewhere."""
    if "'dict' object has no attribute" in reason:
        return " Hyperparameters are a dict by name, as in params['lr']."
    missing = re.fullmatch(r"KeyError: '(.+)'", reason)
    if missing and space is not None and missing[1] not in space:
        return f" The space has {', '.join(space)}."
    return ""
