"""What functions write into is told apart from what they go by."""

from __future__ import annotations

from typing import Any

import pytest

from deap_hpo.records.written_to import ANYTHING, read_globals, read_keys, stored, written_to

READING = """
def items(x): return config["a"] + config["b"][0]
def local(x):
    found = []
    found.append(config["a"])
    named = {}
    named["x"] = found
    named[x] = 1
    return named
def method(x): return config.get("a")
def comprehension(x): return [one for one in config["b"]]
def local_array(x):
    x.add_(1)
    x[0] = 2
def of_a_call(x): make(config).append(x)
class Plain:
    def __init__(self): self.items = []; self.items.append(1); self.items[0] = 2
"""
WRITING = """
def by_key(x): config["a"] = x
def by_index(x): config[x] = 1
def by_slice(x): config[:2] = x
def by_append(x): config.append(x)
def by_attribute(x): config.items.append(x)
def in_place(x): config.add_(1)
def adding(x): config[0] += 1
def nested(x): config["a"].append(x)
def inside(x):
    def inner(y): config["a"] = y
    return inner
def lambdas(x): return lambda y: config.setdefault(y, x)
def by_a_long_key(x): config[x.name, 1] = x
class Counter:
    def by_self(self, x): self.items.append(x)
    def by_item(self, x): self.items[0] = x
"""


def functions(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(source, names)
    made = {name: one for name, one in names.items() if callable(one) and not isinstance(one, type)}
    for kind in [one for one in names.values() if isinstance(one, type)]:
        made |= {name: one for name, one in vars(kind).items() if callable(one)}
    return made


@pytest.mark.parametrize("name", functions(READING))
def test_what_is_only_read_is_not_written_into(name: str) -> None:
    assert written_to(functions(READING)[name]) == frozenset()


@pytest.mark.parametrize("name", functions(WRITING))
def test_what_is_written_into_is_named_or_anything_is(name: str) -> None:
    found = written_to(functions(WRITING)[name])
    assert found
    assert found <= {"config", ANYTHING}


KEYS = """
def one(x): return config["a"] + config["b"]
def nested(x): return [config["a"] for _ in range(x)] + [config["b"] for _ in range(x)]
def none(x): return x.config
def whole(x): return train(config)
def looped(x): return [config[key] for key in x]
def both(x): return config["a"] + sum(config.values())
def inside(x):
    def inner(y): return dict(config)
    return config["a"], inner
"""


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("one", {"a", "b"}),
        ("nested", {"a", "b"}),
        ("none", set()),
        *((n, None) for n in ("whole", "looped", "both", "inside")),
    ],
)
def test_keys_that_are_read_are_named_unless_any_may_be(name: str, keys: set[str] | None) -> None:
    assert read_keys(functions(KEYS)[name], "config") == keys


def test_attributes_are_no_globals() -> None:
    names = functions("def f(x): return x.history[-1] + history2\ndef g(): return [other for _ in history2]")
    assert read_globals(names["f"].__code__) == ["history2"]
    assert set(read_globals(names["g"].__code__)) == {"history2", "other"}


def test_names_that_are_given_new_values() -> None:
    names: dict[str, Any] = {}
    exec("def f():\n    global calls\n    calls = 1\nclass A:\n    def g(self): self.n = 1", names)
    assert stored(names["f"], "STORE_GLOBAL") == {"calls"}
    assert stored(names["A"].g, "STORE_ATTR") == {"n"}
    assert stored(len, "STORE_GLOBAL") == written_to(len) == frozenset()
