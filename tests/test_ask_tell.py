"""Ask and tell: whoever evaluates, and when, the run equals that of a function; wrong answers are not recorded."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deap_hpo import AskTell, Categorical, Evaluation, Float, Study, load_study, optimize
from deap_hpo.errors import InputError
from deap_hpo.records.record import ReplayError
from deap_hpo.results import Results

# How good the surrogate's proposals are does not matter here.
pytestmark = pytest.mark.usefixtures("light_model")

SPACE = {"x": Float(-1.0, 1.0), "kind": Categorical(["a", "b"])}
SMALL: dict[str, Any] = {"population": 4, "generations": 3, "seed": 1}


def loss(params: dict[str, Any]) -> float:
    return float(params["x"]) ** 2 + (params["kind"] == "b")


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., AskTell]:
    return lambda **arguments: AskTell(SPACE, storage=tmp_path / "lab.db", **{**SMALL, **arguments})


def run_of(study: Results) -> list[Any]:
    return [
        (e.number, e.generation, e.genes, e.evaluation.values, e.seed, e.parents, e.operators, e.duplicate_of)
        for e in study.entries
    ]


@pytest.mark.parametrize("algorithm", ["surrogate", "truncation", "tpe", "de", "random", "grid"])
def test_the_run_is_that_of_a_function_though_each_result_is_told_by_another_process(
    made: Callable[..., AskTell], algorithm: str
) -> None:
    generations = 0
    while questions := made(algorithm=algorithm).ask():
        generations += 1
        for question in reversed(questions):
            made(algorithm=algorithm).tell(question.number, loss(question.params))
    told = made(algorithm=algorithm).study
    assert run_of(told) == run_of(optimize(loss, SPACE, algorithm=algorithm, progress=False, **SMALL))
    assert len(told.entries) >= 4
    assert generations > 1
    assert told.best_params["kind"] == "a"


def test_equal_configurations_are_asked_for_once(made: Callable[..., AskTell]) -> None:
    space = {"kind": Categorical(["a", "b"])}
    told = AskTell(space, storage=made().study.storage or "", name="few", algorithm="truncation", **SMALL)
    asked = []
    while questions := told.ask():
        asked += [question.params["kind"] for question in questions]
        told.tell_all({question.number: float(question.params["kind"] == "b") for question in questions})
    assert sorted(asked) == ["a", "b"]
    assert len(told.study.entries) > 2
    assert {entry.evaluation.value for entry in told.study.entries if entry.duplicate_of is not None} <= {0.0, 1.0}


def test_several_objectives_constraints_and_maximising(made: Callable[..., AskTell]) -> None:
    def measured(params: dict[str, Any]) -> dict[str, float]:
        return {"gain": -loss(params), "size": abs(params["x"]), "cost": params["x"] + 2.0}

    goals: dict[str, Any] = {
        "metric": ["gain", "cost"], "direction": ["maximize", "minimize"], "constraints": ["size <= 0.9"],
    }  # fmt: skip
    told = made(**goals)
    while questions := told.ask():
        told.tell_all({question.number: measured(question.params) for question in questions})
    assert run_of(told.study) == run_of(optimize(measured, SPACE, progress=False, **goals, **SMALL))
    assert told.study.directions == ("maximize", "minimize")
    assert told.study.objective_names == ["gain", "cost"]
    front = told.study.pareto_front()
    assert front
    assert all(entry.evaluation.metrics["size"] <= 0.9 for entry in front)


def test_the_end_is_where_optimize_ends(made: Callable[..., AskTell]) -> None:
    told = made(max_evaluations=6)
    while questions := told.ask():
        told.tell_all({question.number: loss(question.params) for question in questions})
    assert len(told.study.entries) == 6
    stopped = made(name="stopped", target=2.0)
    for question in stopped.ask():
        stopped.tell(question.number, 1.0)
    assert stopped.ask() == []
    assert len(stopped.study.entries) == 4


def test_it_ends_when_nothing_better_is_told(made: Callable[..., AskTell]) -> None:
    told = made(generations=9, patience=2, algorithm="random")
    while questions := told.ask():
        told.tell_all({question.number: 1.0 for question in questions})
    assert len(told.study.entries) == 12, "the first generation, and two no better"


def test_arguments_of_the_algorithm_reach_it(made: Callable[..., AskTell]) -> None:
    fixed = made(algorithm="fixed", arguments={"params": {"x": 0.5, "kind": "a"}})
    assert [question.params for question in fixed.ask()] == [{"x": 0.5, "kind": "a"}]


def test_what_is_tried_first_is_asked_for_first(made: Callable[..., AskTell]) -> None:
    first = made(enqueue=[{"x": 0.25, "kind": "b"}]).ask()[0]
    assert first.params == {"x": 0.25, "kind": "b"}


def test_asking_changes_neither_the_record_nor_the_callers_generators(made: Callable[..., AskTell]) -> None:
    random.seed(7)
    np.random.seed(7)
    before = random.getstate(), np.random.get_state()[1].tolist()
    told = made()
    assert [question.number for question in told.ask()] == [0, 1, 2, 3]
    assert told.ask() == told.ask() == made().ask()
    assert not told.study.entries
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_failures_are_told_and_asked_for_again_when_that_is_wanted(
    made: Callable[..., AskTell], recwarn: pytest.WarningsRecorder
) -> None:
    told = made()
    told.tell(0, failed="the oven broke")
    told.tell(1, math.nan)
    told.tell_all({2: 0.5, 3: Evaluation((0.25,), metrics={"weight": 3.0})})
    assert [entry.evaluation.status for entry in told.study.entries] == ["failed", "diverged", "ok", "ok"]
    assert told.study.entries[0].evaluation.reason == "the oven broke"
    assert told.study.best.evaluation.metrics == {"weight": 3.0}
    assert told.study.entries[1].evaluation.seconds == 0.0, "nobody knows"
    assert [question.number for question in made().ask()] == [4, 5, 6, 7]
    again = made(retry_failed=True)
    assert [question.number for question in again.ask()] == [0]
    again.tell(0, failed="the oven broke again")
    assert again.study.entries[0].evaluation.reason == "the oven broke again"
    assert [question.number for question in again.ask()] == [4, 5, 6, 7], "it is asked for again once"
    assert not recwarn.list, "who tells of a failure knows of it"


def test_of_two_who_tell_the_first_is_heard(made: Callable[..., AskTell]) -> None:
    one, other = made(), made()
    one.tell(0, 0.5)
    with pytest.raises(InputError, match="The results of 0 have already been told by another process"):
        other.tell(0, 0.75)
    other.tell(1, 0.75)
    one.tell_all({2: 0.1, 3: 0.2})
    assert [entry.evaluation.value for entry in one.study.entries] == [0.5, 0.75, 0.1, 0.2]
    assert [question.number for question in other.ask()] == [4, 5, 6, 7]
    other.tell(7, 0.3)
    one.tell(6, 0.3)  # of a generation that it has not seen
    assert len(one.study.entries) == 6


WRONG = {
    "number must be of an evaluation that is asked for now (0, 1, 2, 3); got 9.": lambda told: told.tell(9, 1.0),
    "asked for now (0, 1, 2, 3); got 'first'.": lambda told: told.tell("first", 1.0),
    "tell takes either a result or failed='why'.": lambda told: told.tell(0),
    "tell takes either a result or": lambda told: told.tell(0, 1.0, failed="no"),
    "The result of evaluation 0 cannot be recorded. The objective must return numbers; value is 'low'.": (
        lambda told: told.tell(0, "low")
    ),
    "The result of evaluation 1 cannot be recorded.": lambda told: told.tell_all({0: 1.0, 1: None}),
    "(with several objectives a number for each, here 1); it returned [1.0, 2.0].": (
        lambda told: told.tell(0, [1.0, 2.0])
    ),
    "metric must name one of those that the objective returns (a, b); got None.": (
        lambda told: told.tell(0, {"a": 1.0, "b": 2.0})
    ),
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_is_told_wrongly_is_said_and_not_recorded(made: Callable[..., AskTell], reason: str) -> None:
    told = made()
    with pytest.raises(InputError, match=re.escape(reason)):
        WRONG[reason](told)
    assert not told.study.entries
    told.tell(0, 1.0)
    assert len(told.study.entries) == 1


def test_what_cannot_be_asked_is_said_when_it_is_made(made: Callable[..., AskTell]) -> None:
    for arguments, reason in (
        (
            {"algorithm": "hyperband"},
            "algorithm must ask for whole evaluations; hyperband asks for trainings in parts.",
        ),
        ({"algorithm": "tqe"}, "tqe"),
        ({"n_trials": 3}, "AskTell has no argument 'n_trials'; here it is max_evaluations=3."),
        ({"retry_failed": 1}, "retry_failed must be True or False; got 1."),
        ({"population": 0}, "population"),
    ):
        with pytest.raises(InputError, match=re.escape(reason)):
            made(**arguments)
    with pytest.raises(InputError, match="storage must be where the study is kept between"):
        AskTell(SPACE, storage=None)  # type: ignore[arg-type]
    told = made()
    told.tell(0, 1.0)
    with pytest.raises(ReplayError, match="population"):
        made(population=5)


def test_while_another_process_tells_it_says_so(made: Callable[..., AskTell], tmp_path: Path) -> None:
    told = made()
    told.tell(0, 1.0)
    name, storage = "study", str(tmp_path / "lab.db")
    settings = dict(load_study(name, storage).attributes["settings"])
    with (
        Study(SPACE, name=name, storage=storage, resume=True, seed=1, settings=settings),
        pytest.raises(InputError, match="Another process is running the study"),
    ):
        told.tell(1, 1.0)
    told.tell(1, 1.0)
    assert len(told.study.entries) == 2


def test_what_is_open_is_worked_out_once(made: Callable[..., AskTell], monkeypatch: pytest.MonkeyPatch) -> None:
    lab, runs = made(algorithm="random", population=4, generations=2), list[int]()

    def counted(*given: Any, **named: Any) -> Study:
        runs.append(1)
        return optimize(*given, **named)

    monkeypatch.setattr("deap_hpo.ask_tell.optimize", counted)
    first = lab.ask()
    assert [question.number for question in lab.ask()] == [question.number for question in first] == [0, 1, 2, 3]
    assert runs == []
    lab.tell(0, 0.5)
    assert [question.number for question in lab.ask()] == [1, 2, 3]
    assert len(runs) == 1
    other = made(algorithm="random", population=4, generations=2)
    other.tell(1, 0.25)
    runs.clear()
    assert [question.number for question in lab.ask()] == [2, 3], "what another one told is noticed"
    assert len(runs) == 1


@pytest.mark.parametrize("wrong", [Evaluation((1.0, 2.0)), "much", {"x": 1.0, "y": 2.0}])
def test_of_results_told_together_all_are_recorded_or_none(wrong: Any, tmp_path: Path) -> None:
    lab = AskTell({"x": Float(0.0, 1.0)}, storage=tmp_path / "a.db", population=4, generations=3, algorithm="random")
    with pytest.raises(InputError):
        lab.tell_all({0: 0.5, 1: wrong})
    assert not lab.study.entries
    lab.tell_all({0: 0.5, 1: 0.25})
    assert [entry.evaluation.value for entry in lab.study.entries] == [0.5, 0.25]
