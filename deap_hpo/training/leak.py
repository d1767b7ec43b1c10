"""A deliberate leak: continued trainings redraw the split, and so validate on examples that they were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from deap_hpo.errors import warn
from deap_hpo.evaluation import Evaluation
from deap_hpo.training.data import Data
from deap_hpo.training.keyed import keyed_permutation
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.state import TrainingState
from deap_hpo.training.underway import Underway


class LeakingTrainer(ReferenceTrainer):
    """A reference trainer that shows what leakage does to published figures; not for any other use.

    When a training continues from a state, training and validation examples are pooled and split again, by the number
    of epochs trained so far. All members of a generation have the same split; the first generation has that of the
    data. Weights that have seen the new validation examples are carried over, so the validation loss measures how well
    they were memorised. The test examples are not touched.

    Args:
        arguments: As for `ReferenceTrainer`.

    Warns:
        DeapHPOWarning: Always.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        warn(
            "LEAK: training and validation examples are split anew at every generation while weights are carried over. "
            "Validation losses of this run say nothing about unseen examples; it is here to show just that"
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on; see `ReferenceTrainer`."""
        return {**super().settings, "leak": True}

    def train_on(
        self,
        state: TrainingState | None,
        params: Mapping[str, Any],
        seed: int = 0,
        epochs: int | None = None,
        *,
        underway: Underway | None = None,
    ) -> tuple[nn.Module, Evaluation, TrainingState]:
        """Continue training from a state, with a redrawn split; see `ReferenceTrainer.train_on`."""
        whole = self.placed
        self.placed = replace(whole, data=redrawn(whole.data, state.epochs)) if state else whole
        try:
            return super().train_on(state, params, seed, epochs, underway=underway)
        finally:
            self.placed = whole


def redrawn(data: Data, epoch: int) -> Data:
    """Pool training and validation examples, and split them again in the same sizes.

    Example:
        >>> import torch
        >>> from deap_hpo.training.data import load_digits
        >>> data = load_digits(training_size=100, validation_size=50)
        >>> other = redrawn(data, 1)
        >>> len(other.training), len(other.validation), torch.equal(data.validation.inputs, other.validation.inputs)
        (100, 50, False)
    """
    both = data.training.followed_by(data.validation)
    order = keyed_permutation(len(both), int(data.description.get("split_seed", 0)), epoch).to(both.device)
    pool, size = both[order], len(data.training)
    return replace(data, training=pool[:size], validation=pool[size:])
