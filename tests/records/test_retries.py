"""Failed evaluations tried again: the run ends as if they had not failed, and nothing that was recorded is lost."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from test_cli import CONFIG, call

from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.evaluation import Evaluation, failure
from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import make_toolbox
from deap_hpo.evolution.steady_state import eaSteadyState
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.functions.objective import Objective
from deap_hpo.optimization import Interrupted, optimize
from deap_hpo.pruning import MedianPruner
from deap_hpo.recorded import load_study
from deap_hpo.records.entries import Entry
from deap_hpo.records.record import ReplayError
from deap_hpo.records.retries import Attempts
from deap_hpo.search_space.space import Categorical, Float, Space
from deap_hpo.steady_study import SteadyStudy
from deap_hpo.study import Study

pytestmark = [
    pytest.mark.usefixtures("light_model"),
    pytest.mark.filterwarnings("ignore::deap_hpo.errors.DeapHPOWarning"),  # of failures, which are the subject here
]

SPACE = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)}


VARIED = {"indpb": 0.7}
RETRY = {"resume": True, "retry_failed": True}


class Function:
    """A bowl, which fails where `x` is within a range; it can be interrupted, and counts."""

    def __init__(self) -> None:
        self.low, self.high = 2.0, 2.0
        self.interrupted_after: int | None = None
        self.asked: list[int] = []

    def fails(self, low: float, high: float) -> Function:
        self.low, self.high, self.interrupted_after, self.asked = low, high, None, []
        return self

    def mended(self, interrupted_after: int | None = None) -> Function:
        self.fails(2.0, 2.0).interrupted_after = interrupted_after
        return self

    def __call__(self, params: dict[str, Any], number: int) -> float:
        if len(self.asked) == self.interrupted_after:
            raise KeyboardInterrupt
        self.asked.append(number)
        if self.low <= params["x"] <= self.high:
            raise RuntimeError(f"no memory for {number}")
        return float(params["x"] ** 2 + params["y"] ** 2)


def found(study: Any) -> list[Any]:
    """All that an evolution knows of its evaluations."""
    return [
        (one.number, one.generation, one.genes, one.parents, one.duplicate_of, one.epochs, one.start_from, one.seed)
        + (one.evaluation.values, one.evaluation.status)
        for one in study.entries
    ]


def options(**more: Any) -> dict[str, Any]:
    return {"algorithm": "truncation", "population": 6, "generations": 4, "seed": 1, "progress": False, **more}


@pytest.mark.parametrize("algorithm", ["truncation", "surrogate", "random", "tpe"])
@pytest.mark.parametrize("common", [True, False])
def test_a_mended_study_ends_as_if_nothing_had_failed(algorithm: str, common: bool, tmp_path: Path) -> None:
    settings = options(algorithm=algorithm, common_random_numbers=common)
    function = Function()
    never = optimize(function, SPACE, **settings)
    before = optimize(function.fails(0.1, 0.4), SPACE, **settings, storage=tmp_path / "a.db")
    failed = [entry.number for entry in before.entries if entry.evaluation.status == "failed"]
    assert failed

    again = {**settings, "storage": tmp_path / "a.db", "resume": True}
    assert found(optimize(function.mended(), SPACE, **again)) == found(before)  # no retry without being told to
    assert function.asked == []
    after = optimize(function.mended(), SPACE, **again, retry_failed=True)
    assert found(after) == found(never)
    assert [number for number in function.asked if number < 6] == [number for number in failed if number < 6]
    if algorithm == "random":  # it asks for the same, whatever the outcomes
        assert function.asked == failed
    on_record = load_study("study", tmp_path / "a.db")
    assert found(on_record) == found(never)
    assert on_record.superseded == after.superseded
    first = before.record.as_completed().index(failed[0])  # all from here on is still on record
    assert list(after.superseded) == [before.record[number] for number in before.record.as_completed()[first:]]
    trials = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path}/a.db").trials
    assert len(trials) == len(after.superseded) + len(after.entries)
    assert found(optimize(function.mended(), SPACE, **again)) == found(never)
    assert found(optimize(function, SPACE, **again, retry_failed=True)) == found(never)
    assert function.asked == []


def test_a_retry_that_is_interrupted_anywhere_goes_on_with_a_plain_resume(tmp_path: Path) -> None:
    function = Function()
    never = optimize(function, SPACE, **options(arguments=VARIED))
    optimize(function.fails(0.1, 0.4), SPACE, **options(arguments=VARIED, storage=tmp_path / "a.db"))
    content = (tmp_path / "a.db").read_bytes()
    optimize(function.mended(), SPACE, **options(arguments=VARIED, storage=tmp_path / "a.db"), **RETRY)
    asked = len(function.asked)
    assert asked > 3
    for after in range(asked):
        storage = tmp_path / f"{after}.db"
        storage.write_bytes(content)
        again = options(arguments=VARIED, storage=storage, resume=True)
        with pytest.raises(Interrupted):
            optimize(function.mended(after), SPACE, **again, retry_failed=True)
        assert found(optimize(function.mended(), SPACE, **again)) == found(never)
        assert function.asked


def test_a_retry_is_on_record_before_its_first_evaluation_ends(tmp_path: Path) -> None:
    function = Function()
    settings = options(algorithm="random", generations=1, storage=tmp_path / "a.db")
    last = optimize(function, SPACE, **options(algorithm="random", generations=1)).entries[-1]
    x = Space(SPACE).decode(last.genes)["x"]
    optimize(function.fails(x, x), SPACE, **settings)  # this leaves nothing usable on record
    with pytest.raises(Interrupted):
        optimize(function.mended(interrupted_after=0), SPACE, **settings, **RETRY)
    assert [one.number for one in load_study("study", tmp_path / "a.db").superseded] == [last.number]
    after = optimize(function.mended(), SPACE, **settings, resume=True)
    assert function.asked == [last.number]
    assert after.entries[-1].evaluation.values == last.evaluation.values


def test_what_is_opened_and_not_gone_on_with_is_left_as_it_is(tmp_path: Path) -> None:
    function = Function()
    before = found(optimize(function.fails(0.1, 0.4), SPACE, **options(storage=tmp_path / "a.db")))
    content = (tmp_path / "a.db").read_bytes()
    with pytest.raises(ReplayError, match="population"):
        optimize(function, SPACE, **options(storage=tmp_path / "a.db", population=8), resume=True, retry_failed=True)
    settings = {"evolution": load_study("study", tmp_path / "a.db").attributes["settings"]["evolution"]}
    with Study(SPACE, storage=tmp_path / "a.db", seed=1, settings=settings, resume=True, retry_failed=True) as study:
        assert 0 < len(study.entries) < len(before)
        with pytest.raises(ReplayError, match="evaluation 0 on record has the genes"):
            study.map(Objective(function), [[0.5, 0.5]])
    assert found(load_study("study", tmp_path / "a.db")) == before
    assert (tmp_path / "a.db").read_bytes() == content


def test_what_fails_again_is_on_record_as_failed_and_may_be_tried_once_more(tmp_path: Path) -> None:
    function = Function()
    never = optimize(function, SPACE, **options())
    before = optimize(function.fails(0.1, 0.4), SPACE, **options(storage=tmp_path / "a.db"))
    again = options(storage=tmp_path / "a.db", resume=True, retry_failed=True)
    failed = {entry.number for entry in before.entries if entry.evaluation.status == "failed"}
    assert found(optimize(function.fails(0.1, 0.4), SPACE, **again)) == found(before)
    assert set(function.asked) == failed  # everything else is as it was
    half = optimize(function.fails(0.1, 0.2), SPACE, **again)
    assert found(half) != found(before)
    assert found(optimize(function.mended(), SPACE, **again)) == found(never)
    assert found(load_study("study", tmp_path / "a.db")) == found(never)


def test_what_an_earlier_retry_has_left_answers_a_later_one(tmp_path: Path) -> None:
    function = Function()
    settings = options(arguments=VARIED, storage=tmp_path / "a.db")
    optimize(function.fails(0.4, 0.6), SPACE, **settings)
    again = {**settings, "resume": True, "retry_failed": True}
    optimize(function.fails(0.1, 0.4), SPACE, **again)  # the evolution takes another course ...
    optimize(function.fails(0.4, 0.6), SPACE, **again)  # ... and here the first one again
    assert [number for number in function.asked if number > 5] == []


def test_all_settings_are_checked_even_where_the_first_evaluation_failed(tmp_path: Path) -> None:
    function = Function()
    with pytest.raises(InputError, match=r"try again \(resume=True, retry_failed=True\), or delete"):
        optimize(function.fails(-1.0, 1.0), SPACE, **options(storage=tmp_path / "a.db"))
    again = {"storage": tmp_path / "a.db", "resume": True, "retry_failed": True}
    for other in ({"seed": 4}, {"population": 8}, {"common_random_numbers": False}):
        with pytest.raises(ReplayError, match=next(iter(other))):
            optimize(function.mended(), SPACE, **options(**again, **other))
    never = optimize(function, SPACE, **options())
    assert found(optimize(function, SPACE, **options(**again))) == found(never)


def test_it_needs_a_study_that_may_exist() -> None:
    with pytest.raises(InputError, match="retry_failed=True needs a recorded study and resume=True"):
        optimize(Function(), SPACE, retry_failed=True)
    with pytest.raises(InputError, match="retry_failed must be True or False; got 'all'"):
        optimize(Function(), SPACE, resume=True, retry_failed="all")  # type: ignore[arg-type]


def test_repeats_of_what_failed_are_answered_anew(tmp_path: Path) -> None:
    space = {"kind": Categorical(["a", "b", "c"]), "size": Categorical([1, 2])}
    broken = {"now": True}
    asked = []

    def objective(params: dict[str, Any]) -> float:
        asked.append(params)
        if broken["now"] and params["kind"] == "b":
            raise RuntimeError("b is broken")
        return float(params["size"] + (params["kind"] != "b"))

    before = optimize(objective, space, **options(storage=tmp_path / "a.db"))
    assert any(one.duplicate_of is not None and one.evaluation.status == "failed" for one in before.entries)
    broken["now"] = False
    after = optimize(objective, space, **options(storage=tmp_path / "a.db", resume=True, retry_failed=True))
    assert found(after) == found(optimize(objective, space, **options()))
    assert after.best_params == {"kind": "b", "size": 1}


def test_limits_of_a_pruner_are_those_of_the_new_outcomes(tmp_path: Path) -> None:
    broken = {"now": False}

    def objective(params: dict[str, Any], report: Any) -> float:
        if broken["now"] and 0.0 <= params["x"] <= 0.4:
            raise RuntimeError("broken")
        for epoch in range(1, 5):
            report(epoch, params["x"] ** 2 + 1 / epoch)
        return float(params["x"] ** 2)

    settings = options(algorithm="random", generations=5, pruner=MedianPruner(startup=4))
    never = optimize(objective, SPACE, **settings)
    assert any(entry.evaluation.status == "pruned" for entry in never.entries)
    broken["now"] = True
    before = optimize(objective, SPACE, **settings, storage=tmp_path / "a.db")
    assert {one.number for one in before.entries if one.evaluation.status == "pruned"} != {
        one.number for one in never.entries if one.evaluation.status == "pruned"
    }
    broken["now"] = False
    after = optimize(objective, SPACE, **settings, storage=tmp_path / "a.db", resume=True, retry_failed=True)
    assert found(after) == found(never)


@pytest.mark.parametrize("algorithm", ["hyperband", "pbt"])
@pytest.mark.parametrize("fails_at", [1, 3])
def test_trainings_in_parts_go_on_from_what_is_of_the_run(algorithm: str, fails_at: int, tmp_path: Path) -> None:
    broken = {"now": False}

    def objective(params: dict[str, Any], epochs: int, checkpoint: Any, report: Any) -> float:
        weight = checkpoint.load() or 1.0
        for epoch in range(checkpoint.epoch + 1, epochs + 1):
            weight = weight * (0.5 + abs(params["x"])) + params["y"] ** 2
            report(epoch, weight)
        if broken["now"] and epochs >= fails_at and 0.0 <= params["x"] <= 0.6:
            raise RuntimeError("broken")
        checkpoint.save(weight)
        return float(weight)

    settings = options(algorithm=algorithm, epochs=9, population=8, generations=3)
    never = optimize(objective, SPACE, **settings)
    broken["now"] = True
    before = optimize(objective, SPACE, **settings, storage=tmp_path / "a.db")
    assert any(one.evaluation.status == "failed" for one in before.entries)
    broken["now"] = False
    after = optimize(objective, SPACE, **settings, storage=tmp_path / "a.db", resume=True, retry_failed=True)
    assert found(after) == found(never)
    curves = [[epoch.validation_loss for epoch in one.evaluation.curve] for one in never.entries]
    assert [[epoch.validation_loss for epoch in one.evaluation.curve] for one in after.entries] == curves
    assert after.best_state() == never.best_state()


def test_what_is_asked_of_a_superseded_evaluation_is_not_told_of_the_one_that_has_its_number(tmp_path: Path) -> None:
    broken = {"now": True}

    def objective(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
        if broken["now"] and 0.1 <= params["x"] <= 0.4:
            raise RuntimeError("broken")
        checkpoint.save(params["x"])
        return params["x"] ** 2

    settings = options(epochs=1, storage=tmp_path / "a.db", arguments=VARIED)
    optimize(objective, SPACE, **settings)
    broken["now"] = False
    after = optimize(objective, SPACE, **settings, **RETRY)
    others = [one for one in after.superseded if one.genes != after.entries[one.number].genes]
    saved = [one for one in others if one.evaluation.checkpoint is not None]
    assert saved
    for one in saved:
        with suppress(InputError):  # not there any more
            assert after.state_of(one) == after.params_of(one)["x"]
    assert after.state_of(after.best) == after.best_params["x"]


def test_of_other_code_there_is_a_warning_where_what_gave_way_answers(tmp_path: Path) -> None:
    def fragile(params: dict[str, Any], number: int) -> float:
        if number == 0:
            raise RuntimeError("broken")
        return float(params["x"] ** 2)

    def mended(params: dict[str, Any], number: int) -> float:
        return float(abs(params["x"]))

    fragile.__qualname__ = mended.__qualname__
    fragile.__name__ = mended.__name__
    settings = options(generations=1, storage=tmp_path / "a.db")
    optimize(fragile, SPACE, **settings)
    with pytest.warns(DeapHPOWarning, match="the evaluator of the study .* has changed since"):
        optimize(mended, SPACE, **settings, **RETRY)


class LastFirst(SerialExecutor):
    """Ends evaluations as workers may: in another order."""

    def run(self, evaluate: Any, requests: Any) -> Iterator[Any]:
        ended = list(super().run(evaluate, requests))
        yield from reversed(ended)


def test_whatever_the_order_in_which_evaluations_end(tmp_path: Path) -> None:
    function = Function()
    never = optimize(function, SPACE, **options())
    before = optimize(function.fails(0.1, 0.2), SPACE, **options(storage=tmp_path / "a.db"), executor=LastFirst())
    assert before.entries[0].evaluation.status == "ok"
    again = options(storage=tmp_path / "a.db", resume=True, retry_failed=True)
    after = optimize(function.mended(), SPACE, **again)
    assert found(after) == found(never)
    assert before.entries[0] in after.superseded  # it came later than the failed one


def test_steady_states_go_on_from_there(tmp_path: Path) -> None:
    def evolve(function: Function, **more: Any) -> SteadyStudy:
        with SteadyStudy(SPACE, seed=2, storage=tmp_path / "a.db", **more) as study:
            toolbox = make_toolbox(Space(SPACE), indpb=0.5)
            toolbox.register("evaluate", lambda params: function(params, 0))
            toolbox.register("each", study.each)
            eaSteadyState(toolbox.population(n=6), toolbox, 1.0, 1.0, 20, verbose=False)
        return study

    function = Function()
    before = evolve(function.fails(0.1, 0.4))
    failed = sum(entry.evaluation.status == "failed" for entry in before.entries)
    assert failed
    after = evolve(function.mended(), resume=True, retry_failed=True)
    assert len(after.entries) == 20
    assert failed <= len(function.asked) < 20
    assert all(entry.evaluation.status == "ok" for entry in after.entries)
    kept = [entry.evaluation for entry in after.entries]
    assert sum(entry.evaluation in kept for entry in after.superseded) > 3  # they were asked for again, and known
    assert found(evolve(function.mended(), resume=True)) == found(after)
    assert function.asked == []


def test_a_program_of_ones_own_tries_again(tmp_path: Path) -> None:
    def evolve(function: Function, **more: Any) -> Study:
        with Study(SPACE, seed=2, **more) as study:
            toolbox = make_toolbox(Space(SPACE), indpb=0.5)
            toolbox.register("evaluate", lambda params: function(params, 0))
            toolbox.register("map", study.map)
            eaTruncation(toolbox.population(n=6), toolbox, 1.0, 1.0, 3)
        return study

    function = Function()
    never = evolve(function)
    evolve(function.fails(0.1, 0.4), storage=tmp_path / "a.db")
    again = evolve(function.mended(), storage=tmp_path / "a.db", resume=True, retry_failed=True)
    assert found(again) == found(never)


def test_what_began_from_another_training_does_not_answer() -> None:
    first, other = Evaluation((0.5,), seconds=1.0), Evaluation((0.5,), seconds=2.0)
    start, failed = Entry(0, 0, (0.1,), first, seed=1), Entry(1, 0, (0.2,), failure("no"), seed=1)
    part = Entry(2, 1, (0.1,), Evaluation((0.3,)), seed=1, epochs=2, start_from=0)
    attempts = Attempts([start, failed, part], [[1, 3]])
    assert attempts.outcome_of(part, start) == Evaluation((0.3,))
    assert attempts.outcome_of(part, Entry(0, 0, (0.1,), other, seed=1)) is None
    for changed in ({"genes": (0.3,)}, {"seed": 2}, {"epochs": 3}, {"number": 3}):
        assert attempts.outcome_of(Entry(**{**vars(part), **changed}), start) is None


def test_what_a_part_began_from_is_what_had_its_number_then() -> None:
    first, again = (Entry(0, 0, (0.1,), Evaluation((0.5,), seconds=seconds), seed=1) for seconds in (1.0, 2.0))
    parts = [Entry(1, 1, (0.1,), Evaluation((value,)), seed=1, epochs=2, start_from=0) for value in (0.3, 0.2)]
    attempts = Attempts([first, parts[0], again, parts[1]], [[0, 2], [2, 4]])
    assert attempts.outcome_of(parts[0], first) == Evaluation((0.3,))
    assert attempts.outcome_of(parts[0], again) == Evaluation((0.2,))


def test_what_an_earlier_evaluation_had_answered_does_not_answer_itself() -> None:
    repeat = Entry(1, 0, (0.1,), Evaluation((0.5,), seconds=0.0), seed=1, duplicate_of=0)
    attempts = Attempts([Entry(0, 0, (0.1,), Evaluation((0.5,), seconds=9.0), seed=1), repeat], [[0, 2]])
    assert attempts.outcome_of(Entry(1, 0, (0.1,), Evaluation((math.inf,)), seed=1), None) is None


@pytest.mark.usefixtures("no_figures")
def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(CONFIG)
    from deap_hpo.training.reference import ReferenceTrainer

    evaluate = ReferenceTrainer.evaluate

    def failing(self: Any, request: Any) -> Evaluation:
        return failure("no memory") if request.number == 2 else evaluate(self, request)

    run = ("--set", "execution.executor=serial", "--set", "training.trainer=reference")
    never = call("run", "small.toml", "--name", "never", *run, "--json")
    monkeypatch.setattr(ReferenceTrainer, "evaluate", failing)
    assert call("run", "small.toml", "--name", "mine", *run).exit_code == 0
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    ended = call("resume", "mine", "--retry-failed", "--json")
    assert ended.exit_code == 0, ended.output
    assert "1 failed evaluation is tried again. Later evaluations are reused if" in ended.stderr
    assert json.loads(ended.stdout)["best"] == json.loads(never.stdout)["best"]
    said = call("show", "mine").stdout
    assert "superseded by a retry" in said
    assert "failed" not in said
    assert json.loads(call("show", "mine", "--json").stdout)["counts"]["superseded"] > 0
