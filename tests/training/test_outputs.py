"""Several outputs and several targets: trained one at a time and as a population, measured, saved, and refused."""

from __future__ import annotations

import re
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score
from torch import Tensor, nn

from deap_hpo import Float, ProcessExecutor, make_trainer, optimize
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.training.arrays import read_data
from deap_hpo.training.data import Data
from deap_hpo.training.hardware import has_channels_last, use_channels_last
from deap_hpo.training.leak import redrawn
from deap_hpo.training.memory import Parts
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.program import save_program
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

rng = np.random.default_rng(0)
INPUTS = rng.normal(size=(120, 4)).astype("float32")
KINDS = (INPUTS[:, 0] > 0).astype(int)
SIZES = INPUTS @ np.array([1.0, -1.0, 0.5, 0.0], dtype="float32")
TARGETS = {"kind": KINDS, "size": SIZES}
Answer = namedtuple("Answer", ["kind", "size"])


class TwoHeads(nn.Module):
    """Predicts a kind and a size, in a given structure."""

    def __init__(self, form: str = "dict", dropout: float = 0.2) -> None:
        super().__init__()
        self.form = form
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout))
        self.kind, self.size = nn.Linear(8, 2), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.body(x)
        kind, size = self.kind(x), self.size(x).squeeze(1)
        forms = {
            "dict": lambda: {"kind": kind, "size": size},
            "tuple": lambda: (kind, size),
            "list": lambda: [kind, size],
            "namedtuple": lambda: Answer(kind, size),
            "nested": lambda: (kind, {"size": (size,)}),
        }
        return forms[self.form]()


def kind_of(outputs: Any) -> Tensor:
    return outputs["kind"] if isinstance(outputs, dict) else outputs[0]


def size_of(outputs: Any) -> Tensor:
    size = outputs["size"] if isinstance(outputs, dict) else outputs[1]
    return size["size"][0] if isinstance(size, dict) else size


def both(outputs: Any, targets: dict[str, Tensor], share: float = 0.5) -> Tensor:
    of_kind = F.cross_entropy(kind_of(outputs), targets["kind"])
    return share * of_kind + (1 - share) * F.mse_loss(size_of(outputs), targets["size"])


def f1(outputs: Any, targets: dict[str, Tensor]) -> float:
    return float(f1_score(targets["kind"], kind_of(outputs).argmax(1)))


def error(outputs: Any, targets: dict[str, Tensor]) -> Tensor:
    return (size_of(outputs) - targets["size"]).abs().mean()


def task(data: Any = (INPUTS, TARGETS), **arguments: Any) -> Task:
    made = {"loss": both, "metrics": {"f1": f1, "error": error}, "recipe": Recipe(batch_size=16), **arguments}
    return Task.from_data(arguments.pop("model", TwoHeads), data, **{k: v for k, v in made.items() if k != "model"})


def evaluations(trainer: PopulationTrainer, requests: list[Request]) -> list[Evaluation]:
    return [evaluation for _, evaluation in sorted(trainer.evaluate_batch(requests), key=lambda pair: pair[0])]


class Rows:
    """A dataset of such examples."""

    def __getitem__(self, index: int) -> Any:
        return INPUTS[index], {"size": SIZES[index], "kind": int(KINDS[index])}

    def __len__(self) -> int:
        return len(INPUTS)


def test_a_dataset_and_arrays_become_the_same_data() -> None:
    data, plain = read_data("one", Rows()), read_data("one", (INPUTS, TARGETS))
    assert data.description == plain.description
    for split in (plain.training, plain.validation):
        assert isinstance(split.targets, dict)
        assert [(name, one.dtype) for name, one in split.targets.items()] == [
            ("kind", torch.int64),
            ("size", torch.float32),
        ]
        assert torch.equal(split.targets["size"] > -9, torch.ones(len(split), dtype=torch.bool))
        assert isinstance(split.inputs, Tensor)
        assert torch.equal((split.inputs[:, 0] > 0).long(), split.targets["kind"]), "examples keep together"
    assert read_data("one", (INPUTS, {"other": KINDS, "size": SIZES})).description != plain.description


@pytest.mark.parametrize("form", ["dict", "tuple", "list", "namedtuple", "nested"])
@pytest.mark.parametrize("seeds", [[3, 3, 3], [3, 4, 5]], ids=["common seed", "seeds"])
@pytest.mark.parametrize("shares", [[None, None, None], [0.1, 0.5, 0.9]], ids=["one loss", "losses"])
def test_the_population_trains_it_as_the_reference_does(form: str, seeds: list[int], shares: list[Any]) -> None:
    heads = task(model=lambda dropout=0.2: TwoHeads(form, dropout))
    params = [{"lr": 0.1}, {"lr": 0.02, "momentum": 0.9}, {"lr": 0.05, "dropout": 0.5}]
    params = [{**one, **({"share": share} if share else {})} for one, share in zip(params, shares, strict=True)]
    requests = [Request(i, *one) for i, one in enumerate(zip(params, seeds, strict=True))]
    got = evaluations(PopulationTrainer(heads, epochs=3, device="cpu"), requests)
    assert {one.environment["stack"] for one in got} == {3}
    for one, request in zip(got, requests, strict=True):
        alone = ReferenceTrainer(heads, epochs=3, device="cpu").evaluate(request)
        assert alone.status == "ok", alone.error
        for epoch, expected in zip(one.curve, alone.curve, strict=True):
            assert epoch.training_loss == pytest.approx(expected.training_loss, rel=1e-4)
            assert epoch.validation_loss == pytest.approx(expected.validation_loss, rel=1e-4)
            assert epoch.metrics == pytest.approx(expected.metrics, rel=1e-4)


def test_metrics_see_all_of_a_split_and_what_was_measured_is_so() -> None:
    heads = replace(task(), evaluation_batch_size=7)
    trainer = ReferenceTrainer(heads, epochs=2, device="cpu")
    model, evaluation = trainer.train({"lr": 0.1}, seed=1)
    with torch.no_grad():
        outputs = model(heads.data.prepare(heads.data.validation.inputs))
    targets: Any = heads.data.validation.targets
    assert evaluation.value == pytest.approx(both(outputs, targets).item(), rel=1e-5)
    assert evaluation.metrics["f1"] == pytest.approx(f1(outputs, targets))
    assert evaluation.metrics["error"] == pytest.approx(error(outputs, targets).item(), rel=1e-5)


def test_a_study_of_an_objective_of_one_head_in_processes_and_its_program(tmp_path: Path) -> None:
    heads = task(objective="f1", direction="maximize", test=(INPUTS[:30], {"kind": KINDS[:30], "size": SIZES[:30]}))
    space = {"lr": Float(0.01, 1.0, log=True), "share": Float(0.1, 0.9)}
    trainer = make_trainer(heads, device="cpu", epochs=3)
    study = optimize(trainer, space, algorithm="random", population=4, generations=2, executor=ProcessExecutor(2))
    assert study.best_value > 0.8
    assert study.test_metrics().keys() >= {"loss", "f1", "error"}
    model = study.best_model()
    save_program(model, heads.data, tmp_path / "network.pt2")
    program = torch.export.load(tmp_path / "network.pt2").module()
    inputs = heads.data.validation.inputs
    for name, one in program(inputs).items():
        torch.testing.assert_close(one, model(heads.data.prepare(inputs))[name])


class Autoencoder(nn.Module):
    """A variational one: returns its reconstruction of images, and the distribution of its code."""

    def __init__(self, code: int = 3) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 2 * code), nn.Linear(code, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, deviation = self.encoder(x.flatten(1)).chunk(2, 1)
        if self.training:
            mean = mean + deviation.exp() * torch.randn_like(mean)
        return self.decoder(mean).view_as(x), mean, deviation


def test_a_variational_autoencoder_whose_targets_are_its_inputs(digits_task: Task) -> None:
    images = digits_task.data.training.inputs
    pictures = images.float() / 255  # type: ignore[union-attr]

    def evidence(outputs: Any, targets: Tensor, beta: float = 0.1) -> Tensor:
        made, mean, deviation = outputs
        divergence = 0.5 * (mean**2 + (2 * deviation).exp() - 2 * deviation - 1).sum(1).mean()
        return F.mse_loss(made, targets) + beta * divergence

    vae = Task.from_data(Autoencoder, (images, pictures), loss=evidence, metrics={})
    study = optimize(
        make_trainer(vae, device="cpu", epochs=3),
        {"lr": Float(0.01, 0.1, log=True), "beta": Float(1e-4, 0.1, log=True)},
        population=3,
        generations=2,
        seed=1,
    )
    assert {entry.evaluation.status for entry in study.entries} == {"ok"}
    made, mean, _ = study.best_model()(vae.data.prepare(images[:5]))
    assert (made.shape, mean.shape) == ((5, 1, 8, 8), (5, 3))


def test_an_output_of_the_whole_batch_reaches_loss_and_metrics() -> None:
    class Penalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x), self.layer.weight.square().sum()

    seen: list[torch.Size] = []

    def loss(outputs: Any, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs[0], targets) + 0.1 * outputs[1]

    def penalty(outputs: Any, targets: Tensor) -> Tensor:
        seen.append(outputs[1].shape)
        return outputs[1].mean()

    made = Task.from_data(Penalised, (INPUTS, KINDS), loss=loss, metrics={"penalty": penalty}, validation=20)
    made = replace(made, evaluation_batch_size=5)
    requests = [Request(i, {"lr": lr}, 1) for i, lr in enumerate([0.1, 0.01])]
    got = evaluations(PopulationTrainer(made, epochs=2, device="cpu"), requests)
    assert {one.environment["stack"] for one in got} == {2}
    assert set(seen) == {torch.Size([4])}, "one of each batch"
    for one, request in zip(got, requests, strict=True):
        alone = ReferenceTrainer(made, epochs=2, device="cpu").evaluate(request)
        assert one.values == pytest.approx(alone.values, rel=1e-5)
        assert one.metrics == pytest.approx(alone.metrics, rel=1e-5)


def test_a_model_of_transformers_is_stacked() -> None:
    transformers = pytest.importorskip("transformers")

    def model(dropout: float = 0.1) -> nn.Module:
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        config = transformers.BertConfig(vocab_size=30, hidden_dropout_prob=dropout, **sizes)
        network: nn.Module = transformers.BertForSequenceClassification(config)
        return network

    def loss(outputs: Any, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs.logits, labels)

    def right(outputs: Any, labels: Tensor) -> float:
        return float((outputs.logits.argmax(1) == labels).float().mean())

    tokens = rng.integers(0, 30, size=(60, 6))
    texts = {"input_ids": tokens, "attention_mask": tokens > 2}
    bert = Task.from_data(model, (texts, KINDS[:60]), loss=loss, metrics={"right": right})
    bert = replace(bert, recipe=Recipe(optimizer="adamw", batch_size=16), evaluation_batch_size=5)
    # Their configuration holds the rate of dropout, so that each rate has its own stack.
    requests = [
        Request(i, {"lr": lr, "dropout": rate}, 3) for lr, rate, i in [(0.01, 0.3, 0), (0.003, 0.3, 1), (0.01, 0.0, 2)]
    ]
    got = evaluations(PopulationTrainer(bert, epochs=2, device="cpu"), requests)
    assert [one.environment["stack"] for one in got] == [2, 2, 1]
    for one, request in zip(got, requests, strict=True):
        alone = ReferenceTrainer(bert, epochs=2, device="cpu").evaluate(request)
        assert one.values == pytest.approx(alone.values, rel=1e-4)
        assert one.metrics == pytest.approx(alone.metrics, rel=1e-4)


def test_each_measure_gets_targets_of_its_own() -> None:
    def taking(outputs: Any, targets: dict[str, Tensor]) -> Tensor:
        kind = F.cross_entropy(outputs.pop("kind"), targets.pop("kind"))
        return kind + F.mse_loss(outputs.pop("size"), targets.pop("size"))

    def taken(outputs: Any, targets: dict[str, Tensor]) -> float:
        return float((outputs.pop("kind").argmax(1) == targets.pop("kind")).float().mean())

    made = task(loss=taking, metrics={"a": taken, "b": taken})
    made.check({})
    requests = [Request(i, {"lr": lr}, 1) for i, lr in enumerate([0.1, 0.2])]
    got = evaluations(PopulationTrainer(made, epochs=2, device="cpu"), requests)
    assert {one.environment["stack"] for one in got} == {2}
    alone = [ReferenceTrainer(made, epochs=2, device="cpu").evaluate(request) for request in requests]
    assert [one.metrics for one in got] == [pytest.approx(one.metrics) for one in alone]
    assert isinstance(made.data.validation.targets, dict)
    assert list(made.data.validation.targets) == ["kind", "size"]


def test_a_check_sees_different_examples_of_all_targets() -> None:
    def needs_both(outputs: Any, targets: dict[str, Tensor]) -> float:
        assert len(targets["kind"].unique()) == 2, "y_true contains one label only"
        return 0.0

    for seed in range(8):
        task((INPUTS, {"a": SIZES, "kind": KINDS, "size": SIZES}), metrics={"one": needs_both}, split_seed=seed).check(
            {}
        )


def test_every_target_tells_data_apart_and_is_checked() -> None:
    one, other = (read_data("one", (INPUTS, {"a": KINDS, "b": sizes})) for sizes in (SIZES, SIZES + 1))
    assert one.description["sha256"] != other.description["sha256"]
    with pytest.raises(InputError, match="classes from 0 on as targets, or -100 for none; got -1"):
        read_data("one", (INPUTS, {"a": KINDS, "b": KINDS - 1}))


def test_memory_that_runs_out_halves_all_outputs_that_are_of_examples() -> None:
    def compute(rows: slice, inputs: Any) -> Any:
        if (rows.stop - rows.start) * len(inputs) > 4:
            raise torch.OutOfMemoryError
        members = torch.arange(rows.start, rows.stop)
        return {"a": members[:, None] + inputs, "b": ((members[:, None] * inputs)[..., None],)}

    parts = Parts(100)
    made = parts(compute, torch.arange(10), members=3)
    whole = torch.arange(3)[:, None], torch.arange(10)
    assert torch.equal(made["a"], whole[0] + whole[1])
    assert torch.equal(made["b"][0][..., 0], whole[0] * whole[1])
    assert parts.size < 10

    def of_all(rows: slice, inputs: Any) -> Any:
        return compute(rows, inputs)["a"], torch.zeros(rows.stop - rows.start)

    with pytest.raises(ValueError, match="what is not an output for each example has no parts"):
        Parts(100)(of_all, torch.arange(10), members=1)


def test_a_leak_puts_all_targets_together() -> None:
    data = read_data("one", (INPUTS, TARGETS))
    mixed = redrawn(data, 1)
    everything: Data
    for everything in (data, mixed):
        sizes = [split.targets["size"] for split in (everything.training, everything.validation)]  # type: ignore[index]
        assert torch.equal(torch.cat(sizes).sort().values, torch.from_numpy(SIZES).sort().values)
    assert not torch.equal(mixed.validation.targets["size"], data.validation.targets["size"])  # type: ignore[index]


def test_channels_come_last_where_all_outputs_stay_the_same() -> None:
    class Maps(nn.Module):
        def __init__(self, reads_strides: bool) -> None:
            super().__init__()
            self.convolution, self.reads_strides = nn.Conv2d(8, 4, 3), reads_strides

        def forward(self, x: Tensor) -> Any:
            x = self.convolution(x)
            return x.mean((2, 3)), torch.tensor(float(x.stride(1))) if self.reads_strides else x.amax((2, 3))

    images = torch.rand(2, 8, 6, 6)
    assert has_channels_last(use_channels_last(Maps(False), images, "fp32"))
    assert not has_channels_last(use_channels_last(Maps(True), images, "fp32"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"loss": None}, "loss must be given where there are several targets; got those of kind, size."),
        ({"data": (INPUTS, {})}, "data must have several targets by names of your choice; got []."),
        ({"data": (INPUTS, {0: KINDS})}, "data must have several targets by names of your choice; got [0]."),
        ({"data": (INPUTS, {"size": SIZES[:9]})}, "the same number of examples, at least one; got 120 and size 9."),
        ({"data": (INPUTS, {"size": SIZES * np.nan})}, "data must hold finite targets; some of 'size' are NaN"),
        ({"data": (INPUTS, {"size": ["a"] * 120})}, "data (target 'size') "),
        ({"stratify": True}, "stratify is for classes, one whole number an example; got targets kind "),
        ({"validation": (INPUTS, {"kind": KINDS})}, "validation must hold examples like those of data"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        task(**arguments)


@pytest.mark.parametrize(
    ("model", "loss", "said"),
    [
        (
            lambda: TwoHeads("tuple"),
            F.cross_entropy,
            "There are several tensors in the outputs of the network, and loss and metrics receive",
        ),
        (
            lambda: nn.Linear(4, 2),
            F.cross_entropy,
            "There are several tensors in the targets of the data, and loss and metrics receive",
        ),
        (lambda: TwoHeads("dict"), lambda outputs, targets: outputs["none"], "does not fit the loss"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_trained(model: Any, loss: Any, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        task(model=model, loss=loss).check({})


def test_what_is_no_tensor_is_refused_by_its_type() -> None:
    class Telling(TwoHeads):
        def forward(self, x: Tensor) -> Any:
            return {"kind": super().forward(x)["kind"], "hidden": None, "words": "none"}

    with pytest.raises(InputError, match="must return a tensor, or several; it returned NoneType, str"):
        task(model=Telling).check({})
