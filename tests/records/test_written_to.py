"""What functions write into is told apart from what they go by."""

from __future__ import annotations

from typing import Any

import pytest

from deap_hpo.records.written_to import ANYTHING, stored, written_to

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


def test_names_that_are_given_new_values() -> None:
    names: dict[str, Any] = {}
    exec("def f():\n    global calls\n    calls = 1\nclass A:\n    def g(self): self.n = 1", names)
    assert stored(names["f"], "STORE_GLOBAL") == {"calls"}
    assert stored(names["A"].g, "STORE_ATTR") == {"n"}
    assert stored(len, "STORE_GLOBAL") == written_to(len) == frozenset()
