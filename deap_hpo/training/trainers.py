"""The trainers by name, and the policy that picks one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from deap_hpo.checks import check_optional_integer
from deap_hpo.errors import InputError, shown
from deap_hpo.training.checkpoints import CheckpointStore
from deap_hpo.training.hardware import resolve_device
from deap_hpo.training.leak import LeakingTrainer
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.stacking.engines import check_engine
from deap_hpo.training.task import Task
from deap_hpo.vocabulary import hinting

Trainer = ReferenceTrainer | PopulationTrainer
TRAINERS: dict[str, Callable[..., Trainer]] = {
    "population": PopulationTrainer,
    "reference": ReferenceTrainer,
    "leaking": LeakingTrainer,  # shows how leakage changes results; not for real runs
}


@hinting
def make_trainer(
    task: Task,
    *,
    trainer: str = "auto",
    epochs: int = 1,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    repeats: int = 1,
    folds: int | Iterable[tuple[Any, Any]] | None = None,
    keep_best: bool = False,
    patience: int | None = None,
    checkpoints: CheckpointStore | None = None,
    stack_size: int | None = None,
    memory_limit: int | None = None,
    engine: str = "auto",
) -> Trainer:
    """Make a trainer; "auto" takes the one that is faster on the device.

    On an accelerator, "auto" is the population, because one network alone leaves the device idle. On a CPU it is the
    reference: one convolutional network keeps a core busy, and a stack only strains its caches. (Small networks of
    other kinds may be faster as a stack there: see `docs/stacking.md`.) To use several cores, evaluate in worker
    processes (``executor=ProcessExecutor()``), as `deap-hpo run` does.

    Args:
        task: What to train.
        trainer: "auto", "population" or "reference"; "leaking" is a demonstration, see `LeakingTrainer`.
        epochs: Epochs of an evaluation, at least 1; for this and the next seven arguments see `ReferenceTrainer`.
        device: Where to train.
        precision: "fp32", "bf16" or "auto".
        repeats: Trainings of one evaluation, at least 1.
        folds: Number of trainings, each validated on another part of the data, at least 2; or for each training a pair
            (positions to train on, positions to validate on) among the training examples followed by the validation
            examples, as scikit-learn's splitters give them; or None.
        keep_best: Whether to keep the network of the best epoch rather than of the last.
        patience: Epochs without improvement after which a training ends.
        checkpoints: Where trainings leave their state for others to continue from.
        stack_size: How many networks may be trained together; for this and the last two arguments see
            `PopulationTrainer`. They change the speed only. The reference ignores them, as it trains single networks.
        memory_limit: Bytes that a stack may take.
        engine: How a stack's steps are run.

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
    if not isinstance(task, Task):
        raise InputError(f"task must be a Task, such as Task.from_data(network, data); got {shown(task)}.")
    if trainer == "auto":
        trainer = "reference" if resolve_device(device).type == "cpu" else "population"
    if trainer not in TRAINERS:
        raise InputError(f"trainer must be one of auto, {', '.join(TRAINERS)}; got {trainer!r}.")
    for name, value in (("stack_size", stack_size), ("memory_limit", memory_limit)):
        check_optional_integer(name, value, 1)
    check_engine(engine)
    stacks = {"stack_size": stack_size, "memory_limit": memory_limit, "engine": engine}
    return TRAINERS[trainer](
        task,
        epochs=epochs,
        device=device,
        precision=precision,
        repeats=repeats,
        folds=folds,
        keep_best=keep_best,
        patience=patience,
        checkpoints=checkpoints,
        **(stacks if trainer == "population" else {}),
    )
