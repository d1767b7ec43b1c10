"""The evaluator that `optimize` is given, and checks that it can do what the algorithm will ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deap_hpo.configuration.methods import IN_PARTS, OF_SEVERAL_OBJECTIVES
from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.errors import InputError, warn
from deap_hpo.evaluation import Direction
from deap_hpo.evaluator import Evaluate, Evaluator
from deap_hpo.execution.executors import Executor, in_this_process
from deap_hpo.functions.objective import Objective
from deap_hpo.functions.offered import offered_parameters
from deap_hpo.goals import Goals, check_directions, usual_direction, warn_of_one_direction
from deap_hpo.parts import check_parts, check_whole
from deap_hpo.pruning import Pruner, check_reports
from deap_hpo.search_space.space import Space
from deap_hpo.strategies import STRATEGIES, argument_names

# torch is imported only where a trainer or a checkpoint needs it: importing it takes seconds, and functions do without.


def evaluator_of(
    objective: Evaluate,
    space: Space,
    *,
    metric: str | Sequence[str] | None = None,
    direction: Direction | Sequence[Direction] | None = None,
    constraints: Sequence[str] = (),
    epochs: int | None = None,
    folder: Path | None = None,
) -> Evaluator:
    """Return the evaluator: a trainer (or other `Evaluator`) itself, or a function as an `Objective`.

    Args:
        objective: An evaluator, or a function.
        space: The search space; a trainer's network is tried in it.
        metric: See `Objective`, also for the next three.
        direction: Which way is better.
        constraints: Conditions that must hold.
        epochs: Epochs of a whole training.
        folder: Where a function's checkpoints are kept; None for a temporary folder.

    Raises:
        InputError: An argument cannot be used, or is for functions and the objective is a trainer.

    Warns:
        DeapHPOWarning: No direction is given, or one for several metrics, and a metric's name tells of another one.

    Example:
        >>> from deap_hpo import Float
        >>> space = Space({"x": Float(0.0, 1.0)})
        >>> evaluator = evaluator_of(lambda params, epochs: params["x"] / epochs, space, epochs=4)
        >>> evaluator({"x": 1.0}).value, evaluator.epochs
        (0.25, 4)
    """
    if isinstance(objective, type) and issubclass(objective, Evaluator):
        raise InputError(f"objective must be an object, {objective.__name__}(...); got the class itself.")
    if not isinstance(objective, Evaluator):
        for name in [metric] if isinstance(metric, str) else metric or ():
            if direction is None and usual_direction(str(name)) == "maximize":
                wanted = "'maximize'" if isinstance(metric, str) else "one for each, 'maximize' for it"
                warn(f"metric {name!r} is minimised; if more of it is better, give a direction ({wanted})")
        checkpoints = None
        if folder is not None and "checkpoint" in offered_parameters(objective):
            from deap_hpo.training.checkpoints import FolderCheckpoints

            checkpoints = FolderCheckpoints(folder)
        function = Objective(
            objective,
            metric=metric,
            direction=direction or "minimize",
            constraints=constraints,
            epochs=epochs,
            checkpoints=checkpoints,
        )
        warn_of_one_direction(function.goals, direction)
        return function
    if objective.task is not None:
        from deap_hpo.configuration.suitability import check_space

        check_space(objective.task, space)
        objective.is_checked = True
    if metric is not None:
        raise InputError(f"metric is for functions that return several; a task has its own. Got {metric!r}.")
    if constraints:
        raise InputError(f"constraints are for functions; a task has its own. Got {constraints!r}.")
    if epochs is not None:
        raise InputError(f"epochs is for functions; {type(objective).__name__} has epochs of its own. Got {epochs}.")
    return objective


def agreed_directions(evaluator: Evaluator, direction: Direction | Sequence[Direction] | None) -> Sequence[Direction]:
    """Return the evaluator's directions, or the given ones if it has none.

    Raises:
        InputError: Both are given, and differ.

    Example:
        >>> agreed_directions(Objective(len, direction="maximize"), None)
        ('maximize',)
    """
    if evaluator.goals is None:
        return check_directions("minimize" if direction is None else direction)
    known = evaluator.goals.directions
    if direction is not None and Goals.of(evaluator.goals.objectives, direction).directions != known:
        raise InputError(
            f"direction must match the evaluator's, {', '.join(known)}, or be left out; got {direction!r}. A task has "
            "its own: Task.from_data(..., direction=...)."
        )
    return known


def with_lasting_checkpoints(evaluator: Evaluator, folder: Path | None, executor: Executor | None) -> Evaluator:
    """Return an evaluator whose checkpoints outlive this process, if the run does, and are seen by all its workers.

    A trainer's checkpoints are in memory unless it was given others.

    Args:
        evaluator: The evaluator, which trains in parts.
        folder: Where the checkpoints of a recorded run are kept; None for a run in memory.
        executor: Where evaluations run; None for this process.

    Example:
        >>> from deap_hpo import ProcessExecutor
        >>> from deap_hpo.training.checkpoints import MemoryCheckpoints
        >>> training = Objective(lambda params, epochs, checkpoint: 0.5, epochs=9, checkpoints=MemoryCheckpoints())
        >>> with_lasting_checkpoints(training, None, None) is training
        True
        >>> with_lasting_checkpoints(training, None, ProcessExecutor(2)).checkpoints.shared
        True
    """
    if evaluator.checkpoints is None:
        return evaluator
    from deap_hpo.training.checkpoints import FolderCheckpoints, TemporaryCheckpoints

    temporary = isinstance(evaluator.checkpoints, TemporaryCheckpoints)
    lasting = evaluator.checkpoints.shared and not (temporary and folder is not None)
    if lasting or (folder is None and in_this_process(executor)):
        return evaluator
    return evaluator.with_checkpoints(TemporaryCheckpoints() if folder is None else FolderCheckpoints(folder))


def ends_by_time_alone(algorithm: str, max_seconds: float | None, *others: int | None) -> bool:
    """Tell whether `max_seconds` alone ends a run, so that its method may ask for evaluations until then.

    Methods that train in parts or lay out a grid are excluded: they divide a budget, which must be known.

    Args:
        algorithm: The name of the method.
        max_seconds: Seconds after which the run ends, or None.
        others: The other limits of the run; None if not given.

    Example:
        >>> ends_by_time_alone("random", 60.0, None), ends_by_time_alone("random", 60.0, 100)
        (True, False)
    """
    divides = algorithm in IN_PARTS or (algorithm in STRATEGIES and "budget" in argument_names(algorithm))
    return max_seconds is not None and all(one is None for one in others) and not divides


def trains_in_parts(evolution: EvolutionConfig) -> bool:
    """Tell whether an algorithm asks for parts of trainings.

    Example:
        >>> trains_in_parts(EvolutionConfig(algorithm="hyperband")), trains_in_parts(EvolutionConfig())
        (True, False)
    """
    return bool(evolution.stages) or evolution.algorithm in IN_PARTS


def check_suits(
    evaluator: Evaluator,
    evolution: EvolutionConfig,
    directions: Sequence[Direction],
    executor: Executor | None,
    pruner: Pruner | None,
) -> None:
    """Check that an evaluator can do what an algorithm will ask for.

    Raises:
        InputError: It has no epochs, or cannot continue a training; its checkpoints are not seen where it runs; or it
            does not take a pruner.

    Example:
        >>> training = Objective(lambda params, epochs: 1.0, epochs=9)
        >>> check_suits(training, EvolutionConfig(algorithm="hyperband"), ["minimize"], None, None)
        >>> check_suits(training, EvolutionConfig(algorithm="pbt"), ["minimize"], None, None)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: The algorithm 'pbt' continues from checkpoints: the objective must have a \
parameter named checkpoint; got <function <lambda> at ...>.
    """
    if len(directions) > 1 and evolution.algorithm not in OF_SEVERAL_OBJECTIVES:
        return  # making the algorithm raises the error
    in_parts = trains_in_parts(evolution)
    if in_parts:
        check_parts(evaluator, executor, _called(evolution))
    if evolution.algorithm == "pbt" and evaluator.checkpoints is None:
        raise InputError(
            "The algorithm 'pbt' continues from checkpoints: the objective must have a parameter named checkpoint; "
            f"got {evaluator.brought!r}."
        )
    whole, takes_epochs = evaluator.epochs, evaluator.takes_epochs
    if takes_epochs and "epochs" in evolution.arguments:
        raise InputError(
            "arguments must not contain epochs: pass them to optimize itself, optimize(train, space, epochs=27)."
        )
    if whole is None and takes_epochs and evolution.algorithm != "pbt" and not evolution.stages:
        raise InputError(
            f"epochs must give the length of a whole training, as in optimize(train, space, epochs=27); got {whole}."
        )
    if whole is None and evolution.max_epochs and not in_parts:
        raise InputError(
            f"max_epochs is for trainers, and for functions with a parameter named epochs; got {evaluator.brought!r}."
        )
    if pruner is not None and in_parts:
        raise InputError(
            f"pruner is for whole trainings; the algorithm {evolution.algorithm!r} itself ends hopeless ones. "
            f"Got {pruner!r}."
        )
    check_reports(pruner, evaluator)


def check_lengths(evaluator: Evaluator | None, space: Space, evolution: EvolutionConfig) -> None:
    """Check that a trainer can train for as long as an algorithm asks; the algorithm's arguments have been checked.

    Raises:
        InputError: It takes whole trainings only, or a schedule is shorter than the longest training; see
            `deap_hpo.configuration.suitability.check_schedules`.
    """
    if evaluator is not None and trains_in_parts(evolution):
        check_whole(evaluator, _called(evolution))
    if evaluator is not None and evaluator.task is not None:
        from deap_hpo.configuration.suitability import check_schedules
        from deap_hpo.training.trainers import Trainer

        if isinstance(evaluator, Trainer):
            check_schedules(evaluator, space, evolution)


def _called(evolution: EvolutionConfig) -> str:
    return f"The algorithm {evolution.algorithm!r}{' with stages' if evolution.stages else ''}"
