"""The commands that read the record: deap-hpo list, show, plot, report, dashboard. They change nothing in it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deap_hpo.commands.exits import errors, output, reporting
from deap_hpo.commands.options import Debug, Json, Storage, StudyNames
from deap_hpo.records import DEFAULT_STORAGE

if TYPE_CHECKING:
    from deap_hpo.recorded import Recorded

Objective = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Judge by one of several objectives, or a metric, rather than as the search did."
    ),
]
Better = Annotated[
    Literal["minimize", "maximize"] | None,
    typer.Option("--direction", help="Which way is better, where that is not known."),
]


def _load(
    name: str, storage: str, objective: str | None, direction: Literal["minimize", "maximize"] | None
) -> Recorded:
    """Read a study, and judge it as asked."""
    from deap_hpo.errors import InputError
    from deap_hpo.recorded import load_study

    if objective is None and direction is not None:
        raise InputError(f"--direction {direction} needs --objective, the objective that it is for.")
    study = load_study(name, storage)
    return study if objective is None else study.judged_by(objective, direction)


def _run_folder(name: str, storage: str, objective: str | None) -> Path:
    """Return the folder for a study's files; each objective to judge it by has its own."""
    from deap_hpo.records.run_files import judged_folder, run_folder

    folder = run_folder(name, storage)
    return folder if objective is None else judged_folder(folder, objective)


def list_(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only studies of these names, or patterns: 'rivals-*'.")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the studies on record, with their size and best value (with several objectives, of the first)."""
    from rich.cells import cell_len, set_cell_size

    from deap_hpo.recorded import matching_names, read_study, study_names
    from deap_hpo.records.storage import opened
    from deap_hpo.records.trials import ForeignStudyError
    from deap_hpo.reports.strict_json import strict_json
    from deap_hpo.reports.study import describe
    from deap_hpo.wording import format_value

    with reporting(debug):
        studies = []
        with opened(storage) as backend:
            for name in matching_names(names, storage) if names else study_names(storage):
                try:
                    studies.append(describe(read_study(name, storage, backend)))
                except ForeignStudyError as error:
                    errors.print(f"Left out: {error}", markup=False, soft_wrap=True)
        if as_json:
            output.print_json(strict_json(studies))
            return
        rows = [["study", "generations", "evaluations", "best", "seed"]]
        is_running = any(study["running"] for study in studies)
        rows[0] += ["under way"] if is_running else []
        for study in studies:
            best = study["best"]
            rows.append(
                [
                    study["name"],
                    str(study["counts"]["generations"]),
                    str(study["counts"]["evaluations"]),
                    f"{study['objectives'][0]} {format_value(best['value'])}" if best else "-",
                    str(study["seed"]),
                    *([str(len(study["running"]))] if is_running else []),
                ]
            )
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        for row in rows:  # not a Table, which cuts off wide cells: other commands need the whole name
            cells = (set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True))
            output.print("  ".join(cells).rstrip(), markup=False)


def show(
    names: StudyNames,
    storage: Storage = DEFAULT_STORAGE,
    top: Annotated[int, typer.Option(min=1, help="How many of the best evaluations to list.")] = 5,
    objective: Objective = None,
    direction: Better = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show studies: their best hyperparameters, their generations, what failed."""
    from deap_hpo.recorded import matching_names
    from deap_hpo.reports.strict_json import strict_json
    from deap_hpo.reports.study import describe, print_study

    with reporting(debug):
        matching = matching_names(names, storage)
        studies = [_load(name, storage, objective, direction) for name in matching]
        if as_json:
            described = [describe(study) for study in studies]
            output.print_json(strict_json(described[0] if names == matching[:1] else described))
            return
        for i, study in enumerate(studies):
            if i:
                output.print()
            print_study(study, output, top)


def plot(
    names: StudyNames,
    storage: Storage = DEFAULT_STORAGE,
    folder: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for the figures, of several in folders; by default beside the record."),
    ] = None,
    objective: Objective = None,
    direction: Better = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw the figures of studies, as PNG and PDF."""
    from deap_hpo.recorded import matching_names
    from deap_hpo.reports.figures import save_figures

    with reporting(debug):
        matching = matching_names(names, storage)
        paths: list[str] = []
        for name in matching:
            study = _load(name, storage, objective, direction)
            own = folder and (folder / name if len(matching) > 1 else folder)
            paths += map(str, save_figures(study, own or _run_folder(name, storage, objective)))
        if as_json:
            output.print_json(json.dumps(paths))
        else:
            output.print("\n".join(paths), markup=False)


def report(
    names: StudyNames,
    storage: Storage = DEFAULT_STORAGE,
    path: Annotated[
        Path | None,
        typer.Option("--output", help="HTML file; by default in the study's folder, of several beside the record."),
    ] = None,
    objective: Objective = None,
    direction: Better = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write studies into one HTML file that opens offline: figures, tables, configuration, how to reproduce them."""
    from deap_hpo.recorded import matching_names
    from deap_hpo.records.run_files import REPORT
    from deap_hpo.reports.html import write_report

    with reporting(debug):
        names = matching_names(names, storage)
        studies = [_load(name, storage, objective, direction) for name in names]
        folder = _run_folder(names[0], storage, objective)
        if len(names) > 1:  # so that none of them loses its own
            folder = _run_folder(names[0], storage, None).parent
        written = write_report(studies, path or folder / REPORT)
        if as_json:
            output.print_json(json.dumps(str(written)))
        else:
            output.print(str(written), markup=False)


def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 8080,
    debug: Debug = False,
) -> None:
    """Show the record as a live web page, for looking only, on this machine only. Ctrl-C ends it."""
    from deap_hpo.reports.dashboard import make_server, url_of

    with reporting(debug), make_server(storage, port) as server:
        output.print(f"The dashboard is at {url_of(server)} (Ctrl-C ends it).")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
