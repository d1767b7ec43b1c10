"""Whether a factory makes a fresh network each time, or hands out what it has handed out before."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.batchnorm import _NormBase

from deap_hpo.errors import InputError


class Freshness:
    """Remembers networks, without keeping them, by the memory that a training changes.

    A part that networks have in common would be trained by one evaluation after the other, each beginning where the
    last one ended. What is frozen may be shared.

    Example:
        >>> body, freshness = nn.Linear(4, 3), Freshness()
        >>> first = nn.Sequential(body, nn.Linear(3, 2))
        >>> freshness.check(first)
        >>> freshness.check(nn.Sequential(body, nn.Linear(3, 2)))
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: model must make a fresh network each time; 0.weight is a part of one that it made \
before. Where weights are loaded once, give each network a copy: copy.deepcopy(body).
    """

    def __init__(self) -> None:
        self._known: dict[int, StorageWeakRef] = {}

    def __reduce__(self) -> tuple[type[Freshness], tuple[()]]:
        return Freshness, ()  # what it knows is memory of this process

    def check(self, network: nn.Module, *, frozen_norms: bool = False) -> None:
        """Remember a network.

        Args:
            network: The network.
            frozen_norms: Whether running statistics beside frozen weights count, which a training would change that
                frees them. Networks that are only tried are put into training before: that frees them, or leaves a part
                in evaluation.

        Raises:
            InputError: It has something in common with one from before.
        """
        # While there is a reference to it, no other storage gets its address.
        self._known = {address: memory for address, memory in self._known.items() if not memory.expired()}  # type: ignore[no-untyped-call]
        changed = {name: _memory(tensor) for name, tensor in _changed(network, frozen_norms)}
        for name, memory in changed.items():
            if memory.cdata in self._known:
                raise InputError(
                    f"model must make a fresh network each time; {name} is a part of one that it made before. Where "
                    "weights are loaded once, give each network a copy: copy.deepcopy(body)."
                )
        self._known.update((memory.cdata, memory) for memory in changed.values())


def _memory(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _changed(network: nn.Module, frozen_norms: bool) -> Iterator[tuple[str, Tensor]]:
    """Give what a training changes, by name."""
    tensors: list[tuple[str, Tensor]] = [(name, one) for name, one in network.named_parameters() if one.requires_grad]
    for path, module in network.named_modules():
        averages = isinstance(module, _NormBase) and module.training
        if averages and (frozen_norms or any(parameter.requires_grad for parameter in module.parameters())):
            tensors += module.named_buffers(path, recurse=False)
    yield from ((name, one) for name, one in tensors if one.layout is torch.strided and not one.is_meta)
