"""The trainers by name, and the policy that picks one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from deap_hpo.errors import InputError
from deap_hpo.training.hardware import resolve_device
from deap_hpo.training.leak import LeakingTrainer
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

Trainer = ReferenceTrainer | PopulationTrainer
TRAINERS: dict[str, Callable[..., Trainer]] = {
    "population": PopulationTrainer,
    "reference": ReferenceTrainer,
    "leaking": LeakingTrainer,  # shows what leakage does to figures; no run should have it
}


def make_trainer(task: Task, *, trainer: str = "auto", device: str | torch.device = "auto", **settings: Any) -> Trainer:
    """Make a trainer; "auto" takes the one that is faster on the device.

    On an accelerator that is the population: one network alone leaves it idle. On a CPU it is the reference, in as many
    worker processes as there are cores (`executors.ProcessExecutor`): one network alone keeps a core busy, and a stack
    only strains its caches.

    Args:
        task: What to train.
        trainer: "auto", "population" or "reference"; "leaking" is a demonstration, see `LeakingTrainer`.
        device: Where to train; see `ReferenceTrainer`.
        settings: Further arguments of the trainer: `epochs`, `precision`, `repeats`.

    Raises:
        InputError: There is no such trainer, or an argument is out of range.

    Example:
        >>> from functools import partial
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> task = Task("digits", partial(MLP, inputs=64), load_digits())
        >>> type(make_trainer(task, device="cpu", epochs=2)).__name__
        'ReferenceTrainer'
    """
    if trainer == "auto":
        trainer = "reference" if resolve_device(device).type == "cpu" else "population"
    if trainer not in TRAINERS:
        raise InputError(f"trainer must be one of auto, {', '.join(TRAINERS)}; got {trainer!r}.")
    return TRAINERS[trainer](task, device=device, **settings)
