"""The networks of a stack as one module, which is run with the tensors and the dropout rates of each member."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deap_hpo.training.freshness import Freshness
from deap_hpo.training.keyed import keyed_generators, keyed_model
from deap_hpo.training.stacking.stackable import NotStackable, obstacle, tensors_in
from deap_hpo.training.stacking.structure import DROPOUT_ATTRIBUTES, Member
from deap_hpo.training.state import fitting, network_tensors
from deap_hpo.training.task import Task
from deap_hpo.training.tokens import HOOKS, Tokens

Shapes = Sequence[tuple[str, torch.Size]]
"""Names and shapes of the parameters that make up a row of a stack's weights."""


def named_views(row: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    """Give views of a row [D] by the names of the parameters.

    Example:
        >>> named_views(torch.arange(3), [("weight", torch.Size([2, 1])), ("bias", torch.Size([1]))])["weight"]
        tensor([[0],
                [1]])
    """
    pieces = torch.split(row, [shape.numel() for _, shape in shapes])
    return {name: piece.view(shape) for (name, shape), piece in zip(shapes, pieces, strict=True)}


def build_networks(
    task: Task, members: Sequence[Member], device: torch.device
) -> tuple[list[nn.Module], list[Optimizer]]:
    """Build the network and the optimiser of each member.

    Networks are built on the CPU, and members of equal architecture and seed share one. If the task has its own
    optimiser, which may freeze or change a network, each member has its own network, on the device.

    Raises:
        NotStackable: A stack would train a network differently.
        InputError: Networks that optimisers may change have parts in common.
    """
    networks: dict[Hashable, nn.Module] = {}
    built: list[nn.Module] = []
    optimizers: list[Optimizer] = []
    freshness = Freshness()
    for i, member in enumerate(members):
        key = (repr(member.architecture), member.seed, i if task.optimizer else None)
        if key not in networks:
            networks[key] = keyed_model(partial(task.model, **member.architecture), member.seed)
            if task.optimizer:
                freshness.check(networks[key])
        network = networks[key].to(device) if task.optimizer else networks[key]
        hooks = _hooks(network)
        with keyed_generators(member.seed):
            optimizers.append(task.optimizer_of(network, member.params))
        if _hooks(network) != hooks:
            raise NotStackable("its optimizer registers hooks on the network, which a stack would call for another one")
        if reason := obstacle(network):
            raise NotStackable(reason)
        built.append(network)
    return built, optimizers


def _hooks(network: nn.Module) -> list[int]:
    return [len(vars(module)[name]) for module in network.modules() for name in sorted(HOOKS)]


def stacked_tensors(
    members: Sequence[Member], networks: Sequence[nn.Module], first: Sequence[str], device: torch.device
) -> tuple[Shapes, Tensor, dict[str, Tensor]]:
    """Stack the tensors that members start with, from their states or else from their networks.

    Args:
        members: The members, P of them.
        networks: Their networks.
        first: Names of parameters that come first in a row, if they are trained; the others follow.
        device: Where the stack is trained.

    Returns:
        Names and shapes of the trained parameters, which make up a row; the rows [P, D]; and all other tensors by name,
        [P, ...]. Frozen parameters are treated like buffers: each member has its own, and they are not differentiated.

    Raises:
        NotStackable: The trained parameters have different types, or one in which a stack would round more, or there
            are none.
    """
    trained = [name for name, parameter in networks[0].named_parameters() if parameter.requires_grad]
    trained = [*(name for name in first if name in trained), *(name for name in trained if name not in first)]
    types = {networks[0].get_parameter(name).dtype for name in trained}
    if len(types) != 1 or not types <= {torch.float32, torch.float64}:
        raise NotStackable("the parameters to be trained are not all of type float32, or all of type float64")
    named = [_initial_tensors(*one, device) for one in zip(members, networks, strict=True)]
    weights = torch.stack([torch.cat([tensors[name].flatten() for name in trained]) for tensors in named])
    fixed = {name: torch.stack([tensors[name] for tensors in named]) for name in named[0] if name not in trained}
    return [(name, networks[0].get_parameter(name).shape) for name in trained], weights, fixed


def _initial_tensors(member: Member, network: nn.Module, device: torch.device) -> dict[str, Tensor]:
    own = network_tensors(network)
    if member.state is not None:
        own = {name: fitting(member.state, name, tensor) for name, tensor in own.items()}
    return {name: tensor.detach().to(device) for name, tensor in own.items()}


def stacked_dropout_rates(networks: Sequence[nn.Module], device: torch.device) -> dict[str, Tensor]:
    """Give the dropout rates [P] that differ between networks, by the name of the module."""
    dropouts = {name for name, module in networks[0].named_modules() if type(module) in DROPOUT_ATTRIBUTES}
    dropout_rates = {name: [_dropout_rate(network.get_submodule(name)) for network in networks] for name in dropouts}
    return {
        name: torch.tensor(values, dtype=torch.float64, device=device)
        for name, values in dropout_rates.items()
        if len(set(values)) > 1
    }


@contextmanager
def with_dropout_rates(network: nn.Module, dropout_rates: Mapping[str, Tensor]) -> Iterator[None]:
    """Give dropouts these rates inside (under `vmap`, each member's own), and restore theirs afterwards.

    Raises:
        NotStackable: The network has set one of them itself.
    """
    dropouts = {name: network.get_submodule(name) for name in dropout_rates}
    places = {name: (module.__dict__, DROPOUT_ATTRIBUTES[type(module)]) for name, module in dropouts.items()}
    before = {name: own[rate] for name, (own, rate) in places.items()}
    try:
        for name, (own, rate) in places.items():
            own[rate] = dropout_rates[name]
        yield
        if any(own[rate] is not dropout_rates[name] for name, (own, rate) in places.items()):
            raise NotStackable("the network sets dropout rates itself, which differ between members")
    finally:
        for name, (own, rate) in places.items():
            own[rate] = before[name]


def _dropout_rate(dropout: nn.Module) -> float:
    return float(getattr(dropout, DROPOUT_ATTRIBUTES[type(dropout)]))


def assigned_anew(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the buffers that a network has replaced by other tensors.

    Raises:
        NotStackable: A new buffer has another shape or type.
    """
    assigned = {name: tensor.detach() for name, tensor in after.items() if tensor is not before[name]}
    for name, tensor in assigned.items():
        if (tensor.shape, tensor.dtype) != (before[name].shape, before[name].dtype):
            raise NotStackable(f"the network gives its buffer {name} another shape or type")
    return assigned


class Unchanged:
    """Checks that what a stack has read once stays as it was.

    This covers the names of a network's parameters and buffers, which of them are trained, dropout rates that differ
    between members, and everything that a loss keeps, because all members would share it. A network must also not
    change tensors when it is set to training or measuring: in a stack, these are not those of the members.

    Args:
        network: The network.
        dropout_rates: The members' rates, by the names of dropouts.
        loss: The loss.
    """

    def __init__(self, network: nn.Module, dropout_rates: Mapping[str, Tensor], loss: object) -> None:
        self._network, self._dropouts, self._loss = network, list(dropout_rates), loss
        self._has_own_modes = any(_has_own_modes(type(module)) for module in network.modules())
        if self._has_own_modes:  # what they do to tensors shows if these hold nothing in particular, such as zeros
            generator = torch.Generator().manual_seed(0)
            for one in network.parameters():
                if one.requires_grad:  # frozen ones may be shared with other networks
                    one.data = torch.rand(one.shape, generator=generator).to(one)
        self._before = self._read()

    def check(self, *, training: bool) -> None:
        """Set the network to training or to measuring, and raise `NotStackable` if something has changed."""
        before, contents, mode = self._tensors(), self._contents(), self._network.training
        self._network.train(training)
        if self._tensors() != before or not all(map(torch.equal, contents, self._contents())):
            self._network.train(mode)  # what it has done to frozen tensors, which other networks may share
            raise NotStackable("the network changes or makes tensors when it is set to training or measuring")
        for reason, now in self._read().items():
            if now != self._before[reason]:
                raise NotStackable(reason)

    def _read(self) -> dict[str, object]:
        """Give what must stay the same, by the message for a change."""
        tensors = network_tensors(self._network)
        dropout_rates = [_dropout_rate(self._network.get_submodule(name)) for name in self._dropouts]
        return {
            "the network makes buffers, or changes which of its parameters are trained": {
                name: tensor.requires_grad for name, tensor in tensors.items()
            },
            "the network sets dropout rates itself, which differ between members": dropout_rates,
            "the loss keeps something from batch to batch": Tokens(nn.Module(), any_object=True).of(self._loss),
        }

    def _contents(self) -> list[Tensor]:
        """Copy the tensors, if the network's modes are its own: one changed by its `data` would not tell."""
        return [one.detach().clone() for one in network_tensors(self._network).values()] if self._has_own_modes else []

    def _tensors(self) -> list[tuple[str, str, int, int]]:
        """Identify the tensors that the network's modules hold, and how often each was changed."""
        return [
            (path, name, id(tensor), tensor._version)
            for path, module in self._network.named_modules()
            for name, value in {**vars(module), **module._parameters, **module._buffers}.items()
            for tensor in tensors_in(value)
        ]


def _has_own_modes(kind: type[nn.Module]) -> bool:
    return kind.train is not nn.Module.train or kind.eval is not nn.Module.eval
