"""Evaluations as they are shown to people: long genomes are shortened, which those of tables and records never are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from deap_hpo.records.entries import Entry, params_of
from deap_hpo.search_space.space import Space
from deap_hpo.wording import format_cell, plural

PARAMS_AND_METRICS = ("params_", "gene_", "genes", "metrics_")
"""How the columns of hyperparameters and metrics in `shown_trials` begin."""

_MOST_GENES = 10  # that have columns of their own
_MOST_CHARACTERS = 200


def shown_trials(trials: pd.DataFrame, entries: Sequence[Entry]) -> pd.DataFrame:
    """Give the table `trials_dataframe` of the evaluations of a study with their genes as in `shown_params`.

    Example:
        >>> from deap_hpo import Study
        >>> with Study(seed=1) as study:
        ...     values = study.map(sum, [[1] * 100, [0] * 100])
        >>> shown_trials(study.trials_dataframe(), study.entries)["genes"].tolist()[1]
        '0, 0, 0, 0, 0, 0, 0, 0, 0, 0, … (100 genes)'
    """
    genes = [name for name in trials.columns if name.startswith("gene_")]
    if not genes:
        return trials
    shown = pd.DataFrame(shown_params(entries, None))
    others, at = trials.drop(columns=genes), trials.columns.get_loc(genes[0])
    return pd.concat([others.iloc[:, :at], shown, others.iloc[:, at:]], axis=1)


def shown_params(entries: Sequence[Entry], space: Space | None) -> list[dict[str, Any]]:
    """Give the hyperparameters of evaluations by name; without a space their genes, shortened if they are long.

    Texts, such as the expressions of trees, are cut off. If a genome has more than ten genes, all of them are one text.

    Example:
        >>> from deap_hpo import Evaluation
        >>> tree = Entry(0, 0, ("add(x, x)" * 30,), Evaluation((1.0,)), seed=0)
        >>> shown_params([tree], None)[0]["gene_0"][180:]
        'add(x, x)add(x, x)ad… (270 characters)'
    """
    if space is not None:
        return [params_of(entry, space) for entry in entries]
    if any(len(entry.genes) > _MOST_GENES for entry in entries):
        return [{"genes": _together(entry.genes)} for entry in entries]
    return [
        {f"gene_{i}": gene if isinstance(gene, float) else _text(gene) for i, gene in enumerate(entry.genes)}
        for entry in entries
    ]


def _together(genes: Sequence[Any]) -> str:
    """Write the first genes in a line and, if these are not all, how many there are."""
    text = ", ".join(map(_text, genes[:_MOST_GENES]))
    if len(genes) > _MOST_GENES and len(text) <= _MOST_CHARACTERS:
        return f"{text}, … ({plural(len(genes), 'gene')})"
    return _cut(text, plural(len(genes), "gene"))


def _text(gene: Any) -> str:
    if isinstance(gene, tuple):
        return _cut(f"({', '.join(map(_text, gene[:_MOST_CHARACTERS]))})", plural(len(gene), "element"))
    text = format_cell(gene)
    return _cut(text, f"{len(text)} characters")


def _cut(text: str, size: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}… ({size})"
