"""The sections of a configuration: every setting with its type, range, default and purpose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from deap_hpo.budget import MOST_PROPOSALS
from deap_hpo.checks import is_integer
from deap_hpo.configuration.methods import IN_PARTS, METHODS, STEADY
from deap_hpo.errors import InputError
from deap_hpo.evolution.stages import check_stages
from deap_hpo.goals import GOALS
from deap_hpo.records import DEFAULT_STORAGE
from deap_hpo.vocabulary import method_hint

OF_TRUNCATION = ("cxpb", "mutpb", "mutation", "indpb")
"""Settings of `evolution` for the algorithm truncation; other algorithms have arguments instead."""
BUDGETS = {"generations", "max_evaluations", "max_epochs", "target", "patience"}
VALIDATION_SIZE = 10_000
"""The value on record for `task.validation_size` if none was given."""


def enough_generations(budget: int) -> int:
    """Return enough generations for the budget of evaluations or epochs to end the run, even if most only repeat.

    Example:
        >>> EvolutionConfig(max_evaluations=200).generations == enough_generations(200)
        True
    """
    return MOST_PROPOSALS * budget + 1


class Section(BaseModel):
    """Settings by name. Unknown ones are refused, as are bools and texts for numbers, which pydantic would convert.

    Example:
        >>> from pydantic import ValidationError
        >>> class Evolution(Section):
        ...     generations: int
        >>> try:
        ...     Evolution(generations=True)
        ... except ValidationError as error:
        ...     print(error.errors()[0]["msg"])
        Input should be a number, not true or false
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, about: ValidationInfo) -> Any:
        annotation: Any = cls.model_fields[str(about.field_name)].annotation
        given = value if isinstance(value, (list, tuple)) else [value]
        if {int, float} & {annotation, *get_args(annotation)}:
            kind = "a list of numbers" if given is value else "a number"
            for wrong, called in ((bool, "true or false"), (str, "a text")):
                if any(isinstance(one, wrong) for one in given):
                    raise PydanticCustomError("number", f"Input should be {kind}, not {called}")
        return value


def applying(task: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out recorded settings that were not given: defaults, and for a user's own task those of named data sets.

    Example:
        >>> applying({"source": "mine.py:task", "data": "digits", "objective": "accuracy", "direction": None})
        {'source': 'mine.py:task', 'objective': 'accuracy'}
    """
    if not task.get("source"):
        return {name: value for name, value in task.items() if (name, value) != ("validation_size", VALIDATION_SIZE)}
    return {name: value for name, value in task.items() if name == "source" or (name in GOALS and value)}


class StudyConfig(Section):
    """Where the run is recorded, and its seed."""

    name: str | None = Field(None, description="Name of the study; by default that of the preset or file.")
    storage: str = Field(DEFAULT_STORAGE, description="Path of an SQLite file, or the URL of a database.")
    seed: int = Field(1, ge=0, description="Seed of the whole run.")
    common_random_numbers: bool = Field(True, description="Whether all trainings share one seed.")


class TaskConfig(Section):
    """Which network is trained on which data: by name, or from the user's own Python file."""

    source: str | None = Field(None, description="FILE.py:NAME of a task of your own, instead of all that follows.")
    data: str = Field("fashion-mnist", description="fashion-mnist, mnist, kmnist, cifar-10 or digits.")
    data_dir: str | None = Field(None, description="Folder that holds the data.")
    model: str = Field("paper-cnn", description="paper-cnn, mlp or resnet.")
    arguments: dict[str, Any] = Field({}, description="Arguments of the model that are not searched.")
    training_size: int | None = Field(None, ge=1, description="Training examples; by default all.")
    validation_size: int | None = Field(
        None, ge=1, description="Validation examples; by default 10,000, of digits 300."
    )
    split_seed: int = Field(0, ge=0, description="Seed of the split into the two.")
    objective: str | list[str] | None = Field(None, description="loss, a metric, parameters, seconds; or a list.")
    direction: str | list[str] | None = Field(None, description="minimize or maximize, for all or for each.")
    constraints: list[str] = Field([], description='What has to hold, such as "parameters <= 1e6".')

    @model_validator(mode="after")
    def _source_stands_alone(self) -> TaskConfig:
        others = [name for name in self.model_dump(exclude_defaults=True) if name not in ("source", *GOALS)]
        if self.source and others:
            raise ValueError(f"source names a whole task, so {others[0]} cannot be set too; got {self.source!r}.")
        return self

    def goals(self) -> dict[str, Any]:
        """Return the settings of objectives and constraints, as arguments of a task."""
        return self.model_dump(include=GOALS, exclude_defaults=True)


class TrainingConfig(Section):
    """How one evaluation trains."""

    trainer: str = Field("auto", description="auto, population (on an accelerator) or reference (on a CPU).")
    epochs: int = Field(5, ge=1, description="Epochs of one evaluation.")
    repeats: int = Field(1, ge=1, description="Trainings of one evaluation, with a seed each; the value is their mean.")
    folds: int | None = Field(
        None, ge=2, description="Trainings of one evaluation, each judged by another part of the data."
    )
    keep_best: bool = Field(False, description="Whether a network is that of its best epoch, not of its last.")
    patience: int | None = Field(None, ge=1, description="Epochs without a better one after which a training ends.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    precision: str = Field("auto", description="fp32, bf16, or auto (bf16 for classes, on processors that have it).")
    recipe: dict[str, Any] = Field({}, description="Training settings that are not searched: batch_size, gamma, ...")


class EvolutionConfig(Section):
    """The algorithm that proposes hyperparameters: a strategy, or an algorithm in DEAP's form."""

    algorithm: str = Field("surrogate", description="A strategy, truncation (the paper's), pbt, nsga-ii or nsga-iii.")
    population: int = Field(10, ge=1, description="Individuals; for a strategy, evaluations per generation.")
    generations: int = Field(
        10, ge=1, description="Rounds of evaluation, the first included; without it, as many as a budget below allows."
    )
    steady_state: bool = Field(
        False, description="Whether to propose whenever an evaluation is finished, rather than a generation at once."
    )
    cxpb: float = Field(1.0, ge=0, le=1, description="truncation: probability of mating a pair.")
    mutpb: float = Field(1.0, ge=0, le=1, description="truncation: probability of mutating a child.")
    mutation: Literal["resample", "self-adaptive"] = Field(
        "resample", description="truncation: resample (fresh uniform draws, the paper's), or self-adaptive (steps)."
    )
    indpb: float = Field(0.1, ge=0, le=1, description="truncation, resample: probability of redrawing each gene.")
    arguments: dict[str, Any] = Field({}, description="Further arguments of pbt, nsga-ii, nsga-iii or of a strategy.")
    enqueue: list[dict[str, Any]] = Field([], description="Hyperparameters to try first; others are drawn.")
    target: float | None = Field(None, allow_inf_nan=False, description="Value of the objective at which the run ends.")
    patience: int | None = Field(None, ge=1, description="Generations without a better value after which it ends.")
    stages: list[int] = Field([], description="Epochs after which hopeless trainings end, then those of a whole one.")
    stopping: Literal["median", "halving"] = Field(
        "median", description="stages: what is hopeless, worse than the median so far, or not in the better half."
    )
    max_evaluations: int | None = Field(None, ge=1, description="Trainings after which the run ends, resumably.")
    max_epochs: int | None = Field(None, ge=1, description="Epochs, of all trainings, after which it ends.")

    @model_validator(mode="before")
    @classmethod
    def _budget_says_how_long(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "generations" not in given:
            for limit in ("max_evaluations", "max_epochs"):
                if is_integer(given.get(limit)) and given[limit] > 0:
                    return {**given, "generations": enough_generations(given[limit])}
        return given

    @model_validator(mode="after")
    def _algorithm_is_known(self) -> EvolutionConfig:
        if self.algorithm not in METHODS:
            raise ValueError(f"algorithm has no {self.algorithm!r}{method_hint(self.algorithm, METHODS)}")
        if self.algorithm == "truncation" and self.population < 4:
            raise ValueError(f"population must be at least 4, so that there are two parents; got {self.population}.")
        if self.algorithm == "truncation" and self.arguments:
            raise ValueError(f"arguments: truncation has settings instead (cxpb, mutpb, ...); got {self.arguments}.")
        if self.stages:
            check_stages(self.stages)
        if self.stages and self.algorithm in IN_PARTS:
            raise ValueError(
                f"stages cannot be combined with {self.algorithm}, which itself decides how long to train."
            )
        if self.steady_state and self.algorithm not in STEADY:
            raise ValueError(f"steady_state is for {', '.join(STEADY)}; {self.algorithm} proposes whole generations.")
        if self.steady_state and self.stages:
            raise ValueError("stages need generations, and steady_state has none.")
        return self

    def check_used(self, names: Iterable[str]) -> None:
        """Check that the named settings have an effect in combination with the others.

        (A file may hold settings of several algorithms, so that ``--set`` can choose one of them.)

        Raises:
            InputError: One has no effect.

        Example:
            >>> EvolutionConfig(algorithm="pbt", mutpb=0.5).check_used(["mutpb"])
            Traceback (most recent call last):
                ...
            deap_hpo.errors.InputError: evolution.mutpb is a setting of truncation, and does nothing with \
evolution.algorithm = 'pbt', whose own settings are evolution.arguments.
        """
        for name in names:
            if name in OF_TRUNCATION and self.algorithm != "truncation":
                raise InputError(
                    f"evolution.{name} is a setting of truncation, and does nothing with evolution.algorithm = "
                    f"{self.algorithm!r}, whose own settings are evolution.arguments."
                )
            if name == "stopping" and not self.stages:
                raise InputError(
                    "evolution.stopping decides which trainings end at a stage; without stages it does nothing."
                )

    def identity(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share with the recorded one."""
        unused = [*(() if self.stages else ("stages", "stopping")), *(() if self.steady_state else ("steady_state",))]
        return self.model_dump(exclude={*BUDGETS, *unused})


class ExecutionConfig(Section):
    """Where evaluations run, and for how long. A run may be resumed with other values of these settings."""

    executor: Literal["auto", "serial", "processes", "ray"] = Field(
        "auto", description="serial, processes, ray, or auto (processes on a CPU and with gpus, else serial)."
    )
    workers: int | None = Field(None, ge=1, description="Trainings side by side; by default one per core, or GPU.")
    gpus: list[int] = Field([], description="processes: GPUs that workers share out, by number, such as [0, 1].")
    address: str | None = Field(None, description="ray: address of the cluster; by default one on this machine.")
    chunk: int = Field(16, ge=1, description="ray, and processes with gpus: trainings that a GPU takes at once.")
    timeout: float | None = Field(None, gt=0, description="Seconds that one evaluation may take.")
    retries: int = Field(2, ge=0, description="How often an evaluation whose worker died is started again.")
    max_tasks_per_child: int | None = Field(
        None, ge=1, description="Evaluations after which a worker is replaced, for code that leaks memory."
    )
    max_seconds: float | None = Field(None, gt=0, description="Seconds after which the run stops, resumably.")
    checkpoint_limit: int | None = Field(None, ge=1, description="Bytes that all checkpoints may take.")
