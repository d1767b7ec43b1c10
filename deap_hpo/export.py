"""The best network of a study as files for others: weights as safetensors, everything else as TOML."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from deap_hpo.assembly import make_task, trainer_of
from deap_hpo.best import finish, train_again
from deap_hpo.config import make_config
from deap_hpo.errors import InputError
from deap_hpo.files import write_text
from deap_hpo.recorded import read_record
from deap_hpo.toml_writer import to_toml


def export_best(
    name: str, storage: str, folder: Path, data_dir: str | None = None, evaluation: int | None = None
) -> tuple[Path, Path]:
    """Write the best network of a study, or that of another evaluation; it is trained again where that is needed.

    ``best.safetensors`` has the weights (`safetensors.torch.load_model` reads them into the network); ``best.toml`` has
    how to build the network (`architecture`), how it was trained (`recipe`), what was measured, and `run`, the whole
    configuration, which `deap-hpo run` would take.

    Args:
        name: Name of the study.
        storage: Where it is recorded.
        folder: Where the files go.
        data_dir: Folder that holds the data set.
        evaluation: Number of an evaluation, such as one of the Pareto front; its files are ``evaluation-NUMBER.*``. By
            default the best.

    Returns:
        The paths of the two files.

    Raises:
        InputError: The study was not started by `deap-hpo run`, or has no feasible evaluation, or not that one.
    """
    recorded = read_record(name, storage)
    noted = recorded.config("In the script that made it, `study.best_model()` gives the network.")
    config = make_config(noted, [f"task.data_dir={json.dumps(data_dir)}"] if data_dir else [])
    task = make_task(config)
    trainer = trainer_of(task, config)
    stem = "best" if evaluation is None else f"evaluation-{evaluation}"
    if evaluation is None:
        final = finish(trainer, recorded, storage, folder)
    else:
        entry = next((one for one in recorded.entries if one.number == evaluation), None)
        if entry is None:
            raise InputError(f"evaluation must be one of the {len(recorded.entries)} of {name!r}; got {evaluation}.")
        final = train_again(trainer, recorded, entry, folder / stem)
    recipe, architecture = task.configure(final.params)
    measured = {key: value for key, value in asdict(final).items() if key not in ("number", "params")}
    facts = {
        "study": name,
        "evaluation": final.number,
        "model": config.task.source or config.task.model,
        "params": final.params,
        "architecture": {**config.task.arguments, **architecture},
        "recipe": {**asdict(recipe), "epochs": config.training.epochs},
        "measured": measured,
        "run": noted,
    }
    path = folder / f"{stem}.toml"
    write_text(path, to_toml(facts))
    return folder / f"{stem}.safetensors", path
