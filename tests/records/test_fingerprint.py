"""Fingerprints of evaluators: other code has another digest, and a study says so; the same code has the same."""

from __future__ import annotations

import argparse
import collections
import functools
import importlib
import os
import subprocess
import sys
import textwrap
import time
import types
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from deap_hpo import Recipe, Task, make_trainer
from deap_hpo.records.content import described
from deap_hpo.records.fingerprint import comparable, fingerprint
from deap_hpo.training.data import load_digits
from deap_hpo.training.models import MLP
from tests.records.users_script import script


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
    assert fingerprint(script(before, after)["train"]) != fingerprint(script()["train"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("EPOCHS = 5", "# five of them\n\nEPOCHS = 5"),
        ("Says what", "Tells what"),
        ("calls = 0", "calls = 0\nunused = 3"),
    ],
)
def test_whatever_does_not_is_not(before: str, after: str) -> None:
    assert fingerprint(script(before, after)["train"]) == fingerprint(script()["train"])


def test_objects_partials_and_closures_are_told_apart() -> None:
    names = script()
    network = names["Network"]
    assert fingerprint(network(8)) != fingerprint(network(9))
    assert fingerprint(network(8).forward) == fingerprint(network(8).forward) != fingerprint(network(9).forward)
    assert fingerprint(partial(names["train"], rate=1)) != fingerprint(partial(names["train"], rate=2))
    made = names["made"]
    assert fingerprint(made(2)) == fingerprint(made(2)) != fingerprint(made(3))


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
    one, again, other = (fingerprint(weighted(kind(values))[how]) for values in ([1.0, 2.0], [1.0, 2.0], [1.0, 3.0]))
    assert one == again != other


def test_modules_within_a_loss_and_mixed_containers() -> None:
    def loss(weight: float) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, weight])))

    assert fingerprint(loss(1.0)) == fingerprint(loss(1.0)) != fingerprint(loss(2.0))
    assert fingerprint(partial(max, np.zeros((2, 3)))) != fingerprint(partial(max, np.zeros((3, 2))))
    lazy = torch.nn.parameter.UninitializedParameter()
    assert fingerprint(partial(max, lazy)) == fingerprint(partial(max, lazy))


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
@pytest.mark.parametrize("how", ["closure", "global", "default", "module", "class", "object", "lambda in a list"])
def test_values_that_a_function_goes_by_are_noticed(how: str, one: Any, other: Any) -> None:
    """For example the settings of a cross-validation: the trainers of its folds, a table of settings."""

    def using(value: Any) -> Any:
        names: dict[str, Any] = {"__name__": "script", "value": value, "given": types.ModuleType("given")}
        names["given"].value = value
        source = """
            def by_global(x): return value, x
            def by_default(x, value=value): return value, x
            def by_module(x): return given.value, x
            class Configured:
                kept = value
                def evaluate(self, x): return self.kept
            class Holding:
                def __init__(self, value): self.value = value
                def __call__(self, x): return self.value
        """
        exec(textwrap.dedent(source), names)

        def f(x: float) -> Any:
            return value, x

        closed = {"closure": f, "object": names["Holding"](value), "lambda in a list": partial(max, [lambda: value])}
        return closed.get(how) or names[{"class": "Configured"}.get(how, f"by_{how}")]

    assert fingerprint(using(one)) == fingerprint(using(one)) == fingerprint(using(deepcopy(one)))
    assert fingerprint(using(one)) != fingerprint(using(other))


def test_where_validation_examples_came_from_does_not_matter() -> None:
    data = load_digits(training_size=50, validation_size=20)
    digests = [fingerprint({"data": replace(data, drawn=drawn)}) for drawn in (None, (), ("validation",))]
    assert len(set(map(str, digests))) == 1


def test_where_a_trainer_computes_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = trainer_of(), trainer_of()
    other.device = torch.device("meta")
    assert other.settings["device"] != one.settings["device"]
    assert fingerprint(lambda params: one(params)) == fingerprint(lambda params: one(params))
    digests = [fingerprint({"trainer": trainer}) for trainer in (one, other)]
    assert digests[0] == digests[1]


def test_of_a_mapping_only_the_keys_that_are_read_matter() -> None:
    """For example, a script's arguments also say how long it should run."""

    def using(**config: Any) -> Any:
        return lambda params: params["x"] * config["scale"]

    assert fingerprint(using(scale=1.0, generations=1)) == fingerprint(using(scale=1.0, generations=2))
    assert fingerprint(using(scale=1.0, generations=1)) != fingerprint(using(scale=2.0, generations=1))


def test_a_global_that_is_called_as_an_attribute_is_does_not_matter() -> None:
    names: dict[str, Any] = {"__name__": "script", "history": []}
    exec("def objective(params): return params.history[-1]", names)
    before = fingerprint(names["objective"])
    names["history"].append(0.5)
    assert fingerprint(names["objective"]) == before


def test_names_of_partials_of_mappings_are_those_of_their_types() -> None:
    assert described(partial(max, {"weights": torch.ones(2)}, key=len)) == "partial(max, dict, key=len)"


def test_of_libraries_and_of_this_package_only_the_name_counts() -> None:
    one, other = (partial(max, loss) for loss in (nn.functional.cross_entropy, nn.functional.mse_loss))
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(nn.CrossEntropyLoss(label_smoothing=0.1)) != fingerprint(nn.CrossEntropyLoss())
    assert fingerprint(len) != fingerprint(max)
    assert fingerprint(MLP) == fingerprint(MLP) != fingerprint(partial(MLP, width=3))


def test_what_refers_to_itself_has_an_end() -> None:
    looped = script(source="def f(n):\n    return g(n)\ndef g(n):\n    return f(n - 1) if n else 0")
    assert list(fingerprint(looped["f"])) == ["f()", "g()"]
    endless: list[Any] = []
    endless.append(endless)
    assert fingerprint(partial(len, endless)) == fingerprint(partial(len, endless))


def test_code_may_be_thousands_of_functions_deep() -> None:
    source = "\n".join(f"def f{i}(x):\n    return f{i + 1}(x)" for i in range(3000))
    deep, other = (script(source=f"{source}\ndef f3000(x):\n    return x + {end}")["f0"] for end in (1, 2))
    one, another = fingerprint(deep), fingerprint(other)
    assert [name for name in one if one[name] != another[name]] == ["further functions()"]
    assert len(one) == 601


def test_a_digest_is_the_same_in_another_process(tmp_path: Path) -> None:
    program = """
        from functools import partial
        from deap_hpo.records.fingerprint import fingerprint
        def key(): ...
        class Kind:
            def method(self): return {"a", "b", "c"}
        def train(params, table={key: 1, Kind: 2, "x": object()}, kinds=frozenset({"a", "b", "c"})):
            return Kind().method() and params["x"] in {"p", "q", "r"}
        print(fingerprint(partial(train, kinds=[Kind, key])))
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
    assert fingerprint([first, second]) != fingerprint([first, first]) != fingerprint([first])
    assert fingerprint({"a": first, "b": second}) != fingerprint({"a": first, "b": first})


def test_names_show_what_partials_hold() -> None:
    assert described(partial(MLP, 64, width=nn.ReLU)) == "partial(MLP, 64, width=ReLU)"
    assert described(nn.CrossEntropyLoss()) == "CrossEntropyLoss"


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_a_library_is_one_wherever_it_is_installed(folder: str, tmp_path: Path) -> None:
    """As with `pip install --user`, or in a virtual environment that sees the packages of the system."""
    digests = []
    for i, factor in enumerate((2, 3)):
        packages = tmp_path / str(i) / folder
        packages.mkdir(parents=True)
        (packages / "a_library.py").write_text(f"def scaled(x):\n    return {factor} * x\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(packages))
            patch.delitem(sys.modules, "a_library", raising=False)
            digests.append(fingerprint(importlib.import_module("a_library").scaled))
    assert digests[0] == digests[1]


class Scorer(dict[str, float]):
    """Settings that can be called."""

    def __call__(self, params: dict[str, float]) -> float:
        return params["x"] * self["weight"]


class Endless(Mapping[str, float]):
    def __getitem__(self, key: str) -> float:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise TypeError("it cannot be listed")

    def __len__(self) -> int:
        return 1

    def __call__(self, params: dict[str, float]) -> float:
        return params["x"]


def test_settings_that_can_be_called_are_things_not_names_of_things() -> None:
    one, other = fingerprint(Scorer(weight=1.0)), fingerprint(Scorer(weight=2.0))
    assert [name for name in one if one[name] != other[name]] == ["Scorer['weight']"]
    assert "Scorer.__call__()" in one
    assert described(partial(Scorer(weight=1.0))) == "partial(Scorer)"
    assert "Endless.__call__()" in fingerprint(Endless())


def test_names_may_have_blanks() -> None:
    config = {"learning rate": {"first step": 1.0}}
    assert "config['learning rate']['first step'] in <lambda>" in fingerprint(lambda params: dict(config))
    assert "args[0]['a'] of max" in fingerprint(partial(max, {"a": 1}))


class Trains:
    """An objective with attributes, some of which its methods read."""

    _depth = 2

    def __init__(self, rate: float, out: str) -> None:
        self.settings, self.out, self.started = types.SimpleNamespace(rate=rate, out=out), out, time.time()
        self.calls, self.losses = 0, [0.0]

    def __call__(self, params: dict[str, float]) -> float:
        self.calls += 1
        self.last = params
        self.losses.append(1.0)
        return params["x"] * self.settings.rate * self.power()

    def power(self) -> int:
        return self._depth


@pytest.mark.parametrize("part", [lambda one: one, lambda one: one.__call__, lambda one: {"function": one}])
def test_of_an_object_only_what_its_methods_read_matters(part: Any) -> None:
    one, same, other = (fingerprint(part(Trains(*given))) for given in ((1.0, "a"), (1.0, "b"), (2.0, "a")))
    assert one == same
    assert [name for name in one if one[name] != other[name]] == ["Trains.settings.rate"]
    assert "Trains._depth" in one


def test_of_an_object_that_is_handed_on_as_a_whole_all_matters() -> None:
    class Whole(Trains):
        def power(self) -> int:
            return len(vars(self))

    assert "Whole.out" in fingerprint(Whole(1.0, "a"))


def test_modules_are_followed_to_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "inner.py").write_text(
        "RATE, settings = 1.0, {'a': 1, 'b': 2}\ndef helper(x): return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    names = script(
        source="""
import a_package.inner
def objective(params):
    return a_package.inner.helper(params["x"]) * a_package.inner.RATE + a_package.inner.settings["a"]
"""
    )
    found = fingerprint(names["objective"])
    assert {
        "helper()",
        "a_package.inner.RATE in objective",
        "a_package.inner.settings['a'] in objective",
    } <= found.keys()
    assert "a_package.inner.settings['b'] in objective" not in found


def scaled(factor: float) -> Any:
    class Scaled:
        def __init__(self, function: Any) -> None:
            functools.update_wrapper(self, function)
            self.factor = factor

        def __call__(self, params: dict[str, float]) -> float:
            return float(self.__wrapped__(params)) * self.factor  # type: ignore[attr-defined]

    @Scaled
    def decorated(params: dict[str, float]) -> float:
        return params["x"]

    return decorated


class Methods:
    @functools.lru_cache  # noqa: B019
    def cached(self) -> int:
        return 1

    @property
    def value(self) -> int:
        return 2

    @value.setter
    def value(self, value: int) -> None:
        raise ValueError

    @functools.cached_property
    def later(self) -> int:
        return 3

    part = functools.partialmethod(len)


def test_decorators_of_all_kinds_are_looked_behind() -> None:
    one, other = fingerprint(scaled(2.0)), fingerprint(scaled(3.0))
    assert [name for name in one if one[name] != other[name]] == ["decorated.factor", "factor in Scaled.__init__"]
    assert {"decorated()", "Scaled.__call__()"} <= one.keys()
    names = fingerprint(Methods)
    assert {f"Methods.{name}()" for name in ("cached", "value", "later")} <= names.keys()


def test_another_variable_of_a_closure_is_other_code() -> None:
    def made(swapped: bool) -> Any:
        small, large = 1.0, 2.0
        if swapped:
            return lambda params: params["x"] * large
        return lambda params: params["x"] * small

    assert fingerprint(made(True))["<lambda>()"] != fingerprint(made(False))["<lambda>()"]


def test_another_name_of_an_argument_is_other_code() -> None:
    """The name decides whether an objective is given its seed or its number."""
    one, other = (script(source=f"def f(params, {name}):\n    return {name}")["f"] for name in ("seed", "number"))
    assert fingerprint(one) != fingerprint(other)


def test_it_takes_no_longer_for_long_functions() -> None:
    """Their code is searched once, rather than once for each name."""
    names = "\n".join(f"g{i} = {i}" for i in range(400))
    body = "\n".join(f"    x += g{i % 400}" for i in range(3000))
    objective = script(source=f"{names}\ndef objective(x):\n{body}\n    return x")["objective"]
    began = time.perf_counter()
    assert len(fingerprint(objective)) > 400
    assert time.perf_counter() - began < 5


def changed(one: Any, other: Any) -> list[str]:
    """Names of facts that both have, and that differ."""
    before, after = fingerprint(one), fingerprint(other)
    return sorted(name for name in before.keys() & after.keys() if before[name] != after[name])


def test_a_new_key_is_a_change_of_what_has_it() -> None:
    def using(**settings: Any) -> Any:
        return lambda params: dict(settings)

    assert changed(using(a=1), using(a=1, b=2)) == ["settings in <lambda>"]
    assert changed(using(a=1, b=2), using(a=2, b=2)) == ["settings['a'] in <lambda>"]


def test_large_and_deep_settings_are_one_fact_where_they_are_too_many() -> None:
    def using(settings: Any) -> Any:
        return lambda params: dict(settings)

    many = {f"s{i}": i for i in range(51)}
    assert changed(using(many), using({**many, "s0": 1})) == ["settings in <lambda>"]
    few = {name: many[name] for name in list(many)[:50]}
    assert changed(using(few), using({**few, "s0": 1})) == ["settings['s0'] in <lambda>"]
    deep = [{"a": {"b": {"c": {"d": value}}}} for value in (1, 2)]
    assert changed(using(deep[0]), using(deep[1])) == ["settings['a']['b'] in <lambda>"]


def test_defaults_that_are_given_by_name_count() -> None:
    def made(rate: float) -> Any:
        def train(params: Any, *, rate: float = rate) -> float:
            return float(params["x"]) * rate

        return train

    assert changed(made(0.1), made(0.2)) == ["rate in train"]


def test_values_of_an_enumeration_count() -> None:
    def made(fast: int) -> Any:
        class Mode(Enum):
            FAST = fast

            def scale(self) -> int:
                return 2

        return lambda params: Mode.FAST.scale()

    assert "Mode.FAST" in changed(made(1), made(2))
    assert "Mode.scale()" in fingerprint(made(1))


@pytest.mark.parametrize("kind", [collections.OrderedDict, types.SimpleNamespace, argparse.Namespace])
def test_settings_of_all_kinds_are_told_part_by_part(kind: Any) -> None:
    def using(value: Any) -> Any:
        return lambda params: str(value)

    written = "['a']" if kind is collections.OrderedDict else ".a"
    assert changed(using(kind(a=1, b=2)), using(kind(a=2, b=2))) == [f"value{written} in <lambda>"]


def test_of_things_that_share_a_name_all_count_in_whichever_order() -> None:
    def made(number: int) -> Any:
        return lambda params: number

    assert fingerprint({"a": made(1), "b": made(2)}) == {
        **fingerprint({"a": made(2), "b": made(1)}),
    }
    assert changed({"a": made(1), "b": made(2)}, {"a": made(1), "b": made(3)}) == ["number in <lambda>"]


def test_code_is_of_a_version_of_python_and_values_of_any() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = fingerprint(script()["train"])
    assert {name: digest.partition("-")[0] for name, digest in found.items()} == {
        name: f"{version}c" if name.endswith("()") else "c" for name in found
    }
    assert comparable("3.11c-1", "3.11c-2")
    assert not comparable("3.11c-1", "3.12c-1")


def test_what_sets_a_property_counts() -> None:
    def made(factor: float) -> Any:
        class Held:
            @property
            def rate(self) -> float:
                return 1.0

            @rate.setter
            def rate(self, value: float) -> None:
                self.__dict__["rate"] = value * factor

        return Held

    assert changed(made(1.0), made(2.0)) == ["factor in Held.rate"]
