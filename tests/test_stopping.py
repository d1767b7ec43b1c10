"""Studies that end once every configuration of a finite space has been evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_cli import CONFIG, call

from deap_hpo import Categorical, Float, Int, Objective, Space, Study, optimize
from deap_hpo.evolution.individual import Individual
from deap_hpo.records.entries import Entry
from deap_hpo.stopping import Exhaustion, StoppedEarly

SPACE = Space({"kind": Categorical(["a", "b", "c"]), "n": Int(1, 2)})


def value(params: dict[str, Any]) -> float:
    return ord(params["kind"]) + params["n"] * 0.1


search = partial(optimize, value, SPACE, algorithm="random", max_evaluations=100, population=4, seed=1, progress=False)


def told(study: Study) -> list[Any]:
    return [(entry.number, entry.genes, entry.evaluation.values, entry.duplicate_of) for entry in study.entries]


@contextmanager
def as_earlier_versions_did() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exhaustion, "on_generation", lambda *_: None)
        yield


@pytest.mark.parametrize("algorithm", ["random", "tpe", "sobol", "cma", "surrogate", "grid"])
def test_a_study_ends_after_the_first_generation_of_repeats_when_nothing_is_left(algorithm: str) -> None:
    study = search(algorithm=algorithm)
    new = [entry for entry in study.entries if entry.duplicate_of is None]
    assert len(new) == 6
    assert study.entries[-1].generation <= new[-1].generation + 1
    with as_earlier_versions_did():
        assert told(study) == told(search(algorithm=algorithm, generations=20))[: len(study.entries)]


def test_it_ends_when_an_algorithm_has_converged_before_everything_is_evaluated() -> None:
    study = search(algorithm="de", max_evaluations=1000)
    new = [entry.number for entry in study.entries if entry.duplicate_of is None]
    assert len(new) < 6, "or there is nothing to be seen here"
    assert 500 <= len(study.entries) - 1 - new[-1] < 504
    more = search(algorithm="de", max_evaluations=1500)
    assert told(more) == told(study)


def test_it_goes_on_where_the_record_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deap_hpo.stopping._MOST_IDLE", 100)
    kept = {"algorithm": "de", "storage": f"{tmp_path}/a.db", "resume": True}
    with as_earlier_versions_did():
        longer = search(**kept, max_evaluations=6)
    assert len(longer.entries) > 120, "or it would not have been ended earlier"
    watch = Watch()
    assert told(search(**kept, max_evaluations=6, callbacks=[watch])) == told(longer)
    assert sum(watch.sizes) > len(longer.entries) - 4, "all whole generations were replayed"


class Watch:
    """Keeps the sizes of generations."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def on_generation(self, study: Study, entries: Any) -> None:
        self.sizes.append(len(entries))


def test_an_empty_generation_ends_a_run_when_nothing_is_left() -> None:
    watch = Watch()
    study = search(algorithm="surrogate", max_evaluations=10**4, callbacks=[watch])
    assert len(study.entries) == 6
    assert watch.sizes == [4, 2, 0]


def test_empty_generations_end_a_run_that_has_not_evaluated_everything() -> None:
    with Study(SPACE, callbacks=[Exhaustion()]) as study:
        study.map(value, [[0.1, 0.1]])
        for _ in range(49):
            study.map(value, [])
        with pytest.raises(StoppedEarly, match=r"after 1 evaluation: nothing more was proposed in 50 generations\."):
            study.map(value, [])


def test_an_empty_generation_does_not_end_trainings_that_may_be_continued() -> None:
    train = Objective(lambda params, epochs: params["n"] / epochs)
    with Study(Space({"n": Int(1, 1)}), callbacks=[Exhaustion()]) as study:
        part = Individual([0.5])
        part.epochs = 1
        study.map(train, [part])
        study.map(train, [])


def test_so_does_one_with_a_budget_of_epochs() -> None:
    def whole(params: dict[str, Any], epochs: int = 3) -> float:
        return value(params) / epochs

    settings: dict[str, Any] = {"max_evaluations": None, "max_epochs": 300, "generations": 50}
    study = optimize(whole, SPACE, **{**search.keywords, **settings})
    with as_earlier_versions_did():
        longer = optimize(whole, SPACE, **{**search.keywords, **settings})
    assert sum(entry.duplicate_of is None for entry in study.entries) == 6
    assert len(study.entries) < len(longer.entries)


@pytest.mark.parametrize(
    "unlike",
    [
        {"max_evaluations": None, "generations": 12},  # whoever asks for generations gets them
        {"common_random_numbers": False},
        {"space": Space({**SPACE, "x": Float(0.0, 1.0)})},
        {"epochs": 9, "algorithm": "hyperband", "max_evaluations": None, "max_epochs": 100},
    ],
)
def test_other_studies_do_not_end_by_it(unlike: dict[str, Any]) -> None:
    def in_parts(params: dict[str, Any], epochs: int) -> float:
        return value(params) / epochs

    settings = {"space": SPACE, "algorithm": "random", "max_evaluations": 30, "population": 4, **unlike}
    searched = partial(
        optimize, in_parts if "epochs" in unlike else lambda params: value(params), seed=1, progress=False, **settings
    )
    study = searched()
    with as_earlier_versions_did():
        assert told(study) == told(searched())


class Interrupting:
    def __init__(self, number: int) -> None:
        self._number = number

    def on_evaluation(self, _: Study, entry: Entry) -> None:
        if entry.number == self._number:
            raise KeyboardInterrupt


@pytest.mark.parametrize("last", [0, 5, -2, -1])
def test_interrupted_it_ends_where_the_uninterrupted_one_does(last: int, tmp_path: Path) -> None:
    straight, storage = told(search()), tmp_path / "a.db"
    with pytest.raises(KeyboardInterrupt):
        search(storage=storage, callbacks=[Interrupting(range(len(straight))[last])])
    assert told(search(storage=storage, resume=True)) == straight
    assert told(search(storage=storage, resume=True, max_evaluations=200)) == straight


def test_what_went_on_when_it_was_recorded_goes_on(tmp_path: Path) -> None:
    with as_earlier_versions_did():
        search(storage=tmp_path / "a.db", generations=10)
        straight = told(search(generations=20))
    assert told(search(storage=tmp_path / "a.db", resume=True, generations=20)) == straight
    assert len(told(search(generations=20))) < len(straight)


@pytest.mark.usefixtures("light_model", "no_figures")
def test_the_command_line_says_that_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = 'lr = { type = "categorical", choices = [0.1, 0.2] }\nmomentum = { type = "categorical", choices = [0.5] }'
    before, _, after = CONFIG.partition("[space]")
    Path("small.toml").write_text(f"{before}[space]\n{space}\n[evolution]{after.partition('[evolution]')[2]}")
    changes = ["evolution.algorithm='random'", "evolution.max_evaluations=8", "evolution.generations=8"]
    ended = call("run", "small.toml", *(word for change in changes for word in ("--set", change)))
    assert ended.exit_code == 0, ended.output
    said = "The study 'small' ended after 10 evaluations: every configuration of its space has been evaluated.\n"
    assert said in ended.output
    assert "go on" not in ended.output.lower()
