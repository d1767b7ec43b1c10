"""The algorithm that a configuration names: the toolbox that it needs, the strategy that proposes, and its run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deap import algorithms, base, tools

from deap_hpo.algorithms import eaTruncation
from deap_hpo.config import EvolutionConfig, RunConfig
from deap_hpo.enqueueing import Enqueued, enqueue_into, genomes_of
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.individual import individual_type, lineage, make_toolbox
from deap_hpo.operators import mutSelfAdaptive
from deap_hpo.pareto import MULTI_OBJECTIVE, NSGASettings, eaNSGA
from deap_hpo.pbt import PBTSettings, eaPBT
from deap_hpo.space import Space
from deap_hpo.stages import StagedMap
from deap_hpo.strategies import UNGUIDED, Strategy, argument_names, make_strategy

_SETTINGS = {
    "batch_size": "evolution.population",
    "epochs": "training.epochs",
    "population_size": "evolution.population",
    "seed": "study.seed",
}
"""Where the arguments that every strategy gets come from, for whoever gave a value that it cannot take."""


def toolbox_of(space: Space, evolution: EvolutionConfig, directions: Sequence[Direction]) -> base.Toolbox:
    """Make the toolbox of a run: the operators of its algorithm, and `genome`, the type of its individuals.

    `evaluate` and `map` are the caller's to register.

    Raises:
        InputError: The algorithm does not take so many objectives, or has no such argument.

    Example:
        >>> from deap_hpo.space import Float
        >>> evolution = EvolutionConfig(algorithm="pbt", population=4, generations=2)
        >>> toolbox = toolbox_of(Space({"lr": Float(1e-4, 1.0, log=True)}), evolution, ["minimize"])
        >>> individuals = toolbox.population(n=3)
        >>> len(individuals), len(individuals[0]), individuals[0].fitness.weights
        (3, 1, (-1.0,))
    """
    count, algorithm = len(directions), evolution.algorithm
    if count > 1 and algorithm not in (*MULTI_OBJECTIVE, *UNGUIDED):
        raise InputError(
            f"The algorithm {algorithm!r} takes one objective, the task has {count}. "
            f"Use {' or '.join(MULTI_OBJECTIVE)} (evolution.algorithm), or name one objective."
        )
    if count > 1 and evolution.stages:
        raise InputError(
            f"Trainings end in stages by one objective, the task has {count}. Leave evolution.stages out, or name one "
            "objective."
        )
    if len(evolution.enqueue) > evolution.population and not has_strategy(evolution):
        raise InputError(
            f"enqueue must hold at most {evolution.population} configurations, the population in which {algorithm} "
            f"tries them; got {len(evolution.enqueue)}."
        )
    weights = [-1.0 if direction == "minimize" else 1.0 for direction in directions]
    toolbox = make_toolbox(space, indpb=evolution.indpb, weights=weights)
    toolbox.register("genome", individual_type(weights))
    if evolution.mutation == "self-adaptive":
        toolbox.register("mutate", mutSelfAdaptive, low=0.0, up=1.0)
        toolbox.decorate("mutate", lineage("mutate"))
    if algorithm in MULTI_OBJECTIVE:
        nsga = NSGASettings.of(evolution.arguments)
        nsga.register(toolbox, algorithm, genes=len(space), objectives=count, population=evolution.population)
    if algorithm == "pbt":
        PBTSettings.of(evolution.arguments).register(toolbox, population=evolution.population)
    if evolution.enqueue:
        enqueue_into(toolbox, genomes_of(space, evolution.enqueue), toolbox.genome)
    return toolbox


def strategy_of(config: RunConfig) -> Strategy:
    """Make the strategy that proposes hyperparameters in a run; see `strategy_for`."""
    return strategy_for(config.search_space, config.evolution, config.study.seed, config.training.epochs)


def strategy_for(space: Space, evolution: EvolutionConfig, seed: int, epochs: int | None = None) -> Strategy:
    """Make the strategy that proposes hyperparameters of a space.

    Raises:
        InputError: The strategy has no such argument, or needs one that is missing; or what is enqueued is not in the
            space.

    Example:
        >>> from deap_hpo.space import Float
        >>> evolution = EvolutionConfig(algorithm="random", population=3)
        >>> len(strategy_for(Space({"lr": Float(1e-4, 1.0, log=True)}), evolution, seed=1).generate(list))
        3
    """
    arguments: dict[str, Any] = {"seed": seed}
    accepted = argument_names(evolution.algorithm)
    arguments |= {name: evolution.population for name in ("batch_size", "population_size") if name in accepted}
    if "epochs" in accepted and epochs is not None:
        arguments["epochs"] = epochs
    if "budget" in accepted and "resolution" not in evolution.arguments:
        asked = evolution.population * max(1, evolution.generations - bool(evolution.enqueue))
        arguments["budget"] = min(asked, evolution.max_evaluations or asked)
    try:
        strategy = make_strategy(evolution.algorithm, space, **{**arguments, **evolution.arguments})
    except InputError as error:
        about = str(error).partition(" ")[0]
        if about not in _SETTINGS or about in evolution.arguments:
            raise
        raise InputError(f"{error} The strategy {evolution.algorithm} takes it from {_SETTINGS[about]}.") from None
    return Enqueued(strategy, genomes_of(space, evolution.enqueue)) if evolution.enqueue else strategy


def has_strategy(evolution: EvolutionConfig) -> bool:
    """Tell whether a strategy proposes the hyperparameters, rather than an algorithm with a population and a loop.

    Example:
        >>> has_strategy(EvolutionConfig(algorithm="surrogate")), has_strategy(EvolutionConfig(algorithm="truncation"))
        (True, False)
    """
    return evolution.algorithm not in ("truncation", "pbt", *MULTI_OBJECTIVE)


def run_algorithm(
    toolbox: base.Toolbox,
    evolution: EvolutionConfig,
    strategy: Strategy | None,
    *,
    kept: Sequence[int] = (),
    stats: tools.Statistics | None = None,
    verbose: bool = False,
) -> tuple[list[Any], tools.Logbook]:
    """Run the algorithm that a configuration names, to its last generation.

    Args:
        toolbox: As returned by `toolbox_of`, with `evaluate` and a study's `map` registered.
        evolution: The algorithm and its settings.
        strategy: As returned by `strategy_for`, where `has_strategy`; else None.
        kept: For pbt, the genes that stay with the weights, as returned by `deap_hpo.inheritance.architecture_genes`.
        stats: Statistics of each generation, for the logbook.
        verbose: Whether to print the logbook as it grows.

    Returns:
        The final population, and the logbook.

    Raises:
        BudgetSpent: From the study's `map`.

    Example:
        >>> from deap_hpo.space import Float
        >>> space = Space({"x": Float(-1.0, 1.0)})
        >>> evolution = EvolutionConfig(algorithm="truncation", population=4, generations=3)
        >>> toolbox = toolbox_of(space, evolution, ["minimize"])
        >>> toolbox.register("evaluate", lambda genome: (space.decode(genome)["x"] ** 2,))
        >>> population, logbook = run_algorithm(toolbox, evolution, None)
        >>> len(population), logbook.select("nevals")
        (4, [4, 2, 2])
    """
    if evolution.stages:
        toolbox.register("map", StagedMap(toolbox.map, evolution.stages, evolution.stopping))
    if strategy is not None:
        if verbose and type(strategy).__str__ is not object.__str__:
            print(strategy)  # which grid it is, where the budget has decided that
        toolbox.register("generate", strategy.generate, toolbox.genome)
        toolbox.register("update", strategy.update)
        outcome: tuple[list[Any], tools.Logbook] = algorithms.eaGenerateUpdate(
            toolbox, ngen=evolution.generations, stats=stats, verbose=verbose
        )
        return outcome
    population = toolbox.population(n=evolution.population)
    ngen = evolution.generations - 1  # after the first population, which is a generation, too
    if evolution.algorithm == "truncation":
        return eaTruncation(population, toolbox, evolution.cxpb, evolution.mutpb, ngen, stats=stats, verbose=verbose)
    if evolution.algorithm == "pbt":
        pbt = PBTSettings.of(evolution.arguments)
        return eaPBT(
            population, toolbox, pbt.cxpb, pbt.mutpb, ngen, stats, None, verbose, interval=pbt.interval, kept=kept
        )
    nsga = NSGASettings.of(evolution.arguments)
    return eaNSGA(population, toolbox, nsga.cxpb, nsga.mutpb, ngen, stats=stats, verbose=verbose)
