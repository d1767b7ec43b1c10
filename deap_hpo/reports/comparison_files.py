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
from deap_hpo.reports.comparison import introduction, markdown, measures, table_of_methods, table_of_pairs
from deap_hpo.reports.html import document, figure_html, table_html


def write_comparison(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``comparison.json``, ``.md``, ``.html``, ``.png`` and ``.pdf`` into a folder.

    Args:
        result: As returned by `deap_hpo.reports.comparison.results`.
        folder: Where to; it has the name of the experiment, and is made.

    Returns:
        The paths.

    Example:
        >>> import tempfile
        >>> from deap_hpo.configuration.config import make_config
        >>> from deap_hpo.reports.comparison import results
        >>> costs = {"gap": 0.0, "trainings": 1, "epochs": 1, "wall_seconds": 1.0, "training_seconds": 1.0}
        >>> ends = {"method": ["tpe", "random"] * 2, "seed": [1, 1, 2, 2], "best": [0.1, 0.2, 0.2, 0.3]}
        >>> runs = pd.DataFrame({**ends, **costs}).assign(test_loss=[0.2, 0.3, 0.3, 0.5])
        >>> config = make_config({"space": {"lr": {"type": "float", "low": 0.1, "high": 1.0}}})
        >>> made = results(runs, runs[["method", "seed", "epochs", "best"]], config, "deap-hpo compare tpe random")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(path.suffix for path in write_comparison(made, Path(folder) / "rivals"))
        ['.html', '.json', '.md', '.pdf', '.png']
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

    Example:
        >>> from deap_hpo.configuration.config import make_config
        >>> from deap_hpo.reports.comparison import results
        >>> costs = {"gap": 0.0, "trainings": 1, "epochs": 1, "wall_seconds": 1.0, "training_seconds": 1.0}
        >>> ends = {"method": ["tpe", "random"] * 2, "seed": [1, 1, 2, 2], "best": [0.1, 0.2, 0.2, 0.3]}
        >>> runs = pd.DataFrame({**ends, **costs}).assign(test_loss=[0.2, 0.3, 0.3, 0.5])
        >>> config = make_config({"space": {"lr": {"type": "float", "low": 0.1, "high": 1.0}}})
        >>> made = results(runs, runs[["method", "seed", "epochs", "best"]], config, "deap-hpo compare tpe random")
        >>> "<h1>Comparison rivals</h1>" in comparison_page(made, "rivals")
        True
    """
    title = f"Comparison {experiment}"
    best_so_far = "Best value so far, over the epochs trained"
    columns, rows = table_of_methods(result)
    methods = pd.DataFrame(rows, columns=columns)
    methods = methods.map(lambda cell: cell.replace(" ", "\N{NO-BREAK SPACE}"))
    costs = columns.index("trainings")
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(introduction(result))}</p>",
        table_html(methods.iloc[:, :costs], "What the methods came to"),
        figure_html(_best_so_far(result), best_so_far),
        table_html(methods.iloc[:, [0, *range(costs, len(columns))]], "What a run of each took"),
    ]
    for measure, name in measures(result).items():
        outcome = result["outcomes"][measure]
        columns, rows = table_of_pairs(outcome["pairs"])
        figure = plot_outcomes(outcome["summary"], seeds=result["seeds"], value_name=name.lower(), title="")
        parts += [
            f"<h2>{escape(name)}</h2>",
            f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in outcome['verdict'])}</ul>",
            figure_html(figure, f"{name} of each method"),
            table_html(pd.DataFrame(rows, columns=columns), "Every pair of methods"),
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
