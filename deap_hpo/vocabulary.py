"""The words of other tools: the names here for arguments and attributes of Optuna, Ray Tune and scikit-learn."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import ParamSpec, TypeVar

from deap_hpo.errors import InputError, hint, shown

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_IN_ALL = "max_evaluations={value}"
_SIDE_BY_SIDE = "executor=ProcessExecutor(), or ProcessExecutor(4) for four workers"
_OF_METHOD = "arguments={{{name!r}: {value}}}"
_METHOD = 'algorithm="tpe", or another name of deap_hpo.configuration.methods.METHODS'

_OF_RECIPE = "recipe=Recipe({name}={value})"

WORDS: dict[str, tuple[str, ...]] = {
    "asynchronous": ("steady_state={value}",),
    "batch_size": (_OF_RECIPE,),
    "config": ("space={{...}}",),
    "cxpb": (_OF_METHOD,),
    "direction": ("directions={value}",),
    "directions": ("direction={value}",),
    "func": ("objective={value}",),
    "grace_period": ("warmup={value}",),
    "indpb": (_OF_METHOD,),
    "load_if_exists": ("resume={value}",),
    "loss_fn": ("loss={value}",),
    "lr": (_OF_RECIPE,),
    "max_concurrent_trials": (_SIDE_BY_SIDE, "workers={value}"),
    "max_evals": (_IN_ALL,),
    "max_epochs": ("epochs={value}",),
    "max_t": ("epochs={value}",),
    "max_workers": (_SIDE_BY_SIDE, "workers={value}"),
    "min_samples_required": ("startup={value}",),
    "mode": ('direction="minimize" or "maximize"', 'directions="minimize" or "maximize"'),
    "mutpb": (_OF_METHOD,),
    "n_calls": (_IN_ALL,),
    "n_epochs": ("epochs={value}",),
    "n_iter": (_IN_ALL,),
    "n_jobs": (_SIDE_BY_SIDE, "workers={value}, or None for one a core"),
    "n_startup_trials": ("startup={value}",),
    "n_trials": (_IN_ALL,),
    "n_warmup_steps": ("warmup={value}",),
    "n_workers": (_SIDE_BY_SIDE, "workers={value}"),
    "ngen": ("generations={value}",),
    "num_epochs": ("epochs={value}",),
    "num_samples": (_IN_ALL,),
    "num_workers": (_SIDE_BY_SIDE, "workers={value}"),
    "param_distributions": ("space={{...}}",),
    "param_space": ("space={{...}}",),
    "points_to_evaluate": ("enqueue={value}",),
    "population_size": ("population={value}",),
    "random_state": ("seed={value}", "split_seed={value}"),
    "restart_errored": ("retry_failed={value}",),
    "sampler": (_METHOD,),
    "scheduler": ('algorithm="hyperband" or another method that trains in parts, or pruner=MedianPruner()',),
    "search_alg": (_METHOD,),
    "searcher": (_METHOD,),
    "show_progress_bar": ("progress={value}",),
    "strategy": (_METHOD,),
    "study_name": ("name={value}",),
    "time_budget_s": ("max_seconds={value}",),
    "test_size": ("validation={value}",),
    "timeout": ("max_seconds={value}",),
    "val_size": ("validation={value}",),
    "validation_split": ("validation={value}",),
    "verbose": ("progress=True or False",),
    "workers": (_SIDE_BY_SIDE,),
}
"""What to pass instead of an argument of other tools; if there are several, the first that a function has."""


ATTRIBUTES = {
    "add_trial": "Study.map",
    "ask": "AskTell",
    "best_checkpoint": "best_state()",
    "best_config": "best_params",
    "best_estimator_": "best_model()",
    "best_params_": "best_params",
    "best_score_": "best_value",
    "best_trial": "best",
    "best_trials": "pareto_front()",
    "cv_results_": "trials_dataframe()",
    "direction": "directions[0]",
    "enqueue_trial": "optimize(..., enqueue=[{...}])",
    "get_best_result": "best",
    "get_dataframe": "trials_dataframe()",
    "get_trials": "entries",
    "metric_names": "objective_names",
    "optimize": "deap_hpo.optimize(objective, space)",
    "set_user_attr": "a mapping that the objective returns",
    "study_name": "name",
    "tell": "AskTell",
    "trials": "entries",
    "user_attrs": "attributes",
}
"""Attributes of Optuna's studies, scikit-learn's searches and Ray Tune's results, with their names here."""

OF_ENTRIES = {
    "config": "study.params_of(entry)",
    "curve": "evaluation.curve",
    "duration": "evaluation.seconds",
    "intermediate_values": "evaluation.curve",
    "metrics": "evaluation.metrics, or with the objectives study.metrics_of(entry)",
    "notes": "evaluation.notes",
    "params": "study.params_of(entry)",
    "start_time": "datetime_start",
    "state": "evaluation.status",
    "status": "evaluation.status",
    "user_attrs": "evaluation.metrics and evaluation.notes",
    "value": "evaluation.value",
    "values": "evaluation.values",
}
"""Attributes of their trials, with the names for an evaluation on record."""


METHODS_ELSEWHERE = {
    "asha": "'halving' or 'hyperband'",
    "asynchyperband": "'halving' or 'hyperband'",
    "bayes": "'surrogate' or 'gp'",
    "bayesian": "'surrogate' or 'gp'",
    "bayesianoptimization": "'surrogate' or 'gp'",
    "bayesopt": "'surrogate' or 'gp'",
    "bo": "'surrogate' or 'gp'",
    "bohb": "'dehb'",
    "differentialevolution": "'de'",
    "ea": "'truncation', 'de' or 'cma'",
    "es": "'cma'",
    "evolution": "'truncation', 'de' or 'cma'",
    "evolutionary": "'truncation', 'de' or 'cma'",
    "evolutionstrategy": "'cma'",
    "ga": "'truncation'",
    "gaussianprocess": "'surrogate' or 'gp'",
    "genetic": "'truncation'",
    "geneticalgorithm": "'truncation'",
    "gpei": "'surrogate' or 'gp'",
    "hb": "'hyperband'",
    "hyperopt": "'tpe'",
    "latinhypercube": "'sobol'",
    "lhs": "'sobol'",
    "nsga": "'nsga-ii'",
    "optuna": "'tpe'",
    "pb2": "'pbt'",
    "populationbasedtraining": "'pbt'",
    "qmc": "'sobol'",
    "sha": "'halving'",
    "successivehalving": "'halving'",
    "tunebohb": "'dehb'",
}
"""Methods of other tools, in small letters and digits alone, with the nearest ones here."""

ARGUMENTS_ELSEWHERE = {
    "crossover_prob": "cxpb",
    "grace_period": "min_epochs",
    "min_budget": "min_epochs",
    "min_resource": "min_epochs",
    "mutation_prob": "mutpb",
    "perturbation_interval": "interval",
    "quantile_fraction": "share",
    "reduction_factor": "eta",
}
"""Arguments of methods of other tools, with their names here."""

FIGURES = {
    "plot_contour": "plot_interactions",
    **{
        name: f"optuna.visualization.{name}(optuna.load_study(...)), of the record"
        for name in ("plot_edf", "plot_hypervolume_history", "plot_rank", "plot_timeline")
    },
}
"""Functions of optuna.visualization that `deap_hpo.visualization` does not have, with what to call here."""


def method_hint(name: str, known: Collection[str]) -> str:
    """Give the end of an error about an unknown method: the nearest one here if another tool has it, or as `hint`.

    Example:
        >>> method_hint("ASHAScheduler", ["halving", "hyperband"])
        "; the nearest here: 'halving' or 'hyperband'."
        >>> method_hint("grid_search", ["grid", "tpe"])
        ". Did you mean 'grid'?"
    """
    plain = re.sub("[^a-z0-9]", "", name.lower())
    word = re.sub("(sampler|scheduler|search|pruner)$", "", plain)
    here = METHODS_ELSEWHERE.get(plain) or METHODS_ELSEWHERE.get(word)
    return f"; the nearest here: {here}." if here else f". {hint(word if word in known else name, known)}"


def argument_here(name: str, known: Collection[str]) -> str:
    """Give the name here of an argument of another tool's methods, for a sentence; empty if it is not among the known.

    Example:
        >>> argument_here("reduction_factor", ["eta", "min_epochs"]), argument_here("reduction_factor", ["share"])
        ('; here it is eta', '')
    """
    here = ARGUMENTS_ELSEWHERE.get(name)
    return f"; here it is {here}" if here in known else ""


def no_attribute(thing: object, name: str, known: Mapping[str, str] = ATTRIBUTES) -> AttributeError:
    """Give the error for an attribute that a study or an entry does not have, with its name here.

    Example:
        >>> str(no_attribute([], "best_trial"))
        "'list' object has no attribute 'best_trial'; here it is best."
    """
    here = f"; here it is {known[name]}." if name in known else ""
    what = f"module {thing.__name__!r}" if isinstance(thing, ModuleType) else f"{type(thing).__name__!r} object"
    return AttributeError(f"{what} has no attribute {name!r}{here}")


def hinting(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Let a function name the right argument if it is given one that it does not have, or too many without names.

    Its signature stays the same, for people, editors and type checkers.

    Raises:
        InputError: The function, when it is called, has no argument of a given name, or not so many without names.

    Example:
        >>> @hinting
        ... def tune(space, *, max_evaluations=None, seed=0):
        ...     return max_evaluations
        >>> tune({}, max_evaluations=3)
        3
        >>> tune({}, n_trials=100)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: tune has no argument 'n_trials'; here it is max_evaluations=100.
        >>> tune({}, sed=1)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: tune has no argument 'sed'. Did you mean 'seed'?
        >>> tune({}, 100)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: tune takes only space without a name; got 2 values: {}, 100. By name it also takes \
max_evaluations, seed.
    """
    parameters = inspect.signature(function).parameters
    known = [name for name in parameters if name not in ("self", "cls")]
    named = [name for name in known if parameters[name].kind is inspect.Parameter.KEYWORD_ONLY]
    unnamed, bound = [name for name in known if name not in named], len(parameters) - len(known)
    what = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def called(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        for name, value in kwargs.items():
            if name not in known:
                meant = next((word for word in WORDS.get(name, ()) if word.partition("=")[0] in known), None)
                here = f"; here it is {meant.format(name=name, value=shown(value))}." if meant else ""
                raise InputError(f"{what} has no argument {name!r}{here or f'. {hint(name, known)}'}")
        given = args[bound:]
        if len(given) > len(unnamed):
            others = f" By name it also takes {', '.join(named)}." if named else ""
            raise InputError(
                f"{what} takes only {', '.join(unnamed)} without a name; got {len(given)} values: "
                f"{', '.join(map(shown, given))}.{others}"
            )
        return function(*args, **kwargs)

    return called


def hinting_class(kind: type[_Result]) -> type[_Result]:
    """Let a class, such as a dataclass, check its arguments as `hinting` does.

    Example:
        >>> from dataclasses import dataclass
        >>> @hinting_class
        ... @dataclass
        ... class Settings:
        ...     lr: float = 0.1
        >>> Settings(lrs=0.2)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: Settings has no argument 'lrs'. Did you mean 'lr'?
    """
    kind.__init__ = hinting(kind.__init__)  # type: ignore[method-assign]
    return kind
