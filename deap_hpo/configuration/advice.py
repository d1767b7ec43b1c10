"""Warnings, before anything is trained, of parts of a task or a search space that do nothing, or not what they seem."""

from __future__ import annotations

from typing import Any

from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.errors import warn
from deap_hpo.goals import usual_direction, warn_of_one_direction
from deap_hpo.search_space.space import Categorical, Space
from deap_hpo.strategies import MULTI_FIDELITY
from deap_hpo.training.fit import reduction_of
from deap_hpo.training.learning_rates import name_of
from deap_hpo.training.measures import AVERAGED
from deap_hpo.training.recipe import OPTIMIZERS, SCHEDULES, USED_BY, Recipe
from deap_hpo.training.task import Task

_WARM_UPS = ("warmup", "warmup_ratio", "pct_start")


def advise(task: Task, space: Space) -> None:
    """Warn of parts that do nothing, or not what they seem, without building a network.

    Warns:
        DeapHPOWarning: The objective is the user's own metric, and no direction is given; a hyperparameter does
            nothing, or its name means two things; an optimiser does the same as another one; or a batch is larger than
            the data.

    Example:
        >>> import warnings
        >>> from deap_hpo import Float
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> with warnings.catch_warnings(record=True) as told:
        ...     advise(Task("digits", MLP, load_digits()), Space({"beta1": Float(0.0, 0.9)}))
        >>> str(told[0].message)
        "hyperparameter 'beta1' does nothing: optimizer sgd does not use it"
    """
    _of_directions(task)
    _of_unused(task, space)
    for name in task.destinations.ambiguous(space):
        warn(
            f"hyperparameter {name!r} sets the training setting {name!r}; the network's argument {name!r} keeps its "
            "default. Rename the argument to search it"
        )
    if task.optimizer is None:
        _of_optimizers(task, space)
    examples = len(task.data.training)
    sizes = [size for size in _values(task, space, "batch_size") if size > examples]
    if sizes and ("batch_size" in space or task.recipe.batch_size != Recipe.batch_size):
        warn(
            f"a batch_size of {sizes[0]} exceeds the {examples} training examples of the task {task.name!r}: each "
            "epoch is then one step on all of them"
        )


def advise_on_loss(task: Task, params: dict[str, Any]) -> None:
    """Warn of a loss that is not a mean over the examples of a batch, if that matters.

    Args:
        task: The task.
        params: Hyperparameters with which its network works; the network is built.

    Warns:
        DeapHPOWarning: The loss is a sum, or it is not a mean and is measured in several batches.

    Example:
        >>> import warnings
        >>> from functools import partial
        >>> from dataclasses import replace
        >>> from torch import nn
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> task = Task("digits", partial(MLP, inputs=64), load_digits(), loss=nn.CrossEntropyLoss(reduction="sum"))
        >>> with warnings.catch_warnings(record=True) as told:
        ...     advise_on_loss(task, {})
        >>> str(told[0].message)
        "the loss of the task 'digits' is a sum over the examples of a batch, not their mean: ..."
    """
    reduction = reduction_of(task.model, task.configure(params)[1], task.data, task.loss)
    examples, size = len(task.data.validation), task.evaluation_batch_size
    if reduction == "sum":
        warn(
            f"the loss of the task {task.name!r} is a sum over the examples of a batch, not their mean: its gradient "
            "grows with batch_size, and its value with the number of validation examples"
        )
    elif reduction == "none" and examples > size:
        warn(
            f"the loss of the task {task.name!r} is no mean over the examples of a batch, so its mean over batches of "
            f"{size} depends on these; with evaluation_batch_size={examples} it is measured on all at once"
        )


def advise_on_parts(task: Task, space: Space, evolution: EvolutionConfig, epochs: int) -> None:
    """Warn of schedules that do not suit a method that trains in parts.

    Args:
        task: The task.
        space: The search space.
        evolution: The method and its arguments, which have been checked.
        epochs: Epochs of a whole training.

    Warns:
        DeapHPOWarning: With pbt, a schedule multiplies the learning rate that evolves, or a hyperparameter of the
            warm-up is searched; with other methods, a searched warm-up may be longer than the first part.

    Example:
        >>> import warnings
        >>> from deap_hpo import Float
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> task = Task("digits", MLP, load_digits(), recipe=Recipe(schedule="cosine"))
        >>> with warnings.catch_warnings(record=True) as told:
        ...     advise_on_parts(task, Space({"lr": Float(0.1, 1.0)}), EvolutionConfig(algorithm="pbt"), epochs=9)
        >>> str(told[0].message)
        'pbt makes a schedule of its own, but the schedule cosine multiplies the learning rate that it evolves: ...'
    """
    warm_ups = [name for name in _WARM_UPS if name in space]
    if evolution.algorithm == "pbt":
        _of_evolved_schedules(task, space, warm_ups)
    elif evolution.stages or evolution.algorithm in MULTI_FIDELITY:
        first = evolution.stages[0] if evolution.stages else evolution.arguments.get("min_epochs")
        if first is None:
            first = max(1, epochs // 8) if evolution.algorithm == "freeze-thaw" else 1
        for name in warm_ups:
            if max(_values(task, space, name)) * (1 if name == "warmup" else epochs) > first:
                shortest = "after the first epoch" if first == 1 else f"after {first} epochs"
                warn(
                    f"trainings are compared {shortest}, when some are still warming up, so that a small {name!r} "
                    "seems better than it is: leave it out of the search space, or make its range smaller"
                )


def _of_evolved_schedules(task: Task, space: Space, warm_ups: list[str]) -> None:
    schedules = {name_of(one) for one in possible(task, space, "schedule")} - {"constant"}
    said, advice = [], []
    if schedules and "lr" in space:
        said.append(f"the schedule {', '.join(sorted(schedules))} multiplies the learning rate that it evolves")
        advice.append("give the recipe a constant schedule")
    left_out = [*(["schedule"] if "schedule" in space and said else []), *warm_ups]
    if warm_ups:
        acts = "acts" if len(warm_ups) == 1 else "act"
        said.append(f"{', '.join(map(repr, warm_ups))} {acts} only in the first epochs of a training")
    if left_out:
        advice.append(f"leave {', '.join(map(repr, left_out))} out of the search space")
    if said:
        warn(f"pbt makes a schedule of its own, but {', and '.join(said)}: {' and '.join(advice)}")


def possible(task: Task, space: Space, setting: str) -> list[Any]:
    """Return the choices of a searched setting, and the recipe's value if the setting is not always in use.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> space = Space({"schedule": Categorical(["cosine", "step"])})
        >>> possible(Task("digits", MLP, load_digits()), space, "schedule")
        ['cosine', 'step']
    """
    one = space.get(setting)
    searched = list(one.choices) if isinstance(one, Categorical) else []
    always = one is not None and setting not in space.conditions.allowed
    return searched if always else [*searched, getattr(task.recipe, setting)]


def _values(task: Task, space: Space, setting: str) -> list[Any]:
    """Return the choices or bounds of a setting, or the recipe's value if it is not searched."""
    one = space.get(setting)
    if one is None:
        return [getattr(task.recipe, setting)]
    return list(one.choices) if isinstance(one, Categorical) else [one.high, one.low]


def _of_directions(task: Task) -> None:
    """Warn of an objective of the user's own without a direction, and of one for all that does not suit all."""
    own = [
        name
        for name in task.goals.objectives
        if name in task.metrics and task.metrics[name] not in AVERAGED and usual_direction(name) != "minimize"
    ]
    if own and task.direction is None:
        which = "" if isinstance(task.objective, str) else "one for each objective, for this one "
        warn(
            f'{own[0]!r} is minimised. If more of it is better, set the task\'s direction to {which}"maximize"; '
            f'otherwise set it to {which}"minimize"'
        )
    warn_of_one_direction(task.goals, task.direction)


def _of_unused(task: Task, space: Space) -> None:
    """Warn of hyperparameters that no optimiser or schedule of the space uses."""
    for setting, kinds in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        if setting == "optimizer" and task.optimizer is not None:
            continue
        names = {name_of(one) for one in possible(task, space, setting)}
        used = frozenset[str]().union(*(USED_BY.get(name, ()) for name in names))
        of_others = frozenset[str]().union(*(USED_BY[kind] for kind in kinds.keys() & USED_BY.keys())) - used
        if useless := [name for name in space if name in of_others]:
            said = ", ".join(sorted(names))
            warn(f"hyperparameter {useless[0]!r} does nothing: {setting} {said} does not use it")


def _of_optimizers(task: Task, space: Space) -> None:
    """Warn of optimisers that are the same as others, because the setting that makes the difference is missing."""
    names = possible(task, space, "optimizer")
    if "sgd" in names and any(_values(task, space, "nesterov")) and not any(_values(task, space, "momentum")):
        warn("nesterov does nothing: sgd uses it only if momentum is greater than 0")
    if "adamw" in names and not any(_values(task, space, "weight_decay")):
        warn(
            "adamw with weight_decay = 0 equals adam; set Recipe(weight_decay=0.01), torch's default, or search "
            "weight_decay"
        )
