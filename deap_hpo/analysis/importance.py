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
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from deap_hpo.analysis.fanova import main_effects
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
        Watanabe, Bansal & Hutter, "PED-ANOVA" (IJCAI 2023). The second is computed by Optuna.

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
    genes = np.array([[of_one[name] for name in sorted(space)] for of_one in drawn])
    decoded = [{name: space[name].decode(gene) for name, gene in genes.items()} for genes in drawn]
    decoded_trials = _trials(decoded, distributions(space), scaled)

    def shares(rows: Sequence[int], trees: int) -> pd.DataFrame:
        effects = main_effects(genes[rows], scaled[rows], trees=trees, seed=seed)
        return pd.DataFrame(
            {
                "fanova": _of_their_sum(dict(zip(sorted(space), effects, strict=True))),
                "ped_anova": _ped_anova([decoded_trials[row] for row in rows], direction),
            }
        )

    table = shares(range(len(scaled)), _TREES)
    resamples = [shares(rows, _TREES_OF_A_RESAMPLE) for rows in _resampled(scaled, seed)]
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


def _of_their_sum(effects: Mapping[str, float]) -> dict[str, float]:
    """Divide by the sum, the largest first."""
    ordered = dict(reversed(sorted(effects.items(), key=lambda item: item[1])))
    total = sum(ordered.values())
    return {name: effect / total if total else 1 / len(ordered) for name, effect in ordered.items()}


def _ped_anova(trials: Sequence[FrozenTrial], direction: Direction) -> dict[str, float]:
    with quiet_optuna():
        study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return optuna.importance.get_param_importances(study, evaluator=evaluator)
