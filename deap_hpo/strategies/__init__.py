"""Search strategies in DEAP's ask-and-tell idiom: `generate()` and `update(population)`, one file each.

All share one interface, and `deap.algorithms.eaGenerateUpdate` runs them over `Study.map`::

    strategy = make_strategy("tpe", space, seed=1)
    toolbox.register("generate", strategy.generate, Individual)
    toolbox.register("update", strategy.update)
    toolbox.register("evaluate", trainer)
    toolbox.register("map", study.map)
    population, logbook = algorithms.eaGenerateUpdate(toolbox, ngen=50)

Each is a deterministic function of its seed and of the outcomes it is told, draws from its own random generators, and
minimises the first objective (or maximises it, if its weight is positive). Infinite values are the worst; NaN is an
error. A strategy that has nothing left to propose returns empty batches.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, Protocol

from deap_hpo.errors import InputError, did_you_mean
from deap_hpo.search_space.space import Space
from deap_hpo.vocabulary import argument_here

STRATEGIES: dict[str, str] = {
    "cma": "deap_hpo.strategies.cma_es:CMAStrategy",
    "cmaes": "deap_hpo.strategies.optuna_samplers:cmaes_strategy",
    "de": "deap_hpo.strategies.differential_evolution:DifferentialEvolutionStrategy",
    "fixed": "deap_hpo.strategies.fixed:FixedStrategy",
    "gp": "deap_hpo.strategies.optuna_samplers:gp_strategy",
    "grid": "deap_hpo.strategies.grid_search:GridStrategy",
    "nsga2": "deap_hpo.strategies.optuna_samplers:nsga2_strategy",
    "random": "deap_hpo.strategies.random_search:RandomStrategy",
    "reinforce": "deap_hpo.strategies.reinforce:ReinforceStrategy",
    "sobol": "deap_hpo.strategies.sobol:SobolStrategy",
    "surrogate": "deap_hpo.strategies.surrogate:SurrogateStrategy",
    "tpe": "deap_hpo.strategies.optuna_samplers:tpe_strategy",
}
"""Import path of each strategy, by name: "module:factory". Optuna, torch and scipy are imported only when needed."""

MULTI_FIDELITY: dict[str, str] = {
    "dehb": "deap_hpo.strategies.dehb:DEHBStrategy",
    "freeze-thaw": "deap_hpo.strategies.freeze_thaw:FreezeThawStrategy",
    "halving": "deap_hpo.strategies.hyperband:halving_strategy",
    "hyperband": "deap_hpo.strategies.hyperband:HyperbandStrategy",
}
"""Strategies that decide how many epochs each individual is trained for. They need an evaluator that can continue a
training, and the argument `epochs`: the length of a whole training."""

UNGUIDED = ("fixed", "grid", "random", "sobol")
"""Strategies that learn nothing from outcomes, so that there may be any number of objectives."""

_ALL = {**STRATEGIES, **MULTI_FIDELITY}


class Strategy(Protocol):
    """The interface of a strategy.

    A strategy may also have the following, which are used if they are there:

    - ``learn(population)``: learn from evaluated individuals that it did not propose, for example enqueued ones.
    - ``batches(continues)``: if it trains in parts, the sizes of the batches to come; see `HyperbandStrategy`.
    - `size`: the total number of individuals, if it is known in advance.
    - ``__str__``: a description of what it will do, for the head of a run's log.
    """

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the next individuals, each made by `ind_init` from a genome in [0, 1]; an empty list at the end."""
        ...

    def update(self, population: Sequence[Any]) -> None:
        """Learn from the evaluated individuals of the last `generate`, in the same order, without changing them."""
        ...


def make_strategy(name: str, space: Space, **arguments: Any) -> Strategy:
    """Make a strategy by its name.

    Args:
        name: One of `STRATEGIES` or `MULTI_FIDELITY`.
        space: The search space.
        arguments: The strategy's own arguments: `seed`, usually `batch_size` or `population_size`, and its others.

    Raises:
        InputError: There is no such strategy, it has no such argument, it needs one that is missing, or a value is out
            of its range.

    Example:
        >>> from deap_hpo import Float
        >>> space = Space({"lr": Float(1e-4, 1.0, log=True)})
        >>> make_strategy("random", space, seed=1).generate(list)
        [[0.5118216247002567]]
        >>> make_strategy("randon", space)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: There is no strategy 'randon' (did you mean 'random'?); expected one of cma, \
cmaes, de, dehb, fixed, freeze-thaw, gp, grid, halving, hyperband, nsga2, random, reinforce, sobol, surrogate, tpe.
    """
    if name not in _ALL:
        raise InputError(f"There is no strategy {name!r}{did_you_mean(name, _ALL)}; expected one of {_list(_ALL)}.")
    make, known = _maker(name)
    for argument in arguments:
        if argument not in known:
            meant = argument_here(argument, known) or did_you_mean(argument, known)
            raise InputError(f"The strategy {name} has no argument {argument!r}{meant}; expected {_list(known)}.")
    for argument, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and argument not in arguments:
            raise InputError(f"The strategy {name} needs the argument {argument!r}; got {_list(arguments)}.")
    return make(space, **arguments)


def argument_names(name: str) -> frozenset[str]:
    """Return the names of the arguments that a strategy takes, besides the space.

    Example:
        >>> sorted(argument_names("random"))
        ['batch_size', 'seed']
    """
    return frozenset(_maker(name)[1])


def _maker(name: str) -> tuple[Callable[..., Strategy], dict[str, inspect.Parameter]]:
    """Return the factory of a strategy, and the arguments that it takes by keyword."""
    module, _, attribute = _ALL[name].partition(":")
    make: Callable[..., Strategy] = getattr(import_module(module), attribute)
    arguments = inspect.signature(make).parameters.values()
    return make, {one.name: one for one in arguments if one.kind is inspect.Parameter.KEYWORD_ONLY}


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
