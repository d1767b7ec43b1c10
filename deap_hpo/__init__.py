"""Evolutionary hyperparameter optimisation for PyTorch, on DEAP.

The public names, loaded on first use: importing the package imports neither torch nor optuna nor matplotlib.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Categorical": "deap_hpo.space",
    "Evaluation": "deap_hpo.evaluation",
    "Float": "deap_hpo.space",
    "Individual": "deap_hpo.individual",
    "Int": "deap_hpo.space",
    "ProcessExecutor": "deap_hpo.executors",
    "Space": "deap_hpo.space",
    "Study": "deap_hpo.study",
    "Task": "deap_hpo.training.task",
    "eaTruncation": "deap_hpo.algorithms",
    "make_toolbox": "deap_hpo.individual",
    "make_trainer": "deap_hpo.training.trainers",
    "mutBoundedResample": "deap_hpo.operators",
    "mutSelfAdaptive": "deap_hpo.operators",
    "selTruncation": "deap_hpo.operators",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deap_hpo' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
