"""A task: which network is trained, on which data, judged by which loss, and which hyperparameters go where."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from deap_hpo.errors import InputError
from deap_hpo.training.data import Data
from deap_hpo.training.recipe import RECIPE_FIELDS, Recipe

Measure = Callable[[Tensor, Tensor], Tensor]


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Give the share of rows of `output` [N, C] whose largest entry is at `target` [N], as a 0-dim float tensor."""
    return (output.argmax(1) == target).float().mean()


def _accuracy_only() -> Mapping[str, Measure]:
    return {"accuracy": accuracy}


@dataclass(frozen=True)
class Task:
    """A network to be tuned.

    A hyperparameter named like a field of `Recipe` (`lr`, `momentum`, `batch_size`, ...) sets that field; any other
    one is passed to the model factory by keyword. To be trained in worker processes, a task has to pickle: its
    functions are then top-level ones.

    Attributes:
        name: Name for people and for the record.
        model: Factory of an `nn.Module`; architecture hyperparameters are its keyword arguments.
        data: What to train and validate on.
        loss: Mean loss of a batch, (output, target) -> 0-dim tensor; it is what is minimised.
        metrics: Further measures by name, (output, target) -> 0-dim tensor, each a mean over the examples.
        recipe: Values of the training settings that are not searched.
        evaluation_batch_size: Examples per batch when measuring; changes speed only.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> task = Task("digits", MLP, load_digits(), recipe=Recipe(momentum=0.9))
        >>> recipe, architecture = task.configure({"lr": 0.1, "width": 32})
        >>> recipe.lr, recipe.momentum, architecture
        (0.1, 0.9, {'width': 32})
    """

    name: str
    model: Callable[..., nn.Module]
    data: Data
    loss: Measure = F.nll_loss
    metrics: Mapping[str, Measure] = field(default_factory=_accuracy_only)
    recipe: Recipe = field(default_factory=Recipe)
    evaluation_batch_size: int = 1000

    def configure(self, params: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
        """Tell training settings from architecture: (the task's recipe with `params`, keywords for the factory).

        Raises:
            InputError: A name is neither a setting of the recipe nor an argument of the factory.
        """
        self.check_names(params)
        settings = {name: value for name, value in params.items() if name in RECIPE_FIELDS}
        architecture = {name: value for name, value in params.items() if name not in RECIPE_FIELDS}
        return replace(self.recipe, **settings), architecture

    def check_names(self, names: Mapping[str, Any]) -> None:
        """Refuse hyperparameters that have nowhere to go; call it before a run rather than at its first training.

        Raises:
            InputError: A name is neither a setting of the recipe nor an argument of the factory.
        """
        arguments = inspect.signature(self.model).parameters
        if any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values()):
            return
        known = RECIPE_FIELDS | set(arguments)
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise InputError(
                    f"hyperparameter {name!r} must be a training setting ({', '.join(sorted(RECIPE_FIELDS))}) or an "
                    f"argument of the model ({', '.join(arguments) or 'it takes none'}); it is neither.{hint}"
                )
