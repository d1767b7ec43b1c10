"""The algorithms with a population and a loop of their own, as a configuration sets them: all in one shape."""

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
"""What a loop returns: the final population, and the logbook."""


class Loop(ABC):
    """An algorithm of DEAP's form, with the settings of a configuration.

    Args:
        space: The search space.
        evolution: The settings.
        evaluator: What will evaluate, where that is known.

    Raises:
        InputError: A setting is unknown or out of its range.
    """

    def __init__(self, space: Space, evolution: EvolutionConfig, evaluator: Evaluator | None = None) -> None:
        self.space, self.evolution = space, evolution

    @abstractmethod
    def register(self, toolbox: base.Toolbox, objectives: int) -> None:
        """Register the operators that a toolbox of `make_toolbox` does not have, or has otherwise.

        Raises:
            InputError: The population, or the number of objectives, is not one for this algorithm.
        """

    @abstractmethod
    def run(self, population: list[Any], toolbox: base.Toolbox, ngen: int, **told: Any) -> Outcome:
        """Run it for `ngen` generations after the first; `told` is `stats` and `verbose`."""

    @abstractmethod
    def batches(self, epochs: int) -> Iterator[tuple[int, int]]:
        """Give (evaluations, epochs that each adds), generation after generation; `epochs` are a whole training's."""

    def longest(self, epochs: int) -> int:
        """Epochs of the longest training that the budget allows; `epochs` are a whole training's."""
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
        """Give a whole population, then the half that is bred anew; with `steady_state`, as many again."""
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
        """Give the whole population, for an interval each time."""
        return repeat((self.evolution.population, self.settings.interval))

    def _kept_genes(self, evaluator: Evaluator | None) -> set[int]:
        """Positions of the genes that stay with weights: those that the settings name, and of a trainer's network."""
        kept = set(self.settings.kept_genes(self.space))
        if evaluator is not None and evaluator.task is not None:
            from deap_hpo.training.inheritance import architecture_genes  # imports torch, which takes seconds

            kept |= set(architecture_genes(evaluator.task, self.space))
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
        """Give a whole population each time."""
        return repeat((self.evolution.population, epochs))


LOOPS: dict[str, type[Loop]] = {
    "truncation": TruncationLoop,
    "pbt": PBTLoop,
    "nsga-ii": NSGALoop,
    "nsga-iii": NSGALoop,
}
"""All of them, by the names in `deap_hpo.configuration.methods.LOOPS`."""


def loop_of(space: Space, evolution: EvolutionConfig, evaluator: Evaluator | None = None) -> Loop | None:
    """Give the loop that a configuration names; None where it names a strategy.

    Args:
        space: The search space.
        evolution: The settings.
        evaluator: What will evaluate, where that is known: its network says which genes stay with weights.

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
