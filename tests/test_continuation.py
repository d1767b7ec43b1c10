"""Evaluations that continue earlier ones: requested, recorded, answered, counted, collected and made again."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from continuing import Creeping, Interrupted
from hypothesis import given, settings
from hypothesis import strategies as st

from deap_hpo.budget import Budget, BudgetSpent
from deap_hpo.errors import InputError
from deap_hpo.evolution.individual import Individual, individual_type, make_toolbox
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.goals import Goals
from deap_hpo.records.entries import training_path
from deap_hpo.records.record import ReplayError
from deap_hpo.search_space.space import Float, Space
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import FolderCheckpoints, MemoryCheckpoints

SPACE = Space({"x": Float(0.0, 20.0)})


def asking(x: float, epochs: int | None = None, start_from: int | None = None) -> Any:
    individual = Individual([x / 20])
    individual.epochs, individual.start_from = epochs, start_from
    return individual


def test_an_evaluation_goes_on_where_another_ended_and_the_record_tells() -> None:
    evaluate = Creeping()
    with Study(SPACE) as study:
        (first,) = study.map(evaluate, [asking(4.0, 2)])
        individual = asking(4.0, 5, 0)
        (second,) = study.map(evaluate, [individual])
        (other,) = study.map(evaluate, [asking(2.0, 3, 0)])
        assert (first, second, other) == ((3.0,), (3.875,), (2.5,))
        assert (individual.origin, individual.epochs, individual.start_from) == ((1,), 5, None)
        assert [(e.epochs, e.start_from) for e in study.record] == [(2, None), (5, 0), (3, 0)]
        assert [[epoch.epoch for epoch in e.evaluation.curve] for e in study.record] == [[1, 2], [3, 4, 5], [3]]
        assert [e.number for e in training_path(study.record, 2)] == [0, 2]
        assert study.budget.epochs == 6


def test_plain_evaluations_leave_no_checkpoint_and_can_be_gone_on_from_all_the_same() -> None:
    evaluate = Creeping()
    with Study(SPACE) as study:
        study.map(evaluate, [asking(4.0)])
        assert study.record[0].evaluation.checkpoint is None
        assert study.map(evaluate, [asking(8.0, 5, 0)]) == [(5.875,)]
        assert evaluate.asked == [0, 0, 1], "trained again, this time with a checkpoint"


def test_the_same_training_is_done_once_by_whatever_route_it_is_asked_for() -> None:
    evaluate = Creeping()
    with Study(SPACE) as study:
        study.map(evaluate, [asking(4.0, 2), asking(4.0, 3), asking(4.0, 2), asking(4.0)])
        study.map(evaluate, [asking(4.0, 3, 0), asking(4.0, 4, 2), asking(6.0, 4, 0), asking(6.0, 4, 2)])
        study.map(evaluate, [asking(6.0, 5, 6), asking(6.0, 5, 0), asking(4.0, 5, 6)])
        # 4 epochs are the evaluator's own; 9 continues 0 as 6 and 8 did, with the same hyperparameters.
        assert [e.duplicate_of for e in study.record] == [None, None, 0, None, 1, 3, None, 6, None, 8, None]
        assert evaluate.asked == [0, 1, 3, 6, 8, 10]
        assert study.map(evaluate, [asking(4.0, 6, 5)]) == [(4 - 4 / 2**6,)], "from a duplicate"


def test_what_diverged_answers_for_its_continuation() -> None:
    evaluate = Creeping()
    with Study(SPACE) as study:
        study.map(evaluate, [asking(20.0, 1)])
        assert study.map(evaluate, [asking(1.0, 2, 0)]) == [(math.inf,)]
        assert study.map(evaluate, [asking(1.0, 3, 1)]) == [(math.inf,)]
        assert [e.duplicate_of for e in study.record] == [None, 0, 0]
        assert evaluate.asked == [0]
        assert study.budget.epochs == 1


def test_without_common_numbers_an_evaluation_goes_on_with_the_seed_that_it_began_with() -> None:
    with Study(SPACE, common_random_numbers=False) as study:
        study.map(Creeping(), [asking(4.0, 1), asking(4.0, 1)])
        study.map(Creeping(), [asking(4.0, 2, 0), asking(5.0, 2, 1)])
        seeds = [entry.seed for entry in study.record]
        assert seeds[:2] == seeds[2:]
        assert len(set(seeds)) == 2


def successive(study: Study, evaluate: Any, rungs: int = 4) -> list[Any]:
    """Halve eight individuals, one epoch a rung; the better half mutates a little, too."""
    toolbox = make_toolbox(SPACE, indpb=0.5)
    population = toolbox.population(n=8)
    for rung in range(1, rungs + 1):
        children = []
        for individual in population:
            child = toolbox.clone(individual)
            if rung > 1:
                child.start_from = individual.origin[0]
                if random.random() < 0.3:
                    (child,) = toolbox.mutate(child)
            child.epochs = rung
            children.append(child)
        for child, values in zip(children, study.map(evaluate, children), strict=True):
            child.fitness.values = values
        population = sorted(children, key=lambda child: child.fitness.values)[: max(1, len(children) // 2)]
    return [(list(one), one.fitness.values, one.origin) for one in population]


def trained(study: Study) -> list[Any]:
    return [(e.genes, e.epochs, e.start_from, e.duplicate_of, e.evaluation) for e in study.record]


@pytest.mark.parametrize("lost", [False, True])
def test_interrupted_anywhere_and_resumed_it_ends_the_same_checkpoints_lost_or_not(lost: bool, tmp_path: Path) -> None:
    with Study(SPACE, seed=2) as study:
        evaluate = Creeping(FolderCheckpoints(tmp_path / "whole"))
        expected = successive(study, evaluate), trained(study)
    total = len(evaluate.asked)
    assert total >= 12
    for after in range(lost, total, 2):  # anywhere: after an even number here, after an odd one there
        options: Any = {"name": f"cut-{after}", "storage": f"{tmp_path}/a.db", "seed": 2}
        folder = tmp_path / str(after)
        with Study(SPACE, **options) as study, pytest.raises(KeyboardInterrupt):
            successive(study, Interrupted(FolderCheckpoints(folder), after))
        if lost:
            shutil.rmtree(folder, ignore_errors=True)
        with Study(SPACE, **options, resume=True) as study:
            again = Creeping(FolderCheckpoints(folder))
            assert (successive(study, again), trained(study)) == expected
        kept, whole = ({path.name for path in one.iterdir()} for one in (folder, tmp_path / "whole"))
        assert kept <= whole
        if not lost:
            assert kept == whole
            assert len(again.asked) == total - after, "nothing is trained twice"


def test_only_what_can_be_needed_is_kept(tmp_path: Path) -> None:
    evaluate = Creeping(FolderCheckpoints(tmp_path))
    with Study(SPACE) as study:
        study.map(evaluate, [asking(x, 1) for x in (1.0, 2.0, 3.0, 4.0)])
        assert len(list(tmp_path.iterdir())) == 4
        study.map(evaluate, [asking(8.0, 2, 3), asking(9.0, 2, 2)])
        kept = {study.record[number].evaluation.checkpoint for number in (0, 4, 5)}  # the best, and the batch
        assert {path.stem for path in tmp_path.iterdir()} == kept
        assert study.map(evaluate, [asking(5.0, 3, 1)]) == [(4.0,)], "further back: trained again"
        assert evaluate.asked == [0, 1, 2, 3, 4, 5, 1, 6]


def test_what_a_killed_run_had_no_time_to_drop_is_dropped_when_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str) -> list[str]:
        evaluate = Creeping(FolderCheckpoints(tmp_path / name))
        with Study(SPACE, name=name, storage=tmp_path / "a.db", resume=True) as study:
            study.map(evaluate, [asking(4.0, 2), asking(6.0, 2)])
            study.map(evaluate, [asking(2.0, 3, 0)])
        return sorted(path.name for path in (tmp_path / name).iterdir())

    whole = run("whole")
    with monkeypatch.context() as patch:
        patch.setattr(FolderCheckpoints, "collect", lambda *_: None)
        assert len(run("killed")) == 3 > len(whole)
    assert run("killed") == whole


def test_a_checkpoint_that_comes_out_otherwise_is_told_and_one_that_cannot_be_made_again_is_an_error() -> None:
    evaluate = Creeping()
    with Study(SPACE) as study:
        study.map(evaluate, [asking(4.0, 1)])
        evaluate.checkpoints.collect([])
        true = evaluate.evaluate
        evaluate.evaluate = lambda request: true(_with_x(request, 5.0) if request.number == 0 else request)  # type: ignore
        with pytest.warns(RuntimeWarning, match=r"evaluation 0 was missing; trained again, its value is 2.5 rather"):
            study.map(evaluate, [asking(4.0, 2, 0)])
        evaluate.checkpoints.collect([])
        evaluate.evaluate = lambda request: true(_with_x(request, 20.0))  # type: ignore[method-assign]
        with pytest.raises(
            InputError, match="checkpoint of evaluation 0 is missing, and training it again ended as div"
        ):
            study.map(evaluate, [asking(4.0, 3, 0)])


def test_checkpoints_that_only_the_workers_see_are_an_error(tmp_path: Path) -> None:
    class Elsewhere(Creeping):
        def evaluate(self, request: Any) -> Any:
            made = super().evaluate(request)
            for path in self.checkpoints.folder.iterdir():
                path.unlink()  # as if the folder were on another machine
            return made

    evaluate = Elsewhere(FolderCheckpoints(tmp_path))
    with Study(SPACE) as study:
        study.map(evaluate, [asking(4.0, 1)])
        with pytest.raises(InputError, match=r"evaluation 0 cannot be seen from here\. Workers on several machines"):
            study.map(evaluate, [asking(4.0, 2, 0)])


def _with_x(request: Any, x: float) -> Any:
    return replace(request, params={"x": x})


def test_epochs_are_a_budget_of_the_whole_run(tmp_path: Path) -> None:
    options: Any = {"storage": f"{tmp_path}/a.db", "seed": 2}
    checkpoints = FolderCheckpoints(tmp_path / "kept")
    with Study(SPACE, max_epochs=10, **options) as study, pytest.raises(BudgetSpent, match="its budget, max_epochs"):
        successive(study, Creeping(checkpoints))
    with Study(SPACE, max_epochs=10, resume=True, **options) as study, pytest.raises(BudgetSpent):
        successive(study, Interrupted(checkpoints, 0))
    assert sum(entry.evaluation.trained_epochs for entry in study.record if entry.duplicate_of is None) == 10
    with Study(SPACE, seed=2) as whole:
        expected = successive(whole, Creeping())
    with Study(SPACE, max_epochs=100, resume=True, **options) as study:
        assert successive(study, Creeping(checkpoints)) == expected


@given(
    st.lists(st.integers(0, 5), max_size=12),
    st.integers(1, 8) | st.none(),
    st.integers(1, 20) | st.none(),
)
@settings(deadline=None)
def test_a_budget_is_never_exceeded_and_ends_at_the_first_that_does_not_fit(
    costs: list[int], evaluations: int | None, epochs: int | None
) -> None:
    budget = Budget(evaluations, epochs)
    count = budget.allowed(enumerate(costs))

    def fits(n: int) -> bool:
        within = costs[:n]
        return sum(c > 0 for c in within) <= (evaluations or math.inf) and sum(within) <= (epochs or math.inf)

    assert fits(count)
    assert count == len(costs) or not fits(count + 1)


def test_another_lineage_on_record_is_refused(tmp_path: Path) -> None:
    options: Any = {"storage": f"{tmp_path}/a.db"}
    with Study(SPACE, **options) as study:
        study.map(Creeping(), [asking(4.0, 1), asking(5.0, 1)])
        study.map(Creeping(), [asking(4.0, 2, 0)])
    for other, named in ((asking(4.0, 2, 1), "start_from 0, this run has 1"), (asking(4.0, 3, 0), "epochs 2")):
        with Study(SPACE, resume=True, **options) as study:
            study.map(Interrupted(None, 0), [asking(4.0, 1), asking(5.0, 1)])
            with pytest.raises(ReplayError, match=named):
                study.map(Interrupted(None, 0), [other])


@pytest.mark.parametrize(
    ("individual", "said"),
    [
        (asking(4.0, 0), "epochs of an individual must be an integer of at least 1; got 0"),
        (asking(4.0, None, 0), "epochs of an individual must be an integer of at least 1; got None"),
        (asking(4.0, 2, 7), "start_from must be the number of an evaluation on record; got 7"),
        (asking(4.0, 2, 0), "epochs must be more than the 2 of evaluation 0, to go on from it; got 2"),
    ],
)
def test_what_cannot_be_asked_for_is_named(individual: Any, said: str) -> None:
    with Study(SPACE) as study:
        study.map(Creeping(), [asking(4.0, 2)])
        with pytest.raises(InputError, match=said):
            study.map(Creeping(), [individual])
        assert len(study.record) == 1


def test_an_evaluator_or_executor_that_cannot_go_on_is_named() -> None:
    with Study(SPACE) as study, pytest.raises(InputError, match=r"^An individual with `epochs` asks for trainings in"):
        study.map(lambda params: params["x"], [asking(4.0, 2)])
    with Study(SPACE, executor=ProcessExecutor(1)) as study, pytest.raises(InputError, match="FolderCheckpoints"):
        study.map(Creeping(), [asking(4.0, 2)])


@pytest.mark.parametrize(("direction", "least_important_first"), [("minimize", [3, 1, 2]), ("maximize", [2, 1, 3])])
def test_a_limit_drops_the_worst_of_a_batch_first(direction: Any, least_important_first: list[int]) -> None:
    """A store with a limit drops from the beginning of the list that it is told to keep."""

    class Told(MemoryCheckpoints):
        def collect(self, needed: Sequence[str]) -> None:
            told.append(list(needed))

    told: list[list[str]] = []
    evaluate = Creeping(Told())
    evaluate.goals = Goals(directions=(direction,))
    weight = -1.0 if direction == "minimize" else 1.0
    with Study(SPACE, directions=direction) as study:
        individuals = [individual_type((weight,))([x / 20]) for x in (2.5, 0.5, 5.0)]
        for individual in individuals:
            individual.epochs = 2
        study.map(evaluate, individuals)
        numbers = {entry.evaluation.checkpoint: entry.number + 1 for entry in study.record}
    assert [numbers[reference] for reference in told[-1][:3]] == least_important_first
