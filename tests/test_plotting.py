"""Figures: they draw what the table holds, in every odd case, and come out the same byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_analysis import SPACE, entries

from deap_hpo.analysis import epochs_table, trials_table
from deap_hpo.plotting import plot_intermediate_values, plot_optimization_history, plot_slice, save


def test_the_history_draws_values_and_the_best_so_far() -> None:
    axes = plot_optimization_history(trials_table(entries(), SPACE)).axes[0]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["evaluation"] == [[1, 0.8], [2, 0.5]]
    assert drawn["repeated configuration"] == [[3, 0.5]]
    assert drawn["best so far"][1:] == [[1, 0.8], [2, 0.5], [3, 0.5], [4, 0.5]]
    assert [x for x, _ in drawn["no value (diverged or failed)"]] == [0, 4]


def test_curves_draw_every_training_and_bring_out_the_best() -> None:
    axes = plot_intermediate_values(epochs_table(entries()), best=2).axes[0]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["best (evaluation 2)"] == [[1, 0.8], [2, 0.5]]


def test_slices_have_a_panel_for_each_hyperparameter() -> None:
    figure = plot_slice(trials_table(entries(), SPACE), SPACE)
    first, second = figure.axes[:2]
    assert (first.get_xlabel(), first.get_xscale()) == ("lr", "log")
    assert second.get_xlabel() == "kind"
    assert len(first.collections[0].get_offsets()) == 3  # evaluations with a value


@pytest.mark.parametrize("name", ["history", "curves", "slice"])
def test_figures_are_the_same_byte_for_byte(name: str, tmp_path: Path) -> None:
    trials, epochs = trials_table(entries(), SPACE), epochs_table(entries())
    draw = {
        "history": lambda: plot_optimization_history(trials),
        "curves": lambda: plot_intermediate_values(epochs, best=2),
        "slice": lambda: plot_slice(trials, SPACE),
    }[name]
    first, second = ([path.read_bytes() for path in save(draw(), tmp_path / folder / name)] for folder in ("a", "b"))
    assert first == second
    assert not list(tmp_path.rglob("*.partial"))
