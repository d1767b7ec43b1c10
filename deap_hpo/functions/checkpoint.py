"""Training in parts, as the user's function sees it: loading the state of the part before, and saving its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deap_hpo.checks import check_optional_integer, is_number
from deap_hpo.errors import InputError
from deap_hpo.functions.undone import optimizer_settings, undone
from deap_hpo.seeding import generator_states, set_generator_states

if TYPE_CHECKING:
    from torch import Tensor

    from deap_hpo.evaluator import Evaluator
    from deap_hpo.training.checkpoints import CheckpointStore
    from deap_hpo.training.underway import Underway

# Modules that need torch are imported where they are used: a function may not need it, and the import takes seconds.


class Checkpoint:
    """Passed to a function with a parameter `checkpoint`: `load()` gives the state to continue, `save(state)` keeps it.

    A state consists of nested dicts, lists, tuples and sets of tensors, numpy arrays, numbers, texts and bytes. It may
    be the `state_dict()` of a network, an optimiser or a scheduler, or a dict of several of them. Nothing is pickled.

    The states of the random generators of `random`, numpy and torch are saved with it, and `load` restores them. So if
    the state is complete, two epochs and then three more give the same result as five at once, to the bit.

    If a function saves its state during the training, too, and says after which epoch, an evaluation whose process was
    killed continues there: `load()` then gives its own state, and `epoch` is the epoch of that.

    Args:
        store: Where checkpoints are kept.
        reference: Reference of the checkpoint to continue from; None to start.
        params: The hyperparameters of the evaluation.
        underway: Where the evaluation's own state is kept while it is under way; None for nowhere.
        epochs: Total epochs at its end, after which no state of it is needed.

    Attributes:
        epoch: Epochs trained before; 0 at the start.

    Raises:
        InputError: The checkpoint is missing or damaged.

    Example:
        >>> from deap_hpo.training.checkpoints import MemoryCheckpoints
        >>> store = MemoryCheckpoints()
        >>> begun = Checkpoint(store)
        >>> begun.epoch, begun.load()
        (0, None)
        >>> begun.save({"weight": 0.5})
        >>> going_on = Checkpoint(store, begun.keep(epoch=2))
        >>> going_on.epoch, going_on.load()
        (2, {'weight': 0.5})
    """

    def __init__(
        self,
        store: CheckpointStore,
        reference: str | None = None,
        params: Mapping[str, Any] | None = None,
        *,
        underway: Underway | None = None,
        epochs: int | None = None,
    ) -> None:
        self._store = store
        self._params = {name: value for name, value in (params or {}).items() if is_number(value)}
        self._underway, self._epochs = underway, epochs
        self._start = underway.load() if underway else None
        if self._start is None and reference:
            self._start = store.load(reference)
        self._saved: Mapping[str, Tensor] | None = None
        self._settings_loaded: Mapping[str, float] = {}  # of optimisers
        self._settings_saved: Mapping[str, float] = {}
        self.epoch = int(self._start["epoch"]) if self._start else 0

    def load(self) -> Any:
        """Give the state that was saved, its tensors on the CPU; None at the start.

        Create networks, and all other objects that the state is loaded into, before this call. It restores the random
        generators, so the random numbers that creating them drew have no effect.
        """
        if self._start is None:
            return None
        from deap_hpo.training.nested import rebuilt

        set_generator_states(rebuilt("generators", self._start))
        state = rebuilt("state", self._start)
        self._settings_loaded = optimizer_settings(state)
        return state

    def save(self, state: Any, *, epoch: int | None = None) -> None:
        """Keep a copy of a state, from which another evaluation can continue; the last call counts.

        It is written when the evaluation has ended well. With `epoch` it is also written at once, but not more often
        than every 10 seconds, so that the evaluation itself can continue from it after its process was killed.

        Args:
            state: The state.
            epoch: The epoch after which it is that, from 1; if the epoch is reported, call this afterwards.

        Raises:
            InputError: It holds an object that a state cannot hold, and the error says where; or `epoch` is not an
                integer of at least 1.
        """
        import torch

        from deap_hpo.training.nested import flattened

        check_optional_integer("epoch", epoch, 1)

        if state is None:
            raise InputError(
                "checkpoint.save needs a state other than None, because checkpoint.load returns None if there is no "
                "state."
            )
        self._saved = {
            **flattened("state", state),
            **flattened("generators", generator_states()),
            **flattened("params", self._params),
        }
        self._settings_saved = optimizer_settings(state)
        is_last = epoch is None or (self._epochs is not None and epoch >= self._epochs)
        if self._underway and self._underway.is_due and not is_last:
            self._underway.save({**self._saved, "epoch": torch.tensor(epoch)})

    def undone(self) -> list[str]:
        """Name the hyperparameters that loading another evaluation's state has undone, as far as this can be detected.

        Example:
            >>> from deap_hpo.training.checkpoints import MemoryCheckpoints
            >>> store = MemoryCheckpoints()
            >>> parent = Checkpoint(store, params={"lr": 0.1})
            >>> parent.save({"optimizer": {"param_groups": [{"lr": 0.1}]}})
            >>> child = Checkpoint(store, parent.keep(epoch=1), {"lr": 0.2})
            >>> child.save(child.load())
            >>> child.undone()
            ['lr']
        """
        if self._start is None or not self._settings_loaded:
            return []
        from deap_hpo.training.nested import holds, rebuilt

        # Checkpoints of earlier versions do not hold their hyperparameters.
        before = rebuilt("params", self._start) if holds("params", self._start) else {}
        return undone(self._params, before, self._settings_loaded, self._settings_saved)

    def keep(self, epoch: int, *, needed: bool = True) -> str | None:
        """Write the saved state to the store, and give its reference; called by the evaluator, not by the function.

        Args:
            epoch: Total epochs trained, those before this part included.
            needed: Whether an evaluation may continue from it. If not, only a shared store keeps it, where it can be
                dropped later.

        Raises:
            InputError: It is needed, and nothing was saved.
        """
        if self._saved is None and needed:
            raise InputError(
                "An objective with a parameter named checkpoint must call checkpoint.save(state) before it returns: "
                "another evaluation may continue from it."
            )
        if self._saved is None or not (needed or self._store.shared):
            return None
        import torch

        return self._store.save({**self._saved, "epoch": torch.tensor(epoch)})


def saved_state(store: CheckpointStore, reference: str) -> Any:
    """Give the state that a function saved, its tensors on the CPU; the random generators are not restored.

    Raises:
        InputError: The checkpoint is missing or damaged, or no function saved it.

    Example:
        >>> from deap_hpo.training.checkpoints import MemoryCheckpoints
        >>> store = MemoryCheckpoints()
        >>> checkpoint = Checkpoint(store)
        >>> checkpoint.save({"weight": 0.5})
        >>> saved_state(store, checkpoint.keep(epoch=2))
        {'weight': 0.5}
    """
    from deap_hpo.training.nested import holds, rebuilt

    tensors = store.load(reference)
    if not holds("state", tensors):
        raise InputError(f"The checkpoint {reference} holds no state that a function saved; a trainer's has a network.")
    return rebuilt("state", tensors)


def kept_states(
    given: CheckpointStore | None, evaluator: Evaluator | None, folder: Path | None
) -> CheckpointStore | None:
    """Give the store with the states of a study's evaluations; None if it is not known.

    Args:
        given: The store that the user names.
        evaluator: The evaluator, if the study was run in this process.
        folder: The folder where they would be, if the study was read from a record.

    Raises:
        InputError: `given` is not a store of checkpoints.

    Example:
        >>> kept_states(None, None, Path("nowhere")) is None
        True
    """
    if given is not None and not callable(getattr(given, "load", None)):
        raise InputError(f"checkpoints must be a store, such as FolderCheckpoints(...); got {given!r}.")
    if evaluator is not None:
        return None if evaluator.task else given or evaluator.checkpoints
    if given is not None or folder is None or not folder.is_dir():
        return given
    from deap_hpo.training.checkpoints import FolderCheckpoints

    return FolderCheckpoints(folder)
