"""Several objectives at once: NSGA-II and NSGA-III as a single loop in DEAP's form, and their settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from deap import algorithms, base, tools

from deap_hpo.checks import check_arguments, check_integer, check_probability, check_range, is_number
from deap_hpo.errors import InputError
from deap_hpo.evolution import MULTI_OBJECTIVE
from deap_hpo.evolution.algorithms import evaluate_invalid
from deap_hpo.evolution.feasibility import selFeasibleFirst, selFeasibleTournament
from deap_hpo.evolution.individual import lineage


def eaNSGA(
    population: list[Any],
    toolbox: base.Toolbox,
    cxpb: float,
    mutpb: float,
    ngen: int,
    stats: tools.Statistics | None = None,
    halloffame: tools.HallOfFame | None = None,
    verbose: bool = __debug__,
) -> tuple[list[Any], tools.Logbook]:
    """Evolve a population towards the Pareto front: parents and children compete for places in the next generation.

    The pseudocode goes as follows::

        evaluate(population)
        population = select(population, len(population))
        for g in range(ngen):
            children = varAnd(mating(population, len(population)), cxpb, mutpb)
            evaluate(children)
            population = select(population + children, len(population))

    With ``tools.selNSGA2`` as `select`, this is NSGA-II; with `selNSGA3WithMemory` inside `selFeasibleFirst`, it is
    NSGA-III. `NSGASettings` registers all that either needs, with `selDistinct` around the selection. For individuals
    of this package, constraints follow Deb's rules (`deap_hpo.evolution.feasibility`).

    Args:
        population: Individuals, at least 4; replaced in place.
        toolbox: Has `clone`, `map`, `evaluate`, `mating` (who breeds), `mate`, `mutate` and `select` (who survives)
            registered.
        cxpb: Probability of mating a pair, in [0, 1].
        mutpb: Probability of mutating a child, in [0, 1].
        ngen: Number of generations after the initial population, which is generation 0; at least 0.
        stats: Statistics of each generation's survivors, for the logbook.
        halloffame: Updated with each generation; `tools.ParetoFront` keeps all non-dominated individuals.
        verbose: Whether to print the logbook as it grows.

    Returns:
        The population, and a logbook with the columns `gen`, `nevals`, and those of `stats`.

    Raises:
        ValueError: The population is smaller than 4, `cxpb` or `mutpb` is outside [0, 1], or `ngen` is negative.

    Source:
        Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE
        Transactions on Evolutionary Computation 6(2), 2002; Deb and Jain, "An evolutionary many-objective optimization
        algorithm using reference-point-based nondominated sorting approach, part I", ibid. 18(4), 2014.

    Example:
        >>> import random
        >>> from deap_hpo import Float, Space, make_toolbox
        >>> random.seed(1)
        >>> toolbox = make_toolbox(Space({"x": Float(-5.0, 5.0)}), weights=(-1.0, -1.0))
        >>> toolbox.register("evaluate", lambda genome: (genome[0] ** 2, (genome[0] - 0.5) ** 2))
        >>> NSGASettings().register(toolbox, "nsga-ii", genes=1, objectives=2, population=8)
        >>> population, logbook = eaNSGA(toolbox.population(n=8), toolbox, 0.9, 1.0, ngen=10, verbose=False)
        >>> all(-0.01 < individual[0] < 0.51 for individual in population)
        True
    """
    size = len(population)
    if size < 4 or ngen < 0:
        raise ValueError(f"population must be at least 4, and ngen at least 0; got {size} and {ngen}.")
    check_probability("cxpb", cxpb)
    check_probability("mutpb", mutpb)
    logbook = tools.Logbook()
    logbook.header = ["gen", "nevals"] + (stats.fields if stats else [])

    for gen in range(ngen + 1):
        children = algorithms.varAnd(toolbox.mating(population, size), toolbox, cxpb, mutpb) if gen > 0 else []

        nevals = evaluate_invalid(population + children, toolbox)

        population[:] = toolbox.select(population + children, size)
        if halloffame is not None:
            halloffame.update(population)
        logbook.record(gen=gen, nevals=nevals, **(stats.compile(population) if stats else {}))
        if verbose:
            print(logbook.stream)

    return population, logbook


def selCrowdedTournament(individuals: list[Any], k: int) -> list[Any]:
    """Select any number of individuals by ``tools.selTournamentDCD``, which selects multiples of four only.

    Args:
        individuals: Individuals with a crowding distance, as `selNSGA2` sets it; at least 4.
        k: Number of individuals to select, at most all.
    """
    rest = k % 4
    chosen: list[Any] = tools.selTournamentDCD(individuals, k - rest)
    return [*chosen, *(tools.selTournamentDCD(individuals, 4)[:rest] if rest else [])]


def selDistinct(individuals: list[Any], k: int, select: Callable[[list[Any], int], list[Any]]) -> list[Any]:
    """Select by an operator among individuals of different fitness; duplicates get only the places that are left.

    With integers and categories, many genomes decode to the same configuration. Its duplicates would fill a small
    population.

    Args:
        individuals: Individuals with a valid fitness.
        k: Number of individuals to select, at most all.
        select: The operator, such as ``tools.selNSGA2``.

    Source:
        Blank and Deb, "pymoo: multi-objective optimization in Python", IEEE Access 8, 2020, which also omits them.

    Example:
        >>> from deap_hpo.evolution.individual import individual_type
        >>> population = [individual_type((-1.0, -1.0))([gene]) for gene in (0.1, 0.1, 0.3)]
        >>> for individual in population:
        ...     individual.fitness.values = (individual[0], 1 - individual[0])
        >>> selDistinct(population, 2, select=tools.selNSGA2)
        [[0.1], [0.3]]
    """
    first: dict[Any, Any] = {}
    doubles = [one for one in individuals if first.setdefault(one.fitness, one) is not one]
    chosen = select(list(first.values()), min(k, len(first)))
    return chosen + select(doubles, k - len(chosen)) if len(chosen) < k else chosen


def divisions_for(objectives: int, population: int) -> int:
    """Give the most divisions of each axis, at least 1, that yield no more reference points than individuals.

    Example:
        >>> divisions_for(3, 92)  # 91 points
        12
    """
    divisions = 1
    while math.comb(objectives + divisions, objectives - 1) <= population:
        divisions += 1
    return divisions


@dataclass(frozen=True)
class NSGASettings:
    """The settings of `eaNSGA` in a configuration.

    The default crowding degrees are meant for runs of some dozens of evaluations. They are lower than the usual ones
    (15 and 20), which are meant for thousands; ``benchmarks/README.md`` has results of both.

    Attributes:
        cxpb: Probability that a pair mates (simulated binary crossover), in [0, 1].
        mutpb: Probability that a child is mutated (polynomial mutation), in [0, 1].
        indpb: Probability that a gene of a mutated child is changed; by default 1 / genes.
        crossover_eta: Crowding degree of the crossover, above 0: the higher, the closer children are to their parents.
        mutation_eta: Crowding degree of the mutation, above 0: the higher, the smaller the changes.
        divisions: nsga-iii: divisions of each objective's axis between reference points; by default as many as yield
            no more points than there are individuals.

    Raises:
        InputError: A value is out of its range.
    """

    cxpb: float = 0.9
    mutpb: float = 1.0
    indpb: float | None = None
    crossover_eta: float = 2.0
    mutation_eta: float = 5.0
    divisions: int | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> NSGASettings:
        """Read settings by name.

        Raises:
            InputError: There is no such setting, or its value is out of range.

        Example:
            >>> NSGASettings.of({"eta": 10})
            Traceback (most recent call last):
                ...
            deap_hpo.errors.InputError: nsga has no argument 'eta'. There are: cxpb, mutpb, indpb, crossover_eta, \
mutation_eta, divisions.
        """
        check_arguments("nsga", arguments, [field.name for field in fields(cls)])
        return cls(**arguments)

    def __post_init__(self) -> None:
        check_range("cxpb", self.cxpb, 0, 1)
        check_range("mutpb", self.mutpb, 0, 1)
        if self.indpb is not None:
            check_range("indpb", self.indpb, 0, 1)
        for name in ("crossover_eta", "mutation_eta"):
            value = getattr(self, name)
            if not (is_number(value) and 0 < value < math.inf):
                raise InputError(f"{name} must be a finite number above 0; got {value!r}.")
        if self.divisions is not None:
            check_integer("divisions", self.divisions, 1)

    def register(self, toolbox: base.Toolbox, algorithm: str, *, genes: int, objectives: int, population: int) -> None:
        """Register `mate`, `mutate`, `mating` and `select`.

        Args:
            toolbox: The toolbox.
            algorithm: "nsga-ii" or "nsga-iii".
            genes: Length of a genome.
            objectives: Number of objectives, at least 2.
            population: Number of individuals.

        Raises:
            InputError: There is a single objective, the population is smaller than 4, or there is no such algorithm.
        """
        if algorithm not in MULTI_OBJECTIVE:
            raise InputError(f"algorithm must be one of {', '.join(MULTI_OBJECTIVE)}; got {algorithm!r}.")
        if objectives < 2:
            raise InputError(f"{algorithm} needs at least 2 objectives; got {objectives}.")
        if population < 4:
            raise InputError(f"population must be at least 4 for {algorithm}; got {population}.")
        bounds = {"low": 0.0, "up": 1.0}
        toolbox.register("mate", tools.cxSimulatedBinaryBounded, eta=self.crossover_eta, **bounds)
        indpb = 1 / genes if self.indpb is None else self.indpb
        toolbox.register("mutate", tools.mutPolynomialBounded, eta=self.mutation_eta, indpb=indpb, **bounds)
        for operator in ("mate", "mutate"):
            toolbox.decorate(operator, lineage(operator))
        if algorithm == "nsga-ii":
            toolbox.register("mating", selCrowdedTournament)
            toolbox.register("select", selDistinct, select=tools.selNSGA2)
        else:
            divisions = self.divisions or divisions_for(objectives, population)
            points = tools.uniform_reference_points(objectives, divisions)
            toolbox.register("mating", selFeasibleTournament)
            niched = partial(selFeasibleFirst, select=tools.selNSGA3WithMemory(points))
            toolbox.register("select", selDistinct, select=niched)
