"""Optimisation by a single call: a Python function or a trainer, over a search space."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from deap_hpo.budget import BudgetSpent
from deap_hpo.callbacks import check_callbacks
from deap_hpo.checks import check_flag, check_integer
from deap_hpo.configuration.algorithm import algorithm_of
from deap_hpo.configuration.config import make_config
from deap_hpo.configuration.demands import (
    agreed_directions,
    check_suits,
    ends_by_time_alone,
    evaluator_of,
    trains_in_parts,
    with_lasting_checkpoints,
)
from deap_hpo.configuration.enqueueing import plain_configurations
from deap_hpo.configuration.settings import OF_TRUNCATION, EvolutionConfig, Section, StudyConfig, TrainingConfig
from deap_hpo.configuration.workload import workload
from deap_hpo.errors import InputError, hint
from deap_hpo.evaluation import Direction
from deap_hpo.evaluator import Evaluate
from deap_hpo.execution.executors import Executor
from deap_hpo.failures import NotAllFailed, warn_of_many_failures
from deap_hpo.interruption import interruptions_kept, undisturbed
from deap_hpo.progress import ProgressDisplay
from deap_hpo.pruning import Pruner
from deap_hpo.records.run_files import states_folder
from deap_hpo.running import early_stopping, running
from deap_hpo.search_space.space import Hyperparameter, Space
from deap_hpo.seeding import generators_kept
from deap_hpo.study import Study
from deap_hpo.vocabulary import hinting
from deap_hpo.wording import plural

_ARGUMENTS_OF_TRUNCATION = (*OF_TRUNCATION, "stages", "stopping")
_WITHOUT_END = 100_000  # generations, if only the time ends a run
_SECTIONS: dict[str, type[Section]] = {"evolution": EvolutionConfig, "training": TrainingConfig, "study": StudyConfig}
_PREFIXES = "|".join(rf"{section}\.(?={name}\b)" for section, kind in _SECTIONS.items() for name in kind.model_fields)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or an interrupted notebook cell, in `optimize`; it carries the study with its results so far.

    Args:
        study: The closed study.
        resume: Whether the same call continues it, if it is in a storage.

    Attributes:
        study: The closed study, with all evaluations that had ended.

    Example:
        >>> from deap_hpo import Float
        >>> def interrupted(params):
        ...     if params["x"] > 0.95:
        ...         raise KeyboardInterrupt
        ...     return params["x"] ** 2
        >>> try:
        ...     study = optimize(interrupted, {"x": Float(-1.0, 1.0)}, algorithm="random", seed=1)
        ... except Interrupted as stop:
        ...     study = stop.study
        >>> len(study.record), study.best_value < 0.1
        (23, True)
    """

    def __init__(self, study: Study, resume: bool = False) -> None:
        if study.storage is None:
            go_on = "With a storage and resume=True, an interrupted study can be continued."
        else:
            go_on = f"To continue it, start the program or the cell again{'' if resume else ', with resume=True'}."
        super().__init__(
            f"The study {study.name!r} was interrupted after {plural(len(study.record), 'evaluation')}. They are in "
            "the `study` that this exception carries; at a prompt or in a notebook, that is sys.last_value.study. "
            + go_on
        )
        self.study = study


@hinting
def optimize(
    objective: Evaluate,
    space: Space | Mapping[str, Hyperparameter],
    *,
    direction: Direction | Sequence[Direction] | None = None,
    metric: str | Sequence[str] | None = None,
    constraints: Sequence[str] = (),
    epochs: int | None = None,
    algorithm: str | None = None,
    population: int = 10,
    generations: int | None = None,
    steady_state: bool = False,
    arguments: Mapping[str, Any] | None = None,
    enqueue: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
    common_random_numbers: bool = True,
    name: str = "study",
    storage: str | Path | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    executor: Executor | None = None,
    pruner: Pruner | None = None,
    target: float | None = None,
    patience: int | None = None,
    max_evaluations: int | None = None,
    max_epochs: int | None = None,
    max_seconds: float | None = None,
    callbacks: Sequence[Any] = (),
    progress: bool = True,
) -> Study:
    """Find the hyperparameters with the best objective.

    Args:
        objective: A function of the hyperparameters, which may report a learning curve and train in parts (see
            `Objective`), or a trainer (`make_trainer`).
        space: The search space, as a `Space` or by name.
        direction: "minimize" or "maximize"; one for each of several objectives. By default that of the trainer's task,
            and "minimize" for a function.
        metric: Name of the metric that counts, if the function returns several; or a list of several names.
        constraints: Conditions on the metrics that the function returns, such as "size <= 100".
        epochs: Epochs of a whole training, if the function has a parameter `epochs`; by default its default value.
        algorithm: "surrogate" (the default: a genetic algorithm whose children a Gaussian process selects),
            "truncation" (the plain genetic algorithm), or another one of `deap_hpo.configuration.methods.METHODS`:
            "tpe", "de", "random", ... For trainings with epochs also "hyperband", "freeze-thaw" or "pbt"; for several
            objectives "nsga-ii" (then the default) or "nsga-iii".
        population: Evaluations in a generation, at least 1. For "truncation" at least 4; its later generations have
            half as many.
        generations: Generations in total, at least 1. By default as many as `max_evaluations`, `max_epochs` or
            `max_seconds` allow, and 10 without these. ("grid" and methods that train in parts have 10 with
            `max_seconds` alone.)
        steady_state: Whether a new evaluation is proposed whenever one finishes, rather than a generation when the last
            one is complete, so that workers do not wait for the slowest. `population` evaluations are then under way or
            waiting for a worker, so it should be 1.5 times the number of workers. The run does not depend on that
            number, except that evaluations under way are also recorded when `target` or `patience` ends it. For
            "surrogate", "truncation", "random", "sobol", "grid", "fixed" and Optuna's samplers.
        arguments: Further arguments of the algorithm: those of the strategy; for "truncation" `cxpb`, `mutpb`, `indpb`,
            `mutation`, and for trainings with epochs `stages` and `stopping`; for "nsga-ii" and "nsga-iii" those of
            `deap_hpo.evolution.pareto.NSGASettings`.
        enqueue: Configurations to try first, such as the current one, or the best of an earlier study
            (`study.best_configurations(3)`). Hyperparameters that are left out are drawn, from `seed` and the position
            in the list. They alone are the first generation, whether they are more or fewer than `population`; only
            "truncation", "pbt", "nsga-ii", "nsga-iii" and steady states add others to it.
        seed: Seed of the whole run, at least 0.
        common_random_numbers: Whether `random`, numpy and torch draw the same numbers in every evaluation, so that
            configurations are compared on equal terms; if not, each evaluation has its own seed.
        name: Name of the study.
        storage: Path of an SQLite file, or a database's URL, where every evaluation is recorded when it ends; None
            keeps the record in memory.
        resume: Whether the study may exist already; it is then continued, and ends as if it had never stopped.
        retry_failed: With `resume`, whether failed evaluations are tried again, after their cause is fixed. The study
            then ends as if they had not failed; all evaluations from the first failed one on are `superseded`.
        executor: Where evaluations are done; by default one after the other in this process, with `ProcessExecutor()`
            in parallel.
        pruner: Ends hopeless evaluations of a function early; see `MedianPruner`.
        target: Value at which to stop.
        patience: Generations without a better value after which to stop.
        max_evaluations: Evaluations after which to stop, without repeats and those that are infeasible beforehand.
        max_epochs: Epochs, of all evaluations, after which to stop.
        max_seconds: Seconds after which to stop, counted from where something is to be done that is not on record, so
            with the start of the workers; the run can be resumed. Without another limit, only the time ends the run (or
            100,000 generations), except for "grid" and methods that train in parts.
        callbacks: Objects with ``on_requests``, ``on_evaluation`` or ``on_generation``; see docs/how-to/watch.md.
        progress: Whether to show the progress on standard error: on a terminal and in a notebook in a line that is
            updated, elsewhere in a line after each generation.

    Returns:
        The closed study: `best_params`, `best_value`, `trials_dataframe()`, `best_model()`.

    Raises:
        InputError: An argument cannot be used, or the first evaluations (at least five) all failed.
        ReplayError: The study was recorded with other settings.
        Interrupted: Ctrl-C was pressed. It is a `KeyboardInterrupt` that carries the `study` with its results so far.

    Example:
        >>> from deap_hpo import Float
        >>> space = {"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0)}
        >>> study = optimize(lambda params: (params["x"] - 1) ** 2 + params["y"] ** 2, space, seed=1)
        >>> study.best_value < 0.5, sorted(study.best_params)
        (True, ['x', 'y'])
    """
    seed = check_integer("seed", seed, 0)
    if isinstance(objective, Mapping) and callable(space):
        raise InputError("optimize takes the objective first, then the space; got them in the other order.")
    if not isinstance(arguments, Mapping | None):
        raise InputError(f"arguments must be a mapping of the algorithm's arguments by name; got {arguments!r}.")
    space = Space.of(space)
    folder = None if storage is None else states_folder(name, storage)
    evaluator = evaluator_of(
        objective, space, metric=metric, direction=direction, constraints=constraints, epochs=epochs, folder=folder
    )
    directions = agreed_directions(evaluator, direction)
    algorithm = algorithm or ("surrogate" if len(directions) == 1 else "nsga-ii")
    by_time = ends_by_time_alone(algorithm, max_seconds, generations, max_evaluations, max_epochs)
    if by_time:
        generations = _WITHOUT_END
    evolution = _evolution(
        space,
        {
            "algorithm": algorithm,
            "population": population,
            **({} if generations is None else {"generations": generations}),
            "steady_state": check_flag("steady_state", steady_state),
            "max_evaluations": max_evaluations,
            "max_epochs": max_epochs,
            "enqueue": plain_configurations(enqueue),
            "arguments": dict(arguments or {}),
        },
    )
    if trains_in_parts(evolution) or folder is not None:  # where interrupted trainings continue, too
        evaluator = with_lasting_checkpoints(evaluator, folder, executor)
    check_suits(evaluator, evolution, directions, executor, pruner)
    not_all_failed, stops = NotAllFailed(), early_stopping(evolution, target, patience, by_time=by_time)
    with ExitStack() as stack:
        stack.enter_context(interruptions_kept())
        stack.enter_context(generators_kept())
        continues = evaluator.checkpoints is not None
        with _named_as_arguments():
            work = workload(space, evolution, epochs=evaluator.epochs, continues=continues, seed=seed)
        shown: list[ProgressDisplay] = []
        if check_flag("progress", progress):
            in_epochs = evaluator.epochs is not None or trains_in_parts(evolution)
            seconds = max_seconds if by_time else None
            shown.append(stack.enter_context(ProgressDisplay(work, epochs=in_epochs, seconds=seconds, lines=True)))
        # Made before the study is on record; otherwise an error here would leave its name taken.
        with _named_as_arguments():
            made = algorithm_of(
                space, evolution, directions, seed=seed, evaluator=evaluator, again=not common_random_numbers
            )
        with undisturbed():  # an interruption here could leave the record locked by a study that nobody can close
            study = stack.enter_context(
                running(
                    made,
                    evaluator,
                    space,
                    directions,
                    name=name,
                    storage=storage,
                    seed=seed,
                    common_random_numbers=common_random_numbers,
                    resume=resume,
                    retry_failed=retry_failed,
                    executor=executor,
                    settings={"evolution": evolution.identity()},
                    max_seconds=max_seconds,
                    pruner=pruner,
                    callbacks=[*shown, *check_callbacks(callbacks), not_all_failed, *stops],
                )
            )
        with _carrying(study, resume):
            try:
                made.run()
            except BudgetSpent as stop:
                for display in shown:
                    display.end_with(str(stop))
    not_all_failed.check(study, least=1)
    warn_of_many_failures(study)
    return study


def _evolution(space: Space, settings: dict[str, Any]) -> EvolutionConfig:
    """Check the settings of the search; errors use the names of `optimize`'s arguments."""
    if settings["algorithm"] == "truncation":  # its arguments are settings of their own
        arguments = settings.pop("arguments")
        for name in arguments:
            if name not in _ARGUMENTS_OF_TRUNCATION:
                raise InputError(f"arguments: truncation has no {name!r}. {hint(name, _ARGUMENTS_OF_TRUNCATION)}")
        settings |= arguments
    with _named_as_arguments():
        return make_config({"evolution": settings, "space": space.to_dict()}).evolution


@contextmanager
def _named_as_arguments() -> Iterator[None]:
    """Let errors use the names of `optimize`'s arguments: `population` rather than `evolution.population`."""
    try:
        yield
    except InputError as error:
        raise InputError(re.sub(rf"\b({_PREFIXES})", "", str(error))) from None


@contextmanager
def _carrying(study: Study, resume: bool) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(study, resume).with_traceback(stop.__traceback__) from None
