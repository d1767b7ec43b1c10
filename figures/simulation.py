"""Run the paper's five runs with hundreds of seeds on a model of the recorded trainings.

Many simulated seeds show differences that a handful of real ones cannot, but they are about the model, not the network.
The accuracy of the model in the region where the paper's runs search is measured on the real evaluations of those runs,
each predicted from the dense sample and other evaluations of the runs only.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from deap_hpo.analysis.offline import read_table
from deap_hpo.analysis.response import ResponseModel
from deap_hpo.configuration.config import RunConfig, load_config
from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import make_toolbox
from deap_hpo.search_space.space import Space
from deap_hpo.seeding import derived_seed

RUNS = ("baseline", "run_1", "run_2", "run_3", "run_4")
SEEDS, PARTS = 200, 10


def trainings(data: Path) -> tuple[pd.DataFrame, Space]:
    """Give every recorded training, and the space of the dense sample, in whose scales the model works."""
    dense, space = read_table(data / "fashion_mnist_cnn_table.parquet")
    paper = pd.read_csv(data / "paper_trials.csv")
    paper = paper[paper["duplicate_of"].isna()]
    # The runs of one seed share their first individuals, trained with the same seed: count them once.
    paper = paper.drop_duplicates([f"params_{name}" for name in space]).assign(sample="paper")
    columns = ["sample", "value", "status", *(f"params_{name}" for name in space)]
    return pd.concat([dense[columns], paper[columns]], ignore_index=True), space


def genes(params: list[dict[str, Any]], space: Space) -> np.ndarray[Any, Any]:
    """Give the genes of hyperparameters in the model's space; values below its bounds count as the bound."""
    return np.array([space.encode({name: max(row[name], space[name].low) for name in space}) for row in params])


def accuracy(data: Path) -> dict[str, float]:
    """Predict the paper's evaluations in ten parts, each from all other trainings."""
    table, space = trainings(data)
    paper = np.flatnonzero(table["sample"].eq("paper"))
    shuffled = np.random.default_rng(0).permutation(paper)
    predicted = pd.Series(np.nan, index=table.index)
    for part in np.array_split(shuffled, PARTS):
        model = ResponseModel(_inside(table.drop(index=part), space), space)
        predicted[part] = model.predict(genes(_params(table.loc[part], space), space))
    measured = table["value"].replace(np.inf, table["value"][np.isfinite(table["value"])].max())
    errors = np.log(predicted[paper]) - np.log(measured[paper])
    return {
        "rows": float(len(paper)),
        "rmse": float(np.sqrt((errors**2).mean())),
        "spearman": float(stats.spearmanr(predicted[paper], measured[paper]).statistic),
    }


def simulate(data: Path, seeds: int | None = None) -> pd.DataFrame:
    """Run every preset with many seeds on the model; the first individuals are those of the real run with that seed.

    Returns:
        One row for each run and seed: `run`, `seed`, `validation_loss` (the model's prediction).
    """
    table, space = trainings(data)
    model = ResponseModel(_inside(table, space), space)
    rows = [
        {"run": run, "seed": seed, "validation_loss": _run(load_config(f"paper/{run}"), model, seed)}
        for run in RUNS
        for seed in range(1, (seeds or SEEDS) + 1)
    ]
    return pd.DataFrame(rows)


def _run(config: RunConfig, model: ResponseModel, seed: int) -> float:
    random.seed(derived_seed(seed, 0))  # as a study does
    evolution, searched = config.evolution, config.search_space
    toolbox = make_toolbox(searched, indpb=evolution.indpb)
    toolbox.register("evaluate", lambda genome: genome)

    def answer(_: Any, genomes: list[Any]) -> list[tuple[float, ...]]:
        predicted = model.predict(genes([searched.decode(genome) for genome in genomes], model.space))
        return [(float(value),) for value in predicted]

    toolbox.register("map", answer)
    population = toolbox.population(n=evolution.population)
    eaTruncation(population, toolbox, evolution.cxpb, evolution.mutpb, evolution.generations - 1, verbose=False)
    return float(min(individual.fitness.values[0] for individual in population))


def _inside(table: pd.DataFrame, space: Space) -> pd.DataFrame:
    return table.assign(**{f"params_{name}": table[f"params_{name}"].clip(lower=space[name].low) for name in space})


def _params(table: pd.DataFrame, space: Space) -> list[dict[str, Any]]:
    return table[[f"params_{name}" for name in space]].set_axis(list(space), axis=1).to_dict("records")
