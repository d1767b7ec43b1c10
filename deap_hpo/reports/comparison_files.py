"""A comparison as files: JSON, Markdown, a figure, and a page of HTML that opens offline."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from deap_hpo.files import write_text
from deap_hpo.plotting.methods import plot_comparison, plot_outcomes
from deap_hpo.plotting.style import save
from deap_hpo.reports.comparison import (
    PAIR_HEADER,
    header,
    introduction,
    markdown,
    measures,
    rows_of_methods,
    rows_of_pairs,
)
from deap_hpo.reports.html import document, figure_html, table_html


def write_comparison(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``comparison.json``, ``.md``, ``.html``, ``.png`` and ``.pdf`` into a folder.

    Args:
        result: As returned by `deap_hpo.reports.comparison.results`.
        folder: Where to; it has the name of the experiment, and is made.

    Returns:
        The paths.
    """
    texts = {
        folder / "comparison.json": json.dumps(result, indent=1) + "\n",
        folder / "comparison.md": markdown(result),
        folder / "comparison.html": comparison_page(result, folder.name),
    }
    for path, text in texts.items():
        write_text(path, text)
    return [*texts] + save(_best_so_far(result), folder / "comparison")


def comparison_page(result: dict[str, Any], experiment: str) -> str:
    """Give the HTML of a comparison: outcomes, what the tests show, figures, every pair, every run, the settings.

    Args:
        result: As returned by `deap_hpo.reports.comparison.results`.
        experiment: Its name.
    """
    title = f"Comparison {experiment}"
    best_so_far = "Best value so far, over the epochs trained"
    methods = pd.DataFrame(rows_of_methods(result), columns=header(result))
    methods = methods.map(lambda cell: cell.replace(" ", "\N{NO-BREAK SPACE}"))
    costs = list(methods.columns).index("trainings")
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(introduction(result))}</p>",
        table_html(methods.iloc[:, :costs], "What the methods came to"),
        figure_html(_best_so_far(result), best_so_far),
        table_html(methods.iloc[:, [0, *range(costs, len(methods.columns))]], "What a run of each took"),
    ]
    for measure, name in measures(result).items():
        outcome = result["outcomes"][measure]
        figure = plot_outcomes(outcome["summary"], seeds=result["seeds"], value_name=name.lower(), title="")
        parts += [
            f"<h2>{escape(name)}</h2>",
            f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in outcome['verdict'])}</ul>",
            figure_html(figure, f"{name} of each method"),
            table_html(pd.DataFrame(rows_of_pairs(outcome["pairs"]), columns=PAIR_HEADER), "Every pair of methods"),
        ]
    runs = table_html(pd.DataFrame(result["runs"]))
    settings = json.dumps({part: result[part] for part in ("task", "training", "space")}, indent=1)
    parts += [
        "<h2>How it was made</h2>",
        f"<details><summary>All {len(result['runs'])} runs</summary>{runs}</details>",
        f"<details><summary>Task, training and space</summary><pre>{escape(settings)}</pre></details>",
        f"<p>Made on {escape(result['date'])} by</p><pre>{escape(result['command'])}</pre>",
    ]
    return document(title, parts)


def _best_so_far(result: dict[str, Any]) -> Figure:
    return plot_comparison(
        pd.DataFrame(result["anytime"]),
        seeds=result["seeds"],
        value_name=f"best validation {result['objective']}",
        direction=result["direction"],
    )
