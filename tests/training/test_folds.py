"""Cross-validation in folds: which examples are in which, and that an evaluation is the mean of a training on each."""

from __future__ import annotations

import warnings
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from evaluated import evaluated
from sklearn.model_selection import TimeSeriesSplit
from torch import Tensor, nn

from deap_hpo import Float, Interrupted, ProcessExecutor, Study, Task, make_trainer, optimize
from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.evolution.individual import Individual
from deap_hpo.records.record import ReplayError
from deap_hpo.training.data import Data, load_digits
from deap_hpo.training.folds import check_folds, data_of, other_folds
from deap_hpo.training.outcome import repeat_seeds
from deap_hpo.training.reference import ReferenceTrainer

rng = np.random.default_rng(0)
INPUTS = (rng.normal(size=(103, 4)) * [1, 5, 1, 1] + np.arange(103)[:, None]).astype("float32")  # folds differ in mean
CLASSES = (rng.random(103) < 0.2).astype(int)
pytestmark = pytest.mark.filterwarnings("error:networks of the task")
LR = {"lr": Float(0.01, 1.0, log=True)}


def network(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 2))


def task(**changed: Any) -> Task:
    return Task.from_data(network, **{"data": (INPUTS, CLASSES), "validation": 21, **changed})


def all_folds(data: Data, folds: int) -> list[Data]:
    return [data, *other_folds(data, folds)]


@pytest.mark.parametrize("folds", [2, 3, 5, 63])
def test_each_example_is_for_validation_once_and_trained_on_in_the_other_folds(folds: int) -> None:
    data = task(test=20).data
    found = all_folds(data, folds)
    assert len(found) == folds
    everything = torch.cat([data.training.inputs, data.validation.inputs])
    validated = torch.cat([fold.validation.inputs for fold in found])
    assert torch.equal(validated.sort(0).values, everything.sort(0).values)
    for fold in found:
        both = torch.cat([fold.training.inputs, fold.validation.inputs])
        assert torch.equal(both.sort(0).values, everything.sort(0).values)
        assert fold.test is data.test
    sizes = [len(fold.validation) for fold in found[1:]]
    assert max(sizes) - min(sizes) <= 1


def test_targets_stay_with_their_inputs() -> None:
    targets = {tuple(row.tolist()): int(kind) for row, kind in zip(torch.tensor(INPUTS), CLASSES, strict=True)}
    for fold in all_folds(task().data, 4):
        for split in (fold.training, fold.validation):
            assert [targets[tuple(row.tolist())] for row in split.inputs] == split.targets.tolist()


def test_classes_are_as_frequent_in_each_fold_where_the_split_was_stratified() -> None:
    data = task(stratify=True).data
    counts = [int(fold.validation.targets.sum()) for fold in all_folds(data, 5)]
    assert max(counts) - min(counts) <= 1
    floats = (INPUTS, CLASSES[:, None] * 1.0)  # as a loss of logits takes them
    as_floats = Task.from_data(network, floats, validation=21, stratify=True, loss=nn.MSELoss())
    assert [int(fold.validation.targets.sum()) for fold in all_folds(as_floats.data, 5)] == counts


def test_inputs_are_normalised_by_the_training_examples_of_the_fold() -> None:
    for fold in all_folds(task().data, 5):
        seen = fold.normalized(fold.training.inputs)
        assert torch.allclose(seen.mean(0), torch.zeros(4), atol=1e-5)
    given = task(normalize=(1.0, 2.0)).data
    assert {(fold.mean, fold.std) for fold in other_folds(given, 3)} == {(1.0, 2.0)}
    assert [fold.mean for fold in other_folds(task(normalize=False).data, 3)] == [0.0, 0.0]
    digits = load_digits(training_size=60, validation_size=30)
    for fold in other_folds(digits, 3):
        assert float(fold.normalized(fold.training.inputs).mean()) == pytest.approx(0.0, abs=1e-6)
    own = Data("own", digits.training, digits.validation, None, mean=0.5, std=0.25)
    assert {(fold.mean, fold.std) for fold in other_folds(own, 3)} == {(0.5, 0.25)}


def test_several_inputs_and_targets_are_cut_alike() -> None:
    data = Task.from_data(
        lambda: nn.Linear(4, 2),
        ({"x": INPUTS, "y": INPUTS[:, 0]}, {"a": CLASSES, "b": INPUTS[:, 1]}),
        loss=lambda outputs, targets: outputs.mean(),
        normalize=["x"],
    ).data
    for fold in other_folds(data, 4):
        inputs, targets = fold.validation.inputs, fold.validation.targets
        assert isinstance(inputs, dict)
        assert isinstance(targets, dict)
        assert torch.equal(inputs["x"][:, 0], inputs["y"])
        assert torch.equal(inputs["x"][:, 1], targets["b"])
        mean = fold.mean
        assert isinstance(mean, dict)
        assert isinstance(mean["x"], Tensor)
        assert mean["y"] == 0.0


@pytest.mark.parametrize("trainer", ["reference", "population"])
def test_an_evaluation_is_the_mean_of_trainings_on_each_fold(trainer: str) -> None:
    one = task()
    made = make_trainer(one, epochs=3, device="cpu", trainer=trainer, folds=4)
    members = [{"lr": 0.1}, {"lr": 0.5}]
    for params, evaluation in zip(members, evaluated(made, members), strict=True):
        alone = [
            ReferenceTrainer(replace(one, data=data), epochs=3, device="cpu").train(params, seed)[1]
            for data, seed in zip(all_folds(one.data, 4), repeat_seeds(3, 4), strict=True)
        ]
        values = [training.value for training in alone]
        assert evaluation.value == pytest.approx(fmean(values), rel=1e-5)
        assert evaluation.metrics["loss_std"] == pytest.approx(stdev(values), rel=1e-4)
        assert evaluation.metrics["accuracy"] == pytest.approx(fmean(one.metrics["accuracy"] for one in alone))
        assert len(evaluation.curve) == 3


def test_the_same_in_processes_and_with_methods_that_go_on(tmp_path: Any) -> None:
    made = make_trainer(task(), epochs=2, device="cpu", folds=3)
    for algorithm in ("random", "pbt"):
        options: Any = {"algorithm": algorithm, "population": 4, "generations": 2, "seed": 1, "progress": False}
        serial = optimize(made, LR, **options)
        processes = optimize(made, LR, **options, executor=ProcessExecutor(2), storage=tmp_path / f"{algorithm}.db")
        values = [[entry.evaluation.value for entry in study.entries] for study in (serial, processes)]
        assert values[0] == values[1]
    stacked = optimize(make_trainer(task(), epochs=2, device="cpu", folds=3, trainer="population"), LR, **options)
    assert [one.evaluation.value for one in stacked.entries] == pytest.approx(values[0], rel=1e-4)


def test_it_goes_on_where_it_was_interrupted_and_not_with_other_folds(tmp_path: Any) -> None:
    def study(folds: int | None, **changed: Any) -> Any:
        made = make_trainer(task(), epochs=1, device="cpu", folds=folds)
        options: Any = {"algorithm": "random", "population": 3, "generations": 2, "progress": False, "resume": True}
        return optimize(made, LR, **options, storage=tmp_path / "a.db", **changed)

    class Stop:
        def on_evaluation(self, study: Study, entry: Any) -> None:
            if entry.number == 3:
                raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        study(3, callbacks=[Stop()])
    for other in (None, 4):
        with pytest.raises(ReplayError, match=r"folds"):
            study(other)
    made = make_trainer(task(), epochs=1, device="cpu", folds=3)
    whole = optimize(made, LR, algorithm="random", population=3, generations=2, progress=False)
    assert [entry.evaluation.value for entry in study(3).entries] == [one.evaluation.value for one in whole.entries]


def test_the_network_is_that_of_the_tasks_own_split() -> None:
    made = make_trainer(task(), epochs=2, device="cpu", folds=3)
    with Study(LR) as study:
        study.map(made, [Individual([0.8])])
    data = made.task.data
    outputs = study.best_model()(data.prepare(data.validation.inputs))
    alone = make_trainer(task(), epochs=2, device="cpu")(study.best_params, study.best.seed)
    assert nn.functional.cross_entropy(outputs, data.validation.targets).item() == pytest.approx(alone.value, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"folds": 1}, "folds must be an integer of at least 2; got 1"),
        ({"folds": 2.5}, "folds must be an integer"),
        ({"folds": 84}, "folds must be at most 83, of one example each; got 84"),
        ({"folds": 3, "repeats": 2}, "repeats must be 1 if folds are given"),
    ],
)
@pytest.mark.parametrize("trainer", ["reference", "population"])
def test_what_cannot_be_is_refused(trainer: str, arguments: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_trainer(task(), device="cpu", trainer=trainer, **arguments)


def test_a_number_of_numpy_is_as_good_as_pythons() -> None:
    made = make_trainer(task(), device="cpu", folds=np.int64(3))
    assert type(made.settings["folds"]) is int


def test_folds_come_in_the_order_of_the_examples() -> None:
    """The seed of a fold depends on its position, and so do the values of a record that is resumed."""
    data = task().data
    found = torch.cat([fold.validation.inputs for fold in other_folds(data, 4)])
    assert torch.equal(found, data.training.inputs)


@pytest.mark.parametrize(("validation", "folds", "said"), [(0.2, 10, "0.1 they"), (0.2, 2, "0.5 they"), (0.2, 5, "")])
def test_folds_of_unlike_sizes_are_warned_of(validation: float, folds: int, said: str) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        make_trainer(task(validation=validation), folds=folds, device="cpu")
    messages = [str(one.message) for one in told if one.category is DeapHPOWarning]
    assert len(messages) == bool(said)
    assert not said or f"with validation={said} are of one size" in messages[0]


def apart(**changed: Any) -> Task:
    return task(validation=(INPUTS[80:], CLASSES[80:]), **changed, data=(INPUTS[:80], CLASSES[:80]))


def told_of(made: Task, folds: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        make_trainer(made, folds=folds, device="cpu")
    return [str(one.message) for one in told if one.category is DeapHPOWarning]


def test_folds_that_mix_what_was_given_apart_are_warned_of() -> None:
    (message,) = told_of(apart(), 3)
    assert message.startswith("3 folds mix the validation examples, which were given apart, with the training examples")
    assert told_of(apart(), None) == told_of(apart(), WALKS) == []
    assert len(told_of(apart(test=9), 3)) == 1
    assert told_of(task(test=(INPUTS[:9], CLASSES[:9])), 5) == []
    by_hand = replace(apart().data, drawn=None)
    assert told_of(Task("by hand", network, by_hand), 4) == []


WALKS = list(TimeSeriesSplit(4).split(INPUTS))


def test_given_folds_have_the_examples_of_their_positions() -> None:
    data = apart().data
    found = data_of(data, check_folds(data, WALKS, 1))
    assert list(found) == [0, 1, 2, 3]
    for fold, (train, validate) in zip(found.values(), WALKS, strict=True):
        for split, positions in ((fold.training, train), (fold.validation, validate)):
            assert torch.equal(split.inputs, torch.from_numpy(INPUTS[positions]))  # type: ignore[arg-type]
            assert torch.equal(split.targets, torch.from_numpy(CLASSES[positions]))  # type: ignore[arg-type]
        assert torch.allclose(fold.normalized(fold.training.inputs).mean(0), torch.zeros(4), atol=1e-5)  # type: ignore[union-attr]


@pytest.mark.parametrize("trainer", ["reference", "population"])
def test_an_evaluation_is_the_mean_over_given_folds(trainer: str) -> None:
    one = apart()
    made = make_trainer(one, epochs=2, device="cpu", trainer=trainer, folds=iter(WALKS))
    members = [{"lr": 0.1}, {"lr": 0.5}]
    for params, evaluation in zip(members, evaluated(made, members), strict=True):
        values = []
        for (train, validate), seed in zip(WALKS, repeat_seeds(3, 4), strict=True):
            parts = {"data": (INPUTS[train], CLASSES[train]), "validation": (INPUTS[validate], CLASSES[validate])}
            values.append(ReferenceTrainer(task(**parts), epochs=2, device="cpu").train(params, seed)[1].value)
        assert evaluation.value == pytest.approx(fmean(values), rel=1e-5)
        assert evaluation.metrics["loss_std"] == pytest.approx(stdev(values), rel=1e-4)


def test_with_given_folds_it_goes_on_in_processes_and_not_with_others(tmp_path: Any) -> None:
    def study(folds: Any, **changed: Any) -> Any:
        made = make_trainer(apart(), epochs=1, device="cpu", folds=folds)
        options: Any = {"algorithm": "pbt", "population": 4, "generations": 2, "progress": False, "seed": 1}
        return optimize(made, LR, **options, **changed)

    serial = study(WALKS)
    processes = study(WALKS, executor=ProcessExecutor(2), storage=tmp_path / "a.db")
    assert [one.evaluation.value for one in serial.entries] == [one.evaluation.value for one in processes.entries]
    again = study(
        [(train.tolist(), validate.astype("int32")) for train, validate in WALKS],
        resume=True,
        storage=tmp_path / "a.db",
    )
    assert [one.evaluation.value for one in again.entries] == [one.evaluation.value for one in serial.entries]
    for other in (WALKS[:3], WALKS[::-1], [*WALKS[:3], (WALKS[3][0][1:], WALKS[3][1])], None):
        with pytest.raises(ReplayError, match="folds"):
            study(other, resume=True, storage=tmp_path / "a.db")


def test_the_networks_are_those_of_the_tasks_own_examples_with_given_folds_too() -> None:
    studies = []
    for folds in (WALKS, None):
        with Study(LR) as study:
            study.map(make_trainer(apart(), epochs=2, device="cpu", folds=folds), [Individual([0.8])])
        studies.append(study)
    for network, other in zip(*([study.best_model(), study.refit()] for study in studies), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("folds", "said"),
    [
        ([([0], [1])], "folds must be a number, or at least two pairs"),
        (["ab", "cd"], "folds must be a number, or at least two pairs"),
        ([[0, 1, 2]] * 2, "folds must be a number, or at least two pairs"),
        ("5", "folds must be an integer of at least 2; got '5'"),
        ([([0], [1]), ([0], [])], "folds must hold positions .* fold 1 has others"),
        ([([0], [1]), ([0.5], [1])], "folds must hold positions .* fold 1 has others"),
        ([([True, False], [1])] * 2, "folds must hold positions .* fold 0 has others"),
        ([([0], [1]), ([0], [103])], r"folds must hold positions from 0 to 102 \(training, then validation\); fold 1"),
        ([([0], [1]), ([-1], [1])], "folds must hold positions from 0 to 102"),
        ([([0], [1]), ([0, 1], [1])], "folds must validate on other examples than they train on; fold 1"),
    ],
)
def test_positions_that_are_none_are_refused(folds: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_trainer(apart(), device="cpu", folds=folds)


@pytest.mark.parametrize(
    ("made", "drawn"),
    [
        (task(), "validation"),
        (apart(test=9), "test"),
        (task(test=9), "validation and test"),
        (Task("digits", network, load_digits()), "validation"),
    ],
)
def test_positions_among_examples_in_random_order_are_refused(made: Task, drawn: str) -> None:
    with pytest.raises(InputError, match=f"folds must be a number where {drawn} examples were drawn at random"):
        make_trainer(made, device="cpu", folds=WALKS)


def test_positions_are_no_repeats() -> None:
    with pytest.raises(InputError, match="repeats must be 1 if folds are given"):
        make_trainer(apart(), device="cpu", folds=WALKS, repeats=2)
