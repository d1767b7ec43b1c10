"""From a configuration to the objects that evaluate: task, trainer, executor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from deap_hpo.configuration.algorithm import algorithm_of
from deap_hpo.configuration.config import RunConfig
from deap_hpo.configuration.starting import load_task
from deap_hpo.configuration.suitability import check_space
from deap_hpo.errors import InputError, hint
from deap_hpo.execution.executors import Executor, ProcessExecutor, SerialExecutor, usable_cores
from deap_hpo.execution.gpus import check_device
from deap_hpo.records.run_files import checkpoints_folder
from deap_hpo.seeding import generators_kept
from deap_hpo.training.checkpoints import FolderCheckpoints
from deap_hpo.training.models import MODELS, shape_arguments
from deap_hpo.training.recipe import RECIPE_FIELDS
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import Trainer, make_trainer
from deap_hpo.training.vision import DATA_SETS

_Value = TypeVar("_Value")


def make_task(config: RunConfig) -> Task:
    """Load the data, and combine them with the model and the recipe.

    Raises:
        InputError: A name is unknown, the data are not available, or nothing takes a searched hyperparameter.
    """
    settings = config.task
    if settings.source:
        return _own_task(settings.source, config)
    load = _named("task.data", settings.data, DATA_SETS)
    model = _named("task.model", settings.model, MODELS)
    for name in settings.arguments:
        _named("task.arguments", name, inspect.signature(model).parameters)
    data = load(
        settings.data_dir,
        training_size=settings.training_size,
        split_seed=settings.split_seed,
        **({} if settings.validation_size is None else {"validation_size": settings.validation_size}),
    )
    arguments = {**shape_arguments(model, data), **settings.arguments}
    task = Task(
        name=f"{settings.data}/{settings.model}",
        model=partial(model, **arguments) if arguments else model,
        data=data,
        **settings.goals(),
    )
    task = with_recipe(task, config)
    check_space(task, config.search_space)
    return task


def _own_task(source: str, config: RunConfig) -> Task:
    """Take a task from a Python file; the recipe and goals of the configuration override its own."""
    task = load_task(source)
    if callable(task):
        task = task()
    if not isinstance(task, Task):
        raise InputError(
            f"{source} must be a Task, or a function without arguments that returns one; it is a "
            f"{type(task).__name__}. (For a plain function of the hyperparameters there is `deap_hpo.optimize`.)"
        )
    task = with_recipe(replace(task, **config.task.goals()), config)
    check_space(task, config.search_space)
    return task


def with_recipe(task: Task, config: RunConfig) -> Task:
    """Give the task with the settings of the configuration's recipe.

    Raises:
        InputError: The recipe has no such setting, or one is out of its range.
    """
    for name in config.training.recipe:
        _named("training.recipe", name, dict.fromkeys(RECIPE_FIELDS))
    return replace(task, recipe=replace(task.recipe, **config.training.recipe))


def trainer_of(task: Task, config: RunConfig) -> Trainer:
    """Make the trainer that evaluates.

    Raises:
        InputError: There is no such trainer, device or precision.
    """
    folder = checkpoints_folder(config.study.name or "study", config.study.storage)
    checkpoints = FolderCheckpoints(folder, limit=config.execution.checkpoint_limit)
    trainer = make_trainer(task, checkpoints=checkpoints, **config.training.model_dump(exclude={"recipe"}))
    trainer.is_checked = True  # by `make_task`
    return trainer


def check_algorithm(config: RunConfig, trainer: Trainer) -> None:
    """Check that the algorithm can be made, by making it, before anything is trained.

    Raises:
        InputError: The algorithm does not take this number of objectives, has no such argument, or needs one that is
            missing; an argument is out of its range; or trainings are longer than their schedule.
    """
    directions = trainer.task.goals.directions
    with generators_kept():
        algorithm_of(config.search_space, config.evolution, directions, seed=config.study.seed, evaluator=trainer)


def make_executor(trainer: Trainer, config: RunConfig) -> Executor:
    """Make the executor: "auto" is this process on an accelerator, else worker processes, on all cores or given GPUs.

    Raises:
        InputError: GPUs are given, but the trainer or the chosen executor cannot use them.
    """
    settings = config.execution
    limits: dict[str, Any] = settings.model_dump(include={"timeout", "retries", "max_tasks_per_child"})
    if settings.gpus:
        if settings.executor in ("serial", "ray"):
            raise InputError(f"execution.gpus is for the executor 'processes'; got {settings.executor!r}.")
        check_device(trainer, settings.gpus)
        return ProcessExecutor(settings.workers, gpus=settings.gpus, chunk=settings.chunk, **limits)
    if settings.executor == "ray":
        from deap_hpo.execution.ray_executor import RayExecutor  # an extra, and slow to import

        on_gpu = trainer.device.type == "cuda"
        return RayExecutor(
            settings.workers,
            address=settings.address,
            num_gpus=int(on_gpu),
            chunk=settings.chunk if on_gpu else 1,
            **limits,
        )
    workers = min(settings.workers or usable_cores(), config.evolution.population)
    one_at_a_time = isinstance(trainer, ReferenceTrainer) and trainer.device.type == "cpu"
    if settings.executor == "processes" or (settings.executor == "auto" and one_at_a_time and workers > 1):
        return ProcessExecutor(workers, **limits)
    return SerialExecutor()


def _named(argument: str, name: str, table: Mapping[str, _Value]) -> _Value:
    if name not in table:
        raise InputError(f"{argument} has no {name!r}. {hint(name, sorted(table))}")
    return table[name]
