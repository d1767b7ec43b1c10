"""Training from scratch by a schedule of hyperparameters that change during the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.state import TrainingState

Schedule = Sequence[tuple[Mapping[str, Any], int | None]]
"""Hyperparameters, each with the epoch up to which they hold (None: the trainer's last), in order."""


def train_schedule(trainer: ReferenceTrainer, schedule: Schedule, seed: int = 0) -> tuple[nn.Module, Evaluation]:
    """Train a network from scratch, with hyperparameters that change at the end of epochs.

    With the schedule and the seed that led to a network, the result is that network again; on a CPU bit for bit.

    Args:
        trainer: The trainer.
        schedule: Which hyperparameters hold until when, at least one part.
        seed: As for `ReferenceTrainer.train`.

    Returns:
        The network and its evaluation, with the curve of all epochs.

    Raises:
        InputError: A hyperparameter is unknown or out of its range, the epochs do not grow, or there is no part.

    Example:
        >>> from functools import partial
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> from deap_hpo import Task
        >>> trainer = ReferenceTrainer(Task("digits", partial(MLP, inputs=64), load_digits()), epochs=3, device="cpu")
        >>> _, evaluation = train_schedule(trainer, [({"lr": 0.1}, 1), ({"lr": 0.01}, 3)])
        >>> [epoch.epoch for epoch in evaluation.curve]
        [1, 2, 3]
    """
    if not schedule:
        raise InputError("schedule must have at least one part, (hyperparameters, epoch); got none.")
    state: TrainingState | None = None
    parts: list[Evaluation] = []
    for params, epochs in schedule:
        model, evaluation, state = trainer.train_on(state, params, seed, epochs)
        parts.append(evaluation)
        if evaluation.status != "ok":
            break
    curve = tuple(epoch for part in parts for epoch in part.curve)
    return model, replace(parts[-1], curve=curve, seconds=sum(part.seconds for part in parts))
