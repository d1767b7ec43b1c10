"""Which GPU a worker process sees: an environment variable tells it, before CUDA is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from deap_hpo.checks import is_integer
from deap_hpo.errors import InputError
from deap_hpo.evaluator import Evaluate, as_evaluator

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that tells CUDA (and ROCm) which GPUs a process may see; in that process they are numbered from 0."""


def check_gpus(gpus: Sequence[int]) -> tuple[int, ...]:
    """Check the numbers of GPUs, and give them as a tuple.

    Raises:
        InputError: They are not different integers of at least 0, or ``CUDA_VISIBLE_DEVICES`` names fewer.

    Example:
        >>> check_gpus([0, 1])
        (0, 1)
        >>> check_gpus([0, 0])
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: gpus must be different integers of at least 0, such as [0, 1]; got [0, 0].
    """
    is_list = isinstance(gpus, (list, tuple, range))
    if not is_list or not all(is_integer(one) and one >= 0 for one in gpus) or len(set(gpus)) < len(gpus):
        raise InputError(f"gpus must be different integers of at least 0, such as [0, 1]; got {gpus!r}.")
    visible = _visible()
    if visible is not None and gpus and max(gpus) >= len(visible):
        raise InputError(f"gpus must be below {len(visible)}, as {VISIBLE} is {os.environ[VISIBLE]!r}; got {gpus!r}.")
    return tuple(map(int, gpus))


def check_device(evaluate: Evaluate, gpus: Sequence[int]) -> None:
    """Check that an evaluator computes on the GPUs that workers will see; of a function nothing is known.

    Raises:
        InputError: It computes elsewhere, or on a GPU of its own choice, or there are not so many GPUs.

    Example:
        >>> check_device(abs, [0, 1])
    """
    device = as_evaluator(evaluate).device
    if not gpus or device is None:
        return
    if str(device) != "cuda":
        raise InputError(
            "gpus need an evaluator whose device is 'cuda', so that each worker can choose its GPU; the device of "
            f"{type(evaluate).__name__} is {str(device)!r}."
        )
    torch = sys.modules.get("torch")
    if torch is not None and max(gpus) >= torch.cuda.device_count():
        raise InputError(f"gpus must be below {torch.cuda.device_count()}, the number of GPUs; got {list(gpus)}.")


def visible_as(gpu: int) -> str:
    """Give the value of `VISIBLE` with which a process sees one of the GPUs that this process sees.

    Example:
        >>> visible_as(1) if VISIBLE not in os.environ else "1"
        '1'
    """
    visible = _visible()
    return str(gpu) if visible is None else visible[gpu]


def _visible() -> list[str] | None:
    """Give the names (numbers or UUIDs) of the GPUs that this process may see; None for all."""
    names = os.environ.get(VISIBLE)
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]
