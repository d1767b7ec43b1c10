"""The report: one file that needs nothing else, says what the record says, and can be run again."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lighter import draw_no_figures
from recorded import SPACE, entries
from test_cli import CONFIG, call
from written import PBT

from deap_hpo import MedianPruner, Task, make_trainer, optimize
from deap_hpo.analysis.importance import importances
from deap_hpo.configuration.config import load_config, make_config
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction, Evaluation
from deap_hpo.plotting.impact import plot_partial_dependence
from deap_hpo.recorded import Recorded, load_study
from deap_hpo.records.entries import Entry
from deap_hpo.reports.comparison_files import comparison_page
from deap_hpo.reports.figures import study_figures
from deap_hpo.reports.html import page, write_report
from deap_hpo.search_space.space import Categorical, Float, Int, Space

pytestmark = pytest.mark.usefixtures("small_forests")
VOID = {"meta", "img", "br"}


class Checker(HTMLParser):
    """Collects references, and asserts that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.alternatives: list[str | None] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.references += [value for key, value in attrs if key in ("src", "href") and value]
        if tag == "img":
            self.alternatives.append(found.get("alt"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small runs, one of them large enough for importances."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.toml").write_text(CONFIG)
    common = ["--storage", str(folder / "studies.db"), "--json"]
    random = ["--name", "wide", "--set", "evolution.algorithm=random", "--set", "evolution.generations=5"]
    with pytest.MonkeyPatch.context() as patch:
        draw_no_figures(patch)
        assert call("run", str(folder / "small.toml"), *common).exit_code == 0
        assert call("run", str(folder / "small.toml"), *random, *common).exit_code == 0
    return folder


def test_the_file_needs_nothing_else_and_says_what_the_record_says(studies: Path) -> None:
    storage = str(studies / "studies.db")
    ended = call("report", "wide", "small", "--storage", storage)
    assert ended.exit_code == 0, ended.output
    assert not (studies / "wide" / "report.html").exists(), "it would be that of all, in the place of its own"
    text = (studies / "report.html").read_text()
    checked = Checker(text)
    assert all(reference.startswith("data:") for reference in checked.references)
    assert len(checked.alternatives) == 1 + 5 + 3  # both; wide: history, curves, slice, importance, dependence; small
    assert all(checked.alternatives)
    recorded = load_study("small", storage)
    assert f"{recorded.attributes['final']['test_loss']:.4f}" in text
    assert "All 25 evaluations" in text
    assert "All 11 evaluations" in text
    assert page([recorded]) == page([recorded])


def test_the_best_of_all_studies_are_ranked_together() -> None:
    def study(name: str, values: tuple[float, ...], direction: Direction = "maximize") -> Recorded:
        made = tuple(Entry(i, 0, (0.5, 0.2), Evaluation((value,)), seed=1) for i, value in enumerate(values))
        return Recorded(name, (direction,), SPACE, made, {})

    several = [study("a", (0.3, 0.9, *[0.1] * 20)), study("b", (0.8, 0.2)), study("c", ())]
    table = page(several).partition("The best evaluations of all studies")[2].partition("</table>")[0]
    rows = re.findall(r"<tr><td>(\w)</td><td>(\d+)</td><td>([\d.]+)</td>", table)
    assert rows[:4] == [("a", "1", "0.9"), ("b", "0", "0.8"), ("a", "0", "0.3"), ("b", "1", "0.2")]
    assert len(rows) == 10
    assert "of all studies" not in page([*several, study("d", (0.1,), "minimize")])
    assert "of all studies" not in page(several[2:] * 2)


def test_its_configuration_is_that_of_the_run(studies: Path) -> None:
    recorded = load_study("small", str(studies / "studies.db"))
    (encoded,) = re.findall(r'href="data:application/toml;base64,([^"]*)"', page([recorded]))
    (studies / "again.toml").write_bytes(base64.b64decode(encoded))
    assert load_config(str(studies / "again.toml")) == make_config(recorded.attributes["config"])


def test_odd_studies_have_a_report_too(tmp_path: Path) -> None:
    empty = Recorded("empty", ("minimize",), SPACE, (), {})
    diverged = Recorded("<b>diverged", ("minimize",), SPACE, entries()[:1], {"seed": 1})
    untested = {"test_size": 0, "test_loss": None, "test_metrics": {}}
    bare = Recorded("bare", ("minimize",), None, entries(), {"seed": 1, "final": untested})
    text = write_report([empty, diverged, bare], tmp_path / "deep" / "report.html").read_text()
    Checker(text)
    assert "No evaluation has ended yet" in text
    assert "&lt;b&gt;diverged" in text
    assert "<b>diverged" not in text
    assert "test examples" not in text
    with pytest.raises(InputError, match="at least one study"):
        write_report([], tmp_path / "none.html")


@pytest.mark.usefixtures("no_figures")
def test_networks_that_went_on_with_others_weights_have_their_lineage(tmp_path: Path) -> None:
    (tmp_path / "pbt.toml").write_text(PBT)
    storage = str(tmp_path / "studies.db")
    assert call("run", str(tmp_path / "pbt.toml"), "--storage", storage, "--name", "pbt").exit_code == 0
    checked = Checker(page([load_study("pbt", storage)]))
    assert "What each network was trained with, and whose weights it went on with" in checked.alternatives


def test_its_default_place_is_beside_the_figures_and_a_wrong_name_is_an_error(studies: Path) -> None:
    storage = str(studies / "studies.db")
    printed = json.loads(call("report", "small", "--storage", storage, "--json").output)
    assert Path(printed) == studies / "small" / "report.html"
    assert Path(printed).exists()
    assert call("report", "smal", "--storage", storage).exit_code == 2


@pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium")
def test_a_browser_opens_it_without_a_network(studies: Path) -> None:
    path = write_report([load_study("small", str(studies / "studies.db"))], studies / "opened.html")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{path}"]
    seen = subprocess.run(
        [*command[:3], f"--user-data-dir={studies / 'profile'}", *command[3:]],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert seen.returncode == 0
    assert "How it was made" in seen.stdout
    assert seen.stdout.count("<figure>") == 3


def searched(count: int, space: Space) -> Recorded:
    """A study of `count` random evaluations."""
    genomes = np.random.default_rng(1).random((count, len(space))).tolist()
    entries = [Entry(i, i // 10, tuple(genome), Evaluation((1 + genome[1],)), 0) for i, genome in enumerate(genomes)]
    return Recorded("study", ("minimize",), space, tuple(entries), {})


@pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium")
def test_on_paper_all_evaluations_are_there(tmp_path: Path) -> None:
    text = page([searched(200, Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}))])
    pages = []
    for name, whole in (("folded", text.replace("@media print", "@media speech")), ("printed", text)):
        (tmp_path / f"{name}.html").write_text(whole)
        paper = f"--print-to-pdf={tmp_path / name}.pdf"
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", paper, f"file://{tmp_path / name}.html"]
        subprocess.run(command, capture_output=True, check=True, timeout=100)
        pages.append(len(re.findall(rb"/Type\s*/Page\b", (tmp_path / f"{name}.pdf").read_bytes())))
    assert pages[1] >= pages[0] + 2, "200 rows do not go on one"


def test_a_study_with_conditions_has_all_figures() -> None:
    hyperparameters = {"optimizer": Categorical(["sgd", "adam"]), "momentum": Float(0.0, 0.9), "width": Int(8, 512)}
    space = Space(hyperparameters, when={"momentum": {"optimizer": "sgd"}, "width": {"optimizer": "adam"}})
    text = page([searched(30, space)])
    assert "Importance of each hyperparameter" in text
    assert "Gaussian process" in text
    figures = [base64.b64decode(one).decode() for one in re.findall(r"svg\+xml;base64,([^\"]+)", text)]
    # matplotlib draws texts as outlines, and repeats each in a comment.
    assert sum("<!-- value -->" in figure for figure in figures) == 3
    assert not any("<!-- validation loss -->" in figure for figure in figures)


def test_of_a_long_study_the_models_see_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deap_hpo.analysis.evidence._MOST", 25)
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    assert "25 evaluations drawn at random" not in page([searched(25, space)])
    assert page([searched(26, space)]).count("by 25 evaluations drawn at random") == 4  # two captions and their alt


def test_what_matters_to_the_best_is_asked_of_the_highest_where_those_are_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def spied(*args: Any, direction: Direction, **kwargs: Any) -> pd.DataFrame:
        asked.append(direction)
        return importances(*args, direction=direction, **kwargs)

    monkeypatch.setattr("deap_hpo.analysis.evidence.importances", spied)
    study = searched(25, Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}))
    page([study, replace(study, directions=("maximize",))])
    assert asked == ["minimize", "maximize"]


def test_trainings_of_different_lengths_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    study = searched(60, space)

    def trained(longest: int) -> Recorded:
        entries = tuple(replace(one, epochs=9 if one.number < longest else 1) for one in study.entries)
        return replace(study, entries=entries)

    shown: list[int] = []

    def spied(dependence: Any, trials: pd.DataFrame, *args: Any, **kwargs: Any) -> Any:
        shown.append(len(trials))
        return plot_partial_dependence(dependence, trials, *args, **kwargs)

    monkeypatch.setattr("deap_hpo.plotting.impact.plot_partial_dependence", spied)
    drawn = {count: [one.name for one in study_figures(trained(count))] for count in (19, 20, 60)}
    assert shown == [20, 60], "points of short trainings would lie above the curve"
    assert [one.caption for one in study_figures(trained(20))][2].endswith("hyperparameter, by trainings of 9 epochs")
    assert drawn[19] == ["history", "hyperparameters"]
    assert drawn[20] == drawn[60] == ["history", "hyperparameters", "importances", "partial_dependence"]
    assert [one.name for one in study_figures(study, impact=False)] == ["history", "hyperparameters"]


@pytest.mark.parametrize("kind", ["constant", "few", "same", "pruned"])
def test_where_nothing_can_be_said_of_importances_the_other_figures_are_drawn(kind: str) -> None:
    study = searched(30, Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}))
    entries = []
    for one in study.entries:
        evaluation = Evaluation((1.0 if kind == "constant" else 2.0 + one.number,))
        if kind == "few" and one.number > 5:
            evaluation = Evaluation((math.inf,), "failed")
        if kind == "pruned" and one.number > 7:
            evaluation = Evaluation((2.0 + one.number,), "pruned")
        entries.append(replace(one, evaluation=evaluation, genes=(0.5, 0.5) if kind == "same" else one.genes))
    drawn = [figure.name for figure in study_figures(replace(study, entries=tuple(entries)))]
    assert drawn == ["history", "hyperparameters"]


def test_importances_say_by_how_many_evaluations_and_names_stay_as_they_are() -> None:
    study = searched(30, Space({"weight_decay": Float(0.0, 1.0), "width_0": Float(0.0, 1.0)}))
    drawn = {figure.name: figure.figure for figure in study_figures(study)}
    assert drawn["importances"].get_suptitle() == "Importance of each hyperparameter, by 30 evaluations"
    labels = {label.get_text() for label in drawn["importances"].axes[0].get_yticklabels()}
    assert labels == {axes.get_xlabel() for axes in drawn["partial_dependence"].axes} == {"weight_decay", "width_0"}
    assert '<th scope="col">weight_decay</th>' in page([study])


def test_of_many_hyperparameters_the_most_important_have_panels() -> None:
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(15)})
    recorded = searched(40, space)
    entries = tuple(
        replace(one, evaluation=Evaluation((one.genes[14] + 0.5 * one.genes[7],))) for one in recorded.entries
    )
    study = replace(recorded, entries=entries)
    drawn = {figure.name: figure for figure in study_figures(study)}
    assert drawn["hyperparameters"].caption == "Hyperparameters against the objective: the 12 most important of 15"
    assert drawn["partial_dependence"].caption.endswith("(Gaussian process): the 12 most important of 15")
    for name in ("hyperparameters", "partial_dependence"):
        panels = [axes.get_xlabel() for axes in drawn[name].figure.axes if axes.get_xlabel().startswith("x")]
        assert len(panels) == 12
        assert drawn[name].figure.get_suptitle().endswith(": the 12 most important of 15")
        assert {"x14", "x7"} < set(panels)
        assert panels == [one for one in space if one in panels], "in the order of the space"
    assert len(drawn["importances"].figure.axes[0].get_yticklabels()) == 15
    (_, first) = study_figures(study, impact=False)
    assert first.caption.endswith(": the 12 first of 15")
    assert [axes.get_xlabel() for axes in first.figure.axes][:12] == list(space)[:12]


def test_a_study_of_a_program_says_with_what_it_was_made(tmp_path: Path) -> None:
    storage = f"{tmp_path}/a.db"
    optimize(
        lambda params: params["x"], {"x": Float(-2.0, 3.0)}, seed=0, storage=storage, population=7, progress=False,
        max_evaluations=9,
    )  # fmt: skip
    text = page([load_study("study", storage)])
    (shown,) = re.findall(r"<pre>(.*?)</pre>", text, re.S)
    about = dict(line.split(" = ", 1) for line in unescape(shown).splitlines())
    assert about["seed"] == "0"
    assert about["settings.evolution.population"] == "7"
    assert about["settings.evolution.arguments"] == "{}"
    assert json.loads(about["space.x"]) == {"type": "float", "low": -2.0, "high": 3.0, "log": False}


def test_a_study_of_a_program_names_its_pruner_and_says_that_its_budget_is_not_on_record(tmp_path: Path) -> None:
    def reporting(params: dict[str, float], report: Any) -> float:
        report(1, params["x"])
        return params["x"]

    storage = f"{tmp_path}/a.db"
    for name, pruner in (("with", MedianPruner(startup=3)), ("without", None)):
        optimize(
            reporting, {"x": Float(0.0, 1.0)}, name=name, storage=storage, pruner=pruner, max_evaluations=4, seed=1,
        )  # fmt: skip
        text = unescape(page([load_study(name, storage)]))
        said = json.dumps(repr(pruner)) if pruner else "null"
        assert f"\npruner = {said}\n" in text
        assert "Budget and executor are not on record, because a resumed run may have others." in text


def test_a_study_of_trainings_says_how_networks_were_trained(tmp_path: Path, digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=2, device="cpu", keep_best=True)
    storage = tmp_path / "a.db"
    optimize(trainer, {"lr": Float(0.1, 1.0)}, storage=storage, population=2, generations=1, progress=False)
    (shown,) = re.findall(r"<pre>(.*?)</pre>", page([load_study("study", storage)]), re.S)
    about = dict(line.split(" = ", 1) for line in unescape(shown).splitlines())
    expected = {
        "evaluator.epochs": "2",
        "evaluator.keep_best": "true",
        "evaluator.recipe.batch_size": "64",
        "evaluator.data.training_size": "300",
        "parts.loss": '"cross_entropy"',
    }
    assert {name: about[name] for name in expected} == expected


def test_the_overview_counts_what_failed() -> None:
    study = searched(12, Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}))
    failed = replace(study.entries[3], evaluation=Evaluation((math.inf,), "failed", error="ValueError: no"))
    broken = replace(study, name="broken", entries=(*study.entries[:3], failed, *study.entries[4:]))
    overview = page([study, broken]).partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", overview, re.S)
    (head, *cells) = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    assert [row[head.index("failed")] for row in cells] == ["0", "1"]


def test_a_comparison_is_a_page_with_its_outcomes_tests_pairs_and_runs() -> None:
    tracked = Path(__file__).parents[2] / "figures" / "data" / "comparison_rivals.json"
    result = json.loads(tracked.read_text())
    text = comparison_page(result, "a < b")
    assert text == comparison_page(result, "a < b")
    checker = Checker(text)
    assert all(reference.startswith("data:") for reference in checker.references), "it opens offline"
    assert None not in checker.alternatives
    assert "[0.5659,\N{NO-BREAK SPACE}0.5816]" in unescape(text), "an interval is not broken into lines"
    shown = unescape(text).replace("\N{NO-BREAK SPACE}", " ")
    assert "Comparison a < b" in shown
    assert "Comparison a < b" not in text
    for outcome in result["outcomes"].values():
        for row in outcome["summary"]:
            assert row["mean"] is None or f"{row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]" in shown
        for sentence in outcome["verdict"]:
            assert f"<li>{sentence}</li>" in shown
        for pair in outcome["pairs"]:
            assert f"<td>{pair['p']:.2g}</td><td>{pair['p_holm']:.2g}</td><td>{pair['effect']:+.2f}</td>" in shown
    assert f"All {len(result['runs'])} runs" in shown
    assert shown.count("<figure>") == 3
    assert result["command"] in shown
