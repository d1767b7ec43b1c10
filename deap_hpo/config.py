"""A run as one typed value: from a preset, a TOML file and ``--set`` overrides; every mistake named by its field."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from deap_hpo.errors import InputError, hint
from deap_hpo.goals import GOALS
from deap_hpo.methods import IN_PARTS, METHODS
from deap_hpo.section import Section
from deap_hpo.space import Space
from deap_hpo.stages import check_stages
from deap_hpo.starting import is_source, load_source, load_task

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


DEFAULT_STORAGE = "runs/studies.db"
STORAGE_VARIABLE = "DEAP_HPO_STORAGE"
BUDGETS = {"generations", "max_evaluations", "max_epochs", "target", "patience"}


class StudyConfig(Section):
    """Where the run is recorded, and its seed."""

    name: str | None = Field(None, description="Name of the study; by default that of the preset or file.")
    storage: str = Field(DEFAULT_STORAGE, description="Path of an SQLite file, or the URL of a database.")
    seed: int = Field(1, ge=0, description="Seed of the whole run.")
    common_random_numbers: bool = Field(True, description="Whether all trainings share one seed.")


class TaskConfig(Section):
    """Which network is trained on which data: by name, or from a Python file of one's own."""

    source: str | None = Field(None, description="FILE.py:NAME of a task of your own, instead of all that follows.")
    data: str = Field("fashion-mnist", description="fashion-mnist, mnist, kmnist, cifar-10 or digits.")
    data_dir: str | None = Field(None, description="Folder that holds the data.")
    model: str = Field("paper-cnn", description="paper-cnn, mlp or resnet.")
    arguments: dict[str, Any] = Field({}, description="Arguments of the model that are not searched.")
    training_size: int | None = Field(None, ge=1, description="Training examples; by default all.")
    validation_size: int = Field(10_000, ge=1, description="Validation examples; of digits by default 300.")
    split_seed: int = Field(0, ge=0, description="Seed of the split into the two.")
    objective: str | list[str] | None = Field(None, description="loss, a metric, parameters, seconds; or a list.")
    direction: str | list[str] | None = Field(None, description="minimize or maximize, for all or for each.")
    constraints: list[str] = Field([], description='What has to hold, such as "parameters <= 1e6".')

    @model_validator(mode="after")
    def _source_stands_alone(self) -> TaskConfig:
        others = [name for name in self.model_dump(exclude_defaults=True) if name not in ("source", *GOALS)]
        if self.source and others:
            raise ValueError(f"source names a whole task, and so takes no {others[0]} besides; got {self.source!r}.")
        return self

    def goals(self) -> dict[str, Any]:
        """Give what is said of objectives and constraints, as arguments of a task."""
        return self.model_dump(include=GOALS, exclude_defaults=True)


class TrainingConfig(Section):
    """How one evaluation trains."""

    trainer: str = Field("auto", description="auto, population (on an accelerator) or reference (on a CPU).")
    epochs: int = Field(5, ge=1, description="Epochs of one evaluation.")
    repeats: int = Field(1, ge=1, description="Trainings of one evaluation, with a seed each; the value is their mean.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    precision: str = Field("auto", description="fp32, bf16, or auto (bf16 where the processor computes in it).")
    recipe: dict[str, Any] = Field({}, description="Training settings that are not searched: batch_size, gamma, ...")


class EvolutionConfig(Section):
    """What proposes hyperparameters: a strategy by its name, or an algorithm in DEAP's form."""

    algorithm: str = Field("surrogate", description="A strategy, truncation (the paper's), pbt, nsga-ii or nsga-iii.")
    population: int = Field(10, ge=1, description="Individuals; for a strategy, evaluations per generation.")
    generations: int = Field(10, ge=1, description="Rounds of evaluation, the first population's included.")
    cxpb: float = Field(1.0, ge=0, le=1, description="truncation: probability of mating a pair.")
    mutpb: float = Field(1.0, ge=0, le=1, description="truncation: probability of mutating a child.")
    mutation: Literal["resample", "self-adaptive"] = Field(
        "resample", description="truncation: resample (fresh uniform draws, the paper's), or self-adaptive (steps)."
    )
    indpb: float = Field(0.1, ge=0, le=1, description="truncation, resample: probability of redrawing each gene.")
    arguments: dict[str, Any] = Field({}, description="Further arguments of pbt, nsga-ii, nsga-iii or of a strategy.")
    enqueue: list[dict[str, Any]] = Field([], description="Hyperparameters that are tried first.")
    target: float | None = Field(None, allow_inf_nan=False, description="Value of the objective at which the run ends.")
    patience: int | None = Field(None, ge=1, description="Generations without a better value after which it ends.")
    stages: list[int] = Field([], description="Epochs after which hopeless trainings end, then those of a whole one.")
    stopping: Literal["median", "halving"] = Field(
        "median", description="stages: what is hopeless, worse than the median so far, or not in the better half."
    )
    max_evaluations: int | None = Field(None, ge=1, description="Trainings after which the run ends, resumably.")
    max_epochs: int | None = Field(None, ge=1, description="Epochs, of all trainings, after which it ends.")

    @model_validator(mode="after")
    def _algorithm_is_known(self) -> EvolutionConfig:
        if self.algorithm not in METHODS:
            raise ValueError(f"algorithm has no {self.algorithm!r}. {hint(self.algorithm, METHODS)}")
        if self.algorithm == "truncation" and self.population < 4:
            raise ValueError(f"population must be at least 4, so that there are two parents; got {self.population}.")
        if self.algorithm == "truncation" and self.arguments:
            raise ValueError(f"arguments: truncation has settings instead (cxpb, mutpb, ...); got {self.arguments}.")
        if self.stages:
            check_stages(self.stages)
        if self.stages and self.algorithm in IN_PARTS:
            raise ValueError(f"stages cannot be had with {self.algorithm}, which itself says how long to train.")
        return self

    def identity(self) -> dict[str, Any]:
        """Give the settings that a resumed run has to share with the recorded one."""
        return self.model_dump(exclude={*BUDGETS, *(() if self.stages else ("stages", "stopping"))})


class ExecutionConfig(Section):
    """Where evaluations run; changes speed, never results."""

    executor: Literal["auto", "serial", "processes", "ray"] = Field(
        "auto", description="serial, processes, ray, or auto (processes on a CPU and with gpus, else serial)."
    )
    workers: int | None = Field(None, ge=1, description="Trainings side by side; by default one per core, or GPU.")
    gpus: list[int] = Field([], description="processes: GPUs that workers share out, by number, such as [0, 1].")
    address: str | None = Field(None, description="ray: address of the cluster; by default one on this machine.")
    chunk: int = Field(16, ge=1, description="ray, and processes with gpus: trainings that a GPU takes at once.")
    timeout: float | None = Field(None, gt=0, description="Seconds that one evaluation may take.")
    retries: int = Field(2, ge=0, description="How often an evaluation whose worker died is started again.")
    max_seconds: float | None = Field(None, gt=0, description="Seconds after which the run stops, resumably.")
    checkpoint_limit: int | None = Field(None, ge=1, description="Bytes that all checkpoints may take.")


class RunConfig(Section):
    """A run: what is recorded, trained, searched, evolved, and where.

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
        """Give the settings that a resumed run has to share with the recorded one.

        The budgets (generations, evaluations, seconds) are not among them: they are totals, and may be raised to go on.
        """
        unset = GOALS - self.task.goals().keys()  # omitted, so that records made without them stay resumable
        task = self.task.model_dump(exclude={"data_dir", *unset, *(() if self.task.source else ("source",))})
        return {"task": task, "evolution": self.evolution.identity()}


def preset_names() -> list[str]:
    """List the presets that ship with the package."""
    root = resources.files("deap_hpo") / "presets"
    with resources.as_file(root) as folder:
        return sorted(str(path.relative_to(folder).with_suffix("")) for path in Path(folder).rglob("*.toml"))


def load_config(source: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a preset (by name) or a TOML file (by path), and apply overrides such as ``"evolution.population=8"``.

    The value of an override is read as TOML where that is possible, and as a string where it is not.

    Raises:
        InputError: There is no such preset or file, it is not TOML, or a setting is unknown or out of its range.
    """
    data = _read(source)
    data.setdefault("study", {}).setdefault("name", _default_name(source))
    return make_config(data, overrides)


def make_config(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Build a configuration from plain data, as a record holds it, and overrides.

    Raises:
        InputError: A setting is unknown or out of its range.
    """
    settings = _copied(data)
    for override in overrides:
        _apply(settings, override)
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError(_sentence(error)) from None


def _read(source: str) -> dict[str, Any]:
    if source in preset_names():
        text = (resources.files("deap_hpo") / "presets" / f"{source}.toml").read_text()
        return dict(tomllib.loads(text))
    if is_source(source):
        return _read_source(source)
    path = Path(source)
    if path.suffix != ".toml":
        near = hint(source, preset_names())
        raise InputError(f"There is no preset {source!r} (a file ends in .toml, a task is FILE.py:NAME). {near}")
    try:
        data = dict(tomllib.loads(path.read_text("utf-8-sig")))
    except (OSError, UnicodeDecodeError) as why:
        raise InputError(f"The configuration {source} could not be read: {getattr(why, 'strerror', why)}.") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"The configuration {source} is not TOML: {error}.") from None
    task = data.get("task")
    if isinstance(task, dict) and str(task.get("source", "")).rpartition(":")[0].endswith(".py"):
        task["source"] = str(path.parent / task["source"])  # seen from the file
    return data


def _read_source(source: str) -> dict[str, Any]:
    """Read the settings of a task in a Python file: from the TOML file beside it, or its `space` alone."""
    place, _, _ = source.rpartition(":")
    beside = Path(place).with_suffix(".toml")
    data = _read(str(beside)) if place.endswith(".py") and beside.exists() else {}
    data["task"] = {"source": source}
    if "space" not in data:
        load_task(source)  # what is wrong with the file is nothing of its space
        try:
            space = load_source(f"{place}:space")
        except InputError as error:
            raise InputError(f"{error} Without {beside}, that `space` says what is searched.") from error
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
    """Say the first mistake, by the path of its field."""
    mistake = min(error.errors(), key=lambda one: one["type"] == "missing")  # which a misspelt name may explain
    where = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "extra_forbidden":
        known = _known_names(mistake["loc"][:-1])
        return f"{where} is not a setting. {hint(mistake['loc'][-1], known, cutoff=0.5)}"
    if mistake["type"] == "missing":
        return f"{where} must be given."
    message = mistake["msg"].removeprefix("Value error, ")
    return (
        f"{where}.{message}" if mistake["type"] == "value_error" else f"{where}: {message}; got {mistake['input']!r}."
    )


def _known_names(path: tuple[int | str, ...]) -> list[str]:
    model: Any = RunConfig
    for key in path:
        model = model.model_fields[key].annotation
    return list(model.model_fields)
