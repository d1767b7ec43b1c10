"""A model of the objective over the search space, fitted to evaluations on record, and how well it predicts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor

from deap_hpo.errors import InputError
from deap_hpo.search_space.space import Int, Space

MODELS = ("forest", "gp", "nearest")
_FEWEST = 10  # evaluations that a model needs at least

Genes = NDArray[np.float64]


class ResponseModel:
    """Predicts the objective at hyperparameters that were not tried.

    Values are modelled on a log scale if all are positive, because losses differ most where they are small. An
    evaluation without a finite value counts as the worst finite one, and a gene without effect is 0.5.

    Args:
        trials: As returned by `deap_hpo.analysis.tables.trials_table`: `value`, `status`, ``params_*``. Repeated
            evaluations are left out.
        space: The search space, whose genes are the inputs.
        model: "gp", a Gaussian process (Matérn 5/2, one length scale per hyperparameter, noise fitted); "forest", a
            random forest of 300 trees; "nearest", the value of the nearest evaluation.

    Attributes:
        genes: The genomes that it was fitted to, an array [evaluations, hyperparameters].
        used: Whether each gene has an effect, of the same shape.

    Raises:
        InputError: There is no such model, or there are fewer than 10 evaluations, or none with a finite value.

    Example:
        >>> from deap_hpo import Float
        >>> x = np.linspace(0.0, 1.0, 20)
        >>> trials = pd.DataFrame({"params_x": x, "value": 1 + (x - 0.5) ** 2, "status": "ok"})
        >>> model = ResponseModel(trials, Space({"x": Float(0.0, 1.0)}), model="gp")
        >>> [round(float(value), 2) for value in model.predict(np.array([[0.0], [0.5]]))]
        [1.25, 1.0]
    """

    def __init__(self, trials: pd.DataFrame, space: Space, *, model: str = "gp") -> None:
        if model not in MODELS:
            raise InputError(f"model must be one of {', '.join(MODELS)}; got {model!r}.")
        self.space = space
        self.model = model
        kept = first_evaluations(trials)
        params = params_in_use(kept, space)
        self.genes: Genes = np.array([space.encode(row) for row in params], dtype=float)
        self.used = np.array([[name in row for name in space] for row in params])
        values = capped_values(kept)
        self._logarithmic = bool((values > 0).all())
        self.targets = np.log(values) if self._logarithmic else values
        self._fitted = _fitted(model, self.genes, self.targets)

    def predict(self, genes: Genes) -> NDArray[np.float64]:
        """Predict the objective of genomes, an array [n, hyperparameters], as an array [n]."""
        return self.from_scale(self.on_scale(genes))

    def on_scale(self, genes: Genes) -> NDArray[np.float64]:
        """Predict on the scale of the model: logarithmic if all values are positive."""
        return np.asarray(self._fitted.predict(genes), dtype=float)

    def from_scale(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn predictions on the scale of the model into values of the objective."""
        return np.exp(predicted) if self._logarithmic else predicted

    def cross_validate(self, folds: int = 10) -> dict[str, float]:
        """Measure by cross-validation how well evaluations that the model has not seen are predicted.

        Args:
            folds: Number of parts, at least 2, shuffled; each is predicted by a model of the others.

        Returns:
            `r2` and `rmse`, on the scale of the model (log for losses), `mae` (the mean absolute error of the value
            itself), and `spearman`, the rank correlation of predicted with measured.
        """
        predicted = np.empty_like(self.targets)
        for others, part in KFold(folds, shuffle=True, random_state=0).split(self.genes):
            predicted[part] = _fitted(self.model, self.genes[others], self.targets[others]).predict(self.genes[part])
        errors = predicted - self.targets
        return {
            "r2": float(r2_score(self.targets, predicted)),
            "rmse": float(np.sqrt((errors**2).mean())),
            "mae": float(np.abs(self.from_scale(predicted) - self.from_scale(self.targets)).mean()),
            "spearman": float(stats.spearmanr(predicted, self.targets).statistic),
        }


def first_evaluations(trials: pd.DataFrame) -> pd.DataFrame:
    """Leave out evaluations that an earlier one answered, that a pruner ended, or that never started.

    Diverged and failed evaluations stay: they count as the worst, as they do for an algorithm.

    Raises:
        InputError: Fewer than 10 evaluations remain, or none has a finite value.
    """
    kept = asked_evaluations(trials)
    if len(kept) < _FEWEST or not kept["status"].eq("ok").any():
        raise InputError(
            f"At least {_FEWEST} different evaluations, one of them with a finite value, are needed to say what "
            f"hyperparameters do; there are {len(kept)}."
        )
    return kept


def asked_evaluations(trials: pd.DataFrame, statuses: Sequence[str] = ("ok", "diverged", "failed")) -> pd.DataFrame:
    """Keep the evaluations of some statuses that no earlier one answered; by default those of `first_evaluations`."""
    kept = trials[trials["status"].isin(statuses)] if len(trials) else trials
    return kept[kept["duplicate_of"].isna()] if "duplicate_of" in kept else kept


def capped_values(trials: pd.DataFrame) -> NDArray[np.float64]:
    """Return the values, with the worst finite one in place of those that are not finite.

    The value of an evaluation that ended badly is ``inf`` if the objective is minimised, ``-inf`` if it is maximised.
    """
    values = trials["value"].to_numpy(dtype=float)
    finite = values[np.isfinite(values)]
    most, least = finite.max(), finite.min()
    return np.asarray(np.nan_to_num(values, nan=most, posinf=most, neginf=least), dtype=float)


def params_in_use(trials: pd.DataFrame, space: Space) -> list[dict[str, Any]]:
    """Return the hyperparameters of each row of a table, without those that are not in use there."""
    named = trials.reindex(columns=[f"params_{name}" for name in space]).set_axis(list(space), axis=1)
    return [
        {
            # In a column with gaps (rows in which it is not in use), an int is a float.
            name: int(value) if isinstance(space[name], Int) and value % 1 == 0 else value
            for name, value in row.items()
            if not (isinstance(value, float) and math.isnan(value))
        }
        for row in named.to_dict("records")
    ]


def _fitted(model: str, genes: Genes, targets: NDArray[np.float64]) -> Any:
    if model == "nearest":
        return KNeighborsRegressor(n_neighbors=1).fit(genes, targets)
    if model == "forest":
        return RandomForestRegressor(300, min_samples_leaf=2, random_state=0).fit(genes, targets)
    kernel = ConstantKernel(1.0) * Matern([0.5] * genes.shape[1], (0.03, 30.0), nu=2.5) + WhiteKernel(0.05)
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0)
    with warnings.catch_warnings():
        # A length scale at its bound is normal: the hyperparameter has no influence.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(genes, targets)
