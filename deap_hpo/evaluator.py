"""The evaluator: a single type for trainers, objectives and plain functions."""

from __future__ import annotations

import inspect
import math
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from deap_hpo.errors import InputError, warn
from deap_hpo.evaluation import Evaluation, Request, failure, not_finite
from deap_hpo.genomes import left_alone
from deap_hpo.goals import made_up_names
from deap_hpo.interruption import undisturbed
from deap_hpo.running_evaluations import Logged
from deap_hpo.seeding import seeded

if TYPE_CHECKING:
    from deap_hpo.goals import Goals
    from deap_hpo.training.checkpoints import CheckpointStore
    from deap_hpo.training.task import Task

_Self = TypeVar("_Self", bound="Evaluator")
_TRIED = 5  # configurations with which a task is checked


class Evaluator(ABC):
    """Evaluates requests: the base class of trainers, of `Objective`, and of your own evaluators.

    A subclass must define `evaluate`. The attributes say what else it can do; a subclass sets those that apply.

    Attributes:
        goals: Its objectives with their directions, and its constraints; None if it does not know them.
        epochs: Epochs of an evaluation whose request names none; None if it has no epochs.
        takes_epochs: Whether it obeys ``request.epochs``; it may do so without keeping checkpoints.
        whole_trainings: Whether trainings must run from start to end, for example because the best epoch is kept.
        checkpoints: Where evaluations leave their state for others to continue; None if it cannot continue any.
        task: The task that it trains, if it is a trainer.
        is_checked: Whether it is known that network, data and loss of the task fit together; see `check_task`.
        device: Where it computes, as torch names it; None if it does not say.
        settings: The settings that a resumed study must share with the recorded one (JSON values); None for none.

    Example:
        >>> class Quadratic(Evaluator):
        ...     def evaluate(self, request):
        ...         return Evaluation((request.params["x"] ** 2,), metrics={"seed": request.seed})
        >>> Quadratic()({"x": 3.0}, seed=7).metrics
        {'seed': 7}
    """

    goals: Goals | None = None
    epochs: int | None = None
    takes_epochs: bool = False
    whole_trainings: bool = False
    checkpoints: CheckpointStore | None = None
    task: Task | None = None
    is_checked: bool = False
    device: object = None
    if TYPE_CHECKING:  # at run time an attribute, so that a subclass may set it or define a property

        @property
        def settings(self) -> Mapping[str, Any] | None:
            """The settings that a resumed study must share with the recorded one (JSON values); None for none."""

    else:
        settings = None

    @abstractmethod
    def evaluate(self, request: Request) -> Evaluation:
        """Carry out one request of an executor; if this raises, the evaluation is "failed"."""

    def __call__(self, params: Any, seed: int = 0) -> Evaluation:
        """Evaluate hyperparameters directly.

        Raises:
            InputError: It is a trainer whose network, data and loss do not fit together.
        """
        self.check_task([params])
        return self.evaluate(Request(0, params, seed))

    def check_task(self, several: Sequence[Any]) -> None:
        """Check once, before the first training, that network, data and loss of a task fit together.

        Args:
            several: Hyperparameters of evaluations; it is enough if some of the first ones work.

        Raises:
            InputError: None of them works; the error is that of the first.

        Example:
            >>> from deap_hpo import Task, make_trainer
            >>> from deap_hpo.training.data import load_digits
            >>> from deap_hpo.training.models import MLP
            >>> trainer = make_trainer(Task("digits", partial(MLP, inputs=64), load_digits()), device="cpu")
            >>> trainer.check_task([{"lr": 0.1}])
            >>> trainer.is_checked
            True
        """
        if self.task is None or self.is_checked:
            return
        errors = []
        for params in several[:_TRIED]:
            try:
                with undisturbed():  # an interruption could leave gradients switched off
                    self.task.check(params)
            except InputError as error:
                errors.append(error)
            else:
                self.is_checked = True
                return
        raise errors[0]

    @property
    def parts(self) -> Mapping[str, Any]:
        """Its parts by name, such as network and loss, whose names a record keeps; empty if it has none."""
        return {} if self.task is None else self.task.parts

    @property
    def brought(self) -> Any:
        """The object that the user brought: the evaluator itself, or the function that it calls."""
        return self

    def with_checkpoints(self: _Self, checkpoints: CheckpointStore) -> _Self:
        """Give a copy of the evaluator that keeps its checkpoints elsewhere; everything else is shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.checkpoints = checkpoints
        return other

    def prepare_worker(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Prepare a process that only evaluates."""


class BatchEvaluator(Evaluator):
    """An evaluator that takes a whole batch at once, like the population trainer."""

    @abstractmethod
    def evaluate_batch(self, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) when each one finishes, in any order."""

    def evaluate(self, request: Request) -> Evaluation:
        """Carry out one request of an executor, as a batch of one."""
        return next(self.evaluate_batch([request]))[1]


class PlainFunction(Evaluator):
    """A function that is called with the hyperparameters alone, and returns a number, several, or an `Evaluation`.

    The global generators of `random`, numpy and torch are seeded from the request first, so that the same request gives
    the same result anywhere.

    Args:
        function: The function.

    Raises:
        InputError: It needs other arguments, or cannot be called.

    Example:
        >>> PlainFunction(lambda params: params["x"] ** 2).evaluate(Request(0, {"x": 3.0}, seed=0)).value
        9.0
        >>> PlainFunction(lambda params, report: params["x"] ** 2)
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: The function registered as evaluate is called with the hyperparameters alone: \
missing a required argument: 'report'. One with report, seed, number, epochs or checkpoint is wrapped: \
toolbox.register("evaluate", Objective(train)).
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if isinstance(function, type) and issubclass(function, Evaluator):
            raise InputError(f"evaluate must be an object, {function.__name__}(...); got the class itself.")
        if not callable(function):
            raise InputError(
                f"evaluate must be a function of the hyperparameters, a trainer or another Evaluator; got {function!r}."
            )
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # some functions written in C
            signature = inspect.Signature([inspect.Parameter("params", inspect.Parameter.POSITIONAL_ONLY)])
        try:
            signature.bind({})
        except TypeError as error:
            raise InputError(
                f"The function registered as evaluate is called with the hyperparameters alone: {error}. One with "
                'report, seed, number, epochs or checkpoint is wrapped: toolbox.register("evaluate", Objective(train)).'
            ) from None
        self._function: Callable[..., Any] = function

    def evaluate(self, request: Request) -> Evaluation:
        """Carry out one request of an executor."""
        start = perf_counter()
        with left_alone(request.params, request.number), seeded(request.seed):
            result = self._function(request.params)
        return result if isinstance(result, Evaluation) else _as_evaluation(result, perf_counter() - start)

    @property
    def brought(self) -> Any:
        """The function."""
        return self._function


Evaluate = Evaluator | Callable[..., Any]
"""What a user may register as `evaluate`; `as_evaluator` turns it into an `Evaluator`."""


def as_evaluator(evaluate: Evaluate) -> Evaluator:
    """Give an evaluator as it is, and a function as a `PlainFunction`.

    Raises:
        InputError: It is neither an evaluator nor a function of the hyperparameters alone.

    Example:
        >>> as_evaluator(abs).brought
        <built-in function abs>
    """
    return evaluate if isinstance(evaluate, Evaluator) else PlainFunction(evaluate)


def unwrapped(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """Undo the `partial` that a toolbox wraps around a registered function, to reach a trainer's own methods."""
    while isinstance(evaluate, partial) and not evaluate.args and not evaluate.keywords:
        evaluate = evaluate.func
    return evaluate


def evaluate_one(evaluate: Evaluate, request: Request) -> Evaluation:
    """Carry out one request in this process; an exception becomes a "failed" evaluation.

    Example:
        >>> evaluate_one(lambda params: params["x"] ** 2, Request(number=0, params={"x": 3.0}, seed=0)).value
        9.0
    """
    start = perf_counter()
    try:
        evaluator = as_evaluator(evaluate)
        with closing(_logged(evaluator, request)):
            return evaluator.evaluate(request)
    # A script's sys.exit() ends its evaluation only; Ctrl-C ends the run.
    except (Exception, SystemExit):
        return failure(traceback.format_exc(), perf_counter() - start)


def evaluate_all(evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
    """Carry out requests in this process, as a batch if the evaluator takes batches; yield (position, evaluation).

    If a batch raises, the missing evaluations are done one by one, so that only those that raise are "failed"; a
    warning says so.

    Example:
        >>> requests = [Request(number=i, params=-i, seed=0) for i in range(2)]
        >>> [(position, evaluation.value) for position, evaluation in evaluate_all(abs, requests)]
        [(0, 0.0), (1, 1.0)]
    """
    left = dict(enumerate(requests))
    if len(requests) > 1 and isinstance(evaluate, BatchEvaluator):
        about = "it gave too few evaluations"
        with ExitStack() as stack:
            logs = [stack.enter_context(closing(_logged(evaluate, request))) for request in requests]
            try:
                for position, evaluation in evaluate.evaluate_batch(list(requests)):
                    del left[position]
                    logs[position].close()
                    yield position, evaluation
            except (Exception, SystemExit) as error:
                about = f"{type(error).__name__}: {error}"
        if left:
            warn(f"a batch of {len(left)} is done one by one ({about})")
    for position, request in left.items():
        yield position, evaluate_one(evaluate, request)


def evaluate_chunk(evaluate: Evaluate, requests: Sequence[Request]) -> list[Evaluation]:
    """Carry out requests as `evaluate_all` does, and give their evaluations in order.

    Example:
        >>> [evaluation.value for evaluation in evaluate_chunk(abs, [Request(number=0, params=-2, seed=0)])]
        [2.0]
    """
    done = dict(evaluate_all(evaluate, requests))
    return [done[position] for position in range(len(requests))]


def _logged(evaluator: Evaluator, request: Request) -> Logged:
    return Logged(request, epochs=evaluator.epochs, trainings=getattr(evaluator, "repeats", 1))


def _as_evaluation(result: Any, seconds: float) -> Evaluation:
    result = result.tolist() if hasattr(result, "tolist") else result  # an array or a tensor
    values = tuple(float(value) for value in (result if isinstance(result, (tuple, list)) else (result,)))
    if all(map(math.isfinite, values)):
        return Evaluation(values, seconds=seconds)
    error = not_finite(values, made_up_names(len(values)))
    if any(map(math.isnan, values)):
        values = tuple(math.inf for _ in values)
    return Evaluation(values, status="diverged", seconds=seconds, error=error)
