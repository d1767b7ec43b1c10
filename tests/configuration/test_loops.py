"""Loops: each algorithm with its own population asks for the batches that it predicts, and is found by its name."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from continuing import Creeping

from deap_hpo.configuration.algorithm import algorithm_of
from deap_hpo.configuration.loops import LOOPS, loop_of
from deap_hpo.configuration.methods import METHODS
from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.evolution import MULTI_OBJECTIVE
from deap_hpo.search_space.space import Float, Space
from deap_hpo.strategies import MULTI_FIDELITY, STRATEGIES
from deap_hpo.study import Study

SPACE = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})


def test_every_method_has_a_loop_or_is_a_strategy() -> None:
    assert (*LOOPS, *STRATEGIES, *MULTI_FIDELITY) == METHODS
    for name in METHODS:
        loop = loop_of(SPACE, EvolutionConfig(algorithm=name))
        assert (loop is not None) == (name in LOOPS)


@pytest.mark.parametrize("name", LOOPS)
def test_a_run_asks_for_no_more_than_its_schedule(name: str) -> None:
    several = name in MULTI_OBJECTIVE
    evolution = EvolutionConfig(algorithm=name, population=6, generations=4)
    asked: list[tuple[int, int]] = []

    class Noting:
        def on_generation(self, study: Study, entries: Any) -> None:
            asked.append((len(entries), sum(study._continuations.cost(entry) for entry in entries)))

    directions = ["minimize", "maximize"] if several else ["minimize"]
    with Study(SPACE, seed=1, directions=directions, callbacks=[Noting()]) as study:
        evaluator = (lambda params: (params["x"], params["y"] * params["x"])) if several else Creeping(epochs=1)
        algorithm = algorithm_of(SPACE, evolution, directions, seed=1)
        algorithm.toolbox.register("evaluate", evaluator)
        algorithm.toolbox.register("map", study.map)
        population, _ = algorithm.run()
    assert len(population) == 6
    loop = loop_of(SPACE, evolution)
    assert loop is not None
    planned = list(islice(loop.batches(epochs=1), 4))
    assert len(asked) == 4
    for (count, epochs), (most, each) in zip(asked, planned, strict=True):
        assert 0 < count <= most
        assert epochs <= count * each
    assert asked[0] == (planned[0][0], planned[0][0] * planned[0][1])
