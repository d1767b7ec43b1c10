"""Enqueued configurations, which are tried first: known good ones, or the best of an earlier study."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deap import base

from deap_hpo.configuration.config import RunConfig, make_config
from deap_hpo.errors import InputError
from deap_hpo.recorded import load_study
from deap_hpo.records.configurations import completed
from deap_hpo.search_space.scales import plain
from deap_hpo.search_space.space import Space
from deap_hpo.seeding import FOR_ENQUEUED, derived_seed
from deap_hpo.strategies import Strategy


def genomes_of(space: Space, configurations: Sequence[Mapping[str, Any]], seed: int) -> list[list[float]]:
    """Return the genomes of configurations; missing values are drawn, by the seed and the configuration's position.

    Raises:
        InputError: A configuration is not a point of the space, or a part of one.

    Example:
        >>> from deap_hpo import Float
        >>> genomes_of(Space({"lr": Float(0.0, 1.0), "x": Float(0.0, 1.0)}), [{"lr": 0.25}, {"lr": 0.25}], seed=1)
        [[0.25, 0.6808979118332215], [0.25, 0.2025866444165112]]
        >>> genomes_of(Space({"x": Float(0.0, 1.0)}), [{"x": 2.0}], seed=1)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: enqueue[0] is not a point of the space: x: value must be within [0.0, 1.0]; got 2.0.
    """
    genomes = []
    for i, configuration in enumerate(configurations):
        try:
            genomes.append(completed(space, configuration, random.Random(derived_seed(seed, FOR_ENQUEUED, i))))
        except (TypeError, ValueError) as error:
            raise InputError(f"enqueue[{i}] is not a point of the space: {error}") from None
    return genomes


def plain_configurations(configurations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return configurations as JSON values for the record; numpy's numbers become Python's.

    Raises:
        InputError: They are not a sequence of mappings.

    Example:
        >>> import numpy as np
        >>> plain_configurations([{"width": np.int64(8), "kind": "relu"}])
        [{'width': 8, 'kind': 'relu'}]
    """
    is_list = isinstance(configurations, Sequence) and not isinstance(configurations, str)
    if not is_list or not all(isinstance(one, Mapping) for one in configurations):
        raise InputError(
            "enqueue must be a list of mappings from name to value, such as [study.best_params]; got "
            f"{configurations!r}."
        )
    return [{name: plain(value) for name, value in one.items()} for one in configurations]


def enqueue_into(toolbox: base.Toolbox, genomes: Sequence[Sequence[float]], individual: Callable[..., Any]) -> None:
    """Let the first individuals of ``toolbox.population`` have given genomes.

    Args:
        toolbox: Has `population` registered.
        genomes: Genomes in order; at most as many as the population.
        individual: Makes an individual from a genome.
    """
    draw = toolbox.population

    def population(n: int) -> list[Any]:
        drawn = draw(n=n)  # all of them, so that the others do not depend on what is enqueued
        given = [individual(list(genome)) for genome in genomes]
        return [*given, *drawn[len(given) :]]

    toolbox.register("population", population)


class Enqueued:
    """A strategy whose first batch is given.

    Afterwards the strategy itself proposes. It learns from the given batch, whole or one by one, if it has a method
    `learn` (the surrogate, freeze-thaw and Optuna's samplers have one). A strategy without `learn` learns only from its
    own proposals.

    Args:
        strategy: The strategy.
        genomes: The first batch, at least one.

    Example:
        >>> from deap_hpo import Float
        >>> from deap_hpo.strategies import make_strategy
        >>> strategy = Enqueued(make_strategy("random", Space({"lr": Float(0.0, 1.0)}), seed=1), [[0.25]])
        >>> strategy.generate(list)
        [[0.25]]
    """

    def __init__(self, strategy: Strategy, genomes: Sequence[Sequence[float]]) -> None:
        self._strategy, self._genomes = strategy, [list(genome) for genome in genomes]
        self._proposed = False
        self._untold = len(self._genomes)

    def __str__(self) -> str:
        return str(self._strategy)

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the given individuals, then those of the strategy."""
        if self._proposed:
            return self._strategy.generate(ind_init)
        self._proposed = True
        return [ind_init(list(genome)) for genome in self._genomes]

    def update(self, population: Sequence[Any]) -> None:
        """Let the strategy learn."""
        given, own = population[: self._untold], population[self._untold :]
        self._untold -= len(given)
        if given and hasattr(self._strategy, "learn"):
            self._strategy.learn(given)
        if own or not given:
            self._strategy.update(own)


def with_enqueued(config: RunConfig, source: str) -> RunConfig:
    """Return the run with the best configurations of an earlier study, in the same storage, enqueued.

    Args:
        config: The run.
        source: Name of the study, and after a colon how many configurations; 3 by default.

    Raises:
        InputError: There is no such study, it has no such configuration, or the number is not an integer >= 1.
    """
    name, _, count = source.partition(":")
    if count and not (count.isdecimal() and int(count)):
        raise InputError(f"--enqueue-from must be STUDY or STUDY:COUNT, with a count of at least 1; got {source!r}.")
    known = load_study(name, config.study.storage).best_configurations(int(count or 3), config.search_space)
    plain = config.model_dump(mode="json")
    return make_config({**plain, "evolution": {**plain["evolution"], "enqueue": [*config.evolution.enqueue, *known]}})
