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
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Direction
from deap_hpo.plotting.lineage import plot_lineage
from deap_hpo.plotting.pareto import plot_pareto_front
from deap_hpo.plotting.study import plot_intermediate_values, plot_optimization_history, plot_slice
from deap_hpo.plotting.style import save
from deap_hpo.recorded import Recorded
from deap_hpo.records.entries import best_entry
from deap_hpo.reports.study import counts_sentence
from deap_hpo.search_space.space import Space
from deap_hpo.wording import plural

_FEWEST_FOR_IMPACT = 20  # evaluations below which importances are mostly noise
_FEWEST_DIFFERENT = 10  # of those with a value, without which there is no model of them
_MOST_PANELS = 12  # of a figure that has one for each hyperparameter; more are too many to look at
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
    trained = trials[trials["status"].ne("infeasible")]  # of the others nothing was learnt
    compared = _compared(trained, study.space, direction) if impact else None
    shown, which = _shown(study.space, compared)
    drawn = plot_slice(trials, shown, value_name=called, direction=direction)
    drawn.suptitle(f"{drawn.get_suptitle()}{which}")
    yield StudyFigure("hyperparameters", drawn, f"Hyperparameters against the objective{which}")
    if any(entry.start_from is not None for entry in study.entries):
        lineages = lineage_table(study.entries, study.space, direction)
        drawn = plot_lineage(lineages, study.space, value_name=called, direction=direction)
        yield StudyFigure("lineage", drawn, "What each network was trained with, and whose weights it went on with")
    if compared:
        yield from _impact(compared, study, shown, which)


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


@dataclass(frozen=True)
class _Compared:
    """Evaluations from which it can be told what each hyperparameter does.

    Attributes:
        trials: Rows of all of them, trained for as long as each other.
        asked: Those that models are fitted to.
        importances: As found by these.
        of_which: For captions, which of the study's evaluations they are.
    """

    trials: pd.DataFrame
    asked: pd.DataFrame
    importances: pd.DataFrame
    of_which: str


def _compared(trials: pd.DataFrame, space: Space, direction: Direction) -> _Compared | None:
    """Give the evaluations that tell what hyperparameters do, where there are enough; all trained for as long."""
    # They import scikit-learn, which takes seconds.
    from deap_hpo.analysis.importance import importances
    from deap_hpo.analysis.response import first_evaluations

    of_which = ""
    if "epochs" in trials:
        longest = trials["epochs"].max()
        trials = trials[trials["epochs"].eq(longest)]
        of_which = f", by trainings of {plural(longest, 'epoch')}"
    try:
        asked = first_evaluations(trials)
    except InputError:
        return None
    finite = asked[np.isfinite(asked["value"])]
    different = finite[[name for name in finite if name.startswith("params_")]].astype(str).drop_duplicates()
    if len(asked) < _FEWEST_FOR_IMPACT or len(different) < _FEWEST_DIFFERENT or finite["value"].nunique() < 2:
        return None
    if len(asked) > _MOST_FOR_IMPACT:
        asked = asked.sample(_MOST_FOR_IMPACT, random_state=0)
        of_which += f", by {_MOST_FOR_IMPACT} evaluations drawn at random"
    return _Compared(trials, asked, importances(asked, space, direction=direction), of_which)


def _shown(space: Space, compared: _Compared | None) -> tuple[Space, str]:
    """Give the hyperparameters that have panels, in the order of the space, and how a caption says which they are."""
    if len(space) <= _MOST_PANELS:
        return space, ""
    names, which = list(space)[:_MOST_PANELS], "first"
    if compared:
        names, which = compared.importances["hyperparameter"].tolist()[:_MOST_PANELS], "most important"
    kept = Space({name: one for name, one in space.items() if name in names})
    return kept, f": the {_MOST_PANELS} {which} of {len(space)}"


def _impact(compared: _Compared, study: Recorded, shown: Space, which: str) -> Iterator[StudyFigure]:
    """Draw importances and partial dependences, the latter of the hyperparameters that are shown."""
    from deap_hpo.analysis.impact import partial_dependence
    from deap_hpo.analysis.response import ResponseModel
    from deap_hpo.plotting.impact import plot_param_importances, plot_partial_dependence

    title = f"Importance of each hyperparameter, by {len(compared.asked)} evaluations"
    drawn = plot_param_importances(compared.importances, title=title)
    yield StudyFigure("importances", drawn, f"Importance of each hyperparameter{compared.of_which}")
    assert study.space is not None
    dependence = partial_dependence(ResponseModel(compared.asked, study.space))
    called, direction = value_name(study), study.directions[0]
    drawn = plot_partial_dependence(dependence, compared.trials, shown, value_name=called, direction=direction)
    drawn.suptitle(f"{drawn.get_suptitle()}{which}")
    caption = f"What each hyperparameter does, averaged over the others (Gaussian process{compared.of_which}){which}"
    yield StudyFigure("partial_dependence", drawn, caption)
