"""Studies as one HTML file that opens offline: figures, tables, configuration, environment, command to reproduce."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

import deap_hpo
from deap_hpo.analysis.edges import edge_sentence
from deap_hpo.analysis.fronts import pareto_front
from deap_hpo.analysis.names import value_name
from deap_hpo.analysis.running import running_rows
from deap_hpo.analysis.runs import environments, generations_table
from deap_hpo.analysis.shown import PARAMS_AND_METRICS, shown_params, shown_trials
from deap_hpo.analysis.tables import TIMES, best_trials, column_label, value_columns
from deap_hpo.configuration.toml_writer import config_to_toml
from deap_hpo.errors import InputError
from deap_hpo.files import expanded, write_text
from deap_hpo.goals import given_names
from deap_hpo.plotting.runs import plot_bands
from deap_hpo.plotting.style import to_svg
from deap_hpo.recorded import Recorded
from deap_hpo.reports.figures import study_figures
from deap_hpo.reports.strict_json import json_types
from deap_hpo.reports.study import counts_sentence, describe, failure_sentence, judging_sentence, tie_sentence
from deap_hpo.wording import format_cell, format_metrics, format_params, format_seconds, format_value

_MOST_OF_THE_BEST = 10  # evaluations in a table
_STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word }
h1 { font-size: 1.6rem } h2 { font-size: 1.3rem; border-top: 2px solid #0072b2; padding-top: .7rem; margin-top: 2.5rem }
h3 { font-size: 1.05rem; margin-bottom: .4rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; margin: .4rem 0 }
caption { text-align: left; color: #555; padding-bottom: .3rem } th, td { padding: .2rem .7rem; text-align: right }
th { border-bottom: 1px solid #888; white-space: nowrap } tbody tr:nth-child(even) { background: #f5f5f5 }
td:first-child, th:first-child { text-align: left }
.wide { overflow-x: auto; max-height: 30rem } figure { margin: 1rem 0 } img { max-width: 100%; height: auto }
pre { background: #f5f5f5; padding: .8rem; white-space: pre-wrap; font-size: .85rem }
summary { cursor: pointer; color: #0072b2 }
@media print {
  details > * { display: block } details::details-content { content-visibility: visible; display: block }
  .wide { max-height: none; overflow: visible } table { font-size: .65rem }
  th, td { padding: .1rem .25rem } th { white-space: normal; overflow-wrap: anywhere }
}
"""


def write_report(studies: Sequence[Recorded], path: str | Path) -> Path:
    """Write studies into one HTML file that needs no other file and no network.

    Args:
        studies: At least one.
        path: Path of the file; missing folders are made.

    Returns:
        The path.

    Raises:
        InputError: There are no studies.
    """
    if not studies:
        raise InputError("studies must hold at least one study; got none.")
    path = expanded(path)
    write_text(path, page(studies))
    return path


def page(studies: Sequence[Recorded]) -> str:
    """Return the HTML of studies; the same studies give the same text."""
    title = "Study " + studies[0].name if len(studies) == 1 else f"{len(studies)} studies"
    parts = [f"<h1>{escape(title)}</h1>"]
    if len(studies) > 1:
        parts += [_overview(studies)]
    parts += [_study(study, alone=len(studies) == 1) for study in studies]
    return document(title, parts)


def document(title: str, parts: Sequence[str]) -> str:
    """Give a whole HTML document, whose parts are HTML.

    Example:
        >>> "<title>a &lt; b</title>" in document("a < b", ["<p>So it is.</p>"])
        True
    """
    parts = [*parts, f"<p>Made by deap-hpo {escape(deap_hpo.__version__)}.</p>"]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _overview(studies: Sequence[Recorded]) -> str:
    """Studies side by side: a table, and their best so far."""
    rows = []
    for study in studies:
        about = describe(study)
        best, final, counts = about["best"], about["final"], about["counts"]
        rows.append(
            {
                "study": study.name,
                "objective": value_name(study),
                "best value": best["value"] if best else None,
                **({"test loss": final["test_loss"]} if final else {}),
                **({f"test {name}": value for name, value in final["test_metrics"].items()} if final else {}),
                "evaluated": counts["trained"],
                "diverged": counts["diverged"],
                "failed": counts["failed"],
                "time": format_seconds(counts["seconds"]),
                "seed": about["seed"],
            }
        )
    parts = [table_html(pd.DataFrame(rows), "The studies"), *_best_of_all(studies)]
    begun = [generations_table(study).assign(label=study.name) for study in studies if study.entries]
    curves = pd.concat(begun).dropna(subset=["best"]) if begun else pd.DataFrame()
    if len(curves):
        value = curves["best"]  # of a single study, so that its band is a line
        curves = curves.assign(round=curves["generation"] + 1, mean=value, low=value, high=value)
        losses = all(study.directions[0] == "minimize" for study in studies)
        figure = plot_bands(curves, x="round", x_name="generation", value_name="best value so far", logarithmic=losses)
        parts.append(figure_html(figure, "Best value so far of each study, by generation"))
    return "\n".join(parts)


def _best_of_all(studies: Sequence[Recorded]) -> Iterator[str]:
    """The best evaluations of studies with the same objective, ranked together."""
    name, directions = value_name(studies[0]), studies[0].directions
    if len(directions) > 1 or any((value_name(one), one.directions) != (name, directions) for one in studies):
        return
    found = []
    for study in studies:
        trials = shown_trials(study.trials_dataframe(), study.entries)
        ranked = trials if trials.empty else best_trials(trials, directions[0]).head(_MOST_OF_THE_BEST)
        if not ranked.empty:
            columns = [one for one in ranked if one.startswith(PARAMS_AND_METRICS)]
            ranked = ranked[["number", "value", *columns]].dropna(axis=1, how="all")
            found.append(ranked.assign(study=study.name))
    if found:
        best = pd.concat(found).sort_values("value", ascending=directions[0] == "minimize", kind="stable")
        best = _with_names(studies[0], best.head(_MOST_OF_THE_BEST))
        yield table_html(best[["study", *best.columns.drop("study")]], "The best evaluations of all studies")


def _study(study: Recorded, *, alone: bool) -> str:
    """One study: its result, figures, tables, and how to reproduce it."""
    parts = [] if alone else [f"<h2>{escape(study.name)}</h2>"]
    said = (counts_sentence(study), failure_sentence(study), judging_sentence(study))
    parts.append(f"<p>{escape(' '.join(filter(None, said)))}</p>")
    if rows := running_rows(study):
        cells = [[*row.facts.values(), *row.params.values()] for row in rows]
        parts.append(table_html(pd.DataFrame(cells, columns=[*rows[0].facts, *rows[0].params]), "Under way"))
    trials = shown_trials(study.trials_dataframe(), study.entries)
    if trials.empty:
        return "\n".join([*parts, "<p>No evaluation has ended yet.</p>", _reproduction(study)])
    if trials["best"].notna().any():
        parts.append(_result(study))
        parts += [figure_html(one.figure, one.caption) for one in study_figures(study)]
        parts.append(_best_evaluations(study, trials))
    everything = _with_names(study, trials.drop(columns=["best", *TIMES], errors="ignore"))
    parts.append(f"<details><summary>All {len(trials)} evaluations</summary>{table_html(everything)}</details>")
    return "\n".join([*parts, _reproduction(study)])


def _result(study: Recorded) -> str:
    """The best hyperparameters and the measurements of their network."""
    about = describe(study)
    best, final = about["best"], about["final"]
    word = "Best" if len(study.directions) == 1 else f"Best {escape(study.objective_names[0])}"
    found = ", ".join(filter(None, (f"evaluation {best['number']}", study.part_of_training(study.best))))
    name, measured = value_name(study), format_metrics(best["metrics"])
    measured = ", ".join(filter(None, (f"{name[:1].upper()}{name[1:]} {format_value(best['value'])}", measured)))
    lines = [
        f"{word}: {found} with <strong>{escape(format_params(shown_params([study.best], study.space)[0]))}</strong>.",
        f"{escape(measured)}.",
    ]
    if final and final["test_size"]:
        lines.append(
            f"On {final['test_size']:,} test examples, which the search has not seen: loss {final['test_loss']:.4f}, "
            f"{escape(format_metrics(final['test_metrics']))}."
        )
    lines += [escape(sentence) for sentence in (tie_sentence(study), edge_sentence(study)) if sentence]
    return f"<p>{'<br>'.join(lines)}</p>"


def _best_evaluations(study: Recorded, trials: pd.DataFrame) -> str:
    ranked = best_trials(trials, study.directions[0])
    if len(study.directions) > 1:
        front = [entry.number for entry in pareto_front(study.entries, study.directions)]
        # Some columns have values only for evaluations that break a constraint, and are empty here.
        ranked = ranked.set_index("number", drop=False).loc[front].dropna(axis=1, how="all")
    shown = ranked.drop(columns=["best", "status", "duplicate_of", "violation", *TIMES], errors="ignore")
    if len(study.directions) > 1:
        return table_html(_with_names(study, shown), "The Pareto front")
    return table_html(_with_names(study, shown.head(_MOST_OF_THE_BEST)), "The best evaluations")


def _with_names(study: Recorded, trials: pd.DataFrame) -> pd.DataFrame:
    """Give the columns of objectives the names of the objectives."""
    if len(study.directions) == 1:
        return trials.rename(columns={"value": value_name(study)})
    count = len(study.directions)
    columns = value_columns(given_names(study.attributes, count), count)
    names = dict(zip(columns, study.objective_names, strict=True))
    return trials.drop(columns="value").rename(columns=names)


def _reproduction(study: Recorded) -> str:
    """Configuration, environment and command."""
    config = study.config() if "config" in study.attributes else None
    parts = ["<h3>How it was made</h3>"]
    about = environments({study.name: [study]})
    if about:
        parts.append(table_html(pd.DataFrame(about), "Where evaluations ran"))
    parts.append(
        f"<p>Recorded by deap-hpo {escape(str(study.attributes.get('version', 'of an unknown version')))}.</p>"
    )
    if config is None:
        known = {name: study.attributes.get(name) for name in ("seed", "common_random_numbers", "pruner")}
        for section in ("settings", "space", "evaluator", "parts"):
            known |= _by_path(section, study.attributes.get(section) or {})
        settings = "\n".join(f"{name} = {json.dumps(json_types(value))}" for name, value in known.items())
        return "\n".join(
            [
                *parts,
                "<p>It was made by a program of its own, not by <code>deap-hpo run</code>, with:</p>",
                f"<pre>{escape(settings)}</pre>",
                "<p>Budget and executor are not on record, because a resumed run may have others.</p>",
            ]
        )
    text = config_to_toml(config)
    encoded = base64.b64encode(text.encode()).decode()
    file = f"{study.name}.toml"
    return "\n".join(
        [
            *parts,
            f'<p>To reproduce it, save <a download="{escape(file)}" href="data:application/toml;base64,{encoded}">'
            f"{escape(file)}</a> and run</p>",
            f"<pre>deap-hpo run {escape(shlex.quote(file))}</pre>",
            f"<details><summary>Configuration</summary><pre>{escape(text)}</pre></details>",
        ]
    )


def _by_path(path: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested mappings into values by dotted path; each hyperparameter of a space stays one value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        within = isinstance(value, Mapping) and value and path != "space"
        found |= _by_path(f"{path}.{name}", value) if within else {f"{path}.{name}": value}
    return found


def figure_html(figure: Any, caption: str) -> str:
    """Give a figure of matplotlib as HTML that needs no other file; it is closed.

    Example:
        >>> from matplotlib.figure import Figure
        >>> figure_html(Figure(), "Nothing yet")[:30]
        '<figure><img alt="Nothing yet"'
    """
    encoded = base64.b64encode(to_svg(figure)).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/svg+xml;base64,{encoded}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def table_html(table: pd.DataFrame, caption: str = "") -> str:
    """Give a table as HTML: missing values as a dash, numbers to a few digits.

    Example:
        >>> "<td>0.5</td><td>-</td>" in table_html(pd.DataFrame({"lr": [0.5], "loss": [None]}))
        True
    """
    head = "".join(f'<th scope="col">{escape(column_label(name))}</th>' for name in table.columns)
    body = "\n".join(f"<tr>{_cells(row)}</tr>" for row in table.itertuples(index=False))
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _cells(row: Iterable[Any]) -> str:
    return "".join(f"<td>{escape(_cell(value))}</td>" for value in row)


def _cell(value: Any) -> str:
    return "-" if pd.isna(value) else format_cell(value)
