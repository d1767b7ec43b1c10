"""The optimiser of a network: one that the recipe names, or what a function of the user's own makes of the network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from deap_hpo.errors import InputError
from deap_hpo.training.recipe import OPTIMIZER_FIELDS, OPTIMIZERS, Recipe

OptimizerFactory = Callable[..., Optimizer]
"""Of a network, and of hyperparameters by name: its optimiser. Or a class of optimisers, of its parameters."""

# Options that a form of these types may not have otherwise: then it is none that the recipe can name.
_FORMS: dict[type[Optimizer], tuple[str, dict[str, Any]]] = {
    SGD: ("sgd", {"dampening": 0}),
    RMSprop: ("rmsprop", {"centered": False}),
    Adam: ("adam", {"amsgrad": False, "decoupled_weight_decay": False}),
    AdamW: ("adamw", {"amsgrad": False, "decoupled_weight_decay": True}),
}


def form_of(optimizer: Optimizer) -> str | None:
    """Give the name by which a recipe asks for optimisers that update alike; None where there is none.

    Example:
        >>> parameters = list(nn.Linear(2, 1).parameters())
        >>> form_of(AdamW(parameters)), form_of(AdamW(parameters, amsgrad=True))
        ('adamw', None)
    """
    form, options = _FORMS.get(type(optimizer), (None, {}))
    options = {**options, "maximize": False}
    usual = all(group.get(name, value) == value for group in optimizer.param_groups for name, value in options.items())
    return form if usual else None


def make_optimizer(
    recipe: Recipe, factory: OptimizerFactory | None, arguments: Mapping[str, Any], network: nn.Module
) -> Optimizer:
    """Make the optimiser of a network.

    Args:
        recipe: Names it, unless there is a factory.
        factory: Makes it of the network and `arguments`; or None.
        arguments: Hyperparameters by name.
        network: Its parameters are to be optimised; those that the optimiser does not have stay as they are.

    Raises:
        InputError: The factory gives no optimiser, one of other parameters than the network's, or one whose steps
            have to be told more than gradients.

    Example:
        >>> def halves(network, lr=0.1, factor=1.0):
        ...     slow = {"params": network[0].parameters(), "lr": lr * factor}
        ...     return SGD([slow, {"params": network[1].parameters()}], lr)
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
        >>> [group["lr"] for group in make_optimizer(Recipe(), halves, {"factor": 0.5}, network).param_groups]
        [0.05, 0.1]
    """
    if factory is None:
        return OPTIMIZERS[recipe.optimizer](recipe, network.parameters())
    optimizer = factory(network.parameters() if _is_class(factory) else network, **arguments)
    if not isinstance(optimizer, Optimizer):
        raise InputError(f"optimizer must give a torch.optim.Optimizer; it gave a {type(optimizer).__name__}.")
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise InputError(
            f"optimizer must give one whose step() needs no closure; that of {type(optimizer).__name__} does."
        )
    parameter_names(optimizer, network)
    return optimizer


def parameter_names(optimizer: Optimizer, network: nn.Module) -> list[list[str]]:
    """Give the names of the network's parameters in each group of an optimiser.

    Raises:
        InputError: It has a parameter that is none of the network's.
    """
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups: list[list[str]] = []
    for group in optimizer.param_groups:
        if any(parameter not in names for parameter in group["params"]):
            raise InputError("optimizer must have parameters of the network that it is given; it has others.")
        groups.append([names[parameter] for parameter in group["params"]])
    return groups


def update_structure(optimizer: Optimizer, network: nn.Module) -> Hashable:
    """Say what has to be equal of optimisers within a stack: their kind, and which parameters are in which group.

    Example:
        >>> network = nn.Linear(2, 1)
        >>> update_structure(AdamW(network.parameters(), lr=0.1), network)
        ('adamw', ((('weight', 'bias'), False),))
    """
    nesterov = [bool(group.get("nesterov")) for group in optimizer.param_groups]
    names = [tuple(group) for group in parameter_names(optimizer, network)]
    return form_of(optimizer) or type(optimizer), tuple(zip(names, nesterov, strict=True))


def check_factory(factory: Any, recipe: Recipe) -> None:
    """Refuse what can make no optimiser, and a recipe that says how those by name are to be.

    Raises:
        InputError: It is not callable; or the recipe has a setting that nothing would follow.

    Example:
        >>> check_factory(AdamW, Recipe(batch_size=32))
        >>> check_factory(AdamW, Recipe(lr=0.1))
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: recipe must leave lr alone where the task has an optimizer of its own, which takes \
it as an argument; got lr=0.1.
    """
    if not callable(factory):
        by_name = f" (by name it is recipe=Recipe(optimizer={factory!r}))" if isinstance(factory, str) else ""
        raise InputError(
            "optimizer must be a function (network, ...) -> torch.optim.Optimizer, or a class such as "
            f"torch.optim.NAdam; got {factory!r}{by_name}."
        )
    usual = Recipe()
    for name in sorted(OPTIMIZER_FIELDS):
        if (value := getattr(recipe, name)) != getattr(usual, name):
            raise InputError(
                f"recipe must leave {name} alone where the task has an optimizer of its own, which takes it as an "
                f"argument; got {name}={value!r}."
            )


def _is_class(factory: Any) -> bool:
    while isinstance(factory, partial):
        factory = factory.func
    return isinstance(factory, type) and issubclass(factory, Optimizer)
