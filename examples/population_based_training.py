"""Population-based training on the toy problem of its paper: hyperparameters have to change while the weights train.

The task is to maximise Q = 1.2 - a^2 - b^2, but a worker sees only the gradient of 1.2 - h0 a^2 - h1 b^2. One worker
starts with h = (1, 0) and moves only a, the other with h = (0, 1) and moves only b: each by itself is stuck at 0.39. A
worker that takes over the other's weights can improve both (Jaderberg et al., arXiv:1711.09846, figure 2).
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from deap import base

from deap_hpo import Float, Objective, Space, Study
from deap_hpo.functions.checkpoint import Checkpoint
from deap_hpo.records.entries import training_path
from deap_hpo.evolution.individual import individual_type, lineage
from deap_hpo.functions.reporter import Reporter
from deap_hpo.evolution.operators import mutPerturb
from deap_hpo.evolution.pbt import eaPBT, exploitTruncation

space = Space({"h0": Float(0.0, 1.0), "h1": Float(0.0, 1.0)})


def worker(params: dict[str, float], epochs: int, checkpoint: Checkpoint, report: Reporter) -> float:
    """Take gradient steps of 0.01 from a checkpoint or from (0.9, 0.9); an "epoch" is one step."""
    h = torch.tensor([params["h0"], params["h1"]])
    weights = torch.tensor([0.9, 0.9], dtype=torch.float64) if checkpoint.epoch == 0 else checkpoint.load()
    value = 0.0
    for step in range(checkpoint.epoch + 1, epochs + 1):
        weights -= 0.01 * 2 * h * weights
        value = 1.2 - float(weights.square().sum())
        report(step, value)
    checkpoint.save(weights)
    return value


def run(exploit: Callable[[list[Any]], list[Any]], mutpb: float) -> tuple[float, int]:
    """Train two workers for 200 steps; return the best value and the number of different h in its lineage."""
    individual = individual_type((1.0,))
    with Study(space, seed=1, directions=["maximize"]) as study:
        toolbox = base.Toolbox()
        toolbox.register("evaluate", Objective(worker, direction="maximize"))
        toolbox.register("map", study.map)
        toolbox.register("exploit", exploit)
        toolbox.register("mate", lambda first, second: (first, second))
        toolbox.register("mutate", mutPerturb, low=0.0, up=1.0, step=0.1, indpb=1.0)
        toolbox.decorate("mutate", lineage("mutate"))
        population = [individual([1.0, 0.0]), individual([0.0, 1.0])]
        eaPBT(population, toolbox, cxpb=0.0, mutpb=mutpb, ngen=49, interval=4, verbose=False)
        members = {entry.genes for entry in training_path(study.record, study.best.number)}
    return study.best_value, len(members)


def main() -> None:
    """Print what each half of the method achieves, and what both achieve together."""
    for label, exploit, mutpb in (
        ("neither (grid search)", list, 0.0),
        ("explore only", lambda population: [deepcopy(one) for one in population], 1.0),
        ("exploit only", lambda population: exploitTruncation(population, share=0.5), 0.0),
        ("population-based training", lambda population: exploitTruncation(population, share=0.5), 1.0),
    ):
        value, parts = run(exploit, mutpb)
        print(f"{label:<27} Q = {value:.3f}, {parts} values of h along the way")


if __name__ == "__main__":
    main()
