"""The destinations of a task's hyperparameters: its recipe, schedule, optimiser, model factory or loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from deap_hpo.errors import InputError, nearest
from deap_hpo.training.learning_rates import FUNCTIONS, LrSchedule, arguments_of
from deap_hpo.training.measures import Measure
from deap_hpo.training.optimizers import OptimizerFactory
from deap_hpo.training.recipe import LATER_FIELDS, OPTIMIZER_FIELDS, RECIPE_FIELDS

_ALSO_CALLED = {"learning_rate": "lr", "l2": "weight_decay", "wd": "weight_decay", "optim": "optimizer"}


class Destinations:
    """The names that a task's recipe, schedule, optimiser, factory and loss take, and so where hyperparameters go.

    Arguments of schedules that the recipe does not name may be hyperparameters, too, unless something else takes them,
    because schedules may be searched.

    Args:
        model: Factory of the network.
        loss: The loss; its arguments after outputs and targets count.
        optimizer: The user's factory of optimisers, whose arguments after the network count; None if the recipe names
            the optimiser.
        schedule: The recipe's schedule of the learning rate.

    Example:
        >>> from torch.nn.functional import cross_entropy
        >>> from deap_hpo.training.models import MLP
        >>> Destinations(MLP, cross_entropy).split({"lr": 0.1, "width": 32, "label_smoothing": 0.05})
        {'recipe': {'lr': 0.1}, 'schedule': {}, 'optimizer': {}, 'model': {'width': 32}, 'loss': {'label_smoothing': \
0.05}}
    """

    def __init__(
        self,
        model: Callable[..., nn.Module],
        loss: Measure,
        optimizer: OptimizerFactory | None = None,
        schedule: str | LrSchedule = "constant",
    ) -> None:
        self._recipe = RECIPE_FIELDS if optimizer is None else RECIPE_FIELDS - OPTIMIZER_FIELDS
        self._has_own = optimizer is not None
        self._has_own_schedule = callable(schedule)
        self._optimizer = frozenset[str]() if optimizer is None else keywords(optimizer, after=1)
        self._model = inspect.signature(model).parameters
        self._any = any(argument.kind is argument.VAR_KEYWORD for argument in self._model.values())
        self._loss = keywords(loss, after=2) - self._model.keys() if not self._any else frozenset[str]()
        own = schedule if callable(schedule) else FUNCTIONS.get(schedule)
        self._schedule = frozenset[str]() if own is None else arguments_of(own)
        others = frozenset[str]().union(*map(arguments_of, FUNCTIONS.values()))
        self._searched = others - self._recipe - self._optimizer - self._model.keys() - self._loss
        if not self._any:  # otherwise the factory takes them, unless schedules are searched
            self._schedule |= self._searched

    def split(self, params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Group hyperparameters by destination: "recipe", "schedule", "optimizer", "model" or "loss"."""
        parts: dict[str, dict[str, Any]] = {"recipe": {}, "schedule": {}, "optimizer": {}, "model": {}, "loss": {}}
        for name, value in params.items():
            searched = name in self._searched and "schedule" in params
            parts["schedule" if searched else self._of(name)][name] = value
        return parts

    def _of(self, name: str) -> str:
        taken = {"recipe": self._recipe, "schedule": self._schedule, "optimizer": self._optimizer, "loss": self._loss}
        return next((part for part, names in taken.items() if name in names), "model")

    def ambiguous(self, names: Iterable[str]) -> list[str]:
        """Give the names that go to the recipe although the factory also has an argument of that name."""
        return [name for name in names if name in self._recipe and name in self._model]

    def check(self, names: Iterable[str]) -> None:
        """Refuse hyperparameters that have no destination, or two.

        Raises:
            InputError: Nothing takes this name; or both the recipe and the loss take it, or the schedule or the
                optimiser and something else; or the factory takes it, and a later version made it a recipe field.
        """
        # In a continued record, a factory must not silently lose an argument that has since become a recipe field.
        setting, arguments = "a training setting", {"optimizer": self._optimizer, "schedule": self._schedule}
        both = dict.fromkeys(LATER_FIELDS.keys() & self._recipe & self._model.keys(), (setting, "model"))
        both |= dict.fromkeys(self._recipe & self._loss, (setting, "loss"))
        both |= dict.fromkeys(self._optimizer & self._schedule, ("an argument of the optimizer", "schedule"))
        for one, taken in arguments.items():
            both |= dict.fromkeys(self._recipe & taken, (setting, one))
            both |= dict.fromkeys(taken & self._model.keys(), (f"an argument of the {one}", "model"))
            both |= dict.fromkeys(taken & self._loss, (f"an argument of the {one}", "loss"))
        for name in names:
            if name in both:
                first, other = both[name]
                raise InputError(
                    f"hyperparameter {name!r} is {first} and an argument of the {other}; give that of the {other} "
                    "another name."
                )
            if self._of(name) == "model" and name not in self._model and not self._any:
                raise InputError(self._unknown(name))

    def _unknown(self, name: str) -> str:
        def names(taken: Iterable[str]) -> str:
            return ", ".join(taken) or "it takes none"

        own = "it takes none by name"
        optimizer = f" or of the optimizer ({', '.join(sorted(self._optimizer)) or own})" if self._has_own else ""
        schedule = f" or of the schedule ({', '.join(sorted(self._schedule))})" if self._has_own_schedule else ""
        known = self._recipe.union(self._schedule, self._optimizer, self._model, self._loss)
        near = _ALSO_CALLED.get(name.lower())
        near = near if near in known else nearest(name, known)
        hint = f" Did you mean {near!r}?" if near else ""
        if self._has_own and name in OPTIMIZER_FIELDS:
            hint = " Settings of the recipe's optimizers are not used beside an optimizer of the task's own."
        if name == "epochs":
            hint = " Epochs are the trainer's, make_trainer(epochs=...); hyperband and its kin vary them."
        return (
            f"hyperparameter {name!r} must be a training setting ({', '.join(sorted(self._recipe))}) or an argument of "
            f"the model ({names(self._model)}){schedule}{optimizer} or of the loss ({names(sorted(self._loss))}); it "
            f"is none of these.{hint}"
        )


def keywords(function: Callable[..., Any], *, after: int) -> frozenset[str]:
    """Give the names of a function's arguments after the first ones, as far as they are known.

    Args:
        function: A function, a class, or a module, of which `forward` counts.
        after: Number of arguments to skip.

    Example:
        >>> def focal(output, target, focus=2.0): ...
        >>> sorted(keywords(focal, after=2)), sorted(keywords(nn.CrossEntropyLoss(), after=2))
        (['focus'], [])
    """
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):  # some functions written in C
        return frozenset()
    named = [one.name for one in parameters[after:] if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return frozenset(named)
