"""The figures of a study, each with a name and a caption, as `plot` saves them and a report shows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from deap_hpo.analysis.fronts import hypervolumes
from deap_hpo.analysis.names import shown_by_epoch
from deap_hpo.drawable import check_drawable, evidence_of
from deap_hpo.errors import InputError
from deap_hpo.plotting.panels import entitled, panels
from deap_hpo.plotting.style import save
from deap_hpo.recorded import Recorded
from deap_hpo.records.run_files import FigureName
from deap_hpo.reports.study import counts_sentence
from deap_hpo.visualization import (
    plot_intermediate_values,
    plot_lineage,
    plot_optimization_history,
    plot_param_importances,
    plot_pareto_front,
    plot_partial_dependence,
    plot_slice,
)


@dataclass(frozen=True)
class StudyFigure:
    """A figure of a study.

    Attributes:
        name: Name of its file, without an ending.
        figure: The figure; the caller closes it.
        caption: What it shows, in a line.
    """

    name: FigureName
    figure: Figure
    caption: str


def study_figures(study: Recorded, *, impact: bool = True) -> Iterator[StudyFigure]:
    """Draw the figures of a study that has a best evaluation, one after the other.

    Learning curves are left out if all are of the same single epoch: their points would say less than the history.

    Args:
        study: The study.
        impact: Whether to draw the effects of hyperparameters too. This fits models, which takes seconds with some
            hundred evaluations. If trainings are in parts, only the longest are compared.
    """
    yield StudyFigure("history", plot_optimization_history(study), "Every evaluation, and the best so far")
    if len({epoch.epoch for entry in study.entries for epoch in entry.evaluation.curve}) > 1:
        curve = shown_by_epoch(study).name
        yield StudyFigure("curves", plot_intermediate_values(study), f"{curve[:1].upper()}{curve[1:]} by epoch")
    if len(study.directions) > 1:
        grown = ", ".join(f"{value:.4g}" for value in hypervolumes(study.entries, study.directions))
        caption = f"Every evaluation, and the Pareto front; its hypervolume by generation: {grown}"
        yield StudyFigure("pareto", plot_pareto_front(study), caption)
    if study.space is None:
        return
    evidence = None
    if impact:
        with suppress(InputError):  # raised for too few evaluations
            evidence = evidence_of(study)
    shown, which = panels(study.space, evidence.important if evidence else None)
    drawn = entitled(plot_slice(study, shown), which)
    yield StudyFigure("hyperparameters", drawn, f"Hyperparameters against the objective{which}")
    if any(entry.start_from is not None for entry in study.entries):
        caption = "What each network was trained with, and whose weights it went on with"
        yield StudyFigure("lineage", plot_lineage(study), caption)
    if evidence:
        drawn = plot_param_importances(study, evidence=evidence)
        yield StudyFigure("importances", drawn, f"Importance of each hyperparameter{evidence.of_which}")
        drawn = plot_partial_dependence(study, evidence=evidence)
        model = f"Gaussian process{evidence.of_which}"
        caption = f"What each hyperparameter does, averaged over the others ({model}){which}"
        yield StudyFigure("partial_dependence", drawn, caption)


def save_figures(recorded: Recorded, folder: Path, *, pdf: bool = True, impact: bool = True) -> list[Path]:
    """Draw a study's figures into a folder; see `study_figures`.

    Raises:
        InputError: It has no evaluation to draw.
    """
    try:
        check_drawable(recorded)
    except InputError as error:
        raise InputError(f"{error} {counts_sentence(recorded)}") from None
    drawn = study_figures(recorded, impact=impact)
    return [path for one in drawn for path in save(one.figure, folder / one.name, pdf=pdf)]
