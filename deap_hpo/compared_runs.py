"""The runs of a comparison: their searches, their choices trained again with new seeds, and their shared workers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from statistics import fmean
from time import perf_counter
from typing import Any

from deap_hpo.__main__ import evolve
from deap_hpo.budget import BudgetSpent
from deap_hpo.configuration.assembly import make_executor, trainer_of, with_recipe
from deap_hpo.configuration.config import RunConfig
from deap_hpo.configuration.demands import trains_in_parts
from deap_hpo.deletion import delete_study
from deap_hpo.errors import InputError, warn
from deap_hpo.evaluation import Evaluation, Request, sign_of, worst_values
from deap_hpo.evaluator import Evaluate
from deap_hpo.evolution.individual import individual_type
from deap_hpo.execution.executors import Executor, in_this_process
from deap_hpo.recorded import Recorded, load_study, note
from deap_hpo.records.entries import Entry, find_best, param_columns, schedule_of
from deap_hpo.retraining import Retraining
from deap_hpo.seeding import FOR_RETRAININGS, derived_seed
from deap_hpo.study import Study
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import Trainer


class Equipment:
    """Trainers and workers that the runs of a comparison share if their settings allow, since workers start slowly.

    Args:
        task: The task.

    Example:
        >>> from deap_hpo.configuration.assembly import make_task
        >>> from deap_hpo.configuration.config import make_config
        >>> space = {"lr": {"type": "float", "low": 0.01, "high": 0.1}}
        >>> config = make_config({"space": space, "task": {"data": "digits", "model": "mlp"}})
        >>> other = make_config(config.model_dump(), ["study.seed=2"])
        >>> with Equipment(make_task(config)) as equipment:
        ...     equipment.trainer(config) is equipment.trainer(other)
        True
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._trainers: dict[str, Trainer] = {}
        self._retrainings: dict[Trainer, Retraining] = {}
        self._executor: _LentExecutor | None = None
        self._for = ""

    def trainer(self, settings: RunConfig) -> Trainer:
        """Give the trainer of a run; a run that trains in parts has its own, because of the checkpoints."""
        own = str(settings.study.name) if trains_in_parts(settings.evolution) else ""
        key = f"{own} {settings.training!r} {settings.execution.checkpoint_limit}"
        if key not in self._trainers:
            self._trainers[key] = trainer_of(with_recipe(self._task, settings), settings)
        return self._trainers[key]

    def retraining(self, trainer: Trainer, schedule: Sequence[Any]) -> Retraining:
        """Give the evaluator that trains a run's choice again."""
        if schedule:
            return Retraining(trainer, schedule)
        return self._retrainings.setdefault(trainer, Retraining(trainer))

    def executor(self, trainer: Trainer, settings: RunConfig) -> Executor:
        """Give the executor of a run; closing it does not end its workers."""
        executor = make_executor(trainer, settings)  # it holds no resources before it runs
        wanted = f"{settings.execution!r} {getattr(executor, 'workers', None)}"
        if self._executor is None or wanted != self._for:
            self.close()
            self._executor, self._for = _LentExecutor(executor), wanted
        return self._executor

    def close(self) -> None:
        """End the workers."""
        if self._executor is not None:
            self._executor.lender.close()
        self._executor = None

    def __enter__(self) -> Equipment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _LentExecutor:
    """An executor that can still be used after it was closed."""

    def __init__(self, lender: Executor) -> None:
        self.lender, self.in_process = lender, in_this_process(lender)

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Run the requests on the lender."""
        yield from self.lender.run(evaluate, requests)

    def close(self) -> None:
        """Do nothing, because the lender is closed by its owner."""


def search(settings: RunConfig, equipment: Equipment, budget: int, retry_failed: bool) -> Recorded:
    """Make a run unless it is on record completely, and try its failed evaluations again if asked to.

    Example:
        >>> import tempfile
        >>> from deap_hpo.configuration.assembly import make_task
        >>> from deap_hpo.configuration.config import make_config
        >>> folder = tempfile.TemporaryDirectory()
        >>> config = make_config(
        ...     {
        ...         "space": {"lr": {"type": "float", "low": 0.01, "high": 0.1}},
        ...         "task": {"data": "digits", "model": "mlp"},
        ...         "training": {"epochs": 1},
        ...         "evolution": {"algorithm": "random", "max_evaluations": 3},
        ...         "study": {"name": "one", "storage": f"{folder.name}/runs.db"},
        ...         "execution": {"executor": "serial"},
        ...     }
        ... )
        >>> with Equipment(make_task(config)) as equipment:
        ...     recorded = search(config, equipment, budget=3, retry_failed=False)
        ...     again = retrained(config, equipment, recorded, repeats=2, retry_failed=False)
        >>> measured(recorded, steps_of(recorded))["trainings"], sorted(again)
        (3, ['retrained', 'test_accuracy', 'test_loss'])
    """
    name, storage = str(settings.study.name), settings.study.storage
    known = on_record(name, storage)
    failed = known is not None and any(one.evaluation.status == "failed" for one in known.entries)
    if known is None or not known.attributes.get("comparison") or (retry_failed and failed):
        start = perf_counter()
        with suppress(BudgetSpent):
            trainer = equipment.trainer(settings)
            executor = equipment.executor(trainer, settings)
            evolve(settings, trainer, executor=executor, resume=True, retry_failed=retry_failed, verbose=False)
        note(name, storage, "comparison", {"budget": budget, "wall_seconds": perf_counter() - start})
    return load_study(name, storage)


def steps_of(recorded: Recorded) -> list[dict[str, Any]]:
    """Give the best value and the epochs trained so far, after each training.

    Example:
        >>> from deap_hpo import Float, optimize
        >>> study = optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, algorithm="random", max_evaluations=3)
        >>> steps = steps_of(study.found())
        >>> [step["training"] for step in steps], steps[-1]["best"] == study.best_value
        ([1, 2, 3], True)
    """
    steps: list[dict[str, Any]] = []
    direction, epochs = recorded.directions[0], 0
    best, better = worst_values((direction,))[0], min if direction == "minimize" else max
    for entry in recorded.entries:
        if entry.duplicate_of is None:
            best = better(best, entry.evaluation.value) if entry.evaluation.feasible else best
            epochs += entry.evaluation.trained_epochs
            steps.append({"training": len(steps) + 1, "epochs": epochs, "best": best})
    return steps


def measured(recorded: Recorded, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the result and the cost of a run: a part of its row in the table of `deap_hpo.comparison.compare`.

    Args:
        recorded: The run, made by `search`.
        steps: As from `steps_of`.
    """
    choice = find_best(recorded.entries, recorded.directions[0])
    return {
        "best": choice.evaluation.value if choice else worst_values(recorded.directions)[0],
        "trainings": steps[-1]["training"],
        "epochs": steps[-1]["epochs"],
        "wall_seconds": recorded.attributes["comparison"]["wall_seconds"],
        "training_seconds": sum(e.evaluation.seconds for e in recorded.entries if e.duplicate_of is None),
        **(param_columns(choice, recorded.space) if choice else {}),
    }


def retrained(
    settings: RunConfig, equipment: Equipment, recorded: Recorded, repeats: int, retry_failed: bool
) -> dict[str, float]:
    """Train a run's choice with new seeds, the same ones for every method, and give the mean results.

    The training is as long as it was in the search, with the hyperparameters that it had in each epoch. If one training
    did not end well, the means are the worst values, so that a choice that sometimes fails does not look better than it
    is.
    """
    direction = recorded.directions[0]
    choice, worst = find_best(recorded.entries, direction), worst_values((direction,))[0]
    none = {"retrained": worst, "test_loss": math.inf, f"test_{recorded.objective_names[0]}": worst}
    if choice is None:
        return none
    evaluations = _trained_again(settings, equipment, recorded, choice, repeats, retry_failed)
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


def _trained_again(
    settings: RunConfig, equipment: Equipment, recorded: Recorded, choice: Entry, repeats: int, retry_failed: bool
) -> list[Evaluation]:
    """Train a run's choice with new seeds, except where that is on record."""
    schedule = schedule_of(recorded.entries, choice.number, settings.search_space)
    trainer = equipment.trainer(settings)
    changed = any(params != schedule[0][0] for params, _ in schedule)
    partial = (schedule[-1][1] or trainer.epochs) < trainer.epochs
    retraining = equipment.retraining(trainer, schedule if changed or partial else ())
    name, storage = f"{recorded.name}-retrained", settings.study.storage
    seed = settings.study.seed
    if not settings.study.common_random_numbers:  # then the seeds that follow from this one are those of the search
        seed = derived_seed(seed, FOR_RETRAININGS)
    known = on_record(name, storage)
    if known and _is_of_another(known, choice, retraining, seed):
        warn(
            f"{recorded.name} has chosen another network since its choice was trained again; the new one is trained now"
        )
        delete_study(name, storage)
        known = None
    directions = (known or recorded).directions  # earlier versions recorded all as minimised
    made = individual_type(tuple(-sign_of(one) for one in directions))
    with Study(
        settings.search_space,
        name=name,
        storage=storage,
        seed=seed,
        directions=directions,
        common_random_numbers=False,
        executor=equipment.executor(trainer, settings),
        resume=True,
        retry_failed=retry_failed,
    ) as study:
        study.map(retraining, [made(choice.genes) for _ in range(repeats)])
        return [study.record[number].evaluation for number in range(repeats)]  # earlier ones may be on record


def on_record(name: str, storage: str) -> Recorded | None:
    """Read a run; give None if it has not started.

    Example:
        >>> print(on_record("rivals-tpe-1", "no-such-file.db"))
        None
    """
    try:
        return load_study(name, storage)
    except InputError:
        return None


def _is_of_another(known: Recorded, choice: Entry, retraining: Retraining, seed: int) -> bool:
    """Tell whether the record is of another choice, which a run may have had before its failures were tried again.

    Or it was made by an earlier version, with the seeds of the search or for more epochs than the choice had.
    """
    was, now = (settings.get("schedule") for settings in (known.evaluator_settings, retraining.settings))
    of_another = any(entry.genes != choice.genes for entry in known.entries)
    return of_another or was != json.loads(json.dumps(now)) or known.attributes.get("seed") != seed
