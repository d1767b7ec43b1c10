"""What an optimiser keeps of each parameter from step to step: by names that both trainers use, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from deap_hpo.training.optimizers import form_of

# By our names, those of `torch.optim`.
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


@dataclass(frozen=True)
class Moments:
    """What an optimiser has kept.

    Attributes:
        updates: Steps of Adam since its moments began; fewer than the training's where the optimiser was changed.
        named: What it keeps, by kind ("velocity" of SGD; "rms_velocity" and "rms_square" of RMSprop; "mean" and
            "square" of Adam) and parameter.
        counts: Its steps for the parameters that have had fewer than `updates`, having had no gradient in some.
        others: Of an optimiser that has no such kinds, what it keeps: by the name of its class, and by parameter.
    """

    updates: int = 0
    named: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)


def kinds_kept(form: str, options: Mapping[str, Any]) -> frozenset[str]:
    """Give the kinds of moments that an optimiser of a form keeps of a group of parameters with these options.

    Example:
        >>> sorted(kinds_kept("rmsprop", {"momentum": 0.9})), sorted(kinds_kept("sgd", {"momentum": 0.0}))
        (['rms_square', 'rms_velocity'], [])
    """
    return _ALWAYS[form] | (_WITH_MOMENTUM.get(form, frozenset()) if options.get("momentum", 0) > 0 else frozenset())


def capture_moments(optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> Moments:
    """Copy what an optimiser keeps of parameters, given by name.

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
        kept = {name: optimizer.state[one] for name, one in parameters.items() if one in optimizer.state}
        return Moments(others={type(optimizer).__qualname__: {name: _copied(state) for name, state in kept.items()}})
    named: dict[str, dict[str, Tensor]] = {}
    steps: dict[str, int] = {}
    names = {parameter: name for name, parameter in parameters.items()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "step" in state and "exp_avg" in state:  # else nothing depends on it
                steps[names[parameter]] = int(state["step"])
            for kind in sorted(kinds_kept(form, group)):
                if (moment := state.get(_IN_TORCH[kind])) is not None:
                    named.setdefault(kind, {})[names[parameter]] = moment.detach().clone()
    updates = max(steps.values(), default=0)
    return Moments(updates, named, {name: count for name, count in steps.items() if count < updates})


def restore_moments(moments: Moments, optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> None:
    """Put what was kept into a new optimiser of parameters, given by name.

    What it has no use for is left out: Adam after SGD starts with none, and SGD without momentum forgets its velocity.
    """
    form = form_of(optimizer)
    if form is None:
        _restore_others(moments.others.get(type(optimizer).__qualname__, {}), optimizer, parameters)
        return
    kinds = {kind for group in optimizer.param_groups for kind in kinds_kept(form, group)}
    if not kinds <= moments.named.keys():
        return
    names = {parameter: name for name, parameter in parameters.items()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[parameter]
            kept = {
                _IN_TORCH[kind]: _laid_out(moments.named[kind][name], parameter)
                for kind in kinds_kept(form, group)
                if name in moments.named[kind]
            }
            if kept and form != "sgd":  # all others look for it
                kept["step"] = torch.tensor(float(moments.counts.get(name, moments.updates)))
            if kept:
                optimizer.state[parameter] = kept


def _restore_others(
    kept: Mapping[str, Mapping[str, Any]], optimizer: Optimizer, parameters: Mapping[str, Tensor]
) -> None:
    """Hand over what was kept as torch does it, which knows what of it belongs on which device."""
    places = {id(one): i for i, one in enumerate(one for group in optimizer.param_groups for one in group["params"])}
    state = {}
    for name, parameter in parameters.items():
        if name in kept and id(parameter) in places:
            state[places[id(parameter)]] = {key: _laid_out(value, parameter) for key, value in kept[name].items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.detach().clone() if isinstance(one, Tensor) else one for name, one in state.items()}


def _laid_out(value: Any, parameter: Tensor) -> Any:
    """Copy a tensor into the layout of its parameter, for the same bits as without the pause."""
    if not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape:
        return value.clone()
    like = torch.empty_like(parameter, dtype=value.dtype, device=value.device, requires_grad=False)
    return like.copy_(value)
