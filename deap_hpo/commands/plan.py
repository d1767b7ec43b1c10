"""The cost of a run, before it runs: trainings, images, and a time estimated from a short real training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from deap_hpo.configuration.assembly import check_algorithm, make_executor, trainer_of
from deap_hpo.configuration.config import RunConfig, make_config
from deap_hpo.configuration.suitability import check_space
from deap_hpo.configuration.workload import Batch, workload
from deap_hpo.evaluation import Request
from deap_hpo.execution.executors import SerialExecutor, usable_cores
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.trainers import Trainer

# The time is extrapolated from this many steps; on a GPU from more, since the cost of recording the first is included.
_SAMPLE_STEPS_ON_CPU, _SAMPLE_STEPS_ON_GPU = 24, 1000


@dataclass(frozen=True)
class Plan:
    """The cost of a run.

    Attributes:
        evaluations: Maximum number of evaluations; one that continues another is counted separately. See
            `deap_hpo.configuration.workload.Workload` for when there are fewer.
        repeats: Trainings of each evaluation.
        epochs: Maximum number of epochs of all trainings together; a continued training counts its added epochs only.
        shortest: Epochs that the shortest training adds.
        longest: Epochs that the longest training adds.
        training_images: Images that go through training, all epochs and networks together.
        validation_images: Images that go through validation, all epochs and networks together.
        workers: Networks that train side by side.
        precision: The precision that they compute in.
        seconds: Estimated wall-clock seconds for these epochs.
        ends_early: The settings that may shorten the training, whatever the algorithm: "target" and "patience" end the
            run; "stages" and "training.patience" end trainings.
    """

    evaluations: int
    repeats: int
    epochs: int
    shortest: int
    longest: int
    training_images: int
    validation_images: int
    workers: int
    precision: str
    seconds: float
    ends_early: tuple[str, ...] = ()


def plan(config: RunConfig, trainer: Trainer) -> Plan:
    """Plan a run; its time is estimated from some training steps of the real networks on this machine.

    Raises:
        InputError: The algorithm cannot run as configured.
    """
    check_algorithm(config, trainer)
    work = workload(config.search_space, config.evolution, epochs=trainer.epochs, seed=config.study.seed)
    batches = [batch for batch in work.affordable() if batch.evaluations]
    epochs = work.epochs * trainer.repeats
    data = trainer.task.data
    executor = make_executor(trainer, config)
    workers = 1 if isinstance(executor, SerialExecutor) else getattr(executor, "workers", None) or usable_cores()
    rounds = _rounds(batches, workers, waiting=not config.evolution.steady_state)
    most = sum(batch.evaluations * batch.epochs for batch in batches)
    return Plan(
        evaluations=work.evaluations,
        repeats=trainer.repeats,
        epochs=epochs,
        shortest=min((batch.fewest for batch in batches), default=0),
        longest=max((batch.epochs for batch in batches), default=0),
        training_images=epochs * len(data.training),
        validation_images=epochs * len(data.validation),
        workers=workers,
        precision=trainer.reference.precision,
        # If outcomes decide the epochs, the budget may not suffice for all evaluations at their maximum length.
        seconds=rounds * work.epochs / max(1, most) * trainer.repeats * _seconds_of_an_epoch(config, trainer),
        ends_early=_ends_early(config),
    )


def _rounds(batches: Sequence[Batch], workers: int, *, waiting: bool) -> int:
    """Count the epochs trained one after the other; with `waiting`, a batch starts once the one before has ended.

    Example:
        >>> batches = [Batch(10, 2), Batch(10, 2)]
        >>> _rounds(batches, 4, waiting=True), _rounds(batches, 4, waiting=False)
        (12, 10)
    """
    if waiting:
        return sum(math.ceil(batch.evaluations / workers) * batch.epochs for batch in batches)
    return math.ceil(sum(batch.evaluations * batch.epochs for batch in batches) / workers)


def _ends_early(config: RunConfig) -> tuple[str, ...]:
    given = {
        "target": config.evolution.target is not None,
        "patience": config.evolution.patience is not None,
        "stages": len(config.evolution.stages) > 1,
        "training.patience": config.training.patience is not None,
    }
    return tuple(name for name, is_given in given.items() if is_given)


def _seconds_of_an_epoch(config: RunConfig, trainer: Trainer) -> float:
    """Time an epoch of one network, by one on the same share of the training and of the validation examples."""
    data = trainer.task.data
    steps = _SAMPLE_STEPS_ON_CPU if trainer.device.type == "cpu" else _SAMPLE_STEPS_ON_GPU
    share = min(1.0, steps * trainer.task.recipe.batch_size / len(data.training))
    training = data.training[: max(1, round(share * len(data.training)))]
    sample = replace(data, training=training, validation=data.validation[: max(1, round(share * len(data.validation)))])
    short = trainer_of(replace(trainer.task, data=sample), make_config(config.model_dump(), ["training.epochs=1"]))
    together = config.evolution.population if isinstance(short, PopulationTrainer) else 1
    params = check_space(trainer.task, config.search_space)
    requests = [Request(number, params, seed=number) for number in range(together)]
    list(SerialExecutor().run(short, requests))  # the first one also pays for warming up
    start = perf_counter()
    list(SerialExecutor().run(short, requests))
    return (perf_counter() - start) / (together * trainer.repeats) / share
