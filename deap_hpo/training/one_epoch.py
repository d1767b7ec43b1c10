"""One epoch of one network, step by step, as the reference trainer runs it in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.optim import Optimizer

from deap_hpo.interruption import raise_kept
from deap_hpo.training.averaging import WeightAverage
from deap_hpo.training.data import Split
from deap_hpo.training.hardware import steps_between_looks
from deap_hpo.training.keyed import keyed_permutation, member_keys, step_keys
from deap_hpo.training.keyed_dropout import KeyedDropout
from deap_hpo.training.labels import IGNORED, Counting, summed
from deap_hpo.training.optimizers import BASE_LR
from deap_hpo.training.plain_layers import PlainLayers
from deap_hpo.training.recipe import Recipe


def train_epoch(
    model: nn.Module,
    optimizer: Optimizer,
    loss_on: Callable[[Split], Tensor],
    training: Split,
    recipe: Recipe,
    *,
    seed: int,
    epoch: int,
    first_step: int,
    epochs: int,
    losses: Sequence[float] = (),
    average: WeightAverage | None = None,
    ignored: int = IGNORED,
) -> float:
    """Train a network on every batch of an epoch.

    Args:
        model: The network.
        optimizer: Updates its parameters; made by `make_optimizer`. Each group's learning rate is the one it was made
            with, times the schedule's factor.
        loss_on: Gives the network's loss on examples.
        training: The examples, on the device to train on.
        recipe: Has the batch size, the schedule of the learning rate, and the bound of the gradient.
        seed: Keys the order of the examples and dropout.
        epoch: Epochs trained so far, from 0.
        first_step: Steps trained so far.
        epochs: Length of the learning rate's schedule.
        losses: Validation losses after each epoch so far.
        average: Averages the parameters after each step.
        ignored: The target of an element without a label.

    Returns:
        The mean loss per example (per label, if some targets have none). It is not finite if a loss was not; training
        then ends early.

    Example:
        >>> from deap_hpo.training.optimizers import make_optimizer
        >>> model = nn.Linear(4, 3)
        >>> training = Split(torch.rand(10, 4), torch.arange(10) % 3)
        >>> loss_on = lambda examples: nn.functional.cross_entropy(model(examples.inputs), examples.targets)
        >>> recipe = Recipe(lr=0.1, batch_size=4)
        >>> optimizer = make_optimizer(recipe, None, {}, model)
        >>> settings = {"seed": 1, "first_step": 0, "epochs": 20}
        >>> losses = [
        ...     train_epoch(model, optimizer, loss_on, training, recipe, epoch=epoch, **settings) for epoch in range(20)
        ... ]
        >>> losses[-1] < losses[0]
        True
    """
    device = training.device
    key = member_keys([seed], device)[0]
    parameters = list(model.parameters())
    batches = torch.split(keyed_permutation(len(training), seed, epoch).to(device), recipe.batch_size)
    interval = steps_between_looks(device)
    total, counting = torch.zeros((), device=device, dtype=torch.float64), Counting(training.targets, ignored)
    model.train()
    factors = recipe.lr_factors(epoch, len(batches), epochs, losses)
    keys = step_keys(key, torch.arange(first_step, first_step + len(batches), dtype=torch.int32, device=device))
    for i, (batch, factor, step_key) in enumerate(zip(batches, factors, keys, strict=True)):
        for group in optimizer.param_groups:
            group["lr"] = group[BASE_LR] * factor
        examples = training[batch]
        count = counting.of(examples.targets)  # before the loss, which may take the targets apart
        for parameter in parameters:
            parameter.grad = None
        dropout = KeyedDropout(step_key, repeatable=True)
        with PlainLayers(dropout):
            loss = loss_on(examples)
        backward(loss, dropout)
        if recipe.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
        optimizer.step()
        if average is not None:
            average.update(first=first_step + i == 0)
        total += summed(loss.detach(), count)
        raise_kept()
        if (i + 1) % interval == 0 and not math.isfinite(total.item()):
            break
    return total.item() / float(counting.whole)


def backward(loss: Tensor, dropout: KeyedDropout) -> None:
    """Compute the gradient of a loss, with the same dropout where parts of the network are computed again.

    Args:
        loss: The loss, of one element.
        dropout: The context in which it was computed.

    Example:
        >>> from torch.utils.checkpoint import checkpoint
        >>> weight, dropout = torch.ones(6, requires_grad=True), KeyedDropout(member_keys([3])[0], repeatable=True)
        >>> with PlainLayers(dropout):
        ...     output = checkpoint(lambda x: nn.functional.dropout(x.square(), 0.5), weight, use_reentrant=False)
        >>> backward(output.sum(), dropout)
        >>> torch.equal(weight.grad, 2 * output)  # of x ** 2 / 0.5, where it was kept
        True
    """
    if not dropout.is_repeated:
        loss.backward()  # type: ignore[no-untyped-call]
        return
    with PlainLayers(dropout), dropout.again():
        # By its edge in the graph, because `backward` of a tensor suspends such contexts. Older versions do not.
        torch.autograd.backward(get_gradient_edge(loss) if _takes_edges() else loss, torch.ones_like(loss))


@cache
def _takes_edges() -> bool:
    """Tell whether this version of torch starts a backward pass at an edge of the graph."""
    try:
        torch.autograd.backward(get_gradient_edge(torch.ones((), requires_grad=True) * 2), torch.ones(()))
    except Exception:
        return False
    return True
