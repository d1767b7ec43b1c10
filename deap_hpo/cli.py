"""The command line: deap-hpo init, run, resume, compare, list, show, plot, report, export, dashboard, data.

Heavy imports stand inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deap_hpo.commands import data, export, init
from deap_hpo.config import DEFAULT_STORAGE, STORAGE_VARIABLE
from deap_hpo.exits import DONE, errors, output, reporting
from deap_hpo.options import Address, Debug, Executor, Json, Overrides, Storage, Workers, execution_of, settings_of
from deap_hpo.replay import replay

if TYPE_CHECKING:
    from deap_hpo.config import RunConfig

app = typer.Typer(
    help="Evolve the hyperparameters of PyTorch networks with DEAP.",
    epilog="Example: deap-hpo run --preset quick, then deap-hpo show quick.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(
    epilog="Examples: [bold]deap-hpo run[/bold]  ·  [bold]deap-hpo run --preset paper/run_4 --dry-run[/bold]  ·  "
    "[bold]deap-hpo run my.toml --set evolution.population=10 --name wide[/bold]"
)
def run(
    config: Annotated[
        str | None, typer.Argument(help="Instead of a preset: a TOML file, or a task of your own as FILE.py:NAME.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Named run that ships with the package.")] = "quick",
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; by default that of the preset or file.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    storage: Annotated[
        str | None, typer.Option(envvar=STORAGE_VARIABLE, help="Path of an SQLite file, or the URL of a database.")
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder that holds the data set.")] = None,
    executor: Executor = None,
    workers: Workers = None,
    address: Address = None,
    enqueue_from: Annotated[
        str | None, typer.Option(metavar="STUDY[:COUNT]", help="Try the best configurations of an earlier study first.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what the run would cost, and stop.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Start a run: evolve hyperparameters, record every training, test the best network, draw figures."""
    from deap_hpo.config import load_config

    with reporting(debug):
        named = {"study.name": name, "study.seed": seed, "study.storage": storage, "task.data_dir": data_dir}
        given = settings_of({**named, **execution_of(executor, workers, address)})
        settings = load_config(config or preset, [*(overrides or []), *given])
        if enqueue_from:
            from deap_hpo.enqueueing import with_enqueued

            settings = with_enqueued(settings, enqueue_from)
        if dry_run:
            from deap_hpo.job import print_plan

            print_plan(settings, output, as_json=as_json)
        else:
            _run(settings, resume=False, as_json=as_json, debug=debug)


@app.command(
    epilog="Examples: [bold]deap-hpo resume quick[/bold]  ·  "
    "[bold]deap-hpo resume quick --set evolution.generations=6[/bold]"
)
def resume(
    name: Annotated[str, typer.Argument(help="Name of the study.")],
    overrides: Overrides = None,
    storage: Storage = DEFAULT_STORAGE,
    data_dir: Annotated[str | None, typer.Option(help="Folder that holds the data set.")] = None,
    executor: Executor = None,
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Go on with a run that was interrupted, or add generations to one that ended."""
    from deap_hpo.config import make_config
    from deap_hpo.record import read_record

    with reporting(debug):
        config = read_record(name, storage).config("Resume it from the script that made it.")
        named = {"study.name": name, "study.storage": storage, "task.data_dir": data_dir}
        given = settings_of({**named, **execution_of(executor, workers, address)})
        settings = make_config(config, [*(overrides or []), *given])
        _run(settings, resume=True, as_json=as_json, debug=debug)


def _run(config: RunConfig, *, resume: bool, as_json: bool, debug: bool) -> None:
    from deap_hpo.job import run_job
    from deap_hpo.report import storage_option

    with reporting(debug, f"deap-hpo resume {config.study.name}{storage_option(config.study.storage)}"):
        run_job(config, output, errors, resume=resume, as_json=as_json)


@app.command(
    epilog="Examples: [bold]deap-hpo compare truncation random tpe --seeds 10 --budget 60[/bold]  ·  "
    "[bold]deap-hpo compare truncation grid:resolution=3 'fixed:params={lr=0.05,momentum=0.9,weight_decay=1e-4}'[/bold]"
)
def compare(
    methods: Annotated[
        list[str], typer.Argument(help="Two or more: truncation, pbt, or strategies, as [LABEL=]NAME[:KEY=VALUE;...]")
    ],
    config: Annotated[str, typer.Option(help="What all have in common: a preset, or a TOML file.")] = "quick",
    experiment: Annotated[
        str, typer.Option(help="Name of the experiment; the same name goes on where it was.")
    ] = "compare",
    seeds: Annotated[int, typer.Option(help="Paired seeds.")] = 10,
    budget: Annotated[int, typer.Option(help="Trainings (or their epochs) of each method and seed.")] = 60,
    repeats: Annotated[int, typer.Option(help="Fresh seeds on which each choice is trained again.")] = 3,
    overrides: Overrides = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare methods: same task, same trainings, paired seeds; a table, tests, and what they show."""
    with reporting(debug, f"the same command; the experiment {experiment!r} is on record"):
        from deap_hpo.comparison import compare as compare_methods
        from deap_hpo.comparison import parse_method
        from deap_hpo.comparison_report import markdown, results, write
        from deap_hpo.config import load_config
        from deap_hpo.report import strict_json
        from deap_hpo.storage import run_folder

        folder = run_folder(experiment, storage)
        common = load_config(config, [*(overrides or []), f"study.storage={json.dumps(storage)}"])
        parsed = [parse_method(method) for method in methods]
        with errors.status("") as status:
            tables = compare_methods(
                common, parsed, experiment=experiment, seeds=seeds, budget=budget, repeats=repeats, tell=status.update
            )
        made = results(*tables, common, command=shlex.join(["deap-hpo", *sys.argv[1:]]))
        paths = write(made, folder)
        if as_json:
            output.print_json(strict_json(made))
        else:
            output.print(markdown(made), markup=False)
            output.print(", ".join(map(str, paths)), markup=False)


app.command(epilog="Example: [bold]deap-hpo replay pbt[/bold]")(replay)


@app.command("list", epilog="Example: [bold]deap-hpo list --json[/bold]")
def list_(storage: Storage = DEFAULT_STORAGE, as_json: Json = False, debug: Debug = False) -> None:
    """List the studies on record, with their size and best value."""
    from rich.table import Table

    from deap_hpo.record import ForeignStudyError, read_record, study_names
    from deap_hpo.report import describe, format_value, strict_json

    with reporting(debug):
        studies = []
        for name in study_names(storage):
            try:
                studies.append(describe(read_record(name, storage)))
            except ForeignStudyError as error:
                errors.print(f"Left out: {error}", markup=False, soft_wrap=True)
        if as_json:
            output.print_json(strict_json(studies))
            return
        table = Table("study", "generations", "evaluations", "best value", "seed", box=None)
        for study in studies:
            best = study["best"]
            table.add_row(
                study["name"],
                str(study["counts"]["generations"]),
                str(study["counts"]["evaluations"]),
                format_value(best["value"]) if best else "-",
                str(study["seed"]),
            )
        output.print(table)


@app.command(epilog="Examples: [bold]deap-hpo show quick[/bold]  ·  [bold]deap-hpo show quick --json[/bold]")
def show(
    name: Annotated[str, typer.Argument(help="Name of the study.")],
    storage: Storage = DEFAULT_STORAGE,
    top: Annotated[int, typer.Option(min=1, help="How many of the best evaluations to list.")] = 5,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a study: its best hyperparameters, its generations, what failed."""
    from deap_hpo.record import read_record
    from deap_hpo.report import describe, print_study, strict_json

    with reporting(debug):
        recorded = read_record(name, storage)
        if as_json:
            output.print_json(strict_json(describe(recorded)))
        else:
            print_study(recorded, output, top)


@app.command(epilog="Example: [bold]deap-hpo plot quick --output my-figures[/bold]")
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
    from deap_hpo.record import read_record
    from deap_hpo.report import figures_of
    from deap_hpo.storage import run_folder

    with reporting(debug):
        paths = [str(path) for path in figures_of(read_record(name, storage), folder or run_folder(name, storage))]
        if as_json:
            output.print_json(json.dumps(paths))
        else:
            output.print("\n".join(paths), markup=False)


@app.command(
    epilog="Examples: [bold]deap-hpo report quick[/bold]  ·  [bold]deap-hpo report a b --output both.html[/bold]"
)
def report(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of one or more studies.")],
    storage: Storage = DEFAULT_STORAGE,
    path: Annotated[
        Path | None, typer.Option("--output", help="HTML file; by default one in the folder of the first study.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write studies into one HTML file that opens offline: figures, tables, configuration, how to reproduce them."""
    from deap_hpo.html_report import write_report
    from deap_hpo.record import read_record
    from deap_hpo.storage import run_folder

    with reporting(debug):
        studies = [read_record(name, storage) for name in names]
        written = write_report(studies, path or run_folder(names[0], storage) / "report.html")
        output.print_json(json.dumps(str(written))) if as_json else output.print(str(written), markup=False)


@app.command(epilog="Example: [bold]deap-hpo dashboard --port 8081[/bold], while a run goes on in another terminal")
def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 8080,
    debug: Debug = False,
) -> None:
    """Show the record as a live web page, for looking only, on this machine only. Ctrl-C ends it."""
    from deap_hpo.dashboard import make_server, url_of

    with reporting(debug), make_server(storage, port) as server:
        output.print(f"The dashboard is at {url_of(server)} (Ctrl-C ends it).")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


app.command(epilog="Examples: [bold]deap-hpo init[/bold], then [bold]deap-hpo run my_task.py:task[/bold]")(init)
app.command(epilog="Example: [bold]deap-hpo export quick --output my-network[/bold]")(export)
app.command(epilog="Examples: [bold]deap-hpo data[/bold]  ·  [bold]deap-hpo data cifar-10 --data-dir /data[/bold]")(
    data
)


def main() -> None:
    """Run the command line."""
    # A reader that goes away (`deap-hpo list | head -1`) is no error of ours.
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)
