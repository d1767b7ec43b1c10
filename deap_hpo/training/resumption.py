"""The states from which the trainings of a request start, and those that they leave for others to continue from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.training.checkpoints import CheckpointStore
from deap_hpo.training.state import TrainingState, pack, unpack


def start_states(request: Request, checkpoints: CheckpointStore, trainings: int) -> list[TrainingState | None]:
    """Give the state from which each training of a request starts; None for its initial weights.

    Args:
        request: The request, which may name a checkpoint with a state for each training.
        checkpoints: The store of that checkpoint.
        trainings: Number of trainings.

    Raises:
        InputError: The checkpoint is missing or damaged.

    Example:
        >>> from deap_hpo.training.checkpoints import MemoryCheckpoints
        >>> start_states(Request(0, {"lr": 0.1}, seed=1), MemoryCheckpoints(), trainings=2)
        [None, None]
    """
    if request.start_from is None:
        return [None] * trainings
    return list(unpack(checkpoints.load(request.start_from)))


def with_checkpoint(
    request: Request, evaluation: Evaluation, states: Sequence[TrainingState | None], checkpoints: CheckpointStore
) -> Evaluation:
    """Keep the states in which a request's trainings ended, if it asks for that and all went well.

    Args:
        request: The request.
        evaluation: The evaluation made from all trainings.
        states: The state of each; None for a training without one, for example after a divergence.
        checkpoints: Where the states are kept, in one checkpoint.

    Returns:
        The evaluation; with the checkpoint's name, if there is one.

    Example:
        >>> import torch
        >>> from deap_hpo.training.checkpoints import MemoryCheckpoints
        >>> state = TrainingState(1, 10, {"weight": torch.ones(2)})
        >>> kept, asked = MemoryCheckpoints(), Request(0, {"lr": 0.1}, seed=1, keep=True)
        >>> evaluation = with_checkpoint(asked, Evaluation((0.5,)), [state], kept)
        >>> again = replace(asked, start_from=evaluation.checkpoint)
        >>> start_states(again, kept, trainings=1)[0].weights["weight"]
        tensor([1., 1.])
    """
    ended = [state for state in states if state is not None]
    if not request.keep or evaluation.status != "ok" or len(ended) < len(states):
        return evaluation
    return replace(evaluation, checkpoint=checkpoints.save(pack(ended)))
