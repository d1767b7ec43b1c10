"""The commands, as a user types them: their effects, their output, their messages for wrong input, their exit codes."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import optuna
import pytest
from interruptions import count_recorded
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

import deap_hpo
from deap_hpo.cli import app
from deap_hpo.commands import exits
from deap_hpo.configuration.config import tomllib
from deap_hpo.evaluation import Evaluation
from deap_hpo.evolution.individual import Individual
from deap_hpo.optimization import optimize
from deap_hpo.plotting.style import save
from deap_hpo.recorded import load_study, note
from deap_hpo.reports.figures import save_figures
from deap_hpo.reports.html import figure_html
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.study import Study

CONFIG = """
[task]
data = "digits"
model = "mlp"
arguments = { inputs = 64, width = 32 }
training_size = 300
validation_size = 200

[training]
epochs = 2
device = "cpu"

[space]
lr = { type = "float", low = 0.001, high = 100.0, log = true }
momentum = { type = "float", low = 0.0, high = 0.9 }

[evolution]
algorithm = "truncation"
population = 5
generations = 3
indpb = 0.2

[execution]
executor = "serial"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None, small_forests: None) -> Path:
    """An empty folder to work in, with a small run in ``small.toml``; no figures are drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "small.toml").write_text(CONFIG)
    return tmp_path


def draw_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deap_hpo.reports.figures.save_figures", save_figures)
    monkeypatch.setattr("deap_hpo.reports.comparison_files.save", save)
    monkeypatch.setattr("deap_hpo.reports.comparison_files.figure_html", figure_html)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_run_show_list_plot_resume(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_after_all(monkeypatch)
    ended = call("run", "small.toml")
    assert ended.exit_code == 0, ended.output
    lines = ended.output.splitlines()
    assert lines[0].split() == ["gen", "nevals", "avg", "std", "min", "max", "diverged", "cached", "seconds"]
    assert [line.split()[:2] for line in lines[1:4]] == [["0", "5"], ["1", "3"], ["2", "3"]]
    for said in (
        "validation loss",
        "test       loss",
        "(297 examples",
        "runs/studies.db, study small",
        "deap-hpo resume",
    ):
        assert said in ended.output

    described = json.loads(call("show", "small", "--json").output)
    assert described["counts"]["evaluations"] == 11
    assert described["final"]["number"] == described["best"]["number"]
    assert described["final"]["validation_loss"] == described["best"]["value"]  # trained again: the same bits
    assert f"loss {described['final']['test_loss']:.4f}" in ended.output
    assert f"Trained in {described['evaluator']['precision']} on " in ended.output
    assert set(load_file("runs/small/best.safetensors")) == {
        f"layers.{i}.{k}" for i in (1, 4) for k in ("weight", "bias")
    }
    written = json.loads(Path("runs/small/best.json").read_text())
    assert written.pop("inputs")["shape"] == [1, 8, 8]
    assert written == described["final"]

    assert f"{described['best']['value']:.4f}" in call("show", "small").output
    assert [study["name"] for study in json.loads(call("list", "--json").output)] == ["small"]
    assert "small" in call("list").output

    paths = json.loads(call("plot", "small", "--output", "pictures", "--json").output)
    assert [Path(path).name for path in paths if path.endswith(".png")] == [
        "history.png",
        "curves.png",
        "hyperparameters.png",
    ]
    assert all(Path(path).stat().st_size > 1000 for path in paths)
    assert not list(Path("runs/small").glob("*.pdf")), "a run draws what is looked at; print is plot's"
    for path in Path("pictures").glob("*.png"):
        assert path.read_bytes() == Path("runs/small", path.name).read_bytes()

    further = call("resume", "small", "--set", "evolution.generations=4", "--json")
    assert further.exit_code == 0, further.output
    longer = json.loads(further.stdout)
    assert longer["counts"]["evaluations"] == 14
    entries = load_study("small", "runs/studies.db").entries
    assert [entry.number for entry in entries] == list(range(14))
    monkeypatch.setattr("deap_hpo.analysis.evidence._FEWEST", 5)
    call("plot", "small")
    assert {path.stem for path in Path("runs/small").glob("*.pdf")} - {Path(path).stem for path in paths} == {
        "importances",
        "partial_dependence",
    }
    assert call("resume", "small", "--set", "evolution.generations=5").exit_code == 0
    redrawn = json.loads(call("plot", "small", "--output", "pictures", "--json").output)
    for path in map(Path, redrawn):  # all figures that `plot` has drawn beside the record now show the longer study
        assert path.read_bytes() == Path("runs/small", path.name).read_bytes()


def test_a_record_is_judged_by_any_metric(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("run", "small.toml").exit_code == 0
    draw_after_all(monkeypatch)
    accuracies = [entry.evaluation.metrics["accuracy"] for entry in load_study("small", "runs/studies.db").entries]
    described = json.loads(call("show", "small", "--objective", "accuracy", "--json").output)
    assert described["best"]["value"] == max(accuracies)
    assert described["final"] is None, "it is of the network with the smallest loss"
    said = call("show", "small", "--objective", "accuracy").output
    assert "Judged by accuracy (more is better), whatever the search was for." in said
    assert "Judged by" not in call("show", "small").output
    worst = json.loads(call("show", "small", "--objective", "accuracy", "--direction", "minimize", "--json").output)
    assert worst["best"]["value"] == min(accuracies)

    paths = json.loads(call("plot", "small", "--objective", "accuracy", "--json").output)
    assert {Path(path).parent for path in paths} == {Path("runs/small/by-accuracy")}
    report = json.loads(call("report", "small", "--objective", "accuracy", "--json").output)
    assert report == "runs/small/by-accuracy/report.html"
    assert "Judged by accuracy (more is better)" in Path(report).read_text()
    assert call("delete", "small", "--yes").exit_code == 0
    assert not Path("runs/small").exists()


def test_what_a_record_cannot_be_judged_by_is_refused(here: Path) -> None:
    assert call("run", "small.toml").exit_code == 0
    assert "got 'acuracy'. Did you mean 'accuracy'?" in refused("show", "small", "--objective", "acuracy")
    assert "needs --objective, the objective that it is for" in refused("plot", "small", "--direction", "maximize")


def test_a_budget_without_generations_is_used_up_and_may_be_raised(here: Path) -> None:
    text = Path("small.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("generations", "population", "algorithm"))]
    at = lines.index("[evolution]") + 1
    lines[at:at] = ['algorithm = "random"', "population = 2", "max_evaluations = 3"]
    Path("small.toml").write_text("\n".join(lines) + "\n")
    ended = call("run", "small.toml")
    assert ended.exit_code == 0, ended.output
    assert count_recorded("small") == 3
    assert "evolution.max_evaluations=N" in ended.output + ended.stderr
    assert call("resume", "small", "--set", "evolution.max_evaluations=16").exit_code == 0
    assert count_recorded("small") == 16
    assert "does nothing with" in refused("run", "small.toml", "--name", "other", "--set", "evolution.mutpb=0.5")
    assert "does nothing with" in refused("resume", "small", "--set", "evolution.mutpb=0.5")


def test_steps_are_on_record_and_in_all_that_is_made_of_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = ("--set", "space.momentum.step=0.3", "--set", 'space.width={type = "int", low = 8, high = 32, step = 8}')
    alone = ("--set", "task.arguments={inputs = 64}")
    cut = call("run", "small.toml", *alone, *steps, "--set", "evolution.max_evaluations=7")
    assert cut.exit_code == 0, cut.output
    ended = call("resume", "small", "--set", "evolution.max_evaluations=100", "--json")
    assert ended.exit_code == 0, ended.output
    whole = call("run", "small.toml", "--name", "whole", *alone, *steps, "--json")
    assert json.loads(ended.stdout)["best"] == json.loads(whole.stdout)["best"]

    recorded = load_study("small", "runs/studies.db")
    assert recorded.space is not None
    assert recorded.space["momentum"] == Float(0.0, 0.9, step=0.3)
    assert recorded.space["width"] == Int(8, 32, step=8)
    trials = optuna.load_study(study_name="small", storage="sqlite:///runs/studies.db").trials
    assert {trial.distributions["momentum"].step for trial in trials} == {0.3}
    assert {trial.distributions["width"].step for trial in trials} == {8}
    assert {repr(trial.params["momentum"]) for trial in trials} <= {"0.0", "0.3", "0.6", "0.9"}
    assert {trial.params["width"] for trial in trials} <= {8, 16, 24, 32}

    best = recorded.space.decode(recorded.entries[json.loads(ended.stdout)["best"]["number"]].genes)
    assert json.loads(call("show", "small", "--json").output)["best"]["params"] == best
    shown = call("show", "small").output.replace(",", " ").split()  # in columns, or in sentences on a narrow terminal
    assert {f"{best['momentum']:g}", str(best["width"])} <= set(shown)
    draw_after_all(monkeypatch)
    assert call("plot", "small").exit_code == 0
    assert call("export", "small", "--output", "network").exit_code == 0
    exported = Path("network/best.toml").read_text()
    assert f"momentum = {best['momentum']}\n" in exported
    assert '[run.space.width]\ntype = "int"\nlow = 8\nhigh = 32\nstep = 8\n' in exported

    refused = call("run", "small.toml", "--name", "coarse", "--set", "space.momentum.step=0.2")
    assert refused.exit_code == 2
    assert "momentum: high must be a whole number of steps of 0.2 above 0.0, such as 0.8 or 1.0; got 0.9." in (
        " ".join(refused.stderr.split())
    )


def test_how_far_it_is_is_told_once(here: Path) -> None:
    ended = call("run", "small.toml")
    assert "generation 1/3" not in ended.stderr, "there is the logbook"
    ended = call("run", "small.toml", "--name", "quiet", "--json")
    assert [line.partition(":")[0] for line in ended.stderr.splitlines()] == [f"generation {i}/3" for i in (1, 2, 3)]
    assert json.loads(ended.stdout)["counts"]["generations"] == 3


def test_the_seed_decides(here: Path) -> None:
    values = []
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        ended = call("run", "small.toml", "--name", name, "--seed", seed, "--json")
        values.append([entry.evaluation.values for entry in load_study(name, "runs/studies.db").entries])
        assert json.loads(ended.stdout)["seed"] == int(seed)
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("algorithm", ["grid", "surrogate"])
def test_a_strategy_runs_by_its_name(here: Path, algorithm: str) -> None:
    ended = call("run", "small.toml", "--name", algorithm, "--set", f"evolution.algorithm={algorithm}", "--json")
    assert ended.exit_code == 0, ended.output
    counts = json.loads(ended.stdout)["counts"]
    assert counts["evaluations"] == (12 if algorithm == "grid" else 15)  # the largest grid within 15 is 4 x 3


def test_mutation_may_adapt_itself_and_resumes(here: Path) -> None:
    adapting = ("--set", "evolution.mutation=self-adaptive")
    whole = json.loads(call("run", "small.toml", "--name", "whole", *adapting, "--json").stdout)
    call("run", "small.toml", "--name", "cut", *adapting, "--set", "evolution.max_evaluations=7")
    resumed = call("resume", "cut", "--set", "evolution.max_evaluations=100", "--json")
    assert json.loads(resumed.stdout)["best"] == whole["best"]
    changed = call("resume", "cut", "--set", "evolution.mutation=resample")
    assert changed.exit_code == 2
    assert "mutation" in changed.stderr


def test_a_run_says_which_grid_fits_its_budget(here: Path) -> None:
    grid = ["--set", "evolution.algorithm=grid"]
    assert "\ngrid of 12 evaluations: lr 4, momentum 3\n" in f"\n{call('run', 'small.toml', *grid).stdout}"
    assert (
        "lr 2, momentum 2\n"
        in call("run", "small.toml", "--name", "coarse", *grid, "--set", "evolution.arguments.resolution=2").stdout
    )
    refused = call("resume", "small", "--set", "evolution.generations=9")
    assert refused.exit_code == 2
    assert (
        'was recorded with plan "grid of 12 evaluations: lr 4, momentum 3", and cannot be continued' in refused.stderr
    )
    enqueued = ["--name", "enqueued", "--set", "evolution.enqueue=[{lr = 0.1, momentum = 0.5}]"]
    said = call("run", "small.toml", *enqueued, *grid, "--set", "evolution.generations=2").stdout
    assert "\ngrid of " in f"\n{said}"
    plain = call("run", "small.toml", "--name", "plain", *enqueued[2:], "--set", "evolution.algorithm=random").stdout
    assert "object at" not in plain


def test_the_budget_of_trainings_ends_a_run_and_is_a_total(here: Path) -> None:
    said = call("run", "small.toml", "--set", "evolution.max_evaluations=6")
    assert said.exit_code == 0, said.output
    assert "Continue with: deap-hpo resume small --set evolution.max_evaluations=N" in said.stderr
    assert "deap-hpo resume small --set evolution.max_evaluations=N" in said.stdout
    assert json.loads(call("show", "small", "--json").output)["counts"]["trained"] == 6


@pytest.mark.parametrize("limit", ["max_epochs=6", "target=100.0", "patience=1"])
def test_what_ended_a_run_is_what_its_last_line_says_to_change(limit: str, here: Path) -> None:
    said = call("run", "small.toml", "--set", f"evolution.{limit}", "--set", "evolution.generations=20")
    assert said.exit_code == 0, said.output
    assert f"deap-hpo resume small --set evolution.{limit.partition('=')[0]}=N" in said.stdout


def test_a_dry_run_prints_the_plan_and_records_nothing(here: Path) -> None:
    made = json.loads(call("run", "small.toml", "--dry-run", "--json").output)
    assert (made["evaluations"], made["epochs"]) == (11, 22)
    assert (made["training_images"], made["validation_images"]) == (11 * 2 * 300, 11 * 2 * 200)
    assert made["seconds"] > 0
    said = call("run", "small.toml", "--dry-run").output
    assert f"side by side, in {made['precision']}." in said
    assert "At most 11 evaluations, of 2 epochs each: 22 epochs in all" in said
    said = call(
        "run", "small.toml", "--dry-run", "--set", "evolution.stages=[1, 2]", "--set", "training.repeats=3"
    ).output
    assert (
        "At most 22 evaluations, one for each stage of a training, of 3 trainings of 1 epoch each: "
        "66 epochs at most" in " ".join(said.split())
    )
    assert "Less where trainings are ended after 1 epoch." in said
    assert not Path("runs").exists()


def test_a_dry_run_says_what_may_end_the_run_earlier(here: Path) -> None:
    assert json.loads(call("run", "small.toml", "--dry-run", "--json").output)["ends_early"] == []
    ends = ["--set", "evolution.target=0", "--set", "evolution.patience=2"]
    made = json.loads(call("run", "small.toml", "--dry-run", *ends, "--json").output)
    assert (made["ends_early"], made["epochs"]) == (["target", "patience"], 22)
    said = call("run", "small.toml", "--dry-run", *ends).output
    assert "At most 11 evaluations, of 2 epochs each: 22 epochs at most" in said
    assert "images at most." in said
    assert "At most about" in said
    assert "Less where the target 0.0 is reached, or where nothing gets better for 2 generations." in said
    assert "Less where" not in call("run", "small.toml", "--dry-run").output


def test_a_run_may_keep_the_networks_of_their_best_epochs(here: Path) -> None:
    early = ["training.epochs=8", "training.keep_best=true", "training.patience=1", "training.recipe.schedule=constant"]
    settings = [part for setting in (*early, "space.lr.low=0.5") for part in ("--set", setting)]
    made = json.loads(call("run", "small.toml", "--dry-run", *settings, "--json").output)
    assert (made["ends_early"], made["epochs"]) == (["training.patience"], 88)
    said = call("run", "small.toml", "--dry-run", *settings).output
    assert "Less where a training has no better epoch for 1 epoch." in said
    assert call("run", "small.toml", *settings).exit_code == 0
    best = load_study("small", "runs/studies.db").best.evaluation
    written = json.loads(Path("runs/small/best.json").read_text())
    assert written["epochs"] == best.metrics["best_epoch"] < len(best.curve) < 8
    assert (written["validation_loss"], written["validation_metrics"]) == (best.value, dict(best.kept_epoch.metrics))
    for parts in ("algorithm=hyperband", "stages=[1,2]"):
        said = refused("run", "small.toml", *settings, "--set", f"evolution.{parts}", "--name", "parts")
        assert "asks for trainings in parts" in said
        assert "The algorithm" in said


@pytest.mark.parametrize(("setting", "of"), [("folds", "folds"), ("repeats", "seeds")])
def test_the_result_of_several_trainings_is_their_mean(here: Path, setting: str, of: str) -> None:
    ended = call("run", "small.toml", "--set", f"training.{setting}=3", "--set", "task.objective=accuracy")
    assert ended.exit_code == 0, ended.output
    study = load_study("small", "runs/studies.db")
    value, metrics = study.best_value, study.best.evaluation.metrics
    means = f"accuracy {value:.4f} ± {metrics['accuracy_std']:.4f}, loss {metrics['loss']:.4f} ± "
    means += f"{metrics['loss_std']:.4f}"
    assert f"validation {means} (mean ± standard deviation of 3 {of})" in ended.output
    written = json.loads(Path("runs/small/best.json").read_text())
    alone = f"loss {written['validation_loss']:.4f}, accuracy {written['validation_metrics']['accuracy']:.4f}"
    assert f"first {of[:-1]} {alone} (the network that is tested and saved)" in ended.output
    assert written["validation_metrics"]["accuracy"] != value
    assert written["trainings"] == {
        "count": 3,
        "of": of,
        "mean": {"accuracy": value, "loss": metrics["loss"]},
        "std": {"accuracy": metrics["accuracy_std"], "loss": metrics["loss_std"]},
    }
    final = {name: one for name, one in study.attributes["final"].items() if name != "trainings"}
    note("small", "runs/studies.db", "final", final)  # as an earlier version left it
    assert means in call("resume", "small").output
    assert call("export", "small").exit_code == 0
    assert tomllib.loads(Path("runs/small/best.toml").read_text())["measured"]["trainings"] == written["trainings"]


def test_hyperparameters_of_the_loss_are_searched_and_exported(here: Path) -> None:
    Path("smooth.toml").write_text(
        CONFIG.replace("[space]", "[space]\nlabel_smoothing = { type = 'float', high = 0.3 }")
    )
    assert (
        call("run", "smooth.toml", "--set", "space.label_smoothing.low=0.1", "--set", "space.lr.high=0.1").exit_code
        == 0
    )
    assert call("export", "smooth").exit_code == 0
    facts = tomllib.loads(Path("runs/smooth/best.toml").read_text())
    assert facts["loss"] == {"label_smoothing": facts["params"]["label_smoothing"]}
    assert facts["loss"].keys().isdisjoint(facts["architecture"])


def test_arguments_of_a_schedule_are_searched_and_exported(here: Path) -> None:
    ratio = "[space]\nwarmup_ratio = { type = 'float', low = 0.1, high = 0.3 }"
    Path("warm.toml").write_text(CONFIG.replace("[space]", ratio))
    assert call("run", "warm.toml", "--set", "training.recipe.schedule=warmup_linear").exit_code == 0
    assert call("export", "warm").exit_code == 0
    facts = tomllib.loads(Path("runs/warm/best.toml").read_text())
    assert facts["schedule"] == {"warmup_ratio": facts["params"]["warmup_ratio"]}
    assert facts["schedule"].keys().isdisjoint(facts["architecture"])


@pytest.mark.parametrize("source", [False, True])
def test_a_run_goes_on_by_the_schedule_that_was_the_default_when_it_began(here: Path, source: bool) -> None:
    made = (
        "from functools import partial\n"
        "from deap_hpo import Task\n"
        "from deap_hpo.training.data import load_digits\n"
        "from deap_hpo.training.models import MLP\n"
        "own = Task('own', partial(MLP, inputs=64), load_digits(training_size=100, validation_size=100))\n"
    )
    (here / "own.py").write_text(made)
    if source:
        (here / "small.toml").write_text("[task]\nsource = 'own.py:own'\n" + CONFIG[CONFIG.index("[training]") :])
    whole = ["run", "small.toml", "--set", "training.recipe.schedule=step"]
    assert call(*whole, "--name", "whole").exit_code == 0
    assert call(*whole, "--name", "begun", "--set", "evolution.generations=2").exit_code == 0
    config = dict(load_study("begun", "runs/studies.db").attributes["config"])
    assert config["training"]["recipe"].pop("schedule") == "step"  # as in records of the time before it was written
    note("begun", "runs/studies.db", "config", config)
    assert call("resume", "begun", "--set", "evolution.generations=3").exit_code == 0
    whole_values, values = (
        [e.evaluation.value for e in load_study(n, "runs/studies.db").entries] for n in ("whole", "begun")
    )
    assert values == whole_values


def test_a_dry_run_refuses_what_a_run_refuses(here: Path) -> None:
    for setting, said in (
        ("evolution.stages=[2,1]", "evolution.stages must be growing numbers of epochs, at least 1; got [2, 1]."),
        ("evolution.algorithm=nsga-ii", "nsga-ii needs at least 2 objectives; got 1."),
        ("evolution.target=nan", "evolution.target must be a finite number; got nan."),
    ):
        assert said in refused("run", "small.toml", "--dry-run", "--set", setting)
    for settings, said in (
        (("evolution.algorithm=pbt", "evolution.population=1"), "population must be at least 2 for pbt; got 1."),
        (("evolution.stages=[1,3]", "training.recipe.schedule=cosine"), "epochs must be at most 2, where the"),
        (("evolution.algorithm=pbt", "training.recipe.schedule=cosine"), "cosine schedule ends; got 3."),
        (
            ("evolution.algorithm=hyperband", "evolution.arguments.epochs=4", "training.recipe.schedule=cosine"),
            "cosine schedule ends; got 4.",
        ),
        (("evolution.algorithm=hyperband", "evolution.arguments.epochs=x"), "epochs must be an integer of at least 1"),
        (
            ("evolution.stages=[1,3]", "space.schedule={type='categorical',choices=['step','cosine']}"),
            "cosine schedule ends; got 3. Give the trainer (training.epochs) the epochs of the longest training.",
        ),
    ):
        options = [part for setting in settings for part in ("--set", setting)]
        assert said in refused("run", "small.toml", *options, "--dry-run")
        assert said in refused("run", "small.toml", *options)
    assert not Path("runs/studies.db").exists()


def test_a_schedule_has_to_be_as_long_as_what_the_budget_allows(here: Path) -> None:
    pbt = ["run", "small.toml", "--set", "evolution.algorithm=pbt", "--set", "training.recipe.schedule=cosine"]
    assert call(*pbt, "--dry-run", "--set", "evolution.max_epochs=10").exit_code == 0
    assert "cosine schedule ends; got 3." in refused(*pbt, "--dry-run", "--set", "evolution.max_epochs=11")
    always = ["--set", "space.schedule={type='categorical',choices=['step','constant']}"]
    assert call(*pbt, "--dry-run", *always).exit_code == 0


def test_the_version_is_the_package_s(here: Path) -> None:
    shown = call("--version")
    assert (shown.exit_code, shown.output) == (0, f"deap-hpo {deap_hpo.__version__}\n")


def test_help_has_examples(here: Path) -> None:
    for command in ("run", "resume", "list", "show", "plot", "data"):
        shown = call(command, "--help")
        assert shown.exit_code == 0
        assert f"deap-hpo {command}" in shown.output


def refused(*arguments: str) -> str:
    ended = call(*arguments)
    assert ended.exit_code == 2, ended.output
    assert ended.stderr.startswith("Error: ")
    assert "Traceback" not in ended.output
    assert len(ended.stderr.strip().splitlines()) == 1
    return ended.stderr


def test_wrong_input_gets_one_sentence_and_exit_code_2(here: Path) -> None:
    assert "no preset 'quikc'" in refused("run", "--preset", "quikc")
    assert "Did you mean 'population'" in refused("run", "small.toml", "--set", "evolution.popluation=8")
    assert "population must be at least 4" in refused("run", "small.toml", "--set", "evolution.population=3")
    assert "low must be at most high" in refused("run", "small.toml", "--set", "space.lr.low=1000.0")
    assert "hyperparameter 'larning_rate'" in refused(
        "run", "small.toml", "--set", 'space.larning_rate={type="float", low=0.1, high=1.0}'
    )
    assert "task.data has no 'digit'. Did you mean 'digits'?" in refused(
        "run", "small.toml", "--set", "task.data=digit"
    )
    assert "task.arguments has no 'widht'. Did you mean 'width'?" in refused(
        "run", "small.toml", "--set", "task.arguments.widht=3"
    )
    assert "training.recipe has no 'batchsize'. Did you mean 'batch_size'?" in refused(
        "run", "small.toml", "--set", "training.recipe.batchsize=3"
    )
    assert "momentum must be a finite number from 0 to 1; got 1.5" in refused(
        "run", "small.toml", "--set", "space.momentum.high=1.5"
    )
    assert "must hold the four Fashion-MNIST files" in refused("run", "--data-dir", "nowhere")
    assert "must hold the four Fashion-MNIST files" in refused("data", "--data-dir", "nowhere")
    assert "There is no record at runs/studies.db" in refused("list")
    assert "There is no record at" in refused("resume", "small")
    assert "name must be 1 to 100 letters" in refused("run", "small.toml", "--name", "../outside")


def test_a_failed_evaluation_is_told_with_its_reason(here: Path) -> None:
    changed = ["execution.timeout=0.001", "execution.executor=processes", "execution.workers=1"]
    # Each needs its own worker, which takes seconds.
    changed += ["evolution.population=4", "evolution.generations=1"]
    ended = call("run", "small.toml", *(text for one in changed for text in ("--set", one)))
    assert ended.exit_code == 2
    assert "Evaluation 0 failed:" in ended.stderr
    assert "no evaluation ended with a finite value" in ended.stderr
    assert "Evaluation 0 failed:" in call("show", "small").output


def test_a_study_that_exists_is_not_overwritten(here: Path) -> None:
    call("run", "small.toml")
    before = load_study("small", "runs/studies.db")
    assert "resume small`), delete it (`deap-hpo delete small`" in refused("run", "small.toml")
    assert "Did you mean 'small'?" in refused("show", "smal")
    assert "recorded with evolution.population = 5, and cannot be continued with evolution.population = 8" in refused(
        "resume", "small", "--set", "evolution.population=8"
    )
    assert "recorded with evaluator epochs = 2" in refused("resume", "small", "--set", "training.epochs=3")
    assert call("resume", "small").exit_code == 0, "what was refused is not what the record now says"
    assert load_study("small", "runs/studies.db").entries == before.entries


def test_a_run_that_is_refused_leaves_its_name_free(here: Path) -> None:
    two = ["run", "small.toml", "--set", 'task.objective=["loss","parameters"]']
    refused = call(*two)
    assert refused.exit_code == 2
    assert "takes one objective" in refused.stderr
    assert call(*two, "--set", "evolution.algorithm=nsga-ii", "--set", "evolution.generations=1").exit_code == 0


def test_a_file_that_is_no_database_is_left_alone(here: Path) -> None:
    for content, said in ((b"not a database" * 100, "file is not a database"), (b"", "is an empty file")):
        Path("x.db").write_bytes(content)
        for command in (["run", "small.toml"], ["list"], ["show", "small"]):
            assert said in refused(*command, "--storage", "x.db")
        assert Path("x.db").read_bytes() == content


def test_a_truncated_database_is_left_alone(here: Path) -> None:
    call("run", "small.toml", "--storage", "x.db")
    sqlite3.connect("x.db").execute("PRAGMA wal_checkpoint(TRUNCATE)")
    half = Path("x.db").read_bytes()[: Path("x.db").stat().st_size // 2]
    Path("x.db").write_bytes(half)
    assert "not an intact SQLite database" in refused("resume", "small", "--storage", "x.db")
    assert Path("x.db").read_bytes() == half


def test_a_place_that_cannot_be_written_is_named(here: Path) -> None:
    Path("file").write_text("")
    assert "could not be created" in refused("run", "small.toml", "--storage", "file/x.db")
    if os.geteuid() != 0:  # the superuser may write anywhere
        Path("locked").mkdir(mode=0o500)
        assert "could not be created" in refused("run", "small.toml", "--storage", "locked/x.db")


def test_debug_shows_the_traceback(here: Path) -> None:
    ended = call("run", "--preset", "quikc", "--debug")
    assert ended.exit_code == 2
    assert "Traceback" in ended.stderr


@pytest.mark.fashion_mnist
def test_data_says_where_it_is(here: Path) -> None:
    said = json.loads(call("data", "--json").output)
    assert (said["development_size"], said["test_size"], said["shape"]) == (60_000, 10_000, [1, 28, 28])
    assert f"fashion-mnist is there in {said['folder']}: 60,000 examples" in call("data").output


def test_data_knows_other_sets_and_names_them() -> None:
    assert "1,500 examples to train and validate on, 297 to test, of shape [1, 8, 8]" in call("data", "digits").output
    assert "expected one of cifar-10, digits, fashion-mnist, kmnist, mnist" in refused("data", "cifar")
    assert "mnist was not found in nowhere" in refused("data", "mnist", "--data-dir", "nowhere")


def test_ctrl_c_keeps_what_was_finished_and_says_how_to_go_on(here: Path) -> None:
    Path("pressed.py").write_text(
        textwrap.dedent("""
            import signal
            from deap_hpo.cli import main
            from deap_hpo.training.reference import ReferenceTrainer

            def pressing(self, request, evaluate=ReferenceTrainer.evaluate):
                if request.number == 6:  # in the second generation
                    signal.raise_signal(signal.SIGINT)
                return evaluate(self, request)

            ReferenceTrainer.evaluate = pressing
            main()
        """)
    )
    whole = call("run", "small.toml", "--name", "whole")
    command = [sys.executable, "pressed.py", "run", "small.toml", "--name", "cut"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 130, ended.stderr
    said = ended.stderr.strip()
    assert said.endswith("Interrupted; every finished evaluation is on record. Continue with: deap-hpo resume cut")
    assert said.count("Interrupted") == 1
    assert "Traceback" not in said
    assert 6 <= count_recorded("cut") <= 7
    resumed = call("resume", "cut")
    assert _without_times(resumed.stdout) == _without_times(whole.stdout)


def _without_times(text: str) -> list[list[str]]:
    """The logbook's lines without their last column, and the lines of measurements."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return [line[:-1] for line in lines[:4]] + [line for line in lines if line[0] in ("best", "validation", "test")]


def test_help_answers_without_importing_torch() -> None:
    code = "import sys, deap_hpo.cli; print([m for m in ('torch', 'optuna', 'matplotlib', 'ray') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_studies_of_other_programs_are_left_out_of_the_list(here: Path) -> None:
    optimize(bowl, {"x": Float(0.0, 1.0)}, name="ours", storage="runs/studies.db", generations=1, seed=1)
    other = optuna.create_study(study_name="with/slash", storage="sqlite:///runs/studies.db")
    other.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=1)
    listed = call("list", "--json")
    assert listed.exit_code == 0, listed.output
    assert [study["name"] for study in json.loads(listed.stdout)] == ["ours"]
    assert listed.stderr.startswith("Left out: The study 'with/slash' holds trials that deap-hpo did not write")


def bowl(params: dict[str, Any]) -> dict[str, float]:
    return {"value": params["x"] ** 2, "nan": math.nan, "infinite": math.inf}


def test_json_has_neither_nan_nor_infinity(here: Path) -> None:
    options: Any = {"metric": "value", "storage": "runs/studies.db", "generations": 1, "seed": 1}
    optimize(bowl, {"x": Float(0.0, 1.0)}, name="odd", **options)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    for command in (["show", "odd", "--json"], ["list", "--json"]):
        parsed = json.loads(call(*command).stdout, parse_constant=refuse)
        shown = parsed[0] if isinstance(parsed, list) else parsed
        assert shown["best"]["metrics"] == {"nan": None, "infinite": None}


def test_what_is_too_wide_for_the_terminal_is_not_cut_off(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = {f"a_long_name_{i}": Categorical([f"[bold]choice {i}[/bold]"]) for i in range(40)}
    optimize(
        lambda params: 2e-7, {**space, "x": Float(0.0, 1.0)}, name="wide", storage="runs/studies.db", generations=1
    )
    monkeypatch.setattr(exits.output, "width", 200)
    said = " ".join(call("show", "wide").stdout.split())
    assert "evaluation 0 1 2 3" in said
    assert "a_long_name_0 [bold]choice 0[/bold] [bold]choice 0[/bold]" in said
    assert "a_long_name_39 [bold]choice 39[/bold]" in said
    monkeypatch.setattr(exits.output, "width", 30)
    said = call("show", "wide", "--top", "1").stdout
    assert "\nevaluation 0\ngeneration 0\nvalue 2e-07\na_long_name_0 [bold]choice 0[/bold]\n" in said


def test_patterns_stand_for_the_studies_that_match(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rivals-tpe-1", "rivals-tpe-2", "quick"):
        with Study({"x": Float(0.0, 1.0)}, name=name, storage="runs/studies.db") as study:
            study.map(lambda params: params["x"], [[0.5]])

    def listed(*names: str) -> list[str]:
        return [study["name"] for study in json.loads(call("list", *names, "--json").output)]

    assert listed("rivals-*") == ["rivals-tpe-1", "rivals-tpe-2"]
    assert listed("quick", "*-2", "q?ick") == ["quick", "rivals-tpe-2"]
    assert "No study on record matches 'b*'" in refused("list", "b*")
    assert "There is no study named 'rivals'" in refused("list", "rivals")
    report = Path("both.html")
    assert call("report", "rivals-*", "--output", str(report)).exit_code == 0
    assert "The best evaluations of all studies" in report.read_text()
    said = call("show", "rivals-*").output
    assert said.index("rivals-tpe-1  seed") < said.index("\n\nrivals-tpe-2  seed")
    shown = [json.loads(call("show", *names, "--json").stdout) for names in (["*-2", "quick"], ["*-2"], ["quick"])]
    names = [[one["name"] for one in made] if isinstance(made, list) else made["name"] for made in shown]
    assert names == [["rivals-tpe-2", "quick"], ["rivals-tpe-2"], "quick"]
    assert "No study on record matches 'x*'" in refused("plot", "x*")
    draw_after_all(monkeypatch)
    assert call("plot", "rivals-*", "--output", "pictures").exit_code == 0
    assert call("plot", "quick", "--output", "alone").exit_code == 0
    assert [Path(folder, "history.png").exists() for folder in ("pictures/rivals-tpe-2", "alone")] == [True, True]
    assert [f"<h2>rivals-tpe-{i}</h2>" in report.read_text() for i in (1, 2)] == [True, True]
    assert call("delete", "rivals-*", "--yes").exit_code == 0
    assert listed() == ["quick"]


def test_a_list_never_cuts_off_a_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a_study_whose_name_is_longer_than_the_terminal"
    optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, name=name, storage="runs/studies.db", generations=1)
    monkeypatch.setattr(exits.output, "width", 30)
    assert any(line.split()[0] == name for line in call("list").stdout.splitlines())


def test_what_cannot_be_drawn_is_said_with_what_became_of_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_after_all(monkeypatch)
    with Study(Space({"x": Float(0.0, 1.0)}), name="none", storage="runs/studies.db") as study:
        study.map(lambda params: math.inf, [Individual([0.5]), Individual([0.6])])
    assert "no evaluation to draw that ended well" in refused("plot", "none")
    assert "2 computed (2 diverged)" in refused("plot", "none")


def test_the_reason_of_a_failure_is_the_first_line_of_its_message(here: Path) -> None:
    def broken(params: dict[str, Any]) -> float:
        if params["x"] > 0.5:
            raise RuntimeError("Error(s) in loading:\n\tsize mismatch for weight")
        raise RuntimeError("CUDA error: out of luck\nCompile with this and that.")

    with Study(Space({"x": Float(0.0, 1.0)}), name="broken", storage="runs/studies.db") as study:
        study.map(broken, [Individual([0.5])])
        study.map(lambda params: Evaluation((math.inf,), "failed"), [Individual([0.6])])
        study.map(broken, [Individual([0.7])])
        study.map(lambda params: params["x"], [Individual([0.8])])
    assert "Evaluation 0 failed: RuntimeError: CUDA error: out of luck\n" in call("show", "broken").stdout
    assert [entry.evaluation.reason for entry in study.record][1:] == [
        "no reason given",
        "RuntimeError: Error(s) in loading: size mismatch for weight",
        "",
    ]
    assert [entry.number for entry in study.entries if entry.evaluation.reason] == [0, 1, 2]


def test_studies_of_one_name_in_two_files_and_exports_to_one_folder_are_not_mixed_up(here: Path) -> None:
    for seed, storage in enumerate(["runs/studies.db", "runs/other.db"], start=1):
        ended = call("run", "small.toml", "--storage", storage, "--seed", str(seed), "--set", "evolution.generations=1")
        assert ended.exit_code == 0, ended.output
    folders = [Path("runs/small"), Path("runs/small@other")]
    own = [(folder / "best.safetensors").read_bytes() for folder in folders]
    assert own[0] != own[1]
    for storage, weights in zip(["runs/studies.db", "runs/other.db"], own, strict=True):
        assert call("export", "small", "--storage", storage, "--output", "network").exit_code == 0
        assert Path("network/best.safetensors").read_bytes() == weights
    (folders[1] / "best.safetensors").write_bytes(own[0])  # not by deap-hpo
    assert call("resume", "small", "--storage", "runs/other.db").exit_code == 0
    assert (folders[1] / "best.safetensors").read_bytes() == own[1]
    assert call("delete", "small", "--yes").exit_code == 0
    assert not folders[0].exists()
    assert (folders[1] / "best.safetensors").read_bytes() == own[1]


def test_a_run_whose_evaluations_all_fail_ends_early_with_the_reason(here: Path) -> None:
    Path("broken.py").write_text(
        textwrap.dedent("""
            from sklearn.datasets import load_digits
            from torch import nn
            from deap_hpo import Float, Task

            class Broken(nn.Linear):
                def forward(self, inputs):
                    if self.training:
                        raise RuntimeError("no such layer")
                    return super().forward(inputs)

            task = Task.from_data(lambda: Broken(64, 10), load_digits(return_X_y=True))
            space = {"lr": Float(0.01, 0.1)}
        """)
    )
    ended = call("run", "broken.py:task", "--executor", "serial", "--set", "evolution.population=6")
    assert ended.exit_code == 2
    said = (
        "All of the first 5 evaluations failed. The first one said: RuntimeError: no such layer. When the objective is"
    )
    assert said in ended.stderr
    assert ended.stderr.endswith("RuntimeError: no such layer\n")
    assert count_recorded("broken") == 5


def test_a_space_that_is_none_is_refused_in_a_sentence(here: Path) -> None:
    Path("spaceless.py").write_text(
        "from sklearn.datasets import load_digits\nfrom torch import nn\nfrom deap_hpo import Task\n"
        "task = Task.from_data(lambda: nn.Linear(64, 10), load_digits(return_X_y=True))\nspace = 5\n"
    )
    assert "got 5" in refused("run", "spaceless.py:task")


def test_one_run_is_named_and_not_two(here: Path) -> None:
    said = refused("run", "small.toml", "--preset", "paper/run_4", "--dry-run")
    assert "--preset paper/run_4 is for runs that ship with the package; leave it out to run small.toml." in said


def test_each_data_set_has_a_validation_size_of_its_own(here: Path) -> None:
    Path("digits.toml").write_text(
        '[task]\ndata = "digits"\nmodel = "mlp"\n[space]\nlr = { type = "float", low = 0.01, high = 1.0 }\n'
    )
    planned = json.loads(call("run", "digits.toml", "--dry-run", "--json", "--set", "training.epochs=1").stdout)
    assert planned["training_images"] // planned["validation_images"] == 1200 // 300
