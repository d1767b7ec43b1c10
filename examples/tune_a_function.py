"""Tune any Python function: here gradient descent on a ridge regression, which reports its learning curve."""

from typing import Any

import numpy as np

from deap_hpo import Float, Int, MedianPruner, optimize
from deap_hpo.functions.reporter import Reporter

rng = np.random.default_rng(0)
inputs = rng.normal(size=(200, 20))
targets = inputs @ rng.normal(size=20) + rng.normal(size=200)


def objective(params: dict[str, Any], report: Reporter) -> float:
    """Fit on the first half of the data and return the loss on the second half."""
    weights = np.zeros(20)
    loss = np.inf
    for epoch in range(1, 11):
        for batch in np.array_split(np.arange(100), 100 // params["batch_size"]):
            errors = inputs[batch] @ weights - targets[batch]
            weights -= params["lr"] * (inputs[batch].T @ errors / len(batch) + params["penalty"] * weights)
        loss = float(np.mean((inputs[100:] @ weights - targets[100:]) ** 2))
        report(epoch, loss)  # records the learning curve; the pruner ends a hopeless one here
    return loss


if __name__ == "__main__":
    study = optimize(
        objective,
        {
            "lr": Float(1e-4, 0.5, log=True),
            "penalty": Float(1e-6, 1.0, log=True),
            "batch_size": Int(4, 50, log=True),
        },
        name="ridge",
        storage="runs/ridge.db",
        resume=True,  # stop it whenever you like; started again, it continues
        pruner=MedianPruner(),
        seed=1,
    )
    pruned = (study.trials_dataframe()["status"] == "pruned").sum()
    print(f"loss {study.best_value:.3f} with {study.best_params}; {pruned} of {len(study.record)} ended early")
