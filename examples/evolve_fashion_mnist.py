"""Evolve three hyperparameters of a CNN on Fashion-MNIST, with every part of DEAP's toolbox shown.

Stop it whenever you like and start it again: it continues where it was.
"""

import random

from deap import base, tools

from deap_hpo import Float, Individual, ProcessExecutor, Space, Study, Task, make_trainer
from deap_hpo import eaTruncation, mutBoundedResample, selTruncation
from deap_hpo.training.data import load_fashion_mnist
from deap_hpo.training.models import PaperCNN

space = Space(
    {
        "lr": Float(1e-3, 1.0, log=True),
        "momentum": Float(0.0, 0.9),
        "weight_decay": Float(1e-6, 1e-2, log=True),
    }
)


def main() -> None:
    """Evolve six networks over three generations."""
    task = Task("fashion-mnist", PaperCNN, load_fashion_mnist(training_size=2000, validation_size=1000))

    with Study(
        space, name="example", storage="runs/example.db", seed=1, resume=True, executor=ProcessExecutor()
    ) as study:
        toolbox = base.Toolbox()
        toolbox.register("individual", tools.initRepeat, Individual, random.random, n=len(space))
        toolbox.register("population", tools.initRepeat, list, toolbox.individual)
        toolbox.register("mate", tools.cxUniform, indpb=0.5)
        toolbox.register("mutate", mutBoundedResample, low=0.0, up=1.0, indpb=0.2)
        toolbox.register("select", selTruncation)
        toolbox.register("evaluate", make_trainer(task, epochs=1))
        toolbox.register("map", study.map)

        population = toolbox.population(n=6)
        eaTruncation(population, toolbox, cxpb=1.0, mutpb=1.0, ngen=2, stats=study.statistics(), verbose=True)

    print(f"validation loss {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
