"""The algorithms with their own population and loop, with the settings of a configuration and one interface."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

from deap import base, tools

from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.evaluator import Evaluator
from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import lineage
from deap_hpo.evolution.operators import mutSelfAdaptive
from deap_hpo.evolution.pareto import NSGASettings, eaNSGA
from deap_hpo.evolution.pbt import PBTSettings, eaPBT
from deap_hpo.evolution.steady_state import eaSteadyState
from deap_hpo.search_space.space import Space

Outcome = tuple[list[Any], tools.Logbook]
"""The result of a loop: the final population and the logbook."""


class Loop(ABC):
    """An algorithm in DEAP's form, with the settings of a configuration.

    Args:
        space: The search space.
        evolution: The settings.
        evaluator: The evaluator, if it is known.

    Raises:
        InputError: A setting is unknown or out of its range.
    """

    def __init__(self, space: Space, evolution: EvolutionConfig, evaluator: Evaluator | None = None) -> None:
        self.space, self.evolution = space, evolution

    @abstractmethod
    def register(self, toolbox: base.Toolbox, objectives: int) -> None:
        """Register the operators that a toolbox of `make_toolbox` lacks, and replace those that differ.

        Raises:
            InputError: The algorithm does not take this population size or this number of objectives.
        """

    @abstractmethod
    def run(self, population: list[Any], toolbox: base.Toolbox, ngen: int, **told: Any) -> Outcome:
        """Run it for `ngen` generations after the first; `told` holds `stats` and `verbose`."""

    @abstractmethod
    def batches(self, epochs: int) -> Iterator[tuple[int, int]]:
        """Yield (evaluations, epochs that each adds) per generation; `epochs` is the length of a whole training."""

    def longest(self, epochs: int) -> int:
        """Epochs of the longest training that the budget allows; `epochs` is the length of a whole training."""
        return epochs


class TruncationLoop(Loop):
    """The paper's genetic algorithm, `eaTruncation`."""

    def register(self, toolbox: base.Toolbox, objectives: int) -> None:
        """Register the mutation, if it is not the paper's."""
        if self.evolution.mutation == "self-adaptive":
            toolbox.register("mutate", mutSelfAdaptive, low=0.0, up=1.0)
            toolbox.decorate("mutate", lineage("mutate"))

    def run(self, population: list[Any], toolbox: base.Toolbox, ngen: int, **told: Any) -> Outcome:
        """Run it."""
        cxpb, mutpb = self.evolution.cxpb, self.evolution.mutpb
        if self.evolution.steady_state:
            return eaSteadyState(population, toolbox, cxpb, mutpb, len(population) * (ngen + 1), **told)
        return eaTruncation(population, toolbox, cxpb, mutpb, ngen, **told)

    def batches(self, epochs: int) -> Iterator[tuple[int, int]]:
        """Yield a whole population, then always the half that is bred; with `steady_state`, always the population."""
        size = self.evolution.population
        if self.evolution.steady_state:
            return repeat((size, epochs))
        return chain([(size, epochs)], repeat((size - size // 2, epochs)))


class PBTLoop(Loop):
    """Population-based training, `eaPBT`."""

    def __init__(self, space: Space, evolution: EvolutionConfig, evaluator: Evaluator | None = None) -> None:
        super().__init__(space, evolution, evaluator)
        self.settings = PBTSettings.of(evolution.arguments)
        self.kept = self._kept_genes(evaluator)

    def register(self, toolbox: base.Toolbox, objectives: int) -> None:
        """Register `exploit` and `mutate`."""
        self.settings.register(toolbox, population=self.evolution.population)

    def run(self, population: list[Any], toolbox: base.Toolbox, ngen: int, **told: Any) -> Outcome:
        """Run it."""
        pbt = self.settings
        return eaPBT(population, toolbox, pbt.cxpb, pbt.mutpb, ngen, interval=pbt.interval, kept=self.kept, **told)

    def batches(self, epochs: int) -> Iterator[tuple[int, int]]:
        """Yield the whole population, trained for one interval, each time."""
        return repeat((self.evolution.population, self.settings.interval))

    def _kept_genes(self, evaluator: Evaluator | None) -> set[int]:
        """Positions of the genes that stay with the weights: those in the settings, and the network's architecture."""
        kept = set(self.settings.kept_genes(self.space))
        if evaluator is not None and evaluator.task is not None:
            from deap_hpo.training.inheritance import architecture_genes  # imports torch, which takes seconds

            kept |= set(architecture_genes(evaluator.task, self.space, self.settings.varied))
        return kept

    def longest(self, epochs: int) -> int:
        """Epochs of any member of the last generation."""
        evolution, interval = self.evolution, self.settings.interval
        by_evaluations = math.ceil((evolution.max_evaluations or sys.maxsize) / evolution.population)
        by_epochs = math.ceil((evolution.max_epochs or sys.maxsize) / (evolution.population * interval))
        return interval * min(evolution.generations, by_evaluations, by_epochs)


class NSGALoop(Loop):
    """NSGA-II and NSGA-III, `eaNSGA`."""

    def __init__(self, space: Space, evolution: EvolutionConfig, evaluator: Evaluator | None = None) -> None:
        super().__init__(space, evolution, evaluator)
        self.settings = NSGASettings.of(evolution.arguments)

    def register(self, toolbox: base.Toolbox, objectives: int) -> None:
        """Register `mate`, `mutate`, `mating` and `select`."""
        size = self.evolution.population
        self.settings.register(
            toolbox, self.evolution.algorithm, genes=len(self.space), objectives=objectives, population=size
        )

    def run(self, population: list[Any], toolbox: base.Toolbox, ngen: int, **told: Any) -> Outcome:
        """Run it."""
        return eaNSGA(population, toolbox, self.settings.cxpb, self.settings.mutpb, ngen, **told)

    def batches(self, epochs: int) -> Iterator[tuple[int, int]]:
        """Yield a whole population each time."""
        return repeat((self.evolution.population, epochs))


LOOPS: dict[str, type[Loop]] = {
    "truncation": TruncationLoop,
    "pbt": PBTLoop,
    "nsga-ii": NSGALoop,
    "nsga-iii": NSGALoop,
}
"""All loops, by the names of their methods."""


def loop_of(space: Space, evolution: EvolutionConfig, evaluator: Evaluator | None = None) -> Loop | None:
    """Return the loop that a configuration names; None if it names a strategy.

    Args:
        space: The search space.
        evolution: The settings.
        evaluator: The evaluator, if it is known: its network decides which genes stay with the weights.

    Raises:
        InputError: A setting is unknown or out of its range.

    Example:
        >>> from deap_hpo import Float
        >>> space = Space({"lr": Float(1e-4, 1.0, log=True)})
        >>> loop = loop_of(space, EvolutionConfig(algorithm="pbt", population=6, arguments={"interval": 2}))
        >>> next(loop.batches(epochs=10)), loop.longest(epochs=10)
        ((6, 2), 20)
        >>> loop_of(space, EvolutionConfig(algorithm="tpe")) is None
        True
    """
    loop = LOOPS.get(evolution.algorithm)
    return None if loop is None else loop(space, evolution, evaluator)
