"""A study read from its record gives what the study itself gave; networks need the trainer, and the right one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from test_cli import call
from torch import nn

from deap_hpo import Float, Int, Study, Task, load_study, make_trainer, optimize
from deap_hpo.analysis.runs import generations_table
from deap_hpo.errors import InputError
from deap_hpo.evolution.individual import Individual
from deap_hpo.optimization import optimize as run

SPACE = {"x": Float(-1.0, 1.0), "width": Int(1, 8)}


def one(params: dict[str, Any]) -> float:
    if params["x"] > 0.8:
        raise ValueError("too far")
    return params["x"] ** 2 + params["width"]


def two(params: dict[str, Any]) -> tuple[float, float]:
    return params["x"] ** 2, (params["x"] - 0.5) ** 2 + params["width"]


def searched(objective: Any, storage: str, **changed: Any) -> Study:
    arguments = {"algorithm": "random", "population": 8, "generations": 3, "progress": False, **changed}
    return run(objective, SPACE, name="run", storage=storage, seed=1, **arguments)


@pytest.mark.parametrize(
    ("objective", "changed"),
    [(one, {}), (one, {"direction": "maximize"}), (two, {"direction": ["minimize"] * 2, "algorithm": "nsga-ii"})],
)
def test_it_gives_what_the_closed_study_gave(objective: Any, changed: dict[str, Any], tmp_path: Path) -> None:
    made = searched(objective, f"{tmp_path}/a.db", **changed)
    study = load_study("run", f"{tmp_path}/a.db")
    for what in ("name", "directions", "entries", "best", "best_params", "best_value", "objective_names"):
        assert getattr(study, what) == getattr(made, what), what
    assert study.attributes == made.attributes
    assert study.pareto_front() == made.pareto_front() != []
    assert study.hypervolumes() == made.hypervolumes()
    assert study.params_of(study.entries[3]) == made.params_of(made.record[3])
    pd.testing.assert_frame_equal(study.trials_dataframe(), made.trials_dataframe())
    assert study._repr_html_() == made._repr_html_()
    assert re.fullmatch(r"<Recorded 'run': \d+ evaluations(, best value [\d.e-]+)?>", repr(study))
    assert ("best value" in repr(study)) == (len(study.directions) == 1)
    assert repr(made) == repr(study).replace("Recorded", "Study")


def test_it_is_one_call_in_a_new_process(tmp_path: Path) -> None:
    made = searched(one, f"{tmp_path}/a.db")
    code = "import json, sys; from deap_hpo import load_study; s = load_study('run', sys.argv[1]); "
    code += "print(json.dumps([s.best_params, s.best_value, len(s.trials_dataframe()), 'torch' in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code, f"{tmp_path}/a.db"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [made.best_params, made.best_value, 24, False]


def test_a_study_without_a_space_has_genes(tmp_path: Path) -> None:
    with Study(storage=f"{tmp_path}/a.db") as made:
        made.map(lambda genes: genes[0], [[0.5], [0.25]])
    assert load_study("study", f"{tmp_path}/a.db").best_params == {"gene_0": 0.25}


LR = {"lr": Float(1e-3, 1.0, log=True)}


def trained(task: Task, storage: str) -> Study:
    trainer = make_trainer(task, epochs=2, device="cpu")
    return optimize(
        trainer, LR, algorithm="random", population=2, generations=1, storage=storage, seed=1, progress=False
    )


def weights(model: nn.Module) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def test_its_networks_come_back_with_the_trainer(digits_task: Task, tmp_path: Path) -> None:
    made = trained(digits_task, f"{tmp_path}/a.db")
    study = load_study("study", f"{tmp_path}/a.db")
    again = make_trainer(digits_task, epochs=2, device="cpu")
    for entry in study.entries:
        found, expected = weights(study.model_of(entry, again)), weights(made.model_of(entry))
        assert all(map(torch.equal, found, expected))
    assert all(map(torch.equal, weights(study.best_model(again)), weights(made.best_model())))
    assert study.test_metrics(again) == made.test_metrics()
    stacked = make_trainer(digits_task, trainer="population", epochs=2, device="cpu")
    assert study.test_metrics(stacked) == made.test_metrics()
    assert made.test_metrics(again) == made.test_metrics()
    elsewhere = make_trainer(digits_task, epochs=2, device="cpu", precision="bf16")
    assert study.test_metrics(elsewhere) == pytest.approx(made.test_metrics(), rel=0.2)


def test_without_the_trainer_or_with_another_it_says_so(digits_task: Task, tmp_path: Path) -> None:
    made = trained(digits_task, f"{tmp_path}/a.db")
    study = load_study("study", f"{tmp_path}/a.db")
    for ask in (study.best_model, study.test_metrics):
        with pytest.raises(InputError, match=r"was not run in this process.*`study.best_model\(make_trainer\(task, .*"):
            ask()
    for other, said in (
        (make_trainer(digits_task, epochs=3, device="cpu"), "had epochs = 2; got epochs = 3"),
        (make_trainer(replace(digits_task, name="other"), epochs=2, device="cpu"), 'task = "digits"; got task = "oth'),
    ):
        for one_study in (study, made):
            with pytest.raises(InputError, match=f"^trainer must be as that of the study 'study', which .*{said}"):
                one_study.best_model(other)
    wrong: Any = nn.Linear(1, 1)
    with pytest.raises(InputError, match="and the trainer that did them; got Linear"):
        study.best_model(wrong)


def test_a_study_of_a_function_has_no_network(digits_task: Task, tmp_path: Path) -> None:
    searched(one, f"{tmp_path}/a.db")
    study = load_study("run", f"{tmp_path}/a.db")
    with pytest.raises(InputError, match="best_params has the hyperparameters"):
        study.best_model()
    with pytest.raises(InputError, match="which had function = "):
        study.best_model(make_trainer(digits_task, epochs=2, device="cpu"))


@pytest.mark.parametrize("command", ["export", "replay"])
def test_a_study_of_a_function_has_no_network_and_is_told_what_it_has(command: str, tmp_path: Path) -> None:
    storage = f"{tmp_path}/studies.db"
    optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, storage=storage, max_evaluations=2, name="function")
    refused = call(command, "function", "--storage", storage).stderr
    assert "It is of a function: `study.best_params` has the hyperparameters" in refused


def test_what_did_not_end_well_has_no_network_to_give(digits_task: Task) -> None:
    with Study({"lr": Float(0.1, 1e30, log=True)}) as study:
        study.map(make_trainer(digits_task, epochs=1, device="cpu"), [Individual([0.0]), Individual([1.0])])
    good, diverged = study.record
    assert isinstance(study.model_of(good), nn.Module)
    with pytest.raises(InputError, match=r"Evaluation 1 has no trained network; its training ended as diverged\."):
        study.model_of(diverged)
    beforehand = replace(good, evaluation=replace(good.evaluation, status="infeasible"))  # it has not been trained
    with pytest.raises(InputError, match=r"its training ended as infeasible\."):
        study.model_of(beforehand)


def test_trainings_in_stages_are_of_one_generation(digits_task: Task, tmp_path: Path) -> None:
    made = run(
        make_trainer(digits_task, epochs=3, device="cpu"),
        {"lr": Float(0.01, 1.0, log=True)},
        algorithm="truncation",
        population=4,
        generations=2,
        arguments={"stages": [1, 2, 3]},
        storage=f"{tmp_path}/a.db",
        seed=1,
        progress=False,
    )
    for study in (made, load_study("study", f"{tmp_path}/a.db")):
        assert sorted(set(study.trials_dataframe()["generation"])) == [0, 1]
        assert " in 2 generations" in study._repr_html_()
    table = generations_table(load_study("study", f"{tmp_path}/a.db"))
    assert table["generation"].tolist() == [0, 1]
    assert table["diversity"].notna().all()
    assert " in 2 generations: " in call("show", "study", "--storage", f"{tmp_path}/a.db").output
