"""A trained network as a program that torch alone runs: with its normalisation, and without the code it was made by."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from io import BytesIO, StringIO
from pathlib import Path

import torch
from torch import Tensor, nn

from deap_hpo.errors import InputError
from deap_hpo.files import written_whole
from deap_hpo.training.data import Data, prepared


def save_program(network: nn.Module, data: Data, path: str | Path) -> None:
    """Write a network, in evaluation mode and on the CPU, as a program that takes inputs as `data` stores them.

    A trained network expects normalised inputs. The program normalises them itself, so it is what to give to others:
    ``torch.export.load(path).module()(inputs)`` needs neither this package nor the network's class.

    Args:
        network: The network, such as `study.best_model()`; it is copied.
        data: The data it was trained on, whose mean and standard deviation it needs.
        path: The file, by custom ``*.pt2``; folders are made.

    Raises:
        InputError: `torch.export` cannot follow the network's code, as where Python branches on a tensor's values.

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
    complete = _WithNormalisation(deepcopy(network), data).cpu().eval()
    one = data.training.inputs[:1].cpu()
    content = BytesIO()  # torch wants a file's name to end in .pt2, which one that is not complete does not
    try:
        # Two examples, since torch takes a size of 1 for a constant.
        any_size = {0: torch.export.Dim("examples")}
        with _silence():
            program = torch.export.export(complete, (torch.cat([one, one]),), dynamic_shapes=(any_size,), strict=False)
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
    """Keep from the user the pages that torch prints and logs of code it cannot follow; its error says it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


class _WithNormalisation(nn.Module):
    """A network, and before it what `Data.prepare` does."""

    def __init__(self, network: nn.Module, data: Data) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = (nn.Buffer(one) if isinstance(one, Tensor) else one for one in (data.mean, data.std))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs as they are stored to the network's output."""
        output: Tensor = self.network(prepared(inputs, self.mean, self.std))
        return output
