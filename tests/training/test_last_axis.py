"""normalize="last": features of sequences are normalised along the last axis, wherever inputs are prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluated import evaluated
from torch import Tensor, nn

from deap_hpo import Float, Task, make_trainer, optimize
from deap_hpo.errors import InputError
from deap_hpo.training.arrays import read_data
from deap_hpo.training.folds import other_folds
from deap_hpo.training.program import save_program

rng = np.random.default_rng(0)
SEQUENCES = rng.normal(size=(80, 7, 2)) * [1, 500] + [0, 1000]
CLASSES = (SEQUENCES[:, :, 0].mean(1) > 0).astype(int)
IMAGES = rng.integers(0, 255, size=(80, 3, 2, 2)).astype("uint8")
TOKENS = rng.integers(0, 5, size=(80, 7))
SEVERAL = {"x": SEQUENCES, "image": IMAGES, "tokens": TOKENS, "mask": TOKENS > 0, "numbers": SEQUENCES[:, 0]}
pytestmark = pytest.mark.filterwarnings("error:networks of the task")


class Recurrent(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers, self.head = nn.Linear(2, width), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layers(x)).mean(1))


class Several(Recurrent):
    def forward(self, x: Tensor, image: Tensor, tokens: Tensor, mask: Tensor, numbers: Tensor) -> Tensor:
        return super().forward(x * mask.unsqueeze(-1)) + image.mean((1, 2, 3))[:, None] + numbers + tokens[:, :2]


def task(**changed: Any) -> Task:
    return Task.from_data(Recurrent, (SEQUENCES, CLASSES), **{"validation": 20, "normalize": "last", **changed})


def test_each_feature_has_mean_0_and_deviation_1_over_examples_and_steps() -> None:
    data = task().data
    prepared: Any = data.prepare(data.training.inputs)
    assert torch.allclose(prepared.mean((0, 1)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(prepared.std((0, 1)), torch.ones(2), atol=1e-5)
    expected = data.expected_inputs()
    by_hand = (data.training.inputs.numpy() - expected["mean"]) / expected["std"]  # type: ignore[union-attr]
    np.testing.assert_allclose(by_hand, prepared, atol=1e-5)
    assert np.shape(expected["mean"]) == (2,)


@pytest.mark.parametrize("shape", [(80,), (80, 2)])
def test_tables_are_normalised_as_by_default(shape: tuple[int, ...]) -> None:
    table = SEQUENCES[:, 0].reshape(-1)[: int(np.prod(shape))].reshape(shape)
    last, default = (read_data("table", (table, CLASSES), normalize=how) for how in ("last", True))
    assert torch.equal(last.prepare(table), default.prepare(table))  # type: ignore[arg-type]


def test_of_several_inputs_the_floats_are_normalised_so() -> None:
    last, default = (read_data("several", (SEVERAL, CLASSES), normalize=how) for how in ("last", True))
    prepared, others = (one.prepare(one.training.inputs) for one in (last, default))
    assert isinstance(prepared, dict)
    assert isinstance(others, dict)
    assert torch.allclose(prepared["x"].std((0, 1)), torch.ones(2), atol=1e-5)
    assert not torch.allclose(others["x"].std((0, 1)), torch.ones(2), atol=0.1)
    for name in ("image", "tokens", "mask", "numbers"):
        assert torch.equal(prepared[name], others[name])
    assert {name: np.shape(facts["mean"]) for name, facts in last.expected_inputs().items()} == {
        "x": (2,),
        "image": (3, 1, 1),
        "tokens": (),
        "mask": (),
        "numbers": (2,),
    }


def test_other_lengths_are_prepared_and_other_features_refused() -> None:
    data, default = task().data, task(normalize=True).data
    assert data.prepare(SEQUENCES[:3, :4]).shape == (3, 4, 2)  # type: ignore[union-attr]
    for wrong in (SEQUENCES[:3, :, :1], SEQUENCES[:3].swapaxes(1, 2)):
        with pytest.raises(InputError, match=r"inputs must be a batch of examples, \[N, 7, 2\]; got"):
            data.prepare(wrong)
    with pytest.raises(InputError, match=r"inputs must be a batch of examples, \[N, 7, 2\]; got \[3, 4, 2\]"):
        default.prepare(SEQUENCES[:3, :4])
    several = read_data("several", (SEVERAL, CLASSES), normalize="last")
    shorter = {**SEVERAL, "x": SEQUENCES[:, :4]}
    assert several.prepare(shorter)["x"].shape == (80, 4, 2)  # type: ignore[index]
    with pytest.raises(InputError, match=r"inputs\['image'\] must be a batch of examples, \[N, 3, 2, 2\]"):
        several.prepare({**SEVERAL, "image": IMAGES[:, :1]})


def test_it_is_part_of_the_data_s_identity() -> None:
    assert task().data.description == {**task(normalize=True).data.description, "normalize": "last"}


def test_folds_are_normalised_by_their_own_training_examples() -> None:
    for fold in other_folds(task().data, 4):
        seen: Any = fold.normalized(fold.training.inputs)
        assert torch.allclose(seen.mean((0, 1)), torch.zeros(2), atol=1e-5)
        assert torch.allclose(seen.std((0, 1)), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("several", [False, True])
def test_a_program_normalises_so(tmp_path: Path, several: bool) -> None:
    one = Task.from_data(Several, (SEVERAL, CLASSES), normalize="last") if several else task()
    network, inputs = one.model(), one.data.validation.inputs
    save_program(network, one.data, tmp_path / "network.pt2")
    program = torch.export.load(tmp_path / "network.pt2").module()
    prepared = one.data.prepare(inputs)
    named = isinstance(prepared, dict)
    expected = network(**prepared) if named else network(prepared)
    assert torch.allclose(program(**inputs) if named else program(inputs), expected, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("folds", [None, 4])
def test_stacks_agree_with_networks_trained_alone(folds: int | None) -> None:
    members = [{"lr": 0.1}, {"lr": 0.5}]
    stacked, alone = (
        evaluated(make_trainer(task(), epochs=3, device="cpu", trainer=one, folds=folds), members)
        for one in ("population", "reference")
    )
    assert [one.value for one in stacked] == pytest.approx([one.value for one in alone], rel=1e-5)


def test_a_small_feature_beside_a_large_one_can_be_learnt() -> None:
    options: Any = {"algorithm": "random", "max_evaluations": 1, "progress": False}
    study = optimize(make_trainer(task(), epochs=20, device="cpu"), {"lr": Float(0.9, 1.0)}, **options)
    assert study.best.evaluation.metrics["accuracy"] > 0.8
    again = study.refit()(task().data.prepare(SEQUENCES)).argmax(1)
    assert (again.numpy() == CLASSES).mean() > 0.8


@pytest.mark.parametrize("inputs", [IMAGES, TOKENS, {"image": IMAGES, "tokens": TOKENS, "mask": TOKENS > 0}])
def test_without_floats_it_is_refused(inputs: Any) -> None:
    with pytest.raises(InputError, match='normalize must be "last" only for inputs of a floating-point type'):
        read_data("data", (inputs, CLASSES), normalize="last")
