"""The commands about what is on record: deap-hpo list, show, plot, report, dashboard. They change nothing there."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from deap_hpo.commands.exits import errors, output, reporting
from deap_hpo.commands.options import Debug, Json, Storage
from deap_hpo.records import DEFAULT_STORAGE


def list_(storage: Storage = DEFAULT_STORAGE, as_json: Json = False, debug: Debug = False) -> None:
    """List the studies on record, with their size and best value (with several objectives, of the first)."""
    from rich.cells import cell_len, set_cell_size

    from deap_hpo.recorded import read_study, study_names
    from deap_hpo.records.storage import opened
    from deap_hpo.records.trials import ForeignStudyError
    from deap_hpo.reports.strict_json import strict_json
    from deap_hpo.reports.study import describe
    from deap_hpo.wording import format_value

    with reporting(debug):
        studies = []
        with opened(storage) as backend:
            for name in study_names(storage):
                try:
                    studies.append(describe(read_study(name, storage, backend)))
                except ForeignStudyError as error:
                    errors.print(f"Left out: {error}", markup=False, soft_wrap=True)
        if as_json:
            output.print_json(strict_json(studies))
            return
        rows = [["study", "generations", "evaluations", "best", "seed"]]
        for study in studies:
            best = study["best"]
            rows.append(
                [
                    study["name"],
                    str(study["counts"]["generations"]),
                    str(study["counts"]["evaluations"]),
                    f"{study['objectives'][0]} {format_value(best['value'])}" if best else "-",
                    str(study["seed"]),
                ]
            )
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        for row in rows:  # not a Table, which cuts off what is too wide: the name is what other commands take
            cells = (set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True))
            output.print("  ".join(cells).rstrip(), markup=False)


def show(
    name: Annotated[str, typer.Argument(help="Name of the study.")],
    storage: Storage = DEFAULT_STORAGE,
    top: Annotated[int, typer.Option(min=1, help="How many of the best evaluations to list.")] = 5,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a study: its best hyperparameters, its generations, what failed."""
    from deap_hpo.recorded import load_study
    from deap_hpo.reports.strict_json import strict_json
    from deap_hpo.reports.study import describe, print_study

    with reporting(debug):
        recorded = load_study(name, storage)
        if as_json:
            output.print_json(strict_json(describe(recorded)))
        else:
            print_study(recorded, output, top)


def plot(
    name: Annotated[str, typer.Argument(help="Name of the study.")],
    storage: Storage = DEFAULT_STORAGE,
    folder: Annotated[
        Path | None, typer.Option("--output", help="Folder for the figures; by default one beside the record.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw a study's figures, as PNG and PDF."""
    from deap_hpo.recorded import load_study
    from deap_hpo.records.storage import run_folder
    from deap_hpo.reports.figures import save_figures

    with reporting(debug):
        paths = [str(path) for path in save_figures(load_study(name, storage), folder or run_folder(name, storage))]
        if as_json:
            output.print_json(json.dumps(paths))
        else:
            output.print("\n".join(paths), markup=False)


def report(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of one or more studies.")],
    storage: Storage = DEFAULT_STORAGE,
    path: Annotated[
        Path | None, typer.Option("--output", help="HTML file; by default one in the folder of the first study.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write studies into one HTML file that opens offline: figures, tables, configuration, how to reproduce them."""
    from deap_hpo.recorded import load_study
    from deap_hpo.records.storage import run_folder
    from deap_hpo.reports.html import write_report

    with reporting(debug):
        studies = [load_study(name, storage) for name in names]
        written = write_report(studies, path or run_folder(names[0], storage) / "report.html")
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
