"""Evaluations of several configurations by a trainer, and their losses by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.training.population import PopulationTrainer


def evaluated(
    trainer: Any, members: Sequence[dict[str, Any]], starts: Sequence[str | None] = (), **changed: Any
) -> list[Evaluation]:
    """Evaluate all with one seed, in one batch; each from its checkpoint, if there are `starts`."""
    starts = starts or [None] * len(members)
    requests = [Request(i, one, 3, start_from=starts[i], **changed) for i, one in enumerate(members)]
    if isinstance(trainer, PopulationTrainer):
        return [evaluation for _, evaluation in sorted(trainer.evaluate_batch(requests))]
    return [trainer.evaluate(request) for request in requests]


def losses(evaluations: Sequence[Evaluation]) -> list[list[float]]:
    """The validation losses after each epoch; all have ended well."""
    assert {one.status for one in evaluations} == {"ok"}
    return [[epoch.validation_loss for epoch in one.curve] for one in evaluations]
