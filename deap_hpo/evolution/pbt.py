"""Population-based training: hyperparameters evolve while the networks train, and children inherit weights."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from deap import base, tools

from deap_hpo.checks import check_arguments, check_integer, check_probability, check_range
from deap_hpo.errors import InputError, hint
from deap_hpo.evolution.individual import lineage
from deap_hpo.evolution.operators import mutBoundedResample, mutPerturb, selTruncation
from deap_hpo.search_space.space import Space


def eaPBT(
    population: list[Any],
    toolbox: base.Toolbox,
    cxpb: float,
    mutpb: float,
    ngen: int,
    stats: tools.Statistics | None = None,
    halloffame: tools.HallOfFame | None = None,
    verbose: bool = __debug__,
    *,
    interval: int = 1,
    kept: Collection[int] = (),
) -> tuple[list[Any], tools.Logbook]:
    """Train a population in which losers take over the weights of winners and vary their hyperparameters.

    The pseudocode goes as follows::

        train(population, interval epochs)
        for g in range(ngen):
            for member, source in zip(population, exploit(population)):
                child = clone(source), with the weights and the optimiser state of the source
                if source is not member:
                    child = mutate(mate(child, member)), but for the genes that are kept
            train(children, interval epochs more)
            population = children

    So a network's hyperparameters become a schedule, and the best network is the last of a lineage.
    `deap_hpo.records.entries.training_path` gives this lineage, `deap_hpo.analysis.lineages` a table of all of them.
    No epoch is trained twice.

    Args:
        population: Individuals, at least 2; replaced in place.
        toolbox: Has `clone`, `map`, `evaluate`, `exploit`, `mate` and `mutate` registered; `map` is `Study.map`, and
            `evaluate` continues from checkpoints, as trainers do. `exploit` gives for each member the one whose weights
            it continues with: itself, or a better one (`exploitTruncation`, `exploitTournament`).
        cxpb: Probability that a child with another member's weights mates with the member it replaces.
        mutpb: Probability that such a child is mutated.
        ngen: Number of generations after the first, which is generation 0; at least 0.
        stats: Statistics of each generation, for the logbook.
        halloffame: Updated with each generation.
        verbose: Whether to print the logbook as it grows.
        interval: Epochs of a generation, at least 1.
        kept: Positions of the genes that mating and mutation do not change, so that a child has them from the source of
            its weights: those of the architecture, which `deap_hpo.training.inheritance.architecture_genes` finds. They
            are drawn once, for the first population; afterwards selection alone acts on them.

    Returns:
        The population, and a logbook with the columns `gen`, `epochs` (trained so far by each), `nevals`, `inherited`
        (number of children with another member's weights), and those of `stats`.

    Raises:
        ValueError: An argument is out of its range, or ``toolbox.map`` is not a study's.

    Source:
        Jaderberg et al., "Population based training of neural networks" (arXiv:1711.09846), algorithm 1, with all
        members in step.

    Example:
        See `examples/population_based_training.py`.
    """
    if len(population) < 2 or ngen < 0 or interval < 1:
        raise ValueError(
            "population must be at least 2, ngen at least 0 and interval at least 1; "
            f"got {len(population)}, {ngen} and {interval}."
        )
    check_probability("cxpb", cxpb)
    check_probability("mutpb", mutpb)
    logbook = tools.Logbook()
    logbook.header = ["gen", "epochs", "nevals", "inherited"] + (stats.fields if stats else [])

    for gen in range(ngen + 1):
        inherited = 0
        if gen > 0:
            sources = toolbox.exploit(population)
            inherited = sum(source is not member for source, member in zip(sources, population, strict=True))
            population[:] = next_generation(population, sources, toolbox, cxpb, mutpb, kept)
        for individual in population:
            individual.epochs = (gen + 1) * interval

        for individual, values in zip(population, toolbox.map(toolbox.evaluate, population), strict=True):
            individual.fitness.values = values
        if not population[0].origin:
            raise ValueError("toolbox.map must be the map of a Study, which keeps what the networks have learnt.")

        if halloffame is not None:
            halloffame.update(population)
        record = stats.compile(population) if stats else {}
        logbook.record(gen=gen, epochs=(gen + 1) * interval, nevals=len(population), inherited=inherited, **record)
        if verbose:
            print(logbook.stream)

    return population, logbook


def next_generation(
    population: Sequence[Any],
    sources: Sequence[Any],
    toolbox: base.Toolbox,
    cxpb: float,
    mutpb: float,
    kept: Collection[int] = (),
) -> list[Any]:
    """Return a child of each source, which continues its weights; a child with another member's weights also varies."""
    children = []
    for member, source in zip(population, sources, strict=True):
        child = toolbox.clone(source)
        if source is not member:
            if random.random() < cxpb:
                child, _ = toolbox.mate(child, toolbox.clone(member))
            if random.random() < mutpb:
                (child,) = toolbox.mutate(child)
            for i in kept:
                child[i] = source[i]
        child.start_from = source.origin[0]
        del child.fitness.values
        children.append(child)
    return children


def exploitTruncation(population: Sequence[Any], share: float = 0.25) -> list[Any]:
    """Let the worst share, and all without finite values, continue from random members of the best share.

    Args:
        population: Evaluated individuals, at least 2.
        share: Share of the population at either end, in (0, 0.5]; at least one individual.

    Returns:
        For each member the one to continue from, itself or a better one.

    Raises:
        ValueError: The share is out of range.

    Source: Jaderberg et al. 2017, section 4.1.1 ("truncation selection"), with a share of 0.2.

    Example:
        >>> from deap_hpo import Individual
        >>> population = [Individual([gene]) for gene in (0.1, 0.2, 0.3, 0.4)]
        >>> for individual, loss in zip(population, (0.5, 0.9, 0.3, 0.7)):
        ...     individual.fitness.values = (loss,)
        >>> exploitTruncation(population)
        [[0.1], [0.3], [0.3], [0.4]]
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"share must be above 0 and at most 0.5; got {share}.")
    count = max(1, int(share * len(population)))
    ranked = selTruncation(population, len(population))
    best = [one for one in ranked[:count] if _is_finite(one)]
    losers = {id(one) for one in ranked if not _is_finite(one)} | {id(one) for one in ranked[-count:]}
    return [random.choice(best) if best and id(member) in losers else member for member in population]


def exploitTournament(population: Sequence[Any]) -> list[Any]:
    """Let each member continue from a random opponent if that one is better, and from itself otherwise.

    Source: Jaderberg et al. 2017, section 4.1.1 ("binary tournament").

    Example:
        >>> from deap_hpo import Individual
        >>> population = [Individual([0.1]), Individual([0.2])]
        >>> population[0].fitness.values, population[1].fitness.values = (0.5,), (0.4,)
        >>> exploitTournament(population)
        [[0.2], [0.2]]
    """
    sources = []
    for i, member in enumerate(population):
        opponent = random.choice([*population[:i], *population[i + 1 :]])
        sources.append(opponent if opponent.fitness > member.fitness else member)
    return sources


def _is_finite(individual: Any) -> bool:
    return all(map(math.isfinite, individual.fitness.values))


EXPLOITS: dict[str, Callable[..., list[Any]]] = {"truncation": exploitTruncation, "tournament": exploitTournament}
EXPLORATIONS: dict[str, Callable[..., tuple[Any]]] = {"perturb": mutPerturb, "resample": mutBoundedResample}


@dataclass(frozen=True)
class PBTSettings:
    """The settings of `eaPBT` in a configuration.

    Attributes:
        interval: Epochs of a generation, at least 1.
        exploit: "truncation" or "tournament".
        share: truncation: share of the population at either end, in (0, 0.5].
        explore: "perturb" (steps up or down) or "resample" (new uniform draws).
        step: perturb: size of a step as a share of the range (of the logarithm, on a log scale), in (0, 1].
        indpb: Probability that a gene is changed; by default 1 for perturb and 0.25 for resample.
        cxpb: Probability that a child with another member's weights mates with the member that it replaces.
        mutpb: Probability that a child with another member's weights is mutated.
        kept: Names of the hyperparameters that a child takes unchanged from the source of its weights, for example
            because the weights fit no other values.
        varied: Names of arguments of the network's factory that evolve, such as the strength of an augmentation. By
            default only dropout rates do; the weights must fit all values.

    Raises:
        InputError: A value is out of its range.
    """

    interval: int = 1
    exploit: str = "truncation"
    share: float = 0.25
    explore: str = "perturb"
    step: float = 0.1
    indpb: float | None = None
    cxpb: float = 0.0
    mutpb: float = 1.0
    kept: Sequence[str] = ()
    varied: Sequence[str] = ()

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> PBTSettings:
        """Read settings by name.

        Raises:
            InputError: There is no such setting, or its value is out of range.

        Example:
            >>> PBTSettings.of({"intervall": 2})
            Traceback (most recent call last):
                ...
            deap_hpo.errors.InputError: pbt has no argument 'intervall'. Did you mean 'interval'?
        """
        check_arguments("pbt", arguments, [field.name for field in fields(cls)])
        return cls(**arguments)

    def __post_init__(self) -> None:
        check_integer("interval", self.interval, 1)
        for which, names in (("kept", self.kept), ("varied", self.varied)):
            if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
                raise InputError(f"{which} must be a list of names of hyperparameters; got {names!r}.")
        for name, known in (("exploit", EXPLOITS), ("explore", EXPLORATIONS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}.")
        for name, low, high in _RANGES:
            if name != "indpb" or self.indpb is not None:
                check_range(name, getattr(self, name), low, high)

    def kept_genes(self, space: Space) -> tuple[int, ...]:
        """Give the positions of the hyperparameters that are kept.

        Raises:
            InputError: One is not in the space.

        Example:
            >>> from deap_hpo import Float, Int
            >>> PBTSettings(kept=["width"]).kept_genes(Space({"lr": Float(1e-3, 1.0, log=True), "width": Int(8, 64)}))
            (1,)
        """
        names = list(space)
        for which, name in [*(("kept", one) for one in self.kept), *(("varied", one) for one in self.varied)]:
            if name not in names:
                raise InputError(f"{which}: the space has no {name!r}. {hint(name, names)}")
        return tuple(names.index(name) for name in self.kept)

    def register(self, toolbox: base.Toolbox, *, population: int) -> None:
        """Register `exploit` and `mutate`.

        Args:
            toolbox: The toolbox.
            population: Number of individuals.

        Raises:
            InputError: The population is smaller than 2.
        """
        if population < 2:
            raise InputError(f"population must be at least 2 for pbt; got {population}.")
        shares = {"share": self.share} if self.exploit == "truncation" else {}
        toolbox.register("exploit", EXPLOITS[self.exploit], **shares)
        indpb = self.indpb if self.indpb is not None else {"perturb": 1.0, "resample": 0.25}[self.explore]
        steps = {"step": self.step} if self.explore == "perturb" else {}
        toolbox.register("mutate", EXPLORATIONS[self.explore], low=0.0, up=1.0, indpb=indpb, **steps)
        toolbox.decorate("mutate", lineage("mutate"))


_RANGES = [("share", 1e-6, 0.5), ("step", 1e-6, 1), ("indpb", 0, 1), ("cxpb", 0, 1), ("mutpb", 0, 1)]
