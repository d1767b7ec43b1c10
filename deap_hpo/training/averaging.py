"""An exponential moving average of a network's weights, which is measured and kept instead of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a network's trained parameters over its steps, in which later steps count more.

    After the first step it equals the parameters, and after each further one it is ``decay * average + (1 - decay) *
    parameters``, as in `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn`. What is not trained, such as
    frozen parameters and running statistics, is not averaged.

    Args:
        model: The network.
        decay: In [0, 1); None for no average, which leaves the network as it is.
        tensors: The average so far by name, if a training continues; otherwise it starts with the current parameters.

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
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._parameters = {} if decay is None else trained
        known = tensors or {}
        self.tensors = {
            name: known.get(name, parameter).detach().clone().to(parameter)
            for name, parameter in self._parameters.items()
        }

    @torch.no_grad()
    def update(self, *, first: bool = False) -> None:
        """Add the parameters after a step; `first` marks the first step of the training."""
        if self._decay is not None:
            for name, parameter in self._parameters.items():
                self.tensors[name].lerp_(parameter, 1.0 if first else 1 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the average inside, and its own parameters back afterwards."""
        own = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self.apply()
        try:
            yield
        finally:
            self._put(own)

    def apply(self) -> None:
        """Give the network the average from now on."""
        self._put(self.tensors)

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(tensors[name])
