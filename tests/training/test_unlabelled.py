"""Targets of -100, or of a loss's `ignore_index`, have no label: nothing is learnt from them, and they do not count."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deap_hpo import Categorical, Float, Space, Task, make_trainer, optimize
from deap_hpo.configuration.suitability import check_space
from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.training.labels import ignored_by
from deap_hpo.training.measures import accuracy

rng = np.random.default_rng(0)
TOKENS = rng.integers(1, 10, size=(120, 6))
LABELS = np.where(rng.random(TOKENS.shape) < 0.4, -100, TOKENS % 3)
pytestmark = pytest.mark.filterwarnings("error:networks of the task")


class Tagger(nn.Module):
    """An output for each class and token, [N, classes, tokens]."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(10, width), nn.Linear(width, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens)).transpose(1, 2)


@pytest.mark.parametrize("trainer", ["reference", "population"])
def test_nothing_is_learnt_from_what_has_no_label(trainer: str) -> None:
    """Neither what their targets would have been nor their inputs make a difference."""
    task = Task.from_data(Tagger, (TOKENS, LABELS))
    other = Task.from_data(Tagger, (np.where(LABELS == -100, 9, TOKENS), LABELS))
    one, another = (make_trainer(one, epochs=2, device="cpu", trainer=trainer)({"lr": 0.5}) for one in (task, other))
    assert one.value == another.value
    assert one.metrics["accuracy"] == another.metrics["accuracy"] > 0.5


def test_it_is_trained_in_a_stack_as_alone_and_measured_as_torch_would() -> None:
    task = Task.from_data(Tagger, (TOKENS, LABELS))
    trainer = make_trainer(task, epochs=2, device="cpu", trainer="population")
    options: Any = {"algorithm": "random", "population": 3, "generations": 1, "seed": 1, "progress": False}
    study = optimize(trainer, {"lr": Float(0.1, 1.0)}, **options)
    alone = optimize(
        make_trainer(task, epochs=2, device="cpu", trainer="reference"), {"lr": Float(0.1, 1.0)}, **options
    )
    values, others = ([entry.evaluation.value for entry in one.entries] for one in (study, alone))
    assert values == pytest.approx(others, rel=1e-5)

    outputs, targets = study.best_model()(task.data.validation.inputs), task.data.validation.targets
    right = (outputs.argmax(1) == targets)[targets != -100].float().mean().item()
    assert study.best_value == pytest.approx(F.cross_entropy(outputs, targets).item(), rel=1e-5)
    assert study.best.evaluation.metrics["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("trainer", ["reference", "population"])
def test_batches_count_by_their_labels_and_may_have_none(trainer: str) -> None:
    """So the loss is the mean over all labels, whatever the batches; a batch of only padding teaches nothing."""
    sparse = np.where(rng.random((len(TOKENS), 1)) < 0.4, -100, LABELS)
    task = Task.from_data(Tagger, (TOKENS, sparse), evaluation_batch_size=3)
    space: Any = {"lr": Float(0.1, 1.0), "batch_size": Categorical([1, 2])}
    made = make_trainer(task, epochs=2, device="cpu", trainer=trainer)
    study = optimize(made, space, algorithm="random", population=4, generations=1, seed=1, progress=False)
    assert {entry.evaluation.status for entry in study.entries} == {"ok"}
    outputs, targets = study.best_model()(task.data.validation.inputs), task.data.validation.targets
    right = (outputs.argmax(1) == targets)[targets != -100].float().mean().item()
    assert study.best_value == pytest.approx(F.cross_entropy(outputs, targets).item(), rel=1e-5)
    assert study.best.evaluation.metrics["accuracy"] == pytest.approx(right)
    assert all(0 < epoch.training_loss < 2 for entry in study.entries for epoch in entry.evaluation.curve)


def test_members_with_batches_of_their_own_are_trained_as_alone() -> None:
    task = Task.from_data(Tagger, (TOKENS, LABELS))
    options: Any = {"algorithm": "random", "population": 3, "generations": 1, "seed": 1, "progress": False}
    options |= {"space": {"lr": Float(0.1, 1.0)}, "common_random_numbers": False}
    studies = [
        optimize(make_trainer(task, epochs=2, device="cpu", trainer=trainer), **options)
        for trainer in ("population", "reference")
    ]
    curves = [[epoch.training_loss for one in study.entries for epoch in one.evaluation.curve] for study in studies]
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)


def test_its_loss_is_a_mean_over_labels() -> None:
    space = Space({"lr": Float(0.1, 0.5)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (LABELS, TOKENS % 3, np.sort(LABELS, 0)):
            check_space(Task.from_data(Tagger, (TOKENS, labels), evaluation_batch_size=10), space)
    weighted = Task.from_data(
        Tagger,
        (TOKENS, LABELS),
        evaluation_batch_size=10,
        loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 1.0])),
    )
    with pytest.warns(DeapHPOWarning, match="no mean over the examples of a batch"):
        check_space(weighted, space)


def test_other_numbers_below_zero_are_mistakes() -> None:
    with pytest.raises(InputError, match="classes from 0 on as targets, or -100 for none; got -2"):
        Task.from_data(Tagger, (TOKENS, np.where(LABELS == -100, -2, LABELS)))
    with pytest.raises(InputError, match=r"validation must hold classes from 0 on .*; got nothing else"):
        Task.from_data(Tagger, (TOKENS, LABELS), validation=(TOKENS[:3], np.full((3, 6), -100)))


def test_accuracy_of_what_has_labels_only_is_as_it_was() -> None:
    outputs, targets = torch.randn(1000, 7), torch.randint(7, (1000,))
    assert accuracy(outputs, targets).item() == (outputs.argmax(1) == targets).float().mean().item()


def per_label(outputs: Tensor, targets: Tensor, ignore_index: int = 0) -> Tensor:
    return F.cross_entropy(outputs, targets, ignore_index=ignore_index)


class PerLabel(nn.Module):
    ignore_index = 0

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, ignore_index=self.ignore_index)


class LogTagger(Tagger):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens).log_softmax(1)


LOSSES: dict[str, Any] = {
    "module": (0, nn.CrossEntropyLoss(ignore_index=0)),
    "other module": (0, nn.NLLLoss(ignore_index=0)),
    "function": (0, partial(F.cross_entropy, ignore_index=0)),
    "own function": (0, per_label),
    "own module": (0, PerLabel()),
    "partial of a partial": (0, partial(partial(F.cross_entropy, ignore_index=0), label_smoothing=0.0)),
    "below 0": (-1, nn.CrossEntropyLoss(ignore_index=-1)),
    "above": (255, nn.CrossEntropyLoss(ignore_index=255)),
}
SPARSE = np.where(rng.random((len(TOKENS), 1)) < 0.4, -100, np.where(LABELS == 0, 1, LABELS))  # whole rows, and no 0


@pytest.mark.parametrize("trainer", ["reference", "population"])
@pytest.mark.parametrize("kind", LOSSES)
def test_targets_that_the_loss_leaves_out_have_no_label(kind: str, trainer: str) -> None:
    """Training and measuring are the same, bit for bit, as with targets of -100."""
    ignored, loss = LOSSES[kind]
    network: Any = LogTagger if "other" in kind else Tagger
    settings: Any = {"evaluation_batch_size": 2, "metrics": {"accuracy": accuracy, "least": least}}
    given, plain = (
        Task.from_data(network, (TOKENS, np.where(SPARSE == -100, number, SPARSE)), loss=one, **settings)
        for number, one in ((ignored, loss), (-100, F.nll_loss if "other" in kind else F.cross_entropy))
    )
    for batch_size in (1, 16):
        one, another = (
            make_trainer(task, epochs=2, device="cpu", trainer=trainer)({"lr": 0.5, "batch_size": batch_size})
            for task in (given, plain)
        )
        assert one.status == "ok"
        assert one.value == another.value
        assert one.metrics["accuracy"] == another.metrics["accuracy"] > 0.4
        assert (one.metrics["least"], another.metrics["least"]) == (min(ignored, 1), -100)
        assert [epoch.training_loss for epoch in one.curve] == [epoch.training_loss for epoch in another.curve]


def least(outputs: Tensor, targets: Tensor) -> Tensor:
    """A metric of one's own, which gets the targets as they are."""
    return targets.min()


@pytest.mark.parametrize("common", [True, False])
def test_stacks_count_them_as_networks_trained_alone(common: bool) -> None:
    task = Task.from_data(Tagger, (TOKENS, np.where(SPARSE == -100, 0, SPARSE)), loss=LOSSES["module"][1])
    options: Any = {"algorithm": "random", "population": 3, "generations": 1, "seed": 1, "progress": False}
    options |= {"space": {"lr": Float(0.1, 1.0)}, "common_random_numbers": common}
    stacked, alone = (
        optimize(make_trainer(task, epochs=2, device="cpu", trainer=one), **options)
        for one in ("population", "reference")
    )
    for one, another in zip(stacked.entries, alone.entries, strict=True):
        assert one.evaluation.value == pytest.approx(another.evaluation.value, rel=1e-5)
        assert one.evaluation.metrics["accuracy"] == pytest.approx(another.evaluation.metrics["accuracy"])
        losses = [[epoch.training_loss for epoch in each.evaluation.curve] for each in (one, another)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_loss_that_leaves_out_others_is_a_mean_over_labels() -> None:
    task = Task.from_data(Tagger, (TOKENS, np.where(LABELS == -100, 0, LABELS)), loss=LOSSES["module"][1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_space(replace(task, evaluation_batch_size=10), Space({"lr": Float(0.1, 0.5)}))


def test_only_what_the_loss_leaves_out_may_be_below_0() -> None:
    with pytest.raises(InputError, match="classes from 0 on as targets, or -1 for none; got -100"):
        Task.from_data(Tagger, (TOKENS, LABELS), loss=LOSSES["below 0"][1])
    with pytest.raises(InputError, match="classes from 0 on as targets, or 0 for none; got nothing else"):
        Task.from_data(Tagger, (TOKENS, 0 * TOKENS), loss=LOSSES["module"][1])


def test_targets_of_a_loss_without_such_a_number_all_count() -> None:
    assert {ignored_by(loss) for loss in (None, F.mse_loss, nn.MSELoss(), torch.dist, len, partial(F.l1_loss))} == {
        -100
    }
