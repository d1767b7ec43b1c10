"""The plan against the run that follows, for every algorithm; the plan's budgets, and the display's totals."""

from __future__ import annotations

import io
import math
import re
import sys
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from continuing import Creeping
from deap import base
from deap.algorithms import eaGenerateUpdate
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deap_hpo import optimize
from deap_hpo.__main__ import evolve
from deap_hpo.budget import Budget, BudgetSpent
from deap_hpo.commands import plan as planning
from deap_hpo.commands.plan import plan
from deap_hpo.configuration.algorithm import strategy_for
from deap_hpo.configuration.assembly import make_task, trainer_of
from deap_hpo.configuration.config import RunConfig, make_config
from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.configuration.workload import Batch, Workload, workload
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evolution.individual import Individual
from deap_hpo.progress import ProgressDisplay
from deap_hpo.recorded import load_study
from deap_hpo.search_space.space import Float, Int, Space
from deap_hpo.strategies import MULTI_FIDELITY, STRATEGIES
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import FolderCheckpoints
from deap_hpo.training.task import Task
from deap_hpo.wording import format_value

LEAST = {
    "cmaes": {"population_size": 5},
    "fixed": {"params": {"lr": 0.01, "momentum": 0.5}, "repeats": 7},
    "grid": {"resolution": 3},
}
RUNS: dict[str, dict[str, Any]] = {
    **{name: {"algorithm": name, "arguments": LEAST.get(name, {})} for name in STRATEGIES},
    **{name: {"algorithm": name, "generations": 6} for name in MULTI_FIDELITY},
    "hyperband of its own": {"algorithm": "hyperband", "generations": 5, "arguments": {"epochs": 5, "eta": 2}},
    "truncation": {},
    "same again": {"indpb": 0.1, "max_evaluations": 7},
    "few children": {"cxpb": 0.2, "mutpb": 0.3},
    "pbt": {"algorithm": "pbt", "arguments": {"interval": 2}},
    "enqueued": {"enqueue": [{"lr": 0.02, "momentum": 0.1}]},
    "random, enqueued": {"algorithm": "random", "enqueue": [{"lr": 0.02, "momentum": 0.1}]},
    "dehb, enqueued": {"algorithm": "dehb", "enqueue": [{"lr": 0.02, "momentum": 0.1}] * 2},
    "pbt, enqueued": {"algorithm": "pbt", "enqueue": [{"lr": 0.02, "momentum": 0.1}]},
    "median": {"stages": [1, 2, 3]},
    "halving in stages": {"stages": [1, 3], "stopping": "halving"},
    "random in stages": {"stages": [1, 3], "stopping": "halving", "algorithm": "random"},
    "evaluations": {"max_evaluations": 7},
    "epochs": {"algorithm": "hyperband", "max_epochs": 10},
    "freeze-thaw, epochs": {"algorithm": "freeze-thaw", "max_epochs": 14, "generations": 40},
    "steady state": {"algorithm": "random", "population": 5, "generations": 3, "steady_state": True},
    "steady state of survivors": {
        "algorithm": "truncation",
        "population": 5,
        "generations": 3,
        "steady_state": True,
        "max_evaluations": 11,
    },
}
# Runs that do less than planned: earlier evaluations answer, trainings end early, or outcomes decide their epochs.
LESS = {
    "same again",
    "few children",
    "median",
    "dehb, enqueued",
    "fixed",
    "freeze-thaw",
    "freeze-thaw, epochs",
    "nsga2",
}


def run_of(evolution: dict[str, Any], storage: str) -> RunConfig:
    space = {"lr": {"type": "float", "low": 1e-3, "high": 0.1, "log": True}}
    space["momentum"] = {"type": "float", "low": 0.0, "high": 0.9}
    return make_config(
        {
            "study": {"name": "run", "storage": storage},
            "task": {"data": "digits", "model": "mlp", "training_size": 60, "validation_size": 20},
            "training": {"epochs": 3, "device": "cpu"},
            "space": space,
            "evolution": {"algorithm": "truncation", "population": 4, "generations": 3, "indpb": 1.0, **evolution},
            "execution": {"executor": "serial"},
        }
    )


def done_by(config: RunConfig, progress: ProgressDisplay) -> tuple[int, int, int]:
    """Evaluations on record, epochs trained, and evaluations that an earlier one answers for."""
    with progress, suppress(BudgetSpent):
        evolve(config, callbacks=[progress], verbose=False)
    entries = load_study("run", config.study.storage).entries
    trained = [entry.evaluation.trained_epochs for entry in entries if entry.duplicate_of is None]
    return len(entries), sum(trained), len(entries) - len(trained)


@pytest.mark.usefixtures("light_model")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_does_what_was_planned_or_less_where_that_was_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "trainer_of", lambda *_: lambda params: 0.0)  # the seconds are not looked at
    if RUNS[name].get("algorithm") == "cmaes":
        pytest.importorskip("cmaes")
    config = run_of(RUNS[name], f"{tmp_path}/a.db")
    made = plan(config, trainer_of(make_task(config), config))
    work = workload(config.search_space, config.evolution, epochs=3)
    assert (made.evaluations, made.epochs, made.training_images) == (work.evaluations, work.epochs, 60 * work.epochs)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200)
    evaluations, epochs, answered = done_by(config, ProgressDisplay(work, console=console))
    if name in LESS:
        assert 0 < epochs <= work.epochs
        assert evaluations - answered <= work.evaluations
        assert (evaluations, epochs) != (work.evaluations, work.epochs)
    else:
        assert (evaluations, epochs) == (work.evaluations, work.epochs)
    shown = screen.getvalue()
    assert f"0/{work.evaluations} evaluations, 0/{work.epochs} epochs" in shown
    assert f"{evaluations}/{evaluations} evaluations, {epochs}/{epochs} epochs" in shown.rsplit("generation", 1)[1]


@pytest.mark.parametrize("budget", ["max_evaluations", "max_epochs"])
def test_a_plan_has_no_more_batches_than_the_budget_can_fill(budget: str) -> None:
    """A run may have many times as many, of repeats; with a million evaluations, a plan of them would take memory."""
    evolution = EvolutionConfig(algorithm="random", population=1, **{budget: 100})  # type: ignore[arg-type]
    assert evolution.generations > 1000
    assert len(workload(Space({"x": Float(0.0, 1.0)}), evolution, epochs=1).batches) == 101


@pytest.mark.parametrize(
    ("evolution", "least"),
    [({}, 3), ({"stages": [2, 3]}, 2), ({"algorithm": "pbt", "arguments": {"interval": 2}}, 2)],
)
def test_a_budget_in_which_nothing_can_be_trained_is_refused(evolution: dict[str, Any], least: int) -> None:
    small = run_of({**evolution, "max_epochs": least - 1}, "a.db")
    with pytest.raises(InputError, match=rf"^evolution.max_epochs must be at least {least}, .*; got {least - 1}\.$"):
        workload(small.search_space, small.evolution, epochs=3)
    enough = run_of({**evolution, "max_epochs": least}, "a.db")
    assert workload(enough.search_space, enough.evolution, epochs=3).evaluations == 1


@pytest.mark.parametrize(
    ("execution", "workers"),
    [(["executor=serial"], 1), (["executor=processes", "workers=3"], 3), (["executor=ray", "workers=3"], 3)],
)
def test_a_plan_counts_the_workers_of_any_executor(execution: list[str], workers: int, tmp_path: Path) -> None:
    if execution[0] == "executor=ray":
        pytest.importorskip("ray")
    config = make_config(run_of({}, f"{tmp_path}/a.db").model_dump(), [f"execution.{one}" for one in execution])
    assert plan(config, trainer_of(make_task(config), config)).workers == workers


@pytest.mark.parametrize(("steady_state", "seconds"), [(False, 27), (True, 23)])
def test_where_no_generation_is_waited_for_the_time_is_that_of_all(
    steady_state: bool, seconds: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(planning, "_seconds_of_an_epoch", lambda *_: 1.0)
    evolution = {"algorithm": "random", "population": 5, "generations": 3, "steady_state": steady_state}
    config = make_config(run_of(evolution, f"{tmp_path}/a.db").model_dump(), ["execution.workers=2"])
    config = make_config(config.model_dump(), ["execution.executor=processes"])
    assert plan(config, trainer_of(make_task(config), config)).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(("device", "images"), [("cpu", 24), ("cuda", 1000)])
def test_a_gpus_time_is_extrapolated_from_more_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, images: int
) -> None:
    config = make_config(
        run_of({}, f"{tmp_path}/a.db").model_dump(), ["task.training_size=1200", "training.recipe.batch_size=1"]
    )
    trainer = trainer_of(make_task(config), config)
    trainer.device = torch.device(device)
    sizes: list[int] = []

    def short(task: Task, config: RunConfig) -> Any:
        sizes.append(len(task.data.training))
        return lambda params: 0.0

    monkeypatch.setattr(planning, "trainer_of", short)
    assert plan(config, trainer).training_images == 1200 * 3 * 8
    assert sizes == [images]


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 5)), max_size=8),
    st.none() | st.integers(1, 30),
    st.none() | st.integers(1, 60),
)
def test_budgets_cut_a_workload_where_they_cut_a_run(
    batches: list[tuple[int, int]], evaluations: int | None, epochs: int | None
) -> None:
    work = Workload(tuple(Batch(*one) for one in batches), max_evaluations=evaluations, max_epochs=epochs)
    each = [added for count, added in batches for _ in range(count)]
    allowed = each[: Budget(evaluations, epochs).allowed((0, cost) for cost in each)]
    assert work.left() == (work.evaluations, work.epochs) == (len(allowed), sum(allowed))


class Slow(Creeping):
    """Ten seconds an epoch, by its own clock."""

    now = 0.0

    def evaluate(self, request: Request) -> Evaluation:
        made = super().evaluate(request)
        self.now += 10 * len(made.curve)
        return made


BATCHES = st.lists(st.builds(Batch, st.integers(0, 4), st.integers(2, 5), st.none() | st.just(1)), max_size=8)
LIMITS = st.none() | st.integers(1, 40)


@given(BATCHES, LIMITS, LIMITS, st.integers(0, 9), st.integers(0, 30), st.integers(0, 60))
def test_what_is_left_is_what_the_budget_allows_batch_by_batch(
    batches: list[Batch], most: int | None, most_epochs: int | None, after: int, evaluations: int, epochs: int
) -> None:
    work = Workload(tuple(batches), max_evaluations=most, max_epochs=most_epochs)
    allowed = list(work.affordable(after, evaluations, epochs))
    added = sum(one.evaluations * one.epochs for one in allowed)
    if most_epochs is not None:
        added = min(added, max(0, most_epochs - epochs))
    assert work.left(after, evaluations, epochs) == (sum(one.evaluations for one in allowed), added)


def test_progress_costs_the_same_for_each_evaluation_of_a_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Batch] = []
    affordable = Workload.affordable

    def count(self: Workload, *budget: int) -> Any:
        for batch in affordable(self, *budget):
            looked_at.append(batch)
            yield batch

    monkeypatch.setattr(Workload, "affordable", count)
    optimize(lambda params: 1.0, {"x": Float(0.0, 1.0)}, algorithm="random", population=1, generations=200)
    assert len(looked_at) < 5 * 200, "200 for the number of generations, and then a few each time"


def test_the_time_left_follows_from_epochs_and_from_what_was_not_replayed(tmp_path: Path) -> None:
    space = Space({"x": Float(0.0, 8.0)})
    evolution = EvolutionConfig(algorithm="hyperband", generations=4)
    work = workload(space, evolution, epochs=9)
    assert [(one.evaluations, one.epochs) for one in work.batches] == [(9, 1), (3, 2), (1, 6), (5, 3)]

    def shown_after(batches: int, resume: bool) -> str:
        screen = io.StringIO()
        evaluate = Slow(FolderCheckpoints(tmp_path / "checkpoints"), epochs=9)
        console = Console(file=screen, force_terminal=True, width=200)
        display = ProgressDisplay(work, console=console, clock=lambda: evaluate.now)
        strategy = strategy_for(space, evolution, 0, 9)
        with Study(space, storage=f"{tmp_path}/a.db", callbacks=[display], resume=resume) as study, display:
            toolbox = base.Toolbox()
            toolbox.register("generate", strategy.generate, Individual)
            toolbox.register("update", strategy.update)
            toolbox.register("evaluate", evaluate)
            toolbox.register("map", study.map)
            eaGenerateUpdate(toolbox, batches, verbose=False)
        return screen.getvalue().rsplit("generation", 1)[1]

    first = shown_after(1, resume=False)
    assert "2/4" in first
    assert "9/18 evaluations, 9/36 epochs" in first
    assert "· 0:04:30 left" in first, "27 epochs; by evaluations it would be a minute and a half"
    assert "left" not in shown_after(1, resume=True), "all was replayed: no telling"
    assert "· 0:03:30 left" in shown_after(2, resume=True)
    assert "left" not in shown_after(4, resume=True)


@pytest.mark.parametrize(
    ("width", "shown"),
    [(59, ""), (65, ", 12 failed"), (80, ", 12 failed, 8 diverged"), (200, ", 12 failed, 8 diverged, 5 repeated")],
)
def test_a_terminal_shows_what_did_not_end_well_where_there_is_room(width: int, shown: str) -> None:
    def ill(individual: Individual) -> tuple[float]:
        if individual[0] > 5.0:
            raise ValueError("too large")
        return (math.nan if individual[0] < 0.25 else individual[0],)

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width)
    display = ProgressDisplay(Workload((Batch(100, 1),)), epochs=False, console=console)
    with Study(callbacks=[display]) as study, display:
        study.map(ill, [Individual([value]) for value in [i / 32 for i in range(83)] + [5.5 + i for i in range(12)]])
        study.map(ill, [Individual([1.0]) for _ in range(5)])
    last = screen.getvalue().rsplit("generation", 1)[1]
    assert f"best 0.2500{shown} " in last
    assert width < 65 or "…" not in screen.getvalue()  # the time left alone is too much for the narrowest


@pytest.mark.parametrize("seconds", [1, 1000])  # between two looks at the clock: minutes and days in all
@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_display_fits_the_terminal(width: int, seconds: int) -> None:
    screen = io.StringIO()
    now = iter(range(0, 1000 * seconds, seconds))
    display = ProgressDisplay(
        Workload((Batch(80, 10), Batch(80, 10))),
        console=Console(file=screen, force_terminal=True, width=width),
        clock=lambda: float(next(now)),
    )
    with Study(Space({"x": Float(0.0, 8.0)}), callbacks=[display]) as study, display:
        study.map(Creeping(epochs=10), [Individual([i / 80]) for i in range(80)])
        study.map(Creeping(epochs=10), [Individual([0.001 + i / 80]) for i in range(40)])
    shown = screen.getvalue().rsplit("generation", 1)[1]
    for part in ("2/2", "120/120 evaluations", "best 0.0"):
        assert part in shown
    assert ("━" in shown, "elapsed" in shown, ", 1200/1200 epochs" in shown) == (width > 80,) * 3
    assert "…" not in screen.getvalue()


def test_a_function_has_no_epochs_to_show() -> None:
    space = Space({"x": Float(0.0, 8.0)})
    screen = io.StringIO()
    display = ProgressDisplay(
        workload(space, EvolutionConfig(algorithm="random", population=3, generations=2)),
        epochs=False,
        console=Console(file=screen, force_terminal=True, width=200),
    )
    with display:
        optimize(lambda params: params["x"], space, algorithm="random", population=3, generations=2, progress=False,
                 callbacks=[display])  # fmt: skip
    assert "6/6 evaluations · best" in screen.getvalue()
    assert "epochs" not in screen.getvalue()


def test_what_says_nothing_of_its_epochs_counts_with_those_it_was_given() -> None:
    """As in the budget, also if a generation is incomplete."""

    def train(params: dict[str, Any], epochs: int) -> float:
        if len(called) == 4:
            raise KeyboardInterrupt
        called.append(epochs)
        return float(params["x"])

    called: list[int] = []
    space, screen = Space({"x": Float(0.0, 8.0)}), io.StringIO()
    display = ProgressDisplay(
        workload(space, EvolutionConfig(algorithm="random", population=6, generations=2), epochs=3),
        console=Console(file=screen, force_terminal=True, width=200),
    )
    with display, suppress(KeyboardInterrupt):
        optimize(train, space, algorithm="random", population=6, generations=2, epochs=3, progress=False,
                 callbacks=[display])  # fmt: skip
    assert "4/12 evaluations, 12/36 epochs" in screen.getvalue()


def ill_at_times(params: dict[str, Any]) -> float:
    if params["x"] > 6.0:
        raise ValueError("too large")
    return math.nan if params["x"] < 1.0 else params["x"]


def test_without_a_terminal_there_is_a_line_for_each_generation(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    search = partial(optimize, ill_at_times, {"x": Float(0.0, 8.0)}, algorithm="random", population=5, generations=4)
    kept = {"storage": f"{tmp_path}/a.db", "seed": 1, "resume": True}
    assert [generation for generation, _ in lines_of(search, capfd, max_evaluations=12, **kept)] == [
        "1/3",  # the budget allows no more generations
        "2/3",
        "3/3",
    ]
    found = lines_of(search, capfd, **kept)
    assert [generation for generation, _ in found] == ["3/4", "4/4"], "what was only replayed has no line"
    entries = load_study("study", f"{tmp_path}/a.db").entries
    best = min(entry.evaluation.value for entry in entries)
    ended = Counter(entry.evaluation.status for entry in entries)
    assert min(ended["failed"], ended["diverged"]) > 0
    last = f"20/20 evaluations, best {best:.4f}, {ended['failed']} failed, {ended['diverged']} diverged, 0:00:0"
    assert found[-1][1][:-1] == last
    assert lines_of(search, capfd, progress=False) == []


def test_where_earlier_evaluations_answer_there_are_more_generations_than_planned(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Three values would not all be met with as many generations as the budget has evaluations."""
    search = partial(optimize, lambda params: 1.0, {"x": Int(1, 3)}, algorithm="random", population=2, seed=1)
    found = [line for line, _ in lines_of(search, capfd, max_evaluations=3, generations=20)]
    assert found[:3] == ["1/2", "2/2", "3/3"]


def test_what_trains_every_part_from_the_beginning_is_planned_so() -> None:
    space = Space({"x": Float(0.0, 1.0)})
    staged = EvolutionConfig(algorithm="truncation", population=4, generations=1, stages=[1, 3], stopping="halving")
    frozen = EvolutionConfig(algorithm="freeze-thaw", population=4, generations=1)
    for evolution, continuing, beginning in (
        (staged, (Batch(4, 1), Batch(2, 2)), (Batch(4, 1), Batch(2, 3))),
        (frozen, (Batch(4, 3, 1),), (Batch(4, 3, 2),)),  # at 2 and at 3 epochs
    ):
        assert workload(space, evolution, epochs=3).batches == continuing
        assert workload(space, evolution, epochs=3, continues=False).batches == beginning


def lines_of(search: Any, capfd: pytest.CaptureFixture[str], **changed: Any) -> list[tuple[str, str]]:
    """The generation and the rest of each line on standard error but the last, which says why a budget ended it."""
    search(**changed)
    output, errors = capfd.readouterr()
    assert output == ""
    lines = errors.splitlines()
    if lines and lines[-1].startswith("The study 'study' "):
        lines.pop()
    return [re.fullmatch(r"generation (\d+/\d+): (.*)", line).groups() for line in lines]  # type: ignore[union-attr,misc]


def test_a_generation_in_stages_has_one_line_with_its_epochs(tmp_path: Path) -> None:
    config = run_of({"stages": [1, 3], "stopping": "halving", "generations": 2}, f"{tmp_path}/a.db")
    screen = io.StringIO()
    work = workload(config.search_space, config.evolution, epochs=3)
    done_by(config, ProgressDisplay(work, lines=True, console=Console(file=screen, width=80)))
    lines = screen.getvalue().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["generation 1/2", "generation 2/2"]
    assert "6/9 evaluations, 8/12 epochs, best " in lines[0]


@pytest.mark.parametrize("algorithm", ["pbt", *MULTI_FIDELITY])
def test_what_says_itself_how_long_to_train_takes_no_stages(algorithm: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"stages cannot be combined with {algorithm}"):
        run_of({"algorithm": algorithm, "stages": [1, 3]}, f"{tmp_path}/a.db")


def test_where_a_budget_had_ended_in_a_generation_its_evaluations_are_counted_when_it_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    search = partial(
        optimize,
        lambda params: (params["x"] - 1) ** 2,
        {"x": Float(-5.0, 5.0)},
        algorithm="random",
        storage=f"{tmp_path}/a.db",
        resume=True,
    )
    for budget, generation in ((12, "2/2"), (16, "2/2"), (18, "2/2"), (25, "3/3")):
        last, told = lines_of(search, capfd, max_evaluations=budget)[-1]
        best = min(entry.evaluation.value for entry in load_study("study", f"{tmp_path}/a.db").entries)
        assert last == generation
        assert told.startswith(f"{budget}/{budget} evaluations, best {format_value(best)}, ")


def test_a_terminal_shows_progress_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is after `>&-` in a shell."""
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stdout", None)
    with ProgressDisplay(Workload((Batch(3, 1),)), console=Console(file=screen, force_terminal=True)):
        pass
    assert "generation 1/1" in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "lines", "expected"),
    [
        (25.0, True, ["1/2: 3/6", "2/2: 6/6"]),
        (15.0, False, []),
        (35.0, True, ["1/2: 2/6", "1/2: 3/6", "2/2: 5/6", "2/2: 6/6"]),
        (35.0, False, ["1/2: 2/6", "2/2: 5/6"]),
        (70.0, True, ["1/2: 1/6", "1/2: 2/6", "1/2: 3/6", "2/2: 4/6", "2/2: 5/6", "2/2: 6/6"]),
    ],
)
def test_a_slow_generation_is_not_silent_for_long(seconds: float, lines: bool, expected: list[str]) -> None:
    now = 0.0

    def evaluate(params: dict[str, float]) -> float:
        nonlocal now
        now += seconds
        return params["x"]

    screen = io.StringIO()
    work = Workload((Batch(3, 1), Batch(3, 1)))
    display = ProgressDisplay(work, epochs=False, lines=lines, console=Console(file=screen), clock=lambda: now)
    with Study({"x": Float(0.0, 1.0)}, callbacks=[display]) as study, display:
        for generation in range(2):
            study.map(evaluate, [[0.1 * (generation + 1)], [0.3 + generation / 10], [0.5 + generation / 10]])
    said = [line.removeprefix("generation ").partition(" evaluations")[0] for line in screen.getvalue().splitlines()]
    assert said == expected
