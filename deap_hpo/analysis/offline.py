"""A table of real trainings as an offline benchmark: an objective that answers at once, for trying out strategies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deap_hpo.analysis.response import ResponseModel, first_evaluations
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import Evaluator
from deap_hpo.files import expanded
from deap_hpo.search_space.space import Space


class OfflineBenchmark(Evaluator):
    """Evaluates hyperparameters by a table of trainings instead of training; register it as `evaluate`.

    Between the rows of the table there are no measurements, and `model` decides the answer there. "nearest" gives the
    outcome of the nearest row, divergence included (nothing is made up, but the landscape has steps). "gp" and "forest"
    give a model's prediction, in which divergence counts as the worst loss of the table. `cross_validate` measures how
    far such answers are from trainings that the model has not seen: smaller differences mean nothing.

    Args:
        trials: As returned by `read_table` or `deap_hpo.analysis.tables.trials_table`.
        space: The search space of the table.
        model: "nearest", "gp" or "forest"; see `deap_hpo.analysis.response.ResponseModel`.
        name: Name of the benchmark on record.

    Raises:
        InputError: There is no such model, or the table has fewer than 10 rows, or none with a finite value.

    Example:
        >>> from deap_hpo import Float
        >>> trials = pd.DataFrame({"params_x": np.linspace(0, 1, 11), "value": np.linspace(1, 2, 11), "status": "ok"})
        >>> benchmark = OfflineBenchmark(trials, Space({"x": Float(0.0, 1.0)}), model="nearest")
        >>> round(benchmark({"x": 0.52}).value, 3)
        1.5
    """

    def __init__(self, trials: pd.DataFrame, space: Space, *, model: str = "gp", name: str = "offline") -> None:
        self.space = space
        self.name = name
        self._response = ResponseModel(trials, space, model=model)
        self._trials = first_evaluations(trials).reset_index(drop=True)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the answers depend on, for the record of a study."""
        return {"offline": self.name, "rows": len(self._trials), "model": self._response.model}

    @property
    def best_value(self) -> float:
        """The lowest value in the table."""
        return float(self._trials["value"].min())

    def evaluate(self, request: Request) -> Evaluation:
        """Answer a request for the outcome of its hyperparameters."""
        genes = np.array([self.space.encode(request.params)])
        if self._response.model == "nearest":
            distances = ((self._response.genes - genes) ** 2).sum(axis=1)
            row = self._trials.iloc[int(distances.argmin())]
            return Evaluation((float(row["value"]),), status=row["status"])
        return Evaluation((float(self._response.predict(genes)[0]),))

    def cross_validate(self, folds: int = 10) -> dict[str, float]:
        """Measure how well left-out rows are predicted; see `ResponseModel.cross_validate`."""
        return self._response.cross_validate(folds)


def read_table(path: str | Path, sample: str | None = None) -> tuple[pd.DataFrame, Space]:
    """Read a table of trainings, and its search space from the JSON file beside it.

    Args:
        path: The Parquet file; reading it needs pyarrow (``pip install "deap-hpo[tables]"``).
        sample: Name of the part to keep, as in the column `sample`; None keeps all.

    Returns:
        The table, one row for each training (`value`, `status`, ``params_*`` and its other columns), and the space.

    Raises:
        InputError: A file is missing or is not such a table, pyarrow is not installed, or there is no such sample.
    """
    path = expanded(path)
    try:
        table = pd.read_parquet(path)
        space = Space.from_dict(json.loads(path.with_suffix(".json").read_text("utf-8"))["space"])
    except ImportError:
        raise InputError('Reading a Parquet file needs pyarrow: pip install "deap-hpo[tables]".') from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The table {path}, or the JSON file beside it, could not be read: {error}.") from None
    missing = {"value", "status", *(f"params_{name}" for name in space)} - set(table)
    if missing:
        raise InputError(f"The table {path} lacks the columns {', '.join(sorted(missing))}.")
    if sample is None:
        return table, space
    known = sorted(table["sample"].unique()) if "sample" in table else []
    if sample not in known:
        raise InputError(f"sample must be one of {', '.join(known) or 'none'}, or None; got {sample!r}.")
    return table[table["sample"].eq(sample)].reset_index(drop=True), space
