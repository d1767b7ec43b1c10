"""What evaluates, recognised: other code has another digest, and a study says so; what is the same has the same."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import types
import warnings
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from deap_hpo import Float, Objective, Recipe, Space, Study, Task, make_trainer, optimize
from deap_hpo.evolution.individual import Individual
from deap_hpo.recorded import load_study, note
from deap_hpo.records import fingerprint
from deap_hpo.records.fingerprint import code_digest, described
from deap_hpo.records.record import ReplayError
from deap_hpo.training.data import load_digits
from deap_hpo.training.models import MLP

BEFORE = """
import math
EPOCHS = 5
calls = 0

class Network:
    depth = 2

    def __init__(self, width=8):
        self.width, self.used = width, 0

    def forward(self, x):
        self.used += 1
        return x * self.width

class Larger(Network):
    pass

def helper(x):
    return x + 1

def train(params, rate=0.1):
    "Says what it does."
    global calls
    calls += 1
    return helper(params["x"]) * EPOCHS * rate + Larger().forward(math.sqrt(2)) + sum(y for y in {1, 2, 3})

def made(factor):
    seen = 0
    def inner(params):
        nonlocal seen
        seen += 1
        return params["x"] * factor
    return inner
"""


def script(before: str = "", after: str = "", source: str = BEFORE) -> dict[str, Any]:
    """The names of a script of the user's, in which one thing has been changed."""
    assert before in source
    names: dict[str, Any] = {"__name__": "script"}
    exec(textwrap.dedent(source.replace(before, after) if before else source), names)
    return names


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("* rate +", "/ rate +"),
        ("rate=0.1", "rate=0.2"),
        ("EPOCHS = 5", "EPOCHS = 50"),
        ("return x + 1", "return x + 2"),
        ("return x * self.width", "return x + self.width"),
        ("depth = 2", "depth = 3"),
        ("width=8", "width=9"),
        ("math.sqrt", "math.cos"),
        ("y for y in", "y * y for y in"),
    ],
)
def test_whatever_decides_the_value_is_noticed(before: str, after: str) -> None:
    assert code_digest(script(before, after)["train"]) != code_digest(script()["train"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("EPOCHS = 5", "# five of them\n\nEPOCHS = 5"),
        ("Says what", "Tells what"),
        ("calls = 0", "calls = 7"),
        ("calls = 0", "calls = 0\nunused = 3"),
        ("seen = 0", "seen = 1"),
    ],
)
def test_whatever_does_not_is_not(before: str, after: str) -> None:
    assert code_digest(script(before, after)["train"]) == code_digest(script()["train"])


def test_objects_partials_and_closures_are_told_apart() -> None:
    names = script()
    network = names["Network"]
    assert code_digest(network(8)) != code_digest(network(9))
    used = network(8)
    used.forward(1.0)
    assert code_digest(used) == code_digest(network(8)), "what it counts is not what it is"
    assert code_digest(used.forward) == code_digest(network(8).forward) != code_digest(network(9).forward)
    assert code_digest(partial(names["train"], rate=1)) != code_digest(partial(names["train"], rate=2))
    made = names["made"]
    first = made(2)
    first({"x": 1.0})
    assert code_digest(first) == code_digest(made(2)) != code_digest(made(3))


def weighted(weight: Any) -> dict[str, Any]:
    """Things that use an array in different ways."""
    names = {"__name__": "script", "weight": weight, "state": {"a": weight, "b": weight}}
    exec("def loss(x): return x * weight\ndef model(): return state", names)
    closed = script(source="def made(weight):\n    return lambda x: x * weight")["made"]
    held = types.SimpleNamespace(weight=weight)
    return {
        "global": names["loss"],
        "state": names["model"],
        "closure": closed(weight),
        "partial": partial(names["loss"], x=weight),
        "attribute": held,
        "module": torch.nn.CrossEntropyLoss(weight=torch.as_tensor(weight).float()),
    }


@pytest.mark.parametrize("how", ["global", "state", "closure", "partial", "attribute", "module"])
@pytest.mark.parametrize("kind", [np.array, torch.tensor, lambda values: torch.tensor(values, dtype=torch.bfloat16)])
def test_arrays_and_tensors_are_told_apart_by_their_numbers(how: str, kind: Any) -> None:
    one, again, other = (code_digest(weighted(kind(values))[how]) for values in ([1.0, 2.0], [1.0, 2.0], [1.0, 3.0]))
    assert one == again != other


COUNTING = """
import torch
seen, run, memo = np.zeros(3), torch.zeros(3), {}

def by_index(x):
    seen[0] += 1
    return x

def by_slice(x):
    seen[:2] = x
    return x

def in_place(x):
    run.add_(1)
    return x

def remembered(x):
    memo[x] = np.ones(x)
    return x

class Base:
    def __init__(self):
        self.total, self.last = np.zeros(2), torch.zeros(1)

    def keep(self, x):
        self.last = torch.ones(1) * x

class Counter(Base):
    def __call__(self, x):
        self.total[0] += 1
        self.keep(x)
        return x
"""


@pytest.mark.parametrize("name", ["by_index", "by_slice", "in_place", "remembered", "Counter"])
def test_arrays_that_are_written_to_while_it_runs_are_not_what_it_is(name: str) -> None:
    names = script(source=f"import numpy as np{COUNTING}")
    function = names[name]() if name == "Counter" else names[name]
    before = code_digest(function)
    function(3)
    assert code_digest(function) == before


def test_modules_within_a_loss_and_mixed_containers() -> None:
    def loss(weight: float) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, weight])))

    assert code_digest(loss(1.0)) == code_digest(loss(1.0)) != code_digest(loss(2.0))
    assert code_digest(partial(max, np.zeros((2, 3)))) != code_digest(partial(max, np.zeros((3, 2))))
    lazy = torch.nn.parameter.UninitializedParameter()
    assert code_digest(partial(max, lazy)) == code_digest(partial(max, lazy))


def test_of_arrays_without_numbers_at_hand_there_is_an_end() -> None:
    for array in (np.array([object()]), torch.ones(2, device="meta"), torch.eye(2).to_sparse(), np.zeros(0)):
        assert code_digest(partial(max, array)) == code_digest(partial(max, array))


def test_of_very_large_arrays_both_ends_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_LOOKED_AT", 8)
    digests = []
    for changed in (None, 0, 50, 99):
        array = np.zeros(100, np.uint8)
        if changed is not None:
            array[changed] = 1
        digests.append(code_digest(weighted(array)["global"]))
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3


class Settings:
    def __init__(self, rate: float, sizes: list[int]) -> None:
        self.rate, self.sizes = rate, sizes


@dataclass
class Folds:
    number: int = 3
    used: dict[str, list[int]] = field(default_factory=dict)


def trainer_of(epochs: int = 1, lr: float = 0.1, shift: float = 0.0) -> Any:
    data = load_digits(training_size=50, validation_size=20)
    data = replace(data, training=replace(data.training, inputs=data.training.inputs + int(shift)))
    return make_trainer(Task("digits", MLP, data, recipe=Recipe(lr=lr)), epochs=epochs, device="cpu")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [1, 3]),
        ({"a": 1.0}, {"a": 2.0}),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}),
        ({1, 2}, {1, 3}),
        ((1, "a"), (1, "b")),
        (Settings(0.1, [8]), Settings(0.2, [8])),
        (Settings(0.1, [8]), Settings(0.1, [16])),
        (Folds(3), Folds(5)),
        (Folds(3, {"a": [1]}), Folds(3, {"a": [2]})),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 3]})),
        (pd.DataFrame({"a": ["x", "y"]}), pd.DataFrame({"b": ["x", "y"]})),
        (trainer_of(), trainer_of(epochs=2)),
        (trainer_of(), trainer_of(lr=0.2)),
        ([trainer_of()], [trainer_of(), trainer_of()]),
        (trainer_of().task, trainer_of(lr=0.2).task),
        (trainer_of().task, trainer_of(shift=1).task),
        ({"a": lambda x: x}, {"a": lambda x: x + 1}),
    ],
)
@pytest.mark.parametrize("how", ["closure", "global", "list appended to"])
def test_values_that_a_function_goes_by_are_noticed(how: str, one: Any, other: Any) -> None:
    """As the settings of a cross-validation: the trainers of its folds, a table of settings."""

    def using(value: Any) -> Any:
        names: dict[str, Any] = {"__name__": "script", "value": value}
        exec(
            "def g(x):\n    return value, x\ndef h(x):\n    found = []\n    found.append(value)\n    return found",
            names,
        )

        def f(x: float) -> Any:
            return value, x

        return {"closure": f, "global": names["g"], "list appended to": names["h"]}[how]

    assert code_digest(using(one)) == code_digest(using(one)) == code_digest(using(deepcopy(one)))
    assert code_digest(using(one)) != code_digest(using(other))


def test_of_very_long_containers_the_beginning_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_MOST_ITEMS", 3)
    digests = [code_digest(partial(max, values)) for values in ([1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 0, 4], [1, 2, 3])]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_where_a_trainer_computes_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = trainer_of(), trainer_of()
    other.device = torch.device("meta")
    assert other.settings["device"] != one.settings["device"]
    assert code_digest(lambda params: one(params)) == code_digest(lambda params: one(params))
    digests = [code_digest({"trainer": trainer}) for trainer in (one, other)]
    assert digests[0] == digests[1]


def test_of_a_mapping_only_the_keys_that_are_read_matter() -> None:
    """A script's arguments have how long it is to go on, too."""

    def using(**config: Any) -> Any:
        return lambda params: params["x"] * config["scale"]

    assert code_digest(using(scale=1.0, generations=1)) == code_digest(using(scale=1.0, generations=2))
    assert code_digest(using(scale=1.0, generations=1)) != code_digest(using(scale=2.0, generations=1))


def test_a_global_that_is_called_as_an_attribute_is_does_not_matter() -> None:
    names: dict[str, Any] = {"__name__": "script", "history": []}
    exec("def objective(params): return params.history[-1]", names)
    before = code_digest(names["objective"])
    names["history"].append(0.5)
    assert code_digest(names["objective"]) == before


def test_objects_whose_attributes_a_function_sets_are_not_what_it_is() -> None:
    settings = Settings(0.1, [8])

    def counting(x: float) -> float:
        settings.rate += x
        return x

    before = code_digest(counting)
    counting(1.0)
    assert code_digest(counting) == before


def test_a_container_that_may_be_a_cache_is_not_looked_at() -> None:
    names: dict[str, Any] = {"__name__": "script", "seen": {}}
    exec("def loss(x):\n    seen[x] = x\n    return x", names)
    before = code_digest(names["loss"])
    names["loss"](3)
    assert code_digest(names["loss"]) == before


def test_names_of_partials_of_mappings_are_those_of_their_types() -> None:
    assert described(partial(max, {"weights": torch.ones(2)}, key=len)) == "partial(max, dict, key=len)"


def test_of_libraries_and_of_this_package_only_the_name_counts() -> None:
    assert code_digest(nn.functional.cross_entropy) != code_digest(nn.functional.mse_loss)
    assert code_digest(nn.CrossEntropyLoss(label_smoothing=0.1)) != code_digest(nn.CrossEntropyLoss())
    assert code_digest(len) != code_digest(max)
    assert code_digest(MLP) == code_digest(MLP) != code_digest(partial(MLP, width=3))


def test_what_refers_to_itself_has_an_end() -> None:
    looped = script(source="def f(n):\n    return g(n)\ndef g(n):\n    return f(n - 1) if n else 0")
    assert code_digest(looped["f"]) != code_digest(looped["g"])
    endless: list[Any] = []
    endless.append(endless)
    assert code_digest(partial(len, endless)) == code_digest(partial(len, endless))


def test_code_may_be_thousands_of_functions_deep() -> None:
    source = "\n".join(f"def f{i}(x):\n    return f{i + 1}(x)" for i in range(3000))
    deep, other = (script(source=f"{source}\ndef f3000(x):\n    return x + {end}")["f0"] for end in (1, 2))
    assert code_digest(deep) != code_digest(other)


def test_a_digest_is_the_same_in_another_process(tmp_path: Path) -> None:
    program = """
        from functools import partial
        from deap_hpo.records.fingerprint import code_digest
        def key(): ...
        class Kind:
            def method(self): return {"a", "b", "c"}
        def train(params, table={key: 1, Kind: 2, "x": object()}, kinds=frozenset({"a", "b", "c"})):
            return Kind().method() and params["x"] in {"p", "q", "r"}
        print(code_digest(partial(train, kinds=[Kind, key])))
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(program))
    digests = set()
    for hash_seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        ran = subprocess.run(
            [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(ran.stdout)
    assert len(digests) == 1


def test_the_same_thing_twice_is_not_two_things() -> None:
    first, second = script()["helper"], script("return x + 1", "return x + 2")["helper"]
    assert code_digest([first, second]) != code_digest([first, first]) != code_digest([first])


def test_names_show_what_partials_hold() -> None:
    assert described(partial(MLP, 64, width=nn.ReLU)) == "partial(MLP, 64, width=ReLU)"
    assert described(nn.CrossEntropyLoss()) == "CrossEntropyLoss"


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
        ({"model": Large}, 'model = "Small", and cannot go on with model = "Large"'),
        ({"model": partial(Small)}, 'model = "Small", and cannot go on with model = "partial\\(Small\\)"'),
        ({"loss": nn.functional.nll_loss}, 'loss = "cross_entropy", and cannot go on with loss = "nll_loss"'),
        ({"metrics": {}}, 'metrics.accuracy = "accuracy", and cannot go on with metrics.accuracy not set'),
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
    with pytest.raises(ReplayError, match=r"function = \"partial\(train, rate=1.0\)\", and cannot go on with fun.*2.0"):
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
    assert "the evaluations on record in the study 'study' were made by other code than what evaluates now" in warned[0]
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
    for digests in ([], ["2.7-0123456789abcdef"]):
        note("study", storage, "code", digests)
        with Study(x, storage=storage, resume=True) as study, warnings.catch_warnings():
            warnings.simplefilter("error")
            study.map(script("EPOCHS = 5", "EPOCHS = 50")["train"], [Individual([0.1])])
        assert load_study("study", storage).attributes["code"] == digests, "nothing was added to the record"


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_a_library_is_one_wherever_it_is_installed(folder: str, tmp_path: Path) -> None:
    """As by `pip install --user`, or in a virtual environment that sees the packages of the system."""
    digests = []
    for i, factor in enumerate((2, 3)):
        packages = tmp_path / str(i) / folder
        packages.mkdir(parents=True)
        (packages / "a_library.py").write_text(f"def scaled(x):\n    return {factor} * x\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(packages))
            patch.delitem(sys.modules, "a_library", raising=False)
            digests.append(code_digest(importlib.import_module("a_library").scaled))
    assert digests[0] == digests[1]
