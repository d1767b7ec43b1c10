"""Objectives and constraints: how they are read, judged and measured, by functions and by either trainer."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import evaluate_one
from deap_hpo.evolution.individual import individual_type
from deap_hpo.functions.objective import Objective
from deap_hpo.goals import Constraint, Goals, usual_direction
from deap_hpo.optimization import optimize
from deap_hpo.recorded import load_study
from deap_hpo.search_space.space import Float, Int, Space
from deap_hpo.study import Study
from deap_hpo.training.data import load_digits
from deap_hpo.training.measures import accuracy, mean_squared_error
from deap_hpo.training.models import MLP
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

NAMES = ["loss", "parameters", "seconds", "accuracy"]


@pytest.mark.parametrize(
    ("text", "value", "violation"),
    [
        ("parameters <= 1e6", 1e6, 0.0),
        ("parameters<=1e6", 3e6, 2.0),
        ("accuracy >= 0.8", 0.9, 0.0),
        ("accuracy >= 0.8", 0.6, 0.25),
        ("margin >= 0", -0.5, 0.5),
        ("margin <= -2", -1.0, 0.5),
        ("top 5 error <= 0.1", math.nan, math.inf),
    ],
)
def test_a_constraint_says_by_how_much_it_is_broken(text: str, value: float, violation: float) -> None:
    constraint = Constraint.parse(text)
    assert constraint.violation(value) == pytest.approx(violation)
    assert Constraint.parse(str(constraint)) == constraint


@pytest.mark.parametrize("text", ["parameters < 1e6", "parameters <= many", "<= 3", "parameters", "a <= nan", 3, ""])
def test_what_is_no_constraint_is_refused(text: Any) -> None:
    with pytest.raises(InputError, match="must be NAME <= NUMBER or NAME >= NUMBER; got"):
        Constraint.parse(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("f1", "minimize"), r"objective must name what is measured \(loss, .*\); got 'f1'"),
        (([], "minimize"), r"objective must be a name or several different ones; got \[\]"),
        ((["loss", "loss"], "minimize"), "several different ones"),
        (("loss", "down"), "direction must be 'minimize' or 'maximize'; got 'down'"),
        ((["loss", "accuracy"], ["minimize"]), "one for each of the 2; got"),
        (({"accuracy": "maximize"}, "minimize"), "directions are an argument of their own. Got {'accuracy'"),
        (("loss", "minimize", ["size <= 3"]), r"constraints must name what is measured \(loss, .*\); got 'size'"),
        (("loss", "minimize", "size <= 3"), "constraints must be a list of texts"),
    ],
)
def test_goals_that_cannot_be_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Goals.of(*arguments, known=NAMES)


def test_a_task_says_what_may_be_an_objective() -> None:
    with pytest.raises(InputError, match=r"objective must name .*\(loss, parameters, seconds, accuracy\); got 'f1'"):
        digits(objective=["loss", "f1"])
    with pytest.raises(InputError, match="metrics must not have the name 'seconds'"):
        Task("digits", MLP, load_digits(), metrics={"seconds": lambda output, target: output.mean()})
    with pytest.raises(InputError, match="metrics must not have the name 'loss'"):
        Task("digits", MLP, load_digits(), metrics={"loss": accuracy})
    with pytest.raises(InputError, match="did you mean CrossEntropyLoss"):
        Task("digits", MLP, load_digits(), loss=nn.CrossEntropyLoss)  # type: ignore[arg-type]


@pytest.mark.parametrize("study_directions", ["maximize", ["minimize", "minimize"]])
def test_a_study_of_other_directions_than_what_evaluates_is_refused(study_directions: Any) -> None:
    """Otherwise its pruner, for example, would end the best evaluations."""
    weights = (1.0,) if study_directions == "maximize" else (-1.0, -1.0)
    with Study({"x": Float(0.0, 1.0)}, directions=study_directions) as study:
        with pytest.raises(
            InputError, match=r"directions must agree with those of the evaluator, minimize; the study has "
        ):
            study.map(Objective(lambda params: params["x"]), [individual_type(weights)([0.5])])
        assert len(study.record) == 0


def test_optimize_takes_no_direction_that_contradicts_what_evaluates() -> None:
    space = {"x": Float(0.0, 1.0)}
    objective = Objective(lambda params: params["x"], direction="maximize")
    with pytest.raises(InputError, match="direction must match the evaluator's, maximize, or be left out; got 'minimi"):
        optimize(objective, space, direction="minimize", progress=False)
    agreed = partial(optimize, objective, space, algorithm="random", max_evaluations=4, progress=False)
    assert agreed(direction="maximize").best_value == agreed().best_value


def digits(**goals: Any) -> Task:
    return Task("digits", partial(MLP, inputs=64), load_digits(training_size=300, validation_size=200), **goals)


def test_accuracy_is_maximised_unless_it_is_said_otherwise() -> None:
    assert digits(objective="accuracy").goals.directions == ("maximize",)
    assert digits(objective=["loss", "accuracy"]).goals.directions == ("minimize", "maximize")
    assert digits(objective="accuracy", direction="minimize").goals.directions == ("minimize",)
    assert digits(objective="accuracy", metrics={"accuracy": mean_squared_error}).goals.directions == ("minimize",)


@pytest.mark.parametrize("trainer", [ReferenceTrainer, PopulationTrainer])
@pytest.mark.parametrize("repeats", [1, 2])
def test_either_trainer_measures_what_the_goals_name(trainer: Callable[..., Any], repeats: int) -> None:
    goals = {"objective": ["accuracy", "parameters", "seconds"], "direction": ["maximize", "minimize", "minimize"]}
    make = partial(trainer, epochs=1, device="cpu", repeats=repeats)
    params = {"lr": 0.1, "width": 8}
    evaluation = make(digits(**goals, constraints=["loss <= 0.1"]))(params, 3)
    plain = make(digits())(params, 3)
    accuracy, parameters, seconds = evaluation.values
    assert accuracy == plain.metrics["accuracy"]
    assert parameters == 64 * 8 + 8 + 8 * 10 + 10 == plain.metrics["parameters"]
    assert 0 < seconds == evaluation.seconds
    assert evaluation.metrics["loss"] == plain.value
    assert evaluation.violation == pytest.approx((plain.value - 0.1) / 0.1)
    assert ("accuracy_std" in evaluation.metrics) == (repeats == 2)
    assert not {"parameters_std", "seconds", "seconds_std"} & set(evaluation.metrics)


@pytest.mark.parametrize("trainer", [ReferenceTrainer, PopulationTrainer])
def test_a_network_with_too_many_parameters_is_not_trained(
    trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    original = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda self, x: (trained.append(1), original(self, x))[1])
    task = digits(objective=["loss", "parameters"], constraints=["parameters <= 1000", "accuracy >= 0.05"])
    with Study(Space({"width": Int(4, 64)}), seed=1, directions=("minimize", "minimize"), max_epochs=4) as study:
        made = trainer(task, epochs=2, device="cpu")
        made.check_task([{"width": 8}])  # two examples go through the network
        trained.clear()
        wide = [study_individual(gene) for gene in (1.0, 0.9)]
        assert study.map(made, wide) == [(math.inf, math.inf)] * 2
        assert trained == []
        assert [one.fitness.violation > 1 for one in wide] == [True, True]
        assert [entry.evaluation.status for entry in study.record] == ["infeasible"] * 2
        assert study.record[0].evaluation.metrics == {"parameters": 64 * 64 + 64 + 64 * 10 + 10}
        assert study.budget.epochs == 0
        values = study.map(made, [study_individual(0.0), study_individual(0.1)])  # all of the budget is left
        assert [parameters for _, parameters in values] == [64 * 4 + 4 + 44 + 6, 64 * 10 + 10 + 110]
        assert study.best.number in (2, 3)


def study_individual(gene: float) -> Any:
    from deap_hpo.evolution.individual import individual_type

    return individual_type((-1.0, -1.0))([gene])


def test_measured_seconds_are_replayed_as_they_were(tmp_path: Path) -> None:
    options: Any = {"storage": f"{tmp_path}/a.db", "directions": ("minimize", "minimize"), "resume": True}
    found = []
    for _ in range(2):
        trainer = ReferenceTrainer(digits(objective=["loss", "seconds"]), device="cpu")
        with Study(Space({"width": Int(4, 64)}), **options) as study:
            found.append(study.map(trainer, [study_individual(gene) for gene in (0.1, 0.9)]))
    assert found[0] == found[1]
    assert all(seconds > 0 for _, seconds in found[0])


def test_a_task_without_goals_has_the_settings_it_always_had() -> None:
    settings = ReferenceTrainer(digits(), device="cpu").settings
    assert set(settings) == {"task", "data", "recipe", "epochs", "device", "precision", "repeats"}
    several = ReferenceTrainer(
        digits(objective=["loss", "parameters"], constraints=["parameters <= 1e3"]), device="cpu"
    )
    assert several.settings["objective"] == ["loss", "parameters"]
    assert several.settings["constraints"] == ["parameters <= 1000"]


@pytest.mark.parametrize(
    ("result", "arguments", "expected"),
    [
        ((1.0, 2.0), {"direction": ("minimize", "maximize")}, ((1.0, 2.0), {}, 0.0)),
        ({"loss": 1, "size": 3, "time": 9}, {"metric": ("loss", "size"), "direction": ("minimize",) * 2},
         ((1.0, 3.0), {"time": 9.0}, 0.0)),
        ({"loss": 1, "size": 3}, {"metric": "loss", "constraints": ["size <= 2"]}, ((1.0,), {"size": 3.0}, 0.5)),
        ({"loss": 1}, {"constraints": ["loss <= 0.5"]}, ((1.0,), {}, 1.0)),
    ],
)  # fmt: skip
def test_a_function_may_have_several_objectives_and_constraints(result: Any, arguments: Any, expected: Any) -> None:
    evaluation = Objective(lambda params: result, **arguments)({})
    assert (evaluation.values, evaluation.metrics, evaluation.violation) == expected
    assert evaluation.status == "ok"


@pytest.mark.parametrize(
    ("result", "arguments", "message"),
    [
        ((1.0, 2.0), {}, r"a number for each, here 1\); it returned \(1.0, 2.0\)"),
        (1.0, {"direction": ("minimize", "minimize")}, r"here 2\); it returned 1.0"),
        ({"loss": 1.0}, {"constraints": ["size <= 2"]}, r"constraints must be on .*\(loss\); got 'size <= 2'"),
        (1.0, {"constraints": ["size <= 2"]}, r"constraints must be on .*\(value\); got 'size <= 2'"),
    ],
)
def test_what_a_function_may_not_return(result: Any, arguments: Any, message: str) -> None:
    objective = Objective(lambda params: result, **arguments)
    with pytest.raises(InputError, match=message):
        objective({})
    assert evaluate_one(objective, Request(0, {}, 0)).status == "failed"


def test_one_value_that_is_not_finite_makes_the_evaluation_diverged() -> None:
    evaluation = Objective(lambda params: (1.0, math.nan), direction=("minimize", "minimize"))({})
    assert (evaluation.status, evaluation.values) == ("diverged", (math.inf, math.inf))


def conflicting(params: dict[str, Any]) -> dict[str, float]:
    return {"near": params["x"] ** 2, "far": (params["x"] - 2) ** 2, "x": params["x"]}


def test_optimize_finds_a_front_within_constraints() -> None:
    study = optimize(
        conflicting,
        {"x": Float(-5.0, 5.0)},
        metric=("near", "far"),
        direction=("minimize", "minimize"),
        constraints=["x >= 0.5"],
        algorithm="nsga-ii",
        population=12,
        generations=8,
        seed=1,
        progress=False,
    )
    front = study.pareto_front()
    positions = [study.params_of(entry)["x"] for entry in front]
    assert len(front) >= 12
    assert positions == sorted(positions)
    assert 0.5 <= positions[0] < 0.7
    assert 1.8 < positions[-1] < 2.2
    volumes = study.hypervolumes(reference=(25.0, 25.0))
    assert volumes == sorted(volumes)
    assert len(volumes) == 8


def test_one_objective_with_a_constraint_ends_on_its_boundary() -> None:
    for algorithm in ("truncation", "surrogate", "de"):
        study = optimize(
            conflicting, {"x": Float(-5.0, 5.0)}, metric="near", constraints=["x >= 1"], algorithm=algorithm,
            population=10, generations=10, seed=1, progress=False,
        )  # fmt: skip
        assert study.best.evaluation.violation == 0
        assert 1 <= study.best_params["x"] < 1.2, algorithm


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"algorithm": "surrogate"},
            "algorithm 'surrogate' takes one objective, the task has 2. Use nsga-ii or nsga-iii",
        ),
        ({"algorithm": "pbt"}, "algorithm 'pbt' takes one objective, the task has 2"),
        ({"algorithm": "nsga-ii", "direction": None, "metric": "near"}, "nsga-ii needs at least 2 objectives; got 1"),
        ({"algorithm": "nsga-ii", "arguments": {"eta": 3}}, "nsga has no argument 'eta'"),
    ],
)
def test_an_algorithm_for_another_number_of_objectives_is_refused(arguments: Any, message: str) -> None:
    given: Any = {"metric": ("near", "far"), "direction": ("minimize", "minimize"), "progress": False, **arguments}
    with pytest.raises(InputError, match=message):
        optimize(conflicting, {"x": Float(-5.0, 5.0)}, **given)


@pytest.mark.parametrize(("metrics", "default"), [(["near"], "surrogate"), (["near", "far"], "nsga-ii")])
def test_the_default_algorithm_is_one_for_the_number_of_objectives(
    metrics: list[str], default: str, tmp_path: Path
) -> None:
    options: Any = {"population": 4, "generations": 1, "storage": f"{tmp_path}/a.db", "progress": False}
    optimize(conflicting, {"x": Float(-5.0, 5.0)}, metric=metrics, direction=["minimize"] * len(metrics), **options)
    settings = load_study("study", f"{tmp_path}/a.db").attributes["settings"]
    assert settings["evolution"]["algorithm"] == default


def test_a_pruner_needs_one_objective() -> None:
    from deap_hpo.pruning import MedianPruner

    with pytest.raises(InputError, match=r"pruner needs a single objective, .* got 2"):
        Study(directions=("minimize", "minimize"), pruner=MedianPruner())


@pytest.mark.parametrize("violation", [-1.0, math.nan])
def test_a_violation_is_no_less_than_0(violation: float) -> None:
    with pytest.raises(ValueError, match="violation must be a number of at least 0; got"):
        Evaluation((1.0,), violation=violation)


@pytest.mark.parametrize(
    ("names", "direction"),
    [
        (["loss", "val_loss", "ValLoss", "crossentropyloss", "top_5_error", "rmse", "parameters"], "minimize"),
        (["accuracy", "val_acc", "AUC", "test-auroc", "f1", "macro_f1", "R2", "mean_iou"], "maximize"),
        (["val_wer", "CER", "valMAE", "test-err", "fid", "dice_loss", "accuracyError"], "minimize"),
        (["cancer_recall", "answer_f1", "SoccerAccuracy", "cancerAUC", "mAP", "IoU"], "maximize"),
        (["score", "mapped", "accurate", "x", "power", "cancer", "carer", "mae_auc", "wer_recall"], None),
    ],
)
def test_common_names_tell_which_way_is_better(names: list[str], direction: str | None) -> None:
    assert {usual_direction(name) for name in names} == {direction}
