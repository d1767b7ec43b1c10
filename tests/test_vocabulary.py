"""The words of other tools: the error for an unknown argument names the one used here, as the documentation does."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from torch import nn

import deap_hpo
from deap_hpo import load_study, visualization
from deap_hpo.configuration.methods import METHODS
from deap_hpo.errors import InputError
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.optimization import optimize
from deap_hpo.pruning import MedianPruner
from deap_hpo.search_space.space import Categorical, Float, Int
from deap_hpo.study import Study
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import make_trainer
from deap_hpo.vocabulary import ATTRIBUTES, FIGURES, METHODS_ELSEWHERE, WORDS

PEERS = Path(__file__).parent.parent / "docs" / "peers.md"
FUNCTIONS = (optimize, Study.__init__, ProcessExecutor.__init__, make_trainer, Task.from_data, MedianPruner.__init__)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n_trials": 100}, r"^optimize has no argument 'n_trials'; here it is max_evaluations=100\.$"),
        ({"timeout": 3600}, "here it is max_seconds=3600"),
        ({"n_jobs": -1}, r"here it is executor=ProcessExecutor\(\), or ProcessExecutor\(4\) for four workers"),
        ({"sampler": optuna.samplers.TPESampler()}, 'here it is algorithm="tpe", or another name of'),
        ({"num_samples": 3}, "here it is max_evaluations=3"),
        ({"max_concurrent_trials": 3}, r"here it is executor=ProcessExecutor\(\)"),
        ({"random_state": 3}, "here it is seed=3"),
        ({"study_name": "mine"}, "here it is name='mine'"),
        ({"param_space": {}}, r"here it is space=\{\.\.\.\}\."),
        ({"directions": ["minimize"]}, r"here it is direction=\['minimize'\]"),
        ({"mutpb": 0.5}, r"here it is arguments=\{'mutpb': 0.5\}\."),
        ({"generation": 3}, r"^optimize has no argument 'generation'\. Did you mean 'generations'\?$"),
        ({"colour": 3}, "^optimize has no argument 'colour'. There are: objective, space, direction, "),
        ({"pruner": optuna.pruners.MedianPruner()}, r"pruner must be an object such as deap_hpo.MedianPruner\(\)"),
    ],
)
def test_optimize_says_what_it_is_called_here(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("asha", "; the nearest here: 'halving' or 'hyperband'."),
        ("ASHAScheduler", "; the nearest here: 'halving' or 'hyperband'."),
        ("bohb", "; the nearest here: 'dehb'."),
        ("successive_halving", "; the nearest here: 'halving'."),
        ("SuccessiveHalvingPruner", "; the nearest here: 'halving'."),
        ("sha", "; the nearest here: 'halving'."),
        ("bayesian", "; the nearest here: 'surrogate' or 'gp'."),
        ("gp-ei", "; the nearest here: 'surrogate' or 'gp'."),
        ("genetic", "; the nearest here: 'truncation'."),
        ("Evolution", "; the nearest here: 'truncation', 'de' or 'cma'."),
        ("grid_search", ". Did you mean 'grid'?"),
        ("TPESampler", ". Did you mean 'tpe'?"),
        ("elephant", ". There are: truncation, pbt, "),
    ],
)
def test_a_method_of_another_tool_leads_to_the_nearest_here(given: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(f'algorithm has no {given!r}{said}')}"):
        optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, algorithm=given)


def test_the_nearest_methods_are_methods_and_those_of_others_are_not() -> None:
    for theirs, here in METHODS_ELSEWHERE.items():
        assert theirs not in METHODS
        assert set(re.findall("'(.+?)'", here)) <= set(METHODS), theirs


@pytest.mark.parametrize(
    ("algorithm", "given", "said"),
    [
        ("hyperband", "reduction_factor", "has no argument 'reduction_factor'; here it is eta; expected brackets, "),
        ("halving", "grace_period", "has no argument 'grace_period'; here it is min_epochs; expected epochs, "),
        ("pbt", "perturbation_interval", "^pbt has no argument 'perturbation_interval'; here it is interval.$"),
        ("random", "reduction_factor", "has no argument 'reduction_factor'; expected batch_size, seed.$"),
    ],
)
def test_an_argument_of_a_method_has_its_name_here(algorithm: str, given: str, said: str) -> None:
    def objective(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
        return float(params["x"])

    with pytest.raises(InputError, match=said):
        optimize(objective, {"x": Float(0.0, 1.0)}, epochs=4, algorithm=algorithm, arguments={given: 3})


def test_figures_of_optuna_have_their_name_here() -> None:
    with pytest.raises(AttributeError) as told:
        visualization.plot_contour  # noqa: B018
    assert (
        str(told.value)
        == "module 'deap_hpo.visualization' has no attribute 'plot_contour'; here it is plot_interactions."
    )
    with pytest.raises(
        AttributeError, match=r"here it is optuna\.visualization\.plot_edf\(optuna\.load_study\(\.\.\.\)\)"
    ):
        visualization.plot_edf  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute 'plot_elephant'$"):
        visualization.plot_elephant  # noqa: B018
    for theirs, here in FIGURES.items():
        assert hasattr(optuna.visualization, theirs)
        assert hasattr(visualization, here) or here.startswith(f"optuna.visualization.{theirs}(")


def test_a_word_means_what_the_function_has() -> None:
    with pytest.raises(InputError, match=r"^Study has no argument 'direction'; here it is directions='maximize'"):
        Study(direction="maximize")  # type: ignore[call-arg]
    with pytest.raises(InputError, match=r"^ProcessExecutor has no argument 'n_jobs'; here it is workers=4"):
        ProcessExecutor(n_jobs=4)  # type: ignore[call-arg]
    with pytest.raises(InputError, match=r"^Study has no argument 'sampler'. There are: space, name, "):
        Study(sampler="tpe")  # type: ignore[call-arg]


def test_tasks_and_trainers_say_what_it_is_called_here(digits_task: Task) -> None:
    with pytest.raises(InputError, match=r"^make_trainer has no argument 'max_epochs'; here it is epochs=5\.$"):
        make_trainer(digits_task, max_epochs=5)  # type: ignore[call-arg]
    data = np.zeros((10, 4), dtype=np.float32), np.zeros(10, dtype=np.int64)
    with pytest.raises(InputError, match=r"^Task.from_data has no argument 'collate_fn'. There are: model, data, vali"):
        Task.from_data(len, data, collate_fn=len)  # type: ignore[call-arg]
    with pytest.raises(InputError, match=r"^Task.from_data has no argument 'lr'; here it is recipe=Recipe\(lr=0\.1\)"):
        Task.from_data(len, data, lr=0.1)  # type: ignore[call-arg]
    with pytest.raises(InputError, match=r"got 'adam' \(by name it is recipe=Recipe\(optimizer='adam'\)\)"):
        Task.from_data(len, data, optimizer="adam")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^Task.from_data has no argument 'random_state'; here it is split_seed=3\.$"):
        Task.from_data(len, data, random_state=3)  # type: ignore[call-arg]


def test_a_study_says_what_its_attributes_are_called(tmp_path: Path) -> None:
    study = optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, max_evaluations=3, storage=tmp_path / "a.db")
    for one, kind in ((study, "Study"), (load_study("study", tmp_path / "a.db"), "Recorded")):
        with pytest.raises(
            AttributeError, match=rf"^'{kind}' object has no attribute 'best_trial'; here it is best\.$"
        ):
            one.best_trial  # noqa: B018
        with pytest.raises(AttributeError, match=rf"^'{kind}' object has no attribute 'elephant'$") as told:
            one.elephant  # noqa: B018
        assert (told.value.name, told.value.obj) == ("elephant", one), "by which Python adds what was meant"
        assert copy.copy(one).entries == one.entries
        assert not hasattr(one, "trials")
        assert getattr(one, "trials", None) is None
    assert pickle.loads(pickle.dumps(load_study("study", tmp_path / "a.db"))).best_params == study.best_params


@pytest.mark.parametrize(("theirs", "here"), ATTRIBUTES.items())
def test_what_an_attribute_is_called_here_is_there(theirs: str, here: str) -> None:
    first = re.match(r"(?:deap_hpo\.)?(\w+)", here)
    assert first
    with Study() as study:
        assert not hasattr(study, theirs)
        assert here.startswith("a mapping") or first[1] in {*dir(study), *deap_hpo.__all__}


def test_signatures_are_as_they_were() -> None:
    assert list(inspect.signature(optimize).parameters)[:3] == ["objective", "space", "direction"]
    assert list(inspect.signature(Study).parameters)[:2] == ["space", "name"]
    assert optimize.__doc__ is not None
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'space'"):
        optimize(len)  # type: ignore[call-arg]


def test_each_word_leads_to_an_argument_and_is_none_itself() -> None:
    known = [set(inspect.signature(function).parameters) for function in FUNCTIONS]
    for word, meant in WORDS.items():
        arguments = [one.partition("=")[0] for one in meant]
        assert all(any(argument in names for names in known) for argument in arguments), word
        assert any(word not in names and set(arguments) & names for names in known), word


def test_the_documentation_says_the_same() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", PEERS.read_text(), re.MULTILINE)
    compared = 0
    for theirs, here in rows:
        for word in re.findall(r"\b(\w+)=", theirs):
            if word in WORDS:
                assert any(one.partition("=")[0] in here for one in WORDS[word]), (theirs, here)
                compared += 1
    assert compared > 8


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Recipe(optimiser="adam"), r"Recipe has no argument 'optimiser'. Did you mean 'optimizer'\?"),
        (lambda: Float(0, 1, default=0.1), r"Float has no argument 'default'. There are: low, high, log, step."),
        (lambda: MedianPruner(n_startup_trials=9), r"MedianPruner has no argument '.*'; here it is startup=9\."),  # type: ignore[call-arg]
        (lambda: MedianPruner(n_warmup_steps=9), r"MedianPruner has no argument '.*'; here it is warmup=9\."),  # type: ignore[call-arg]
        (lambda: Int(1, hi=2), r"Int has no argument 'hi'."),
        (lambda: Categorical("a", "b"), r"Categorical takes only choices without a name; got 2 values: 'a', 'b'\."),
        (
            lambda: ProcessExecutor(2, 10),
            r"ProcessExecutor takes only workers without a name; got 2 values: 2, 10\. By",
        ),
        (
            lambda: make_trainer(nn.Linear(2, 2), []),
            r"make_trainer takes only task without a name; got 2 values: Lin.*",
        ),
    ],
)
def test_classes_and_functions_say_what_they_take(call: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()


def test_dataclasses_are_as_they_were() -> None:
    assert list(inspect.signature(Float).parameters) == ["low", "high", "log", "step"]
    assert pickle.loads(pickle.dumps(Recipe(lr=0.5))) == replace(Recipe(), lr=0.5) != Recipe()
