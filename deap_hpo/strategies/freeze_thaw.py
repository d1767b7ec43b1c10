"""Freeze-thaw: a model of losses along the way decides which trainings to start, to pause and to continue."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deap_hpo.checks import check_integer
from deap_hpo.search_space.space import Space
from deap_hpo.strategies.genes import maximin_latin_hypercube
from deap_hpo.strategies.hyperband import rungs
from deap_hpo.strategies.improvement import MODEL_LIMIT, ImprovementModel, one_blas_thread
from deap_hpo.strategies.outcomes import cost_of
from deap_hpo.strategies.partial_trainings import PartialTrainings
from deap_hpo.strategies.prospects import Key, Prospects

Array = NDArray[np.float64]


class Step(NamedTuple):
    """A training up to a rung, started or continued."""

    key: Key
    genome: list[float]
    rung: int


class FreezeThawStrategy:
    """Evolution over trainings in parts: a Gaussian process decides which to start, and which to continue.

    The first genomes, a Latin hypercube, go through successive halving: all are trained to the first rung, one in `eta`
    of them to the next. After that, the strategy chooses between the paused trainings and children bred from the
    record, as in `SurrogateStrategy`. The one with the largest expected improvement on the best whole training, per
    epoch that it has left, is trained to its next rung, where it is judged again. So bad trainings are left early, and
    are continued later if the model has come to rate them higher.

    The model has the epochs as an input besides the genes. Losses of earlier rungs are scaled to those of the last.

    Run it by `deap.algorithms.eaGenerateUpdate` with an evaluator that can continue from checkpoints, and with a budget
    of epochs (`Study(max_epochs=...)`), since the number of evaluations is not known beforehand. Its proposals are a
    deterministic function of the seed and of the outcomes so far.

    Args:
        space: The search space.
        epochs: Epochs of a whole training.
        min_epochs: Epochs of the shortest training; by default an eighth of a whole one, and at least 1.
        eta: Factor by which epochs grow from one rung to the next, at least 2.
        batch_size: Number of individuals per generation, at least 1.
        seed: Seed of the strategy, at least 0.
        n_start: Number of genomes in the space-filling start, at least 2.
        n_children: Number of children bred for each proposal, at least 4.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Swersky, Snoek & Adams 2014, "Freeze-thaw Bayesian optimization". There, the model describes whole curves, and
        entropy search chooses; here, it describes losses at rungs, and the expected improvement per epoch chooses.

    Example:
        >>> from deap_hpo import Float, Individual
        >>> strategy = FreezeThawStrategy(Space({"x": Float(0.0, 1.0)}), epochs=16, seed=1)
        >>> steps = []
        >>> for number in range(20):
        ...     (individual,) = strategy.generate(Individual)
        ...     steps.append((number, individual.epochs, individual.start_from))
        ...     individual.fitness.values = ((individual[0] - 0.7) ** 2 + 1 / individual.epochs,)
        ...     individual.origin = (number,)
        ...     strategy.update([individual])
        >>> steps[7:15]  # (evaluation, its epochs, the evaluation that it continued)
        [(7, 2, None), (8, 4, 5), (9, 4, 6), (10, 4, 3), (11, 4, 2), (12, 8, 8), (13, 8, 9), (14, 16, 12)]
    """

    def __init__(
        self,
        space: Space,
        *,
        epochs: int,
        min_epochs: int | None = None,
        eta: int = 2,
        batch_size: int = 1,
        seed: int = 0,
        n_start: int = 8,
        n_children: int = 600,
    ) -> None:
        least = max(1, check_integer("epochs", epochs, 1) // 8) if min_epochs is None else min_epochs
        self._eta = eta
        self._trainings = PartialTrainings(rungs(epochs, least, eta))
        logs = np.log(self._trainings.rungs)
        self._depths = 1 - (logs[-1] - logs) / (logs[-1] - logs[0] or 1.0)  # Of each rung, from 0 to 1.
        self._space = space
        self._batch_size = check_integer("batch_size", batch_size, 1)
        check_integer("n_start", n_start, 2)
        rng = np.random.default_rng(check_integer("seed", seed, 0))
        self._prospects = Prospects(space, rng, n_children=n_children)
        # The roughness of losses is not learnt: the kernel spans the epochs too, and measurements were made without it.
        self._model = ImprovementModel([*self._prospects.columns.groups, len(space)], rng)
        self._design = maximin_latin_hypercube(rng, max(n_start, batch_size), len(space))
        self._start_size = len(self._design)
        self._start: list[Key] = []  # Trainings that the design started, in order.
        self._archive: Array = np.empty((0, len(space)))  # Genomes to breed from, best first.
        self._asked: list[Step] = []  # Steps of this batch.
        self._modelled = False  # Whether the model is fitted for this batch.

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Return the individuals to evaluate next, each with its `epochs` and the evaluation that it continues.

        There are none once every configuration of a finite space is trained to the end (or has diverged).

        Args:
            ind_init: Makes an individual from a genome. Its attribute `paused` is set to the numbers of the evaluations
                that may be continued later.
        """
        self._asked, self._modelled = [], False
        with one_blas_thread():
            while len(self._asked) < self._batch_size and (step := self._next_step()):
                self._prospects.mark_tried(step.genome)
                self._asked.append(step)
        numbers = map(self._trainings.number, self._trainings.worst_first(self._paused()))
        paused = tuple(number for number in numbers if number is not None)
        individuals = []
        for step in self._asked:
            individual = ind_init(list(step.genome))
            individual.epochs = self._trainings.rungs[step.rung]
            individual.start_from = self._trainings.number(step.key)
            individual.paused = paused
            individuals.append(individual)
        return individuals

    def update(self, population: Sequence[Any]) -> None:
        """Add evaluated individuals to the record; for a warm start, also some that the strategy did not propose.

        Args:
            population: Individuals with valid fitness. Their `epochs` tell how far they were trained; without them,
                trainings count as whole. The first objective is minimised (maximised if its weight is positive); it
                may be infinite.

        Raises:
            InputError: An individual has no fitness, or one that is NaN.
        """
        losses = [cost_of(individual) for individual in population]
        for individual, loss in zip(population, losses, strict=True):
            genome = self._space.snap(individual)
            key, origin = self._prospects.mark_tried(genome), getattr(individual, "origin", ())
            # After `Study.map`, an individual's origin is its own evaluation.
            number = origin[0] if origin else None
            self._trainings.add(key, genome, epochs=getattr(individual, "epochs", None), loss=loss, number=number)

    learn = update

    def batches(self, continues: bool = True) -> Iterator[tuple[int, int, int]]:
        """Yield for each batch, without end, its size and the most and the fewest epochs that an individual may add.

        Args:
            continues: Whether trainings continue where they stopped, rather than start from the beginning.

        Example:
            >>> from itertools import islice
            >>> from deap_hpo import Float
            >>> list(islice(FreezeThawStrategy(Space({"x": Float(0.0, 1.0)}), epochs=9, batch_size=4).batches(), 2))
            [(4, 9, 1), (4, 9, 1)]
        """
        rungs = self._trainings.rungs
        least = min(after - before for before, after in pairwise([0, *rungs])) if continues else rungs[0]
        while True:
            yield self._batch_size, rungs[-1], least

    def _next_step(self) -> Step | None:
        """Return the next step; None if nothing is left to do."""
        if self._prospects.left and len(self._start) < self._start_size:
            step = self._begun(self._prospects.next_of(self._design))
            self._start.append(step.key)
            return step
        if promoted := self._promoted():
            return promoted
        finite = sum(math.isfinite(loss) for _, _, loss in self._trainings.observations())
        if finite < 2 or next(self._trainings.alive(), None) is None:
            if self._prospects.left:
                return self._begun(self._prospects.random())
            return next(map(self._completed, self._paused()), None)
        if self._modelled:
            self._believe_last()
        else:
            self._model_record()
            self._modelled = True
        return self._most_promising()

    def _begun(self, genome: list[float]) -> Step:
        return Step(self._prospects.key(genome), genome, 0)

    def _completed(self, key: Key) -> Step:
        return Step(key, self._trainings.genes[key], self._trainings.last)

    def _paused(self) -> Iterator[Key]:
        """Return the trainings that can continue and are not yet in this batch."""
        asked = {step.key for step in self._asked}
        return (key for key in self._trainings.paused() if key not in asked)

    def _promoted(self) -> Step | None:
        """Return the next step in the successive halving of the start; None if it is over or waits for outcomes."""
        cohort, paused = self._start, set(self._paused())
        for rung in range(self._trainings.last):
            losses = {key: loss for key in cohort if (loss := self._trainings.loss(key, rung)) is not None}
            if len(losses) < len(cohort):
                return None
            ranked = sorted(cohort, key=losses.__getitem__)[: len(cohort) // self._eta]
            cohort = [key for key in ranked if math.isfinite(losses[key])]
            for key in cohort:
                if key in paused and self._trainings.rung(key) == rung:
                    return Step(key, self._trainings.genes[key], rung + 1)
        return None

    def _inputs(self, genomes: Sequence[Sequence[float]] | Array, rungs: Sequence[int] | None = None) -> Array:
        """Inputs of the model for genomes at rungs (by default at the last): the genes and the depth of the rung."""
        depths = self._depths[[self._trainings.last] * len(genomes) if rungs is None else list(rungs)]
        return np.column_stack([self._prospects.columns.features(np.asarray(genomes)), depths])

    def _merits(self, genomes: Sequence[Sequence[float]] | Array) -> Array:
        """Merits of genomes trained to the end; see `ImprovementModel.merits`."""
        return self._model.merits(self._inputs(genomes))

    def _model_record(self) -> None:
        """Fit the model to all losses on record, of all rungs."""
        trainings, scales = self._trainings, self._trainings.scales()
        rows = list(trainings.observations())
        values = np.array([scales[rung].of(loss) for _, rung, loss in rows])
        kept = np.arange(len(rows))
        if len(rows) > MODEL_LIMIT:  # Keep the last losses of trainings rather than earlier ones; of these, the best.
            passed = np.array([rung < trainings.rung(key) for key, rung, _ in rows])
            kept = np.sort(np.lexsort((values, passed))[:MODEL_LIMIT])
        genomes = [trainings.genes[rows[i][0]] for i in kept]
        self._model.fit(self._inputs(genomes, [rows[i][1] for i in kept]), values[kept], observations=len(rows))
        alive = list(trainings.alive())
        means = self._model.means(self._inputs([trainings.genes[key] for key in alive]))  # [samples, alive]
        whole = np.array([trainings.rung(key) == trainings.last for key in alive])
        self._model.improve_on(means[:, whole] if whole.any() else means)
        ranked = np.argsort(means.mean(axis=0), kind="stable")
        self._archive = np.array([trainings.genes[alive[i]] for i in ranked])

    def _believe_last(self) -> None:
        """Count the last step as observed, with the means that each sample of the model predicts."""
        step = self._asked[-1]
        self._model.believe(self._inputs([step.genome], [step.rung]))
        self._model.improve_on(self._model.means(self._inputs([step.genome])))

    def _most_promising(self) -> Step | None:
        """Return the next step of the training with the largest expected improvement per epoch that it has left."""
        trainings = self._trainings
        steps = [Step(key, trainings.genes[key], trainings.rung(key) + 1) for key in self._paused()]
        merits = self._merits([step.genome for step in steps]) if steps else np.empty(0)
        if self._prospects.left:
            genome, _, merit = self._prospects.most_promising(self._archive, self._merits)
            steps, merits = [self._begun(genome), *steps], np.append(merit, merits)
        if not steps:
            return None
        left = [trainings.rungs[-1] - trainings.epochs(step.key) for step in steps]
        return steps[int(np.argmax(merits - np.log(left)))]
