"""Early stopping: which epoch a network is judged after, when its training ends, and that all trainers agree on it."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from deap_hpo import Float, Individual, Space, Study, make_trainer, optimize
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Epoch, Evaluation, Request
from deap_hpo.goals import Goals
from deap_hpo.retraining import Retraining
from deap_hpo.training.data import load_digits
from deap_hpo.training.learning_curve import LearningCurve
from deap_hpo.training.models import MLP
from deap_hpo.training.outcome import repeat_seeds
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.state import network_tensors
from deap_hpo.training.task import Task
from tests.training.networks import NormalisedCNN

# At these rates the validation loss goes up and down, so that the best epoch is one in the middle.
ROUGH = {"lr": 0.5, "momentum": 0.9}
RATES = [0.5, 0.01, 0.1, 1.0]


@pytest.fixture(scope="module")
def task() -> Task:
    """Few digits, and a constant learning rate."""
    data = load_digits(training_size=100, validation_size=200)
    return Task("digits", partial(MLP, inputs=64), data, recipe=Recipe(schedule="constant"))


def curve_of(costs: list[float], goals: Goals | None = None, epochs: int = 10, **settings: Any) -> LearningCurve:
    """A curve of these costs, as long as it continues."""
    curve = LearningCurve(goals or Goals(), epochs, **settings)
    for i, cost in enumerate(costs):
        curve.add(Epoch(i + 1, 0.0, cost, {"accuracy": -cost}))
        if curve.finished:
            break
    return curve


def evaluated(curve: LearningCurve) -> Evaluation:
    """Its evaluation."""
    return curve.evaluation(parameters=7, seconds=1.0, environment={})


@pytest.mark.parametrize(("patience", "trained"), [(1, 3), (2, 6), (3, 10), (None, 10)])
def test_it_ends_after_as_many_epochs_without_a_better_one(patience: int | None, trained: int) -> None:
    costs = [5.0, 4.0, 4.0, 3.0, 3.5, 3.0, 2.9, 9.0, 9.0, 2.8]
    evaluation = evaluated(curve_of(costs, patience=patience))
    assert (evaluation.status, len(evaluation.curve)) == ("ok", trained)
    assert evaluation.value == costs[trained - 1]  # the last, even if an earlier one was better
    assert "best_epoch" not in evaluation.metrics
    assert evaluation.kept_epoch == evaluation.curve[-1]


def test_it_is_judged_after_its_best_epoch_the_earlier_one_of_equals() -> None:
    curve = LearningCurve(Goals(), 4, keep_best=True)
    assert [curve.add(Epoch(i + 1, 0.0, cost)) for i, cost in enumerate([3.0, 2.0, 2.0, 4.0])] == [
        True,
        True,
        False,
        False,
    ]
    evaluation = evaluated(curve)
    assert (evaluation.value, evaluation.metrics["best_epoch"], len(evaluation.curve)) == (2.0, 2.0, 4)
    assert evaluation.kept_epoch == evaluation.curve[1]


@pytest.mark.parametrize(
    ("objectives", "directions", "best"),
    [
        (("loss",), ("minimize",), 2),
        (("accuracy",), ("maximize",), 2),
        (("accuracy",), ("minimize",), 3),
        (("parameters", "accuracy"), ("minimize", "minimize"), 3),
        (("parameters",), ("minimize",), 2),
        (("seconds", "parameters"), ("minimize", "minimize"), 2),
    ],
)
def test_best_is_by_the_first_objective_that_epochs_differ_in(objectives, directions, best) -> None:
    evaluation = evaluated(curve_of([3.0, 2.0, 4.0], Goals(objectives, directions), epochs=3, keep_best=True))
    assert evaluation.metrics["best_epoch"] == best


def test_an_epoch_without_a_number_is_never_the_best() -> None:
    goals = Goals(("accuracy",), ("maximize",))
    assert evaluated(curve_of([math.nan, 5.0, math.nan, 6.0], goals, epochs=4, keep_best=True)).value == -5.0
    assert evaluated(curve_of([math.nan, math.nan], goals, epochs=2, keep_best=True)).status == "diverged"
    assert len(evaluated(curve_of([math.nan] * 9, goals, patience=3)).curve) == 4


def test_what_ends_before_its_time_has_diverged_whatever_its_best_epoch_was() -> None:
    evaluation = evaluated(curve_of([3.0, 2.0, 4.0], keep_best=True, patience=5))
    assert (evaluation.status, evaluation.value, len(evaluation.curve)) == ("diverged", math.inf, 3)


@pytest.mark.parametrize("model", [None, NormalisedCNN], ids=["mlp", "with buffers"])
def test_the_network_is_that_of_its_best_epoch(task: Task, model: type[nn.Module] | None) -> None:
    if model is not None:
        task = Task("digits", model, task.data, recipe=task.recipe)
    trainer = ReferenceTrainer(task, epochs=8, device="cpu", keep_best=True)
    network, evaluation = trainer.train(ROUGH, seed=3)
    losses = [epoch.validation_loss for epoch in evaluation.curve]
    best = losses.index(min(losses)) + 1
    assert 1 < best < 8
    assert (evaluation.value, evaluation.metrics["best_epoch"]) == (min(losses), best)
    assert trainer.measure(network, trainer.data.validation) == (min(losses), dict(evaluation.curve[best - 1].metrics))
    shorter, _, _ = ReferenceTrainer(task, epochs=8, device="cpu").train_on(None, ROUGH, 3, best)
    for name, tensor in network_tensors(shorter).items():
        assert torch.equal(tensor, network_tensors(network)[name])


def test_buffers_that_cannot_be_written_to_are_left_as_they_are(task: Task) -> None:
    class Odd(MLP):
        """An MLP with an expanded buffer, and one as long as the last batch; it breaks down when told to."""

        breaks = False

        def __init__(self) -> None:
            super().__init__(inputs=64)
            self.register_buffer("scale", torch.ones(1).expand(10))
            self.register_buffer("last", torch.zeros(0))
            self.register_buffer("steps", torch.zeros(()))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            outputs = super().forward(images) * self.scale
            self.last = outputs.detach()[:, 0].clone()
            self.steps = self.steps + self.training
            return outputs * math.nan if self.breaks and self.steps > 3 else outputs

    trainer = ReferenceTrainer(
        Task("digits", Odd, task.data, recipe=task.recipe), epochs=8, device="cpu", keep_best=True
    )
    network, evaluation = trainer.train(ROUGH, seed=3)
    assert 1 < evaluation.metrics["best_epoch"] < 8
    assert trainer.measure(network, trainer.data.validation)[0] == evaluation.value
    Odd.breaks = True
    evaluation = trainer.evaluate(Request(0, ROUGH, seed=3))
    assert (evaluation.status, len(evaluation.curve)) == ("diverged", 1)


@pytest.mark.parametrize("settings", [{"keep_best": True}, {"patience": 1}, {"keep_best": True, "patience": 2}])
@pytest.mark.parametrize("repeats", [1, 2])
def test_a_stack_gives_what_the_reference_gives(task: Task, settings: dict[str, Any], repeats: int) -> None:
    reference = ReferenceTrainer(task, epochs=8, device="cpu", repeats=repeats, **settings)
    population = PopulationTrainer(task, epochs=8, device="cpu", repeats=repeats, **settings)
    assert population.settings == reference.settings
    requests = [Request(i, {**ROUGH, "lr": lr}, seed=5) for i, lr in enumerate([*RATES, 1e30])]
    together = dict(population.evaluate_batch(requests))
    lengths = set()
    for i, request in enumerate(requests):
        alone = reference.evaluate(request)
        assert (together[i].status, len(together[i].curve)) == (alone.status, len(alone.curve))
        assert together[i].values == pytest.approx(alone.values, rel=1e-4)
        assert together[i].metrics == pytest.approx(alone.metrics, rel=1e-3)
        lengths.add(len(alone.curve))
    assert together[4].status == "diverged"
    assert len(lengths) > (2 if "patience" in settings else 1)  # otherwise this would show nothing


def test_a_training_that_is_over_leaves_its_stack(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from deap_hpo.training.stacking.stack import Stack

    sizes = []
    train_epoch = Stack.train_epoch

    def counted(self: Stack, epoch: int) -> Any:
        sizes.append(len(self.members))
        return train_epoch(self, epoch)

    monkeypatch.setattr(Stack, "train_epoch", counted)
    trainer = PopulationTrainer(task, epochs=8, device="cpu", patience=1)
    requests = [Request(i, {**ROUGH, "lr": lr}, seed=5) for i, lr in enumerate(RATES)]
    lengths = {i: len(evaluation.curve) for i, evaluation in trainer.evaluate_batch(requests)}
    assert list(lengths.values()) == sorted(lengths.values())  # each is returned when it ends
    assert sizes == [sum(length > epoch for length in lengths.values()) for epoch in range(max(lengths.values()))]
    assert sizes[-1] < sizes[0]


def test_repeats_tell_the_mean_of_their_best_epochs(task: Task) -> None:
    trainer = ReferenceTrainer(task, epochs=8, device="cpu", repeats=3, keep_best=True)
    evaluation = trainer.evaluate(Request(0, ROUGH, seed=3))
    alone = ReferenceTrainer(task, epochs=8, device="cpu", keep_best=True)
    first = alone.evaluate(Request(0, ROUGH, seed=3)).metrics["best_epoch"]
    assert evaluation.metrics["best_epoch_std"] > 0
    ended = ReferenceTrainer(task, epochs=8, device="cpu", repeats=3, patience=1).evaluate(Request(0, ROUGH, seed=3))
    single = [ReferenceTrainer(task, epochs=8, device="cpu", patience=1)(ROUGH, seed) for seed in repeat_seeds(3, 3)]
    lengths = [len(one.curve) for one in single]
    assert len(ended.curve) == ended.trained_epochs == max(lengths) > min(lengths)
    assert [epoch.epoch for epoch in ended.curve] == list(range(1, max(lengths) + 1))
    assert ended.value == ended.curve[-1].validation_loss == pytest.approx(sum(one.value for one in single) / 3)
    assert 1 <= evaluation.metrics["best_epoch"] <= 8
    assert evaluation.metrics["best_epoch"] != first


def test_the_best_network_of_a_study_its_measurement_and_its_cost(task: Task) -> None:
    trainer = make_trainer(task, epochs=20, device="cpu", keep_best=True, patience=2)
    space = {"lr": Float(0.2, 1.0), "momentum": Float(0.8, 0.9)}
    study = optimize(trainer, space, algorithm="random", population=4, generations=2, seed=1)
    best = study.best.evaluation
    loss, _ = trainer.measure(study.best_model(), trainer.data.validation)
    assert loss == study.best_value == best.curve[int(best.metrics["best_epoch"]) - 1].validation_loss
    assert [study.cost_of(entry) for entry in study.entries] == [len(one.evaluation.curve) for one in study.entries]
    assert max(len(one.evaluation.curve) for one in study.entries) < 20


def test_a_comparison_trains_its_choice_in_the_same_way(task: Task) -> None:
    task = Task("digits", task.model, load_digits(training_size=100, validation_size=200), recipe=task.recipe)
    trainer = ReferenceTrainer(task, epochs=8, device="cpu", keep_best=True, patience=2)
    evaluation = Retraining(trainer).evaluate(Request(0, ROUGH, seed=3))
    plain = trainer.evaluate(Request(0, ROUGH, seed=3))
    assert (evaluation.value, len(evaluation.curve)) == (plain.value, len(plain.curve))


@pytest.mark.parametrize("settings", [{"keep_best": True}, {"patience": 2}])
def test_parts_of_trainings_are_refused(task: Task, settings: dict[str, Any]) -> None:
    trainer = make_trainer(task, epochs=4, device="cpu", **settings)
    space = Space({"lr": Float(0.01, 1.0, log=True)})
    for algorithm in ("hyperband", "freeze-thaw", "pbt"):
        with pytest.raises(InputError, match=rf"'{algorithm}' asks for trainings in parts.*keep_best or patience"):
            optimize(trainer, space, algorithm=algorithm, population=4)
    individual = Individual([0.5])
    individual.epochs = 2
    with (
        Study(space) as study,
        pytest.raises(InputError, match="An individual with `epochs` asks for trainings in parts"),
    ):
        study.map(trainer, [individual])
    with pytest.raises(
        InputError, match=r"keep_best and patience need whole trainings; this request trains only a part\."
    ):
        trainer.train_on(None, ROUGH, 1, 2)
    _, _, state = make_trainer(task, epochs=4, device="cpu").train_on(None, ROUGH, 1, 2)
    with pytest.raises(InputError, match=r"need whole trainings; this request trains only a part\."):
        trainer.train_on(state, ROUGH, 1)
    population = make_trainer(task, trainer="population", epochs=4, device="cpu", **settings)
    ((_, evaluation),) = population.evaluate_batch([Request(0, ROUGH, 1, epochs=2)])
    assert "this request trains only a part" in evaluation.error


def test_a_study_goes_on_with_the_same_rule_only(task: Task, tmp_path) -> None:
    def run(**settings: Any) -> float:
        trainer = make_trainer(task, epochs=4, device="cpu", **settings)
        storage = tmp_path / "studies.db"
        return optimize(
            trainer,
            {"lr": Float(0.2, 1.0)},
            population=2,
            generations=1,
            algorithm="random",
            storage=storage,
            resume=True,
        ).best_value

    value = run(keep_best=True, patience=2)
    assert run(keep_best=True, patience=2) == value
    with pytest.raises(InputError, match="patience"):
        run(keep_best=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep_best": 1}, "keep_best must be True or False; got 1."),
        ({"patience": 0}, "patience must be an integer of at least 1, or None; got 0."),
        ({"patience": 2.5}, "patience must be an integer of at least 1, or None; got 2.5."),
    ],
)
@pytest.mark.parametrize("trainer", ["reference", "population"])
def test_settings_out_of_their_range_are_refused(
    task: Task, trainer: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        make_trainer(task, trainer=trainer, device="cpu", **settings)
    assert str(refused.value) == message


def test_a_metric_must_not_have_the_name_of_the_best_epoch(task: Task) -> None:
    named = Task("digits", task.model, task.data, metrics={"best_epoch": nn.functional.cross_entropy})
    assert make_trainer(named, device="cpu").keep_best is False
    with pytest.raises(InputError, match="metrics must not have the name 'best_epoch'"):
        make_trainer(named, device="cpu", keep_best=True)


def test_of_several_trainings_no_epoch_is_the_one_that_was_kept(task: Task) -> None:
    evaluation = ReferenceTrainer(task, epochs=6, device="cpu", keep_best=True, repeats=2)(ROUGH, seed=3)
    assert evaluation.metrics["best_epoch_std"] > 0
    assert evaluation.kept_epoch is None
