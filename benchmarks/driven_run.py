"""A real run in a separate folder, driven by separate processes, for `faults.py`.

`python benchmarks/driven_run.py FOLDER` is one such process, a driver.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deap_hpo.errors import InputError
from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import make_toolbox
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.recorded import load_study
from deap_hpo.records.entries import Entry
from deap_hpo.search_space.space import Float, Int, Space
from deap_hpo.study import Study

SPACE = Space({"x": Float(-5.0, 5.0), "n": Int(1, 9)})
POPULATION, GENERATIONS = 12, 6
STARTED = "started"


def objective(params: dict[str, Any]) -> float:
    """A short evaluation that draws random numbers."""
    time.sleep(0.02)
    return params["x"] ** 2 + params["n"] + random.random()


@dataclass
class Acknowledged:
    """Writes down which evaluations the study reports as recorded; with `images`, also copies the database."""

    folder: Path
    images: bool = False

    def say(self, line: str) -> None:
        """Write a line to a file that outlives the process."""
        with open(self.folder / "acknowledged", "a") as file:
            file.write(line + "\n")

    def on_evaluation(self, study: Study, entry: Entry) -> None:
        """Write the evaluation down, and copy the database if asked to."""
        self.say(json.dumps([entry.number, entry.evaluation.values]))
        if self.images:
            image = self.folder / f"image-{len(study.record):03}"
            image.mkdir()
            for path in self.folder.glob("studies.db*"):
                if not path.name.endswith(("-shm", ".lock")):  # these do not outlive a loss of power
                    shutil.copy(path, image)


def drive(folder: Path, *, images: bool, most_bytes: int) -> int:
    """Do the run, or continue it; faults are done to this process."""
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    acknowledged = Acknowledged(folder, images)
    acknowledged.say(STARTED)
    options = {"seed": 7, "resume": True, "executor": ProcessExecutor(2), "callbacks": [acknowledged]}
    try:
        with Study(SPACE, name="run", storage=str(folder / "studies.db"), **options) as study:
            toolbox = make_toolbox(SPACE)
            toolbox.register("evaluate", objective)
            toolbox.register("map", study.map)
            population, logbook = eaTruncation(toolbox.population(n=POPULATION), toolbox, 1.0, 1.0, GENERATIONS - 1)
            entries = [(e.number, e.genes, e.evaluation.values, e.parents, e.duplicate_of) for e in study.record]
            ended = [[list(one), one.fitness.values] for one in population], list(logbook), entries
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    (folder / "ended").write_text(json.dumps(ended))
    return 0


class Run:
    """A run in a separate folder, and the processes that drive it."""

    def __init__(self, root: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=root))
        self.storage = self.folder / "studies.db"

    def start(self, *, images: bool = False, most_bytes: int = 0) -> subprocess.Popen[str]:
        """Start a driver, and wait until it opens the study."""
        starts = self._lines().count(STARTED)
        process = subprocess.Popen(
            [sys.executable, __file__, self.folder, "--most-bytes", str(most_bytes)] + ["--images"] * images,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while self._lines().count(STARTED) == starts and process.poll() is None:
            time.sleep(0.002)
        return process

    def finish(self) -> str:
        """Drive the run to its end; return its outcome, which must be the same after a fault, or the error."""
        process = self.start()
        error = process.communicate()[1]
        return (self.folder / "ended").read_text() if process.returncode == 0 else error

    def ended(self) -> bool:
        """Tell whether a driver reached the end of the run."""
        return (self.folder / "ended").exists()

    def acknowledged(self) -> dict[int, tuple[float, ...]]:
        """Return every evaluation that the study reported to a driver as recorded."""
        said = [json.loads(line) for line in self._lines() if line.startswith("[") and line.endswith("]")]
        return {number: tuple(values) for number, values in said}

    def lost(self) -> int:
        """Count the evaluations that were acknowledged but are not on record with the same values."""
        said = self.acknowledged()
        if not said:
            return 0
        recorded = {entry.number: entry.evaluation.values for entry in load_study("run", str(self.storage)).entries}
        return sum(recorded.get(number) != values for number, values in said.items())

    def _lines(self) -> list[str]:
        path = self.folder / "acknowledged"
        return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", action="store_true")
    parser.add_argument("--most-bytes", type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(drive(arguments.folder, images=arguments.images, most_bytes=arguments.most_bytes))
