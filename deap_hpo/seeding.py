"""Seeds: many derived from one, and the global generators that DEAP draws from."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def derived_seed(seed: int, *key: int) -> int:
    """Derive a seed, 0 <= seed < 2**32, for a purpose named by whole numbers; different keys give independent ones.

    Source: numpy's `SeedSequence`, after O'Neill, "Developing a seed_seq alternative" (2015).

    Example:
        >>> derived_seed(1, 0) == derived_seed(1, 0), derived_seed(1, 0) == derived_seed(1, 1)
        (True, False)
    """
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])


def seed_generators(seed: int) -> None:
    """Seed the global generators of `random` and numpy, and torch's where it is in use."""
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put the global generators of `random` and numpy back afterwards: nothing drawn inside moves what is outside."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
