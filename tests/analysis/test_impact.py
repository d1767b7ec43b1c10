"""Effects of hyperparameters, on functions whose answer is known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from trainings import SPACE, repeats, table

from deap_hpo.analysis.impact import (
    interaction_strengths,
    interactions,
    momentum_exponent,
    noise,
    noise_share,
    partial_dependence,
)
from deap_hpo.analysis.importance import importances
from deap_hpo.analysis.offline import OfflineBenchmark, read_table
from deap_hpo.analysis.response import MODELS, ResponseModel, capped_values
from deap_hpo.analysis.tables import trials_table
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation
from deap_hpo.plotting.impact import plot_interactions, plot_partial_dependence
from deap_hpo.records.entries import Entry
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.study import Study


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that do not look at the spread of importances, which takes half of the time."""
    monkeypatch.setattr("deap_hpo.analysis.importance._RESAMPLES", 2)


def test_the_most_important_hyperparameter_is_found_and_the_idle_one_has_no_importance() -> None:
    found = importances(table(), SPACE)
    assert found["hyperparameter"].tolist()[0] == "lr"
    assert found.set_index("hyperparameter").loc["decay", "fanova"] < 0.05
    assert found["fanova"].sum() == pytest.approx(1)
    assert found["ped_anova"].sum() == pytest.approx(1)


def test_the_spread_of_an_importance_tells_a_finding_from_chance() -> None:
    """Of few evaluations chance makes something of hyperparameters without any effect; of many it does not."""
    rng = np.random.default_rng(3)
    space = Space({name: Float(0.0, 1.0) for name in "abcdefgh"})
    genes = pd.DataFrame(rng.random((200, 8)), columns=[f"params_{name}" for name in space])
    trials = genes.assign(value=1.0 + genes["params_a"] + 0.3 * rng.random(200), status="ok")
    few, many = (importances(trials.head(count), space).set_index("hyperparameter") for count in (20, 200))
    assert (few["ped_anova"].drop("a") > 0.1).any(), "or there is nothing to be warned of"
    idle = few.drop("a")
    assert (idle["ped_anova"] < 3 * idle["ped_anova_std"]).all()
    assert few.loc["a", "fanova"] > 5 * few.loc["a", "fanova_std"]
    assert many["fanova_std"].max() < few["fanova_std"].max()
    assert many["ped_anova_std"].max() < few["ped_anova_std"].max()


def test_resamples_of_a_single_value_are_drawn_again() -> None:
    """Of ten evaluations of which one has another value, a third of the resamples have one value alone."""
    trials = pd.DataFrame({"params_x": np.linspace(0.0, 1.0, 10), "value": [2.0] + 9 * [1.0], "status": "ok"})
    found = importances(trials, Space({"x": Float(0.0, 1.0)}))
    assert found[["fanova", "fanova_std", "ped_anova", "ped_anova_std"]].to_numpy().tolist() == [[1.0, 0.0, 1.0, 0.0]]


@pytest.mark.parametrize("model", MODELS)
def test_cross_validation_tells_a_good_model(model: str) -> None:
    scores = ResponseModel(table(), SPACE, model=model).cross_validate()
    assert scores["r2"] > {"gp": 0.98, "forest": 0.7, "nearest": 0.3}[model]
    assert scores["spearman"] > 0.7


def test_what_diverged_counts_as_the_worst_value() -> None:
    trials = table()
    worst = trials["value"].max()
    trials.loc[0, ["value", "status"]] = [math.inf, "diverged"]
    model = ResponseModel(trials, SPACE, model="nearest")
    assert model.predict(model.genes[:1])[0] == pytest.approx(max(worst, trials["value"][1:].max()))


def test_partial_dependence_has_its_minimum_where_the_function_has_it() -> None:
    dependence = partial_dependence(ResponseModel(table(), SPACE))
    curve = dependence[dependence["hyperparameter"].eq("lr")]
    best = float(curve.loc[curve["mean"].idxmin(), "value"])
    assert SPACE["lr"].encode(best) == pytest.approx(0.6, abs=0.05)
    flat = dependence[dependence["hyperparameter"].eq("decay")]["mean"]
    assert flat.max() / flat.min() < 1.05
    assert (curve["low"] <= curve["mean"]).all()


@pytest.mark.parametrize(("loss", "least", "most"), [("additive", 0.0, 0.01), ("product", 0.95, 1.0)])
def test_interactions_are_what_main_effects_leave(loss: str, least: float, most: float) -> None:
    maps = interactions(ResponseModel(table(loss), SPACE), resolution=9)
    shares = interaction_strengths(maps).set_index(["first", "second"])["share"]
    assert least <= shares["lr", "momentum"] <= most
    assert len(maps) == 3 * 81


def test_a_categorical_hyperparameter_takes_each_choice() -> None:
    space = Space({"x": Float(0.0, 1.0), "kind": Categorical(["a", "b"])})
    x = np.linspace(0, 1, 30)
    kinds = np.where(np.arange(30) % 2, "a", "b")
    trials = pd.DataFrame({"params_x": x, "params_kind": kinds, "value": x - 0.5 + (kinds == "a"), "status": "ok"})
    dependence = partial_dependence(ResponseModel(trials, space), resolution=5)
    of_kind = dependence[dependence["hyperparameter"].eq("kind")].set_index("value")["mean"]
    assert of_kind["a"] - of_kind["b"] == pytest.approx(1, abs=0.1)  # values below 0: not on a log scale


def test_whole_numbers_and_steps_take_each_value_once() -> None:
    space = Space({"x": Float(0.0, 0.5, step=0.1), "depth": Int(1, 4), "width": Int(16, 256, step=16)})
    genomes = np.random.default_rng(0).random((40, 3))
    trials = pd.DataFrame([space.decode(row) for row in genomes.tolist()]).add_prefix("params_")
    trials = trials.assign(value=1 + trials["params_x"] + trials["params_depth"], status="ok")
    model = ResponseModel(trials, space)
    values = partial_dependence(model, resolution=12).groupby("hyperparameter")["value"].apply(list)
    assert values["x"] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert values["depth"] == [1, 2, 3, 4]
    assert len(values["width"]) == len(set(values["width"])) == 12
    maps = interactions(model, resolution=12)
    assert len(maps) == 6 * 4 + 6 * 12 + 4 * 12
    plot_interactions(maps, trials, space)
    assert importances(trials, space)["hyperparameter"][0] == "depth"


def test_the_exponent_of_momentum_is_found() -> None:
    found = momentum_exponent(table("effective", rows=200), resamples=200)
    assert found["exponent"] == pytest.approx(1, abs=0.1)
    assert 0 < found["low"] <= 1 <= found["high"]
    assert found["jump"] <= found["jump_effective"] < found["jump_lr"]
    without = table().drop(columns="params_momentum")
    with pytest.raises(InputError, match="missing \\['params_momentum'\\]"):
        momentum_exponent(without)


def test_noise_between_seeds_is_told_from_differences_between_configurations() -> None:
    quiet, loud = (noise_share(repeats(between, 0.1)) for between in (1.0, 0.0))
    assert quiet["share"] < 0.01
    assert quiet["p"] < 1e-6
    assert loud["share"] > 0.6
    assert loud["ratio"] == pytest.approx(math.exp(0.1 * math.sqrt(2)), rel=0.05)


def test_noise_counts_what_diverged() -> None:
    rows = repeats(1.0, 0.1)
    rows.loc[0, ["value", "status"]] = [math.inf, "diverged"]
    assert noise(rows).loc[0, ["seeds", "diverged"]].tolist() == [6, 1]
    assert noise_share(rows)["configurations"] == 9


def test_too_few_evaluations_are_an_error() -> None:
    for few in (table().iloc[:9], table().assign(status="diverged", value=math.inf)):
        with pytest.raises(InputError, match="At least 10"):
            ResponseModel(few, SPACE)
    with pytest.raises(InputError, match="model must be one of"):
        ResponseModel(table(), SPACE, model="spline")


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    table().to_parquet(path)
    path.with_suffix(".json").write_text(json.dumps({"space": SPACE.to_dict()}))
    return path


def test_a_saved_table_is_a_benchmark_for_studies(tmp_path: Path) -> None:
    trials, space = read_table(saved(tmp_path), "sobol")
    assert space == SPACE
    benchmark = OfflineBenchmark(trials, space, model="nearest", name="invented")
    row = trials.iloc[5]
    params = {name: float(row[f"params_{name}"]) for name in space}
    assert benchmark(params).value == row["value"]
    with Study(space, seed=1) as study:
        from deap_hpo.evolution.individual import make_toolbox

        toolbox = make_toolbox(space)
        toolbox.register("evaluate", benchmark)
        values = study.map(toolbox.evaluate, toolbox.population(n=3))
        assert all(value in trials["value"].to_numpy() for (value,) in values)
    assert OfflineBenchmark(trials, space).cross_validate()["r2"] > 0.98


def test_a_table_that_is_none_is_an_error(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(InputError, match="sample must be one of sobol"):
        read_table(path, "sobel")
    with pytest.raises(InputError, match="could not be read"):
        read_table(tmp_path / "no.parquet")
    table().drop(columns="params_lr").to_parquet(path)
    with pytest.raises(InputError, match="lacks the columns params_lr"):
        read_table(path)


@pytest.mark.usefixtures("small_forests")
def test_where_the_objective_is_maximised_what_diverged_is_worst_and_the_best_are_the_highest() -> None:
    down = table(rows=200)
    diverged = down["params_lr"].gt(0.3)
    down.loc[diverged, ["value", "status"]] = math.inf, "diverged"
    up = down.assign(value=-down["value"])
    assert set(capped_values(up)[diverged]) == {up.loc[~diverged, "value"].min()}
    assert set(capped_values(down)[diverged]) == {down.loc[~diverged, "value"].max()}
    shares = [
        importances(trials, SPACE, direction=direction).set_index("hyperparameter")["ped_anova"]
        for trials, direction in ((down, "minimize"), (up, "maximize"))
    ]
    assert shares[0].to_dict() == pytest.approx(shares[1].to_dict())
    worst = importances(up, SPACE, direction="minimize").set_index("hyperparameter")["ped_anova"]
    assert worst.to_dict() != pytest.approx(shares[1].to_dict(), abs=0.05)


def conditional_trials() -> tuple[pd.DataFrame, Space]:
    """The width decides with adam, the momentum with sgd; `block` is a choice with None."""
    space = Space(
        {
            "optimizer": Categorical(["sgd", "adam"]),
            "momentum": Float(0.0, 0.9),
            "width": Int(10, 20_000),
            "block": Categorical([None, "a", "b"]),
        },
        when={"momentum": {"optimizer": "sgd"}, "width": {"optimizer": "adam"}, "block": {"optimizer": "adam"}},
    )
    genomes = np.random.default_rng(1).random((60, 4)).tolist()
    losses = [1 + (genome[1] if genome[0] < 0.5 else 3 * genome[2]) for genome in genomes]
    entries = [Entry(i, 0, tuple(genomes[i]), Evaluation((losses[i],)), 0) for i in range(60)]
    return trials_table(entries, space), space


def test_what_is_not_in_use_says_nothing_of_what_a_hyperparameter_does() -> None:
    trials, space = conditional_trials()
    found = importances(trials, space).set_index("hyperparameter")["fanova"]
    assert found["block"] < 0.1 < found["width"]
    model = ResponseModel(trials, space)
    assert model.used[:, 1].tolist() == trials["params_optimizer"].eq("sgd").tolist()
    dependence = partial_dependence(model, resolution=3).groupby("hyperparameter")["mean"]
    assert dependence.get_group("momentum").to_numpy() == pytest.approx([1.0, 1.5, 2.0], abs=0.05)
    assert dependence.get_group("width").to_numpy() == pytest.approx([1.0, 2.5, 4.0], abs=0.05)
    plot_partial_dependence(partial_dependence(model), trials, space)


@pytest.mark.usefixtures("few_resamples")
def test_one_that_is_out_of_use_has_not_the_importance_of_what_decides_that() -> None:
    """The optimiser makes all the difference; momentum, which only one optimiser has, makes none."""
    space = Space(
        {"optimizer": Categorical(["sgd", "adam"]), "momentum": Float(0.0, 0.9), "lr": Float(0.0, 1.0)},
        when={"momentum": {"optimizer": "sgd"}},
    )
    rng = np.random.default_rng(0)
    genes = rng.random((200, 3))
    trials = pd.DataFrame([space.decode(row) for row in genes.tolist()]).add_prefix("params_")
    adam = trials["params_optimizer"].eq("adam")
    assert trials["params_momentum"].isna().equals(adam)
    trials = trials.assign(value=1.0 + adam + 0.1 * trials["params_lr"] + 0.01 * rng.random(200), status="ok")
    found, again = (importances(trials, space).set_index("hyperparameter") for _ in range(2))
    pd.testing.assert_frame_equal(found, again)
    assert found.loc["optimizer", "fanova"] > 0.9
    assert found.loc["momentum", "fanova"] < 0.03
    assert found.loc["momentum", "ped_anova"] < found.loc["optimizer", "ped_anova"] / 5


@pytest.mark.parametrize("kind", ["gp", "forest"])
def test_a_choice_is_judged_with_the_values_that_its_own_hyperparameters_had(kind: str) -> None:
    """Momentum is good where it was tried, and would be bad at the middle of its range, which nobody tried."""
    rng = np.random.default_rng(0)
    sgd, momentum, lr = rng.random(200) < 0.5, 0.8 + 0.2 * rng.random(200), rng.random(200)
    values = np.where(sgd, 1 + 4 * (momentum - 0.9) ** 2, 1.1)
    choices = np.where(sgd, "sgd", "adam")
    space = Space(
        {"optimizer": Categorical(["sgd", "adam"]), "momentum": Float(0.0, 1.0), "lr": Float(0.0, 1.0)},
        when={"momentum": {"optimizer": "sgd"}},
    )
    trials = pd.DataFrame(
        {"params_optimizer": choices, "params_momentum": np.where(sgd, momentum, math.nan), "params_lr": lr}
    ).assign(value=values, status="ok")
    model = ResponseModel(trials, space, model=kind)
    curves = partial_dependence(model, resolution=3).set_index(["hyperparameter", "value"])["mean"]
    assert values[sgd].max() < values[~sgd].min()
    assert curves["optimizer", "sgd"] == pytest.approx(values[sgd].mean(), abs=0.01)
    assert curves["optimizer", "adam"] == pytest.approx(1.1, abs=0.01)
    maps = interactions(model, params=["optimizer", "lr"], resolution=3)
    for choice, expected in (("sgd", values[sgd].mean()), ("adam", 1.1)):
        of_choice = maps.loc[maps["first_value"].eq(choice), "mean"]
        assert of_choice.to_numpy() == pytest.approx([expected] * 3, abs=0.01)


def test_a_hyperparameter_that_was_in_use_nowhere_has_no_partial_dependence() -> None:
    trials, space = conditional_trials()
    trials = trials[trials["params_optimizer"].eq("sgd")]
    model = ResponseModel(trials, space)
    assert set(partial_dependence(model, resolution=2)["hyperparameter"]) == {"optimizer", "momentum"}
    plot_partial_dependence(partial_dependence(model), trials, space)


@pytest.mark.usefixtures("few_resamples")
def test_importances_are_of_each_hyperparameters_own_scale_and_of_many_choices_too() -> None:
    genomes = np.random.default_rng(0).random((150, 2))
    kinds = {
        "linear": Float(0.0, 1.0),
        "logarithmic": Float(1e-4, 1.0, log=True),
        "whole": Int(1, 1024, log=True),
        "choices": Categorical([f"kind {i}" for i in range(40)]),
    }
    for hyperparameter in kinds.values():
        space = Space({"minor": Float(0.0, 1.0), "major": hyperparameter})
        trials = pd.DataFrame([space.decode(genome) for genome in genomes.tolist()]).add_prefix("params_")
        trials = trials.assign(value=genomes[:, 0] + 2 * genomes[:, 1] - 1.5, status="ok")
        shares = importances(trials, space).set_index("hyperparameter")["fanova"]
        assert shares["major"] == pytest.approx(0.8, abs=0.06), hyperparameter  # the variances are 1 and 4


def test_what_says_nothing_is_refused_or_is_nothing() -> None:
    flat = table().assign(value=0.25)
    with pytest.raises(InputError, match=r"All evaluations have the value 0\.25, so importances cannot"):
        importances(flat, SPACE)
    shares = interaction_strengths(interactions(ResponseModel(flat, SPACE, model="nearest"), resolution=3))
    assert shares["share"].tolist() == [0.0] * 3
    with pytest.raises(InputError, match="2 or more configurations of which no seed diverged; got 1"):
        noise_share(repeats(1.0, 0.1)[lambda rows: rows["configuration"].eq(0)])
    close = table()
    close["value"] = 1 + 1e-9 * close["params_momentum"]
    assert importances(close, SPACE)["hyperparameter"][0] == "momentum"
    huge = table()
    assert np.isfinite(importances(huge.assign(value=(huge["value"] - 0.5) * 1e300), SPACE)["fanova"]).all()


def test_where_all_failed_nothing_is_promised() -> None:
    """A region of failures counts as the worst for an algorithm, and so it does here."""
    space = Space({"x": Float(0.0, 1.0)})
    x = np.linspace(0, 1, 41)
    trials = pd.DataFrame({"params_x": x, "value": 2 - x, "status": "ok"})
    trials.loc[x > 0.7, ["value", "status"]] = [math.inf, "failed"]
    curve = partial_dependence(ResponseModel(trials, space)).set_index("value")["mean"]
    assert 0.5 < float(curve.idxmin()) < 0.75
    assert curve.iloc[-1] > 1.7
