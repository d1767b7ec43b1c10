"""The memory that a member of a stack takes, measured by training it alone for one step."""

from __future__ import annotations

from functools import partial

from torch import nn

from deap_hpo.training.hardware import computing
from deap_hpo.training.keyed import keyed_generators, keyed_model, member_keys
from deap_hpo.training.keyed_dropout import KeyedDropout
from deap_hpo.training.memory import step_memory
from deap_hpo.training.plain_layers import PlainLayers
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.stacking.stackable import NotStackable
from deap_hpo.training.stacking.structure import Member


def member_bytes(trainer: ReferenceTrainer, member: Member, *, recorded: bool) -> int:
    """Give the bytes that a member takes in a stack.

    Measuring is not counted, because its batches are divided among the members, and halved if memory runs out.

    Args:
        trainer: The trainer for single networks.
        member: The member.
        recorded: Whether steps are recorded as a CUDA graph.

    Raises:
        NotStackable: A parameter has no gradient.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> from deap_hpo.training.task import Task
        >>> task = Task("digits", partial(MLP, inputs=64), load_digits())
        >>> trainer = ReferenceTrainer(task, device="cpu")
        >>> def needed(width):
        ...     params = {"width": width}
        ...     return member_bytes(trainer, Member(0, 0, 1, params, *task.configure(params)), recorded=False)
        >>> needed(8) < needed(64)
        True
    """
    with computing(trainer.device, trainer.precision), keyed_generators(member.seed):
        model = keyed_model(partial(trainer.task.model, **member.architecture), member.seed).to(trainer.device)
        examples = trainer.data.training[: member.recipe.batch_size]
        weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        with PlainLayers(KeyedDropout(member_keys([member.seed], trainer.device)[0]), stacked=True):
            step = step_memory(lambda: trainer.loss(model, examples), trainer.device)
            _check_gradients(model, "the first step")
            last = len(trainer.data.training) % member.recipe.batch_size
            if last and last < len(examples):  # a network may leave out a layer, such as a norm of one example
                for parameter in model.parameters():
                    parameter.grad = None
                trainer.loss(model, examples[:last]).backward()  # type: ignore[no-untyped-call]
                _check_gradients(model, "the last step of an epoch")
    if recorded:
        # A recorded step keeps its memory, so the smaller last batch of an epoch takes memory in addition.
        step += step * last // member.recipe.batch_size
    # Weights, the gradient (as computed and as a row), two moments, temporary values of the update; and an average.
    rows = 6 if member.recipe.ema is None else 7
    return step + rows * weights


def _check_gradients(model: nn.Module, when: str) -> None:
    """Refuse parameters without a gradient: torch's optimisers skip them, but a stack's row is updated as a whole."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            raise NotStackable(f"{name} has no gradient in {when}")
