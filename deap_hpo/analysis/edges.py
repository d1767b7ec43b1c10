"""Where a range was too narrow: the best evaluations of a study crowd at one end of it."""

from __future__ import annotations

from deap_hpo.evaluation import sign_of
from deap_hpo.results import Results
from deap_hpo.search_space.space import Categorical
from deap_hpo.wording import format_cell

_FEWEST = 10  # evaluations that had a value; before, the best are where the first draws fell
_BEST = 3
_OUTER = 0.05  # of the range, on its scale
_COARSE = 8  # values of a hyperparameter below which being at an end is nothing special


def crowded_ends(study: Results) -> dict[str, str]:
    """Give the hyperparameters of whose range the three best evaluations are all at one end, with that end.

    So far as ten evaluations had a value, the three best are at an end where their genes are in its outermost
    twentieth, or the value is the last one. Left out are hyperparameters with fewer than eight values, and a lower end
    of 0, which is mostly as low as they may be. With several objectives no evaluation is the best, and nothing is said.

    Returns:
        "lower" or "upper", by name.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> space = {"x": Float(0.0, 1.0), "y": Float(-1.0, 1.0)}
        >>> study = optimize(lambda params: params["y"] ** 2 - params["x"], space, seed=1, progress=False)
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
        lowest, highest = (
            hyperparameter.snap(0.0),
            hyperparameter.snap(1.0),
        )  # the genes of the first and the last value
        if all(genes[place] <= max(_OUTER, lowest) for genes in best) and hyperparameter.low != 0:
            found[name] = "lower"
        elif all(genes[place] >= min(1 - _OUTER, highest) for genes in best):
            found[name] = "upper"
    return found


def edge_sentence(study: Results) -> str:
    """Say that a wider range may do better, and of what; nothing where no range is too narrow.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> edge_sentence(optimize(lambda params: params["x"], {"x": Float(1e-4, 1.0)}, seed=1, progress=False))
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
