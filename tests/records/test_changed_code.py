"""A resumed study names what has changed in its evaluator, but not what changes while it runs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from deap_hpo import Float, Objective, Space, Study, Task, make_trainer, optimize
from deap_hpo.evolution.individual import Individual
from deap_hpo.recorded import load_study, note
from deap_hpo.records.provenance import Provenance, _Facts
from deap_hpo.records.record import ReplayError
from deap_hpo.training.data import load_digits
from tests.records.users_script import script


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        return self.layer(x.flatten(1))


class Large(Small):
    pass


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model": Large}, 'model = "Small", and cannot be continued with model = "Large"'),
        ({"model": partial(Small)}, 'model = "Small", and cannot be continued with model = "partial\\(Small\\)"'),
        ({"loss": nn.functional.nll_loss}, 'loss = "cross_entropy", and cannot be continued with loss = "nll_loss"'),
        ({"metrics": {}}, 'metrics.accuracy = "accuracy", and cannot be continued with metrics.accuracy not set'),
    ],
)
def test_another_network_loss_or_metric_is_refused(changed: dict[str, Any], named: str, tmp_path: Path) -> None:
    options: Any = {"population": 2, "storage": f"{tmp_path}/a.db", "resume": True, "progress": False}
    options |= {"algorithm": "random", "space": {"lr": Float(0.01, 0.1)}}
    task = Task("digits", Small, load_digits(training_size=100, validation_size=50))
    optimize(make_trainer(task, epochs=1, device="cpu"), generations=1, **options)
    with pytest.raises(ReplayError, match=f"was recorded with parts {named}"):
        optimize(make_trainer(replace(task, **changed), epochs=1, device="cpu"), generations=2, **options)
    assert len(load_study("study", f"{tmp_path}/a.db").entries) == 2


def test_another_argument_of_a_function_is_refused(tmp_path: Path) -> None:
    options: Any = {"space": {"x": Float(0.0, 1.0)}, "algorithm": "random", "population": 2, "progress": False}
    options |= {"storage": f"{tmp_path}/a.db", "resume": True}
    train = script()["train"]
    optimize(partial(train, rate=1.0), generations=1, **options)
    with pytest.raises(
        ReplayError, match=r"function = \"partial\(train, rate=1.0\)\", and cannot be continued with fun.*2.0"
    ):
        optimize(partial(train, rate=2.0), generations=2, **options)


@pytest.mark.parametrize("wrap", [Objective, lambda function: function])
def test_changed_code_is_warned_of_once(wrap: Any, tmp_path: Path) -> None:
    population = [Individual([i / 10]) for i in range(8)]

    def run(function: Any, count: int) -> list[str]:
        options: Any = {"storage": f"{tmp_path}/a.db", "resume": True}
        with Study(Space({"x": Float(0.0, 1.0)}), **options) as study, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for start in range(0, count, 2):
                study.map(wrap(function), population[start : start + 2])
        return [str(one.message) for one in caught]

    before, after = script()["train"], script("EPOCHS = 5", "EPOCHS = 50")["train"]
    assert run(before, 2) == []
    assert run(script("EPOCHS = 5", "# epochs\nEPOCHS = 5")["train"], 4) == []
    warned = run(after, 6)
    assert len(warned) == 1
    assert (
        "the evaluator of the study 'study' has changed since the evaluations on record were made: EPOCHS in train. "
        "They are kept. If it gives different values now" in warned[0]
    )
    assert run(after, 8) == [], "it was said when it changed"


def test_several_functions_of_one_run_are_all_known_when_it_is_resumed(tmp_path: Path) -> None:
    first, second = script()["train"], script("EPOCHS = 5", "EPOCHS = 50")["train"]
    population = [Individual([0.1]), Individual([0.2])]
    for batches in (2, 3):
        with (
            Study(Space({"x": Float(0.0, 1.0)}), storage=f"{tmp_path}/a.db", resume=True) as study,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error")
            for batch in range(batches):
                study.map((first, second)[batch % 2], population)


def test_a_record_without_digests_or_of_another_python_is_taken_as_it_is(tmp_path: Path) -> None:
    storage, x = f"{tmp_path}/a.db", Space({"x": Float(0.0, 1.0)})
    with Study(x, storage=storage) as study:
        study.map(script()["train"], [Individual([0.1])])
    for facts in (None, {"EPOCHS in train": ["a-0123456789ab"], "train()": ["2.7c-0123456789ab"]}):
        note("study", storage, "fingerprint", facts)
        with Study(x, storage=storage, resume=True) as study, warnings.catch_warnings():
            warnings.simplefilter("error")
            study.map(script("EPOCHS = 5", "EPOCHS = 50")["train"], [Individual([0.1])])
        assert load_study("study", storage).attributes["fingerprint"] == facts, "nothing was added to the record"


COUNTING = """
import bisect, collections, heapq, random
import numpy as np, torch

items, arrays, tables = [], np.arange(5), {"fixed": 1.0, "seen": {}}
counter, networks = collections.Counter(), [torch.nn.Linear(1, 1)]
count = 0

class Log:
    def __init__(self):
        self.rows, self.scale = [], 1.0
    def add(self, x):
        rows = self.rows
        rows.append(x)

log = Log()

def count_up(params):
    global count
    count += 1
def append(params): items.append(params["x"])
def by_an_alias(params):
    rows = items
    rows.append(params["x"])
def by_a_helper(params): heapq.heappush(items, params["x"])
def shuffle(params):
    np.random.shuffle(arrays)
    arrays[0] += 1
def by_key(params): tables["seen"][params["x"]] = 1
def subtract(params): counter.subtract(["a"])
def train(params):
    with torch.no_grad():
        networks[0].weight += params["x"]
def add_to_an_object(params): log.add(params["x"])
def set_an_attribute(params): setattr(log, "last", params["x"])
def by_default(params, memory=[]): memory.append(params["x"])
"""


@pytest.fixture(autouse=True)
def nothing_is_known_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Facts, "changing", set())


@pytest.mark.parametrize("name", re.findall(r"def (\w+)\(params", COUNTING))
def test_what_changes_while_a_run_goes_on_is_not_what_it_goes_by(name: str, tmp_path: Path) -> None:
    """As when a notebook continues in the same process."""
    names = script(source=COUNTING)
    count = names[name]

    def objective(params: dict[str, Any]) -> float:
        count(params)
        return float(params["x"])

    assert line(objective, tmp_path, 1) == line(objective, tmp_path, 2) == []
    noted = load_study("study", f"{tmp_path}/a.db").attributes["fingerprint"]
    assert None in noted.values(), "it did change"
    names["log"].scale = 2.0
    expected = [f"log.scale in {name}"] if "an_object" in name or "attribute" in name else []
    assert named(line(objective, tmp_path, 3)) == expected, "the other attributes are what they are"


def line(objective: Any, folder: Path, generations: int, name: str = "study") -> list[str]:
    """The warnings of a study of one hyperparameter, started or resumed."""
    options: Any = {"algorithm": "random", "population": 2, "progress": False, "resume": True, "name": name}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimize(objective, {"x": Float(0.0, 1.0)}, generations=generations, storage=f"{folder}/a.db", **options)
    return [str(one.message) for one in caught]


def named(warned: list[str]) -> list[str]:
    """The names of what has changed, from the text of a warning."""
    return [one for text in warned for one in text.partition("made: ")[2].partition(". They")[0].split(", ")]


def test_the_second_study_of_a_script_begins_with_what_the_first_has_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a `kill -9`, the script starts with nothing counted, and replays the first study."""

    def started() -> Any:
        names = script(source=COUNTING + "def objective(params):\n    append(params)\n    return params['x']")
        return names["objective"]

    first = started()
    assert line(first, tmp_path, 1, "a") == []
    with monkeypatch.context() as killed:  # before it could say what had changed
        killed.setattr(Provenance, "_measure", lambda self: None)
        assert line(first, tmp_path, 1, "b") == []
    monkeypatch.setattr(_Facts, "changing", set())  # the killed process's set is lost
    again = started()
    assert line(again, tmp_path, 1, "a") == line(again, tmp_path, 2, "b") == []


def test_of_very_many_changes_some_are_named(tmp_path: Path) -> None:
    def made(value: int) -> Any:
        settings = {f"s{i}": value for i in range(9)}
        return lambda params: params["x"] * len(dict(settings))

    assert line(made(1), tmp_path, 1) == []
    (warned,) = line(made(2), tmp_path, 2)
    shown = ", ".join(f"settings['s{i}'] in <lambda>" for i in range(5))
    assert f"made: {shown} and 4 more. They are kept" in warned


class Dotted:
    """Settings with dots, as they are often written."""

    def __init__(self, **values: Any) -> None:
        self.__dict__["_values"] = values

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["_values"][name]


class Unset(Mapping[str, float]):
    """Settings, some of which are missing until they are set."""

    def __init__(self, **values: float) -> None:
        self.values_ = values

    def __getitem__(self, name: str) -> float:
        if self.values_[name] < 0:
            raise ValueError(f"{name} is missing")
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


class Closed:
    __module__ = None  # type: ignore[assignment]

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("it is closed")


class NoList(list[int]):
    def __len__(self) -> int:
        raise TypeError("it has no length")

    def __iter__(self) -> Iterator[int]:
        raise TypeError("it has no items")


@pytest.mark.parametrize(
    "made",
    [
        lambda value: Dotted(a=value),
        lambda value: Unset(a=value, b=-1),
        lambda value: NoList([value]),
        lambda value: 10**5000 + value,
        lambda value: Closed(),
    ],
    ids=["dotted", "unset", "no list", "huge", "closed"],
)
def test_a_run_begins_whatever_its_function_goes_by(made: Any, tmp_path: Path, request: Any) -> None:
    def using(value: Any) -> Any:
        return lambda params: params["x"] if value is not None else 0.0

    assert line(using(made(2)), tmp_path, 1) == line(using(made(2)), tmp_path, 2) == []
    warned = named(line(using(made(3)), tmp_path, 3))
    assert len(warned) == (0 if "closed" in request.node.name else 1)


def test_what_changes_is_known_before_a_run_may_be_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known after the first batch: a cache in a file has other content when the run is started again."""

    def started(cache: list[float]) -> Any:
        names = script(source=COUNTING + "def objective(params):\n    append(params)\n    return params['x']")
        names["items"].extend(cache)
        return names["objective"]

    with monkeypatch.context() as killed:
        killed.setattr(Provenance, "close", lambda self: self.record.close())
        assert line(started([]), tmp_path, 2) == []
    monkeypatch.setattr(_Facts, "changing", set())
    assert line(started([0.25, 0.5]), tmp_path, 3) == []


def test_a_study_is_closed_whatever_is_found_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example Ctrl-C, while its values are examined."""

    def interrupted(self: Provenance) -> None:
        raise KeyboardInterrupt

    study = Study(storage=tmp_path / "a.db")
    study.map(lambda params: 1.0, [Individual([0.5])])
    with monkeypatch.context() as patch:
        patch.setattr(Provenance, "_measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study.close()
    with Study(storage=tmp_path / "a.db", resume=True) as study:
        assert len(study.record) == 1
