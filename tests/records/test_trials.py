"""Evaluations written as trials of Optuna, and read back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime

import optuna
import pytest
import recorded
from drawn import repeatable, steps
from hypothesis import given
from hypothesis import strategies as st

from deap_hpo.evaluation import Epoch, Evaluation
from deap_hpo.records.entries import Entry
from deap_hpo.records.trials import distributions, to_entry, to_trial
from deap_hpo.search_space.space import Float, Space

SPACE = Space({"x": Float(0.0, 1.0)})
PLAIN = Entry(0, 0, (0.5,), Evaluation((0.25,), seconds=2.0), seed=0)
FULL = Entry(
    7,
    2,
    (0.25,),
    Evaluation(
        (0.5,),
        curve=(Epoch(1, 0.9, 0.5, {"accuracy": 0.75}),),
        metrics={"accuracy": 0.75},
        seconds=1.5,
        environment={"device": "cpu"},
        retries=1,
        checkpoint="abc",
        violation=0.5,
    ),
    seed=3,
    parents=(0, 4),
    operators=("mate", "mutate"),
    duplicate_of=0,
    epochs=1,
    start_from=0,
)


def as_trial(entry: Entry, space: Space = SPACE):
    return to_trial(entry, space, distributions(space))


def test_what_is_said_is_read_back() -> None:
    for entry in (PLAIN, FULL):
        assert to_entry(as_trial(entry), ["minimize"]) == entry
    failed = replace(PLAIN, evaluation=Evaluation((math.inf,), "failed", error="Traceback ..."))
    assert to_entry(as_trial(failed), ["minimize"]) == failed
    for entry in recorded.entries():
        assert to_entry(as_trial(entry, recorded.SPACE), ["minimize"]) == entry


def test_a_trial_has_attributes_only_for_what_there_is_to_say() -> None:
    assert set(as_trial(PLAIN).user_attrs) == {"evaluation", "generation", "genes", "seed", "seconds", "status"}


def test_what_is_written_stays_as_it_is_since_records_on_disk_are_written_so() -> None:
    written = {
        "evaluation": 7,
        "generation": 2,
        "genes": [0.25],
        "seed": 3,
        "parents": [0, 4],
        "operators": ["mate", "mutate"],
        "duplicate_of": 0,
        "epochs": 1,
        "start_from": 0,
        "status": "failed",
        "curve": [
            {
                "epoch": 1,
                "training_loss": 0.9,
                "validation_loss": 0.5,
                "metrics": {"accuracy": 0.75},
                "seconds": 0.0,
            }
        ],
        "metrics": {"accuracy": 0.75},
        "seconds": 1.5,
        "environment": {"device": "cpu"},
        "error": "Traceback ...",
        "retries": 1,
        "checkpoint": "abc",
        "violation": 0.5,
        "notes": {"log": "a.txt"},
    }
    ended = replace(FULL.evaluation, values=(math.inf,), status="failed", error="Traceback ...")
    entry = replace(FULL, evaluation=replace(ended, notes={"log": "a.txt"}))
    trial = as_trial(entry)
    assert json.dumps(trial.user_attrs, sort_keys=True) == json.dumps(written, sort_keys=True)
    assert to_entry(trial, ["minimize"]) == entry


def test_what_is_read_is_no_part_of_the_trial() -> None:
    trial = as_trial(FULL)
    to_entry(trial, ["minimize"]).evaluation.metrics["accuracy"] = 0.0  # type: ignore[index]
    assert trial.user_attrs["metrics"] == FULL.evaluation.metrics == {"accuracy": 0.75}


def test_a_trial_without_a_status_is_not_taken_for_one_that_ended_well() -> None:
    trial = as_trial(PLAIN)
    trial.user_attrs = {name: value for name, value in trial.user_attrs.items() if name != "status"}
    with pytest.raises(KeyError, match="status"):
        to_entry(trial, ["minimize"])


def test_a_trial_with_all_attributes_is_read_as_well() -> None:
    trial = as_trial(PLAIN)
    empty = {"parents": [], "operators": [], "duplicate_of": None, "metrics": {}, "curve": [], "environment": {}}
    for name, value in {**empty, "retries": 0}.items():  # records from before these were left out
        trial.set_user_attr(name, value)
    assert to_entry(trial, ["minimize"]) == PLAIN


@pytest.mark.filterwarnings("error::UserWarning")  # Optuna warns if a step does not lead to the upper bound
@repeatable
@given(steps, st.data())
def test_steps_are_optunas_steps_with_the_same_values(hyperparameter, data) -> None:
    said = distributions(Space({"x": hyperparameter}))["x"]
    assert (said.low, said.high, said.step) == (hyperparameter.low, hyperparameter.high, hyperparameter.step)
    read = optuna.distributions.json_to_distribution(optuna.distributions.distribution_to_json(said))
    assert read == said
    value = hyperparameter.decode(data.draw(st.floats(0, 1)))
    assert read._contains(read.to_internal_repr(value))


def test_the_times_are_those_of_the_trial_and_are_read_back() -> None:
    end = datetime(2026, 3, 1, 12, 0, 2)
    trial = as_trial(replace(PLAIN, datetime_complete=end))
    assert (trial.datetime_start, trial.datetime_complete) == (datetime(2026, 3, 1, 12, 0, 0), end)
    read = to_entry(trial, ["minimize"])
    assert (read.datetime_start, read.datetime_complete) == (datetime(2026, 3, 1, 12, 0, 0), end)
    assert read == PLAIN, "when it was done is no part of what it is"
    assert PLAIN.datetime_start is None
