"""From a configuration to what evaluates: task, trainer, executor; and whether they suit the algorithm."""

from __future__ import annotations

import inspect
import math
import random
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from traceback import clear_frames
from typing import Any, TypeVar

from deap_hpo.config import EvolutionConfig, RunConfig
from deap_hpo.errors import InputError, hint
from deap_hpo.evolution import has_strategy, strategy_of, toolbox_of
from deap_hpo.executors import Executor, ProcessExecutor, SerialExecutor, usable_cores
from deap_hpo.interruption import undisturbed
from deap_hpo.pbt import PBTSettings
from deap_hpo.retraining import reference_of
from deap_hpo.seeding import generators_kept
from deap_hpo.space import Categorical, Space
from deap_hpo.starting import load_task
from deap_hpo.storage import run_folder
from deap_hpo.training.checkpoints import FolderCheckpoints
from deap_hpo.training.models import MODELS, shape_arguments
from deap_hpo.training.recipe import RECIPE_FIELDS, Recipe
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import Trainer, make_trainer
from deap_hpo.training.vision import DATA_SETS

_PLACES = 8  # of a space where its network is tried, if it does not work in the middle

_Value = TypeVar("_Value")


def make_task(config: RunConfig) -> Task:
    """Load the data, and put them together with the model and the recipe.

    Raises:
        InputError: A name is unknown, the data cannot be had, or a searched hyperparameter has nowhere to go.
    """
    settings = config.task
    recipe = config.training.recipe
    for name in recipe:
        _named("training.recipe", name, dict.fromkeys(RECIPE_FIELDS))
    if settings.source:
        return _own_task(settings.source, config)
    load = _named("task.data", settings.data, DATA_SETS)
    model = _named("task.model", settings.model, MODELS)
    for name in settings.arguments:
        _named("task.arguments", name, inspect.signature(model).parameters)
    data = load(
        settings.data_dir,
        training_size=settings.training_size,
        validation_size=settings.validation_size,
        split_seed=settings.split_seed,
    )
    arguments = {**shape_arguments(model, data), **settings.arguments}
    task = Task(
        name=f"{settings.data}/{settings.model}",
        model=partial(model, **arguments) if arguments else model,
        data=data,
        recipe=Recipe(**recipe),
        **settings.goals(),
    )
    check_space(task, config.search_space)
    return task


def _own_task(source: str, config: RunConfig) -> Task:
    """Take a task from a Python file; the recipe of the configuration goes on top of its own."""
    task = load_task(source)
    if callable(task):
        task = task()
    if not isinstance(task, Task):
        raise InputError(
            f"{source} must be a Task, or a function without arguments that returns one; it is a "
            f"{type(task).__name__}. (For a plain function of the hyperparameters there is `deap_hpo.optimize`.)"
        )
    task = replace(task, recipe=replace(task.recipe, **config.training.recipe), **config.task.goals())
    check_space(task, config.search_space)
    return task


@undisturbed()
def check_space(task: Task, space: Space) -> dict[str, Any]:
    """Check that network and data fit together in a space, and that training takes all its bounds and choices.

    The network is built in the middle of the space. Where it does not work there, it is tried at a few other places: a
    space may have combinations that do not work, and trainings with these fail.

    Returns:
        The hyperparameters with which it was built.

    Raises:
        InputError: Network and data fit together nowhere (the reason given is that of the middle), or a hyperparameter
            has nowhere to go or an invalid value.
    """
    middle = space.decode([0.5] * len(space))
    working = _working(task, space, middle)
    for name, one in space.items():
        for value in one.choices if isinstance(one, Categorical) else (one.low, one.high):
            task.configure({**middle, name: value})
    return working


def _working(task: Task, space: Space, middle: dict[str, Any]) -> dict[str, Any]:
    """Give hyperparameters with which network and data fit together: the middle, or else the first that do."""
    try:
        task.check(middle)
        return middle
    except InputError as error:
        # Else the network that did not work would stay in memory beside those that are tried next.
        for raised in (error, error.__cause__):
            clear_frames(raised.__traceback__ if raised else None)
        tried = [task.configure(middle)[1]]
        for params in _places(space):
            _, architecture = task.configure(params)
            if architecture not in tried:
                tried.append(architecture)
                with suppress(InputError):
                    task.check(params)
                    return params
        raise


def _places(space: Space) -> list[dict[str, Any]]:
    """Give configurations all over a space, always the same: a Latin hypercube, which takes choices by turns."""
    rng = random.Random(0)
    columns = [rng.sample(range(_PLACES), _PLACES) for _ in space]
    return [space.decode([(level + 0.5) / _PLACES for level in levels]) for levels in zip(*columns, strict=True)]


def check_schedules(trainer: Trainer, space: Space, evolution: EvolutionConfig) -> None:
    """Check that the longest training of a run ends before its learning rate's schedule does, with any of them.

    Arguments of the algorithm have been checked.

    Raises:
        InputError: It does not: a cosine schedule is as long as the trainer's `epochs`.
    """
    reference = reference_of(trainer)
    recipe, one = trainer.task.recipe, space.get("schedule")
    searched = one.choices if isinstance(one, Categorical) else []
    always = one is not None and "schedule" not in space.conditions.allowed
    for schedule in [*searched, *([] if always else [recipe.schedule])]:
        reference.added_epochs(replace(recipe, schedule=str(schedule)), None, _longest(evolution, trainer.epochs))


def _longest(evolution: EvolutionConfig, epochs: int) -> int:
    """The epochs of the longest training, as far as the budget allows it."""
    if evolution.stages:
        return evolution.stages[-1]
    if evolution.algorithm != "pbt":
        return int(evolution.arguments.get("epochs", epochs))  # which hyperband and its kin take
    interval, population = PBTSettings.of(evolution.arguments).interval, evolution.population
    by_evaluations = math.ceil((evolution.max_evaluations or sys.maxsize) / population)
    by_epochs = math.ceil((evolution.max_epochs or sys.maxsize) / (population * interval))
    return interval * min(evolution.generations, by_evaluations, by_epochs)


def trainer_of(task: Task, config: RunConfig) -> Trainer:
    """Make the trainer that evaluates.

    Raises:
        InputError: There is no such trainer, device or precision.
    """
    folder = run_folder(config.study.name or "study", config.study.storage) / "checkpoints"
    checkpoints = FolderCheckpoints(folder, limit=config.execution.checkpoint_limit)
    return make_trainer(task, checkpoints=checkpoints, **config.training.model_dump(exclude={"recipe"}))


def check_algorithm(config: RunConfig, trainer: Trainer) -> None:
    """Make what an algorithm needs, for nothing but that what cannot be made is said before anything is trained.

    Raises:
        InputError: The algorithm does not take so many objectives, has no such argument, or needs one that is missing;
            or an argument is out of its range, or trainings are longer than their schedule.
    """
    with generators_kept():
        toolbox_of(config.search_space, config.evolution, trainer.task.goals.directions)
        if has_strategy(config.evolution):
            strategy_of(config)
    check_schedules(trainer, config.search_space, config.evolution)


def make_executor(trainer: Trainer, config: RunConfig) -> Executor:
    """Make the executor: "auto" is worker processes on a CPU with several cores, this process on an accelerator."""
    settings = config.execution
    if settings.executor == "ray":
        from deap_hpo.ray_executor import RayExecutor  # an extra, and slow to import

        on_gpu = trainer.device.type == "cuda"
        return RayExecutor(
            settings.workers,
            address=settings.address,
            num_gpus=int(on_gpu),
            chunk=settings.chunk if on_gpu else 1,
            timeout=settings.timeout,
            retries=settings.retries,
        )
    workers = min(settings.workers or usable_cores(), config.evolution.population)
    one_at_a_time = isinstance(trainer, ReferenceTrainer) and trainer.device.type == "cpu"
    if settings.executor == "processes" or (settings.executor == "auto" and one_at_a_time and workers > 1):
        return ProcessExecutor(workers, timeout=settings.timeout, retries=settings.retries)
    return SerialExecutor()


def _named(argument: str, name: str, table: Mapping[str, _Value]) -> _Value:
    if name not in table:
        raise InputError(f"{argument} has no {name!r}. {hint(name, sorted(table))}")
    return table[name]
