"""Steady-state evolution: it never waits, its record determines it, and it resumes wherever it was interrupted."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evaluators
import pytest
from interruptions import InterruptedAt
from rich.console import Console
from test_study import SPACE, objective

from deap_hpo.budget import Budget, BudgetSpent
from deap_hpo.configuration.workload import Batch, Workload
from deap_hpo.errors import InputError
from deap_hpo.evolution.individual import individual_type, make_toolbox
from deap_hpo.evolution.steady_state import eaSteadyState
from deap_hpo.execution.executors import ProcessExecutor, SerialExecutor
from deap_hpo.functions.objective import Objective
from deap_hpo.progress import ProgressDisplay
from deap_hpo.pruning import MedianPruner
from deap_hpo.recorded import load_study
from deap_hpo.records.record import ReplayError
from deap_hpo.search_space.space import Float, Int, Space
from deap_hpo.steady_study import SteadyStudy
from deap_hpo.stopping import EarlyStopping, StoppedEarly
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import FolderCheckpoints


def saves(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
    checkpoint.save({"x": params["x"]})
    return float(params["x"])


def kept_by(folder: FolderCheckpoints, study: SteadyStudy) -> set[str | None]:
    """References rather than numbers: a child that is a copy of another shares its checkpoint."""
    return {entry.evaluation.checkpoint for entry in study.record if entry.evaluation.checkpoint in folder}


def latest_and_best(study: SteadyStudy) -> set[str | None]:
    numbers = [*study.record.as_completed()[-6:], study.best.number]
    return {study.record[number].evaluation.checkpoint for number in numbers}


LINE = Space({name: Float(0.0, 1.0) for name in "xyzuvw"})


def evolve(study: SteadyStudy, evaluate: Any, nevals: int = 20, size: int = 6) -> list[Any]:
    toolbox = make_toolbox(study.space or SPACE)
    toolbox.register("evaluate", evaluate)
    toolbox.register("each", study.each)
    population, _ = eaSteadyState(toolbox.population(n=size), toolbox, 1.0, 1.0, nevals, verbose=False)
    return [(list(one), one.fitness.values) for one in population]


def test_interrupted_anywhere_in_one_process_it_ends_the_same(tmp_path: Path) -> None:
    with SteadyStudy(SPACE, seed=3) as study:
        counter = InterruptedAt(10**9, objective)
        expected = evolve(study, counter), list(study.record)
    options = {"name": "cut", "storage": f"{tmp_path}/a.db", "seed": 3, "resume": True}
    for _ in range(0, counter.calls, 3):
        with SteadyStudy(SPACE, **options) as study, pytest.raises(KeyboardInterrupt):
            evolve(study, InterruptedAt(2, objective))
    with SteadyStudy(SPACE, **options) as study:
        population = evolve(study, objective)
        ours = [(e.number, e.genes, e.evaluation.values, e.parents) for e in study.record]
    assert (population, ours) == (
        expected[0],
        [(e.number, e.genes, e.evaluation.values, e.parents) for e in expected[1]],
    )


def test_what_workers_did_in_any_order_is_replayed_exactly(tmp_path: Path) -> None:
    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}
    with SteadyStudy(LINE, executor=ProcessExecutor(2), **options) as study:
        population = evolve(study, evaluators.FirstComesLate(tmp_path, last=5))
        order = study.record.as_completed()
    assert order.index(0) >= 4
    with SteadyStudy(LINE, resume=True, **options) as study:
        assert study.record.as_completed() == order
        assert evolve(study, InterruptedAt(0, objective)) == population


def test_a_run_of_workers_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3, "resume": True}
    for most in (7, 13):
        study = SteadyStudy(LINE, executor=ProcessExecutor(2), max_evaluations=most, **options)
        with study, pytest.raises(BudgetSpent):
            evolve(study, evaluators.sleep_by_x)
        before = load_study("run", f"{tmp_path}/a.db").entries
        assert sum(entry.duplicate_of is None for entry in before) == most
    with SteadyStudy(LINE, executor=ProcessExecutor(2), **options) as study:
        population = evolve(study, evaluators.sleep_by_x)
        assert [entry.number for entry in study.record] == list(range(20))
        assert all(study.record[entry.number] == entry for entry in before)
    with SteadyStudy(LINE, **options) as study:
        assert evolve(study, InterruptedAt(0, objective)) == population


def test_nobody_waits_for_the_slowest(tmp_path: Path) -> None:
    with SteadyStudy(LINE, seed=3, executor=ProcessExecutor(2)) as study:
        population = make_toolbox(LINE).population(n=8)
        evaluate = evaluators.FirstComesLate(tmp_path, last=7)
        finished = [individual.origin[0] for individual, _ in study.each(evaluate, population)]
    assert finished.index(0) >= 6, "one worker does the others while the first is under way"
    assert [number for number in finished if number > 0] == [1, 2, 3, 4, 5, 6, 7]


def test_repeated_configurations_are_answered_by_the_first(tmp_path: Path) -> None:
    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}
    counter = InterruptedAt(10**9, lambda params: params["x"])
    with SteadyStudy(Space({"x": Int(0, 4)}), **options) as study:
        population = evolve(study, counter)
        assert len(study.record) == 20
    assert counter.calls <= 5
    with SteadyStudy(Space({"x": Int(0, 4)}), resume=True, **options) as study:
        assert evolve(study, InterruptedAt(0, objective)) == population


def test_the_logbook_has_a_row_for_each_population_of_evaluations() -> None:
    with SteadyStudy(Space({"x": Int(0, 9)}), seed=3) as study:
        toolbox = make_toolbox(study.space)
        toolbox.register("evaluate", lambda params: params["x"])
        toolbox.register("each", study.each)
        stats = study.statistics()
        population, logbook = eaSteadyState(toolbox.population(n=6), toolbox, 1.0, 1.0, 20, stats, verbose=False)
    assert logbook.select("nevals") == [6, 6, 6, 2]
    in_order = [study.record[number] for number in study.record.as_completed()]
    cached = [sum(entry.duplicate_of is not None for entry in in_order[i : i + 6]) for i in (0, 6, 12)]
    assert logbook.select("cached")[:3] == cached
    assert logbook[-1]["min"] == min(one.fitness.values[0] for one in population) == study.best_value


def test_callbacks_are_told_of_each_generation_and_may_end_it() -> None:
    told: list[list[int]] = []

    class Told:
        def on_generation(self, study: SteadyStudy, entries: Any) -> None:
            told.append([entry.number for entry in entries])

    with SteadyStudy(LINE, seed=3, callbacks=[Told()]) as study:
        evolve(study, objective)
    assert [len(numbers) for numbers in told] == [6, 6, 6, 2]
    assert sorted(number for numbers in told for number in numbers) == list(range(20))
    assert study.generation == 4
    assert [entry.generation for entry in study.record] == [i // 6 for i in range(20)]

    for limit, generations in (({"target": 100.0}, 1), ({"patience": 2}, 3)):
        stopped = SteadyStudy(LINE, seed=3, callbacks=[EarlyStopping(**limit)])
        with stopped, pytest.raises(StoppedEarly, match=f"in generation {generations}[:,]"):
            evolve(stopped, lambda params: 1.0)
        assert len(stopped.record) == 6 * generations


def test_a_pruner_compares_with_what_is_on_record(tmp_path: Path) -> None:
    options: Any = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3, "pruner": MedianPruner(startup=3)}
    ends = []
    for resume in (False, True):
        with SteadyStudy(LINE, resume=resume, **options) as study:
            ends.append(evolve(study, Objective(evaluators.report_curve)))
            assert "pruned" in {entry.evaluation.status for entry in study.record}
    assert ends[0] == ends[1]


def test_an_algorithm_is_told_the_same_of_what_was_pruned_as_by_map() -> None:
    def in_epochs(params: dict[str, Any], epochs: int, report: Any) -> float:
        for epoch in range(1, epochs + 1):
            report(epoch, params["x"])
        return float(params["x"])

    told: list[Any] = []
    for kind in (Study, SteadyStudy):
        with kind(Space({"x": Float(0.0, 1.0)}), seed=3, pruner=MedianPruner(startup=1)) as study:
            first, second = individual_type((-1.0,))([0.1]), individual_type((-1.0,))([0.9])
            second.epochs = 2
            objective = Objective(in_epochs, epochs=4)
            study.map(objective, [first])
            if isinstance(study, SteadyStudy):
                told += [values for _, values in study.each(objective, [second])]
            else:
                told += study.map(objective, [second])
            assert study.record[1].evaluation.status == "pruned"
    assert told == [(math.inf,), (math.inf,)]


@pytest.mark.parametrize("ended_by", ["time", "stop", "target"])
def test_what_is_under_way_when_it_ends_is_waited_for(tmp_path: Path, ended_by: str) -> None:
    def stop(study: SteadyStudy, entry: Any) -> None:
        if ended_by == "stop" and len(study.record) == 6:
            study.stop()

    options: Any = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3, "resume": True}
    callbacks: list[Any] = [SimpleNamespace(on_evaluation=stop)]
    callbacks += [EarlyStopping(target=100.0)] if ended_by == "target" else []
    seconds = 0.3 if ended_by == "time" else None
    with (
        SteadyStudy(LINE, executor=ProcessExecutor(2), callbacks=callbacks, max_seconds=seconds, **options) as study,
        pytest.raises(BudgetSpent),
    ):
        evolve(study, evaluators.sleep_by_x)
    done = load_study("run", f"{tmp_path}/a.db").entries
    assert len(study.record) == len(done)
    if ended_by != "time":
        assert len(done) > 6, "the sixth ended it, and others were under way"
    with SteadyStudy(LINE, executor=ProcessExecutor(2), **options) as study:
        population = evolve(study, evaluators.sleep_by_x)
        assert all(study.record[entry.number] == entry for entry in done)
    with SteadyStudy(LINE, **options) as study:
        assert evolve(study, InterruptedAt(0, objective)) == population


def test_checkpoints_are_kept_of_the_last_generation_and_the_best(tmp_path: Path) -> None:
    folder = FolderCheckpoints(tmp_path / "states")
    with SteadyStudy(LINE, seed=3) as study:
        evolve(study, Objective(saves, epochs=1, checkpoints=folder), nevals=24)
        assert kept_by(folder, study) == latest_and_best(study)


def test_no_worker_loses_what_it_is_about_to_leave(tmp_path: Path) -> None:
    folder = FolderCheckpoints(tmp_path / "states")
    lost: list[int] = []

    def look(study: SteadyStudy, entry: Any) -> None:
        time.sleep(0.01)  # so that others are finished meanwhile
        if entry.evaluation.checkpoint not in folder:
            lost.append(entry.number)

    callbacks: list[Any] = [SimpleNamespace(on_evaluation=look)]
    with SteadyStudy(LINE, seed=3, executor=ProcessExecutor(3), callbacks=callbacks) as study:
        evolve(study, Objective(saves, epochs=1, checkpoints=folder), nevals=24)
        assert {entry.evaluation.status for entry in study.record} == {"ok"}
        assert kept_by(folder, study) == latest_and_best(study)
        assert [study.record[number].generation for number in study.record.as_completed()] == [
            i // 6 for i in range(24)
        ]
    assert lost == []


def test_an_executor_that_takes_up_nothing_more_is_told_so() -> None:
    class Once(SerialExecutor):
        def run(self, evaluate: Any, requests: Any) -> Any:
            return super().run(evaluate, list(requests))

    with (
        SteadyStudy(LINE, executor=Once()) as study,
        pytest.raises(InputError, match="must take up the requests"),
    ):
        evolve(study, objective)


def test_each_evaluation_is_asked_of_the_budget_while_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    counted = Budget.allowed

    def count(self: Budget, planned: Any) -> int:
        asked.append(len(planned := list(planned)))
        return counted(self, planned)

    monkeypatch.setattr(Budget, "allowed", count)
    with SteadyStudy(LINE, seed=3) as study:
        evolve(study, objective, nevals=200)
    assert max(asked) <= 6, "not of all that is finished, each time"


def test_another_algorithm_is_refused(tmp_path: Path) -> None:
    options = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3}
    with SteadyStudy(SPACE, **options) as study:
        evolve(study, objective)
    with SteadyStudy(SPACE, resume=True, **options) as study, pytest.raises(ReplayError, match="cannot be resumed"):
        evolve(study, objective, size=8)


def test_directions_that_disagree_with_the_weights_are_refused() -> None:
    individual = individual_type([1.0])([0.5] * len(SPACE))
    with SteadyStudy(SPACE) as study, pytest.raises(InputError, match=r"agree with the weights .*, which say maximize"):
        list(study.each(objective, [individual]))
    assert len(study.record) == 0


def test_of_equal_genomes_the_unlucky_one_gives_way() -> None:
    losses = [5.0, 4.0, 1.0, 3.0, 2.0, 0.5, 6.0, 0.7]

    def each(evaluate: Any, individuals: list[Any]) -> Iterator[tuple[Any, tuple[float, ...]]]:
        for individual, loss in zip(individuals, losses, strict=False):
            individual[:] = [0.5] * len(LINE)
            yield individual, (loss,)

    toolbox = make_toolbox(LINE)
    toolbox.register("evaluate", objective)
    toolbox.register("each", each)
    population, _ = eaSteadyState(toolbox.population(n=4), toolbox, 1.0, 1.0, nevals=8, verbose=False)
    assert [one.fitness.values[0] for one in population] == [0.5, 0.7, 1.0, 2.0]


@pytest.mark.parametrize(("size", "nevals"), [(3, 10), (6, 5)])
def test_arguments_out_of_range_are_refused(size: int, nevals: int) -> None:
    with SteadyStudy(SPACE) as study, pytest.raises(ValueError, match="must be at least 4"):
        evolve(study, objective, nevals, size)


def of_line(params: dict[str, Any]) -> float:
    return float(params["x"])


class LatestFirst(SerialExecutor):
    """Finishes later requests before earlier ones."""

    def run(self, evaluate: Any, requests: Any) -> Iterator[Any]:
        done: set[int] = set()
        while len(done) < len(requests):
            latest = max(set(range(len(requests))) - done)
            done.add(latest)
            for _, evaluation in super().run(evaluate, [requests[latest]]):
                yield latest, evaluation


def test_the_progress_of_a_study_that_goes_on_counts_what_is_finished(tmp_path: Path) -> None:
    options: Any = {"name": "run", "storage": f"{tmp_path}/a.db", "seed": 3, "resume": True, "executor": LatestFirst()}
    with SteadyStudy(LINE, **options) as study, pytest.raises(KeyboardInterrupt):
        evolve(study, InterruptedAt(7, of_line), nevals=24)
    assert study.record.as_completed()[6:] == [9], "the first ones are still to come"
    screen = io.StringIO()
    batches = Workload((Batch(6, 1),) * 4)
    progress = ProgressDisplay(batches, epochs=False, lines=True, console=Console(file=screen, width=100))
    with pytest.raises(KeyboardInterrupt), progress, SteadyStudy(LINE, callbacks=[progress], **options) as study:
        evolve(study, InterruptedAt(2, of_line), nevals=24)
    done = len(study.record)
    assert f"generation 2/4: {done}/24 evaluations" in screen.getvalue().splitlines()[-1]


def test_what_changes_its_individual_is_refused_before_it_is_written() -> None:
    def improves(individual: Any) -> float:
        individual[0] *= 0.5
        return float(individual[0])

    with SteadyStudy(seed=1) as study, pytest.raises(InputError, match="must leave the individual as it is"):
        list(study.each(improves, [[1.0], [2.0]]))
    assert len(study.record) == 0
