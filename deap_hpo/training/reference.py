"""The reference trainer: one network at a time, in plain torch. Faster trainers must agree with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from deap_hpo.checks import check_flag, check_integer, check_optional_integer
from deap_hpo.errors import InputError
from deap_hpo.evaluation import BEST_EPOCH, Epoch, Evaluation, Request
from deap_hpo.evaluator import Evaluator
from deap_hpo.training.allocator import keep_memory
from deap_hpo.training.averaging import WeightAverage
from deap_hpo.training.checkpoints import CheckpointStore, MemoryCheckpoints
from deap_hpo.training.costs import Costs
from deap_hpo.training.data import Data, Split
from deap_hpo.training.folds import check_folds, data_of, number_of, recorded
from deap_hpo.training.freshness import Freshness
from deap_hpo.training.hardware import (
    computing,
    environment,
    resolve_device,
    resolve_precision,
    run_network,
    use_channels_last,
)
from deap_hpo.training.inputs import Inputs, tensors
from deap_hpo.training.keyed import keyed_generators, keyed_model
from deap_hpo.training.labels import ignored_by
from deap_hpo.training.learning_curve import LearningCurve
from deap_hpo.training.measures import Measure, trainable_parameters
from deap_hpo.training.memory import Parts
from deap_hpo.training.one_epoch import train_epoch
from deap_hpo.training.outcome import combine, infeasible, measure, repeat_seeds, with_own_measures
from deap_hpo.training.outputs import Outputs, mapped
from deap_hpo.training.resumption import start_states, with_checkpoint
from deap_hpo.training.state import TrainingState, added_epochs, capture, copied_tensors, on_device, put_back, restore
from deap_hpo.training.task import Task
from deap_hpo.training.underway import Underway


class ReferenceTrainer(Evaluator):
    """Trains a task's network with given hyperparameters; the objective is the validation loss afterwards.

    If the task names other objectives, those are the values. A network with too many parameters for a constraint is not
    trained. The result is a function of (hyperparameters, seed, epochs): on a CPU bit for bit, whatever else runs. A
    training whose loss stops being finite ends there, with status "diverged" and the worst value.

    Args:
        task: What to train.
        epochs: Epochs of an evaluation whose request names none, at least 1. Also the length of the learning rate's
            schedule; a shorter evaluation trains its first part.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1".
        precision: "fp32", "bf16" (autocast), or "auto" (bf16 for classes, if the processor supports it).
        repeats: Trainings of one evaluation, each with its own seed, at least 1. The value is their mean, and metrics
            tell their spread; see `outcome.combine`.
        folds: Number of trainings, each validated on another part of the data, or positions; see `make_trainer`.
        keep_best: Whether to keep the network of the best epoch (metric `best_epoch`) rather than of the last. The best
            epoch is chosen by the first objective that differs between epochs; its loss is slightly optimistic.
        patience: Epochs without improvement after which a training ends, at least 1; None for all epochs. Together with
            `keep_best` it is early stopping as in Keras and Lightning.
        checkpoints: Where trainings leave their state for others to continue from; in memory by default.

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
        folds: int | Iterable[tuple[Any, Any]] | None = None,
        keep_best: bool = False,
        patience: int | None = None,
        checkpoints: CheckpointStore | None = None,
    ) -> None:
        self.task: Task = task
        self.goals = task.goals
        self.epochs: int = check_integer("epochs", epochs, 1)
        repeats = check_integer("repeats", repeats, 1)
        self.folds = check_folds(task.data, folds, repeats)
        self.repeats = number_of(self.folds) or repeats
        self.keep_best = check_flag("keep_best", keep_best)
        self.patience = check_optional_integer("patience", patience, 1)
        if keep_best and BEST_EPOCH in {*task.metrics, *task.costs}:
            raise InputError(f"metrics must not have the name {BEST_EPOCH!r}, under which keep_best tells its choice.")
        self.whole_trainings = keep_best or patience is not None
        self.device: torch.device = resolve_device(device)
        of_numbers = any(one.is_floating_point() for one in tensors(task.data.training.targets))
        self.precision = resolve_precision(precision, self.device, of_numbers=of_numbers)
        self.checkpoints: CheckpointStore = checkpoints or MemoryCheckpoints()
        self.costs = Costs(task, self.device)
        self._freshness = Freshness()
        self._parts = Parts(task.evaluation_batch_size)  # measures in parts that fit into memory

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on besides hyperparameters and seed; a resumed study must have the same."""
        return {
            "task": self.task.name,
            **self.task.goals.settings,
            "data": dict(self.task.data.description),
            "recipe": self.task.recipe_settings,
            "epochs": self.epochs,
            "device": self.device.type,
            "precision": self.precision,
            "repeats": 1 if self.folds else self.repeats,
            **({"folds": recorded(self.folds)} if self.folds else {}),
            **({"keep_best": True} if self.keep_best else {}),
            **({"patience": self.patience} if self.patience is not None else {}),
        }

    @property
    def reference(self) -> ReferenceTrainer:
        """The trainer of single networks that every trainer has; here the trainer itself."""
        return self

    @cached_property
    def placed(self) -> Task:
        """The task with its data and losses on the trainer's device, copied there at first use."""
        with torch.inference_mode(False):  # tensors copied in inference mode could not be trained on
            return self.task.to(self.device)

    @property
    def data(self) -> Data:
        """The data on the trainer's device."""
        return self.placed.data

    def of_repeat(self, repeat: int) -> ReferenceTrainer:
        """Give the trainer of one of the repeats; with folds, the one whose data are the fold of this number."""
        return self._of_folds.get(repeat, self) if self.folds else self

    @cached_property
    def _of_folds(self) -> dict[int, ReferenceTrainer]:
        return {i: self.once(replace(self.task, data=data)) for i, data in data_of(self.task.data, self.folds).items()}

    def once(self, task: Task, *, whole: bool = False) -> ReferenceTrainer:
        """Give a trainer like this one for one training; a `whole` one trains all epochs and keeps the last."""
        kept = {} if whole else {"keep_best": self.keep_best, "patience": self.patience}
        settings: Any = {"epochs": self.epochs, "device": self.device, "precision": self.precision, **kept}
        return ReferenceTrainer(task, **settings)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("placed", "_of_folds")}

    def prepare_worker(self) -> None:
        """Prepare a process that does nothing but evaluate."""
        keep_memory()

    def evaluate(self, request: Request) -> Evaluation:
        """Evaluate a request: start from its checkpoint if it names one, and leave one if it asks for that."""
        if refused := infeasible(self.costs, self.task.goals, request.params):
            return refused
        states = start_states(request, self.checkpoints, self.repeats)
        done = []
        for i, (state, seed) in enumerate(zip(states, repeat_seeds(request.seed, self.repeats), strict=True)):
            with Underway(self.checkpoints, request, i) as underway:
                done += [self.of_repeat(i).train_on(state, request.params, seed, request.epochs, underway=underway)]
        evaluations = [one[1] for one in done]
        seconds = sum(one.seconds for one in evaluations)
        evaluation = combine(evaluations, seconds, self.task.goals, costs=self.costs.names)
        return with_checkpoint(request, evaluation, [one[2] for one in done], self.checkpoints)

    def train(self, params: Mapping[str, Any], seed: int = 0) -> tuple[nn.Module, Evaluation]:
        """Train a network from scratch; give it (in evaluation mode, on the trainer's device) and its evaluation.

        Args:
            params: Hyperparameters by name; see `Task`.
            seed: Keys initial weights, batch order and dropout, and seeds the network's own random draws.

        Raises:
            InputError: A hyperparameter is wrong, or network, data and loss do not fit together.
        """
        self.check_task([params])
        return self.train_on(None, params, seed)[:2]

    def train_on(
        self,
        state: TrainingState | None,
        params: Mapping[str, Any],
        seed: int = 0,
        epochs: int | None = None,
        *,
        underway: Underway | None = None,
    ) -> tuple[nn.Module, Evaluation, TrainingState]:
        """Continue training from a state: its weights, buffers, moments, counters and schedule position.

        Hyperparameters may differ from those that led to the state. The schedule's position is counted in epochs. The
        results are the network, the evaluation of the added epochs, and the state at their end.

        Args:
            state: Where to continue from; None for the initial weights.
            params: Hyperparameters by name; see `Task`.
            seed: As for `train`.
            epochs: Total epochs at the end, more than the state has; None for the trainer's own.
            underway: Where its state is kept meanwhile, and from which it continues if there is one.

        Raises:
            InputError: A hyperparameter is wrong, there is no epoch to add, or this may not be a part of a training.
        """
        underway = underway or Underway(MemoryCheckpoints(), Request(0, params, seed))
        recipe, architecture = self.task.configure(params)
        added = added_epochs(state, epochs, self.epochs, recipe, whole=self.whole_trainings)
        curve = self.new_curve(len(added), params)
        state, kept = underway.training(state, curve)
        steps, losses = (state.steps, [*state.losses]) if state else (0, [])
        task, training = with_own_measures(self.placed), self.data.training
        with computing(self.device, self.precision):
            model = self._new_model(architecture, seed)
            with keyed_generators(seed):
                optimizer = self.task.optimizer_of(model, params)
            if not type(optimizer).__module__.startswith("torch."):  # it may expect the usual layout
                model.to(memory_format=torch.contiguous_format)
            if state is not None:
                restore(state, model, optimizer)
            loss_on = partial(self.loss, model, loss=task.training_loss(params))
            average = WeightAverage(model, recipe.ema, state.averaged if state else None)
            fixed: Any = {"seed": seed, "epochs": self.epochs, "average": average, "ignored": ignored_by(task.loss)}
            for epoch in added[len(underway.curve) :]:
                epoch_start = perf_counter()
                with keyed_generators(seed, epoch):
                    so_far: Any = {"epoch": epoch, "first_step": steps, "losses": losses}
                    loss = train_epoch(model, optimizer, loss_on, training, recipe, **fixed, **so_far)
                    steps += math.ceil(len(training) / recipe.batch_size)
                    if not math.isfinite(loss):
                        break
                    with average.applied():
                        validation_loss, metrics = self._measured(task, model, self.data.validation)
                        as_measured = copied_tensors(model) if self.keep_best else {}
                if not math.isfinite(validation_loss):
                    break
                losses.append(validation_loss)
                measured = Epoch(epoch + 1, loss, validation_loss, metrics, perf_counter() - epoch_start)
                underway.add(measured)
                if curve.add(measured):
                    kept = as_measured
                if curve.finished:
                    break
                if underway.is_due:
                    underway.save_training(capture(model, optimizer, epoch + 1, steps, losses, average.tensors), kept)
        ended = capture(model, optimizer, epoch + 1, steps, losses, average.tensors)
        average.apply()
        put_back(model, kept if curve.finished else {})
        about = environment(self.device, self.precision)
        return model, curve.evaluation(trainable_parameters(model), underway.seconds, about), ended

    def new_curve(self, epochs: int, params: Mapping[str, Any], so_far: Sequence[Epoch] = ()) -> LearningCurve:
        """Give the learning curve of a training of so many epochs, `so_far` included."""
        kept: Any = {"keep_best": self.keep_best, "patience": self.patience, "so_far": so_far}
        return LearningCurve(self.task.goals, epochs, **kept, costs=self.costs.of_its_own(params))

    def _new_model(self, architecture: Mapping[str, Any], seed: int) -> nn.Module:
        with keyed_generators(seed):
            model = keyed_model(lambda: self.task.model(**architecture), seed)
            sample = self.data.normalized(self.data.training[:2].inputs)
            # Only now does it have the memory that is trained, which is not that of another device or layout.
            return self._freshness.check(use_channels_last(model.to(self.device), sample, self.precision))

    def loss(self, model: nn.Module, examples: Split, loss: Measure | None = None) -> Tensor:
        """Give a network's loss on stored examples, as training steps differentiate it; by default the task's loss."""
        found: Tensor = (loss or with_own_measures(self.placed).loss)(
            self._forward(model, examples.inputs), examples.targets
        )
        return found

    def measure(self, model: nn.Module, split: Split) -> tuple[float, dict[str, float]]:
        """Measure a network on examples, wherever both are: mean loss per example, and the task's metrics by name."""
        with computing(self.device, self.precision), on_device(model, self.device):
            return self._measured(with_own_measures(self.placed), model, split.to(self.device))

    def _measured(self, task: Task, model: nn.Module, split: Split) -> tuple[float, dict[str, float]]:
        def outputs(_: slice, inputs: Inputs) -> Outputs:
            return mapped(lambda one: one.unsqueeze(0), self._forward(model, inputs))

        model.eval()
        return measure([task], split, partial(self._parts, outputs))[0]

    def _forward(self, model: nn.Module, inputs: Inputs) -> Outputs:
        return run_network(model, self.data.normalized(inputs), self.precision)
