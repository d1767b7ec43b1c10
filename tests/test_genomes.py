"""Individuals of all kinds are recorded losslessly, and refused if they cannot be."""

from __future__ import annotations

import array
import math
import re
import subprocess
import sys
import warnings
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deap_hpo import Float, Individual, InputError, ProcessExecutor, Study, load_study
from deap_hpo.errors import FailureNotice
from deap_hpo.genomes import genes_of

KINDS: list[tuple[Any, Any]] = [
    ([1, 0.5, True], (1.0, 0.5, 1.0)),
    (array.array("b", [1, 2]), (1.0, 2.0)),
    (np.array([0.1, 2.0]), (0.1, 2.0)),
    (np.array([[1, 2], [3, 4]]), ((1.0, 2.0), (3.0, 4.0))),
    (torch.ones(2, 2), ((1.0, 1.0), (1.0, 1.0))),
    ("HELLO", ("H", "E", "L", "L", "O")),
    (["3", 3], ("3", 3.0)),  # a digit is no number
    (np.array(["a", "b"]), ("a", "b")),
    ([[(0, 1)], [(2, 3), (1, 2)], []], (((0.0, 1.0),), ((2.0, 3.0), (1.0, 2.0)), ())),
    ({3, 1, 2}, (1.0, 2.0, 3.0)),
    (frozenset(["b", "a", 7]), (7.0, "a", "b")),
    ({(1, 2), "a", 5}, (5.0, "a", (1.0, 2.0))),
    (Counter(b=1, a=2), (("a", 2.0), ("b", 1.0))),
    ({"hidden": [8, 16]}, (("hidden", (8.0, 16.0)),)),
    ({1: "b", "a": None}, (("a", None), (1.0, "b"))),
    ([None, math.nan, -math.inf], (None, math.nan, -math.inf)),
    ([2**53, 2**53 + 1, 10**400, Fraction(1, 3), Decimal("0.5")], (2.0**53, f"{2**53 + 1}", f"{10**400}", "1/3", 0.5)),
    (np.array([0.1], dtype="float32"), (float(np.float32(0.1)),)),
]


@pytest.mark.parametrize(("individual", "genes"), KINDS, ids=range(len(KINDS)))
def test_an_individual_is_recorded_losslessly(individual: Any, genes: tuple[Any, ...], tmp_path: Path) -> None:
    assert repr(genes_of(individual)) == repr(genes)  # as text, NaN equals NaN
    with Study(storage=tmp_path / "a.db", seed=1) as study:
        assert study.map(len, [individual]) == [(len(individual),)]
    loaded = load_study("study", tmp_path / "a.db")
    assert repr(loaded.entries[0].genes) == repr(genes)
    assert list(loaded.trials_dataframe()["value"]) == [len(individual)]
    texts = [str(gene) if isinstance(gene, tuple) else gene for gene in genes]
    assert repr(loaded.best_params) == repr({f"gene_{i}": gene for i, gene in enumerate(texts)})


@pytest.mark.parametrize(
    ("one", "equal"), [({1, 2}, {2, 1}), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([[1], [2]], ((1.0,), (2.0,)))]
)
def test_equal_individuals_are_evaluated_once(one: Any, equal: Any) -> None:
    with Study(seed=1) as study:
        study.map(len, [one, equal])
    assert study.entries[1].duplicate_of == 0


@pytest.mark.parametrize(
    "pair", [(2**53, 2**53 + 1), (Fraction(1, 3), 1 / 3), (b"1", 1), ("1", 1), (None, math.nan), (1 + 0j, 1)]
)
def test_what_a_float_would_make_equal_is_told_apart(pair: tuple[Any, Any]) -> None:
    try:
        first, second = (genes_of([one]) for one in pair)
    except InputError:
        return
    assert repr(first) != repr(second)


def test_mappings_with_other_values_are_not_taken_for_equal() -> None:
    """Their keys alone would be."""
    with Study(seed=1) as study:
        assert study.map(lambda one: sum(one.values()), [{1: 2.0}, {1: 5.0}]) == [(2.0,), (5.0,)]


@pytest.mark.parametrize("individual", [["a", "1"], [["1", "2"]], [{"a": 1}, 2]])
def test_a_replay_compares_all_of_a_genome(individual: Any, tmp_path: Path) -> None:
    with Study(storage=tmp_path / "a.db", seed=1) as study:
        study.map(len, [individual])
    with Study(storage=tmp_path / "a.db", seed=1, resume=True) as study:
        assert study.map(lambda one: 1 / 0, [individual]) == [(len(individual),)]
    with (
        Study(storage=tmp_path / "a.db", seed=1, resume=True) as study,
        pytest.raises(InputError, match="has the genes"),
    ):
        study.map(len, [[*individual[:-1], 3]])


def test_sets_of_texts_are_resumed_where_texts_have_other_hashes(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom deap_hpo import Study\n"
        f"with Study(storage={str(tmp_path / 'a.db')!r}, seed=1, resume=True) as study:\n"
        "    study.map(lambda one: 1.0, [set('abcdefgh')])\n"
        "print(list(set('abcdefgh')))"
    )
    orders = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(orders) == 2, "the sets have different orders, or this test shows nothing"


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize(
    "individual",
    [[1j], [np.complex64(1)], np.array([1j]), np.array(1.0), [b"1"], 7, [print], _endless(), {1: object()}],
)
def test_what_a_record_cannot_hold_is_refused_before_anything_is_evaluated(individual: Any) -> None:
    with (
        Study(seed=1) as study,
        pytest.raises(InputError, match=r"sequences of numbers, texts, trees, or sequences of them.*; got "),
    ):
        study.map(lambda one: 1.0, [[0.5], individual])
    assert len(study.record) == 0


@pytest.mark.parametrize("genes", [["a", 1.0], [[1.0], 2.0], "ab"])
def test_with_a_space_genes_are_numbers(genes: Any) -> None:
    with (
        Study({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}, seed=1) as study,
        pytest.raises(InputError, match=r"numbers, one for each hyperparameter.*; got " + re.escape(repr(genes))),
    ):
        study.map(lambda params: 1.0, [[0.5, 0.5], genes])
    assert len(study.record) == 0


def test_an_evaluation_that_changes_an_inner_sequence_is_noticed() -> None:
    with Study(seed=1) as study, pytest.raises(InputError, match=r"evaluation 0 has changed the genes .* Make code"):
        study.map(lambda one: float(one[0].append(9) or 1.0), [[[1, 2]]])


class Marked(list[Any]):
    """An individual that takes attributes, as DEAP's do."""


def repair(one: Any) -> float:
    one[:] = [max(gene, 0.0) for gene in one]
    return float(sum(one))


@pytest.mark.parametrize("executor", ["None", "ProcessExecutor(1)"])
def test_an_attribute_that_an_evaluation_sets_is_warned_of(executor: str) -> None:
    """It would be there after an evaluation in this process only."""
    program = f"""
from deap_hpo import Individual, ProcessExecutor, Study

def set_attribute(one):
    one.behaviour = one[0] > 0.5
    return one[0]

with Study(seed=1, executor={executor}) as study:
    print(study.map(set_attribute, [Individual([0.75])]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[(0.75,)]\n"
    assert "evaluate sets attributes of individuals (behaviour), which are not recorded" in done.stderr


def test_a_worker_that_changes_its_copy_of_an_individual_is_noticed() -> None:
    with (
        Study(seed=1, executor=ProcessExecutor(1)) as study,
        pytest.warns(FailureNotice, match=r"evaluation 0 has changed the genes \(-5.0, 1.0\) to \(0.0, 1.0\)"),
    ):
        assert study.map(repair, [[-5.0, 1.0], [2.0, 1.0]]) == [(math.inf,), (3.0,)]


def test_what_the_study_and_the_algorithm_set_is_not_warned_of() -> None:
    individual = Individual([0.5])
    with warnings.catch_warnings(), Study(seed=1) as study:
        warnings.simplefilter("error")
        for _ in range(2):
            individual.fitness.values = study.map(sum, [individual])[0]
            individual[0] += 0.25
    assert [entry.parents for entry in study.entries] == [(), (0,)]


def test_attributes_that_are_none_are_no_lineage() -> None:
    individual = Marked([0.5])
    individual.origin = individual.operators = None  # type: ignore[attr-defined]
    with Study(seed=1) as study:
        study.map(sum, [individual])
    assert (study.best.parents, study.best.operators) == ((), ())


def test_a_replay_with_another_long_genome_says_where_it_differs(tmp_path: Path) -> None:
    with Study(storage=tmp_path / "a.db", seed=1) as study:
        study.map(sum, [[0] * 100])
    with (
        Study(storage=tmp_path / "a.db", seed=1, resume=True) as study,
        pytest.raises(
            InputError, match=r"evaluation 0 on record has the gene_99 = 0\.0, this run has gene_99 = 1\.0\. Make"
        ),
    ):
        study.map(sum, [[0] * 99 + [1]])
