"""A study in words, as the commands print it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape

from deap_hpo.analysis.edges import crowded_ends, edge_sentence
from deap_hpo.analysis.fronts import hypervolumes, pareto_front, reference_point
from deap_hpo.analysis.names import trains_networks, value_name
from deap_hpo.analysis.running import running_rows
from deap_hpo.analysis.runs import environments
from deap_hpo.analysis.shown import PARAMS_AND_METRICS, shown_params, shown_trials
from deap_hpo.analysis.tables import best_trials, column_label, summary
from deap_hpo.goals import JUDGED_BY
from deap_hpo.recorded import Recorded
from deap_hpo.records.entries import find_best, params_of
from deap_hpo.reports.screen import print_table
from deap_hpo.strategies.genes import is_exhausted
from deap_hpo.wording import format_cell, format_metrics, format_params, format_seconds, format_value, plural

_ENDS = ("pruned", "diverged", "failed")


def describe(recorded: Recorded) -> dict[str, Any]:
    """Describe a study in JSON's types: name, seed, space, objectives, counts, best evaluation, narrow ranges, ..."""
    best = find_best(recorded.entries, recorded.directions[0])
    return {
        "name": recorded.name,
        "seed": recorded.attributes.get("seed"),
        "version": recorded.attributes.get("version"),
        "space": recorded.space.to_dict() if recorded.space else None,
        "objectives": recorded.objective_names,
        "directions": list(recorded.directions),
        "counts": summary(recorded.entries, recorded.stages) | {"superseded": len(recorded.superseded)},
        "best": best
        and {
            "number": best.number,
            "value": best.evaluation.value,
            "params": params_of(best, recorded.space),
            "metrics": dict(best.evaluation.metrics),
            "notes": dict(best.evaluation.notes),
        },
        "running": [
            {
                "number": one.number,
                "params": dict(one.params),
                "seconds": one.seconds,
                "epochs": one.epochs,
                "latest": [asdict(epoch) for epoch in one.latest.values()],
            }
            for one in recorded.running
        ],
        "crowded_ends": crowded_ends(recorded),
        "final": recorded.attributes.get("final"),
        "evaluator": recorded.attributes.get("evaluator"),
        **(_describe_front(recorded) if len(recorded.directions) > 1 else {}),
    }


def _describe_front(recorded: Recorded) -> dict[str, Any]:
    """Describe the Pareto front of several objectives, and its hypervolume after each generation."""
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


def where_sentence(recorded: Recorded) -> str:
    """Say in which precision and on which device networks were trained; empty for a function.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> where_sentence(optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, generations=1).found())
        ''
    """
    kinds = [
        f"in {about['precision']} on {about['device_name']}"
        for about in environments({recorded.name: [recorded]})
        if {"precision", "device_name"} <= about.keys()
    ]
    return f"Trained {', '.join(dict.fromkeys(kinds))}." if kinds else ""


def print_study(recorded: Recorded, console: Console, top: int) -> None:
    """Print a study for people: its counts, its best evaluations, and the test of its best network."""
    console.print(f"[bold]{escape(recorded.name)}[/bold]  seed {recorded.attributes.get('seed')}")
    for sentence_of in (counts_sentence, judging_sentence, failure_sentence, where_sentence):
        if sentence := sentence_of(recorded):
            console.print(sentence, markup=False)
    _print_running(recorded, console)
    if not recorded.entries:
        return
    if len(recorded.directions) > 1:
        print_front(recorded, console)
        return
    _print_best(recorded, console, top)
    if sentence := tie_sentence(recorded):
        console.print(sentence, markup=False)
    if sentence := edge_sentence(recorded):
        console.print(escape(sentence))
    final = recorded.attributes.get("final")
    if final and final["test_size"]:
        console.print(
            f"Best network on {final['test_size']:,} test examples: loss {final['test_loss']:.4f}, "
            f"{format_metrics(final['test_metrics'])}",
            markup=False,
        )


def _print_running(recorded: Recorded, console: Console) -> None:
    """Print the evaluations under way as a table, below a line of its own."""
    if rows := running_rows(recorded):
        console.print("Under way:")
        header = [*rows[0].facts, *rows[0].params]
        cells = [[format_cell(cell) for cell in (*row.facts.values(), *row.params.values())] for row in rows]
        print_table(header, cells, console)
        console.print("On record:")


def _print_best(recorded: Recorded, console: Console, top: int) -> None:
    """Print the best evaluations as a table, and after which part of a training the best of them was measured."""
    trials = shown_trials(recorded.trials_dataframe(), recorded.entries)
    ranked = best_trials(trials, recorded.directions[0])
    names = [column for column in trials.columns if column.startswith(PARAMS_AND_METRICS)]
    parts = ["epochs"] if "epochs" in trials else []  # the epochs after which it was measured
    header = ["evaluation", "generation", *parts, value_name(recorded), *map(column_label, names)]
    best = [row for _, row in ranked.head(top).iterrows()]
    rows = [
        [
            str(row["number"]),
            str(row["generation"]),
            *("-" if pd.isna(row[name]) else str(row[name]) for name in parts),
            format_value(row["value"]),
            *(format_cell(row[name]) for name in names),
        ]
        for row in best
    ]
    print_table(header, rows, console)
    if best and (part := recorded.part_of_training(recorded.best)):
        console.print(f"The best one was measured {part}.")


def print_front(recorded: Recorded, console: Console) -> None:
    """Print the Pareto front as a table, and its hypervolume after each generation."""
    about, objectives = _describe_front(recorded), recorded.objective_names
    front, volume = about["pareto_front"], about["hypervolume"]
    if not front:
        console.print("There is no Pareto front: no evaluation has finite values and keeps its constraints.")
        return
    entries = {entry.number: entry for entry in recorded.entries}
    params = shown_params([entries[one["number"]] for one in front], recorded.space)
    front = [{**one, "params": of_one} for one, of_one in zip(front, params, strict=True)]
    others = dict.fromkeys(
        name for kind in ("params", "metrics") for one in front for name in one[kind] if name not in objectives
    )
    rows = []
    for one in front:
        shown_of = {**one["params"], **one["metrics"]}
        cells = [*one["values"].values(), *(shown_of.get(name, "-") for name in others)]
        rows.append([str(one["number"]), str(one["generation"]), *map(format_cell, cells)])
    console.print(f"Pareto front: {plural(len(front), 'evaluation')}")
    print_table(["evaluation", "generation", *objectives, *others], rows, console)
    console.print(f"Hypervolume by generation: {', '.join(f'{value:.4g}' for value in volume['by_generation'])}")
    reference = dict(zip(objectives, volume["reference"], strict=True))
    console.print(
        f"  measured from a tenth of the range beyond the worst feasible values, {format_params(reference)}",
        markup=False,
    )


def judging_sentence(recorded: Recorded) -> str:
    """Say what a study is judged by, if that is not what it was run for; otherwise empty.

    Example:
        >>> judging_sentence(Recorded("run", ("maximize",), None, (), {"judged_by": "accuracy"}))
        'Judged by accuracy (more is better), whatever the search was for.'
    """
    if JUDGED_BY not in recorded.attributes:
        return ""
    word = "less" if recorded.directions[0] == "minimize" else "more"
    return f"Judged by {recorded.attributes[JUDGED_BY]} ({word} is better), whatever the search was for."


def counts_sentence(recorded: Recorded) -> str:
    """Say how many evaluations there were and how they ended.

    Anything out of the ordinary is named: repeated, diverged and failed evaluations, time limits, lost workers, an
    exhausted space.
    """
    counts = summary(recorded.entries, recorded.stages)
    trained, training = ("trained", "training") if trains_networks(recorded) else ("computed", "computing")
    done = f"{plural(counts['evaluations'], 'evaluation')} in {plural(counts['generations'], 'generation')}"
    refused = counts["evaluations"] - counts["trained"] - counts["cached"]
    kinds = {"infeasible": counts["infeasible"] - refused, **{key: counts[key] for key in _ENDS}}
    ends = [f"{count} {kind}" for kind, count in kinds.items() if count]
    ends += [f"{counts['timed_out']} of them at the time limit"] if counts["timed_out"] else []
    parts = [f"{done}: {counts['trained']} {trained}" + (f" ({', '.join(ends)})" if ends else "")]
    parts += [f"{counts['cached']} cached"] if counts["cached"] else []
    parts += [f"{refused} infeasible and not {trained}"] if refused else []
    parts += [f"{counts['retries']} started again after a worker was lost"] if counts["retries"] else []
    parts += [f"{len(recorded.superseded)} superseded by a retry"] if recorded.superseded else []
    everything = " That is every configuration of the space." if _is_exhausted(recorded) else ""
    return ", ".join(parts) + f"; {format_seconds(counts['seconds'])} of {training}.{everything}"


def tie_sentence(recorded: Recorded) -> str:
    """Say how many evaluations share the best value of a single objective; empty if only one has it.

    Example:
        >>> from deap_hpo import Int, optimize
        >>> tie_sentence(optimize(lambda params: 0.5, {"x": Int(0, 9)}, population=5, generations=1).found())
        '5 of 5 evaluations share the best value, 0.5000; the first of them counts as the best.'
    """
    best = find_best(recorded.entries, recorded.directions[0])
    if best is None or len(recorded.directions) > 1:
        return ""
    done = [entry for entry in recorded.entries if entry.duplicate_of is None]
    equal = [one for one in done if one.evaluation.feasible and one.evaluation.value == best.evaluation.value]
    if len(equal) == 1:
        return ""
    return (
        f"{len(equal)} of {plural(len(done), 'evaluation')} share the best value, "
        f"{format_value(best.evaluation.value)}; the first of them counts as the best."
    )


def _is_exhausted(recorded: Recorded) -> bool:
    """Tell whether every configuration of a finite space was evaluated."""
    space = recorded.space
    return space is not None and is_exhausted(space, (entry.genes for entry in recorded.entries))


def failure_sentence(recorded: Recorded) -> str:
    """Say why the first failed evaluation failed; empty if none failed."""
    failed = [entry for entry in recorded.entries if entry.evaluation.status == "failed" and entry.duplicate_of is None]
    if not failed:
        return ""
    return f"Evaluation {failed[0].number} failed: {failed[0].evaluation.reason}"
