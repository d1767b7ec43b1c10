"""Evolutionary hyperparameter optimisation for PyTorch, on DEAP.

The public names, loaded on first use: importing the package imports neither torch nor optuna nor matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names in `_HOMES`, for type checkers
    from deap_hpo.ask_tell import AskTell as AskTell
    from deap_hpo.budget import BudgetSpent as BudgetSpent
    from deap_hpo.deletion import delete_study as delete_study
    from deap_hpo.errors import InputError as InputError
    from deap_hpo.evaluation import Evaluation as Evaluation
    from deap_hpo.evolution.algorithms import eaTruncation as eaTruncation
    from deap_hpo.evolution.individual import Individual as Individual
    from deap_hpo.evolution.individual import make_toolbox as make_toolbox
    from deap_hpo.evolution.operators import mutBoundedResample as mutBoundedResample
    from deap_hpo.evolution.operators import mutSelfAdaptive as mutSelfAdaptive
    from deap_hpo.evolution.operators import selTruncation as selTruncation
    from deap_hpo.evolution.pareto import eaNSGA as eaNSGA
    from deap_hpo.execution.executors import ProcessExecutor as ProcessExecutor
    from deap_hpo.functions.objective import Objective as Objective
    from deap_hpo.optimization import Interrupted as Interrupted
    from deap_hpo.optimization import optimize as optimize
    from deap_hpo.pruning import MedianPruner as MedianPruner
    from deap_hpo.recorded import load_study as load_study
    from deap_hpo.search_cv import EvolutionSearchCV as EvolutionSearchCV
    from deap_hpo.search_space.space import Categorical as Categorical
    from deap_hpo.search_space.space import Float as Float
    from deap_hpo.search_space.space import Int as Int
    from deap_hpo.search_space.space import Space as Space
    from deap_hpo.stopping import EarlyStopping as EarlyStopping
    from deap_hpo.study import Study as Study
    from deap_hpo.training.recipe import Recipe as Recipe
    from deap_hpo.training.task import Task as Task
    from deap_hpo.training.trainers import make_trainer as make_trainer

__version__ = "0.1.0"

_HOMES = {
    "AskTell": "deap_hpo.ask_tell",
    "BudgetSpent": "deap_hpo.budget",
    "Categorical": "deap_hpo.search_space.space",
    "EarlyStopping": "deap_hpo.stopping",
    "Evaluation": "deap_hpo.evaluation",
    "EvolutionSearchCV": "deap_hpo.search_cv",
    "Float": "deap_hpo.search_space.space",
    "InputError": "deap_hpo.errors",
    "Individual": "deap_hpo.evolution.individual",
    "Int": "deap_hpo.search_space.space",
    "Interrupted": "deap_hpo.optimization",
    "MedianPruner": "deap_hpo.pruning",
    "Objective": "deap_hpo.functions.objective",
    "ProcessExecutor": "deap_hpo.execution.executors",
    "Recipe": "deap_hpo.training.recipe",
    "Space": "deap_hpo.search_space.space",
    "Study": "deap_hpo.study",
    "Task": "deap_hpo.training.task",
    "delete_study": "deap_hpo.deletion",
    "eaNSGA": "deap_hpo.evolution.pareto",
    "eaTruncation": "deap_hpo.evolution.algorithms",
    "load_study": "deap_hpo.recorded",
    "make_toolbox": "deap_hpo.evolution.individual",
    "make_trainer": "deap_hpo.training.trainers",
    "mutBoundedResample": "deap_hpo.evolution.operators",
    "mutSelfAdaptive": "deap_hpo.evolution.operators",
    "optimize": "deap_hpo.optimization",
    "selTruncation": "deap_hpo.evolution.operators",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deap_hpo' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
