"""A task: which network is trained, on which data, judged by which loss, and which hyperparameters go where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from deap_hpo.checks import check_integer
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.goals import Goals
from deap_hpo.training.arrays import read_data
from deap_hpo.training.data import Data
from deap_hpo.training.destinations import Destinations
from deap_hpo.training.fit import check_fit
from deap_hpo.training.labels import ignored_by
from deap_hpo.training.measures import (
    ACCURACIES,
    Cost,
    Measure,
    accuracy,
    check_measures,
    placed,
    usual_measures,
)
from deap_hpo.training.normalization import Normalize
from deap_hpo.training.optimizers import OptimizerFactory, check_factory, make_optimizer
from deap_hpo.training.recipe import OPTIMIZER_FIELDS, Recipe
from deap_hpo.vocabulary import hinting

ALWAYS_MEASURED = ("loss", "parameters", "seconds")
"""Measured besides a task's metrics: validation loss, number of trainable parameters, and seconds of training."""


@dataclass(frozen=True)
class Task:
    """A network to tune.

    A hyperparameter named like a field of `Recipe` (`lr`, `momentum`, `batch_size`, ...) sets that field. Any other one
    is an argument of the schedule, of the task's own optimiser, or of the model factory; or, if the factory has none of
    that name, of the training loss, such as `label_smoothing` of `torch.nn.functional.cross_entropy`. Networks are
    measured by the loss without such arguments, so that all are judged alike.

    Attributes:
        name: Name for display and for the record.
        model: Factory of an `nn.Module`; architecture hyperparameters are its keyword arguments.
        data: What to train and validate on.
        loss: Mean loss of a batch, (output, target) -> 0-dim tensor, which training minimises. Further arguments of a
            function, or of a module's `forward`, may be hyperparameters; they need defaults. The default loss takes
            logits and log-probabilities alike. A module, such as `nn.CrossEntropyLoss(weight=...)`, is copied to the
            device for each training; so are metrics.
        metrics: Further measures by name, (outputs, targets) -> one number: a tensor, a float or a numpy number. Each
            is called once with a whole split, as tensors on the training's device, so it need not be a mean.
        costs: Measures of a network before its training, by name: network -> one number, such as its operations or its
            latency. The network is in evaluation mode on the training's device.
        objective: What is optimised: the name of a metric or cost, "loss", "parameters" (the number of trainable ones)
            or "seconds" (of training and validation; such a record depends on the machine and its load). Several names
            make several objectives, for an algorithm that takes them.
        direction: "minimize" or "maximize", for all objectives or one for each. By default accuracy is maximised and
            anything else minimised. Networks are trained on the loss in any case.
        constraints: Conditions on the same names, such as "parameters <= 1e6" or "accuracy >= 0.8". A network that
            breaks one on its number of parameters or a cost is not trained.
        recipe: Values of the training settings that are not searched.
        optimizer: Makes the optimiser instead of the recipe, (network, ...) -> `torch.optim.Optimizer`: for example
            with parameter groups, or of another kind. Its further arguments, such as `lr`, are hyperparameters; those
            that are not searched keep their defaults, whatever the recipe says. The schedule multiplies the learning
            rates of all groups. A class, such as `torch.optim.NAdam`, is given the network's parameters.
        evaluation_batch_size: Examples per batch when measuring. It changes the speed only, unless an example's output
            or loss depends on the rest of its batch: with class weights, the loss does, a little.

    Raises:
        InputError: A setting is of the wrong type or out of its range.

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
    data: Data = field(repr=False)
    loss: Measure = F.cross_entropy
    metrics: Mapping[str, Measure] = field(default_factory=lambda: {"accuracy": accuracy})
    recipe: Recipe = field(default_factory=Recipe)
    optimizer: OptimizerFactory | None = None
    evaluation_batch_size: int = 1000
    objective: str | Sequence[str] = "loss"
    direction: Direction | Sequence[Direction] | None = None
    constraints: Sequence[str] = ()
    costs: Mapping[str, Cost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.model, nn.Module):
            raise InputError(
                "model must be a class or a function that makes a fresh network for each training; got a network "
                f"itself, a {type(self.model).__name__}."
            )
        if not callable(self.model):
            raise InputError(f"model must be a class or a function that makes a network; got {self.model!r}.")
        check_integer("evaluation_batch_size", self.evaluation_batch_size, 1)
        if not isinstance(self.recipe, Recipe):
            raise InputError(f"recipe must be a Recipe, such as Recipe(batch_size=64); got {self.recipe!r}.")
        if self.optimizer is not None:
            check_factory(self.optimizer, self.recipe)
        check_measures(self.loss, self.metrics, self.costs, taken=ALWAYS_MEASURED)
        _ = self.goals

    @property
    def goals(self) -> Goals:
        """Objectives, directions and constraints; raises InputError if they are invalid."""
        known = [*ALWAYS_MEASURED, *self.metrics, *self.costs]
        names = [self.objective] if isinstance(self.objective, str) else self.objective
        usual: list[Direction] = ["maximize" if self.metrics.get(name) in ACCURACIES else "minimize" for name in names]
        return Goals.of(self.objective, self.direction or usual, self.constraints, known=known)

    @property
    def parts(self) -> Mapping[str, Any]:
        """The objects that the task consists of, without data and recipe, which their settings identify."""
        own: dict[str, Any] = {} if self.optimizer is None else {"optimizer": self.optimizer}
        own |= {"schedule": self.recipe.schedule} if callable(self.recipe.schedule) else {}
        own |= {"costs": dict(self.costs)} if self.costs else {}
        return {"model": self.model, "loss": self.loss, "metrics": dict(self.metrics), **own}

    @property
    def recipe_settings(self) -> dict[str, Any]:
        """The recipe's settings that trainings follow."""
        unused = OPTIMIZER_FIELDS if self.optimizer is not None else frozenset()
        return {name: value for name, value in self.recipe.settings.items() if name not in unused}

    @classmethod
    @hinting
    def from_data(
        cls,
        model: Callable[..., nn.Module],
        data: Any,
        *,
        validation: Any = 0.2,
        test: Any = None,
        name: str = "task",
        split_seed: int = 0,
        stratify: bool = False,
        normalize: Normalize = True,
        loss: Measure | None = None,
        metrics: Mapping[str, Measure] | None = None,
        costs: Mapping[str, Cost] | None = None,
        objective: str | Sequence[str] = "loss",
        direction: Direction | Sequence[Direction] | None = None,
        constraints: Sequence[str] = (),
        recipe: Recipe | None = None,
        optimizer: OptimizerFactory | None = None,
        evaluation_batch_size: int = 1000,
    ) -> Task:
        """Make a task from a network and from data in almost any form.

        Args:
            model: Factory of an `nn.Module`.
            data: A pair (inputs, targets) of numpy arrays or tensors, or a map-style dataset (torchvision's, your own)
                of such pairs. Several inputs are a dict by the names of the network's arguments; several targets are a
                dict that loss and metrics receive as it is. Everything is read into memory once. Random draws of a
                dataset are made once, too, with a warning: augmentation belongs in the network.
            validation: Examples to judge by: a share in (0, 1) of what `test` leaves, a number, or separate data.
            test: Examples that the search must not see: a share, a number, or separate data; None for none.
            name: Name for display and for the record.
            split_seed: Seed of the choice of validation and test examples.
            stratify: Whether these examples keep the class frequencies of all data, as in scikit-learn.
            normalize: Whether to scale inputs other than tokens (int64) to mean 0 and standard deviation 1 over the
                training examples, by feature of a table or channel [N, channels, ...]. "last" scales floats by the
                features of their last axis, as of sequences [N, steps, features]. If there are several inputs, it may
                be the names of those to scale; otherwise a pair (mean, deviation) for pixels from 0 to 1, each a number
                or a list with one per channel. Scale a trained network's inputs alike: `task.data.prepare(inputs)`.
            loss: Default: cross-entropy for whole-number targets (outputs [N, C] are logits or log-probabilities), else
                the mean squared error. Several targets have no default.
            metrics: Default: `accuracy` for classes, one-hot rows (with a cross-entropy) and labels (with
                `nn.BCEWithLogitsLoss`), else `mean_absolute_error`; none for several targets.
            costs: Measures of a network before its training; see `Task`.
            objective: What is optimised, one name or several; see `Task`.
            direction: Which way is better; see `Task`.
            constraints: Conditions that a network must meet; see `Task`.
            recipe: Training settings that are not searched.
            optimizer: Makes a network's optimiser instead of the recipe; see `Task`.
            evaluation_batch_size: Examples per batch when measuring; see `Task`.

        Raises:
            InputError: The data cannot be read as examples and targets, or a setting is out of its range.

        Warns:
            DeapHPOWarning: Inputs or targets may be meant in another way than they are read.

        Example:
            >>> import numpy as np
            >>> inputs = np.random.default_rng(0).normal(size=(100, 4))
            >>> task = Task.from_data(lambda: nn.Linear(4, 1), (inputs, inputs.sum(1)))
            >>> len(task.data.training), task.data.test, list(task.metrics)
            (80, None, ['mean_absolute_error'])
        """
        how: Any = {"split_seed": split_seed, "stratify": stratify, "normalize": normalize}
        read = read_data(name, data, validation=validation, test=test, ignored=ignored_by(loss), **how)
        usual_loss, usual_metrics = usual_measures(name, read.training.targets, loss)
        return cls(
            name=name,
            model=model,
            data=read,
            loss=usual_loss,
            metrics=usual_metrics if metrics is None else metrics,
            costs={} if costs is None else costs,
            recipe=recipe or Recipe(),
            optimizer=optimizer,
            evaluation_batch_size=evaluation_batch_size,
            objective=objective,
            direction=direction,
            constraints=constraints,
        )

    def to(self, device: torch.device | str) -> Task:
        """Copy data to a device, and the losses and metrics that are modules (they may have class weights)."""
        metrics = {name: placed(measure, device) for name, measure in self.metrics.items()}
        return replace(self, data=self.data.to(device), loss=placed(self.loss, device), metrics=metrics)

    @property
    def destinations(self) -> Destinations:
        """Where the task's hyperparameters go."""
        return Destinations(self.model, self.loss, self.optimizer, self.recipe.schedule)

    def configure(self, params: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
        """Split hyperparameters into (the task's recipe with its settings replaced, keywords for the model factory).

        Raises:
            InputError: A name is neither a recipe setting nor an argument of schedule, optimiser, factory or loss.
        """
        self.check_names(params)
        parts = self.destinations.split(params)
        recipe = replace(self.recipe, **parts["recipe"]).with_schedule_arguments(parts["schedule"])
        return recipe, parts["model"]

    def optimizer_of(self, network: nn.Module, params: Mapping[str, Any]) -> torch.optim.Optimizer:
        """Make the optimiser of a network.

        Raises:
            InputError: The task's own factory makes no optimiser, or one that cannot be used here.
        """
        parts = self.destinations.split(params)
        return make_optimizer(replace(self.recipe, **parts["recipe"]), self.optimizer, parts["optimizer"], network)

    def loss_arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Give the hyperparameters that are arguments of the training loss.

        Example:
            >>> from deap_hpo.training.data import load_digits
            >>> from deap_hpo.training.models import MLP
            >>> task = Task("digits", MLP, load_digits())
            >>> task.loss_arguments({"lr": 0.1, "width": 32, "label_smoothing": 0.05})
            {'label_smoothing': 0.05}
        """
        return self.destinations.split(params)["loss"]

    def training_loss(self, params: Mapping[str, Any]) -> Measure:
        """Give the loss that training minimises: with the hyperparameters that are its arguments."""
        return partial(self.loss, **self.loss_arguments(params))

    def check(self, params: Mapping[str, Any]) -> None:
        """Build the network and measure it on two examples, to report errors before anything is trained.

        Raises:
            InputError: A hyperparameter is unknown, or network, data, optimiser, loss and metrics do not fit together,
                or a cost cannot be measured.
        """
        recipe, architecture = self.configure(params)
        recipe.lr_factors(0, -(-len(self.data.training) // recipe.batch_size), epochs=10)  # raises if invalid
        measures = {"loss": self.loss, **self.metrics}
        optimizer_of = self.optimizer and partial(self.optimizer_of, params=params)
        check_fit(
            self.name,
            self.model,
            architecture,
            self.data,
            measures,
            self.loss_arguments(params),
            optimizer_of,
            self.costs,
        )

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse hyperparameters that have no destination; call it before a run rather than at its first training.

        Raises:
            InputError: A name is neither a recipe setting nor an argument of schedule, optimiser, factory or loss; or
                its destination is ambiguous.
        """
        self.destinations.check(names)
