"""Whether a factory makes a fresh network each time, or hands out what it has handed out before."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakValueDictionary

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from deap_hpo.errors import InputError


class Freshness:
    """Remembers networks, without keeping them, by what a training changes of them.

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
        self._known: WeakValueDictionary[int, Tensor] = WeakValueDictionary()

    def __reduce__(self) -> tuple[type[Freshness], tuple[()]]:
        return Freshness, ()  # what it knows are objects of this process

    def check(self, network: nn.Module) -> None:
        """Remember a network.

        Raises:
            InputError: It has something in common with one from before.
        """
        for name, tensor in _changed_by_training(network):
            if self._known.get(id(tensor)) is tensor:
                raise InputError(
                    f"model must make a fresh network each time; {name} is a part of one that it made before. Where "
                    "weights are loaded once, give each network a copy: copy.deepcopy(body)."
                )
        self._known.update((id(tensor), tensor) for _, tensor in _changed_by_training(network))


def _changed_by_training(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, one) for name, one in network.named_parameters() if one.requires_grad)
    for path, module in network.named_modules():
        if isinstance(module, _NormBase) and module.track_running_stats:
            yield from module.named_buffers(path, recurse=False)
