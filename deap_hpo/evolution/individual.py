"""The individual and its toolbox; the only place where this package calls DEAP's creator."""

from __future__ import annotations

import copyreg
import functools
import math
import random
from collections.abc import Callable, Sequence, Sized
from typing import Any

from deap import base, creator, tools

from deap_hpo.checks import check_probability
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.evolution.feasibility import Fitness
from deap_hpo.evolution.operators import mutBoundedResample, selTruncation


class _Recreated(creator.MetaCreator):  # type: ignore[misc]
    """Metaclass of types that pickle as a call of `individual_type`, so that each process has one type per weights.

    DEAP's own pickles carry the type by value: every unpickling would create another type, unrelated to the first.
    """


def individual_type(weights: Sequence[float]) -> type[Any]:
    """Return the type of individuals with these objectives; always the same type for the same weights.

    An individual is a list of genes with a `fitness`, which compares by Deb's rules if constraints are broken (see
    `deap_hpo.evolution.feasibility.Fitness`), and with a lineage:

    - `origin`: numbers of the evaluations from which its genome derives, ascending;
    - `operators`: names of the operators applied to it since, in order.

    Further attributes are for algorithms that need more than the evaluator's usual evaluations:

    - `epochs`: total epochs of the training when the evaluation ends, those before its start included;
    - `start_from`: number of the evaluation whose weights and optimiser state it continues;
    - `paused`: numbers of the evaluations that the algorithm may continue later, the least important first; a study
      keeps their checkpoints.

    Args:
        weights: One weight per objective, finite: negative to minimise, positive to maximise.

    Raises:
        ValueError: There is no weight, or one is 0 or not finite.

    Example:
        >>> accuracy_and_size = individual_type((1.0, -1.0))
        >>> individual = accuracy_and_size([0.2, 0.7])
        >>> individual.fitness.values = (0.9, 1e6)
        >>> individual, individual.fitness.valid, individual.origin, individual.operators
        ([0.2, 0.7], True, (), ())
    """
    weights = tuple(map(float, weights))
    if not weights or not all(math.isfinite(weight) and weight for weight in weights):
        raise ValueError(f"weights must be finite and not 0, one per objective; got {weights}.")
    fitness = _create("Fitness", weights, Fitness)
    return _create(
        "Individual", weights, list, fitness=fitness, origin=(), operators=(), epochs=None, start_from=None, paused=()
    )


def check_weights(individual: Any, directions: Sequence[Direction]) -> None:
    """Check that the weights of an individual's fitness, if it has one, agree with the directions of a study.

    Raises:
        InputError: They do not.
    """
    weights = getattr(getattr(individual, "fitness", None), "weights", ())
    said = tuple("maximize" if weight > 0 else "minimize" for weight in weights)
    if weights and said != tuple(directions):
        raise InputError(
            f"directions must agree with the weights of the individuals' fitness, {tuple(weights)}, which say "
            f"{', '.join(said)}; the study's are {', '.join(directions)}."
        )


def _create(kind: str, weights: tuple[float, ...], parent: type[Any], **attributes: Any) -> type[Any]:
    # The name is not an identifier, so that no user's type can clash; and without dots, which mean nesting to picklers.
    name = f"DeapHpo{kind}{weights}".replace(".", "_")
    if not hasattr(creator, name):  # the creator's types outlive a reload of this module
        creator.create(name, parent, weights=weights, **attributes)
        getattr(creator, name).__class__ = _Recreated
    made: type[Any] = getattr(creator, name)
    return made


def _recreate(weights: tuple[float, ...], is_fitness: bool) -> type[Any]:
    individual = individual_type(weights)
    return type(individual().fitness) if is_fitness else individual


copyreg.pickle(_Recreated, lambda made: (_recreate, (made.weights, issubclass(made, base.Fitness))))  # type: ignore

Individual = individual_type((-1.0,))


def lineage(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator with which a DEAP operator writes the lineage of the individuals it returns.

    Each gets the origins of all individuals that were passed in, and `name` is appended to its operators. Use it for
    operators that replace those of `make_toolbox`: ``toolbox.decorate("mutate", lineage("mutate"))``.

    Example:
        >>> first, second = Individual([0.1]), Individual([0.9])
        >>> first.origin, second.origin = (7,), (3,)
        >>> child, _ = lineage("mate")(tools.cxUniform)(first, second, indpb=0.5)
        >>> child.origin, child.operators
        ((3, 7), ('mate',))
    """

    def decorate(operator: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(operator)
        def tracked(*individuals: Any, **arguments: Any) -> Any:
            origins = {number for individual in individuals for number in getattr(individual, "origin", ())}
            children = operator(*individuals, **arguments)
            for child in children:
                child.origin = tuple(sorted(origins))
                child.operators = (*getattr(child, "operators", ()), name)
            return children

        return tracked

    return decorate


def make_toolbox(
    space: Sized, *, indpb: float = 0.2, cxindpb: float = 0.5, weights: Sequence[float] = (-1.0,)
) -> base.Toolbox:
    """Return a toolbox with the paper's operators on the genomes of a space.

    It has `individual` and `population` (uniform genomes), `mate` (uniform crossover), `mutate` (new uniform draws) and
    `select` (truncation), which draw from the global `random`. The caller registers `evaluate`, and a `map` other than
    Python's if needed.

    Args:
        space: The `Space`; its length is the number of genes.
        indpb: Probability that a gene is replaced when an individual is mutated, in [0, 1].
        cxindpb: Probability that a gene is exchanged when two individuals mate, in [0, 1].
        weights: One weight per objective: negative to minimise, positive to maximise.

    Raises:
        ValueError: A probability is outside [0, 1], or `individual_type` does not accept the weights.

    Example:
        >>> from deap_hpo import Float, Space
        >>> random.seed(0)
        >>> toolbox = make_toolbox(Space({"lr": Float(1e-4, 1.0), "momentum": Float(0.0, 0.9)}))
        >>> toolbox.register("evaluate", lambda individual: (sum(individual),))
        >>> population = toolbox.population(n=4)
        >>> min(toolbox.map(toolbox.evaluate, population))
        (0.6794883311238084,)
    """
    check_probability("indpb", indpb)
    check_probability("cxindpb", cxindpb)
    toolbox = base.Toolbox()
    toolbox.register("individual", tools.initRepeat, individual_type(weights), random.random, n=len(space))
    toolbox.register("population", tools.initRepeat, list, toolbox.individual)
    toolbox.register("mate", tools.cxUniform, indpb=cxindpb)
    toolbox.register("mutate", mutBoundedResample, low=0.0, up=1.0, indpb=indpb)
    toolbox.register("select", selTruncation)
    for operator in ("mate", "mutate"):
        toolbox.decorate(operator, lineage(operator))
    return toolbox
