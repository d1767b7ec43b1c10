"""Checks, before anything is trained, that network, data and trainer suit a search space and an algorithm."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from traceback import clear_frames
from typing import Any

from deap_hpo.checks import is_integer
from deap_hpo.configuration.advice import advise, advise_on_loss, advise_on_parts, possible
from deap_hpo.configuration.loops import loop_of
from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.errors import InputError, warn
from deap_hpo.interruption import undisturbed
from deap_hpo.search_space.space import Categorical, Int, Space
from deap_hpo.training.costs import fresh_network
from deap_hpo.training.fit import takes_one_example
from deap_hpo.training.state import added_epochs
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import Trainer

_PLACES = 8  # points of a space where the network is tried, if it does not work in the middle
_PLACES_OF_A_VALUE = 3  # points where the network is built with a bound or choice


@undisturbed()
def check_space(task: Task, space: Space) -> dict[str, Any]:
    """Check that network and data fit together in a space, and that training accepts all its bounds and choices.

    The network is built in the middle of the space. If it does not work there, it is tried at a few other points, since
    a space may have some combinations that do not work; trainings with these fail.

    Returns:
        The hyperparameters with which the network was built.

    Raises:
        InputError: Network and data fit together at no point (the reason given is that of the middle), nothing takes a
            hyperparameter, or a value is invalid.

    Warns:
        DeapHPOWarning: A hyperparameter is never in use, the network does not work at one of its bounds or with one of
            its choices, or as in `deap_hpo.configuration.advice`.

    Example:
        >>> from functools import partial
        >>> from deap_hpo import Float, Int
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> digits = Task("digits", partial(MLP, inputs=64), load_digits())
        >>> check_space(digits, Space({"momentum": Float(0.0, 0.8), "width": Int(8, 64)}))
        {'momentum': 0.4, 'width': 36}
        >>> check_space(digits, Space({"momentum": Float(0.0, 1.5)}))
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: momentum must be a finite number from 0 to 1; got 1.5.
    """
    advise(task, space)
    places = _places(space)
    working = _working(task, space, places)
    advise_on_loss(task, working)
    _check_last_batches(task, space, working)
    for name in space:
        _check_hyperparameter(task, space, name, working, places)
    return working


def _check_hyperparameter(
    task: Task, space: Space, name: str, working: dict[str, Any], places: Sequence[dict[str, Any]]
) -> None:
    """Check that training accepts the bounds or choices of a hyperparameter, first where the network is known to work.

    Raises:
        InputError: It does not accept one.

    Warns:
        DeapHPOWarning: It is never in use, or the network does not work with one of them.
    """
    required = space.conditions.required([name])
    if not all(required.values()):
        warn(f"hyperparameter {name!r} is never in use: its conditions can never all hold")
        return
    needed = {other: choices[0] for other, choices in required.items()}
    in_use = [{**place, **needed} for place in ({**places[0], **working}, *places)]
    one = space[name]
    values = one.choices if isinstance(one, Categorical) else (one.low, one.high)
    for value in values:
        task.configure(space.conditions.in_use({**in_use[0], name: value}))
    parts = task.destinations.split(space.conditions.in_use({**in_use[0], name: values[0]}))
    if any(name in parts[part] for part in ("loss", "optimizer", "schedule")):
        _check_values(task, space, name, [*values, one.decode(0.5)], in_use)
    if name in parts["model"]:
        _warn_of_values(task, space, name, [value for value in values if value != working.get(name)], in_use)


def _working(task: Task, space: Space, places: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first hyperparameters with which network and data fit together; the middle is tried first."""
    tried: list[tuple[dict[str, Any], dict[str, Any]]] = []
    errors: list[InputError] = []
    for place in places:
        params = space.conditions.in_use(place)
        parts = task.configure(params)[1], task.loss_arguments(params)
        if parts not in tried:
            tried.append(parts)
            error = _error_of(task, params)
            if error is None:
                return params
            errors.append(error)
    raise errors[0]


def _check_values(task: Task, space: Space, name: str, values: Sequence[Any], places: Sequence[dict[str, Any]]) -> None:
    """Check that loss, optimiser or schedule accept each value somewhere; if none works, it may be the network.

    Raises:
        InputError: A value works nowhere, although another one works.
    """
    refused: list[list[InputError]] = []  # of each value that works nowhere, the errors by place
    works: set[int] = set()  # places where one of the values works
    for value in values:
        errors: list[InputError] = []
        for at, place in enumerate(places):
            error = _error_of(task, space.conditions.in_use({**place, name: value}))
            if error is None:
                works.add(at)
                break
            errors.append(error)
        else:
            refused.append(errors)
    if refused and works:  # where another value works, this value is the cause, not the place
        raise refused[0][min(works)]


def _check_last_batches(task: Task, space: Space, working: dict[str, Any]) -> None:
    """Check that no epoch ends with a batch of one example, if the network cannot be trained on one.

    Raises:
        InputError: It does with the recipe's batch size.

    Warns:
        DeapHPOWarning: It does with some of the searched batch sizes.
    """
    examples, searched = len(task.data.training), space.get("batch_size")
    if isinstance(searched, Int):
        sizes: Sequence[Any] = range(searched.low, searched.high + 1, searched.step or 1)
    else:
        sizes = searched.choices if isinstance(searched, Categorical) else [task.recipe.batch_size]
    size = next((size for size in sizes if is_integer(size) and size > 1 and examples % size == 1), None)
    if size is None or takes_one_example(task.model, task.configure(working)[1], task.data):
        return
    said = (
        f"the last batch of an epoch has 1 example, of {examples} in batches of {size}, and batch normalisation needs "
        "more; change batch_size or the number of validation examples"
    )
    if searched is None:
        raise InputError(f"The network of the task {task.name!r} could not be trained: {said}.")
    warn(f"evaluations with batch_size = {size} will fail: {said}")


def _warn_of_values(
    task: Task, space: Space, name: str, values: Sequence[Any], places: Sequence[dict[str, Any]]
) -> None:
    """Warn of a bound or choice with which the network cannot be built; others may work, so it is no error."""
    for value in values:
        errors = []
        for place in places[:_PLACES_OF_A_VALUE]:
            params = space.conditions.in_use({**place, name: value})
            try:
                fresh_network(task, params)
            except Exception as error:
                clear_frames(error.__traceback__)
                errors.append(f"{type(error).__name__}: {error}")
            else:
                break
        else:
            warn(
                f"the network of the task {task.name!r} could not be built with {name} = {value!r} at any point tried "
                f"({errors[0]}); evaluations with it will fail"
            )


def _error_of(task: Task, params: dict[str, Any]) -> InputError | None:
    """Return the error that hyperparameters cause, if any."""
    try:
        task.check(params)
    except InputError as error:
        # Otherwise the network that did not work would stay in memory beside those that are tried next.
        for raised in (error, error.__cause__):
            clear_frames(raised.__traceback__ if raised else None)
        return error
    return None


def _places(space: Space) -> list[dict[str, Any]]:
    """Return values of all hyperparameters, whether in use or not: the middle of a space, then points all over it.

    The points are always the same: a Latin hypercube, in which choices take turns.
    """
    rng = random.Random(0)
    columns = [rng.sample(range(_PLACES), _PLACES) for _ in space]
    genomes = [[(level + 0.5) / _PLACES for level in levels] for levels in zip(*columns, strict=True)]
    middle = [0.5] * len(space)
    return [
        {name: one.decode(gene) for (name, one), gene in zip(space.items(), genome, strict=True)}
        for genome in (middle, *genomes)
    ]


def check_schedules(trainer: Trainer, space: Space, evolution: EvolutionConfig) -> None:
    """Check that a run's trainings are not longer than any of their learning-rate schedules, and that these suit it.

    The arguments of the algorithm have been checked.

    Raises:
        InputError: It is longer: a cosine or linear schedule is as long as the trainer's `epochs`.

    Warns:
        DeapHPOWarning: A schedule does not suit the algorithm; see `deap_hpo.configuration.advice.advise_on_parts`.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> from deap_hpo import make_trainer
        >>> trainer = make_trainer(Task("digits", MLP, load_digits()), epochs=4, device="cpu")
        >>> space = Space({"schedule": Categorical(["constant", "cosine"])})
        >>> check_schedules(trainer, space, EvolutionConfig(algorithm="pbt", generations=4))
        >>> check_schedules(trainer, space, EvolutionConfig(algorithm="pbt", generations=5))
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: epochs must be at most 4, where the trainer's cosine schedule ends; got 5. ...
    """
    longest = _longest(space, evolution, trainer.epochs)
    for schedule in possible(trainer.task, space, "schedule"):
        recipe = replace(trainer.task.recipe, schedule=schedule)
        added_epochs(None, longest, trainer.epochs, recipe, whole=trainer.whole_trainings)
    advise_on_parts(trainer.task, space, evolution, trainer.epochs)


def _longest(space: Space, evolution: EvolutionConfig, epochs: int) -> int:
    """Return the epochs of the longest training that the budget allows."""
    if evolution.stages:
        return evolution.stages[-1]
    if loop := loop_of(space, evolution):
        return loop.longest(epochs)
    return int(evolution.arguments.get("epochs", epochs))  # hyperband and similar methods have this argument
