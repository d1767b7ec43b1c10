"""The optimiser of a network: one that the recipe names, or one that the user's own function makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from copy import deepcopy
from functools import partial
from textwrap import shorten
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from deap_hpo.errors import InputError
from deap_hpo.training.recipe import OPTIMIZER_FIELDS, OPTIMIZERS, Recipe

OptimizerFactory = Callable[..., Optimizer]
"""Makes the optimiser of a network, from it and hyperparameters by name; a class is given its parameters instead."""

# Option values that each form requires: an optimiser of this type with others has no form that a recipe can name.
_USUAL = {"maximize": False, "capturable": False, "differentiable": False}
_FORMS: dict[type[Optimizer], tuple[str, dict[str, Any]]] = {
    SGD: ("sgd", {**_USUAL, "dampening": 0}),
    RMSprop: ("rmsprop", {**_USUAL, "centered": False}),
    Adam: ("adam", {**_USUAL, "amsgrad": False, "decoupled_weight_decay": False}),
    AdamW: ("adamw", {**_USUAL, "amsgrad": False, "decoupled_weight_decay": True}),
}
_AS_MADE: WeakKeyDictionary[Optimizer, list[dict[str, Any]]] = WeakKeyDictionary()
BASE_LR = "initial_lr"
"""The key of a parameter group's learning rate before any schedule, as in torch's schedulers."""


def form_of(optimizer: Optimizer) -> str | None:
    """Give the name by which a recipe asks for an equivalent optimiser; None if there is none.

    Example:
        >>> parameters = list(nn.Linear(2, 1).parameters())
        >>> form_of(AdamW(parameters)), form_of(AdamW(parameters, amsgrad=True))
        ('adamw', None)
    """
    form, options = _FORMS.get(type(optimizer), (None, {}))
    hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    if hooks or "step" in vars(optimizer):
        return None
    usual = all(group.get(name, value) == value for group in optimizer.param_groups for name, value in options.items())
    return form if usual else None


def make_optimizer(
    recipe: Recipe, factory: OptimizerFactory | None, arguments: Mapping[str, Any], network: nn.Module
) -> Optimizer:
    """Make the optimiser of a network.

    Args:
        recipe: Names the optimiser, unless there is a factory.
        factory: Makes it from the network and `arguments`; or None. It may freeze parameters.
        arguments: Hyperparameters by name.
        network: The network to optimise; parameters that the optimiser does not have stay as they are.

    Raises:
        InputError: The factory gives no optimiser, or one that cannot be used: with parameters that are not the
            network's, are all frozen or occur twice; without learning rates; with a scheduler; or that needs a closure.

    Example:
        >>> def halves(network, lr=0.1, factor=1.0):
        ...     slow = {"params": network[0].parameters(), "lr": lr * factor}
        ...     return SGD([slow, {"params": network[1].parameters()}], lr)
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
        >>> [group["lr"] for group in make_optimizer(Recipe(), halves, {"factor": 0.5}, network).param_groups]
        [0.05, 0.1]
    """
    if factory is None:
        optimizer = OPTIMIZERS[recipe.optimizer](recipe, network.parameters())
    else:
        optimizer = factory(network.parameters() if _is_class(factory) else network, **arguments)
        _check(optimizer, network)
    for group in optimizer.param_groups:
        group[BASE_LR] = group["lr"]
    _AS_MADE[optimizer] = [
        {name: copied(value) for name, value in group.items() if name != "params"} for group in optimizer.param_groups
    ]
    return optimizer


def as_made(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Give the options of an optimiser's groups as they were when `make_optimizer` had made it.

    Example:
        >>> optimizer = make_optimizer(Recipe(lr=0.1), None, {}, nn.Linear(2, 1))
        >>> optimizer.param_groups[0]["lr"] = 0.05
        >>> as_made(optimizer)[0]["lr"]
        0.1
    """
    return _AS_MADE[optimizer]


def copied(value: Any) -> Any:
    """Copy a value of an optimiser: a tensor without its history, anything else deeply.

    Example:
        >>> kept = {"steps": [1]}
        >>> copied(kept) == kept, copied(kept)["steps"] is kept["steps"]
        (True, False)
    """
    return value.detach().clone() if isinstance(value, Tensor) else deepcopy(value)


def same(one: Any, other: Any) -> bool:
    """Tell whether two option values of an optimiser are equal; values that cannot be compared are not.

    Example:
        >>> same(torch.ones(2), torch.ones(2)), same((0.9, 0.99), (0.9, 0.999))
        (True, False)
    """
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    try:
        return bool(one == other)
    except (TypeError, ValueError, RuntimeError):
        return False


def _check(optimizer: Any, network: nn.Module) -> None:
    if not isinstance(optimizer, Optimizer):
        raise InputError(f"optimizer must give a torch.optim.Optimizer; it gave a {type(optimizer).__name__}.")
    kind = type(optimizer).__name__
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise InputError(f"optimizer must make an optimizer whose step() needs no closure; that of {kind} needs one.")
    names = [name for group in parameter_names(optimizer, network) for name in group]
    if not any(network.get_parameter(name).requires_grad for name in names):
        raise InputError("optimizer must have trainable parameters; all of its parameters are frozen.")
    if len(set(names)) < len(names):
        raise InputError("optimizer must have each parameter once; it has one of them twice.")
    if "step" in vars(optimizer) and any(BASE_LR in group for group in optimizer.param_groups):
        raise InputError(
            "optimizer must have no scheduler: torch's schedulers change the learning rates when they are created, and "
            "nothing would step them. Use the recipe's schedule instead, as in "
            "Recipe(schedule=lambda step, steps: 1 - step / steps)."
        )
    if any(group.get("lr") is None for group in optimizer.param_groups):
        raise InputError(f"optimizer must have a learning rate, lr, in each group of parameters; {kind} has none.")


def parameter_names(optimizer: Optimizer, network: nn.Module) -> list[list[str]]:
    """Give the names of the network's parameters in each group of an optimiser.

    Raises:
        InputError: It has a parameter that is not the network's.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False))
        >>> parameter_names(SGD([{"params": one.parameters()} for one in network], lr=0.1), network)
        [['0.weight', '0.bias'], ['1.weight']]
    """
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups: list[list[str]] = []
    for group in optimizer.param_groups:
        if any(parameter not in names for parameter in group["params"]):
            raise InputError("optimizer must have parameters of the network that it is given; it has others.")
        groups.append([names[parameter] for parameter in group["params"]])
    return groups


def update_structure(optimizer: Optimizer, network: nn.Module) -> Hashable:
    """Give what must be equal for the optimisers of a stack: their kind, and which parameters are in which group.

    Example:
        >>> network = nn.Linear(2, 1)
        >>> update_structure(AdamW(network.parameters(), lr=0.1), network)
        ('adamw', ((('weight', 'bias'), False),))
    """
    nesterov = [bool(group.get("nesterov")) for group in optimizer.param_groups]
    names = [tuple(group) for group in parameter_names(optimizer, network)]
    return form_of(optimizer) or type(optimizer), tuple(zip(names, nesterov, strict=True))


def check_factory(factory: Any, recipe: Recipe) -> None:
    """Refuse a factory that cannot make an optimiser, and a recipe with optimiser settings beside a factory.

    Raises:
        InputError: The factory is not callable, or the recipe has a setting that nothing would use.

    Example:
        >>> check_factory(AdamW, Recipe(batch_size=32))
        >>> check_factory(AdamW, Recipe(lr=0.1))
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: recipe must not set lr if the task has its own optimizer, which takes it as an \
argument; got lr=0.1.
    """
    if not callable(factory):
        by_name = f" (by name it is recipe=Recipe(optimizer={factory!r}))" if isinstance(factory, str) else ""
        raise InputError(
            "optimizer must be a function (network, ...) -> torch.optim.Optimizer, or a class such as "
            f"torch.optim.NAdam; got {shorten(repr(factory), 60)}{by_name}."
        )
    usual = Recipe()
    for name in sorted(OPTIMIZER_FIELDS):
        if (value := getattr(recipe, name)) != getattr(usual, name):
            raise InputError(
                f"recipe must not set {name} if the task has its own optimizer, which takes it as an argument; got "
                f"{name}={value!r}."
            )


def _is_class(factory: Any) -> bool:
    while isinstance(factory, partial):
        factory = factory.func
    return isinstance(factory, type) and issubclass(factory, Optimizer)
