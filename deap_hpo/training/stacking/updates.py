"""Updates of a stack's weights: of all members at once, or by each member's optimiser in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deap_hpo.training.moments import Moments, capture_moments, kinds_kept, restore_moments
from deap_hpo.training.optimizers import BASE_LR, as_made, form_of, parameter_names
from deap_hpo.training.stacking.networks import Shapes, named_views
from deap_hpo.training.stacking.optimizers import STACKED_OPTIMIZERS, Options, StackedOptimizer
from deap_hpo.training.stacking.stackable import NotStackable
from deap_hpo.training.state import TrainingState


class StackedUpdates(Protocol):
    """The interface of updates of a stack's weights.

    Attributes:
        base_lrs: Learning rates before any schedule, by member and group of parameters.
        recordable: Whether an update may be recorded in a CUDA graph.
    """

    base_lrs: list[list[float]]
    recordable: bool

    def update(self, weights: Tensor, gradient: Tensor, lrs: Tensor, step: Tensor) -> None:
        """Update the weights in place.

        Args:
            weights: Weights [P, D].
            gradient: Gradient of the losses [P, D].
            lrs: Learning rates of this step [P, groups].
            step: Steps trained before this one, 0-dim integer.
        """
        ...

    def keep(self, kept: Sequence[int], weights: Tensor) -> None:
        """Drop all members but those at the positions `kept`; `weights` are theirs."""
        ...

    def restore(self, i: int, state: TrainingState) -> None:
        """Give member `i` the moments of a state; they start from zero if it has none of their kind.

        Raises:
            NotStackable: Some of its parameters have had fewer updates than others.
        """
        ...

    def moments(self, i: int, steps: int) -> Moments:
        """Give the moments of member `i` after so many steps; they may be views."""
        ...


def make_updates(
    networks: Sequence[nn.Module], optimizers: Sequence[Optimizer], shapes: Shapes, weights: Tensor
) -> StackedUpdates:
    """Make the updates of a stack's weights, which are those of the members' optimisers.

    Args:
        networks: The members' networks, as they were built.
        optimizers: Their optimisers, equal in `optimizers.update_structure`.
        shapes: Names and shapes of the parameters that make up a row, in the order of the groups.
        weights: The weights [P, D].

    Example:
        >>> from deap_hpo.training.optimizers import make_optimizer
        >>> from deap_hpo.training.recipe import Recipe
        >>> def updated(factory, **recipe):
        ...     networks = [nn.Linear(1, 1, bias=False) for _ in range(2)]
        ...     optimizers = [make_optimizer(Recipe(**recipe), factory, {}, network) for network in networks]
        ...     weights, one = torch.zeros(2, 1), [("weight", torch.Size([1, 1]))]
        ...     updates = make_updates(networks, optimizers, one, weights)
        ...     updates.update(weights, torch.ones(2, 1), torch.tensor([[0.5], [0.25]]), torch.tensor(0))
        ...     return type(updates).__name__, weights.tolist()
        >>> updated(None, lr=0.5)
        ('UpdatesByGroup', [[-0.5], [-0.25]])
        >>> updated(torch.optim.Adagrad)
        ('UpdatesByMember', [[-0.5], [-0.25]])
    """
    form = form_of(optimizers[0])
    if form is None:
        return UpdatesByMember(networks, optimizers, shapes, weights)
    shape_of = dict(shapes)
    groups = [
        [(name, shape_of[name]) for name in names if name in shape_of]
        for names in parameter_names(optimizers[0], networks[0])
    ]
    return UpdatesByGroup(form, optimizers, groups, weights)


@dataclass
class _Group:
    """Parameters that are adjacent in a row, the members' options for them, and their stacked optimiser."""

    shapes: Shapes
    columns: slice
    options: list[Options]
    optimizer: StackedOptimizer


class UpdatesByGroup:
    """Updates all members at once, one group of parameters after the other; `make_updates` has an example.

    Args:
        form: A name in `STACKED_OPTIMIZERS`.
        optimizers: The members' optimisers, from whose groups the options are read.
        groups: Names and shapes of the parameters in each group; the groups follow one another in a row.
        weights: The weights [P, D].
    """

    recordable = True

    def __init__(self, form: str, optimizers: Sequence[Optimizer], groups: Sequence[Shapes], weights: Tensor) -> None:
        self.base_lrs = _base_lrs(optimizers)
        self._form = form
        self._groups: list[_Group] = []
        start = 0
        for i, shapes in enumerate(groups):
            columns = slice(start, start + sum(shape.numel() for _, shape in shapes))
            options: list[Options] = [as_made(one)[i] for one in optimizers]  # without the networks' parameters
            stacked = STACKED_OPTIMIZERS[form](options, weights[:, columns])
            self._groups.append(_Group(shapes, columns, options, stacked))
            start = columns.stop

    def update(self, weights: Tensor, gradient: Tensor, lrs: Tensor, step: Tensor) -> None:
        """Update the weights in place; for this and the following methods see `StackedUpdates`."""
        for i, group in enumerate(self._groups):
            part = gradient[:, group.columns]
            group.optimizer.update(weights[:, group.columns], part, lrs[:, i : i + 1], step)

    def keep(self, kept: Sequence[int], weights: Tensor) -> None:
        """Drop all members but some."""
        index = torch.tensor(kept, dtype=torch.int64, device=weights.device)
        self.base_lrs = [self.base_lrs[i] for i in kept]
        for group in self._groups:
            group.options = [group.options[i] for i in kept]
            group.optimizer.keep(index)

    def restore(self, i: int, state: TrainingState) -> None:
        """Give a member the moments of a state."""
        moments = state.moments
        kinds = {kind for group in self._groups for kind in kinds_kept(self._form, group.options[i])}
        known = kinds <= moments.named.keys()
        updated = {name for group in self._groups for name, _ in group.shapes}
        if known and "mean" in kinds and (moments.counts or not updated <= moments.named["mean"].keys()):
            raise NotStackable("some parameters have had fewer steps than others")
        for group in self._groups:
            rows = group.optimizer.rows
            if "offset" in rows:
                rows["offset"][i] = state.steps - (moments.updates if known else 0)
            if known:
                self._restore_group(group, i, moments)

    def _restore_group(self, group: _Group, i: int, moments: Moments) -> None:
        """Copy moments into a member's rows; a parameter that lacks one of them starts from zero."""
        kinds = kinds_kept(self._form, group.options[i])
        complete = [name for name, _ in group.shapes if all(name in moments.named[kind] for kind in kinds)]
        for kind in kinds:
            views = named_views(group.optimizer.rows[kind][i], group.shapes)
            for name in complete:
                views[name].copy_(moments.named[kind][name])

    def moments(self, i: int, steps: int) -> Moments:
        """Give the moments of a member, as views."""
        updates, named = 0, dict[str, dict[str, Tensor]]()
        for group in self._groups:
            rows = group.optimizer.rows
            if "offset" in rows:
                updates = steps - int(rows["offset"][i])
            for kind in sorted(kinds_kept(self._form, group.options[i])):
                named.setdefault(kind, {}).update(named_views(rows[kind][i], group.shapes))
        return Moments(updates, named)


class UpdatesByMember:
    """Updates one member after the other, by its own optimiser, whose parameters are views of its row.

    It supports any optimiser that changes its parameters in place. Only gradients are computed for all members at once;
    `make_updates` has an example.

    Args:
        networks: The members' networks, on the device.
        optimizers: Their optimisers.
        shapes: Names and shapes of the parameters that make up a row.
        weights: The weights [P, D].
    """

    recordable = False  # some optimisers count their steps in Python

    def __init__(
        self, networks: Sequence[nn.Module], optimizers: Sequence[Optimizer], shapes: Shapes, weights: Tensor
    ) -> None:
        self._shapes = shapes
        self._optimizers = list(optimizers)
        self._networks = list(networks)
        self._parameters = [{name: network.get_parameter(name) for name, _ in shapes} for network in networks]
        self.base_lrs = _base_lrs(optimizers)
        self._place(weights)

    def _place(self, weights: Tensor) -> None:
        """Make the parameters views of the rows."""
        for row, parameters in zip(weights, self._parameters, strict=True):
            for name, view in named_views(row, self._shapes).items():
                parameters[name].data = view
        self._places = [_memory(one, shapes=self._shapes) for one in self._networks]

    def update(self, weights: Tensor, gradient: Tensor, lrs: Tensor, step: Tensor) -> None:
        """Update the weights in place; for this and the following methods see `StackedUpdates`.

        Raises:
            NotStackable: An optimiser replaces its parameters' tensors, or changes frozen parameters.
        """
        of_members = zip(self._optimizers, self._networks, self._parameters, self._places, strict=True)
        for (optimizer, network, parameters, places), row, now in zip(of_members, gradient, lrs.tolist(), strict=True):
            for group, lr in zip(optimizer.param_groups, now, strict=True):
                group["lr"] = lr
            for name, view in named_views(row, self._shapes).items():
                parameters[name].grad = view
            optimizer.step()
            if _memory(network, self._shapes) != places:
                raise NotStackable(
                    f"{type(optimizer).__name__} replaces its parameters instead of changing them in place, or changes "
                    "frozen ones"
                )

    def keep(self, kept: Sequence[int], weights: Tensor) -> None:
        """Drop all members but some."""
        self.base_lrs = [self.base_lrs[i] for i in kept]
        self._optimizers = [self._optimizers[i] for i in kept]
        self._networks = [self._networks[i] for i in kept]
        self._parameters = [self._parameters[i] for i in kept]
        self._place(weights)

    def restore(self, i: int, state: TrainingState) -> None:
        """Give a member the moments of a state."""
        restore_moments(state.moments, self._optimizers[i], self._parameters[i])

    def moments(self, i: int, steps: int) -> Moments:
        """Give the moments of a member, as copies."""
        return capture_moments(self._optimizers[i], self._parameters[i])


def _base_lrs(optimizers: Sequence[Optimizer]) -> list[list[float]]:
    return [[float(group[BASE_LR]) for group in one.param_groups] for one in optimizers]


def _memory(network: nn.Module, shapes: Shapes) -> list[tuple[int, int]]:
    """Tell where a network's parameters are in memory, and how often those that are not trained were changed."""
    trained = dict(shapes)
    parameters = network.named_parameters()
    return [(one.data_ptr(), 0 if name in trained else one._version) for name, one in parameters]
