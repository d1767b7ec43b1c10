"""Ranges that were too narrow: the best evaluations of a study crowd at one end."""

from __future__ import annotations

from deap_hpo.evaluation import sign_of
from deap_hpo.results import Results
from deap_hpo.search_space.space import Categorical
from deap_hpo.wording import format_cell

_FEWEST = 10  # evaluations with a value; of fewer, the best are where the first draws happened to fall
_BEST = 3
_OUTER = 0.05  # share of the range, on its scale
_COARSE = 8  # with fewer values, it means little that a hyperparameter is at an end


def crowded_ends(study: Results) -> dict[str, str]:
    """Return the hyperparameters for which the three best evaluations are at one end of the range, with that end.

    An evaluation is at an end if its gene is in the outermost twentieth of the range, or its value is the last one.
    Categorical hyperparameters and those with fewer than eight values are left out. So is a lower end of 0, which
    mostly cannot be lowered. Nothing is returned if fewer than ten evaluations had a value, or for several objectives,
    where no evaluation is the best.

    Returns:
        "lower" or "upper", by name.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> space = {"x": Float(0.0, 1.0), "y": Float(-1.0, 1.0)}
        >>> loss = lambda params: params["y"] ** 2 - params["x"]
        >>> study = optimize(loss, space, generations=4, seed=1, progress=False)
        >>> crowded_ends(study)
        {'x': 'upper'}
    """
    space = study.space
    if space is None or len(study.directions) > 1:
        return {}
    sign = sign_of(study.directions[0])
    asked = [entry for entry in study.entries if entry.evaluation.feasible and entry.duplicate_of is None]
    ranked = sorted(asked, key=lambda entry: sign * entry.evaluation.value)
    if len(ranked) < _FEWEST or ranked[_BEST - 1].evaluation.value == ranked[-1].evaluation.value:
        return {}  # too few, or all the same
    found = {}
    best = [space.snap(entry.genes) for entry in ranked[:_BEST]]
    in_use = [space.decode(genes) for genes in best]
    for place, (name, hyperparameter) in enumerate(space.items()):
        if isinstance(hyperparameter, Categorical) or hyperparameter.size < _COARSE:
            continue
        if not all(name in params for params in in_use):
            continue
        lowest, highest = hyperparameter.snap(0.0), hyperparameter.snap(1.0)  # genes of the first and the last value
        if all(genes[place] <= max(_OUTER, lowest) for genes in best) and hyperparameter.low != 0:
            found[name] = "lower"
        elif all(genes[place] >= min(1 - _OUTER, highest) for genes in best):
            found[name] = "upper"
    return found


def edge_sentence(study: Results) -> str:
    """Say which hyperparameters may do better with a wider range; empty if no range is too narrow.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> space = {"x": Float(1e-4, 1.0)}
        >>> edge_sentence(optimize(lambda params: params["x"], space, algorithm="random", seed=1, progress=False))
        'The best evaluations are at the lower end of x (0.0001 to 1): a wider range may do better.'
    """
    ends = crowded_ends(study)
    if not ends or study.space is None:
        return ""
    parts = []
    for name, end in ends.items():
        hyperparameter = study.space[name]
        low, high = hyperparameter.decode(0.0), hyperparameter.decode(1.0)
        parts.append(f"the {end} end of {name} ({format_cell(low)} to {format_cell(high)})")
    which = "a wider range" if len(parts) == 1 else "wider ranges"
    return f"The best evaluations are at {' and '.join(parts)}: {which} may do better."
