"""The networks of a stack as functions of all members' tensors: outputs for measuring, gradients for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from deap_hpo.training.hardware import autocast
from deap_hpo.training.inputs import Inputs, Targets, call_arguments
from deap_hpo.training.keyed_dropout import KeyedDropout, Undropped
from deap_hpo.training.measures import Measure
from deap_hpo.training.outputs import Outputs, mapped, unshared, widened
from deap_hpo.training.plain_layers import PlainLayers
from deap_hpo.training.stacking.networks import Shapes, assigned_anew, named_views, with_dropout_rates
from deap_hpo.training.stacking.stackable import NotStackable
from deap_hpo.training.state import network_tensors

Tensors = dict[str, Tensor]
Gradients = Callable[[Tensor, Tensors, Tensors, Tensor, Inputs, Targets], tuple[Tensor, tuple[Tensor, Tensors]]]
"""Maps weights [P, D], buffers and dropout rates by name, and the keys, inputs and targets of a step to the gradient
[P, D], the losses [P], and the buffers that the networks have replaced."""


class StackedForward:
    """Runs one network with the tensors of each member.

    Args:
        network: The code and the plain attributes that all members share; its own parameters are never used.
        shapes: Names and shapes of the parameters that make up a member's row of the weights.
        device: Where it computes.
        precision: "fp32" or "bf16".

    Raises:
        NotStackable: From its methods, if a network would run differently than alone.

    Example:
        >>> network, weights = nn.Linear(4, 3), torch.rand(2, 15)  # of two members
        >>> shapes = [(name, parameter.shape) for name, parameter in network.named_parameters()]
        >>> run = StackedForward(network, shapes, torch.device("cpu"), "fp32")
        >>> inputs, targets, key = torch.rand(10, 4), torch.arange(10) % 3, torch.zeros((), dtype=torch.int32)
        >>> outputs, _ = run.measured(weights, {}, {}, inputs)
        >>> outputs.shape
        torch.Size([2, 10, 3])
        >>> gradients = run.gradients([nn.functional.cross_entropy], shared=True)
        >>> gradient, (losses, _) = gradients(weights, {}, {}, key, inputs, targets)
        >>> gradient.shape, losses.shape
        (torch.Size([2, 15]), torch.Size([2]))
    """

    def __init__(self, network: nn.Module, shapes: Shapes, device: torch.device, precision: str) -> None:
        self.network = network
        self._shapes = shapes
        names = {id(tensor): name for name, tensor in network_tensors(network).items()}
        # Each place of a tensor in a module, under one name even if the module has several, and the tensor's name.
        self._places = {
            f"{path}.{own}".removeprefix("."): names[id(tensor)]
            for path, module in network.named_modules()
            for own, tensor in {**module._parameters, **module._buffers}.items()
            if tensor is not None
        }
        self._device = device
        self._precision = precision
        # When it is measured alone, torch may compute zeros where a padding mask hides an element.
        encoders = nn.TransformerEncoder, nn.TransformerEncoderLayer
        self._has_encoders = any(isinstance(module, encoders) for module in network.modules())

    def forward(self, weights: Tensor, buffers: Tensors, inputs: Inputs) -> Outputs:
        """Run one member's network (under `vmap`: all of them) on prepared inputs.

        Args:
            weights: Its row of the weights.
            buffers: Its buffers by name; those that the network replaces are updated here.
            inputs: The inputs.
        """
        named = {**named_views(weights, self._shapes), **buffers}
        tensors = {place: named[name] for place, name in self._places.items()}
        with autocast(self._device, self._precision):
            output = widened(functional_call(self.network, tensors, *call_arguments(inputs), tie_weights=False))
        for place, name in self._places.items():  # functional_call has put assigned tensors there
            if tensors[place] is not tensors[name]:
                raise NotStackable(f"the network replaces its buffer {name} in one of several places")
        buffers.update((name, tensors[name]) for name in buffers)
        return output

    def measured(
        self, weights: Tensor, buffers: Tensors, dropout_rates: Tensors, inputs: Inputs
    ) -> tuple[Outputs, Tensors]:
        """Measure: give all members' outputs [P, N, ...] for inputs [N, ...], and the buffers that were replaced."""

        def of_one(
            weights: Tensor, buffers: Tensors, dropout_rates: Tensors, inputs: Inputs
        ) -> tuple[Outputs, Tensors]:
            return self._run(Undropped(), weights, buffers, dropout_rates, inputs)

        outputs: tuple[Outputs, Tensors] = vmap(of_one, in_dims=(0, 0, 0, None), randomness="error")(
            weights, buffers, dropout_rates, inputs
        )
        return outputs

    def gradients(self, losses: Sequence[Measure], *, shared: bool) -> Gradients:
        """Give the function that computes the gradients of a training step.

        Args:
            losses: Each member's loss, or a single one for all.
            shared: Whether all members see the same batches; these, and the key, then have no dimension for members.

        Returns:
            See `Gradients`.
        """
        each = None if shared else 0
        if len(losses) == 1:
            of_one = grad_and_value(self._loss_of_one(losses[0]), has_aux=True)
            return vmap(of_one, in_dims=(0, 0, 0, each, each, each), randomness="error")
        of_sum = grad_and_value(self._losses_of_all(losses, shared), has_aux=True)

        def gradients(*tensors: Inputs) -> tuple[Tensor, tuple[Tensor, Tensors]]:
            gradient, (_, found) = of_sum(*tensors)
            return gradient, found

        return gradients

    def _loss_of_one(self, loss: Measure) -> Callable[..., tuple[Tensor, Tensors]]:
        def of_one(
            weights: Tensor, buffers: Tensors, dropout_rates: Tensors, key: Tensor, inputs: Inputs, targets: Targets
        ) -> tuple[Tensor, Tensors]:
            def loss_of(output: Outputs) -> Tensor:  # inside the network's contexts: a loss may drop out, too
                found: Tensor = loss(unshared(output), unshared(targets))
                return found

            return self._run(KeyedDropout(key), weights, buffers, dropout_rates, inputs, loss_of)

        return of_one

    def _losses_of_all(self, losses: Sequence[Measure], shared: bool) -> Callable[..., tuple[Tensor, object]]:
        """Give a function for the sum of all members' losses: row i of its gradient is that of loss i alone."""

        def outputs_of_one(
            weights: Tensor, buffers: Tensors, dropout_rates: Tensors, key: Tensor, inputs: Inputs
        ) -> tuple[Outputs, Tensors]:
            return self._run(KeyedDropout(key), weights, buffers, dropout_rates, inputs)

        each = None if shared else 0
        outputs_of_all = vmap(outputs_of_one, in_dims=(0, 0, 0, each, each), randomness="error")

        def of_all(
            weights: Tensor, buffers: Tensors, dropout_rates: Tensors, keys: Tensor, inputs: Inputs, targets: Targets
        ) -> tuple[Tensor, object]:
            outputs, assigned = outputs_of_all(weights, buffers, dropout_rates, keys, inputs)
            given = [unshared(targets) if shared else mapped(itemgetter(i), targets) for i in range(len(losses))]
            made = [mapped(itemgetter(i), outputs) for i in range(len(losses))]
            found = torch.stack([loss(*one) for loss, *one in zip(losses, made, given, strict=True)])
            return found.sum(), (found, assigned)

        return of_all

    def _run(
        self,
        dropout: KeyedDropout | Undropped,
        weights: Tensor,
        buffers: Mapping[str, Tensor],
        dropout_rates: Mapping[str, Tensor],
        inputs: Inputs,
        then: Callable[[Outputs], Outputs] = lambda outputs: outputs,
    ) -> tuple[Outputs, Tensors]:
        """Give the result of `then` for one member's output, and the buffers that its network has replaced."""
        now = dict(buffers)
        measures = isinstance(dropout, Undropped)
        layers = PlainLayers(dropout, stacked=True, padding=not (measures and self._has_encoders))
        with layers, with_dropout_rates(self.network, dropout_rates):
            return then(self.forward(weights, now, inputs)), assigned_anew(buffers, now)


def vanished(gradient: Tensor, shapes: Shapes) -> Tensor:
    """Tell whether the gradient of a whole parameter is zero for a member, as it is if there is none.

    Example:
        >>> shapes = [("weight", torch.Size([2])), ("bias", torch.Size([1]))]
        >>> vanished(torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]), shapes)
        tensor(True)
    """
    pieces = torch.split(gradient, [shape.numel() for _, shape in shapes], 1)
    return torch.stack([(piece == 0).all(1).any() for piece in pieces]).any()


def refuse_own_parameters(network: nn.Module, found: Tensor) -> None:
    """Refuse a network whose own parameters have an effect on what was found with those of the members.

    Its code then reaches them in another way than by their names.

    Args:
        network: The network.
        found: Losses or gradients of the members, of any shape, that have a gradient.

    Raises:
        NotStackable: They have.

    Example:
        >>> network = nn.Linear(2, 1)
        >>> refuse_own_parameters(network, torch.ones(3, requires_grad=True))
        >>> refuse_own_parameters(network, network.weight.square())
        Traceback (most recent call last):
            ...
        deap_hpo.training.stacking.stackable.NotStackable: the network reaches a parameter otherwise than by its name
    """
    own = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if any(one is not None for one in torch.autograd.grad(found.sum(), own, retain_graph=True, allow_unused=True)):
        raise NotStackable("the network reaches a parameter otherwise than by its name")
