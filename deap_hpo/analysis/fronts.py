"""Results of several objectives: the Pareto front of a record, its hypervolume by generation, a table for figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

import moocore
import numpy as np
import pandas as pd

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction, sign_of
from deap_hpo.records.entries import Entry


def pareto_front(entries: Iterable[Entry], directions: Sequence[Direction]) -> list[Entry]:
    """Return the feasible evaluations that no other dominates, sorted by the first objective, the best first.

    Evaluations with equal values are all kept, but not those answered by an earlier one of the same configuration.

    Example:
        >>> from deap_hpo import Evaluation
        >>> values = [(1.0, 5.0), (2.0, 2.0), (3.0, 3.0), (4.0, 1.0)]
        >>> entries = [Entry(i, 0, (0.5,), Evaluation(pair), seed=0) for i, pair in enumerate(values)]
        >>> [entry.number for entry in pareto_front(entries, ["minimize", "minimize"])]
        [0, 1, 3]
    """
    candidates = _candidates(entries)
    if not candidates:
        return []
    values = np.array([entry.evaluation.values for entry in candidates])
    kept = moocore.is_nondominated(values, maximise=[one == "maximize" for one in directions], keep_weakly=True)
    sign = sign_of(directions[0])
    front = [entry for entry, keep in zip(candidates, kept, strict=True) if keep]
    return sorted(front, key=lambda entry: (sign * entry.evaluation.value, entry.number))


def reference_point(entries: Iterable[Entry], directions: Sequence[Direction]) -> tuple[float, ...]:
    """Return a point a little worse than all feasible evaluations in each objective: the default of `hypervolumes`.

    It is a tenth of the range of their values beyond the worst (without a range, a tenth of the value, or 0.1 if that
    is 0): from the worst values themselves, the ends of a front would have no volume.

    Raises:
        InputError: No evaluation is feasible.

    Source:
        Ishibuchi, Imada, Setoguchi and Nojima, "How to specify a reference point in hypervolume calculation for fair
        performance comparison", Evolutionary Computation 26(3), 2018.

    Example:
        >>> from deap_hpo import Evaluation
        >>> entries = [Entry(i, 0, (0.5,), Evaluation(pair), seed=0) for i, pair in enumerate([(1.0, 5.0), (3.0, 5.0)])]
        >>> reference_point(entries, ["minimize", "maximize"])
        (3.2, 4.5)
    """
    values = [entry.evaluation.values for entry in _candidates(entries)]
    if not values:
        raise InputError("There is no Pareto front: no evaluation has finite values and keeps its constraints.")
    return tuple(
        _beyond_worst(column, direction)
        for column, direction in zip(zip(*values, strict=True), directions, strict=True)
    )


def _beyond_worst(values: Sequence[float], direction: Direction) -> float:
    least, most = min(values), max(values)
    margin = 0.1 * ((most - least) or abs(most) or 1.0)
    return most + margin if direction == "minimize" else least - margin


def hypervolumes(
    entries: Sequence[Entry], directions: Sequence[Direction], reference: Sequence[float] | None = None
) -> list[float]:
    """Return the hypervolume of the front so far, after each generation; it never falls.

    Args:
        entries: The evaluations.
        directions: "minimize" or "maximize" for each objective.
        reference: A value of each objective; evaluations that are not better than it in all objectives do not count. By
            default `reference_point`, which depends on the record: to compare studies, give them all the same.

    Raises:
        InputError: The reference point does not have one value for each objective.

    Source:
        Zitzler and Thiele, "Multiobjective optimization using evolutionary algorithms: a comparative case study",
        PPSN V, 1998; computed by moocore, as in DEAP.

    Example:
        >>> from deap_hpo import Evaluation
        >>> values = [(1.0, 5.0), (2.0, 2.0), (4.0, 1.0)]
        >>> entries = [Entry(i, i, (0.5,), Evaluation(pair), seed=0) for i, pair in enumerate(values)]
        >>> hypervolumes(entries, ["minimize", "minimize"], reference=(5.0, 6.0))
        [4.0, 13.0, 14.0]
    """
    if reference is not None and len(reference) != len(directions):
        raise InputError(f"reference must hold a value for each of {len(directions)} objectives; got {reference}.")
    if not _candidates(entries):
        return [0.0 for _ in {entry.generation for entry in entries}]
    origin = reference_point(entries, directions) if reference is None else reference
    maximise = [one == "maximize" for one in directions]
    found: list[float] = []
    front: list[Entry] = []
    for _, batch in groupby(sorted(entries, key=attrgetter("generation")), attrgetter("generation")):
        front = pareto_front([*front, *batch], directions)
        points = np.array([entry.evaluation.values for entry in front])
        found.append(float(moocore.hypervolume(points, ref=origin, maximise=maximise)) if front else 0.0)
    return found


def front_table(entries: Sequence[Entry], directions: Sequence[Direction], names: Sequence[str]) -> pd.DataFrame:
    """One row for each evaluation that has finite values and was not answered by an earlier one.

    Columns: `number`, `generation`, `values_*` (one for each objective, by its name), `violation`, `front` (whether it
    is on the Pareto front).
    """
    columns = [f"values_{name}" for name in names]
    front = {entry.number for entry in pareto_front(entries, directions)}
    return pd.DataFrame(
        [
            {
                "number": entry.number,
                "generation": entry.generation,
                **dict(zip(columns, entry.evaluation.values, strict=True)),
                "violation": entry.evaluation.violation,
                "front": entry.number in front,
            }
            for entry in entries
            if entry.duplicate_of is None and all(map(math.isfinite, entry.evaluation.values))
        ],
        columns=["number", "generation", *columns, "violation", "front"],
    )


def _candidates(entries: Iterable[Entry]) -> list[Entry]:
    """The evaluations that may be on a front."""
    return [entry for entry in entries if entry.evaluation.feasible and entry.duplicate_of is None]
