"""An exponential moving average of a network's weights, which is measured and kept in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a network's parameters over the steps of its training, the latest counting most.

    After the first step it is the parameters, and after each further one ``decay * average + (1 - decay) *
    parameters``, as `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn` has it. Buffers, such as running
    statistics, are not averaged.

    Args:
        model: The network.
        decay: In [0, 1); None for no average: then the network is left as it is.
        tensors: The average so far by name, of a training that goes on; where there is none, it begins with the
            parameters as they are.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> average = WeightAverage(model, 0.5)
        >>> for value in (1.0, 2.0):
        ...     _ = nn.init.constant_(model.weight, value)
        ...     average.update(first=value == 1.0)
        >>> with average.applied():
        ...     model.weight.item()
        1.5
        >>> model.weight.item()
        2.0
    """

    def __init__(self, model: nn.Module, decay: float | None, tensors: Mapping[str, Tensor] | None = None) -> None:
        self._decay = decay
        self._parameters = {} if decay is None else dict(model.named_parameters())
        known = tensors or {}
        self.tensors = {
            name: known.get(name, parameter).detach().clone().to(parameter)
            for name, parameter in self._parameters.items()
        }

    @torch.no_grad()
    def update(self, *, first: bool = False) -> None:
        """Take in the parameters after a step, the first of all or a later one."""
        if self._decay is not None:
            for name, parameter in self._parameters.items():
                self.tensors[name].lerp_(parameter, 1.0 if first else 1 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the network have the average inside, and its own parameters again afterwards."""
        own = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self.apply()
        try:
            yield
        finally:
            self._put(own)

    def apply(self) -> None:
        """Let the network have the average from now on."""
        self._put(self.tensors)

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(tensors[name])
