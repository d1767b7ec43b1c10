"""The optimisers of `torch.optim` for a stack of members, each member with settings of its own.

Weights and gradients are matrices [P, D], one row a member; settings are columns [P, 1]. So an update is a few
operations on whole matrices, whatever the number of members and layers. Each class has the same shape: built from the
members' recipes and weights, ``update(weights, gradient, rate, step)`` in place, ``keep(index)``. No method looks at a
value on the device, so that a step can be recorded in a CUDA graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from deap_hpo.training.recipe import Recipe

_BLOCK = 4096


class StackedOptimizer(Protocol):
    """The shape of a stacked optimiser.

    Attributes:
        rows: Tensors with one row a member: moments [P, D] ("velocity", "mean", ...; see `TrainingState`), settings
            [P, 1], and "offset" [P, 1], the steps that were trained before the moments began, where the optimiser
            counts steps.
    """

    rows: dict[str, Tensor]

    def update(self, weights: Tensor, gradient: Tensor, rate: Tensor, step: Tensor) -> None:
        """Update `weights` [P, D] in place.

        Args:
            weights: Weights [P, D].
            gradient: Gradient of the losses [P, D].
            rate: Learning rates of this step [P, 1].
            step: Steps trained before this one, 0-dim integer.
        """
        ...

    def keep(self, index: Tensor) -> None:
        """Drop all members but those at `index`, int64 [kept]."""
        ...


def _column(recipes: Sequence[Recipe], name: str, weights: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    values = [[getattr(recipe, name)] for recipe in recipes]
    return torch.tensor(values, dtype=dtype or weights.dtype, device=weights.device)


def row_norms(matrix: Tensor) -> Tensor:
    """Give the L2 norm of each row of a matrix [P, D], as a column [P, 1].

    Example:
        >>> row_norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist()
        [[5.0], [1.0]]
    """
    # By blocks, since a CPU adds up long rows in single precision: of 30 million entries it gives a norm 0.2 % off.
    members, blocks = len(matrix), matrix.shape[1] // _BLOCK
    whole, rest = matrix[:, : blocks * _BLOCK].reshape(members, blocks, _BLOCK), matrix[:, blocks * _BLOCK :]
    norms = [torch.linalg.vector_norm(whole, dim=2), torch.linalg.vector_norm(rest, dim=1, keepdim=True)]
    norm: Tensor = torch.linalg.vector_norm(torch.cat(norms, 1), dim=1, keepdim=True)
    return norm


class _Stacked:
    """Tensors with one row a member, how to drop rows, and what comes before any update: clipping."""

    def __init__(self, recipes: Sequence[Recipe], weights: Tensor) -> None:
        self.rows: dict[str, Tensor] = {}
        bounds = [[math.inf if recipe.max_grad_norm is None else recipe.max_grad_norm] for recipe in recipes]
        if any(bound < math.inf for (bound,) in bounds):
            self.rows["max_grad_norm"] = torch.tensor(bounds, dtype=weights.dtype, device=weights.device)

    def keep(self, index: Tensor) -> None:
        """Drop all members but those at `index`, int64 [kept]."""
        self.rows = {name: tensor.index_select(0, index) for name, tensor in self.rows.items()}

    def clipped(self, gradient: Tensor) -> Tensor:
        """Give the gradient [P, D] with each row scaled down to its member's bound, as `clip_grad_norm_` of torch."""
        if "max_grad_norm" not in self.rows:
            return gradient
        bounds = self.rows["max_grad_norm"]
        factor = (bounds / (row_norms(gradient) + 1e-6)).clamp(max=1)
        # Without a bound a row stays as it is to the bit, even where infinity by infinity is no number.
        return gradient * factor.masked_fill(bounds.isinf(), 1)


class StackedSGD(_Stacked):
    """SGD with momentum (Nesterov's too) and weight decay, as `torch.optim.SGD`.

    Nesterov's form is one for the whole stack; momentum and weight decay are each member's own. What no member uses is
    neither kept nor computed.
    """

    def __init__(self, recipes: Sequence[Recipe], weights: Tensor) -> None:
        super().__init__(recipes, weights)
        self.nesterov = recipes[0].nesterov
        if any(recipe.weight_decay for recipe in recipes):
            self.rows["weight_decay"] = _column(recipes, "weight_decay", weights)
        if any(recipe.momentum for recipe in recipes):
            self.rows["momentum"] = _column(recipes, "momentum", weights)
            self.rows["velocity"] = torch.zeros_like(weights)

    def update(self, weights: Tensor, gradient: Tensor, rate: Tensor, step: Tensor) -> None:
        """Update `weights` in place; see `StackedOptimizer`."""
        gradient = self.clipped(gradient)
        if "weight_decay" in self.rows:
            gradient = torch.addcmul(gradient, weights, self.rows["weight_decay"])
        if "velocity" in self.rows:
            velocity = self.rows["velocity"].mul_(self.rows["momentum"]).add_(gradient)
            gradient = torch.addcmul(gradient, velocity, self.rows["momentum"]) if self.nesterov else velocity
        weights.addcmul_(gradient, rate, value=-1)


class StackedRMSprop(_Stacked):
    """RMSprop with momentum and weight decay, as `torch.optim.RMSprop`.

    Source: Tieleman & Hinton, "Lecture 6.5 - rmsprop" (Coursera, 2012); momentum: Graves, "Generating sequences with
    recurrent neural networks" (arXiv:1308.0850), equations 38 to 45, without its centring.
    """

    def __init__(self, recipes: Sequence[Recipe], weights: Tensor) -> None:
        super().__init__(recipes, weights)
        if any(recipe.weight_decay for recipe in recipes):
            self.rows["weight_decay"] = _column(recipes, "weight_decay", weights)
        if any(recipe.momentum for recipe in recipes):
            self.rows["momentum"] = _column(recipes, "momentum", weights)
            self.rows["rms_velocity"] = torch.zeros_like(weights)
        # In double precision, as torch computes 1 - alpha, until it meets the gradient.
        self.rows["alpha"] = _column(recipes, "alpha", weights, torch.float64)
        self.rows["eps"] = _column(recipes, "eps", weights)
        self.rows["rms_square"] = torch.zeros_like(weights)

    def update(self, weights: Tensor, gradient: Tensor, rate: Tensor, step: Tensor) -> None:
        """Update `weights` in place; see `StackedOptimizer`."""
        rows, dtype = self.rows, weights.dtype
        gradient = self.clipped(gradient)
        if "weight_decay" in rows:
            gradient = torch.addcmul(gradient, weights, rows["weight_decay"])
        average = rows["rms_square"].mul_(rows["alpha"].to(dtype))
        average.addcmul_(gradient * (1 - rows["alpha"]).to(dtype), gradient)
        change = gradient / average.sqrt().add_(rows["eps"])
        if "rms_velocity" in rows:
            change = rows["rms_velocity"].mul_(rows["momentum"]).add_(change)
        weights.addcmul_(change, rate, value=-1)


class StackedAdam(_Stacked):
    """Adam, as `torch.optim.Adam`; with `decoupled`, AdamW.

    Source: Kingma & Ba, "Adam" (arXiv:1412.6980), algorithm 1; Loshchilov & Hutter, "Decoupled weight decay
    regularization" (arXiv:1711.05101).
    """

    decoupled = False

    def __init__(self, recipes: Sequence[Recipe], weights: Tensor) -> None:
        super().__init__(recipes, weights)
        if any(recipe.weight_decay for recipe in recipes):
            self.rows["weight_decay"] = _column(recipes, "weight_decay", weights)
        # In double precision: 1 - beta2 ** t of the bias correction cancels nearly everything in single precision.
        self.rows["beta1"] = _column(recipes, "beta1", weights, torch.float64)
        self.rows["beta2"] = _column(recipes, "beta2", weights, torch.float64)
        self.rows["eps"] = _column(recipes, "eps", weights)
        self.rows["mean"] = torch.zeros_like(weights)
        self.rows["square"] = torch.zeros_like(weights)
        self.rows["offset"] = torch.zeros_like(self.rows["beta1"])

    def update(self, weights: Tensor, gradient: Tensor, rate: Tensor, step: Tensor) -> None:
        """Update `weights` in place; see `StackedOptimizer`."""
        rows, dtype = self.rows, weights.dtype
        gradient = self.clipped(gradient)
        if "weight_decay" in rows:
            if self.decoupled:
                weights.mul_(1 - rate * rows["weight_decay"])
            else:
                gradient = torch.addcmul(gradient, weights, rows["weight_decay"])
        beta1, beta2 = rows["beta1"], rows["beta2"]
        rows["mean"].lerp_(gradient, (1 - beta1).to(dtype))
        rows["square"].mul_(beta2.to(dtype)).addcmul_(gradient * (1 - beta2).to(dtype), gradient)
        updates = step + 1 - rows["offset"]
        correction1 = (1 - beta1**updates).to(dtype)
        correction2 = (1 - beta2**updates).sqrt().to(dtype)
        denominator = rows["square"].sqrt().div_(correction2).add_(rows["eps"])
        weights.addcmul_(rows["mean"] / denominator, rate / correction1, value=-1)


class StackedAdamW(StackedAdam):
    """AdamW, as `torch.optim.AdamW`."""

    decoupled = True


STACKED_OPTIMIZERS: dict[str, Callable[[Sequence[Recipe], Tensor], StackedOptimizer]] = {
    "sgd": StackedSGD,
    "rmsprop": StackedRMSprop,
    "adam": StackedAdam,
    "adamw": StackedAdamW,
}
