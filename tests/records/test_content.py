"""A value has the same digest in another process, and a different one if anything in it differs."""

from __future__ import annotations

import argparse
import collections
import io
import logging
import re
import threading
import types
from array import array as numbers
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from deap_hpo.records import content
from deap_hpo.records.content import content_digest
from deap_hpo.records.fingerprint import fingerprint


def test_of_arrays_without_numbers_at_hand_there_is_an_end() -> None:
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    for array in (nested, np.array([object()]), torch.ones(2, device="meta"), torch.eye(2).to_sparse(), np.zeros(0)):
        assert fingerprint(partial(max, array)) == fingerprint(partial(max, array))


def test_of_very_large_arrays_both_ends_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_LOOKED_AT", 8)
    digests = []
    for changed in (None, 0, 50, 99):
        array = np.zeros(100, np.uint8)
        if changed is not None:
            array[changed] = 1
        digests.append(content_digest(array))
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3


def test_of_very_long_containers_the_beginning_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_MOST_ITEMS", 4)  # the list itself counts as one
    lists = ([(1,), (2,), (3,), (4,)], [(1,), (2,), (3,), (5,)], [(0,), (2,), (3,), (4,)], [(1,), (2,), (3,)])
    digests = [content_digest(values) for values in lists]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


class Mode(Enum):
    FAST = 1
    SLOW = 2


@dataclass
class Slots:
    __slots__ = ("a",)
    a: int


class Plain:
    def __init__(self, a: Any) -> None:
        self.a = a


class Loud(str):
    def __repr__(self) -> str:
        return object.__repr__(self)


def looped(value: int) -> Any:
    one: dict[str, Any] = {"value": value}
    one["one"] = one
    return one


def ring(value: int) -> Any:
    one, other = Plain(value), Plain(None)
    one.b, other.a = other, one  # type: ignore[attr-defined]
    return one


@pytest.mark.parametrize(
    "made",
    [
        lambda value: value,
        str,
        lambda value: str(value).encode(),
        lambda value: bytearray(str(value).encode()),
        lambda value: [value, None],
        lambda value: {"a": {"b": (1, [value])}},
        lambda value: {("a", 1): value},
        lambda value: {("a", value): 1},
        lambda value: {(1, 2), (3, value)},
        lambda value: frozenset({value, "a", "b", "c"}),
        lambda value: {Mode(value): 1},
        Mode,
        Slots,
        Plain,
        lambda value: [Plain([value])],
        Loud,
        looped,
        ring,
        lambda value: partial(max, value),
        lambda value: partial(max, key=value),
        lambda value: types.SimpleNamespace(a=value),
        lambda value: argparse.Namespace(a=value),
        lambda value: types.MappingProxyType({"a": value}),
        lambda value: collections.deque([value]),
        lambda value: collections.OrderedDict(a=value),
        lambda value: collections.Counter({"a": value}),
        range,
        lambda value: Path(str(value)),
        lambda value: date(2020, 1, value),
        lambda value: [Fraction(value, 3), Decimal(value)],
        lambda value: np.float32(value),
        lambda value: {"lr": np.float64(value)},
        lambda value: np.array([value, None], dtype=object),
        lambda value: np.array(["2020-01-01"], dtype=f"datetime64[{'DM'[value - 1]}]"),
        lambda value: torch.ones(value, device="meta"),
        lambda value: [torch.float32, torch.float64][value - 1],
        lambda value: pd.DataFrame({"a": [1, value]}),
        lambda value: pd.DataFrame({"ab"[value - 1]: [1, 2]}),
        lambda value: pd.DataFrame({"a": [1, 2]}, dtype=[int, float][value - 1]),
        lambda value: pd.DataFrame({"a": [[1], [value]], "b": [1, 2]}),
        lambda value: pd.DataFrame({"a": ["x", "y"]}, index=[1, 1 + value]),
        lambda value: pd.DataFrame([[1, value]], columns=["a", "a"]),
        lambda value: pd.Series(["x"] * value),
        lambda value: pd.Series([1, 2], name="ab"[value - 1]),
        lambda value: pd.Index([1, value]),
        lambda value: np.ma.array([1, 2], mask=[0, value - 1]),
        lambda value: re.compile("ab"[value - 1]),
        lambda value: numbers("i", [value]),
        lambda value: Ridge(alpha=value),
        lambda value: {"a": make_pipeline(Ridge(alpha=value))},
        lambda value: KFold(1 + value),
        lambda value: TensorDataset(torch.ones(3) * value),
        lambda value: [DataLoader(TensorDataset(torch.ones(3)), batch_size=value)],
        lambda value: [Subset(TensorDataset(torch.ones(3)), [value])],
        lambda value: nn.CrossEntropyLoss(weight=torch.ones(3) * value),
    ],
)
def test_any_other_part_gives_another_digest(made: Any) -> None:
    two, again, three = (content_digest(made(value)) for value in (2, 2, 1))
    assert two == again != three


@pytest.mark.parametrize(
    "made", [threading.Lock, io.StringIO, object, lambda: (i for i in "ab"), np.random.default_rng]
)
def test_of_what_has_no_content_the_type_counts(made: Any) -> None:
    assert content_digest(made()) == content_digest(made()) != content_digest(1)
    assert content_digest([made()]) == content_digest([made()]) != content_digest([1])


def test_what_libraries_keep_of_their_own_is_not_looked_at() -> None:
    logger = logging.getLogger("one")
    before = content_digest(logger)
    logging.getLogger("another").setLevel(logging.DEBUG)
    assert content_digest(logger) == before
    assert content_digest([io.BytesIO(b"a")]) == content_digest([io.BytesIO(b"b")])


def test_sets_of_more_than_is_looked_at_are_the_same_in_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_MOST_ITEMS", 10)
    words = {f"word{i}" for i in range(100)}
    assert content_digest(words) == content_digest(set(sorted(words))) != content_digest(words | {"other"})
    pairs = {(i, i) for i in range(100)}
    assert content_digest(pairs) == content_digest({(i, i) for i in range(1, 101)}) != content_digest({(1, 1)})


def test_containers_hundreds_deep_have_an_end() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert content_digest(deep) == content_digest([deep])


def test_functions_and_classes_within_are_told_of() -> None:
    told: list[Any] = []
    content_digest({"a": [looped, Plain(Slots)]}, told.append)
    assert told == [looped, Plain, Slots]
