"""The files of a run beside its record: the folder that holds them, and the names of those that are written there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from deap_hpo.records.sqlite_file import sqlite_path
from deap_hpo.records.storage import check_name
from deap_hpo.running_evaluations import LOGS

FigureName = Literal["history", "curves", "pareto", "hyperparameters", "lineage", "importances", "partial_dependence"]
"""Names of the figures of a study."""

REPORT = "report.html"

_USUAL_STEM = "studies"  # the stem of the file that the command line uses by default
_CHECKPOINTS = ("*.safetensors", "*.underway", ".*.partial")
_WRITTEN = (
    *(f"best.{suffix}" for suffix in ("safetensors", "json", "toml", "pt2")),
    *(f"evaluation-*.{suffix}" for suffix in ("safetensors", "toml", "pt2")),
    *(f"{figure}.{suffix}" for figure in get_args(FigureName) for suffix in ("png", "pdf")),
    REPORT,
    ".*.partial",
)


def run_folder(name: str, storage: str | Path) -> Path:
    """Give the folder of a study's files: next to its SQLite file, or in ``runs`` for a database server.

    Two studies of the same name, in two SQLite files of the same folder, have different folders.

    Example:
        >>> run_folder("mine", "runs/studies.db"), run_folder("mine", "runs/other.db")
        (PosixPath('runs/mine'), PosixPath('runs/mine@other'))
        >>> run_folder("mine", "postgresql://db.example/studies")
        PosixPath('runs/mine')
    """
    path = sqlite_path(storage)
    if path is None:
        return Path("runs") / check_name(name)
    return path.parent / (check_name(name) if path.stem == _USUAL_STEM else f"{check_name(name)}@{path.stem}")


def states_folder(name: str, storage: str | Path) -> Path:
    """Give the folder of the states that a study's function saves."""
    return run_folder(name, storage) / "states"


def progress_folder(name: str, storage: str | Path) -> Path:
    """Give the folder in which a study's evaluations log that they are under way; it is there only while they are."""
    return run_folder(name, storage) / "progress"


def checkpoints_folder(name: str, storage: str | Path) -> Path:
    """Give the folder of the checkpoints of a run from the command line."""
    return run_folder(name, storage) / "checkpoints"


def judged_folder(folder: Path, objective: str) -> Path:
    """Give the folder, in that of a run, of what was drawn and written for another objective.

    Example:
        >>> judged_folder(Path("runs/quick"), "test loss").as_posix()
        'runs/quick/by-test-loss'
    """
    return folder / re.sub(r"[^\w.-]+", "-", f"by-{objective}")


def network_stem(evaluation: int | None = None) -> str:
    """Give what the names of a network's files begin with: those of the best, or of an evaluation of this number.

    Example:
        >>> network_stem(), network_stem(3)
        ('best', 'evaluation-3')
    """
    return "best" if evaluation is None else f"evaluation-{evaluation}"


def written_in(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Give each folder of a run, the run's own last, with the files in it that this package writes.

    The run's folder has the name of the study, and so may hold files of the user's.
    """
    kept = [(folder / name, _CHECKPOINTS) for name in ("checkpoints", "states")]
    judged = [(one, _WRITTEN) for one in folder.glob("by-*")]
    for one, patterns in [*kept, (folder / "progress", LOGS), *judged, (folder, _WRITTEN)]:
        yield one, [path for pattern in patterns for path in one.glob(pattern)]
