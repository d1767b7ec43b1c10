"""Compare search strategies on tuning problems that had no part in their development: python benchmarks/unseen.py.

Ten models on ten tasks of scikit-learn's data and Fashion-MNIST, each trained anew for every evaluation. Prints what
`strategies.py` prints. Regret is 0 for the best loss that any run has found, and 1 for the median of random ones. Runs
are added to `--output` as they finish, so that a stopped command continues where it was. Other packages' methods need
pip install "deap-hpo[benchmarks]".
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # One process per job.

import argparse
import itertools
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from search_methods import METHODS
from strategies import BudgetSpent, kept_as_they_finish, key, print_table, read_runs, summarise, write_table

from deap_hpo.search_space.space import Categorical, Float, Int, Space

Run = dict[str, Any]
Params = dict[str, Any]
WORST = 1e3  # the loss of a training that fails or diverges


class Examples(NamedTuple):
    """Inputs [N, features] and targets [N], to train on and to be judged by."""

    inputs: Any
    targets: Any
    validation_inputs: Any
    validation_targets: Any


def _split(inputs: Any, targets: Any, training: int) -> Examples:
    """Split examples at random, always in the same way; scale inputs by the mean and deviation of the training part."""
    order = np.random.default_rng(0).permutation(len(inputs))
    inputs, targets = np.asarray(inputs, dtype=float)[order], np.asarray(targets)[order]
    deviation = inputs[:training].std(0)
    inputs = (inputs - inputs[:training].mean(0)) / np.where(deviation > 0, deviation, 1.0)
    return Examples(inputs[:training], targets[:training], inputs[training:], targets[training:])


@cache
def _digits() -> Examples:
    from sklearn.datasets import load_digits

    return _split(*load_digits(return_X_y=True), 600)


@cache
def _cancer() -> Examples:
    from sklearn.datasets import load_breast_cancer

    return _split(*load_breast_cancer(return_X_y=True), 285)


@cache
def _diabetes() -> Examples:
    from sklearn.datasets import load_diabetes

    inputs, targets = load_diabetes(return_X_y=True)
    return _split(inputs, (targets - targets.mean()) / targets.std(), 221)


@cache
def _friedman() -> Examples:
    from sklearn.datasets import make_friedman1

    inputs, targets = make_friedman1(600, noise=1.0, random_state=0)
    return _split(inputs, (targets - targets.mean()) / targets.std(), 200)


@cache
def _fashion() -> Examples:
    from deap_hpo.training.data import load_fashion_mnist

    data = load_fashion_mnist(training_size=1500, validation_size=1000)
    both = [one.inputs.flatten(1).numpy() / 255.0 for one in (data.training, data.validation)]
    targets = [one.targets.numpy() for one in (data.training, data.validation)]
    return Examples(both[0], targets[0], both[1], targets[1])


@cache
def _components() -> Examples:
    """The hundred principal components of Fashion-MNIST, each with its own deviation."""
    from sklearn.decomposition import PCA

    data = _fashion()
    pca = PCA(100, random_state=0).fit(data.inputs)
    return data._replace(inputs=pca.transform(data.inputs), validation_inputs=pca.transform(data.validation_inputs))


def _log_loss(model: Any, data: Examples) -> float:
    """Train a classifier, and give its cross-entropy."""
    from sklearn.metrics import log_loss

    model.fit(data.inputs, data.targets)
    return float(log_loss(data.validation_targets, model.predict_proba(data.validation_inputs), labels=model.classes_))


def _error(model: Any, data: Examples) -> float:
    """Train a classifier, and give its error rate."""
    return float(1 - model.fit(data.inputs, data.targets).score(data.validation_inputs, data.validation_targets))


def _squared(model: Any, data: Examples) -> float:
    """Train a regressor, and give its mean squared error."""
    model.fit(data.inputs, data.targets)
    return float(np.mean((model.predict(data.validation_inputs) - data.validation_targets) ** 2))


def svm_digits(params: Params) -> float:
    from sklearn.svm import SVC

    return _error(SVC(**params), _digits())


def forest_digits(params: Params) -> float:
    from sklearn.ensemble import ExtraTreesClassifier

    return _log_loss(ExtraTreesClassifier(60, random_state=0, **params), _digits())


def lightgbm_cancer(params: Params) -> float:
    from lightgbm import LGBMClassifier

    fixed = {"subsample_freq": 1, "random_state": 0, "n_jobs": 1, "verbosity": -1}
    return _log_loss(LGBMClassifier(**fixed, **params), _cancer())


def boosting_diabetes(params: Params) -> float:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return _squared(HistGradientBoostingRegressor(random_state=0, **params), _diabetes())


def ridge_diabetes(params: Params) -> float:
    from sklearn.kernel_ridge import KernelRidge

    return _squared(KernelRidge(**params), _diabetes())


def svr_friedman(params: Params) -> float:
    from sklearn.svm import SVR

    return _squared(SVR(max_iter=20_000, **params), _friedman())


def sgd_fashion(params: Params) -> float:
    from sklearn.linear_model import SGDClassifier

    fixed = {"loss": "log_loss", "penalty": "elasticnet", "max_iter": 5, "tol": None, "random_state": 0}
    return _log_loss(SGDClassifier(**fixed, **params), _components())


def neighbours_fashion(params: Params) -> float:
    from sklearn.neighbors import KNeighborsClassifier

    data, count, whitening = _components(), params["components"], params["whitening"]
    scale = data.inputs.std(0)[:count] ** -whitening
    data = data._replace(
        inputs=data.inputs[:, :count] * scale, validation_inputs=data.validation_inputs[:, :count] * scale
    )
    others = {name: params[name] for name in ("n_neighbors", "weights", "metric")}
    return _error(KNeighborsClassifier(algorithm="brute", **others), data)


def mlp_digits(params: Params) -> float:
    from torch import nn

    activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}[params["activation"]]
    width = params["width"]
    layers = [nn.Linear(64, width), activation(), nn.Dropout(params["dropout"]), nn.Linear(width, 10)]
    return _trained(lambda: nn.Sequential(*layers), _digits(), params, epochs=10)


def cnn_fashion(params: Params) -> float:
    from torch import nn

    width, kernel = params["width"], 2 * params["radius"] + 1

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)),
            nn.Conv2d(1, width, kernel, stride=2, padding=params["radius"]),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, kernel, stride=2, padding=params["radius"]),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(params["dropout"]),
            nn.LazyLinear(10),
        )

    return _trained(network, _fashion(), params, epochs=2)


def _trained(network: Callable[[], Any], data: Examples, params: Params, epochs: int) -> float:
    """Train a network with AdamW, and give its cross-entropy."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    inputs, validation = (torch.tensor(one, dtype=torch.float32) for one in (data.inputs, data.validation_inputs))
    targets, wanted = torch.tensor(data.targets), torch.tensor(data.validation_targets)
    model = network()
    model(inputs[:2])
    betas = 1 - params["one_minus_beta1"], 0.999
    optimizer = torch.optim.AdamW(model.parameters(), params["lr"], betas, weight_decay=params["weight_decay"])
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(params["batch_size"]):
            optimizer.zero_grad()
            loss = cross_entropy(model(inputs[batch]), targets[batch], label_smoothing=params["smoothing"])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return float(cross_entropy(model(validation), wanted))


_OF_NETWORKS: dict[str, Any] = {
    "lr": Float(1e-5, 0.3, log=True),
    "one_minus_beta1": Float(0.01, 0.5, log=True),
    "weight_decay": Float(1e-5, 1.0, log=True),
    "batch_size": Int(8, 256, log=True),
    "dropout": Float(0.0, 0.8),
    "smoothing": Float(0.0, 0.5),
}
PROBLEMS: dict[str, tuple[Callable[[Params], float], dict[str, Any]]] = {
    "svm-digits": (svm_digits, {"C": Float(1e-3, 1e3, log=True), "gamma": Float(1e-5, 1.0, log=True)}),
    "forest-digits": (
        forest_digits,
        {
            "max_depth": Int(2, 30),
            "min_samples_leaf": Int(1, 20, log=True),
            "max_features": Float(0.02, 1.0, log=True),
            "criterion": Categorical(["gini", "entropy"]),
            "bootstrap": Categorical([False, True]),
        },
    ),
    "lightgbm-cancer": (
        lightgbm_cancer,
        {
            "n_estimators": Int(20, 300, log=True),
            "learning_rate": Float(0.005, 0.5, log=True),
            "num_leaves": Int(2, 64, log=True),
            "min_child_samples": Int(1, 60, log=True),
            "subsample": Float(0.3, 1.0),
            "colsample_bytree": Float(0.1, 1.0),
            "reg_alpha": Float(1e-6, 10.0, log=True),
            "reg_lambda": Float(1e-6, 10.0, log=True),
        },
    ),
    "boosting-diabetes": (
        boosting_diabetes,
        {
            "learning_rate": Float(0.005, 0.5, log=True),
            "max_iter": Int(10, 200, log=True),
            "max_leaf_nodes": Int(2, 64, log=True),
            "min_samples_leaf": Int(1, 60, log=True),
            "l2_regularization": Float(1e-6, 100.0, log=True),
        },
    ),
    "ridge-diabetes": (
        ridge_diabetes,
        {
            "kernel": Categorical(["rbf", "laplacian", "polynomial"]),
            "alpha": Float(1e-6, 100.0, log=True),
            "gamma": Float(1e-5, 10.0, log=True),
            "degree": Int(1, 5),
            "coef0": Float(0.0, 2.0),
        },
    ),
    "svr-friedman": (
        svr_friedman,
        {
            "C": Float(1e-2, 1e4, log=True),
            "gamma": Float(1e-5, 10.0, log=True),
            "epsilon": Float(1e-3, 1.0, log=True),
        },
    ),
    "sgd-fashion": (
        sgd_fashion,
        {
            "alpha": Float(1e-7, 1.0, log=True),
            "l1_ratio": Float(0.0, 1.0),
            "learning_rate": Categorical(["constant", "invscaling", "adaptive"]),
            "eta0": Float(1e-5, 10.0, log=True),
            "power_t": Float(0.0, 1.0),
        },
    ),
    "neighbours-fashion": (
        neighbours_fashion,
        {
            "components": Int(2, 100, log=True),
            "whitening": Float(0.0, 1.0),
            "n_neighbors": Int(1, 100, log=True),
            "weights": Categorical(["uniform", "distance"]),
            "metric": Categorical(["euclidean", "manhattan", "cosine"]),
        },
    ),
    "mlp-digits": (
        mlp_digits,
        {**_OF_NETWORKS, "width": Int(8, 256, log=True), "activation": Categorical(["relu", "tanh", "gelu"])},
    ),
    "cnn-fashion": (cnn_fashion, {**_OF_NETWORKS, "width": Int(2, 16, log=True), "radius": Int(1, 3)}),
}
"""The problems: a function that trains and gives a loss, and its hyperparameters."""


class Counted:
    """Evaluates batches on a problem, and keeps all losses; raises `BudgetSpent` when the budget is spent."""

    def __init__(self, problem: str, budget: int) -> None:
        self._train, hyperparameters = PROBLEMS[problem]
        self.space, self.losses, self.seconds = Space(hyperparameters), list[float](), 0.0
        self._budget = budget

    def __call__(self, batch: list[Params]) -> list[float]:
        """Give the losses of a batch."""
        start = process_time()
        losses = [self._loss(params) for params in batch[: self._budget - len(self.losses)]]
        self.losses += losses
        self.seconds += process_time() - start
        if len(self.losses) >= self._budget:
            raise BudgetSpent
        return losses

    def _loss(self, params: Params) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of trainings that have not converged
            try:
                loss = self._train(params)
            except (ValueError, OverflowError, ArithmeticError):  # where numbers have become infinite
                loss = WORST
        return min(loss, WORST) if np.isfinite(loss) else WORST


def run(method: str, problem: str, seed: int, budget: int) -> Run:
    """Let a method spend a budget on a problem."""
    objective = Counted(problem, budget)
    start = process_time()
    with suppress(BudgetSpent):
        METHODS[method].function(objective.space, objective, budget=budget, batch_size=1, seed=seed)
    return {
        "method": method,
        "problem": problem,
        "seed": seed,
        "batch_size": 1,
        "noise": False,
        "budget": budget,
        "milliseconds": round(1000 * (process_time() - start - objective.seconds) / budget, 3),
        "losses": [float(f"{loss:.6g}") for loss in objective.losses],
    }


def with_regrets(runs: Iterable[Run]) -> dict[tuple[Any, ...], Run]:
    """Add to each run the regret at every improvement; 0 is the best loss of all runs, 1 the median of random ones."""
    runs = list(runs)
    best, middle = {}, {}
    for problem in {one["problem"] for one in runs}:
        of_problem = [one for one in runs if one["problem"] == problem]
        best[problem] = min(min(one["losses"]) for one in of_problem)
        middle[problem] = median(loss for one in of_problem if one["method"] == "random" for loss in one["losses"])
    found = {}
    for one in runs:
        low, high = best[one["problem"]], middle[one["problem"]]
        so_far = list(itertools.accumulate(one["losses"], min))
        incumbents = [
            [i + 1, (loss - low) / (high - low)] for i, loss in enumerate(so_far) if i == 0 or loss < so_far[i - 1]
        ]
        found[key(one)] = {**one, "incumbents": incumbents}
    return found


def main() -> None:
    methods = ["surrogate", "optuna-gp", "optuna-tpe", "optuna-cmaes", "truncation", "random"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=methods, choices=METHODS, metavar="METHOD")
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, metavar="PROBLEM")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--budgets", type=int, nargs="+", default=[10, 30, 60])
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/unseen.jsonl"))
    arguments = parser.parse_args()

    budgets = sorted(arguments.budgets)
    known = read_runs(arguments.output, [])
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    wanted = list(itertools.product(seeds, arguments.problems, arguments.methods))
    names = {(method, problem, seed, 1, False): (method, problem, seed) for seed, problem, method in wanted}
    calls = [(*call, budgets[-1]) for name, call in names.items() if name not in known]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    known |= {key(one): one for one in kept_as_they_finish(run, calls, arguments.jobs, arguments.output)}
    runs = with_regrets(known[name] for name in names)
    rows = list(summarise(runs, budgets))
    print(f"\n{arguments.seeds} seeds, {len(arguments.problems)} problems\n")
    print_table(rows, budgets)
    write_table(rows, arguments.output.with_suffix(".csv"))


if __name__ == "__main__":
    main()
