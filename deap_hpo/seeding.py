"""Seeds derived from a single one, and the global generators from which DEAP draws."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

# Keys of the seeds that follow from that of a study; 0 and 1 are for DEAP's generators.
FOR_EVALUATIONS, FOR_ENQUEUED, FOR_RETRAININGS = 2, 3, 4


def derived_seed(seed: int, *key: int) -> int:
    """Derive a seed, 0 <= seed < 2**32, for a key of integers; seeds of different keys are independent.

    Source: numpy's `SeedSequence`, after O'Neill, "Developing a seed_seq alternative" (2015).

    Example:
        >>> derived_seed(1, 0) == derived_seed(1, 0), derived_seed(1, 0) == derived_seed(1, 1)
        (True, False)
    """
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])


def seed_evolution(seed: int) -> None:
    """Seed the global generators of `random` and numpy, from which DEAP draws, for an evolution.

    Example:
        >>> seed_evolution(1)
        >>> first = random.random(), np.random.random()
        >>> seed_evolution(1)
        >>> (random.random(), np.random.random()) == first
        True
    """
    random.seed(derived_seed(seed, 0))
    np.random.seed(derived_seed(seed, 1))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of `random`, numpy and torch for a `with` block, and restore them afterwards.

    Torch's are seeded even if torch is first imported inside the block.

    Example:
        >>> before = random.getstate()
        >>> with seeded(1):
        ...     first = random.random(), np.random.random()
        >>> with seeded(1):
        ...     (random.random(), np.random.random()) == first
        True
        >>> random.getstate() == before
        True
    """
    with generators_kept():
        random.seed(seed)
        np.random.seed(seed)
        if "torch" in sys.modules:
            sys.modules["torch"].manual_seed(seed)
            yield
            return
        finder = _SeedsTorch(seed)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            outer = next((one for one in sys.meta_path if isinstance(one, _SeedsTorch)), None)
            if outer and "torch" in sys.modules:  # the enclosing `seeded` has not seeded torch yet
                sys.modules["torch"].manual_seed(outer.seed)


class _SeedsTorch(MetaPathFinder):
    """Seeds torch on import, for functions that import it when they are called."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._asking = False  # whether the other finders are being asked

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torch" or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_seed(module: ModuleType) -> None:
            load(module)
            module.manual_seed(self.seed)

        spec.loader.exec_module = load_and_seed  # type: ignore[method-assign]
        return spec


def generator_states() -> dict[str, Any]:
    """Give the states of the global generators of `random`, numpy and, if it is imported, torch, as plain values.

    Example:
        >>> states = generator_states()
        >>> drawn = random.random(), np.random.random()
        >>> set_generator_states(states)
        >>> drawn == (random.random(), np.random.random())
        True
    """
    kind, keys, *others = np.random.get_state(legacy=True)
    states: dict[str, Any] = {"random": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), *others]}
    if torch := sys.modules.get("torch"):
        states["torch"] = torch.get_rng_state()
        if torch.cuda.is_initialized():
            states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_generator_states(states: dict[str, Any]) -> None:
    """Set the global generators to the states from `generator_states`; those of GPUs if their number is the same.

    Example:
        >>> states = generator_states()
        >>> drawn = [random.random() for _ in range(3)]
        >>> set_generator_states(states)
        >>> drawn == [random.random() for _ in range(3)]
        True
    """
    random.setstate(states["random"])
    np.random.set_state(tuple(states["numpy"]))
    torch = sys.modules.get("torch")
    if torch and "torch" in states:
        torch.set_rng_state(states["torch"])
        cuda = states.get("cuda")  # if it was not in use, CUDA is not even queried, because that would break forks
        if cuda and torch.cuda.is_available() and torch.cuda.device_count() == len(cuda):
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Restore the global generators after a `with` block, so that draws inside have no effect outside.

    Example:
        >>> before = random.getstate()
        >>> with generators_kept():
        ...     _ = random.random()
        >>> random.getstate() == before
        True
    """
    states = generator_states()
    try:
        yield
    finally:
        set_generator_states(states)
