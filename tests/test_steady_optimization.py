"""Steady states in `optimize` and `AskTell`: no generation is waited for, and speed does not change the run."""

from __future__ import annotations

import math
import random
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evaluators
import numpy as np
import pytest
from deap import base
from interruptions import InterruptedAt
from test_ask_tell import run_of
from test_steady_study import LatestFirst

from deap_hpo import (
    AskTell,
    Categorical,
    EarlyStopping,
    Float,
    Int,
    MedianPruner,
    ProcessExecutor,
    load_study,
    optimize,
)
from deap_hpo.configuration.config import load_config
from deap_hpo.configuration.enqueueing import Enqueued
from deap_hpo.configuration.methods import METHODS, STEADY
from deap_hpo.configuration.workload import workload
from deap_hpo.errors import DeapHPOWarning, InputError
from deap_hpo.evaluator import Evaluate
from deap_hpo.evolution.individual import Individual
from deap_hpo.evolution.steady_state import eaSteadyGenerateUpdate
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.progress import ProgressDisplay
from deap_hpo.search_space.space import Space
from deap_hpo.steady_study import OrderedStudy, SteadyStudy
from deap_hpo.strategies import make_strategy
from deap_hpo.study import Study

# How good the surrogate's proposals are does not matter here.
pytestmark = pytest.mark.usefixtures("light_model")

SPACE = Space({"x": Float(-1.0, 1.0), "width": Int(1, 64, log=True)})


def loss(params: dict[str, Any]) -> float:
    return float(params["x"]) ** 2 + abs(math.log2(params["width"]) - 4)


def steady(objective: Evaluate = loss, space: Any = SPACE, **arguments: Any) -> Study:
    arguments = {"population": 4, "generations": 4, "seed": 1, "progress": False, **arguments}
    return optimize(objective, space, steady_state=True, **arguments)


@pytest.mark.parametrize("algorithm", [name for name in STEADY if name != "fixed"])
def test_the_order_in_which_evaluations_end_decides_nothing(algorithm: str) -> None:
    one = steady(algorithm=algorithm, population=5, generations=3)
    assert run_of(one) == run_of(steady(algorithm=algorithm, population=5, generations=3, executor=LatestFirst()))
    count = 12 if algorithm == "grid" else 15  # a grid of 3 x 4 fits into 15
    assert [entry.number for entry in one.entries] == list(range(count))
    assert [entry.generation for entry in one.entries] == [number // 5 for number in range(count)]
    assert {entry.evaluation.status for entry in one.entries} == {"ok"}


def test_processes_of_any_speed_give_the_same_run(tmp_path: Path) -> None:
    space = {name: Float(0.0, 1.0) for name in "xyzuvw"}
    expected = steady(lambda params: params["x"], space, generations=6)
    late = evaluators.FirstComesLate(tmp_path, last=3)
    together = steady(late, space, generations=6, executor=ProcessExecutor(2))
    assert run_of(together) == run_of(expected)
    assert together.record.as_completed()[:4] == [1, 2, 3, 0]


def test_others_are_begun_while_one_is_slow() -> None:
    """With generations of four, the second would not start before the first has ended completely."""
    ends: list[int] = []

    class SlowSecond(SerialExecutor):
        def run(self, evaluate: Evaluate, requests: Any) -> Any:
            for position in (0, 2, 3, 4, 1, *range(5, 16)):
                assert position < len(requests), "it is proposed by now"
                for _, evaluation in super().run(evaluate, [requests[position]]):
                    ends.append(requests[position].number)
                    yield position, evaluation

    assert run_of(steady(executor=SlowSecond())) == run_of(steady())
    assert ends[:5] == [0, 2, 3, 4, 1]


@pytest.mark.parametrize("algorithm", ["surrogate", "truncation", "tpe"])
def test_cut_anywhere_it_ends_as_if_it_had_not_been(tmp_path: Path, algorithm: str) -> None:
    expected = run_of(steady(algorithm=algorithm))
    options: dict[str, Any] = {"algorithm": algorithm, "storage": tmp_path / "a.db", "resume": True}
    cuts = 0
    while len(load_or_none(tmp_path)) < 16:
        executor = (LatestFirst(), SerialExecutor())[cuts % 2]
        cuts += 1
        with suppress(KeyboardInterrupt):
            steady(InterruptedAt(3, loss), executor=executor, **options)
    assert cuts >= 3
    assert run_of(steady(InterruptedAt(0, loss), **options)) == expected


def load_or_none(folder: Path) -> Any:
    return load_study("study", folder / "a.db").entries if (folder / "a.db").exists() else ()


def test_budgets_end_it_at_the_same_evaluation(tmp_path: Path) -> None:
    expected = run_of(steady())
    for executor in (SerialExecutor(), LatestFirst()):
        name = type(executor).__name__
        options: dict[str, Any] = {"name": name, "storage": tmp_path / "a.db", "executor": executor}
        assert len(steady(max_evaluations=9, **options).entries) == 9
        assert run_of(steady(resume=True, **options)) == expected


def test_pruning_is_the_same_in_whatever_order_evaluations_end() -> None:
    def training(params: dict[str, Any], report: Any) -> float:
        for epoch in range(1, 5):
            report(epoch, loss(params) / epoch)
        return loss(params)

    runs = [
        [(entry.evaluation.status, entry.evaluation.values) for entry in steady(training, **arguments).entries]
        for arguments in (
            {"pruner": MedianPruner(startup=3), "algorithm": "random"},
            {"pruner": MedianPruner(startup=3), "algorithm": "random", "executor": LatestFirst()},
        )
    ]
    assert runs[0] == runs[1]
    assert {status for status, _ in runs[0]} == {"ok", "pruned"}


def test_epochs_that_are_saved_are_there_for_others_in_whatever_order() -> None:
    def training(params: dict[str, Any], epochs: int, report: Any) -> float:
        for epoch in range(1, epochs + 1):
            report(epoch, loss(params))
            if params["x"] > 0.3:
                return math.nan
        return loss(params)

    runs = [
        run_of(steady(training, epochs=5, max_epochs=60, generations=None, algorithm="random", executor=executor))
        for executor in (SerialExecutor(), LatestFirst())
    ]
    assert [repr(one) for one in runs[0]] == [repr(one) for one in runs[1]]
    assert len(runs[0]) > 12, "some diverged at once"


def test_callbacks_are_told_of_generations_and_may_end_it() -> None:
    told: list[list[int]] = []
    callback = SimpleNamespace(on_generation=lambda study, entries: told.append([one.number for one in entries]))
    steady(callbacks=[callback], executor=LatestFirst())
    assert told == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
    assert len(steady(lambda params: 1.0, callbacks=[EarlyStopping(patience=1)]).entries) >= 8
    assert load_generations(steady(target=100.0)) == {0}


def load_generations(study: Study) -> set[int]:
    return {entry.generation for entry in study.entries}


def test_what_is_enqueued_comes_first_and_is_learnt_from() -> None:
    known = [{"x": 0.0, "width": 16}, {"x": 0.5}]
    for algorithm in ("surrogate", "tpe", "random", "truncation"):
        study = steady(algorithm=algorithm, enqueue=known, executor=LatestFirst())
        assert len(study.entries) == 16
        assert study.space is not None
        assert study.space.decode(study.entries[0].genes) == pytest.approx(known[0])
        assert study.space.decode(study.entries[1].genes)["x"] == 0.5
        assert study.best_value == 0.0
    more = [{"width": width} for width in range(1, 7)]
    assert [one.genes for one in steady(algorithm="tpe", enqueue=more).entries[:6]] == [
        one.genes for one in steady(algorithm="random", enqueue=more).entries[:6]
    ]


def test_a_small_space_is_evaluated_whole_and_no_longer() -> None:
    space = Space({"kind": Categorical(["a", "b", "c"]), "width": Int(1, 2)})
    study = steady(lambda params: params["width"], space, algorithm="surrogate", generations=5)
    assert len(study.entries) == 6
    assert steady(lambda params: params["width"], space, algorithm="grid", generations=5).best_value == 1.0
    assert len(steady(lambda params: 1.0, space, algorithm="random", max_evaluations=50).entries) < 100


@pytest.mark.parametrize("steady_state", [False, True])
def test_if_each_evaluation_draws_its_own_numbers_a_small_space_is_evaluated_again(
    steady_state: bool, tmp_path: Path
) -> None:
    def noisy(params: dict[str, Any]) -> float:
        return abs(params["x"] - 3) + random.gauss(0, 0.3)

    options: dict[str, Any] = {"population": 5, "generations": None, "seed": 1, "steady_state": steady_state}
    options |= {"common_random_numbers": False, "progress": False}
    study = optimize(noisy, {"x": Int(1, 4)}, max_evaluations=40, **options)
    tried = [study.params_of(entry)["x"] for entry in study.entries]
    assert len(tried) == 40 > 4 == len(set(tried[:4]))
    assert max(range(1, 5), key=tried.count) == 3
    for most in (3, 9, 40):
        parts = optimize(
            noisy, {"x": Int(1, 4)}, max_evaluations=most, storage=tmp_path / "a.db", resume=True, **options
        )
    assert run_of(parts) == run_of(study)
    same = optimize(noisy, {"x": Int(1, 4)}, max_evaluations=40, **{**options, "common_random_numbers": True})
    assert len(same.entries) == 4


def test_several_objectives_with_what_learns_nothing() -> None:
    study = steady(lambda params: (params["x"], params["width"]), direction=["minimize"] * 2, algorithm="sobol")
    assert len(study.entries) == 16


def test_the_time_alone_may_end_it() -> None:
    def takes_a_while(params: dict[str, Any]) -> float:
        time.sleep(0.02)
        return loss(params)

    study = steady(takes_a_while, generations=None, max_seconds=0.5, algorithm="random")
    assert 4 < len(study.entries) < 30


class OneAhead(SerialExecutor):
    """Starts another evaluation before it gives one back, as workers do; each one takes 3 seconds of `clock`."""

    def __init__(self) -> None:
        self.clock = 1.0
        self.starts: list[float] = []

    def run(self, evaluate: Evaluate, requests: Any) -> Iterator[Any]:
        begun: list[Any] = []
        done = 0

        def begin() -> None:
            while requests and len(begun) < 2 and done + len(begun) < len(requests):
                begun.append(requests[done + len(begun)])
                self.starts.append(self.clock)

        begin()
        while begun:
            ((_, evaluation),) = super().run(evaluate, [begun.pop(0)])
            self.clock += 3.0
            done += 1
            begin()
            yield done - 1, evaluation
            begin()


@pytest.mark.parametrize("algorithm", ["random", "truncation"])
def test_nothing_is_started_once_the_time_is_up(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run_of(steady(algorithm=algorithm))
    options: dict[str, Any] = {"algorithm": algorithm, "storage": tmp_path / "a.db"}
    ahead = OneAhead()
    monkeypatch.setattr("deap_hpo.budget.perf_counter", lambda: ahead.clock)
    cut = steady(executor=ahead, max_seconds=5, **options)
    assert ahead.starts == [1.0, 1.0, 4.0]
    assert [entry.number for entry in cut.entries] == [0, 1, 2], "what waited is not on record"
    assert run_of(steady(resume=True, **options)) == expected


@pytest.mark.parametrize("algorithm", ["surrogate", "truncation", "tpe", "random"])
def test_a_laboratory_is_asked_for_another_as_soon_as_the_oldest_is_told(tmp_path: Path, algorithm: str) -> None:
    lab = AskTell(
        SPACE, storage=tmp_path / "lab.db", algorithm=algorithm, population=4, generations=4, seed=1, steady_state=True
    )
    assert [question.number for question in lab.ask()] == [0, 1, 2, 3]
    lab.tell(2, loss(lab.ask()[2].params))
    assert [question.number for question in lab.ask()] == [0, 1, 3], "the oldest may still change what comes next"
    lab.tell(0, loss(lab.ask()[0].params))
    assert [question.number for question in lab.ask()][:2] == [1, 3]
    assert max(question.number for question in lab.ask()) >= 4 or algorithm == "truncation"
    while questions := lab.ask():
        lab.tell(questions[-1].number, loss(questions[-1].params))
    assert run_of(lab.study) == run_of(steady(algorithm=algorithm))


def test_it_is_part_of_what_a_resumed_study_has_to_share(tmp_path: Path) -> None:
    steady(storage=tmp_path / "a.db")
    with pytest.raises(InputError, match="steady_state"):
        optimize(loss, SPACE, population=4, generations=4, seed=1, storage=tmp_path / "a.db", resume=True)
    by_generations = optimize(loss, SPACE, population=4, generations=2, seed=1, progress=False)
    assert "steady_state" not in by_generations.attributes["settings"]["evolution"], "as records of before have it"


@pytest.mark.parametrize("algorithm", ["surrogate", "truncation", "tpe"])
def test_what_failed_is_tried_again_as_if_it_had_not(tmp_path: Path, algorithm: str) -> None:
    broken = {3, 6}

    def breaks(params: dict[str, Any], number: int) -> float:
        if number in broken:
            raise RuntimeError("out of paper")
        return loss(params)

    options: dict[str, Any] = {"algorithm": algorithm, "storage": tmp_path / "a.db", "executor": LatestFirst()}
    with pytest.warns(DeapHPOWarning, match="out of paper"):
        before = steady(breaks, **options)
    assert before.entries[3].evaluation.status == "failed"
    broken.clear()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the evaluator of the study")  # `broken`
        after = steady(breaks, resume=True, retry_failed=True, **options)
    assert run_of(after) == run_of(steady(breaks, algorithm=algorithm))
    assert len(after.superseded) > 2


class Watched(LatestFirst):
    """Notes how many evaluations are asked for but not yet returned."""

    def __init__(self) -> None:
        self.open: list[int] = []

    def run(self, evaluate: Evaluate, requests: Any) -> Iterator[Any]:
        self.open.append(len(requests))
        for given, answer in enumerate(super().run(evaluate, requests), 1):
            yield answer
            self.open.append(len(requests) - given)


@pytest.mark.parametrize("enqueued", [0, 3, 9])
@pytest.mark.parametrize("algorithm", ["surrogate", "tpe", "random"])
def test_as_many_are_open_as_the_population_is_large(algorithm: str, enqueued: int) -> None:
    watched = Watched()
    known = [{"x": 0.1 * i} for i in range(enqueued)]
    study = steady(algorithm=algorithm, enqueue=known, executor=watched, population=5, generations=3)
    assert max(watched.open) == 5
    assert len(study.entries) == 15
    assert [entry.generation for entry in study.entries] == [number // 5 for number in range(15)]


def by_hand(study: SteadyStudy, algorithm: str, nevals: int) -> SteadyStudy:
    """Run a sampler of Optuna with a toolbox in full view."""
    strategy = make_strategy(algorithm, SPACE, seed=1, batch_size=1, n_startup_trials=4)
    with study:
        toolbox = base.Toolbox()
        toolbox.register("generate", strategy.generate, Individual)
        toolbox.register("update", strategy.update)
        toolbox.register("evaluate", loss)
        toolbox.register("each", study.each)
        eaSteadyGenerateUpdate(toolbox, size=4, nevals=nevals, verbose=False)
    return study


def test_a_strategy_is_asked_for_one_at_a_time_by_all_that_is_known() -> None:
    study = steady(algorithm="tpe", arguments={"n_startup_trials": 4})
    ordered = by_hand(OrderedStudy(SPACE, seed=1), "tpe", nevals=16)
    assert [entry.genes for entry in study.entries] == [entry.genes for entry in ordered.entries]


def test_the_start_of_a_surrogate_fills_the_space() -> None:
    genes = np.array([entry.genes for entry in steady(population=12, generations=2).entries[:12]])
    assert sorted((12 * genes[:, 0]).astype(int)) == list(range(12)), "a Latin hypercube"


@pytest.mark.parametrize("algorithm", ["tpe", "gp"])
def test_optunas_samplers_take_outcomes_in_any_order(algorithm: str) -> None:
    study = by_hand(SteadyStudy(SPACE, seed=1, executor=LatestFirst()), algorithm, nevals=12)
    assert study.record.as_completed()[:4] == [3, 4, 5, 6]
    assert sorted(study.record.as_completed()) == list(range(12))


def test_what_is_enqueued_is_learnt_and_the_rest_told() -> None:
    heard: list[tuple[str, float]] = []
    strategy = SimpleNamespace(
        generate=lambda ind_init: [ind_init([0.9])],
        update=lambda population: heard.extend(("update", one[0]) for one in population),
        learn=lambda population: heard.extend(("learn", one[0]) for one in population),
    )
    enqueued = Enqueued(strategy, [[0.1], [0.2]])
    first = [*enqueued.generate(list), *enqueued.generate(list)]
    for individual in first:
        enqueued.update([individual])
    assert heard == [("learn", 0.1), ("learn", 0.2), ("update", 0.9)]


@pytest.mark.parametrize("seed", range(4))
def test_with_a_pruner_a_run_that_was_cut_is_the_same(tmp_path: Path, seed: int) -> None:
    def training(params: dict[str, Any], report: Any) -> float:
        for epoch in range(1, 4):
            report(epoch, loss(params))
        return loss(params)

    arguments: dict[str, Any] = {"pruner": MedianPruner(startup=2), "algorithm": "random", "seed": seed}
    expected = run_of(steady(training, **arguments))
    options = {**arguments, "storage": tmp_path / "a.db", "resume": True}

    def cut(study: Study, entry: Any) -> None:
        if len(study.record) % 3 == 0:
            raise KeyboardInterrupt

    while len(load_or_none(tmp_path)) < 16:
        with suppress(KeyboardInterrupt):
            steady(training, executor=LatestFirst(), callbacks=[SimpleNamespace(on_evaluation=cut)], **options)
    assert run_of(steady(training, **options)) == expected


def test_callbacks_may_draw() -> None:
    def draw(study: Study, entry: Any) -> None:
        random.random()
        np.random.rand()

    drawing = steady(algorithm="truncation", callbacks=[SimpleNamespace(on_evaluation=draw)])
    assert run_of(drawing) == run_of(steady(algorithm="truncation"))


def test_a_smaller_budget_ends_a_replay(tmp_path: Path) -> None:
    first = steady(storage=tmp_path / "a.db", max_evaluations=12)
    told: list[int] = []
    callback = SimpleNamespace(on_generation=lambda study, entries: told.extend(one.number for one in entries))
    steady(storage=tmp_path / "a.db", resume=True, max_evaluations=8, callbacks=[callback])
    assert (len(first.entries), told) == (12, list(range(8)))


@pytest.mark.parametrize("limit", [{"max_evaluations": 14}, {"target": 0.5, "generations": 9}, {"generations": 4}])
def test_checkpoints_are_dropped_at_the_end_however_it_ends(tmp_path: Path, limit: dict[str, Any]) -> None:
    study = steady(
        evaluators.saves_x,
        Space({name: Float(0.0, 1.0) for name in "xyzuvw"}),
        storage=tmp_path / "a.db",
        executor=ProcessExecutor(2),
        algorithm="random",
        epochs=1,
        **limit,
    )
    files = [path for path in tmp_path.rglob("states/*") if path.is_file()]
    assert len(study.entries) > 5
    assert len(files) <= 5, "of the last population, and the best"


class FifthIsSlow(SerialExecutor):
    """Ends the fifth evaluation only when nothing else is left to do."""

    def run(self, evaluate: Evaluate, requests: Any) -> Iterator[Any]:
        done: set[int] = set()
        while len(done) < len(requests):
            left = sorted(set(range(len(requests))) - done, key=lambda position: (position == 4, position))
            done.add(left[0])
            for _, evaluation in super().run(evaluate, [requests[left[0]]]):
                yield left[0], evaluation


class Counts(ProgressDisplay):
    """Keeps what is shown."""

    shown: tuple[str, ...] = ()

    def _update(self, generation: int) -> None:
        super()._update(generation)
        self.shown += (self._progress.tasks[0].fields["counts"],)


def test_progress_counts_what_belongs_to_the_next_generation() -> None:
    changes = ["evolution.steady_state=true", "evolution.population=5", "evolution.generations=4"]
    seen = []
    with Counts(workload(SPACE, load_config("quick", changes).evolution), epochs=False) as display:
        told = SimpleNamespace(on_generation=lambda study, _: seen.append((len(study.record), display.shown[-1])))
        steady(population=5, generations=4, executor=FifthIsSlow(), callbacks=[display, told])
    assert [said for _, said in seen] == [f"{count}/20 evaluations" for count, _ in seen]
    assert seen[0][0] == 9, "the first generation waited for its last, and four of the second did not"


@pytest.mark.parametrize("algorithm", ["random", "truncation"])
def test_progress_shows_no_more_than_all(algorithm: str) -> None:
    few = Space({"x": Int(0, 3), "y": Int(0, 4)})
    changes = ["evolution.steady_state=true", "evolution.max_evaluations=13", f"evolution.algorithm={algorithm}"]
    changes.append("evolution.population=8")
    with Counts(workload(few, load_config("quick", changes).evolution), epochs=False) as display:
        budget: dict[str, Any] = {"generations": None, "max_evaluations": 13, "population": 8}
        late = LatestFirst()
        steady(lambda params: params["x"], few, algorithm=algorithm, callbacks=[display], executor=late, **budget)
    assert all(int(done) <= int(total) for done, total in (said.split()[0].split("/") for said in display.shown))


@pytest.mark.parametrize("algorithm", sorted(set(METHODS) - set(STEADY)))
def test_what_proposes_whole_generations_is_refused(algorithm: str) -> None:
    with pytest.raises(InputError, match=f"steady_state is for .*; {algorithm} proposes whole generations"):
        steady(lambda params, epochs, checkpoint: 1.0, algorithm=algorithm, epochs=9)


def test_stages_are_refused() -> None:
    with pytest.raises(InputError, match="stages need generations, and steady_state has none"):
        steady(lambda params, epochs: 1.0, algorithm="truncation", epochs=4, arguments={"stages": [2, 4]})
    with pytest.raises(InputError, match="steady_state must be True or False; got 'yes'"):
        optimize(loss, SPACE, steady_state="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["surrogate", "truncation", "random"])
def test_the_work_of_a_run_is_known_before_it_runs(algorithm: str) -> None:
    changes = ["evolution.steady_state=true", f"evolution.algorithm={algorithm}", "evolution.enqueue=[{lr=0.1}]"]
    config = load_config("quick", changes)
    work = workload(config.search_space, config.evolution, epochs=2)
    size, generations = config.evolution.population, config.evolution.generations
    assert (work.evaluations, work.epochs) == (size * generations, 2 * size * generations)
