"""The effect of each hyperparameter on the objective: partial dependence, interactions, noise between seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from deap_hpo.analysis.response import Genes, ResponseModel, capped_values, first_evaluations
from deap_hpo.errors import InputError
from deap_hpo.search_space.space import Space
from deap_hpo.strategies.genes import GeneColumns


def partial_dependence(model: ResponseModel, *, resolution: int = 40) -> pd.DataFrame:
    """Predict the objective as one hyperparameter varies, averaged over the evaluations' values of the others.

    Only evaluations in which the hyperparameter was in use count. Where a point puts another one into use that an
    evaluation did not have (momentum, with sgd), its values are those of evaluations that had it.

    Args:
        model: Model of the objective.
        resolution: Number of points of each hyperparameter, at least 2; fewer if it has fewer values. A categorical one
            takes each choice.

    Returns:
        One row for each hyperparameter and point: `hyperparameter`, `value`, `mean` (geometric if the model is
        logarithmic), `low`, `high` (between which the middle 80 % of the evaluations' own curves lie).

    Source: Friedman, "Greedy function approximation" (2001); the curves: Goldstein et al., "Peeking inside the black
        box" (2015).
    """
    rows = []
    complete = _complete(model)
    for column, name in enumerate(model.space):
        genes = complete[model.used[:, column]]
        for gene in _points(model.space, name, resolution) if len(genes) else ():
            predicted = model.on_scale(_with(model.space, genes, {column: gene}))
            summary = model.from_scale(np.array([predicted.mean(), *np.quantile(predicted, [0.1, 0.9])]))
            value = model.space[name].decode(gene)
            rows.append(
                {"hyperparameter": name, "value": value, **dict(zip(("mean", "low", "high"), summary, strict=True))}
            )
    return _with_choices(rows, "value")


def interactions(model: ResponseModel, *, params: Sequence[str] | None = None, resolution: int = 31) -> pd.DataFrame:
    """Predict the objective over two hyperparameters at a time, averaged over the others as for `partial_dependence`.

    Args:
        model: Model of the objective.
        params: The hyperparameters to pair with each other; by default all.
        resolution: Number of points on each axis, at least 2; fewer if there are fewer values.

    Returns:
        One row for each pair and pair of points: `first`, `second` (names), `first_value`, `second_value`, `mean`
        (geometric if the model is logarithmic), and on the model's scale `effect` (the same) and `additive` (the
        prediction from the two main effects alone).
    """
    rows = []
    complete = _complete(model)
    asked = [(i, name) for i, name in enumerate(model.space) if params is None or name in params]
    for (i, first), (j, second) in combinations(asked, 2):
        grids = [_points(model.space, name, resolution) for name in (first, second)]
        means = np.array(
            [[model.on_scale(_with(model.space, complete, {i: a, j: b})).mean() for b in grids[1]] for a in grids[0]]
        )
        additive = means.mean(axis=1, keepdims=True) + means.mean(axis=0, keepdims=True) - means.mean()
        for row, a in enumerate(grids[0]):
            for column, b in enumerate(grids[1]):
                rows.append(
                    {
                        "first": first,
                        "second": second,
                        "first_value": model.space[first].decode(a),
                        "second_value": model.space[second].decode(b),
                        "mean": float(model.from_scale(means[row, column])),
                        "effect": float(means[row, column]),
                        "additive": float(additive[row, column]),
                    }
                )
    return _with_choices(rows, "first_value", "second_value")


def interaction_strengths(maps: pd.DataFrame) -> pd.DataFrame:
    """Measure how much of the joint effect of two hyperparameters is not the sum of their main effects.

    Args:
        maps: As returned by `interactions`.

    Returns:
        One row for each pair: `first`, `second`, `share` (of the variance over the map, on the
        model's scale; 0 is none).

    Source: the H statistic of Friedman & Popescu, "Predictive learning via rule ensembles" (2008), over a grid.
    """
    rows = []
    for (first, second), cells in maps.groupby(["first", "second"], sort=False):
        beyond = ((cells["effect"] - cells["additive"]) ** 2).mean()
        whole = cells["effect"].var(ddof=0)
        rows.append({"first": first, "second": second, "share": beyond / whole if whole > 0 else 0.0})
    return pd.DataFrame(rows)


def momentum_exponent(trials: pd.DataFrame, *, resamples: int = 1000) -> dict[str, float]:
    """Estimate how momentum trades off against the learning rate: which lr / (1 - momentum)**a decides the loss.

    For every a from -1 to 3, trainings are sorted by that rate. The better the rate decides the loss, the less the
    logarithm of the loss jumps from one training to the next. The estimate is the a with the smallest mean absolute
    jump. With a = 1, momentum does nothing but enlarge steps by 1 / (1 - momentum), as if gradients stayed the same.

    Args:
        trials: A table with `params_lr` and `params_momentum`; diverged trainings count as the worst finite value.
        resamples: Number of random halves of the trainings for the interval, at least 100; estimates from halves spread
            as much as an estimate from all (delete-half jackknife).

    Returns:
        `exponent`, `low` and `high` (95 % interval, percentiles), and the mean jumps, as ratios of losses:
        `jump` (at that exponent), `jump_lr` (a = 0: the learning rate alone), `jump_effective` (a = 1); and `rows`.

    Raises:
        InputError: There are no such columns, or fewer than 10 evaluations.
    """
    missing = {"params_lr", "params_momentum"} - set(trials)
    if missing:
        raise InputError(f"trials must have the columns params_lr and params_momentum; missing {sorted(missing)}.")
    kept = first_evaluations(trials)
    losses = np.log(capped_values(kept))
    rate = np.log(kept["params_lr"].to_numpy(dtype=float))
    damping = -np.log1p(-kept["params_momentum"].to_numpy(dtype=float))
    exponents = np.linspace(-1.0, 3.0, 81)

    def jumps(rows: NDArray[np.int_]) -> NDArray[np.float64]:
        rates = rate[rows] + exponents[:, None] * damping[rows]
        ordered = losses[rows][np.argsort(rates, axis=1, kind="stable")]
        return np.asarray(np.abs(np.diff(ordered, axis=1)).mean(axis=1))

    everything = jumps(np.arange(len(kept)))
    generator = np.random.default_rng(0)
    halves = [generator.permutation(len(kept))[: len(kept) // 2] for _ in range(resamples)]
    low, high = np.quantile([exponents[jumps(half).argmin()] for half in halves], [0.025, 0.975])
    return {
        "exponent": float(exponents[everything.argmin()]),
        "low": float(low),
        "high": float(high),
        "jump": float(np.exp(everything.min())),
        "jump_lr": float(np.exp(everything[np.abs(exponents).argmin()])),
        "jump_effective": float(np.exp(everything[np.abs(exponents - 1).argmin()])),
        "rows": float(len(kept)),
    }


def noise(repeats: pd.DataFrame) -> pd.DataFrame:
    """Measure how much the same configuration varies between seeds.

    Args:
        repeats: One row for each training: `configuration` (an identifier), `value`, `status`.

    Returns:
        One row for each configuration, best mean first: `configuration`, `seeds`, `diverged`, `mean`, `std` (sample
        standard deviation) and `low`, `high` (extremes) of the finite values; `std` is NaN if there is only one.

    Example:
        >>> table = pd.DataFrame({"configuration": [0, 0, 1, 1], "value": [1.0, 3.0, 0.5, 0.5], "status": "ok"})
        >>> noise(table)[["configuration", "mean", "std"]].round(2).values.tolist()
        [[1.0, 0.5, 0.0], [0.0, 2.0, 1.41]]
    """
    rows = []
    for configuration, group in repeats.groupby("configuration"):
        finite = group.loc[group["status"].eq("ok"), "value"]
        rows.append(
            {
                "configuration": configuration,
                "seeds": len(group),
                "diverged": int(group["status"].ne("ok").sum()),
                "mean": finite.mean(),
                "std": finite.std(ddof=1),
                "low": finite.min(),
                "high": finite.max(),
            }
        )
    return pd.DataFrame(rows).sort_values("mean", kind="stable", ignore_index=True)


def noise_share(repeats: pd.DataFrame) -> dict[str, float]:
    """Measure which share of the variance of the log losses lies between seeds rather than between configurations.

    Args:
        repeats: As for `noise`, with the same number of seeds for all configurations. Configurations with a diverged
            seed are left out.

    Returns:
        `share` (one minus the intraclass correlation of a one-way random-effects analysis of variance), `ratio` (a
        typical factor between two seeds of one configuration: exp of the standard deviation of their difference),
        `configurations`, `p` (of the F test that configurations do not differ).

    Raises:
        InputError: There are fewer than two configurations without a diverged seed.

    Source: Shrout & Fleiss, "Intraclass correlations" (1979), case 1.
    """
    finite = repeats.groupby("configuration").filter(lambda group: bool(group["status"].eq("ok").all()))
    groups = [np.log(group["value"].to_numpy(dtype=float)) for _, group in finite.groupby("configuration")]
    if len(groups) < 2:
        raise InputError(f"repeats must hold 2 or more configurations of which no seed diverged; got {len(groups)}.")
    size = len(groups[0])
    within = float(np.mean([group.var(ddof=1) for group in groups]))
    between = max(0.0, float(np.var([group.mean() for group in groups], ddof=1)) - within / size)
    return {
        "share": within / (within + between),
        "ratio": float(np.exp(np.sqrt(2 * within))),
        "configurations": float(len(groups)),
        "p": float(stats.f_oneway(*groups).pvalue),
    }


def _with_choices(rows: list[dict[str, Any]], *columns: str) -> pd.DataFrame:
    """Make a table of rows in which None, if it is a choice, stays None."""
    table = pd.DataFrame(rows)
    for column in columns:
        values = [row[column] for row in rows]
        if None in values:
            table[column] = pd.Series(values, dtype=object)
    return table


def _points(space: Space, name: str, resolution: int) -> NDArray[np.float64]:
    hyperparameter: Any = space[name]
    if math.isinf(hyperparameter.size):
        return np.asarray(np.linspace(0.0, 1.0, resolution), dtype=np.float64)
    return np.array([hyperparameter.encode(value) for value in hyperparameter.grid(resolution)], dtype=float)


def _complete(model: ResponseModel) -> Genes:
    """Give the genomes with a value for each gene: those not in use get genes of evaluations that had them, in turn."""
    genes: Genes = model.genes.copy()
    for column, used in enumerate(model.used.T):
        tried, missing = genes[used, column], int((~used).sum())
        if len(tried):  # evenly, so that early and late evaluations of a search both count
            genes[~used, column] = tried[np.arange(missing) * len(tried) // max(missing, 1)]
    return genes


def _with(space: Space, genes: Genes, fixed: dict[int, float]) -> Genes:
    changed: Genes = genes.copy()
    for column, gene in fixed.items():
        changed[:, column] = gene
    # With another choice, some hyperparameters may no longer be in use.
    return GeneColumns(space).snap(changed) if space.conditions.allowed else changed
