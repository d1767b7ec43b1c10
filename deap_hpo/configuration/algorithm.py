"""The algorithm that a configuration names: the toolbox that it needs, the strategy that proposes, and its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deap import algorithms, base, tools

from deap_hpo.configuration.demands import check_lengths
from deap_hpo.configuration.enqueueing import Enqueued, enqueue_into, genomes_of
from deap_hpo.configuration.loops import Loop, loop_of
from deap_hpo.configuration.methods import OF_SEVERAL_OBJECTIVES
from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.errors import ArgumentError, InputError
from deap_hpo.evaluation import Direction, sign_of
from deap_hpo.evaluator import Evaluator
from deap_hpo.evolution import MULTI_OBJECTIVE
from deap_hpo.evolution.individual import individual_type, make_toolbox
from deap_hpo.evolution.stages import StagedMap
from deap_hpo.evolution.steady_state import eaSteadyGenerateUpdate
from deap_hpo.search_space.space import Space
from deap_hpo.strategies import Strategy, argument_names, make_strategy

_SETTING_OF_ARGUMENT = {
    "batch_size": "evolution.population",
    "epochs": "training.epochs",
    "population_size": "evolution.population",
    "seed": "study.seed",
}
"""The setting from which each common argument of the strategies comes, to be named if its value is refused."""


@dataclass(frozen=True)
class Algorithm:
    """The algorithm that a configuration names, made and checked; see `algorithm_of`.

    Attributes:
        evolution: The settings.
        toolbox: Its operators. Before it runs, register `evaluate` and a study's `map`, and with `steady_state` the
            study's `each`.
        proposer: The loop (with its own population) or the strategy that proposes hyperparameters.
    """

    evolution: EvolutionConfig
    toolbox: base.Toolbox
    proposer: Loop | Strategy

    @property
    def plan(self) -> str:
        """The proposer's plan for the budget, if it has one: for example, which grid it is."""
        said = str(self.proposer)
        return "" if said.startswith("<") else said  # the default __str__ of objects starts with <

    def run(self, *, stats: tools.Statistics | None = None, verbose: bool = False) -> tuple[list[Any], tools.Logbook]:
        """Run it to its last generation.

        Args:
            stats: Statistics of each generation, for the logbook.
            verbose: Whether to print the logbook as it grows.

        Returns:
            The final population, and the logbook.

        Raises:
            BudgetSpent: From the study's `map`.
        """
        evolution, toolbox = self.evolution, self.toolbox
        if evolution.stages:
            toolbox.register("map", StagedMap(toolbox.map, evolution.stages, evolution.stopping))
        if not isinstance(self.proposer, Loop):
            if verbose and self.plan:
                print(self.plan)
            toolbox.register("generate", self.proposer.generate, toolbox.genome)
            toolbox.register("update", self.proposer.update)
            if evolution.steady_state:
                size, nevals = evolution.population, evolution.population * evolution.generations
                return eaSteadyGenerateUpdate(toolbox, size, nevals, stats=stats, verbose=verbose)
            outcome: tuple[list[Any], tools.Logbook] = algorithms.eaGenerateUpdate(
                toolbox, ngen=evolution.generations, stats=stats, verbose=verbose
            )
            return outcome
        population = toolbox.population(n=evolution.population)
        ngen = evolution.generations - 1  # since the first population counts as a generation
        return self.proposer.run(population, toolbox, ngen, stats=stats, verbose=verbose)


def algorithm_of(
    space: Space,
    evolution: EvolutionConfig,
    directions: Sequence[Direction],
    *,
    seed: int = 0,
    evaluator: Evaluator | None = None,
    again: bool = False,
) -> Algorithm:
    """Make the algorithm that a configuration names, and check that it suits the evaluator.

    Args:
        space: The search space.
        evolution: The algorithm and its settings.
        directions: Which way is better, for each objective.
        seed: Seed of the run.
        evaluator: The evaluator; a trainer's epochs and task are used.
        again: Whether another evaluation of a configuration has another outcome, as without common random numbers.

    Raises:
        InputError: The algorithm does not take this number of objectives, has no such argument, or needs one that is
            missing; an enqueued configuration is not in the space; or trainings are longer than their schedule.

    Example:
        >>> from deap_hpo import Float
        >>> space = Space({"x": Float(-1.0, 1.0)})
        >>> evolution = EvolutionConfig(algorithm="truncation", population=4, generations=3)
        >>> algorithm = algorithm_of(space, evolution, ["minimize"])
        >>> algorithm.toolbox.register("evaluate", lambda genome: (space.decode(genome)["x"] ** 2,))
        >>> population, logbook = algorithm.run()
        >>> len(population), logbook.select("nevals")
        (4, [4, 2, 2])
    """
    loop = loop_of(space, evolution, evaluator)
    toolbox = toolbox_of(space, evolution, directions, loop, seed)
    proposer = loop or strategy_for(space, evolution, seed, evaluator.epochs if evaluator else None, again)
    check_lengths(evaluator, space, evolution)
    return Algorithm(evolution, toolbox, proposer)


def toolbox_of(
    space: Space, evolution: EvolutionConfig, directions: Sequence[Direction], loop: Loop | None, seed: int
) -> base.Toolbox:
    """Make the toolbox of a run: the operators of its algorithm, and `genome`, the type of its individuals.

    The caller registers `evaluate` and `map`.

    Args:
        space: The search space.
        evolution: The algorithm and its settings.
        directions: Which way is better, for each objective.
        loop: The algorithm, if it has its own loop and population; None for a strategy.
        seed: Seed of the run.

    Raises:
        InputError: The algorithm does not take this number of objectives, or has no such argument; or an enqueued
            configuration is not in the space.

    Example:
        >>> from deap_hpo import Float
        >>> evolution = EvolutionConfig(algorithm="pbt", population=4, generations=2)
        >>> space = Space({"lr": Float(1e-4, 1.0, log=True)})
        >>> toolbox = toolbox_of(space, evolution, ["minimize"], loop_of(space, evolution), seed=1)
        >>> individuals = toolbox.population(n=3)
        >>> len(individuals), len(individuals[0]), individuals[0].fitness.weights
        (3, 1, (-1.0,))
    """
    count, algorithm = len(directions), evolution.algorithm
    if count > 1 and algorithm not in OF_SEVERAL_OBJECTIVES:
        raise InputError(
            f"The algorithm {algorithm!r} takes one objective, the task has {count}. "
            f"Use {' or '.join(MULTI_OBJECTIVE)} (evolution.algorithm), or name one objective."
        )
    if count > 1 and evolution.stages:
        raise InputError(
            f"evolution.stages needs a single objective; the task has {count}. Remove evolution.stages, or name one "
            "objective."
        )
    if len(evolution.enqueue) > evolution.population and loop is not None:
        raise InputError(
            f"enqueue must hold at most {evolution.population} configurations, the population size of {algorithm}; got "
            f"{len(evolution.enqueue)}."
        )
    weights = [-float(sign_of(direction)) for direction in directions]
    toolbox = make_toolbox(space, indpb=evolution.indpb, weights=weights)
    toolbox.register("genome", individual_type(weights))
    if loop is not None:
        loop.register(toolbox, count)
        if evolution.enqueue:
            enqueue_into(toolbox, genomes_of(space, evolution.enqueue, seed), toolbox.genome)
    return toolbox


def strategy_for(
    space: Space, evolution: EvolutionConfig, seed: int, epochs: int | None = None, again: bool = False
) -> Strategy:
    """Make the strategy that proposes hyperparameters of a space.

    Raises:
        InputError: The strategy has no such argument, or needs one that is missing; or an enqueued configuration is not
            in the space.

    Example:
        >>> from deap_hpo import Float
        >>> evolution = EvolutionConfig(algorithm="random", population=3)
        >>> len(strategy_for(Space({"lr": Float(1e-4, 1.0, log=True)}), evolution, seed=1).generate(list))
        3
    """
    arguments: dict[str, Any] = {"seed": seed}
    accepted = argument_names(evolution.algorithm)
    arguments |= {name: evolution.population for name in ("batch_size", "population_size") if name in accepted}
    if evolution.steady_state:
        arguments["batch_size"] = 1
        if "n_start" in accepted:  # at least the number of proposals before the first outcome
            arguments["n_start"] = max(evolution.population, 5)
    if again and "again" in accepted:
        arguments["again"] = True
    if "epochs" in accepted and epochs is not None:
        arguments["epochs"] = epochs
    if "budget" in accepted and "resolution" not in evolution.arguments:
        arguments["budget"] = _evaluations_left(evolution, epochs or 1)
    try:
        strategy = make_strategy(evolution.algorithm, space, **{**arguments, **evolution.arguments})
    except ArgumentError as error:
        if error.name not in _SETTING_OF_ARGUMENT or error.name in evolution.arguments:
            raise
        raise ArgumentError(_SETTING_OF_ARGUMENT[error.name], error.rest) from None
    return Enqueued(strategy, genomes_of(space, evolution.enqueue, seed)) if evolution.enqueue else strategy


def _evaluations_left(evolution: EvolutionConfig, epochs: int) -> int:
    """Count the evaluations, of so many epochs each, that a run has for its strategy besides the enqueued ones."""
    if evolution.steady_state:
        asked = max(1, evolution.population * evolution.generations - len(evolution.enqueue))
    else:
        asked = evolution.population * max(1, evolution.generations - bool(evolution.enqueue))
    by_epochs = asked if evolution.max_epochs is None else max(1, evolution.max_epochs // epochs)
    return min(asked, evolution.max_evaluations or asked, by_epochs)
