"""The commands about files: deap-hpo init, export, data. They import other modules only when they are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deap_hpo.commands.exits import output, reporting
from deap_hpo.commands.options import DataDir, Debug, Json, Storage, StudyName
from deap_hpo.records import DEFAULT_STORAGE


def init(
    name: Annotated[str, typer.Argument(help="Name of the two files.")] = "my_task",
    folder: Annotated[Path, typer.Option(help="Folder for them.")] = Path(),
    debug: Debug = False,
) -> None:
    """Write a starter for a network of your own: a Python file and a TOML file, which run as they are."""
    from deap_hpo.configuration.starting import write_starter

    with reporting(debug):
        code, settings = write_starter(name, folder)
        output.print(f"{code} holds the network and its data, {settings} what is searched and how.", markup=False)
        output.print(f"Run it as it is: deap-hpo run {code}:task", markup=False)


def export(
    name: StudyName,
    storage: Storage = DEFAULT_STORAGE,
    folder: Annotated[
        Path | None, typer.Option("--output", help="Folder for the files; by default one beside the record.")
    ] = None,
    data_dir: DataDir = None,
    evaluation: Annotated[
        int | None, typer.Option(min=0, help="Number of an evaluation, such as one of the Pareto front.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the best network, or that of another evaluation, for use elsewhere.

    best.pt2 is a program that torch alone runs, on inputs as they are:
    torch.export.load("best.pt2").module()(inputs), several inputs by name.

    best.safetensors has the weights, which expect normalised inputs;
    best.toml has how these are normalised, what was measured, and what else is known;
    best.json has the measurements of the best, for programs.

    Those of another evaluation are called evaluation-NUMBER instead of best.
    """
    from deap_hpo.export import export_best
    from deap_hpo.records.run_files import run_folder

    with reporting(debug):
        to = folder or run_folder(name, storage)
        paths = [str(path) for path in export_best(name, storage, to, data_dir, evaluation)]
        if as_json:
            output.print_json(json.dumps(paths))
        else:
            output.print("\n".join(paths), markup=False)


def data(
    name: Annotated[str, typer.Argument(help="Name of the data set.")] = "fashion-mnist",
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find (or download) a data set, check its files, and say what is in it."""
    from deap_hpo.training.idx import find_fashion_mnist
    from deap_hpo.training.vision import load_data

    with reporting(debug):
        loaded = load_data(name, data_dir)
        facts = {
            "name": name,
            "development_size": len(loaded.training) + len(loaded.validation),
            "test_size": loaded.description["test_size"],
            "shape": loaded.expected_inputs()["shape"],
            **({"folder": str(find_fashion_mnist(data_dir))} if name == "fashion-mnist" else {}),
        }
        if as_json:
            output.print_json(json.dumps(facts))
        else:
            place = f" in {facts['folder']}" if "folder" in facts else ""
            output.print(
                f"{name} is there{place}: {facts['development_size']:,} examples to train and validate on, "
                f"{facts['test_size']:,} to test, of shape {facts['shape']}; files and checksums right.",
                markup=False,
            )
