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
from deap_hpo.training.measures import Measure, accuracy, check_measure, placed, usual_measures
from deap_hpo.training.normalization import Normalize
from deap_hpo.training.optimizers import OptimizerFactory, check_factory, make_optimizer
from deap_hpo.training.recipe import OPTIMIZER_FIELDS, Recipe
from deap_hpo.training.state import trainable_parameters
from deap_hpo.vocabulary import hinting

ALWAYS_MEASURED = ("loss", "parameters", "seconds")
"""Besides the metrics of a task: validation loss, trainable parameters of the network, seconds that training took."""


@dataclass(frozen=True)
class Task:
    """A network to be tuned.

    A hyperparameter named like a field of `Recipe` (`lr`, `momentum`, `batch_size`, ...) sets that field. Any other one
    is passed by keyword to the model factory; or, where that has no argument of this name and the loss has, to the loss
    of training, as `label_smoothing` of `torch.nn.functional.cross_entropy`. Networks are measured by the loss without
    such arguments: what they are judged by stays the same for all.

    Attributes:
        name: Name for people and for the record.
        model: Factory of an `nn.Module`; architecture hyperparameters are its keyword arguments.
        data: What to train and validate on.
        loss: Mean loss of a batch, (output, target) -> 0-dim tensor; it is what training minimises. Further arguments
            of a function, or of a module's `forward`, may be hyperparameters; they need defaults. The default takes
            logits and log-probabilities alike. A module, as `nn.CrossEntropyLoss(weight=...)`, is copied for each
            training, to its device; so are metrics.
        metrics: Further measures by name, (outputs, targets) -> one number: a tensor, a float or a number of numpy's.
            Each is called once with all of a split, tensors on the device of the training, so it need be no mean.
        objective: What is optimised: the name of a metric, "loss", "parameters" (trainable ones of the network) or
            "seconds" (of training, validation included: such a record depends on the machine, and on what else it
            does); or several names, for an algorithm that takes several objectives.
        direction: "minimize" or "maximize", for all objectives or for each; by default accuracy is maximised, anything
            else minimised. Networks are trained on the loss in any case.
        constraints: What has to hold, such as "parameters <= 1e6" or "accuracy >= 0.8", by the same names. A network
            with too many (or too few) parameters is not trained.
        recipe: Values of the training settings that are not searched.
        optimizer: Makes the optimiser, (network, ...) -> `torch.optim.Optimizer`, in place of the one that the recipe
            names: with groups of parameters, say, or of another kind. Its further arguments, as `lr`, are
            hyperparameters; or they have their defaults, whatever the recipe's. The schedule multiplies the learning
            rates of all groups. A class, as `torch.optim.NAdam`, is given the network's parameters.
        evaluation_batch_size: Examples per batch when measuring. It changes speed only, unless what network or loss
            make of an example depends on the others of its batch: that of a loss with class weights does, a little.

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

    def __post_init__(self) -> None:
        if isinstance(self.model, nn.Module):
            raise InputError(
                "model must be a class or a function that makes a fresh network for each training; got a network "
                f"itself, a {type(self.model).__name__}."
            )
        if not callable(self.model):
            raise InputError(f"model must be a class or a function that makes a network; got {self.model!r}.")
        check_integer("evaluation_batch_size", self.evaluation_batch_size, 1)
        if not isinstance(self.metrics, Mapping):
            raise InputError(f"metrics must be a dict of functions by name; got {self.metrics!r}.")
        if not isinstance(self.recipe, Recipe):
            raise InputError(f"recipe must be a Recipe, such as Recipe(batch_size=64); got {self.recipe!r}.")
        if self.optimizer is not None:
            check_factory(self.optimizer, self.recipe)
        check_measure("loss", self.loss)
        for name, measure in self.metrics.items():
            check_measure(f"metrics[{name!r}]", measure)
        for name in ALWAYS_MEASURED:
            if name in self.metrics:
                raise InputError(f"metrics must not have the name {name!r}, which is always measured.")
        _ = self.goals

    @property
    def goals(self) -> Goals:
        """Objectives, directions and constraints; an InputError where they are not what `Task` says."""
        known = [*ALWAYS_MEASURED, *self.metrics]
        names = [self.objective] if isinstance(self.objective, str) else self.objective
        usual: list[Direction] = ["maximize" if self.metrics.get(name) is accuracy else "minimize" for name in names]
        return Goals.of(self.objective, self.direction or usual, self.constraints, known=known)

    @property
    def parts(self) -> Mapping[str, Any]:
        """What it is made of, but for data and recipe, whose settings tell them apart."""
        own: dict[str, Any] = {} if self.optimizer is None else {"optimizer": self.optimizer}
        own |= {"schedule": self.recipe.schedule} if callable(self.recipe.schedule) else {}
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
        objective: str | Sequence[str] = "loss",
        direction: Direction | Sequence[Direction] | None = None,
        constraints: Sequence[str] = (),
        recipe: Recipe | None = None,
        optimizer: OptimizerFactory | None = None,
        evaluation_batch_size: int = 1000,
    ) -> Task:
        """Make a task of a network and of data in about any form.

        Args:
            model: Factory of an `nn.Module`.
            data: A pair (inputs, targets) of numpy arrays or tensors, or a map-style dataset (torchvision's, your own)
                of such pairs. Several inputs are a dict by the names of the network's arguments, several targets one
                as loss and metrics take it. Everything is read into memory once; what a dataset draws at random is so,
                too, which a warning says: augmentation belongs into the network.
            validation: Examples to judge by: a share in (0, 1) of what `test` leaves, a number, or data of their own.
            test: Examples that the search must not see: a share, a number, or data of their own; or None.
            name: Name for people and the record.
            split_seed: Seed of the choice of validation examples.
            stratify: Whether classes are as frequent among these as in all data, as scikit-learn splits.
            normalize: Whether inputs other than whole numbers are brought to mean 0 and standard deviation 1 by the
                training examples, each feature of a table, each channel of an image; or the names of those of several
                inputs that are; or a pair (mean, deviation), numbers or a list for each channel, of pixels from 0 to 1.
                The trained network expects the same, `task.data.prepare(inputs)`, wherever it is used.
            loss: By default cross-entropy where targets are whole numbers (outputs [N, C] are logits, or
                log-probabilities), else the mean squared error; of several targets there is no default.
            metrics: By default `accuracy`, or `mean_absolute_error`; none where there are several targets.
            objective: What is optimised, a name or several; see `Task`.
            direction: Which way is better; see `Task`.
            constraints: What has to hold; see `Task`.
            recipe: Training settings that are not searched.
            optimizer: Makes the optimiser of a network, in place of the recipe's; see `Task`.
            evaluation_batch_size: Examples per batch when measuring; see `Task`.

        Raises:
            InputError: The data cannot be read as examples and targets, or a setting is out of its range.

        Warns:
            DeapHPOWarning: Targets of a regression are all 0 and 1; or examples of a dataset are drawn at random.

        Example:
            >>> import numpy as np
            >>> inputs = np.random.default_rng(0).normal(size=(100, 4))
            >>> task = Task.from_data(lambda: nn.Linear(4, 1), (inputs, inputs.sum(1)))
            >>> len(task.data.training), task.data.test, list(task.metrics)
            (80, None, ['mean_absolute_error'])
        """
        read = read_data(
            name,
            data,
            validation=validation,
            test=test,
            split_seed=split_seed,
            stratify=stratify,
            normalize=normalize,
        )
        usual_loss, usual_metrics = usual_measures(name, read.training.targets, loss)
        return cls(
            name=name,
            model=model,
            data=read,
            loss=usual_loss,
            metrics=usual_metrics if metrics is None else metrics,
            recipe=recipe or Recipe(),
            optimizer=optimizer,
            evaluation_batch_size=evaluation_batch_size,
            objective=objective,
            direction=direction,
            constraints=constraints,
        )

    def to(self, device: torch.device | str) -> Task:
        """Copy data to a device, and the losses and metrics that are modules (which may have class weights)."""
        metrics = {name: placed(measure, device) for name, measure in self.metrics.items()}
        return replace(self, data=self.data.to(device), loss=placed(self.loss, device), metrics=metrics)

    @property
    def destinations(self) -> Destinations:
        """Where its hyperparameters go."""
        return Destinations(self.model, self.loss, self.optimizer, self.recipe.schedule)

    def configure(self, params: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
        """Tell training settings from architecture: (the task's recipe with `params`, keywords for the factory).

        Raises:
            InputError: A name is none of the recipe's, nor an argument of schedule, optimiser, factory or loss.
        """
        self.check_names(params)
        parts = self.destinations.split(params)
        recipe = replace(self.recipe, **parts["recipe"]).with_schedule_arguments(parts["schedule"])
        return recipe, parts["model"]

    def optimizer_of(self, network: nn.Module, params: Mapping[str, Any]) -> torch.optim.Optimizer:
        """Make the optimiser of a network.

        Raises:
            InputError: The task's own makes none, or none that can be used here.
        """
        parts = self.destinations.split(params)
        return make_optimizer(replace(self.recipe, **parts["recipe"]), self.optimizer, parts["optimizer"], network)

    def loss_arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Give the hyperparameters that networks are trained by as arguments of the loss.

        Example:
            >>> from deap_hpo.training.data import load_digits
            >>> from deap_hpo.training.models import MLP
            >>> task = Task("digits", MLP, load_digits())
            >>> task.loss_arguments({"lr": 0.1, "width": 32, "label_smoothing": 0.05})
            {'label_smoothing': 0.05}
        """
        return self.destinations.split(params)["loss"]

    def training_loss(self, params: Mapping[str, Any]) -> Measure:
        """Give the loss with the hyperparameters that are its arguments."""
        return partial(self.loss, **self.loss_arguments(params))

    def count_parameters(self, params: Mapping[str, Any]) -> int:
        """Count the trainable parameters of the network that hyperparameters make; it is built for that.

        Raises:
            InputError: A hyperparameter is unknown.
        """
        _, architecture = self.configure(params)
        with torch.random.fork_rng(devices=[]):
            network = self.model(**architecture)
            self.optimizer_of(network, params)  # which may freeze some
            return trainable_parameters(network)

    def check(self, params: Mapping[str, Any]) -> None:
        """Build the network and measure it on two examples: what cannot work is said before anything is trained.

        Raises:
            InputError: A hyperparameter is unknown, or network, data, optimiser, loss and metrics do not fit together.
        """
        recipe, architecture = self.configure(params)
        recipe.lr_factors(0, -(-len(self.data.training) // recipe.batch_size), epochs=10)  # for what it raises
        measures = {"loss": self.loss, **self.metrics}
        optimizer_of = self.optimizer and partial(self.optimizer_of, params=params)
        check_fit(self.name, self.model, architecture, self.data, measures, self.loss_arguments(params), optimizer_of)

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse hyperparameters that have nowhere to go; call it before a run rather than at its first training.

        Raises:
            InputError: A name is neither a setting of the recipe nor an argument of optimiser, factory or loss; or two
                of them have it.
        """
        self.destinations.check(names)
