"""Stopping a study early: at a target, when there is no more progress, or when nothing is left to evaluate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deap_hpo.budget import BudgetSpent
from deap_hpo.checks import check_integer, check_optional_integer, is_number
from deap_hpo.errors import InputError
from deap_hpo.evaluation import sign_of
from deap_hpo.records.entries import Entry
from deap_hpo.study import Study
from deap_hpo.wording import plural

_MOST_IDLE = 500  # evaluations in a row of which none is done: even one in a hundred would have come by then
_MOST_EMPTY = 50  # generations in a row


class StoppedEarly(BudgetSpent):
    """The study has reached its target, has made no progress for long enough, or has nothing left to evaluate."""


class EarlyStopping:
    """A study's callback that ends it, after a whole generation, by raising `StoppedEarly` from `Study.map`.

    It is also called for replayed generations, and so stops a resumed study where it stopped before; with another
    target or patience, the study continues. The other callbacks are called for that generation before it ends.

    Args:
        target: A value of the first objective to reach, or None.
        patience: Generations without a better value (with several objectives: without a new point on the Pareto front)
            after which to stop, at least 1, or None. For methods with brackets, such as Hyperband, a rung is a
            generation.
        stages: Batches per generation, at least 1: as many as `StagedMap` has stages.

    Raises:
        InputError: `target` is not finite, `patience` or `stages` is below 1, or neither target nor patience is given.

    Example:
        >>> from deap_hpo import Float, Space, make_toolbox
        >>> space = Space({"x": Float(-5.0, 5.0)})
        >>> with Study(space, seed=1, callbacks=[EarlyStopping(target=0.5)]) as study:
        ...     toolbox = make_toolbox(space)
        ...     for _ in range(100):
        ...         _ = study.map(lambda params: params["x"] ** 2, toolbox.population(n=4))
        Traceback (most recent call last):
            ...
        deap_hpo.stopping.StoppedEarly: The study 'study' reached its target 0.5 in generation 1, with 0.2134.
    """

    def __init__(self, target: float | None = None, patience: int | None = None, *, stages: int = 1) -> None:
        if target is None and patience is None:
            raise InputError("EarlyStopping needs a target or a patience; got neither.")
        if target is not None and not (is_number(target) and math.isfinite(target)):
            raise InputError(f"target must be a finite number, or None; got {target!r}.")
        check_optional_integer("patience", patience, 1)
        self.target = target
        self.patience = patience
        self.stages = check_integer("stages", stages, 1)
        self._batch: list[Entry] = []  # evaluations of a generation with stages still to come
        self._best = math.inf  # signed: smaller is better
        self._waited = 0
        self._front: list[Entry] = []

    def on_generation(self, study: Study, entries: Sequence[Entry]) -> None:
        """Look at a complete generation, and raise if it must be the last."""
        self._batch += entries
        if study.generation % self.stages:
            return
        entries, self._batch = self._batch, []
        generation = study.generation // self.stages
        sign = sign_of(study.directions[0])
        reached = [sign * entry.evaluation.value for entry in entries if entry.evaluation.feasible]
        best = min([self._best, *reached])
        progress = best < self._best if len(study.directions) == 1 else self._front_moved(study, entries)
        self._waited = 0 if progress else self._waited + 1
        self._best = best
        if self.target is not None and best <= sign * self.target:
            raise StoppedEarly(
                f"The study {study.name!r} reached its target {self.target:g} in generation {generation}, "
                f"with {sign * best:.4g}.",
                "target",
            )
        if self.patience is not None and self._waited >= self.patience:
            raise StoppedEarly(
                f"The study {study.name!r} stopped in generation {generation}: nothing better for "
                f"{plural(self.patience, 'generation')}.",
                "patience",
            )

    def _front_moved(self, study: Study, entries: Sequence[Entry]) -> bool:
        from deap_hpo.analysis.fronts import pareto_front

        before, self._front = self._front, pareto_front([*self._front, *entries], study.directions)
        return {one.evaluation.values for one in self._front} != {one.evaluation.values for one in before}


class Exhaustion:
    """A study's callback that ends it when nothing new is proposed any more.

    It raises `StoppedEarly` after a generation in which nothing was done, or proposed, if every configuration of a
    finite space has been proposed; otherwise after 500 evaluations in a row that were not done, or 50 empty
    generations. Evaluations are not done if they duplicate earlier ones, as those of an algorithm that has converged,
    or are infeasible by a value known beforehand. They cost nothing, so that a budget of evaluations or epochs would
    never be used up. A study whose record continues beyond this point, because an earlier version made it, is not
    stopped.

    Example:
        >>> from deap_hpo import Categorical, optimize
        >>> study = optimize(len, {"x": Categorical(["a", "b"])}, algorithm="random", population=4, max_evaluations=10)
        >>> len(study.entries)
        8
    """

    def __init__(self) -> None:
        self._goes_on = False
        self._seen = 0  # evaluations
        self._idle = self._empty = 0  # evaluations and empty generations since the last one that was done

    def on_generation(self, study: Study, entries: Sequence[Entry]) -> None:
        """Look at a complete generation, and raise if it shows that nothing is left."""
        from deap_hpo.strategies.genes import is_exhausted  # imports SciPy

        busy = any(entry.epochs is not None or study.cost_of(entry) > 0 for entry in entries)
        self._seen += len(entries)
        self._idle = 0 if busy else self._idle + len(entries)
        self._empty = 0 if busy or entries else self._empty + 1
        if len(study.record) == self._seen and (self._idle >= _MOST_IDLE or self._empty >= _MOST_EMPTY):
            raise StoppedEarly(
                f"The study {study.name!r} ended after {plural(self._seen, 'evaluation')}: {self._why_idle(study)}.",
                "space",
            )
        if busy or self._goes_on or study.space is None:
            return
        last = entries[-1].number if entries else self._seen - 1
        known = [entry for entry in study.record if entry.number <= last]
        if not entries and any(entry.epochs is not None for entry in known):  # these may be continued later
            return
        if not is_exhausted(study.space, (entry.genes for entry in known)):
            return
        self._goes_on = len(known) < len(study.record)
        if not self._goes_on:
            raise StoppedEarly(
                f"The study {study.name!r} ended after {len(known)} evaluations: every configuration of its space has "
                "been evaluated.",
                "space",
            )

    def _why_idle(self, study: Study) -> str:
        """Say why the latest evaluations were not done."""
        if self._empty >= _MOST_EMPTY:
            return f"nothing more was proposed in {self._empty} generations"
        latest = sorted(study.record, key=lambda entry: entry.number)[-self._idle :]
        why = "were of configurations that it had evaluated before"
        if any(entry.evaluation.status == "infeasible" for entry in latest):
            why = "repeated earlier ones, or were not done because they break a constraint"
        return f"the last {self._idle} {why}"
