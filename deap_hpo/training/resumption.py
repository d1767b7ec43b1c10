"""Where the trainings of a request start, and what they leave for others to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.training.checkpoints import CheckpointStore
from deap_hpo.training.state import TrainingState, pack, unpack


def start_states(request: Request, checkpoints: CheckpointStore, trainings: int) -> list[TrainingState | None]:
    """Give where each training of a request starts; None for its initial weights.

    Args:
        request: The request, which may name a checkpoint of as many trainings.
        checkpoints: Where that is kept.
        trainings: Their number.

    Raises:
        InputError: The checkpoint is not there.
    """
    if request.start_from is None:
        return [None] * trainings
    return list(unpack(checkpoints.load(request.start_from)))


def with_checkpoint(
    request: Request, evaluation: Evaluation, states: Sequence[TrainingState | None], checkpoints: CheckpointStore
) -> Evaluation:
    """Keep the states that the trainings of a request have ended in, if it asks for that and all went well.

    Args:
        request: The request.
        evaluation: What came of all trainings.
        states: The state of each; None where it has none, as after a divergence.
        checkpoints: Where they are kept together.

    Returns:
        The evaluation, with the checkpoint's name.
    """
    ended = [state for state in states if state is not None]
    if not request.keep or evaluation.status != "ok" or len(ended) < len(states):
        return evaluation
    return replace(evaluation, checkpoint=checkpoints.save(pack(ended)))
