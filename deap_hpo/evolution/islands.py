"""Islands: several populations that evolve separately and exchange individuals at intervals."""

from __future__ import annotations

from typing import Any

from deap import base, tools

from deap_hpo.checks import check_probability
from deap_hpo.evolution.algorithms import evaluate_invalid, next_generation


def eaIslands(
    islands: list[list[Any]],
    toolbox: base.Toolbox,
    cxpb: float,
    mutpb: float,
    ngen: int,
    stats: tools.Statistics | None = None,
    halloffame: tools.HallOfFame | None = None,
    verbose: bool = __debug__,
    *,
    migration_interval: int = 2,
) -> tuple[list[list[Any]], tools.Logbook]:
    """Evolve islands, each as `deap_hpo.evolution.algorithms.eaTruncation` does, with migration between them.

    The pseudocode goes as follows::

        evaluate(all islands)
        for g in range(1, ngen + 1):
            if g % migration_interval == 0:
                migrate(islands)
            for island in islands:
                island = parents + breed(parents), with parents = select(island, len(island) // 2)
            evaluate(all islands)

    All islands are evaluated in one call of ``toolbox.map``, so that the children of all islands can be evaluated in
    parallel.

    Args:
        islands: Populations of at least 4 individuals each; replaced in place.
        toolbox: Has `clone`, `map`, `evaluate`, `select`, `mate`, `mutate` and `migrate` registered; `migrate` takes
            the list of islands, as ``deap.tools.migRing`` does.
        cxpb: Probability of mating a pair, in [0, 1].
        mutpb: Probability of mutating a child, in [0, 1].
        ngen: Number of generations after the initial populations, which are generation 0; at least 0.
        stats: Statistics of each generation over all islands, for the logbook.
        halloffame: Updated with each generation.
        verbose: Whether to print the logbook as it grows.
        migration_interval: Generations between migrations, at least 1.

    Returns:
        The islands, and a logbook with the columns `gen`, `nevals`, and those of `stats`.

    Raises:
        ValueError: There is no island, one has fewer than 4 individuals, or another argument is out of its range.

    Example:
        >>> import random
        >>> from deap_hpo import Float, Space, make_toolbox
        >>> random.seed(3)
        >>> toolbox = make_toolbox(Space({"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0)}))
        >>> toolbox.register("evaluate", lambda genome: (sum((gene - 0.5) ** 2 for gene in genome),))
        >>> toolbox.register("migrate", tools.migRing, k=1, selection=tools.selBest)
        >>> islands, logbook = eaIslands(
        ...     [toolbox.population(n=6) for _ in range(3)], toolbox, 1.0, 0.5, ngen=12, verbose=False
        ... )
        >>> min(individual.fitness.values for island in islands for individual in island)[0] < 0.01
        True
        >>> logbook.select("nevals")[:3]
        [18, 9, 9]
    """
    if not islands or min(map(len, islands)) < 4:
        raise ValueError(f"islands must be populations of at least 4; got sizes {[len(island) for island in islands]}.")
    if ngen < 0 or migration_interval < 1:
        raise ValueError(
            f"ngen must be at least 0 and migration_interval at least 1; got {ngen} and {migration_interval}."
        )
    check_probability("cxpb", cxpb)
    check_probability("mutpb", mutpb)
    logbook = tools.Logbook()
    logbook.header = ["gen", "nevals"] + (stats.fields if stats else [])

    for gen in range(ngen + 1):
        if gen > 0:
            if gen % migration_interval == 0:
                toolbox.migrate(islands)
                # migRing finds individuals by equality: if some are equal, it may put one object on two islands.
                islands[:] = [[toolbox.clone(individual) for individual in island] for island in islands]
            for island in islands:
                island[:] = next_generation(island, toolbox, cxpb, mutpb)
        everybody = [individual for island in islands for individual in island]

        nevals = evaluate_invalid(everybody, toolbox)

        if halloffame is not None:
            halloffame.update(everybody)
        logbook.record(gen=gen, nevals=nevals, **(stats.compile(everybody) if stats else {}))
        if verbose:
            print(logbook.stream)

    return islands, logbook
