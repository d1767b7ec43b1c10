"""A study's evaluations judged by another measurement than its objective: one of several, or any metric on record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deap_hpo.errors import InputError, hint
from deap_hpo.evaluation import BEST_EPOCH, Direction
from deap_hpo.goals import JUDGED_BY, check_directions, usual_direction
from deap_hpo.records.entries import Entry, worst_values

if TYPE_CHECKING:
    from deap_hpo.results import Results

_SECONDS = "seconds"  # of every evaluation
_KNOWN_DIRECTIONS = "judged_from"  # the attribute: directions of the objectives before, by name


def judged_by(study: Results, objective: str, direction: Direction | None) -> dict[str, Any]:
    """Give the fields of a study that another objective changes: `directions`, `entries` and `attributes`.

    Args:
        study: The study.
        objective: See `Recorded.judged_by`.
        direction: See there.

    Raises:
        InputError: Nothing of the name was measured, or nobody says which way is better.

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
        raise InputError(f"direction must be given, 'minimize' or 'maximize': nobody has said it of {objective!r}.")
    directions = check_directions(direction)
    attributes = {name: value for name, value in study.attributes.items() if name != "final"}  # of another best one
    return {
        "directions": directions,
        "entries": tuple(_judged(entry, names, objective, directions) for entry in study.entries),
        "attributes": {**attributes, JUDGED_BY: objective, _KNOWN_DIRECTIONS: said},
    }


def _judged(entry: Entry, names: Sequence[str], objective: str, directions: tuple[Direction, ...]) -> Entry:
    """The entry with one objective; the others are metrics."""
    evaluation = entry.evaluation
    measured = {**evaluation.metrics, **dict(zip(names, evaluation.values, strict=True))}
    value = measured.pop(objective, evaluation.seconds if objective == _SECONDS else math.nan)
    ended = evaluation.status in ("ok", "pruned") and not math.isnan(value)
    values = (value,) if ended else worst_values(directions)
    return replace(entry, evaluation=replace(evaluation, values=values, metrics=measured))
