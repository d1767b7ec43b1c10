"""A surrogate-assisted genetic algorithm: many children are bred, a Gaussian process picks those worth training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, logsumexp, ndtr
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from deap_hpo.checks import check_integer
from deap_hpo.space import Space
from deap_hpo.strategies.breeding import OPERATORS, Breeder, elite_size
from deap_hpo.strategies.gaussian_process import GaussianProcess
from deap_hpo.strategies.genes import GeneColumns, maximin_latin_hypercube
from deap_hpo.strategies.outcomes import cost_of, standardise

Array = NDArray[np.float64]
Key = tuple[Any, ...]

MODEL_LIMIT = 300  # Observations in the model: its cost grows with their cube.
REFINEMENTS = 10  # Generations of evolution by the model alone, before a proposal.
# From so many observations on: samples in the model, and steps of their Markov chains for each new observation.
SAMPLING = ((100, 5, 2), (60, 5, 5), (40, 10, 10), (0, 20, 20))
ENUMERABLE = 2000  # Spaces of up to so many configurations are searched whole, rather than by breeding.


class SurrogateStrategy:
    """Evolution that trains only the most promising of its children.

    The first genomes are a Latin hypercube. From then on, hundreds of children are bred from the record for each
    genome that is proposed; a Gaussian process fitted to the record picks the one with the largest expected
    improvement, after a few generations of evolution towards it. Within a batch, what was picked already counts as
    evaluated with the mean that the model predicts. No configuration is proposed twice.

    Run by `deap.algorithms.eaGenerateUpdate`; a deterministic function of the seed and the outcomes so far.

    Args:
        space: The search space.
        batch_size: Number of individuals per generation, at least 1.
        seed: Seed of the strategy, at least 0.
        n_start: Number of genomes in the space-filling start, at least 2; the first batch is always of the start.
        n_children: Number of children bred for each proposal, at least 4.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Expected improvement: Jones, Schonlau & Welch 1998, "Efficient global optimization of expensive black-box
        functions". Batches by the kriging believer: Ginsbourger, Le Riche & Carraro 2010, "Kriging is well-suited to
        parallelize optimization".

    Example:
        >>> from deap import algorithms, base, tools
        >>> from deap_hpo.individual import Individual
        >>> from deap_hpo.space import Float, Int, Space
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

    _roughness_from: float = 50  # From so many observations on, the model also learns how rough the losses are.

    def __init__(
        self, space: Space, *, batch_size: int = 1, seed: int = 0, n_start: int = 5, n_children: int = 600
    ) -> None:
        self._space = space
        self._batch_size = check_integer("batch_size", batch_size, 1)
        self._n_start = check_integer("n_start", n_start, 2)
        self._n_children = check_integer("n_children", n_children, len(OPERATORS))
        self._columns = GeneColumns(space)
        self._breeder = Breeder(self._columns)
        self._rng = np.random.default_rng(check_integer("seed", seed, 0))
        self._process = GaussianProcess(self._groups, self._rng, n_samples=SAMPLING[-1][1])
        self._design = maximin_latin_hypercube(self._rng, max(n_start, batch_size), len(space))
        self._genomes: list[list[float]] = []
        self._values: list[float] = []
        self._known: set[Key] = set()  # Evaluated or proposed.
        self._pending: dict[Key, tuple[list[float], str]] = {}  # Proposed only; genome and operator.
        self._fitted = 0  # Number of observations when the model was last fitted.

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the individuals to evaluate next, `batch_size` of them.

        They are fewer, and in the end none, where all configurations of a finite space have been proposed.

        Args:
            ind_init: Makes an individual from a genome. Where the individual has `operators`, they become the name of
                the operator that bred it.
        """
        count = int(min(self._batch_size, self._columns.size - len(self._known)))
        with blas().limit(limits=1, user_api="blas"):
            return self._generate(count, ind_init)

    def update(self, population: Sequence[Any]) -> None:
        """Take evaluated individuals into the record; also such as the strategy did not propose, as a warm start.

        Args:
            population: Individuals with valid fitness. The first objective is minimised (maximised where its weight is
                positive); it may be infinite.

        Raises:
            InputError: An individual has no fitness, or one that is NaN.
        """
        values = [cost_of(individual) for individual in population]
        before = sorted(self._values)
        for individual, value in zip(population, values, strict=True):
            genome = self._space.snap(individual)
            key = self._key(genome)
            _, operator = self._pending.pop(key, (genome, ""))
            if operator in OPERATORS:
                # A success would have been in the better half of the parents.
                self._breeder.reward(operator, value < before[elite_size(len(before)) // 2])
            self._known.add(key)
            self._genomes.append(genome)
            self._values.append(value)

    learn = update

    def _generate(self, count: int, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        individuals: list[Any] = []
        modelled = False
        for _ in range(count):
            if len(self._known) < self._n_start or np.isfinite(self._values).sum() < 2:
                genome, operator = self._next_of_start(), "start"
            else:
                if modelled:
                    self._believe([individuals[-1]])
                else:
                    self._model_record()
                    modelled = True
                genome, operator = self._next_of_model()
            key = self._key(genome)
            self._known.add(key)
            self._pending[key] = (genome, operator)
            individual = ind_init(genome)
            if hasattr(individual, "operators"):
                individual.operators = (operator,)
            individuals.append(individual)
        return individuals

    def _key(self, genome: Sequence[float]) -> Key:
        return tuple(self._space.decode(genome).items())

    def _next_of_start(self) -> list[float]:
        """Return the next genome of the design that is not known, or a random one after its end."""
        while True:
            genome = self._space.snap(self._design.pop()) if self._design else self._unknown_genome()
            if self._key(genome) not in self._known:
                return genome

    def _model_record(self) -> None:
        """Fit the model to what is on record, and to what is pending as it predicts it."""
        genomes, values = np.array(self._genomes), np.array(self._values)
        order = np.argsort(values, kind="stable")
        self._archive = genomes[order]
        if len(order) > MODEL_LIMIT:  # The best and the latest.
            best, rest = order[: MODEL_LIMIT // 2], np.sort(order[MODEL_LIMIT // 2 :])
            kept = np.append(best, rest[-MODEL_LIMIT // 2 :])
            genomes, values = genomes[kept], values[kept]
        inputs = self._inputs(genomes)
        self._fit(inputs, values, len(self._values))
        # Predicted, not observed: under noise, the best observation was lucky.
        self._best = self._process.predict(inputs)[0].min(axis=1, keepdims=True)
        if self._pending:
            self._believe([genome for genome, _ in self._pending.values()])

    def _fit(self, inputs: Array, values: Array, observations: int) -> None:
        """Fit the model to some of so many observations."""
        new = min(observations - self._fitted, 10)
        # More observations leave less to choose from among the hyperparameters, and make a sample dearer.
        n_samples, steps = next((samples, steps) for least, samples, steps in SAMPLING if len(inputs) >= least)
        self._process.thin(n_samples)
        rough = len(inputs) >= self._roughness_from
        self._process.fit(inputs, standardise(values), steps=steps * new, sample_smoothness=rough)
        self._fitted = observations

    @property
    def _groups(self) -> list[int]:
        """For each input column of the model, the number of its lengthscale."""
        return list(self._columns.groups)

    def _inputs(self, genomes: Sequence[Sequence[float]] | Array) -> Array:
        """Inputs at which the model predicts what genomes are worth."""
        return self._columns.features(np.asarray(genomes))

    def _believe(self, genomes: list[list[float]]) -> None:
        """Count genomes as evaluated, with the means that each sample of the model predicts."""
        means = self._process.believe(self._inputs(genomes))
        # Else what is believed to be better than the best would draw the rest of the batch to itself.
        self._best = np.minimum(self._best, means.min(axis=1, keepdims=True))

    def _next_of_model(self) -> tuple[list[float], str]:
        """Return the unknown candidate of largest expected improvement, and the name of the operator that bred it."""
        candidates, names, merit = self._candidates()
        for index in np.argsort(-merit, kind="stable"):
            genome, name = self._space.snap(candidates[index]), str(names[index])
            if self._key(genome) not in self._known:
                return genome, name
        return self._unknown_genome(), "random"

    def _candidates(self) -> tuple[Array, NDArray[np.str_], Array]:
        """Genomes that may be worth training, the names of the operators that bred them, and their merits.

        They are all genomes of a small space; else children, of which the best were evolved by the model alone.
        """
        if self._columns.size <= max(ENUMERABLE, 2 * len(self._known)):
            everything = self._columns.every_genome()
            return everything, np.full(len(everything), "enumeration"), self._merit(everything)
        rng, genes = self._rng, len(self._space)
        candidates, operators = self._breeder.breed(rng, self._archive, self._n_children)
        merit = self._merit(candidates)
        for _ in range(REFINEMENTS):
            best = np.argsort(-merit, kind="stable")[:30]
            parents = best[rng.integers(len(best), size=200)]
            mask = self._breeder.mask(rng, len(parents), [1 / genes, 1.0])
            step = 10 ** rng.uniform(-2.5, -0.7, (len(parents), 1))
            children = self._breeder.perturb(rng, candidates[parents], mask, step)
            candidates = np.vstack([candidates[best], children])
            operators = np.append(operators[best], operators[parents])
            merit = np.append(merit[best], self._merit(children))
        return candidates, operators, merit

    def _merit(self, candidates: Array) -> Array:
        """Logarithm of the expected improvement, which still tells candidates apart where the value underflows."""
        means, deviations = self._process.predict(self._inputs(candidates))  # [samples, candidates]
        merits = np.log(deviations) + log_improvement((self._best - means) / deviations)
        merit: Array = logsumexp(merits, axis=0)
        return merit

    def _unknown_genome(self) -> list[float]:
        """Return a random genome that is not known; there is one, as `generate` has seen to."""
        if self._columns.size <= 2 * len(self._known):  # Too few are left to be hit by chance.
            genomes = map(self._space.snap, self._columns.every_genome())
            unknown = [genome for genome in genomes if self._key(genome) not in self._known]
            return unknown[self._rng.integers(len(unknown))]
        while True:
            genome = self._space.snap(self._space.sample(self._rng))
            if self._key(genome) not in self._known:
                return genome


@functools.cache
def blas() -> ThreadpoolController:
    """The libraries of linear algebra: with one thread, small matrices are faster, and sums always in one order."""
    return ThreadpoolController()


def log_improvement(z: Array) -> Array:
    """Logarithm of z Phi(z) + phi(z), the expected improvement in units of the deviation.

    Source:
        Ament, Daulton, Eriksson, Balandat & Bakshy 2023, "Unexpected improvements to expected improvement for Bayesian
        optimization", equation 9.

    Example:
        >>> log_improvement(np.array([0.0, -50.0])).round(2).tolist()
        [-0.92, -1258.74]
    """
    density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    near = np.maximum(z, -1.0)
    far = np.clip(z, -1e4, -1.0)
    # Phi(z) / phi(z) = sqrt(pi / 2) erfcx(-z / sqrt(2)), which does not underflow.
    tail = np.log1p(np.sqrt(np.pi / 2) * far * erfcx(-far / np.sqrt(2)))
    bulk = np.log(near * ndtr(near) + np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi))
    logarithm: Array = np.where(z > -1.0, bulk, density + tail)
    return logarithm
