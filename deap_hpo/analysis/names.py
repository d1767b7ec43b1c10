"""Names of the objectives and the learning curves of a study, from the notes of its evaluator."""

from __future__ import annotations

from typing import NamedTuple

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.results import Results


def value_name(study: Results) -> str:
    """Return the first objective in words."""
    name = study.objective_names[0]
    return "validation loss" if name == "loss" and trains_networks(study) else name


def curves_of(study: Results) -> tuple[str, Direction]:
    """Return the quantity that learning curves show, in words, and its direction.

    A trainer records the validation loss, whatever it is judged by; a function reports its first objective.
    """
    if trains_networks(study):
        return "validation loss", "minimize"
    return value_name(study), study.directions[0]


class Shown(NamedTuple):
    """The quantity that learning curves show.

    Attributes:
        metric: Its name among an epoch's metrics; None for the validation loss, or what a function reports.
        name: The quantity in words.
        direction: Which way is better.
    """

    metric: str | None
    name: str
    direction: Direction


def shown_by_epoch(study: Results, metric: str | None = None) -> Shown:
    """Choose the quantity that learning curves show.

    Args:
        study: The study.
        metric: A metric of its trainings, or "loss"; None takes the objective, if that was measured after each epoch.

    Raises:
        InputError: No such metric was measured after each epoch.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> def objective(params, report):
        ...     report(1, params["x"])
        ...     return params["x"]
        >>> shown_by_epoch(optimize(objective, {"x": Float(0.0, 1.0)}, max_evaluations=3))
        Shown(metric=None, name='value', direction='minimize')
    """
    of_what, direction = curves_of(study)
    if not trains_networks(study):
        if metric is not None:
            raise InputError(f"metric is for trainings; curves of a function are of what it reported. Got {metric!r}.")
        return Shown(None, of_what, direction)
    known = {name for entry in study.entries for epoch in entry.evaluation.curve for name in epoch.metrics}
    objectives = dict(zip(study.objective_names, study.directions, strict=True))
    if metric is None:
        metric = next((name for name in objectives if name in known), None) if "loss" not in objectives else None
    if metric in (None, "loss"):
        return Shown(None, of_what, direction)
    if not isinstance(metric, str) or metric not in known:
        raise InputError(f"metric must be one of {', '.join(['loss', *sorted(known)])}; got {metric!r}.")
    # No direction is known of other metrics: "maximize" gives them a linear scale.
    return Shown(metric, metric, objectives.get(metric, "maximize"))


def trains_networks(study: Results) -> bool:
    """Tell whether evaluations were trainings of this package's trainers, rather than calls of a function."""
    return "task" in study.evaluator_settings
