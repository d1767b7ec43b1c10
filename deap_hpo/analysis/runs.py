"""Several runs of one experiment: tidy tables over runs and seeds, and a test of the difference between two."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from deap_hpo.analysis.tables import epochs_table, summary
from deap_hpo.errors import InputError
from deap_hpo.evaluation import sign_of
from deap_hpo.evolution.individual import individual_type
from deap_hpo.evolution.operators import selTruncation
from deap_hpo.recorded import Recorded
from deap_hpo.records.entries import Entry, best_entry

Runs = Mapping[str, Sequence[Recorded]]
"""The records of each run, by its label: one for each seed."""

_FLIPS = 9999


def runs_table(runs: Runs) -> pd.DataFrame:
    """One row for each run and seed: its settings, its counts, its best network, and the test of that network.

    Columns: `run`, `seed`, `population`, `generations`, `mutation_rate`, those of `summary` (`seconds` is
    summed over the trainings), `best` (number of the best evaluation), `training_loss` (mean over the epoch after which
    it is judged, with dropout), `validation_loss`, ``validation_*``, `test_loss`, ``test_*`` (NaN if it was not
    measured), ``params_*``.

    Raises:
        InputError: A study was not started by ``deap-hpo run``, or has no evaluation with a finite value.
    """
    return pd.DataFrame([_run_row(label, recorded) for label, seeds in runs.items() for recorded in seeds])


def _run_row(label: str, recorded: Recorded) -> dict[str, Any]:
    evolution = recorded.config()["evolution"]
    best = best_entry(recorded.entries, recorded.directions[0])
    final = recorded.attributes.get("final") or {}
    params = recorded.space.decode(best.genes) if recorded.space else {}
    return {
        "run": label,
        "seed": recorded.attributes["seed"],
        "population": evolution["population"],
        "generations": evolution["generations"],
        "mutation_rate": evolution["indpb"],
        **{key: value for key, value in summary(recorded.entries).items() if key != "generations"},
        "best": best.number,
        "training_loss": kept.training_loss if (kept := best.evaluation.kept_epoch) else np.nan,
        "validation_loss": best.evaluation.value,
        **{f"validation_{name}": value for name, value in best.evaluation.metrics.items()},
        "test_loss": final.get("test_loss", np.nan),
        **{f"test_{name}": value for name, value in final.get("test_metrics", {}).items()},
        **{f"params_{name}": value for name, value in params.items()},
    }


def stacked(runs: Runs, table: str) -> pd.DataFrame:
    """Concatenate one table of every study, with the columns `run` and `seed` in front.

    Args:
        runs: The records.
        table: "trials" (`trials_table`), "epochs" (`epochs_table`) or "generations"
            (`generations_table`).

    Raises:
        InputError: There is no such table.
    """
    make = {
        "trials": lambda recorded: recorded.trials_dataframe(),
        "epochs": lambda recorded: epochs_table(recorded.entries),
        "generations": generations_table,
    }
    if table not in make:
        raise InputError(f"table must be one of {', '.join(make)}; got {table!r}.")
    parts = []
    for label, seeds in runs.items():
        for recorded in seeds:
            part = make[table](recorded)
            part.insert(0, "run", label)
            part.insert(1, "seed", recorded.attributes["seed"])
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def generations_table(recorded: Recorded) -> pd.DataFrame:
    """One row for each generation of a study.

    Columns: `generation`, `trainings` (number so far, without evaluations that an earlier one answered), `best` (value
    so far; NaN until there is one), `diversity` (mean Euclidean distance between two genomes of the population, each
    gene in [0, 1]; NaN if genes are not numbers, or not equally many). The population consists of the generation's
    individuals, each with its latest evaluation, and, for the genetic algorithm "truncation", of the surviving half of
    the population before.
    """
    sign = sign_of(recorded.directions[0])
    kind = individual_type((-sign,))
    survives = recorded.evolution.get("algorithm") == "truncation"
    trainings, best, rows = 0, np.nan, []
    population: list[Any] = []

    def by_generation(entry: Entry) -> int:
        return entry.generation // recorded.stages

    for generation, entries in groupby(sorted(recorded.entries, key=by_generation), by_generation):
        batch = list(entries)
        survivors = selTruncation(population, len(population) // 2) if survives else []
        population = [*survivors, *(_individual(entry, kind) for entry in _latest(batch))]
        trainings += sum(entry.duplicate_of is None for entry in batch)
        finite = [sign * entry.evaluation.value for entry in batch if entry.evaluation.feasible]
        best = sign * float(np.fmin(sign * best, min(finite, default=np.nan)))
        diversity = _mean_distance(population)
        rows.append({"generation": generation, "trainings": trainings, "best": best, "diversity": diversity})
    return pd.DataFrame(rows, columns=["generation", "trainings", "best", "diversity"])


def _latest(batch: Sequence[Entry]) -> list[Entry]:
    """Give the latest evaluation of each individual: it has one after each stage that it reached."""
    latest: dict[tuple[tuple[float, ...], int], Entry] = {}
    seen = Counter[tuple[tuple[float, ...], int]]()
    for entry in batch:
        seen[entry.genes, entry.generation] += 1  # individuals with the same genes stay in their order
        latest[entry.genes, seen[entry.genes, entry.generation]] = entry
    return list(latest.values())


def _individual(entry: Entry, kind: type[Any]) -> Any:
    individual = kind(entry.genes)
    individual.fitness.values = (entry.evaluation.value,)
    individual.fitness.violation = entry.evaluation.violation
    return individual


def paired_difference(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """Compare two runs by pairs of equal seed: is the first lower?

    Args:
        first: A value for each seed, at least 2.
        second: The values of the other run, in the same order.

    Returns:
        `n` (pairs), `lower`, `equal` and `higher` (pairs in which the first is so), `mean` (of first minus second),
        `low` and `high` (95 % interval of Student's t, which assumes normal differences), `p` (of the two-sided
        sign-flip permutation test of the mean, which does not; exact up to 15 pairs, with more by 9,999 random flips),
        `least_p` (the smallest p that the test can give with this number of unequal pairs). If both values of a pair
        are infinite, their difference is 0. If any other difference is not finite, `low`, `high` and `p` are NaN.

    Raises:
        InputError: There are fewer than 2 pairs, or the lengths differ.

    Example:
        >>> paired_difference([0.3, 0.4, 0.5], [0.6, 0.6, 0.9])["p"]
        0.25
    """
    if len(first) != len(second) or len(first) < 2:
        raise InputError(f"first and second must hold a value for each of 2 or more seeds; got {first} and {second}.")
    from scipy import stats  # here, since it takes longer to import than what most commands do

    differences = np.array([a - b if a != b else 0.0 for a, b in zip(first, second, strict=True)], dtype=float)
    count, mean = len(differences), differences.mean()
    interval, p = (math.nan, math.nan), math.nan
    exact = count <= 15
    unequal = int(np.count_nonzero(differences))  # flipping the sign of an equal pair changes nothing
    if np.isfinite(mean):
        interval = (mean, mean)
        if np.ptp(differences) > 0:
            interval = stats.t.interval(0.95, count - 1, loc=mean, scale=stats.sem(differences))
        resamples = math.inf if exact else _FLIPS
        p = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=resamples, rng=0
        ).pvalue
    return {
        "n": count,
        "lower": int((differences < 0).sum()),
        "equal": count - unequal,
        "higher": int((differences > 0).sum()),
        "mean": float(mean),
        "low": float(interval[0]),
        "high": float(interval[1]),
        "p": float(p),
        "least_p": min(1.0, max(2.0 ** (1 - unequal), 0.0 if exact else 2 / (_FLIPS + 1))),
    }


def environments(runs: Runs) -> list[dict[str, Any]]:
    """List the different environments (device, precision, versions) in which the evaluations of all studies ran."""
    found: list[dict[str, Any]] = []
    for seeds in runs.values():
        for recorded in seeds:
            for entry in recorded.entries:
                about = {key: value for key, value in entry.evaluation.environment.items() if key != "stack"}
                if about and about not in found:
                    found.append(about)
    return found


def _mean_distance(genomes: Sequence[Sequence[Any]]) -> float:
    """Mean Euclidean distance between two different genomes; NaN if there is only one, or they are not all vectors."""
    from scipy.spatial.distance import pdist

    alike = len({len(genome) for genome in genomes}) == 1
    if len(genomes) < 2 or not alike or not all(isinstance(gene, float) for genome in genomes for gene in genome):
        return float("nan")
    return float(pdist(np.array(genomes)).mean())
