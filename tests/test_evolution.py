"""The algorithm that a configuration names."""

from __future__ import annotations

import pytest

from deap_hpo.config import EvolutionConfig
from deap_hpo.errors import InputError
from deap_hpo.evolution import strategy_for
from deap_hpo.space import Float, Space

SPACE = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})


@pytest.mark.parametrize(
    ("evolution", "said"),
    [
        ({"algorithm": "cma", "population": 2}, "got 2. The strategy cma takes it from evolution.population"),
        ({"algorithm": "halving", "population": 2}, "got 2. The strategy halving takes it from evolution.population"),
        (
            {"algorithm": "hyperband", "arguments": {"min_epochs": 9}},
            "at least min_epochs, 9; got 4. The strategy hyperband takes it from training.epochs",
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
    assert next(iter(arguments)) in str(caught.value)
    assert "takes it from" not in str(caught.value)
