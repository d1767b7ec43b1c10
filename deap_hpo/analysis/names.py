"""What the objectives and the learning curves of a study are called, by what its evaluator noted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deap_hpo.evaluation import Direction
from deap_hpo.recorded import Recorded


def objective_names(recorded: Recorded) -> list[str]:
    """Give the names of a study's objectives, as its evaluator says them."""
    return names_of_objectives(recorded.attributes, len(recorded.directions))


def names_of_objectives(attributes: Mapping[str, Any], count: int) -> list[str]:
    """Give the names of so many objectives by what was noted about a run.

    Example:
        >>> names_of_objectives({"evaluator": {"metric": "accuracy"}}, 1), names_of_objectives({}, 2)
        (['accuracy'], ['value 1', 'value 2'])
    """
    evaluator: Mapping[str, Any] = attributes.get("evaluator") or {}
    names = evaluator.get("objective") or evaluator.get("metric") or ("loss" if "task" in evaluator else None)
    names = [names] if isinstance(names, str) else names
    if names and len(names) == count:
        return list(names)
    return ["value"] if count == 1 else [f"value {i}" for i in range(1, count + 1)]


def value_name(recorded: Recorded) -> str:
    """Say in words what the first objective is."""
    name = objective_names(recorded)[0]
    return "validation loss" if name == "loss" and trains_networks(recorded) else name


def curves_of(recorded: Recorded) -> tuple[str, Direction]:
    """Say in words what the learning curves are of, and which of its values are the good ones.

    A trainer records the validation loss, whatever it is judged by; a function reports its first objective.
    """
    if trains_networks(recorded):
        return "validation loss", "minimize"
    return value_name(recorded), recorded.directions[0]


def trains_networks(recorded: Recorded) -> bool:
    """Tell whether evaluations were trainings of this package's trainers, rather than calls of a function."""
    return "task" in (recorded.attributes.get("evaluator") or {})
