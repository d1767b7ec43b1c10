"""Evolving the hyperparameters of a scikit-learn estimator: a search with the interface of `GridSearchCV`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import check_random_state

from deap_hpo.checks import check_optional_integer
from deap_hpo.configuration.methods import IN_PARTS
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import BatchEvaluator
from deap_hpo.functions.notes import text_of
from deap_hpo.optimization import optimize
from deap_hpo.search_space.space import Categorical, Hyperparameter, Space
from deap_hpo.study import Study


class EvolutionSearchCV(BaseSearchCV):  # type: ignore[misc]
    """Searches the hyperparameters of an estimator by evolution, with cross-validation.

    It is used like `sklearn.model_selection.RandomizedSearchCV`, also in pipelines. Each configuration is evaluated
    once; `cv_results_` has a row for it, with the generation from which it came.

    Args:
        estimator: The estimator to tune.
        space: `Float`, `Int` and `Categorical` by parameter name, such as ``{"svc__C": Float(1e-3, 1e3, log=True)}``. A
            list of choices may hold anything, such as tuples and estimators: ``{"scaler": ["passthrough", PCA(2)]}``.
        algorithm: As for `deap_hpo.optimize`: "surrogate", "truncation", "tpe", "de", "random", ...
        population: Candidates in a generation, at least 1 (for "truncation" at least 4).
        generations: Generations, at least 1.
        n_iter: Candidates in total, at least 1, as in `RandomizedSearchCV`; then `generations` is ignored.
        scoring: As for `GridSearchCV`. Of several metrics, the one that `refit` names is maximised, or the first if
            `refit` is False or a function.
        n_jobs: Number of fits in parallel, by joblib.
        refit: Whether to fit the best estimator again on all data; the name of the metric that counts; or a function of
            `cv_results_` that gives the row of the best.
        cv: Cross-validation; its splits must be the same each time (if it shuffles, it needs a `random_state`).
        verbose: As for `GridSearchCV`; above 0, progress is shown.
        pre_dispatch: As for `GridSearchCV`.
        error_score: Score of a candidate whose fit fails, or "raise".
        return_train_score: Whether `cv_results_` has the scores on the training folds.
        random_state: Seed of the search: an integer, a `RandomState`, or None for a different search each time.

    Attributes:
        cv_results_: As in `GridSearchCV`, with a column `generation`.
        best_params_: The best hyperparameters.
        best_score_: Their mean cross-validated score.
        best_estimator_: The estimator fitted with them on all data.
        best_index_: Their row in `cv_results_`.
        trials_: The study's table of evaluations; see `deap_hpo.analysis.tables.trials_table`.

    Raises:
        InputError: An argument cannot be used.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.svm import SVC
        >>> from deap_hpo import Float
        >>> space = {"C": Float(1e-2, 1e3, log=True), "gamma": Float(1e-4, 1e1, log=True)}
        >>> search = EvolutionSearchCV(SVC(), space, population=5, generations=4, random_state=0)
        >>> search = search.fit(*load_iris(return_X_y=True))
        >>> bool(search.best_score_ > 0.96), sorted(search.best_params_), len(search.cv_results_["mean_test_score"])
        (True, ['C', 'gamma'], 20)
    """

    def __init__(
        self,
        estimator: Any,
        space: Space | Mapping[str, Hyperparameter | list[Any]],
        *,
        algorithm: str = "surrogate",
        population: int = 10,
        generations: int = 5,
        n_iter: int | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., Any] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | str = math.nan,
        return_train_score: bool = False,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.space = space
        self.algorithm = algorithm
        self.population = population
        self.generations = generations
        self.n_iter = n_iter
        self.random_state = random_state

    def _run_search(self, evaluate_candidates: Callable[..., Mapping[str, Any]]) -> None:
        """Search; `BaseSearchCV.fit` calls this, and does the rest."""
        splitter = check_cv(self.cv)
        drawn = hasattr(splitter, "random_state") and getattr(splitter, "shuffle", True)
        if drawn and not isinstance(splitter.random_state, (int, np.integer)):
            raise InputError(
                f"cv must give the same splits whenever it is asked; got {splitter!r}, which shuffles. "
                "Give it an integer as random_state."
            )
        check_optional_integer("n_iter", self.n_iter, 1)
        if self.algorithm in IN_PARTS:
            raise InputError(f"algorithm must be one that fits each candidate whole; got {self.algorithm!r}.")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        space, choices = _named_choices(self.space)
        candidates = _Candidates(evaluate_candidates, self.refit, choices)
        raised: BaseException | None = None
        try:
            study = optimize(
                candidates,
                space,
                direction="maximize",
                algorithm=self.algorithm,
                population=self.population,
                generations=self.generations if self.n_iter is None else None,
                max_evaluations=self.n_iter,
                seed=seed,
                callbacks=[candidates],
                progress=bool(self.verbose > 0),
            )
        except _Raised as end:
            raised = end.__cause__
        if raised is not None:
            raise raised
        self.trials_ = study.trials_dataframe()  # rather than the study, which cannot be pickled


def _named_choices(space: Any) -> tuple[Any, dict[str, dict[Any, Any]]]:
    """Give a space in which lists are choices by their names, and the choices by these names."""
    if not isinstance(space, Mapping):
        return space, {}
    named, choices = dict(space), {}
    for parameter, given in space.items():
        if isinstance(given, list):
            if not given:
                raise InputError(f"space: {parameter} must hold at least one choice; got [].")
            names = [_name(choice) for choice in given]
            if len(set(names)) < len(names):  # two objects may have the same text
                names = [f"{position}: {name}" for position, name in enumerate(names)]
            named[parameter] = Categorical(names)
            choices[parameter] = dict(zip(names, given, strict=True))
    return named, choices


def _name(choice: Any) -> Any:
    try:
        return Categorical([choice]).choices[0]
    except (TypeError, ValueError):
        return text_of(choice)


class _Candidates(BatchEvaluator):
    """Evaluates a whole generation by scikit-learn's own cross-validation."""

    def __init__(
        self,
        evaluate_candidates: Callable[..., Mapping[str, Any]],
        refit: Any,
        choices: Mapping[str, Mapping[Any, Any]],
    ) -> None:
        self._evaluate_candidates = evaluate_candidates
        self._refit = refit
        self._choices = choices
        self._generation = 0

    def on_generation(self, study: Study, _: object) -> None:
        """Note the study's generation, because generations without new candidates are not evaluated here."""
        self._generation = study.generation

    def evaluate_batch(self, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield the mean score of each candidate."""
        generations = {"generation": [self._generation] * len(requests)}
        try:
            candidates = [self._parameters(one.params) for one in requests]
            results = self._evaluate_candidates(candidates, more_results=generations)
        except Exception as error:
            raise _Raised from error
        several = "mean_test_score" not in results
        first = next(name for name in results if name.startswith("mean_test_"))  # in the order of `scoring`
        score = f"mean_test_{self._refit}" if several and isinstance(self._refit, str) else first
        if several and (score not in results or self._refit is True):
            raise _Raised from InputError(
                f"With several metrics, refit must name the one that counts, or be False; got {self._refit!r}."
            )
        times = results["mean_fit_time"][-len(requests) :]
        for i, (value, seconds) in enumerate(zip(results[score][-len(requests) :], times, strict=True)):
            failed = not math.isfinite(value)
            yield (
                i,
                Evaluation(
                    values=(math.inf if failed else float(value),),
                    status="failed" if failed else "ok",
                    seconds=float(seconds),
                    error="a fit failed, or its score is not finite" if failed else "",
                ),
            )

    def _parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._choices.get(name, {value: value})[value] for name, value in params.items()}


class _Raised(BaseException):
    """Ends the search when scikit-learn raises (``error_score="raise"``), instead of failing the evaluation."""
