"""A study in words and figures: what the commands print and draw."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deap_hpo.analysis.fronts import front_table, hypervolumes, pareto_front, reference_point
from deap_hpo.analysis.lineages import curves_table, lineage_table
from deap_hpo.analysis.names import curves_of, trains_networks, value_name
from deap_hpo.analysis.tables import best_trials, summary, trials_table
from deap_hpo.config import DEFAULT_STORAGE, STORAGE_VARIABLE
from deap_hpo.entries import best_entry, params_of
from deap_hpo.errors import InputError
from deap_hpo.recorded import Recorded
from deap_hpo.storage import shown


def storage_option(storage: str) -> str:
    """Give the option that a printed command needs to find a study; none where it is in the default place."""
    default = os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)
    return "" if storage == default else f" --storage {shlex.quote(shown(storage))}"


def describe(recorded: Recorded) -> dict[str, Any]:
    """Describe a study in JSON's types: name, seed, space, objectives, counts, best evaluation, final measurements."""
    try:
        best = best_entry(recorded.entries, recorded.directions[0])
    except InputError:
        best = None
    return {
        "name": recorded.name,
        "seed": recorded.attributes.get("seed"),
        "version": recorded.attributes.get("version"),
        "space": recorded.space.to_dict() if recorded.space else None,
        "objectives": recorded.objective_names,
        "directions": list(recorded.directions),
        "counts": summary(recorded.entries),
        "best": best
        and {
            "number": best.number,
            "value": best.evaluation.value,
            "params": params_of(best, recorded.space),
            "metrics": dict(best.evaluation.metrics),
        },
        "final": recorded.attributes.get("final"),
        "evaluator": recorded.attributes.get("evaluator"),
        **(_describe_front(recorded) if len(recorded.directions) > 1 else {}),
    }


def _describe_front(recorded: Recorded) -> dict[str, Any]:
    """Several objectives: the Pareto front, its hypervolume after each generation."""
    names, directions = recorded.objective_names, recorded.directions
    front = pareto_front(recorded.entries, directions)
    return {
        "pareto_front": [
            {
                "number": entry.number,
                "generation": entry.generation,
                "values": dict(zip(names, entry.evaluation.values, strict=True)),
                "params": params_of(entry, recorded.space),
                "metrics": dict(entry.evaluation.metrics),
            }
            for entry in front
        ],
        "hypervolume": {
            "reference": list(reference_point(recorded.entries, directions)) if front else None,
            "by_generation": hypervolumes(recorded.entries, directions),
        },
    }


def figures_of(recorded: Recorded, folder: Path, *, pdf: bool = True) -> list[Path]:
    """Draw a study's figures into a folder: history, curves of training, hyperparameters against the objective."""
    from deap_hpo.plotting import style
    from deap_hpo.plotting.study import plot_intermediate_values, plot_optimization_history, plot_slice

    save = partial(style.save, pdf=pdf)
    trials = trials_table(recorded.entries, recorded.space, recorded.directions[0])
    if trials.empty or not trials["best"].notna().any():
        raise InputError(f"The study {recorded.name!r} has no feasible evaluation yet, nothing to draw.")
    shown_as, direction = value_name(recorded), recorded.directions[0]
    paths = save(plot_optimization_history(trials, value_name=shown_as, direction=direction), folder / "history")
    if len(recorded.directions) > 1:
        from deap_hpo.plotting.pareto import plot_pareto_front

        front = front_table(recorded.entries, recorded.directions, recorded.objective_names)
        drawn = plot_pareto_front(front, recorded.objective_names, recorded.directions)
        paths += save(drawn, folder / "pareto")
    best = best_entry(recorded.entries, recorded.directions[0])
    curves = curves_table(recorded.entries, best.trained_number)
    if len(curves):
        curve, towards = curves_of(recorded)
        drawn = plot_intermediate_values(
            curves, best.trained_number, value_name=curve, direction=towards, objective=shown_as
        )
        paths += save(drawn, folder / "curves")
    if recorded.space:
        drawn = plot_slice(trials, recorded.space, value_name=shown_as, direction=direction)
        paths += save(drawn, folder / "hyperparameters")
    if recorded.space and any(entry.start_from is not None for entry in recorded.entries):
        from deap_hpo.plotting.lineage import plot_lineage

        table = lineage_table(recorded.entries, recorded.space, recorded.directions[0])
        paths += save(plot_lineage(table, recorded.space, value_name=shown_as), folder / "lineage")
    return paths


def print_study(recorded: Recorded, console: Console, top: int) -> None:
    """Print a study for people: its best evaluations, its generations, its end."""
    console.print(f"[bold]{escape(recorded.name)}[/bold]  seed {recorded.attributes.get('seed')}")
    console.print(counts_sentence(recorded))
    console.print(failure_sentence(recorded), markup=False, end="\n" if failure_sentence(recorded) else "")
    if not recorded.entries:
        return
    if len(recorded.directions) > 1:
        print_front(recorded, console)
        return
    trials = trials_table(recorded.entries, recorded.space, recorded.directions[0])
    ranked = best_trials(trials, recorded.directions[0])
    names = [column for column in trials.columns if column.startswith(("params_", "gene_", "metrics_"))]
    header = ["evaluation", "generation", value_name(recorded), *(name.split("_", 1)[1] for name in names)]
    best = [row for _, row in ranked.head(top).iterrows()]
    rows = [
        [str(row["number"]), str(row["generation"]), format_value(row["value"]), *(_shown(row[name]) for name in names)]
        for row in best
    ]
    _print_table(header, rows, console)
    final = recorded.attributes.get("final")
    if final and final["test_size"]:
        console.print(
            f"Best network on {final['test_size']:,} test examples: loss {final['test_loss']:.4f}, "
            f"{format_metrics(final['test_metrics'])}"
        )


def print_front(recorded: Recorded, console: Console) -> None:
    """Print the Pareto front as a table, and its hypervolume after each generation."""
    about, objectives = _describe_front(recorded), recorded.objective_names
    front, volume = about["pareto_front"], about["hypervolume"]
    if not front:
        console.print("There is no Pareto front: no evaluation has finite values and keeps its constraints.")
        return
    others = dict.fromkeys(name for kind in ("params", "metrics") for one in front for name in one[kind])
    rows = []
    for one in front:
        shown_of = {**one["params"], **one["metrics"]}
        cells = [*one["values"].values(), *(shown_of.get(name, "-") for name in others)]
        rows.append([str(one["number"]), str(one["generation"]), *map(_shown, cells)])
    console.print(f"Pareto front: {plural(len(front), 'evaluation')}")
    _print_table(["evaluation", "generation", *objectives, *others], rows, console)
    console.print(f"Hypervolume by generation: {', '.join(f'{value:.4g}' for value in volume['by_generation'])}")
    reference = dict(zip(objectives, volume["reference"], strict=True))
    console.print(f"  measured from the worst feasible values, {format_params(reference)}")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print a table; where the console is too narrow for it, a paragraph for each row, so that nothing is cut off."""
    if not rows:
        return
    width = sum(max(map(cell_len, column)) + 2 for column in zip(header, *rows, strict=True))
    if width > console.width:
        for row in rows:
            cells = [f"{name} {cell}" for name, cell in zip(header, row, strict=True)]
            console.print(", ".join(cells), markup=False, highlight=False)
        return
    table = Table(*map(escape, header), box=None)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def counts_sentence(recorded: Recorded) -> str:
    """Say how many evaluations there were and what became of them.

    Whatever was out of the ordinary is named: repeated, diverged and failed ones, time limits, lost workers.
    """
    counts = summary(recorded.entries)
    trained, training = ("trained", "training") if trains_networks(recorded) else ("computed", "computing")
    done = f"{plural(counts['evaluations'], 'evaluation')} in {plural(counts['generations'], 'generation')}"
    parts = [f"{done}: {counts['trained']} {trained}"]
    parts += [f"{counts[key]} {key}" for key in ("cached", "infeasible", "pruned", "diverged", "failed") if counts[key]]
    parts += [f"{counts['timed_out']} of them at the time limit"] if counts["timed_out"] else []
    parts += [f"{counts['retries']} started again after a worker was lost"] if counts["retries"] else []
    return ", ".join(parts) + f"; {format_seconds(counts['seconds'])} of {training}."


def failure_sentence(recorded: Recorded) -> str:
    """Say what the first failed evaluation failed of; nothing where none failed."""
    failed = [entry for entry in recorded.entries if entry.evaluation.status == "failed" and entry.duplicate_of is None]
    if not failed:
        return ""
    return f"Evaluation {failed[0].number} failed: {failed[0].evaluation.reason}"


def format_params(params: Mapping[str, Any]) -> str:
    """Write hyperparameters in a line.

    Example:
        >>> format_params({"lr": 0.0123456, "width": 64, "parameters": 44426.0})
        'lr 0.01235, width 64, parameters 44426'
    """
    return ", ".join(f"{name} {_shown(value)}" for name, value in params.items())


def format_value(value: float) -> str:
    """Write an objective's value, with four decimals where that says enough.

    Example:
        >>> format_value(0.31234), format_value(3.2e-6), format_value(-5e300)
        ('0.3123', '3.2e-06', '-5e+300')
    """
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e6 else f"{value:.4g}"


def strict_json(value: Any) -> str:
    """Write JSON that every program can read, which knows neither NaN nor infinity: both become null.

    Example:
        >>> strict_json({"accuracy": [0.5, float("nan")]})
        '{"accuracy": [0.5, null]}'
    """

    def finite(one: Any) -> Any:
        if isinstance(one, Mapping):
            return {name: finite(part) for name, part in one.items()}
        if isinstance(one, (list, tuple)):
            return [finite(part) for part in one]
        return None if isinstance(one, float) and not math.isfinite(one) else one

    return json.dumps(finite(value))


def plural(count: float, word: str) -> str:
    """Write a number of things.

    Example:
        >>> plural(1, "epoch"), plural(2, "epoch")
        ('1 epoch', '2 epochs')
    """
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Write metrics in a line.

    Example:
        >>> format_metrics({"accuracy": 0.8912})
        'accuracy 0.8912'
    """
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def format_seconds(seconds: float) -> str:
    """Write a duration.

    Example:
        >>> format_seconds(7), format_seconds(95), format_seconds(7322)
        ('7 s', '1 min 35 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        if math.isnan(value):  # not in use, or not measured
            return "-"
        # A whole number beside what is not in use is a float, and so is a number of parameters.
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"
    return str(value)
