"""Ranges that were too narrow: a sentence names the ends at which the best evaluations are, and no others."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from deap_hpo.analysis.edges import crowded_ends, edge_sentence
from deap_hpo.evaluation import Evaluation
from deap_hpo.recorded import Recorded
from deap_hpo.records.entries import Entry
from deap_hpo.reports.html import page
from deap_hpo.reports.study import describe, print_study
from deap_hpo.search_space.space import Categorical, Float, Int, Space


def study(hyperparameter: Any, best: list[float], others: int = 9, directions: Any = ("minimize",)) -> Recorded:
    """A study whose best genes are given, the best first, beside `others` in the middle."""
    genes = [*best, *(0.5 + i / 1000 for i in range(others))]
    values = [float(i) if directions[0] == "minimize" else -float(i) for i in range(len(genes))]
    entries = [
        Entry(i, 0, (gene,), Evaluation((value,) * len(directions)), seed=0)
        for i, (gene, value) in enumerate(zip(genes, values, strict=True))
    ]
    return Recorded("study", directions, Space({"x": hyperparameter}), tuple(entries), {"seed": 0})


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(
    ("hyperparameter", "best", "end"),
    [
        (Float(1.0, 2.0), [0.0, 0.02, 0.05], "lower"),
        (Float(1.0, 2.0), [1.0, 0.97, 0.99], "upper"),
        (Float(1e-4, 1.0, log=True), [1.0, 0.97, 0.99], "upper"),
        (Int(1, 10), [0.01, 0.04, 0.09], "lower"),  # 1, three times
        (Int(1, 10), [0.01, 0.04, 0.15], None),  # one of them 2
        (Int(1, 256, log=True), [0.01, 0.09, 0.15], "lower"),  # 1, three times
        (Int(1, 256, log=True), [0.01, 0.09, 0.2], None),  # one of them 2
        (Int(1, 7), [0.01, 0.02, 0.03], None),  # too few values for it to mean anything
        (Categorical(list(range(9))), [0.01, 0.02, 0.03], None),
        (Float(0.0, 0.9), [0.0, 0.01, 0.02], None),  # 0 mostly cannot be lowered
        (Float(0.0, 0.9), [1.0, 0.99, 0.98], "upper"),
        (Float(1.0, 2.0), [0.0, 1.0, 0.0], None),
        (Float(1.0, 2.0), [0.0, 0.02, 0.06], None),
    ],
)
def test_the_three_best_at_one_end_tell_of_it(hyperparameter: Any, best: list[float], end: Any, direction: Any) -> None:
    told = crowded_ends(study(hyperparameter, best, directions=(direction,)))
    assert told == ({} if end is None else {"x": end})


def test_few_evaluations_and_several_objectives_tell_nothing() -> None:
    best = [1.0, 0.99, 0.98]
    assert crowded_ends(study(Float(1.0, 2.0), best, others=7))
    assert not crowded_ends(study(Float(1.0, 2.0), best, others=6))
    assert not crowded_ends(study(Float(1.0, 2.0), best, directions=("minimize", "minimize")))
    assert not crowded_ends(Recorded("empty", ("minimize",), Space({"x": Float(0, 1)}), (), {}))


def test_where_all_are_equal_nothing_is_told_and_an_evaluation_may_be_missing() -> None:
    narrow = study(Float(1.0, 2.0), [1.0, 0.99, 0.98])
    flat = tuple(replace(one, evaluation=Evaluation((1.0,))) for one in narrow.entries)
    assert not crowded_ends(replace(narrow, entries=flat))
    # Numbers may be missing: an interrupted worker may have had a lower number than the finished evaluations.
    renumbered = tuple(replace(one, number=one.number + 100) for one in narrow.entries)
    assert crowded_ends(replace(narrow, entries=renumbered)) == {"x": "upper"}


def test_what_is_not_in_use_among_the_best_is_left_out() -> None:
    space = Space({"kind": Categorical(["a", "b"]), "x": Float(1.0, 2.0)}, when={"x": {"kind": "b"}})
    for kind, told in ((0.25, {}), (0.75, {"x": "upper"})):
        genomes = [(kind, 1.0), (0.75, 1.0), (0.75, 1.0), *((0.75, i / 10) for i in range(9))]
        entries = [Entry(i, 0, genome, Evaluation((float(i),)), seed=0) for i, genome in enumerate(genomes)]
        assert crowded_ends(Recorded("study", ("minimize",), space, tuple(entries), {})) == told


def test_it_is_said_wherever_the_best_are_shown() -> None:
    narrow = study(Float(0.001, 0.1), [1.0, 0.99, 0.98])
    sentence = "The best evaluations are at the upper end of x (0.001 to 0.1): a wider range may do better."
    assert edge_sentence(narrow) == sentence
    shown = Console(file=io.StringIO(), width=200)
    print_study(narrow, shown, top=3)
    assert sentence in shown.file.getvalue()  # type: ignore[attr-defined]
    assert sentence in page([narrow])
    assert describe(narrow)["crowded_ends"] == {"x": "upper"}
    assert edge_sentence(study(Float(0.001, 0.1), [0.5, 0.4, 0.3])) == ""
