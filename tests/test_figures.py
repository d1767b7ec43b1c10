"""The figures and numbers of the repository follow from its tables, and the tables from experiments that can be run."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "figures"
sys.path.insert(0, str(FIGURES))

import draw  # noqa: E402
import drawings  # noqa: E402
import experiments  # noqa: E402
import export  # noqa: E402
import reproduction  # noqa: E402
import simulation  # noqa: E402

from deap_hpo.analysis import impact  # noqa: E402
from deap_hpo.analysis.importance import importances  # noqa: E402
from deap_hpo.analysis.offline import read_table  # noqa: E402
from deap_hpo.analysis.response import ResponseModel  # noqa: E402
from deap_hpo.evaluation import Evaluation  # noqa: E402
from deap_hpo.recorded import Recorded, load_study, study_names  # noqa: E402
from deap_hpo.records.entries import Entry  # noqa: E402
from deap_hpo.reports.comparison import markdown  # noqa: E402

DATA = FIGURES / "data"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw.draw(DATA, tmp_path_factory.mktemp("drawn"))


def test_every_figure_follows_from_its_table(drawn: list[Path]) -> None:
    """Byte for byte if the versions are those of the tracked figures; otherwise as pictures, approximately."""
    tracked = {path.name for suffix in ("png", "pdf") for path in FIGURES.glob(f"*.{suffix}")}
    assert {path.name for path in drawn} == tracked
    same_versions = json.loads((DATA / "figures.json").read_text()) == draw.versions()
    for path in drawn:
        if same_versions:
            assert path.read_bytes() == (FIGURES / path.name).read_bytes(), f"{path.name} is not drawn from its table"
        elif path.suffix == ".png":
            new, old = imread(path), imread(FIGURES / path.name)
            assert np.allclose(new.shape, old.shape, atol=12), path.name
            rows, columns = (min(sizes) for sizes in zip(new.shape[:2], old.shape[:2], strict=True))
            difference = np.abs(_coarse(new[:rows, :columns]) - _coarse(old[:rows, :columns]))
            assert difference.mean() < 0.01, path.name


def _coarse(picture: NDArray[np.float32], size: int = 24) -> NDArray[np.float32]:
    """Average over squares of `size` pixels: another version of Matplotlib shifts its text by some pixels."""
    rows, columns = (length // size for length in picture.shape[:2])
    squares = picture[: rows * size, : columns * size].reshape(rows, size, columns, size, -1)
    averages: NDArray[np.float32] = squares.mean(axis=(1, 3))
    return averages


def test_a_changed_table_changes_its_figure(drawn: list[Path], tmp_path: Path) -> None:
    """The check above can fail."""
    for path in DATA.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    runs = pd.read_csv(tmp_path / "paper_runs.csv")
    runs["validation_loss"] *= 1.1
    runs.to_csv(tmp_path / "paper_runs.csv", index=False)
    changed = {path.name: path.read_bytes() for path in draw.losses(tmp_path, tmp_path)}
    before = {path.name: path.read_bytes() for path in drawn}
    assert changed["figure_1.png"] != before["figure_1.png"]
    assert changed["test_loss.png"] == before["test_loss.png"]
    assert reproduction.results(tmp_path) != reproduction.results(DATA)


def test_the_numbers_of_the_text_follow_from_the_tables() -> None:
    text = reproduction.TEXT.read_text()
    assert reproduction.filled(text) == text
    with pytest.raises(SystemExit, match="must have exactly one part 'setting'"):
        reproduction.filled(text.replace("<!-- setting -->", ""))


def test_every_figure_of_the_text_is_there() -> None:
    import re

    named = re.findall(r"\(\.\./figures/(\w+\.png)\)", reproduction.TEXT.read_text())
    assert len(named) >= 8
    assert all((FIGURES / name).exists() for name in named)


def test_the_tables_of_impact_follow_from_the_trainings() -> None:
    trials, space = read_table(DATA / f"{export.TABLE}.parquet", "sobol")
    numbers = json.loads((DATA / "impact.json").read_text())
    same = all(version(name) == one for name, one in numbers["versions"].items())
    tolerance: dict[str, Any] = {"rtol": 1e-3 if same else 0.1, "atol": 1e-3 if same else 0.05}
    found = importances(trials, space).set_index("hyperparameter")
    kept = pd.read_csv(DATA / "impact_importances.csv").set_index("hyperparameter")
    pd.testing.assert_frame_equal(found, kept.loc[found.index], **tolerance)
    dependence = impact.partial_dependence(ResponseModel(trials, space))
    np.testing.assert_allclose(
        dependence["mean"], pd.read_csv(DATA / "impact_partial_dependence.csv")["mean"], **tolerance
    )
    assert impact.momentum_exponent(trials) == pytest.approx(numbers["momentum_exponent"], rel=1e-6)


def test_simulated_runs_follow_from_the_trainings() -> None:
    kept = pd.read_csv(DATA / "simulated_runs.csv").set_index(["run", "seed"])["validation_loss"]
    assert len(kept) == len(simulation.RUNS) * simulation.SEEDS
    found = simulation.simulate(DATA, seeds=3).set_index(["run", "seed"])["validation_loss"]
    numbers = json.loads((DATA / "impact.json").read_text())
    same = all(version(name) == one for name, one in numbers["versions"].items())
    np.testing.assert_allclose(found, kept[found.index], rtol=1e-3 if same else 0.2)
    assert found["run_4", 1] <= found["run_3", 1]  # it begins with the same generations


def test_only_whole_rounds_of_repeats_are_taken() -> None:
    made = tuple(Entry(i, 0, (float(i % 3),), Evaluation((0.5,)), seed=i) for i in range(8))
    recorded = Recorded("noise", ("minimize",), None, made, {})
    whole = export.whole_rounds(recorded)
    assert whole is not None
    assert [entry.number for entry in whole.entries] == [0, 1, 2, 3, 4, 5]
    assert export.whole_rounds(replace(recorded, entries=made[:5])) is None
    assert export.whole_rounds(replace(recorded, entries=())) is None


def test_comparisons_that_are_there_are_drawn(tmp_path: Path) -> None:
    row = {"method": "a", "mean": 0.5, "low": 0.4, "high": 0.6, "mean_rank": 1.0}
    points = [{"method": "a", "epochs": epochs, "median": 0.5, "low": 0.4, "high": 0.6} for epochs in (1, 2)]
    made = {"seeds": 4, "anytime": points, "outcomes": {"test_loss": {"summary": [row]}}}
    (tmp_path / "comparison_small.json").write_text(json.dumps(made))
    names = sorted(path.name for path in draw.comparisons(tmp_path, tmp_path / "figures"))
    stems = ("comparison_small", "comparison_small_outcomes")
    assert names == sorted(f"{stem}.{suffix}" for stem in stems for suffix in ("pdf", "png"))


@pytest.mark.parametrize(("name", "methods"), [("comparison", 8), ("adaptive", 6)])
def test_a_page_on_a_comparison_has_the_table_and_the_command_of_its_data(name: str, methods: int) -> None:
    data = {"comparison": "comparison_rivals", "adaptive": "comparison_adaptive"}[name]
    made = json.loads((FIGURES / "data" / f"{data}.json").read_text())
    page = (ROOT / "docs" / f"{name}.md").read_text()
    rows = [row for row in markdown(made).splitlines() if row.startswith("| ")]
    for row in rows[: 2 + methods]:
        assert "|".join(row.split("|")[:-3]) + "|" in page  # without the times
    assert f"\n{made['command']}\n" in page


def test_curves_costs_and_work_draw_their_rows() -> None:
    curve = {"label": ["a", "a"], "seed": 1, "epoch": [1, 2], "training_loss": [2, 1], "validation_loss": [1.5, 0.9]}
    first = drawings.plot_final_curves(pd.DataFrame(curve)).axes[0]
    assert first.lines[0].get_xydata().tolist() == [[1, 2], [2, 1]]

    costs = pd.DataFrame({"label": ["a", "b"], "trained": [1, 0.5], "evaluations": [1, 0.4], "published": [1, 0.9]})
    texts = [text.get_text() for text in drawings.plot_costs(costs).axes[0].texts]
    assert texts == ["1.00", "0.40", "1.00", "0.50", "1.00", "0.90"]

    work = pd.DataFrame({"label": ["a", "b"], "whole": [2.0, 1.0], "short": [0.5, 0.0], "answered": [1.0, 0.0]})
    seeds = pd.DataFrame({"label": ["a", "a", "b"], "trained": [2.0, 3.0, 1.0]})
    axes = drawings.plot_work(work.assign(note=["one", "two"]), seeds).axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches][::2] == [(0.0, 2.0), (2.0, 0.5), (2.5, 1.0)]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[2.0, 3.0], [1.0]]
    assert [(text.get_text(), text.xy[0]) for text in axes.texts] == [("one", 3.5), ("two", 1.0)]


def test_49_regrets_all_differ_without_colours_too() -> None:
    points = {"budget": [1, 2], "low": [0.4, 0.3], "high": [0.6, 0.5]}
    many = [pd.DataFrame({**points, "regret": [0.5, 0.4 + i / 100], "method": f"$m_{{{i}$"}) for i in range(49)]
    figure = drawings.plot_regrets(pd.concat(many), first="0")
    lines = figure.axes[0].lines
    assert len({(line.get_marker(), str(line._dash_pattern)) for line in lines}) == 49  # type: ignore[attr-defined]
    figure.draw_without_rendering()  # raises if a name is read as mathematics


def test_work_counts_epochs_of_every_training_and_what_the_record_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {"evaluator": {"data": {"training_size": 500_000}, "epochs": 2}}
    (tmp_path / "paper_runs.json").write_text(json.dumps(about))
    runs = pd.DataFrame({"run": ["baseline", "run_2"], "seed": 1, "seconds": [10.0, 3.0]})
    runs.to_csv(tmp_path / "paper_runs.csv", index=False)
    trials = pd.DataFrame(
        [("baseline", 0, "ok", None), ("baseline", 1, "diverged", None), ("baseline", 2, "diverged", None)]
        + [("baseline", 3, "ok", 0), ("baseline", 4, "diverged", 1), ("run_2", 0, "ok", None)],
        columns=["run", "number", "status", "duplicate_of"],
    ).assign(seed=1)
    trials.to_csv(tmp_path / "paper_trials.csv", index=False)
    epochs = [("baseline", 0, 1), ("baseline", 0, 2), ("baseline", 1, 1), ("run_2", 0, 1), ("run_2", 0, 2)]
    table = pd.DataFrame(epochs, columns=["run", "number", "epoch"]).assign(seed=1)
    table.to_csv(tmp_path / "paper_epochs.csv", index=False)
    given: list[Any] = []
    true = draw.plot_work
    monkeypatch.setattr(draw, "plot_work", lambda *tables, **named: given.append(tables) or true(*tables))
    assert len(draw.work(tmp_path, tmp_path)) == 2
    work, seeds = given[0]
    # Whole: two epochs. Short: one and the half one in which it diverged. Answered: two epochs, spared by the record.
    assert work[["label", "whole", "short", "answered"]].to_numpy().tolist() == [
        ["baseline", 1.0, 1.5, 2.0], ["run 2", 1.0, 0.0, 0.0],
    ]  # fmt: skip
    assert seeds["trained"].tolist() == [2.5, 1.0]
    assert work["note"].tolist() == [
        "1.00 of the baseline's, 1.00 of its time",
        "0.40 of the baseline's, 0.30 of its time",
    ]


def test_verdicts_say_no_more_than_the_test() -> None:
    few = {"mean": -1.0, "p": 0.25, "least_p": 0.25, "n": 4, "lower": 3, "equal": 1, "higher": 0}
    assert reproduction.verdict(few).startswith("not shown: with 3 unequal pairs this test cannot be significant")
    assert reproduction.verdict({**few, "p": 0.01, "least_p": 0.002}).startswith("holds")
    assert reproduction.verdict({**few, "mean": 1.0, "p": 0.01, "least_p": 0.002}).startswith("the opposite holds")
    assert reproduction.verdict({**few, "p": 0.2, "least_p": 0.002}) == (
        "not shown (lower in 3, equal in 1, higher in 0 of 4 pairs)"
    )


SMALL = experiments.Scale(
    seeds=2,
    settings=(
        "task.data=digits",
        "task.model=mlp",
        "task.arguments={inputs=64, width=16}",
        "task.training_size=200",
        "task.validation_size=100",
        "training.epochs=1",
        "training.device=cpu",
        "execution.executor=serial",
    ),
    dense=("evolution.population=16", "evolution.generations=2"),
)


@pytest.mark.usefixtures("small_forests")
def test_the_experiments_run_and_give_tables_figures_and_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiments, "RUNS", ("run_2", "run_3"))
    monkeypatch.setattr(export, "RUNS", ("run_2", "run_3"))
    paper, dense, noise = (str(tmp_path / f"{name}.db") for name in ("paper", "dense", "noise"))
    experiments.paper_runs(SMALL, paper)
    experiments.dense_sample(SMALL, dense)
    monkeypatch.setattr(experiments, "NOISE_SEEDS", 2)
    # Shorten the parts that take long.
    monkeypatch.setattr(simulation, "SEEDS", 5)
    monkeypatch.setattr(simulation, "PARTS", 2)
    monkeypatch.setattr(export, "MODELS", ("nearest",))
    experiments.noise_sample(SMALL, dense, noise)
    target = tmp_path / "data"
    export.export(paper, dense, noise, target, command="a test", commit="none")
    (target / "published.csv").write_bytes((DATA / "published.csv").read_bytes())
    runs = pd.read_csv(target / "paper_runs.csv")
    assert (runs["seconds"] > 0).all()
    assert runs.groupby("run")["seed"].apply(list).to_dict() == {"run_2": [1, 2], "run_3": [1, 2]}
    table, space = read_table(target / f"{export.TABLE}.parquet")
    assert table["sample"].value_counts().to_dict() == {"sobol": 32, "repeats": 24}
    assert table.groupby("configuration").size().value_counts().to_dict() == {1: 20, 3: 12}
    assert list(space) == ["lr", "momentum", "weight_decay"]
    export.drop_seconds(target, ["dense"])
    assert "seconds" in pd.read_csv(target / "paper_runs.csv")
    assert "seconds" not in read_table(target / f"{export.TABLE}.parquet")[0]
    export.drop_seconds(target, ["paper"])
    assert "seconds" not in pd.read_csv(target / "paper_runs.csv")
    monkeypatch.setattr(draw, "save", partial(draw.save, pdf=False))
    assert len(draw.draw(target, tmp_path / "figures")) >= 10
    assert "run 2" in reproduction.filled(reproduction.TEXT.read_text(), target)


def test_runs_side_by_side_are_the_runs_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "RUNS", ("run_2", "run_3"))
    outcomes = []
    for together in (True, False):
        storage = str(tmp_path / f"{together}.db")
        experiments.paper_runs(SMALL, storage, together=together)
        names = study_names(storage)
        assert len(names) == 4
        studies = [load_study(name, storage) for name in names]
        outcomes.append(
            [
                ([entry.evaluation.values for entry in study.entries], study.attributes["final"]["test_loss"])
                for study in studies
            ]
        )
    assert outcomes[0] == outcomes[1]


def test_what_is_on_record_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "RUNS", ("run_2",))
    storage = str(tmp_path / "paper.db")
    experiments.paper_runs(SMALL, storage)
    monkeypatch.setattr(experiments, "evolve", None)
    experiments.paper_runs(SMALL, storage)
