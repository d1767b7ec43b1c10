"""The reference trainer: one network at a time, in plain torch. What every faster trainer has to agree with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Epoch, Evaluation, Request
from deap_hpo.training.data import Data, Split
from deap_hpo.training.hardware import (
    autocast,
    computing,
    environment,
    has_channels_last,
    keep_memory,
    resolve_device,
    resolve_precision,
    use_channels_last,
    widened,
)
from deap_hpo.training.keyed import (
    KeyedDropout,
    keyed_generators,
    keyed_model,
    keyed_permutation,
    member_keys,
    step_keys,
)
from deap_hpo.training.outcome import combine, conclude, measure, repeat_seeds
from deap_hpo.training.recipe import OPTIMIZERS
from deap_hpo.training.task import Task

# A look at the loss waits for the device. On a CPU that is free; on a GPU it would stall every step.
_STEPS_BETWEEN_CHECKS = {"cpu": 1}
_STEPS_BETWEEN_CHECKS_ELSEWHERE = 50


class ReferenceTrainer:
    """Trains the network of a task with given hyperparameters; the objective is the final validation loss.

    The result is a function of (hyperparameters, seed, epochs): on a CPU bit for bit, whatever else runs.
    A training whose loss stops being finite ends there, with status "diverged" and the value ``inf``.

    Args:
        task: What to train.
        epochs: Epochs of one evaluation, at least 1.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1".
        precision: "fp32", "bf16" (autocast), or "auto" (bf16 where the processor computes in it).
        repeats: Trainings of one evaluation, each with a seed of its own, at least 1. The value is their mean, the
            metrics tell their spread; see `outcome.combine`.

    Raises:
        InputError: An argument is out of range, or the device is not there.

    Example:
        >>> from functools import partial
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> task = Task("digits", partial(MLP, inputs=64), load_digits())
        >>> trainer = ReferenceTrainer(task, epochs=3, device="cpu")
        >>> evaluation = trainer({"lr": 0.1, "momentum": 0.9}, seed=1)
        >>> evaluation.status, len(evaluation.curve), evaluation.value < 0.5
        ('ok', 3, True)
    """

    def __init__(
        self,
        task: Task,
        *,
        epochs: int = 1,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        repeats: int = 1,
    ) -> None:
        for name, value in (("epochs", epochs), ("repeats", repeats)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be an integer of at least 1; got {value!r}.")
        self.task = task
        self.epochs = epochs
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.repeats = repeats
        self._data: Data | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on beside hyperparameters and seed; a resumed study has to have the same."""
        return {
            "task": self.task.name,
            "data": dict(self.task.data.description),
            "recipe": asdict(self.task.recipe),
            "epochs": self.epochs,
            "device": self.device.type,
            "precision": self.precision,
            "repeats": self.repeats,
        }

    @property
    def data(self) -> Data:
        """The task's data on the trainer's device, copied there at first use."""
        if self._data is None:
            self._data = self.task.data.to(self.device)
        return self._data

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None}

    def __call__(self, params: Mapping[str, Any], seed: int = 0) -> Evaluation:
        """Train and validate, once for each of the `repeats`; see `train`."""
        start = perf_counter()
        evaluations = [self.train(params, one)[1] for one in repeat_seeds(seed, self.repeats)]
        return combine(evaluations, perf_counter() - start)

    def prepare_worker(self) -> None:
        """Prepare a process that does nothing but evaluate."""
        keep_memory()

    def evaluate(self, request: Request) -> Evaluation:
        """Do one request of an executor."""
        return self(request.params, request.seed)

    def train(self, params: Mapping[str, Any], seed: int = 0) -> tuple[nn.Module, Evaluation]:
        """Train a network from scratch.

        Args:
            params: Hyperparameters by name; see `Task`.
            seed: Keys initial weights, batch order and dropout, and seeds what the network draws itself.

        Returns:
            The trained network (in evaluation mode, on the trainer's device) and its evaluation.

        Raises:
            InputError: A hyperparameter is unknown or out of its range.
        """
        start = perf_counter()
        recipe, architecture = self.task.configure(params)
        with computing(self.device, self.precision), keyed_generators(seed, self.device):
            model = keyed_model(lambda: self.task.model(**architecture), seed).to(self.device)
            use_channels_last(model, self.data.prepare(self.data.training.inputs[:2]), self.precision)
            optimizer = OPTIMIZERS[recipe.optimizer](recipe, model.parameters())
            key = member_keys([seed], self.device)[0]
            steps_per_epoch = math.ceil(len(self.data.training) / recipe.batch_size)
            curve: list[Epoch] = []
            for epoch in range(self.epochs):
                epoch_start = perf_counter()
                batches = keyed_permutation(len(self.data.training), seed, epoch).to(self.device)
                factors = [
                    recipe.lr_factor(epoch * steps_per_epoch + i, steps_per_epoch, self.epochs)
                    for i in range(steps_per_epoch)
                ]
                loss = self._train_epoch(
                    model,
                    optimizer,
                    torch.split(batches, recipe.batch_size),
                    [recipe.lr * factor for factor in factors],
                    key,
                    epoch * steps_per_epoch,
                )
                if not math.isfinite(loss):
                    break
                validation_loss, metrics = self.measure(model, self.data.validation)
                if not math.isfinite(validation_loss):
                    break
                curve.append(Epoch(epoch + 1, loss, validation_loss, metrics, perf_counter() - epoch_start))
        seconds = perf_counter() - start
        return model, conclude(curve, self.epochs, seconds, environment(self.device, self.precision))

    def _train_epoch(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: tuple[Tensor, ...],
        rates: list[float],
        key: Tensor,
        first_step: int,
    ) -> float:
        """Train on every batch; the mean loss per example, or the first non-finite loss met."""
        interval = _STEPS_BETWEEN_CHECKS.get(self.device.type, _STEPS_BETWEEN_CHECKS_ELSEWHERE)
        total = torch.zeros((), device=self.device, dtype=torch.float64)
        model.train()
        for i, (batch, rate) in enumerate(zip(batches, rates, strict=True)):
            for group in optimizer.param_groups:
                group["lr"] = rate
            examples = self.data.training[batch]
            optimizer.zero_grad()
            with KeyedDropout(step_keys(key, first_step + i)):
                loss = self.loss(model, examples)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach() * len(batch)
            if (i + 1) % interval == 0 and not math.isfinite(total.item()):
                break
        return total.item() / sum(len(batch) for batch in batches)

    def loss(self, model: nn.Module, examples: Split) -> Tensor:
        """Give the loss of a network on a batch of stored examples: what a training step differentiates."""
        return self.task.loss(self._forward(model, examples.inputs), examples.targets)

    def measure(self, model: nn.Module, split: Split) -> tuple[float, dict[str, float]]:
        """Measure a network on a split of `data`.

        Returns:
            Mean loss per example, and the task's metrics by name.
        """
        model.eval()
        with computing(self.device, self.precision):
            return measure(self.task, split, lambda inputs: [self._forward(model, inputs)])[0]

    def _forward(self, model: nn.Module, inputs: Tensor) -> Tensor:
        x = self.data.prepare(inputs)
        if has_channels_last(model):
            x = x.contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            return widened(model(x))
