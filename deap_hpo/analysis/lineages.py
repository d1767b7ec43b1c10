"""Descent of networks that were trained in parts: their schedules and learning curves, as tidy tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from deap_hpo.analysis.tables import with_params
from deap_hpo.evaluation import Direction, Epoch
from deap_hpo.records.entries import Entry, find_best, param_columns, training_path
from deap_hpo.search_space.space import Space


def lineage_table(entries: Sequence[Entry], space: Space | None, direction: Direction = "minimize") -> pd.DataFrame:
    """One row for each part of a training: an evaluation that started from the beginning or continued another.

    Columns: `number`, `generation`, `start_from` (the evaluation that it continued; missing if it started from the
    beginning), `founder` (the first of its lineage), `start_epoch` and `epoch` (epochs trained before and after it),
    `value` (the first objective; NaN if it has none), `status`, `winner` (whether it is a part of the best network's
    training), `params_*` (or `gene_*`).

    Example:
        >>> from deap_hpo.evaluation import Epoch, Evaluation
        >>> from deap_hpo import Float
        >>> def part(number, loss, epoch, start_from=None):
        ...     evaluation = Evaluation((loss,), curve=(Epoch(epoch, loss, loss),))
        ...     return Entry(number, 0, (0.5,), evaluation, 0, epochs=epoch, start_from=start_from)
        >>> entries = [part(0, 0.5, 1), part(1, 0.4, 1), part(2, 0.3, 2, 0), part(3, 0.2, 2, 0)]
        >>> table = lineage_table(entries, Space({"x": Float(0.0, 1.0)}))
        >>> table[["number", "founder", "start_epoch", "epoch", "winner"]].values.tolist()
        [[0, 0, 0, 1, True], [1, 1, 0, 1, False], [2, 0, 1, 2, False], [3, 0, 1, 2, True]]
    """
    best = find_best(entries, direction)
    winners = {one.number for one in training_path(entries, best.number)} if best else set()
    totals: dict[int, int] = {}
    founders: dict[int, int] = {}
    rows = []
    for entry in sorted(entries, key=lambda entry: entry.number):
        before = 0 if entry.start_from is None else totals[entry.start_from]
        curve = entry.evaluation.curve
        totals[entry.number] = curve[-1].epoch if curve else entry.epochs or before
        founders[entry.number] = entry.number if entry.start_from is None else founders[entry.start_from]
        rows.append(
            {
                "number": entry.number,
                "generation": entry.generation,
                "start_from": entry.start_from,
                "founder": founders[entry.number],
                "start_epoch": before,
                "epoch": totals[entry.number],
                "value": entry.evaluation.value if math.isfinite(entry.evaluation.value) else math.nan,
                "status": entry.evaluation.status,
                "winner": entry.number in winners,
                **param_columns(entry, space),
            }
        )
    return with_params(rows, space).astype({"start_from": "Int64"}) if rows else pd.DataFrame()


def curves_table(entries: Sequence[Entry], best: int, metric: str | None = None) -> pd.DataFrame:
    """One row for each epoch of each evaluation that was trained, with the parts of a training joined.

    Columns: `number`, `epoch` (from the start of the network's training), and `validation_loss` or, if a metric is
    given, ``metrics_`` and its name. A part of a training begins with the last epoch of the part that it continued; the
    training of evaluation `best` begins with its first epoch.

    Example:
        >>> from deap_hpo.evaluation import Epoch, Evaluation
        >>> def part(number, epochs, start_from=None):
        ...     curve = tuple(Epoch(epoch, 1.0, 1.0 / epoch) for epoch in epochs)
        ...     return Entry(number, 0, (0.5,), Evaluation((1.0,), curve=curve), 0, start_from=start_from)
        >>> table = curves_table([part(0, [1, 2]), part(1, [3], 0), part(2, [4], 1), part(3, [3], 0)], best=2)
        >>> table.groupby("number")["epoch"].apply(list).to_dict()
        {0: [1, 2], 1: [2, 3], 2: [1, 2, 3, 4], 3: [2, 3]}
    """
    column = "validation_loss" if metric is None else f"metrics_{metric}"

    def value_of(epoch: Epoch) -> float:
        return epoch.validation_loss if metric is None else epoch.metrics.get(metric, math.nan)

    known = {entry.number: entry for entry in entries}
    rows = []
    for entry in entries:
        if entry.duplicate_of is not None or not entry.evaluation.curve:
            continue
        points: dict[int, float] = {}  # by epoch, since the curve of an ancestor may hold epochs of several parts
        for part in _ancestors(known, entry, whole=entry.number == best):
            points |= {one.epoch: value_of(one) for one in part}
        points |= {one.epoch: value_of(one) for one in entry.evaluation.curve}
        rows += [{"number": entry.number, "epoch": epoch, column: value} for epoch, value in points.items()]
    return pd.DataFrame(rows)


def _ancestors(known: Mapping[int, Entry], entry: Entry, *, whole: bool) -> list[Sequence[Epoch]]:
    """Return the curves that led to an evaluation: all of them if `whole`, else the last epoch of the last one."""
    if entry.start_from is None:
        return []
    if whole:
        return [one.evaluation.curve for one in training_path(known.values(), entry.number)[:-1]]
    return [known[entry.start_from].evaluation.curve[-1:]]
