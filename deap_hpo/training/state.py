"""The state of a training between two epochs: all that a training needs to go on as if it had never paused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from deap_hpo.errors import InputError
from deap_hpo.training.recipe import ENDING_SCHEDULES

# What the optimisers keep for each parameter: our names, and those of `torch.optim`.
MOMENTS = {
    "velocity": "momentum_buffer",
    "rms_velocity": "momentum_buffer",
    "rms_square": "square_avg",
    "mean": "exp_avg",
    "square": "exp_avg_sq",
}
_COUNTERS = "counters"
_COUNTS = "updates"


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands at the end of an epoch.

    Random numbers need no place here: batches, dropout masks and what a network draws itself are functions of
    (seed, epoch, step).

    Attributes:
        epochs: Epochs trained so far.
        steps: Training steps so far.
        updates: Steps of Adam since its moments began; fewer than `steps` where the optimiser was changed.
        weights: Parameters and buffers of the network, by name.
        moments: What the optimiser keeps, by kind ("velocity" of SGD; "rms_velocity" and "rms_square" of RMSprop;
            "mean" and "square" of Adam) and parameter.
        counts: Its steps for the parameters that have had fewer than `updates`, having had no gradient in some.
    """

    epochs: int
    steps: int
    updates: int
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Mapping[str, Tensor]]
    counts: Mapping[str, int] = field(default_factory=dict)


def trainable_parameters(model: nn.Module) -> int:
    """Count the parameters that training changes; shared ones once.

    Example:
        >>> trainable_parameters(nn.Linear(4, 3))
        15
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def added_epochs(state: TrainingState | None, total: int | None, length: int, schedule: str) -> range:
    """Give the epochs, from 0, that a training adds to a state.

    Args:
        state: Where it goes on from; None for its beginning.
        total: Epochs trained at the end; None for the length of the schedule.
        length: Epochs over which the schedule of the learning rate is laid out.
        schedule: Its name.

    Raises:
        InputError: There is none to add, or the schedule ends before.

    Example:
        >>> added_epochs(None, 3, length=5, schedule="cosine")
        range(0, 3)
    """
    trained, total = state.epochs if state else 0, length if total is None else total
    if total <= trained:
        raise InputError(f"epochs must be more than the {trained} trained before; got {total}.")
    if total > length and schedule in ENDING_SCHEDULES:
        raise InputError(
            f"epochs must be at most {length}, where the trainer's {schedule} schedule ends; got {total}. "
            "Give the trainer (training.epochs) the epochs of the longest training."
        )
    return range(trained, total)


def network_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Give a network's parameters and buffers by name, those included that its `state_dict` would leave out."""
    return dict([*model.named_parameters(), *model.named_buffers()])


def copied_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Copy a network's parameters and buffers, by name."""
    return {name: tensor.detach().clone() for name, tensor in network_tensors(model).items()}


@torch.no_grad()
def put_back(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network the values of copies that were made of its parameters and buffers."""
    own = network_tensors(model)
    for name, tensor in tensors.items():
        if not torch.equal(own[name], tensor):  # an expanded buffer, which stays as it was made, takes no values
            own[name].copy_(tensor)


def capture(
    model: nn.Module, optimizer: torch.optim.Optimizer, kinds: Set[str], epochs: int, steps: int
) -> TrainingState:
    """Copy the state of a training, whose optimiser keeps moments of these kinds."""
    moments: dict[str, dict[str, Tensor]] = {}
    steps_of: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        kept = optimizer.state.get(parameter, {})
        if "step" in kept and "mean" in kinds:  # else nothing depends on it
            steps_of[name] = int(kept["step"])
        for kind in sorted(kinds):
            if (moment := kept.get(MOMENTS[kind])) is not None:
                moments.setdefault(kind, {})[name] = moment.detach().clone()
    updates = max(steps_of.values(), default=0)
    counts = {name: count for name, count in steps_of.items() if count < updates}
    return TrainingState(epochs, steps, updates, copied_tensors(model), moments, counts)


@torch.no_grad()
def restore(state: TrainingState, model: nn.Module, optimizer: torch.optim.Optimizer, kinds: Set[str]) -> None:
    """Put a state into a network and its new optimiser, which keeps moments of these kinds.

    Moments of which the optimiser has no use are left out: Adam after SGD starts with none, and SGD without momentum
    forgets its velocity.
    """
    for name, tensor in network_tensors(model).items():
        tensor.copy_(fitting(state, name, tensor))
    if not kinds <= state.moments.keys():
        return
    for name, parameter in model.named_parameters():
        # In the layout of the parameter, for the same bits as without the pause.
        kept = {
            MOMENTS[kind]: torch.empty_like(parameter).copy_(state.moments[kind][name])
            for kind in kinds
            if name in state.moments[kind]
        }
        if kept and "velocity" not in kinds:  # all but SGD look for it
            kept["step"] = torch.tensor(float(state.counts.get(name, state.updates)))
        if kept:
            optimizer.state[parameter] = kept


def fitting(state: TrainingState, name: str, tensor: Tensor) -> Tensor:
    """Give the state's tensor for one of a network's parameters or buffers.

    Raises:
        InputError: It has none of this shape: it is the state of another architecture.
    """
    if name not in state.weights or state.weights[name].shape != tensor.shape:
        found = tuple(state.weights[name].shape) if name in state.weights else "none"
        raise InputError(
            f"A training can only go on with the architecture of its checkpoint: {name} must have the shape "
            f"{tuple(tensor.shape)}; the checkpoint has {found}."
        )
    return state.weights[name]


def pack(states: Sequence[TrainingState]) -> dict[str, Tensor]:
    """Give the states of an evaluation's trainings (one each repeat) as tensors by name, as a checkpoint holds them."""
    tensors: dict[str, Tensor] = {}
    for i, state in enumerate(states):
        tensors[f"{i}/{_COUNTERS}"] = torch.tensor([state.epochs, state.steps, state.updates])
        counts = {name: torch.tensor(count) for name, count in state.counts.items()}
        for kind, named in {"weights": state.weights, **state.moments, _COUNTS: counts}.items():
            tensors |= {f"{i}/{kind}/{name}": tensor for name, tensor in named.items()}
    return tensors


def unpack(tensors: Mapping[str, Tensor]) -> list[TrainingState]:
    """Undo `pack`.

    Example:
        >>> state = TrainingState(2, 10, 10, {"bias": torch.zeros(3)}, {"velocity": {"bias": torch.ones(3)}})
        >>> unpack(pack([state, state]))[1].moments
        {'velocity': {'bias': tensor([1., 1., 1.])}}
    """
    parts: dict[int, dict[str, dict[str, Tensor]]] = {}
    for key, tensor in tensors.items():
        i, kind, *name = key.split("/", 2)
        parts.setdefault(int(i), {}).setdefault(kind, {})["".join(name)] = tensor
    states = []
    for _, named in sorted(parts.items()):
        epochs, steps, updates = named.pop(_COUNTERS)[""].tolist()
        counts = {name: int(count) for name, count in named.pop(_COUNTS, {}).items()}
        states.append(TrainingState(epochs, steps, updates, named.pop("weights", {}), named, counts))
    return states
