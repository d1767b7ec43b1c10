"""Which members can be trained as one stack: those whose networks differ in nothing but numbers."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deap_hpo.training.recipe import Recipe
from deap_hpo.training.state import TrainingState

# Their rate `p` may differ between the members of a stack: `KeyedDropout` takes one rate for each.
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
# What every module has: its parts are looked at one by one, and the rest says nothing of its structure.
_OF_EVERY_MODULE = frozenset(nn.Module().__dict__)


@dataclass(frozen=True, eq=False)
class Member:
    """One training: a configuration with one seed.

    Attributes:
        position: Position of its request in the batch.
        repeat: Which of the request's repeats it is, from 0.
        seed: Seed of this training.
        params: Hyperparameters; what follows is made of them.
        recipe: Training settings.
        architecture: Keyword arguments of the model factory.
        epochs: The epochs, from 0, to train.
        state: Where to go on from; None for the initial weights.
    """

    position: int
    repeat: int
    seed: int
    params: Mapping[str, Any]
    recipe: Recipe
    architecture: Mapping[str, Any]
    epochs: range = range(1)
    state: TrainingState | None = None

    @property
    def steps(self) -> int:
        """Training steps before the first epoch."""
        return self.state.steps if self.state else 0


def training_structure(member: Member) -> Hashable:
    """Say what of their trainings has to be equal for two members to be trained in one stack."""
    recipe = member.recipe
    return recipe.optimizer, recipe.nesterov, recipe.batch_size, member.epochs, member.steps


def network_structure(model: nn.Module, architecture: Mapping[str, Any]) -> str:
    """Say what of their networks has to be equal for two members to be trained in one stack, as a digest.

    That is: modules, their types and plain attributes other than dropout rates, the shapes and types of parameters and
    buffers. Where a module holds anything else (a function, an object), the arguments of the factory have to be equal
    too.

    Example:
        >>> from deap_hpo.training.models import MLP
        >>> def of(**architecture):
        ...     return network_structure(MLP(**architecture), architecture)
        >>> of(width=8, dropout=0.1) == of(width=8, dropout=0.5)
        True
        >>> of(width=8) == of(width=16)
        False
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    shapes = tuple((name, tuple(t.shape), t.dtype, t.requires_grad) for name, t in tensors)
    modules = tuple((name, *_attributes(module)) for name, module in model.named_modules())
    known = all(value is not None for _, *attributes in modules for _, value in attributes)
    arguments = None if known else repr(sorted(architecture.items()))
    return hashlib.sha256(repr((shapes, modules, arguments)).encode()).hexdigest()


def plain_attributes(model: nn.Module) -> list[tuple[str, str, str]]:
    """Give the numbers, texts and the like among the attributes of all modules: what a network may count its calls in.

    Example:
        >>> dropout = nn.Dropout(0.5)
        >>> before = plain_attributes(dropout)
        >>> dropout.p = 0.4
        >>> set(plain_attributes(dropout)) - set(before)
        {('', 'p', '0.4')}
    """
    attributes = ((path, *one) for path, module in model.named_modules() for one in module.__dict__.items())
    return [(path, name, repr(value)) for path, name, value in attributes if isinstance(value, _PLAIN)]


def _attributes(module: nn.Module) -> Iterable[tuple[str, str | None]]:
    yield "class", _token(type(module))
    for name, value in sorted(module.__dict__.items()):
        if name == "training" or (name not in _OF_EVERY_MODULE and not (name == "p" and type(module) in DROPOUTS)):
            yield name, _token(value)


def _token(value: Any) -> str | None:
    """Give a text that is equal for equal values, or None where that cannot be told."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, type):
        # A class made while the program runs (as parametrisations are) may only look like another of its name.
        module, name = value.__module__, value.__qualname__
        return f"{module}.{name}" if getattr(sys.modules.get(module), name, None) is value else None
    if isinstance(value, Tensor):
        # Bytes, since numpy does not know all types.
        content = value.detach().cpu().flatten().view(torch.uint8)
        return f"{value.dtype}{tuple(value.shape)}{hashlib.sha256(content.numpy().tobytes()).hexdigest()}"
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        parts = value.items() if isinstance(value, dict) else value
        tokens = [_token(part) for part in parts]
        known = [token for token in tokens if token is not None]
        return f"{type(value).__name__}{known}" if len(known) == len(tokens) else None
    return None
