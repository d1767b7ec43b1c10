"""A recorded network is trained again; a warning says if it is not the one that was evaluated."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from deap_hpo import Float, Task, make_trainer, optimize, retraining
from deap_hpo.errors import InputError
from deap_hpo.retraining import retrain
from deap_hpo.training.data import Split
from deap_hpo.training.models import MLP
from deap_hpo.training.trainers import Trainer


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
    best = study.best
    in_bf16 = replace(best.evaluation, environment={**best.evaluation.environment, "precision": "bf16"})
    worse = replace(
        best, evaluation=replace(in_bf16, curve=(*in_bf16.curve[:-1], replace(in_bf16.curve[-1], validation_loss=9.0)))
    )
    with pytest.warns(
        RuntimeWarning, match=r"in bf16 then, and in fp32 now \(precision='bf16'\), so measurements made now"
    ):
        retrain(trainer, worse, study.entries, study.space)
    with pytest.raises(InputError, match="needs a study with a space"):
        retrain(trainer, best, study.entries, None)


def test_a_network_that_gave_way_to_a_retry_is_not_mistaken_for_the_one_that_has_its_number(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=1, device="cpu")
    study = optimize(trainer, {"lr": Float(0.01, 0.5)}, algorithm="random", population=1, generations=1, progress=False)
    with pytest.raises(
        InputError, match=r"^Evaluation 0 with \{'lr': 0.255\} is not of this study, or was superseded by"
    ):
        study.model_of(replace(study.best, genes=(0.5,)))


@pytest.mark.parametrize("first", [1.0, 1e-6])
def test_where_next_to_nothing_is_left_of_a_loss_rounding_is_no_other_network(
    monkeypatch: pytest.MonkeyPatch, digits_task: Task, first: float
) -> None:
    """There, a stack and a single network may differ by a large factor, but by little compared with the first loss."""
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


def test_a_network_is_trained_once_and_then_copied(monkeypatch: pytest.MonkeyPatch, digits_task: Task) -> None:
    trained: list[Any] = []
    train = retraining.train_schedule
    monkeypatch.setattr(retraining, "train_schedule", lambda *given: (trained.append(given), train(*given))[1])
    trainer = make_trainer(digits_task, epochs=1, device="cpu")
    study = optimize(trainer, {"lr": Float(0.01, 0.5)}, algorithm="random", population=2, generations=1, progress=False)
    first = study.best_model()
    study.test_metrics()
    with torch.no_grad():
        for one in first.parameters():
            one.zero_()
    changed, second = study.best_model(), study.best_model()
    with torch.no_grad():
        for one in changed.parameters():
            one.zero_()
    second = study.best_model()
    assert len(trained) == 1
    assert trainer.reference.measure(second, trainer.reference.data.validation)[0] == study.best_value
    assert not second.training
    (other,) = [one for one in study.entries if one.number != study.best.number]
    loss, _ = trainer.reference.measure(study.model_of(other), trainer.reference.data.validation)
    assert loss == other.evaluation.value
    assert len(trained) == 2


def test_it_is_warned_of_each_time_and_another_seed_is_another_network(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=1, device="cpu")
    settings: dict[str, Any] = {"algorithm": "random", "population": 1, "generations": 1, "progress": False}
    space = {"lr": Float(0.1, 0.1000001)}
    study = optimize(trainer, space, common_random_numbers=False, seed=1, **{**settings, "population": 2})
    one, other = (study.model_of(entry) for entry in study.entries)
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    wrong = replace(study.best, evaluation=replace(study.best.evaluation, curve=(
        replace(study.best.evaluation.curve[0], validation_loss=99.0),)))  # fmt: skip
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="99 on record"):
            retrain(trainer, wrong, study.entries, study.space)


def test_what_has_functions_of_its_own_is_trained_each_time(digits_task: Task) -> None:
    class Closing(MLP):
        def __init__(self) -> None:
            super().__init__(inputs=64)
            self.run = lambda x: MLP.forward(self, x)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.run(x)

    trainer = make_trainer(replace(digits_task, model=Closing), epochs=1, device="cpu")
    study = optimize(trainer, {"lr": Float(0.01, 0.5)}, algorithm="random", population=1, generations=1, progress=False)
    first = study.best_model()
    with torch.no_grad():
        for one in first.parameters():
            one.zero_()
    loss, _ = trainer.reference.measure(study.best_model(), trainer.reference.data.validation)
    assert loss == study.best_value


def test_what_cannot_be_copied_is_trained_each_time(digits_task: Task) -> None:
    class Single(MLP):
        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            raise TypeError("there is one of it")

    trainer = make_trainer(replace(digits_task, model=partial(Single, inputs=64)), epochs=1, device="cpu")
    study = optimize(trainer, {"lr": Float(0.01, 0.5)}, algorithm="random", population=1, generations=1, progress=False)
    first, second = study.best_model(), study.best_model()
    assert first is not second
    assert trainer.reference.measure(second, trainer.reference.data.validation)[0] == study.best_value


def test_with_the_best_epoch_kept_the_losses_compared_are_those_of_that_epoch(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=4, device="cpu", keep_best=True)
    study = optimize(trainer, {"lr": Float(1.0, 1.5)}, algorithm="random", population=1, generations=1, progress=False)
    evaluation = study.best.evaluation
    assert evaluation.kept_epoch is not None
    curve = tuple(
        one if one.epoch == evaluation.kept_epoch.epoch else replace(one, validation_loss=99.0)
        for one in evaluation.curve
    )
    entry = replace(study.best, evaluation=replace(evaluation, curve=curve))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retrain(trainer, entry, study.entries, study.space)


def trainer_on_all(task: Task, epochs: int) -> Trainer:
    """Make a trainer on training and validation examples together."""
    data = task.data
    both = (
        torch.cat([getattr(one, part) for one in (data.training, data.validation)]) for part in ("inputs", "targets")
    )
    return make_trainer(replace(task, data=replace(data, training=Split(*both))), epochs=epochs, device="cpu")


def test_for_use_a_network_is_trained_on_training_and_validation_examples_together(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=3, device="cpu")
    study = optimize(trainer, {"lr": Float(0.05, 0.2)}, algorithm="random", population=3, generations=1, progress=False)
    by_hand = trainer_on_all(digits_task, epochs=3)
    expected, _ = by_hand.train(study.best_params, study.best.seed)
    refitted, chosen = study.refit(), study.entries[0]
    assert not refitted.training
    assert same_weights(refitted, expected)
    assert not same_weights(refitted, study.best_model())
    assert same_weights(study.refit(entry=chosen), by_hand.train(study.params_of(chosen), chosen.seed)[0])


def test_it_is_trained_for_as_many_epochs_as_were_best(digits_task: Task) -> None:
    early = make_trainer(digits_task, epochs=6, device="cpu", keep_best=True)
    space = {"lr": Float(2.0, 4.0)}  # so that the last epoch is not the best
    study = optimize(early, space, algorithm="random", population=4, generations=1, progress=False)
    entry = next(one for one in study.entries if one.evaluation.metrics.get("best_epoch", 6) < 6)
    by_hand = trainer_on_all(digits_task, epochs=6)
    best = int(entry.evaluation.metrics["best_epoch"])
    expected, *_ = by_hand.train_on(None, study.params_of(entry), entry.seed, best)
    assert same_weights(study.refit(entry=entry), expected)


def test_it_is_not_trained_for_longer_than_patience_let_the_evaluation(digits_task: Task) -> None:
    patient = make_trainer(digits_task, epochs=6, device="cpu", patience=1)
    space = {"lr": Float(2.0, 4.0)}  # so that some epoch is worse than the one before
    study = optimize(patient, space, algorithm="random", population=4, generations=1, progress=False)
    entry = next(one for one in study.entries if len(one.evaluation.curve) < 6)
    assert "best_epoch" not in entry.evaluation.metrics
    by_hand = trainer_on_all(digits_task, epochs=6)
    expected, *_ = by_hand.train_on(None, study.params_of(entry), entry.seed, len(entry.evaluation.curve))
    assert same_weights(study.refit(entry=entry), expected)


def test_with_folds_it_is_trained_on_all_of_them(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=1, device="cpu", folds=3)
    study = optimize(trainer, {"lr": Float(0.05, 0.2)}, algorithm="random", population=1, generations=1, progress=False)
    once = make_trainer(digits_task, epochs=1, device="cpu")
    again = optimize(once, {"lr": Float(0.05, 0.2)}, algorithm="random", population=1, generations=1, progress=False)
    assert same_weights(study.refit(), again.refit())


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_number_of_an_evaluation_is_no_evaluation(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=1, device="cpu")
    study = optimize(trainer, {"lr": Float(0.05, 0.2)}, algorithm="random", population=1, generations=1, progress=False)
    for method in (study.model_of, study.params_of, study.metrics_of):
        with pytest.raises(InputError, match=r"entry must be an evaluation, such as study\.best .*; got 0\."):
            method(0)  # type: ignore[arg-type]
    for method in (study.refit, study.test_metrics):
        with pytest.raises(InputError, match=r"entry must be an evaluation"):
            method(entry=0)  # type: ignore[arg-type]
