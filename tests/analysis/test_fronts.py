"""Fronts and hypervolumes against brute force; the figure; the commands with several objectives."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file
from test_cli import call

from deap_hpo import optimize
from deap_hpo.analysis.fronts import front_table, hypervolumes, pareto_front, reference_point
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation
from deap_hpo.evolution.individual import individual_type
from deap_hpo.plotting.pareto import plot_pareto_front
from deap_hpo.plotting.style import save
from deap_hpo.recorded import Recorded, load_study
from deap_hpo.records.entries import Entry
from deap_hpo.reports.html import page
from deap_hpo.reports.study import print_study
from deap_hpo.search_space.space import Categorical, Float, Space
from deap_hpo.stopping import EarlyStopping, StoppedEarly
from deap_hpo.study import Study

few = st.integers(0, 4).map(float)


def entries_of(rows: Any, generations: int = 1) -> list[Entry]:
    entries = []
    for i, (values, violation, status) in enumerate(rows):
        values = values if status == "ok" else tuple(math.inf for _ in values)
        entries.append(Entry(i, i % generations, (0.5,), Evaluation(values, status, violation=violation), seed=0))
    return entries


rows = st.lists(
    st.tuples(st.tuples(few, few, few), st.sampled_from([0.0, 0.0, 1.0]), st.sampled_from(["ok", "ok", "diverged"])),
    max_size=20,
)


@given(rows, st.lists(st.sampled_from(["minimize", "maximize"]), min_size=3, max_size=3))
def test_the_front_is_that_of_brute_force(found: Any, directions: Any) -> None:
    entries = entries_of(found)
    signs = [1 if direction == "minimize" else -1 for direction in directions]
    costs = {
        entry.number: [sign * value for sign, value in zip(signs, entry.evaluation.values, strict=True)]
        for entry in entries
        if entry.evaluation.feasible
    }

    def dominated(number: int) -> bool:
        mine = costs[number]
        return any(all(map(float.__le__, other, mine)) and other != mine for other in costs.values())

    expected = sorted((costs[number][0], number) for number in costs if not dominated(number))
    assert [entry.number for entry in pareto_front(entries, directions)] == [number for _, number in expected]


@given(rows)
def test_the_hypervolume_is_the_number_of_unit_cubes_and_never_falls(found: Any) -> None:
    directions: Any = ("minimize", "maximize", "minimize")
    entries = entries_of(found, generations=3)
    reference = (5.0, 0.0, 5.0)
    cubes = [
        cube
        for cube in itertools.product(range(5), repeat=3)
        if any(
            e.evaluation.values[0] <= cube[0] and e.evaluation.values[1] > cube[1] and e.evaluation.values[2] <= cube[2]
            for e in entries
            if e.evaluation.feasible
        )
    ]
    volumes = hypervolumes(entries, directions, reference)
    assert len(volumes) == len({entry.generation for entry in entries})
    assert volumes == sorted(volumes)
    assert (volumes or [0.0])[-1] == pytest.approx(len(cubes))


def test_repeated_configurations_are_on_the_front_once_and_equal_values_side_by_side() -> None:
    good = Evaluation((1.0, 1.0))
    entries = [Entry(0, 0, (0.1,), good, 0), Entry(1, 0, (0.1,), good, 0, duplicate_of=0), Entry(2, 0, (0.2,), good, 0)]
    assert [entry.number for entry in pareto_front(entries, ("minimize", "minimize"))] == [0, 2]


def test_the_default_reference_is_a_tenth_of_the_range_beyond_the_worst_feasible_values() -> None:
    found = [((1.0, 5.0), 0.0, "ok"), ((3.0, 2.0), 0.0, "ok"), ((9.0, 0.0), 0.5, "ok"), ((0.0, 0.0), 0.0, "diverged")]
    entries = entries_of(found)
    assert reference_point(entries, ("minimize", "maximize")) == pytest.approx((3.2, 1.7))
    # The ends of the front count, too: 2.2 by 0.3 and 0.2 by 3.3, which share 0.2 by 0.3.
    assert hypervolumes(entries, ("minimize", "minimize")) == pytest.approx([0.66 + 0.66 - 0.06])
    assert reference_point(entries[:1], ("minimize", "maximize")) == pytest.approx((1.1, 4.5))
    assert reference_point(entries_of([((0.0, -2.0), 0.0, "ok")]), ("minimize", "maximize")) == pytest.approx(
        (0.1, -2.2)
    )
    with pytest.raises(InputError, match="no evaluation has finite values and keeps its constraints"):
        reference_point(entries[2:], ("minimize", "minimize"))
    assert hypervolumes(entries[2:], ("minimize", "minimize")) == [0.0]
    with pytest.raises(InputError, match=r"a value for each of 2 objectives; got \(1.0,\)"):
        hypervolumes(entries, ("minimize", "minimize"), (1.0,))


def recorded(found: Any, attributes: Any = None) -> Recorded:
    directions: Any = ("minimize",) * len(found[0][0])
    return Recorded("study", directions, None, tuple(entries_of(found)), attributes or {})


@pytest.mark.parametrize("name", ["number", "generation", "violation", "front"])
def test_an_objective_may_be_called_what_a_column_is(name: str) -> None:
    study = recorded([((1.0, 2.0), 0.0, "ok"), ((2.0, 1.0), 0.0, "ok")], {"evaluator": {"metric": ["loss", name]}})
    table = front_table(study.entries, study.directions, study.objective_names)
    assert table[f"values_{name}"].tolist() == [2.0, 1.0]
    figure = plot_pareto_front(table, study.objective_names, study.directions)
    assert figure.axes[0].get_xlabel() == f"{name} (less is better)"
    assert f'<th scope="col">{name}</th>' in page([study])


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("violation", [0.0, 1.0])
def test_the_figure_shows_the_front_and_what_is_behind_it(objectives: int, violation: float) -> None:
    values = [(float(i), 100.0 / (i + 1), float(i % 2)) for i in range(5)] + [(9.0, 200.0, 9.0)]
    found = [(one[:objectives], 0.0, "ok") for one in values]
    study = recorded([*found, (values[0][:objectives], violation, "ok")])
    names = study.objective_names
    table = front_table(study.entries, study.directions, names)
    figure = plot_pareto_front(table, names, study.directions)
    panels = figure.axes[:-1]
    assert [axes.get_xlabel() for axes in panels] == [f"{name} (less is better)" for name in names[1:]]
    assert panels[0].get_ylabel() == "value 1 (less is better)"
    front = panels[0].collections[0].get_offsets()
    assert len(front) == int(table["front"].sum())
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert ("breaks a constraint" in said) == (violation > 0)
    assert len(panels[0].lines) == (3 if objectives == 2 else 2)  # the staircase
    plt.close(figure)


CONFIG = """
[task]
data = "digits"
model = "mlp"
arguments = { inputs = 64 }
training_size = 600
validation_size = 200
objective = ["loss", "parameters"]
constraints = ["parameters <= 10000"]

[training]
epochs = 2
device = "cpu"

[space]
lr = { type = "float", low = 0.1, high = 3.0, log = true }
width = { type = "int", low = 4, high = 512, log = true }

[evolution]
algorithm = "nsga-ii"
population = 8
generations = 4

[execution]
executor = "serial"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "two.toml").write_text(CONFIG)
    return tmp_path


def test_width_is_traded_for_loss_from_run_to_report(here: Path) -> None:
    ended = call("run", "two.toml")
    assert ended.exit_code == 0, ended.output
    assert "pareto.png" in ended.output
    assert "infeasible" in next(line for line in ended.output.splitlines() if line.startswith("gen")).split()
    described = json.loads(call("show", "two", "--json").output)
    front = described["pareto_front"]
    assert described["objectives"] == ["loss", "parameters"]
    assert len(front) >= 4
    losses, sizes = ([one["values"][name] for one in front] for name in ("loss", "parameters"))
    assert losses == sorted(losses)
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) <= 10_000
    for one in front:
        width = one["params"]["width"]
        assert one["values"]["parameters"] == 64 * width + width + 10 * width + 10
    volumes = described["hypervolume"]["by_generation"]
    assert volumes == sorted(volumes)
    assert len(volumes) == 4
    assert described["best"]["value"] == losses[0] == described["final"]["validation_loss"]
    untrained = [e for e in load_study("two", "runs/studies.db").entries if e.evaluation.status == "infeasible"]
    assert untrained
    assert not any(entry.evaluation.curve for entry in untrained)
    assert f"{described['counts']['infeasible']} infeasible" in ended.output

    shown = call("show", "two").output
    assert f"Pareto front: {len(front)} evaluations" in shown
    assert "Hypervolume by generation" in shown
    assert Path("runs/two/pareto.png").stat().st_size > 1000
    drawn = json.loads(call("plot", "two", "--json").output)
    assert {"runs/two/pareto.png", "runs/two/pareto.pdf"} <= set(drawn)
    assert Path("runs/two/pareto.pdf").stat().st_size > 1000
    smallest = front[-1]
    exported = json.loads(call("export", "two", "--evaluation", str(smallest["number"]), "--json").output)
    assert sum(tensor.numel() for tensor in load_file(exported[0]).values()) == smallest["values"]["parameters"]
    assert f"validation_loss = {smallest['values']['loss']!r}" in Path(exported[1]).read_text()
    assert json.loads(call("show", "two", "--json").output)["final"]["number"] == described["best"]["number"]
    refused = call("export", "two", "--evaluation", "99")
    assert (refused.exit_code, "evaluation must be one of the 32 of 'two'; got 99" in refused.stderr) == (2, True)
    assert call("report", "two").exit_code == 0
    page = Path("runs/two/report.html").read_text()
    table = page.partition("The Pareto front")[2].partition("</table>")[0]
    assert re.findall(r'<th scope="col">(.*?)</th>', table)[:4] == ["number", "generation", "loss", "parameters"]
    assert table.count("<tr>") == len(front) + 1
    assert "-" not in re.findall(r"<td>(.*?)</td>", table)
    assert "its hypervolume by generation" in page


@pytest.mark.usefixtures("no_figures")
def test_a_run_with_several_objectives_resumes_exactly_and_refuses_other_goals(here: Path) -> None:
    whole = json.loads(call("run", "two.toml", "--name", "whole", "--json").stdout)
    cut = ("--name", "cut", "--set", "evolution.algorithm=nsga-ii", "--set", "evolution.max_evaluations=11")
    assert "Continue with" in call("run", "two.toml", *cut).stderr
    resumed = json.loads(call("resume", "cut", "--set", "evolution.max_evaluations=100", "--json").stdout)
    assert (resumed["pareto_front"], resumed["hypervolume"]) == (whole["pareto_front"], whole["hypervolume"])
    for change, said in (
        ("task.constraints=['parameters <= 9000']", "constraints"),
        ("task.objective=['loss', 'seconds']", "objective"),
        ("task.direction=maximize", "directions"),
    ):
        refused = call("resume", "cut", "--set", change)
        assert refused.exit_code == 2, refused.output
        assert said in refused.stderr


def test_patience_waits_for_the_front(here: Path) -> None:
    """A generation that moves the front without a better first objective is no reason to stop."""
    directions: Any = ("minimize", "minimize")
    steps = {0.1: (1.0, 5.0), 0.2: (2.0, 4.0), 0.3: (3.0, 3.0), 0.4: (4.0, 4.0), 0.5: (5.0, 5.0)}

    def evolve(study: Study) -> None:
        for gene in steps:
            study.map(lambda genome: steps[genome[0]], [individual_type((-1.0, -1.0))([gene])])

    with Study(directions=directions, callbacks=[EarlyStopping(patience=2)]) as study:
        with pytest.raises(StoppedEarly, match=r"in generation 5: nothing better for 2 generations\."):
            evolve(study)
        assert len(study.record) == 5


def test_compare_refuses_several_objectives(here: Path) -> None:
    ended = call("compare", "nsga-ii", "random", "--config", "two.toml")
    assert ended.exit_code == 2
    assert "compare judges by one objective" in ended.stderr


@pytest.mark.usefixtures("no_figures")
def test_a_random_baseline_has_a_front_too(here: Path) -> None:
    ended = call("run", "two.toml", "--set", "evolution.algorithm=random", "--json")
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["pareto_front"]


@pytest.mark.usefixtures("no_figures")
def test_nsga_3_runs_by_its_name_with_three_objectives(here: Path) -> None:
    three = ("--set", "task.objective=['loss', 'parameters', 'accuracy']")
    three += ("--set", "task.direction=['minimize', 'minimize', 'maximize']", "--set", "evolution.algorithm=nsga-iii")
    ended = call("run", "two.toml", *three, "--json")
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["directions"] == ["minimize", "minimize", "maximize"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["evolution.algorithm=truncation"], "The algorithm 'truncation' takes one objective, the task has 2."),
        (["evolution.algorithm=nsga2"], "The algorithm 'nsga2' takes one objective, the task has 2."),
        (["evolution.stages=[1, 2]"], "needs a single objective; the task has 2. Remove evolution.stages"),
        (["task.objective=loss"], "nsga-ii needs at least 2 objectives; got 1."),
        (["task.constraints=['parameters < 3']"], "must be NAME <= NUMBER or NAME >= NUMBER; got 'parameters < 3'"),
        (["task.objective=['loss', 'size']"], "objective must name what is measured"),
        (["task.direction=up"], "direction must be 'minimize' or 'maximize'; got 'up'."),
        (["evolution.arguments={divisions=0}"], "divisions must be an integer of at least 1; got 0."),
    ],
)
def test_what_does_not_fit_is_one_sentence(here: Path, overrides: list[str], said: str) -> None:
    ended = call("run", "two.toml", *[word for one in overrides for word in ("--set", one)])
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_is_in_use_in_part_of_a_front_is_shown_and_what_is_not_is_a_dash() -> None:
    hyperparameters = {"kind": Categorical(["a", "b"]), "x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}
    space = Space(hyperparameters, when={"x": {"kind": "a"}, "y": {"kind": "b"}})
    genomes = [(0.2, 0.25, 0.5), (0.8, 0.5, 0.75)]
    for values, directions in (([(1.0, 2.0), (2.0, 1.0)], ("minimize",) * 2), ([(1.0,), (2.0,)], ("minimize",))):
        entries = [Entry(i, 0, genomes[i], Evaluation(values[i]), seed=0) for i in range(2)]
        screen = io.StringIO()
        print_study(Recorded("study", directions, space, tuple(entries), {}), Console(file=screen, width=100), top=5)
        rows = [
            line.split() for line in screen.getvalue().splitlines() if line.rstrip().endswith((" y", " 0.75", " -"))
        ]
        assert [row[-3:] for row in rows] == [["kind", "x", "y"], ["a", "0.25", "-"], ["b", "-", "0.75"]]


def test_points_of_the_front_have_their_numbers_where_there_is_room() -> None:
    values = [(1.0, 9.0), (2.0, 5.0), (2.0001, 4.9999), (9.0, 1.0), (9.0, 9.0)]
    study = recorded([(one, 0.0, "ok") for one in values])
    table = front_table(study.entries, study.directions, study.objective_names)
    figure = plot_pareto_front(table, study.objective_names, study.directions)
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["0", "1", "3"]


@pytest.mark.parametrize("rising", [False, True])
def test_numbers_of_a_front_overlap_neither_each_other_nor_its_points(rising: bool) -> None:
    points = 60
    along = np.linspace(0.1, 1.0, points)
    table = pd.DataFrame({"values_a": along if rising else 1.1 - along, "values_b": along, "number": range(points)})
    table = table.assign(number=table["number"] + 1000, generation=0, violation=0.0, front=True)
    figure = plot_pareto_front(table, ["a", "b"], ["maximize" if rising else "minimize", "minimize"])
    (axes, *_) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    places = axes.transData.transform(table[["values_b", "values_a"]].to_numpy())
    plt.close(figure)
    assert len(boxes) > 8
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert not any(box.contains(*place) for box in boxes for place in places)


def test_dollars_in_the_names_of_objectives_are_drawn_as_they_are(tmp_path: Path) -> None:
    study = recorded([((1.0, 2.0), 0.0, "ok"), ((2.0, 1.0), 0.0, "ok")])
    names = ["$_{$", "cost in $ per $"]
    save(
        plot_pareto_front(front_table(study.entries, study.directions, names), names, study.directions), tmp_path / "f"
    )
    assert (tmp_path / "f.png").exists()


def test_a_front_of_a_functions_objectives_shows_each_once(tmp_path: Path) -> None:
    def costs(params: dict[str, float]) -> dict[str, float]:
        return {"near": params["x"], "far": 1 - params["x"], "score": 2.0}

    optimize(
        costs,
        {"x": Float(0.0, 1.0)},
        metric=["near", "far"],
        direction=["minimize", "minimize"],
        population=4,
        generations=2,
        storage=tmp_path / "record.db",
        name="front",
    )
    console = Console(width=200, record=True, file=io.StringIO())
    print_study(load_study("front", tmp_path / "record.db"), console, 5)
    header = next(line for line in console.export_text().splitlines() if "evaluation" in line and "near" in line)
    assert header.split() == ["evaluation", "generation", "near", "far", "x", "score"]
