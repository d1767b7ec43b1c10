"""Run the experiments behind the figures, and export their tables: `make experiments`, `make experiments SCALE=full`.

    python figures/experiments.py --scale cpu                # all of them; recorded trainings are not run again
    python figures/experiments.py --scale cpu --steps dense  # one of them
    python figures/experiments.py --scale cpu --steps export # only write the tables into figures/data

There are three experiments, each in a separate database in the folder of the record (``runs/experiments-SCALE``):

- paper: the paper's five runs with every seed, ``paper-RUN-seedN``. On an accelerator all of them run side by
  side, so that the networks of all seeds train as one stack; on a CPU one after the other, each in worker processes.
- dense: a Sobol sequence over the search space, a training seed for each point.
- noise: twelve of the first 64 configurations of the dense sample, at equal distances in their ranking, with five
  further seeds each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from export import export

from deap_hpo.__main__ import evolve
from deap_hpo.best import finish
from deap_hpo.configuration.assembly import make_executor, make_task, trainer_of
from deap_hpo.configuration.config import RunConfig, load_config
from deap_hpo.configuration.workload import workload
from deap_hpo.errors import InputError
from deap_hpo.evolution.individual import Individual
from deap_hpo.execution.executors import Executor, SerialExecutor
from deap_hpo.execution.side_by_side import side_by_side
from deap_hpo.recorded import load_study
from deap_hpo.records.run_files import run_folder
from deap_hpo.study import Study
from deap_hpo.training.trainers import Trainer

HERE = Path(__file__).parent
RUNS = ("run_2", "run_3", "run_4", "run_1", "baseline")  # the shortest first, so that whole runs are there early
NOISE_FROM, NOISE_CONFIGURATIONS, NOISE_SEEDS = 64, 12, 5


@dataclass(frozen=True)
class Scale:
    """The size of the experiments: the number of seeds, settings of every run, and settings of the dense sample."""

    seeds: int
    settings: tuple[str, ...]
    dense: tuple[str, ...] = ()


# On one core of an AMD EPYC, "cpu" takes a quarter of an hour for each seed, and less than an hour for the dense sample
# and the repeats.
SCALES = {
    "cpu": Scale(5, ("task.training_size=10000", "training.epochs=2")),
    "full": Scale(5, ("task.training_size=50000", "training.epochs=5"), ("evolution.population=256",)),
}


def paper_runs(scale: Scale, storage: str, *, together: bool | None = None) -> None:
    """Run the five presets with every seed; train and test the best network of each.

    `together` says whether the runs are done side by side; by default they are on an accelerator.
    """
    configs = [paper_config(scale, run, seed, storage) for seed in range(1, scale.seeds + 1) for run in RUNS]
    missing = [config for config in configs if not _is_done(config)]
    if not missing:
        return
    trainer = trainer_of(make_task(missing[0]), missing[0])
    if trainer.device.type != "cpu" if together is None else together:
        side_by_side([_with_executor(config, trainer) for config in missing], SerialExecutor())
    for config in missing:
        print(config.study.name, flush=True)
        evolve(config, trainer, resume=True, verbose=False)  # if they ran side by side, this only reads the record
        finish_run(config, trainer)


def paper_config(scale: Scale, run: str, seed: int, storage: str) -> RunConfig:
    """Make the configuration of one run with one seed."""
    named = [f'study.name="paper-{run}-seed{seed}"', f"study.seed={seed}", f'study.storage="{storage}"']
    return load_config(f"paper/{run}", [*scale.settings, *named])


def finish_run(config: RunConfig, trainer: Trainer) -> None:
    """Train the best network of a run again, and measure it on the test images."""
    name, storage = str(config.study.name), config.study.storage
    finish(trainer, load_study(name, storage), run_folder(name, storage))


def _with_executor(config: RunConfig, trainer: Trainer) -> Callable[[Executor], Any]:
    return lambda executor: evolve(config, trainer, executor=executor, resume=True, verbose=False)


def _is_done(config: RunConfig) -> bool:
    try:
        recorded = load_study(str(config.study.name), config.study.storage)
    except InputError:
        return False
    planned = workload(config.search_space, config.evolution).evaluations
    return len(recorded.entries) == planned and "final" in recorded.attributes


def dense_config(scale: Scale, storage: str) -> RunConfig:
    """Make the configuration of the run that samples the search space."""
    return load_config(str(HERE / "dense.toml"), [*scale.settings, *scale.dense, f'study.storage="{storage}"'])


def dense_sample(scale: Scale, storage: str) -> None:
    """Train the dense sample."""
    config = dense_config(scale, storage)
    print(config.study.name, flush=True)
    evolve(config, resume=True, verbose=False)


def noise_sample(scale: Scale, dense: str, storage: str) -> None:
    """Train configurations of the dense sample again, each with new seeds."""
    config = dense_config(scale, storage)
    recorded = load_study(str(config.study.name), dense)
    finite = [entry for entry in recorded.entries[:NOISE_FROM] if entry.evaluation.status == "ok"]
    ranked = sorted(finite, key=lambda entry: entry.evaluation.value)
    places = np.linspace(0, len(ranked) - 1, NOISE_CONFIGURATIONS).round().astype(int)
    trainer = trainer_of(make_task(config), config)
    print("noise", flush=True)
    with Study(
        config.search_space,
        name="noise",
        storage=storage,
        seed=2,
        common_random_numbers=False,
        executor=make_executor(trainer, config),
        resume=True,
    ) as study:
        # One round of all configurations after the other, so that whole rounds are there early.
        study.map(trainer, [Individual(ranked[place].genes) for _ in range(NOISE_SEEDS) for place in places])


def main() -> None:
    """Read the command line, run what is missing, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--steps", nargs="+", choices=["paper", "dense", "noise", "export"])
    parser.add_argument("--folder", type=Path, help="folder of the record; by default runs/experiments-SCALE")
    parser.add_argument("--data", type=Path, default=HERE / "data", help="folder for the tables")
    parser.add_argument(
        "--no-timings",
        nargs="+",
        default=[],
        choices=["paper", "dense"],
        help="leave out seconds of experiments whose machine had other work",
    )
    arguments = parser.parse_args()
    folder = arguments.folder or Path("runs") / f"experiments-{arguments.scale}"
    scale = SCALES[arguments.scale]
    steps = arguments.steps or ["paper", "dense", "noise", "export"]
    paper, dense, noise = (str(folder / f"{name}.db") for name in ("paper", "dense", "noise"))
    print(f"{torch.get_num_threads()} threads, record in {folder}", flush=True)
    if "paper" in steps:
        paper_runs(scale, paper)
    if "dense" in steps:
        dense_sample(scale, dense)
    if "noise" in steps:
        noise_sample(scale, dense, noise)
    if "export" in steps:
        export(
            paper,
            dense,
            noise,
            arguments.data,
            command=f"make experiments SCALE={arguments.scale}",
            without_timings=arguments.no_timings,
        )


if __name__ == "__main__":
    main()
