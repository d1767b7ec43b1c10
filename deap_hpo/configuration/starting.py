"""A starter for the user's own task, and how tasks are loaded by "FILE.py:NAME"."""

from __future__ import annotations

import importlib
import inspect
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

from deap_hpo.errors import InputError, hint
from deap_hpo.files import expanded


def write_starter(name: str, folder: Path) -> list[Path]:
    """Write a commented starter that runs as it is: ``NAME.py`` with a task, ``NAME.toml`` with its tuning.

    Raises:
        InputError: Python cannot import a file of that name, or one of the files exists.
    """
    if not name.isidentifier() or name in sys.stdlib_module_names:
        raise InputError(f"name must be one that Python can import, such as my_task; got {name!r}.")
    folder = expanded(folder)
    paths = [folder / f"{name}.py", folder / f"{name}.toml"]
    for path in paths:
        if path.exists():
            raise InputError(f"{path} exists already. Choose another name: `deap-hpo init NAME`.")
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        template = resources.files("deap_hpo") / "starter" / f"task{path.suffix}.txt"
        path.write_text(template.read_text("utf-8").replace("{name}", name), "utf-8")
    return paths


def is_source(text: str) -> bool:
    """Tell whether a text names an object in a Python file or module, "FILE.py:NAME" or "package.module:NAME".

    Example:
        >>> is_source("my_task.py:task"), is_source("quick"), is_source("my.toml")
        (True, False, False)
    """
    place, _, name = text.rpartition(":")
    return bool(place) and name.isidentifier()


def load_source(source: str) -> Any:
    """Load an object from a Python file or an installed module.

    A file is imported under its own name, with its folder on the path, so that worker processes find it too.

    Raises:
        InputError: There is no such file, module or name, or importing it failed.
    """
    place, _, name = source.rpartition(":")
    module = _module(place)
    if not hasattr(module, name):
        raise InputError(f"{place} has no {name!r}. {hint(name, _own_names(module))}")
    return getattr(module, name)


def _own_names(module: ModuleType) -> list[str]:
    """Return the names that a file defines itself, without its imports."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", module.__name__) in (module.__name__, type(value).__module__)
    ]


def load_task(source: str) -> Any:
    """Load a task, or a function without arguments that should return one; it is not called here.

    Raises:
        InputError: It is a function that takes arguments, or `load_source` fails.
    """
    task = load_source(source)
    if callable(task) and (needed := _arguments(task)):
        raise InputError(
            f"{source} must be a Task, or a function without arguments that returns one; it takes {needed}. A function "
            "of the hyperparameters is optimised from Python: `deap_hpo.optimize(function, space)`."
        )
    return task


def _arguments(function: Any) -> str:
    """Name the required arguments of a function."""
    try:
        known = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return ""
    return ", ".join(
        one.name for one in known if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    )


def _module(place: str) -> Any:
    path = Path(place)
    if path.suffix == ".py":
        if not path.is_file():
            raise InputError(f"There is no file {place}, seen from {Path.cwd()}. `deap-hpo init` writes a starter.")
        if not path.stem.isidentifier():
            raise InputError(f"{place} must have a name that Python can import, without dashes, dots or blanks.")
        folder = str(path.resolve().parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(path.stem if path.suffix == ".py" else place)
    except ImportError as error:
        raise InputError(f"{place} could not be imported: {error}.") from error
    except Exception as error:  # the file itself may raise anything
        raise InputError(f"{place} could not be imported: {type(error).__name__}: {error}.") from error
    if path.suffix == ".py" and Path(str(module.__file__)).resolve() != path.resolve():
        raise InputError(f"{place} has the name of another module, {module.__file__}. Rename it.")
    return module
