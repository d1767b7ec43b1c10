"""The best network of a study as files for other programs: a program, safetensors weights, and the rest as TOML."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_model

from deap_hpo.best import Final, finish, train_again
from deap_hpo.configuration.assembly import make_task, trainer_of
from deap_hpo.configuration.config import RunConfig, make_config
from deap_hpo.configuration.toml_writer import to_toml
from deap_hpo.errors import InputError, warn
from deap_hpo.files import expanded, write_text
from deap_hpo.recorded import Recorded, load_study
from deap_hpo.records.entries import Entry, best_entry
from deap_hpo.records.run_files import network_stem
from deap_hpo.training.data import Data
from deap_hpo.training.keyed import keyed_model
from deap_hpo.training.program import save_program
from deap_hpo.training.task import Task

_ABOUT_INPUTS = """\
# The network expects normalised inputs: (inputs / divide_by - mean) / std, with what [inputs] says.
# The program in {stem}.pt2, where there is one, does that itself: give it the inputs as they are.
"""
_ABOUT_SEVERAL = """\
# The network expects normalised inputs: of each (input / divide_by - mean) / std, with what [inputs.NAME] says; whole
# numbers and booleans whose mean is 0.0 and std 1.0 as they are.
# The program in {stem}.pt2, where there is one, does that itself: give it the inputs as they are, by their names.
"""


def export_best(
    name: str, storage: str, folder: Path, data_dir: str | None = None, evaluation: int | None = None
) -> list[Path]:
    """Write the best network of a study, or that of another evaluation; it is trained again if needed.

    ``best.pt2`` is the network as a program, which normalises its inputs itself. It needs torch alone:
    ``torch.export.load("best.pt2").module()(inputs)``, with several inputs passed by name. ``best.safetensors`` has the
    weights, which expect normalised inputs; `safetensors.torch.load_model` reads them into the network. ``best.toml``
    describes how inputs are normalised (`inputs`), how to build the network (`architecture`), how it was trained
    (`recipe`), and the measurements (`measured`). Its `run` is the whole configuration, as `deap-hpo run` takes it.

    If the network cannot be exported as a program, a warning says why, and only the other two files are written.

    Args:
        name: Name of the study.
        storage: Path or URL of its record.
        folder: Folder for the files.
        data_dir: Folder that holds the data set.
        evaluation: Number of an evaluation, such as one of the Pareto front; its files are ``evaluation-NUMBER.*``. By
            default the best.

    Returns:
        The paths of the files: weights, TOML, and the program if there is one.

    Raises:
        InputError: The study was not started by `deap-hpo run`, or has no feasible evaluation, or lacks `evaluation`.
    """
    folder = expanded(folder)
    recorded = load_study(name, storage)
    noted = recorded.config_of_network()
    config = make_config(noted, [f"task.data_dir={json.dumps(data_dir)}"] if data_dir else [])
    task = make_task(config)
    trainer = trainer_of(task, config)
    stem = network_stem(evaluation)
    if evaluation is None:
        entry = best_entry(recorded.entries, recorded.directions[0])
        final = finish(trainer, recorded, folder)
    else:
        entry = _numbered(recorded, evaluation)
        final = train_again(trainer, recorded, entry, folder / stem)
    weights, about, program = (folder / f"{stem}.{suffix}" for suffix in ("safetensors", "toml", "pt2"))
    write_text(about, _about_inputs(task.data, stem) + to_toml(_facts(recorded, config, task, final)))
    # Built with the seed of its training, because a network may draw more than its weights when it is built.
    network = keyed_model(partial(task.model, **task.configure(final.params)[1]), entry.seed)
    load_model(network, weights)
    try:
        save_program(network, task.data, program)
    except InputError as error:
        program.unlink(missing_ok=True)  # left from an earlier export
        warn(f"there is no {program.name}: {error}")
        return [weights, about]
    return [weights, about, program]


def _numbered(recorded: Recorded, number: int) -> Entry:
    for entry in recorded.entries:
        if entry.number == number:
            return entry
    raise InputError(f"evaluation must be one of the {len(recorded.entries)} of {recorded.name!r}; got {number}.")


def _facts(recorded: Recorded, config: RunConfig, task: Task, final: Final) -> dict[str, Any]:
    """Describe how to build a network, how it was trained and measured, and which inputs it expects."""
    recipe, architecture = task.configure(final.params)
    destined = task.destinations.split(final.params)
    measured = {key: value for key, value in asdict(final).items() if key not in ("number", "params")}
    return {
        "study": recorded.name,
        "evaluation": final.number,
        "model": config.task.source or config.task.model,
        "params": final.params,
        "architecture": {**config.task.arguments, **architecture},
        "recipe": {**replace(task, recipe=recipe).recipe_settings, "epochs": config.training.epochs},
        **{part: arguments for part in ("schedule", "optimizer", "loss") if (arguments := destined[part])},
        "inputs": task.data.expected_inputs(),
        "measured": measured,
        "run": recorded.config_of_network(),
    }


def _about_inputs(data: Data, stem: str) -> str:
    """Say how inputs are normalised, in comments; nothing if they are not."""
    if not data.normalizes:
        return ""
    return (_ABOUT_SEVERAL if isinstance(data.training.inputs, dict) else _ABOUT_INPUTS).format(stem=stem)
