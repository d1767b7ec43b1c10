"""A run: an algorithm, an evaluator, and the study between them, for `optimize` and the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from deap_hpo.configuration.algorithm import Algorithm
from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.errors import warn
from deap_hpo.evaluation import Direction
from deap_hpo.evaluator import Evaluator
from deap_hpo.execution.executors import in_this_process
from deap_hpo.search_space.space import Space
from deap_hpo.steady_study import OrderedStudy
from deap_hpo.stopping import EarlyStopping, Exhaustion
from deap_hpo.study import Study


@contextmanager
def running(
    algorithm: Algorithm, evaluator: Evaluator, space: Space, directions: Sequence[Direction], **options: Any
) -> Iterator[Study]:
    """Open the study of a run for a `with` block in which its algorithm can run, and close it at the end.

    Args:
        algorithm: The algorithm; the evaluator and the study's `map` are registered in its toolbox.
        evaluator: The evaluator.
        space: The search space.
        directions: "minimize" or "maximize" for each objective.
        options: Further arguments of `Study`, except the budgets of evaluations and epochs.

    Raises:
        InputError: See `Study`.
        ReplayError: The study was recorded with other arguments.

    Warns:
        DeapHPOWarning: `max_seconds` passed before any evaluation was started.

    Example:
        >>> from deap_hpo import Float, Objective
        >>> from deap_hpo.configuration.algorithm import algorithm_of
        >>> from deap_hpo.configuration.settings import EvolutionConfig
        >>> space = Space({"x": Float(-1.0, 1.0)})
        >>> algorithm = algorithm_of(space, EvolutionConfig(population=4, generations=2), ["minimize"])
        >>> with running(algorithm, Objective(lambda params: params["x"] ** 2), space, ["minimize"]) as study:
        ...     population, logbook = algorithm.run(stats=study.statistics())
        >>> logbook.select("nevals")
        [4, 4]
    """
    evolution, toolbox = algorithm.evolution, algorithm.toolbox
    kind = OrderedStudy if evolution.steady_state else Study
    options |= {"max_evaluations": evolution.max_evaluations, "max_epochs": evolution.max_epochs}
    with kind(space, directions=directions, **options) as study:
        if algorithm.plan:
            study.provenance.check("plan", algorithm.plan)
        toolbox.register("evaluate", evaluator)
        toolbox.register("map", study.map)
        if isinstance(study, OrderedStudy):
            toolbox.register("each", study.each)
        recorded = len(study.record)
        try:
            yield study
        finally:
            if len(study.record) == recorded and study.budget.time_is_up and not study.budget.is_stopped:
                why = "" if in_this_process(study.executor) else ": the workers were still starting"
                warn(
                    f"no evaluation of the study {study.name!r} was started within "
                    f"max_seconds={options['max_seconds']:g}{why}. With as few seconds, it cannot go on, resumed or not"
                )


def early_stopping(
    evolution: EvolutionConfig, target: float | None, patience: int | None, *, by_time: bool = False
) -> list[EarlyStopping | Exhaustion]:
    """Give the callbacks that end a run before its last generation.

    Args:
        evolution: The algorithm and its settings; if they have a budget, `Exhaustion` is among the callbacks.
        target: See `EarlyStopping`, which is among them if there is a target or a patience.
        patience: See `EarlyStopping`.
        by_time: Whether only the time ends the run, which is a budget, too.

    Raises:
        InputError: See `EarlyStopping`.

    Example:
        >>> len(early_stopping(EvolutionConfig(max_epochs=9), target=0.1, patience=None))
        2
        >>> early_stopping(EvolutionConfig(), target=None, patience=None)
        []
    """
    asked = target is not None or patience is not None
    has_budget = by_time or evolution.max_evaluations is not None or evolution.max_epochs is not None
    return [
        *([EarlyStopping(target, patience, stages=len(evolution.stages) or 1)] if asked else []),
        *([Exhaustion()] if has_budget else []),
    ]
