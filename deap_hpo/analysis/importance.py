"""How important each hyperparameter is: its share of what makes evaluations differ, overall and among the best."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import BaseImportanceEvaluator

from deap_hpo.analysis.response import capped_values, first_evaluations, params_in_use
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.records.quiet_optuna import quiet_optuna
from deap_hpo.records.trials import distributions
from deap_hpo.search_space.space import Space


def importances(
    trials: pd.DataFrame, space: Space, *, direction: Direction = "minimize", seed: int = 0
) -> pd.DataFrame:
    """Say which share of the objective's variation each hyperparameter explains.

    Args:
        trials: As returned by `deap_hpo.analysis.tables.trials_table`. An evaluation without a finite value counts as
            the worst finite one; a hyperparameter that was not in use counts with a value by chance.
        space: The search space.
        direction: Which evaluations are the best.
        seed: Seed of the forest that fANOVA fits, and of such values.

    Returns:
        One row for each hyperparameter, the most important first: `hyperparameter`, `fanova` (its main
        effect's share of the variance over the whole space, as a part of the sum of all main effects; each
        hyperparameter on its own scale, of the logarithm of the values where all are positive), `ped_anova` (how much
        it tells the best tenth of the evaluations from the others). Each column adds up to 1.

    Source: Hutter, Hoos & Leyton-Brown, "An efficient approach for assessing hyperparameter importance" (ICML 2014);
        Watanabe, Bansal & Hutter, "PED-ANOVA" (IJCAI 2023). Computed by Optuna, whose own fANOVA of a study takes log
        scales for linear ones.

    Raises:
        InputError: There are fewer than 10 evaluations, none with a finite value, or all with the same one.

    Example:
        >>> from deap_hpo import Float
        >>> lr, momentum = np.random.default_rng(0).random((2, 100))
        >>> trials = pd.DataFrame({"params_lr": lr, "params_momentum": momentum, "value": 1 - lr, "status": "ok"})
        >>> found = importances(trials, Space({"lr": Float(0.0, 1.0), "momentum": Float(0.0, 1.0)}))
        >>> found["hyperparameter"].tolist(), bool(found["fanova"][0] > 0.9)
        (['lr', 'momentum'], True)
    """
    kept = first_evaluations(trials)
    values = capped_values(kept)
    scaled = np.log(values) if (values > 0).all() else values / (np.abs(values).max() or 1.0)
    if np.ptp(scaled) == 0:
        raise InputError(f"All evaluations have the value {values[0]:g}: that tells no hyperparameter from another.")
    scaled = (scaled - scaled.min()) / np.ptp(scaled)  # a forest takes the smallest differences for none
    params = params_in_use(kept, space)
    # fANOVA averages over ranges evenly: over genes, since a space is drawn from evenly on its own scale. A category is
    # one gene as well: over one-hot columns, the time would double with each choice.
    # What is not in use gets one by chance: by a fixed one it would be known what another hyperparameter was, of which
    # it would have the importance.
    rng = random.Random(seed)
    drawn = [
        {name: space[name].encode(used[name]) if name in used else rng.random() for name in space} for used in params
    ]
    unit = dict.fromkeys(space, FloatDistribution(0.0, 1.0))
    decoded = [{name: space[name].decode(gene) for name, gene in genes.items()} for genes in drawn]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        fanova = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        ped_anova = optuna.importance.PedAnovaImportanceEvaluator()
    shares = {
        "fanova": _shares(drawn, unit, scaled, direction, fanova),
        "ped_anova": _shares(decoded, distributions(space), scaled, direction, ped_anova),
    }
    table = pd.DataFrame(shares).sort_values("fanova", ascending=False).rename_axis("hyperparameter").reset_index()
    return table[["hyperparameter", *shares]]


def _shares(
    points: list[dict[str, Any]],
    known: Mapping[str, BaseDistribution],
    values: NDArray[np.float64],
    direction: Direction,
    evaluator: BaseImportanceEvaluator,
) -> dict[str, float]:
    with quiet_optuna():
        study = optuna.create_study(direction=direction)
    study.add_trials(
        [
            optuna.create_trial(params=point, distributions=dict(known), value=float(value))
            for point, value in zip(points, values, strict=True)
        ]
    )
    return optuna.importance.get_param_importances(study, evaluator=evaluator)
