"""Runs side by side end as they would have ended alone, and their simultaneous requests are evaluated together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from deap_hpo.__main__ import evolve
from deap_hpo.budget import BudgetSpent
from deap_hpo.configuration.config import RunConfig, make_config
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import make_toolbox
from deap_hpo.execution.executors import Executor, SerialExecutor
from deap_hpo.execution.side_by_side import side_by_side
from deap_hpo.optimization import optimize
from deap_hpo.recorded import Recorded, load_study
from deap_hpo.search_space.space import Float, Space
from deap_hpo.study import Study
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

SPACE = Space({"lr": Float(1e-3, 1.0, log=True), "momentum": Float(0.0, 0.9)})


class Spy(SerialExecutor):
    """Notes how many requests came at once."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, evaluate: Any, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        self.batches.append(len(requests))
        return super().run(evaluate, requests)


def configuration(storage: str, seed: int, population: int, generations: int) -> RunConfig:
    return make_config(
        {
            "study": {"name": f"run-{seed}", "seed": seed, "storage": storage},
            "space": SPACE.to_dict(),
            "evolution": {
                "algorithm": "truncation",
                "population": population,
                "generations": generations,
                "indpb": 0.3,
            },
        }
    )


def test_every_run_ends_as_it_does_alone(tmp_path: Path, digits_task: Task) -> None:
    trainer = ReferenceTrainer(digits_task, epochs=1, device="cpu")
    sizes = [(1, 8, 3), (2, 10, 2), (3, 8, 2)]
    spy = Spy()
    together, alone = str(tmp_path / "together.db"), str(tmp_path / "alone.db")

    def run(seed: int, population: int, generations: int) -> Callable[[Executor], Any]:
        config = configuration(together, seed, population, generations)
        return lambda executor: evolve(config, trainer, executor=executor, verbose=False)

    outcomes = side_by_side([run(*size) for size in sizes], spy)
    assert [len(outcome.population) for outcome in outcomes] == [8, 10, 8]
    assert spy.batches[0] == 26
    assert len(spy.batches) == 3  # as many as the longest run has generations
    for seed, population, generations in sizes:
        evolve(configuration(alone, seed, population, generations), trainer, verbose=False)
        assert plain(load_study(f"run-{seed}", together)) == plain(load_study(f"run-{seed}", alone))


def test_a_stacking_trainer_trains_the_seeds_of_all_runs_in_one_stack(tmp_path: Path, digits_task: Task) -> None:
    trainer = PopulationTrainer(digits_task, epochs=1, device="cpu", stack_size=64)
    storage = str(tmp_path / "together.db")

    def run(seed: int) -> Callable[[Executor], Any]:
        config = configuration(storage, seed, 6, 2)
        return lambda executor: evolve(config, trainer, executor=executor, verbose=False)

    side_by_side([run(seed) for seed in (1, 2, 3)], SerialExecutor())
    for seed in (1, 2, 3):
        first = [entry for entry in load_study(f"run-{seed}", storage).entries if entry.generation == 0]
        assert [entry.evaluation.environment["stack"] for entry in first] == [18] * 6
        alone = trainer(SPACE.decode(first[0].genes), first[0].seed)
        assert first[0].evaluation.value == pytest.approx(alone.value, rel=1e-4)


def plain(recorded: Recorded) -> list[Any]:
    return [(entry.number, entry.genes, entry.evaluation.values, entry.seed) for entry in recorded.entries]


def loss(params: dict[str, float]) -> float:
    return (params["lr"] - 0.1) ** 2 + params["momentum"]


def small(seed: int, **settings: Any) -> Callable[[Executor], float]:
    def run(executor: Executor) -> float:
        with Study(SPACE, seed=seed, executor=executor, **settings) as study:
            toolbox = make_toolbox(SPACE)
            toolbox.register("evaluate", loss)
            toolbox.register("map", study.map)
            eaTruncation(toolbox.population(n=6), toolbox, 1.0, 1.0, ngen=3, verbose=False)
            return study.best_value

    return run


def test_results_come_in_order_and_are_those_of_the_run_alone() -> None:
    alone = [small(seed)(SerialExecutor()) for seed in range(4)]
    assert side_by_side([small(seed) for seed in range(4)], SerialExecutor()) == alone


def test_an_error_ends_all_and_is_told() -> None:
    def broken(executor: Executor) -> None:
        raise RuntimeError("broken run")

    with pytest.raises(RuntimeError, match="broken run"):
        side_by_side([small(1), broken, small(2)], SerialExecutor())


def test_a_budget_that_ends_one_run_is_told() -> None:
    with pytest.raises(BudgetSpent):
        side_by_side([small(1), small(2, max_evaluations=7)], SerialExecutor())


def test_requests_that_are_added_meanwhile_are_done() -> None:
    def growing(executor: Executor) -> list[float]:
        requests = [Request(0, 1.0, 0)]
        values = []
        for position, evaluation in executor.run(abs, requests):
            values.append(evaluation.value + position)
            if len(requests) < 3:
                requests.append(Request(len(requests), -1.0, 0))
        return values

    assert side_by_side([growing, growing], SerialExecutor()) == [[1.0, 2.0, 3.0]] * 2


def test_no_runs_are_no_work() -> None:
    assert side_by_side([], SerialExecutor()) == []


def test_runs_that_go_on_from_checkpoints_in_memory_may_be_side_by_side(digits_task: Task) -> None:
    trainer = PopulationTrainer(digits_task, epochs=3, device="cpu")

    class Own:
        """A user's executor that says where it is."""

        in_process = True

        def run(self, evaluate: Any, requests: Any) -> Any:
            yield from SerialExecutor().run(evaluate, requests)

        def close(self) -> None:
            pass

    def run(executor: Executor) -> float:
        space = {"lr": Float(0.01, 0.1)}
        study = optimize(trainer, space, algorithm="hyperband", max_epochs=9, executor=executor, progress=False)
        return study.best_value

    alone = run(Own())
    assert side_by_side([run], SerialExecutor()) == [alone]
