"""Ask and tell: ask for hyperparameters, evaluate them wherever and whenever you like, and tell the results."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deap_hpo.checks import check_flag
from deap_hpo.configuration.methods import IN_PARTS
from deap_hpo.errors import FailureNotice, InputError, ResultError
from deap_hpo.evaluation import Direction, Evaluation, Request, failure
from deap_hpo.evaluator import Evaluate
from deap_hpo.functions.objective import Objective
from deap_hpo.optimization import optimize
from deap_hpo.recorded import Recorded, load_study
from deap_hpo.records.entries import with_worst_values
from deap_hpo.search_space.space import Hyperparameter, Space
from deap_hpo.vocabulary import hinting


class AskTell:
    """A study whose evaluations are done by others: a queue of jobs, a laboratory, a person.

    It gives the evaluations of a generation at once, whose results are told in any order. (With `steady_state`, it
    gives a new evaluation as soon as the oldest one has its result.) The object need not live as long as an evaluation:
    only the record is kept, and an `AskTell` with the same arguments, in another process or on another day, continues.
    The same results give the same run as `optimize` with a function that returns them.

    Args:
        space: The search space, as a `Space` or by name.
        storage: Path of an SQLite file, or the URL of a database.
        name: Name of the study.
        direction: "minimize" or "maximize"; one for each of several objectives.
        metric: Name of the metric that counts, if the results have several; or a list of several names.
        constraints: Conditions on the metrics in the results, such as "size <= 100".
        algorithm: As for `optimize`, except those that train in parts.
        population: Evaluations in a generation, which are given at once; as for `optimize`.
        generations: As for `optimize`, like all arguments below.
        steady_state: Whether `population` evaluations are open at any time, rather than those of a generation.
        arguments: Further arguments of the algorithm.
        enqueue: Configurations to evaluate first.
        seed: Seed of the search.
        target: A value that ends the search.
        patience: Generations without a better value that end the search.
        max_evaluations: Evaluations in total.
        retry_failed: Whether failed evaluations are asked for again.

    A result is on record when `tell` returns. Each call repeats the search so far, as a resumed study does: with 100
    evaluations of `surrogate`, that takes some seconds. `tell_all` tells many results at the cost of one call.

    Raises:
        InputError: An argument cannot be used, or another process is asking or telling at this moment.
        ReplayError: The study was recorded with other arguments.

    Example:
        >>> import tempfile
        >>> from deap_hpo import Float
        >>> folder = tempfile.TemporaryDirectory()
        >>> lab = AskTell({"heat": Float(20.0, 90.0)}, storage=f"{folder.name}/lab.db", population=4, generations=3)
        >>> while questions := lab.ask():
        ...     for question in questions:
        ...         lab.tell(question.number, (question.params["heat"] - 60.0) ** 2)
        >>> len(lab.study.entries), abs(lab.study.best_params["heat"] - 60.0) < 10.0
        (12, True)
    """

    @hinting
    def __init__(
        self,
        space: Space | Mapping[str, Hyperparameter],
        *,
        storage: str | Path,
        name: str = "study",
        direction: Direction | Sequence[Direction] = "minimize",
        metric: str | Sequence[str] | None = None,
        constraints: Sequence[str] = (),
        algorithm: str | None = None,
        population: int = 10,
        generations: int | None = None,
        steady_state: bool = False,
        arguments: Mapping[str, Any] | None = None,
        enqueue: Sequence[Mapping[str, Any]] = (),
        seed: int = 0,
        target: float | None = None,
        patience: int | None = None,
        max_evaluations: int | None = None,
        retry_failed: bool = False,
    ) -> None:
        if algorithm in IN_PARTS:
            raise InputError(f"algorithm must ask for whole evaluations; {algorithm} asks for trainings in parts.")
        if storage is None:
            raise InputError("storage must be where the study is kept between asking and telling; got None.")
        self._where: dict[str, Any] = {"name": name, "storage": storage}
        self._told = Told()
        self._objective = Objective(self._told, metric=metric, direction=direction, constraints=constraints)
        self._search: dict[str, Any] = {
            **self._where,
            "space": Space.of(space),
            "algorithm": algorithm,
            "population": population,
            "generations": generations,
            "steady_state": steady_state,
            "arguments": arguments,
            "enqueue": enqueue,
            "seed": seed,
            "target": target,
            "patience": patience,
            "max_evaluations": max_evaluations,
            "resume": True,
            "progress": False,
        }
        self._retry = check_flag("retry_failed", retry_failed)
        self._open: dict[int, Request] = {}
        self._go_on({})

    def ask(self) -> list[Request]:
        """Give the evaluations to do now: those of a generation whose results have not been told.

        Returns:
            Requests, each with a `number` for telling its result, its hyperparameters `params`, and a `seed` for its
            random numbers. The list is empty when the search is over.
        """
        if not self._is_as_known():
            self._go_on({})
        return list(self._open.values())

    def tell(self, number: int, result: Any = None, *, failed: str | None = None) -> None:
        """Tell the result of an evaluation; it is on record when this returns, and final.

        Args:
            number: Number of the evaluation, from `ask`.
            result: The value that a function would return: a number, several for several objectives, or a mapping of
                metrics. If it is not finite, the evaluation has "diverged" and counts as the worst.
            failed: Instead of a result, the reason why there is none.

        Raises:
            InputError: The evaluation was not asked for, its result is already on record, or the result is invalid.
                Then nothing is recorded.
        """
        if (result is None) == (failed is None):
            raise InputError("tell takes either a result or failed='why'.")
        self._tell({number: result if failed is None else failure(failed, 0.0)})

    def tell_all(self, results: Mapping[int, Any]) -> None:
        """Tell the results of several evaluations at the cost of one call.

        Args:
            results: Results by number, each as for `tell`; for a failed evaluation, an `Evaluation` with that status.

        Raises:
            InputError: As for `tell`; nothing is recorded then.

        Example:
            >>> import tempfile
            >>> from deap_hpo import Float
            >>> folder = tempfile.TemporaryDirectory()
            >>> lab = AskTell({"heat": Float(20.0, 90.0)}, storage=f"{folder.name}/lab.db", population=4, generations=1)
            >>> lab.tell_all({question.number: question.params["heat"] for question in lab.ask()})
            >>> lab.ask()
            []
        """
        self._tell(dict(results))

    @property
    def study(self) -> Recorded:
        """The study so far, as `load_study` reads it from the record."""
        return load_study(**self._where)

    def _tell(self, results: Mapping[int, Any]) -> None:
        if any(number not in self._open for number in results):
            self._go_on({})  # another process may have told results
        for number in results:
            if number not in self._open:
                asked = ", ".join(map(str, self._open)) or "none"
                raise InputError(f"number must be of an evaluation that is asked for now ({asked}); got {number!r}.")
        answers = {number: self._evaluation(number, result) for number, result in results.items()}
        left = self._go_on(answers)
        if left:
            raise InputError(f"The results of {', '.join(map(str, left))} have already been told by another process.")

    def _evaluation(self, number: int, result: Any) -> Evaluation:
        if isinstance(result, Evaluation):
            return with_worst_values(result, self.study.directions)
        self._told.result = result
        try:
            return replace(self._objective.evaluate(self._open[number]), seconds=0.0)
        except ResultError as error:
            raise InputError(f"The result of evaluation {number} cannot be recorded. {error}") from None

    def _is_as_known(self) -> bool:
        """Tell whether there are open evaluations, and no other process has told a result of one."""
        return bool(self._open) and not any(entry.number in self._open for entry in self.study.entries)

    def _go_on(self, answers: dict[int, Evaluation]) -> list[int]:
        """Run the search until an answer is missing; give the numbers of the answers that it did not ask for."""
        executor = _Answering(answers)
        self._open = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FailureNotice)  # the user reported the failure
            try:
                optimize(self._objective, executor=executor, retry_failed=self._retry, **self._search)
            except _Unanswered as asked:
                self._open = {request.number: request for request in asked.requests}
        self._retry &= not executor.told  # otherwise evaluations that failed since would be asked for again
        return list(executor.answers)


class Told:
    """Takes the place of a function, and returns the result that was told.

    Example:
        >>> told = Told()
        >>> told.result = 0.5
        >>> told({"heat": 60.0})
        0.5
    """

    result: Any = None

    def __call__(self, params: Mapping[str, Any]) -> Any:
        """Give the result."""
        return self.result


class _Unanswered(Exception):
    """Ends a search when it asks for results that have not been told."""

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__(f"{len(requests)} evaluations have no result yet")
        self.requests = requests


class _Answering:
    """An executor that gives answers, and ends the search if one is missing."""

    in_process = True

    def __init__(self, answers: dict[int, Evaluation]) -> None:
        self.answers = answers  # at the end, those that were not asked for
        self.told = False

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        unanswered = []
        for i, request in enumerate(requests):
            if request.number in self.answers:
                self.told = True
                yield i, self.answers.pop(request.number)
            else:
                unanswered.append(request)
        if unanswered:
            raise _Unanswered(unanswered)

    def close(self) -> None:
        """Do nothing: there are no resources to release."""
