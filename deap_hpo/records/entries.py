"""An evaluation on record, and questions about several: which is the best, and which ones led to it."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction, Evaluation, sign_of, worst_values
from deap_hpo.search_space.space import Space
from deap_hpo.vocabulary import OF_ENTRIES, no_attribute


@dataclass(frozen=True)
class Entry:
    """One evaluation on record.

    Attributes:
        number: Running number of the evaluation in its run, from 0.
        generation: Number of the batch (the call of `map`) that it belongs to, from 0.
        genes: The genome, exactly: numbers; without a search space also texts, expressions of trees, and tuples of
            these (see `deap_hpo.genomes.genes_of`).
        evaluation: The result.
        seed: Seed that it was given.
        parents: Numbers of the evaluations from which the genome derives.
        operators: Names of the operators that made the genome from its parents, in order. An operator writes them if it
            is one of `make_toolbox`, or decorated by `deap_hpo.evolution.individual.lineage`; others leave no name.
        duplicate_of: Number of the earlier evaluation of the same configuration whose result was reused, if any.
        epochs: Total epochs trained at its end, those before its start included, if the request named a number.
        start_from: Number of the evaluation whose weights and optimiser state it continued, if any.
        datetime_complete: Local time at which it was recorded; None before. It does not count in comparisons.
    """

    number: int
    generation: int
    genes: tuple[Any, ...]
    evaluation: Evaluation
    seed: int
    parents: tuple[int, ...] = ()
    operators: tuple[str, ...] = ()
    duplicate_of: int | None = None
    epochs: int | None = None
    start_from: int | None = None
    datetime_complete: datetime | None = field(default=None, compare=False, repr=False)

    if not TYPE_CHECKING:  # with `__getattr__`, type checkers would accept every attribute

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, OF_ENTRIES)

    @property
    def datetime_start(self) -> datetime | None:
        """Local time at which the evaluation began: its `seconds` before it was recorded."""
        end = self.datetime_complete
        return None if end is None else end - timedelta(seconds=self.evaluation.seconds)

    @property
    def trained_number(self) -> int:
        """Number of the evaluation that was trained for this result: its own, or that of the one it duplicates."""
        return self.number if self.duplicate_of is None else self.duplicate_of


def check_entry(entry: Any) -> Entry:
    """Give an evaluation back, if it is one.

    Raises:
        InputError: It is something else, such as the number of an evaluation.

    Example:
        >>> check_entry(3)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: entry must be an evaluation, such as study.best or study.entries[3]; got 3.
    """
    if not isinstance(entry, Entry):
        raise InputError(
            f"entry must be an evaluation, such as study.best or study.entries[3]; got {reprlib.repr(entry)}."
        )
    return entry


def params_of(entry: Entry, space: Space | None) -> dict[str, Any]:
    """Give the hyperparameters of an evaluation by name; bare genes if the study had no space, sequences as text.

    Example:
        >>> params_of(Entry(0, 0, (0.25, (1.0, 2.0)), Evaluation((1.0,)), seed=0), None)
        {'gene_0': 0.25, 'gene_1': '(1.0, 2.0)'}
    """
    genes = check_entry(entry).genes
    if space:
        return space.decode(genes)
    return {f"gene_{i}": str(gene) if isinstance(gene, tuple) else gene for i, gene in enumerate(genes)}


def param_columns(entry: Entry, space: Space | None) -> dict[str, Any]:
    """Give the hyperparameters of an evaluation as columns of a table: ``params_*``, or ``gene_*`` without a space.

    Hyperparameters that are not in use are NaN, so that even one that was never in use has a column.
    """
    params = params_of(entry, space)
    return {f"params_{name}": params.get(name, math.nan) for name in space} if space else params


def training_path(entries: Iterable[Entry], number: int) -> list[Entry]:
    """Give the evaluations that led to a network, each continuing the one before; the last is `number`.

    Example:
        >>> starts = [None, None, 0, 1, 2]
        >>> entries = [Entry(i, 0, (0.5,), Evaluation((1.0,)), 1, start_from=start) for i, start in enumerate(starts)]
        >>> [entry.number for entry in training_path(entries, 4)]
        [0, 2, 4]
    """
    known = {entry.number: entry for entry in entries}
    path = [known[number]]
    while path[-1].start_from is not None:
        path.append(known[path[-1].start_from])
    return path[::-1]


def find_best(entries: Iterable[Entry], direction: Direction = "minimize") -> Entry | None:
    """Give the feasible entry with the best first objective, the earliest among equals; None if none is feasible.

    Example:
        >>> values = (0.3, 0.1, math.inf)
        >>> entries = [Entry(i, 0, (0.5,), Evaluation((value,)), seed=0) for i, value in enumerate(values)]
        >>> find_best(entries).number, find_best(entries, "maximize").number, find_best(entries[2:])
        (1, 0, None)
    """
    sign = sign_of(direction)
    feasible = (entry for entry in entries if entry.evaluation.feasible)
    return min(feasible, key=lambda entry: (sign * entry.evaluation.value, entry.number), default=None)


def best_entry(entries: Iterable[Entry], direction: Direction = "minimize") -> Entry:
    """Give the best entry, as `find_best` does.

    Raises:
        InputError: No entry has a finite value and satisfies its constraints.
    """
    entries = list(entries)
    best = find_best(entries, direction)
    if best is None:
        broken = sum(entry.evaluation.violation > 0 for entry in entries)
        told = [f"{broken} of {len(entries)} break their constraints"] if broken else []
        for status in ("pruned", "diverged", "failed"):
            ended = [entry for entry in entries if entry.evaluation.status == status]
            told += [f"{len(ended)} of {len(entries)} {status}"] if ended else []
            if ended and status == "failed":
                told[-1] += f", number {ended[0].number} with {ended[0].evaluation.reason.removesuffix('.')}"
        if not any(entry.evaluation.status == "pruned" or entry.evaluation.violation > 0 for entry in entries):
            told.insert(0, "no evaluation ended with a finite value")  # others have one that does not count
        raise InputError(f"There is no best evaluation: {'; '.join(told)}.")
    return best


def schedule_of(entries: Iterable[Entry], number: int, space: Space) -> list[tuple[dict[str, Any], int | None]]:
    """Give the hyperparameters that led to a network, and the epoch up to which each held; see `train_schedule`."""
    return [(space.decode(entry.genes), entry.epochs) for entry in training_path(entries, number)]


def tell_outcome(individual: Any, entry: Entry) -> None:
    """Set the origin of an individual to its evaluation, and its violation of the constraints.

    Example:
        >>> from deap_hpo import Individual
        >>> individual = Individual([0.5])
        >>> tell_outcome(individual, Entry(3, 0, (0.5,), Evaluation((0.1,), violation=2.0), seed=0))
        >>> individual.origin, individual.fitness.violation
        ((3,), 2.0)
    """
    if hasattr(individual, "__dict__"):  # a plain list or array takes no attributes
        individual.origin, individual.operators, individual.start_from = (entry.number,), (), None
    if hasattr(individual, "fitness"):
        individual.fitness.violation = entry.evaluation.violation


def with_worst_values(evaluation: Evaluation, directions: Sequence[Direction]) -> Evaluation:
    """Give the evaluation as it is, or with the worst values if it did not end well.

    Raises:
        InputError: It ended well, but not with one value for each direction.
    """
    if evaluation.status not in ("ok", "pruned"):
        return replace(evaluation, values=worst_values(directions))
    if len(evaluation.values) != len(directions):
        raise InputError(
            f"evaluate must return {len(directions)} value(s), one per direction; got {len(evaluation.values)}."
        )
    return evaluation


def values_for(entry: Entry, directions: Sequence[Direction]) -> tuple[float, ...]:
    """Give the values that an algorithm gets: the worst for a pruned part, because nothing can continue from it.

    Example:
        >>> pruned = Entry(0, 0, (0.5,), Evaluation((0.7,), "pruned"), seed=1)
        >>> values_for(pruned, ["minimize"]), values_for(replace(pruned, epochs=3), ["minimize"])
        ((0.7,), (inf,))
    """
    if entry.epochs is not None and entry.evaluation.status == "pruned":
        return worst_values(directions)
    return entry.evaluation.values
