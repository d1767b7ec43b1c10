"""The folder beside a record in which evaluations log that they are under way, from the first of a run to its end."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from weakref import finalize

from deap_hpo.running_evaluations import LOGS, RunningEvaluation, close_log, running_evaluations


class ProgressFolder:
    """The folder for the logs of a study's evaluations, which is there only while these run.

    Args:
        folder: Its path; None for a temporary one.

    Example:
        >>> from deap_hpo.evaluation import Request
        >>> from deap_hpo.running_evaluations import Logged
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     progress = ProgressFolder(Path(folder, "quick", "progress"))
        ...     log = Logged(Request(0, {"lr": 0.1}, seed=0, progress=progress.open()))
        ...     numbers = [one.number for one in progress.read()]
        ...     log.close()
        ...     progress.close()
        ...     numbers, list(Path(folder).iterdir())
        ([0], [])
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._opened: str | None = None
        self._made: list[Path] = []

    def open(self) -> str | None:
        """Make the folder, without logs of dead processes, and give its path; None if it cannot be made."""
        if self._opened is None:
            with suppress(OSError):
                self._opened = self._make()
        return self._opened

    def _make(self) -> str:
        if self._folder is None:
            folder = tempfile.mkdtemp(prefix="deap-hpo-")
            self._remove = finalize(self, shutil.rmtree, folder, ignore_errors=True)  # at the latest at exit
            return folder
        made = [one for one in self._folder.parents if not one.exists()]
        # One that is there was left by a run that was killed, which will have made the folder around it, too.
        self._made = [self._folder, *([self._folder.parent] if self._folder.exists() else made)]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._clear(self._folder)
        return str(self._folder.resolve())

    def _clear(self, folder: Path) -> None:
        for path in [path for pattern in LOGS for path in folder.glob(pattern)]:
            path.unlink(missing_ok=True)

    def read(self) -> tuple[RunningEvaluation, ...]:
        """Give the evaluations under way, by number."""
        return running_evaluations(self._opened) if self._opened else ()

    def close(self) -> None:
        """Delete the folder; another call of `open` makes it again."""
        if self._opened is None:
            return
        close_log(self._opened)
        if self._folder is None:
            self._remove()
        else:
            with suppress(OSError):
                self._clear(Path(self._opened))
                for folder in self._made:  # it has the networks, figures and states of the run, or none
                    folder.rmdir()
        self._opened = None
