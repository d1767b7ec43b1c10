"""The main script: an evolution in DEAP's form, with a toolbox, an evaluator, a `map` and an algorithm.

`python -m deap_hpo` is the command line, which configures and calls `evolve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deap import tools

    from deap_hpo.configuration.config import RunConfig
    from deap_hpo.execution.executors import Executor
    from deap_hpo.study import Study
    from deap_hpo.training.trainers import Trainer


@dataclass(frozen=True)
class Outcome:
    """The outcome of an evolution: the closed study, the final population and the logbook."""

    study: Study
    population: list[Any]
    logbook: tools.Logbook


def evolve(
    config: RunConfig,
    trainer: Trainer | None = None,
    *,
    executor: Executor | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    callbacks: Sequence[Any] = (),
    verbose: bool = True,
) -> Outcome:
    """Evolve hyperparameters as a configuration says.

    Args:
        config: The run; see `deap_hpo.configuration.config.load_config`.
        trainer: The evaluator; made from the configuration if None.
        executor: Where evaluations are done; made from the configuration if None.
        resume: Whether the study may exist already; its evaluations are then replayed.
        retry_failed: Whether failed evaluations on record are tried again; see `deap_hpo.study.Study`.
        callbacks: See `deap_hpo.study.Study`.
        verbose: Whether to print the logbook as it grows.

    Raises:
        InputError: Something in the configuration cannot be used, the study exists although `resume` is false, or the
            first evaluations (at least five) all failed.
        ReplayError: The study was recorded with other settings.
        BudgetSpent: ``evolution.max_evaluations`` or ``max_epochs`` is used up, or ``execution.max_seconds`` has
            passed.
        StoppedEarly: ``evolution.target`` was reached, nothing better was found for ``evolution.patience`` generations,
            or there is a budget and every configuration of the space has been evaluated.
    """
    # Imported here, so that `python -m deap_hpo --help` answers at once.
    from deap_hpo.configuration.algorithm import algorithm_of
    from deap_hpo.configuration.assembly import make_executor, make_task, trainer_of
    from deap_hpo.failures import NotAllFailed
    from deap_hpo.running import early_stopping, running

    trainer = trainer or trainer_of(make_task(config), config)
    evolution = config.evolution
    directions, constrained = trainer.task.goals.directions, bool(trainer.task.goals.constraints)
    # Made before the study is on record, so that a run that is refused does not take its name.
    algorithm = algorithm_of(
        config.search_space,
        evolution,
        directions,
        seed=config.study.seed,
        evaluator=trainer,
        again=not config.study.common_random_numbers,
    )
    with running(
        algorithm,
        trainer,
        config.search_space,
        directions,
        name=config.study.name or "study",
        storage=config.study.storage,
        seed=config.study.seed,
        common_random_numbers=config.study.common_random_numbers,
        settings=config.identity(),
        executor=executor or make_executor(trainer, config),
        max_seconds=config.execution.max_seconds,
        callbacks=[*callbacks, NotAllFailed(), *early_stopping(evolution, evolution.target, evolution.patience)],
        resume=resume,
        retry_failed=retry_failed,
    ) as study:
        # Without the storage, because a URL may hold a password.
        study.provenance.note("config", config.model_dump(mode="json", exclude={"study": {"storage"}}))
        population, logbook = algorithm.run(stats=study.statistics(constrained=constrained), verbose=verbose)
    return Outcome(study, population, logbook)


if __name__ == "__main__":
    from deap_hpo.cli import main

    main()
