"""Figures of the effects of hyperparameters, and of several runs: they draw what the tables hold."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from trainings import SPACE, repeats, table

from deap_hpo.analysis.impact import interactions, noise, partial_dependence
from deap_hpo.analysis.importance import importances
from deap_hpo.analysis.response import ResponseModel
from deap_hpo.analysis.tables import trials_table
from deap_hpo.evaluation import Evaluation
from deap_hpo.plotting.impact import (
    plot_interactions,
    plot_noise,
    plot_param_importances,
    plot_partial_dependence,
    plot_trade_off,
)
from deap_hpo.plotting.methods import plot_comparison, plot_outcomes
from deap_hpo.plotting.runs import plot_bands, plot_runs
from deap_hpo.plotting.style import line_look, save
from deap_hpo.records.entries import Entry
from deap_hpo.search_space.space import Categorical, Float, Space


def trials() -> pd.DataFrame:
    made = table("effective")
    made.loc[0, ["value", "status"]] = [math.inf, "diverged"]
    return made.assign(effective=made["params_lr"] / (1 - made["params_momentum"]))


def test_importances_are_bars() -> None:
    found = importances(trials(), SPACE)
    axes = plot_param_importances(found).axes[0]
    bars = {bars.get_label(): bars for bars in axes.containers if isinstance(bars, BarContainer)}
    for label, kind in (("whole space (fANOVA)", "fanova"), ("the best tenth (PED-ANOVA)", "ped_anova")):
        share, spread = found[kind].to_numpy(), found[f"{kind}_std"].to_numpy()
        assert [bar.get_width() for bar in bars[label]] == pytest.approx(share)
        ends = np.array([line[:, 0] for line in bars[label].errorbar.lines[2][0].get_segments()])
        assert ends[:, 0] == pytest.approx(np.maximum(share - spread, 0.0)), "no share is below 0"
        assert ends[:, 1] == pytest.approx(np.minimum(share + spread, 1.0)), "or above 1"
    assert [text.get_text() for text in axes.get_yticklabels()] == found["hyperparameter"].tolist()


def test_partial_dependence_has_a_panel_for_each_hyperparameter_with_all_trainings() -> None:
    dependence = partial_dependence(ResponseModel(trials(), SPACE), resolution=5)
    figure = plot_partial_dependence(dependence, trials(), SPACE)
    assert [axes.get_xlabel() for axes in figure.axes] == ["lr", "momentum", "decay"]
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear", "linear"]
    drawn = {line.get_label(): len(line.get_xdata()) for line in figure.axes[0].lines}
    assert drawn == {"one evaluation": 79, "no value (diverged or failed)": 1, "modelled mean": 5}
    pruned = trials()
    pruned.loc[1, "status"] = "pruned"  # the model does not know it
    axes = plot_partial_dependence(dependence, pruned, SPACE).axes[0]
    assert [len(line.get_xdata()) for line in axes.lines] == [78, 1, 5]


def test_choices_have_a_bar_and_a_mean_each_and_maps_keep_their_order() -> None:
    space = Space({"size": Categorical(["s", "m", "l"]), "x": Float(0.0, 1.0)})
    rng = np.random.default_rng(0)
    genomes = [tuple(map(float, genome)) for genome in rng.random((20, 2))]
    entries = [Entry(i, 0, genome, Evaluation((1 + sum(genome),)), 0) for i, genome in enumerate(genomes)]
    made = trials_table(entries, space)
    model = ResponseModel(made, space, model="nearest")
    first, second = plot_partial_dependence(partial_dependence(model, resolution=3), made, space).axes
    assert len(first.collections[0].get_segments()) == 3
    assert [label.get_text() for label in first.get_xticklabels()] == ["s", "m", "l"]
    assert len(first.lines[-1].get_xdata()) == len(second.lines[-1].get_xdata()) == 3
    panel = plot_interactions(interactions(model, resolution=3), made, space).axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["s", "m", "l"]
    (strips,) = panel.collections  # and no contours, since nothing lies between choices
    assert isinstance(strips, QuadMesh)
    corners = strips.get_coordinates()
    assert corners[0, :, 0].tolist() == [-0.5, 0.5, 1.5, 2.5]
    assert corners[:, 0, 1].tolist() == pytest.approx([0.0, 0.25, 0.75, 1.0])
    assert np.asarray(strips.get_array()).shape == (3, 3)


def test_maps_show_the_trainings_in_which_both_were_in_use() -> None:
    space = Space(
        {"kind": Categorical(["a", "b"]), "size": Categorical(["s", "m"]), "x": Float(0.0, 1.0)},
        when={"size": {"kind": "a"}},
    )
    rng = np.random.default_rng(0)
    genomes = [tuple(map(float, genome)) for genome in rng.random((20, 3))]
    entries = [Entry(i, 0, genome, Evaluation((1 + genome[2],)), 0) for i, genome in enumerate(genomes)]
    made = trials_table(entries, space)
    maps = interactions(ResponseModel(made, space, model="nearest"), resolution=3)
    panel = plot_interactions(maps, made, space).axes[2]  # size and x
    assert [label.get_text() for label in panel.get_xticklabels()] == ["s", "m"]
    assert len(panel.lines[0].get_xdata()) == (made["params_kind"] == "a").sum()


def test_interactions_have_a_panel_for_each_pair() -> None:
    figure = plot_interactions(interactions(ResponseModel(trials(), SPACE), resolution=5), trials(), SPACE)
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes[:3]]
    assert labels == [("lr", "momentum"), ("lr", "decay"), ("momentum", "decay")]


@pytest.mark.parametrize(("low", "high"), [(1e5, 1e12), (0.1, 0.9), (1e-9, 1e-5), (-1000.9, -999.1)])
def test_the_scale_of_interactions_has_different_numbers(low: float, high: float) -> None:
    grid = np.linspace(0.0, 1.0, 5)
    cells = [{"first": "momentum", "second": "decay", "first_value": a, "second_value": b} for a in grid for b in grid]
    values = np.geomspace(low, high, 25) if low > 0 else np.linspace(low, high, 25)
    space = Space({"momentum": Float(0.0, 1.0), "decay": Float(0.0, 1.0)})
    figure = plot_interactions(pd.DataFrame(cells).assign(mean=values), trials(), space)
    figure.canvas.draw()
    bar = figure.axes[1]
    limits = sorted(bar.get_ylim())
    ticks = [tick for tick in bar.yaxis.get_major_ticks() if limits[0] <= tick.get_loc() <= limits[1]]
    shown = [tick.label1.get_text() or tick.label2.get_text() for tick in ticks]
    assert len(set(shown)) == len(shown) >= 3
    assert bar.yaxis.get_offset_text().get_text() == ""


def test_the_trade_off_shows_all_trainings_twice() -> None:
    left, right = plot_trade_off(trials(), "effective").axes[:2]
    for axes in (left, right):
        assert [len(points.get_offsets()) for points in axes.collections[:2]] == [79, 1]


def test_noise_is_ordered_by_the_mean() -> None:
    rows = repeats(1.0, 0.1)
    axes = plot_noise(noise(rows), rows).axes[0]
    means = next(line for line in axes.lines if line.get_label() == "mean of the seeds")
    assert np.all(np.diff(means.get_ydata()) > 0)


def runs_figure() -> Figure:
    runs = pd.DataFrame({"label": ["a", "a", "b"], "validation_loss": [0.4, 0.6, 0.3]})
    summary = pd.DataFrame({"label": ["a", "b"], "mean": [0.5, 0.3], "std": [0.14, 0.0]})
    return plot_runs(runs, summary, pd.DataFrame({"label": ["a"], "validation_loss": [0.02]}), title="Runs")


def test_runs_show_every_seed_and_mark_what_was_published() -> None:
    axes = runs_figure().axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["each seed"] == [0.4, 0.6, 0.3]
    assert drawn["published claim"] == [0.02]


def test_bands_and_outcomes_draw_their_rows() -> None:
    band = pd.DataFrame({"label": "a", "round": [1, 2], "mean": [0.5, 0.4], "low": [0.4, 0.3], "high": [0.6, 0.5]})
    line = plot_bands(band, x="round", x_name="generation", value_name="best").axes[0].lines[0]
    assert line.get_xydata().tolist() == [[1, 0.5], [2, 0.4]]

    rows = [{"method": "a", "mean": 0.5, "median": 0.5, "low": 0.4, "high": 0.6, "mean_rank": 1.2}]
    rows.append({"method": "b", "mean": None, "median": 0.7, "low": None, "high": None, "mean_rank": 2.0})
    rows.append({"method": "c", "mean": None, "median": None, "low": None, "high": None, "mean_rank": 2.8})
    axes = plot_outcomes(rows).axes[0]
    assert [tick.get_text().split("\n")[-1] for tick in axes.get_yticklabels()] == [
        "a  (mean rank 1.2)", "a choice diverged: median", "most choices diverged",
    ]  # fmt: skip
    assert [line.get_xdata()[0] for line in axes.lines] == [0.5, 0.7]
    single = plot_outcomes([{**rows[0], "low": None, "high": None}], seeds=1).axes[0]  # no interval
    assert [line.get_xdata().tolist() for line in single.lines] == [[0.5]]
    assert [tick.get_text() for tick in single.get_yticklabels()] == ["a  (mean rank 1.2)"]


def band_of(i: int) -> pd.DataFrame:
    points = {"epochs": [1, 2], "low": [0.4, 0.3], "high": [0.6, 0.5]}
    return pd.DataFrame({**points, "mean": [0.5, 0.4], "median": [0.5, 0.4]})


def test_49_lines_all_differ_without_colours_too() -> None:
    many = [band_of(i).assign(label=f"{i}", method=f"{i}") for i in range(49)]
    table = pd.concat(many)
    figures = (
        plot_bands(table, x="epochs", x_name="", value_name=""),
        plot_comparison(table),
    )
    for figure in figures:
        lines = figure.axes[0].lines
        assert len({(line.get_marker(), str(line._dash_pattern)) for line in lines}) == 49  # type: ignore[attr-defined]
        plt.close(figure)
    assert line_look(3, points=80)["markevery"] == (3, 10)


def test_a_figure_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    first, second = ([path.read_bytes() for path in save(runs_figure(), tmp_path / name / "runs")] for name in "ab")
    assert first == second


def test_dollars_in_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    name, method = "$x_{$", "$m_{$"
    space = Space({name: Float(0.0, 1.0), "$y$": Float(0.0, 1.0)})
    rng = np.random.default_rng(0)
    rows = [Entry(i, 0, tuple(rng.random(2)), Evaluation((1.0 + i,)), seed=0) for i in range(12)]
    made = trials_table(rows, space)
    model = ResponseModel(made, space, model="nearest")
    bands = band_of(1).assign(method=method, label=method)
    outcome = {"method": method, "mean": 0.5, "median": 0.5, "low": 0.4, "high": 0.6, "mean_rank": 1.0}
    figures = [
        plot_param_importances(importances(made, space)),
        plot_partial_dependence(partial_dependence(model, resolution=3), made, space, value_name=name),
        plot_interactions(interactions(model, resolution=3), made, space, value_name=name),
        plot_comparison(bands),
        plot_outcomes([outcome], value_name=name),
    ]
    for number, figure in enumerate(figures):
        save(figure, tmp_path / str(number), pdf=False)  # raises if the name is read as mathematics
