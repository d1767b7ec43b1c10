"""The user's data: numpy arrays, tensors or a dataset, read into memory, checked, split and normalised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from deap_hpo.checks import check_flag, check_integer, is_integer, is_number
from deap_hpo.errors import InputError
from deap_hpo.seeding import derived_seed, generators_kept
from deap_hpo.training.data import Data, Split, split_data
from deap_hpo.training.input_advice import warn_of_axis, warn_of_masks, warn_of_redrawn
from deap_hpo.training.inputs import Inputs, Targets, described, each, tensors
from deap_hpo.training.labels import IGNORED
from deap_hpo.training.normalization import Normalize, recorded, statistics_for
from deap_hpo.training.reading import as_tensor, as_training_inputs, image_pixels

# Number of examples to read twice. A dataset that redraws one in ten examples goes unnoticed with a chance of 0.19.
_READ_TWICE = 16

_Convert = Callable[[str, Any], Tensor]  # of an argument's name and its values

_SEVERAL = " Several inputs go together, by their names: ({'a': ..., 'b': ...}, target)."


def read_data(
    name: str,
    data: Any,
    *,
    validation: Any = 0.2,
    test: Any = None,
    split_seed: int = 0,
    stratify: bool = False,
    normalize: Normalize = True,
    ignored: int = IGNORED,
) -> Data:
    """Read data in almost any form; see `deap_hpo.training.task.Task.from_data`.

    Some examples of a dataset are read again. If they differ, a warning says that random draws are made only once.

    Raises:
        InputError: The data cannot be read as examples and targets, or the sizes do not fit.

    Example:
        >>> data = read_data("tokens", (torch.randint(0, 9, (10, 5)), torch.arange(10) % 2), validation=3)
        >>> len(data.training), len(data.validation), data.prepare(data.training.inputs).dtype
        (7, 3, torch.int64)
    """
    check_integer("split_seed", split_seed, 0)
    whole = development = _read("data", data, ignored)
    unseen: Split | None
    if is_number(test) or isinstance(test, bool):
        development, unseen = _with_some_apart(whole, _size("test", test, len(whole)), split_seed, stratify)
    else:
        unseen = None if test is None else _read("test", test, ignored)
    if is_number(validation) or isinstance(validation, bool):
        size = _size("validation", validation, len(development))
        order = _stratified(development.targets, size, split_seed) if check_flag("stratify", stratify) else None
        made = split_data(name, development, unseen, validation_size=size, split_seed=split_seed, order=order)
    elif stratify:
        raise InputError("stratify is for a share or a number of validation examples; these are data of their own.")
    else:
        made = Data(name, development, _read("validation", validation, ignored), unseen)
    # Only after everything has been read, because reading again advances a dataset's own generator.
    given = {"data": (data, whole), "validation": (validation, made.validation), "test": (test, unseen)}
    warn_of_redrawn([what for what, (source, split) in given.items() if split and _redraws(source, split)])
    for split, what in ((made.validation, "validation"), (unseen, "test")):
        if split is not None and not _alike(split, development):
            raise InputError(
                f"{what} must hold examples like those of data, of {_kind(development)}; got {_kind(split)}."
            )
    description = {
        "name": name,
        "training_size": len(made.training),
        "validation_size": len(made.validation),
        "test_size": len(unseen) if unseen else 0,
        "split_seed": split_seed,
        "sha256": _digest([made.training, made.validation]),  # so that resuming with other data is refused
    }
    mean, std = statistics_for(made.training.inputs, normalize)
    warn_of_axis(made.training.inputs, normalize)
    warn_of_masks(made.training.inputs, normalize)
    how = {**({"stratify": True} if stratify else {}), "normalize": recorded(normalize)}
    drawn = tuple(what for what, size in (("validation", validation), ("test", test)) if is_number(size))
    return replace(made, mean=mean, std=std, description={**description, **how}, drawn=drawn)


def _stratified(targets: Targets, validation_size: int, seed: int) -> Tensor:
    """Give the positions of all examples, those for validation first, among which classes are as frequent as in all.

    Raises:
        InputError: The targets are not classes, or there are too few examples of a class or for all classes.
    """
    if isinstance(targets, dict) or targets.numel() > len(targets) or not bool((targets == targets.round()).all()):
        got = described(targets, lambda one: f"{list(one.shape)} of {one.dtype}")
        raise InputError(f"stratify is for classes, one whole number an example; got targets {got}.")
    from sklearn.model_selection import train_test_split  # slow to import, and rarely needed

    numbers = np.arange(len(targets))
    try:
        parts = train_test_split(numbers, test_size=validation_size, stratify=targets.flatten(), random_state=seed)
    except ValueError as error:
        raise InputError(f"stratify cannot split {len(targets)} examples for {validation_size}: {error}") from None
    return torch.from_numpy(np.concatenate(parts[::-1]))


def _read(argument: str, data: Any, ignored: int) -> Split:
    """Read a pair of arrays or a dataset."""
    if isinstance(data, Split):
        return data
    convert = as_training_inputs if argument == "data" else as_tensor
    if _is_pair(data):
        inputs, targets = _of_inputs(argument, convert, data[0]), _of_targets(argument, as_tensor, data[1])
    elif _is_dataset(data):
        inputs, targets = _of_dataset(argument, convert, data)
    else:
        loader = " Give its dataset; the trainer makes the batches." if hasattr(data, "dataset") else ""
        hint = _SEVERAL if isinstance(data, Mapping) else loader
        raise InputError(
            f"{argument} must be a pair (inputs, targets) of arrays or tensors, or a map-style dataset (with "
            f"__getitem__ and __len__); got {type(data).__name__}.{hint}"
        )
    if min(map(len, [*tensors(inputs), *tensors(targets)])) == 0:
        raise InputError(f"{argument} must hold at least one example; it is empty.")
    for what, part, remedy in (("inputs", inputs, "Fill or drop them"), ("targets", targets, "Drop their examples")):
        for name, one in part.items() if isinstance(part, dict) else [("", part)]:
            if one.is_floating_point() and not bool(torch.isfinite(one).all()):
                which = f" of {name!r}" if name else ""
                raise InputError(
                    f"{argument} must hold finite {what}; some{which} are NaN or infinite. {remedy} first."
                )
    for one in [target for target in tensors(targets) if not target.is_floating_point()]:
        wrong = one[(one < 0) & (one != ignored)]
        if wrong.numel() or torch.eq(one, ignored).all():
            got = f"got {int(wrong.min()) if wrong.numel() else 'nothing else'}; for a regression, floats are expected"
            raise InputError(f"{argument} must hold classes from 0 on as targets, or {ignored} for none; {got}.")
    return Split(inputs if isinstance(inputs, dict) else _counted(inputs), each(_counted, targets))


def _counted(tensor: Tensor) -> Tensor:
    """Turn booleans into 0 and 1: targets are classes, and a single input is tokens; one of several may be a mask."""
    return tensor.long() if tensor.dtype == torch.bool else tensor


def _is_pair(data: Any) -> bool:
    return isinstance(data, (tuple, list)) and len(data) == 2 and not isinstance(data[0], (tuple, list))


def _is_dataset(data: Any) -> bool:
    """Tell whether data are a dataset, which is read example by example."""
    map_style = hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, IterableDataset)
    return map_style and not isinstance(data, (Split, Mapping)) and not _is_pair(data)


def _of_inputs(argument: str, read: _Convert, inputs: Any) -> Inputs:
    """Read the inputs, or each of several by name."""
    if not isinstance(inputs, Mapping):
        return read(argument, inputs)
    if not inputs or not all(isinstance(name, str) and name.isidentifier() for name in inputs):
        raise InputError(
            f"{argument} must have several inputs by the names of the arguments that the network's forward has for "
            f"them; got {list(inputs)}."
        )
    return {name: read(f"{argument} (input {name!r})", inputs[name]) for name in sorted(inputs)}


def _of_targets(argument: str, read: _Convert, targets: Any) -> Targets:
    """Read the targets, or each of several by name."""
    if not isinstance(targets, Mapping):
        return read(argument, targets)
    if not targets or not all(isinstance(name, str) for name in targets):
        raise InputError(f"{argument} must have several targets by names of your choice; got {list(targets)}.")
    return {name: read(f"{argument} (target {name!r})", targets[name]) for name in sorted(targets)}


def _of_dataset(argument: str, convert: _Convert, dataset: Any) -> tuple[Inputs, Targets]:
    pairs = [_example(argument, dataset, i) for i in range(len(dataset))]
    if not pairs:
        raise InputError(f"{argument} must hold at least one example; it is empty.")
    try:
        images = partial(_stack_images, convert=convert)
        inputs = _of_inputs(argument, images, _by_name("inputs", [pair[0] for pair in pairs]))
        return inputs, _of_targets(argument, _stack, _by_name("targets", [pair[1] for pair in pairs]))
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{argument} must be a dataset whose examples have one shape and type (pad or resize them); {error}."
        ) from error


def _example(argument: str, dataset: Any, number: int) -> Any:
    try:
        pair = dataset[number]
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".removesuffix(".")
        raise InputError(f"{argument} could not be read: example {number} raised {reason}.") from error
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        hint = _SEVERAL if isinstance(pair, (tuple, dict)) or _are_arrays(dataset) else ""
        kind = f"{type(pair).__name__} of {len(pair)}" if isinstance(pair, (tuple, list, dict)) else type(pair).__name__
        raise InputError(
            f"{argument} must be a dataset of pairs (input, target), or a pair of arrays or tensors; "
            f"example {number} is a {kind}.{hint}"
        )
    return pair


def _are_arrays(dataset: Any) -> bool:
    """Tell whether a supposed dataset is in fact ([one input, another], targets)."""
    return isinstance(dataset, tuple) and len(dataset) == 2 and hasattr(dataset[1], "shape")


def _by_name(what: str, examples: Sequence[Any]) -> Any:
    """Give the inputs or targets of a dataset's examples, grouped by name if each example has several."""
    names = {frozenset(one) if isinstance(one, Mapping) else None for one in examples}
    if names == {None}:
        return examples
    if len(names) > 1:
        raise ValueError(f"they have {what} of different names: {' and '.join(map(_listed, names))}")
    return {name: [one[name] for one in examples] for name in examples[0]}


def _listed(names: frozenset[Any] | None) -> str:
    return "none" if names is None else str(sorted(map(str, names)))


def _stack_images(argument: str, examples: Sequence[Any], convert: _Convert = as_tensor) -> Tensor:
    return _stack(argument, [image_pixels(one) for one in examples], convert)


def _stack(argument: str, examples: Sequence[Any], convert: _Convert = as_tensor) -> Tensor:
    if isinstance(examples[0], Tensor):
        return convert(argument, torch.stack([one.detach().cpu() for one in examples]))
    return convert(argument, np.stack([np.asarray(one) for one in examples]))


def _redraws(dataset: Any, split: Split) -> bool:
    """Tell whether a dataset gives other examples when it is read again, as one with random draws does."""
    if not _is_dataset(dataset):
        return False
    numbers = np.linspace(0, len(split) - 1, min(_READ_TWICE, len(split))).astype(int).tolist()
    with generators_kept():
        try:
            return not all(_equal(dataset[number], split[number : number + 1]) for number in numbers)
        except Exception:  # reading it once was enough
            return False


def _equal(pair: Any, kept: Split) -> bool:
    inputs = _of_inputs("data", _stack_images, _by_name("inputs", [pair[0]]))
    again = [*tensors(inputs), *tensors(_of_targets("data", _stack, _by_name("targets", [pair[1]])))]
    before = [*tensors(kept.inputs), *tensors(kept.targets)]
    return all(torch.equal(one.to(two.dtype), two) for one, two in zip(again, before, strict=True))


def _size(argument: str, given: float, examples: int) -> int:
    if isinstance(given, bool) or not (0 < given < (examples if is_integer(given) else 1)):
        number = f"a number of examples from 1 to {examples - 1}"
        raise InputError(f"{argument} must be a share in (0, 1), {number}, or data; got {given!r}.")
    return int(given) if is_integer(given) else max(1, round(given * examples))


def _with_some_apart(whole: Split, size: int, seed: int, stratify: bool) -> tuple[Split, Split]:
    """Split examples into those that remain and `size` that are kept apart."""
    if not 0 < size < len(whole):
        raise InputError(f"test must leave some of the {len(whole)} examples, and be at least one; got {size}.")
    if check_flag("stratify", stratify):
        order = _stratified(whole.targets, size, seed)
    else:  # by another permutation than the one that splits the rest
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(derived_seed(seed, 1) % 2**63))
    return whole[order[size:]], whole[order[:size]]


def _alike(one: Split, other: Split) -> bool:
    return _kind(one) == _kind(other)


def _kind(split: Split) -> str:
    return f"inputs {described(split.inputs, _shape)} and targets {described(split.targets, _shape)}"


def _shape(tensor: Tensor) -> str:
    return f"{list(tensor.shape[1:])} {tensor.dtype}"


def _digest(splits: Sequence[Split]) -> str:
    digest = hashlib.sha256()
    for split in splits:
        for part in (split.inputs, split.targets):
            if isinstance(part, dict):
                digest.update(repr(list(part)).encode())
        for tensor in (*tensors(split.inputs), *tensors(split.targets)):
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
