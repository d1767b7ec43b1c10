"""Test whether bf16 ranks configurations as fp32 does: nice python benchmarks/precision.py [--device cuda].

Trains the paper's network with random hyperparameters on Fashion-MNIST, each configuration three times: in fp32, in
bf16 with the same seed, and in fp32 with another seed, which shows how much of a ranking is luck. Prints rank
correlations of the validation losses, with 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr

from deap_hpo.evaluation import Request
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.search_space.space import Float, Space
from deap_hpo.training.allocator import keep_memory
from deap_hpo.training.data import load_fashion_mnist
from deap_hpo.training.hardware import device_name, resolve_device
from deap_hpo.training.models import PaperCNN
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import make_trainer

SPACE = Space(
    {
        "lr": Float(1e-3, 0.3, log=True),
        "momentum": Float(0.0, 0.95),
        "weight_decay": Float(1e-6, 1e-2, log=True),
    }
)


def losses(task: Task, requests: list[Request], arguments: argparse.Namespace, precision: str) -> np.ndarray:
    """Give the validation losses of all requests, inf if the training diverged."""
    trainer = make_trainer(task, device=arguments.device, precision=precision, epochs=arguments.epochs)
    evaluations = dict(SerialExecutor().run(trainer, requests))
    seconds = sum(evaluation.seconds for evaluation in evaluations.values())
    diverged = sum(evaluation.status == "diverged" for evaluation in evaluations.values())
    print(f"{precision}, seed {requests[0].seed}: {seconds:.0f} s, {diverged} diverged", flush=True)
    return np.array([evaluations[i].value for i in range(len(requests))])


def print_agreement(name: str, first: np.ndarray, second: np.ndarray) -> None:
    """Print how well two rankings of the configurations agree, without those that diverged in either."""
    finite = np.isfinite(first) & np.isfinite(second)
    a, b = first[finite], second[finite]
    generator = np.random.default_rng(0)
    resamples = generator.integers(0, len(a), (2000, len(a)))
    low, high = np.quantile([spearmanr(a[i], b[i]).statistic for i in resamples], [0.025, 0.975])
    best = len(set(a.argsort()[:5]) & set(b.argsort()[:5]))
    print(
        f"| {name} | {finite.sum()} | {spearmanr(a, b).statistic:.4f} ({low:.3f} to {high:.3f}) | "
        f"{kendalltau(a, b).statistic:.3f} | {np.median(abs(a - b) / a):.2%} | {best} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--configurations", type=int, default=30)
    parser.add_argument("--training-size", type=int, default=2000)
    parser.add_argument("--validation-size", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()

    keep_memory()
    data = load_fashion_mnist(training_size=arguments.training_size, validation_size=arguments.validation_size)
    task = Task("precision", PaperCNN, data, recipe=Recipe(schedule="step"))
    genomes = np.random.default_rng(0).random((arguments.configurations, len(SPACE)))
    configurations = [SPACE.decode(list(map(float, genome))) for genome in genomes]
    requests = {seed: [Request(i, one, seed) for i, one in enumerate(configurations)] for seed in (0, 1)}
    print(f"{device_name(resolve_device(arguments.device))}, torch {torch.__version__}")
    fp32 = losses(task, requests[0], arguments, "fp32")
    bf16 = losses(task, requests[0], arguments, "bf16")
    other = losses(task, requests[1], arguments, "fp32")
    print("\n| | n | Spearman (95 %) | Kendall | median difference | of the best 5 |\n|---|---:|---:|---:|---:|---:|")
    print_agreement("fp32 and bf16, same seed", fp32, bf16)
    print_agreement("fp32 and fp32, other seed", fp32, other)


if __name__ == "__main__":
    main()
