"""Configurations that are tried first: in every algorithm, from hand or from an earlier study, and resumably."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import CONFIG, call

from deap_hpo.enqueueing import Enqueued, best_configurations
from deap_hpo.errors import InputError
from deap_hpo.individual import Individual
from deap_hpo.optimization import optimize
from deap_hpo.recorded import load_study
from deap_hpo.space import Categorical, Float, Int, Space
from deap_hpo.strategies import make_strategy

# What the surrogate proposes does not matter here.
pytestmark = pytest.mark.usefixtures("light_model")

SPACE = Space({"x": Float(-5.0, 5.0), "kind": Categorical(["a", "b"])})
GOOD = {"x": 1.0, "kind": "b"}


def loss(params: dict[str, Any]) -> float:
    return float((params["x"] - 1) ** 2 + (params["kind"] == "a"))


def test_numbers_of_numpy_may_be_enqueued() -> None:
    space = {"n": Int(1, 8), "x": Float(0.0, 1.0)}
    given = {"n": np.int64(3), "x": np.float32(0.5)}
    study = optimize(lambda params: params["x"], space, enqueue=[given], algorithm="random", generations=1, seed=1)
    assert study.params_of(study.record[0]) == {"n": 3, "x": 0.5}


@pytest.mark.parametrize("algorithm", ["truncation", "surrogate", "tpe", "random", "de"])
def test_what_is_enqueued_comes_first(algorithm: str) -> None:
    other = {"x": -3.0, "kind": "a"}
    study = optimize(
        loss, SPACE, algorithm=algorithm, enqueue=[GOOD, other], population=8, generations=3, progress=False
    )
    first, second = (SPACE.decode(entry.genes) for entry in list(study.record)[:2])
    assert (first, second) == (GOOD, other)
    assert study.best_value == 0.0
    assert len(study.record) > 8


@pytest.mark.parametrize("name", ["surrogate", "tpe", "cmaes", "nsga2"])
def test_a_strategy_that_can_learns_from_it(name: str) -> None:
    def next_genomes(values: tuple[float, float]) -> list[Any]:
        strategy = Enqueued(make_strategy(name, SPACE, seed=1), [[g, 0.25] for g in (0.1, 0.2, 0.8, 0.9, 0.5, 0.6)] * 3)
        for _ in range(3):
            batch = strategy.generate(Individual)
            for i, individual in enumerate(batch):
                individual.fitness.values = (values[0] * individual[0] + values[1] * i,)
            strategy.update(batch)
        return [list(one) for one in strategy.generate(Individual)]

    assert len(next_genomes((1.0, 0.0))) > 0
    if name in ("surrogate", "tpe"):
        assert next_genomes((1.0, 0.0)) != next_genomes((-1.0, 0.0))


def test_the_others_of_a_population_do_not_depend_on_what_is_enqueued() -> None:
    def first_generation(enqueue: list[dict[str, Any]]) -> list[Any]:
        study = optimize(
            loss, SPACE, algorithm="truncation", enqueue=enqueue, population=6, generations=1, progress=False
        )
        return [entry.genes for entry in study.record]

    plain, enqueued = first_generation([]), first_generation([GOOD])
    assert enqueued[1:] == plain[1:]
    assert enqueued[0] == tuple(SPACE.encode(GOOD))


def test_a_point_outside_of_the_space_is_refused_before_anything_is_tried() -> None:
    with pytest.raises(InputError, match=r"enqueue\[0\] is not a point of the space: x: value must be within"):
        optimize(loss, SPACE, enqueue=[{"x": 9.0, "kind": "a"}], progress=False)


def test_the_best_of_a_study_are_different_points_of_the_new_space(tmp_path: Path) -> None:
    storage = str(tmp_path / "a.db")
    optimize(loss, SPACE, name="old", storage=storage, population=10, generations=3, progress=False)
    narrower = Space({"x": Float(-1.0, 2.0)})
    found = best_configurations(load_study("old", storage), narrower, 4)
    assert len(found) == 4
    assert all(-1.0 <= one["x"] <= 2.0 and list(one) == ["x"] for one in found)
    with pytest.raises(InputError, match="no evaluation whose hyperparameters are points of this space"):
        best_configurations(load_study("old", storage), Space({"y": Float(0.0, 1.0)}), 1)


@pytest.mark.usefixtures("no_figures")
def test_a_run_begins_with_the_best_of_an_earlier_one_and_resumes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(CONFIG)
    call("run", "small.toml", "--name", "old")
    best = load_study("old", "runs/studies.db")
    expected = best_configurations(best, best.space or SPACE, 2)
    more = ("--enqueue-from", "old:2", "--seed", "9")
    ended = call("run", "small.toml", "--name", "new", *more, "--json")
    assert ended.exit_code == 0, ended.output
    begun = load_study("new", "runs/studies.db")
    assert [best.space.decode(entry.genes) for entry in begun.entries[:2]] == expected  # type: ignore[union-attr]
    call("run", "small.toml", "--name", "cut", *more, "--set", "evolution.max_evaluations=5")
    resumed = call("resume", "cut", "--set", "evolution.max_evaluations=100", "--json")
    assert json.loads(resumed.stdout)["best"] == json.loads(ended.stdout)["best"]
    refused = call("run", "small.toml", "--name", "other", "--enqueue-from", "old:none")
    assert refused.exit_code == 2
    assert "--enqueue-from must be STUDY or STUDY:COUNT" in refused.stderr
    for count in ("0", "-1", "\N{SUPERSCRIPT TWO}"):
        refused = call("run", "small.toml", "--name", "other", "--enqueue-from", f"old:{count}")
        assert "--enqueue-from must be STUDY or STUDY:COUNT" in refused.stderr
