"""A study's evaluations judged by a different measurement: one of its objectives, or any metric on record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deap_hpo.errors import InputError, hint
from deap_hpo.evaluation import BEST_EPOCH, Direction, worst_values
from deap_hpo.goals import JUDGED_BY, check_directions, usual_direction
from deap_hpo.records.entries import Entry

if TYPE_CHECKING:
    from deap_hpo.results import Results

_SECONDS = "seconds"  # known for every evaluation
_KNOWN_DIRECTIONS = "judged_from"  # the attribute with the directions of former objectives, by name


def judged_by(study: Results, objective: str, direction: Direction | None) -> dict[str, Any]:
    """Give the fields of a study that a new objective changes: `directions`, `entries` and `attributes`.

    Args:
        study: The study.
        objective: See `Recorded.judged_by`.
        direction: See `Recorded.judged_by`.

    Raises:
        InputError: Nothing of the name was measured, or its direction is unknown.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> def objective(params):
        ...     return {"loss": params["x"], "size": 2.0}
        >>> study = optimize(objective, {"x": Float(0.0, 1.0)}, metric="loss", max_evaluations=3)
        >>> changed = judged_by(study, "size", "minimize")
        >>> changed["entries"][0].evaluation.value, list(changed["entries"][0].evaluation.metrics)
        (2.0, ['loss'])
    """
    names = study.objective_names
    known = dict.fromkeys([*names, *(name for entry in study.entries for name in entry.evaluation.metrics), _SECONDS])
    known.pop(BEST_EPOCH, None)
    if objective not in known:
        raise InputError(f"objective must be what evaluations measured; got {objective!r}. {hint(objective, known)}")
    said = {**study.attributes.get(_KNOWN_DIRECTIONS, {}), **dict(zip(names, study.directions, strict=True))}
    direction = direction or said.get(objective) or usual_direction(objective)
    if direction is None:
        raise InputError(f"direction must be given ('minimize' or 'maximize'): it is not known for {objective!r}.")
    directions = check_directions(direction)
    seconds = {entry.number: entry.evaluation.seconds for entry in study.entries}
    attributes = {name: value for name, value in study.attributes.items() if name != "final"}  # the best may change
    return {
        "directions": directions,
        "entries": tuple(
            _judged(entry, seconds[entry.trained_number], names, objective, directions) for entry in study.entries
        ),
        "attributes": {**attributes, JUDGED_BY: objective, _KNOWN_DIRECTIONS: said},
    }


def _judged(
    entry: Entry, seconds: float, names: Sequence[str], objective: str, directions: tuple[Direction, ...]
) -> Entry:
    """Give the entry with this objective only; former objectives become metrics.

    The seconds are those of the evaluation that answered for it, since a duplicate takes none.
    """
    evaluation = entry.evaluation
    measured = {**evaluation.metrics, **dict(zip(names, evaluation.values, strict=True))}
    value = measured.pop(objective, seconds if objective == _SECONDS else math.nan)
    ended = evaluation.status in ("ok", "pruned") and math.isfinite(value)  # infinite on the good side is no result
    values = (value,) if ended else worst_values(directions)
    return replace(entry, evaluation=replace(evaluation, values=values, metrics=measured))
