"""A run as one typed value, from a preset or TOML file and ``--set`` overrides; every mistake is named by its field."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError, field_validator

from deap_hpo.checks import is_integer
from deap_hpo.configuration.settings import (
    VALIDATION_SIZE,
    EvolutionConfig,
    ExecutionConfig,
    Section,
    StudyConfig,
    TaskConfig,
    TrainingConfig,
    enough_generations,
)
from deap_hpo.configuration.starting import is_source, load_source, load_task
from deap_hpo.errors import InputError, hint
from deap_hpo.files import expanded
from deap_hpo.goals import GOALS
from deap_hpo.search_space.space import Space

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class RunConfig(Section):
    """The settings of a run: study, task, training, search space, evolution and execution.

    Example:
        >>> config = load_config("quick", ["evolution.population=8", "space.lr.high=0.5"])
        >>> config.evolution.population, config.search_space["lr"].high
        (8, 0.5)
        >>> load_config("quick", ["evolution.popluation=8"])
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: evolution.popluation is not a setting. Did you mean 'population'?
    """

    study: StudyConfig = StudyConfig()
    task: TaskConfig = TaskConfig()
    training: TrainingConfig = TrainingConfig()
    space: dict[str, dict[str, Any]]
    evolution: EvolutionConfig = EvolutionConfig()
    execution: ExecutionConfig = ExecutionConfig()

    @field_validator("space")
    @classmethod
    def _space_is_one(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        try:
            Space.from_dict(value)
        except TypeError as error:  # pydantic reports ValueErrors only
            raise ValueError(str(error)) from None
        return value

    @cached_property
    def search_space(self) -> Space:
        """The search space as an object."""
        return Space.from_dict(self.space)

    def identity(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share with the recorded one.

        The budgets (generations, evaluations, seconds) are not among them: they are totals, which a resumed run may
        raise.
        """
        unset = GOALS - self.task.goals().keys()  # omitted, so that records made without them stay resumable
        task = self.task.model_dump(exclude={"data_dir", *unset, *(() if self.task.source else ("source",))})
        task["validation_size"] = self.task.validation_size or VALIDATION_SIZE
        return {"task": task, "evolution": self.evolution.identity()}


def preset_names() -> list[str]:
    """List the presets that ship with the package."""
    root = resources.files("deap_hpo") / "presets"
    with resources.as_file(root) as folder:
        return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in Path(folder).rglob("*.toml"))


def load_config(source: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a preset (by name) or a TOML file (by path), and apply overrides such as ``"evolution.population=8"``.

    The value of an override is read as TOML if possible, otherwise as a string.

    Raises:
        InputError: There is no such preset or file, it is not TOML, or a setting is unknown or out of its range.
    """
    data = _read(source)
    data.setdefault("study", {}).setdefault("name", _default_name(source))
    return make_config(data, overrides)


def make_config(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Build a configuration from plain data, for example from a record, and overrides.

    Raises:
        InputError: A setting is unknown or out of its range.
    """
    settings = _copied(data)
    _leave_to_the_budget(settings.get("evolution"))
    for override in overrides:
        _apply(settings, override)
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError(_sentence(error)) from None


def check_overrides(config: RunConfig, overrides: Sequence[str]) -> None:
    """Check that overrides of evolution settings have an effect in the resulting configuration.

    Raises:
        InputError: One has no effect.

    Example:
        >>> overrides = ["evolution.mutpb=0.5"]
        >>> check_overrides(load_config("paper/baseline", overrides), overrides)
    """
    overridden = (override.partition("=")[0].strip().split(".") for override in overrides)
    config.evolution.check_used(keys[1] for keys in overridden if keys[0] == "evolution" and len(keys) > 1)


def _leave_to_the_budget(evolution: Any) -> None:
    """Forget recorded generations that were derived from a budget, since another budget gives others."""
    if isinstance(evolution, dict):
        budgets: list[Any] = [evolution.get(limit) for limit in ("max_evaluations", "max_epochs")]
        for budget in filter(is_integer, budgets):
            if evolution.get("generations") in (enough_generations(budget), budget + 1):  # of earlier versions
                del evolution["generations"]


def _read(source: str) -> dict[str, Any]:
    if source in preset_names():
        text = (resources.files("deap_hpo") / "presets" / f"{source}.toml").read_text("utf-8")
        return dict(tomllib.loads(text))
    if is_source(source):
        return _read_source(source)
    path = expanded(source)
    if path.suffix != ".toml":
        file = Path(f"{path}.toml")
        near = f"Did you mean the file {file}?" if file.exists() else hint(source, preset_names())
        raise InputError(f"There is no preset {source!r} (a file ends in .toml, a task is FILE.py:NAME). {near}")
    try:
        data = dict(tomllib.loads(path.read_text("utf-8-sig")))
    except (OSError, UnicodeDecodeError) as why:
        raise InputError(f"The configuration {source} could not be read: {getattr(why, 'strerror', why)}.") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"The configuration {source} is not TOML: {error}.") from None
    task = data.get("task")
    if isinstance(task, dict) and str(task.get("source", "")).rpartition(":")[0].endswith(".py"):
        task["source"] = str(path.parent / task["source"])  # relative to the TOML file
    return data


def _read_source(source: str) -> dict[str, Any]:
    """Read the settings of a task in a Python file: from the TOML file beside it, or its `space` alone."""
    place, _, _ = source.rpartition(":")
    beside = Path(place).with_suffix(".toml")
    data = _read(str(beside)) if place.endswith(".py") and beside.exists() else {}
    data["task"] = {"source": source}
    if "space" not in data:
        load_task(source)  # first, so that an error in the file is not reported as one of its space
        try:
            space = load_source(f"{place}:space")
        except InputError as error:
            raise InputError(f"{error} Without {beside}, the Python file must define `space`.") from error
        data["space"] = Space.of(space).to_dict()
    return data


def _default_name(source: str) -> str:
    name = source.replace("/", "-") if source in preset_names() else Path(source).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-") or "study"


def _copied(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in data.items()}


def _apply(settings: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise InputError(f"--set needs SECTION.KEY=VALUE, such as evolution.population=8; got {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for key in keys[:-1]:
        settings = settings.setdefault(key, {})
        if not isinstance(settings, dict):
            raise InputError(f"--set {override}: {key} holds a value, not settings.")
    settings[keys[-1]] = value


def _sentence(error: ValidationError) -> str:
    """Describe the first mistake in a sentence, with the path of its field."""
    mistake = min(error.errors(), key=lambda one: one["type"] == "missing")  # last: a misspelt name may explain it
    where = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "extra_forbidden":
        known = _known_names(mistake["loc"][:-1])
        sections = [name for name in RunConfig.model_fields if name != "space"]
        elsewhere = [section for section in sections if mistake["loc"][-1] in _known_names((section,))]
        if elsewhere:
            return f"{where} is not a setting; {elsewhere[0]}.{mistake['loc'][-1]} is."
        return f"{where} is not a setting. {hint(mistake['loc'][-1], known, cutoff=0.5)}"
    if mistake["type"] == "missing":
        return f"{where} must be given."
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error":
        return f"{where}.{message}"
    asked = message.replace("Input should be", "must be").replace("greater than or equal to", "at least")
    return f"{where} {asked.replace('less than or equal to', 'at most')}; got {mistake['input']!r}."


def _known_names(path: tuple[int | str, ...]) -> list[str]:
    model: Any = RunConfig
    for key in path:
        model = model.model_fields[key].annotation
    return list(model.model_fields)
