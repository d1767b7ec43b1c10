"""A network on record, trained again: it is said where it is not the one that was evaluated."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial

import pytest

from deap_hpo import Float, Task, make_trainer, optimize, retraining
from deap_hpo.errors import InputError
from deap_hpo.retraining import retrain
from deap_hpo.training.models import MLP


def test_another_network_than_on_record_is_warned_of_and_the_same_is_not(digits_task: Task) -> None:
    space = {"lr": Float(0.01, 0.5, log=True)}
    trainer = make_trainer(digits_task, epochs=5, device="cpu")
    study = optimize(trainer, space, algorithm="random", population=3, generations=1, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, evaluation, schedule = retrain(trainer, study.best, study.entries, study.space)
    assert evaluation.values == study.best.evaluation.values
    assert schedule == [(study.best_params, None)]
    other = make_trainer(replace(digits_task, model=partial(MLP, inputs=64, width=2)), epochs=5, device="cpu")
    said = rf"evaluation {study.best.number}, trained again, has a validation loss of .*, and {study.best_value:.4g} on"
    with pytest.warns(RuntimeWarning, match=said):
        retrain(other, study.best, study.entries, study.space)
    with pytest.raises(InputError, match="needs a study with a space"):
        retrain(trainer, study.best, study.entries, None)


def test_a_network_that_gave_way_to_a_retry_is_not_mistaken_for_the_one_that_has_its_number(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=1, device="cpu")
    study = optimize(trainer, {"lr": Float(0.01, 0.5)}, algorithm="random", population=1, generations=1, progress=False)
    with pytest.raises(InputError, match=r"^Evaluation 0 with \{'lr': 0.255\} is not of this study, or gave way to"):
        study.model_of(replace(study.best, genes=(0.5,)))


@pytest.mark.parametrize("first", [1.0, 1e-6])
def test_where_next_to_nothing_is_left_of_a_loss_rounding_is_no_other_network(
    monkeypatch: pytest.MonkeyPatch, digits_task: Task, first: float
) -> None:
    """A stack and a network alone may differ many times over there, but not by what counts beside where it began."""
    trainer = make_trainer(digits_task, epochs=2, device="cpu")
    study = optimize(trainer, {"lr": Float(0.1, 0.5)}, algorithm="random", population=1, generations=1, progress=False)
    begun, ended = study.best.evaluation.curve
    recorded = (replace(begun, validation_loss=first), replace(ended, validation_loss=1e-9))
    entry = replace(study.best, evaluation=replace(study.best.evaluation, curve=recorded))
    now = replace(study.best.evaluation, curve=(begun, replace(ended, validation_loss=1e-7)))
    monkeypatch.setattr(retraining, "train_schedule", lambda *_: (MLP(inputs=64), now))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        retrain(trainer, entry, study.entries, study.space)
    assert bool(warned) is (first < 1e-3)
