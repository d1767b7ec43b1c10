"""What a run will cost, before it runs: trainings, images, and a time estimated from a short real training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter

from deap_hpo.assembly import make_executor
from deap_hpo.config import RunConfig
from deap_hpo.executors import ProcessExecutor
from deap_hpo.training.reference import ReferenceTrainer

_SAMPLE_STEPS = 24


@dataclass(frozen=True)
class Plan:
    """The cost of a run.

    Attributes:
        trainings: Networks to train at most (repeated configurations are not trained again).
        epochs: Epochs of each.
        training_images: Images that go through training, all epochs and networks together.
        validation_images: Images that go through validation, likewise.
        workers: Networks that train side by side.
        seconds: Estimated wall-clock seconds.
    """

    trainings: int
    epochs: int
    training_images: int
    validation_images: int
    workers: int
    seconds: float


def plan(config: RunConfig, trainer: ReferenceTrainer) -> Plan:
    """Plan a run; the time comes from a few dozen real training steps of the real network on this machine."""
    trainings = config.evolution.evaluations
    data = trainer.task.data
    training_images = trainings * trainer.epochs * len(data.training)
    validation_images = trainings * trainer.epochs * len(data.validation)
    executor = make_executor(trainer, config)
    workers = executor.workers if isinstance(executor, ProcessExecutor) else 1
    training_seconds, validation_seconds = _seconds_per_image(config, trainer)
    return Plan(
        trainings=trainings,
        epochs=trainer.epochs,
        training_images=training_images,
        validation_images=validation_images,
        workers=workers,
        seconds=(training_images * training_seconds + validation_images * validation_seconds) / workers,
    )


def _seconds_per_image(config: RunConfig, trainer: ReferenceTrainer) -> tuple[float, float]:
    recipe = trainer.task.recipe
    data = trainer.task.data
    some = slice(0, _SAMPLE_STEPS * recipe.batch_size)
    sample = replace(data, training=data.training[some], validation=data.validation[:1])
    short = ReferenceTrainer(
        replace(trainer.task, data=sample), epochs=1, device=trainer.device, precision=trainer.precision
    )
    middle = config.search_space.decode([0.5] * len(config.search_space))
    short.train(middle)  # the first one also pays for warming up
    start = perf_counter()
    model, _ = short.train(middle)
    trained = perf_counter()
    short.measure(model, short.data.training)
    count = len(sample.training)
    return (trained - start) / count, (perf_counter() - trained) / count
