"""The command line: deap-hpo run, resume, compare; other commands are in `deap_hpo.commands`.

Slow imports are inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from deap_hpo.commands.delete import delete
from deap_hpo.commands.exits import DONE, errors, output, reporting
from deap_hpo.commands.files import data, export, init
from deap_hpo.commands.options import (
    Address,
    DataDir,
    Debug,
    Executor,
    Json,
    Overrides,
    Storage,
    StudyName,
    Workers,
    execution_of,
    settings_of,
)
from deap_hpo.commands.record import dashboard, list_, plot, report, show
from deap_hpo.commands.replay import replay
from deap_hpo.records import DEFAULT_STORAGE, STORAGE_VARIABLE
from deap_hpo.training.allocator import keep_memory

if TYPE_CHECKING:
    from deap_hpo.configuration.config import RunConfig

app = typer.Typer(
    help="Evolve the hyperparameters of PyTorch networks with DEAP.",
    epilog="Example: deap-hpo run --preset quick, then deap-hpo show quick.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"deap-hpo {version('deap-hpo')}")
        raise typer.Exit


@app.callback()
def _main(
    asked: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""


# The groups of commands in the help text.
RUNS, RECORD, NETWORKS = "Runs", "What is on record", "Networks and data"


def _add(command: Callable[..., None], panel: str, epilog: str, name: str | None = None) -> None:
    app.command(name, rich_help_panel=panel, epilog=epilog)(command)


_add(init, RUNS, "Examples: [bold]deap-hpo init[/bold], then [bold]deap-hpo run my_task.py:task[/bold]")


@app.command(
    rich_help_panel=RUNS,
    epilog="Examples: [bold]deap-hpo run[/bold]  ·  [bold]deap-hpo run --preset paper/run_4 --dry-run[/bold]  ·  "
    "[bold]deap-hpo run my.toml --set evolution.population=10 --name wide[/bold]",
)
def run(
    config: Annotated[
        str | None, typer.Argument(help="Instead of a preset: a TOML file, or a task of your own as FILE.py:NAME.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Named run that comes with the package; by default quick.")] = None,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; by default that of the preset or file.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    storage: Annotated[
        str | None, typer.Option(envvar=STORAGE_VARIABLE, help="Path of an SQLite file, or the URL of a database.")
    ] = None,
    data_dir: DataDir = None,
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
    from deap_hpo.configuration.config import check_overrides, load_config
    from deap_hpo.errors import InputError

    with reporting(debug):
        named = {"study.name": name, "study.seed": seed, "study.storage": storage, "task.data_dir": data_dir}
        given = settings_of({**named, **execution_of(executor, workers, address)})
        if config and preset:
            raise InputError(f"--preset {preset} is for runs that ship with the package; leave it out to run {config}.")
        settings = load_config(config or preset or "quick", [*(overrides or []), *given])
        check_overrides(settings, overrides or [])
        if enqueue_from:
            from deap_hpo.configuration.enqueueing import with_enqueued

            settings = with_enqueued(settings, enqueue_from)
        if dry_run:
            from deap_hpo.commands.job import print_plan

            print_plan(settings, as_json=as_json)
        else:
            _run(settings, as_json=as_json, debug=debug)


@app.command(
    rich_help_panel=RUNS,
    epilog="Examples: [bold]deap-hpo resume quick[/bold]  ·  "
    "[bold]deap-hpo resume quick --set evolution.generations=6[/bold]",
)
def resume(
    name: StudyName,
    overrides: Overrides = None,
    storage: Storage = DEFAULT_STORAGE,
    data_dir: DataDir = None,
    executor: Executor = None,
    workers: Workers = None,
    address: Address = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed evaluations again, and go on from what comes of them.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Continue an interrupted run, or add generations to one that has ended."""
    from deap_hpo.configuration.config import check_overrides, make_config
    from deap_hpo.recorded import load_study
    from deap_hpo.records.retries import retry_sentence

    with reporting(debug):
        recorded = load_study(name, storage)
        config = recorded.config("Resume it from the script that made it.")
        named = {"study.name": name, "study.storage": storage, "task.data_dir": data_dir}
        given = settings_of({**named, **execution_of(executor, workers, address)})
        settings = make_config(config, [*(overrides or []), *given])
        check_overrides(settings, overrides or [])
        if retry_failed:
            errors.print(retry_sentence(recorded.entries))
        _run(settings, resume=True, retry_failed=retry_failed, as_json=as_json, debug=debug)


def _run(config: RunConfig, *, resume: bool = False, retry_failed: bool = False, as_json: bool, debug: bool) -> None:
    from deap_hpo.commands.job import run_job
    from deap_hpo.records.storage import storage_option

    with reporting(debug, f"deap-hpo resume {config.study.name}{storage_option(config.study.storage)}"):
        run_job(config, resume=resume, retry_failed=retry_failed, as_json=as_json)


@app.command(
    rich_help_panel=RUNS,
    epilog="Examples: [bold]deap-hpo compare truncation random tpe --seeds 10 --budget 60[/bold]  ·  "
    "[bold]deap-hpo compare truncation grid:resolution=3 "
    "'fixed:params={lr=0.05,momentum=0.9,weight_decay=1e-4}'[/bold]",
)
def compare(
    methods: Annotated[
        list[str],
        typer.Argument(
            metavar="METHOD", help="Two or more: truncation, pbt, or strategies, as [LABEL=]NAME[:KEY=VALUE;...]"
        ),
    ],
    config: Annotated[str, typer.Option(help="Task and space of all: a preset, a TOML file, FILE.py:NAME.")] = "quick",
    experiment: Annotated[
        str, typer.Option(help="Name of the experiment; an earlier one of this name goes on.")
    ] = "compare",
    seeds: Annotated[int, typer.Option(help="Number of seeds; each method runs with each of them.")] = 10,
    budget: Annotated[int, typer.Option(help="Trainings of each run, or the epochs of as many.")] = 60,
    repeats: Annotated[int, typer.Option(help="Number of fresh seeds to train the choice of a run with.")] = 3,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed trainings again, of runs and of their choices.")
    ] = False,
    overrides: Overrides = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare methods: same task, same trainings, paired seeds; a table, tests, and what they show."""
    with reporting(debug, f"the same command; the experiment {experiment!r} is on record"):
        from deap_hpo.comparison import compare as compare_methods
        from deap_hpo.comparison import parse_method
        from deap_hpo.configuration.config import load_config
        from deap_hpo.recorded import load_study
        from deap_hpo.records.run_files import run_folder
        from deap_hpo.reports.comparison import print_comparison, results
        from deap_hpo.reports.comparison_files import write_comparison
        from deap_hpo.reports.strict_json import strict_json

        folder = run_folder(experiment, storage)
        common = load_config(config, [*(overrides or []), f"study.storage={json.dumps(storage)}"])
        parsed = [parse_method(method) for method in methods]
        with errors.status("") as status:
            tell = status.update if errors.is_terminal else partial(errors.print, markup=False)
            tables = compare_methods(
                common,
                parsed,
                experiment=experiment,
                seeds=seeds,
                budget=budget,
                repeats=repeats,
                retry_failed=retry_failed,
                tell=tell,
            )
        first = load_study(f"{experiment}-{parsed[0].label}-1", storage)
        made = results(
            *tables,
            common,
            command=shlex.join(["deap-hpo", *sys.argv[1:]]),
            objective=first.objective_names[0],
            direction=first.directions[0],
        )
        paths = write_comparison(made, folder)
        if as_json:
            output.print_json(strict_json(made))
        else:
            print_comparison(made, output)
            output.print(", ".join(map(str, paths)), markup=False)


_add(list_, RECORD, "Example: [bold]deap-hpo list --json[/bold]", "list")
_add(show, RECORD, "Examples: [bold]deap-hpo show quick[/bold]  ·  [bold]deap-hpo show 'rivals-*' --json[/bold]")
_add(plot, RECORD, "Example: [bold]deap-hpo plot quick --output my-figures[/bold]")
_add(
    report,
    RECORD,
    "Examples: [bold]deap-hpo report quick[/bold]  ·  [bold]deap-hpo report a b --output both.html[/bold]",
)
_add(dashboard, RECORD, "Example: [bold]deap-hpo dashboard --port 8081[/bold], while a run goes on in another terminal")
_add(delete, RECORD, "Examples: [bold]deap-hpo delete quick[/bold]  ·  [bold]deap-hpo delete a b --yes[/bold]")
_add(replay, NETWORKS, "Example: [bold]deap-hpo replay pbt[/bold]")
_add(export, NETWORKS, "Example: [bold]deap-hpo export quick --output my-network[/bold]")
_add(data, NETWORKS, "Examples: [bold]deap-hpo data[/bold]  ·  [bold]deap-hpo data cifar-10 --data-dir /data[/bold]")


def main() -> None:
    """Run the command line."""
    keep_memory()  # this process trains the best network again, and measures it
    # If the reader of the output goes away (`deap-hpo list | head -1`), that is not an error.
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)


if __name__ == "__main__":
    main()
