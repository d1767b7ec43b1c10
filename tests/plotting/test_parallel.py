"""Parallel coordinates: every evaluation goes through its own values, the best on top."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from deap_hpo import Categorical, Float, Int, Space, optimize
from deap_hpo.plotting.parallel import plot_parallel_coordinate
from deap_hpo.visualization import plot_parallel_coordinate as of_study

SPACE = Space(
    {
        "lr": Float(1e-4, 1.0, log=True),
        "width": Int(0, 10),
        "kind": Categorical(["a", None, "c"]),
        "momentum": Float(0.0, 0.8),
    },
    when={"momentum": {"kind": "a"}},
)
ROWS: dict[str, Any] = {
    "number": [0, 1, 2, 3, 4, 5],
    "value": [1.0, 0.01, 0.1, 0.05, np.inf, 0.1],
    "status": ["ok", "ok", "ok", "pruned", "diverged", "ok"],
    "duplicate_of": [None, None, None, None, None, 2],
    "params_lr": [1e-4, 1e-2, 1.0, 0.5, 0.5, 1.0],
    "params_width": [0, 5, 10, 1, 1, 10],
    "params_kind": pd.Series(["a", None, "c", "a", "a", "c"], dtype=object),
    "params_momentum": [0.8, np.nan, np.nan, 0.0, 0.0, np.nan],
}
NOT_IN_USE = -0.12


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def lines(figure: Figure) -> list[list[float]]:
    """The heights of each line, in the order in which they are drawn."""
    (collection,) = (one for one in figure.axes[0].collections if isinstance(one, LineCollection))
    return [np.asarray(one)[:, 1].tolist() for one in collection.get_segments()]


def texts(figure: Figure, at: int) -> list[str]:
    """The numbers and names of an axis, from below."""
    near = [one for one in figure.axes[0].texts if round(one.get_position()[0]) == at]
    return [one.get_text() for one in sorted(near, key=lambda one: one.get_position()[1])]


def test_lines_go_through_the_values_and_the_best_comes_last() -> None:
    drawn = lines(plot_parallel_coordinate(pd.DataFrame(ROWS), SPACE))
    bins = 1 / 22, 11 / 22, 21 / 22  # the middle of the gene of 0, 5 and 10 among eleven numbers
    expected = [
        [0.0, bins[0], 1 / 6, 1.0, 1.0],
        [1.0, bins[2], 5 / 6, NOT_IN_USE, 0.5],
        [0.5, bins[1], 3 / 6, NOT_IN_USE, 0.0],
    ]
    assert np.allclose(drawn, expected), "without what was pruned, diverged, or asked for twice"


def test_the_best_is_told_and_the_better_are_darker() -> None:
    figure = plot_parallel_coordinate(pd.DataFrame(ROWS), SPACE, value_name="loss")
    (legend,) = figure.legends
    assert [one.get_text() for one in legend.get_texts()] == ["best (evaluation 1)"]
    (collection,) = (one for one in figure.axes[0].collections if isinstance(one, LineCollection))
    greys = np.atleast_2d(collection.get_colors())[:, 0].tolist()  # type: ignore[attr-defined]
    assert sorted(greys, reverse=True) == greys
    (best,) = (one for one in figure.axes[0].get_lines() if one.get_label() == "best (evaluation 1)")
    assert np.asarray(best.get_ydata()).tolist() == lines(figure)[-1]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_of_equal_values_the_first_is_the_best_as_in_a_study(direction: Any) -> None:
    rows = {**ROWS, "value": [0.5, 0.5, 0.5, 0.05, np.inf, 0.5]}
    figure = plot_parallel_coordinate(pd.DataFrame(rows), SPACE, direction=direction)
    assert [one.get_text() for one in figure.legends[0].get_texts()] == ["best (evaluation 0)"]


def test_axes_are_numbered_on_their_scales() -> None:
    figure = plot_parallel_coordinate(pd.DataFrame(ROWS), SPACE, value_name="loss")
    names = [one.get_text() for one in figure.axes[0].get_xticklabels()]
    assert names == ["lr", "width", "kind", "momentum", "loss"]
    assert texts(figure, 0) == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert texts(figure, 1)[0::4] == ["0", "10"]
    assert texts(figure, 2) == ["a", "None", "c"]
    assert texts(figure, 3) == ["not in use", "0", "0.2", "0.4", "0.6", "0.8"]
    assert texts(figure, 4) == ["0.01", "0.0316", "0.1", "0.316", "1"], "small losses differ most: a logarithmic scale"


def test_of_many_choices_every_third_is_named_and_whole_numbers_are_whole() -> None:
    space = Space({"kind": Categorical([f"k{i:02}" for i in range(30)]), "width": Int(1, 4096, log=True)})
    trials = pd.DataFrame({**ROWS, "params_kind": ["k00"] * 6, "params_width": [1] * 6})
    figure = plot_parallel_coordinate(trials, space)
    assert texts(figure, 0) == [f"k{i:02}" for i in range(0, 30, 3)]
    assert texts(figure, 1)[-1] == "4096"


@pytest.mark.parametrize(("shift", "direction"), [(0.0, "maximize"), (-0.5, "minimize")])
def test_accuracies_and_what_may_be_negative_are_on_a_linear_scale(shift: float, direction: Any) -> None:
    trials = pd.DataFrame(ROWS).assign(value=lambda rows: rows["value"] + shift)
    figure = plot_parallel_coordinate(trials, SPACE, direction=direction)
    heights = [line[-1] for line in lines(figure)]
    assert np.allclose(sorted(heights), [0.0, 0.09 / 0.99, 1.0])
    assert heights == sorted(heights, reverse=direction == "minimize")
    low, high = 0.01 + shift, 1.0 + shift
    assert np.allclose([float(one) for one in texts(figure, 4)], np.linspace(low, high, 5), rtol=1e-2)


def test_values_that_are_all_equal_are_in_the_middle() -> None:
    figure = plot_parallel_coordinate(pd.DataFrame(ROWS).assign(value=0.3), SPACE)
    assert {line[-1] for line in lines(figure)} == {0.5}
    assert texts(figure, 4) == ["0.3"]


def test_of_a_study_those_asked_for_are_drawn_or_the_first_twelve() -> None:
    space = {f"x{i}": Float(0.0, 1.0) for i in range(15)}
    settings: dict[str, Any] = {"algorithm": "random", "progress": False, "seed": 1}
    study = optimize(lambda params: params["x3"], space, max_evaluations=10, **settings)
    figure = of_study(study, ["x3", "x1"])
    assert [one.get_text() for one in figure.axes[0].get_xticklabels()] == ["x1", "x3", "value"]
    drawn = lines(figure)
    assert np.allclose(sorted(line[1] for line in drawn), sorted(study.trials_dataframe()["params_x3"]))
    figure = of_study(study)
    assert figure.axes[0].get_title() == "Hyperparameters of every evaluation: the 12 first of 15"
    assert len(lines(figure)[0]) == 13


def test_long_names_are_wrapped_and_what_is_not_in_use_has_room() -> None:
    space = Space({**{name: SPACE[name] for name in ("kind", "momentum")}, "a_long_name_of_one": Float(0.0, 1.0)})
    figure = plot_parallel_coordinate(pd.DataFrame({**ROWS, "params_a_long_name_of_one": [0.5] * 6}), space)
    assert "\n" in figure.axes[0].get_xticklabels()[2].get_text()
    assert figure.axes[0].get_ylim()[0] < NOT_IN_USE


def test_many_lines_are_the_paler() -> None:
    alphas = []
    for number in (60, 240):
        rows = {"number": range(number), "value": 1.0, "status": "ok", "duplicate_of": None, "params_x": 0.5}
        figure = plot_parallel_coordinate(pd.DataFrame(rows), Space({"x": Float(0.0, 1.0)}))
        alphas += [one.get_alpha() for one in figure.axes[0].collections]
    assert alphas == [1.0, 0.5]
