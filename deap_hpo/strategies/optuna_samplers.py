"""Optuna's samplers as strategies, by ask and tell: TPE, Gaussian process, CMA-ES and NSGA-II."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, create_trial

from deap_hpo.checks import check_integer
from deap_hpo.errors import ArgumentError, InputError
from deap_hpo.records.quiet_optuna import quiet_optuna
from deap_hpo.records.trials import distributions
from deap_hpo.search_space.space import Space
from deap_hpo.strategies.outcomes import costs


class OptunaStrategy:
    """Any sampler of Optuna (or OptunaHub) as a strategy; it proposes what it would propose in Optuna.

    The sampler sees the space in Optuna's own distributions, in an Optuna study in memory; its proposals are encoded as
    genomes. A batch is asked for as Optuna's parallel workers do: one proposal after the other, before any outcome is
    told. So whether the proposals of a batch keep apart depends on the sampler.

    Args:
        space: The search space.
        sampler: The sampler; give it a seed, or runs differ.
        batch_size: Genomes per batch, at least 1.

    Raises:
        InputError: `batch_size` is out of its range.

    Source:
        Akiba et al., "Optuna: a next-generation hyperparameter optimization framework", KDD 2019.

    Example:
        >>> from deap import algorithms, base
        >>> from deap_hpo import Float, Individual
        >>> space = Space({"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0)})
        >>> strategy = OptunaStrategy(space, TPESampler(seed=1), batch_size=2)
        >>> toolbox = base.Toolbox()
        >>> toolbox.register("generate", strategy.generate, Individual)
        >>> toolbox.register("evaluate", lambda genome: (sum((gene - 0.7) ** 2 for gene in genome),))
        >>> toolbox.register("update", strategy.update)
        >>> population, _ = algorithms.eaGenerateUpdate(toolbox, ngen=20, verbose=False)
        >>> min(individual.fitness.values for individual in population)[0] < 0.05
        True
    """

    def __init__(self, space: Space, sampler: BaseSampler, *, batch_size: int = 1) -> None:
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self._space = space
        self._distributions = distributions(space)
        with quiet_optuna():
            self._study = optuna.create_study(sampler=sampler)
        self._pending: list[tuple[list[float], optuna.Trial]] = []  # asked for but not yet told, in order of asking

    def generate(self, ind_init: Callable[[list[float]], Any]) -> list[Any]:
        """Ask for the next individuals, even if outcomes of earlier ones have not been told yet."""
        trials = [self._study.ask(self._distributions) for _ in range(self.batch_size)]
        # A sampler is asked for all hyperparameters, including those that are not in use.
        genomes = [[one.encode(trial.params[name]) for name, one in self._space.items()] for trial in trials]
        self._pending += zip(genomes, trials, strict=True)
        return [ind_init(list(genome)) for genome in genomes]

    def update(self, population: Sequence[Any]) -> None:
        """Tell the outcomes of a batch, in its order; with a batch size of 1, of any pending individual."""
        told = self._pending
        if self.batch_size == 1:
            genomes = [list(individual) for individual in population]
            told = [one for one in self._pending if [one[0]] == genomes][:1] or self._pending[:1]
        outcomes = costs([genome for genome, _ in told], population)
        self._pending = [one for one in self._pending if one not in told]
        for (_, trial), cost in zip(told, outcomes, strict=True):
            self._study.tell(trial, cost)

    def learn(self, population: Sequence[Any]) -> None:
        """Learn from evaluated individuals that were not asked for."""
        for individual, cost in zip(population, costs(population, population), strict=True):
            params = {name: one.decode(gene) for (name, one), gene in zip(self._space.items(), individual, strict=True)}
            self._study.add_trial(create_trial(params=params, distributions=self._distributions, value=cost))


def tpe_strategy(space: Space, *, batch_size: int = 1, seed: int = 0, n_startup_trials: int = 10) -> OptunaStrategy:
    """Return the tree-structured Parzen estimator, Optuna's default, which compares models of good and bad trials.

    In a batch, proposals with an unknown outcome count as bad (constant liar), so that the next ones keep away from
    them.

    Args:
        space: The search space.
        batch_size: Genomes per batch, at least 1.
        seed: Seed of the sampler, at least 0, below 2**32.
        n_startup_trials: Random evaluations before the first model, at least 0; 10 is Optuna's default.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Bergstra, Bardenet, Bengio and Kégl, "Algorithms for hyper-parameter optimization", NIPS 2011; its parts as
        in Watanabe, arXiv:2304.11127.

    Example:
        >>> from deap_hpo import Float
        >>> strategy = tpe_strategy(Space({"x": Float(0.0, 1.0)}), batch_size=3)
        >>> len(strategy.generate(list))
        3
    """
    check_integer("n_startup_trials", n_startup_trials, 0)
    # The constant liar is Optuna's default only since version 5.
    sampler = TPESampler(seed=_seed(seed), n_startup_trials=n_startup_trials, constant_liar=True)
    return OptunaStrategy(space, sampler, batch_size=batch_size)


def gp_strategy(space: Space, *, batch_size: int = 1, seed: int = 0, n_startup_trials: int = 10) -> OptunaStrategy:
    """Return Bayesian optimisation with a Gaussian process: Matérn 5/2 kernel, log expected improvement.

    In a batch, Optuna 5 averages over the outcomes that the model expects of the proposals with an unknown outcome. An
    infinite value counts as the worst finite one. Each proposal costs a fit of the model: about 0.1 s for 3
    hyperparameters and up to 40 evaluations. With the package `greenlet` installed, Optuna fits faster but rounds
    differently, so a run that was started without it must be resumed without it.

    Args:
        space: The search space.
        batch_size: Genomes per batch, at least 1.
        seed: Seed of the sampler, at least 0, below 2**32.
        n_startup_trials: Random evaluations before the first model, at least 0; 10 is Optuna's default.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Snoek, Larochelle and Adams, "Practical Bayesian optimization of machine learning algorithms", NIPS 2012; the
        acquisition function from Ament et al., "Unexpected improvements to expected improvement for Bayesian
        optimization", NeurIPS 2023.

    Example:
        >>> from deap_hpo import Float
        >>> strategy = gp_strategy(Space({"x": Float(0.0, 1.0)}), batch_size=3)
        >>> len(strategy.generate(list))
        3
    """
    check_integer("n_startup_trials", n_startup_trials, 0)
    return OptunaStrategy(
        space, _OneThreadGPSampler(seed=_seed(seed), n_startup_trials=n_startup_trials), batch_size=batch_size
    )


def cmaes_strategy(
    space: Space, *, batch_size: int = 1, seed: int = 0, population_size: int | None = None
) -> OptunaStrategy:
    """Return CMA-ES as Optuna has it, from the package `cmaes`.

    It searches numbers only: a `Categorical` is always drawn at random, and so is a space of one hyperparameter. A
    generation takes `population_size` evaluations, whatever the batch size. Nothing is learnt from evaluations beyond
    it in the same batch, so a `batch_size` that divides it wastes none.

    Args:
        space: The search space.
        batch_size: Genomes per batch, at least 1.
        seed: Seed of the sampler, at least 0, below 2**32.
        population_size: Evaluations per generation, at least 5 (the package allows fewer, but learns little from them);
            None takes the package's 4 + 3 ln(numbers).

    Raises:
        InputError: An argument is out of its range, or the package `cmaes` is not installed.

    Source:
        Hansen and Ostermeier, "Completely derandomized self-adaptation in evolution strategies", Evolutionary
        Computation 9(2), 2001; Nomura and Shibata, "cmaes: a simple yet practical Python library for CMA-ES",
        arXiv:2402.01373.

    Example:
        >>> from deap_hpo import Float
        >>> strategy = cmaes_strategy(Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}), batch_size=3)
        >>> len(strategy.generate(list))
        3
    """
    if find_spec("cmaes") is None:
        raise InputError("cmaes needs the package cmaes, which is not installed: pip install 'deap-hpo[cmaes]'.")
    if population_size is not None:
        check_integer("population_size", population_size, 5)
    # Categories are drawn at random, as said above: no need to warn of each.
    sampler = CmaEsSampler(seed=_seed(seed), popsize=population_size, warn_independent_sampling=False)
    return OptunaStrategy(space, sampler, batch_size=batch_size)


def nsga2_strategy(space: Space, *, batch_size: int = 1, seed: int = 0, population_size: int = 50) -> OptunaStrategy:
    """Return Optuna's NSGA-II; for one objective, it is an elitist genetic algorithm with uniform crossover.

    For several objectives, use `deap_hpo.evolution.pareto.eaNSGA` (``evolution.algorithm = "nsga-ii"``).

    Args:
        space: The search space.
        batch_size: Genomes per batch, at least 1.
        seed: Seed of the sampler, at least 0, below 2**32.
        population_size: Evaluations per generation, at least 2. With 50, Optuna's default, the first 50 evaluations are
            random search, so small budgets need a smaller one.

    Raises:
        InputError: An argument is out of its range.

    Source:
        Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE
        Transactions on Evolutionary Computation 6(2), 2002.

    Example:
        >>> from deap_hpo import Float
        >>> strategy = nsga2_strategy(Space({"x": Float(0.0, 1.0)}), batch_size=3)
        >>> len(strategy.generate(list))
        3
    """
    check_integer("population_size", population_size, 2)
    sampler = NSGAIISampler(seed=_seed(seed), population_size=population_size)
    return OptunaStrategy(space, sampler, batch_size=batch_size)


class _OneThreadGPSampler(GPSampler):
    """Optuna's sampler, limited to one thread: its matrices are small; a second thread made it 2 to 7 times slower."""

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        import torch  # Imported here, because the other samplers do not need it.

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with _warnings_kept():
                return super().sample_relative(study, trial, search_space)
        finally:
            torch.set_num_threads(threads)


@contextmanager
def _warnings_kept() -> Iterator[None]:
    """Silence two warnings of Optuna, whose content is in the docstring of `gp_strategy`.

    One says that the optional package greenlet is missing (once, when the model is first needed); the other, that
    infinite values, which are normal here, count as the worst finite one.
    """
    logger = logging.getLogger("optuna._gp.batched_lbfgsb")

    def other(record: logging.LogRecord) -> bool:
        return "'greenlet' package is unavailable" not in record.getMessage()

    logger.addFilter(other)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Clip non-finite values")
            yield
    finally:
        logger.removeFilter(other)


def _seed(seed: int) -> int:
    if check_integer("seed", seed, 0) >= 2**32:
        raise ArgumentError("seed", f"must be below 2**32 for the samplers of Optuna; got {seed!r}.")
    return seed
