"""Studies without a space show genomes of any length in a few words, and keep all of them in tables and records."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_cli import call

from deap_hpo import Study, load_study
from deap_hpo.analysis.shown import shown_params, shown_trials
from deap_hpo.evaluation import Evaluation
from deap_hpo.recorded import Recorded
from deap_hpo.records.entries import Entry
from deap_hpo.reports.html import page
from deap_hpo.reports.study import describe, print_study
from deap_hpo.trackers import MLflowCallback, TensorBoardCallback

BITS = [[float(i % 3 == 0)] * 100 for i in range(6)]
TREE = "add(mul(x, x), sub(x, 0.5)), " * 300
TREES = [[TREE], [TREE + "sub(x, x)"]]
TUPLES = [[(0.0, 0.123456789), (1.0, math.pi)], [(2.0, 0.5), (3.0, 0.25)]]
OF_BITS = "0, 0, 0, 0, 0, 0, 0, 0, 0, 0, … (100 genes)"


def made(individuals: list[Any], **settings: Any) -> Study:
    objectives = len(settings.get("directions", ["minimize"]))
    with Study(seed=1, **settings) as study:
        study.map(lambda one: (float(len(str(one))),) * objectives, individuals)
    return study


def on_record(study: Study) -> Recorded:
    return Recorded(study.name, study.directions, None, study.entries, study.attributes)


def displays(study: Study) -> list[str]:
    """The study as `show` prints it on terminals of two widths, as a report, and in a notebook."""
    recorded, printed = on_record(study), []
    for width in (60, 500):
        console = Console(file=io.StringIO(), width=width, soft_wrap=True)
        print_study(recorded, console, 5)
        printed.append(console.file.getvalue())  # type: ignore[attr-defined]
    return [*printed, page([recorded]), page([recorded, recorded]), study._repr_html_()]


def genes_of(individual: Any) -> dict[str, Any]:
    entry = Entry(0, 0, tuple(individual), Evaluation((1.0,)), seed=0)
    (shown,) = shown_params([entry], None)
    return shown


@pytest.mark.parametrize("directions", [["minimize"], ["minimize", "maximize"]])
def test_many_genes_are_one_column(directions: list[str]) -> None:
    study = made(BITS, directions=directions)
    for text in displays(study):
        assert OF_BITS in text
        assert "gene_" not in text
        assert "datetime" not in text
    table = study.trials_dataframe()
    assert [name for name in table if name.startswith("gene_")] == [f"gene_{i}" for i in range(100)]
    assert len(describe(on_record(study))["best"]["params"]) == 100


@pytest.mark.parametrize("directions", [["minimize"], ["minimize", "maximize"]])
def test_a_long_text_is_cut(directions: list[str]) -> None:
    study = made(TREES, directions=directions)
    for text in displays(study):
        assert TREE[:250] not in text.replace("\n", " ")
        assert TREE[:60] in text.replace("\n", " ")
        assert f"… ({len(TREE)} characters)" in text.replace("\n", " ")
    assert study.trials_dataframe()["gene_0"].tolist() == [TREE, TREES[1][0]]
    assert describe(on_record(study))["best"]["params"] == study.best_params == {"gene_0": TREE}


def test_show_is_short_and_its_json_is_whole(tmp_path: Path) -> None:
    storage = str(tmp_path / "s.db")
    made(TREES, name="trees", storage=storage)
    assert len(call("show", "trees", "--storage", storage).stdout) < 1000
    assert json.loads(call("show", "trees", "--storage", storage, "--json").stdout)["best"]["params"]["gene_0"] == TREE
    assert load_study("trees", storage).best.genes == (TREE,)


def test_what_is_short_is_shown_as_it_is() -> None:
    assert genes_of([0.123456789, "x" * 200]) == {"gene_0": 0.123456789, "gene_1": "x" * 200}
    assert genes_of([1.0] * 10) == {f"gene_{i}": 1.0 for i in range(10)}
    assert genes_of(TUPLES[0]) == {"gene_0": "(0, 0.1235)", "gene_1": "(1, 3.142)"}
    assert genes_of([]) == {}


def test_what_is_long_has_its_size() -> None:
    assert genes_of([(1.0,) * 1000])["gene_0"] == f"({'1, ' * 66}1… (1000 elements)"
    assert genes_of(["x" * 201])["gene_0"] == "x" * 200 + "… (201 characters)"
    assert genes_of(["x" * 300] * 11)["genes"] == "x" * 200 + "… (11 genes)"
    assert genes_of("HELLO, WORLD") == {"genes": "H, E, L, L, O, ,,  , W, O, R, … (12 genes)"}


def test_genomes_of_several_lengths_share_a_column() -> None:
    study = made([[], [1.0, math.nan], [0.5] * 11])
    shown = shown_trials(study.trials_dataframe(), study.entries)
    assert shown["genes"].tolist() == ["", "1, -", f"{'0.5, ' * 10}… (11 genes)"]
    assert [name for name in shown if name.startswith("gene")] == ["generation", "genes"]


def test_columns_stay_where_they_were() -> None:
    with Study(seed=1) as study:
        study.map(lambda one: Evaluation((1.0,), metrics={"size": 2.0}), [[0.5, 0.25]])
    trials = study.trials_dataframe()
    assert shown_trials(trials, study.entries).equals(trials)


def test_trackers_take_genomes_of_any_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    trackers = [MLflowCallback("mine", uri), TensorBoardCallback(tmp_path / "tb")]
    made([BITS[1], [TREE]], name="long", callbacks=trackers)
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    params = {run.info.run_name: run.data.params for run in runs}
    assert params["long-00000"] == {"genes": OF_BITS}
    assert params["long-00001"] == {"gene_0": f"{TREE[:200]}… ({len(TREE)} characters)"}
    assert len(list((tmp_path / "tb" / "long").iterdir())) == 2
