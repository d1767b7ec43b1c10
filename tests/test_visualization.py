"""Figures of a study by one call: they show what the study holds, and an error names what cannot be drawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from deap_hpo import (
    Categorical,
    Evaluation,
    Float,
    Individual,
    Int,
    MedianPruner,
    Space,
    Study,
    Task,
    load_study,
    make_trainer,
    optimize,
)
from deap_hpo import visualization as drawing
from deap_hpo.analysis.evidence import Evidence
from deap_hpo.analysis.importance import importances
from deap_hpo.errors import InputError
from deap_hpo.plotting.style import style
from deap_hpo.reports.figures import study_figures
from deap_hpo.results import Results

SPACE = {"x": Float(0.01, 1.0, log=True), "y": Float(-1.0, 1.0), "z": Float(-1.0, 1.0)}
pytestmark = pytest.mark.usefixtures("small_forests")
QUIET: dict[str, Any] = {"algorithm": "random", "progress": False, "seed": 1}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def loss(params: dict[str, float]) -> float:
    return 1.0 + float(np.log10(params["x"])) ** 2 + 2.0 * params["y"] ** 2


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("record") / "studies.db")


@pytest.fixture(scope="module")
def run(storage: str) -> Results:
    return optimize(loss, SPACE, population=10, generations=4, storage=storage, name="run", **QUIET)


@pytest.fixture(scope="module", params=["run", "on record"])
def study(request: pytest.FixtureRequest, run: Results, storage: str) -> Results:
    return run if request.param == "run" else load_study("run", storage)


def points(figure: Figure, panel: int = 0) -> set[tuple[float, float]]:
    """All points of a panel, rounded."""
    lines = figure.axes[panel].get_lines()
    drawn = [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]
    for dots in figure.axes[panel].collections:
        drawn += [(float(x), float(y)) for x, y in np.ma.filled(dots.get_offsets())]
    return {(round(x, 9), round(y, 9)) for x, y in drawn}


@pytest.mark.parametrize(
    "draw",
    [
        drawing.plot_optimization_history,
        drawing.plot_intermediate_values,
        drawing.plot_pareto_front,
        drawing.plot_slice,
        drawing.plot_parallel_coordinate,
        drawing.plot_lineage,
        drawing.plot_param_importances,
        drawing.plot_partial_dependence,
        drawing.plot_interactions,
    ],
)
def test_what_is_no_study_is_refused(draw: Callable[..., Figure], run: Results) -> None:
    others = {
        "'run'": "run",
        r"one of type optuna\.study\.study\.Study\.": optuna.create_study(),
        r"one of type pandas\..*DataFrame\.": run.trials_dataframe(),
        "None": None,
        r"one of type types\.SimpleNamespace, whose attribute `study` is one\.": SimpleNamespace(study=run),
    }
    for said, other in others.items():
        with pytest.raises(InputError, match=rf"^study must be .* `load_study\(name, storage\)` reads; got {said}"):
            draw(other)


def test_the_history_has_every_evaluation(study: Results) -> None:
    drawn = points(drawing.plot_optimization_history(study))
    assert {(float(e.number), round(e.evaluation.value, 9)) for e in study.entries} <= drawn


def test_a_slice_has_every_evaluation_in_the_panels_asked_for(study: Results) -> None:
    figure = drawing.plot_slice(study, ["z", "x"])
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["x", "z"], "in the order of the space"
    for panel, name in enumerate(["x", "z"]):
        expected = {(round(study.params_of(e)[name], 9), round(e.evaluation.value, 9)) for e in study.entries}
        assert expected <= points(figure, panel)
    assert [axes.get_xlabel() for axes in drawing.plot_slice(study).axes[:3]] == list(SPACE)


def test_the_title_of_a_single_slice_is_whole_and_in_the_size_of_the_style() -> None:
    study = optimize(loss, SPACE, max_evaluations=20, **QUIET)
    single, several = (drawing.plot_slice(study, params) for params in (["x"], ["x", "y"]))
    single.draw_without_rendering()  # type: ignore[no-untyped-call]
    title = single._suptitle  # type: ignore[attr-defined]
    extent = title.get_window_extent()
    assert 20 < extent.x0 < extent.x1 < single.bbox.width - 20
    with style():
        assert title.get_fontsize() == pytest.approx(several.suptitle("").get_fontsize())


def test_importances_are_those_that_are_drawn(study: Results) -> None:
    found = study.importances()
    assert found["hyperparameter"].tolist()[:2] == ["x", "y"], "z does nothing"
    assert found[["fanova", "ped_anova"]].sum().tolist() == pytest.approx([1.0, 1.0])
    axes = drawing.plot_param_importances(study).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    widths = [bar.get_width() for bar in axes.patches]
    assert_allclose(sorted(widths), sorted([*found["fanova"], *found["ped_anova"]]))
    assert set(labels) == set(SPACE)


def test_effects_are_found_where_they_are(study: Results) -> None:
    figure = drawing.plot_partial_dependence(study, ["x", "z"])
    means = [line for axes in figure.axes for line in axes.get_lines() if line.get_label() == "modelled mean"]
    of_x, of_z = (np.asarray(line.get_ydata()) for line in means)
    assert np.ptp(of_x) > 10 * np.ptp(of_z)
    assert of_x.argmin() == len(of_x) - 1, "the loss falls up to x = 1"


def test_interactions_are_of_the_most_important_or_of_those_asked_for(study: Results) -> None:
    by_default = drawing.plot_interactions(study)
    assert len([axes for axes in by_default.axes if axes.get_xlabel() in SPACE]) == 3, "three pairs of three"
    asked = drawing.plot_interactions(study, ["y", "z"])
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in asked.axes[:1]] == [("y", "z")]


def test_of_many_hyperparameters_the_most_important_are_drawn() -> None:
    space = {f"x{i:02d}": Float(0.0, 1.0) for i in range(15)}
    study = optimize(lambda params: 1.0 + params["x14"] + params["x07"], space, max_evaluations=60, **QUIET)
    first = study.importances()["hyperparameter"].tolist()
    assert set(first[:2]) == {"x14", "x07"}
    for figure in (drawing.plot_slice(study), drawing.plot_partial_dependence(study)):
        named = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel() in space]
        assert named == sorted(first[:12]), "in the order of the space"
        assert figure.get_suptitle().endswith(": the 12 most important of 15")
    pairs = [(axes.get_xlabel(), axes.get_ylabel()) for axes in drawing.plot_interactions(study).axes]
    assert {name for pair in pairs for name in pair if name in space} == set(first[:3])


def test_what_is_maximised_is_drawn_as_that() -> None:
    study = optimize(loss, SPACE, direction="maximize", max_evaluations=30, **QUIET)
    values = [entry.evaluation.value for entry in study.entries]
    drawn = points(drawing.plot_optimization_history(study))
    assert {(float(i), round(max(values[: i + 1]), 9)) for i in range(30)} <= drawn, "the best so far is the highest"
    of_the_highest = importances(study.trials_dataframe(), Space(SPACE), direction="maximize")
    assert study.importances().equals(of_the_highest)
    assert not study.importances().equals(importances(study.trials_dataframe(), Space(SPACE)))
    axes = drawing.plot_slice(study).axes[0]
    assert axes.get_yscale() == "linear", "on a log scale, small values are the good ones"


def test_a_model_of_a_sample_is_drawn_with_all_evaluations(study: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deap_hpo.analysis.evidence._MOST", 25)
    assert len(drawing.evidence_of(study).asked) == 25
    drawn = points(drawing.plot_partial_dependence(study, ["z"]))
    assert {(round(study.params_of(e)["z"], 9), round(e.evaluation.value, 9)) for e in study.entries} <= drawn


def test_what_was_not_trained_tells_nothing() -> None:
    x = np.linspace(0.0, 1.0, 30)
    trained = pd.DataFrame({"params_x": x, "value": 1.0 + x, "status": "ok", "epochs": 2, "duplicate_of": np.nan})
    untrained = trained.head(5).assign(status="infeasible", value=np.inf, epochs=9)
    again = trained.head(1).assign(duplicate_of=0)
    evidence = Evidence.of(pd.concat([untrained, trained, again]), Space({"x": Float(0.0, 1.0)}))
    assert len(evidence.trials) == 31
    assert len(evidence.asked) == 30
    assert evidence.of_which == ", by trainings of 2 epochs"


def test_titles_and_captions_say_how_many_pruned_evaluations_are_left_out(study: Results) -> None:
    def reports(params: dict[str, float], report: Callable[..., None]) -> float:
        value = params["x"] + params["y"] ** 2
        for epoch in range(1, 4):
            report(epoch, value + 1 / epoch)
        return value

    space = {"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}
    pruned = optimize(reports, space, pruner=MedianPruner(), algorithm="random", max_evaluations=80, seed=1)
    count = sum(entry.evaluation.status == "pruned" for entry in pruned.entries)
    evidence, said = drawing.evidence_of(pruned), f"{count} pruned evaluations left out"
    assert count > 5
    for draw in (drawing.plot_param_importances, drawing.plot_partial_dependence, drawing.plot_interactions):
        assert draw(pruned, evidence=evidence).get_suptitle().endswith(f"({said})")
        assert "left out" not in draw(study).get_suptitle()
    captions = [one.caption for one in study_figures(pruned.found())]
    assert [said in caption for caption in captions] == [False, False, False, True, True]
    marks = drawing.plot_interactions(pruned, evidence=evidence).axes[0].lines
    assert [len(line.get_xdata()) for line in marks] == [len(evidence.asked), 0]


def test_what_breaks_a_constraint_is_no_evidence_of_what_is_best() -> None:
    space = {"x": Float(0.0, 1.0), "width": Float(0.0, 1.0)}

    def loss(params: dict[str, float]) -> dict[str, float]:
        return {"loss": 1.0 + params["x"] - (0.9 if params["width"] > 0.7 else 0.0), "width": params["width"]}

    search: Any = {"metric": "loss", "algorithm": "random", "max_evaluations": 80, "seed": 1, "progress": False}
    study = optimize(loss, space, constraints=["width <= 0.7"], **search)
    broken = sum(entry.evaluation.violation > 0 for entry in study.entries)
    assert drawing.evidence_of(study).of_which == f", {broken} evaluations that break a constraint left out"
    constrained, free = (
        one.importances().set_index("hyperparameter") for one in (study, optimize(loss, space, **search))
    )
    assert constrained["fanova"]["x"] > 0.8 > 0.5 > free["fanova"]["x"]
    assert drawing.plot_partial_dependence(study).get_suptitle().endswith("constraint left out)")


def test_of_too_few_evaluations_it_is_said_how_many_were_pruned() -> None:
    trials = pd.DataFrame({"params_x": np.linspace(0.0, 1.0, 30), "value": np.linspace(1.0, 2.0, 30), "status": "ok"})
    trials.loc[12:, "status"] = "pruned"
    with pytest.raises(InputError, match=r"with 12 values \(18 pruned evaluations left out\)\.$"):
        Evidence.of(trials, Space({"x": Float(0.0, 1.0)}))


def test_what_is_found_once_serves_several_figures(study: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = drawing.evidence_of(study)
    importances, model = evidence.importances, evidence.model
    monkeypatch.setattr("deap_hpo.analysis.evidence.importances", None)  # fails if it is called again
    monkeypatch.setattr("deap_hpo.analysis.evidence.ResponseModel", None)
    drawing.plot_param_importances(study, evidence=evidence)
    drawing.plot_partial_dependence(study, evidence=evidence)
    drawing.plot_interactions(study, evidence=evidence)
    assert evidence.importances is importances
    assert evidence.model is model


def test_curves_are_those_that_were_reported() -> None:
    def reports(params: dict[str, float], report: Callable[[float], None]) -> float:
        for epoch in range(3):
            report(1 + epoch, params["x"] / (1 + epoch))
        return params["x"]

    study = optimize(reports, {"x": Float(0.1, 1.0)}, population=4, generations=2, **QUIET)
    drawn = points(drawing.plot_intermediate_values(study))
    best = study.best_params["x"]
    assert {(1.0, round(best, 9)), (2.0, round(best / 2, 9)), (3.0, round(best / 3, 9))} <= drawn


def curve_of(study: Results, value: Callable[[Any], float]) -> set[tuple[float, float]]:
    return {(float(one.epoch), round(value(one), 9)) for one in study.best.evaluation.curve}


def test_curves_of_trainings_are_of_the_objective_or_of_what_is_asked_for(digits_task: Task) -> None:
    space = {"lr": Float(0.1, 2.0, log=True)}
    judged = replace(digits_task, objective=["accuracy", "parameters"])
    trainer = make_trainer(judged, epochs=4, device="cpu", keep_best=True)
    study = optimize(trainer, space, algorithm="nsga-ii", population=4, generations=1, progress=False)
    axes = drawing.plot_intermediate_values(study).axes[0]
    assert (axes.get_ylabel(), axes.get_title()) == ("accuracy", "Accuracy by epoch")
    assert curve_of(study, lambda one: one.metrics["accuracy"]) <= points(axes.figure)
    (star,) = [line for line in axes.get_lines() if line.get_marker() == "*"]
    kept = study.best.evaluation.kept_epoch
    assert kept is not None
    assert [float(x) for x in star.get_xdata()] == [kept.epoch]
    loss = drawing.plot_intermediate_values(study, "loss")
    assert loss.axes[0].get_ylabel() == "validation loss"
    assert curve_of(study, lambda one: one.validation_loss) <= points(loss)
    with pytest.raises(InputError, match=r"metric must be one of loss, accuracy; got 'f1'"):
        drawing.plot_intermediate_values(study, "f1")
    with pytest.raises(InputError, match=r"got \['accuracy'\]"):
        drawing.plot_intermediate_values(study, ["accuracy"])  # type: ignore[arg-type]
    judged = replace(digits_task, objective=["loss", "accuracy"])
    twice = make_trainer(judged, epochs=2, device="cpu", repeats=2, keep_best=True)
    both = optimize(twice, space, algorithm="nsga-ii", population=4, generations=1, progress=False)
    drawn = drawing.plot_intermediate_values(both).axes[0]
    assert drawn.get_ylabel() == "validation loss"
    assert not [line for line in drawn.get_lines() if line.get_marker() == "*"], "of a mean there is no best epoch"
    plain = optimize(make_trainer(digits_task, epochs=2, device="cpu"), space, population=2, generations=1, **QUIET)
    assert drawing.plot_intermediate_values(plain).axes[0].get_ylabel() == "validation loss"
    assert drawing.plot_intermediate_values(plain, "accuracy").axes[0].get_ylabel() == "accuracy"


def test_accuracies_are_mapped_on_a_linear_scale() -> None:
    study = optimize(
        lambda params: 0.1 + 0.8 * params["x"] * params["y"],
        {"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)},
        direction="maximize",
        max_evaluations=30,
        progress=False,
    )
    *_, bar = drawing.plot_interactions(study).axes
    assert bar.get_yscale() == "linear"


def test_a_front_has_every_evaluation() -> None:
    study = optimize(
        lambda params: (params["x"], 1 - params["x"]), {"x": Float(0.0, 1.0)}, direction=["minimize", "minimize"],
        population=8, generations=2, algorithm="nsga-ii", progress=False,
    )  # fmt: skip
    drawn = points(drawing.plot_pareto_front(study))
    expected = {tuple(round(value, 9) for value in e.evaluation.values) for e in study.entries}
    assert expected <= drawn | {(y, x) for x, y in drawn}


def test_lineages_are_of_trainings_that_went_on(digits_task: Task) -> None:
    trainer = make_trainer(digits_task, epochs=2, device="cpu")
    study = optimize(
        trainer, {"lr": Float(0.01, 1.0, log=True)}, algorithm="pbt", population=4, generations=2, progress=False
    )
    figure = drawing.plot_lineage(study)
    assert "lr" in figure.axes[0].get_ylabel()


DRAWN = {
    "plot_optimization_history": "has no evaluation to draw",
    "plot_slice": "has no evaluation to draw",
    "plot_intermediate_values": "has no evaluation to draw",
    "plot_lineage": "has no evaluation to draw",
    "plot_param_importances": "need at least 20 evaluations",
    "plot_partial_dependence": "need at least 20 evaluations",
    "plot_interactions": "need at least 20 evaluations",
}


@pytest.mark.parametrize(("function", "reason"), DRAWN.items())
def test_of_a_study_that_has_found_nothing_it_is_said(function: str, reason: str) -> None:
    with Study(SPACE) as study, pytest.raises(InputError, match=reason):
        getattr(drawing, function)(study)


def test_what_cannot_be_drawn_is_said_and_nothing_is_left_open(run: Results) -> None:
    open_before = plt.get_fignums()
    for function, arguments, reason in (
        (drawing.plot_slice, [["width"]], "params: the study has no hyperparameter 'width'. There are: x, y, z."),
        (drawing.plot_slice, ["x"], "params must be a list of at least one hyperparameter's name; got 'x'."),
        (drawing.plot_partial_dependence, [[]], "params must be a list of at least one hyperparameter's name; got []."),
        (drawing.plot_interactions, [["x"]], "at least two hyperparameters that have more than one value each; got x."),
        (drawing.plot_intermediate_values, [], "The study 'run' has no learning curves"),
        (drawing.plot_pareto_front, [], "A Pareto front is of several objectives; the study 'run' has one."),
        (drawing.plot_lineage, [], "In the study 'run' no training went on from another"),
    ):
        with pytest.raises(InputError, match=re.escape(reason)):
            function(run, *arguments)
    assert plt.get_fignums() == open_before


@pytest.mark.parametrize("count", [3, 12])
def test_too_few_evaluations_are_counted(count: int) -> None:
    study = optimize(loss, SPACE, max_evaluations=count, **QUIET)
    with pytest.raises(
        InputError, match=rf"need at least 20 evaluations.*; there are {count}, of {count} configurations"
    ):
        study.importances()


def test_none_is_a_choice_as_any_other() -> None:
    space = {"bias": Categorical([True, False]), "clip": Categorical([None, 0.1, 1.0]), "x": Float(0.0, 1.0)}
    study = optimize(lambda params: params["x"] + (params["clip"] or 0.0), space, max_evaluations=30, **QUIET)
    for params in (["bias", "clip"], ["clip", "x"]):
        axes = drawing.plot_interactions(study, params).axes[0]
        labels = axes.get_xticklabels() if axes.get_xlabel() == "clip" else axes.get_yticklabels()
        assert [label.get_text() for label in labels] == ["None", "0.1", "1.0"]
        assert np.isfinite(np.asarray(axes.collections[0].get_array())).all()
    (effect,) = (axes for axes in drawing.plot_partial_dependence(study, ["clip"]).axes if axes.get_xlabel())
    assert [label.get_text() for label in effect.get_xticklabels()] == ["None", "0.1", "1.0"]


def test_what_has_one_value_interacts_with_nothing() -> None:
    space = {**SPACE, "depth": Int(3, 3), "kind": Categorical(["only"])}
    study = optimize(loss, space, max_evaluations=30, **QUIET)
    axes = drawing.plot_interactions(study, ["x", "y", "depth", "kind"]).axes
    assert [(one.get_xlabel(), one.get_ylabel()) for one in axes[:-1]] == [("x", "y")]
    with pytest.raises(InputError, match="more than one value each; got x"):
        drawing.plot_interactions(study, ["x", "depth"])


def test_a_study_without_a_space_has_a_history_alone() -> None:
    with Study() as bare:
        individuals = [Individual([0.1 * place]) for place in range(1, 4)]
        bare.map(lambda genome: Evaluation((genome[0],)), individuals)
        assert {(0.0, 0.1), (1.0, 0.2), (2.0, 0.3)} <= points(drawing.plot_optimization_history(bare))
        with pytest.raises(InputError, match="has no space"):
            drawing.plot_slice(bare)
        with pytest.raises(InputError, match="has no space"):
            bare.importances()


def test_a_figure_is_written_as_any_other(run: Results, tmp_path: Path) -> None:
    drawing.plot_optimization_history(run).savefig(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")


def grown(params: dict[str, Any], epochs: int) -> dict[str, float]:
    return {"loss": abs(params["x"] - 0.1) + 1 / epochs, "size": 20.0 if params["x"] > 0.9999 else 5.0}


@pytest.fixture
def with_enqueued() -> Any:
    """Trainings in parts, and whole ones that were enqueued, of which one breaks the constraint."""
    return optimize(
        grown,
        {"x": Float(0.0, 1.0), "kind": Categorical(["sgd", "adam"])},
        metric="loss",
        constraints=["size <= 10"],
        algorithm="hyperband",
        epochs=9,
        max_epochs=120,
        enqueue=[{"x": 0.1, "kind": "sgd"}, {"x": 1.0, "kind": "adam"}],
        seed=1,
        progress=False,
    )


def test_enqueued_trainings_are_whole_ones_in_figures(with_enqueued: Any) -> None:
    study = with_enqueued
    assert study.best.number == 0
    assert study.trials_dataframe()["epochs"].tolist()[:3] == [9, 9, 1]
    history = {
        line.get_label(): len(line.get_xdata()) for line in drawing.plot_optimization_history(study).axes[0].lines
    }
    assert sum(count for name, count in history.items() if name != "best so far") == len(study.entries)
    assert drawing.plot_parallel_coordinate(study).legends[0].get_texts()[0].get_text() == "best (evaluation 0)"
    drawing.plot_slice(study).canvas.draw()


def test_importances_of_a_study_whose_only_feasible_trainings_were_enqueued_are_refused_with_the_number() -> None:
    def small(params: dict[str, Any], epochs: int) -> dict[str, float]:
        return {"loss": params["x"] + 1 / epochs, "size": 0.0 if params["x"] < 0.001 else 9.0}

    study = optimize(
        small, {"x": Float(0.0, 1.0)}, metric="loss", constraints=["size <= 1"], algorithm="hyperband", epochs=9,
        max_epochs=40, enqueue=[{"x": 0.0005}], progress=False,
    )  # fmt: skip
    with pytest.raises(InputError, match="at least 20"):
        study.importances()
