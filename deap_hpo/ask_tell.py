"""Ask and tell: hyperparameters are asked for, evaluated wherever and whenever one likes, and their results told."""

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
from deap_hpo.search_space.space import Hyperparameter, Space
from deap_hpo.vocabulary import hinting


class AskTell:
    """A study whose evaluations are done by others: a queue of jobs, a laboratory, a person.

    It asks for a generation at a time, whose results are told in any order (with `steady_state`, for another evaluation
    as soon as the oldest has its result), and need not live as long as an evaluation: nothing is kept but the record,
    and whoever makes it again with the same arguments, in another process or on another day, goes on. The same results
    give the same run as `optimize` with a function that returns them.

    Args:
        space: The search space, as a `Space` or by name.
        storage: Path of an SQLite file, or the URL of a database.
        name: Name of the study.
        direction: "minimize" or "maximize"; one for each of several objectives.
        metric: Name of the metric that counts, where several are told; or of several that do.
        constraints: What has to hold of the metrics that are told, such as "size <= 100".
        algorithm: As of `optimize`; none that trains in parts.
        population: Evaluations in a generation, which are asked for at once; as of `optimize`.
        generations: As of `optimize`, and so are all that follow.
        steady_state: Whether `population` evaluations are open at any time, rather than those of a generation.
        arguments: Further arguments of the algorithm.
        enqueue: Configurations that are asked for first.
        seed: Of the search.
        target: A value that ends it.
        patience: Generations without a better value that end it.
        max_evaluations: Evaluations in all.
        retry_failed: Whether evaluations that failed are asked for again.

    What is told is on record when `tell` returns. Each call proposes anew what led to it, as a resumed study does: with
    100 evaluations of `surrogate` that takes some seconds, for which `tell_all` tells many results at once.

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
        """Give the evaluations that are to be done now: those of a generation whose results have not been told.

        Returns:
            Each has a `number`, by which its result is told, its hyperparameters, `params`, and a `seed` for what is
            random in it. None when the search is over.
        """
        if not self._is_as_known():
            self._go_on({})
        return list(self._open.values())

    def tell(self, number: int, result: Any = None, *, failed: str | None = None) -> None:
        """Tell what came of an evaluation; it is on record when this returns.

        Args:
            number: Of the evaluation, one of those that `ask` gives.
            result: What a function would return: a number, several for several objectives, or a mapping of metrics.
                What is not finite is "diverged", and the worst.
            failed: In place of a result, why there is none.

        Raises:
            InputError: That evaluation is not asked for, or its result is on record; or the result is none. Then
                nothing is recorded.
        """
        if (result is None) == (failed is None):
            raise InputError("tell takes a result, or, where there is none, failed='why'.")
        self._tell({number: result if failed is None else failure(failed, 0.0)})

    def tell_all(self, results: Mapping[int, Any]) -> None:
        """Tell what came of several evaluations, for the price of one.

        Args:
            results: By number, each as for `tell`; in place of one that failed, an `Evaluation` with that status.

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
        """What has been found, as `load_study` reads it from the record."""
        return load_study(**self._where)

    def _tell(self, results: Mapping[int, Any]) -> None:
        if any(number not in self._open for number in results):
            self._go_on({})  # another process may have told what was open
        for number in results:
            if number not in self._open:
                asked = ", ".join(map(str, self._open)) or "none"
                raise InputError(f"number must be of an evaluation that is asked for now ({asked}); got {number!r}.")
        answers = {number: self._evaluation(number, result) for number, result in results.items()}
        left = self._go_on(answers)
        if left:
            raise InputError(f"The results of {', '.join(map(str, left))} had been told by another process.")

    def _evaluation(self, number: int, result: Any) -> Evaluation:
        if isinstance(result, Evaluation):
            return result
        self._told.result = result
        try:
            return replace(self._objective.evaluate(self._open[number]), seconds=0.0)
        except ResultError as error:
            raise InputError(f"The result of evaluation {number} cannot be recorded. {error}") from None

    def _is_as_known(self) -> bool:
        """Tell whether what was open still is: no other process has told any of it. Over, it may have gone on."""
        return bool(self._open) and not any(entry.number in self._open for entry in self.study.entries)

    def _go_on(self, answers: dict[int, Evaluation]) -> list[int]:
        """Run the search up to what has no answer; give the numbers of the answers that it did not ask for."""
        executor = _Answering(answers)
        self._open = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FailureNotice)  # who tells of a failure knows of it
            try:
                optimize(self._objective, executor=executor, retry_failed=self._retry, **self._search)
            except _Unanswered as asked:
                self._open = {request.number: request for request in asked.requests}
        self._retry &= not executor.told  # else what has failed since would be asked for again
        return list(executor.answers)


class Told:
    """Stands where a function would: what it returns has been told.

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
    """Ends a search where it asks for what nobody has told."""

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__(f"{len(requests)} evaluations have no result yet")
        self.requests = requests


class _Answering:
    """An executor that has the answers, or ends the search."""

    in_process = True

    def __init__(self, answers: dict[int, Evaluation]) -> None:
        self.answers = answers  # those that were not asked for, in the end
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
        """Do nothing: there is nothing to give back."""
