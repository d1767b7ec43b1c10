"""The importance of each hyperparameter: its share of the differences between evaluations, overall and at the best."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import BaseImportanceEvaluator
from optuna.trial import FrozenTrial

from deap_hpo.analysis.response import capped_values, first_evaluations, params_in_use
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.records.quiet_optuna import quiet_optuna
from deap_hpo.records.trials import distributions
from deap_hpo.search_space.space import Space

_RESAMPLES = 10
_TREES, _TREES_OF_A_RESAMPLE = 64, 8  # of fANOVA's forest: small ones are quick, and make the spread rather too wide


def importances(
    trials: pd.DataFrame, space: Space, *, direction: Direction = "minimize", seed: int = 0
) -> pd.DataFrame:
    """Compute which share of the objective's variation each hyperparameter explains.

    Args:
        trials: As returned by `deap_hpo.analysis.tables.trials_table`. An evaluation without a finite value counts as
            the worst finite one; a hyperparameter that was not in use gets a random value.
        space: The search space.
        direction: Whether lower or higher values are better.
        seed: Seed of the forest that fANOVA fits, and of the random values.

    Returns:
        One row for each hyperparameter, the most important first: `hyperparameter`, `fanova` (the variance of its main
        effect over the whole space, as a share of the sum of all main effects; each hyperparameter is on its own scale,
        and the values are logarithms if all are positive), `ped_anova` (how much it tells the best tenth of the
        evaluations from the others). Each of the two adds up to 1. `fanova_std` and `ped_anova_std` are their standard
        deviations over ten bootstrap resamples of the evaluations: a share that is not three times as large may be
        chance.

    Source: Hutter, Hoos & Leyton-Brown, "An efficient approach for assessing hyperparameter importance" (ICML 2014);
        Watanabe, Bansal & Hutter, "PED-ANOVA" (IJCAI 2023). Computed by Optuna, whose own fANOVA of a study treats log
        scales as linear ones.

    Raises:
        InputError: There are fewer than 10 evaluations, none with a finite value, or all with the same one.

    Example:
        >>> from deap_hpo import Float
        >>> lr, momentum = np.random.default_rng(0).random((2, 100))
        >>> trials = pd.DataFrame({"params_lr": lr, "params_momentum": momentum, "value": 1 - lr, "status": "ok"})
        >>> found = importances(trials, Space({"lr": Float(0.0, 1.0), "momentum": Float(0.0, 1.0)}))
        >>> found["hyperparameter"].tolist(), bool(found["fanova"][0] > 0.9), bool(found["fanova_std"][0] < 0.1)
        (['lr', 'momentum'], True, True)
    """
    kept = first_evaluations(trials)
    values = capped_values(kept)
    scaled = np.log(values) if (values > 0).all() else values / (np.abs(values).max() or 1.0)
    if np.ptp(scaled) == 0:
        raise InputError(f"All evaluations have the value {values[0]:g}, so importances cannot be computed.")
    scaled = (scaled - scaled.min()) / np.ptp(scaled)  # a forest ignores very small differences
    params = params_in_use(kept, space)
    # fANOVA averages uniformly over ranges. It gets genes, since a space is sampled uniformly on its own scale. A
    # category is one gene too: with one-hot columns, the time would double with each choice.
    # A hyperparameter that is not in use gets a random gene. A fixed one would reveal the value of the hyperparameter
    # that it depends on, and take over its importance.
    rng = random.Random(seed)
    drawn = [
        {name: space[name].encode(used[name]) if name in used else rng.random() for name in space} for used in params
    ]
    unit = dict.fromkeys(space, FloatDistribution(0.0, 1.0))
    decoded = [{name: space[name].decode(gene) for name, gene in genes.items()} for genes in drawn]
    looked_at = {
        "fanova": _trials(drawn, unit, scaled),
        "ped_anova": _trials(decoded, distributions(space), scaled),
    }
    table = _shares(looked_at, range(len(scaled)), direction, _TREES, seed)
    resamples = [_shares(looked_at, rows, direction, _TREES_OF_A_RESAMPLE, seed) for rows in _resampled(scaled, seed)]
    spread = pd.concat(resamples).groupby(level=0).std()
    table = table.join(spread.add_suffix("_std")).sort_values("fanova", ascending=False)
    table = table.rename_axis("hyperparameter").reset_index()
    return table[["hyperparameter", "fanova", "fanova_std", "ped_anova", "ped_anova_std"]]


def _resampled(values: NDArray[np.float64], seed: int) -> Iterator[Sequence[int]]:
    """Draw rows with replacement, as many as there are; again where all have the same value."""
    rng = np.random.default_rng(seed)
    for _ in range(_RESAMPLES):
        rows = rng.integers(len(values), size=len(values))
        while np.ptp(values[rows]) == 0:
            rows = rng.integers(len(values), size=len(values))
        yield rows.tolist()


def _trials(
    points: Sequence[Mapping[str, Any]], known: Mapping[str, BaseDistribution], values: NDArray[np.float64]
) -> list[FrozenTrial]:
    """Make the trials that Optuna looks at: genes or hyperparameters, and the scaled objective."""
    return [
        optuna.create_trial(params=dict(point), distributions=dict(known), value=float(value))
        for point, value in zip(points, values, strict=True)
    ]


def _shares(
    trials: Mapping[str, Sequence[FrozenTrial]], rows: Sequence[int], direction: Direction, trees: int, seed: int
) -> pd.DataFrame:
    """Compute both kinds of importance from some rows of the trials."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluators: dict[str, BaseImportanceEvaluator] = {
            "fanova": optuna.importance.FanovaImportanceEvaluator(n_trees=trees, seed=seed),
            "ped_anova": optuna.importance.PedAnovaImportanceEvaluator(),
        }
    found = {}
    for kind, evaluator in evaluators.items():
        with quiet_optuna():
            study = optuna.create_study(direction=direction)
        study.add_trials([trials[kind][row] for row in rows])
        found[kind] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return pd.DataFrame(found)
