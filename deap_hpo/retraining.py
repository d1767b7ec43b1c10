"""Networks trained again: one on record, from its seed; or a chosen one with new seeds, measured on test examples."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from textwrap import shorten
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from deap_hpo.errors import InputError, first_difference, warn
from deap_hpo.evaluation import BEST_EPOCH, Evaluation, Request
from deap_hpo.evaluator import Evaluator
from deap_hpo.records.entries import Entry, check_entry, params_of, schedule_of
from deap_hpo.search_space.space import Space
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.schedule import Schedule, train_schedule
from deap_hpo.training.trainers import Trainer

_PLACE = ("device", "precision")  # where a trainer computes: results elsewhere agree within rounding
# Tolerances for a validation loss after some epochs on another device or in a stack: as fractions of the loss itself,
# and of the loss after the first epoch.
_ROUNDING, _OF_THE_FIRST = 0.05, 1e-3
# For each trainer, its latest training: the key, the network and the evaluation.
_LAST: WeakKeyDictionary[ReferenceTrainer, tuple[str, nn.Module, Evaluation]] = WeakKeyDictionary()


def reference_of(study: Any, given: Trainer | None) -> ReferenceTrainer:
    """Give the trainer with which to train a study's networks again.

    Args:
        study: The study, live or on record.
        given: A trainer with the same settings as the one that evaluated; None if that was in this process.

    Raises:
        InputError: The evaluator was not a trainer of this package, has other settings than the given one, or is not
            known in this process.
    """
    recorded = study.evaluator_settings
    if given is None and study.evaluator is None and "task" in recorded:
        raise InputError(
            f"The study {study.name!r} was not run in this process, and a record holds neither network nor data. "
            "Give the trainer that it was run with, as in `study.best_model(make_trainer(task, epochs=5))`; of a "
            f"run from the command line, `deap-hpo export {study.name}` writes the network."
        )
    evaluator = study.evaluator if given is None else given
    if not isinstance(evaluator, Trainer):
        raise InputError(
            "The best network needs a study whose evaluations were trainings (`make_trainer`), and the trainer that "
            f"did them; got {shorten(repr(evaluator), 80)}. best_params has the hyperparameters."
        )
    if given is not None:
        known, now = _without_place(recorded), _without_place(json.loads(json.dumps(evaluator.settings)))
        if known != now:
            was, other = first_difference(known, now)
            raise InputError(f"trainer must be as that of the study {study.name!r}, which had {was}; got {other}.")
    return evaluator.reference


def _without_place(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in _PLACE}


def retrain(
    trainer: Trainer, entry: Entry, entries: Iterable[Entry], space: Space | None
) -> tuple[nn.Module, Evaluation, Schedule]:
    """Train the network of an evaluation again, with the hyperparameters that led to it.

    The latest network of each trainer is kept, and copied if it is asked for again.

    Args:
        trainer: The trainer that evaluated it.
        entry: The evaluation; if it had several repeats, the first is trained.
        entries: The evaluations of its study.
        space: Its space.

    Returns:
        The network in evaluation mode, the evaluation of its training, and the schedule by which it was trained.

    Raises:
        InputError: The study was made without a space, the evaluation is not of this study, or the training did not end
            well.

    Warns:
        DeapHPOWarning: Its validation loss differs from the recorded one by more than rounding.
    """
    schedule = _schedule(entry, entries, space)
    reference = trainer.reference
    _check_trained(entry, entry.evaluation)
    model, evaluation = _trained(reference, schedule, entry.seed)
    _check_trained(entry, evaluation)
    kept, again = entry.evaluation.kept_epoch, evaluation.kept_epoch
    if reference.repeats == 1 and kept and again:
        recorded, now = kept.validation_loss, again.validation_loss
        began = abs(entry.evaluation.curve[0].validation_loss)
        if not math.isclose(recorded, now, rel_tol=_ROUNDING, abs_tol=_OF_THE_FIRST * began):
            precision = entry.evaluation.environment.get("precision", reference.precision)
            why = "network, loss or data have changed"
            if precision != reference.precision:
                why = f"it was trained in {precision} then, and in {reference.precision} now (precision={precision!r})"
            warn(
                f"the network of evaluation {entry.number}, trained again, has a validation loss of {now:.4g}, and "
                f"{recorded:.4g} on record: {why}, so measurements made now are not those of the recorded network"
            )
    return model, evaluation, schedule


def refit(trainer: ReferenceTrainer, entry: Entry, entries: Iterable[Entry], space: Space | None) -> nn.Module:
    """Train a network with the hyperparameters that led to an evaluation, on training and validation examples together.

    Inputs are normalised as in the evaluation, so that the task's `prepare` fits the network. If the evaluation kept
    its best epoch, or ended early, the network is trained up to that epoch.

    Args:
        trainer: The trainer that evaluated it.
        entry: The evaluation; if it had several repeats or folds, the seed is that of the first.
        entries: The evaluations of its study.
        space: Its space.

    Returns:
        The network, in evaluation mode.

    Raises:
        InputError: As for `retrain`.

    Example:
        >>> from deap_hpo import Float, Task, make_trainer, optimize
        >>> from deap_hpo.training.data import load_digits
        >>> linear = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> trainer = make_trainer(Task("digits", linear, load_digits()), device="cpu")
        >>> study = optimize(trainer, {"lr": Float(0.01, 0.1)}, algorithm="random", max_evaluations=2)
        >>> network = refit(trainer.reference, study.best, study.entries, study.space)
        >>> network.training, bool((network[1].weight == study.best_model()[1].weight).all())
        (False, False)
    """
    schedule = _schedule(entry, entries, space)
    _check_trained(entry, entry.evaluation)
    data = trainer.task.data
    best = entry.evaluation.metrics.get(BEST_EPOCH)  # the mean, if there were several trainings
    if best is None and trainer.patience is not None:
        best = entry.evaluation.curve[-1].epoch
    if best is not None:
        schedule = [(params, min(end or trainer.epochs, max(1, round(best)))) for params, end in schedule]
    together = replace(data, training=data.training.followed_by(data.validation))
    on_all = trainer.once(replace(trainer.task, data=together), whole=True)
    model, evaluation = train_schedule(on_all, schedule, entry.seed)
    _check_trained(entry, evaluation)
    return model


def _schedule(entry: Entry, entries: Iterable[Entry], space: Space | None) -> Schedule:
    """Give the schedule of an evaluation, if it is one of a study with a space."""
    if space is None:
        raise InputError("A network needs a study with a space: without one, hyperparameters have no names.")
    entries, entry = list(entries), check_entry(entry)
    if not any((one.number, one.genes, one.seed) == (entry.number, entry.genes, entry.seed) for one in entries):
        raise InputError(
            f"Evaluation {entry.number} with {params_of(entry, space)} is not of this study, or was superseded by a "
            "retry; only the evaluations in `entries` have networks."
        )
    return schedule_of(entries, entry.number, space)


def _trained(reference: ReferenceTrainer, schedule: Schedule, seed: int) -> tuple[nn.Module, Evaluation]:
    """Train a network, or copy it if it is the latest one of the trainer."""
    key = repr((schedule, seed))
    if reference in _LAST and _LAST[reference][0] == key:
        _, network, evaluation = _LAST[reference]
        return deepcopy(network).to(reference.device), evaluation
    network, evaluation = train_schedule(reference, schedule, seed)
    _LAST.pop(reference, None)
    if evaluation.status == "ok" and not any(map(_refers_elsewhere, network.modules())):
        with suppress(Exception):  # a network that cannot be copied is trained each time
            _LAST[reference] = key, deepcopy(network).cpu(), evaluation
    return network, evaluation


def _refers_elsewhere(module: nn.Module) -> bool:
    """Tell whether a module has functions as attributes; a copy would share them, and they may use the original."""
    kinds = (FunctionType, MethodType, functools.partial)
    return any(isinstance(value, kinds) for value in vars(module).values())


def _check_trained(entry: Entry, evaluation: Evaluation) -> None:
    if evaluation.status != "ok":
        raise InputError(
            f"Evaluation {entry.number} has no trained network; its training ended as {evaluation.status}."
        )


class Retraining(Evaluator):
    """Trains chosen hyperparameters and also measures them on the test examples, as `test_loss` and ``test_*``.

    Args:
        trainer: Gives task, epochs, device and precision.
        schedule: The schedule, if hyperparameters changed during training; otherwise those of the request are used for
            all epochs.
    """

    def __init__(self, trainer: Trainer, schedule: Schedule = ()) -> None:
        self.reference = trainer.reference.once(trainer.reference.task)
        self.schedule = schedule

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the trainer, and the schedule."""
        return {**self.reference.settings, **({"schedule": list(self.schedule)} if self.schedule else {})}

    def evaluate(self, request: Request) -> Evaluation:
        """Carry out one request of an executor: train and measure."""
        schedule = self.schedule or [(request.params, None)]
        model, evaluation = train_schedule(self.reference, schedule, request.seed)
        if evaluation.status != "ok":
            return evaluation
        assert self.reference.data.test is not None  # a comparison checks that before it searches
        loss, metrics = self.reference.measure(model, self.reference.data.test)
        measured = {"test_loss": loss, **{f"test_{name}": value for name, value in metrics.items()}}
        return replace(evaluation, metrics={**evaluation.metrics, **measured})
