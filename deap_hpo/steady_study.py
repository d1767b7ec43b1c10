"""Studies of steady-state evolutions: evaluations are given back one by one while new ones are added."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

from deap_hpo.budget import BudgetSpent, WhileTimeLasts
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import Evaluate
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.genomes import check_unchanged
from deap_hpo.interruption import interruptions_kept
from deap_hpo.records.entries import Entry, tell_outcome, values_for, with_worst_values
from deap_hpo.records.record import ReplayError
from deap_hpo.seeding import generators_kept
from deap_hpo.study import Study


class SteadyStudy(Study):
    """A study that gives each evaluation back when it finishes, and takes new ones in the meantime.

    No worker ever waits. The order in which evaluations finish depends on how fast they are; it is part of the record,
    and is replayed from there. So a record determines the evolution that made it, and an interrupted run continues as
    if the machine had paused: unfinished evaluations are done again, and may finish in another order. When failed
    evaluations are tried again, known results may also come in another order. (`OrderedStudy` has a fixed order.)

    A generation is complete, as in the logbook, whenever as many evaluations as were given at first have finished. Then
    callbacks are called, and the checkpoints of this generation and of the best are kept (with workers, others are
    dropped only at the end). A pruner compares with the evaluations that were known when an evaluation was proposed.

    Its arguments are those of `Study`; for algorithms, see `deap_hpo.evolution.steady_state`.

    Example:
        >>> from deap_hpo import Float, Space, make_toolbox
        >>> space = Space({"x": Float(0.0, 1.0)})
        >>> with SteadyStudy(space, seed=1) as study:
        ...     individuals = make_toolbox(space).population(n=2)
        ...     for individual, values in study.each(lambda params: params["x"], individuals):
        ...         if len(individuals) < 4:
        ...             individuals.append(list(individual))
        >>> len(study.record)
        4
    """

    def each(self, evaluate: Evaluate, individuals: list[Any]) -> Iterator[tuple[Any, tuple[float, ...]]]:
        """Evaluate individuals, and yield each with its fitness values when it is finished.

        Args:
            evaluate: As for `Study.map`.
            individuals: Genomes; more may be appended to the list in the meantime.

        Raises:
            ReplayError: The record shows that another algorithm, seed or version made it.
            InputError: The executor does not accept requests that are added while it runs, or as for `Study.map`.
            BudgetSpent: The run's evaluations, epochs or time are used up, or a callback has ended it. Evaluations that
                were under way have been waited for, and are on record.
        """
        evaluate = self._use(evaluate)
        self._first, self._first_generation = self._count, self.generation
        self._individuals = individuals
        self._size = len(individuals)
        self._planned = 0
        self._told: set[int] = set()
        self._open: dict[int, Entry] = {}  # planned, but not given back yet, by number
        self._waiting: list[Entry] = []  # planned, but not started
        self._limits_of: dict[int, Mapping[int, float]] = {}
        self._completed = deque(number for number in self.record.as_completed() if number >= self._first)
        self._latest: deque[Entry] = deque(maxlen=self._size)
        self._times: deque[float] = deque([perf_counter()], maxlen=self._size + 1)
        self._of_generation: list[Entry] = []  # given back since the last generation was complete
        self._take_up()
        yield from self._finished(evaluate)
        if self._of_generation:
            self._end_generation()

    def _finished(self, evaluate: Evaluate) -> Iterator[tuple[Any, tuple[float, ...]]]:
        """Yield evaluations on record, then each one when it finishes, including those added in the meantime."""
        requests: WhileTimeLasts[Request] = WhileTimeLasts([], self.budget)  # the executor accepts others later
        begun: list[Entry] = []
        running = self.executor.run(evaluate, requests)
        done = 0
        try:
            while not self.budget.is_stopped:
                number = self._due()
                if number is not None:
                    yield self._tell(number)
                    self._take_up()
                    continue
                if self.budget.time_is_up:  # the time starts at the first evaluation that is not on record
                    break
                allowed = self._allowed()
                if self._answer_one(allowed):
                    continue
                self._start(allowed, requests, begun)
                if done == len(requests):
                    break
                if self._record_next(running, begun):
                    done += 1
                elif not self.budget.time_is_up:  # otherwise those that are left have not been started
                    raise InputError(
                        "executor must take up the requests that are added while it runs, as children "
                        f"are in a steady-state evolution; got {self.executor!r}."
                    )
            if self._open:
                raise self.budget.spent(self.name, len(self.record))
        except BudgetSpent:
            requests.clear()  # evaluations under way still finish
            while self._record_next(running, begun):
                pass
            if begun:  # a mere replay would drop checkpoints that are needed later
                self._collect(self._latest)
            raise

    def _individual(self, number: int) -> Any:
        return self._individuals[number - self._first]

    def _take_up(self) -> None:
        """Plan the individuals that were added since the last call."""
        for number in range(self._first + self._planned, self._first + len(self._individuals)):
            entry = self._plan(number, self._individual(number))
            self._planned += 1
            self._open[number] = entry
            if number not in self.record:
                self._waiting.append(entry)
                self._limits_of[number] = self._limits(self._known())

    def _known(self) -> Iterator[Entry]:
        """Give the evaluations that the algorithm knows; further ones may be on record already."""
        return (entry for entry in self.record if entry.number < self._first or entry.number in self._told)

    def _due(self) -> int | None:
        """Give the number of the evaluation to give back next, if it is on record.

        Raises:
            ReplayError: It has not been proposed.
        """
        if not self._completed:
            return None
        number, proposed = self._completed[0], self._first + self._planned
        if number >= proposed:
            raise ReplayError(
                f"The study {self.name!r} cannot be resumed like this: its record goes on with "
                f"evaluation {number}, this run has proposed {proposed}. "
                "Resume it with the algorithm that made it."
            )
        return number

    def _generation_of(self, number: int) -> int:
        """Give the generation of an evaluation that finishes now."""
        return self.generation

    def _tell(self, number: int) -> tuple[Any, tuple[float, ...]]:
        """Give an evaluation on record to its individual, and count it."""
        individual, entry = self._individual(number), self.record[number]
        del self._open[number]
        self._completed.remove(number)
        self._told.add(number)
        tell_outcome(individual, entry)
        self._latest.append(entry)
        self._times.append(perf_counter())
        self._batch = (list(self._latest), self._times[-1] - self._times[0])  # for `statistics`
        self._of_generation.append(entry)
        self.budget.spend(self.cost_of(entry))
        if len(self._of_generation) == self._size:
            self._end_generation()
        return individual, values_for(entry, self.directions)

    def _end_generation(self) -> None:
        entries, self._of_generation = self._of_generation, []
        self._complete(entries)
        # Evaluations under way in other processes may be leaving checkpoints that are not known here yet.
        if self._count == len(self.record) and (not self._open or isinstance(self.executor, SerialExecutor)):
            self._collect(entries)

    def _collect(self, entries: Iterable[Entry]) -> None:
        """Keep the checkpoints of evaluations, and of the best."""
        entries = list(entries)
        individuals = [self._individual(entry.number) for entry in entries]
        self._continuations.collect(entries, individuals, self.directions)

    def _allowed(self) -> set[int]:
        """Give the numbers of the open evaluations that the budget allows."""
        costs = ((number, self.cost_of(planned)) for number, planned in self._open.items())
        return set(list(self._open)[: self.budget.allowed(costs)])

    def _answer_one(self, allowed: set[int]) -> bool:
        """Record an evaluation whose result is known without doing it, and say whether there was one."""
        with interruptions_kept(), generators_kept():  # callbacks may draw
            for entry in self._waiting:
                may_be_known = entry.duplicate_of is not None or entry.number in allowed
                if may_be_known and self._answer(replace(entry, generation=self._generation_of(entry.number))):
                    self._waiting.remove(entry)
                    self._completed.append(entry.number)
                    return True
            return False

    def _start(self, allowed: set[int], requests: list[Request], begun: list[Entry]) -> None:
        """Add the requests of the evaluations that are waiting and may start."""
        for entry in [one for one in self._waiting if one.duplicate_of is None and one.number in allowed]:
            self._waiting.remove(entry)
            begun.append(entry)
            limits = self._limits_of.pop(entry.number)
            requests += self._requests([(entry, self._individual(entry.number))], limits)

    def _record_next(self, running: Iterator[tuple[int, Evaluation]], begun: Sequence[Entry]) -> bool:
        """Wait for the next evaluation to finish, record it, and say whether there was one under way."""
        with interruptions_kept(), generators_kept():  # evaluations and callbacks may draw
            position, answer = next(running, (None, None))
            if position is None or answer is None:
                return False
            entry = begun[position]
            check_unchanged(
                self._individual(entry.number), entry.genes, entry.number, numbers_only=self.space is not None
            )
            evaluation = with_worst_values(answer, self.directions)
            self._completed.append(entry.number)
            self._acknowledge(replace(entry, evaluation=evaluation, generation=self._generation_of(entry.number)))
            return True


class OrderedStudy(SteadyStudy):
    """A `SteadyStudy` that gives evaluations back in the order in which they were proposed.

    So a run is the same whatever the number and the speed of the workers. An evaluation is given back as soon as it and
    all before it have finished. Workers wait only if an evaluation takes longer than all others that are proposed in
    the meantime. An algorithm should therefore keep at least 1.5 times as many evaluations open as there are workers.

    If a callback such as `EarlyStopping` ends the run, evaluations that are under way are waited for and recorded, too.
    Their number depends on the workers, and one of them may be the best.

    Example:
        >>> from deap_hpo import Float, Space, make_toolbox
        >>> space = Space({"x": Float(0.0, 1.0)})
        >>> with OrderedStudy(space, seed=1) as study:
        ...     individuals = make_toolbox(space).population(n=3)
        ...     finished = list(study.each(lambda params: params["x"], individuals))
        >>> [individual.origin for individual, _ in finished]
        [(0,), (1,), (2,)]
    """

    def _due(self) -> int | None:
        number = self._first + len(self._told)
        return number if number in self.record and number in self._allowed() else None

    def _generation_of(self, number: int) -> int:
        return self._first_generation + (number - self._first) // self._size
