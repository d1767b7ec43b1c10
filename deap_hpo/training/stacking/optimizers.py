"""The optimisers of `torch.optim` for a parameter group of a stack, in which each member has its own settings.

Weights and gradients are matrices [P, D], one row per member; settings are columns [P, 1]. So an update is a few
operations on whole matrices, whatever the number of members and layers. Each class has the same interface: it is built
from the members' options, as in torch's parameter groups, and from their weights. ``update(weights, gradient, lr,
step)`` works in place, and ``keep(index)`` drops members. No method reads a value from the device, so that a step can
be recorded in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Options = Mapping[str, Any]


class StackedOptimizer(Protocol):
    """The interface of a stacked optimiser.

    Attributes:
        rows: Tensors with one row per member: moments [P, D] ("velocity", "mean", ...; see `Moments`), settings
            [P, 1], and, if the optimiser counts steps, "offset" [P, 1]: the steps that were trained before the moments
            began.
    """

    rows: dict[str, Tensor]

    def update(self, weights: Tensor, gradient: Tensor, lr: Tensor, step: Tensor) -> None:
        """Update `weights` [P, D] in place.

        Args:
            weights: Weights [P, D].
            gradient: Gradient of the losses [P, D].
            lr: Learning rates of this step [P, 1].
            step: Steps trained before this one, 0-dim integer.
        """
        ...

    def keep(self, index: Tensor) -> None:
        """Drop all members but those at `index`, int64 [kept]."""
        ...


def _column(values: Iterable[float], weights: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Give a setting of the members as a column [P, 1]."""
    return torch.tensor([[value] for value in values], dtype=dtype or weights.dtype, device=weights.device)


class _Stacked:
    """Tensors with one row per member, and how to drop rows. Settings that no member uses are left out."""

    def __init__(self, options: Sequence[Options], weights: Tensor) -> None:
        self.rows: dict[str, Tensor] = {}
        for name in ("weight_decay", "momentum"):
            if any(one.get(name) for one in options):
                self.rows[name] = _column((one[name] for one in options), weights)

    def keep(self, index: Tensor) -> None:
        """Drop all members but those at `index`, int64 [kept]."""
        self.rows = {name: tensor.index_select(0, index) for name, tensor in self.rows.items()}


class StackedSGD(_Stacked):
    """SGD with momentum (Nesterov's too) and weight decay, as `torch.optim.SGD`.

    Nesterov's form is for the whole stack; momentum and weight decay are each member's own.
    """

    def __init__(self, options: Sequence[Options], weights: Tensor) -> None:
        super().__init__(options, weights)
        self.nesterov = any(one["nesterov"] for one in options)
        if "momentum" in self.rows:
            self.rows["velocity"] = torch.zeros_like(weights)

    def update(self, weights: Tensor, gradient: Tensor, lr: Tensor, step: Tensor) -> None:
        """Update `weights` in place; see `StackedOptimizer`."""
        if "weight_decay" in self.rows:
            gradient = torch.addcmul(gradient, weights, self.rows["weight_decay"])
        if "velocity" in self.rows:
            velocity = self.rows["velocity"].mul_(self.rows["momentum"]).add_(gradient)
            gradient = torch.addcmul(gradient, velocity, self.rows["momentum"]) if self.nesterov else velocity
        weights.addcmul_(gradient, lr, value=-1)


class StackedRMSprop(_Stacked):
    """RMSprop with momentum and weight decay, as `torch.optim.RMSprop`.

    Source: Tieleman & Hinton, "Lecture 6.5 - rmsprop" (Coursera, 2012); momentum: Graves, "Generating sequences with
    recurrent neural networks" (arXiv:1308.0850), equations 38 to 45, without its centring.
    """

    def __init__(self, options: Sequence[Options], weights: Tensor) -> None:
        super().__init__(options, weights)
        if "momentum" in self.rows:
            self.rows["rms_velocity"] = torch.zeros_like(weights)
        # In double precision until it meets the gradient, because torch computes 1 - alpha in it.
        self.rows["alpha"] = _column((one["alpha"] for one in options), weights, torch.float64)
        self.rows["eps"] = _column((one["eps"] for one in options), weights)
        self.rows["rms_square"] = torch.zeros_like(weights)

    def update(self, weights: Tensor, gradient: Tensor, lr: Tensor, step: Tensor) -> None:
        """Update `weights` in place; see `StackedOptimizer`."""
        rows, dtype = self.rows, weights.dtype
        if "weight_decay" in rows:
            gradient = torch.addcmul(gradient, weights, rows["weight_decay"])
        average = rows["rms_square"].mul_(rows["alpha"].to(dtype))
        average.addcmul_(gradient * (1 - rows["alpha"]).to(dtype), gradient)
        change = gradient / average.sqrt().add_(rows["eps"])
        if "rms_velocity" in rows:
            change = rows["rms_velocity"].mul_(rows["momentum"]).add_(change)
        weights.addcmul_(change, lr, value=-1)


class StackedAdam(_Stacked):
    """Adam, as `torch.optim.Adam`; with `decoupled`, AdamW.

    Source: Kingma & Ba, "Adam" (arXiv:1412.6980), algorithm 1; Loshchilov & Hutter, "Decoupled weight decay
    regularization" (arXiv:1711.05101).
    """

    decoupled = False

    def __init__(self, options: Sequence[Options], weights: Tensor) -> None:
        super().__init__(options, weights)
        # In double precision: in single precision, 1 - beta2 ** t of the bias correction cancels nearly everything.
        for i, name in enumerate(("beta1", "beta2")):
            self.rows[name] = _column((one["betas"][i] for one in options), weights, torch.float64)
        self.rows["eps"] = _column((one["eps"] for one in options), weights)
        self.rows["mean"] = torch.zeros_like(weights)
        self.rows["square"] = torch.zeros_like(weights)
        self.rows["offset"] = torch.zeros_like(self.rows["beta1"])

    def update(self, weights: Tensor, gradient: Tensor, lr: Tensor, step: Tensor) -> None:
        """Update `weights` in place; see `StackedOptimizer`."""
        rows, dtype = self.rows, weights.dtype
        if "weight_decay" in rows:
            if self.decoupled:
                weights.mul_(1 - lr * rows["weight_decay"])
            else:
                gradient = torch.addcmul(gradient, weights, rows["weight_decay"])
        beta1, beta2 = rows["beta1"], rows["beta2"]
        rows["mean"].lerp_(gradient, (1 - beta1).to(dtype))
        rows["square"].mul_(beta2.to(dtype)).addcmul_(gradient * (1 - beta2).to(dtype), gradient)
        updates = step + 1 - rows["offset"]
        correction1 = (1 - beta1**updates).to(dtype)
        correction2 = (1 - beta2**updates).sqrt().to(dtype)
        denominator = rows["square"].sqrt().div_(correction2).add_(rows["eps"])
        weights.addcmul_(rows["mean"] / denominator, lr / correction1, value=-1)


class StackedAdamW(StackedAdam):
    """AdamW, as `torch.optim.AdamW`."""

    decoupled = True


STACKED_OPTIMIZERS: dict[str, Callable[[Sequence[Options], Tensor], StackedOptimizer]] = {
    "sgd": StackedSGD,
    "rmsprop": StackedRMSprop,
    "adam": StackedAdam,
    "adamw": StackedAdamW,
}
