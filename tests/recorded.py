"""A small record, for the tests of tables, figures and reports."""

from __future__ import annotations

import math

from deap_hpo.evaluation import Epoch, Evaluation
from deap_hpo.records.entries import Entry
from deap_hpo.search_space.space import Categorical, Float, Space

SPACE = Space({"lr": Float(0.001, 1.0, log=True), "kind": Categorical(["a", "b"])})


def entries() -> tuple[Entry, ...]:
    """Diverged, trained, better, the same again, failed."""
    curve = (Epoch(1, 0.9, 0.8, {"accuracy": 0.5}), Epoch(2, 0.6, 0.5, {"accuracy": 0.7}))
    good = Evaluation((0.5,), curve=curve, metrics={"accuracy": 0.7}, seconds=2.0)
    return (
        Entry(0, 0, (0.9, 0.2), Evaluation((math.inf,), status="diverged", curve=curve[:1], seconds=1.0), seed=7),
        Entry(1, 0, (0.5, 0.2), Evaluation((0.8,), seconds=2.0), seed=7),
        Entry(2, 1, (0.4, 0.7), good, seed=7, parents=(1,), operators=("mutate",)),
        Entry(3, 1, (0.4, 0.7), good, seed=7, duplicate_of=2),
        Entry(4, 1, (0.1, 0.7), Evaluation((math.inf,), status="failed", error="Traceback ..."), seed=7),
    )
