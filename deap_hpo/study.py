"""A study: the interface between an algorithm and its evaluations. It records, replays, and calls an executor.

An evolution is a deterministic function of its seed and of the results so far. So the state of an algorithm is never
saved: to resume is to run the same algorithm again, with results from the record as far as it goes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from deap import tools

from deap_hpo.budget import Budget, WhileTimeLasts
from deap_hpo.callbacks import check_callbacks, tell
from deap_hpo.checks import check_flag, check_integer
from deap_hpo.continuation import Continuations
from deap_hpo.errors import warn
from deap_hpo.evaluation import Direction, Evaluation, Request
from deap_hpo.evaluator import Evaluate, as_evaluator, unwrapped
from deap_hpo.evolution.individual import check_weights
from deap_hpo.execution.executors import Executor, SerialExecutor, check_executor
from deap_hpo.execution.workers import end_if_only_imported
from deap_hpo.failures import FailureWarning
from deap_hpo.functions.undone import UndoneWarning
from deap_hpo.genomes import check_unchanged, genes_of
from deap_hpo.goals import check_agreement, check_directions
from deap_hpo.interruption import interruptions_kept, raise_kept, undisturbed
from deap_hpo.live_results import LiveResults
from deap_hpo.mapping import StaysHere, for_programs
from deap_hpo.pruning import Pruner, check_pruner, check_reports
from deap_hpo.records.entries import Entry, tell_outcome, values_for, with_worst_values
from deap_hpo.records.provenance import Provenance
from deap_hpo.records.record import Record
from deap_hpo.reported import ReportedWarning
from deap_hpo.search_space.space import Hyperparameter, Space
from deap_hpo.seeding import FOR_EVALUATIONS, derived_seed, generators_kept, seed_evolution
from deap_hpo.statistics import generation_statistics
from deap_hpo.vocabulary import hinting


class Study(StaysHere, LiveResults):
    """Records and replays the evaluations of one run of a DEAP algorithm.

    Register its `map`, and every DEAP algorithm becomes resumable and parallel without a change::

        toolbox.register("evaluate", trainer)
        toolbox.register("map", study.map)

    The evaluator gets decoded hyperparameters (a dict) if the study has a space, and the bare individual otherwise.
    Opening a study seeds the global generators of `random` and numpy, from which DEAP draws.

    Args:
        space: The search space, as a `Space` or by name; or None.
        name: Name of the study in the storage.
        storage: Path of an SQLite file, the URL of a database, or None to keep the record in memory only.
        seed: Seed of the run, at least 0.
        directions: "minimize" or "maximize" for each objective; they must agree with the individuals' weights.
        resume: Whether the study may exist already; if it does, its evaluations are replayed.
        retry_failed: With `resume`, whether failed evaluations are tried again and the run continues from there; all
            evaluations on record from the first failed one on are then `superseded`.
        executor: How evaluations are done; in this process by default.
        common_random_numbers: Whether all evaluations get one seed, so that configurations are compared with the same
            random numbers, and none is evaluated twice. Otherwise evaluation k gets one derived from `seed` and k.
        settings: Further facts (JSON values) that a resumed run must share with the recorded one.
        max_evaluations: Evaluations of the whole run, replayed ones included, after which `map` raises `BudgetSpent`;
            duplicates of earlier evaluations are not counted.
        max_epochs: Epochs trained in the whole run, after which `map` raises `BudgetSpent`; see `cost_of`.
        max_seconds: Seconds after which `map` starts nothing, waits for what is under way, and raises `BudgetSpent`.
        pruner: Says which evaluations are ended early, given the evaluations that were complete before their batch.
        callbacks: Objects with ``on_requests``, ``on_evaluation`` or ``on_generation``; see docs/how-to/watch.md.

    Raises:
        InputError: An argument is out of its range, the study exists although `resume` is false, or the storage cannot
            be used.
        ReplayError: The record was made with another seed, space or settings.

    Example:
        >>> from deap import algorithms
        >>> from deap_hpo import Float, Space, make_toolbox
        >>> space = Space({"x": Float(-5.0, 5.0)})
        >>> with Study(space, seed=1) as study:
        ...     toolbox = make_toolbox(space)
        ...     toolbox.register("evaluate", lambda params: params["x"] ** 2)
        ...     toolbox.register("map", study.map)
        ...     population, _ = algorithms.eaSimple(toolbox.population(n=10), toolbox, 0.5, 0.5, 5, verbose=False)
        >>> study.best_value < 0.5
        True
    """

    @hinting
    def __init__(
        self,
        space: Space | Mapping[str, Hyperparameter] | None = None,
        *,
        name: str = "study",
        storage: str | Path | None = None,
        seed: int = 0,
        directions: Direction | Sequence[Direction] = "minimize",
        resume: bool = False,
        retry_failed: bool = False,
        executor: Executor | None = None,
        common_random_numbers: bool = True,
        settings: Mapping[str, Any] | None = None,
        max_evaluations: int | None = None,
        max_epochs: int | None = None,
        max_seconds: float | None = None,
        pruner: Pruner | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        self.seed = check_integer("seed", seed, 0)
        self.directions = check_directions(directions)
        self.budget = Budget(max_evaluations, max_epochs, max_seconds)
        self.space = None if space is None else Space.of(space)
        self.executor = check_executor(executor or SerialExecutor())
        self.pruner = None if pruner is None else check_pruner(pruner, len(self.directions))
        self.callbacks = [FailureWarning(), ReportedWarning(), UndoneWarning(), *check_callbacks(callbacks)]
        self._common = check_flag("common_random_numbers", common_random_numbers)
        facts = {"seed": self.seed, "common_random_numbers": self._common, "settings": dict(settings or {})}
        facts["pruner"] = repr(pruner) if pruner else None
        if storage is not None:  # only one process at a time may drive a stored study
            end_if_only_imported()
        elif resume:
            warn("resume=True does nothing without a storage: the record is in memory, and gone with this process")
        self.record = Record(name, storage, self.space, self.directions, facts, resume=resume, retry=retry_failed)
        self.provenance = Provenance(self.record)
        self._count, self.generation = 0, 0  # evaluations and batches completed
        self._continuations = Continuations(self.record, self.executor, self._decode)
        self._batch: tuple[list[Entry], float] = ([], 0.0)
        seed_evolution(self.seed)

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @undisturbed()
    def close(self) -> None:
        """End the executor's workers, and release the study for other processes."""
        self.executor.close()
        self.provenance.close()

    def stop(self) -> None:
        """Start no further evaluation: `map` waits for those under way, records them, and raises `BudgetSpent`.

        For callbacks and other threads. The study can be resumed. If a callback calls this in `on_generation`, which is
        also called for replayed generations, a resumed study stops there again.
        """
        self.budget.stop()

    @for_programs
    def map(self, evaluate: Evaluate, individuals: Iterable[Any]) -> list[tuple[float, ...]]:
        """Evaluate individuals, like the built-in `map`; evaluations on record are not done again.

        Args:
            evaluate: A trainer, or a function of hyperparameters that returns a number, several, or an `Evaluation`.
            individuals: Genomes. Each gets the number of its evaluation as `origin`; its fitness gets the amount by
                which it breaks the constraints as `violation`. An individual may ask for a total number of `epochs`,
                and with it for a `start_from`: the number of the evaluation whose weights and optimiser state its
                training continues. The study keeps the checkpoints of this batch, that of the best so far, and those
                of the evaluations that an individual names as `paused`.

        Returns:
            Fitness values, in the order of `individuals`.

        Raises:
            ReplayError: Other genes are on record: another algorithm, seed or version made them. Nothing was written.
            BudgetSpent: The run's evaluations, epochs or time are used up, or it was stopped.
            InputError: The request of an individual cannot be met, `evaluate` cannot be called or has other directions,
                or the study is closed.
        """
        start = perf_counter()
        evaluate, individuals = self._use(evaluate), list(individuals)
        if self.budget.is_stopped:
            raise self.budget.spent(self.name, len(self.record))
        left = [(self._plan(number, one), one) for number, one in enumerate(individuals, self._count)]
        entries: list[Entry] = []
        while left:  # more than once if evaluations cost less than planned, being infeasible
            count = self.budget.allowed((entry.number, self.cost_of(entry)) for entry, _ in left)
            with interruptions_kept(), generators_kept():
                self._evaluate(evaluate, left[:count])
            done = [self.record[entry.number] for entry, _ in left[:count] if entry.number in self.record]
            if not done or len(done) < count:
                raise self.budget.spent(self.name, len(self.record))
            for entry in done:
                self.budget.spend(self.cost_of(entry))
            entries, left = entries + done, left[count:]
        for individual, entry in zip(individuals, entries, strict=True):
            tell_outcome(individual, entry)
        self._batch = (entries, perf_counter() - start)
        self._complete(entries)
        if self._count == len(self.record):  # a replay would drop checkpoints that are needed later
            self._continuations.collect(entries, individuals, self.directions)
        return [values_for(entry, self.directions) for entry in entries]

    def _use(self, evaluate: Evaluate) -> Evaluate:
        self.record.check_open()
        evaluate = unwrapped(evaluate)  # executors change nothing as long as this is the same object
        self.evaluator = as_evaluator(evaluate)
        check_agreement(self.evaluator.goals, self.directions)
        check_reports(self.pruner if self.record.is_new else None, self.evaluator)  # older records may continue
        self.provenance.use(self.evaluator, replaying=self.record.goes_on(self._count))
        self._continuations.use(self.evaluator)
        return evaluate

    def _decode(self, genes: Any) -> Any:
        return self.space.decode(genes) if self.space else genes

    def cost_of(self, entry: Entry) -> int:
        """Epochs by which an evaluation counts in the budget: those it adds; 0 if nothing was trained for it."""
        return self._continuations.cost(entry)

    def _complete(self, entries: Sequence[Entry]) -> None:
        """Count a batch that is on record completely."""
        self._count += len(entries)
        self.generation += 1
        tell(self.callbacks, "on_generation", self, entries)

    def _plan(self, number: int, individual: Any) -> Entry:
        """Plan the evaluation of an individual, and check it against the record if its number is there."""
        check_weights(individual, self.directions)
        genes = genes_of(individual, numbers_only=self.space is not None)
        begins = self._continuations.asked_by(individual)
        seed = derived_seed(self.seed, FOR_EVALUATIONS, *(() if self._common else (number,)))
        planned = Entry(
            number=number,
            generation=self.generation,
            genes=genes,
            evaluation=Evaluation((math.inf,)),  # replaced by the result
            seed=begins.seeded_by.seed if begins.seeded_by else seed,  # so that its sequence of batches continues, too
            parents=tuple(getattr(individual, "origin", None) or ()),
            operators=tuple(getattr(individual, "operators", None) or ()),
            epochs=begins.epochs,
            start_from=begins.goes_on_from.number if begins.goes_on_from else None,
        )
        self.record.check_replay(planned)
        configuration = tuple(self.space.decode(genes).items()) if self.space else genes
        answered_by = self._continuations.answered_by(planned, configuration, common=self._common)
        return replace(planned, duplicate_of=answered_by)

    def _requests(self, planned: Sequence[tuple[Entry, Any]], limits: Mapping[int, float]) -> list[Request]:
        """Give the requests for planned evaluations, which are not on record."""
        params = [self.space.decode(entry.genes) if self.space else individual for entry, individual in planned]
        if planned and self.evaluator:
            self.evaluator.check_task(params)
            self.provenance.write()
        requests = self._continuations.requests([entry for entry, _ in planned], params, limits)
        tell(self.callbacks if requests else (), "on_requests", self, requests)
        return requests

    def _limits(self, known: Iterable[Entry]) -> Mapping[int, float]:
        """Give the pruner's limits; `known` must hold the same evaluations in a replay."""
        return {} if self.pruner is None else self.pruner.limits(list(known), self.directions[0])

    def _evaluate(self, evaluate: Evaluate, planned: Sequence[tuple[Entry, Any]]) -> None:
        """Get all planned evaluations on record: replayed, evaluated, or as duplicates of earlier ones."""
        missing = [(entry, individual) for entry, individual in planned if entry.number not in self.record]
        duplicates = [entry for entry, _ in missing if entry.duplicate_of is not None]
        if not missing or self.budget.time_is_up:  # the time starts at the first evaluation that is not on record
            return
        new = [(entry, individual) for entry, individual in missing if entry.duplicate_of is None]
        asked = [(entry, individual) for entry, individual in new if not self._answer(entry)]
        limits = self._limits(entry for entry in self.record if entry.number < self._count)
        requests = WhileTimeLasts(self._requests(asked, limits), self.budget)
        for i, evaluation in self.executor.run(evaluate, requests) if requests else ():
            entry, individual = asked[i]
            check_unchanged(individual, entry.genes, entry.number, numbers_only=self.space is not None)
            self._acknowledge(replace(entry, evaluation=with_worst_values(evaluation, self.directions)))
            if self.budget.time_is_up:
                requests.clear()
        if not self.budget.time_is_up:
            for entry in duplicates:
                self._answer(entry)

    def _answer(self, entry: Entry) -> bool:
        """Record a result that is known already, unless a pruner may have new limits, and say whether it was known."""
        known = None if self.pruner and entry.duplicate_of is None else self.record.known_outcome(entry)
        if known is not None:
            self.provenance.write()
            self._acknowledge(replace(entry, evaluation=known))
        return known is not None

    def _acknowledge(self, entry: Entry) -> None:
        self.record.append(entry)
        tell(self.callbacks, "on_evaluation", self, self.record[entry.number])
        raise_kept()

    def statistics(self, *, constrained: bool = False) -> tools.Statistics:
        """Give the statistics of a generation, to pass to a DEAP algorithm as `stats`.

        They are `avg`, `std`, `min` and `max` of the population's first objective (of the feasible and finite), and for
        this generation the numbers of evaluations that `diverged` or failed, with `constrained` of those that break a
        constraint (`infeasible`), of those that were `cached`, and its wall-clock `seconds`.
        """
        return generation_statistics(lambda: self._batch, constrained=constrained)
