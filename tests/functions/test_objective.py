"""Objectives: what a function may return and report, and what becomes of it."""

from __future__ import annotations

import math
import pickle
import random
import warnings
from datetime import datetime
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch

from deap_hpo.errors import DeapHPOWarning, InputError, ResultError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import evaluate_one
from deap_hpo.functions.objective import Objective
from deap_hpo.optimization import optimize
from deap_hpo.recorded import load_study
from deap_hpo.search_space.space import Float

LIMITS = {2: 0.5}
quick = partial(optimize, space={"x": Float(0.0, 1.0)}, algorithm="random", population=3, generations=2, progress=False)


def descend(params: dict[str, Any], report: Any) -> float:
    value = 1.0
    for epoch in range(1, 6):
        value = params["start"] / epoch
        report(epoch, value, twice=2 * value)
    return value


@pytest.mark.parametrize(
    ("result", "metric", "value", "metrics"),
    [
        (0.25, None, 0.25, {}),
        ({"loss": 0.25}, None, 0.25, {}),
        ({"loss": 0.25, "accuracy": 0.9}, "accuracy", 0.9, {"loss": 0.25}),
        (np.array([0.25]), None, 0.25, {}),
        (torch.tensor(0.25), None, 0.25, {}),
        ({"loss": np.float32(0.25), "accuracy": torch.tensor(0.5)}, "loss", 0.25, {"accuracy": 0.5}),
    ],
)
def test_what_may_be_returned(result: Any, metric: str | None, value: float, metrics: dict[str, float]) -> None:
    evaluation = Objective(lambda params: result, metric=metric)({})
    assert (evaluation.status, evaluation.value, evaluation.metrics) == ("ok", value, metrics)


@pytest.mark.parametrize(
    ("result", "metric", "message"),
    [
        (None, None, "it returned None"),
        ({"loss": 1, "accuracy": 1}, None, r"metric must name one .*\(loss, accuracy\); got None"),
        ({"loss": 1}, "los", "got 'los'"),
        ({"loss": 1, "sizes": [object()]}, None, r"must return numbers; sizes is \[<object"),
        ({"loss": None, "size": 3}, None, "must return numbers; loss is None"),
        ({"loss": None, "size": 3}, "loss", "must return numbers; loss is None"),
        ({"loss": Path("a.pt")}, None, "must return numbers; loss is .*Path"),
        ({"loss": 10**400, "size": 3}, None, "must return numbers; loss is 1000"),
        (np.array([0.25, 3.0]), None, r"must return a number .*it returned \[0.25, 3.0\]"),
        (Evaluation((0.5,)), None, r"it returned an Evaluation\. Return its metrics, .*metric=\"loss\"\.$"),
    ],
)
def test_what_may_not_be_returned(result: Any, metric: str | None, message: str) -> None:
    objective = Objective(lambda params: result, metric=metric)
    with pytest.raises(InputError, match=message):
        objective({})
    failed = evaluate_one(objective, Request(0, {}, 0))
    assert failed.status == "failed"
    assert failed.reason.startswith("deap_hpo.errors.ResultError: ")


def test_what_is_reported_may_be_numpys() -> None:
    def train(params: dict[str, Any], report: Any) -> float:
        report(np.int64(1), np.float32(0.5), accuracy=torch.tensor(0.25))
        return 0.5

    (epoch,) = Objective(train)({}).curve
    assert (type(epoch.epoch), epoch.validation_loss, epoch.metrics) == (int, 0.5, {"accuracy": 0.25})


def test_several_objectives_may_come_as_an_array() -> None:
    assert Objective(lambda params: np.array([1.0, 2.0]), direction=("minimize", "maximize"))({}).values == (1.0, 2.0)


def test_a_report_is_a_learning_curve() -> None:
    evaluation = Objective(descend)({"start": 1.2})
    assert [epoch.validation_loss for epoch in evaluation.curve] == [1.2 / epoch for epoch in range(1, 6)]
    assert evaluation.curve[1].metrics == {"twice": 1.2}
    assert math.isnan(evaluation.curve[0].training_loss)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda report: report(1, None), "report takes numbers; value is None."),
        (lambda report: report(1, "0.5"), "report takes numbers; value is '0.5'."),
        (lambda report: report(1, torch.ones(2)), "report takes numbers; value is tensor([1., 1.])."),
        (lambda report: report(1, 0.5, size="large"), "report takes numbers; size is 'large'."),
        (lambda report: report.should_prune(), "here it is report(epoch, value), which ends the evaluation"),
    ],
)
def test_what_cannot_be_reported_is_named(call: Any, message: str) -> None:
    def training(params: dict[str, Any], report: Any) -> float:
        call(report)
        return 0.5

    evaluation = evaluate_one(Objective(training), Request(0, {}, seed=0))
    assert evaluation.status == "failed"
    assert message in evaluation.reason


def test_a_loss_may_still_be_part_of_a_graph() -> None:
    def training(params: dict[str, Any], report: Any) -> Any:
        report(1, torch.ones((), requires_grad=True) * 2)
        return torch.ones((), requires_grad=True) * 3

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluation = evaluate_one(Objective(training), Request(0, {}, seed=0))
    assert (evaluation.values, evaluation.curve[0].validation_loss) == ((3.0,), 2.0)


def test_a_report_worse_than_the_limit_ends_the_evaluation() -> None:
    """Its value is the last reported one; one that equals the limit continues."""
    pruned = Objective(descend).evaluate(Request(0, {"start": 1.2}, 0, LIMITS))
    assert (pruned.status, pruned.value, len(pruned.curve)) == ("pruned", 0.6, 2)
    assert Objective(descend).evaluate(Request(0, {"start": 1.0}, 0, LIMITS)).status == "ok"
    up = Objective(descend, direction="maximize")
    assert up.evaluate(Request(0, {"start": 1.2}, 0, LIMITS)).status == "ok"
    assert up.evaluate(Request(0, {"start": 0.8}, 0, LIMITS)).status == "pruned"


def test_an_end_passes_through_except_exception_and_runs_finally() -> None:
    ends = []

    def stubborn(params: dict[str, Any], report: Any) -> float:
        try:
            report(2, 9.0)
        except Exception:
            ends.append("swallowed")
        finally:
            ends.append("finally")
        return 0.0

    assert Objective(stubborn).evaluate(Request(0, {}, 0, LIMITS)).status == "pruned"
    assert ends == ["finally"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_diverged(value: float) -> None:
    returned = Objective(lambda params: value)({})
    reported = Objective(lambda params, report: report(1, value))({})
    for evaluation in (returned, reported):
        assert (evaluation.status, evaluation.value, evaluation.curve) == ("diverged", math.inf, ())
        assert evaluation.reason == f"the objective was {value}"
    plain = evaluate_one(lambda params: (0.5, value), Request(0, {}, 0))
    assert (plain.status, plain.reason) == ("diverged", f"the objective 'value 2' was {value}")
    named = Objective(lambda params: {"loss": 1.0, "size": value}, metric=["loss", "size"], direction=["minimize"] * 2)
    assert named({}).error == f"the objective 'size' was {value}"


def test_epochs_go_up() -> None:
    def back(params: dict[str, Any], report: Any) -> None:
        report(2, 0.5)
        report(1, 0.5)

    with pytest.raises(InputError, match="larger than the last one reported, 2; got 1"):
        Objective(back)({})


def test_the_second_report_of_an_epoch_is_left_out() -> None:
    """Trainers that validate once more at the end report an epoch twice."""

    def twice(params: dict[str, Any], report: Any) -> float:
        report(1, 0.5)
        report(2.0, 0.4)
        report(2.0, 0.3)
        return 0.3

    with pytest.warns(DeapHPOWarning, match="epoch 2 was reported twice"):
        evaluation = Objective(twice)({})
    assert [(epoch.epoch, epoch.validation_loss) for epoch in evaluation.curve] == [(1, 0.5), (2, 0.4)]
    assert evaluation.value == 0.3


def test_metrics_that_were_reported_are_those_of_the_last_epoch_unless_they_are_returned() -> None:
    def train(params: dict[str, Any], report: Any) -> Any:
        for epoch in (1, 2):
            report(epoch, 1 / epoch, accuracy=0.4 * epoch, size=epoch)
        return {"loss": 0.5, "size": 7}

    assert Objective(train, metric="loss")({}).metrics == {"accuracy": 0.8, "size": 7.0}


def test_the_seed_is_handed_over_and_the_generators_are_seeded() -> None:
    drawing = Objective(lambda params, seed: seed + random.random())
    assert drawing({}, 3).value == drawing({}, 3).value != drawing({}, 4).value
    assert int(drawing({}, 3).value) == 3


@pytest.mark.parametrize(
    ("function", "message"),
    [(lambda: 0, "must take the hyperparameters"), (lambda p, trial: 0, "'trial'"), (3, "must be a function; got 3|3")],
)
def test_a_function_that_cannot_be_called_is_refused_at_once(function: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Objective(function)


def test_a_direction_is_one_of_two() -> None:
    with pytest.raises(InputError, match="'minimize' or 'maximize'; got 'min'"):
        Objective(abs, direction="min")  # type: ignore[arg-type]


def test_it_may_ask_for_its_number_and_leave_texts() -> None:
    def train(params: dict[str, float], number: int) -> dict[str, Any]:
        return {"loss": params["x"], "checkpoint": f"models/{number}.pt"}

    study = quick(train, metric="loss")
    assert [entry.evaluation.notes["checkpoint"] for entry in study.record] == [
        f"models/{number}.pt" for number in range(len(study.record))
    ]
    table = study.trials_dataframe()
    assert table["notes_checkpoint"].tolist()[:2] == ["models/0.pt", "models/1.pt"]


def test_notes_come_back_from_the_record(tmp_path: Path) -> None:
    study = quick(lambda params: {"loss": 1.0, "made": "here"}, metric="loss", storage=f"{tmp_path}/a.db")
    assert load_study("study", f"{tmp_path}/a.db").entries == tuple(study.record)


def test_optunas_own_way_of_pruning_is_understood() -> None:
    def train(params: dict[str, float], report: Any) -> float:
        for epoch in range(3):
            report(epoch, params["x"] + epoch, accuracy=0.5)
            if epoch == 1:
                raise optuna.TrialPruned
        return 0.0

    evaluation = Objective(train).evaluate(Request(0, {"x": 1.0}, seed=0))
    assert (evaluation.status, evaluation.value, evaluation.metrics) == ("pruned", 2.0, {"accuracy": 0.5})
    assert [epoch.epoch for epoch in evaluation.curve] == [0, 1]

    def prunes_at_once(params: dict[str, float]) -> float:
        raise optuna.TrialPruned

    evaluation = Objective(prunes_at_once, direction="maximize").evaluate(Request(0, {"x": 1.0}, seed=0))
    assert (evaluation.status, evaluation.value) == ("pruned", -math.inf)  # there is no earlier value to keep


def test_a_task_in_place_of_its_trainer_is_told_from_other_things(digits_task: Any) -> None:
    with pytest.raises(InputError, match=r"must be a function .* A task is trained by a trainer: make_trainer") as told:
        optimize(digits_task, {"lr": Float(0.01, 0.1)})
    assert len(str(told.value)) < 400, "without its tensors"


class Color(Enum):
    RED = 1


class Silent:
    def __str__(self) -> str:
        raise ValueError("nothing is said")


HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[3, 1], [0, 4]], "[[3, 1], [0, 4]]"),
        (np.array([[3, 1], [0, 4]]), "[[3, 1], [0, 4]]"),
        (torch.tensor([0.5, 0.25]), "[0.5, 0.25]"),
        ({"a": 1}, '{"a": 1}'),
        ("a.pt", "a.pt"),
        (list(np.bincount([0, 1, 1])), "[1, 2]"),
        ([np.array([1, 2]), torch.tensor([3, 4])], "[[1, 2], [3, 4]]"),
        (dict(zip(*np.unique([1, 1, 2], return_counts=True), strict=True)), '{"1": 2, "2": 1}'),
        ([math.nan, 1.0, -math.inf], "[null, 1.0, null]"),
        (pd.DataFrame({"a": [1, 2]}), '{"a": [1, 2]}'),
        (pd.Series([1, 2]), "[1, 2]"),
        ({2, 1}, "[1, 2]"),
        ([np.datetime64("2020-01-01"), Path("a.pt")], '["2020-01-01", "a.pt"]'),
        (HOLDS_ITSELF, '["..."]'),
        (np.zeros((1000, 1000)), "ndarray of shape [1000, 1000], too large to be recorded; give the path of a file"),
        ("text" * 50_000, "text" * 50_000),
        (["text"] * 200_000, "list of 200000 items, too large to be recorded; give the path of a file"),
    ],
)
def test_what_is_several_values_is_noted_as_json(value: Any, text: str) -> None:
    evaluation = Objective(lambda params: {"loss": 0.5, "more": value}, metric="loss")({"x": 1.0})
    assert (evaluation.values, dict(evaluation.notes), dict(evaluation.metrics)) == ((0.5,), {"more": text}, {})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Path("a.pt"), "a.pt"),
        (datetime(2020, 1, 2, 3), "2020-01-02 03:00:00"),
        (Color.RED, "Color.RED"),
        (b"ab", "b'ab'"),
        (10**400, f"1{'0' * 400}"),
        (1 + 2j, "(1+2j)"),
        (object(), "<object object>"),
        ([object()], "[<object object>]"),
        (Silent(), f"<{__name__}.Silent object>"),
        (torch.nn.Tanh(), "Tanh()"),
        (np.array(["a"]), "['a']"),
        (Path("a" * 1_000_001), "PosixPath of 1000001 characters, too large to be recorded; give the path of a file"),
    ],
)
def test_what_is_no_number_is_noted_as_text(value: Any, text: str) -> None:
    evaluation = Objective(lambda params: {"loss": 0.5, "more": value}, metric="loss")({"x": 1.0})
    assert (evaluation.values, dict(evaluation.notes), dict(evaluation.metrics)) == ((0.5,), {"more": text}, {})


def test_none_beside_the_objective_is_left_out() -> None:
    study = quick(lambda params: {"loss": params["x"], "momentum": params.get("momentum")}, metric="loss")
    assert {(one.evaluation.status, len(one.evaluation.notes)) for one in study.entries} == {("ok", 0)}
    with pytest.raises(ResultError, match="must return numbers; size is None"):
        Objective(lambda params: {"loss": 0.5, "size": None}, metric="loss", constraints=["size <= 3"])({"x": 1.0})
    with pytest.raises(ResultError, match="must return numbers; more is None"):
        Objective(lambda params: {"loss": 0.5, "more": None})({"x": 1.0})  # either may be the objective
    assert Objective(lambda params: {"loss": 0.5, "path": Path("a.pt")})({"x": 1.0}).notes == {"path": "a.pt"}


def test_one_number_is_a_metric_whatever_it_comes_in() -> None:
    one = Objective(lambda params: {"loss": np.array([0.5]), "more": torch.ones(1)}, metric="loss")({"x": 1.0})
    assert (one.values, dict(one.metrics), dict(one.notes)) == ((0.5,), {"more": 1.0}, {})
    with pytest.raises(ResultError, match=r"must return numbers; loss is \[0.5, 1.0\]"):
        Objective(lambda params: {"loss": [0.5, 1.0], "more": 1.0}, metric="loss")({"x": 1.0})
    with pytest.raises(ResultError, match="must return numbers; size is 'small'"):
        Objective(lambda params: {"loss": 0.5, "size": "small"}, metric="loss", constraints=["size <= 3"])({"x": 1.0})
    without = Objective(lambda params: {"loss": 0.5, "value": "a.pt"})({"x": 1.0})
    assert (without.values, dict(without.notes)) == ((0.5,), {"value": "a.pt"}), "which is no name of a metric"


def test_what_diverged_is_the_worst_for_what_is_maximised() -> None:
    evaluation = Objective(lambda params: math.nan, direction="maximize")({"x": 1.0})
    assert (evaluation.status, evaluation.values) == ("diverged", (-math.inf,))


def test_what_has_diverged_goes_from_a_worker_to_the_driver() -> None:
    evaluation = Objective(lambda params: {"loss": math.nan, "where": "there"}, metric="loss")({})
    assert (evaluation.status, evaluation.metrics, evaluation.notes) == ("diverged", {}, {"where": "there"})
    assert pickle.loads(pickle.dumps(evaluation)) == evaluation
