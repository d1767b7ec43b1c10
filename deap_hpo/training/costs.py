"""Costs of a network: what can be measured before it is trained, such as its size, its operations or its latency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from deap_hpo.training.keyed import keyed_generators
from deap_hpo.training.measures import one_number, trainable_parameters
from deap_hpo.training.task import Task


class Costs:
    """Measures networks before they are trained, once for each architecture.

    Args:
        task: The task, whose `costs` are measured.
        device: Where its networks are trained.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> task = Task("digits", MLP, load_digits(), costs={"layers": lambda network: len(list(network.modules()))})
        >>> Costs(task).of({"width": 32})
        {'parameters': 25450.0, 'layers': 7.0}
    """

    def __init__(self, task: Task, device: torch.device | str = "cpu") -> None:
        self._task, self._device = task, device
        self.names = tuple(task.costs)
        self._known: dict[str, Mapping[str, float]] = {}

    def of(self, params: Mapping[str, Any]) -> Mapping[str, float]:
        """Give the number of trainable parameters and the task's costs, by name, of the network of hyperparameters.

        Raises:
            InputError: A hyperparameter is unknown, or a cost is not one number.
        """
        # An optimiser factory may freeze parameters, by any hyperparameter.
        key = repr(dict(params) if self._task.optimizer is not None else self._task.configure(params)[1])
        if key not in self._known:
            self._known[key] = measured_costs(self._task, params, self._device)
        return self._known[key]

    def of_its_own(self, params: Mapping[str, Any]) -> Mapping[str, float]:
        """Give the task's own costs alone; without any, no network is built."""
        return {name: self.of(params)[name] for name in self.names}


def measured_costs(task: Task, params: Mapping[str, Any], device: torch.device | str = "cpu") -> dict[str, float]:
    """Build the network of hyperparameters, and measure the number of its trainable parameters and the task's costs.

    Raises:
        InputError: A hyperparameter is unknown, or a cost is not one number.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> task = Task("digits", lambda: nn.Linear(64, 10), load_digits(), costs={"answer": lambda network: 42})
        >>> measured_costs(task, {"lr": 0.1})
        {'parameters': 650.0, 'answer': 42.0}
    """
    with keyed_generators(0):
        network = fresh_network(task, params)
        measured = {"parameters": float(trainable_parameters(network))}
        if task.costs:
            network = network.to(device).eval()
        with torch.no_grad():
            measured |= {name: one_number(name, cost(network)) for name, cost in task.costs.items()}
    return measured


def fresh_network(task: Task, params: Mapping[str, Any]) -> nn.Module:
    """Build the network of hyperparameters, with those parameters frozen that the task's own optimiser freezes.

    Raises:
        InputError: A hyperparameter is unknown.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> task = Task("digits", lambda width: nn.Linear(64, width), load_digits())
        >>> fresh_network(task, {"width": 10})
        Linear(in_features=64, out_features=10, bias=True)
    """
    with torch.random.fork_rng(devices=[]):
        network = task.model(**task.configure(params)[1])
        task.optimizer_of(network, params)  # an optimiser factory may freeze parameters
        return network
