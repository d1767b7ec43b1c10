"""A training in parts, as a function of one's own sees it: the state that the part before left, a place for its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deap_hpo.checks import is_number
from deap_hpo.errors import InputError
from deap_hpo.functions.undone import optimizer_settings, undone
from deap_hpo.seeding import generator_states, set_generator_states

if TYPE_CHECKING:
    from torch import Tensor

    from deap_hpo.evaluator import Evaluator
    from deap_hpo.training.checkpoints import CheckpointStore

# What needs torch is imported where it is called: a function may do without, and it takes seconds.


class Checkpoint:
    """What a function with a parameter `checkpoint` gets: `load()` what the part before saved, and `save(state)`.

    A state is made of dicts, lists, tuples and sets, one in another, of tensors, numpy arrays, numbers, texts and
    bytes: the `state_dict()` of a network, an optimiser or a scheduler, or several of them by name. Nothing is pickled.

    With a state go those of the random generators of `random`, numpy and torch: `load` sets them to where they were
    when it was saved. So where the state holds all that counts, two epochs and three more are five, to the bit.

    Args:
        store: Where checkpoints are kept.
        reference: That of the checkpoint to go on from; None to begin.
        params: The hyperparameters of the evaluation.

    Attributes:
        epoch: Epochs trained before; 0 to begin with.

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
        self, store: CheckpointStore, reference: str | None = None, params: Mapping[str, Any] | None = None
    ) -> None:
        self._store = store
        self._params = {name: value for name, value in (params or {}).items() if is_number(value)}
        self._start = store.load(reference) if reference else None
        self._saved: Mapping[str, Tensor] | None = None
        self._settings_loaded: Mapping[str, float] = {}  # of optimisers
        self._settings_saved: Mapping[str, float] = {}
        self.epoch = int(self._start["epoch"]) if self._start else 0

    def load(self) -> Any:
        """Give the state that was saved, its tensors on the CPU; None to begin with.

        Make networks, and whatever else the state is loaded into, before: this sets the random generators to where they
        were, so what was drawn for those has no effect.
        """
        if self._start is None:
            return None
        from deap_hpo.training.nested import rebuilt

        set_generator_states(rebuilt("generators", self._start))
        state = rebuilt("state", self._start)
        self._settings_loaded = optimizer_settings(state)
        return state

    def save(self, state: Any) -> None:
        """Keep a state, as it is now, for whoever goes on from here; of several, the last counts.

        It is written when the evaluation has ended well.

        Raises:
            InputError: It holds what no state is made of; the error says where.
        """
        from deap_hpo.training.nested import flattened

        if state is None:
            raise InputError(
                "checkpoint.save takes a state; got None, by which checkpoint.load tells that there is none."
            )
        self._saved = {
            **flattened("state", state),
            **flattened("generators", generator_states()),
            **flattened("params", self._params),
        }
        self._settings_saved = optimizer_settings(state)

    def undone(self) -> list[str]:
        """Name the hyperparameters that loading the state of another evaluation has undone, as far as can be told.

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

        # A checkpoint that an earlier version made does not say by which hyperparameters.
        before = rebuilt("params", self._start) if holds("params", self._start) else {}
        return undone(self._params, before, self._settings_loaded, self._settings_saved)

    def keep(self, epoch: int, *, needed: bool = True) -> str | None:
        """Put what was saved in the store, and give its reference; for what hands checkpoints out.

        Args:
            epoch: Epochs trained by now, those before included.
            needed: Whether an evaluation may go on from it. What is not needed is kept where it can be dropped later.

        Raises:
            InputError: It is needed, and nothing was saved.
        """
        if self._saved is None and needed:
            raise InputError(
                "An objective with a parameter named checkpoint must call checkpoint.save(state) before it returns: "
                "another evaluation may go on from there."
            )
        if self._saved is None or not (needed or self._store.shared):
            return None
        import torch

        return self._store.save({**self._saved, "epoch": torch.tensor(epoch)})


def saved_state(store: CheckpointStore, reference: str) -> Any:
    """Give the state that a function saved, its tensors on the CPU; the random generators stay as they are.

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
    """Say where the states of a study's evaluations are kept; None where that is not known.

    Args:
        given: Where the user says.
        evaluator: What evaluated, where the study was run in this process.
        folder: Where they would be, of a study that was read from a record.

    Raises:
        InputError: What is given is no place for checkpoints.

    Example:
        >>> kept_states(None, None, Path("nowhere")) is None
        True
    """
    if given is not None and not callable(getattr(given, "load", None)):
        raise InputError(f"checkpoints must be where states are kept, such as FolderCheckpoints(...); got {given!r}.")
    if evaluator is not None:
        return None if evaluator.task else given or evaluator.checkpoints
    if given is not None or folder is None or not folder.is_dir():
        return given
    from deap_hpo.training.checkpoints import FolderCheckpoints

    return FolderCheckpoints(folder)
