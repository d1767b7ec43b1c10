"""Which members can be trained as one stack: those whose networks differ only in numbers."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from typing import Any

from torch import nn

from deap_hpo.evaluation import Epoch
from deap_hpo.training.keyed import keyed_generators, keyed_model
from deap_hpo.training.optimizers import update_structure
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.stacking.stackable import obstacle
from deap_hpo.training.state import TrainingState
from deap_hpo.training.task import Task
from deap_hpo.training.tokens import PLAIN, Tokens, own_attributes
from deap_hpo.training.underway import Underway

# Modules whose rate may differ between the members of a stack, as `KeyedDropout` allows, and the attribute of the rate.
DROPOUT_ATTRIBUTES: dict[type[nn.Module], str] = {
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), "p"),
    **dict.fromkeys((nn.MultiheadAttention, nn.RNN, nn.GRU, nn.LSTM), "dropout"),
}


@dataclass(frozen=True, eq=False)
class Member:
    """One training: a configuration with one seed.

    Attributes:
        position: Position of its request in the batch.
        repeat: Number of the repeat within its request, from 0.
        seed: Seed of this training.
        params: Hyperparameters; recipe and architecture follow from them.
        recipe: Training settings.
        architecture: Keyword arguments of the model factory.
        epochs: The epochs, from 0, to train.
        state: Where to continue from; None for the initial weights.
        underway: Where its state is kept meanwhile.
        curve: Epochs of this training from a process that was killed; `state` is the one after them.
        begins: The state before these epochs; None for the initial weights.
        alone: Where its state is kept if it is trained alone.
    """

    position: int
    repeat: int
    seed: int
    params: Mapping[str, Any]
    recipe: Recipe
    architecture: Mapping[str, Any]
    epochs: range = range(1)
    state: TrainingState | None = None
    underway: Underway | None = None
    curve: tuple[Epoch, ...] = ()
    begins: TrainingState | None = None
    alone: Underway | None = None

    @property
    def steps(self) -> int:
        """Training steps before the first epoch."""
        return self.state.steps if self.state else 0


def training_structure(member: Member) -> Hashable:
    """Give what must be equal in the trainings of two members for them to be in one stack."""
    recipe = member.recipe
    return recipe.optimizer, recipe.nesterov, recipe.batch_size, member.epochs, member.steps


def member_structure(task: Task, member: Member) -> Hashable:
    """Give what must be equal in the networks of members of one stack, and in the task's own optimisers.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> task = Task("digits", MLP, load_digits())
        >>> def of(**params):
        ...     return member_structure(task, Member(0, 0, 1, params, *task.configure(params)))
        >>> of(lr=0.1) == of(lr=0.2), of(width=8) == of(width=16)
        (True, False)
    """
    model = keyed_model(partial(task.model, **member.architecture), member.seed)
    own: Hashable = None
    if task.optimizer is not None:
        with keyed_generators(member.seed):
            own = update_structure(task.optimizer_of(model, member.params), model)  # it may freeze parameters
    return network_structure(model, member.architecture, member.seed), own


def network_structure(model: nn.Module, architecture: Mapping[str, Any], seed: int = 0) -> str:
    """Give what must be equal in the networks of two members for them to be in one stack, as a digest.

    This covers modules, their types, hooks and attributes other than dropout rates, the shapes and types of parameters
    and buffers, and the names under which each of these occurs again. If a module holds something that cannot be
    compared (an object of unknown kind), everything that it was made from must be equal: the arguments of the factory,
    and the seed. Obstacles to stacking must be equal, too.

    Example:
        >>> from deap_hpo.training.models import MLP
        >>> def of(**architecture):
        ...     return network_structure(MLP(**architecture), architecture)
        >>> of(width=8, dropout=0.1) == of(width=8, dropout=0.5)
        True
        >>> of(width=8) == of(width=16)
        False
    """
    tensors, tokens = [*model.named_parameters(), *model.named_buffers()], Tokens(model)
    shapes = tuple((name, None if t.is_nested else tuple(t.shape), t.dtype, t.requires_grad) for name, t in tensors)
    modules = tuple((name, *_attributes(module, tokens)) for name, module in model.named_modules())
    known = all(value is not None for _, *attributes in modules for _, value in attributes)
    arguments = None if known else (repr(sorted(architecture.items())), seed)
    return hashlib.sha256(repr((shapes, modules, _ties(model), arguments, obstacle(model))).encode()).hexdigest()


def _ties(model: nn.Module) -> list[list[str]]:
    """Give the names of each module, parameter or buffer that has several."""
    kinds = (
        model.named_modules(remove_duplicate=False),
        model.named_parameters(remove_duplicate=False),
        model.named_buffers(remove_duplicate=False),
    )
    names: dict[int, list[str]] = {}
    for name, one in chain(*kinds):
        names.setdefault(id(one), []).append(name)
    return [several for several in names.values() if len(several) > 1]


def plain_attributes(model: nn.Module) -> list[tuple[str, str, str]]:
    """Give the numbers, texts and the like, and collections of these, among all modules' attributes.

    A network may count its calls in these.

    Example:
        >>> dropout = nn.Dropout(0.5)
        >>> before = plain_attributes(dropout)
        >>> dropout.p = 0.4
        >>> set(plain_attributes(dropout)) - set(before)
        {('', 'p', '0.4')}
    """
    attributes = ((path, *one) for path, module in model.named_modules() for one in module.__dict__.items())
    return [(path, name, repr(value)) for path, name, value in attributes if _is_plain(value)]


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, deque)):
        return bool(value) and all(isinstance(one, PLAIN) for one in value)  # an empty one may be meant for tensors
    return isinstance(value, (*PLAIN, count))


def _attributes(module: nn.Module, tokens: Tokens) -> Iterable[tuple[str, str | None]]:
    yield "class", tokens.of(type(module))
    for name, value in own_attributes(module):
        if name != DROPOUT_ATTRIBUTES.get(type(module)):
            yield name, tokens.of(value)
