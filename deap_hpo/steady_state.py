"""Steady-state evolution: a child is bred whenever an evaluation is finished; nobody waits for the slowest."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter
from time import perf_counter
from typing import Any

from deap import base, tools

from deap_hpo.budget import BudgetSpent
from deap_hpo.checks import check_probability
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import Evaluate
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.interruption import interruptions_kept
from deap_hpo.records.entries import Entry, check_unchanged, tell_outcome, values_for, with_worst_values
from deap_hpo.records.record import ReplayError
from deap_hpo.seeding import generators_kept
from deap_hpo.study import Study


def eaSteadyState(
    population: list[Any],
    toolbox: base.Toolbox,
    cxpb: float,
    mutpb: float,
    nevals: int,
    stats: tools.Statistics | None = None,
    halloffame: tools.HallOfFame | None = None,
    verbose: bool = __debug__,
) -> tuple[list[Any], tools.Logbook]:
    """Evolve a population of the best so far, one child at a time.

    The pseudocode goes as follows::

        start the evaluation of the whole population
        whenever an evaluation is finished:
            put the individual among the survivors; drop the worst if there are too many
            start the evaluation of a child of two of the survivors' better half

    Args:
        population: Individuals, at least 4; replaced in place by the survivors, best first. Half of them are under
            evaluation at any time: it should be at least twice the number of workers.
        toolbox: Has `clone`, `each`, `evaluate`, `select`, `mate` and `mutate` registered; `each` is
            `SteadyStudy.each`.
        cxpb: Probability of mating the parents, in [0, 1].
        mutpb: Probability of mutating the child, in [0, 1].
        nevals: Evaluations in all, the first population's included.
        stats: Statistics of the survivors, for the logbook; `SteadyStudy.statistics` for instance.
        halloffame: Updated with each evaluation.
        verbose: Whether to print the logbook as it grows.

    Returns:
        The population, and a logbook with a row whenever as many evaluations as the population is large have been
        finished, and for the rest: `gen`, `nevals`, and the columns of `stats`.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> from deap_hpo import Float, Space, make_toolbox
        >>> space = Space({"x": Float(-5.0, 5.0), "y": Float(-5.0, 5.0)})
        >>> with SteadyStudy(space, seed=1) as study:
        ...     toolbox = make_toolbox(space, indpb=0.5)
        ...     toolbox.register("evaluate", lambda params: params["x"] ** 2 + params["y"] ** 2)
        ...     toolbox.register("each", study.each)
        ...     start = toolbox.population(n=8)
        ...     population, logbook = eaSteadyState(start, toolbox, 0.5, 1.0, 80, study.statistics(), verbose=False)
        >>> population[0].fitness.values[0] < 0.5, len(study.record), logbook[-1]["gen"], logbook[-1]["nevals"]
        (True, 80, 9, 8)
    """
    size = len(population)
    if size < 4 or nevals < size:
        raise ValueError(f"population must be at least 4, and nevals at least that; got {size} and {nevals}.")
    check_probability("cxpb", cxpb)
    check_probability("mutpb", mutpb)
    logbook = tools.Logbook()
    logbook.header = ["gen", "nevals"] + (stats.fields if stats else [])
    individuals = list(population)  # `each` takes up what is added
    survivors: list[Any] = []
    for finished, (individual, values) in enumerate(toolbox.each(toolbox.evaluate, individuals), 1):
        individual.fitness.values = values
        if halloffame is not None:
            halloffame.update([individual])
        survivors.append(individual)
        if len(survivors) > size:
            del survivors[min(range(len(survivors)), key=lambda position: survivors[position].fitness)]
        if len(survivors) >= size // 2 and len(individuals) < nevals:
            individuals.append(_child(survivors, toolbox, cxpb, mutpb))
        if finished % size == 0 or finished == nevals:
            row = stats.compile(survivors) if stats else {}
            logbook.record(gen=len(logbook), nevals=finished - size * len(logbook), **row)
            if verbose:
                print(logbook.stream)
    population[:] = sorted(survivors, key=attrgetter("fitness"), reverse=True)
    return population, logbook


def _child(survivors: list[Any], toolbox: base.Toolbox, cxpb: float, mutpb: float) -> Any:
    parents = toolbox.select(survivors, max(2, len(survivors) // 2))
    first, second = (toolbox.clone(parent) for parent in random.sample(parents, 2))
    if random.random() < cxpb:
        first, _ = toolbox.mate(first, second)
    if random.random() < mutpb:
        (first,) = toolbox.mutate(first)
    del first.fitness.values
    return first


class SteadyStudy(Study):
    """A study that gives each evaluation back as it is finished, and takes new ones meanwhile.

    The order in which evaluations are finished depends on how fast they are; it is part of the record, and replayed
    from there. So a record determines the evolution that made it, and a run that was interrupted goes on as one whose
    machine paused: what was under way is evaluated again, and may come in in another order. So may what is known, when
    failed evaluations are tried again.

    Whenever as many evaluations as were given at first are finished, that is a generation, as it is in the logbook:
    callbacks are told, and checkpoints are kept of this generation and of the best (with workers, others are dropped at
    the end only). A pruner compares with whatever is on record when an evaluation is begun.
    """

    def each(self, evaluate: Evaluate, individuals: list[Any]) -> Iterator[tuple[Any, tuple[float, ...]]]:
        """Evaluate individuals, and yield each with its fitness values when it is finished.

        Args:
            evaluate: As for `Study.map`.
            individuals: Genomes; the list may be added to while this goes on.

        Raises:
            ReplayError: The record shows that another algorithm, seed or version made it.
            InputError: The executor does not take up what is added, or as for `Study.map`.
            BudgetSpent: The run's total of evaluations or its time is used up, or a callback has ended it. What was
                under way was waited for, and is on record.
        """
        evaluate = self._use(evaluate)
        self._first = self._count
        self._individuals = individuals
        self._size = len(individuals)
        self._planned = 0
        self._open: dict[int, Entry] = {}  # planned and not finished, by number
        self._latest: deque[Entry] = deque(maxlen=self._size)
        self._times: deque[float] = deque([perf_counter()], maxlen=self._size + 1)
        self._finished: list[Entry] = []  # of this generation
        yield from self._replayed()
        yield from self._evaluated(evaluate)
        if self._finished:
            self._end_generation()

    def _take_up(self) -> list[Entry]:
        """Plan the individuals that were added since the last time, and give their entries."""
        numbers = range(self._first + self._planned, self._first + len(self._individuals))
        added = [self._plan(number, self._individuals[number - self._first]) for number in numbers]
        self._planned += len(added)
        self._open |= {entry.number: entry for entry in added}
        return added

    def _finish(self, number: int) -> tuple[Any, tuple[float, ...]]:
        """Tell the individual of an evaluation on record, and count it."""
        individual, entry = self._individuals[number - self._first], self.record[number]
        del self._open[number]
        tell_outcome(individual, entry)
        self._latest.append(entry)
        self._times.append(perf_counter())
        self._batch = (list(self._latest), self._times[-1] - self._times[0])  # what `statistics` tells of
        self._finished.append(entry)
        self._spend([entry])
        if len(self._finished) == self._size:
            self._end_generation()
        return individual, values_for(entry, self.directions)

    def _end_generation(self) -> None:
        entries, self._finished = self._finished, []
        self._complete(entries)
        # Of evaluations under way in other processes, it is not known what they are about to leave.
        if self._count == len(self.record) and (not self._open or isinstance(self.executor, SerialExecutor)):
            individuals = [self._individuals[entry.number - self._first] for entry in entries]
            self._continuations.collect(entries, individuals, self.directions)

    def _replayed(self) -> Iterator[tuple[Any, tuple[float, ...]]]:
        """Yield what is on record, in the order in which it was finished."""
        for number in [number for number in self.record.as_completed() if number >= self._first]:
            self._take_up()
            proposed = self._first + self._planned
            if number >= proposed:
                raise ReplayError(
                    f"The study {self.name!r} cannot be resumed like this: its record goes on with "
                    f"evaluation {number}, this run has proposed {proposed}. "
                    "Resume it with the algorithm that made it."
                )
            yield self._finish(number)

    def _evaluated(self, evaluate: Evaluate) -> Iterator[tuple[Any, tuple[float, ...]]]:
        """Evaluate what is not on record, and yield each evaluation as it is finished."""
        self._take_up()
        waiting = list(self._open.values())
        requests: list[Request] = []  # the executor takes up what is added
        under_way: list[Entry] = []
        running = self.executor.run(evaluate, requests)
        done = 0
        try:
            while not self.budget.time_is_up:
                costs = ((number, self.cost_of(planned)) for number, planned in self._open.items())
                allowed = list(self._open)[: self.budget.allowed(costs)]
                to_begin = [one for one in waiting if one.duplicate_of is None and one.number in allowed]
                known = [one for one in waiting if one.duplicate_of is not None] + to_begin
                entry = next((one for one in known if self._answer(replace(one, generation=self.generation))), None)
                if entry is not None:
                    waiting.remove(entry)
                else:
                    for begun in to_begin:
                        waiting.remove(begun)
                        under_way.append(begun)
                        requests += self._requests([(begun, self._individuals[begun.number - self._first])])
                    if done == len(requests):
                        break
                    entry = self._next(running, under_way)
                    if entry is None:
                        raise InputError(
                            "executor must take up the requests that are added while it runs, as children "
                            f"are in a steady-state evolution; got {self.executor!r}."
                        )
                    done += 1
                yield self._finish(entry.number)
                waiting += self._take_up()
            if waiting or done < len(requests):
                raise self.budget.spent(self.name, len(self.record))
        except BudgetSpent:
            requests.clear()  # what is under way comes in nevertheless
            while self._next(running, under_way) is not None:
                pass
            raise

    def _next(self, running: Iterator[tuple[int, Evaluation]], under_way: list[Entry]) -> Entry | None:
        """Put the evaluation that is finished next on record, and give its entry; None where none is under way."""
        with interruptions_kept(), generators_kept():
            position, answer = next(running, (None, None))
        if position is None or answer is None:
            return None
        check_unchanged(self._individuals[under_way[position].number - self._first], under_way[position])
        evaluation = with_worst_values(answer, self.directions)
        self._acknowledge(replace(under_way[position], evaluation=evaluation, generation=self.generation))
        return under_way[position]

    def _earlier(self) -> list[Entry]:
        return list(self.record)
