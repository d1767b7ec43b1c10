"""A check that nothing is drawn from the global random generators, which all members of a stack would share."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from deap_hpo.training.keyed import generators_restored, gpus_in_use
from deap_hpo.training.stacking.stackable import NotStackable


@contextmanager
def refusing_draws() -> Iterator[None]:
    """Refuse random draws from the generators of torch, numpy and Python, and put these back afterwards.

    Raises:
        NotStackable: At the end: a network, the loss or a metric has drawn numbers, which members would share.

    Example:
        >>> with refusing_draws():
        ...     number = random.random()
        Traceback (most recent call last):
            ...
        deap_hpo.training.stacking.stackable.NotStackable: the network, the loss or a metric draws random numbers
    """
    gpus = gpus_in_use()
    before = _positions(gpus)
    with generators_restored(gpus):
        yield
        after = _positions(gpus)
    if after != before:
        raise NotStackable("the network, the loss or a metric draws random numbers")


def _positions(gpus: Sequence[int]) -> list[object]:
    """Give the states of all generators, for comparison."""
    of_torch = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, gpus)]
    return [random.getstate(), _plain(np.random.get_state(legacy=False)), [state.tolist() for state in of_torch]]


def _plain(state: Any) -> Any:
    """Turn the arrays in a state of numpy's generator into bytes, which compare, and are made sooner than text."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state
