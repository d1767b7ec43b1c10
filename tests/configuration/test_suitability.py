"""Checks of a task and a space before anything is trained."""

from __future__ import annotations

import gc
import re
import warnings
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deap_hpo import Categorical, Float, Int, Recipe, Space, Task, make_trainer, optimize
from deap_hpo.configuration.suitability import check_space
from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.training.measures import accuracy

rng = np.random.default_rng(0)
TABLE, CLASSES = rng.normal(size=(60, 4)), rng.integers(0, 3, size=60)
built: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def none_built() -> None:
    built.clear()


def network(d: int = 8, heads: int = 1) -> nn.Module:
    built.append({"d": d, "heads": heads})
    return nn.Sequential(nn.Linear(4, d), nn.Unflatten(1, (1, d)), Attention(d, heads), nn.Flatten(), nn.Linear(d, 3))


class Attention(nn.MultiheadAttention):
    def forward(self, x: Any) -> Any:  # type: ignore[override]
        return super().forward(x, x, x)[0]


def task(model: Any = network) -> Task:
    return Task.from_data(model, (TABLE, CLASSES))


@pytest.mark.parametrize("heads", [[1, 2, 3], [1, 3, 2], [3, 1, 2], [2, 3, 1], [3, 5, 6, 7, 9, 2]])
def test_the_order_of_choices_decides_nothing(heads: list[int]) -> None:
    space = Space({"lr": Float(1e-3, 0.1), "d": Categorical([8, 16, 32]), "heads": Categorical(heads)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_space(task(), space)
    assert found["d"] % found["heads"] == 0
    with pytest.warns(DeapHPOWarning, match="could not be built with heads = 3"):
        assert check_space(task(), space) == found
    assert len(built) <= 2 * (9 + 1 + 3 * (2 + len(heads)))


def test_a_search_goes_on_where_some_networks_cannot_be_built() -> None:
    study = optimize(
        make_trainer(task(), epochs=1, device="cpu"),
        {"d": Categorical([8, 16, 32]), "heads": Categorical([1, 3, 2])},
        algorithm="grid",
        population=9,
        generations=1,
        progress=False,
    )
    statuses = {(p["d"], p["heads"]): e.evaluation.status for e in study.record for p in [study.params_of(e)]}
    assert statuses == {(d, heads): "failed" if heads == 3 else "ok" for d in (8, 16, 32) for heads in (1, 2, 3)}


def test_where_no_network_can_be_built_the_middle_says_why() -> None:
    space = Space({"lr": Float(1e-3, 0.1), "d": Categorical([8, 16, 32]), "heads": Categorical([7, 3, 5])})
    with pytest.raises(InputError, match=r"could not be built with {'d': 16, 'heads': 3}: embed_dim") as refused:
        check_space(task(), space)
    assert isinstance(refused.value.__cause__, AssertionError)
    assert len(built) == len({str(one) for one in built}) <= 9


def test_what_fits_in_the_middle_is_built_twice_to_see_whether_it_is_a_fresh_one() -> None:
    found = check_space(task(), Space({"lr": Float(1e-3, 0.1), "d": Int(8, 32)}))
    middle, bounds = {"d": found["d"], "heads": 1}, [{"d": 8, "heads": 1}, {"d": 32, "heads": 1}]
    assert built == [middle] * 3 + bounds, "and once for its loss, and at each bound"


def test_the_same_network_is_not_tried_again() -> None:
    with pytest.raises(InputError, match="could not be built: embed_dim"):
        check_space(task(lambda: network(heads=3)), Space({"lr": Float(1e-3, 0.1), "momentum": Float(0.0, 0.9)}))
    assert len(built) == 1


def test_networks_that_do_not_fit_are_not_in_memory_together() -> None:
    gc.freeze()  # older objects, which every collection would look through
    living: list[int] = []
    networks: list[Any] = []

    def misfit(width: int) -> nn.Module:
        gc.collect()
        living.append(sum(one() is not None for one in networks))
        made = nn.Linear(5, width)
        networks.append(weakref.ref(made))
        return made

    try:
        with pytest.raises(InputError, match="does not fit the data"):
            check_space(task(misfit), Space({"width": Int(3, 40)}))
    finally:
        gc.unfreeze()
    assert len(living) > 3
    assert max(living) == 0


def test_a_name_without_a_place_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="hyperparameter 'hidden' must be a training setting"):
        check_space(task(), Space({"hidden": Int(1, 2)}))
    assert built == []


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        ({"loss": "mse"}, r"^loss must be a function \(outputs, targets\) .*; got 'mse'\.$"),
        ({"loss": nn.CrossEntropyLoss}, r"^loss must be .*; got <class .*> \(did you mean CrossEntropyLoss\(\)\?\)\.$"),
        ({"metrics": {"error": "mae"}}, r"^metrics\['error'\] must be a function"),
        ({"metrics": {"error": nn.L1Loss}}, r"^metrics\['error'\] must be .* \(did you mean L1Loss\(\)\?\)\.$"),
    ],
)
def test_what_is_no_function_of_outputs_and_targets_is_no_loss(measures: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Task.from_data(network, (TABLE, CLASSES), **measures)


def test_a_setting_by_another_name_is_offered_by_ours() -> None:
    with pytest.raises(InputError, match=r"it is none of these\. Did you mean 'lr'\?$"):
        optimize(make_trainer(task(), epochs=1), {"learning_rate": Float(0.001, 0.1)})


def f1(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs.argmax(1) == targets).float().mean())


def test_one_direction_for_objectives_that_need_different_ones_is_warned_of(digits_task: Task) -> None:
    front = replace(digits_task, objective=["accuracy", "parameters"], direction="maximize")
    with pytest.warns(DeapHPOWarning, match="'parameters' is maximised, like all objectives"):
        check_space(front, Space({"lr": Float(1e-3, 0.1)}))


def test_an_objective_of_ones_own_that_nobody_gave_a_direction_is_warned_of(digits_task: Task) -> None:
    space = Space({"lr": Float(1e-3, 0.1)})
    own = replace(digits_task, metrics={"f1": f1, "accuracy": accuracy}, objective="f1")
    with pytest.warns(DeapHPOWarning, match=r"'f1' is minimised. If more of it is better, set the task's direction to"):
        check_space(own, space)
    for known in (
        replace(own, direction="maximize"),
        replace(own, direction="minimize"),
        replace(own, objective="accuracy"),
        replace(own, metrics={"top_5_error": f1}, objective="top_5_error"),
        replace(own, objective=["loss", "parameters"]),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_space(known, space)
    with pytest.raises(InputError, match=r"A task has its own: Task\.from_data\(\.\.\., direction=\.\.\.\)"):
        optimize(make_trainer(own, device="cpu"), space, direction="maximize", population=2, generations=1)


def warned_of(made: Task, **space: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_space(made, Space(space))
    return [str(one.message) for one in caught]


@pytest.mark.parametrize(
    ("recipe", "space", "said"),
    [
        (
            {"optimizer": "adam"},
            {"momentum": Float(0.0, 0.9)},
            "'momentum' does nothing: optimizer adam does not use",
        ),
        ({}, {"beta1": Float(0.0, 0.9)}, "'beta1' does nothing: optimizer sgd does not use it"),
        ({}, {"gamma": Float(0.1, 0.9)}, "'gamma' does nothing: schedule constant does not use it"),
        (
            {"schedule": "step"},
            {"schedule": Categorical(["cosine", "linear"]), "step_size": Int(1, 3)},
            "'step_size' does nothing: schedule cosine, linear does not use it",
        ),
        ({}, {"schedule": Categorical(["cosine", "linear"]), "step_size": Int(1, 3)}, "'step_size' does nothing: sch"),
        ({"optimizer": "adam"}, {"optimizer": Categorical(["sgd", "adam"]), "momentum": Float(0.0, 0.9)}, None),
        (
            {"schedule": "step"},
            {"gamma": Float(0.1, 0.9), "lr": Float(0.1, 0.2), "weight_decay": Float(0.0, 1.0)},
            None,
        ),
        ({"optimizer": "rmsprop"}, {"alpha": Float(0.1, 0.9), "momentum": Float(0.0, 0.9)}, None),
    ],
)
def test_a_hyperparameter_that_does_nothing_is_warned_of(recipe: Any, space: Any, said: str | None) -> None:
    messages = warned_of(replace(task(), recipe=Recipe(**recipe)), **space)
    assert len(messages) == (said is not None)
    assert said is None or said in messages[0]


def test_what_an_optimizer_of_ones_own_takes_is_used() -> None:
    own = replace(task(), optimizer=torch.optim.NAdam)
    assert warned_of(own, lr=Float(0.001, 0.1), momentum_decay=Float(0.001, 0.01), weight_decay=Float(0.0, 0.1)) == []


def test_bounds_are_tried_where_a_hyperparameter_is_in_use() -> None:
    kinds = {"optimizer": Categorical(["sgd", "adam", "adamw"]), "momentum": Float(0.0, 1.5)}
    for used_with in ("sgd", "adamw"):
        with pytest.raises(InputError, match=r"momentum must be a finite number from 0 to 1; got 1\.5"):
            check_space(task(), Space(kinds, when={"momentum": {"optimizer": used_with}}))


def test_what_is_in_use_beside_a_schedule_of_the_recipe_does_something() -> None:
    """The recipe's schedule applies when none is searched."""
    names = {"searched": Categorical([True, False]), "schedule": Categorical(["cosine"]), "step_size": Int(1, 3)}
    space = Space(names, when={"schedule": {"searched": [True]}, "step_size": {"searched": [False]}})
    scheduled = replace(task(lambda searched: network()), recipe=Recipe(schedule="step"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_space(scheduled, space)


def gated(outputs: torch.Tensor, targets: torch.Tensor, gate: float = 0.0) -> torch.Tensor:
    if gate >= 1:
        raise ValueError("the gate must be below 1")
    return nn.functional.cross_entropy(outputs, targets) * (1 + gate)


def shallow(kind: str = "x", depth: int = 1) -> nn.Module:
    if kind == "y" and depth > 2:
        raise ValueError("y is shallow")
    return network()


@pytest.mark.parametrize("first", ["kind", "depth"])
def test_bounds_are_tried_where_the_network_works(first: str) -> None:
    """With `gate`, the middle is a network that cannot be built."""
    names = {"kind": Categorical(["y", "x"]), "depth": Int(1, 5)}
    names = {name: names[name] for name in (first, *names)}
    gated_task = replace(task(shallow), loss=gated)
    space = Space({**names, "gate": Float(0.0, 0.9)}, when={"gate": {"kind": ["y"]}})
    assert check_space(gated_task, space)
    with pytest.raises(InputError, match="the gate must be below 1"):
        check_space(gated_task, Space({**names, "gate": Float(0.0, 1.0)}, when={"gate": {"kind": ["y"]}}))


def test_where_no_network_works_with_it_nothing_can_be_said_of_a_bound() -> None:
    def only_x(kind: str = "x") -> nn.Module:
        if kind == "y":
            raise ValueError("there is no y")
        return network()

    names = {"kind": Categorical(["x", "y"]), "gate": Float(0.0, 1.0)}
    assert check_space(replace(task(only_x), loss=gated), Space(names, when={"gate": {"kind": ["y"]}})) == {"kind": "x"}


def test_conditions_that_contradict_each_other_are_warned_of() -> None:
    names = {one: Categorical([1, 2]) for one in "abc"}
    space = Space(names, when={"b": {"a": 1}, "c": {"a": 2, "b": 1}})
    with pytest.warns(DeapHPOWarning, match="hyperparameter 'c' is never in use"):
        check_space(task(lambda a=1, b=1, c=1: network()), space)


def root(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, targets) ** 0.5


@pytest.mark.parametrize(
    ("loss", "is_mean"),
    [
        (nn.functional.cross_entropy, True),
        (nn.CrossEntropyLoss(label_smoothing=0.1), True),
        (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 10.0, 0.1])), False),
        (nn.CrossEntropyLoss(reduction="sum"), False),
        (root, False),
        (lambda outputs, targets: nn.functional.nll_loss(torch.log(outputs.softmax(1)), targets), True),
        (lambda outputs, targets: nn.functional.cross_entropy(outputs + torch.rand(()), targets), True),
        (lambda outputs, targets: torch.rand(()) * outputs.mean(), True),
    ],
)
def test_a_loss_that_is_no_mean_is_warned_of_where_it_is_measured_in_batches(loss: Any, is_mean: bool) -> None:
    one = Task.from_data(network, (TABLE, CLASSES), loss=loss, validation=0.5, evaluation_batch_size=10)
    messages = warned_of(one, lr=Float(0.01, 0.1))
    assert bool(messages) != is_mean
    is_sum = getattr(loss, "reduction", "") == "sum"
    said = "is a sum over the examples" if is_sum else "with evaluation_batch_size=30 it is measured on all at once"
    assert is_mean or said in messages[0]
    assert len(warned_of(replace(one, evaluation_batch_size=30), lr=Float(0.01, 0.1))) == is_sum


def test_labels_that_nobody_named_so_are_warned_of() -> None:
    labels = np.stack([CLASSES == 0, CLASSES == 1], 1).astype(float)
    with pytest.warns(DeapHPOWarning, match=r"targets of the task 'task', 0.0 and 1.0, are taken for a regression"):
        Task.from_data(network, (TABLE, labels))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Task.from_data(network, (TABLE, labels), loss=nn.BCEWithLogitsLoss())
        Task.from_data(network, (TABLE, labels + 1))
        Task.from_data(network, (TABLE, labels * [1.0, 0.5]))


def made(**arguments: Any) -> Task:
    return Task.from_data(network, (TABLE, CLASSES), **arguments)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: make_trainer(nn.Linear), r"task must be a Task, such as Task.from_data\(network, data\); got <class"),
        (lambda: Task.from_data(None, (TABLE, CLASSES)), "model must be a class or a function .*; got None"),
        (
            lambda: Task.from_data(network, (TABLE, CLASSES), split_seed="x"),
            "split_seed must be an integer of at least 0",
        ),
        (
            lambda: Task.from_data(network, (TABLE, CLASSES), split_seed=-1),
            "split_seed must be an integer of at least 0",
        ),
        (
            lambda: Task.from_data(network, (TABLE, CLASSES), evaluation_batch_size=0),
            "evaluation_batch_size must be an int",
        ),
        (lambda: optimize(len, {"x": Float(0.0, 1.0)}, arguments=[3]), "arguments must be a mapping .*; got .3."),
        (lambda: optimize(len, {"x": Float(0.0, 1.0)}, arguments="cxpb"), "arguments must be a mapping .*; got 'cxpb'"),
    ],
)
def test_what_is_of_another_type_is_named(call: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()


class Probabilities(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.layer(inputs)).squeeze(1)


def logarithmic(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -(targets * outputs.log() + (1 - targets) * (1 - outputs).log()).mean()


@pytest.mark.parametrize("loss", [nn.BCELoss(), logarithmic, lambda p, t: torch.sqrt(1 - p * (1 - t)).mean()])
def test_losses_of_what_has_bounds_may_be_means(loss: Any) -> None:
    labels = (CLASSES == 0).astype("float32")
    one = Task.from_data(Probabilities, (TABLE, labels), loss=loss, validation=0.5, evaluation_batch_size=10)
    assert warned_of(one, lr=Float(0.01, 0.1)) == []


@pytest.mark.parametrize(
    ("recipe", "space", "said"),
    [
        ({}, {"batch_size": Categorical([16, 5000])}, "a batch_size of 5000 exceeds the 48 training examples"),
        ({"batch_size": 49}, {"lr": Float(0.01, 0.1)}, "a batch_size of 49 exceeds"),
        ({"batch_size": 48}, {"lr": Float(0.01, 0.1)}, None),
        ({}, {"nesterov": Categorical([True, False])}, "nesterov does nothing"),
        ({"momentum": 0.5}, {"nesterov": Categorical([True, False])}, None),
        ({"nesterov": True}, {"momentum": Float(0.0, 0.9)}, None),
        ({}, {"optimizer": Categorical(["sgd", "adamw"])}, "adamw with weight_decay = 0 equals adam"),
        ({"weight_decay": 0.01}, {"optimizer": Categorical(["sgd", "adamw"])}, None),
        ({}, {"optimizer": Categorical(["adam", "adamw"]), "weight_decay": Float(0.0, 0.1)}, None),
    ],
)
def test_what_is_not_what_it_seems_is_warned_of(recipe: Any, space: Any, said: str | None) -> None:
    messages = warned_of(replace(task(), recipe=Recipe(**recipe)), **space)
    assert len(messages) == (said is not None)
    assert said is None or said in messages[0]


def test_a_name_of_the_recipe_and_of_the_network_is_said_to_be_the_recipes() -> None:
    def normed(momentum: float = 0.1) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=momentum), nn.Linear(8, 3))

    messages = warned_of(task(normed), momentum=Float(0.0, 0.9))
    assert len(messages) == 1
    assert "the network's argument 'momentum' keeps its default" in messages[0]


def test_bounds_with_which_no_network_can_be_built_are_warned_of() -> None:
    def dropping(dropout: float = 0.5, width: int = 8) -> nn.Module:
        return nn.Sequential(nn.Linear(4, width), nn.Dropout(dropout), nn.Linear(width, 3))

    messages = warned_of(task(dropping), dropout=Float(0.0, 1.5), width=Int(4, 16))
    assert len(messages) == 1
    assert "could not be built with dropout = 1.5" in messages[0]
    assert "has to be between 0 and 1, but got 1.5" in messages[0]


def test_a_last_batch_of_one_is_refused_where_batches_are_normalised() -> None:
    def normed() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

    def in_space() -> nn.Module:  # its statistics are over places too
        return nn.Sequential(nn.Unflatten(1, (1, 4)), nn.BatchNorm1d(1), nn.Flatten(), nn.Linear(4, 3))

    lr = Space({"lr": Float(0.01, 0.1)})
    of_one = Recipe(batch_size=47)
    with pytest.raises(InputError, match="the last batch of an epoch has 1 example, of 48 in batches of 47") as refused:
        check_space(replace(task(normed), recipe=of_one), lr)
    assert "change batch_size" in str(refused.value)
    for fine in (replace(task(in_space), recipe=of_one), replace(task(normed), recipe=Recipe(batch_size=46))):
        assert warned_of(fine, lr=Float(0.01, 0.1)) == []
    for sizes in (Categorical([8, 47, 16]), Categorical([47, 8, 16]), Int(40, 48)):
        (message,) = warned_of(task(normed), batch_size=sizes)
        assert message.startswith("evaluations with batch_size = 47 will fail: the last batch")
    (message,) = warned_of(task(normed), batch_size=Int(16, 64, step=16))
    assert "a batch_size of 64 exceeds the 48" in message, "and 47 is not among them"


def test_a_loss_may_work_in_place() -> None:
    def halving(outputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(outputs.div_(2.0), targets)

    assert warned_of(Task.from_data(network, (TABLE, CLASSES), loss=halving), lr=Float(0.01, 0.1)) == []


def test_a_loss_without_a_gradient_is_refused() -> None:
    def detached(outputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(outputs.detach(), targets)

    with pytest.raises(InputError, match="it has no gradient, so that nothing can be learnt: is something detached"):
        check_space(Task.from_data(network, (TABLE, CLASSES), loss=detached), Space({"lr": Float(0.01, 0.1)}))


LR = {"lr": Float(1e-3, 1.0, log=True)}
WARM_UP = {**LR, "warmup_ratio": Float(0.0, 0.3)}
PBT = {"algorithm": "pbt", "population": 2, "generations": 4}


@pytest.mark.parametrize(
    ("recipe", "space", "search", "said"),
    [
        (
            {"schedule": "warmup_cosine"},
            WARM_UP,
            PBT,
            "but the schedule warmup_cosine multiplies the learning rate that it evolves, and 'warmup_ratio' acts only "
            "in the first epochs of a training: give the recipe a constant schedule and leave 'warmup_ratio' out",
        ),
        ({}, {**LR, "warmup": Float(0.0, 1.0)}, PBT, "but 'warmup' acts only in the first epochs of a training: leave"),
        (
            {},
            {**LR, "schedule": Categorical(["constant", "linear"])},
            PBT,
            "the schedule linear multiplies the learning rate that it evolves: give the recipe a constant schedule and "
            "leave 'schedule' out of the search space",
        ),
        ({"schedule": "cosine"}, {"momentum": Float(0.0, 0.9)}, PBT, None),
        ({"warmup": 1.0}, LR, PBT, None),
        (
            {"schedule": "warmup_linear"},
            WARM_UP,
            {"algorithm": "hyperband", "max_epochs": 8},
            "trainings are compared after the first epoch, when some are still warming up",
        ),
        (
            {"schedule": "warmup_linear"},
            WARM_UP,
            {"algorithm": "hyperband", "max_epochs": 8, "arguments": {"min_epochs": 2, "eta": 2}},
            None,
        ),
        ({"schedule": "cosine"}, LR, {"algorithm": "freeze-thaw", "max_epochs": 8}, None),
        ({"schedule": "warmup_linear"}, WARM_UP, {"algorithm": "random", "max_evaluations": 1}, None),
        (
            {},
            LR,
            {"algorithm": "hyperband", "max_epochs": 3},
            r"max_epochs = 3 is too few for one whole training \(4 epochs\)",
        ),
        ({}, LR, {**PBT, "max_epochs": 6}, r"max_epochs = 6 is too few .* \(4 epochs; of the population, 7\)"),
        ({}, LR, {**PBT, "max_epochs": 7}, None),
        ({}, LR, {**PBT, "generations": 2, "max_epochs": 3}, None),
    ],
)
def test_schedules_and_budgets_that_do_not_suit_trainings_in_parts_are_warned_of(
    recipe: Any, space: Any, search: Any, said: str | None
) -> None:
    trainer = make_trainer(replace(task(), recipe=Recipe(**recipe)), epochs=4, device="cpu")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        optimize(trainer, space, seed=1, progress=False, **search)
    messages = [str(one.message) for one in told if issubclass(one.category, DeapHPOWarning)]
    assert len(messages) == (said is not None), messages
    assert said is None or re.search(said, messages[0])
