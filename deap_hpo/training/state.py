"""The state of a training between two epochs: all that it needs to continue as if it had never paused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deap_hpo.errors import InputError
from deap_hpo.training.moments import Moments, capture_moments, restore_moments
from deap_hpo.training.nested import flattened, rebuilt
from deap_hpo.training.recipe import Recipe

_COUNTERS = "counters"
_COUNTS = "updates"
_OTHERS = "optimizer"
_LOSSES = "losses"
_AVERAGED = "averaged"


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands at the end of an epoch.

    Random generators are not part of it: batches, dropout masks and the network's own draws are functions of (seed,
    epoch, step).

    Attributes:
        epochs: Epochs trained so far.
        steps: Training steps so far.
        weights: Parameters and buffers of the network, by name.
        moments: The state of the optimiser.
        losses: Validation losses after each epoch.
        averaged: The moving average of the parameters by name, if there is one.
    """

    epochs: int
    steps: int
    weights: Mapping[str, Tensor]
    moments: Moments = field(default_factory=Moments)
    losses: tuple[float, ...] = ()
    averaged: Mapping[str, Tensor] = field(default_factory=dict)


def added_epochs(
    state: TrainingState | None, total: int | None, length: int, recipe: Recipe, *, whole: bool = False
) -> range:
    """Give the epochs, from 0, that a training adds to a state.

    Args:
        state: Where the training continues from; None for its beginning.
        total: Epochs trained at the end; None for the length of the schedule.
        length: Length of the learning rate's schedule in epochs.
        recipe: The recipe, which has the schedule.
        whole: Whether the training must not be a part of one, because of `keep_best` or `patience`.

    Raises:
        InputError: There is no epoch to add, the schedule ends before `total`, or this may not be a part of a training.

    Example:
        >>> added_epochs(None, 3, length=5, recipe=Recipe(schedule="cosine"))
        range(0, 3)
    """
    if whole and (state is not None or total not in (None, length)):
        raise InputError("keep_best and patience need whole trainings; this request trains only a part.")
    trained, total = state.epochs if state else 0, length if total is None else total
    if total <= trained:
        raise InputError(f"epochs must be more than the {trained} trained before; got {total}.")
    if total > length and recipe.ends:
        schedule = recipe.settings["schedule"]
        raise InputError(
            f"epochs must be at most {length}, where the trainer's {schedule} schedule ends; got {total}. "
            "Give the trainer (training.epochs) the epochs of the longest training."
        )
    return range(trained, total)


def network_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Give a network's parameters and buffers by name, including those that its `state_dict` leaves out."""
    return dict([*model.named_parameters(), *model.named_buffers()])


@contextmanager
def on_device(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Have a network on a device inside, and afterwards where it was.

    Example:
        >>> with on_device(nn.Linear(2, 1), torch.device("cpu")):
        ...     pass
    """
    before = next((tensor.device for tensor in network_tensors(model).values()), device)
    model.to(device)
    try:
        yield
    finally:
        model.to(before)


def copied_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Copy a network's parameters and buffers, by name."""
    return {name: tensor.detach().clone() for name, tensor in network_tensors(model).items()}


@torch.no_grad()
def put_back(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy values back into a network's parameters and buffers."""
    own = network_tensors(model)
    for name, tensor in tensors.items():
        value = tensor.to(own[name].device)
        if not torch.equal(own[name], value):  # an expanded buffer cannot be written to, but does not change either
            own[name].copy_(value)


def capture(
    model: nn.Module,
    optimizer: Optimizer,
    epochs: int,
    steps: int,
    losses: Sequence[float] = (),
    averaged: Mapping[str, Tensor] | None = None,
) -> TrainingState:
    """Copy the state of a training."""
    moments = capture_moments(optimizer, dict(model.named_parameters()))
    average = {name: tensor.clone() for name, tensor in (averaged or {}).items()}
    return TrainingState(epochs, steps, copied_tensors(model), moments, tuple(losses), average)


@torch.no_grad()
def restore(state: TrainingState, model: nn.Module, optimizer: Optimizer) -> None:
    """Put a state into a network and its new optimiser, which takes only moments that it can use."""
    for name, tensor in network_tensors(model).items():
        tensor.copy_(fitting(state, name, tensor))
    restore_moments(state.moments, optimizer, dict(model.named_parameters()))


def fitting(state: TrainingState, name: str, tensor: Tensor) -> Tensor:
    """Give the state's tensor for one of a network's parameters or buffers.

    Raises:
        InputError: The state has no such tensor of this shape, because it is of another architecture.
    """
    if name not in state.weights or state.weights[name].shape != tensor.shape:
        found = tuple(state.weights[name].shape) if name in state.weights else "none"
        raise InputError(
            f"A training can only go on with the architecture of its checkpoint: {name} must have the shape "
            f"{tuple(tensor.shape)}; the checkpoint has {found}."
        )
    return state.weights[name]


def pack(states: Sequence[TrainingState]) -> dict[str, Tensor]:
    """Give the states of an evaluation's trainings (one per repeat) as tensors by name, for a checkpoint.

    Raises:
        InputError: A user's optimiser keeps something that a checkpoint cannot hold; see `nested.flattened`.
    """
    tensors: dict[str, Tensor] = {}
    for i, state in enumerate(states):
        kept = state.moments
        tensors[f"{i}/{_COUNTERS}"] = torch.tensor([state.epochs, state.steps, kept.updates])
        tensors[f"{i}/{_LOSSES}"] = torch.tensor(state.losses, dtype=torch.float64)
        counts = {name: torch.tensor(count) for name, count in kept.counts.items()}
        for kind, named in {"weights": state.weights, _AVERAGED: state.averaged, **kept.named, _COUNTS: counts}.items():
            tensors |= {f"{i}/{kind}/{name}": tensor for name, tensor in named.items()}
        if kept.others:
            tensors |= flattened(f"{i}/{_OTHERS}", kept.others)
    return tensors


def unpack(tensors: Mapping[str, Tensor]) -> list[TrainingState]:
    """Undo `pack`.

    Example:
        >>> moments = Moments(named={"velocity": {"bias": torch.ones(3)}})
        >>> state = TrainingState(2, 10, {"bias": torch.zeros(3)}, moments)
        >>> unpack(pack([state, state]))[1].moments.named
        {'velocity': {'bias': tensor([1., 1., 1.])}}
    """
    parts: dict[int, dict[str, dict[str, Tensor]]] = {}
    for key, tensor in tensors.items():
        i, kind, *name = key.split("/", 2)
        parts.setdefault(int(i), {}).setdefault(kind, {})["".join(name)] = tensor
    states = []
    for position, named in sorted(parts.items()):
        epochs, steps, updates = named.pop(_COUNTERS)[""].tolist()
        counts = {name: int(count) for name, count in named.pop(_COUNTS, {}).items()}
        others = rebuilt(f"{position}/{_OTHERS}", tensors) if named.pop(_OTHERS, None) else {}
        losses = named.pop(_LOSSES, {"": torch.tensor(())})[""].tolist()  # older checkpoints have none
        weights, averaged = named.pop("weights", {}), named.pop(_AVERAGED, {})
        moments = Moments(updates, named, counts, others)
        states.append(TrainingState(epochs, steps, weights, moments, tuple(losses), averaged))
    return states
