"""Methods side by side: the same task, the same budget of trainings, paired seeds, everything on record.

Each run's choice is trained again on fresh seeds and measured on the test examples: the best of many noisy
measurements is partly luck, and only fresh ones show how much.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import fmean
from time import perf_counter
from typing import Any

import pandas as pd

from deap_hpo.__main__ import evolve
from deap_hpo.budget import BudgetSpent
from deap_hpo.checks import check_flag, check_integer
from deap_hpo.configuration.assembly import check_algorithm, make_executor, make_task, trainer_of
from deap_hpo.configuration.config import RunConfig, make_config
from deap_hpo.configuration.methods import IN_PARTS
from deap_hpo.deletion import delete_study
from deap_hpo.errors import InputError, warn
from deap_hpo.evolution.individual import Individual
from deap_hpo.evolution.pbt import PBTSettings
from deap_hpo.recorded import Recorded, load_study, note
from deap_hpo.records.entries import Entry, find_best, param_columns, schedule_of, worst_values
from deap_hpo.retraining import Retraining
from deap_hpo.study import Study
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import Trainer


@dataclass(frozen=True)
class Method:
    """A method of a comparison.

    Attributes:
        label: What it is called in tables.
        overrides: The settings that make a run use it.
    """

    label: str
    overrides: tuple[str, ...]


def parse_method(text: str) -> Method:
    """Read a method: the name of an algorithm; a label before it, arguments after it where it needs some.

    Raises:
        InputError: An argument is not of the form key=value.

    Example:
        >>> parse_method("grid:resolution=4")
        Method(label='grid', overrides=('evolution.algorithm="grid"', 'evolution.arguments.resolution=4'))
        >>> parse_method("adaptive=truncation:mutation=self-adaptive;population=10").overrides
        ('evolution.algorithm="truncation"', 'evolution.mutation=self-adaptive', 'evolution.population=10')
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
    return Method(label or name, (f'evolution.algorithm="{name}"', *(f"{section}.{part}" for part in given)))


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
    """Run every method with every seed, and retrain what each has chosen; what is on record is not run again.

    Args:
        config: The run that all have in common.
        methods: The methods, at least 2.
        experiment: Name of the experiment; each run is the study ``<experiment>-<method>-<seed>``.
        seeds: Number of paired seeds, at least 2: 1, 2, ... Runs of one seed share the seed of their trainings.
        budget: Trainings of each run, at least 1. Repeated configurations are not trained again and cost nothing. For
            methods that train in parts (`deap_hpo.configuration.methods.IN_PARTS`, and whatever has stages), the epochs
            of that number of whole trainings; pbt trains that number of networks.
        repeats: Fresh seeds on which each choice is trained again, at least 1.
        retry_failed: Whether trainings that failed are tried again, those of the runs and those of the choices.
        tell: Is told what is being done.

    Returns:
        Two tables. `runs`, one row for each run: `method`, `seed`, `best` (objective of the choice, as the search saw
        it), `retrained` (its mean on fresh seeds), `gap` (by how much that is worse: the luck of the draw), `test_loss`
        and ``test_*`` (means on fresh seeds), `trainings`, `epochs` (trained), `wall_seconds` (since the last
        interruption), `training_seconds`, `params_*`. What has no finite value, as where one of the fresh seeds
        diverges, is infinitely bad.
        `anytime`, one row for each training: `method`, `seed`, `training` (from 1), `epochs` (trained so far), `best`
        (so far).

    Raises:
        InputError: An argument is out of its range, a method cannot run, or the experiment has another budget.

    Warns:
        DeapHPOWarning: A choice failed when it was trained again, and so counts as infinitely bad.
    """
    if len({method.label for method in methods}) < max(2, len(methods)):
        raise InputError(
            f"methods must be at least 2 different ones; got {', '.join(m.label for m in methods)}. Two of one "
            "algorithm need labels: 'plain=truncation' 'adaptive=truncation:mutation=self-adaptive'."
        )
    for name, value, least in (("seeds", seeds, 2), ("budget", budget, 1), ("repeats", repeats, 1)):
        check_integer(name, value, least)
    check_flag("retry_failed", retry_failed)
    if config.execution.max_seconds is not None:
        raise InputError(
            "A comparison gives all runs the same trainings; execution.max_seconds would end some of them earlier. "
            "Leave it out: a comparison may be interrupted, and goes on."
        )
    first: dict[Method, RunConfig] = {}
    for method in methods:  # what is mistyped is said before hours of training
        with _named(method):
            first[method] = _settings_of(config, method, f"{experiment}-{method.label}-1", 1, budget)
    task = make_task(config)
    _check_judged(task)
    for method, settings in first.items():
        with _named(method):
            check_algorithm(settings, trainer_of(task, settings))
    minimize = task.goals.directions == ("minimize",)
    runs: list[dict[str, Any]] = []
    anytime: list[dict[str, Any]] = []
    for seed in range(1, seeds + 1):
        for method in methods:
            tell(f"{method.label}, seed {seed} of {seeds}")
            settings = _settings_of(config, method, f"{experiment}-{method.label}-{seed}", seed, budget)
            trainer = trainer_of(task, settings)
            recorded = _search(settings, trainer, budget, retry_failed)
            steps = _steps(recorded)
            chosen = _measured(recorded, steps) | _retrained(settings, trainer, recorded, repeats, retry_failed)
            gap = chosen["retrained"] - chosen["best"] if minimize else chosen["best"] - chosen["retrained"]
            runs.append({"method": method.label, "seed": seed, **chosen, "gap": gap})
            anytime += [{"method": method.label, "seed": seed, **step} for step in steps]
    return pd.DataFrame(runs), pd.DataFrame(anytime)


def _check_judged(task: Task) -> None:
    """Check that a task has one objective, which test examples can measure, too."""
    judged, *others = task.goals.objectives
    if others or judged not in ("loss", *task.metrics):
        raise InputError(
            f"compare judges by one objective, the loss or a metric; the task has {', '.join(task.goals.objectives)}."
        )
    if task.data.test is None:
        raise InputError("A comparison needs test examples; the task's data have none.")


@contextmanager
def _named(method: Method) -> Iterator[None]:
    """Have what is wrong with a method name it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"The method {method.label!r} cannot run: {error}") from error


def _settings_of(config: RunConfig, method: Method, name: str, seed: int, budget: int) -> RunConfig:
    """The run of one method with one seed."""
    overrides = [f'study.name="{name}"', f"study.seed={seed}", f"evolution.max_evaluations={budget}"]
    # As many generations as the budget could fill with one training each: it is the budget that ends the run.
    overrides.append(f"evolution.generations={budget}")
    settings = make_config(config.model_dump(mode="json"), [*overrides, *method.overrides])
    evolution, epochs = settings.evolution, settings.training.epochs
    if evolution.algorithm == "pbt":
        interval = PBTSettings.of(evolution.arguments).interval
        sizes = {"population": max(2, budget), "generations": max(1, epochs // interval)}
    elif evolution.algorithm in IN_PARTS or evolution.stages:
        sizes = {"generations": budget * epochs}
    else:
        return settings
    in_epochs = {"max_evaluations": None, "max_epochs": budget * epochs, **sizes}
    return settings.model_copy(update={"evolution": evolution.model_copy(update=in_epochs)})


def _search(settings: RunConfig, trainer: Trainer, budget: int, retry_failed: bool) -> Recorded:
    """Bring a run on record, unless it is there; or what of it has failed, to be tried again.

    Raises:
        InputError: It was begun with another budget: what is laid out by the budget, and what a smaller one would
            have chosen, would not be what is on record.
    """
    name, storage = str(settings.study.name), settings.study.storage
    try:
        known = load_study(name, storage)
        attributes, failed = known.attributes, any(one.evaluation.status == "failed" for one in known.entries)
    except InputError:  # not begun
        attributes, failed = {}, False
    evolution = settings.evolution.model_dump(mode="json")
    for limit in ("max_evaluations", "max_epochs"):
        begun = attributes.get("config", {}).get("evolution", evolution)[limit]
        if begun != evolution[limit]:
            raise InputError(
                f"The run {name!r} is on record with {limit} = {begun}, and cannot go on with {evolution[limit]}. "
                "Give the experiment the budget that it was begun with, or another name."
            )
    if not attributes.get("comparison") or (retry_failed and failed):
        start = perf_counter()
        with suppress(BudgetSpent):
            evolve(settings, trainer, resume=True, retry_failed=retry_failed, verbose=False)
        note(name, storage, "comparison", {"budget": budget, "wall_seconds": perf_counter() - start})
    return load_study(name, storage)


def _steps(recorded: Recorded) -> list[dict[str, Any]]:
    """The best so far, and the epochs trained so far, after each training."""
    steps: list[dict[str, Any]] = []
    direction, epochs = recorded.directions[0], 0
    best, better = worst_values((direction,))[0], min if direction == "minimize" else max
    for entry in recorded.entries:
        if entry.duplicate_of is None:
            best = better(best, entry.evaluation.value) if entry.evaluation.feasible else best
            epochs += entry.evaluation.trained_epochs
            steps.append({"training": len(steps) + 1, "epochs": epochs, "best": best})
    return steps


def _measured(recorded: Recorded, steps: list[dict[str, Any]]) -> dict[str, Any]:
    choice = find_best(recorded.entries, recorded.directions[0])
    return {
        "best": choice.evaluation.value if choice else worst_values(recorded.directions)[0],
        "trainings": steps[-1]["training"],
        "epochs": steps[-1]["epochs"],
        "wall_seconds": recorded.attributes["comparison"]["wall_seconds"],
        "training_seconds": sum(e.evaluation.seconds for e in recorded.entries if e.duplicate_of is None),
        **(param_columns(choice, recorded.space) if choice else {}),
    }


def _retrained(
    settings: RunConfig, trainer: Trainer, recorded: Recorded, repeats: int, retry_failed: bool
) -> dict[str, float]:
    """Train a run's choice on fresh seeds, the same ones for every method; the means of what they give.

    Where one of them has no value, neither has the mean: a choice that fails now and then is not to look better.
    """
    direction = recorded.directions[0]
    choice, worst = find_best(recorded.entries, direction), worst_values((direction,))[0]
    none = {"retrained": worst, "test_loss": math.inf, f"test_{recorded.objective_names[0]}": worst}
    if choice is None:
        return none
    schedule = schedule_of(recorded.entries, choice.number, settings.search_space)
    changed = any(params != schedule[0][0] for params, _ in schedule)
    retraining = Retraining(trainer, schedule if changed else ())
    name, storage = f"{recorded.name}-retrained", settings.study.storage
    if _is_of_another(choice, retraining, name, storage):
        warn(f"{recorded.name} has chosen another network since it was trained again; that is done anew")
        delete_study(name, storage)
    with Study(
        settings.search_space,
        name=name,
        storage=storage,
        seed=settings.study.seed,
        common_random_numbers=False,
        executor=make_executor(trainer, settings),
        resume=True,
        retry_failed=retry_failed,
    ) as study:
        study.map(retraining, [Individual(choice.genes) for _ in range(repeats)])
        evaluations = [study.record[number].evaluation for number in range(repeats)]  # it may hold more, of before
    failed = [evaluation.reason for evaluation in evaluations if evaluation.status == "failed"]
    if failed:
        warn(
            f"what {recorded.name} has chosen failed when it was trained again, and counts as infinitely bad: "
            f"{failed[0]} (when the cause is mended, --retry-failed, or retry_failed=True, tries it again)"
        )
    if any(evaluation.status != "ok" for evaluation in evaluations):
        return none
    tested = [name for name in evaluations[0].metrics if name.startswith("test_")]
    return {
        "retrained": fmean(evaluation.value for evaluation in evaluations),
        **{name: fmean(evaluation.metrics[name] for evaluation in evaluations) for name in tested},
    }


def _is_of_another(choice: Entry, retraining: Retraining, name: str, storage: str) -> bool:
    """Tell whether what is on record was trained for another choice: that of a run whose failures were tried again."""
    try:
        known = load_study(name, storage)
    except InputError:  # not begun
        return False
    was, now = (settings.get("schedule") for settings in (known.attributes.get("evaluator", {}), retraining.settings))
    return any(entry.genes != choice.genes for entry in known.entries) or was != json.loads(json.dumps(now))
