"""The methods that `strategies.py` compares: this project's strategies, and the peers' packages run directly."""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from adaptive_mechanisms import VARIANTS
from deap import algorithms, base

from deap_hpo.evolution.individual import Individual, make_toolbox
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.strategies import STRATEGIES, make_strategy

Objective = Callable[[list[dict[str, Any]]], list[float]]


class Search(Protocol):
    """Proposes batches of hyperparameters to the objective until this raises because the budget is spent."""

    def __call__(self, space: Space, objective: Objective, *, budget: int, batch_size: int, seed: int) -> None:
        """Search until the objective raises."""
        ...


@dataclass(frozen=True)
class Method:
    """A search, and the module that it needs to be installed."""

    function: Search
    module: str


def strategy(name: str, space: Space, objective: Objective, *, budget: int, batch_size: int, seed: int) -> None:
    """Run a strategy of `deap_hpo.strategies` in DEAP's ask-and-tell loop; one with generations keeps their size."""
    module, _, attribute = STRATEGIES[name].partition(":")
    known = inspect.signature(getattr(import_module(module), attribute)).parameters
    arguments = {key: value for key, value in {"batch_size": batch_size, "seed": seed}.items() if key in known}
    search = make_strategy(name, space, **arguments)
    toolbox = base.Toolbox()
    toolbox.register("generate", search.generate, Individual)
    toolbox.register("update", search.update)
    toolbox.register("evaluate", lambda genome: genome)
    toolbox.register("map", partial(_map, space, objective))
    algorithms.eaGenerateUpdate(toolbox, ngen=budget, verbose=False)


def truncation(space: Space, objective: Objective, *, budget: int, batch_size: int, seed: int) -> None:
    """Run the paper's GA with its population of 20; its batches are its generations, whatever `batch_size`."""
    from deap_hpo.evolution.algorithms import eaTruncation

    random.seed(seed)
    toolbox = make_toolbox(space)
    toolbox.register("evaluate", lambda genome: genome)
    toolbox.register("map", partial(_map, space, objective))
    eaTruncation(toolbox.population(n=20), toolbox, cxpb=1.0, mutpb=1.0, ngen=budget, verbose=False)


def _map(space: Space, objective: Objective, evaluate: Any, genomes: list[Any]) -> list[tuple[float]]:
    return [(loss,) for loss in objective([space.decode(genome) for genome in genomes])]


def optuna_sampler(
    sampler: str, space: Space, objective: Objective, *, budget: int, batch_size: int, seed: int
) -> None:
    """Run a sampler of Optuna with its defaults; TPE with its constant liar if several trials run at once."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    options = {"constant_liar": True} if sampler == "TPESampler" and batch_size > 1 else {}
    study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed, **options))
    distributions = {name: _distribution(hyperparameter) for name, hyperparameter in space.items()}
    while True:
        trials = [study.ask(distributions) for _ in range(batch_size)]
        for trial, loss in zip(trials, objective([trial.params for trial in trials]), strict=True):
            study.tell(trial, loss)


def _distribution(hyperparameter: Float | Int | Categorical) -> Any:
    from optuna import distributions

    if isinstance(hyperparameter, Categorical):
        return distributions.CategoricalDistribution(list(hyperparameter.choices))
    kind = distributions.IntDistribution if isinstance(hyperparameter, Int) else distributions.FloatDistribution
    return kind(hyperparameter.low, hyperparameter.high, log=hyperparameter.log)


def nevergrad_ngopt(space: Space, objective: Objective, *, budget: int, batch_size: int, seed: int) -> None:
    """Run Nevergrad's NGOpt on genomes; it chooses its algorithm by the given budget and batch size."""
    import nevergrad

    warnings.simplefilter("ignore")  # Its inner optimisers warn when they end early.
    genome = nevergrad.p.Array(shape=(len(space),), lower=0.0, upper=1.0)
    genome.random_state.seed(seed)
    optimiser = nevergrad.optimizers.NGOpt(genome, budget=budget, num_workers=batch_size)
    while True:
        candidates = [optimiser.ask() for _ in range(batch_size)]
        losses = objective([space.decode(one.value) for one in candidates])
        for candidate, loss in zip(candidates, losses, strict=True):
            optimiser.tell(candidate, loss)


def pycma(space: Space, objective: Objective, *, budget: int, batch_size: int, seed: int) -> None:
    """Run pycma's CMA-ES with a linear-quadratic surrogate and restarts, one evaluation at a time."""
    import cma

    random_starts = np.random.default_rng(seed)
    options = {"bounds": [0, 1], "seed": seed + 1, "verbose": -9, "maxfevals": np.inf}

    def loss(genome: Any) -> float:
        return objective([space.decode(list(genome))])[0]

    for restart in range(budget):
        start = np.full(len(space), 0.5) if restart == 0 else random_starts.random(len(space))
        cma.fmin_lq_surr2(loss, start, 0.3, {**options, "seed": seed + 1 + 1000 * restart})


_OPTUNA = {
    "optuna-tpe": "TPESampler",
    "optuna-gp": "GPSampler",
    "optuna-cmaes": "CmaEsSampler",
    "optuna-nsga2": "NSGAIISampler",
}
METHODS: dict[str, Method] = {
    **{name: Method(partial(strategy, name), path.partition(":")[0]) for name, path in STRATEGIES.items()},
    "truncation": Method(truncation, "deap_hpo.evolution.algorithms"),
    **{name: Method(variant, "deap_hpo.evolution.algorithms") for name, variant in VARIANTS.items()},
    **{name: Method(partial(optuna_sampler, sampler), "optuna") for name, sampler in _OPTUNA.items()},
    "nevergrad-ngopt": Method(nevergrad_ngopt, "nevergrad"),
    "pycma-lq": Method(pycma, "cma"),
}

for _name in ("fixed", "grid"):  # "fixed" does not search, and "grid" cannot stop early.
    METHODS.pop(_name, None)
_WRAPPERS = ("tpe", "gp", "cmaes", "nsga2")  # wrappers of Optuna's samplers, which run directly
DEFAULT = [name for name in METHODS if name not in (*_WRAPPERS, *VARIANTS)]


def missing_package(method: str) -> str | None:
    """Return the module that a method lacks, or None."""
    extra = {"optuna-cmaes": "cmaes", "optuna-gp": "torch"}.get(method)
    for module in filter(None, (METHODS[method].module, extra)):
        if find_spec(module) is None:
            return module
    return None
