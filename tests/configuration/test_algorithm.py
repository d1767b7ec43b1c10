"""The algorithm that a configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest

from deap_hpo.__main__ import evolve
from deap_hpo.configuration.algorithm import strategy_for
from deap_hpo.configuration.config import make_config
from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.errors import InputError
from deap_hpo.recorded import load_study
from deap_hpo.search_space.space import Float, Space
from deap_hpo.stopping import StoppedEarly
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

SPACE = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})


@pytest.mark.parametrize(
    ("evolution", "said"),
    [
        ({"algorithm": "cma", "population": 2}, r"^evolution.population must be .*got 2\.$"),
        ({"algorithm": "halving", "population": 2}, r"^evolution.population must be .*got 2\.$"),
        (
            {"algorithm": "hyperband", "arguments": {"min_epochs": 9}},
            r"^training.epochs must be at least min_epochs, 9; got 4\.$",
        ),
    ],
)
def test_a_strategys_complaint_names_the_setting_that_the_value_came_from(evolution: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        strategy_for(SPACE, EvolutionConfig(**{"generations": 3, **evolution}), seed=1, epochs=4)


@pytest.mark.parametrize("arguments", [{"sigma": -1.0}, {"population_size": 2}])
def test_what_the_user_named_is_not_said_to_come_from_elsewhere(arguments: dict) -> None:
    evolution = EvolutionConfig(algorithm="cma", generations=3, arguments=arguments)
    with pytest.raises(InputError) as caught:
        strategy_for(SPACE, evolution, seed=1)
    assert str(caught.value).startswith(next(iter(arguments)))


def test_evolve_stops_at_the_target_of_its_configuration(digits_task: Task, tmp_path: Path) -> None:
    config = make_config(
        {
            "study": {"storage": f"{tmp_path}/a.db"},
            "space": Space({"lr": Float(0.01, 1.0, log=True)}).to_dict(),
            "evolution": {"algorithm": "random", "population": 2, "generations": 3, "target": 100.0},
        }
    )
    with pytest.raises(StoppedEarly, match=r"reached its target 100 in generation 1"):
        evolve(config, ReferenceTrainer(digits_task, epochs=1, device="cpu"), verbose=False)
    assert len(load_study("study", f"{tmp_path}/a.db").entries) == 2
