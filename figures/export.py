"""Write the tables in ``figures/data``, and how they were made, from the records of the experiments."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import simulation

import deap_hpo
from deap_hpo.analysis import impact, runs, tables
from deap_hpo.analysis.importance import importances
from deap_hpo.analysis.offline import read_table
from deap_hpo.analysis.response import MODELS, ResponseModel
from deap_hpo.recorded import Recorded, load_study, study_names

RUNS = ("baseline", "run_1", "run_2", "run_3", "run_4")
TABLE = "fashion_mnist_cnn_table"


def export(
    paper: str,
    dense: str,
    noise: str,
    target: Path,
    *,
    command: str,
    commit: str | None = None,
    without_timings: Sequence[str] = (),
) -> None:
    """Write all tables.

    Args:
        paper: Storage of the paper's runs; only seeds with which every run is complete are taken.
        dense: Storage of the dense sample.
        noise: Storage of the repeats; may be missing.
        target: Folder for the tables.
        command: The command that made the record.
        commit: The commit of the code that made it; by default that of the working tree.
        without_timings: "paper", "dense" or both: experiments whose seconds are left out because the machine had other
            work.
    """
    target.mkdir(parents=True, exist_ok=True)
    made: dict[str, Any] = {"command": command, "commit": commit or _commit(), "date": date.today().isoformat()}
    export_runs(whole_seeds(paper), target, made)
    samples = {"sobol": load_study("dense", dense)}
    if Path(noise).exists() and (repeats := whole_rounds(load_study("noise", noise))):
        samples["repeats"] = repeats
    export_table(samples, target, made)
    export_impact(target)
    export_simulation(target)
    drop_seconds(target, without_timings)


def drop_seconds(target: Path, experiments: Sequence[str]) -> None:
    """Remove the columns of seconds from the tables of experiments."""
    if "paper" in experiments:
        for path in target.glob("paper_*.csv"):
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            table.drop(columns=["seconds"], errors="ignore").to_csv(path, index=False)
    if "dense" in experiments:
        path = target / f"{TABLE}.parquet"
        pd.read_parquet(path).drop(columns=["seconds"]).to_parquet(path, index=False)


def whole_seeds(storage: str) -> runs.Runs:
    """Read the runs with the seeds for which all five runs have ended and been tested.

    If there is no such seed yet, every run that has ended is taken.
    """
    found: dict[str, dict[int, Recorded]] = {}
    for name in study_names(storage):
        if match := re.fullmatch(r"paper-(\w+)-seed(\d+)", name):
            recorded = load_study(name, storage)
            if "final" in recorded.attributes:
                found.setdefault(match[1], {})[int(match[2])] = recorded
    if not found:
        raise SystemExit(f"{storage} holds no finished run.")
    seeds = set.intersection(*(set(one) for one in found.values())) if len(found) == len(RUNS) else set()
    return {
        run: [one for seed, one in sorted(found[run].items()) if seed in (seeds or found[run])]
        for run in RUNS
        if run in found
    }


def whole_rounds(recorded: Recorded) -> Recorded | None:
    """Leave out an incomplete last round of repeats; None if fewer than two rounds remain."""
    count = len({entry.genes for entry in recorded.entries})
    rounds = len(recorded.entries) // max(1, count)
    return replace(recorded, entries=recorded.entries[: rounds * count]) if rounds > 1 else None


def export_runs(records: runs.Runs, target: Path, made: dict[str, Any]) -> None:
    """Write a table of the runs, and tables of their evaluations, generations and epochs."""
    first = next(iter(records.values()))[0]
    whole = list(records) == list(RUNS)
    about = {
        **made,
        "complete": whole,
        **_environment(runs.environments(records)),
        "evaluator": first.attributes["evaluator"],
    }
    about["space"] = first.space.to_dict() if first.space else None
    _write(runs.runs_table(records), target / "paper_runs.csv")
    for name in ("trials", "generations", "epochs"):
        table = runs.stacked(records, name).drop(columns=list(tables.TIMES), errors="ignore")
        _write(table, target / f"paper_{name}.csv")
    _write_json(about, target / "paper_runs.json")


def export_table(samples: dict[str, Recorded], target: Path, made: dict[str, Any]) -> None:
    """Write the table of trainings: hyperparameters, seed, outcome, and the measurements of every epoch."""
    parts = []
    for name, recorded in samples.items():
        table = tables.trials_table(recorded.entries, recorded.space)
        table = table.drop(columns=["generation", "best", "duplicate_of", *tables.TIMES], errors="ignore")
        table.insert(0, "sample", name)
        table.insert(2, "seed", [entry.seed for entry in recorded.entries])
        epochs = tables.epochs_table(recorded.entries).drop(columns=["generation", "status", "seconds"])
        wide = epochs.pivot(index="number", columns="epoch")
        wide.columns = [f"epoch_{epoch}_{measure}" for measure, epoch in wide.columns]
        parts.append(table.merge(wide, left_on="number", right_index=True, how="left"))
    table = pd.concat(parts, ignore_index=True)
    names = [column for column in table if column.startswith("params_")]
    # Genes identify a configuration, because the same genes decode to the same values.
    table.insert(3, "configuration", table.groupby(names, sort=False).ngroup())
    table.to_parquet(target / f"{TABLE}.parquet", index=False)
    first = samples["sobol"]
    about = {
        **made,
        **_environment(runs.environments({name: [recorded] for name, recorded in samples.items()})),
        "planned": math.prod(first.attributes["config"]["evolution"][key] for key in ("population", "generations")),
        "rows": {name: len(recorded.entries) for name, recorded in samples.items()},
        "evaluator": first.attributes["evaluator"],
        "space": first.space.to_dict() if first.space else None,
    }
    _write_json(about, target / f"{TABLE}.json")


def export_impact(target: Path) -> None:
    """Write the results of the table: importance, dependence, interactions, and the numbers of the text."""
    trials, space = read_table(target / f"{TABLE}.parquet", "sobol")
    everything, _ = read_table(target / f"{TABLE}.parquet")
    model = ResponseModel(trials, space)
    maps = impact.interactions(model)
    _write(importances(trials, space), target / "impact_importances.csv")
    _write(impact.partial_dependence(model), target / "impact_partial_dependence.csv")
    _write(maps, target / "impact_interactions.csv")
    numbers: dict[str, Any] = {
        "interaction_shares": impact.interaction_strengths(maps).to_dict("records"),
        "momentum_exponent": impact.momentum_exponent(trials),
        "models": {name: ResponseModel(trials, space, model=name).cross_validate() for name in MODELS},
        "versions": {name: version(name) for name in ("numpy", "optuna", "pandas", "scikit-learn", "scipy")},
    }
    if everything["sample"].eq("repeats").any():
        repeats = everything[everything["sample"].eq("repeats")]
        _write(impact.noise(repeats), target / "impact_noise.csv")
        numbers["noise"] = impact.noise_share(repeats)
    _write_json(numbers, target / "impact.json")


def export_simulation(target: Path) -> None:
    """Write the results of the paper's runs on a model of the trainings, and the accuracy of that model."""
    _write(simulation.simulate(target), target / "simulated_runs.csv")
    _write_json(simulation.accuracy(target), target / "simulated_runs.json")


def _environment(environments: list[dict[str, Any]]) -> dict[str, Any]:
    return {"environments": environments, "deap_hpo": deap_hpo.__version__}


def _commit() -> str:
    """Give the commit of the working tree, and whether files have changed since."""
    return subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


def _write(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, float_format="%.8g")


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
