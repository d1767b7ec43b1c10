"""deap-hpo delete: remove studies from the record, with their files, after asking."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from deap_hpo.commands.exits import DONE, errors, output, reporting
from deap_hpo.commands.options import Debug, Storage, StudyNames
from deap_hpo.errors import InputError
from deap_hpo.records import DEFAULT_STORAGE


def delete(
    names: StudyNames,
    storage: Storage = DEFAULT_STORAGE,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    debug: Debug = False,
) -> None:
    """Delete studies for good, with the files that their runs have left beside the record. Asks before."""
    from deap_hpo.deletion import check_deletable, delete_study
    from deap_hpo.recorded import matching_names
    from deap_hpo.records.run_files import run_folder
    from deap_hpo.records.storage import without_password
    from deap_hpo.wording import plural

    with reporting(debug):
        names = matching_names(names, storage)
        counts = {name: check_deletable(name, storage) for name in names}  # all checks before the first deletion
        if not yes:
            if not sys.stdin.isatty():
                given = shlex.join(counts)
                raise InputError(
                    f"Cannot ask for confirmation without a terminal; use `deap-hpo delete {given} --yes`."
                )
            said = ", ".join(f"{name} ({plural(count, 'evaluation')})" for name, count in counts.items())
            asked = f"Delete {said} from {without_password(storage)}, and the files of the run?"
            if not typer.confirm(asked, err=True):
                errors.print("Nothing was deleted.")
                raise typer.Exit(DONE)
        for name in counts:
            delete_study(name, storage)
            output.print(f"Deleted {name}.", markup=False)
            if (folder := run_folder(name, storage)).exists():
                output.print(f"Left {folder}: it holds files that deap-hpo did not write.", markup=False)
