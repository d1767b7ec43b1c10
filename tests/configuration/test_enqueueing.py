"""Enqueued configurations are tried first: in every algorithm, given by hand or from an earlier study, resumably."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import CONFIG, call

from deap_hpo.configuration.enqueueing import Enqueued, genomes_of
from deap_hpo.errors import InputError
from deap_hpo.evolution.individual import Individual
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.optimization import optimize
from deap_hpo.recorded import load_study
from deap_hpo.records.configurations import completed
from deap_hpo.records.record import ReplayError
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.strategies import make_strategy
from deap_hpo.study import Study

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


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"algorithm": "random"}, [2, 6]),
        ({"algorithm": "surrogate"}, [2, 6]),
        ({"algorithm": "truncation"}, [6, 3]),
        ({"algorithm": "random", "steady_state": True}, [6, 6]),
        ({"algorithm": "random", "max_evaluations": 12, "generations": None}, [2, 6, 4]),
    ],
)
def test_a_strategys_first_generation_is_what_is_enqueued(options: dict[str, Any], sizes: list[int]) -> None:
    arguments: dict[str, Any] = {"enqueue": [GOOD, {"x": 2.0}], "population": 6, "generations": 2, "seed": 1, **options}
    generations = [entry.generation for entry in optimize(loss, SPACE, progress=False, **arguments).entries]
    assert [generations.count(number) for number in range(max(generations) + 1)] == sizes


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


OPTIMIZERS = Space(
    {
        "optimizer": Categorical(["adam", "sgd", "nag"]),
        "layers": Int(1, 3),
        "momentum": Float(0.0, 0.9),
        "dampening": Float(0.0, 0.5),
        "width_3": Int(8, 64),
        "betas": Categorical(["low", "high"]),
    },
    when={
        "momentum": {"optimizer": ["sgd", "nag"]},
        "dampening": {"optimizer": "sgd"},
        "width_3": {"layers": 3},
        "betas": {"optimizer": "adam"},
    },
)


@pytest.mark.parametrize("algorithm", ["truncation", "random", "tpe"])
def test_what_a_configuration_leaves_out_is_drawn_by_seed_and_position(algorithm: str) -> None:
    def first(seed: int, enqueue: list[dict[str, Any]]) -> list[dict[str, Any]]:
        study = optimize(
            loss, SPACE, algorithm=algorithm, enqueue=enqueue, population=4, generations=1, seed=seed, progress=False
        )
        return [study.params_of(entry) for entry in study.entries[: len(enqueue)]]

    given = [{"kind": "b"}, {"x": 2.0}, {"kind": "b"}]
    drawn = first(1, given)
    assert [one["kind"] for one in drawn[::2]] == ["b", "b"]
    assert drawn[1]["x"] == 2.0
    assert drawn[0]["x"] != drawn[2]["x"]
    assert drawn == first(1, given)
    assert drawn[0]["x"] != first(2, given)[0]["x"]
    assert first(1, [{"x": 0.0, "kind": "a"}, *given[1:]])[1:] == drawn[1:]  # whatever configuration comes before them


def test_draws_are_uniform_and_what_is_given_is_in_use() -> None:
    given = [{"momentum": 0.5}] * 600
    found = [OPTIMIZERS.decode(genome) for genome in genomes_of(OPTIMIZERS, given, seed=0)]
    assert all(one["momentum"] == 0.5 and "betas" not in one for one in found)
    with_sgd = [one for one in found if one["optimizer"] == "sgd"]
    assert 240 < len(with_sgd) < 360  # half of 600, within 5 standard deviations
    assert all(("dampening" in one) == (one["optimizer"] == "sgd") for one in found)
    assert all(("width_3" in one) == (one["layers"] == 3) for one in found)
    dampening = [one["dampening"] for one in with_sgd]
    assert min(dampening) < 0.05
    assert max(dampening) > 0.45
    assert 0.2 < sum(dampening) / len(dampening) < 0.3
    assert {OPTIMIZERS.decode(genome)["layers"] for genome in genomes_of(OPTIMIZERS, [{"width_3": 9}] * 20, 0)} == {3}


def test_what_decides_over_a_decision_is_drawn_to_fit_as_well() -> None:
    one = {"optimizer": Categorical(["adam", "sgd"]), "momentum": Categorical(["none", "nag"]), "decay": Float(0, 1)}
    space = Space(one, when={"momentum": {"optimizer": "sgd"}, "decay": {"momentum": "nag"}})
    for genome in genomes_of(space, [{"decay": 0.5}] * 20, seed=0):
        assert space.decode(genome) == {"optimizer": "sgd", "momentum": "nag", "decay": 0.5}


def test_nothing_at_all_may_be_given_and_all_is_taken_as_it_is() -> None:
    rng = random.Random(3)
    assert OPTIMIZERS.decode(completed(OPTIMIZERS, {}, rng)) == OPTIMIZERS.decode(OPTIMIZERS.sample(random.Random(3)))
    whole = {"optimizer": "adam", "layers": 2, "betas": "high"}
    assert completed(OPTIMIZERS, whole, rng) == OPTIMIZERS.encode(whole)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"momentun": 0.5}, r"params has the unknown name 'momentun' \(did you mean 'momentum'\?\)"),
        ({"momentum": 5.0}, r"momentum: value must be within \[0.0, 0.9\]; got 5.0"),
        (
            {"dampening": 0.1, "betas": "low"},
            "no value of optimizer with which all of dampening, betas are in use; leave one of them",
        ),
        ({"momentum": 0.5, "optimizer": "adam"}, "momentum is not in use where optimizer is not 'sgd' or 'nag'"),
        ({"optimizer": "sdg"}, "optimizer: value must be one of"),
    ],
)
def test_what_cannot_be_completed_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"enqueue\[1\] is not a point of the space: .*{said}"):
        genomes_of(OPTIMIZERS, [{}, given], seed=1)


def test_drawn_values_are_the_same_after_an_interruption_and_with_workers(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "algorithm": "truncation",
        "enqueue": [{"kind": "b"}, {"x": 2.0}],
        "population": 6,
        "generations": 3,
        "seed": 5,
    }
    whole = optimize(loss, SPACE, **options)
    optimize(loss, SPACE, **options, storage=tmp_path / "a.db", max_evaluations=1)
    resumed = optimize(loss, SPACE, **options, storage=tmp_path / "a.db", resume=True)
    with ProcessExecutor(2) as workers:
        side_by_side = optimize(loss, SPACE, **options, executor=workers)
    genes = [entry.genes for entry in whole.entries]
    assert genes == [entry.genes for entry in resumed.entries] == [entry.genes for entry in side_by_side.entries]
    with pytest.raises(ReplayError, match=r"evolution.enqueue"):
        optimize(loss, SPACE, **{**options, "enqueue": [{"kind": "b"}]}, storage=tmp_path / "a.db", resume=True)


def test_the_best_of_a_study_begin_one_with_another_hyperparameter(tmp_path: Path) -> None:
    old = optimize(loss, SPACE, name="old", storage=tmp_path / "a.db", algorithm="random", progress=False)
    more = {**SPACE, "y": Float(0.0, 1.0)}
    known = load_study("old", tmp_path / "a.db").best_configurations(3, Space(more))
    assert known == old.best_configurations(3)
    new = optimize(loss, more, enqueue=known, algorithm="random", generations=1, progress=False)
    assert [{**new.params_of(entry), "y": 0.0} for entry in new.entries[:3]] == [{**one, "y": 0.0} for one in known]


def test_the_best_of_nothing_is_refused() -> None:
    with Study(SPACE) as study:
        pass
    with pytest.raises(InputError, match="has no evaluation which has a finite value and keeps its constraints"):
        study.best_configurations(1)
    with Study() as bare, pytest.raises(InputError, match="has no space"):
        bare.best_configurations(1)


def test_the_best_of_a_study_are_different_points_of_the_new_space(tmp_path: Path) -> None:
    storage = str(tmp_path / "a.db")
    optimize(loss, SPACE, name="old", storage=storage, population=10, generations=3, progress=False)
    narrower = Space({"x": Float(-1.0, 2.0)})
    old = load_study("old", storage)
    found = old.best_configurations(4, narrower)
    assert len(found) == 4
    assert all(-1.0 <= one["x"] <= 2.0 and list(one) == ["x"] for one in found)
    with pytest.raises(InputError, match="no evaluation in this space"):
        old.best_configurations(1, Space({"y": Float(0.0, 1.0)}))
    assert old.best_configurations(2)[0] == old.best_params
    with pytest.raises(InputError, match="count must be an integer of at least 1; got 0"):
        old.best_configurations(0)


@pytest.mark.usefixtures("no_figures")
def test_a_run_begins_with_the_best_of_an_earlier_one_and_resumes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(CONFIG)
    call("run", "small.toml", "--name", "old")
    expected = load_study("old", "runs/studies.db").best_configurations(2)
    more = ("--enqueue-from", "old:2", "--seed", "9")
    ended = call("run", "small.toml", "--name", "new", *more, "--json")
    assert ended.exit_code == 0, ended.output
    begun = load_study("new", "runs/studies.db")
    assert [begun.params_of(entry) for entry in begun.entries[:2]] == expected
    call("run", "small.toml", "--name", "cut", *more, "--set", "evolution.max_evaluations=5")
    resumed = call("resume", "cut", "--set", "evolution.max_evaluations=100", "--json")
    assert json.loads(resumed.stdout)["best"] == json.loads(ended.stdout)["best"]
    refused = call("run", "small.toml", "--name", "other", "--enqueue-from", "old:none")
    assert refused.exit_code == 2
    assert "--enqueue-from must be STUDY or STUDY:COUNT" in refused.stderr
    for count in ("0", "-1", "\N{SUPERSCRIPT TWO}"):
        refused = call("run", "small.toml", "--name", "other", "--enqueue-from", f"old:{count}")
        assert "--enqueue-from must be STUDY or STUDY:COUNT" in refused.stderr
