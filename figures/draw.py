"""Draw every figure of the repository from the tables in ``figures/data``: `make figures`.

Nothing is trained or fitted here. The same tables give the same files, byte for byte, with the same versions of the
drawing libraries, which are listed in ``figures/data/figures.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from drawings import plot_costs, plot_final_curves, plot_regrets, plot_work
from matplotlib import ft2font

from deap_hpo.analysis.offline import read_table
from deap_hpo.plotting.impact import (
    plot_interactions,
    plot_noise,
    plot_param_importances,
    plot_partial_dependence,
    plot_trade_off,
)
from deap_hpo.plotting.methods import plot_comparison, plot_outcomes
from deap_hpo.plotting.runs import plot_bands, plot_runs
from deap_hpo.plotting.study import plot_slice
from deap_hpo.plotting.style import save
from deap_hpo.search_space.space import Space
from deap_hpo.wording import plural

HERE = Path(__file__).parent
DATA = HERE / "data"
RUNS = {"baseline": "baseline", "run_1": "run 1", "run_2": "run 2", "run_3": "run 3", "run_4": "run 4"}


def labelled(data: Path, name: str) -> pd.DataFrame:
    """Read a table of the paper's runs, and add their names in figures as a column."""
    table = pd.read_csv(data / f"{name}.csv")
    return table.assign(label=table["run"].map(RUNS))


def scale_text(data: Path) -> str:
    """Describe the size of the trainings, on which the losses depend."""
    epochs = json.loads((data / "paper_runs.json").read_text())["evaluator"]["epochs"]
    return f"{_training_size(data):,} training images, {epochs} epochs"


def _training_size(data: Path) -> int:
    return int(json.loads((data / "paper_runs.json").read_text())["evaluator"]["data"]["training_size"])


def over_seeds(table: pd.DataFrame, column: str, by: list[str]) -> pd.DataFrame:
    """Give mean, standard deviation and extremes over seeds, in the order of the table."""
    grouped = table.groupby(by, sort=False)[column]
    return grouped.agg(["mean", "std", "min", "max"]).reset_index().rename(columns={"min": "low", "max": "high"})


def losses(data: Path, target: Path) -> list[Path]:
    """Draw figure 1, the validation loss of the five runs, and the same for the test loss."""
    runs, published = labelled(data, "paper_runs"), labelled(data, "published")
    count = runs["seed"].nunique()
    paths = []
    for column, name, claims in (("validation_loss", "validation loss", published), ("test_loss", "test loss", None)):
        figure = plot_runs(
            runs,
            over_seeds(runs, column, ["label"]),
            None if claims is None else claims[claims["run"].isin(runs["run"])],
            column=column,
            value_name=f"{name} of the best network",
            title=f"{name.capitalize()} across the runs\n{plural(count, 'seed')}, {scale_text(data)}",
        )
        paths += save(figure, target / ("figure_1" if column == "validation_loss" else column))
    return paths


def simulated(data: Path, target: Path) -> list[Path]:
    """Draw the five runs with many seeds, on a model of the trainings."""
    runs = labelled(data, "simulated_runs")
    figure = plot_runs(
        runs,
        over_seeds(runs, "validation_loss", ["label"]),
        value_name="modelled validation loss",
        title=f"On a model of the trainings: {runs['seed'].nunique()} seeds",
    )
    return save(figure, target / "simulated_runs")


def generations(data: Path, target: Path) -> list[Path]:
    """Draw the best so far and the diversity, generation by generation."""
    table = labelled(data, "paper_generations")
    table["round"] = table["generation"] + 1
    best = plot_bands(
        over_seeds(table, "best", ["label", "round"]),
        x="round",
        x_name="generation (rounds of evaluation)",
        value_name="best validation loss so far",
        title="Best so far: mean and extremes of the seeds",
    )
    diversity = plot_bands(
        over_seeds(table, "diversity", ["label", "round"]),
        x="round",
        x_name="generation (rounds of evaluation)",
        value_name="mean distance between two genomes",
        title="Diversity of the population: mean and extremes of the seeds",
        logarithmic=False,
    )
    return [*save(best, target / "generations"), *save(diversity, target / "diversity")]


def curves(data: Path, target: Path) -> list[Path]:
    """Draw training and validation loss of each run's best network."""
    epochs, runs = labelled(data, "paper_epochs"), labelled(data, "paper_runs")
    trials = labelled(data, "paper_trials")
    # The best evaluation may repeat an earlier one, whose curve it shares.
    trained = trials.assign(number_trained=trials["duplicate_of"].fillna(trials["number"]).astype(int))
    best = runs[["run", "seed", "best"]].merge(
        trained, left_on=["run", "seed", "best"], right_on=["run", "seed", "number"]
    )
    chosen = epochs.merge(
        best[["run", "seed", "number_trained"]],
        left_on=["run", "seed", "number"],
        right_on=["run", "seed", "number_trained"],
    )
    figure = plot_final_curves(chosen, title=f"Training of the best network: {scale_text(data)}")
    return save(figure, target / "final_curves")


def costs(data: Path, target: Path) -> list[Path]:
    """Draw the cost of each run as a share of the baseline's."""
    runs, published = labelled(data, "paper_runs"), labelled(data, "published")
    means = runs.groupby("label", sort=False)[["trained", "evaluations"]].mean()
    if "baseline" not in means.index:
        return []
    shares = means / means.loc["baseline"]
    shares["published"] = published.set_index("label")["minutes"] / published.set_index("label")["minutes"]["baseline"]
    figure = plot_costs(shares.reset_index(), title="What each run costs beside the baseline")
    return save(figure, target / "costs")


def work(data: Path, target: Path) -> list[Path]:
    """Draw the work of each run, which decides its time: images trained, and images spared by the record."""
    runs, trials, epochs = (labelled(data, f"paper_{name}") for name in ("runs", "trials", "epochs"))
    by = ["run", "seed", "number"]
    # A training that diverged or failed did so in the epoch after the last one of its curve.
    trained = trials[by].merge(epochs.groupby(by).size().rename("epochs").reset_index(), how="left")["epochs"].fillna(0)
    trials["epochs"] = trained + trials["status"].isin(["diverged", "failed"])
    source = trials.assign(number=trials["duplicate_of"].fillna(trials["number"]).astype(int))[by]
    images = source.merge(trials[[*by, "epochs"]], how="left")["epochs"] * _training_size(data) / 1e6
    kind = np.where(trials["duplicate_of"].notna(), "answered", np.where(trials["status"].eq("ok"), "whole", "short"))
    parts = trials.assign(images=images, kind=kind).pivot_table(
        index=["label", "seed"], columns="kind", values="images", aggfunc="sum", fill_value=0.0, sort=False
    )
    parts = parts.reindex(columns=["whole", "short", "answered"], fill_value=0.0)
    seeds = (parts["whole"] + parts["short"]).rename("trained").reset_index()
    means = parts.groupby("label", sort=False).mean()
    means["note"] = _shares(seeds, runs)
    figure = plot_work(
        means.reset_index(),
        seeds,
        title=f"Work of each run, which time follows\n{plural(runs['seed'].nunique(), 'seed')}, {scale_text(data)}",
    )
    return save(figure, target / "work")


def _shares(seeds: pd.DataFrame, runs: pd.DataFrame) -> pd.Series:
    """Describe each run's share of the baseline's images, and of its seconds if they are on record."""
    images = seeds.groupby("label", sort=False)["trained"].mean()
    notes = (images / images.get("baseline", np.nan)).map("{:.2f} of the baseline's".format)
    if "seconds" in runs:
        seconds = runs.groupby("label", sort=False)["seconds"].mean()
        notes += (seconds / seconds.get("baseline", np.nan)).map(", {:.2f} of its time".format)
    return notes if "baseline" in images else notes.map(lambda _: "")


def searched(data: Path, target: Path) -> list[Path]:
    """Draw the hyperparameters that the runs tried against the loss."""
    trials = pd.read_csv(data / "paper_trials.csv").astype({"duplicate_of": "Int64"})
    space = Space.from_dict(json.loads((data / "paper_runs.json").read_text())["space"])
    return save(plot_slice(trials[trials["duplicate_of"].isna()], space), target / "hyperparameters")


def impact(data: Path, target: Path) -> list[Path]:
    """Draw the effect of each hyperparameter, from the dense sample, and the noise between seeds."""
    trials, space = read_table(data / "fashion_mnist_cnn_table.parquet", "sobol")
    maps, dependence = (pd.read_csv(data / f"impact_{name}.csv") for name in ("interactions", "partial_dependence"))
    trials["effective"] = trials["params_lr"] / (1 - trials["params_momentum"])
    figures = {
        "importance": plot_param_importances(pd.read_csv(data / "impact_importances.csv")),
        "partial_dependence": plot_partial_dependence(dependence, trials, space),
        "interactions": plot_interactions(maps, trials, space),
        "trade_off": plot_trade_off(trials, "effective"),
    }
    if (data / "impact_noise.csv").exists():
        repeats, _ = read_table(data / "fashion_mnist_cnn_table.parquet", "repeats")
        figures["noise"] = plot_noise(pd.read_csv(data / "impact_noise.csv"), repeats)
    return [path for name, figure in figures.items() for path in save(figure, target / name)]


def comparisons(data: Path, target: Path) -> list[Path]:
    """Draw every comparison of methods: the best so far, and the test loss of each method's choice."""
    paths: list[Path] = []
    for path in sorted(data.glob("comparison*.json")):
        result = json.loads(path.read_text())
        figure = plot_comparison(pd.DataFrame(result["anytime"]), seeds=result["seeds"])
        outcomes = plot_outcomes(result["outcomes"]["test_loss"]["summary"], seeds=result["seeds"])
        paths += save(figure, target / path.stem) + save(outcomes, target / f"{path.stem}_outcomes")
    return paths


def benchmark(data: Path, target: Path) -> list[Path]:
    """Draw the regret of methods on tabulated real trainings; `benchmarks/strategies.py --curves` wrote the table."""
    table = data / "benchmark_regret.csv"
    if not table.exists():  # a user's own experiments have none
        return []
    figure = plot_regrets(
        pd.read_csv(table),
        first="surrogate",
        title="Twelve real tuning problems, 20 seeds: mean, 95 % interval\n(0: the best known; 1: a median random one)",
    )
    return save(figure, target / "benchmark_regret")


FIGURES: list[Callable[[Path, Path], list[Path]]] = [
    losses,
    simulated,
    generations,
    curves,
    costs,
    work,
    searched,
    impact,
    comparisons,
    benchmark,
]


def draw(data: Path = DATA, target: Path = HERE) -> list[Path]:
    """Draw all figures into a folder; return their paths."""
    return [path for figure in FIGURES for path in figure(data, target)]


def versions() -> dict[str, str]:
    """Name the versions on which the bytes of a figure depend."""
    return {"matplotlib": matplotlib.__version__, "freetype": ft2font.__freetype_version__, "numpy": np.__version__}


if __name__ == "__main__":
    print("\n".join(str(path.relative_to(HERE.parent)) for path in draw()))
    (DATA / "figures.json").write_text(json.dumps(versions(), indent=1) + "\n")
