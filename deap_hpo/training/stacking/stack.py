"""A stack: networks of equal structure, trained together as one program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from deap_hpo.interruption import raise_kept
from deap_hpo.training.data import Data, Split
from deap_hpo.training.inputs import Inputs
from deap_hpo.training.keyed import member_keys, step_keys
from deap_hpo.training.labels import Counting, ignored_by, summed
from deap_hpo.training.memory import Parts
from deap_hpo.training.optimizers import parameter_names
from deap_hpo.training.outcome import measure, with_own_measures
from deap_hpo.training.outputs import Outputs, leaves
from deap_hpo.training.stacking.averages import Averages
from deap_hpo.training.stacking.batches import EpochTables, epoch_tables
from deap_hpo.training.stacking.clipping import Clipping
from deap_hpo.training.stacking.engines import Step, Watch, make_step
from deap_hpo.training.stacking.forward import Gradients, StackedForward, refuse_own_parameters, vanished
from deap_hpo.training.stacking.networks import (
    Unchanged,
    build_networks,
    named_views,
    stacked_dropout_rates,
    stacked_tensors,
)
from deap_hpo.training.stacking.stackable import NotStackable
from deap_hpo.training.stacking.stacked_member import StackedMember
from deap_hpo.training.stacking.structure import Member, plain_attributes
from deap_hpo.training.stacking.updates import make_updates
from deap_hpo.training.state import TrainingState
from deap_hpo.training.task import Task


class Stack:
    """The members' networks, trained and measured together.

    The weights of all members are one matrix [P, D], one row per member; the layers see views of it. The gradient is
    one matrix, too, so that an update touches two or three matrices instead of every layer's tensors.

    Args:
        task: What to train.
        data: The task's data, on the device to train on.
        members: Members of equal `training_structure` and `member_structure`, at least one; each starts from its state
            if it has one.
        epochs: Length of the schedules.
        precision: "fp32" or "bf16".
        engine: How a step is run; see `engines`.

    Attributes:
        in_training: The members that are still trained, each with its own values, in the order of the first dimension
            of all tensors.
        parameters: Number of trainable parameters of each.

    Raises:
        NotStackable: A network would be trained differently than alone. Obstacles that show only later raise it then.
        InputError: A state belongs to another architecture.
    """

    forward_type = StackedForward  # how networks are run

    def __init__(
        self, task: Task, data: Data, members: Sequence[Member], *, epochs: int, precision: str, engine: str = "eager"
    ) -> None:
        self.task, self.data, self.epochs, self.precision = with_own_measures(task), data, epochs, precision
        self.in_training = [StackedMember.of(member, task) for member in members]
        self.device = data.training.device
        self._engine = engine
        self._step: Step | None = None
        recipes = [member.recipe for member in members]
        self.batch_size = recipes[0].batch_size
        # Measuring takes as many examples at a time, over all members together, as for one network alone, because the
        # activations of all must fit. On a GPU it takes at least as many as a training step: those fit, and fewer would
        # leave it idle.
        trained_together = 0 if self.device.type == "cpu" else self.batch_size * len(members)
        self._parts = Parts(max(task.evaluation_batch_size, trained_together))
        self.steps_per_epoch = math.ceil(len(data.training) / self.batch_size)
        self._stack_networks()
        self._clipping = Clipping([recipe.max_grad_norm for recipe in recipes], self.weights)
        # Members with one seed share batches and dropout masks, which are then made only once (in_dims None).
        self.shared = len({member.seed for member in members}) == 1
        seeds = [member.seed for member in members]
        self.keys = member_keys(seeds[:1], self.device)[0] if self.shared else member_keys(seeds, self.device)
        self.trained = torch.full((), members[0].steps, dtype=torch.int32, device=self.device)  # steps so far
        self.step_in_epoch = torch.zeros(1, dtype=torch.int64, device=self.device)  # steps of this epoch so far
        self._counting = Counting(data.training.targets, ignored_by(task.loss))
        self.totals = torch.zeros(len(members), dtype=torch.float64, device=self.device)
        self._counts: bool | None = None  # whether the network changes plain attributes when it is trained
        self._vanished = torch.zeros((), dtype=torch.bool, device=self.device)  # whether a gradient did
        self._tables = EpochTables(*[torch.empty(0)] * 4)  # of no epoch yet
        self._gradients = self._new_gradients()

    @property
    def members(self) -> list[Member]:
        """The members that are still trained."""
        return [one.member for one in self.in_training]

    def _stack_networks(self) -> None:
        networks, optimizers = build_networks(self.task, self.members, self.device)
        # The code and the plain attributes that all members share; its own parameters are never used.
        self.network = build_networks(self.task, self.members[:1], self.device)[0][0].to(self.device)
        by_group = [name for names in parameter_names(optimizers[0], networks[0]) for name in names]
        self.shapes, self.weights, self.buffers = stacked_tensors(self.members, networks, by_group, self.device)
        self.updates = make_updates(networks, optimizers, self.shapes, self.weights)
        self.averages = Averages([member.recipe.ema for member in self.members], self.weights)
        for i, member in enumerate(self.members):
            if member.state is not None:
                self.updates.restore(i, member.state)
                if averaged := member.state.averaged:
                    started = {**member.state.weights, **averaged}  # a thawed parameter has no average yet
                    self.averages.restore(i, torch.cat([started[name].flatten() for name, _ in self.shapes]))
        self.dropout_rates = stacked_dropout_rates(networks, self.device)
        self.parameters = sum(shape.numel() for _, shape in self.shapes)
        self._forward = self.forward_type(self.network, self.shapes, self.device, self.precision)
        self._unchanged = Unchanged(self.network, self.dropout_rates, self.task.loss)

    def _new_gradients(self) -> Gradients:
        arguments = [one.loss_arguments for one in self.in_training]
        alike = all(one == arguments[0] for one in arguments)
        losses = [partial(self.task.loss, **one) for one in (arguments[:1] if alike else arguments)]
        return self._forward.gradients(losses, shared=self.shared)

    def states(self, epochs: int) -> list[TrainingState]:
        """Give the members' states after so many epochs, as views of the stack's tensors."""
        steps = int(self.trained)
        states = []
        for i, one in enumerate(self.in_training):
            buffers = {name: tensor[i] for name, tensor in self.buffers.items()}
            weights = {**named_views(self.weights[i], self.shapes), **buffers}
            moments, losses = self.updates.moments(i, steps), tuple(one.validation_losses)
            has_average = one.member.recipe.ema is not None
            averaged = named_views(self.averages.of(self.weights)[i], self.shapes) if has_average else {}
            states.append(TrainingState(epochs, steps, weights, moments, losses, averaged))
        return states

    def _advance(self, order: Tensor, lrs: Tensor) -> None:
        """Train one step, on the current batch of the epoch in `order`; the host reads no value.

        Args:
            order: Examples of the batches, [steps, B], or [steps, P, B] if seeds differ.
            lrs: Learning rates, [steps, P, groups].
        """
        batch = order.index_select(0, self.step_in_epoch)[0]
        examples = self.data.training[batch]
        inputs, targets = self.data.normalized(examples.inputs), examples.targets
        counts = self._counting.of(targets, members=not self.shared)
        keys = step_keys(self.keys, self.trained)
        stacked = self.weights, self.buffers, self.dropout_rates
        gradient, (losses, assigned) = self._gradients(*stacked, keys, inputs, targets)
        if self._counts is None and (losses.requires_grad or gradient.requires_grad):  # in the first step
            refuse_own_parameters(self.network, losses if losses.requires_grad else gradient)
        if self._counts:
            self._vanished |= vanished(gradient, self.shapes)
        for name, tensor in assigned.items():
            self.buffers[name].copy_(tensor)  # in place, because a recorded step reads these very tensors
        lrs_now = lrs.index_select(0, self.step_in_epoch)[0]
        self.updates.update(self.weights, self._clipping(gradient), lrs_now, self.trained)
        self.averages.update(self.weights, self.trained)
        self.totals += summed(losses.detach(), counts)
        self.trained += 1
        self.step_in_epoch += 1

    def train_epoch(self, epoch: int) -> list[Member]:
        """Train all members on every batch of an epoch.

        A member whose loss stops being finite is dropped as soon as this is seen; the others continue in a smaller
        stack.

        Args:
            epoch: Epochs trained so far, from 0.

        Returns:
            The members that were dropped.
        """
        self.start_epoch(epoch)
        dropped: list[Member] = []
        watch = Watch(self.device)
        for i in range(self.steps_per_epoch):
            self.train_batch(i)
            raise_kept()
            finite = watch.finite(self.totals)
            if finite is not None and not all(finite):
                dropped += self.keep(finite)
                watch = Watch(self.device)
                if not self.in_training:
                    return dropped
        if self._counts and bool(self._vanished):
            raise NotStackable("a parameter may have no gradient in some steps, of a network that counts them")
        dropped += self.keep(torch.isfinite(self.totals).tolist())
        for one, loss in zip(self.in_training, (self.totals / self._counting.whole).tolist(), strict=True):
            one.training_loss = loss
        return dropped

    def train_batch(self, i: int) -> None:
        """Train on batch number `i` of the epoch; the batches must come in order."""
        tables = self._tables
        if i < len(tables.order):
            engine = self._engine if self.updates.recordable else "eager"
            advance = partial(self._advance, tables.order, tables.lrs)
            before = plain_attributes(self.network) if self._counts is None else None
            self._step = self._step or make_step(engine, advance, self._host_state)
            self._step()
            if before is not None:
                self._counts = plain_attributes(self.network) != before
        else:
            self.step_in_epoch.zero_()
            self._advance(tables.last_order, tables.last_lrs)

    def _host_state(self) -> list[list[tuple[str, str, str]]]:
        """Give the state that a step may read outside tensors."""
        return [plain_attributes(part) for part in (self.network, self.task.loss) if isinstance(part, nn.Module)]

    def start_epoch(self, epoch: int) -> None:
        """Lay out the epoch's batches and learning rates as tables on the device."""
        self._unchanged.check(training=True)
        tables = epoch_tables(
            self.members,
            self.updates.base_lrs,
            [one.validation_losses for one in self.in_training],
            shared=self.shared,
            size=len(self.data.training),
            epoch=epoch,
            epochs=self.epochs,
        )
        tables = tables.to(self.device, self.weights.dtype)
        if not self._tables.take_over(tables):  # in place if possible, because a recorded step reads these very tensors
            self._tables, self._step = tables, None
        self.step_in_epoch.zero_()
        self.totals.zero_()

    def keep(self, going_on: Sequence[bool]) -> list[Member]:
        """Drop the members that do not continue, and give them back; the others keep their order."""
        if all(going_on):
            return []
        kept = [i for i, one in enumerate(going_on) if one]
        index = torch.tensor(kept, dtype=torch.int64, device=self.device)
        dropped = [one.member for one, goes_on in zip(self.in_training, going_on, strict=True) if not goes_on]
        self.in_training = [self.in_training[i] for i in kept]
        self.weights, self.totals = self.weights[index], self.totals[index]
        self.buffers = {name: tensor[index] for name, tensor in self.buffers.items()}
        self.dropout_rates = {name: tensor[index] for name, tensor in self.dropout_rates.items()}
        self._clipping.keep(index)
        self.updates.keep(kept, self.weights)
        self.averages.keep(index)
        self.keys = self.keys if self.shared else self.keys[index]
        self._tables = self._tables.keep(index, shared=self.shared)
        self._step = None
        if kept:
            self._gradients = self._new_gradients()
        return dropped

    def close(self) -> None:
        """Drop what refers back to the stack, so that it is freed with its last user; it cannot train afterwards.

        A recorded step holds all memory of a step, which torch gives to nothing else. Otherwise the next stack would
        have to do without this memory until Python looks for reference cycles.
        """
        del self._step, self._gradients

    def measure(self, split: Split) -> list[tuple[float, dict[str, float]]]:
        """Measure every member on a split: mean loss per example, and the task's metrics by name."""
        self._unchanged.check(training=False)

        weights = self.averages.of(self.weights)

        def outputs(members: slice, inputs: Inputs) -> Outputs:
            buffers, dropout_rates = (
                {name: tensor[members] for name, tensor in one.items()} for one in (self.buffers, self.dropout_rates)
            )
            output, assigned = self._forward.measured(
                weights[members], buffers, dropout_rates, self.data.normalized(inputs)
            )
            for name, tensor in assigned.items():
                buffers[name].copy_(tensor)
            if any(len(one) != len(weights[members]) for one in leaves(output)):
                raise NotStackable("the network keeps a tensor from an earlier call, which belongs to all members")
            return output

        before = plain_attributes(self.network)
        tasks = [one.task for one in self.in_training]
        measured = measure(tasks, split, partial(self._parts, outputs, members=len(tasks)))
        if plain_attributes(self.network) != before:
            raise NotStackable("the network counts its calls when it is measured, but a stack measures in parts")
        return measured
