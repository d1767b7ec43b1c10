"""The display of a study in a notebook."""

from __future__ import annotations

from html import escape
from typing import Any

from deap_hpo.analysis.shown import PARAMS_AND_METRICS, shown_trials
from deap_hpo.analysis.tables import best_trials, column_label, value_columns
from deap_hpo.goals import given_names
from deap_hpo.wording import format_cell, plural

_ROWS = 5  # number of best evaluations shown


def study_html(study: Any) -> str:
    """Give a study, live or on record, as HTML: the number of evaluations, and the best of them.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> study_html(optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, max_evaluations=20))[:60]
        '<p><b>study</b> (seed 0, minimize): 20 evaluations in 2 gene'
    """
    trials = shown_trials(study.trials_dataframe(), study.entries)
    goals = [*study.directions]
    if len(goals) > 1:
        goals = [f"{direction} {escape(name)}" for direction, name in zip(goals, study.objective_names, strict=True)]
    seed = f"seed {study.attributes.get('seed')}, {', '.join(goals)}"
    under_way = f" {plural(len(study.running), 'evaluation')} under way." if study.running else ""
    if trials.empty:
        return f"<p><b>{escape(study.name)}</b> ({seed}): no evaluations yet.{under_way}</p>"
    statuses = trials["status"].value_counts()
    cached = int(trials["duplicate_of"].notna().sum())
    counts = [f"{plural(len(trials), 'evaluation')} in {plural(trials['generation'].nunique(), 'generation')}"]
    counts += [f"{cached} cached"] if cached else []
    counts += [f"{count} {status}" for status, count in statuses.items() if status != "ok"]
    best = best_trials(trials, study.directions[0])
    part = study.part_of_training(study.best) if len(best) else ""
    counts += [f"the best {part}"] if part else []
    columns = value_columns(given_names(study.attributes, len(study.directions)), len(study.directions))
    if len(columns) > 1:
        best = best[best["number"].isin([entry.number for entry in study.pareto_front()])]
    told = {f"metrics_{name}" for name in study.objective_names}
    names = [name for name in trials.columns if name.startswith(PARAMS_AND_METRICS) and name not in told]
    called = dict(zip(columns, study.objective_names, strict=True))
    parts = ["epochs"] if "epochs" in best else []
    shown = best.head(_ROWS)[["number", "generation", *parts, *called, *names]].rename(
        columns=lambda name: called[name] if name in called else column_label(name)
    )
    table = shown.to_html(index=False, border=0, float_format=format_cell, na_rep="-") if len(best) else ""
    return f"<p><b>{escape(study.name)}</b> ({seed}): {', '.join(counts)}.{under_way}</p>{table}"
