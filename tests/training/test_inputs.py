"""Several inputs by name: read, normalised, split, trained one at a time and as a population, saved, and refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from deap_hpo import Float, ProcessExecutor, load_study, make_trainer, optimize
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.training.arrays import read_data
from deap_hpo.training.data import Data, Split
from deap_hpo.training.hardware import has_channels_last, run_network, use_channels_last
from deap_hpo.training.leak import redrawn
from deap_hpo.training.memory import Parts
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.program import save_program
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

rng = np.random.default_rng(0)
NUMBERS = rng.normal(5.0, 3.0, size=(120, 4)).astype("float32")
KINDS = rng.integers(0, 6, size=(120, 2))
CLASSES = (NUMBERS[:, 0] - 5 + KINDS[:, 0] > 3).astype(int)
INPUTS = {"numbers": NUMBERS, "kinds": KINDS}


class MixedTable(nn.Module):
    """Takes tables with columns of numbers and of kinds; its arguments have another order than the data."""

    def __init__(self, width: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 3)
        self.hidden = nn.Linear(2 * 3 + 4, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 2)

    def forward(self, kinds: Tensor, numbers: Tensor) -> Tensor:
        features = torch.cat([self.embedding(kinds).flatten(1), numbers], 1)
        return self.out(self.dropout(self.hidden(features).relu()))


class Rows:
    """A dataset of such examples."""

    def __getitem__(self, index: int) -> Any:
        return {"kinds": KINDS[index], "numbers": torch.from_numpy(NUMBERS[index])}, CLASSES[index]

    def __len__(self) -> int:
        return len(CLASSES)


def task(**arguments: Any) -> Task:
    return Task.from_data(MixedTable, (INPUTS, CLASSES), recipe=Recipe(batch_size=16), **arguments)


def evaluations(trainer: PopulationTrainer, requests: list[Request]) -> list[Evaluation]:
    return [evaluation for _, evaluation in sorted(trainer.evaluate_batch(requests), key=lambda pair: pair[0])]


FORMS = {
    "arrays": (INPUTS, CLASSES),
    "tensors": ({name: torch.from_numpy(one) for name, one in INPUTS.items()}, torch.from_numpy(CLASSES)),
    "the other way round": ({"kinds": KINDS, "numbers": NUMBERS}, CLASSES),
    "tables of pandas": ({name: pd.DataFrame(one) for name, one in INPUTS.items()}, pd.Series(CLASSES)),
    "dataset": Rows(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_the_same_data(form: str) -> None:
    data, plain = read_data("table", FORMS[form]), read_data("table", FORMS["arrays"])
    assert data.description == plain.description
    for split in ("training", "validation"):
        got, expected = getattr(data, split).inputs, getattr(plain, split).inputs
        assert list(got) == ["kinds", "numbers"]
        assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_examples_keep_together_in_the_split() -> None:
    numbers = np.arange(50)
    data = read_data("numbers", ({"a": numbers, "b": -numbers}, numbers), validation=10, normalize=False)
    for split in (data.training, data.validation):
        assert isinstance(split.inputs, dict)
        assert torch.equal(split.inputs["a"], split.targets)
        assert torch.equal(split.inputs["b"], -split.targets)


def test_each_input_is_normalised_by_its_own_type() -> None:
    pixels = rng.integers(0, 256, size=(120, 1, 4, 4), dtype="uint8")
    data = read_data("all", ({**INPUTS, "pixels": pixels}, CLASSES))
    ready = data.prepare(data.training.inputs)
    assert isinstance(ready, dict)
    assert torch.allclose(ready["numbers"].mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(ready["numbers"].std(0), torch.ones(4), atol=1e-5)
    assert abs(float(ready["pixels"].mean())) < 1e-5
    assert data.training.inputs["kinds"].equal(ready["kinds"])  # type: ignore[index]
    expected = data.expected_inputs()
    assert {name: (one["dtype"], one["divide_by"]) for name, one in expected.items()} == {
        "kinds": ("int64", 1),
        "numbers": ("float32", 1),
        "pixels": ("uint8", 255),
    }
    assert expected["numbers"]["mean"] == pytest.approx(ready_mean(data), abs=1e-6)
    assert data.normalizes
    assert not read_data("kinds", ({"kinds": KINDS}, CLASSES)).normalizes
    assert not read_data("plain", (INPUTS, CLASSES), normalize=False).normalizes


def ready_mean(data: Data) -> list[float]:
    return data.training.inputs["numbers"].mean(0).tolist()  # type: ignore[index]


def test_the_names_are_part_of_what_tells_data_apart() -> None:
    one = read_data("table", ({"a": KINDS, "b": KINDS}, CLASSES)).description["sha256"]
    other = read_data("table", ({"a": KINDS, "c": KINDS}, CLASSES)).description["sha256"]
    assert one != other


def test_the_population_trains_it_as_the_reference_does() -> None:
    params = [
        {"lr": 0.1, "momentum": 0.9, "dropout": 0.1},
        {"lr": 0.03, "weight_decay": 0.01, "dropout": 0.4},
        {"lr": 0.3, "dropout": 0.0},
    ]
    for seeds in ([1, 1, 1], [1, 2, 3]):  # shared batches, and separate ones
        requests = [Request(i, one, seed=seed) for i, (one, seed) in enumerate(zip(params, seeds, strict=True))]
        together = evaluations(PopulationTrainer(task(), epochs=3, device="cpu"), requests)
        reference = ReferenceTrainer(task(), epochs=3, device="cpu")
        for request, evaluation in zip(requests, together, strict=True):
            assert evaluation.environment["stack"] == 3
            alone = reference.evaluate(request)
            for got, expected in zip(evaluation.curve, alone.curve, strict=True):
                assert got.training_loss == pytest.approx(expected.training_loss, rel=1e-4)
                assert got.validation_loss == pytest.approx(expected.validation_loss, rel=1e-4)
                assert got.metrics == expected.metrics


@pytest.mark.parametrize("inputs", [INPUTS, {"kinds": KINDS, "numbers": NUMBERS}])
def test_it_is_the_training_of_one_input_that_holds_both(inputs: Mapping[str, Any]) -> None:
    class Joined(MixedTable):
        def forward(self, joined: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(joined[:, :2].long(), joined[:, 2:])

    joined = np.concatenate([KINDS.astype("float32"), NUMBERS], axis=1)
    apart = Task.from_data(MixedTable, (inputs, CLASSES), normalize=False)
    together = Task.from_data(Joined, (joined, CLASSES), normalize=False)
    losses = [ReferenceTrainer(one, epochs=2, device="cpu").train({"lr": 0.01}, seed=3)[1] for one in (apart, together)]
    assert losses[0].curve[-1].validation_loss == losses[1].curve[-1].validation_loss


def test_a_study_trains_it_in_processes_and_tests_it_and_goes_on(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    space, settings = {"lr": Float(1e-2, 1.0, log=True)}, {"population": 3, "seed": 1, "storage": storage}
    test = ({name: one[:30] for name, one in INPUTS.items()}, CLASSES[:30])
    trainer = make_trainer(task(test=test), device="cpu")
    with ProcessExecutor(2) as executor:
        first = optimize(trainer, space, generations=1, name="mixed", executor=executor, **settings)  # type: ignore[arg-type]
    again = optimize(trainer, space, generations=2, name="mixed", resume=True, **settings)  # type: ignore[arg-type]
    plain = optimize(trainer, space, generations=2, **(settings | {"storage": None}))  # type: ignore[arg-type]
    assert [one.evaluation.value for one in again.entries] == [one.evaluation.value for one in plain.entries]
    assert len(first.entries) == 3
    assert load_study("mixed", storage=storage).best_value == plain.best_value
    network = plain.best_model()
    validation = trainer.task.data.validation
    prepared = trainer.task.data.prepare(validation.inputs)
    share = float((network(**prepared).argmax(1) == validation.targets).float().mean())
    assert share == pytest.approx(plain.best.evaluation.metrics["accuracy"])
    assert set(plain.test_metrics()) == {"loss", "accuracy"}
    renamed = Task.from_data(MixedTable, ({"kind": KINDS, "numbers": NUMBERS}, CLASSES))
    with pytest.raises(InputError):
        optimize(make_trainer(renamed, device="cpu"), space, generations=2, name="mixed", resume=True, **settings)  # type: ignore[arg-type]


def test_a_program_takes_the_inputs_by_their_names_in_batches_of_any_size(tmp_path: Path) -> None:
    one = task()
    network = MixedTable().eval()
    save_program(network, one.data, tmp_path / "network.pt2")
    program = torch.export.load(tmp_path / "network.pt2").module()
    for size in (1, 2, 7):
        inputs = one.data.validation[:size].inputs
        assert isinstance(inputs, dict)
        expected = network(**one.data.prepare(inputs))  # type: ignore[arg-type]
        assert torch.allclose(program(**inputs), expected, atol=1e-6)
        assert torch.allclose(program(numbers=inputs["numbers"], kinds=inputs["kinds"]), expected, atol=1e-6)


def test_memory_that_runs_out_halves_examples_of_all_inputs() -> None:
    parts, inputs = Parts(6), {"a": torch.arange(5), "b": -torch.arange(5)}

    def sums(rows: slice, part: Any) -> Tensor:
        if len(part["a"]) > 2:
            raise torch.OutOfMemoryError
        assert len(part["a"]) == len(part["b"])
        return (part["a"] + 2 * part["b"]).unsqueeze(0)

    assert parts(sums, inputs).equal(-torch.arange(5).unsqueeze(0))
    assert parts.size == 2


def test_images_beside_a_table_are_laid_out_with_channels_last() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.linear = nn.Conv2d(3, 8, 3), nn.Linear(4, 8)

        def forward(self, images: Tensor, numbers: Tensor) -> Tensor:
            assert images.is_contiguous() or images.is_contiguous(memory_format=torch.channels_last)
            return self.convolution(images).mean((2, 3)) + self.linear(numbers)

    inputs = {"images": torch.rand(5, 3, 6, 6), "numbers": torch.rand(5, 4)}
    plain = Both()
    expected = plain(**inputs)
    model = use_channels_last(plain, inputs, "fp32")
    assert has_channels_last(model)
    assert torch.allclose(run_network(model, inputs, "fp32"), expected, atol=1e-6)


def test_images_of_a_dataset_are_read_from_each_input() -> None:
    image = Image.fromarray(np.arange(12, dtype="uint8").reshape(2, 2, 3))
    data = read_data("pictures", [({"left": image, "right": image}, i % 2) for i in range(6)], validation=2)
    assert {name: (tuple(one.shape), one.dtype) for name, one in data.training.inputs.items()} == {  # type: ignore[union-attr]
        "left": ((4, 3, 2, 2), torch.uint8),
        "right": ((4, 3, 2, 2), torch.uint8),
    }


def test_a_dataset_that_redraws_one_of_its_inputs_is_warned_of() -> None:
    class Redrawn(Rows):
        def __getitem__(self, index: int) -> Any:
            inputs, target = super().__getitem__(index)
            return {**inputs, "numbers": inputs["numbers"] + torch.rand(4)}, target

    with pytest.warns(RuntimeWarning, match="data gave other values when examples were read a second time"):
        read_data("table", Redrawn())


def test_a_leak_puts_all_inputs_together() -> None:
    numbers = torch.arange(20)
    split = Split({"a": numbers, "b": -numbers}, numbers)
    other = redrawn(Data("numbers", split[:15], split[15:], None), 1)
    for one in (other.training, other.validation):
        assert isinstance(one.inputs, dict)
        assert torch.equal(one.inputs["a"], one.targets)
        assert torch.equal(one.inputs["b"], -one.targets)
    assert sorted(torch.cat([other.training.targets, other.validation.targets]).tolist()) == list(range(20))


with_nan = NUMBERS.copy()
with_nan[3, 1] = np.nan


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({**INPUTS, "kinds": KINDS[:-1]}, CLASSES), r"same number of examples.*kinds 119, numbers 120 and 120"),
        (({**INPUTS, "numbers": with_nan}, CLASSES), "data must hold finite inputs; some of 'numbers' are NaN"),
        (({**INPUTS, "kinds": KINDS.astype(str)}, CLASSES), r"data \(input 'kinds'\) must hold numbers; got <U"),
        (({}, CLASSES), r"several inputs by the names of the arguments.*got \[\]"),
        (({"not a name": KINDS}, CLASSES), r"several inputs by the names of the arguments.*got \['not a name'\]"),
        (({0: KINDS}, CLASSES), r"several inputs by the names of the arguments.*got \[0\]"),
        (INPUTS, r"data must be a pair.*got dict. Several inputs go together, by their names: \(\{'a'"),
        (DataLoader([(1.0, 0)]), "got DataLoader. Give its dataset; the trainer makes the batches"),  # type: ignore[arg-type]
        ([(*INPUTS.values(), 0)], r"example 0 is a tuple of 3. Several inputs go together"),
        (
            [({"a": 1.0}, 0), ({"b": 1.0}, 0)],
            r"one shape and type.*inputs of different names: \['[ab]'\] and \['[ab]'\]",
        ),
        ([({"a": 1.0}, 0), (1.0, 0)], r"inputs of different names: .*none"),
        ([({"a": [1.0]}, 0), ({"a": [1.0, 2.0]}, 0)], r"one shape and type"),
    ],
)
def test_what_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_data("table", given)


def test_validation_data_must_have_the_same_inputs() -> None:
    with pytest.raises(
        InputError, match=r"validation must hold examples like .*kinds \[2\] torch.int64, numbers \[4\]"
    ):
        read_data("table", (INPUTS, CLASSES), validation=({"kinds": KINDS}, CLASSES))


def test_a_network_without_such_an_argument_is_refused_before_anything_is_trained() -> None:
    other = Task.from_data(MixedTable, ({"kind": KINDS, "numbers": NUMBERS}, CLASSES))
    with pytest.raises(InputError, match=r"inputs kind \[2, 2\], numbers \[2, 4\].*unexpected keyword argument 'kind'"):
        other.check({})
    assert replace(other, data=task().data).check({}) is None  # type: ignore[func-returns-value]


def test_those_inputs_are_normalised_that_are_named() -> None:
    mask = (rng.random((120, 4)) < 0.5).astype("float32")
    data = read_data("table", ({**INPUTS, "mask": mask}, CLASSES), normalize=["numbers"])
    ready = data.prepare(data.training.inputs)
    assert isinstance(ready, dict)
    assert torch.allclose(ready["numbers"].std(0), torch.ones(4), atol=1e-5)
    for name in ("kinds", "mask"):
        assert torch.equal(ready[name], data.training.inputs[name])  # type: ignore[index]
    assert data.description["normalize"] == ["numbers"]
    assert data.description != read_data("table", ({**INPUTS, "mask": mask}, CLASSES)).description


@pytest.mark.parametrize(
    ("inputs", "normalize", "message"),
    [
        (INPUTS, ["number"], r"normalize must be .* list of names of inputs \(kinds, numbers\); got"),
        (INPUTS, "numbers", r"normalize must be .* got 'numbers'"),
        (NUMBERS, ["numbers"], r"names of inputs \(there are no named inputs here\); got \['numbers'\]"),
        (INPUTS, None, r"normalize must be .* got None"),
    ],
)
def test_names_of_inputs_to_normalise_are_checked(inputs: Any, normalize: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_data("table", (inputs, CLASSES), normalize=normalize)


def test_a_program_of_a_network_in_training_mode_drops_nothing(tmp_path: Path) -> None:
    one = task()
    network = MixedTable(dropout=0.5).train()
    save_program(network, one.data, tmp_path / "network.pt2")
    assert network.training
    inputs = one.data.validation.inputs
    assert isinstance(inputs, dict)
    expected = network.eval()(**one.data.prepare(inputs))  # type: ignore[arg-type]
    assert torch.allclose(torch.export.load(tmp_path / "network.pt2").module()(**inputs), expected, atol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_program_takes_floats_of_any_precision_as_arrays_of_numpy_are(tmp_path: Path, normalize: bool) -> None:
    rng = np.random.default_rng(0)
    numbers, kinds = rng.normal(size=(40, 3)), rng.integers(0, 2, size=40)
    one = Task.from_data(lambda: nn.Linear(3, 2), (numbers, kinds), normalize=normalize)
    network = one.model()
    save_program(network, one.data, tmp_path / "network.pt2")
    program = torch.export.load(tmp_path / "network.pt2").module()
    given = torch.from_numpy(numbers)
    assert given.dtype == torch.float64
    expected = network(one.data.prepare(given.float()))
    assert torch.equal(program(given), expected)
    assert torch.equal(program(given.float()), expected)
    for other in (torch.uint8, torch.int64):
        with pytest.raises(RuntimeError, match="Expected a floating point"):
            program(given.to(other))

    two = task()
    inputs = two.data.validation.inputs
    save_program(MixedTable(), two.data, tmp_path / "network.pt2")
    program = torch.export.load(tmp_path / "network.pt2").module()
    assert isinstance(inputs, dict)
    doubled = {name: given.double() if given.is_floating_point() else given for name, given in inputs.items()}
    assert any(given.dtype == torch.float64 for given in doubled.values())
    assert torch.equal(program(**doubled), program(**inputs))


def test_values_around_0_are_divided_by_their_deviation() -> None:
    data = Data("around 0", Split(torch.tensor([[-2.0], [2.0]]), torch.tensor([0, 1])), None, None, 0.0, 2.0)  # type: ignore[arg-type]
    assert data.normalizes
    assert data.prepare(data.training.inputs).tolist() == [[-1.0], [1.0]]  # type: ignore[union-attr]
