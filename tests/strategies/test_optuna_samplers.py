"""Optuna's samplers as strategies: the same proposals as from Optuna itself, alone and in batches."""

import math
import subprocess
import sys

import optuna
import pytest
import torch

from deap_hpo.evolution.individual import Individual
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.strategies import make_strategy
from deap_hpo.strategies.optuna_samplers import OptunaStrategy

SPACE = Space(
    {
        "lr": Float(1e-4, 1.0, log=True),
        "momentum": Float(0.0, 0.9),
        "width": Int(16, 256, log=True),
        "act": Categorical(["relu", "tanh", None]),
    }
)
SAMPLERS = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
}
EVALUATIONS = {"tpe": 40, "gp": 15, "cmaes": 40, "nsga2": 120}


def loss(params):
    """Rounded, so that a last digit lost between value and gene cannot show in the loss; at times infinite."""
    if params["momentum"] > 0.8:
        return math.inf
    choice = {"relu": 0.3, "tanh": 0.0, None: 0.2}[params["act"]]
    return round((math.log10(params["lr"]) + 2) ** 2 + params["momentum"] + abs(params["width"] - 64) / 64 + choice, 6)


def in_optuna(name, batch_size):
    """Run Optuna without any of our code; return the parameters of all trials."""
    study = optuna.create_study(sampler=SAMPLERS[name](7))

    def suggest(trial):
        return {
            "lr": trial.suggest_float("lr", 1e-4, 1.0, log=True),
            "momentum": trial.suggest_float("momentum", 0.0, 0.9),
            "width": trial.suggest_int("width", 16, 256, log=True),
            "act": trial.suggest_categorical("act", ["relu", "tanh", None]),
        }

    if batch_size == 1:
        study.optimize(lambda trial: loss(suggest(trial)), n_trials=EVALUATIONS[name])
    else:
        for _ in range(EVALUATIONS[name] // batch_size):
            trials = [study.ask() for _ in range(batch_size)]
            losses = [loss(suggest(trial)) for trial in trials]
            for trial, value in zip(trials, losses, strict=True):
                study.tell(trial, value)
    return [trial.params for trial in study.trials]


def as_strategy(name, batch_size):
    strategy = make_strategy(name, SPACE, batch_size=batch_size, seed=7)
    proposals = []
    for _ in range(EVALUATIONS[name] // batch_size):
        population = strategy.generate(Individual)
        for individual in population:
            individual.fitness.values = (loss(SPACE.decode(individual)),)
        strategy.update(population)
        proposals += [SPACE.decode(individual) for individual in population]
    return proposals


@pytest.fixture
def one_thread():
    """As the strategy does for gp: the number of threads affects rounding (and more are slower on small matrices)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore:Clip non-finite values")
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("name", SAMPLERS)
def test_proposes_what_optuna_proposes(name, batch_size, one_thread):
    if name == "cmaes":
        pytest.importorskip("cmaes")
    proposals = as_strategy(name, batch_size)
    for ours, optunas in zip(proposals, in_optuna(name, batch_size), strict=True):
        assert (ours["width"], ours["act"]) == (optunas["width"], optunas["act"])
        for number in ("lr", "momentum"):  # these pass through the gene and may lose the last digit
            assert ours[number] == pytest.approx(optunas[number], rel=1e-12)


PROPOSALS = """
import sys
sys.modules["greenlet"] = None  # as where it is not installed
from math import inf
from deap_hpo.evolution.individual import Individual
from deap_hpo.search_space.space import Float, Space
from deap_hpo.strategies import make_strategy
strategy = make_strategy("gp", Space({"x": Float(0.0, 1.0)}), n_startup_trials=2, batch_size=2)
for losses in ((1.0, inf), (0.5, 2.0)):
    population = strategy.generate(Individual)
    for individual, loss in zip(population, losses):
        individual.fitness.values = (loss,)
    strategy.update(population)
import logging, warnings
logging.getLogger("optuna._gp.batched_lbfgsb").warning("another warning")
warnings.warn("and one of one's own")
"""


def test_no_warning_of_the_gaussian_process_reaches_the_terminal_and_all_others_do():
    said = subprocess.run([sys.executable, "-c", PROPOSALS], capture_output=True, text=True, check=True).stderr
    first, second, *source = said.strip().splitlines()
    assert source in ([], ['  warnings.warn("and one of one\'s own")'])  # Python 3.13 shows the line, also of a command
    assert first.endswith("another warning")
    assert second.endswith("and one of one's own")


def test_takes_any_sampler():
    strategy = OptunaStrategy(SPACE, optuna.samplers.RandomSampler(seed=1), batch_size=2)
    assert len(strategy.generate(list)) == 2


def test_leaves_threads_and_verbosity_as_they_were(two_threads):
    verbosity = optuna.logging.get_verbosity()
    strategy = make_strategy("gp", SPACE, n_startup_trials=1, batch_size=2)
    for _ in range(2):
        population = strategy.generate(Individual)
        for individual in population:
            individual.fitness.values = (sum(individual),)
        strategy.update(population)
    assert (torch.get_num_threads(), optuna.logging.get_verbosity()) == (2, verbosity)
