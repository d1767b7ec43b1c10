"""The data of a study for its figures (evaluations, goal, hyperparameters, evidence), or an error if there are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from deap_hpo.analysis.names import value_name
from deap_hpo.errors import InputError, hint, shown
from deap_hpo.results import Results, space_of
from deap_hpo.search_space.space import Space

if TYPE_CHECKING:
    from deap_hpo.analysis.evidence import Evidence


def check_study(study: Any) -> None:
    """Check that an object is a study of this package.

    Raises:
        InputError: It is not.

    Example:
        >>> check_study("quick")
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: study must be a study of this package, as `optimize` returns and \
`load_study(name, storage)` reads; got 'quick'.
    """
    if not isinstance(study, Results):
        kind = type(study)
        given = shown(study) if study is None or kind is str else f"one of type {kind.__module__}.{kind.__qualname__}"
        within = ", whose attribute `study` is one" if isinstance(getattr(study, "study", None), Results) else ""
        raise InputError(
            "study must be a study of this package, as `optimize` returns and `load_study(name, storage)` reads; "
            f"got {given}{within}."
        )


def check_drawable(study: Results) -> None:
    """Check that a study has something to draw.

    Raises:
        InputError: It is not a study, or no evaluation ended well and satisfies its constraints.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> check_drawable(optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, max_evaluations=3))
    """
    check_study(study)
    if not any(entry.evaluation.feasible for entry in study.entries):
        raise InputError(
            f"The study {study.name!r} has no evaluation to draw that ended well and keeps its constraints."
        )


def trials_of(study: Results) -> pd.DataFrame:
    """Give the table of a study's trials, if there is something to draw; see `check_drawable`.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> len(trials_of(optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, max_evaluations=3)))
        3
    """
    check_drawable(study)
    return study.trials_dataframe()


def goal_of(study: Results) -> dict[str, Any]:
    """Give the arguments of a figure for the name and the direction of the objective.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> goal_of(optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, max_evaluations=3))
        {'value_name': 'value', 'direction': 'minimize'}
    """
    return {"value_name": value_name(study), "direction": study.directions[0]}


def part_of(space: Space, params: Sequence[str]) -> Space:
    """Give the part of a space with the given names.

    Raises:
        InputError: There is no such hyperparameter, or no name is given.

    Example:
        >>> from deap_hpo import Float
        >>> list(part_of(Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}), ["y"]))
        ['y']
    """
    if isinstance(params, str) or not params:
        raise InputError(f"params must be a list of at least one hyperparameter's name; got {params!r}.")
    for name in params:
        if name not in space:
            raise InputError(f"params: the study has no hyperparameter {name!r}. {hint(name, space)}")
    return Space({name: one for name, one in space.items() if name in params})


def evidence_of(study: Results) -> Evidence:
    """Give the evidence of a study about the effects of its hyperparameters; see `deap_hpo.analysis.evidence`.

    Raises:
        InputError: There are fewer than 20, too few that differ, or the study has no space.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> study = optimize(lambda params: params["x"] ** 2, {"x": Float(-1.0, 1.0)}, max_evaluations=30, seed=1)
        >>> evidence = evidence_of(study)
        >>> from deap_hpo.visualization import plot_param_importances, plot_partial_dependence
        >>> figures = [draw(study, evidence=evidence) for draw in (plot_param_importances, plot_partial_dependence)]
    """
    check_study(study)
    from deap_hpo.analysis.evidence import Evidence  # imports scikit-learn, which takes seconds

    return Evidence.of(study.trials_dataframe(), space_of(study), study.directions[0])
