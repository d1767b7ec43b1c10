"""Hyperparameters by name: completing partial ones, and finding the best that a study has evaluated."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from deap_hpo.evaluation import Direction, sign_of
from deap_hpo.records.entries import Entry
from deap_hpo.search_space.space import Space, UniformSource


def completed(space: Space, given: Mapping[str, Any], rng: UniformSource) -> list[float]:
    """Return the genome of the given values; the other values are drawn, as for a random individual.

    If a given hyperparameter depends on another one, that one is drawn from the choices with which it is in use.

    Args:
        space: The search space.
        given: Values by name; none, some or all.
        rng: Advanced by one draw per hyperparameter, however many are given.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A name is unknown or cannot be in use with the others, or a value is outside its bounds.

    Example:
        >>> import random
        >>> from deap_hpo import Categorical, Float
        >>> either = {"optimizer": Categorical(["sgd", "adam"]), "lr": Float(0.0, 1.0), "momentum": Float(0.0, 0.9)}
        >>> space = Space(either, when={"momentum": {"optimizer": "sgd"}})
        >>> space.decode(completed(space, {"momentum": 0.45}, random.Random(0)))
        {'optimizer': 'sgd', 'lr': 0.7579544029403025, 'momentum': 0.45}
    """
    required = space.conditions.required(given)
    params: dict[str, Any] = {}
    for name, gene in zip(space, space.sample(rng), strict=True):
        if name in given:
            params[name] = given[name]
        elif space.conditions.holds(name, params):
            choices = required.get(name)
            if choices == ():
                raise ValueError(
                    f"there is no value of {name} with which all of {', '.join(given)} are in use; leave one of them "
                    "out."
                )
            params[name] = space[name].decode(gene) if choices is None else choices[int(gene * len(choices))]
    return space.encode({**params, **given})


def best_configurations(
    entries: Iterable[Entry], recorded: Space, direction: Direction, count: int, space: Space
) -> list[dict[str, Any]]:
    """Return the best distinct configurations among evaluations that can be completed to points of a space.

    Args:
        entries: The evaluations; those that did not end well, or break a constraint, are left out.
        recorded: Their space.
        direction: Direction of the first objective.
        count: The maximum number of configurations.
        space: The space that they are for. Hyperparameters that it does not have are left out.

    Returns:
        The configurations, best first, by the first objective.

    Example:
        >>> from deap_hpo import Evaluation, Float
        >>> genes = (0.5, 0.25, 0.25, 0.75)
        >>> entries = [Entry(i, 0, (gene,), Evaluation((gene,)), seed=0) for i, gene in enumerate(genes)]
        >>> space = Space({"x": Float(0.0, 2.0)})
        >>> best_configurations(entries, space, "minimize", 2, space)
        [{'x': 0.5}, {'x': 1.0}]
    """
    sign = sign_of(direction)
    ended = [entry for entry in entries if entry.evaluation.feasible]
    found: list[dict[str, Any]] = []
    for entry in sorted(ended, key=lambda entry: sign * entry.evaluation.value):
        params = {name: value for name, value in recorded.decode(entry.genes).items() if name in space}
        if len(found) < count and params and params not in found and _fits(space, params):
            found.append(params)
    return found


def _fits(space: Space, given: Mapping[str, Any]) -> bool:
    try:
        completed(space, given, random.Random(0))
    except (TypeError, ValueError):
        return False
    return True
