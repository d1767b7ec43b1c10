"""Show the effect of a leak on a validation loss: python benchmarks/leak.py.

Does population-based training of the paper's network on Fashion-MNIST twice with the same seed: with one fixed split,
and with a split of training and validation images that is redrawn at every generation while weights are carried over.
Prints training, validation and test loss of the best network of each generation (by validation loss); the test images
decide nothing. The table goes to `--output` as CSV, with its settings beside it as JSON; `notebooks/05_the_leak.ipynb`
reads both. The runs go to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import deap_hpo
from deap_hpo.__main__ import evolve
from deap_hpo.configuration.assembly import make_task, trainer_of
from deap_hpo.configuration.config import load_config
from deap_hpo.records.entries import best_entry
from deap_hpo.training.hardware import environment
from deap_hpo.training.state import network_tensors, unpack


class Observer:
    """Measures the best network of each generation on the test images, from its checkpoint."""

    def __init__(self, trainer: Any, split: str) -> None:
        self.trainer, self.split = trainer, split
        self.rows: list[dict[str, Any]] = []

    def on_generation(self, study: Any, entries: Any) -> None:
        """Add a row to the table."""
        best = best_entry(entries)
        recipe, architecture = self.trainer.task.configure(study.space.decode(best.genes))
        model = self.trainer.task.model(**architecture)
        state = unpack(self.trainer.checkpoints.load(best.evaluation.checkpoint))[0]
        with torch.no_grad():
            for name, tensor in network_tensors(model).items():
                tensor.copy_(state.weights[name])
        test_loss, test = self.trainer.measure(model, self.trainer.data.test)
        last = best.evaluation.curve[-1]
        self.rows.append(
            {
                "split": self.split,
                "epochs": state.epochs,
                "training_loss": last.training_loss,
                "validation_loss": last.validation_loss,
                "test_loss": test_loss,
                "validation_accuracy": last.metrics["accuracy"],
                "test_accuracy": test["accuracy"],
                "lr": recipe.lr,
                "momentum": recipe.momentum,
                "weight_decay": recipe.weight_decay,
            }
        )
        row = self.rows[-1]
        losses = " | ".join(f"{row[name]:.4f}" for name in ("training_loss", "validation_loss", "test_loss"))
        print(f"| {self.split} | {row['epochs']} | {losses} |", flush=True)


def made_of(arguments: argparse.Namespace, trainer: Any) -> dict[str, Any]:
    """Describe how the table was made."""
    sizes = {name: value for name, value in vars(arguments).items() if name != "output"}
    command = " ".join(["python benchmarks/leak.py", *(f"--{name.replace('_', '-')} {n}" for name, n in sizes.items())])
    made = {"command": command, "date": date.today().isoformat(), "deap_hpo": deap_hpo.__version__}
    return {**made, "environment": environment(trainer.device, trainer.precision), **sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=30)
    parser.add_argument("--population", type=int, default=8)
    parser.add_argument("--training-size", type=int, default=50_000)
    parser.add_argument("--validation-size", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("figures/data/leak.csv"))
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("| split | epochs | training loss | validation loss | test loss |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for split, trainer_name in (("fixed", "reference"), ("redrawn", "leaking")):
            settings = {
                "study.name": split,
                "study.storage": f"{folder}/studies.db",
                "study.seed": arguments.seed,
                "training.trainer": trainer_name,
                "task.training_size": arguments.training_size,
                "task.validation_size": arguments.validation_size,
                "evolution.population": arguments.population,
                "evolution.generations": arguments.generations,
            }
            config = load_config("pbt", [f"{name}={value}" for name, value in settings.items()])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # they warn of the leak, which is intended here
                trainer = trainer_of(make_task(config), config)
            observer = Observer(trainer, split)
            evolve(config, trainer, callbacks=[observer], verbose=False)
            rows += observer.rows
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(arguments.output, index=False, float_format="%.6g")
    about = json.dumps(made_of(arguments, trainer), indent=1)
    arguments.output.with_suffix(".json").write_text(about + "\n")


if __name__ == "__main__":
    main()
