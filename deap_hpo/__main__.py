"""The main script: the paper's evolution in DEAP's form, with the toolbox in full view.

`python -m deap_hpo` is the command line, which configures and calls `evolve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deap import tools

    from deap_hpo.config import RunConfig
    from deap_hpo.executors import Executor
    from deap_hpo.study import Study
    from deap_hpo.training.trainers import Trainer


@dataclass(frozen=True)
class Outcome:
    """What an evolution leaves: the closed study, the final population, the logbook."""

    study: Study
    population: list[Any]
    logbook: tools.Logbook


def evolve(
    config: RunConfig,
    trainer: Trainer | None = None,
    *,
    executor: Executor | None = None,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    verbose: bool = True,
) -> Outcome:
    """Evolve hyperparameters as a configuration says.

    Args:
        config: The run; see `deap_hpo.config.load_config`.
        trainer: Evaluates; made from the configuration where None.
        executor: Where evaluations are done; made from the configuration where None.
        resume: Whether the study may exist; what it holds is then replayed.
        callbacks: See `deap_hpo.study.Study`.
        verbose: Whether to print the logbook as it grows.

    Raises:
        InputError: Something in the configuration cannot be used, or the study exists although `resume` is false.
        ReplayError: The study was recorded with other settings.
        BudgetSpent: ``evolution.max_evaluations`` or ``max_epochs`` were done, or ``execution.max_seconds`` passed.
    """
    # Here, so that `python -m deap_hpo --help` answers at once.
    from deap import algorithms

    from deap_hpo.algorithms import eaTruncation
    from deap_hpo.assembly import make_executor, make_task, strategy_of, toolbox_of, trainer_of
    from deap_hpo.inheritance import architecture_genes
    from deap_hpo.pareto import MULTI_OBJECTIVE, NSGASettings, eaNSGA
    from deap_hpo.pbt import PBTSettings, eaPBT
    from deap_hpo.stages import StagedMap
    from deap_hpo.study import Study

    trainer = trainer or trainer_of(make_task(config), config)
    evolution = config.evolution
    directions = trainer.task.goals.directions
    pbt = PBTSettings.of(evolution.arguments) if evolution.algorithm == "pbt" else None
    kept = architecture_genes(trainer.task, config.search_space) if pbt else ()
    with Study(
        config.search_space,
        name=config.study.name or "study",
        storage=config.study.storage,
        seed=config.study.seed,
        directions=directions,
        common_random_numbers=config.study.common_random_numbers,
        settings=config.identity(),
        executor=executor or make_executor(trainer, config),
        max_evaluations=evolution.max_evaluations,
        max_epochs=evolution.max_epochs,
        max_seconds=config.execution.max_seconds,
        callbacks=callbacks,
        resume=resume,
    ) as study:
        # Without its storage: a URL may hold a password.
        study.record.note("config", config.model_dump(mode="json", exclude={"study": {"storage"}}))

        toolbox = toolbox_of(config.search_space, evolution, directions)
        toolbox.register("evaluate", trainer)
        toolbox.register("map", study.map)

        if evolution.stages:
            toolbox.register("map", StagedMap(study.map, evolution.stages, evolution.stopping))

        if evolution.algorithm == "truncation":
            population, logbook = eaTruncation(
                toolbox.population(n=evolution.population),
                toolbox,
                cxpb=evolution.cxpb,
                mutpb=evolution.mutpb,
                ngen=evolution.generations - 1,
                stats=study.statistics(),
                verbose=verbose,
            )
        elif evolution.algorithm in MULTI_OBJECTIVE:
            nsga = NSGASettings.of(evolution.arguments)
            population, logbook = eaNSGA(
                toolbox.population(n=evolution.population),
                toolbox,
                cxpb=nsga.cxpb,
                mutpb=nsga.mutpb,
                ngen=evolution.generations - 1,
                stats=study.statistics(),
                verbose=verbose,
            )
        elif pbt:
            pbt.register(toolbox)
            population, logbook = eaPBT(
                toolbox.population(n=evolution.population),
                toolbox,
                cxpb=pbt.cxpb,
                mutpb=pbt.mutpb,
                ngen=evolution.generations - 1,
                interval=pbt.interval,
                stats=study.statistics(),
                verbose=verbose,
                kept=kept,
            )
        else:
            strategy = strategy_of(config)
            if verbose and type(strategy).__str__ is not object.__str__:
                print(strategy)  # which grid it is, where the budget has decided that
            toolbox.register("generate", strategy.generate, toolbox.genome)
            toolbox.register("update", strategy.update)
            population, logbook = algorithms.eaGenerateUpdate(
                toolbox, ngen=evolution.generations, stats=study.statistics(), verbose=verbose
            )
    return Outcome(study, population, logbook)


if __name__ == "__main__":
    from deap_hpo.cli import main

    main()
