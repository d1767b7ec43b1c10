"""A trained network and its normalisation, exported as a program that needs only torch and not the network's code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from inspect import Parameter, Signature
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deap_hpo.errors import InputError
from deap_hpo.files import written_whole
from deap_hpo.training.data import Data
from deap_hpo.training.inputs import call, call_arguments, each, joined
from deap_hpo.training.normalization import Statistic, prepared


def save_program(network: nn.Module, data: Data, path: str | Path) -> None:
    """Write a network, in evaluation mode and on the CPU, as a program that takes inputs as `data` stores them.

    A trained network expects normalised inputs. The program normalises them itself, so it suits deployment:
    ``torch.export.load(path).module()(inputs)`` needs neither this package nor the network's class. Several inputs are
    given by name, as to the network. Floats may have any precision.

    Args:
        network: The network, such as `study.best_model()`; it is copied.
        data: The data it was trained on, for their mean and standard deviation.
        path: The file, usually ``*.pt2``; missing folders are created.

    Raises:
        InputError: `torch.export` cannot follow the network's code, for example where Python branches on a tensor's
            values. Or an input's name is a Python keyword, which `forward(self, **inputs)` allows.

    Example:
        >>> import tempfile
        >>> from deap_hpo import Task
        >>> inputs = torch.tensor([[100.0], [110.0], [120.0], [130.0]])
        >>> task = Task.from_data(lambda: nn.Linear(1, 1), (inputs, inputs[:, 0]), validation=2)
        >>> network = task.model()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_program(network, task.data, f"{folder}/network.pt2")
        ...     program = torch.export.load(f"{folder}/network.pt2").module()
        >>> torch.allclose(program(inputs), network(task.data.prepare(inputs)))
        True
    """
    examples = each(Tensor.cpu, data.training[:1].inputs)
    two = joined([examples, examples])  # torch would take a size of 1 for a constant
    any_size = {0: torch.export.Dim("examples")}
    shapes = dict.fromkeys(two, any_size) if isinstance(two, dict) else {"inputs": any_size}
    content = BytesIO()  # torch requires a file name that ends in .pt2, which the temporary file's does not
    try:
        complete = _WithNormalisation(deepcopy(network), data).cpu().eval()
        with _silence():
            program = torch.export.export(complete, *call_arguments(two), dynamic_shapes=shapes, strict=False)
            torch.export.save(program, content)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "").removesuffix(".")
        raise InputError(
            "network must be one that torch.export can turn into a program for batches of any size; it raised "
            f"{type(error).__name__}: {reason}."
        ) from error
    with written_whole(Path(path)) as partial:
        partial.write_bytes(content.getvalue())


@contextmanager
def _silence() -> Iterator[None]:
    """Hide the pages that torch prints and logs about code it cannot follow; the error's message is enough."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


class _Statistic(nn.Module):
    """A mean or a standard deviation, whose tensors move with the program."""

    def __init__(self, statistic: Statistic) -> None:
        super().__init__()
        self._names = list(statistic) if isinstance(statistic, dict) else None
        for name, value in (statistic if isinstance(statistic, dict) else {"": statistic}).items():
            setattr(self, f"of_{name}", nn.Buffer(value) if isinstance(value, Tensor) else value)

    def forward(self) -> Statistic:
        """Give the statistic in the form that `prepared` takes."""
        if self._names is None:
            return getattr(self, "of_")  # type: ignore[no-any-return]  # noqa: B009
        return {name: getattr(self, f"of_{name}") for name in self._names}


class _WithNormalisation(nn.Module):
    """A network preceded by the normalisation of `Data.prepare`."""

    def __init__(self, network: nn.Module, data: Data) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, _Statistic(data.mean), _Statistic(data.std)
        inputs = data.training.inputs
        if isinstance(inputs, dict):
            self.forward = _with_arguments(self._of_several, list(inputs))  # type: ignore[method-assign]

    def forward(self, inputs: Tensor) -> Any:
        """Map stored inputs to the network's output."""
        return call(self.network, prepared(_of_any_float(inputs), self.mean(), self.std()))

    def _of_several(self, **inputs: Tensor) -> Any:
        return call(self.network, prepared(each(_of_any_float, inputs), self.mean(), self.std()))


def _of_any_float(inputs: Tensor) -> Tensor:
    """Convert floats of any precision to the stored one: arrays of numpy have float64, data are stored as float32."""
    if not inputs.is_floating_point():
        return inputs
    # `to` would not do: `torch.export` adds a check that the type is that of the example.
    converted = torch.zeros_like(inputs, dtype=inputs.dtype).copy_(inputs)
    # The norm of nothing is 0, and raises for whole numbers: bytes would be taken for pixels from 0 to 1.
    return converted.add_(torch.linalg.vector_norm(inputs[:0].flatten()))


def _with_arguments(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """Give a function of any keywords a signature with these names, by which `torch.export` knows its inputs."""

    def of_named(**arguments: Any) -> Any:
        return function(**arguments)

    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    of_named.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return of_named
