"""Other ways to train a stack, to compare with that of the package."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import Evaluator
from deap_hpo.training import reference
from deap_hpo.training.hardware import use_channels_last
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.stacking.forward import StackedForward
from deap_hpo.training.stacking.stack import Stack


class ProductConvolutions(TorchFunctionMode):
    """Computes 2d convolutions as products of matrices: under `vmap` one batched product for all members.

    `vmap` alone makes one grouped convolution of them, with one group for each member. The price of the product is an
    unfolded input, which is larger by the number of elements of the kernel.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer convolutions; let every other call pass."""
        return (_product if func is F.conv2d else func)(*args, **(kwargs or {}))


def _product(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve [N, I, H, W] with [O, I, h, w]; settings in pairs, as `nn.Conv2d` gives them; one group."""
    columns = F.unfold(inputs, weight.shape[-2:], dilation, padding, stride)
    output = weight.flatten(1) @ columns
    if bias is not None:
        output = output + bias[:, None]
    reach = dilation[0] * (weight.shape[-2] - 1) + 1
    height = (inputs.shape[-2] + 2 * padding[0] - reach) // stride[0] + 1
    return output.unflatten(-1, (height, -1))


class ProductForward(StackedForward):
    """Networks whose convolutions are batched products."""

    def forward(self, weights: Tensor, buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Run one member's network; see `StackedForward`."""
        with ProductConvolutions():
            return super().forward(weights, buffers, inputs)


class ProductStack(Stack):
    """A stack whose convolutions are batched products."""

    forward_type = ProductForward


class CompiledStack(Stack):
    """A stack whose forward and backward passes are compiled."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._gradients = torch.compile(self._gradients)


class CompiledProductStack(CompiledStack, ProductStack):
    """A compiled stack whose convolutions are batched products."""


def train_stack(stack: Stack) -> None:
    """Train a stack, and validate it after each epoch."""
    for epoch in range(stack.epochs):
        stack.train_epoch(epoch)
        stack.measure(stack.data.validation)


def train_on_streams(stacks: Sequence[Stack], streams: int = 8) -> None:
    """Train and validate stacks of one member each, side by side on several CUDA streams (on a CPU: in turns)."""
    cuda = stacks[0].device.type == "cuda"
    lanes = [torch.cuda.Stream() if cuda else None for _ in range(min(streams, len(stacks)))]

    def lane(i: int) -> Any:
        return torch.cuda.stream(lanes[i % len(lanes)]) if cuda else nullcontext()

    for epoch in range(stacks[0].epochs):
        if cuda:
            torch.cuda.synchronize()  # streams do not wait for work on other streams, here making and measuring stacks
        for i, stack in enumerate(stacks):
            with lane(i):
                stack.start_epoch(epoch)
        for step in range(stacks[0].steps_per_epoch):
            for i, stack in enumerate(stacks):
                with lane(i):
                    stack.train_batch(step)
        if cuda:
            torch.cuda.synchronize()
        for stack in stacks:
            stack.measure(stack.data.validation)


class GivingBack(ReferenceTrainer):
    """The reference without `keep_memory` in its workers."""

    def prepare_worker(self) -> None:
        """Leave the process as it is."""


class ChannelsFirst(ReferenceTrainer):
    """The reference with images and weights as torch lays them out by default; for worker processes."""

    def prepare_worker(self) -> None:
        """Prepare the process as the reference does, but without channels last."""
        super().prepare_worker()
        reference.use_channels_last = lambda model, inputs, precision: model.eval()


class Measuring(Evaluator):
    """An evaluator that only measures a new network, on the training split, which is the larger one.

    Args:
        trainer: The trainer whose `measure` and worker settings are used.
    """

    def __init__(self, trainer: ReferenceTrainer) -> None:
        self.trainer = trainer

    def prepare_worker(self) -> None:
        """Prepare a process as the trainer does."""
        self.trainer.prepare_worker()

    def evaluate(self, request: Request) -> Evaluation:
        """Measure; the hyperparameters do not matter."""
        data = self.trainer.data
        model = use_channels_last(self.trainer.task.model(), data.prepare(data.test.inputs[:2]), self.trainer.precision)
        return Evaluation((self.trainer.measure(model, data.training)[0],))
