"""The outcome of trainings: measurements on a split, their judgement, and one evaluation from several trainings."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from deap_hpo.evaluation import Epoch, Evaluation
from deap_hpo.goals import Goals
from deap_hpo.interruption import raise_kept
from deap_hpo.seeding import derived_seed
from deap_hpo.training.costs import Costs
from deap_hpo.training.data import Split
from deap_hpo.training.inputs import Inputs, Targets
from deap_hpo.training.labels import Counting, ignored_by, summed
from deap_hpo.training.measures import AVERAGED, Measure, accuracy, one_number, own_copy
from deap_hpo.training.outputs import Outputs, mapped, own_tensors, together, unshared
from deap_hpo.training.task import Task


@torch.no_grad()
def measure(
    tasks: Sequence[Task], split: Split, forward: Callable[[Inputs], Outputs]
) -> list[tuple[float, dict[str, float]]]:
    """Measure networks on a split, in batches of the task's `evaluation_batch_size`.

    The loss, and metrics that are means, are averaged over the batches. Other metrics are called once, with the targets
    of the whole split and the joined outputs of all batches. An output with a single value per batch becomes a vector
    with one entry per batch. If the loss is not finite, these metrics are NaN, because many refuse such outputs.

    Args:
        tasks: For each network, the task whose loss and metrics it is measured by.
        split: Examples to measure on.
        forward: Maps a batch of stored inputs to the outputs of all networks, stacked along the first dimension.

    Returns:
        For each network: the mean loss per example (per label, if some targets have none), and the task's metrics by
        name.

    Raises:
        InputError: A metric gives something other than a number.
    """
    averaged = [name for name, metric in tasks[0].metrics.items() if metric in AVERAGED]
    of_all = [name for name in tasks[0].metrics if name not in averaged]
    totals = torch.zeros(len(tasks), 1 + len(averaged), dtype=torch.float64, device=split.device)
    outputs: list[list[Outputs]] = [[] for _ in tasks]
    size, counting = tasks[0].evaluation_batch_size, Counting(split.targets, ignored_by(tasks[0].loss))
    for start in range(0, len(split), size):
        examples = split[start : start + size]
        found, count = forward(examples.inputs), counting.of(examples.targets)
        for i, task in enumerate(tasks):
            output = mapped(itemgetter(i), found)
            for j, function in enumerate([task.loss, *(task.metrics[name] for name in averaged)]):
                targets = counting.marked(examples.targets) if function is accuracy else examples.targets
                totals[i, j] += summed(_measured_by(function, output, targets), count)
            if of_all:
                outputs[i].append(mapped(torch.atleast_1d, output))
        raise_kept()
    measured = []
    for task, (loss, *means), parts in zip(tasks, (totals / counting.whole).tolist(), outputs, strict=True):
        metrics = dict(zip(averaged, means, strict=True))
        if of_all and math.isfinite(loss):
            joined = together(parts)
            metrics |= {
                name: one_number(name, _measured_by(task.metrics[name], joined, split.targets)) for name in of_all
            }
        measured.append((loss, {name: metrics.get(name, math.nan) for name in task.metrics}))
    return measured


def _measured_by(function: Measure, output: Outputs, targets: Targets) -> Any:
    """Call a loss or a metric; one of the user's own is given copies, since it may change its arguments in place."""
    place = getattr(function, "__module__", None) or ""  # that of its class, if it is an object
    if place.startswith("torch.nn.") or function in AVERAGED:
        return function(unshared(output), unshared(targets))
    return function(own_tensors(output), own_tensors(targets))


def with_own_measures(task: Task) -> Task:
    """Give the task with copies of the losses and metrics that are objects, whose state belongs to one training."""
    return replace(task, loss=own_copy(task.loss), metrics={name: own_copy(one) for name, one in task.metrics.items()})


def infeasible(costs: Costs, goals: Goals, params: Mapping[str, Any]) -> Evaluation | None:
    """Make the evaluation of a network that breaks a constraint before it is trained; None if it breaks none.

    Only its number of parameters and its costs are known then. It is built to measure these, if a constraint asks for
    that.

    Raises:
        InputError: A hyperparameter is unknown or out of its range, or a cost could not be measured.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> linear = lambda width: torch.nn.Linear(64, width)
        >>> task = Task("digits", linear, load_digits(), constraints=["parameters <= 1000"])
        >>> evaluation = infeasible(Costs(task), task.goals, {"width": 20})
        >>> evaluation.status, evaluation.metrics, evaluation.violation, evaluation.reason
        ('infeasible', {'parameters': 1300.0}, 0.3, 'parameters <= 1000 is broken by 1300')
    """
    if not {constraint.metric for constraint in goals.constraints} & {"parameters", *costs.names}:
        return None
    measured = costs.of(params)
    violation = goals.violation(measured)
    if violation == 0:
        return None
    broken = [one for one in goals.constraints if one.metric in measured and one.violation(measured[one.metric]) > 0]
    error = "; ".join(f"{one} is broken by {measured[one.metric]:.10g}" for one in broken)
    return Evaluation(goals.worst, "infeasible", metrics=dict(measured), violation=violation, error=error)


def judged(evaluation: Evaluation, goals: Goals, measured: Mapping[str, float], seconds: float) -> Evaluation:
    """Give an evaluation the values, metrics and violation that the goals derive from the measurements.

    If an objective is not finite although the losses were, the status is "diverged" and the error names the objective:
    a user's metric may be 0 / 0, for example. The measurements are kept.
    """
    values, metrics, violation = goals.judge({**measured, "seconds": seconds})
    metrics.pop("seconds", None)  # an evaluation has its own field for them
    for name, value in zip(goals.objectives, values, strict=True):
        if not math.isfinite(value):
            error = f"the objective {name!r} was {value}, although the training ended well"
            return replace(
                evaluation, values=goals.worst, status="diverged", metrics=metrics, seconds=seconds, error=error
            )
    return replace(evaluation, values=values, metrics=metrics, seconds=seconds, violation=violation)


def repeat_seeds(seed: int, repeats: int) -> list[int]:
    """Derive the seeds of several trainings of one configuration; the first is `seed` itself.

    Example:
        >>> repeat_seeds(7, 3) == repeat_seeds(7, 5)[:3], repeat_seeds(7, 1)
        (True, [7])
    """
    return [seed, *(derived_seed(seed, i) for i in range(1, repeats))]


def combine(
    evaluations: Sequence[Evaluation],
    seconds: float,
    goals: Goals | None = None,
    *,
    costs: Collection[str] = (),
) -> Evaluation:
    """Make one evaluation of several trainings of one configuration.

    Its values, metrics and curve are means over the trainings; ``<objective>_std`` and ``<metric>_std`` in its metrics
    are sample standard deviations, without those of `costs`. Constraints apply to the means, and the objective
    "seconds" to the total. If one training diverged or failed, so did the evaluation: a configuration is only as good
    as its worst case. The curve is then as long as the shortest one. Otherwise it is as long as the longest, and a
    training that ended early counts with its last epoch.

    Args:
        evaluations: The trainings, in order of their seeds, at least one.
        seconds: Wall-clock seconds of all together.
        goals: The goals by which the trainings were judged.
        costs: Names of what is measured before the training.
    """
    goals, first = goals or Goals(), evaluations[0]
    if len(evaluations) == 1 and first.status != "ok":
        return replace(first, seconds=seconds)
    measured = [{**dict(zip(goals.objectives, one.values, strict=False)), **one.metrics} for one in evaluations]
    if len(evaluations) == 1:
        return judged(first, goals, measured[0], seconds)
    for status in ("failed", "diverged"):
        for evaluation in evaluations:
            if evaluation.status == status:
                shortest = zip(*(one.curve for one in evaluations), strict=False)
                return replace(evaluation, curve=tuple(map(_mean_epoch, shortest)), seconds=seconds)
    longest = max(len(one.curve) for one in evaluations)
    curve = tuple(map(_mean_epoch, zip(*(_prolonged(one.curve, longest) for one in evaluations), strict=True)))
    columns = {name: [one[name] for one in measured] for name in measured[0] if name != "seconds"}
    means = {name: float(np.mean(column)) for name, column in columns.items()}
    trained = [name for name in columns if name not in ("parameters", *costs)]
    spreads = {f"{name}_std": float(np.std(columns[name], ddof=1)) for name in trained}
    return judged(replace(first, curve=curve), goals, {**means, **spreads}, seconds)


def _prolonged(curve: Sequence[Epoch], length: int) -> list[Epoch]:
    missing = range(len(curve), length)
    return [*curve, *(replace(curve[-1], epoch=curve[0].epoch + i, seconds=0.0) for i in missing)]


def _mean_epoch(epochs: Sequence[Epoch]) -> Epoch:
    return Epoch(
        epoch=epochs[0].epoch,
        training_loss=float(np.mean([epoch.training_loss for epoch in epochs])),
        validation_loss=float(np.mean([epoch.validation_loss for epoch in epochs])),
        metrics={name: float(np.mean([epoch.metrics[name] for epoch in epochs])) for name in epochs[0].metrics},
        seconds=max(epoch.seconds for epoch in epochs),
    )
