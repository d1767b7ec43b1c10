"""The scikit-learn estimator keeps scikit-learn's conventions, and searches."""

from __future__ import annotations

import pickle
import random
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, RandomizedSearchCV, ShuffleSplit, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from deap_hpo import Categorical, EvolutionSearchCV, Float
from deap_hpo.errors import FailureNotice, InputError

IRIS = load_iris(return_X_y=True)
SPACE = {"C": Float(1e-3, 1e3, log=True), "kernel": Categorical(["linear", "rbf"])}


def search(**arguments: Any) -> EvolutionSearchCV:
    settings = {"population": 4, "generations": 3, "random_state": 0, "algorithm": "random", **arguments}
    return EvolutionSearchCV(settings.pop("estimator", SVC()), settings.pop("space", SPACE), **settings)


# The estimators with which scikit-learn checks its own searches.
CHECKED = [
    (Ridge(), "alpha"),
    (LogisticRegression(), "C"),
    (make_pipeline(PCA(), Ridge()), "ridge__alpha"),
    (make_pipeline(PCA(), LogisticRegression()), "logisticregression__C"),
]


AS_OTHER_SEARCHES = {"check_supervised_y_2d": "no DataConversionWarning", "check_requires_y_none": "other words"}
QUICK = {"cv": 2, "error_score": "raise", "population": 2, "generations": 2}


@parametrize_with_checks(
    [search(estimator=estimator, space={name: Float(0.1, 1.0)}, **QUICK) for estimator, name in CHECKED],
    expected_failed_checks=lambda _: AS_OTHER_SEARCHES,
)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_n_iter_is_the_number_of_candidates() -> None:
    assert len(search(n_iter=7).fit(*IRIS).cv_results_["params"]) == 7
    with pytest.raises(InputError, match="n_iter must be an integer of at least 1, or None; got 0"):
        search(n_iter=0).fit(*IRIS)


def test_what_trains_in_parts_is_refused() -> None:
    with pytest.raises(InputError, match="algorithm must be one that fits each candidate whole; got 'hyperband'"):
        search(algorithm="hyperband").fit(*IRIS)


def test_what_it_finds_is_what_cross_validation_says() -> None:
    found = search().fit(*IRIS)
    results = found.cv_results_
    assert found.best_score_ == max(results["mean_test_score"])
    assert found.best_params_ == results["params"][found.best_index_]
    assert found.best_score_ == pytest.approx(cross_val_score(SVC(**found.best_params_), *IRIS).mean())
    assert found.trials_["value"].tolist() == results["mean_test_score"].tolist()
    assert found.trials_["params_C"].tolist() == [params["C"] for params in results["params"]]
    assert found.best_estimator_.get_params()["C"] == found.best_params_["C"]
    assert results["generation"].tolist() == sorted(results["generation"])
    assert set(RandomizedSearchCV(SVC(), {"C": [1.0]}, n_iter=1).fit(*IRIS).cv_results_) <= set(results)


def test_it_is_a_function_of_its_random_state_and_moves_no_generator() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    settings: dict[str, Any] = {
        "estimator": LogisticRegression(),
        "space": {"C": Float(0.1, 1.0)},
    }  # draws nothing itself
    first = search(**settings).fit(*IRIS)
    assert (random.random(), np.random.rand()) == expected
    assert clone(first).fit(*IRIS).cv_results_["params"] == first.cv_results_["params"]
    assert search(random_state=1, **settings).fit(*IRIS).cv_results_["params"] != first.cv_results_["params"]


class NeverFitted(SVC):
    """Raises when it is fitted."""

    def fit(self, *_: Any) -> Any:
        raise AssertionError("it was fitted")


def test_several_metrics_and_a_pickled_copy() -> None:
    metrics = {"scoring": ["accuracy", "f1_macro"], "return_train_score": True}
    found = search(refit="f1_macro", **metrics).fit(*IRIS)
    assert found.trials_["value"].max() == max(found.cv_results_["mean_test_f1_macro"])
    assert "mean_train_accuracy" in found.cv_results_
    assert np.array_equal(pickle.loads(pickle.dumps(found)).predict(IRIS[0]), found.predict(IRIS[0]))
    with pytest.raises(ValueError, match="refit must be set to a scorer key or a callable"):
        search(estimator=NeverFitted(), error_score="raise", **metrics).fit(*IRIS)


@pytest.mark.parametrize("scoring", [["f1_macro", "accuracy"], {"z": "f1_macro", "a": "accuracy"}])
def test_without_a_name_the_first_of_several_metrics_counts(scoring: Any) -> None:
    found = search(scoring=scoring, refit=False).fit(*IRIS)
    assert found.trials_["value"].tolist() == found.cv_results_[f"mean_test_{next(iter(scoring))}"].tolist()
    assert not hasattr(found, "best_index_")

    found = search(scoring=scoring, refit=lambda results: 2).fit(*IRIS)
    assert found.best_params_ == found.cv_results_["params"][2]
    assert found.best_estimator_.get_params()["C"] == found.best_params_["C"]


def test_a_function_that_scores_several_metrics_needs_one_that_counts() -> None:
    def scoring(estimator: Any, inputs: Any, targets: Any) -> dict[str, float]:
        return {"accuracy": estimator.score(inputs, targets), "one": 1.0}

    found = search(scoring=scoring, refit=False).fit(*IRIS)
    assert found.trials_["value"].tolist() == found.cv_results_["mean_test_accuracy"].tolist()
    for refit in (True, "f1"):
        with pytest.raises(InputError, match=f"name the one that counts, or be False; got {refit!r}"):
            search(scoring=scoring, refit=refit).fit(*IRIS)


def test_a_list_of_choices_may_hold_anything() -> None:
    space = {
        "scaler": ["passthrough", StandardScaler(), MinMaxScaler()],
        "pca": [PCA(2), PCA(2), None],
        "svc__C": [1, 10.0, 100],
        "svc__class_weight": [None, {0: 1.0, 1: 2.0, 2: 1.0}],
    }
    pipeline = Pipeline([("scaler", None), ("pca", None), ("svc", SVC())])
    found = clone(search(estimator=pipeline, space=space, generations=5)).fit(*IRIS)
    tried = found.cv_results_["params"]
    for name, choices in space.items():
        assert {str(one[name]) for one in tried} == set(map(str, choices))
    assert type(found.best_estimator_["scaler"]) is type(found.best_params_["scaler"])
    assert set(found.trials_["params_scaler"]) == {"passthrough", "StandardScaler()", "MinMaxScaler()"}
    assert set(found.trials_["params_pca"]) == {"0: PCA(n_components=2)", "1: PCA(n_components=2)", "2: None"}
    assert set(found.trials_["params_svc__C"]) == {1, 10.0, 100}
    with pytest.raises(InputError, match="space: C must hold at least one choice"):
        search(space={"C": []}).fit(*IRIS)


def test_a_candidate_that_fails_is_worst() -> None:
    space = {"alpha": Float(-1.0, 1.0)}  # Ridge takes no negative alpha
    regression = make_regression(60, 4, noise=3.0, random_state=0)
    with pytest.warns(Warning, match="fits failed") as told:
        found = search(estimator=Ridge(), space=space).fit(*regression)
    (said,) = [str(one.message) for one in told if issubclass(one.category, FailureNotice)]
    assert said.endswith("score is not finite (further failures are recorded without a warning)")
    assert set(found.trials_["status"]) == {"ok", "failed"}
    assert found.best_params_["alpha"] >= 0


@pytest.mark.parametrize(
    "splitter",
    [KFold(3, shuffle=True), KFold(3, shuffle=True, random_state=np.random.RandomState(0)), ShuffleSplit(3)],
)
def test_splits_that_change_are_refused(splitter: Any) -> None:
    with pytest.raises(InputError, match=r"same splits .*random_state"):
        search(cv=splitter).fit(*IRIS)


@pytest.mark.parametrize("splitter", [KFold(3), KFold(3, shuffle=True, random_state=0), ShuffleSplit(random_state=0)])
def test_splits_that_stay_are_taken(splitter: Any) -> None:
    assert len(search(cv=splitter).fit(*IRIS).cv_results_["params"]) == 12


def test_a_row_has_the_generation_it_came_from_though_others_asked_for_nothing_new() -> None:
    kernels = {"kernel": Categorical(["linear", "rbf", "poly"])}
    fitted = search(space=kernels, population=1, generations=12).fit(*IRIS)
    new = fitted.trials_[fitted.trials_["duplicate_of"].isna()]
    assert fitted.cv_results_["generation"].tolist() == new["generation"].tolist()
    assert new["generation"].max() >= len(new)  # at least one generation asked for nothing new


def test_a_wrong_parameter_is_named() -> None:
    with pytest.raises(ValueError, match="Invalid parameter 'c'"):
        search(space={"c": Float(0.1, 1.0)}, error_score="raise").fit(*IRIS)
