"""Compare fronts found by NSGA with fronts drawn at random: python benchmarks/pareto.py.

The problems are validation loss against parameters for two small networks, and two test functions with six genes. The
methods are NSGA-II and NSGA-III as they are, NSGA-II with the usual crowding degrees, and two designs that learn
nothing, with paired seeds. Prints the hypervolume of the front after a third, two thirds and all of the generations, as
a share of all that the reference point allows (for a network, the loss of guessing and the largest number of
parameters): mean and standard deviation over seeds, and the difference from random search with its 95 % interval.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
from deap import benchmarks
from sklearn.datasets import load_breast_cancer

from deap_hpo import Float, Int, Objective, Task, make_trainer, optimize
from deap_hpo.analysis.runs import paired_difference
from deap_hpo.training.data import load_digits
from deap_hpo.training.models import MLP
from deap_hpo.training.recipe import Recipe

USUAL = {"crossover_eta": 15.0, "mutation_eta": 20.0}
METHODS: dict[str, tuple[str, dict[str, float]]] = {
    "nsga-ii": ("nsga-ii", {}),
    "nsga-iii": ("nsga-iii", {}),
    "nsga-ii, usual degrees": ("nsga-ii", USUAL),
    "sobol": ("sobol", {}),
    "random": ("random", {}),
}
MOST_PARAMETERS = 10_000.0
GOALS: Any = {"objective": ["loss", "parameters"], "constraints": [f"parameters <= {MOST_PARAMETERS:g}"]}


Problem = tuple[Any, dict[str, Any], tuple[float, float]]
"""An evaluator, its space, and the reference point."""


def digits() -> Problem:
    """Make the problem of an MLP on scikit-learn's digits."""
    space = {"lr": Float(1e-2, 3.0, log=True), "momentum": Float(0.0, 0.9), "width": Int(4, 512, log=True)}
    task = Task("digits", partial(MLP, inputs=64), load_digits(), recipe=Recipe(schedule="step"), **GOALS)
    return make_trainer(task, epochs=3, device="cpu"), space, (2.3, MOST_PARAMETERS)


def cancer() -> Problem:
    """Make the problem of an MLP of up to four hidden layers, trained by Adam, on scikit-learn's breast cancer data."""
    recipe = Recipe(optimizer="adam", batch_size=32, schedule="constant")
    data = load_breast_cancer(return_X_y=True)
    task = Task.from_data(partial(MLP, inputs=30, classes=2), data, validation=0.4, recipe=recipe, **GOALS)
    space = {
        "lr": Float(1e-4, 1e-1, log=True),
        "beta1": Float(0.5, 0.99),
        "width": Int(2, 256, log=True),
        "depth": Int(1, 4),
    }
    return make_trainer(task, epochs=3, device="cpu"), space, (0.7, MOST_PARAMETERS)


def function(name: str) -> Problem:
    """Make the problem of one of DEAP's test functions."""
    evaluate = getattr(benchmarks, name)

    def objective(params: dict[str, float]) -> tuple[float, ...]:
        return tuple(map(float, evaluate(list(params.values()))))

    return (
        Objective(objective, direction=("minimize", "minimize")),
        {f"x{i}": Float(0.0, 1.0) for i in range(6)},
        (1.1, 6.0),
    )


PROBLEMS = {"digits": digits, "cancer": cancer, "zdt1": partial(function, "zdt1"), "zdt3": partial(function, "zdt3")}


def shares(problem: str, method: str, seed: int, population: int, generations: int) -> list[float]:
    """Return the share of the hypervolume after each generation, [generations]."""
    evaluate, space, reference = PROBLEMS[problem]()
    algorithm, arguments = METHODS[method]
    study = optimize(
        evaluate,
        space,
        algorithm=algorithm,
        arguments=arguments,
        population=population,
        generations=generations,
        seed=seed,
        progress=False,
    )
    return [volume / (reference[0] * reference[1]) for volume in study.hypervolumes(reference)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--population", type=int, default=12)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--problem", choices=PROBLEMS, default="digits")
    arguments = parser.parse_args()
    size, generations = arguments.population, arguments.generations
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    found = {
        method: np.array([shares(arguments.problem, method, seed, size, generations) for seed in seeds])
        for method in METHODS
    }
    print("| method | evaluations | hypervolume | less random |\n| --- | --- | --- | --- |")
    for method, table in found.items():
        for generation in sorted({generations // 3, 2 * generations // 3, generations} - {0}):
            values, drawn = table[:, generation - 1], found["random"][:, generation - 1]
            apart = paired_difference(list(values), list(drawn))
            interval = "" if method == "random" else f"{apart['mean']:+.4f} [{apart['low']:+.4f}, {apart['high']:+.4f}]"
            spread = f"{values.mean():.4f} ± {values.std(ddof=1):.4f}"
            print(f"| {method} | {generation * size} | {spread} | {interval} |")


if __name__ == "__main__":
    main()
