"""Hyperparameters of the loss: networks are trained with them, and measured without them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deap_hpo import Categorical, Float, Space, Task, make_trainer, optimize
from deap_hpo.configuration.suitability import check_space
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.training.data import load_digits
from deap_hpo.training.keyed import keyed_model, keyed_permutation
from deap_hpo.training.models import MLP
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from tests.training.networks import NormalisedCNN

DATA = load_digits(training_size=150, validation_size=100)


def focal(output: Tensor, target: Tensor, focus: float = 0.0, *, scaled: bool = False) -> Tensor:
    """Focal loss; with 0 it is cross-entropy."""
    each = F.cross_entropy(output, target, reduction="none")
    loss = ((1 - torch.exp(-each)) ** focus * each).mean()
    return loss * 2 if scaled else loss


class Focal(nn.Module):
    """The same as a module."""

    def forward(self, output: Tensor, target: Tensor, focus: float = 0.0) -> Tensor:
        """Return the loss."""
        return focal(output, target, focus)


def task_of(loss: Any = F.cross_entropy, model: Any = None, **settings: Any) -> Task:
    return Task("digits", model or partial(MLP, inputs=64, width=16), DATA, loss=loss, **settings)


def test_a_network_is_trained_by_the_loss_with_them_and_measured_by_the_loss_without() -> None:
    task = task_of()
    evaluation = ReferenceTrainer(task, device="cpu")({"lr": 0.1, "label_smoothing": 0.3}, seed=5)
    model, total = keyed_model(task.model, seed=5), 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in torch.split(keyed_permutation(150, 5, 0), 64):
        inputs, targets = DATA.prepare(DATA.training.inputs[batch]), DATA.training.targets[batch]
        loss = F.cross_entropy(model(inputs), targets, label_smoothing=0.3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    with torch.no_grad():
        output = model(DATA.prepare(DATA.validation.inputs))
    assert evaluation.curve[0].training_loss == pytest.approx(total / 150, rel=1e-5)
    assert evaluation.value == pytest.approx(F.cross_entropy(output, DATA.validation.targets).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "name", "values"),
    [
        (F.cross_entropy, "label_smoothing", [0.0, 0.1, 0.4, None]),
        (focal, "focus", [0.0, 2.0, 2.0, None]),
        (focal, "scaled", [True, False, True, False]),
        (Focal(), "focus", [0.5, 1.0, 3.0, 0.5]),
        (partial(focal, focus=1.0), "focus", [None, 0.0, 2.0, 5.0]),
    ],
)
@pytest.mark.parametrize("seeds", [[1, 1, 1, 1, 1], [1, 2, 3, 4, 5]], ids=["common seed", "seeds"])
def test_a_stack_gives_what_the_reference_gives(loss: Any, name: str, values: list[Any], seeds: list[int]) -> None:
    task = task_of(loss, partial(NormalisedCNN, dropout=0.3))
    requests = []
    for i, (value, seed) in enumerate(zip([*values, values[1]], seeds, strict=True)):
        given = {} if value is None else {name: value}
        rates = {"lr": 1e30, "weight_decay": 1e30} if i == 1 else {"lr": 0.1, "weight_decay": 0.01}
        requests.append(Request(i, {**rates, "momentum": 0.5, **given}, seed))
    together = dict(PopulationTrainer(task, epochs=2, device="cpu").evaluate_batch(requests))
    assert {one.environment["stack"] for one in together.values()} == {5}
    for i, request in enumerate(requests):
        alone = ReferenceTrainer(task, epochs=2, device="cpu").evaluate(request)
        assert together[i].status == alone.status == ("diverged" if i == 1 else "ok")
        assert together[i].values == pytest.approx(alone.values, rel=1e-4)
        assert [one.training_loss for one in together[i].curve] == pytest.approx(
            [one.training_loss for one in alone.curve], rel=1e-4
        )


def test_a_stack_whose_losses_draw_leaves_them_to_the_reference() -> None:
    def noisy(output: Tensor, target: Tensor, noise: float = 0.0) -> Tensor:
        return F.cross_entropy(output + noise * torch.randn_like(output), target)

    task = task_of(noisy)
    requests = [Request(i, {"lr": 0.1, "noise": noise}, 1) for i, noise in enumerate([0.1, 0.5])]
    with pytest.warns(RuntimeWarning, match="one at a time"):
        together = dict(PopulationTrainer(task, device="cpu").evaluate_batch(requests))
    for i, request in enumerate(requests):
        assert together[i].value == ReferenceTrainer(task, device="cpu").evaluate(request).value


def test_a_search_finds_them_and_gives_the_network() -> None:
    task = task_of(focal)
    trainer = make_trainer(task, device="cpu", epochs=2)
    space = {"lr": Float(0.01, 1.0, log=True), "focus": Float(0.0, 5.0), "scaled": Categorical([False, True])}
    study = optimize(trainer, space, algorithm="random", population=3, generations=2, seed=1)
    loss, _ = trainer.measure(study.best_model(), trainer.data.validation)
    assert loss == study.best_value
    assert study.best_params.keys() == space.keys()


def test_arguments_go_to_the_recipe_then_to_the_network_then_to_the_loss() -> None:
    def network(width: int = 8, label_smoothing: float = 0.0) -> nn.Module:
        return MLP(inputs=64, width=width)

    params = {"lr": 0.1, "width": 4, "label_smoothing": 0.2}
    assert task_of(model=network).configure(params)[1] == {"width": 4, "label_smoothing": 0.2}
    assert task_of(model=network).loss_arguments(params) == {}
    task = task_of()
    assert task.configure({**params, "width": 8})[1] == {"width": 8}
    assert task.loss_arguments(params) == {"label_smoothing": 0.2}
    anything = task_of(model=lambda **arguments: MLP(inputs=64))
    assert anything.configure({"label_smoothing": 0.2, "depth": 3})[1] == {"label_smoothing": 0.2, "depth": 3}
    assert anything.loss_arguments({"label_smoothing": 0.2}) == {}


def test_what_the_recipe_and_the_loss_both_have_is_refused() -> None:
    def with_gamma(output: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
        return focal(output, target, gamma)

    with pytest.raises(InputError) as refused:
        task_of(with_gamma).check_names({"gamma": 1.0})
    assert str(refused.value) == (
        "hyperparameter 'gamma' is a training setting and an argument of the loss; give that of the loss another name."
    )
    task_of(with_gamma).check_names({"lr": 1.0})


def test_what_became_a_setting_is_refused_where_the_network_was_given_it_before() -> None:
    def network(alpha: float = 1.0, momentum: float = 0.1) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ELU(alpha), nn.BatchNorm1d(10, momentum=momentum))

    with pytest.raises(InputError) as refused:
        make_trainer(task_of(model=network), device="cpu")({"alpha": 0.5})
    assert str(refused.value) == (
        "hyperparameter 'alpha' is a training setting and an argument of the model; "
        "give that of the model another name."
    )
    recipe, architecture = task_of(model=network).configure({"momentum": 0.5})
    assert (recipe.momentum, architecture) == (0.5, {})
    assert task_of().configure({"alpha": 0.5})[0].alpha == 0.5


def test_a_name_that_nobody_takes_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        InputError,
        match=r"or of the loss \(.*label_smoothing.*\); it is none of these\. Did you mean 'label_smoothing'",
    ):
        task_of().check_names({"label_smooth": 0.1})
    with pytest.raises(InputError, match=r"or of the loss \(it takes none\); it is none of these"):
        task_of(nn.CrossEntropyLoss()).check_names({"smoothing": 0.1})


def test_a_value_that_the_loss_does_not_take_is_said_before_anything_is_trained() -> None:
    with pytest.raises(InputError, match=r"could not be trained by the loss with \{'label_smoothing': 1\.5\}"):
        check_space(task_of(), Space({"label_smoothing": Float(1.2, 1.8)}))
    with pytest.raises(InputError, match=r"could not be trained by the loss with \{'label_smoothing': 1\.5\}"):
        check_space(task_of(), Space({"label_smoothing": Float(0.0, 1.5)}))  # its middle is valid
    check_space(task_of(), Space({"label_smoothing": Float(0.0, 0.9)}))


def test_a_loss_whose_argument_has_no_default_cannot_measure() -> None:
    def bare(output: Tensor, target: Tensor, focus: float) -> Tensor:
        return focal(output, target, focus)

    with pytest.raises(InputError, match=r"does not fit the loss .*missing 1 required positional argument: 'focus'"):
        check_space(task_of(bare), Space({"focus": Float(0.0, 2.0)}))
