"""Evaluations as Optuna trials, so that Optuna's tools can read a record."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction, Epoch, Evaluation, worst_values
from deap_hpo.records.entries import Entry
from deap_hpo.search_space.space import Categorical, Float, Space

# The attributes of a trial are the fields of `Entry` and of its `Evaluation`, by their names and as JSON, with the
# exceptions below. So their names and defaults are the format of records: changing one changes what old records mean.
_NAMES = {"number": "evaluation"}  # fields with another name in a record
_ALWAYS_WRITTEN = ("status", "seconds")  # the other fields are left out if they have their defaults


def _stored_fields(kind: type[Any], *, but: Collection[str]) -> dict[str, Field[Any]]:
    """Give the fields of a dataclass by their names in a record, without those for which a trial has its own place."""
    return {_NAMES.get(field.name, field.name): field for field in fields(kind) if field.name not in but}


def _default(field: Field[Any]) -> Any:
    """Give the default of a field; `MISSING` if it has none."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def _to_json(value: Any) -> Any:
    """Convert the value of a field to JSON's types."""
    if isinstance(value, tuple | list):
        return [asdict(one) if isinstance(one, Epoch) else one for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def _from_json(name: str, value: Any) -> Any:
    """Convert what `_to_json` gave back to the value of a field."""
    if name == "curve":
        return tuple(Epoch(**epoch) for epoch in value)
    if isinstance(value, list):
        return tuple(_from_json("", one) for one in value)  # genes may be sequences themselves
    return dict(value) if isinstance(value, dict) else value


_OF_ENTRY = _stored_fields(Entry, but=["evaluation", "datetime_complete"])
_OF_EVALUATION = _stored_fields(Evaluation, but=["values"])

_DEFAULTS: dict[str, Any] = {
    name: _to_json(default)
    for name, field in {**_OF_ENTRY, **_OF_EVALUATION}.items()
    if (default := _default(field)) is not MISSING and name not in _ALWAYS_WRITTEN
}
"""Values of attributes that are not stored, since writing one to a database takes some milliseconds."""


class ForeignStudyError(InputError):
    """A study holds trials that this package did not write."""


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
        # Optuna and its dashboard read feasibility from here: above 0 is infeasible.
        system_attrs={"constraints": [evaluation.violation]} if evaluation.violation else None,
        intermediate_values={epoch.epoch: epoch.validation_loss for epoch in evaluation.curve},
        user_attrs=_attributes(entry),
    )
    trial.datetime_start, trial.datetime_complete = entry.datetime_start, entry.datetime_complete
    return trial


def _attributes(entry: Entry) -> dict[str, Any]:
    values = {name: getattr(entry, field.name) for name, field in _OF_ENTRY.items()}
    values |= {name: getattr(entry.evaluation, field.name) for name, field in _OF_EVALUATION.items()}
    attributes = {name: _to_json(value) for name, value in values.items()}
    return {name: value for name, value in attributes.items() if value != _DEFAULTS.get(name, MISSING)}


def to_entry(trial: FrozenTrial, directions: Sequence[Direction]) -> Entry:
    """Convert a trial back to the evaluation from which it was made."""
    known = {**_DEFAULTS, **trial.user_attrs}
    of_entry, of_evaluation = (
        {field.name: _from_json(name, known[name]) for name, field in stored.items()}
        for stored in (_OF_ENTRY, _OF_EVALUATION)
    )
    values = tuple(trial.values) if trial.values else worst_values(directions)
    evaluation = Evaluation(values, **of_evaluation)
    return Entry(**of_entry, evaluation=evaluation, datetime_complete=trial.datetime_complete)


def directions_of(study: optuna.Study) -> tuple[Direction, ...]:
    """Give the directions of a study as this package names them."""
    return tuple("minimize" if one.name == "MINIMIZE" else "maximize" for one in study.directions)


def check_ours(name: str, trials: Sequence[FrozenTrial]) -> None:
    """Check that trials were written by this package.

    Raises:
        ForeignStudyError: One was not.
    """
    if any("evaluation" not in trial.user_attrs for trial in trials):
        raise ForeignStudyError(
            f"The study {name!r} holds trials that deap-hpo did not write, and cannot be used. Choose another name."
        )
