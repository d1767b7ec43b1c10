"""Figures, tables and sentences say what was measured: of functions, maximised objectives, several, constraints."""

from __future__ import annotations

import base64
import io
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from rich.console import Console
from test_cli import call

from deap_hpo import Float, optimize
from deap_hpo.analysis.names import curves_of, value_name
from deap_hpo.evaluation import Epoch, Evaluation
from deap_hpo.plotting import style
from deap_hpo.recorded import Recorded, load_study
from deap_hpo.records.entries import Entry
from deap_hpo.records.storage import storage_option
from deap_hpo.reports.figures import save_figures
from deap_hpo.reports.html import page
from deap_hpo.reports.study import counts_sentence, describe, print_study, tie_sentence, where_sentence
from deap_hpo.search_space.space import Categorical, Int, Space

SPACE = {"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}


def reporting(params: dict[str, Any], report: Any) -> dict[str, float]:
    """Half of the space, with the best accuracies, is too large."""
    accuracy = 0.5 + 0.3 * params["x"]
    for epoch in (1, 2):
        report(epoch, accuracy * epoch / 2)
    return {"accuracy": accuracy, "size": params["x"]}


def two(params: dict[str, Any]) -> dict[str, float]:
    return {"accuracy": params["x"], "cost": params["x"] + params["y"], "size": params["y"]}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    storage = str(tmp_path_factory.mktemp("runs") / "studies.db")
    common: Any = {"storage": storage, "seed": 1, "population": 10, "generations": 2, "constraints": ["size <= 0.5"]}
    optimize(reporting, SPACE, metric="accuracy", direction="maximize", algorithm="random", name="curves", **common)
    optimize(two, SPACE, metric=["accuracy", "cost"], direction=["maximize", "minimize"], name="two", **common)
    return storage


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures of a study by the names of their files, none of which is written."""
    figures: dict[str, Figure] = {}

    def keep(figure: Figure, path: Path, *, pdf: bool) -> list[Path]:
        figures[path.name] = figure
        return []

    monkeypatch.setattr("deap_hpo.reports.figures.save", keep)
    return figures


def texts_of(html: str) -> list[str]:
    """The texts in the figures of a page; matplotlib draws them as outlines, and repeats each in a comment."""
    figures = [base64.b64decode(one).decode() for one in re.findall(r"svg\+xml;base64,([^\"]+)", html)]
    return [text for figure in figures for text in re.findall("<!-- (.*?) -->", figure)]


def test_a_reported_curve_is_called_what_was_reported(storage: str, drawn: dict[str, Figure]) -> None:
    study = load_study("curves", storage)
    save_figures(study, Path("nowhere"))
    (axes,) = drawn["curves"].axes
    assert (axes.get_title(), axes.get_ylabel(), axes.get_yscale()) == ("Accuracy by epoch", "accuracy", "linear")
    (legend,) = drawn["curves"].legends
    best = max((one for one in study.entries if not one.evaluation.violation), key=lambda one: one.evaluation.value)
    assert [text.get_text() for text in legend.texts] == [f"best accuracy (evaluation {best.number})", "the others"]
    html = page([study])
    assert "Accuracy by epoch" in html
    assert "accuracy" in texts_of(html)
    assert not any("loss" in text for text in [html, *texts_of(html)])


def test_curves_are_drawn_from_two_epochs_on(drawn: dict[str, Figure]) -> None:
    """The points of a single epoch, one above the other, would say less than the history."""
    once = Epoch(1, 0.5, 0.4)
    for curve, shown in (((once,), False), ((once, replace(once, epoch=2)), True)):
        entries = [Entry(i, 0, (0.5, 0.1 * i), Evaluation((0.4 + i,), curve=curve), seed=0) for i in range(3)]
        drawn.clear()
        save_figures(Recorded("run", ("minimize",), Space(SPACE), tuple(entries), {}), Path("nowhere"))
        assert ("curves" in drawn) == shown


def test_what_breaks_a_constraint_is_marked_and_never_above_the_best(storage: str, drawn: dict[str, Figure]) -> None:
    study = load_study("curves", storage)
    broken = [one for one in study.entries if one.evaluation.violation > 0]
    assert 0 < len(broken) < len(study.entries)
    save_figures(study, Path("nowhere"))
    (history,) = drawn["history"].axes
    lines = {str(line.get_label()): line.get_xydata().tolist() for line in history.lines}
    assert lines["breaks a constraint"] == [[one.number, one.evaluation.value] for one in broken]
    best = dict(lines["best so far"])
    assert all(value <= best[number] for number, value in lines["evaluation"])
    assert history.get_yscale() == "linear"
    panel = drawn["hyperparameters"].axes[0]
    shown = {points.get_label(): len(points.get_offsets()) for points in panel.collections}
    assert shown["breaks a constraint"] == len(broken)
    assert "breaks a constraint" in [text.get_text() for text in drawn["hyperparameters"].legends[0].texts]


def test_several_objectives_have_their_names_and_the_same_mark(storage: str, drawn: dict[str, Figure]) -> None:
    study = load_study("two", storage)
    save_figures(study, Path("nowhere"))
    marks = [
        {line.get_label(): (line.get_marker(), line.get_color()) for line in drawn[name].axes[0].lines}
        for name in ("history", "pareto")
    ]
    assert marks[0]["breaks a constraint"] == marks[1]["breaks a constraint"] == ("X", style.COLORS[3])
    html = page([study])
    heads = re.findall(r'<th scope="col">(.*?)</th>', html)
    assert heads.count("accuracy") == heads.count("cost") == 2  # of the front, of all evaluations
    assert not any("value" in head for head in heads)


def test_a_report_calls_the_objective_by_its_name(storage: str) -> None:
    html = page([load_study("curves", storage)])
    assert re.search(r"<br>Accuracy 0\.6\d+, size 0\.4\d+\.", html)
    assert '<th scope="col">accuracy</th>' in html
    assert "test loss" not in page([load_study(name, storage) for name in ("curves", "two")])


def test_tables_and_sentences_of_a_function_speak_of_no_training(storage: str) -> None:
    study = load_study("curves", storage)
    assert counts_sentence(study).startswith("20 evaluations in 2 generations: 20 computed (10 infeasible); ")
    assert counts_sentence(study).endswith(" of computing.")
    console = Console(file=io.StringIO(), width=200)
    print_study(study, console, top=3)
    assert console.file.getvalue().splitlines()[2].split() == ["evaluation", "generation", "accuracy", "x", "y", "size"]  # type: ignore[attr-defined]
    listed = call("list", "--storage", storage).output
    assert f"accuracy {max(one.evaluation.value for one in study.entries if one.evaluation.feasible):.4f}" in listed


@pytest.mark.parametrize(
    ("evaluator", "value", "curve"),
    [
        ({"function": "f", "metric": None}, "value", ("value", "maximize")),
        ({"function": "f", "metric": "loss"}, "loss", ("loss", "maximize")),
        ({"task": "digits"}, "validation loss", ("validation loss", "minimize")),
        ({"task": "digits", "objective": "accuracy"}, "accuracy", ("validation loss", "minimize")),
    ],
)
def test_a_loss_is_the_validation_loss_where_a_network_was_trained(evaluator: Any, value: str, curve: Any) -> None:
    study = Recorded("study", ("maximize",), None, (), {"evaluator": evaluator})
    assert (value_name(study), curves_of(study)) == (value, curve)


@pytest.mark.parametrize(
    ("evaluator", "names"),
    [
        ({"objective": ["loss", "parameters"]}, ["loss", "parameters"]),
        ({"function": "f", "metric": ["near", "far"]}, ["near", "far"]),
        ({"function": "f", "metric": None}, ["value 1", "value 2"]),
        (None, ["value 1", "value 2"]),
    ],
)
def test_objectives_have_the_names_that_the_evaluator_gives_them(evaluator: Any, names: list[str]) -> None:
    study = Recorded("study", ("minimize", "minimize"), None, (), {"evaluator": evaluator})
    assert study.objective_names == names


def test_a_printed_command_may_be_pasted_whatever_the_path_has_in_it() -> None:
    assert shlex.split(f"deap-hpo show run{storage_option('my runs/a.db')}")[-1] == "my runs/a.db"
    assert storage_option("runs/studies.db") == ""


def test_counts_of_evaluations_add_up() -> None:
    ends = [
        Evaluation((0.5,)),
        Evaluation((0.4,), violation=0.1),
        Evaluation((math.inf,), "infeasible", violation=0.2),
        Evaluation((math.inf,), "diverged"),
        Evaluation((0.5,)),
    ]
    entries = [Entry(i, 0, (0.5,), one, seed=0, duplicate_of=0 if i == 4 else None) for i, one in enumerate(ends)]
    said = counts_sentence(Recorded("few", ("minimize",), None, entries, {}))
    assert said.startswith(
        "5 evaluations in 1 generation: 3 computed (1 infeasible, 1 diverged), 1 cached, 1 infeasible and not computed;"
    )


def test_a_space_that_has_nothing_left_is_told() -> None:
    space = Space({"kind": Categorical(["a", "b"]), "n": Int(1, 2)}, when={"n": {"kind": "b"}})  # a, b1, b2
    genomes = [(0.25, 0.1), (0.25, 0.9), (0.75, 0.25), (0.75, 0.75)]
    entries = [Entry(i, 0, genome, Evaluation((0.5,)), seed=0) for i, genome in enumerate(genomes)]
    told = [
        "every configuration" in counts_sentence(Recorded("few", ("minimize",), space, entries[:count], {}))
        for count in range(5)
    ]
    assert told == [False, False, False, False, True]


def test_the_best_evaluations_notes_are_for_programs_too() -> None:
    best = Entry(0, 0, (0.5,), Evaluation((0.1,), notes={"path": "net.pt"}), seed=0)
    study = Recorded("noted", ("minimize",), Space({"x": Float(0.0, 1.0)}), (best,), {})
    assert describe(study)["best"]["notes"] == {"path": "net.pt"}


def test_names_with_brackets_are_printed_as_they_are() -> None:
    """The console's markup would take them for a style."""
    final = {"test_size": 10, "test_loss": 0.5, "test_metrics": {"error[mean]": 0.25}}
    made = Entry(0, 0, (0.5, 0.5), Evaluation((0.944,), metrics={"size[kb]": 1.0}), seed=1)
    noted = {"final": final, "evaluator": {"metric": "loss[mean]"}}
    for directions, values in ((("minimize",), (0.944,)), (("minimize", "minimize"), (0.944, 1.0))):
        one = Entry(0, 0, made.genes, Evaluation(values, metrics={"size[kb]": 1.0}), seed=1)
        names = "loss[mean]" if len(values) == 1 else ["loss[mean]", "cost[h]"]
        noted["evaluator"] = {"metric": names}
        console = Console(file=io.StringIO(), width=200)
        print_study(Recorded("s", directions, Space(SPACE), (one,), noted), console, top=3)
        printed = console.file.getvalue()
        assert "error[mean]" in printed or len(values) == 2
        assert "loss[mean]" in printed


def test_in_which_precision_networks_were_trained_is_said() -> None:
    ran = [{"precision": one, "device_name": "a processor", "device": "cpu"} for one in ("bf16", "bf16", "fp32")]
    entries = tuple(
        Entry(i, 0, (0.5, 0.5), Evaluation((1.0,), environment=one), seed=0) for i, one in enumerate([*ran, {}])
    )
    recorded = Recorded("mine", ("minimize",), Space(SPACE), entries, {})
    assert where_sentence(recorded) == "Trained in bf16 on a processor, in fp32 on a processor."
    screen = io.StringIO()
    print_study(recorded, Console(file=screen, width=200), top=1)
    assert where_sentence(recorded) in screen.getvalue().splitlines()


def test_a_value_that_several_share_is_said_to_be_shared() -> None:
    """On a small validation set, many networks have the same accuracy."""

    def of(*found: tuple[float, float, int | None]) -> Recorded:
        entries = [
            Entry(i, 0, (i / 10,), Evaluation((value,), violation=violation), seed=0, duplicate_of=same)
            for i, (value, violation, same) in enumerate(found)
        ]
        return Recorded("study", ("maximize",), None, tuple(entries), {})

    alone = of((1.0, 0.0, None), (1.0, 0.0, 0), (1.0, 0.5, None), (0.9, 0.0, None))
    assert tie_sentence(alone) == ""
    tied = of((0.5, 0.0, None), (1.0, 0.0, None), (1.0, 0.0, None), (1.0, 0.0, 1), (1.0, 2.0, None))
    sentence = "2 of 4 evaluations share the best value, 1.0000; the first of them counts as the best."
    assert tie_sentence(tied) == sentence
    assert sentence in page([tied])
    screen = io.StringIO()
    print_study(tied, Console(file=screen, width=200), top=5)
    assert sentence in screen.getvalue()
