"""Genetic programming: evolve the schedule of the learning rate, as a formula of how much of the training is done.

DEAP's trees are recorded as their expressions. The study shows what was evolved, and continues after an interruption.
"""

import math
import operator
import random

from deap import algorithms, base, creator, gp, tools
from sklearn.datasets import load_digits
from torch import nn

from deap_hpo import Evaluation, ProcessExecutor, Recipe, Study, Task, make_trainer

DATA = load_digits(return_X_y=True)
LEARNING_RATE = 0.2


def draw_constant() -> float:
    """Draw a constant of a formula."""
    return round(random.uniform(-2, 2), 2)


formulas = gp.PrimitiveSet("schedule", 1)
formulas.renameArguments(ARG0="t")
formulas.addPrimitive(operator.add, 2)
formulas.addPrimitive(operator.sub, 2)
formulas.addPrimitive(operator.mul, 2)
formulas.addPrimitive(math.cos, 1)
formulas.addEphemeralConstant("constant", draw_constant)

creator.create("FitnessMin", base.Fitness, weights=(-1.0,))
creator.create("Formula", gp.PrimitiveTree, fitness=creator.FitnessMin)


def network() -> nn.Module:
    """Make the network whose training is scheduled."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def factor(formula: gp.PrimitiveTree | str, t: float) -> float:
    """Give a formula's factor of the learning rate when the share `t` of the training is done; never below 0."""
    return max(0.0, float(gp.compile(formula, formulas)(t)))


def evaluate(formula: gp.PrimitiveTree) -> Evaluation:
    """Train a network with the schedule of a formula."""
    recipe = Recipe(schedule=lambda step, steps: factor(formula, step / steps))
    return make_trainer(Task.from_data(network, DATA, recipe=recipe), epochs=5)({"lr": LEARNING_RATE})


def main() -> None:
    """Evolve formulas; a second start continues where the first one ended."""
    toolbox = base.Toolbox()
    toolbox.register("formula", gp.genHalfAndHalf, pset=formulas, min_=1, max_=3)
    toolbox.register("individual", tools.initIterate, creator.Formula, toolbox.formula)
    toolbox.register("population", tools.initRepeat, list, toolbox.individual)
    toolbox.register("mate", gp.cxOnePoint)
    toolbox.register("subtree", gp.genFull, pset=formulas, min_=0, max_=2)
    toolbox.register("mutate", gp.mutUniform, expr=toolbox.subtree, pset=formulas)
    toolbox.register("select", tools.selDoubleTournament, fitness_size=3, parsimony_size=1.2, fitness_first=True)
    toolbox.register("evaluate", evaluate)
    for operators in ("mate", "mutate"):
        toolbox.decorate(operators, gp.staticLimit(operator.attrgetter("height"), max_value=6))

    with Study(
        name="schedules", storage="runs/schedules.db", seed=1, resume=True, executor=ProcessExecutor(2)
    ) as study:
        toolbox.register("map", study.map)
        algorithms.eaSimple(toolbox.population(n=12), toolbox, cxpb=0.6, mutpb=0.3, ngen=6, verbose=False)

    best = study.best.genes[0]
    rates = [round(LEARNING_RATE * factor(best, t), 3) for t in (0.0, 0.5, 1.0)]
    print(f"{best}: rates of {rates} at the beginning, in the middle and at the end; loss {study.best_value:.3f}")


if __name__ == "__main__":
    main()
