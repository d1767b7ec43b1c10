"""The figures of a study, each with its name and its caption: what `plot` saves and what a report shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deap_hpo.analysis.fronts import front_table, hypervolumes
from deap_hpo.analysis.lineages import curves_table, lineage_table
from deap_hpo.analysis.names import curves_of, value_name
from deap_hpo.entries import best_entry
from deap_hpo.errors import InputError
from deap_hpo.plotting.lineage import plot_lineage
from deap_hpo.plotting.pareto import plot_pareto_front
from deap_hpo.plotting.study import plot_intermediate_values, plot_optimization_history, plot_slice
from deap_hpo.plotting.style import save
from deap_hpo.recorded import Recorded
from deap_hpo.reports.study import counts_sentence
from deap_hpo.space import Space
from deap_hpo.wording import plural

_FEWEST_FOR_IMPACT = 20  # evaluations below which importances are mostly noise
_FEWEST_DIFFERENT = 10  # of those with a value, without which there is no model of them
_MOST_FOR_IMPACT = 400  # evaluations beyond which the models of them take minutes, and in the end hours


@dataclass(frozen=True)
class StudyFigure:
    """A figure of a study.

    Attributes:
        name: Name of its file, without an ending.
        figure: The figure; whoever takes it closes it.
        caption: What it shows, in a line.
    """

    name: str
    figure: Figure
    caption: str


def study_figures(study: Recorded, *, impact: bool = True) -> Iterator[StudyFigure]:
    """Draw the figures of a study that has a best evaluation, one after the other.

    Args:
        study: The study.
        impact: Whether to draw what each hyperparameter does, too, for which models are fitted: with some hundred
            evaluations that takes seconds. Of trainings in parts, only the longest are compared.
    """
    trials = study.trials_dataframe()
    called, direction = value_name(study), study.directions[0]
    drawn = plot_optimization_history(trials, value_name=called, direction=direction)
    yield StudyFigure("history", drawn, "Every evaluation, and the best so far")
    best = best_entry(study.entries, direction)
    curves = curves_table(study.entries, best.trained_number)
    if len(curves):
        curve, towards = curves_of(study)
        drawn = plot_intermediate_values(
            curves, best.trained_number, value_name=curve, direction=towards, objective=called
        )
        yield StudyFigure("curves", drawn, f"{curve[:1].upper()}{curve[1:]} by epoch")
    if len(study.directions) > 1:
        table = front_table(study.entries, study.directions, study.objective_names)
        drawn = plot_pareto_front(table, study.objective_names, study.directions)
        grown = ", ".join(f"{value:.4g}" for value in hypervolumes(study.entries, study.directions))
        caption = f"Every evaluation, and the Pareto front; its hypervolume by generation: {grown}"
        yield StudyFigure("pareto", drawn, caption)
    if study.space is None:
        return
    drawn = plot_slice(trials, study.space, value_name=called, direction=direction)
    yield StudyFigure("hyperparameters", drawn, "Hyperparameters against the objective")
    if any(entry.start_from is not None for entry in study.entries):
        lineages = lineage_table(study.entries, study.space, direction)
        drawn = plot_lineage(lineages, study.space, value_name=called, direction=direction)
        yield StudyFigure("lineage", drawn, "What each network was trained with, and whose weights it went on with")
    if impact:
        yield from _impact(study, study.space, trials[trials["status"].ne("infeasible")])  # of which nothing was learnt


def save_figures(recorded: Recorded, folder: Path, *, pdf: bool = True, impact: bool = True) -> list[Path]:
    """Draw a study's figures into a folder; see `study_figures`.

    Raises:
        InputError: It has no evaluation to draw.
    """
    if not any(entry.evaluation.feasible for entry in recorded.entries):
        raise InputError(
            f"The study {recorded.name!r} has no evaluation to draw that ended well and keeps its constraints. "
            f"{counts_sentence(recorded)}"
        )
    drawn = study_figures(recorded, impact=impact)
    return [path for one in drawn for path in save(one.figure, folder / one.name, pdf=pdf)]


def _impact(study: Recorded, space: Space, trials: pd.DataFrame) -> Iterator[StudyFigure]:
    """Importances and partial dependences, where there are evaluations enough to tell, all trained for as long."""
    # They import scikit-learn, which takes seconds.
    from deap_hpo.analysis.impact import partial_dependence
    from deap_hpo.analysis.importance import importances
    from deap_hpo.analysis.response import ResponseModel, first_evaluations
    from deap_hpo.plotting.impact import plot_param_importances, plot_partial_dependence

    of_which = ""
    if "epochs" in trials:
        longest = trials["epochs"].max()
        trials = trials[trials["epochs"].eq(longest)]
        of_which = f", by trainings of {plural(longest, 'epoch')}"
    try:
        asked = first_evaluations(trials)
    except InputError:
        return
    finite = asked[np.isfinite(asked["value"])]
    different = finite[[name for name in finite if name.startswith("params_")]].astype(str).drop_duplicates()
    if len(asked) < _FEWEST_FOR_IMPACT or len(different) < _FEWEST_DIFFERENT or finite["value"].nunique() < 2:
        return
    if len(asked) > _MOST_FOR_IMPACT:
        asked = asked.sample(_MOST_FOR_IMPACT, random_state=0)
        of_which += f", by {_MOST_FOR_IMPACT} evaluations drawn at random"
    called, direction = value_name(study), study.directions[0]
    title = f"Importance of each hyperparameter, by {len(asked)} evaluations"
    drawn = plot_param_importances(importances(asked, space, direction=direction), title=title)
    yield StudyFigure("importances", drawn, f"Importance of each hyperparameter{of_which}")
    dependence = partial_dependence(ResponseModel(asked, space))
    drawn = plot_partial_dependence(dependence, trials, space, value_name=called, direction=direction)
    caption = f"What each hyperparameter does, averaged over the others (Gaussian process{of_which})"
    yield StudyFigure("partial_dependence", drawn, caption)
