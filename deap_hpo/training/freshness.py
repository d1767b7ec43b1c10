"""A check that a factory makes a fresh network each time, instead of returning parts of earlier ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.batchnorm import _NormBase

from deap_hpo.errors import InputError


class Freshness:
    """Remembers networks by the memory that training changes, without keeping them alive.

    A part that networks share would be trained by one evaluation after the other, each starting where the last one
    ended. Frozen parts may be shared.

    Example:
        >>> body, freshness = nn.Linear(4, 3), Freshness()
        >>> first = nn.Sequential(body, nn.Linear(3, 2))
        >>> _ = freshness.check(first)
        >>> freshness.check(nn.Sequential(body, nn.Linear(3, 2)))
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: model must make a fresh network each time; 0.weight is a part of one that it made \
before. Where weights are loaded once, give each network a copy: copy.deepcopy(body).
    """

    def __init__(self) -> None:
        self._known: dict[int, StorageWeakRef] = {}

    def __reduce__(self) -> tuple[type[Freshness], tuple[()]]:
        return Freshness, ()  # the remembered addresses are valid in this process only

    def check(self, network: nn.Module, *, frozen_norms: bool = False) -> nn.Module:
        """Compare a network with earlier ones, remember it, and give it back.

        Args:
            network: The network.
            frozen_norms: Whether running statistics of layers with frozen weights count, too. Training changes them if
                such a layer is in training mode, which is known only after `network.train()`: pass True then.

        Raises:
            InputError: It shares something with an earlier network.
        """
        # While a weak reference to a storage exists, no other storage gets its address.
        self._known = {address: memory for address, memory in self._known.items() if not memory.expired()}  # type: ignore[no-untyped-call]
        changed = {name: _memory(tensor) for name, tensor in _changed(network, frozen_norms)}
        for name, memory in changed.items():
            if memory.cdata in self._known:
                raise InputError(
                    f"model must make a fresh network each time; {name} is a part of one that it made before. Where "
                    "weights are loaded once, give each network a copy: copy.deepcopy(body)."
                )
        self._known.update((memory.cdata, memory) for memory in changed.values())
        return network


def _memory(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _changed(network: nn.Module, frozen_norms: bool) -> Iterator[tuple[str, Tensor]]:
    """Give the tensors that training changes, by name."""
    tensors: list[tuple[str, Tensor]] = [(name, one) for name, one in network.named_parameters() if one.requires_grad]
    for path, module in network.named_modules():
        averages = isinstance(module, _NormBase) and module.training
        if averages and (frozen_norms or any(parameter.requires_grad for parameter in module.parameters())):
            tensors += module.named_buffers(path, recurse=False)
    yield from ((name, one) for name, one in tensors if one.layout is torch.strided and not one.is_meta)
