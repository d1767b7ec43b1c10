"""A check that a task's network, data, loss and metrics fit together, on two examples and before any training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deap_hpo.errors import InputError
from deap_hpo.training.broadcasting import BroadcastWatch
from deap_hpo.training.data import Data, Split
from deap_hpo.training.freshness import Freshness
from deap_hpo.training.inputs import Inputs, Targets, call, described, number_of_examples, tensors
from deap_hpo.training.labels import Counting, ignored_by
from deap_hpo.training.measures import AVERAGED, Cost, Measure, one_number, own_copy, trainable_parameters
from deap_hpo.training.outputs import Outputs, leaves, mapped, output_shapes, unshared, widened

_FEW = 60  # examples on which a loss is examined


def check_fit(
    task: str,
    model: Callable[..., nn.Module],
    architecture: Mapping[str, Any],
    data: Data,
    measures: Mapping[str, Measure],
    loss_arguments: Mapping[str, Any] = MappingProxyType({}),
    optimizer_of: Callable[[nn.Module], Any] | None = None,
    costs: Mapping[str, Cost] = MappingProxyType({}),
) -> None:
    """Check that a network can be built, measured on two examples, and trained.

    Args:
        task: Name of the task, for error messages.
        model: Factory of the network.
        architecture: Its arguments.
        data: The task's data.
        measures: The task's metrics by name, and its loss under "loss".
        loss_arguments: Hyperparameters that are arguments of the training loss.
        optimizer_of: Makes the optimiser, if the task has its own; one step is tried.
        costs: The task's costs by name.

    Raises:
        InputError: The network cannot be built or trained, does not fit data, loss or metrics, or has no cost.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> from deap_hpo.training.models import MLP
        >>> check_fit("digits", MLP, {"inputs": 64, "classes": 9}, load_digits(), {"loss": F.cross_entropy})
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: The network of the task 'digits' does not fit the data (inputs [2, 1, 8, 8], \
targets [2]): it has 9 outputs, but the targets go from 0 to 9.
    """
    examples = _two_examples(data.training)
    about = f"inputs {_shapes(examples.inputs)}, targets {_shapes(examples.targets)}"
    step = partial(_step, f"The network of the task {task!r}")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        with step(f"could not be built{f' with {dict(architecture)}' if architecture else ''}", _hint_of_factory):
            network = model(**architecture).eval()
            _check_initialized(network)
        with step("could not be trained"):
            if trainable_parameters(network) == 0:
                raise ValueError("it has no parameters that training changes")
        with step(f"does not fit the data ({about})", partial(_hint_of_data, data)):
            output = widened(call(network, data.normalized(examples.inputs)))
            if isinstance(output, Tensor) and isinstance(examples.targets, Tensor):
                _check_classes(output, data, measures["loss"])
        about += f", outputs {output_shapes(output)}"
        measures = {name: own_copy(one) for name, one in measures.items()}  # they may keep what they are called with
        for name, measure in measures.items():
            with step(f"does not fit the {name} ({about})", partial(_hint_of_measure, name, measure, output, data)):
                _check_measure(name, measure, output, examples.targets)
        if loss_arguments:
            with step(f"could not be trained by the loss with {dict(loss_arguments)}"):
                _check_measure("loss", partial(measures["loss"], **loss_arguments), output, examples.targets)
        if optimizer_of is not None:
            with step("could not be trained by its optimizer"), torch.enable_grad():
                optimizer = optimizer_of(network)
                network.train()  # it may behave differently in this mode
                output = widened(call(network, data.normalized(examples.inputs)))
                measures["loss"](output, examples.targets, **loss_arguments).backward()
                optimizer.step()
                del optimizer
        with step("could not be trained"):
            freshness = Freshness()
            freshness.check(network.train(), frozen_norms=True)
            del output, network  # what the next network still shares with this one is held by the factory
            freshness.check(model(**architecture).train(), frozen_norms=True)
        for name, cost in costs.items():
            with step(f"could not be measured by costs[{name!r}]"):
                one_number(name, cost(model(**architecture).eval()))


@contextmanager
def _step(network: str, said: str, hint: Callable[[Exception], str] = lambda error: "") -> Iterator[None]:
    """Turn an error into one that says what the network could not do; `hint` adds what may be the cause."""
    try:
        yield
    except Exception as error:
        kind = f"{type(error).__name__}: " if isinstance(error, LookupError) else ""
        text = f"{kind}{str(error).strip().removesuffix('.')}."
        raise InputError(f"{network} {said}: {text}{hint(error)}") from error


def reduction_of(
    model: Callable[..., nn.Module], architecture: Mapping[str, Any], data: Data, loss: Measure
) -> Literal["mean", "sum", "none"]:
    """Tell how a batch's loss follows from the losses of its parts, for an untrained network.

    A loss with class weights, or one that takes a root, is neither their mean nor their sum: "none". If the reduction
    cannot be found out, the answer is "mean".

    Args:
        model: Factory of the network.
        architecture: Its arguments.
        data: The task's data; some validation examples are used.
        loss: The loss.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> losses = [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="sum"), nn.CrossEntropyLoss(torch.rand(10))]
        >>> network = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> [reduction_of(network, {}, load_digits(), loss) for loss in losses]
        ['mean', 'sum', 'none']
    """
    examples = data.validation[:_FEW]
    loss = own_copy(loss)
    counting = Counting(data.validation.targets, ignored_by(loss))

    def loss_of(outputs: Outputs, part: slice) -> float:
        of_part = mapped(lambda one: one[part], outputs)
        return float(loss(unshared(of_part), unshared(examples[part].targets)))

    def of_parts(outputs: Outputs, cut: int) -> Literal["mean", "sum", "none"]:
        parts = slice(cut), slice(cut, None)
        whole, again = loss_of(outputs, slice(None)), loss_of(outputs, slice(None))
        counts = [int(counting.of(examples[part].targets)) for part in parts]
        losses = [loss_of(outputs, part) for part in parts]
        mean = sum(one * count for one, count in zip(losses, counts, strict=True)) / sum(counts)
        told = math.isfinite(mean) and whole == again  # a loss that draws or counts gives another value each time
        if not told or math.isclose(mean, whole, rel_tol=1e-5, abs_tol=1e-7):
            return "mean"
        return "sum" if math.isclose(sum(losses), whole, rel_tol=1e-5) else "none"

    found: set[Literal["mean", "sum", "none"]] = set()
    with suppress(Exception), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)  # the same answer each time
        outputs = widened(call(model(**architecture).eval(), data.normalized(examples.inputs)))
        # An untrained network's outputs hardly differ, nor do its losses. So a result other than "mean" counts only if
        # larger outputs do not give "mean". A loss may refuse these: for example, they are no longer probabilities.
        larger = mapped(lambda one: 5 * one if one.is_floating_point() else one, outputs)
        for cut in sorted({1, len(examples) // 3, len(examples) // 2} - {0, len(examples)}):
            reduction = of_parts(outputs, cut)
            if reduction != "mean":
                with suppress(Exception):
                    reduction = "mean" if of_parts(larger, cut) == "mean" else reduction
            found.add(reduction)
    if "none" in found or len(found) == 2:
        return "none"
    return found.pop() if found else "mean"


def takes_one_example(model: Callable[..., nn.Module], architecture: Mapping[str, Any], data: Data) -> bool:
    """Tell whether a network can be trained on a batch of one example; batch normalisation may not.

    Example:
        >>> from deap_hpo.training.data import load_digits
        >>> networks = [nn.Sequential(nn.Flatten(), one) for one in (nn.Linear(64, 10), nn.BatchNorm1d(64))]
        >>> [takes_one_example(lambda: one, {}, load_digits()) for one in networks]
        [True, False]
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = model(**architecture)
        if not any(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in network.modules()):
            return True
        try:
            call(network.train(), data.normalized(data.training[:1].inputs))
        except ValueError as error:
            return "more than 1 value per channel" not in str(error)
        return True


def _shapes(part: Inputs | Targets) -> str:
    return described(part, lambda one: str(list(one.shape)))


def _two_examples(split: Split) -> Split:
    """Give two examples whose targets differ, if the first 1000 have such: a metric may need both of two classes."""
    first = [one[:1000].reshape(min(1000, len(split)), -1) for one in tensors(split.targets)]
    different = torch.stack([(one != one[0]).any(1) for one in first]).sum(0)  # number of targets that differ
    return split[[0, int(different.argmax())]] if different.any() else split[:2]


def _check_initialized(network: nn.Module) -> None:
    """Refuse lazy modules: their initial weights would depend on who calls them first."""
    if any(isinstance(one, nn.parameter.UninitializedParameter) for one in network.parameters()):
        raise ValueError(
            "lazy modules get their weights in their first call, which is not a training step; give their sizes, "
            "or call the network once before the factory returns it"
        )


def _check_classes(output: Tensor, data: Data, loss: Measure) -> None:
    """Refuse a classifier with too few outputs: a class without one would stop a training in the middle."""
    if loss not in (F.cross_entropy, F.nll_loss):
        return
    hint = "; for a regression, give targets of a floating-point type"
    if output.dim() < 2:
        raise ValueError(f"it must return [N, C], an output for each class; it returned {list(output.shape)}{hint}")
    splits = [split for split in (data.training, data.validation, data.test) if split]
    highest = max(int(tensors(split.targets)[0].max()) for split in splits)
    if output.shape[1] <= highest:
        said = f"it has {output.shape[1]} outputs, but the targets go from 0 to {highest}"
        raise ValueError(said + hint if output.shape[1] == 1 else said)


def _check_measure(name: str, measure: Measure, output: Outputs, target: Targets) -> None:
    output, is_loss = unshared(output), name == "loss"
    if is_loss:
        output = mapped(lambda one: one.detach().requires_grad_() if one.is_floating_point() else one, output)
    with BroadcastWatch(number_of_examples(target)) as watch, torch.set_grad_enabled(is_loss):
        # Clones, not leaves: a loss may modify its arguments, as it may in training.
        value = measure(mapped(torch.clone, output) if is_loss else output, unshared(target))
    if is_loss and (not isinstance(value, Tensor) or value.dim() != 0):
        raise ValueError("it must give a tensor with a single number, the mean over the batch")
    if is_loss and not value.requires_grad and any(one.requires_grad for one in leaves(output)):
        raise ValueError("it has no gradient, so that nothing can be learnt: is something detached?")
    one_number(name, value)
    if watch.found:
        raise ValueError(
            "outputs [N, 1] and targets [N] broadcast to [N, N], so every output is compared with every target; "
            "squeeze the outputs, or give targets [N, 1]"
        )


def _are_labels(targets: Tensor) -> bool:
    return targets.dim() > 1 and targets.dtype == torch.int64 and int(targets.max()) <= 1


def _hint_of_factory(error: Exception) -> str:
    """Say how the network's factory gets its arguments, if that may be why it raises."""
    if "missing" in str(error) and "required" in str(error):
        return " Arguments of the network's factory are searched, or have defaults."
    if isinstance(error, TypeError) and "float" in str(error):
        return " A hyperparameter that has to be a whole number is an Int."
    return ""


def _hint_of_data(data: Data, error: Exception) -> str:
    """Explain how inputs were understood, if that may be why the network does not fit them."""
    inputs = data.training.inputs
    if isinstance(inputs, dict):
        types = described(data.normalized(data.training[:1].inputs), lambda one: str(one.dtype).removeprefix("torch."))
        return f" Several inputs are given to the arguments of forward that have their names, here as {types}."
    if "required positional argument" in str(error):
        return " Several inputs are given as a dict, by the names that the arguments of forward have."
    if inputs.dtype == torch.int64:
        return " Inputs that are whole numbers are taken for tokens; give a table as floating-point numbers."
    return ""


def _hint_of_measure(name: str, measure: Measure, output: Outputs, data: Data, error: Exception) -> str:
    """Explain how outputs and targets were understood, if that may be why a loss or a metric does not fit them."""
    targets, by_default = data.training.targets, name != "loss" and measure in AVERAGED
    one_of_each = isinstance(output, Tensor) and isinstance(targets, Tensor)
    if not by_default and not one_of_each and isinstance(error, (TypeError, AttributeError)):
        several = "the targets of the data" if isinstance(output, Tensor) else "the outputs of the network"
        return (
            f" There are several tensors in {several}, and loss and metrics receive all of them; use functions of your "
            "own that pick what they need."
        )
    if by_default:
        return " With metrics={} only the loss is measured."
    if name != "loss":
        return ""
    if "required" in str(error) and "argument" in str(error):
        return " Searched arguments of the loss need defaults, with which networks are measured."
    if isinstance(targets, Tensor) and _are_labels(targets):
        return " Several labels an example are given as floats, with a loss such as nn.BCEWithLogitsLoss()."
    if isinstance(targets, Tensor) and targets.is_floating_point():
        return " Targets of a floating-point type are taken for a regression; give classes as whole numbers."
    if isinstance(targets, Tensor) and targets.dtype == torch.uint8:
        return " Targets of the type uint8 are left as they are; give classes as int64."
    return ""
