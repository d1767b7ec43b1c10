"""An objective: any Python function of the hyperparameters as an evaluator, with learning curves and checkpoints."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from deap_hpo.checks import check_optional_integer, is_integer
from deap_hpo.errors import InputError, ResultError
from deap_hpo.evaluation import Direction, Evaluation, Request, Status, not_finite
from deap_hpo.evaluator import Evaluator
from deap_hpo.functions.checkpoint import Checkpoint
from deap_hpo.functions.notes import note_of, text_of
from deap_hpo.functions.offered import offered_parameters
from deap_hpo.functions.reporter import Ended, Reporter
from deap_hpo.functions.undone import UNDONE
from deap_hpo.goals import Goals, made_up_names
from deap_hpo.running_evaluations import log_epoch
from deap_hpo.seeding import seeded

if TYPE_CHECKING:
    from deap_hpo.training.checkpoints import CheckpointStore


class _Reached(NamedTuple):
    """The result of an evaluation, as far as it came."""

    values: tuple[float, ...]
    status: Status
    metrics: Mapping[str, float] = MappingProxyType({})
    violation: float = 0.0
    notes: Mapping[str, str] = MappingProxyType({})
    error: str = ""


class Objective(Evaluator):
    """A function of the hyperparameters, to register as `evaluate` or to pass to `optimize`.

    The function gets a dict of hyperparameters, and returns

    - a number, or one for each of several objectives, or
    - a mapping of metrics. `metric` names the one that is optimised, or several; the others are recorded with it.
      `constraints` may bound any of them.

    The function may have further parameters, by these names:

    - `report`, a `Reporter`: ``report(epoch, value, **metrics)`` records a learning curve, and ends the evaluation if
      the study's pruner says so. ``raise optuna.TrialPruned`` ends it, too.
    - `seed`, the evaluation's seed; `random`, numpy and torch are seeded with it in any case.
    - `number`, the evaluation's running number, for file names.
    - `epochs`, the number of epochs (or trees, or steps) that the training must have had when the function returns.
      Methods that train in parts (`hyperband`, `pbt`, ...) need it.
    - `checkpoint`, a `Checkpoint`, with which the function continues where an earlier evaluation stopped. Without it,
      every part is trained from the start.

    What is no number among the metrics is recorded as a note: paths, dates and other objects as text, lists, dicts and
    arrays as JSON. None is left out. (Without `metric`, anything but texts and collections may be the objective.)
    If the function raises, the evaluation is "failed"; if a value is not finite, it is "diverged".

    Args:
        function: Any callable: a function, a lambda, a local function, a method, a callable object.
        metric: Name of the metric that counts, or several; None if the function returns numbers or a single metric.
        direction: "minimize" or "maximize"; one for each of several objectives.
        constraints: Conditions on the metrics, such as "size <= 100".
        epochs: Epochs of a whole training, at least 1; by default the default of the function's parameter.
        checkpoints: Where checkpoints are kept; by default in a temporary folder.

    Raises:
        InputError: `function` cannot be called as described, `direction` is neither, a constraint is invalid, `epochs`
            or `checkpoints` is given for a function without the parameter, or it has `checkpoint` without `epochs`.

    Example:
        >>> def objective(params, report):
        ...     for epoch in range(1, 4):
        ...         report(epoch, params["x"] ** 2 / epoch)
        ...     return {"loss": params["x"] ** 2 / 3, "size": 7}
        >>> evaluation = Objective(objective, metric="loss").evaluate(Request(0, {"x": 3.0}, seed=0))
        >>> evaluation.value, dict(evaluation.metrics), [epoch.validation_loss for epoch in evaluation.curve]
        (3.0, {'size': 7.0}, [9.0, 4.5, 3.0])
        >>> def training(params, epochs, checkpoint):
        ...     weight = checkpoint.load() or 0.0
        ...     weight += params["lr"] * (epochs - checkpoint.epoch)
        ...     checkpoint.save(weight)
        ...     return abs(weight - 1)
        >>> objective = Objective(training)
        >>> first = objective.evaluate(Request(0, {"lr": 0.25}, seed=0, epochs=2, keep=True))
        >>> second = Request(1, {"lr": 0.5}, seed=0, epochs=3, start_from=first.checkpoint)
        >>> first.value, objective.evaluate(second).value
        (0.5, 0.0)
    """

    goals: Goals

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        metric: str | Sequence[str] | None = None,
        direction: Direction | Sequence[Direction] = "minimize",
        constraints: Sequence[str] = (),
        epochs: int | None = None,
        checkpoints: CheckpointStore | None = None,
    ) -> None:
        count = 1 if isinstance(direction, str) else len(direction)
        self.goals = Goals.of(made_up_names(count) if metric is None else metric, direction, constraints)
        self.function = function
        self.metric = metric
        self.direction = direction if isinstance(direction, str) or count > 1 else direction[0]
        self._offered = offered_parameters(function)
        self.takes_epochs = "epochs" in self._offered
        self.epochs = check_optional_integer("epochs", epochs, 1)
        if self.takes_epochs and epochs is None:
            default = inspect.signature(function).parameters["epochs"].default
            self.epochs = default if is_integer(default) and default > 0 else None
        self._check_parameters(checkpoints)
        if "checkpoint" in self._offered and checkpoints is None:
            from deap_hpo.training.checkpoints import TemporaryCheckpoints  # imports torch, which takes seconds

            checkpoints = TemporaryCheckpoints()
        self.checkpoints = checkpoints

    def _check_parameters(self, checkpoints: CheckpointStore | None) -> None:
        """Check that the function takes what it is given."""
        for name, value, parameter in (("epochs", self.epochs, "epochs"), ("checkpoints", checkpoints, "checkpoint")):
            if value is not None and parameter not in self._offered:
                raise InputError(
                    f"{name} is for functions that have a parameter named {parameter}; got {value!r}, and "
                    f"{self.function!r}."
                )
        if "checkpoint" in self._offered and not self.takes_epochs:
            raise InputError(
                "An objective with a parameter named checkpoint also needs one named epochs, for the number of epochs "
                f"to train; got {self.function!r}."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that a resumed study must share with the recorded one."""
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        constraints = {"constraints": self.goals.settings["constraints"]} if self.goals.constraints else {}
        epochs = {"epochs": self.epochs} if self.epochs else {}
        return {"function": name, "metric": self.metric, "direction": self.direction, **constraints, **epochs}

    @property
    def parts(self) -> Mapping[str, Any]:
        """The function."""
        return {"function": self.function}

    @property
    def brought(self) -> Any:
        """The function."""
        return self.function

    def evaluate(self, request: Request) -> Evaluation:
        """Carry out one request of an executor."""
        epochs = request.epochs or self.epochs
        if self.takes_epochs and epochs is None:
            raise InputError(f"epochs must give the length of a whole training of {self.function!r}; got None.")
        start, checkpoint, underway = perf_counter(), None, None
        if self.checkpoints is not None:
            from deap_hpo.training.underway import Underway  # imports torch, as a function with checkpoints does

            underway = Underway(self.checkpoints, request)
            kept: Any = {"underway": underway, "epochs": epochs}
            checkpoint = Checkpoint(self.checkpoints, request.start_from, request.params, **kept)
        before = checkpoint.epoch if checkpoint else -1
        curve = underway.curve if underway else []
        log = partial(log_epoch, request)
        reporter = Reporter(request.limits, self.goals.directions[0], before, epochs, curve, log)
        offered = {"report": reporter, "seed": request.seed, "number": request.number}
        offered |= {"epochs": epochs, "checkpoint": checkpoint}
        try:
            with seeded(request.seed), underway or nullcontext():
                result = self.function(dict(request.params), **{name: offered[name] for name in self._offered})
        except BaseException as end:
            if not isinstance(end, Ended) and not _is_optunas_pruning(end):
                raise
            reached = self._ended_early(reporter, pruned=reporter.is_pruned or not isinstance(end, Ended))
        else:
            reached = self._returned(result, reporter)
        if reached.status != "pruned" and not all(map(math.isfinite, reached.values)):
            error = not_finite(reached.values, self.goals.objectives)
            reached = _Reached(self.goals.worst, "diverged", notes=reached.notes, error=error)
        reference, notes = None, dict(reached.notes)
        if checkpoint and epochs and reached.status == "ok":
            reference = checkpoint.keep(epochs, needed=request.keep)
            notes |= {UNDONE: ", ".join(names)} if (names := checkpoint.undone()) else {}
        return Evaluation(
            reached.values,
            reached.status,
            tuple(reporter.curve),
            dict(reached.metrics),  # a proxy does not pickle
            underway.seconds if underway else perf_counter() - start,
            error=reached.error,
            checkpoint=reference,
            violation=reached.violation,
            notes=notes,
        )

    def _returned(self, result: Any, reporter: Reporter) -> _Reached:
        """Read what the function returned; metrics that it left out are those of its last epoch."""
        notes: dict[str, str] = {}
        if isinstance(result, Mapping):
            counting = {one.metric for one in self.goals.constraints}
            counting |= set(self.goals.objectives if self.metric is not None else ())
            beside = {str(name): value for name, value in result.items() if str(name) not in counting}
            notes = {name: text for name, value in beside.items() if (text := self._note(value)) is not None}
            left_out = {name for name, value in beside.items() if value is None and self.metric is not None}
            numbers = {name: value for name, value in result.items() if str(name) not in {*notes, *left_out}}
            result = numbers or result  # of which the error then tells
        values, metrics, violation = self._read(result)
        return _Reached(values, "ok", {**reporter.metrics, **metrics}, violation, notes)

    def _note(self, value: Any) -> str | None:
        """Give the text of what is no number; without a name for the objective, any other single value may be it."""
        note = note_of(value)
        if note is None and value is not None and self.metric is not None:
            try:
                _float(value)
            except Exception:
                return text_of(value)
        return note

    def _ended_early(self, reporter: Reporter, *, pruned: bool) -> _Reached:
        """Give the values last reported, or the worst if there are none for all objectives."""
        none = pruned and (not reporter.curve or len(self.goals.objectives) > 1)
        values = self.goals.worst if none else (reporter.value,)
        violation = self.goals.violation(reporter.metrics)
        return _Reached(values, "pruned" if pruned else "ok", {**reporter.metrics}, violation)

    def _read(self, result: Any) -> tuple[tuple[float, ...], dict[str, float], float]:
        goals, count = self.goals, len(self.goals.objectives)
        result = result.tolist() if hasattr(result, "tolist") else result  # an array or a tensor
        if isinstance(result, Evaluation):
            raise ResultError(
                "The objective must return a number or a mapping of metrics; it returned an Evaluation. Return its "
                'metrics, such as {"loss": 0.3, "size": 7}, and name the one that counts, metric="loss".'
            )
        if isinstance(result, Mapping):
            measured = {str(name): _number(name, value) for name, value in result.items()}
            if self.metric is None and len(measured) == count == 1:
                goals = replace(goals, objectives=tuple(measured))
        elif isinstance(result, (tuple, list)) and len(result) == count:
            measured = {name: _number(name, value) for name, value in zip(goals.objectives, result, strict=True)}
        elif result is None or isinstance(result, (tuple, list)) or count > 1:
            raise ResultError(
                "The objective must return a number or a mapping of metrics (with several objectives a number for "
                f"each, here {count}); it returned {result!r}."
            )
        else:
            measured = {goals.objectives[0]: _number(goals.objectives[0], result)}
        for name in goals.objectives:
            if name not in measured:
                raise ResultError(
                    f"metric must name one of those that the objective returns ({', '.join(measured) or 'none'}); "
                    f"got {self.metric!r}."
                )
        for constraint in goals.constraints:
            if constraint.metric not in measured:
                raise ResultError(
                    f"constraints must be on what the objective returns ({', '.join(measured) or 'nothing named'}); "
                    f"got {str(constraint)!r}."
                )
        return goals.judge(measured)


def _number(name: object, value: Any) -> float:
    try:
        return _float(value)
    except Exception:  # a huge integer, for example, or whatever an object's own conversion raises
        raise ResultError(f"The objective must return numbers; {name} is {value!r}.") from None


def _float(value: Any) -> float:
    if isinstance(value, (str, bytes)):  # float would read "0.5", which is a number only by accident
        raise TypeError
    return float(value.item() if hasattr(value, "item") else value)


def _is_optunas_pruning(error: BaseException) -> bool:
    optuna = sys.modules.get("optuna")  # in a worker it is imported only if the function imports it
    return optuna is not None and isinstance(error, optuna.TrialPruned)
