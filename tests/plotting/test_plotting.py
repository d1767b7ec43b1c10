"""Figures: they draw what the table holds, in every odd case, and come out the same byte for byte."""

from __future__ import annotations

import math
import random
import re
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from recorded import SPACE, entries

from deap_hpo.analysis.lineages import curves_table, lineage_table
from deap_hpo.analysis.tables import epochs_table, trials_table
from deap_hpo.evaluation import Direction, Epoch, Evaluation
from deap_hpo.plotting import style
from deap_hpo.plotting.axes import label_values, scale_axis, wrapped
from deap_hpo.plotting.impact import plot_partial_dependence
from deap_hpo.plotting.lineage import plot_lineage
from deap_hpo.plotting.parallel import plot_parallel_coordinate
from deap_hpo.plotting.study import plot_intermediate_values, plot_optimization_history, plot_slice
from deap_hpo.plotting.style import save
from deap_hpo.records.entries import Entry
from deap_hpo.search_space.space import Categorical, Float, Int, Space


def test_the_history_draws_values_and_the_best_so_far() -> None:
    axes = plot_optimization_history(trials_table(entries(), SPACE)).axes[0]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["evaluation"] == [[1, 0.8], [2, 0.5]]
    assert drawn["repeated configuration"] == [[3, 0.5]]
    assert drawn["best so far"][1:] == [[1, 0.8], [2, 0.5], [3, 0.5], [4, 0.5]]
    assert [x for x, _ in drawn["no value (diverged or failed)"]] == [0, 4]


def test_what_was_pruned_is_drawn_where_it_ended() -> None:
    pruned = Entry(5, 2, (0.3, 0.7), Evaluation((0.9,), status="pruned"), seed=7)
    infeasible = Entry(6, 2, (0.2, 0.7), Evaluation((math.inf,), status="infeasible"), seed=7)
    table = trials_table([*entries(), pruned, infeasible], SPACE)
    figure = plot_optimization_history(table)
    drawn = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert drawn["pruned"] == [[5, 0.9]]
    assert [x for x, _ in drawn["no value (infeasible, diverged or failed)"]] == [0, 4, 6]
    slices = plot_slice(table, SPACE)
    panel = slices.axes[0]
    assert sorted(y for points in panel.collections for _, y in points.get_offsets().tolist()) == [0.5, 0.5, 0.8, 0.9]
    assert [len(line.get_xdata()) for line in panel.lines] == [3]
    assert {text.get_text() for text in slices.legends[0].texts} == {
        "pruned",
        "no value (infeasible, diverged or failed)",
    }


def test_what_has_no_value_stands_at_the_edge_of_the_worst_ones() -> None:
    for direction, edge in (("minimize", 1.0), ("maximize", 0.0)):
        towards: Any = direction
        history = plot_optimization_history(trials_table(entries(), SPACE), direction=towards).axes[0]
        panel = plot_slice(trials_table(entries(), SPACE), SPACE, direction=towards).axes[0]
        for axes in (history, panel):
            (crosses,) = (line for line in axes.lines if line.get_label() == "no value (diverged or failed)")
            assert set(crosses.get_ydata()) == {edge}


def test_curves_draw_every_training_and_bring_out_the_best() -> None:
    axes = plot_intermediate_values(epochs_table(entries()), best=2).axes[0]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["best validation loss (evaluation 2)"] == [[1, 0.8], [2, 0.5]]


@pytest.mark.parametrize("kept", [1, 2])
def test_the_epoch_that_was_kept_has_a_star(kept: int) -> None:
    axes = plot_intermediate_values(epochs_table(entries()), best=2, kept=kept).axes[0]
    (star,) = (line for line in axes.lines if line.get_marker() == "*")
    assert star.get_xydata().tolist() == [[kept, {1: 0.8, 2: 0.5}[kept]]]


def test_the_curve_of_the_best_runs_through_all_its_ancestors() -> None:
    def part(number: int, losses: list[float], first: int = 1, start: int | None = None, **more: Any) -> Entry:
        curve = tuple(Epoch(first + i, loss, loss) for i, loss in enumerate(losses))
        return Entry(number, 0, (0.5,), Evaluation((losses[-1],), curve=curve), 0, start_from=start, **more)

    parts = [part(0, [0.9, 0.8]), part(1, [0.7, 0.6]), part(2, [0.75], 3, 0), part(3, [0.5], 3, 1)]
    # One answered by an evaluation that was trained without a break; then the best, and a sibling.
    parts += [part(4, [0.7, 0.6, 0.5, 0.45], 1, 3, duplicate_of=9), part(5, [0.4], 5, 4), part(6, [0.5], 5, 4)]
    axes = plot_intermediate_values(curves_table(parts, best=5), best=5).axes[0]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["best validation loss (evaluation 5)"] == [[1, 0.7], [2, 0.6], [3, 0.5], [4, 0.45], [5, 0.4]]
    others = next(line.get_xydata().tolist() for line in axes.lines if line.get_color() == "0.6")
    ends = [i for i, (epoch, _) in enumerate(others) if math.isnan(epoch)]
    drawn_apart = [others[start:end] for start, end in zip([0, *(i + 1 for i in ends)], ends, strict=False)]
    assert len(drawn_apart) == 5
    assert [[2, 0.8], [3, 0.75]] in drawn_apart, "a part begins where it went on from"
    assert [[4, 0.45], [5, 0.5]] in drawn_apart
    plain = epochs_table(entries())
    assert curves_table(entries(), best=2).to_dict() == plain[["number", "epoch", "validation_loss"]].to_dict()


def test_a_long_study_is_drawn_with_few_objects() -> None:
    curve = (Epoch(1, 0.5, 0.5), Epoch(2, 0.4, 0.4))
    long = [Entry(i, i, (0.5, 0.5), Evaluation((0.4,), curve=curve), 0) for i in range(1000)]
    assert len(plot_optimization_history(trials_table(long, SPACE)).axes[0].patches) == 0
    assert len(plot_optimization_history(trials_table(long[:100], SPACE)).axes[0].patches) == 50
    assert len(plot_intermediate_values(epochs_table(long), best=2).axes[0].lines) == 3


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


ODD = Space(
    {
        "optimizer": Categorical(["sgd", "adam"]),
        "nesterov": Categorical([True, False]),
        "depth": Categorical([None, 5, 9]),
    },
    when={"nesterov": {"optimizer": "sgd"}},
)


def odd_trials() -> Any:
    genomes = [(0.2, 0.2, 0.1), (0.8, 0.5, 0.5), (0.2, 0.8, 0.9), (0.8, 0.5, 0.1)]
    values = [0.4, 0.3, 0.2, math.inf]
    status: Any = ["ok", "ok", "ok", "diverged"]
    evaluations = [Evaluation((value,), status=one) for value, one in zip(values, status, strict=True)]
    return trials_table([Entry(i, 0, genome, evaluations[i], 0) for i, genome in enumerate(genomes)], ODD)


def test_none_among_the_choices_stays_none_in_the_table() -> None:
    assert odd_trials()["params_depth"].tolist() == [None, 5, 9, None]


def test_a_hyperparameter_that_is_in_use_nowhere_has_an_empty_panel() -> None:
    entries = [Entry(i, 0, (0.8, 0.5, 0.5), Evaluation((0.3,)), 0) for i in range(3)]  # adam, without nesterov
    trials = trials_table(entries, ODD)
    assert trials["params_nesterov"].isna().all()
    assert len(plot_slice(trials, ODD).axes[1].collections[0].get_offsets()) == 0


def test_panels_show_choices_by_name_and_leave_out_what_is_not_in_use() -> None:
    optimizer, nesterov, depth = plot_slice(odd_trials(), ODD).axes[:3]
    shown = [[label.get_text() for label in axes.get_xticklabels()] for axes in (optimizer, nesterov, depth)]
    assert shown == [["sgd", "adam"], ["True", "False"], ["None", "5", "9"]]
    assert [len(axes.collections[0].get_offsets()) for axes in (optimizer, nesterov, depth)] == [3, 2, 3]


def test_choices_are_drawn_in_their_own_order_and_short_log_axes_have_plain_numbers() -> None:
    space = Space(
        {"size": Categorical(["s", "m", "l"]), "width": Int(8, 256, log=True), "lr": Float(1e-4, 1, log=True)}
    )
    genomes = [(0.9, 0.2, 0.1), (0.1, 0.9, 0.5), (0.5, 0.6, 0.9)]  # l, s, m
    entries = [Entry(i, 0, genome, Evaluation((0.5 - i / 10,)), 0) for i, genome in enumerate(genomes)]
    figure = plot_slice(trials_table(entries, space), space)
    figure.draw_without_rendering()
    size, width, lr = (
        [label.get_text() for which in ("major", "minor") for label in axes.get_xticklabels(which=which)]
        for axes in figure.axes[:3]
    )
    assert size == ["s", "m", "l"]
    assert {"20", "100"} <= set(width)
    assert not any("times" in label for label in width)
    assert r"$\mathdefault{10^{-3}}$" in lr


def never_in_use(**more: Any) -> list[Entry]:
    """Evaluations of two generations, in none of which `nesterov` is in use."""
    genomes = [(0.8, 0.2, 0.1), (0.8, 0.5, 0.5)]
    return [Entry(i, i, genome, Evaluation((0.5 - i / 10,)), 0, **more) for i, genome in enumerate(genomes)]


def test_ticks_are_at_the_values_where_these_are_few() -> None:
    space = Space({
        "dropout": Float(0.0, 0.5, step=0.1),
        "width": Int(16, 256, step=16),
        "depth": Int(1, 3),
        "x": Float(0.0, 1.0),
        "many": Int(0, 100, step=5),
    })  # fmt: skip
    made = [Entry(i, 0, tuple(space.sample(random.Random(i))), Evaluation((0.5,)), 0) for i in range(20)]
    panels = dict(zip(space, plot_slice(trials_table(made, space), space).axes, strict=False))
    ticks = {name: list(axes.get_xticks()) for name, axes in panels.items()}
    assert ticks["dropout"] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert ticks["width"] == [16, 64, 112, 160, 208, 256]
    assert ticks["depth"] == [1, 2, 3]
    assert len(ticks["x"]) < 10 > len(ticks["many"])
    line = lineage_table(made, space)
    assert list(plot_lineage(line, space).axes[0].get_yticks()) == ticks["dropout"]


def test_what_was_never_in_use_has_an_empty_panel(tmp_path: Path) -> None:
    trials = trials_table(never_in_use(), ODD)
    assert trials["params_nesterov"].isna().all()
    figure = plot_slice(trials, ODD)
    shown = [axes.collections[0] for axes in figure.axes[:3]]
    assert [len(points.get_offsets()) for points in shown] == [2, 0, 2]
    assert {points.get_clim() for points in shown} == {(0, 1)}
    assert all(path.exists() for path in save(figure, tmp_path / "slice"))


def test_schedules_leave_out_what_is_not_in_use(tmp_path: Path) -> None:
    entries = [*never_in_use(epochs=1), Entry(2, 1, (0.2, 0.8, 0.1), Evaluation((0.3,)), 0, epochs=2, start_from=0)]
    table = lineage_table(entries, ODD)
    assert table["params_depth"].tolist() == [None, 5, None]
    figure = plot_lineage(table, ODD)
    winner = [axes.lines[0].get_ydata().tolist() for axes in figure.axes[:3]]
    assert (winner[0], winner[1][2:], winner[2]) == ([1, 1, 0, 0], [1, 1], [0, 0, 0, 0])
    assert all(map(math.isnan, winner[1][:2]))
    assert all(path.exists() for path in save(figure, tmp_path / "lineage"))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_network_that_learnt_nothing_does_not_take_the_colours_from_the_others(direction: Direction) -> None:
    space = Space({"x": Float(0.0, 1.0)})
    sign = 1 if direction == "minimize" else -1
    values = [*(0.5 + 0.01 * i for i in range(19)), 0.5 + sign * 40]
    made = [Entry(i, 0, (i / 20,), Evaluation((value,)), 0, epochs=1) for i, value in enumerate(values)]
    figure = plot_lineage(lineage_table(made, space, direction), space, direction=direction)
    lines = figure.axes[0].collections[0]
    low, high = lines.get_clim()
    assert 0.49 < low < high < 0.70
    figure.canvas.draw()
    assert (lines.get_colors()[:, 3] == 1).all(), "none is transparent"
    worst, best = (lines.cmap(lines.norm(value)) for value in (values[-1], values[0 if sign == 1 else 18]))
    assert sum(worst[:3]) < sum(best[:3]), "the worst is dark, and the best bright"


def test_a_population_has_schedules_only_where_hyperparameters_change() -> None:
    space = Space({"x": Float(0.0, 1.0)})
    for gene, title in ((0.5, "Trainings, and how far they went"), (0.6, "Schedules of a population")):
        made = [
            Entry(0, 0, (0.5,), Evaluation((1.0,)), 0, epochs=1),
            Entry(1, 1, (gene,), Evaluation((0.5,)), 0, epochs=2, start_from=0),
        ]
        assert plot_lineage(lineage_table(made, space), space).get_suptitle() == title


def test_the_only_epoch_is_a_whole_number() -> None:
    trials = [Entry(i, 0, (0.5,), Evaluation((1.0 + i,), curve=(Epoch(1, 1.0, 1.0 + i),)), seed=1) for i in range(2)]
    figure = plot_intermediate_values(epochs_table(trials), best=0)
    figure.canvas.draw()
    assert {label.get_text() for label in figure.axes[0].get_xticklabels()} <= {"0", "1", "2"}


def test_colours_are_those_of_the_style_wherever_a_figure_is_shown() -> None:
    with style.style():
        assert [colour["color"] for colour in plt.rcParams["axes.prop_cycle"]] == list(style.COLORS)
    for path in Path(style.__file__).parent.glob("*.py"):
        assert not re.search(r'"C\d"', path.read_text().replace('such as "C0"', ""))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ((0.1, 4.0), ["0.1", "0.2", "0.5", "1", "2"]),
        ((0.001, 0.4), ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2"]),
        ((0.42, 2.3), ["0.5", "0.6", "0.7", "0.8", "0.9", "1", "2"]),
        ((0.91, 0.93), ["0.9125", "0.9150", "0.9200", "0.9275"]),
        ((0.1, 1e12), None),
        ((1e-7, 0.1), None),
    ],
)
def test_every_axis_of_losses_has_numbers_and_no_number_twice(
    values: tuple[float, float], labels: list[str] | None
) -> None:
    with style.style():
        figure, axes = plt.subplots()
        axes.plot([0, 1], values)
        label_values(axes, "loss")
        figure.canvas.draw()
        low, high = axes.get_ylim()
        shown = [
            tick.label1.get_text()
            for tick in (*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks())
            if low <= tick.get_loc() <= high and tick.label1.get_text()
        ]
    plt.close(figure)
    assert len(set(shown)) == len(shown) >= 4
    if labels is not None:
        assert set(labels) <= set(shown)


@pytest.mark.parametrize("value", [0.5, 1e-7, 12345.678])
def test_values_that_are_all_equal_have_a_linear_axis_around_them(value: float) -> None:
    with style.style():
        figure, axes = plt.subplots()
        axes.plot([0, 1], [value, value])
        label_values(axes, "loss")
        low, high = axes.get_ylim()
    plt.close(figure)
    assert axes.get_yscale() == "linear"
    assert 0.9 * value < low < value < high < 1.1 * value


@pytest.mark.parametrize(
    ("choices", "scale"), [((16, 32, 64, 128), "linear"), ((1e-4, 1e-3, 1e-2), "log"), ((0, 1, 100), "linear")]
)
def test_choices_that_are_numbers_have_their_ticks(choices: tuple[float, ...], scale: str) -> None:
    figure, axes = plt.subplots()
    scale_axis(axes, Categorical(choices))
    axes.plot(choices, choices)
    figure.canvas.draw()
    assert axes.get_xscale() == scale
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"{choice:g}" for choice in choices]
    assert not axes.get_xticks(minor=True).size
    plt.close(figure)


def test_many_choices_that_are_numbers_are_on_their_scale() -> None:
    figure, axes = plt.subplots()
    scale_axis(axes, Categorical([2**i for i in range(4, 11)]))
    assert axes.get_xscale() == "log"
    plt.close(figure)


def test_few_evaluations_have_no_scale_of_generations_and_no_others() -> None:
    first = [entry for entry in entries() if entry.generation == 0]
    trials = trials_table(first, SPACE)
    assert len(plot_slice(trials, SPACE).axes) == len(SPACE)
    assert len(plot_slice(trials_table(entries(), SPACE), SPACE).axes) == len(SPACE) + 1
    epochs = epochs_table(entries())
    number = int(epochs["number"].iloc[0])
    for table, others in ((epochs[epochs["number"].eq(number)], 0), (epochs, 1)):
        (legend,) = plot_intermediate_values(table, number).legends
        assert sum(text.get_text() == "the others" for text in legend.get_texts()) == others
    plt.close("all")


@pytest.mark.parametrize(("count", "rows", "columns"), [(3, 1, 3), (4, 1, 4), (9, 3, 4)])
def test_many_hyperparameters_have_several_rows_of_panels(count: int, rows: int, columns: int) -> None:
    space = Space({f"x_{i}": Float(0.0, 1.0) for i in range(count)})
    trials = trials_table([Entry(i, 0, (i / 5,) * count, Evaluation((0.5 + i,)), seed=0) for i in range(5)], space)
    dependence = pd.DataFrame(
        {"hyperparameter": list(space), "value": 0.5, "mean": 1.0, "low": 0.9, "high": 1.1}, index=range(count)
    )
    figure = plot_partial_dependence(dependence, trials, space)
    assert figure.axes[0].get_gridspec().get_geometry() == (rows, columns)
    assert [axes.get_xlabel() for axes in figure.axes if axes.axison] == [f"x_{i}" for i in range(count)]
    plt.close(figure)


def test_names_with_dollars_are_drawn_as_they_are_and_long_ones_are_broken(tmp_path: Path) -> None:
    for name in ("number of attention heads in each layer", "weight_decay_of_the_transformer_encoder", "w" * 60, "$x$"):
        lines = wrapped(name).split("\n")
        assert max(map(len, lines)) <= 28
        assert "".join(lines).replace(" ", "").replace("\\$", "$") == name.replace(" ", "")
    space = Space({"$lr_{x$": Float(0.0, 1.0), "cost in $ per $": Categorical(["$a$", "$_{"])})
    rows = [Entry(i, 0, (i / 12, i % 2 * 0.9), Evaluation((0.5 + i,)), seed=0) for i in range(12)]
    trials = trials_table(rows, space)
    figure = plot_slice(trials, space, value_name="loss ($_$)")
    save(figure, tmp_path / "slices", pdf=False)
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["\\$a\\$", "\\$_{"]


def test_a_scale_of_huge_values_is_not_told_twice() -> None:
    for values in ([2e8, 5e8, 1.4e9], [2e-10, 1e-9, 1.3e-9]):
        figure, axes = plt.subplots()
        axes.plot(values)
        label_values(axes, "loss")
        figure.canvas.draw()
        read = [float(label.get_text()) for label in axes.get_yticklabels() if label.get_text()]
        assert axes.yaxis.get_offset_text().get_text() == ""
        assert max(read) <= 10 * max(values)  # a tick may stand beyond the axis
        assert min(read) >= min(values) / 10
        plt.close(figure)


@pytest.mark.parametrize("failing", [False, True])
def test_drawing_leaves_a_notebook_showing_figures(failing: bool) -> None:
    was = plt.isinteractive()
    try:
        with suppress(ZeroDivisionError), style.style():
            matplotlib.interactive(not was)  # as the backend of a notebook does when it makes its first figure
            _ = 1 / (not failing)
        assert plt.isinteractive() is not was
    finally:
        matplotlib.interactive(was)


def test_many_choices_stand_upright() -> None:
    figure, axes = plt.subplots()
    scale_axis(axes, Categorical([f"kind {i}" for i in range(30)]))
    figure.canvas.draw()
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {90.0}
    plt.close(figure)


def test_names_of_choices_do_not_overlap() -> None:
    names = ["relu", "leaky_relu_with_a_small_slope", "gelu", "tanh approximation of the one before"]
    space = Space(
        {"activation": Categorical(names), "x": Float(0.0, 1.0), "kind": Categorical(["sgd", "adam", "lion"])}
    )
    rows = [Entry(i, 0, (i / 12, i / 12, i / 12), Evaluation((0.5 + i,)), seed=0) for i in range(12)]
    figure = plot_slice(trials_table(rows, space), space)
    figure.canvas.draw()
    for axes in figure.axes[:3]:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert {label.get_rotation() for label in figure.axes[2].get_xticklabels()} == {0.0}, "short ones lie"
    plt.close(figure)


def test_the_points_of_thousands_are_small() -> None:
    space = Space({"x": Float(0.0, 1.0)})
    sizes = []
    for count in (20, 200, 800, 4000):
        rows = [Entry(i, i // 10, (i / count,), Evaluation((1.0 + i,)), seed=0) for i in range(count)]
        figure = plot_slice(trials_table(rows, space), space)
        sizes.append(float(figure.axes[0].collections[0].get_sizes()[0]))
        plt.close(figure)
    assert sizes == [25.0, 25.0, 6.25, 5.0]


def test_of_one_hyperparameter_nothing_is_averaged_and_the_title_has_room() -> None:
    space = Space({"x": Float(0.0, 1.0)})
    trials = trials_table([Entry(i, 0, (i / 5,), Evaluation((0.5 + i,)), seed=0) for i in range(5)], space)
    dependence = pd.DataFrame({"hyperparameter": ["x"], "value": 0.5, "mean": 1.0, "low": 0.9, "high": 1.1})
    figure = plot_partial_dependence(dependence, trials, space)
    assert figure.get_suptitle() == "What the hyperparameter does"
    figure.draw_without_rendering()  # type: ignore[no-untyped-call]
    width = figure.bbox.width
    for drawn in (figure._suptitle, *figure.legends):  # type: ignore[attr-defined]
        extent = drawn.get_window_extent()
        assert extent.x0 >= 0
        assert extent.x1 <= width
    plt.close(figure)


def in_parts() -> list[Entry]:
    """Two trainings of one epoch; the better one was continued to three."""
    first = [Entry(i, 0, (0.2 + 0.4 * i, 0.7), Evaluation((value,)), 0, epochs=1) for i, value in enumerate((0.9, 0.5))]
    return [*first, Entry(2, 1, (0.6, 0.7), Evaluation((0.3,)), 0, epochs=3, start_from=1)]


def test_trainings_in_parts_are_told_apart_by_their_epochs() -> None:
    table = trials_table(in_parts(), SPACE)
    drawn = {line.get_label(): line for line in plot_optimization_history(table).axes[0].lines}
    assert drawn["fewer epochs"].get_xydata().tolist() == [[0, 0.9], [1, 0.5]]
    assert drawn["3 epochs"].get_xydata().tolist() == [[2, 0.3]]
    assert drawn["fewer epochs"].get_alpha() < 1
    slices = plot_slice(table, SPACE)
    assert sorted(slices.axes[0].collections[0].get_array().tolist()) == [1, 1, 3]
    assert slices.axes[-1].get_ylabel() == "epochs"
    parallel = plot_parallel_coordinate(table, SPACE)
    assert len(parallel.axes[0].collections[0].get_segments()) == 1
    assert parallel.axes[0].get_title() == "Hyperparameters of trainings of 3 epochs"


def test_where_all_have_as_many_epochs_generations_are_told_apart() -> None:
    table = trials_table([replace(entry, epochs=3) for entry in in_parts()], SPACE)
    history = plot_optimization_history(table)
    assert "evaluation" in [line.get_label() for line in history.axes[0].lines]
    assert "every other generation" in [text.get_text() for text in history.legends[0].get_texts()]
    assert plot_slice(table, SPACE).axes[-1].get_ylabel() == "generation"
    assert plot_parallel_coordinate(table, SPACE).axes[0].get_title() == "Hyperparameters of every evaluation"


def test_figures_keep_what_is_set_for_a_publication() -> None:
    table, figures = trials_table(entries(), SPACE), []
    for changed in ({}, {"font.size": 4.5, "font.family": "serif", "figure.figsize": (3.2, 2.0), "axes.grid": True}):
        with plt.rc_context(changed):
            figures += [plot_optimization_history(table), plot_slice(table, SPACE)]
    for usual, small in zip(figures[:2], figures[2:], strict=True):
        assert (small.get_size_inches() * 2).tolist() == usual.get_size_inches().tolist()
        for one in (lambda figure: figure.axes[0].xaxis.label, lambda figure: figure.axes[0].get_xticklabels()[0]):
            assert one(small).get_fontsize() * 2 == one(usual).get_fontsize()
            assert (one(small).get_fontname(), one(usual).get_fontname()) == ("DejaVu Serif", "DejaVu Sans")
    with plt.rc_context({"font.size": 18, "axes.titlesize": 5}):
        title = plot_optimization_history(table).axes[0].title
    assert title.get_fontsize() == 5
