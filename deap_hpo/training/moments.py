"""The state that an optimiser keeps of each parameter, under names that both trainers use, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from deap_hpo.training.optimizers import BASE_LR, as_made, copied, form_of, same

# From the names used here to those of `torch.optim`.
_IN_TORCH = {
    "velocity": "momentum_buffer",
    "rms_velocity": "momentum_buffer",
    "rms_square": "square_avg",
    "mean": "exp_avg",
    "square": "exp_avg_sq",
}
_ALWAYS = {
    "sgd": frozenset[str](),
    "rmsprop": frozenset({"rms_square"}),
    "adam": frozenset({"mean", "square"}),
    "adamw": frozenset({"mean", "square"}),
}
_WITH_MOMENTUM = {"sgd": frozenset({"velocity"}), "rmsprop": frozenset({"rms_velocity"})}
_LRS = frozenset({"lr", BASE_LR})


@dataclass(frozen=True)
class Moments:
    """The state of an optimiser.

    Attributes:
        updates: Steps of Adam since its moments began; fewer than the training's if the optimiser was changed.
        named: The moments, by kind ("velocity" of SGD; "rms_velocity" and "rms_square" of RMSprop; "mean" and
            "square" of Adam) and parameter.
        counts: Steps of the parameters that had fewer than `updates`, because they had no gradient in some.
        others: State of an optimiser without such kinds, by the name of its class: of each parameter ("state"), of the
            optimiser itself ("more"), and options of its groups that it has changed ("counted"); which entries are not
            on the device of their parameter ("on_host"), and which options were not zero ("in_use").

    Example:
        >>> moments = Moments(named={"velocity": {"weight": torch.ones(2)}})
        >>> moments.updates, moments.named["velocity"]["weight"].shape
        (0, torch.Size([2]))
    """

    updates: int = 0
    named: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def kinds_kept(form: str, options: Mapping[str, Any]) -> frozenset[str]:
    """Give the kinds of moments that an optimiser of a form keeps for a parameter group with these options.

    Example:
        >>> sorted(kinds_kept("rmsprop", {"momentum": 0.9})), sorted(kinds_kept("sgd", {"momentum": 0.0}))
        (['rms_square', 'rms_velocity'], [])
    """
    return _ALWAYS[form] | (_WITH_MOMENTUM.get(form, frozenset()) if options.get("momentum", 0) > 0 else frozenset())


def capture_moments(optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> Moments:
    """Copy an optimiser's state of parameters, given by name.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        >>> weight.sum().backward(), optimizer.step()
        (None, None)
        >>> capture_moments(optimizer, {"weight": weight}).named
        {'velocity': {'weight': tensor([1., 1.])}}
    """
    form = form_of(optimizer)
    if form is None:
        return Moments(others={type(optimizer).__qualname__: _capture_others(optimizer, parameters)})
    named: dict[str, dict[str, Tensor]] = {}
    steps: dict[str, int] = {}
    names = {parameter: name for name, parameter in parameters.items()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "step" in state and "exp_avg" in state:  # in the other forms nothing depends on it
                steps[names[parameter]] = int(state["step"])
            for kind in sorted(kinds_kept(form, group)):
                if (moment := state.get(_IN_TORCH[kind])) is not None:
                    named.setdefault(kind, {})[names[parameter]] = moment.detach().clone()
    updates = max(steps.values(), default=0)
    return Moments(updates, named, {name: count for name, count in steps.items() if count < updates})


def restore_moments(moments: Moments, optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> None:
    """Put moments into a new optimiser of parameters, given by name.

    Moments that it cannot use are left out: Adam after SGD starts with none, and SGD without momentum forgets its
    velocity. A parameter with a missing moment starts without any.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        >>> restore_moments(Moments(named={"velocity": {"weight": torch.ones(2)}}), optimizer, {"weight": weight})
        >>> optimizer.state[weight]["momentum_buffer"]
        tensor([1., 1.])
    """
    form = form_of(optimizer)
    if form is None:
        if kept := moments.others.get(type(optimizer).__qualname__):
            _restore_others(kept, optimizer, parameters)
        return
    kinds = {kind for group in optimizer.param_groups for kind in kinds_kept(form, group)}
    if not kinds <= moments.named.keys():
        return
    names = {parameter: name for name, parameter in parameters.items()}
    for group in optimizer.param_groups:
        of_group = kinds_kept(form, group)
        for parameter in group["params"]:
            name = names[parameter]
            if of_group and all(name in moments.named[kind] for kind in of_group):
                state = {_IN_TORCH[kind]: _laid_out(moments.named[kind][name], parameter) for kind in of_group}
                if form != "sgd":  # the other forms expect it
                    state["step"] = torch.tensor(float(moments.counts.get(name, moments.updates)))
                optimizer.state[parameter] = state


def _capture_others(optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    state = {name: dict(optimizer.state[one]) for name, one in parameters.items() if one in optimizer.state}
    elsewhere = {
        name: [key for key, one in kept.items() if isinstance(one, Tensor) and one.device != parameters[name].device]
        for name, kept in state.items()
    }
    made = as_made(optimizer)
    now = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return {
        "state": {name: {key: copied(value) for key, value in kept.items()} for name, kept in state.items()},
        "more": {key: copied(value) for key, value in optimizer.state.items() if isinstance(key, str)},
        "on_host": {name: keys for name, keys in elsewhere.items() if keys},
        "in_use": _in_use(optimizer),
        "counted": [
            {key: copied(one) for key, one in options.items() if key not in _LRS and not same(one, before.get(key))}
            for options, before in zip(now, made, strict=True)
        ],
    }


def _in_use(optimizer: Optimizer) -> list[dict[str, bool]]:
    """Tell which options that an optimiser was made with are not zero: they decide what it keeps."""
    return [
        {key: bool(one) for key, one in options.items() if isinstance(one, (bool, int, float)) and key not in _LRS}
        for options in as_made(optimizer)
    ]


def _restore_others(kept: Mapping[str, Any], optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> None:
    """Put back the state of an optimiser without named kinds.

    If an option, such as momentum, has become zero or non-zero, the optimiser may keep other state: it starts afresh.
    """
    if _in_use(optimizer) != kept["in_use"]:
        return
    grouped = {id(one) for group in optimizer.param_groups for one in group["params"]}
    for name, parameter in parameters.items():
        if name in kept["state"] and id(parameter) in grouped:
            on_host = kept["on_host"].get(name, ())
            optimizer.state[parameter] = {
                key: _laid_out(one, parameter, move=key not in on_host) for key, one in kept["state"][name].items()
            }
    optimizer.state.update({key: copied(one) for key, one in kept["more"].items()})
    for group, counted in zip(optimizer.param_groups, kept["counted"], strict=True):
        group.update({key: copied(one) for key, one in counted.items()})


def _laid_out(value: Any, parameter: Tensor, move: bool = True) -> Any:
    """Copy a tensor into its parameter's layout, for the same bits as without the pause, and to its device."""
    if not isinstance(value, Tensor):
        return copied(value)
    device = parameter.device if move else value.device
    if value.shape != parameter.shape:
        return value.to(device, copy=True)
    like = torch.empty_like(parameter, dtype=value.dtype, device=device, requires_grad=False)
    return like.copy_(value)
