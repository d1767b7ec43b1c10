"""Islands: only migration joins them; resumable, and the same with any executor, like every algorithm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import evaluators
import pytest
from deap import tools
from interruptions import InterruptedAt
from test_study import SPACE, objective, result

from deap_hpo.evolution.individual import make_toolbox
from deap_hpo.evolution.islands import eaIslands
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.search_space.space import Float, Space
from deap_hpo.study import Study


def evolve(study: Study, evaluate: Any, space: Space = SPACE, interval: int = 2) -> tuple[Any, ...]:
    toolbox = make_toolbox(space)
    toolbox.register("evaluate", evaluate)
    toolbox.register("map", study.map)
    toolbox.register("migrate", tools.migRing, k=1, selection=tools.selBest)
    islands = [toolbox.population(n=4) for _ in range(2)]
    islands, logbook = eaIslands(
        islands, toolbox, 1.0, 1.0, 4, study.statistics(), verbose=False, migration_interval=interval
    )
    return [individual for island in islands for individual in island], logbook


def test_interrupted_anywhere_and_resumed_it_ends_the_same(tmp_path: Path) -> None:
    with Study(SPACE, seed=3) as study:
        counter = InterruptedAt(10**9, objective)
        expected = result(study, evolve(study, counter))
    options = {"name": "cut", "storage": f"{tmp_path}/a.db", "seed": 3, "resume": True}
    for _ in range(0, counter.calls, 5):
        with Study(SPACE, **options) as study, pytest.raises(KeyboardInterrupt):
            evolve(study, InterruptedAt(4, objective))
    with Study(SPACE, **options) as study:
        assert result(study, evolve(study, objective)) == expected


def test_workers_give_the_same() -> None:
    space = Space({"x": Float(0.0, 1.0)})
    with Study(space, seed=3) as study:
        expected = result(study, evolve(study, evaluators.square, space))
    with Study(space, seed=3, executor=ProcessExecutor(2)) as study:
        assert result(study, evolve(study, evaluators.square, space)) == expected


def test_islands_are_apart_until_they_migrate() -> None:
    def families(interval: int) -> list[set[int]]:
        with Study(SPACE, seed=3) as study:
            population, _ = evolve(study, objective, interval=interval)
            parents = {entry.number: entry.parents for entry in study.record}

        def founders(number: int) -> set[int]:
            return {number} if not parents[number] else set().union(*map(founders, parents[number]))

        return [set().union(*(founders(one.origin[0]) for one in half)) for half in (population[:4], population[4:])]

    first, second = families(interval=99)
    assert first <= {0, 1, 2, 3}
    assert second <= {4, 5, 6, 7}
    assert any(first & {4, 5, 6, 7} or second & {0, 1, 2, 3} for first, second in [families(interval=1)])


def test_migration_leaves_no_individual_on_two_islands() -> None:
    with Study(SPACE, seed=3) as study:
        population, _ = evolve(study, lambda params: 1.0, interval=1)
    assert len({id(individual) for individual in population}) == 8


@pytest.mark.parametrize(
    ("sizes", "arguments"), [([4, 3], {}), ([], {}), ([4], {"migration_interval": 0}), ([4], {"cxpb": 2})]
)
def test_arguments_out_of_range_are_refused(sizes: list[int], arguments: dict[str, Any]) -> None:
    toolbox = make_toolbox(SPACE)
    with pytest.raises(ValueError, match="must be"):
        eaIslands([toolbox.population(n=n) for n in sizes], toolbox, **{"cxpb": 1, "mutpb": 1, "ngen": 1, **arguments})
