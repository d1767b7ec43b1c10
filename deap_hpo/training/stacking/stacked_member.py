"""A member of a stack, with its own values besides its rows in the stack's tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from deap_hpo.training.outcome import with_own_measures
from deap_hpo.training.stacking.structure import Member
from deap_hpo.training.task import Task


@dataclass
class StackedMember:
    """One member of a stack.

    Attributes:
        member: The member.
        task: The task with its own copies of loss and metrics, by which it is measured.
        loss_arguments: Hyperparameters of its training loss.
        validation_losses: Losses after each epoch so far, including those of its state; whoever measures adds them.
        training_loss: Mean training loss in the last epoch.
    """

    member: Member
    task: Task
    loss_arguments: dict[str, Any]
    validation_losses: list[float]
    training_loss: float = math.nan

    @classmethod
    def of(cls, member: Member, task: Task) -> StackedMember:
        """Make the stacked member of a member that starts."""
        losses = [*member.state.losses] if member.state else []
        return cls(member, with_own_measures(task), task.loss_arguments(member.params), losses)
