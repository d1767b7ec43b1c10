"""The parameters that a function may have besides the hyperparameters, and the errors about any others."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from deap_hpo.errors import InputError, shown

OFFERED = ("report", "seed", "number", "epochs", "checkpoint")
"""Their names."""


def offered_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Give the names in `OFFERED` that are parameters of a function.

    Raises:
        InputError: The function cannot be called with the hyperparameters and these parameters.

    Example:
        >>> offered_parameters(lambda params, report, epochs=9: 0.0)
        ('report', 'epochs')
    """
    if not callable(function) or _is_network(function):
        hint = " A task is trained by a trainer: make_trainer(task, epochs=5)." if _is_task(function) else ""
        if _is_network(function):
            hint = " A network is trained by a trainer: make_trainer(Task.from_data(Network, data), epochs=5)."
        raise InputError(f"The objective must be a function of the hyperparameters; got {shown(function)}.{hint}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C
        return ()
    if next(iter(signature.parameters), "") == "trial":
        raise InputError(
            "The objective gets the hyperparameters by name (params['lr']), not a trial; got "
            f"{shown(function)}. Instead of trial.suggest_float('lr', 1e-4, 0.1, log=True), write the space "
            "{'lr': Float(1e-4, 0.1, log=True)}; docs/peers.md lists the equivalents of Optuna's other terms."
        )
    offered = tuple(name for name in OFFERED if name in signature.parameters)
    try:
        signature.bind({}, **dict.fromkeys(offered))
    except TypeError as error:
        raise InputError(
            f"The objective must take the hyperparameters, and otherwise only {', '.join(OFFERED)}; {error}."
        ) from None
    return offered


def _is_task(thing: object) -> bool:
    tasks = sys.modules.get("deap_hpo.training.task")  # it imports torch; whoever has a task has already imported it
    return tasks is not None and isinstance(thing, tasks.Task)


def _is_network(thing: object) -> bool:
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    return issubclass(thing, torch.nn.Module) if isinstance(thing, type) else isinstance(thing, torch.nn.Module)
