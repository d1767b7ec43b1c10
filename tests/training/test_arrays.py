"""The user's own data: what may be given, how it is converted, and what is refused."""

from __future__ import annotations

import json
import random
import re
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import small_task
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torchvision import transforms
from torchvision.datasets import FakeData

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.training.arrays import read_data
from deap_hpo.training.measures import label_accuracy, mean_absolute_error, mean_squared_error
from deap_hpo.training.normalization import channel_statistics
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

rng = np.random.default_rng(0)
TABLE = rng.normal(3.0, 2.0, size=(60, 4)).astype("float32")
CLASSES = rng.integers(0, 3, size=60)
VALUES = TABLE @ np.arange(1.0, 5.0, dtype="float32")


class Pairs(Dataset[Any]):
    """What users write."""

    def __getitem__(self, index: int) -> Any:
        return TABLE[index], CLASSES[index]

    def __len__(self) -> int:
        return 60


FORMS = {
    "arrays": (TABLE, CLASSES),
    "doubles": (TABLE.astype("float64"), CLASSES.astype("int32")),
    "tensors": (torch.from_numpy(TABLE), torch.from_numpy(CLASSES)),
    "lists": [TABLE, CLASSES.tolist()],
    "dataset": Pairs(),
    "tensor dataset": TensorDataset(torch.from_numpy(TABLE), torch.from_numpy(CLASSES)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_the_same_data(form: str) -> None:
    data, plain = read_data("table", FORMS[form]), read_data("table", FORMS["arrays"])
    assert data.description == plain.description
    assert data.description["training_size"] == 48
    for split in ("training", "validation"):
        assert torch.equal(getattr(data, split).inputs, getattr(plain, split).inputs)
        assert torch.equal(getattr(data, split).targets, getattr(plain, split).targets)
    assert (data.training.inputs.dtype, data.training.targets.dtype) == (torch.float32, torch.int64)


def test_the_split_is_disjoint_complete_and_moved_by_its_seed_alone() -> None:
    data = read_data("table", (TABLE, np.arange(60)), validation=13)
    numbers = torch.cat([data.training.targets, data.validation.targets])
    assert len(data.validation) == 13
    assert sorted(numbers.tolist()) == list(range(60))
    assert torch.equal(
        read_data("other", (TABLE, np.arange(60)), validation=13).validation.targets, data.validation.targets
    )
    other = read_data("table", (TABLE, np.arange(60)), validation=13, split_seed=1)
    assert not torch.equal(other.validation.targets, data.validation.targets)


def test_a_stratified_split_has_classes_as_frequent_as_all_data() -> None:
    targets = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    data = (torch.arange(100.0)[:, None], targets)
    made = read_data("x", data, validation=0.2, stratify=True, normalize=False)
    assert made.validation.targets.bincount().tolist() == [12, 6, 2]
    assert made.training.targets.bincount().tolist() == [48, 24, 8]
    both = torch.cat([made.training.inputs, made.validation.inputs]).flatten()
    assert both.sort().values.tolist() == torch.arange(100.0).tolist()
    assert torch.equal(targets[made.validation.inputs.flatten().long()], made.validation.targets)
    again = read_data("x", data, validation=20, stratify=True, normalize=False)
    assert torch.equal(again.validation.inputs, made.validation.inputs)
    assert again.description == made.description
    other = read_data("x", data, validation=20, stratify=True, normalize=False, split_seed=1)
    assert not torch.equal(other.validation.inputs.sort(0).values, made.validation.inputs.sort(0).values)
    assert made.description["stratify"] is True
    assert "stratify" not in read_data("x", data).description


@pytest.mark.parametrize(
    ("targets", "validation", "message"),
    [
        (
            torch.rand(20),
            0.2,
            "stratify is for classes, one whole number an example; got targets [20] of torch.float32.",
        ),
        (torch.zeros(20, 2).long(), 0.2, "stratify is for classes, one whole number an example"),
        (torch.tensor([0] * 19 + [1]), 0.2, "stratify cannot split 20 examples for 4: The least populated class"),
        (torch.arange(20) % 5, 3, "stratify cannot split 20 examples for 3: The test_size = 3 should be greater"),
        (torch.arange(20) % 2, (torch.rand(4, 1), torch.arange(4) % 2), "stratify is for a share or a number"),
    ],
)
def test_what_cannot_be_stratified_is_refused(targets: Tensor, validation: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_data("x", (torch.rand(len(targets), 1), targets), validation=validation, stratify=True)
    with pytest.raises(InputError, match="stratify must be True or False; got 'yes'"):
        read_data("x", (torch.rand(20, 1), torch.arange(20) % 2), stratify="yes")


def test_other_data_is_known_by_its_digest() -> None:
    changed = TABLE.copy()
    changed[7, 1] += 1e-3
    first, second = read_data("table", (TABLE, CLASSES)), read_data("table", (changed, CLASSES))
    assert first.description["sha256"] != second.description["sha256"]


def test_inputs_are_normalised_by_the_training_examples_alone() -> None:
    data = read_data("table", (TABLE, CLASSES))
    prepared = data.prepare(data.training.inputs)
    assert torch.allclose(prepared.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(prepared.std(0), torch.ones(4), atol=1e-5)
    assert not torch.allclose(data.prepare(data.validation.inputs).mean(0), torch.zeros(4), atol=1e-3)
    assert torch.equal(
        read_data("table", (TABLE, CLASSES), normalize=False).prepare(data.training.inputs), data.training.inputs
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.lists(st.integers(1, 4), min_size=0, max_size=3), st.booleans(), st.integers(0, 99))
def test_statistics_broadcast_against_any_batch(n: int, shape: list[int], as_bytes: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)
    inputs = inputs if as_bytes else inputs.float()
    mean, std = channel_statistics(inputs)
    scaled = inputs.float() / (255 if as_bytes else 1)
    normal = (scaled - mean) / std
    assert normal.shape == inputs.shape
    assert torch.isfinite(normal).all()


def test_torchvisions_images_become_bytes_with_channels_first() -> None:
    assert len(read_data("table", (TABLE, CLASSES), validation=np.int64(13)).validation) == 13
    assert len(read_data("table", (TABLE, CLASSES), validation=np.float32(0.5)).validation) == 30
    data = read_data("fake", FakeData(size=20, image_size=(3, 8, 6), num_classes=4), validation=5)
    assert data.training.inputs.shape == (15, 3, 8, 6)
    assert data.training.inputs.dtype == torch.uint8
    assert data.training.targets.dtype == torch.int64
    grey = [(Image.fromarray(np.full((5, 4), i, dtype="uint8")), i % 2) for i in range(9)]
    assert read_data("grey", grey).training.inputs.shape == (7, 1, 5, 4)


def test_validation_and_test_may_be_data_of_their_own() -> None:
    data = read_data("table", (TABLE, CLASSES), validation=(TABLE[:9], CLASSES[:9]), test=(TABLE[:3], CLASSES[:3]))
    assert data.test is not None
    assert (len(data.training), len(data.validation), len(data.test)) == (60, 9, 3)


def images(*steps: Any) -> FakeData:
    return FakeData(40, (3, 12, 12), 4, transforms.Compose([*steps, transforms.ToTensor()]))


class Drawing(Pairs):
    """Adds noise to its inputs, or its targets, from its own generator or a global one."""

    def __init__(self, draw: Any, target: bool = False) -> None:
        self.draw, self.target = draw, target

    def __getitem__(self, index: int) -> Any:
        example, kind = super().__getitem__(index)
        return (example, float(kind) + self.draw()) if self.target else (example + self.draw(), kind)


class Counting(Pairs):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __getitem__(self, index: int) -> Any:
        self.asked += 1
        return super().__getitem__(index)


class Once(Counting):
    """Can be read once."""

    def __getitem__(self, index: int) -> Any:
        if self.asked == len(self):
            raise OSError("closed")
        return super().__getitem__(index)


own = np.random.default_rng(0)
REDRAWN = {
    "flip": lambda: images(transforms.RandomHorizontalFlip()),
    "crop": lambda: images(transforms.RandomCrop(12, padding=2)),
    "colours": lambda: images(transforms.ColorJitter(0.5)),
    "python": lambda: Drawing(random.random),
    "numpy": lambda: Drawing(np.random.rand),
    "its own": lambda: Drawing(own.random),
    "targets": lambda: Drawing(random.random, target=True),
}
STEADY = {
    "untransformed": lambda: FakeData(20, (3, 8, 6), 4),
    "resized": lambda: images(transforms.Resize(8)),
    "counting": Counting,
    "once": Once,
    "few": lambda: [(TABLE[i], i % 2) for i in range(4)],
    "mixed targets": lambda: [(TABLE[i], i / 2 if i % 2 else i) for i in range(60)],
    "seeded by its index": lambda: images(transforms.Lambda(lambda image: image.rotate(random.Random(1).random()))),
    **{form: (lambda form=form: FORMS[form]) for form in FORMS},
}


@pytest.mark.parametrize("kind", REDRAWN)
def test_a_dataset_that_draws_at_random_is_told_once(kind: str) -> None:
    with pytest.warns(RuntimeWarning, match="^data gave other values .*augmentation.* self.training") as warned:
        Task.from_data(nn.Identity, REDRAWN[kind]())
    assert len(warned) == 1
    assert warned[0].filename == __file__


def test_all_that_draw_at_random_are_told_in_one_sentence() -> None:
    parts = {name: images(transforms.RandomHorizontalFlip()) for name in ("validation", "test")}
    with pytest.warns(RuntimeWarning, match="^validation and test gave other values") as warned:
        read_data("images", images(), **parts)
    assert len(warned) == 1


@pytest.mark.parametrize("kind", STEADY)
def test_what_is_the_same_again_is_not_told(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_data("steady", STEADY[kind]())


def test_reading_twice_is_cheap_and_leaves_the_global_generators_where_reading_once_does() -> None:
    counting = Counting()
    read_data("table", counting)
    assert counting.asked == 60 + 16

    def draw() -> float:
        return float(random.random() + np.random.rand() + torch.rand(()).item())

    def seeded() -> None:
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)

    seeded()
    drawn = [draw() for _ in range(60)]
    following = draw()
    seeded()
    with pytest.warns(RuntimeWarning, match="gave other values"):
        data = read_data("table", Drawing(draw), normalize=False)
    assert draw() == following
    first = torch.cat([data.training.inputs, data.validation.inputs]).sort(0).values
    assert torch.allclose(first, torch.tensor(TABLE + np.array(drawn)[:, None]).float().sort(0).values)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


with_nan = TABLE.copy()
with_nan[3, 1] = np.nan


@pytest.mark.parametrize(
    ("given_data", "arguments", "message"),
    [
        (Stream(), {}, "map-style dataset .*got Stream"),
        (3, {}, "got int"),
        ((TABLE, CLASSES[:-1]), {}, "same number of examples.*60 and 59"),
        ((TABLE, np.array(["cat"] * 60)), {}, "data must hold numbers; got <U3. Encode"),
        ((TABLE, CLASSES - 1), {}, "classes from 0 on as targets, or -100 for none; got -1"),
        ((with_nan, CLASSES), {}, "finite inputs; some are NaN"),
        ((TABLE, with_nan[:, 1]), {}, "finite targets"),
        ([(TABLE[0], 1), (TABLE[0][:2], 0)], {}, "one shape and type"),
        ([TABLE[0], TABLE[1], TABLE[2]], {}, "dataset of pairs"),
        ([], {}, "at least one"),
        ((TABLE, CLASSES), {"validation": 1.5}, "validation must be a share"),
        (
            (TABLE, CLASSES),
            {"validation": 60},
            "validation must be .* a number of examples from 1 to 59, or data; got 60",
        ),
        (
            (TABLE, CLASSES),
            {"test": (TABLE[:, :2], CLASSES)},
            r"test must hold examples like .*\[4\].*got inputs \[2\]",
        ),
        ((np.float32(3.0), CLASSES), {}, "got a single number"),
        ((TABLE[:0], CLASSES[:0]), {}, "at least one example; it is empty"),
        (
            (TABLE.tolist(), CLASSES.tolist()),
            {},
            "^data must be .* a pair of arrays or tensors; example 0 is a list of 60.$",
        ),
        ([(TABLE[0], 1), None], {}, "example 1 is a NoneType"),
        ([{"x": TABLE[0], "y": 1, "z": 0}], {}, "example 0 is a dict of 3"),
    ],
)
def test_what_is_refused(given_data: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_data("table", given_data, **arguments)


class Tokens(nn.Module):
    """Text: the mean of word vectors, then a linear layer."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.words = nn.Embedding(20, width)
        self.out = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.words(tokens).mean(1))


texts = rng.integers(0, 20, size=(80, 6))
TASKS = {
    "regression": (lambda: nn.Linear(4, 1), (TABLE, TABLE @ np.array([1.0, -2.0, 0.5, 0.0]))),
    "classes": (lambda: nn.Linear(4, 3), (TABLE, CLASSES)),
    "text": (Tokens, (texts, (texts < 5).any(1))),
    "images": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 5)),
        FakeData(size=40, image_size=(3, 6, 6), num_classes=5),
    ),
}


@pytest.mark.parametrize("kind", TASKS)
def test_the_population_trains_it_as_the_reference_does(kind: str) -> None:
    model, data = TASKS[kind]
    task = Task.from_data(model, data)
    params = [{"lr": 0.01, "batch_size": 16}, {"lr": 0.05, "batch_size": 16}]
    task.check(params[0])
    reference = ReferenceTrainer(task, epochs=3, device="cpu")
    population = PopulationTrainer(task, epochs=3, device="cpu")
    alone = [reference(one, seed=1) for one in params]
    assert all(one.status == "ok" for one in alone)
    assert alone[0].curve[-1].validation_loss != alone[0].curve[0].validation_loss
    requests = [Request(i, one, 1) for i, one in enumerate(params)]
    together = dict(population.evaluate_batch(requests))
    for i, one in enumerate(alone):
        assert together[i].value == pytest.approx(one.value, rel=1e-3)


@pytest.mark.parametrize("trainer", [ReferenceTrainer, PopulationTrainer])
@pytest.mark.parametrize("repeats", [1, 2])
def test_a_metric_may_be_the_objective(trainer: Any, repeats: int) -> None:
    task = replace(small_task(lr=0.1), objective="accuracy", direction="maximize")
    plain = trainer(small_task(lr=0.1), epochs=2, device="cpu", repeats=repeats)
    made = trainer(task, epochs=2, device="cpu", repeats=repeats)
    ((_, by_accuracy),) = SerialExecutor().run(made, [Request(0, {}, 3)])
    ((_, by_loss),) = SerialExecutor().run(plain, [Request(0, {}, 3)])
    assert by_accuracy.value == by_loss.metrics["accuracy"]
    assert by_accuracy.metrics["loss"] == by_loss.value
    assert ("accuracy_std" in by_accuracy.metrics) == (repeats == 2)
    assert made.settings["objective"] == "accuracy"
    assert "objective" not in plain.settings


def test_errors_of_regression_do_not_broadcast() -> None:
    output, target = torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0])
    assert mean_squared_error(output, target).item() == 2.0
    assert mean_absolute_error(output, target).item() == 1.0
    with pytest.raises(InputError, match=r"output \[2, 1\] must fit the targets \[3\]"):
        mean_squared_error(output, torch.zeros(3))


ONE_HOT = np.eye(3, dtype="float32")[CLASSES]


def evaluated(trainer: Any, requests: list[Request]) -> dict[int, Any]:
    return dict(SerialExecutor().run(trainer, requests))


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(), F.cross_entropy, partial(F.cross_entropy, label_smoothing=0.1)]
)
@pytest.mark.parametrize("trainer", [ReferenceTrainer, PopulationTrainer])
def test_classes_may_be_given_one_hot_and_have_the_same_accuracy(trainer: Any, loss: Any) -> None:
    requests = [Request(0, {"lr": 0.05}, 1), Request(1, {"lr": 0.2}, 1)]
    given = (Task.from_data(lambda: nn.Linear(4, 3), (TABLE, targets), loss=loss) for targets in (CLASSES, ONE_HOT))
    whole, one_hot = (evaluated(trainer(task, epochs=2, device="cpu"), requests) for task in given)
    for number in (0, 1):
        assert list(one_hot[number].metrics) == ["accuracy", "parameters"]
        assert one_hot[number].metrics == pytest.approx(whole[number].metrics)
        assert one_hot[number].value == pytest.approx(whole[number].value, rel=1e-5)


@pytest.mark.parametrize(
    "loss", [nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss(pos_weight=torch.ones(3))]
)
@pytest.mark.parametrize("trainer", [ReferenceTrainer, PopulationTrainer])
def test_labels_have_an_accuracy_which_is_maximised(trainer: Any, loss: Any) -> None:
    labels = np.stack([CLASSES == 0, TABLE[:, 0] > 3, TABLE[:, 1] > 2], 1).astype("float32")
    task = Task.from_data(lambda: nn.Linear(4, 3), (TABLE, labels), loss=loss, objective="accuracy")
    assert task.goals.directions == ("maximize",)
    made = trainer(task, epochs=2, device="cpu")
    results = evaluated(made, [Request(0, {"lr": 0.5}, 1), Request(1, {"lr": 0.1}, 1)])
    network, _ = ReferenceTrainer(task, epochs=2, device="cpu").train({"lr": 0.5}, 1)
    validation = task.data.validation
    right = (network(task.data.prepare(validation.inputs)) > 0) == (validation.targets == 1)
    assert results[0].value == pytest.approx(right.float().mean().item())


def test_a_single_label_need_not_have_the_shape_of_its_logit() -> None:
    assert label_accuracy(torch.tensor([[1.0], [-1.0], [2.0]]), torch.tensor([1.0, 1.0, 1.0])).item() == pytest.approx(
        2 / 3
    )


@pytest.mark.parametrize("loss", [nn.HuberLoss(), nn.BCELoss()])
def test_other_losses_of_floats_have_the_error_of_a_regression(loss: Any) -> None:
    task = Task.from_data(lambda: nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), (TABLE, ONE_HOT), loss=loss)
    assert list(task.metrics) == ["mean_absolute_error"]


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (lambda: nn.Linear(5, 3), {}, "does not fit the data .*inputs .2, 4."),
        (lambda: nn.Linear(4, 1, 7, 8, 9), {}, "could not be built"),
        (
            lambda width: nn.Linear(4, width),
            {},
            r"'width'\. Arguments of the network's factory are searched, or have def",
        ),
        (
            lambda: nn.Linear(4, 3.0),
            {},
            r"could not be built: .* A hyperparameter that has to be a whole number is an Int",
        ),
        (lambda: nn.Linear(4, 2), {}, r"it has 2 outputs, but the targets go from 0 to 2\.$"),
        (lambda: nn.Linear(4, 1), {}, "it has 1 outputs, .* from 0 to 2; for a regression, give targets of a floating"),
        (lambda: nn.Linear(4, 3), {"metrics": {"raw": lambda output, target: output}}, "does not fit the raw"),
        (lambda: nn.Linear(4, 3), {"loss": nn.functional.mse_loss}, "does not fit the loss .*outputs .2, 3."),
        (
            lambda: nn.Linear(4, 3),
            {"metrics": {"one": lambda output, target: None}},
            "'one' must give a single number; got a NoneType",
        ),
        (lambda: nn.Linear(4, 3), {"loss": lambda output, target: 1.0}, "tensor with a single number"),
        (
            lambda: nn.LSTM(4, 3),
            {},
            r"not tuple. There are several tensors in the outputs of the network, and loss and metrics receive",
        ),
        (lambda: nn.LazyLinear(3), {}, "could not be built: lazy modules"),
        (lambda: nn.Identity(), {}, "could not be trained: it has no parameters that training changes"),
        (lambda: nn.Linear(4, 3).requires_grad_(False), {}, "could not be trained: it has no parameters"),
        (
            lambda: nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)),
            {},
            r"it must .*; it returned \[2\]; for a regression, .*\.$",
        ),
    ],
)
def test_a_check_names_what_does_not_fit(model: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Task.from_data(model, (TABLE, CLASSES), **arguments).check({})


def test_a_single_number_is_divided_by_1() -> None:
    assert channel_statistics(torch.tensor([3.0])) == (3.0, 1.0)
    assert channel_statistics(torch.tensor([3.0, 3.0])) == (3.0, 1.0)


def test_the_columns_that_hold_no_numbers_are_named() -> None:
    table = pd.DataFrame({"age": [1.0, 2.0], "city": ["a", "b"], "when": pd.to_datetime(["2020", "2021"])})
    with pytest.raises(InputError, match=r"must hold numbers; got object in city, when\. Encode"):
        Task.from_data(nn.Identity, (table, [0, 1]))


def distance(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).abs().mean()


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    "measured",
    [{"metrics": {"distance": distance}}, {"loss": nn.MSELoss()}, {"loss": nn.SmoothL1Loss()}, {"loss": distance}],
    ids=["metric", "mse", "smooth", "own"],
)
def test_what_compares_every_output_with_every_target_is_refused(measured: dict[str, Any]) -> None:
    """Outputs [N, 1] and targets [N] broadcast to [N, N], without any error."""
    with pytest.raises(
        InputError, match=r"does not fit the (distance|loss) .*: outputs \[N, 1\] and targets \[N\] broadcast"
    ):
        Task.from_data(lambda: nn.Linear(4, 1), (TABLE, VALUES), **measured).check({})
    for model, targets in ((nn.Linear, VALUES[:, None]), (Squeezed, VALUES)):
        Task.from_data(partial(model, 4, 1), (TABLE, targets), **measured).check({})


class Squeezed(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input).squeeze(1)


@pytest.mark.parametrize(
    "metric",
    [
        lambda output, target: (output.squeeze(1) - target).abs().mean(),
        lambda output, target: torch.cat([output, -output], 1).argmax(1).eq(target).float().mean(),
        lambda output, target: float((output[:, 0] > 0).eq(target).float().mean()),
        mean_absolute_error,
    ],
)
def test_what_aligns_outputs_itself_is_not(metric: Any) -> None:
    Task.from_data(lambda: nn.Linear(4, 1), (TABLE, VALUES), metrics={"own": metric}).check({})


def test_a_metric_is_tried_on_two_classes() -> None:
    """For example, an area under the curve is undefined with a single class."""

    def both(output: torch.Tensor, target: torch.Tensor) -> float:
        assert len(target.unique()) == 2
        return 0.5

    targets = np.array([0] * 50 + [1] * 10)
    Task.from_data(lambda: nn.Linear(4, 2), (TABLE, targets), validation=5, metrics={"both": both}).check({})


def test_a_check_says_how_data_were_understood() -> None:
    with pytest.raises(InputError, match=r"are taken for tokens; give a table as floating-point numbers.$"):
        Task.from_data(lambda: nn.Linear(4, 3), (TABLE.astype(int), CLASSES)).check({})
    with pytest.raises(InputError, match=r"are taken for a regression; give classes as whole numbers.$"):
        Task.from_data(lambda: nn.Linear(4, 3), (TABLE, CLASSES.astype(float))).check({})
    masks = np.zeros((60, 4), dtype=np.uint8)
    with pytest.raises(InputError, match=r"Targets of the type uint8 are left as they are; give classes as int64.$"):
        Task.from_data(lambda: nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (1, 4))), (TABLE, masks)).check({})
    with pytest.raises(InputError, match=r"could not be built with {'width': 0}: .*\.$"):
        Task.from_data(lambda width: nn.Linear(4 // width, 3), (TABLE, CLASSES)).check({"width": 0})
    metrics = {"loss per class": lambda output, target: output}  # its name begins like that of the loss
    with pytest.raises(
        InputError, match=r"does not fit the loss per class .* a single number; got a Tensor of shape \[2, 1\]\.$"
    ):
        Task.from_data(lambda: nn.Linear(4, 1), (TABLE, CLASSES.astype(float)), metrics=metrics).check({})


def test_a_lazy_network_that_was_called_once_is_a_network_as_any() -> None:
    def network() -> nn.Module:
        made = nn.Sequential(nn.LazyLinear(3))
        made(torch.zeros(1, 4))
        return made

    task = Task.from_data(network, (TABLE, CLASSES))
    task.check({})
    assert ReferenceTrainer(task, epochs=1, device="cpu")({}).status == "ok"


def test_a_network_is_no_factory() -> None:
    with pytest.raises(InputError, match=r"model must be a class or a function that makes .*; got .* a Linear."):
        Task.from_data(nn.Linear(4, 3), (TABLE, CLASSES))  # type: ignore[arg-type]


class Broken(Pairs):
    """A data set one of whose files cannot be read."""

    def __getitem__(self, index: int) -> Any:
        if index == 7:
            raise OSError("no such file: 7.png.")
        return super().__getitem__(index)


def test_the_example_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InputError, match=r"^data could not be read: example 7 raised OSError: no such file: 7.png.$"):
        Task.from_data(nn.Identity, Broken())


def test_an_objective_has_to_be_measured() -> None:
    with pytest.raises(InputError, match=r"objective must name .* \(loss, parameters, seconds, accuracy\); got 'f1'"):
        Task.from_data(nn.Identity, (TABLE, CLASSES), objective="f1")
    with pytest.raises(InputError, match="direction must be"):
        Task.from_data(nn.Identity, (TABLE, CLASSES), direction="up")  # type: ignore[arg-type]


def test_a_check_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    Task.from_data(lambda: nn.Linear(4, 3), (TABLE, CLASSES)).check({})
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("given", [((0.1, 0.2, 0.3), [0.5, 0.25, 1.0]), (np.array([0.1, 0.2, 0.3]), (0.5, 0.25, 1.0))])
def test_weights_from_elsewhere_have_a_mean_and_a_deviation_of_their_own(given: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(20, 3, 4, 4), dtype="uint8")
    data = read_data("images", (pixels, np.arange(20) % 2), normalize=given)
    expected = (torch.from_numpy(pixels) / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor(
        [0.5, 0.25, 1.0]
    )[:, None, None]
    torch.testing.assert_close(data.prepare(pixels), expected)
    assert json.loads(json.dumps(data.description))["normalize"] == [[0.1, 0.2, 0.3], [0.5, 0.25, 1.0]]
    assert data.normalizes
    table = np.ones((8, 2)), np.arange(8) % 2
    asked = np.full((3, 2), 2.0)
    for pair, expected in [
        ((1, 0.5), [2.0, 2.0]),
        ((0.0, 2.0), [1.0, 1.0]),
        ((0, [1.0, 4.0]), [2.0, 0.5]),
        ((torch.tensor(1.0, requires_grad=True), 1.0), [1.0, 1.0]),
    ]:
        got = read_data("table", table, normalize=pair).prepare(asked)
        assert torch.equal(got, torch.tensor([expected] * 3)), pair  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "given", "said"),
    [
        (np.ones((8, 2)), (0.0, 0.0), "as standard deviation a finite number above 0, or 2 of them"),
        (np.ones((8, 2)), ([0.0] * 3, 1.0), r"as mean a finite number, or 2 of them, .* got \[0\.0, 0\.0, 0\.0\]"),
        (np.ones((8, 2)), (np.nan, 1.0), "as mean a finite number"),
        (np.ones((8, 2)), (object(), 1.0), "as mean a finite number"),
        (np.ones((8, 2)), (0.0, [1.0, -1.0]), "as standard deviation a finite number above 0"),
        (
            np.ones((8, 2), int),
            (0.0, 1.0),
            "normalize must not be a pair if there are several inputs, or if they are whole numbers",
        ),
        ({"a": np.ones((8, 2))}, (0.0, 1.0), "normalize must not be a pair if there are several inputs"),
        (np.ones((8, 2)), (0.0, 1.0, 2.0), 'normalize must be True, False, "last", a pair'),
        (np.ones((8, 2)), 0.5, 'normalize must be True, False, "last", a pair'),
    ],
)
def test_what_is_no_mean_and_deviation_is_refused(inputs: Any, given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_data("table", (inputs, np.arange(8) % 2), normalize=given)


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("test", [0.25, 20])
def test_a_share_is_kept_apart_for_the_test(test: Any, stratify: bool) -> None:
    inputs, classes = np.arange(80.0)[:, None], np.repeat([0, 1], [60, 20])
    data = read_data("table", (inputs, classes), test=test, validation=0.2, stratify=stratify, normalize=False)
    assert data.test is not None
    parts = [split.inputs.flatten().tolist() for split in (data.training, data.validation, data.test)]  # type: ignore[union-attr]
    assert [len(part) for part in parts] == [48, 12, 20]
    assert sorted(one for part in parts for one in part) == list(range(80))
    if stratify:
        assert [int(split.targets.sum()) for split in (data.validation, data.test)] == [3, 5]  # type: ignore[union-attr]
    again = read_data("table", (inputs, classes), test=test, validation=0.2, stratify=stratify, normalize=False)
    assert torch.equal(again.test.inputs, data.test.inputs)  # type: ignore[union-attr, arg-type]
    other = read_data("table", (inputs, classes), test=test, split_seed=3, stratify=stratify, normalize=False)
    assert not torch.equal(other.test.inputs, data.test.inputs)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (80, r"test must be a share in \(0, 1\), a number of examples from 1 to 79, or data; got 80"),
        (0, "test must be .* from 1 to 79, or data; got 0"),
        (1.5, r"test must be a share in \(0, 1\), a number of examples from 1 to 79, or data; got 1\.5"),
        (True, "test must be a share"),
    ],
)
def test_what_is_no_share_for_the_test_is_refused(test: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_data("table", (np.arange(80.0)[:, None], np.arange(80) % 2), test=test)


def test_a_dataset_that_is_split_is_not_taken_for_one_that_draws() -> None:
    inputs = torch.arange(40.0)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_data("set", TensorDataset(inputs, torch.arange(40) % 2), test=0.5)
