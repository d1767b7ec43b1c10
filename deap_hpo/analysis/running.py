"""The evaluations under way, as they are shown to people."""

from __future__ import annotations

from typing import Any, NamedTuple

from deap_hpo.analysis.names import trains_networks
from deap_hpo.results import Results
from deap_hpo.wording import format_seconds


class RunningRow(NamedTuple):
    """An evaluation under way as a row of a table.

    Attributes:
        facts: Its number, its epochs, what was measured after the last one, and its time, each under its heading.
        params: Its hyperparameters by name.
    """

    facts: dict[str, Any]
    params: dict[str, Any]


def running_rows(study: Results) -> list[RunningRow]:
    """Give the evaluations of a study that are under way, by number; all rows have the same headings.

    Example:
        >>> from deap_hpo import Float, Objective, Study
        >>> def loss(params, report):
        ...     report(2, params["x"])
        ...     print(running_rows(study)[0])
        ...     return params["x"]
        >>> with Study({"x": Float(0.0, 1.0)}) as study:
        ...     values = study.map(Objective(loss), [[0.5]])
        RunningRow(facts={'evaluation': 0, 'epochs': '2', 'value': 0.5, 'time': '0 s'}, params={'x': 0.5})
    """
    trains = trains_networks(study)
    running = [(one, one.measured(study.objective_names, trains=trains)) for one in study.running]
    in_epochs = any(one.progress for one, _ in running)
    measured = next((found[0] for _, found in running if found), None)
    names = list(dict.fromkeys(name for one, _ in running for name in one.params))
    return [
        RunningRow(
            {
                "evaluation": one.number,
                **({"epochs": one.progress or "-"} if in_epochs else {}),
                **({measured: found[1] if found else "-"} if measured else {}),
                "time": format_seconds(one.seconds),
            },
            {name: one.params.get(name, "-") for name in names},
        )
        for one, found in running
    ]
