"""An evaluation that is under way: its latest state, from which it continues if its process is killed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from time import perf_counter
from types import MappingProxyType
from typing import Any

from torch import Tensor

from deap_hpo.evaluation import Epoch, Request
from deap_hpo.running_evaluations import log_epoch
from deap_hpo.training.checkpoints import CheckpointStore, FolderCheckpoints
from deap_hpo.training.hardware import training_clock
from deap_hpo.training.learning_curve import LearningCurve
from deap_hpo.training.nested import flattened, rebuilt
from deap_hpo.training.state import TrainingState, pack, unpack

SECONDS_BETWEEN = 10.0
"""Least seconds between two states of an evaluation that are written: so much work is lost with a process."""

LEAST_RATIO = 20.0
"""Least ratio of the time between two states to the time that writing took: large ones are written less often."""

_KEPT = "kept/"


class Pace:
    """Tells when states should be written.

    Example:
        >>> pace = Pace()
        >>> with pace.writing():
        ...     pass
        >>> pace.is_due
        False
    """

    def __init__(self) -> None:
        self._written, self._took = training_clock(), 0.0

    @property
    def is_due(self) -> bool:
        """Whether the last states were written long ago."""
        return perf_counter() - self._written >= max(SECONDS_BETWEEN, LEAST_RATIO * self._took)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Measure how long states take that are written inside."""
        start = perf_counter()
        yield
        self._written = perf_counter()
        self._took = self._written - start


class Underway:
    """The latest state of an evaluation, its learning curve and its seconds, in a store that outlives the process.

    The state belongs to the request: another process that is given the same request continues from it. If the store is
    in memory, nothing is kept. If a `with` block of it ends by an error, the state is dropped.

    Args:
        store: The store of checkpoints.
        request: The request that is carried out.
        part: Number of the training, if a request takes several.
        stacked: Whether it is trained in a stack. Alone it would not continue from there, because that is done if the
            stack turns out to be wrong for it.

    Attributes:
        curve: The epochs so far.
        seconds_before: Seconds in processes that were killed.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     begun = Underway(FolderCheckpoints(folder), Request(0, {"lr": 0.1}, seed=1))
        ...     begun.curve.append(Epoch(1, 0.5, 0.4))
        ...     begun.save({"weight": torch.ones(2)})
        ...     again = Underway(FolderCheckpoints(folder), Request(0, {"lr": 0.1}, seed=1))
        ...     again.load(), again.curve[0].validation_loss
        ({'weight': tensor([1., 1.])}, 0.4)
    """

    def __init__(self, store: CheckpointStore, request: Request, part: int = 0, *, stacked: bool = False) -> None:
        self._store = store if isinstance(store, FolderCheckpoints) else None
        asked: tuple[Any, ...] = request.number, request.params, request.seed, request.epochs, request.start_from, part
        asked += ("stacked",) if stacked else ()
        self._request, self._part = request, part
        self._key = hashlib.sha256(repr(asked).encode()).hexdigest()
        self._pace = Pace()
        self._start = training_clock()
        self.seconds_before = 0.0
        self.curve: list[Epoch] = []

    def __enter__(self) -> Underway:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception):  # it has failed; an interrupted one continues
            self.drop()

    @property
    def is_due(self) -> bool:
        """Whether a state should be written, because there is a place for it and the last one was long ago."""
        return self._store is not None and self._pace.is_due

    @property
    def seconds(self) -> float:
        """Seconds of the evaluation, those in processes that were killed included."""
        return self.seconds_before + perf_counter() - self._start

    def add(self, epoch: Epoch) -> None:
        """Add an epoch to the curve, and log it for those who watch."""
        self.curve.append(epoch)
        self.log(epoch)

    def log(self, epoch: Epoch) -> None:
        """Log an epoch for those who watch, if it is added to another curve."""
        log_epoch(self._request, epoch, self._part)

    def load(self) -> dict[str, Tensor] | None:
        """Give the latest state, and restore `curve` and `seconds`; None if there is none."""
        found = self._store.load_underway(self._key) if self._store else None
        if found is None:
            return None
        facts = rebuilt("underway", found)
        self.curve[:] = [Epoch(**one) for one in facts["curve"]]
        self.seconds_before = facts["seconds"]
        for epoch in self.curve[-1:]:
            self.log(epoch)
        return {name: tensor for name, tensor in found.items() if not name.startswith("underway/")}

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Write a state, whose names must not start with "underway/"."""
        if self._store is not None:
            facts = {"curve": [asdict(epoch) for epoch in self.curve], "seconds": self.seconds}
            with self._pace.writing():
                self._store.save_underway(self._key, {**tensors, **flattened("underway", facts)})

    def training(
        self, begins: TrainingState | None, curve: LearningCurve
    ) -> tuple[TrainingState | None, dict[str, Tensor]]:
        """Give the latest state of a trainer's training that begins now, and the tensors of its best epoch; see `load`.

        Args:
            begins: Its state at the beginning, which is given if there is none that is later.
            curve: Its learning curve, to which the epochs so far are added.
        """
        self._start = training_clock()
        found = self.load() or {}
        for epoch in self.curve:
            curve.add(epoch)
        kept = {name.removeprefix(_KEPT): tensor for name, tensor in found.items() if name.startswith(_KEPT)}
        states = unpack({name: tensor for name, tensor in found.items() if not name.startswith(_KEPT)})
        return states[0] if states else begins, kept

    def save_training(
        self,
        state: TrainingState,
        kept: Mapping[str, Tensor] = MappingProxyType({}),
        curve: Sequence[Epoch] | None = None,
    ) -> None:
        """Write the state of a trainer's training, with the tensors of its best epoch if they are kept.

        Args:
            state: The state.
            kept: The tensors of the best epoch.
            curve: The epochs so far, if they were not added to `curve`.
        """
        self.curve = self.curve if curve is None else [*curve]
        self.save({**pack([state]), **{f"{_KEPT}{name}": tensor for name, tensor in kept.items()}})

    def drop(self) -> None:
        """Delete the state, so that the evaluation would begin anew."""
        if self._store is not None:
            self._store.drop_underway(self._key)
