"""The options that several commands have in common."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from deap_hpo.records import STORAGE_VARIABLE

StudyName = Annotated[str, typer.Argument(help="Name of the study.")]
StudyNames = Annotated[
    list[str], typer.Argument(metavar="NAME", help="Names of one or more studies, or patterns: 'rivals-*'.")
]
# An environment variable keeps a password out of the shell's history and the list of processes.
Storage = Annotated[
    str, typer.Option(envvar=STORAGE_VARIABLE, help="Path of the SQLite file with the studies, or a database's URL.")
]
DataDir = Annotated[str | None, typer.Option(help="Folder that holds the data set.")]
Executor = Annotated[str | None, typer.Option(help="Where trainings run: auto, serial, processes or ray.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Trainings side by side; by default one per core.")]
Address = Annotated[str | None, typer.Option(help="Address of the Ray cluster; by default one on this machine.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change a setting, such as evolution.population=8; may be given more than once.",
    ),
]


def settings_of(named: dict[str, Any]) -> list[str]:
    """Return the options that were given as settings, in the form of ``--set``."""
    return [f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None]


def execution_of(executor: str | None, workers: int | None, address: str | None) -> dict[str, Any]:
    """Return the settings of the execution: where trainings run."""
    return {"execution.executor": executor, "execution.workers": workers, "execution.address": address}
