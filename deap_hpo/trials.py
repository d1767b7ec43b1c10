"""Evaluations as Optuna trials, so that Optuna's tools can read a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from deap_hpo.entries import Entry, worst_values
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction, Epoch, Evaluation
from deap_hpo.space import Categorical, Float, Space

_DEFAULTS: dict[str, Any] = {
    "parents": [],
    "operators": [],
    "duplicate_of": None,
    "metrics": {},
    "curve": [],
    "environment": {},
    "retries": 0,
    "error": "",
    "violation": 0.0,
    "notes": {},
    "epochs": None,
    "start_from": None,
    "checkpoint": None,
}
"""Values of attributes that are not stored: writing one to a database takes some milliseconds."""


class ForeignStudyError(InputError):
    """A study holds trials that are not evaluations of this package."""


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Convert a space to Optuna's distributions.

    Example:
        >>> distributions(Space({"lr": Float(0.001, 1.0, log=True)}))
        {'lr': FloatDistribution(high=1.0, log=True, low=0.001, step=None)}
    """

    def distribution(parameter: Any) -> BaseDistribution:
        if isinstance(parameter, Categorical):
            return CategoricalDistribution(parameter.choices)
        kind = FloatDistribution if isinstance(parameter, Float) else IntDistribution
        return kind(parameter.low, parameter.high, log=parameter.log, step=parameter.step)

    return {name: distribution(parameter) for name, parameter in space.items()}


def to_trial(entry: Entry, space: Space | None, known: dict[str, BaseDistribution]) -> FrozenTrial:
    """Convert an evaluation to a trial: parameters decoded, losses as intermediate values, the rest as attributes."""
    evaluation = entry.evaluation
    failed = evaluation.status == "failed"
    states = {"failed": TrialState.FAIL, "pruned": TrialState.PRUNED}
    params = space.decode(entry.genes) if space else {}
    trial = create_trial(
        state=states.get(evaluation.status, TrialState.COMPLETE),
        values=None if failed else list(evaluation.values),
        params=params,
        distributions={name: known[name] for name in params},
        # Where Optuna and its dashboard look for feasibility: above 0 is infeasible.
        system_attrs={"constraints": [evaluation.violation]} if evaluation.violation else None,
        intermediate_values={epoch.epoch: epoch.validation_loss for epoch in evaluation.curve},
        user_attrs={name: value for name, value in _attributes(entry).items() if value != _DEFAULTS.get(name, ...)},
    )
    trial.datetime_complete = datetime.now()
    trial.datetime_start = trial.datetime_complete - timedelta(seconds=evaluation.seconds)
    return trial


def _attributes(entry: Entry) -> dict[str, Any]:
    evaluation = entry.evaluation
    return {
        "evaluation": entry.number,
        "generation": entry.generation,
        "genes": list(entry.genes),
        "parents": list(entry.parents),
        "operators": list(entry.operators),
        "duplicate_of": entry.duplicate_of,
        "seed": entry.seed,
        "epochs": entry.epochs,
        "start_from": entry.start_from,
        "status": evaluation.status,
        "seconds": evaluation.seconds,
        "metrics": dict(evaluation.metrics),
        "curve": [asdict(epoch) for epoch in evaluation.curve],
        "environment": dict(evaluation.environment),
        "retries": evaluation.retries,
        "error": evaluation.error,
        "violation": evaluation.violation,
        "notes": dict(evaluation.notes),
        "checkpoint": evaluation.checkpoint,
    }


def to_entry(trial: FrozenTrial, directions: Sequence[Direction]) -> Entry:
    """Convert a trial back to the evaluation that it was made of."""
    known = {**_DEFAULTS, **trial.user_attrs}
    return Entry(
        number=known["evaluation"],
        generation=known["generation"],
        genes=tuple(known["genes"]),
        parents=tuple(known["parents"]),
        operators=tuple(known["operators"]),
        duplicate_of=known["duplicate_of"],
        seed=known["seed"],
        epochs=known["epochs"],
        start_from=known["start_from"],
        evaluation=Evaluation(
            values=tuple(trial.values) if trial.values else worst_values(directions),
            status=known["status"],
            curve=tuple(Epoch(**epoch) for epoch in known["curve"]),
            metrics=dict(known["metrics"]),
            seconds=known["seconds"],
            environment=dict(known["environment"]),
            error=known["error"],
            retries=known["retries"],
            checkpoint=known["checkpoint"],
            violation=known["violation"],
            notes=dict(known["notes"]),
        ),
    )


def directions_of(study: optuna.Study) -> tuple[Direction, ...]:
    """Give the directions of a study as this package names them."""
    return tuple("minimize" if one.name == "MINIMIZE" else "maximize" for one in study.directions)


def check_ours(name: str, trials: Sequence[FrozenTrial]) -> None:
    """Check that trials are evaluations of this package.

    Raises:
        ForeignStudyError: They are not.
    """
    if any("evaluation" not in trial.user_attrs for trial in trials):
        raise ForeignStudyError(
            f"The study {name!r} holds trials that deap-hpo did not write, and cannot be used. Choose another name."
        )
