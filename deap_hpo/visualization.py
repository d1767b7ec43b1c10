"""Figures of a study, run or on record, by one call each, with Optuna's names.

Each function returns a matplotlib figure to show or save. `deap_hpo.analysis` computes the tables for it, and
`deap_hpo.plotting`, which takes tables of any origin, draws them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from deap_hpo.analysis.fronts import front_table
from deap_hpo.analysis.lineages import curves_table, lineage_table
from deap_hpo.analysis.names import shown_by_epoch, value_name
from deap_hpo.drawable import check_drawable, check_study, goal_of, part_of, trials_of
from deap_hpo.drawable import evidence_of as evidence_of  # public here, next to the functions that draw it
from deap_hpo.errors import InputError
from deap_hpo.evaluation import BEST_EPOCH
from deap_hpo.plotting import impact, lineage, parallel, pareto
from deap_hpo.plotting import study as trials_drawn
from deap_hpo.plotting.panels import MOST_PANELS, entitled, panels
from deap_hpo.results import Results, space_of
from deap_hpo.search_space.space import Space
from deap_hpo.vocabulary import FIGURES, no_attribute

if TYPE_CHECKING:
    from deap_hpo.analysis.evidence import Evidence
else:  # with `__getattr__`, type checkers would accept every attribute

    def __getattr__(name: str) -> Any:
        raise no_attribute(sys.modules[__name__], name, FIGURES)


_MOST_IN_PAIRS = 3  # hyperparameters, with as many pairs


def plot_optimization_history(study: Results) -> Figure:
    """Draw all evaluations in order, and the best value so far.

    Args:
        study: The study, run or on record; if it has several objectives, the first is drawn.

    Raises:
        InputError: It is not a study, or no evaluation ended well.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> study = optimize(lambda params: params["x"] ** 2, {"x": Float(-1.0, 1.0)}, max_evaluations=20, seed=1)
        >>> plot_optimization_history(study).axes[0].get_ylabel()
        'value'
    """
    return trials_drawn.plot_optimization_history(trials_of(study), **goal_of(study))


def plot_intermediate_values(study: Results, metric: str | None = None) -> Figure:
    """Draw the learning curves of all evaluations; that of the best one is highlighted.

    If a training continued an earlier one, their curves are joined.

    Args:
        study: The study, of trainings or of a function that reports (`deap_hpo.functions.reporter.Reporter`).
        metric: The metric of trainings to draw, or "loss" for the validation loss; by default the objective if it was
            measured after each epoch, and otherwise the validation loss.

    Raises:
        InputError: No evaluation has a learning curve, or none of that metric.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> def objective(params, report):
        ...     report(1, params["x"])
        ...     return params["x"]
        >>> study = optimize(objective, {"x": Float(0.0, 1.0)}, max_evaluations=20, seed=1)
        >>> plot_intermediate_values(study).axes[0].get_xlabel()
        'epoch'
    """
    check_drawable(study)
    best = study.best.trained_number
    if not any(entry.evaluation.curve for entry in study.entries):
        raise InputError(f"The study {study.name!r} has no learning curves: nothing was reported while it evaluated.")
    shown = shown_by_epoch(study, metric)
    evaluation = study.best.evaluation
    kept = evaluation.kept_epoch
    return trials_drawn.plot_intermediate_values(
        curves_table(study.entries, best, shown.metric),
        best,
        value_name=shown.name,
        direction=shown.direction,
        objective=value_name(study),
        metric=shown.metric,
        kept=kept.epoch if kept and BEST_EPOCH in evaluation.metrics else None,
    )


def plot_pareto_front(study: Results) -> Figure:
    """Draw all evaluations and the Pareto front, with the first objective against each of the others.

    Args:
        study: The study, with at least two objectives.

    Raises:
        InputError: It has one objective, or no evaluation ended well.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> def objective(params):
        ...     return {"loss": params["x"], "size": 1.0 - params["x"]}
        >>> goals = {"metric": ["loss", "size"], "direction": ["minimize", "minimize"]}
        >>> study = optimize(objective, {"x": Float(0.0, 1.0)}, **goals, max_evaluations=20, seed=1)
        >>> plot_pareto_front(study).axes[0].get_ylabel()
        'loss (less is better)'
    """
    check_study(study)
    if len(study.directions) < 2:
        raise InputError(f"A Pareto front is of several objectives; the study {study.name!r} has one.")
    check_drawable(study)
    table = front_table(study.entries, study.directions, study.objective_names)
    return pareto.plot_pareto_front(table, study.objective_names, study.directions)


def plot_slice(study: Results, params: Sequence[str] | None = None) -> Figure:
    """Draw each hyperparameter against the objective.

    Args:
        study: The study; if it has several objectives, the first is drawn.
        params: Which hyperparameters, at least one; by default all, or the 12 most important if there are more.

    Raises:
        InputError: No evaluation ended well, there is no such hyperparameter, or the study has no space.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> space = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)}
        >>> study = optimize(lambda params: params["x"] ** 2, space, max_evaluations=20, seed=1)
        >>> plot_slice(study, ["y"]).axes[0].get_xlabel()
        'y'
    """
    trials, shown, which = trials_of(study), *_shown(study, params)
    return entitled(trials_drawn.plot_slice(trials, shown, **goal_of(study)), which)


def plot_parallel_coordinate(study: Results, params: Sequence[str] | None = None) -> Figure:
    """Draw each evaluation as a line through its hyperparameters to its value; better ones are darker.

    Args:
        study: The study; if it has several objectives, the first is drawn.
        params: As for `plot_slice`.

    Raises:
        InputError: As for `plot_slice`.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> space = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)}
        >>> study = optimize(lambda params: params["x"] ** 2, space, max_evaluations=20, seed=1)
        >>> [label.get_text() for label in plot_parallel_coordinate(study).axes[0].get_xticklabels()]
        ['x', 'y', 'value']
    """
    trials, shown, which = trials_of(study), *_shown(study, params)
    figure = parallel.plot_parallel_coordinate(trials, shown, **goal_of(study))
    figure.axes[0].set_title(f"{figure.axes[0].get_title()}{which}")
    return figure


def plot_lineage(study: Results) -> Figure:
    """Draw the hyperparameters of each network, epoch by epoch, and whose weights it continued.

    Args:
        study: The study, with trainings that continue others, such as one of population-based training.

    Raises:
        InputError: No training continued another one, no evaluation ended well, or the study has no space.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> def objective(params, epochs, checkpoint):
        ...     loss = (checkpoint.load() or 1.0) * params["x"]
        ...     checkpoint.save(loss)
        ...     return loss
        >>> search = {"epochs": 2, "algorithm": "pbt", "population": 4, "generations": 2, "seed": 1}
        >>> study = optimize(objective, {"x": Float(0.0, 1.0)}, **search)
        >>> plot_lineage(study).axes[0].get_ylabel()
        'x'
    """
    check_drawable(study)
    if all(entry.start_from is None for entry in study.entries):
        raise InputError(f"In the study {study.name!r} no training went on from another: there is no lineage to draw.")
    space, direction = space_of(study), study.directions[0]
    return lineage.plot_lineage(lineage_table(study.entries, space, direction), space, **goal_of(study))


def plot_param_importances(study: Results, *, evidence: Evidence | None = None) -> Figure:
    """Draw the importance of each hyperparameter in the whole space and among the best; see `Results.importances`.

    Args:
        study: The study; if it has several objectives, the first counts.
        evidence: The result of `evidence_of`; pass it to several figures so that it is computed only once.

    Raises:
        InputError: It has fewer than 20 evaluations, too few that differ, or no space.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> space = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)}
        >>> study = optimize(lambda params: params["x"] ** 2, space, max_evaluations=30, seed=1)
        >>> [label.get_text() for label in plot_param_importances(study).axes[0].get_yticklabels()]  # from above
        ['x', 'y']
    """
    evidence = evidence or evidence_of(study)
    title = f"Importance of each hyperparameter, by {len(evidence.asked)} evaluations"
    return impact.plot_param_importances(evidence.importances, title=f"{title}{evidence.left_out}")


def plot_partial_dependence(
    study: Results, params: Sequence[str] | None = None, *, evidence: Evidence | None = None
) -> Figure:
    """Draw the objective that a Gaussian process predicts for each hyperparameter, averaged over the others.

    Args:
        study: The study; if it has several objectives, the first is modelled.
        params: Which hyperparameters, at least one; by default all, or the 12 most important if there are more.
        evidence: See `plot_param_importances`.

    Raises:
        InputError: As for `plot_param_importances`, or there is no such hyperparameter.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> space = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)}
        >>> study = optimize(lambda params: params["x"] ** 2, space, max_evaluations=30, seed=1)
        >>> [axes.get_xlabel() for axes in plot_partial_dependence(study).axes]
        ['x', 'y']
    """
    from deap_hpo.analysis.impact import partial_dependence

    evidence, which = evidence or evidence_of(study), ""
    if params is None:
        params, which = panels(evidence.space, evidence.important)
    table, shown = partial_dependence(evidence.model), part_of(evidence.space, params)
    drawn = impact.plot_partial_dependence(table, evidence.trials, shown, **goal_of(study))
    return entitled(drawn, f"{which}{evidence.left_out}")


def plot_interactions(
    study: Results, params: Sequence[str] | None = None, *, evidence: Evidence | None = None
) -> Figure:
    """Draw the objective that a model predicts for pairs of hyperparameters, averaged over the others.

    Args:
        study: The study; if it has several objectives, the first is modelled.
        params: Which hyperparameters, at least two, drawn in all pairs; by default the three most important. Those with
            only one value are left out.
        evidence: See `plot_param_importances`.

    Raises:
        InputError: As for `plot_param_importances`, there is no such hyperparameter, or fewer than two.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> space = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)}
        >>> study = optimize(lambda params: params["x"] * params["y"], space, max_evaluations=30, seed=1)
        >>> axes = plot_interactions(study, ["x", "y"]).axes[0]
        >>> axes.get_xlabel(), axes.get_ylabel()
        ('x', 'y')
    """
    from deap_hpo.analysis.impact import interactions

    evidence = evidence or evidence_of(study)
    asked = evidence.important if params is None else list(part_of(evidence.space, params))
    shown = [name for name in asked if evidence.space[name].size > 1]
    if params is None:
        shown = shown[:_MOST_IN_PAIRS]
    if len(shown) < 2:
        raise InputError(
            "Interactions are of at least two hyperparameters that have more than one value each; "
            f"got {', '.join(shown) or 'none'}."
        )
    maps = interactions(evidence.model, params=shown)
    drawn = impact.plot_interactions(maps, evidence.trials, evidence.space, **goal_of(study))
    return entitled(drawn, evidence.left_out.strip()) if evidence.left_out else drawn


def _shown(study: Results, params: Sequence[str] | None) -> tuple[Space, str]:
    """Give the hyperparameters to draw, and the words about them for a title."""
    space, which = space_of(study), ""
    if params is None:
        params, which = panels(space, _important_if_any(study) if len(space) > MOST_PANELS else None)
    return part_of(space, params), which


def _important_if_any(study: Results) -> list[str] | None:
    with suppress(InputError):
        return evidence_of(study).important
    return None
