"""What the objectives and the learning curves of a study are called, by what its evaluator noted."""

from __future__ import annotations

from deap_hpo.evaluation import Direction
from deap_hpo.results import Results


def value_name(study: Results) -> str:
    """Say in words what the first objective is."""
    name = study.objective_names[0]
    return "validation loss" if name == "loss" and trains_networks(study) else name


def curves_of(study: Results) -> tuple[str, Direction]:
    """Say in words what the learning curves are of, and which of its values are the good ones.

    A trainer records the validation loss, whatever it is judged by; a function reports its first objective.
    """
    if trains_networks(study):
        return "validation loss", "minimize"
    return value_name(study), study.directions[0]


def trains_networks(study: Results) -> bool:
    """Tell whether evaluations were trainings of this package's trainers, rather than calls of a function."""
    return "task" in (study.attributes.get("evaluator") or {})
