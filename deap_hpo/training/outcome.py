"""What becomes of a training: measurements on a split, and the evaluation made of a learning curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deap_hpo.evaluation import Epoch, Evaluation
from deap_hpo.training.data import Split
from deap_hpo.training.task import Task


@torch.no_grad()
def measure(
    task: Task, split: Split, forward: Callable[[Tensor], Iterable[Tensor]], members: int = 1
) -> list[tuple[float, dict[str, float]]]:
    """Measure networks on a split, in batches of the task's `evaluation_batch_size`.

    Args:
        task: Whose loss and metrics are measured.
        split: Examples to measure on.
        forward: Maps a batch of stored inputs to the outputs of each member, in order.
        members: Number of networks.

    Returns:
        For each member: mean loss per example, and the task's metrics by name.
    """
    measures = [task.loss, *task.metrics.values()]
    totals = torch.zeros(members, len(measures), dtype=torch.float64, device=split.targets.device)
    for start in range(0, len(split), task.evaluation_batch_size):
        examples = split[start : start + task.evaluation_batch_size]
        for i, output in enumerate(forward(examples.inputs)):
            for j, function in enumerate(measures):
                totals[i, j] += function(output, examples.targets) * len(examples)
    return [(row[0], dict(zip(task.metrics, row[1:], strict=True))) for row in (totals / len(split)).tolist()]


def conclude(
    curve: Sequence[Epoch], epochs: int, seconds: float, environment: Mapping[str, Any], objective: str = "loss"
) -> Evaluation:
    """Make the evaluation of a training: "diverged" unless its curve has all epochs.

    A diverged training ended in epoch ``len(curve) + 1``. The value is the last epoch's loss, or the metric named by
    `objective`, beside which the loss is then a metric.
    """
    finished = len(curve) == epochs
    metrics = dict(curve[-1].metrics) if finished else {}
    value = curve[-1].validation_loss if finished else math.inf
    if finished and objective != "loss":
        metrics["loss"], value = value, metrics.pop(objective)
    return Evaluation(
        values=(value,),
        status="ok" if finished else "diverged",
        curve=tuple(curve),
        metrics=metrics,
        seconds=seconds,
        environment=environment,
    )


def repeat_seeds(seed: int, repeats: int) -> list[int]:
    """Derive the seeds of several trainings of one configuration; the first is `seed` itself.

    Example:
        >>> repeat_seeds(7, 3) == repeat_seeds(7, 5)[:3], repeat_seeds(7, 1)
        (True, [7])
    """
    derived = [np.random.SeedSequence(seed, spawn_key=(i,)).generate_state(1)[0] for i in range(1, repeats)]
    return [seed, *map(int, derived)]


def combine(evaluations: Sequence[Evaluation], seconds: float, objective: str = "loss") -> Evaluation:
    """Make one evaluation of several trainings of one configuration.

    Its value, metrics and curve are means over the trainings; ``<objective>_std`` and ``<metric>_std`` in its metrics
    are sample standard deviations. If one training diverged or failed, so did the whole: a configuration is only as
    good as its worst luck. The curve is then as long as the shortest.

    Args:
        evaluations: The trainings, in order of their seeds, at least one.
        seconds: Wall-clock seconds of all together.
        objective: Name of what the value is.
    """
    first = evaluations[0]
    if len(evaluations) == 1:
        return replace(first, seconds=seconds)
    curve = tuple(_mean_epoch(epochs) for epochs in zip(*(one.curve for one in evaluations), strict=False))
    for status in ("failed", "diverged"):
        for evaluation in evaluations:
            if evaluation.status == status:
                return replace(evaluation, values=(math.inf,), curve=curve, metrics={}, seconds=seconds)
    columns = {objective: [evaluation.value for evaluation in evaluations]}
    columns |= {name: [evaluation.metrics[name] for evaluation in evaluations] for name in first.metrics}
    means = {name: float(np.mean(column)) for name, column in columns.items()}
    spreads = {f"{name}_std": float(np.std(column, ddof=1)) for name, column in columns.items()}
    value = means.pop(objective)
    return replace(first, values=(value,), curve=curve, metrics={**means, **spreads}, seconds=seconds)


def _mean_epoch(epochs: Sequence[Epoch]) -> Epoch:
    return Epoch(
        epoch=epochs[0].epoch,
        training_loss=float(np.mean([epoch.training_loss for epoch in epochs])),
        validation_loss=float(np.mean([epoch.validation_loss for epoch in epochs])),
        metrics={name: float(np.mean([epoch.metrics[name] for epoch in epochs])) for name in epochs[0].metrics},
        seconds=max(epoch.seconds for epoch in epochs),
    )
