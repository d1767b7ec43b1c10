"""The workload of a run, known before it runs: evaluations and the epochs that they add, batch by batch."""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice, pairwise, starmap
from operator import attrgetter
from typing import Any, NamedTuple

from deap_hpo.configuration.algorithm import strategy_for
from deap_hpo.configuration.loops import PBTLoop, loop_of
from deap_hpo.configuration.settings import EvolutionConfig
from deap_hpo.errors import InputError, warn
from deap_hpo.search_space.space import Space
from deap_hpo.seeding import generators_kept


@dataclass(frozen=True)
class Batch:
    """Evaluations that are asked for at once: a generation, or one of its stages.

    Attributes:
        evaluations: Maximum number of evaluations.
        epochs: Maximum number of epochs that each adds; 1 if the evaluator has no epochs.
        least: Minimum number of epochs that each adds, if it depends on the outcomes; else None.
    """

    evaluations: int
    epochs: int
    least: int | None = None

    @property
    def fewest(self) -> int:
        """The fewest epochs that each evaluation adds, whatever the outcomes."""
        return self.least or self.epochs


class Work(NamedTuple):
    """An amount of work.

    Attributes:
        evaluations: Number of evaluations.
        epochs: Epochs that they add in total.
    """

    evaluations: int
    epochs: int


class _Sum(NamedTuple):
    """Some batches together: their evaluations, the most epochs that these add, and the fewest."""

    evaluations: int = 0
    epochs: int = 0
    fewest: int = 0

    def plus(self, batch: Batch) -> _Sum:
        """Give the sum with a further batch."""
        count = batch.evaluations
        return _Sum(self.evaluations + count, self.epochs + count * batch.epochs, self.fewest + count * batch.fewest)


@dataclass(frozen=True)
class Workload:
    """The most work that a run will ask for.

    The actual work is smaller when a configuration repeats, a training diverges or stops at a stage, or the run stops
    early. (Only Hyperband and similar methods may need more evaluations: if a whole rung diverges, the next bracket
    begins a generation sooner.)

    Attributes:
        batches: The batches in order, as if there were no budget.
        stages: Number of batches per generation.
        max_evaluations: Evaluations after which the run ends, not counting repeats of earlier ones.
        max_epochs: Epochs after which the run ends.
        goes_on: Whether further generations like the last follow as long as the budget lasts. They are needed if all
            evaluations of some generation cost nothing, because they are repeats or infeasible.

    Example:
        >>> from deap_hpo.configuration.config import load_config
        >>> config = load_config("quick", ["evolution.stages=[1, 2]", "evolution.stopping=halving"])
        >>> work = workload(config.search_space, config.evolution, epochs=2)
        >>> [(batch.evaluations, batch.epochs) for batch in work.batches]
        [(4, 1), (2, 1), (4, 1), (2, 1), (4, 1), (2, 1)]
        >>> work.evaluations, work.epochs, work.left(after=4, evaluations=12, epochs=12)
        (18, 18, Work(evaluations=6, epochs=6))
    """

    batches: tuple[Batch, ...]
    stages: int = 1
    max_evaluations: int | None = None
    max_epochs: int | None = None
    goes_on: bool = False

    @cached_property
    def generations(self) -> int:
        """Generations of the run that the budget allows."""
        return -(-sum(batch.evaluations > 0 for batch in self.affordable()) // self.stages)

    @property
    def evaluations(self) -> int:
        """Evaluations of the whole run."""
        return self.left().evaluations

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return self.left().epochs

    def affordable(self, after: int = 0, evaluations: int = 0, epochs: int = 0) -> Iterator[Batch]:
        """Yield the batches after the first `after`, as large as the rest of the budget allows."""
        evaluations_left, epochs_left = self._budgets_left(evaluations, epochs)
        for batch in islice(self.batches, after, None):
            count = max(0, min(batch.evaluations, evaluations_left, epochs_left // batch.fewest))
            yield Batch(count, batch.epochs, batch.least)
            if count < batch.evaluations:
                return
            evaluations_left -= count
            epochs_left -= count * batch.fewest

    def left(self, after: int = 0, evaluations: int = 0, epochs: int = 0) -> Work:
        """Return the work that is left after `after` batches, which took `evaluations` and `epochs`."""
        after = min(after, len(self.batches), self._planned(evaluations, epochs) + after % self.stages)
        evaluations_left, epochs_left = self._budgets_left(evaluations, epochs)
        start = self._sums[after]
        # Progress asks this after every evaluation, so the batches that the budget allows whole are found by bisection.
        whole = min(
            bisect_right(self._sums, start.evaluations + evaluations_left, key=attrgetter("evaluations")),
            bisect_right(self._sums, start.fewest + epochs_left, key=attrgetter("fewest")),
        )
        whole = max(after, whole - 1)
        end = self._sums[whole]
        done = end.evaluations - start.evaluations
        part = next(self.affordable(whole, evaluations + done, epochs + end.fewest - start.fewest), Batch(0, 0))
        most = end.epochs - start.epochs + part.evaluations * part.epochs
        return Work(done + part.evaluations, min(most, max(0, epochs_left)))

    def _budgets_left(self, evaluations: int, epochs: int) -> tuple[int, int]:
        """Give the rest of the two budgets, of which so many evaluations and epochs are used."""
        return (self.max_evaluations or sys.maxsize) - evaluations, (self.max_epochs or sys.maxsize) - epochs

    def _planned(self, evaluations: int, epochs: int) -> int:
        """Number of batches after which those that are left suffice for the rest of the budget."""
        needed = self.stages * (min(self._budgets_left(evaluations, epochs)) + 1) if self.goes_on else 0
        return max(0, len(self.batches) - needed)

    @cached_property
    def _sums(self) -> list[_Sum]:
        """The sums of the first 0, 1, 2, ... batches."""
        return list(accumulate(self.batches, _Sum.plus, initial=_Sum()))


def workload(
    space: Space, evolution: EvolutionConfig, *, epochs: int | None = None, continues: bool = True, seed: int = 0
) -> Workload:
    """Return the work that a run will ask for.

    Args:
        space: The search space.
        evolution: The algorithm and its budgets.
        epochs: Epochs of a whole training; None if the evaluator has none.
        continues: Whether a training in parts continues where it stopped, rather than starts from the beginning.
        seed: Seed of the run; the sizes do not depend on it.

    Raises:
        InputError: The algorithm has no such argument, or needs one that is missing; or the budget of epochs is too
            small to train anything.

    Warns:
        DeapHPOWarning: The budget of epochs is too small for a whole training.
    """
    # Generations of repeats alone cost nothing; the most that a run may come to has none of them.
    budgets = [budget + 1 for budget in (evolution.max_evaluations, evolution.max_epochs) if budget is not None]
    most = min([evolution.generations, *budgets])
    generations = islice(_generations(space, evolution, epochs, continues, seed), most)
    work = Workload(
        batches=tuple(stage for batch in generations for stage in _stages(batch, evolution, continues)),
        stages=len(evolution.stages) or 1,
        max_evaluations=evolution.max_evaluations,
        max_epochs=evolution.max_epochs,
        goes_on=most < evolution.generations,
    )
    if not work.evaluations:
        raise InputError(
            f"evolution.max_epochs must be at least {work.batches[0].fewest}, the epochs that the first training "
            f"takes; got {evolution.max_epochs}."
        )
    _check_budget(space, evolution, epochs)
    return work


def _check_budget(space: Space, evolution: EvolutionConfig, epochs: int | None) -> None:
    """Warn of a budget in which no whole training fits, of a method that trains in parts."""
    whole = evolution.stages[-1] if evolution.stages else epochs
    if evolution.max_epochs is None or whole is None:
        return
    needed = whole
    if isinstance(loop := loop_of(space, evolution), PBTLoop):
        interval = loop.settings.interval
        rounds = math.ceil(whole / interval)
        if rounds > evolution.generations:
            return  # the budget is not the reason
        needed = interval * (evolution.population * (rounds - 1) + 1)  # all members take turns
    if evolution.max_epochs < needed:
        takes = f"{whole} epochs" if needed == whole else f"{whole} epochs; of the population, {needed}"
        warn(
            f"max_epochs = {evolution.max_epochs} is too few for one whole training ({takes}), so that the result will "
            "be a partial one: give more, or shorter trainings"
        )


def _generations(
    space: Space, evolution: EvolutionConfig, epochs: int | None, continues: bool, seed: int
) -> Iterator[Batch]:
    """Yield the generations of a run without end, as if there were no budget; once all is proposed, they are empty."""
    whole = epochs or 1
    if loop := loop_of(space, evolution):
        yield from starmap(Batch, loop.batches(whole))
        return
    if evolution.enqueue and not evolution.steady_state:
        yield Batch(len(evolution.enqueue), whole)
    with generators_kept():
        strategy: Any = strategy_for(space, evolution.model_copy(update={"enqueue": []}), seed, epochs)
    if hasattr(strategy, "batches"):
        yield from starmap(Batch, strategy.batches(continues))
        return
    with generators_kept():
        size = evolution.population if evolution.steady_state else len(strategy.generate(list))
    left = getattr(strategy, "size", sys.maxsize)
    while True:
        yield Batch(min(size, left), whole)
        left -= min(size, left)


def _stages(generation: Batch, evolution: EvolutionConfig, continues: bool) -> Iterator[Batch]:
    """Yield the batches of a generation: itself, or one for each stage."""
    if not evolution.stages:
        yield generation
        return
    going = generation.evaluations
    for before, epochs in pairwise([0, *evolution.stages]):
        yield Batch(going, epochs - before if continues else epochs)
        if evolution.stopping == "halving":
            going = math.ceil(going / 2)
