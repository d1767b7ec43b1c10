"""Tables of a study: what is counted, what is best so far, what has no value."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import datetime

import pandas as pd
import pytest
from recorded import SPACE, entries
from rich.console import Console

from deap_hpo import optimize
from deap_hpo.analysis.tables import epochs_table, summary, trials_table
from deap_hpo.evaluation import failure
from deap_hpo.recorded import Recorded
from deap_hpo.records.entries import best_entry
from deap_hpo.reports.study import print_study


def test_trials_have_decoded_values_and_the_best_so_far() -> None:
    table = trials_table(entries(), SPACE)
    assert table["number"].tolist() == [0, 1, 2, 3, 4]
    assert math.isnan(table["best"][0])
    assert table["best"].tolist()[1:] == [0.8, 0.5, 0.5, 0.5]
    assert table["params_lr"][1] == pytest.approx(0.001**0.5)
    assert table["params_kind"].tolist() == ["a", "a", "b", "b", "b"]
    assert table["duplicate_of"].tolist() == [pd.NA, pd.NA, pd.NA, 2, pd.NA]
    assert table["metrics_accuracy"].tolist()[2] == 0.7


def test_why_an_evaluation_failed_is_told_where_one_did() -> None:
    made = [one for one in entries() if one.evaluation.status != "failed"]
    assert "reason" not in trials_table(made, SPACE)
    failed = replace(made[1], evaluation=failure('Traceback:\n  File "a.py", line 1\nValueError: too wide'))
    reasons = trials_table([made[0], failed], SPACE)["reason"]
    assert reasons.isna().tolist() == [True, False]
    assert reasons[1] == "ValueError: too wide"


def test_of_trainings_in_parts_it_is_told_after_how_many_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "epochs" not in trials_table(entries(), SPACE)
    parts = [replace(one, epochs=[None, 3, 9, 9, 1][one.number]) for one in entries()]
    assert trials_table(parts, SPACE)["epochs"].tolist() == [pd.NA, 3, 9, 9, 1]
    study = Recorded("parts", ("minimize",), SPACE, tuple(parts), {})
    print_study(study, Console(width=200), top=5)
    head, best, *_ = capsys.readouterr().out.splitlines()[3:]
    assert head.split()[:4] == ["evaluation", "generation", "epochs", "value"]
    assert best.split()[:4] == ["2", "1", "9", "0.5000"]
    print_study(replace(study, entries=(replace(parts[1], epochs=None), parts[2])), Console(width=200), top=5)
    assert re.search(r"^ 1 +0 +9 +0\.8000", capsys.readouterr().out, re.MULTILINE), "a whole training"
    assert "<th>epochs</th>" in study._repr_html_()


def test_the_best_so_far_rises_where_values_are_maximised() -> None:
    assert trials_table(entries(), SPACE, "maximize")["best"].tolist()[1:] == [0.8] * 4
    assert best_entry(entries(), "maximize").number == 1


def test_the_earliest_of_equals_is_the_best() -> None:
    assert best_entry(entries()).number == 2


def test_epochs_of_repeated_evaluations_are_listed_once() -> None:
    table = epochs_table(entries())
    assert table[["number", "epoch", "validation_loss"]].values.tolist() == [[0, 1, 0.8], [2, 1, 0.8], [2, 2, 0.5]]


def test_everything_is_counted() -> None:
    counts = summary(entries())
    expected = {
        "evaluations": 5,
        "trained": 4,
        "cached": 1,
        "diverged": 1,
        "failed": 1,
        "generations": 2,
        "seconds": 5.0,
    }
    assert {key: counts[key] for key in expected} == expected


def test_a_study_without_evaluations_gives_empty_tables() -> None:
    assert trials_table((), SPACE).empty
    assert epochs_table(()).empty


def test_several_objectives_have_a_column_each_and_constraints_one_whether_broken_or_not() -> None:
    two = [replace(one, evaluation=replace(one.evaluation, values=(1.0 + one.number, 2.0))) for one in entries()]
    named = {"evaluator": {"objective": ["loss", "size"], "constraints": ["size <= 9"]}}
    table = Recorded("two", ("minimize", "minimize"), SPACE, tuple(two), named).trials_dataframe()
    assert table["values_loss"].tolist() == table["value"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert set(table["values_size"]) == {2.0}
    assert set(table["violation"]) == {0.0}
    unnamed = Recorded("two", ("minimize", "minimize"), SPACE, tuple(two), {})
    assert unnamed.trials_dataframe()["values_1"].tolist() == [2.0] * 5
    assert "<th>value 2</th>" in unnamed._repr_html_()
    bare = trials_table(two, SPACE)
    assert "violation" not in bare
    assert bare["values_1"].tolist() == table["values_size"].tolist()


def test_times_have_columns_if_they_are_on_record() -> None:
    assert "datetime_start" not in trials_table(entries(), SPACE)
    study = optimize(lambda params: params["lr"], SPACE, algorithm="random", generations=1, seed=1, progress=False)
    table = study.trials_dataframe()
    took = (table["datetime_complete"] - table["datetime_start"]).dt.total_seconds()
    assert took.tolist() == pytest.approx(table["seconds"].tolist(), abs=1e-5)
    assert abs(table["datetime_complete"].iloc[-1] - datetime.now()).total_seconds() < 60
