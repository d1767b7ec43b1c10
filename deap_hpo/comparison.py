"""Comparing methods: the same task, the same budget of trainings, paired seeds, everything on record.

Each run's choice is trained again with new seeds and measured on the test examples. The best of many noisy measurements
is partly luck, and only new measurements show how much.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

from deap_hpo.checks import check_flag, check_integer
from deap_hpo.compared_runs import Equipment, measured, on_record, retrained, search, steps_of
from deap_hpo.configuration.assembly import check_algorithm, make_task, trainer_of, with_recipe
from deap_hpo.configuration.config import RunConfig, make_config
from deap_hpo.configuration.demands import trains_in_parts
from deap_hpo.configuration.settings import enough_generations
from deap_hpo.configuration.suitability import check_space
from deap_hpo.errors import InputError, first_difference
from deap_hpo.evolution.pbt import PBTSettings
from deap_hpo.records.provenance import changes_since, names_of, warn_of_changes
from deap_hpo.records.record import ReplayError
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import Trainer

_OF_THE_RECIPE = "training.recipe."  # these settings a method may have of its own


@dataclass(frozen=True)
class Method:
    """A method of a comparison.

    Attributes:
        label: Its name in tables.
        overrides: The settings that make a run use it.
    """

    label: str
    overrides: tuple[str, ...]


def parse_method(text: str) -> Method:
    """Read a method: the name of an algorithm, with an optional label before it and arguments after it.

    Arguments are those of the algorithm, or settings ``training.recipe.*`` of its own, such as a schedule.

    Raises:
        InputError: An argument is not of the form key=value.

    Example:
        >>> parse_method("grid:resolution=4")
        Method(label='grid', overrides=('evolution.algorithm="grid"', 'evolution.arguments.resolution=4'))
        >>> parse_method("adaptive=truncation:mutation=self-adaptive;population=10").overrides
        ('evolution.algorithm="truncation"', 'evolution.mutation=self-adaptive', 'evolution.population=10')
        >>> parse_method("annealed=random:training.recipe.schedule=cosine").overrides
        ('evolution.algorithm="random"', 'training.recipe.schedule=cosine')
    """
    head, _, arguments = text.partition(":")
    label, _, name = head.rpartition("=")
    given = [part.strip() for part in arguments.split(";") if part.strip()]
    for part in given:
        if "=" not in part:
            raise InputError(
                f"A method's arguments must be KEY=VALUE, separated by semicolons; got {part!r} in {text!r}."
            )
    # The genetic algorithm's arguments are settings of their own.
    section = "evolution" if name == "truncation" else "evolution.arguments"
    settings = (part if part.startswith(_OF_THE_RECIPE) else f"{section}.{part}" for part in given)
    return Method(label or name, (f'evolution.algorithm="{name}"', *settings))


def compare(
    config: RunConfig,
    methods: Sequence[Method],
    *,
    experiment: str,
    seeds: int = 10,
    budget: int = 60,
    repeats: int = 3,
    retry_failed: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run every method with every seed, and train each choice again; runs on record are not repeated.

    Args:
        config: The configuration that all runs share.
        methods: The methods, at least 2.
        experiment: Name of the experiment; each run is the study ``<experiment>-<method>-<seed>``.
        seeds: Number of paired seeds, at least 2: 1, 2, ... Runs with the same seed share the seed of their trainings.
        budget: Trainings of each run, at least 1. Repeated configurations are not trained again and cost nothing. For
            methods that train in parts (`deap_hpo.configuration.methods.IN_PARTS`, and those with stages), the epochs
            of that number of whole trainings; pbt trains that number of networks.
        repeats: Number of new seeds with which each choice is trained again, at least 1.
        retry_failed: Whether failed trainings are tried again, both those of the runs and those of the choices.
        tell: Called with a text about each step.

    Returns:
        Two tables. `runs` has a row for each run: `method`, `seed`, `best` (objective of the choice in the search),
        `retrained` (its mean with new seeds; with folds, of the first fold), `gap` (by how much that is worse, because
        of luck in the search; unknown, NaN, with folds),
        `test_loss` and ``test_*`` (means with new seeds), `trainings`, `epochs` (trained), `wall_seconds` (since the
        last interruption), `training_seconds`, `params_*`. If a value is not finite, for example because a training
        with a new seed diverged, it is infinitely bad.
        `anytime` has a row for each training: `method`, `seed`, `training` (from 1), `epochs` (trained so far), `best`
        (so far).

    Raises:
        InputError: An argument is out of its range, or a method cannot run.
        ReplayError: A run on record has other settings. (Plans that depend on the budget, and the choice that a smaller
            budget would have given, would differ from the record.)

    Warns:
        DeapHPOWarning: The task's code has changed since runs on record ended; a choice failed when it was trained
            again, and counts as infinitely bad; or a run has made another choice since its choice was trained again.
    """
    _check_methods(methods)
    for name, value, least in (("seeds", seeds, 2), ("budget", budget, 1), ("repeats", repeats, 1)):
        check_integer(name, value, least)
    check_flag("retry_failed", retry_failed)
    _check_ends(config)
    task = _task_for(config, methods, experiment, budget)
    minimize = task.goals.directions == ("minimize",)
    planned = [
        _Run(method, seed, _config_of(config, method, experiment, seed, budget))
        for seed in range(1, seeds + 1)
        for method in methods
    ]
    runs: list[dict[str, Any]] = []
    anytime: list[dict[str, Any]] = []
    with Equipment(task) as equipment:
        _check_recorded([run.settings for run in planned], equipment)
        searched = []
        for run in planned:
            tell(f"{run.method.label}, seed {run.seed} of {seeds}")
            searched.append(search(run.settings, equipment, budget, retry_failed))
        tell("what they chose, on fresh seeds")  # after all searches, so that workers are started only once
        for run, recorded in zip(planned, searched, strict=True):
            named = {"method": run.method.label, "seed": run.seed}
            steps = steps_of(recorded)
            chosen = measured(recorded, steps) | retrained(run.settings, equipment, recorded, repeats, retry_failed)
            gap = chosen["retrained"] - chosen["best"] if minimize else chosen["best"] - chosen["retrained"]
            if config.training.folds is not None:
                gap = math.nan  # a choice is trained again on the first fold alone
            runs.append({**named, **chosen, "gap": gap})
            anytime += [{**named, **step} for step in steps]
    return pd.DataFrame(runs), pd.DataFrame(anytime)


@dataclass(frozen=True)
class _Run:
    """A run of a comparison: a method with a seed, and the configuration that they make."""

    method: Method
    seed: int
    settings: RunConfig


def _check_methods(methods: Sequence[Method]) -> None:
    if len({method.label for method in methods}) < max(2, len(methods)):
        raise InputError(
            f"methods must be at least 2 different ones; got {', '.join(m.label for m in methods)}. Two of one "
            "algorithm need labels: 'plain=truncation' 'adaptive=truncation:mutation=self-adaptive'."
        )


def _task_for(config: RunConfig, methods: Sequence[Method], experiment: str, budget: int) -> Task:
    """Make the task, and check that all methods can run on it, so that mistakes are reported before hours of training.

    Raises:
        InputError: One cannot, or the task cannot be judged.
    """
    first: dict[Method, RunConfig] = {}
    for method in methods:
        with _named(method):
            first[method] = _config_of(config, method, experiment, 1, budget)
    task = make_task(config)
    _check_judged(task)
    for method, settings in first.items():
        with _named(method):
            of_method = with_recipe(task, settings)
            check_space(of_method, settings.search_space)
            check_algorithm(settings, trainer_of(of_method, settings))
    return task


def _check_ends(config: RunConfig) -> None:
    """Check that only the budget of the comparison ends a run."""
    evolution = config.evolution
    ends = {f"evolution.{name}": getattr(evolution, name) for name in ("max_epochs", "target", "patience")}
    for name, value in {**ends, "execution.max_seconds": config.execution.max_seconds}.items():
        if value is not None:
            raise InputError(
                f"A comparison gives all runs the same trainings; {name} would end some of them earlier. "
                "Leave it out: a comparison may be interrupted, and continues."
            )


def _check_judged(task: Task) -> None:
    """Check that a task has one objective, which can also be measured on test examples."""
    judged, *others = task.goals.objectives
    if others or judged not in ("loss", *task.metrics):
        raise InputError(
            f"compare judges by one objective, the loss or a metric; the task has {', '.join(task.goals.objectives)}."
        )
    if task.data.test is None:
        raise InputError("A comparison needs test examples; the task's data have none.")


def _check_recorded(configs: Sequence[RunConfig], equipment: Equipment) -> None:
    """Check, before anything is trained, that the runs on record have the settings that are asked for.

    Raises:
        ReplayError: One has others.

    Warns:
        DeapHPOWarning: The task's code has changed since runs ended; those that go on warn by themselves.
    """
    changed: dict[str, list[str]] = {}
    for settings in configs:
        known = on_record(str(settings.study.name), settings.study.storage)
        if known is None or not known.entries:
            continue
        trainer = equipment.trainer(settings)
        given = json.loads(json.dumps(_facts(settings, trainer)))
        budgets = _budgets(known.attributes.get("config", {}).get("evolution", {}))
        recorded = {**known.attributes, "hyperparameters": list(known.space or ()), **budgets}
        for key, value in given.items():
            if recorded.get(key, value) != value:
                told = first_difference({key: recorded[key]}, {key: value})
                was, now = (one.removeprefix("settings.").removeprefix("evaluator.") for one in told)
                raise ReplayError(
                    f"The run {known.name!r} was recorded with {was}, and cannot be continued with {now}. Give the "
                    "recorded value, or give the method another label (LABEL=NAME), or the experiment another name "
                    "(--experiment)."
                )
        if known.attributes.get("comparison") and (names := changes_since(known.attributes, trainer)):
            changed[known.name] = names
    if changed:
        (first, names), *others = changed.items()
        warn_of_changes(first, names, len(others))


def _facts(settings: RunConfig, trainer: Trainer) -> dict[str, Any]:
    """Give what a run must share with its record, by the names of a record's attributes."""
    return {
        "space": settings.search_space.to_dict(),
        "hyperparameters": list(settings.search_space),  # in order, since genes are assigned by position
        "common_random_numbers": settings.study.common_random_numbers,
        "evaluator": trainer.settings,
        "parts": names_of(trainer.parts),
        **_budgets(settings.evolution.model_dump()),
        "settings": settings.identity(),  # last, since a population may follow from the budget, and that from epochs
    }


def _budgets(evolution: Mapping[str, Any]) -> dict[str, int]:
    """Give the budgets that are set; which of them is, depends on the algorithm."""
    return {name: evolution[name] for name in ("max_evaluations", "max_epochs") if evolution.get(name) is not None}


@contextmanager
def _named(method: Method) -> Iterator[None]:
    """Let errors about a method name it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"The method {method.label!r} cannot run: {error}") from error


def _config_of(config: RunConfig, method: Method, experiment: str, seed: int, budget: int) -> RunConfig:
    """Give the configuration of one method with one seed."""
    name = f"{experiment}-{method.label}-{seed}"
    overrides = [f'study.name="{name}"', f"study.seed={seed}", f"evolution.max_evaluations={budget}"]
    overrides.append(f"evolution.generations={enough_generations(budget)}")
    settings = make_config(config.model_dump(mode="json"), [*overrides, *method.overrides])
    evolution, epochs = settings.evolution, settings.training.epochs
    if evolution.algorithm == "pbt":
        interval = PBTSettings.of(evolution.arguments).interval
        if epochs % interval:
            raise InputError(
                f"interval must divide training.epochs = {epochs}, so that networks are trained to their end; "
                f"got {interval}."
            )
        sizes = {"population": max(2, budget), "generations": epochs // interval}
    elif trains_in_parts(evolution):
        sizes = {"generations": enough_generations(budget * epochs)}
    else:
        return settings
    in_epochs = {"max_evaluations": None, "max_epochs": budget * epochs, **sizes}
    return settings.model_copy(update={"evolution": evolution.model_copy(update=in_epochs)})
