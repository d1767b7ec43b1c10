"""Measure early stopping on an equal budget of epochs: nice python benchmarks/early_stopping.py --seeds 8.

A small MLP is trained on 1,000 images of Fashion-MNIST, which it can learn by heart in the 20 epochs of a training.
Each search, by `surrogate`, has 400 epochs. Its choice is trained three times more by the same rule, with fresh seeds,
and measured on the 10,000 test images. Results are added to benchmarks/results/early_stopping.jsonl, from which the
script continues; at the end it prints their table.
"""

from __future__ import annotations

import argparse
import json
import math
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch

from deap_hpo import Float, Int, Task, make_trainer, optimize
from deap_hpo.analysis.significance import summarise, verdict
from deap_hpo.seeding import derived_seed
from deap_hpo.training.data import load_fashion_mnist
from deap_hpo.training.models import MLP

RESULTS = Path(__file__).parent / "results" / "early_stopping.jsonl"
RULES: dict[str, dict[str, Any]] = {
    "last epoch": {},
    "best epoch": {"keep_best": True},
    "best epoch, patience 5": {"keep_best": True, "patience": 5},
}
EPOCHS, BUDGET, REPEATS = 20, 400, 3
SPACE = {
    "lr": Float(1e-3, 1.0, log=True),
    "momentum": Float(0.0, 0.95),
    "weight_decay": Float(1e-6, 1e-1, log=True),
    "dropout": Float(0.0, 0.7),
    "width": Int(16, 256, log=True),
}


def run(task: Task, rule: str, seed: int) -> dict[str, Any]:
    """Search with one seed, and measure the choice."""
    trainer = make_trainer(task, epochs=EPOCHS, device="cpu", precision="fp32", **RULES[rule])
    study = optimize(trainer, SPACE, population=5, max_epochs=BUDGET, seed=seed, progress=False)
    validation, test = [], []
    for repeat in range(REPEATS):
        model, evaluation = trainer.train(study.best_params, derived_seed(seed, 100, repeat))
        validation.append(evaluation.value)
        ok = evaluation.status == "ok" and trainer.data.test is not None
        test.append(trainer.measure(model, trainer.data.test)[0] if ok and trainer.data.test else math.inf)
    return {
        "rule": rule,
        "seed": seed,
        "trainings": len(study.entries),
        "epochs": sum(entry.evaluation.trained_epochs for entry in study.entries),
        "search": study.best_value,
        "validation": fmean(validation),
        "test": fmean(test),
        "params": study.best_params,
    }


def print_table(results: pd.DataFrame) -> None:
    """Print the results of each rule, and the result of the test between them."""
    test = results.pivot_table(index="seed", columns="rule", values="test")[list(RULES)].dropna()
    means = results.groupby("rule")[["trainings", "search", "validation"]].mean()
    print(f"\n{len(test)} seeds\n\n| rule | test loss | mean rank | trainings | value in the search | again |")
    print("|---|---:|---:|---:|---:|---:|")
    for rule, row in summarise(test).iterrows():
        trained, search, again = means.loc[rule]
        interval = f"{row['mean']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"
        print(f"| {rule} | {interval} | {row['mean_rank']:.2f} | {trained:.0f} | {search:.4f} | {again:.4f} |")
    print()
    print("\n".join(verdict(test)))


def main() -> None:
    """Do the missing searches, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8, help="Searches with each rule.")
    torch.set_num_threads(1)
    data = load_fashion_mnist(training_size=1000, validation_size=1000)
    task = Task("early-stopping", partial(MLP, inputs=784), data)
    done = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    known = {(one["rule"], one["seed"]) for one in done}
    for seed in range(1, parser.parse_args().seeds + 1):
        for rule in RULES:
            if (rule, seed) not in known:
                done.append(run(task, rule, seed))
                with RESULTS.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
                print(rule, seed, f"{done[-1]['test']:.4f}", flush=True)
    print_table(pd.DataFrame(done))


if __name__ == "__main__":
    main()
