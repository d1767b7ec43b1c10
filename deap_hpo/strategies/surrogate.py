"""A surrogate-assisted genetic algorithm: many children are bred, a Gaussian process picks those worth training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deap_hpo.checks import check_flag, check_integer
from deap_hpo.search_space.space import Space
from deap_hpo.strategies.breeding import OPERATORS, elite_size
from deap_hpo.strategies.genes import maximin_latin_hypercube
from deap_hpo.strategies.improvement import MODEL_LIMIT, ImprovementModel, one_blas_thread
from deap_hpo.strategies.outcomes import cost_of
from deap_hpo.strategies.prospects import Key, Prospects

Array = NDArray[np.float64]
Proposal = tuple[list[float], str]  # A genome and its origin: the operator that bred it, or for example "start".

ROUGH_FROM = 50  # Number of observations from which the model also learns how rough the losses are.


class SurrogateStrategy:
    """Evolution that trains only the most promising of its children.

    The first genomes are a Latin hypercube. From then on, hundreds of children are bred from the record for each
    proposal, and evolved for a few generations towards the improvement that a Gaussian process, fitted to the record,
    expects. The child with the largest expected improvement is proposed. Within a batch, earlier proposals count as
    evaluated, with the mean that the model predicts. No configuration is proposed twice, unless `again` allows it.

    Run it by `deap.algorithms.eaGenerateUpdate`. Its proposals are a deterministic function of the seed and the
    outcomes so far.

    Args:
        space: The search space.
        batch_size: Number of individuals per generation, at least 1.
        seed: Seed of the strategy, at least 0.
        n_start: Number of genomes in the space-filling start, at least 2; the first batch always comes from it.
        n_children: Number of children bred for each proposal, at least 4.
        again: Whether configurations are proposed again when a finite space has no others, because another evaluation
            of one has another outcome.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Expected improvement: Jones, Schonlau & Welch 1998, "Efficient global optimization of expensive black-box
        functions". Batches by the kriging believer: Ginsbourger, Le Riche & Carraro 2010, "Kriging is well-suited to
        parallelize optimization".

    Example:
        >>> from deap import algorithms, base, tools
        >>> from deap_hpo import Float, Individual, Int, Space
        >>> space = Space({"x": Float(-5.0, 5.0), "n": Int(1, 64, log=True)})
        >>> def loss(individual):
        ...     params = space.decode(individual)
        ...     return ((params["x"] - 1.0) ** 2 + abs(params["n"] - 16),)
        >>> strategy = SurrogateStrategy(space, batch_size=2, seed=1)
        >>> toolbox = base.Toolbox()
        >>> toolbox.register("evaluate", loss)
        >>> toolbox.register("generate", strategy.generate, Individual)
        >>> toolbox.register("update", strategy.update)
        >>> best = tools.HallOfFame(1)
        >>> _ = algorithms.eaGenerateUpdate(toolbox, ngen=20, halloffame=best, verbose=False)
        >>> best[0].fitness.values[0] < 0.1, space.decode(best[0])["n"]
        (True, 16)
    """

    def __init__(
        self,
        space: Space,
        *,
        batch_size: int = 1,
        seed: int = 0,
        n_start: int = 5,
        n_children: int = 600,
        again: bool = False,
    ) -> None:
        self._space = space
        self._batch_size = check_integer("batch_size", batch_size, 1)
        self._n_start = check_integer("n_start", n_start, 2)
        rng = np.random.default_rng(check_integer("seed", seed, 0))
        self._prospects = Prospects(space, rng, n_children=n_children)
        self._model = ImprovementModel(self._prospects.columns.groups, rng, rough_from=ROUGH_FROM)
        self._design = maximin_latin_hypercube(rng, max(n_start, batch_size), len(space))
        self._genomes: list[list[float]] = []  # On record, with their values.
        self._values: list[float] = []
        self._archive: Array = np.empty((0, len(space)))  # Genomes to breed from, best first.
        self._pending: dict[Key, Proposal] = {}  # Proposed, but not yet on record.
        self._again = check_flag("again", again)
        self._all_tried = False  # As soon as that is so, any configuration may be proposed again.

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the individuals to evaluate next, `batch_size` of them.

        Without `again`, there are fewer, and finally none, when a finite space has no more configurations to propose.

        Args:
            ind_init: Makes an individual from a genome. If the individual has `operators`, they are set to the name of
                the operator that bred it.
        """
        with one_blas_thread():
            if self._all_tried:
                self._prospects.forget()
            proposals = self._propose(int(min(self._batch_size, math.inf if self._again else self._prospects.left)))
        individuals = []
        for genome, operator in proposals:
            individual = ind_init(list(genome))
            if hasattr(individual, "operators"):
                individual.operators = (operator,)
            individuals.append(individual)
        return individuals

    def update(self, population: Sequence[Any]) -> None:
        """Add evaluated individuals to the record; for a warm start, also some that the strategy did not propose.

        Args:
            population: Individuals with valid fitness. The first objective is minimised (maximised if its weight is
                positive); it may be infinite.

        Raises:
            InputError: An individual has no fitness, or one that is NaN.
        """
        values = [cost_of(individual) for individual in population]
        before = sorted(self._values)
        for individual, value in zip(population, values, strict=True):
            genome = self._space.snap(individual)
            key = self._prospects.mark_tried(genome)
            _, operator = self._pending.pop(key, (genome, ""))
            if operator in OPERATORS:
                # A child is a success if it would have been in the better half of the parents.
                self._prospects.breeder.reward(operator, value < before[elite_size(len(before)) // 2])
            self._genomes.append(genome)
            self._values.append(value)

    learn = update

    def _propose(self, count: int) -> list[Proposal]:
        """Return `count` genomes, each different from all before, with their origins."""
        proposals: list[Proposal] = []
        modelled = False
        for _ in range(count):
            if not self._prospects.left:
                self._prospects.forget()
                self._all_tried = True
            starts = self._prospects.tried < self._n_start and not self._all_tried
            if starts or np.isfinite(self._values).sum() < 2:
                genome, operator = self._prospects.next_of(self._design), "start"
            else:
                if modelled:
                    self._believe([proposals[-1][0]])
                else:
                    self._model_record()
                    modelled = True
                genome, operator, _ = self._prospects.most_promising(self._archive, self._merits)
            proposals.append((genome, operator))
            self._pending[self._prospects.mark_tried(genome)] = proposals[-1]
        return proposals

    def _model_record(self) -> None:
        """Fit the model to the record, and count pending genomes as evaluated, as it predicts them."""
        genomes, values = np.array(self._genomes), np.array(self._values)
        order = np.argsort(values, kind="stable")
        self._archive = genomes[order]
        if len(order) > MODEL_LIMIT:  # Keep the best and the latest.
            best, rest = order[: MODEL_LIMIT // 2], np.sort(order[MODEL_LIMIT // 2 :])
            kept = np.append(best, rest[-MODEL_LIMIT // 2 :])
            genomes, values = genomes[kept], values[kept]
        inputs = self._prospects.columns.features(genomes)
        self._model.fit(inputs, values, observations=len(self._values))
        # The predicted best, not the observed one: under noise, the best observation was partly luck.
        self._model.improve_on(self._model.means(inputs))
        if self._pending:
            self._believe([genome for genome, _ in self._pending.values()])

    def _believe(self, genomes: list[list[float]]) -> None:
        """Count genomes as evaluated, with the means that each sample of the model predicts."""
        means = self._model.believe(self._prospects.columns.features(np.array(genomes)))
        # Otherwise a genome believed to be better than the best would attract the rest of the batch.
        self._model.improve_on(means)

    def _merits(self, genomes: Array) -> Array:
        return self._model.merits(self._prospects.columns.features(genomes))
