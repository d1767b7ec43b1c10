"""Bring your own DEAP program: one line, `toolbox.register("map", study.map)`, makes it recorded, resumable, parallel.

A (mu + lambda) evolution with DEAP's operators. Without a space the genes themselves are evaluated, on any scale.
"""

import random

from deap import algorithms, base, tools

from deap_hpo import ProcessExecutor, Study
from deap_hpo.evolution.individual import individual_type

DIMENSIONS = 5


def rastrigin(genes: list[float]) -> float:
    """Evaluate genes on a well-known test function; yours may train a network for an hour."""
    from deap import benchmarks

    return float(benchmarks.rastrigin(genes)[0])


def main() -> None:
    """Evolve; a second start continues where the first one ended."""
    toolbox = base.Toolbox()
    toolbox.register("gene", random.uniform, -3, 3)
    toolbox.register("individual", tools.initRepeat, individual_type((-1.0,)), toolbox.gene, n=DIMENSIONS)
    toolbox.register("population", tools.initRepeat, list, toolbox.individual)
    toolbox.register("mate", tools.cxBlend, alpha=0.3)
    toolbox.register("mutate", tools.mutGaussian, mu=0, sigma=0.3, indpb=0.3)
    toolbox.register("select", tools.selTournament, tournsize=3)
    toolbox.register("evaluate", rastrigin)

    with Study(name="rastrigin", storage="runs/deap.db", seed=1, resume=True, executor=ProcessExecutor(2)) as study:
        toolbox.register("map", study.map)
        population = toolbox.population(n=15)
        algorithms.eaMuPlusLambda(population, toolbox, mu=15, lambda_=30, cxpb=0.5, mutpb=0.4, ngen=20, verbose=False)
    print(f"value {study.best_value:.3f} at {[round(gene, 2) for gene in study.best.genes]}")


if __name__ == "__main__":
    main()
