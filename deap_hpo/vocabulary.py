"""The words of other tools: what an argument that Optuna, Ray Tune or scikit-learn has is called here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from deap_hpo.errors import InputError, hint, shown

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_IN_ALL = "max_evaluations={value}"
_SIDE_BY_SIDE = "executor=ProcessExecutor(), or ProcessExecutor(4) for four workers"
_OF_METHOD = "arguments={{{name!r}: {value}}}"
_METHOD = 'algorithm="tpe", or another name of deap_hpo.configuration.methods.METHODS'

WORDS: dict[str, tuple[str, ...]] = {
    "config": ("space={{...}}",),
    "cxpb": (_OF_METHOD,),
    "direction": ("directions={value}",),
    "directions": ("direction={value}",),
    "func": ("objective={value}",),
    "indpb": (_OF_METHOD,),
    "load_if_exists": ("resume={value}",),
    "max_concurrent_trials": (_SIDE_BY_SIDE, "workers={value}"),
    "max_evals": (_IN_ALL,),
    "max_t": ("epochs={value}",),
    "max_workers": (_SIDE_BY_SIDE, "workers={value}"),
    "mode": ('direction="minimize" or "maximize"', 'directions="minimize" or "maximize"'),
    "mutpb": (_OF_METHOD,),
    "n_calls": (_IN_ALL,),
    "n_iter": (_IN_ALL,),
    "n_jobs": (_SIDE_BY_SIDE, "workers={value}, or None for one a core"),
    "n_trials": (_IN_ALL,),
    "n_workers": (_SIDE_BY_SIDE, "workers={value}"),
    "ngen": ("generations={value}",),
    "num_samples": (_IN_ALL,),
    "num_workers": (_SIDE_BY_SIDE, "workers={value}"),
    "param_distributions": ("space={{...}}",),
    "param_space": ("space={{...}}",),
    "points_to_evaluate": ("enqueue={value}",),
    "population_size": ("population={value}",),
    "random_state": ("seed={value}",),
    "restart_errored": ("retry_failed={value}",),
    "sampler": (_METHOD,),
    "scheduler": ('algorithm="hyperband" or another method that trains in parts, or pruner=MedianPruner()',),
    "search_alg": (_METHOD,),
    "searcher": (_METHOD,),
    "show_progress_bar": ("progress={value}",),
    "strategy": (_METHOD,),
    "study_name": ("name={value}",),
    "time_budget_s": ("max_seconds={value}",),
    "timeout": ("max_seconds={value}",),
    "verbose": ("progress=True or False",),
    "workers": (_SIDE_BY_SIDE,),
}
"""What to give instead of an argument of other tools; of several, the first that a function has counts."""


def hinting(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Have a function say what an argument is called, where it is given one that it has not.

    Its signature stays as it is, for people, editors and type checkers.

    Raises:
        InputError: From the function, where an argument has no such name.

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
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]
    what = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def called(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        for name, value in kwargs.items():
            if name not in known:
                meant = next((word for word in WORDS.get(name, ()) if word.partition("=")[0] in known), None)
                here = f"; here it is {meant.format(name=name, value=shown(value))}." if meant else ""
                raise InputError(f"{what} has no argument {name!r}{here or f'. {hint(name, known)}'}")
        return function(*args, **kwargs)

    return called
