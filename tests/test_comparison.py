"""The comparison command: equal budgets, paired seeds, fresh retraining, resumable as a whole."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_cli import CONFIG, call, draw_after_all, here, refused  # noqa: F401 - `here` is a fixture
from written import PLAIN

from deap_hpo.analysis.significance import summarise
from deap_hpo.compared_runs import Equipment, retrained
from deap_hpo.comparison import compare, parse_method
from deap_hpo.configuration.assembly import make_task, trainer_of
from deap_hpo.configuration.config import RunConfig, load_config, make_config
from deap_hpo.configuration.settings import ExecutionConfig
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.plotting.methods import plot_comparison
from deap_hpo.recorded import Recorded, load_study, study_names
from deap_hpo.records.entries import Entry
from deap_hpo.reports.comparison import anytime_bands, introduction, markdown, results, table_of_methods

METHODS = ("truncation", "random", "fixed:params={lr=0.1,momentum=0.5}")


CHANGES = ["study.storage=runs/studies.db", "training.epochs=1"]


@pytest.fixture
def config(here: Path) -> RunConfig:  # noqa: F811
    return load_config("small.toml", CHANGES)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[pd.DataFrame, pd.DataFrame]]:
    """A folder with the whole comparison of `METHODS`, and its tables."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("small.toml").write_text(CONFIG)
        return folder, run(load_config("small.toml", CHANGES))


def run(config: RunConfig, methods: tuple[str, ...] = METHODS) -> tuple[pd.DataFrame, pd.DataFrame]:
    parsed = [parse_method(method) for method in methods]
    return compare(config, parsed, experiment="trial", seeds=2, budget=7, repeats=2)


def test_budgets_are_equal_and_seeds_are_paired(compared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, (runs, anytime) = compared
    monkeypatch.chdir(folder)
    assert runs[["method", "seed"]].values.tolist() == [
        [method, seed] for seed in (1, 2) for method in ("truncation", "random", "fixed")
    ]
    by_method = runs.set_index("method")
    assert by_method.loc["truncation", "trainings"].tolist() == [7, 7]
    assert by_method.loc["random", "trainings"].tolist() == [7, 7]
    assert by_method.loc["fixed", "trainings"].tolist() == [1, 1]
    for seed in (1, 2):
        studies = [load_study(f"trial-{method}-{seed}", "runs/studies.db") for method in ("truncation", "random")]
        assert len({entry.seed for study in studies for entry in study.entries}) == 1
        fresh = [load_study(f"{study.name}-retrained", "runs/studies.db").entries for study in studies]
        seeds = [[entry.seed for entry in entries] for entries in fresh]
        assert seeds[0] == seeds[1]
        assert not set(seeds[0]) & {entry.seed for entry in studies[0].entries}
    last = anytime.groupby(["method", "seed"])["best"].last()
    for _, row in runs.iterrows():
        assert last[row["method"], row["seed"]] == row["best"]
        assert row["gap"] == row["retrained"] - row["best"]
        assert 0 < row["test_loss"] < 100


def test_generations_of_repeats_do_not_use_up_the_budget(here: Path) -> None:  # noqa: F811
    """With one hyperparameter, mutation leaves many children as they were: these cost nothing, and are no trainings."""
    lines = CONFIG.splitlines()
    (here / "one.toml").write_text("\n".join(line for line in lines if not line.startswith("momentum")))
    config = load_config("one.toml", [*CHANGES, "evolution.population=4"])
    methods = [parse_method("truncation"), parse_method("random")]
    runs, _ = compare(config, methods, experiment="trial", seeds=2, budget=12, repeats=1)
    assert runs["trainings"].tolist() == 4 * [12]
    entries = load_study("trial-truncation-1", "runs/studies.db").entries
    assert entries[-1].generation > 12, "or there is nothing to be seen here"


def test_fresh_seeds_are_fresh_without_common_random_numbers_too(here: Path) -> None:  # noqa: F811
    config = load_config("small.toml", [*CHANGES, "study.common_random_numbers=false"])
    methods = ("random", "fixed:params={lr=0.1,momentum=0.5}")
    runs, _ = run(config, methods)
    for seed in (1, 2):
        names = [f"trial-{method}-{seed}" for method in ("random", "fixed")]
        searched = {entry.seed for name in names for entry in load_study(name, "runs/studies.db").entries}
        assert len(searched) == 7
        fresh = [[entry.seed for entry in load_study(f"{name}-retrained", "runs/studies.db").entries] for name in names]
        assert fresh[0] == fresh[1]
        assert not searched & set(fresh[0])
    pd.testing.assert_frame_equal(runs, run(config, methods)[0])


def test_a_choice_that_stopped_early_is_trained_again_for_as_long(config: RunConfig) -> None:
    config = make_config(config.model_dump(mode="json"), ["training.epochs=3", "study.name=part"])
    genes, other = (0.5, 0.5), (0.1, 0.9)
    part = Entry(0, 0, genes, Evaluation((0.5,)), 0, epochs=2)
    whole = Entry(1, 0, other, Evaluation((0.9,)), 0, epochs=3)
    trained = []
    with Equipment(make_task(config)) as equipment:
        for name, entries in (("part", (part, whole)), ("whole", (replace(part, epochs=3), whole))):
            recorded = Recorded(name, ("minimize",), config.search_space, entries, {})
            retrained(config, equipment, recorded, repeats=2, retry_failed=False)
            again = load_study(f"{name}-retrained", str(config.study.storage)).entries
            assert {entry.genes for entry in again} == {genes}
            trained.append([len(entry.evaluation.curve) for entry in again])
    assert trained == [[2, 2], [3, 3]]


def test_what_breaks_a_constraint_is_not_the_best_so_far(here: Path) -> None:  # noqa: F811
    changes = ["study.storage=runs/studies.db", "training.epochs=1", "task.constraints=['accuracy <= 0.2']"]
    runs, anytime = run(load_config("small.toml", changes), ("random", "sobol"))
    last = anytime.groupby(["method", "seed"])["best"].last()
    assert [last[row["method"], row["seed"]] for _, row in runs.iterrows()] == runs["best"].tolist()
    least = [
        min(entry.evaluation.value for entry in load_study(f"trial-{one.method}-{one.seed}", "runs/studies.db").entries)
        for one in runs.itertuples()
    ]
    assert any(value < best for value, best in zip(least, runs["best"], strict=True))  # the constraint bites


def test_what_is_on_record_is_not_run_again(compared: Any, config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, first = compared
    monkeypatch.chdir(folder)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("deap_hpo.training.reference.ReferenceTrainer.train_on", refuse)
    again = run(config)
    for one, other in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_interrupted_it_goes_on(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from deap_hpo.training.reference import ReferenceTrainer

    train, calls = ReferenceTrainer.train_on, 0

    def interrupted(*arguments: object, **keywords: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return train(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(ReferenceTrainer, "train_on", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    names = study_names("runs/studies.db")
    assert 0 < len(names) < 12
    runs, _ = run(config)
    assert len(runs) == 6
    assert calls == 1 + 2 * (7 + 7 + 1) + 6 * 2  # only the interrupted training was started twice


def test_fewer_repeats_average_over_so_many(config: RunConfig) -> None:
    def losses(repeats: int, experiment: str) -> list[float]:
        methods = [parse_method("fixed:params={lr=0.1,momentum=0.5}"), parse_method("random")]
        runs, _ = compare(config, methods, experiment=experiment, seeds=2, budget=2, repeats=repeats)
        return list(runs["test_loss"])

    assert losses(3, "first") != losses(1, "first") == losses(1, "second")


def test_an_experiment_keeps_its_budget(compared: Any, config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(compared[0])
    with pytest.raises(InputError, match=r"'trial-truncation-1' was recorded with max_evaluations = 7, .* = 6"):
        compare(config, [parse_method(one) for one in METHODS[:2]], experiment="trial", seeds=2, budget=6, repeats=2)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    methods = [parse_method(one) for one in ("random", "staged=truncation:stages=[1,2]")]
    config = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 2})})
    monkeypatch.setattr("deap_hpo.comparison.retrained", interrupted)
    monkeypatch.setattr("deap_hpo.compared_runs.note", interrupted)
    for order in (methods, methods[::-1]):
        with pytest.raises(KeyboardInterrupt):
            compare(config, order, experiment="other", seeds=2, budget=5, repeats=1)
    with pytest.raises(InputError, match="max_evaluations = 5, and cannot be continued with max_evaluations = 8"):
        compare(config, methods, experiment="other", seeds=2, budget=8, repeats=1)
    with pytest.raises(InputError, match="max_epochs = 10, and cannot be continued with max_epochs = 16"):
        compare(config, methods[::-1], experiment="other", seeds=2, budget=8, repeats=1)


@pytest.mark.parametrize(
    ("methods", "change", "said"),
    [
        (
            ["truncation:mutation=self-adaptive", "random"],
            [],
            """'trial-truncation-1' was recorded with evolution.mutation = "resample", and cannot be continued with """
            """evolution.mutation = "self-adaptive". Give the recorded value, or give the method another label""",
        ),
        (["random", "fixed:params={lr=0.2,momentum=0.5}"], [], "arguments.params.lr = 0.1, .*params.lr = 0.2"),
        (["truncation", "random=tpe"], [], """'trial-random-1' .*algorithm = "random", .*"tpe".*--experiment"""),
        (["truncation", "random=pbt"], [], """'trial-random-1' .*evolution.algorithm = "random", .*"pbt\""""),
        (["sobol", "random"], ["training.epochs=2"], "'trial-random-1' was recorded with epochs = 1, .*epochs = 2"),
        (["sobol", "random"], ["training.recipe.batch_size=16"], "recipe.batch_size = 64, .*batch_size = 16"),
        (["sobol", "random"], ["evolution.population=6"], "evolution.population = 5, .*evolution.population = 6"),
        (["sobol", "random"], ["study.common_random_numbers=false"], "common_random_numbers = true, .* = false"),
        (["sobol", "random"], ["space.lr.high=1.0"], "space.lr.high = 100.0, .*space.lr.high = 1.0"),
        (["sobol", "random"], ["task.training_size=200"], "data.training_size = 300, .*data.training_size = 200"),
    ],
)
def test_a_run_on_record_with_other_settings_is_refused_before_anything_is_trained(
    compared: Any,
    config: RunConfig,
    methods: list[str],
    change: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(compared[0])
    before = study_names("runs/studies.db")
    with pytest.raises(InputError, match=said):
        run(make_config(config.model_dump(mode="json"), change), tuple(methods))
    assert study_names("runs/studies.db") == before


def test_hyperparameters_in_another_order_are_refused(compared: Any, config: RunConfig, monkeypatch: Any) -> None:
    monkeypatch.chdir(compared[0])
    data = config.model_dump(mode="json")
    data["space"] = dict(reversed(data["space"].items()))
    with pytest.raises(InputError, match=r'hyperparameters = \["lr", "momentum"\], .* = \["momentum", "lr"\]'):
        run(make_config(data))


def test_a_run_on_record_may_be_executed_differently(compared: Any, config: RunConfig, monkeypatch: Any) -> None:
    folder, first = compared
    monkeypatch.chdir(folder)
    again = run(config.model_copy(update={"execution": ExecutionConfig(executor="processes", workers=2)}))
    pd.testing.assert_frame_equal(first[0], again[0])


def test_code_that_has_changed_since_runs_ended_is_told_once(here: Path) -> None:  # noqa: F811
    arguments = ["compare", "random", "sobol", "--config", "plain_task.py:task", "--seeds", "2", "--budget", "2"]
    arguments += ["--repeats", "1", "--set", "training.epochs=1"]
    task = PLAIN.replace("validation_size=50))", "validation_size=50), loss=loss)")
    for added, said in (("0", 0), ("0", 0), ("0.25", 1)):
        sys.modules.pop("plain_task", None)  # as in another process
        loss = f"def loss(outputs, targets): return cross_entropy(outputs, targets) + {added}"
        (here / "plain_task.py").write_text(f"from torch.nn.functional import cross_entropy\n{loss}\n{task}")
        ended = call(*arguments)
        assert ended.exit_code == 0, ended.output
        assert ended.stderr.count("has changed since the evaluations on record were made: loss()") == said
    assert "the study 'compare-random-1' (and of 3 others) has changed" in ended.stderr


def test_the_command_prints_and_writes_tables_tests_and_a_figure(
    here: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw_after_all(monkeypatch)
    arguments = ["compare", *METHODS, "--config", "small.toml", "--seeds", "2", "--budget", "6", "--repeats", "1"]
    ended = call(*arguments)
    assert ended.exit_code == 0, ended.output
    assert "best validation loss" in ended.output
    assert "|" not in ended.output, "Markdown is for the file"
    assert "more seeds are needed" in ended.output
    folder = Path("runs/compare")
    assert {path.name for path in folder.iterdir()} == {
        f"comparison.{kind}" for kind in ("html", "json", "md", "pdf", "png")
    }
    result = json.loads((folder / "comparison.json").read_text())
    assert result["seeds"] == 2
    pairs = [line for line in (folder / "comparison.md").read_text().splitlines() if line.startswith("| truncation - ")]
    assert len(pairs) == 2 * 2
    effects = [pair["effect"] for one in result["outcomes"].values() for pair in one["pairs"][:2]]
    assert [float(line.split("|")[-2]) for line in pairs] == pytest.approx(effects, abs=0.005)
    written = (folder / "comparison.md").read_text().splitlines()
    row = next(line.split("|") for line in written if line.startswith("| random |"))
    summary = {row["method"]: row for row in result["outcomes"]["test_loss"]["summary"]}["random"]
    assert float(row[6]) == pytest.approx(summary["median"], abs=1e-4)
    assert {row["method"] for row in result["outcomes"]["best"]["summary"]} == {"truncation", "random", "fixed"}
    assert json.loads(call(*arguments, "--json").stdout)["runs"] == result["runs"]
    assert (
        "Is it an experiment of `deap-hpo compare`? Its runs are studies, 'compare-" in call("show", "compare").stderr
    )


def test_the_task_of_ones_own_is_not_described_as_another(here: Path) -> None:  # noqa: F811
    (here / "plain_task.py").write_text(PLAIN)
    arguments = ["compare", "random", "sobol", "--config", "plain_task.py:task", "--seeds", "2", "--budget", "2"]
    ended = call(*arguments, "--repeats", "1", "--set", "training.epochs=1", "--json")
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["task"] == {"source": "plain_task.py:task"}


def test_methods_are_compared_by_a_metric_the_higher_the_better(here: Path) -> None:  # noqa: F811
    arguments = ["compare", "random", "fixed:params={lr=1e25,momentum=0.9}", "--config", "small.toml", "--seeds", "3"]
    arguments += ["--budget", "4", "--repeats", "1", "--set", "task.objective=accuracy", "--set", "space.lr.high=1e30"]
    ended = call(*arguments)
    assert ended.exit_code == 0, ended.output
    for said in ("values are means over them", "higher is better", "best validation accuracy", "Test accuracy: "):
        assert said in ended.output
    assert "loss" not in ended.stdout
    assert [f"random, seed {seed} of 3" in ended.stderr for seed in (1, 2, 3)] == [True] * 3, "how far it is, in a pipe"
    made = json.loads(Path("runs/compare/comparison.json").read_text())
    assert (made["objective"], made["direction"]) == ("accuracy", "maximize")
    for outcome in (made["outcomes"][name] for name in ("best", "test_accuracy")):
        first, second = outcome["summary"]
        assert (first["method"], first["mean_rank"]) == ("random", 1.0)
        assert 0.1 < first["mean"] < 1
        assert second["mean"] is None, "its trainings diverge"
        assert outcome["pairs"][0]["effect"] == 1.0
    runs = [row for row in made["runs"] if row["method"] == "random"]
    assert all(row["gap"] == pytest.approx(row["best"] - row["retrained"]) for row in runs)
    for row in runs:
        seen = [one["median"] for one in made["anytime"] if one["method"] == "random" and one["median"] is not None]
        entries = load_study(f"compare-random-{row['seed']}", "runs/studies.db").entries
        assert row["best"] == max(one.evaluation.value for one in entries if one.evaluation.status == "ok")
        assert seen == sorted(seen) != []
        again = load_study(f"compare-random-{row['seed']}-retrained", "runs/studies.db")
        assert (again.directions, again.best_value) == (("maximize",), row["retrained"])
    assert "judges by one objective, the loss or a metric; the task has parameters" in refused(
        *arguments, "--experiment", "sizes", "--set", "task.objective=parameters"
    )


def test_choices_that_earlier_versions_recorded_as_minimised_are_kept(config: RunConfig) -> None:
    config = make_config(config.model_dump(mode="json"), ["task.objective=accuracy"])
    methods = ("random", "sobol")
    before, _ = run(config, methods)
    with closing(sqlite3.connect("runs/studies.db")) as record:
        record.execute(
            "UPDATE study_directions SET direction = 'MINIMIZE' WHERE study_id IN "
            "(SELECT study_id FROM studies WHERE study_name LIKE '%-retrained')"
        )
        record.commit()
    assert load_study("trial-random-1-retrained", "runs/studies.db").directions == ("minimize",)
    parsed = [parse_method(method) for method in methods]
    after, _ = compare(config, parsed, experiment="trial", seeds=2, budget=7, repeats=3)
    assert len(load_study("trial-random-1-retrained", "runs/studies.db").entries) == 3
    assert after["best"].tolist() == before["best"].tolist()


def test_a_choice_that_diverges_counts_as_worst(here: Path) -> None:  # noqa: F811
    config = load_config("small.toml", ["study.storage=runs/studies.db", "training.epochs=1", "space.lr.high=1e30"])
    runs, anytime = run(config, ("truncation", "fixed:params={lr=1e25,momentum=0.9}"))
    diverged = runs[runs["method"] == "fixed"]
    assert (diverged[["best", "retrained", "test_loss"]] == float("inf")).all(axis=None)
    text = markdown(results(runs, anytime, config, "deap-hpo compare ..."))
    assert "| fixed | - [-, -] |" in text


def test_an_interval_that_leaves_networks_short_of_their_end_is_refused(config: RunConfig) -> None:
    config = make_config(config.model_dump(mode="json"), ["training.epochs=5"])
    methods = [parse_method("pbt:interval=2"), parse_method("random")]
    with pytest.raises(InputError, match=r"'pbt' cannot run: interval must divide training.epochs = 5, .*; got 2\."):
        compare(config, methods, experiment="trial", seeds=2, budget=4)
    assert not Path("runs/studies.db").exists()


def test_wrong_input_is_named(here: Path) -> None:  # noqa: F811
    common = ["--config", "small.toml"]
    assert "methods must be at least 2 different ones" in refused("compare", "random", *common)
    assert "Two of one algorithm need labels: 'plain=" in refused("compare", "random", "random", *common)
    assert "evolution.algorithm has no 'tpo'. Did you mean 'tpe'?" in refused("compare", "random", "tpo", *common)
    assert not Path("runs").exists()
    assert "Did you mean 'random'?" in refused("compare", "truncation", "randm", *common)
    assert "seeds must be an integer of at least 2" in refused(
        "compare", "truncation", "random", "--seeds", "1", *common
    )
    assert "must be KEY=VALUE" in refused("compare", "truncation", "grid:4", *common)
    with pytest.raises(InputError):
        parse_method("grid:resolution")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("tpe:n_startup=3", "has no argument 'n_startup' (did you mean 'n_startup_trials'?)"),
        ("narrow=cma:sigma=0", "The method 'narrow' cannot run: sigma must be greater than 0 and finite; got 0."),
        ("pbt:share=0.9", "The method 'pbt' cannot run: share must be from 1e-06 to 0.5; got 0.9."),
        ("fixed", "The strategy fixed needs the argument 'params'"),
        (
            "fixed:params={lr=-1.0,momentum=0.5}",
            "The method 'fixed' cannot run: params is not a point of the space: lr: value must be within",
        ),
        ("hyperband:eta=1", "eta must be an integer of at least 2; got 1"),
        ("nsga-ii", "The method 'nsga-ii' cannot run: nsga-ii needs at least 2 objectives; got 1."),
        ("staged=truncation:stages=[3,1]", "stages must be growing numbers of epochs, at least 1; got [3, 1]."),
        ("truncation:mutation=self", "evolution.mutation must be 'resample' or 'self-adaptive'"),
    ],
)
def test_arguments_of_all_methods_are_checked_before_anything_is_trained(
    here: Path,  # noqa: F811
    method: str,
    said: str,
) -> None:
    assert said in " ".join(refused("compare", "random", method, "--config", "small.toml").split())
    assert not Path("runs").exists()


def test_that_there_are_test_examples_is_checked_before_anything_is_trained(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(config)
    without = replace(task, data=replace(task.data, test=None))
    monkeypatch.setattr("deap_hpo.comparison.make_task", lambda _: without)
    with pytest.raises(InputError, match="A comparison needs test examples; the task's data have none"):
        run(config)
    assert not Path("runs").exists()


def test_bands_begin_where_every_seed_has_a_value_and_keep_the_last_one() -> None:
    anytime = pd.DataFrame(
        {"method": "a", "seed": [1, 1, 1, 2, 2], "epochs": [2, 4, 6, 3, 4], "best": [0.9, 0.5, 0.4, 0.7, 0.6]}
    )
    bands = anytime_bands(anytime)
    assert bands["epochs"].tolist() == [3, 4, 6]
    assert bands["median"].tolist() == pytest.approx([0.8, 0.55, 0.5])
    assert plot_comparison(bands, seeds=2).axes[0].get_title().endswith("middle half of 2 seeds")
    drawn = plot_comparison(bands).axes[0].lines[0].get_xydata().tolist()
    assert drawn == [[3, pytest.approx(0.8)], [4, pytest.approx(0.55)], [6, pytest.approx(0.5)]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("values", "quartiles"),
    [
        ([math.inf, math.inf, 0.2, 0.6], (0.5, math.inf, math.inf)),
        ([math.inf, 0.1, 0.2, 0.3], (0.175, 0.25, math.inf)),
        ([math.inf, 0.1, 0.2, 0.3, 0.4], (0.2, 0.3, 0.4)),
        ([math.inf, math.inf, math.inf], (math.inf, math.inf, math.inf)),
    ],
)
def test_bands_are_infinite_where_runs_have_no_finite_value_yet(
    values: list[float], quartiles: tuple[float, ...], sign: int
) -> None:
    seeds = range(len(values))
    anytime = pd.DataFrame({"method": "a", "seed": seeds, "epochs": 1, "best": [sign * value for value in values]})
    (row,) = anytime_bands(anytime).to_dict("records")
    expected = sorted(sign * value for value in quartiles)
    assert [row["low"], row["median"], row["high"]] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (1, None),
        (3, "Intervals over 3 seeds are too narrow: of normal values, 72 % rather than 95 % "),
        (5, "Intervals over 5 seeds are too narrow: of normal values, 84 % rather than 95 % "),
        (10, None),
    ],
)
def test_the_intervals_of_few_seeds_are_said_to_be_too_narrow(config: RunConfig, seeds: int, said: str | None) -> None:
    rows = [{"method": method, "seed": seed} for seed in range(seeds) for method in ("a", "b")]
    runs = pd.DataFrame(rows).assign(best=0.5, test_loss=0.5)
    runs[["gap", "trainings", "epochs", "wall_seconds", "training_seconds"]] = 1.0
    anytime = pd.DataFrame(rows).assign(epochs=1, best=0.5)
    made = results(runs, anytime, config, "deap-hpo compare a b")
    assert introduction(made).splitlines()[3:] == ([f"{said}of them hold the true mean."] if said else [])
    interval = "[-, -]" if seeds == 1 else "[0.5000, 0.5000]"
    assert [row[1] for row in table_of_methods(made)[1]] == [f"0.5000 {interval}"] * 2


@pytest.mark.parametrize(("seeds", "expected"), [(3, 0.72), (5, 0.84)])
def test_the_intervals_hold_the_true_mean_as_often_as_is_said(seeds: int, expected: float) -> None:
    """Of 400 intervals; the standard error is 0.02."""
    table = summarise(pd.DataFrame(np.random.default_rng(0).normal(size=(seeds, 400))))
    covered = (table["low"].le(0) & table["high"].ge(0)).mean()
    assert covered == pytest.approx(expected, abs=0.06)


def test_methods_that_train_part_of_the_way_get_the_epochs_of_the_whole_trainings(config: RunConfig) -> None:
    config = load_config("small.toml", ["study.storage=runs/studies.db", "training.epochs=4"])
    methods = (
        "random",
        "dehb:eta=2",
        "pbt",
        "staged=truncation:stages=[1,4]",
    )
    runs, anytime = compare(
        config, [parse_method(m) for m in methods], experiment="parts", seeds=2, budget=6, repeats=1
    )
    epochs = runs.set_index("method")["epochs"]
    assert epochs.max() <= 24
    assert epochs.min() >= 12
    assert (runs.set_index("method")["trainings"].drop("random") > 6).all()
    last = anytime.groupby(["method", "seed"])["epochs"].last()
    assert last.to_dict() == runs.set_index(["method", "seed"])["epochs"].to_dict()
    for seed in (1, 2):
        members = [e for e in load_study(f"parts-pbt-{seed}", "runs/studies.db").entries if e.generation == 0]
        assert len(members) == 6
        schedule = load_study(f"parts-pbt-{seed}-retrained", "runs/studies.db").attributes["evaluator"].get("schedule")
        best = runs.set_index(["method", "seed"]).loc[("pbt", seed)]
        assert math.isfinite(best["test_loss"])
        if schedule:
            assert [part[1] for part in schedule] == list(range(1, len(schedule) + 1))


def test_folds_leave_the_luck_of_the_draw_unknown(config: RunConfig) -> None:
    """A choice is trained again on the first fold, which may be easier or harder than their mean."""
    config = make_config(config.model_dump(mode="json"), ["training.folds=3"])
    runs, anytime = run(config, ("random", "fixed:params={lr=0.1,momentum=0.5}"))
    assert runs["gap"].isna().all()
    assert runs[["best", "retrained", "test_loss"]].map(math.isfinite).all(axis=None)
    made = results(runs, anytime, config, "command")
    assert [row["gap"] for row in made["costs"]] == [None, None]
    assert markdown(made).count("| - | 7 |") == 1


@pytest.mark.parametrize(
    "limit",
    ["execution.max_seconds=0.001", "evolution.max_epochs=2", "evolution.patience=1", "evolution.target=0.1"],
)
def test_a_limit_that_would_end_some_runs_earlier_is_refused(config: RunConfig, limit: str) -> None:
    with pytest.raises(InputError, match=f"{limit.partition('=')[0]} would end some of them earlier. Leave it out"):
        run(make_config(config.model_dump(mode="json"), [limit]))
    assert not Path("runs/studies.db").exists()


def test_workers_are_started_once_for_all_runs(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given: list[int] = []
    run_by_workers = ProcessExecutor.run

    def noted(self: ProcessExecutor, evaluate: Any, requests: Any) -> Any:
        yield from run_by_workers(self, evaluate, requests)
        given.extend(pid for pid in self.worker_pids() if pid not in given)

    monkeypatch.setattr(ProcessExecutor, "run", noted)
    executed = config.model_copy(update={"execution": ExecutionConfig(executor="processes", workers=1)})
    methods = [parse_method(one) for one in ("random", "sobol")]
    shared, _ = compare(executed, methods, experiment="shared", seeds=2, budget=4, repeats=1)
    assert len(given) == 2, "one that searches, and one that trains choices again"
    alone, _ = compare(config, methods, experiment="alone", seeds=2, budget=4, repeats=1)
    same = [column for column in shared if not column.endswith("_seconds")]
    pd.testing.assert_frame_equal(shared[same], alone[same])


def test_runs_that_train_in_parts_have_checkpoints_of_their_own(config: RunConfig) -> None:
    def named(name: str, *changes: str) -> RunConfig:
        return make_config(config.model_dump(mode="json"), [f"study.name={name}", *changes])

    with Equipment(make_task(config)) as equipment:
        whole = [equipment.trainer(named(name)) for name in ("a", "b")]
        parts = [equipment.trainer(named(name, "evolution.algorithm=hyperband")) for name in ("c", "d")]
        longer = equipment.trainer(named("e", "training.epochs=3"))
    assert whole[0] is whole[1]
    assert len({id(one) for one in (whole[0], *parts, longer)}) == 4
    assert longer.epochs == 3


def test_a_method_may_have_a_recipe_of_its_own(config: RunConfig) -> None:
    """Such as a schedule, which population-based training finds by itself and others are to be given."""
    fixed = "fixed:params={lr=0.1,momentum=0.5}"
    config = make_config(config.model_dump(mode="json"), ["training.epochs=3"])
    runs, _ = run(config, (fixed, f"annealed={fixed};training.recipe.schedule=cosine"))
    best = runs.set_index(["method", "seed"])["best"]
    for method, changes in (("fixed", []), ("annealed", ["training.recipe.schedule=cosine"])):
        alone = make_config(config.model_dump(mode="json"), changes)
        entry = load_study(f"trial-{method}-2", "runs/studies.db").best
        assert trainer_of(make_task(alone), alone)({"lr": 0.1, "momentum": 0.5}, entry.seed).value == best[method, 2]
    assert best["fixed", 2] != best["annealed", 2]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.recipe.shedule=cosine", "The method 'random' cannot run: training.recipe has no 'shedule'"),
        ("training.epochs=9", "The method 'random' cannot run: .*training"),
    ],
)
def test_other_settings_of_a_method_are_refused(config: RunConfig, setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(config, ("sobol", f"random:{setting}"))
