"""Hyperparameters that a function undoes: loading an optimiser's state brings back those of another evaluation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from deap_hpo.checks import is_number
from deap_hpo.errors import warn
from deap_hpo.records.entries import Entry

UNDONE = "undone"
"""Name of the evaluation's note that lists them."""

# Most schedulers change the optimiser's current learning rate; some compute it each time from a rate of their own,
# which is in their state: LambdaLR, CosineAnnealingWarmRestarts and CyclicLR.
_FROM_THEIR_OWN = ("lr_lambdas", "T_i", "max_lrs")


def optimizer_settings(state: Any) -> dict[str, float]:
    """Give the settings of all optimisers and schedulers in a state, by their path in it.

    Args:
        state: Nested dicts, lists and tuples. A dict with a list of `param_groups` is taken as an optimiser's
            `state_dict()`. Of the schedulers, only those count that compute each learning rate from their list of
            `base_lrs`.

    Example:
        >>> optimizer_settings({"optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}})
        {'/optimizer/0/lr': 0.1}
    """
    return dict(_settings(state, ""))


def _settings(state: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(state, Mapping) and isinstance(state.get("param_groups"), list):
        for i, group in enumerate(state["param_groups"]):
            yield from ((f"{path}/{i}/{name}", value) for name, value in group.items() if is_number(value))
    elif isinstance(state, Mapping) and isinstance(state.get("base_lrs"), list):
        if not any(name in state for name in _FROM_THEIR_OWN):
            return
        yield from ((f"{path}/{i}/base_lrs", value) for i, value in enumerate(state["base_lrs"]) if is_number(value))
    elif isinstance(state, (Mapping, list, tuple)):
        for key, part in state.items() if isinstance(state, Mapping) else enumerate(state):
            yield from _settings(part, f"{path}/{key}")


def undone(
    params: Mapping[str, Any], before: Mapping[str, Any], loaded: Mapping[str, float], saved: Mapping[str, float]
) -> list[str]:
    """Name the hyperparameters for which an optimiser kept the value of the evaluation that was continued.

    A setting that has the value of another hyperparameter of such a name may be that one's.

    Args:
        params: The hyperparameters of an evaluation.
        before: The hyperparameters of the evaluation that it continues.
        loaded: The settings of the optimisers (`optimizer_settings`) in the state that was loaded.
        saved: The settings in the state that was saved at the end.

    Example:
        >>> undone({"lr": 0.2}, {"lr": 0.1}, {"/0/lr": 0.1}, {"/0/lr": 0.1})
        ['lr']
        >>> undone({"lr": 0.2}, {"lr": 0.1}, {"/0/lr": 0.1}, {"/0/lr": 0.2})
        []
        >>> undone({"lr_g": 0.2, "lr_d": 0.3}, {"lr_g": 0.1, "lr_d": 0.3}, {"/g/0/lr": 0.1}, {"/g/0/lr": 0.1})
        ['lr_g']
        >>> loaded, saved = {"/a/0/lr": 0.07, "/b/0/base_lrs": 0.1}, {"/a/0/lr": 0.05, "/b/0/base_lrs": 0.1}
        >>> undone({"lr": 0.2}, {"lr": 0.1}, loaded, saved)  # with a scheduler
        ['lr']
    """
    kept = [path for path in loaded if loaded[path] == saved.get(path)]
    return [
        name
        for name, value in params.items()
        if is_number(value)
        and value != before.get(name, value)
        and any(
            loaded[path] == before[name]
            and _is_named(name, path)
            and not any(params[other] == loaded[path] and _is_named(other, path) for other in params)
            for path in kept
        )
    ]


def _is_named(name: str, path: str) -> bool:
    """Tell whether a hyperparameter is named like a setting, maybe with more words: "lr_generator", "optimizer.lr"."""
    setting = path.rpartition("/")[2].replace("base_lrs", "lr")
    return f"_{setting}_" in f"_{re.sub('[^A-Za-z0-9]+', '_', name)}_".replace("_learning_rate_", "_lr_")


class UndoneWarning:
    """A study's callback that warns of the first evaluation that undid its hyperparameters.

    Example:
        >>> import warnings
        >>> from types import SimpleNamespace
        >>> from deap_hpo import Evaluation
        >>> entry = Entry(3, 0, (0.5,), Evaluation((0.1,), notes={UNDONE: "lr"}), seed=0)
        >>> with warnings.catch_warnings(record=True) as said:
        ...     UndoneWarning().on_evaluation(SimpleNamespace(name="mine"), entry)
        >>> str(said[0].message)
        "evaluation 3 of the study 'mine' was not trained with its own lr, but with that of ..."
    """

    def __init__(self) -> None:
        self._warned = False

    def on_evaluation(self, study: Any, entry: Entry) -> None:
        """Warn if it undid hyperparameters, unless there was a warning before."""
        names = entry.evaluation.notes.get(UNDONE)
        if names is None or self._warned:
            return
        self._warned = True
        warn(
            f"evaluation {entry.number} of the study {study.name!r} was not trained with its own {names}, but with "
            "that of the evaluation that it continues, because load_state_dict restored it. Set hyperparameters after "
            "load_state_dict, and use no scheduler that starts from its own base_lrs, as in "
            "docs/how-to/training-loop.md (further evaluations get no warning; each has a note "
            f"named {UNDONE!r})"
        )
