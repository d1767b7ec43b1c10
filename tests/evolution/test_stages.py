"""Early stopping inside a generation: which trainings end, with which value, at which cost, and the same on resume."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from continuing import Creeping, Interrupted
from deap import base

from deap_hpo.errors import InputError
from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import Individual, individual_type, make_toolbox
from deap_hpo.evolution.stages import StagedMap
from deap_hpo.search_space.space import Float, Space
from deap_hpo.stopping import EarlyStopping, StoppedEarly
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import FolderCheckpoints

SPACE = Space({"x": Float(0.0, 20.0)})


def test_the_worse_half_of_all_that_came_is_ended_with_the_value_it_had() -> None:
    with Study(SPACE) as study:
        staged = StagedMap(study.map, [1, 2, 4])
        population = [Individual([x / 20]) for x in (8.0, 4.0, 6.0, 2.0, 20.0, 1.0)]
        values = staged(Creeping(), population)
        # After one epoch: 4, 2, 3, 1, diverged, 0.5: the (low) median is 2. After two: 3, 1.5, 0.75, too few to judge.
        assert values == [(4.0,), (4 * 15 / 16,), (3.0,), (2 * 15 / 16,), (math.inf,), (15 / 16,)]
        assert study.budget.epochs == 6 + 3 + 3 * 2
        later = [Individual([x / 20]) for x in (7.0, 3.0)]
        assert staged(Creeping(), later) == [(3.5,), (3 * 15 / 16,)], "earlier ones count"
        assert all(one.start_from is None for one in population)
        assert population[1].origin == (9,)


def test_half_of_each_batch_and_rules_of_ones_own_and_maximisation() -> None:
    grown = individual_type((1.0,))
    with Study(SPACE, directions=["maximize"]) as study:
        staged = StagedMap(study.map, [1, 2], "halving")
        assert staged(Creeping(), [grown([x / 20]) for x in (4.0, 2.0, 8.0)]) == [(3.0,), (1.0,), (6.0,)]
    with Study(SPACE) as study:
        staged = StagedMap(study.map, [1, 2], lambda costs, earlier: [False] * len(costs))
        assert staged(Creeping(), [Individual([0.2])]) == [(2.0,)]
        assert staged(Creeping(), []) == []
    for stages, rule, said in (
        ([], "median", "growing"),
        ([2, 2], "median", "growing"),
        ([True, 2], "median", "growing"),
        ([1], "mean", "rule must be"),
    ):
        with pytest.raises(InputError, match=said):
            StagedMap(study.map, stages, rule)


@pytest.mark.parametrize(("limit", "generations"), [({"patience": 2}, 3), ({"target": 20.0}, 1)])
@pytest.mark.parametrize("stages", [[4], [1, 2, 4]])
def test_patience_and_target_are_asked_after_whole_generations(
    stages: list[int], limit: dict[str, Any], generations: int
) -> None:
    stopping = EarlyStopping(**limit, stages=len(stages))
    with Study(SPACE, callbacks=[stopping]) as study:
        staged = StagedMap(study.map, stages)
        batches = ([Individual([0.5]), Individual([0.4])] for _ in range(9))
        with pytest.raises(StoppedEarly, match=f"in generation {generations}[:,]"):
            list(map(partial(staged, Creeping()), batches))
    assert study.generation == generations * len(stages)


@pytest.mark.parametrize("rule", ["median", "halving"])
def test_an_evolution_in_stages_is_cheaper_and_resumes_exactly(rule: str, tmp_path: Path) -> None:
    def run(folder: str, stages: list[int], stop_after: int = 10**9, **arguments: Any) -> tuple[Any, ...]:
        evaluate = Interrupted(FolderCheckpoints(tmp_path / folder), stop_after)
        with Study(SPACE, seed=3, **arguments) as study:
            toolbox: base.Toolbox = make_toolbox(SPACE, indpb=0.9)
            toolbox.register("evaluate", evaluate)
            toolbox.register("map", StagedMap(study.map, stages, rule))
            population, _ = eaTruncation(toolbox.population(n=8), toolbox, 1.0, 1.0, 3, verbose=False)
            return [(list(one), one.fitness.values) for one in population], study.budget.epochs

    population, epochs = run("whole", [1, 2, 4])
    assert epochs < 0.8 * run("plain", [4])[1]
    for after in (3, 9, 14):
        options = {"name": f"{rule}-{after}", "storage": f"{tmp_path}/a.db"}
        with pytest.raises(KeyboardInterrupt):
            run(str(after), [1, 2, 4], after, **options)
        assert run(str(after), [1, 2, 4], **options, resume=True) == (population, epochs)
