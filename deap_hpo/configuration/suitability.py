"""Whether network, data and trainer suit a search space and an algorithm, found out before anything is trained."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from traceback import clear_frames
from typing import Any

from deap_hpo.configuration.loops import loop_of
from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.errors import InputError, warn
from deap_hpo.goals import usual_direction
from deap_hpo.interruption import undisturbed
from deap_hpo.search_space.space import Categorical, Space
from deap_hpo.training.fit import loss_is_a_mean
from deap_hpo.training.learning_rates import name_of
from deap_hpo.training.measures import AVERAGED
from deap_hpo.training.recipe import OPTIMIZERS, SCHEDULES, USED_BY
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import Trainer

_PLACES = 8  # of a space where its network is tried, if it does not work in the middle


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

    Warns:
        DeapHPOWarning: The objective is a metric of the user's own, and no direction is given; a hyperparameter does
            nothing, or is never in use; or the validation loss depends on the batches in which it is measured.

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
    _warn_of_directions(task)
    _warn_of_unused(task, space)
    middle, *others = _places(space)
    working = _working(task, space, [middle, *others])
    _warn_of_batches(task, working)
    for name, one in space.items():
        required = space.conditions.required([name])
        if not all(required.values()):
            warn(f"hyperparameter {name!r} is never in use: what it depends on cannot all be as it needs to be")
            continue
        needed = {other: choices[0] for other, choices in required.items()}
        places = [{**place, **needed} for place in ({**middle, **working}, middle, *others)]
        values = one.choices if isinstance(one, Categorical) else (one.low, one.high)
        for value in values:
            task.configure(space.conditions.in_use({**places[0], name: value}))
        parts = task.destinations.split(space.conditions.in_use({**places[0], name: values[0]}))
        if any(name in parts[part] for part in ("loss", "optimizer", "schedule")):
            _check_values(task, space, name, [*values, one.decode(0.5)], places)
    return working


def _warn_of_directions(task: Task) -> None:
    """Tell of an objective of the user's own that is minimised because nobody has said which way is better."""
    own = [
        name
        for name in task.goals.objectives
        if name in task.metrics and task.metrics[name] not in AVERAGED and usual_direction(name) != "minimize"
    ]
    if own and task.direction is None:
        one, other = ('"maximize"', '"minimize"') if isinstance(task.objective, str) else ("one each", "that")
        warn(f"{own[0]!r} is minimised; if more of it is better, give the task a direction ({one}), else say {other}")


def _warn_of_batches(task: Task, params: dict[str, Any]) -> None:
    """Tell of a loss that is no mean over the examples of a batch, where it is measured in several batches."""
    examples, size = len(task.data.validation), task.evaluation_batch_size
    if examples > size and not loss_is_a_mean(task.model, task.configure(params)[1], task.data, task.loss):
        warn(
            f"the loss of the task {task.name!r} is no mean over the examples of a batch, so its mean over batches of "
            f"{size} depends on these; with evaluation_batch_size={examples} it is measured on all at once"
        )


def _warn_of_unused(task: Task, space: Space) -> None:
    """Tell of hyperparameters that no optimiser, or schedule, of the space goes by."""
    for setting, kinds in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        if setting == "optimizer" and task.optimizer is not None:
            continue
        possible = {name_of(one) for one in _possible(task, space, setting)}
        used = frozenset[str]().union(*(USED_BY.get(name, ()) for name in possible))
        of_others = frozenset[str]().union(*(USED_BY[kind] for kind in kinds.keys() & USED_BY.keys())) - used
        if useless := [name for name in space if name in of_others]:
            said = ", ".join(sorted(possible))
            warn(f"hyperparameter {useless[0]!r} does nothing: {setting} {said} does not go by it")


def _possible(task: Task, space: Space, setting: str) -> list[Any]:
    """The choices of a searched setting, and the recipe's value where the setting may not be in use."""
    one = space.get(setting)
    searched = list(one.choices) if isinstance(one, Categorical) else []
    always = one is not None and setting not in space.conditions.allowed
    return searched if always else [*searched, getattr(task.recipe, setting)]


def _working(task: Task, space: Space, places: list[dict[str, Any]]) -> dict[str, Any]:
    """Give hyperparameters with which network and data fit together: the middle, or else the first that do."""
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
    """Check that loss, optimiser or schedule take values somewhere; where they take none, it may be the network.

    Raises:
        InputError: They take one nowhere, although another one works.
    """
    errors: dict[int, list[InputError]] = {}  # of values that work nowhere, by place
    works: set[int] = set()  # places where one of the values does
    for i, value in enumerate(values):
        errors[i] = []
        for at, place in enumerate(places):
            error = _error_of(task, space.conditions.in_use({**place, name: value}))
            if error is None:
                works.add(at)
                del errors[i]
                break
            errors[i].append(error)
    for found in errors.values():
        for at in sorted(works):  # so it is the value there, not the place
            raise found[at]


def _error_of(task: Task, params: dict[str, Any]) -> InputError | None:
    """What is wrong with hyperparameters, if anything is."""
    try:
        task.check(params)
    except InputError as error:
        # Else the network that did not work would stay in memory beside those that are tried next.
        for raised in (error, error.__cause__):
            clear_frames(raised.__traceback__ if raised else None)
        return error
    return None


def _places(space: Space) -> list[dict[str, Any]]:
    """Give values of all hyperparameters, whether in use or not, in the middle, then all over a space.

    These are always the same: a Latin hypercube, which takes choices by turns.
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
    """Check that the longest training of a run ends before its learning rate's schedule does, with any of them.

    Arguments of the algorithm have been checked.

    Raises:
        InputError: It does not: a cosine or linear schedule is as long as the trainer's `epochs`.

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
    reference = trainer.reference
    longest = _longest(space, evolution, trainer.epochs)
    for schedule in _possible(trainer.task, space, "schedule"):
        reference.added_epochs(replace(trainer.task.recipe, schedule=schedule), None, longest)


def _longest(space: Space, evolution: EvolutionConfig, epochs: int) -> int:
    """The epochs of the longest training, as far as the budget allows it."""
    if evolution.stages:
        return evolution.stages[-1]
    if loop := loop_of(space, evolution):
        return loop.longest(epochs)
    return int(evolution.arguments.get("epochs", epochs))  # which hyperband and its kin take
