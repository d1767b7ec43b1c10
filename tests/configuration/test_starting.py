"""The user's own task from the command line: the starter, running it, resuming it, exporting its best network."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_model
from typer.testing import CliRunner, Result
from written import PLAIN

from deap_hpo import Float, optimize
from deap_hpo.cli import app
from deap_hpo.configuration.config import load_config, tomllib
from deap_hpo.configuration.starting import load_source, write_starter
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.recorded import load_study

ROOT = Path(__file__).parents[2]
SMALL = ["--set", "evolution.algorithm=random", "--set", "evolution.population=2", "--set", "evolution.generations=2"]
SMALL += ["--set", "training.epochs=1", "--executor", "serial", "--set", "training.device=cpu"]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None) -> Iterator[Path]:
    """An empty folder to work in, where no figures are drawn; modules imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def outcomes(name: str) -> list[tuple[Any, ...]]:
    return [(entry.genes, entry.evaluation.values) for entry in load_study(name, "runs/studies.db").entries]


def test_the_starter_runs_is_resumed_and_exported(here: Path) -> None:
    assert "deap-hpo run digits_task.py:task" in call("init", "digits_task").output
    ended = call("run", "digits_task.py:task", *SMALL)
    assert ended.exit_code == 0, ended.output
    assert "297 examples that the search has not seen" in ended.output
    first = outcomes("digits_task")
    assert len(first) == 4

    resumed = call("resume", "digits_task", "--set", "evolution.generations=3")
    assert resumed.exit_code == 0, resumed.output
    assert outcomes("digits_task")[:4] == first
    assert len(outcomes("digits_task")) == 6

    exported = call("export", "digits_task", "--output", "network", "--json")
    assert exported.exit_code == 0, exported.output
    assert json.loads(exported.output) == ["network/best.safetensors", "network/best.toml", "network/best.pt2"]
    facts = tomllib.loads(Path("network/best.toml").read_text())
    task = load_source("digits_task.py:task")
    network = task.model(**facts["architecture"])
    load_model(network, "network/best.safetensors")
    images, targets = task.data.test.inputs, task.data.test.targets
    loss = task.loss(network.eval()(task.data.prepare(images)), targets).item()
    assert loss == pytest.approx(facts["measured"]["test_loss"], rel=0.02)  # measured in bf16 if the processor has it
    assert facts["recipe"]["lr"] == facts["params"]["lr"]
    assert facts["run"]["task"] == {"source": "digits_task.py:task"}  # no data set, network and split by default
    report = Path(json.loads(call("report", "digits_task", "--json").output)).read_text()
    assert "digits_task.py:task" in report
    assert "fashion-mnist" not in report


def test_the_starter_runs_in_worker_processes_and_its_toml_by_itself(here: Path) -> None:
    call("init", "--folder", "mine")
    settings = [word for word in SMALL if word not in ("--executor", "serial")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "deap_hpo", "run", "mine/my_task.toml", "--executor", "processes", *settings]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert load_config("mine/my_task.toml").task.source == "mine/my_task.py:task"
    assert len(outcomes("my_task")) == 4


def test_the_starter_is_typed_and_in_the_projects_style(here: Path) -> None:
    code, _ = write_starter("typed_task", here)
    checked = [
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(code)],
        [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "120", str(code)],
        [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "120", "--check", str(code)],
    ]
    for command in checked:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ast.get_docstring(ast.parse(code.read_text()))


NETWORK = """
from torch import nn
class Network(nn.Sequential):
    def __init__(self, width=16):
        super().__init__(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
"""
BRIGHT = """
from network import Network
from sklearn.datasets import load_digits
from deap_hpo import Float, Int, Task
images, digits = load_digits(return_X_y=True)
images = images * 10 + 1000
space = {"lr": Float(0.1, 0.2), "width": Int(24, 32)}
task = Task.from_data(Network, (images[:1500], digits[:1500]), test=(images[1500:], digits[1500:]))
"""
ELSEWHERE = """
import json, sys
sys.modules["deap_hpo"] = None  # cannot be imported

import torch
from safetensors import safe_open
from safetensors.torch import load_model
from sklearn.datasets import load_digits
from network import Network

images, digits = load_digits(return_X_y=True)
images, digits = torch.tensor(images[1500:] * 10 + 1000).float(), torch.tensor(digits[1500:])

def accuracy(network, inputs):
    return (network(inputs).argmax(1) == digits).float().mean().item()

program = torch.export.load("exported/best.pt2").module()
assert program(images[:1]).shape == (1, 10)
weights = "exported/best.safetensors"
with safe_open(weights, "pt") as file:
    facts = json.loads(file.metadata()["inputs"])
    network = Network(len(file.get_tensor("0.bias")))
load_model(network, weights)
mean, std = (torch.tensor(facts[name]) for name in ("mean", "std"))
normal = (images / facts["divide_by"] - mean) / std
print(json.dumps([accuracy(program, images), accuracy(network, normal), accuracy(network, images)]))
"""


def test_an_exported_folder_gives_the_right_accuracy_on_raw_inputs_without_this_package(here: Path) -> None:
    (here / "network.py").write_text(NETWORK)
    (here / "bright_task.py").write_text(BRIGHT)
    longer = ["--set", "training.epochs=5", "--set", "training.precision=fp32"]
    ended = call("run", "bright_task.py:task", *SMALL, *longer)
    assert ended.exit_code == 0, ended.output
    assert "it expects normalised inputs; deap-hpo export bright_task writes it with its normalisation" in ended.output
    assert call("export", "bright_task", "--output", "exported").exit_code == 0

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", ELSEWHERE]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    by_program, by_hand, raw = json.loads(run.stdout)
    text = Path("exported/best.toml").read_text()
    facts = tomllib.loads(text)
    assert by_program == by_hand == pytest.approx(facts["measured"]["test_metrics"]["accuracy"], abs=1e-6)
    assert by_program > 0.8 > 0.5 > raw
    assert text.startswith("# The network expects normalised inputs")
    inputs = load_source("bright_task.py:task").data.expected_inputs()
    assert facts["inputs"] == inputs == json.loads(Path("runs/bright_task/best.json").read_text())["inputs"]
    assert (inputs["shape"], inputs["dtype"], inputs["divide_by"], len(inputs["mean"])) == ([64], "float32", 1, 64)


BRANCHING = """
from deap_hpo.training.data import load_digits
from deap_hpo import Float, Task
from torch import nn
class Branching(nn.Linear):
    def __init__(self): super().__init__(64, 10)
    def forward(self, x):
        x = super().forward(x.flatten(1))
        return x / 2 if x.mean() > 0 else x
space = {"lr": Float(0.01, 0.1)}
task = Task("branching", Branching, load_digits(training_size=100, validation_size=50))
"""


def test_a_network_that_can_be_no_program_is_exported_without_one(here: Path) -> None:
    (here / "branching_task.py").write_text(BRANCHING)
    assert call("run", "branching_task.py:task", *SMALL).exit_code == 0
    stale = here / "network" / "best.pt2"
    stale.parent.mkdir()
    stale.touch()
    exported = call("export", "branching_task", "--output", "network", "--json")
    assert exported.stderr.startswith("Warning: there is no best.pt2: network must be one that torch.export can ")
    assert json.loads(exported.stdout) == ["network/best.safetensors", "network/best.toml"]
    assert not stale.exists()
    assert tomllib.loads(Path("network/best.toml").read_text())["inputs"]["divide_by"] == 255


HEADS = """
import torch
from torch import nn
from deap_hpo import Categorical, Task
def network(d, heads):
    return nn.Sequential(nn.Linear(4, d), nn.TransformerEncoderLayer(d, heads, 8, dropout=0.0), nn.Linear(d, 3))
task = Task.from_data(network, (torch.randn(60, 4), torch.arange(60) % 3))
space = {"d": Categorical([8, 16, 32]), "heads": Categorical([1, 3, 2])}
"""


def test_a_dry_run_takes_its_time_where_the_network_works(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "heads_task.py").write_text(HEADS)
    timed: list[Evaluation] = []
    true = SerialExecutor.run

    def run(self: SerialExecutor, *arguments: Any) -> Iterator[tuple[int, Evaluation]]:
        for number, evaluation in true(self, *arguments):
            timed.append(evaluation)
            yield number, evaluation

    monkeypatch.setattr(SerialExecutor, "run", run)
    planned = call("run", "heads_task.py:task", *SMALL, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert timed
    assert all(evaluation.status == "ok" for evaluation in timed)


def test_a_python_file_alone_is_enough_if_it_has_a_space(here: Path) -> None:
    (here / "plain_task.py").write_text(PLAIN)
    ended = call("run", "plain_task.py:task", *SMALL)
    assert ended.exit_code == 0, ended.output
    assert load_study("plain_task", "runs/studies.db").space is not None
    assert torch.isfinite(torch.tensor([values for _, values in outcomes("plain_task")])).all()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.py:task", "There is no file nowhere.py"),
        ("other_task.py:tsk", "other_task.py has no 'tsk'. Did you mean 'task'?"),
        ("other_task.py:xyz", "other_task.py has no 'xyz'. There are: space, task, number, objective."),
        ("other_task.py:number", "must be a Task, or a function .*; it is a int"),
        ("other_task.py:objective", r"without arguments that returns one; it takes params\. .*`deap_hpo.optimize\("),
        ("function.py:objective", r"without arguments that returns one; it takes params\. .*`deap_hpo.optimize\("),
        ("no.such.module:task", "no.such.module could not be imported"),
        ("json.py:task", "json.py has the name of another module"),
        ("a-b.py:task", "without dashes"),
        ("broken_task.py:task", r"could not be imported: No module named 'nothing_like_it'\.$"),
        ("raising_task.py:task", r"^Error: raising_task.py could not be imported: KeyError: 'lr'\.$"),
        ("mistyped_task.py:task", r"mistyped_task.py could not be imported: SyntaxError: .* line 1"),
    ],
)
def test_what_cannot_be_loaded_is_told(here: Path, source: str, message: str) -> None:
    (here / "other_task.py").write_text(PLAIN)
    (here / "other_task.toml").write_text("[space]\nlr = { type = 'float', low = 0.01, high = 0.1 }\n")
    for name in ("json", "a-b"):
        (here / f"{name}.py").write_text("task = space = None")
    (here / "function.py").write_text("def objective(params): return params['lr']")
    (here / "broken_task.py").write_text("import nothing_like_it")
    (here / "raising_task.py").write_text("task = {}['lr']")
    (here / "mistyped_task.py").write_text("def task(:")
    ended = call("run", source, *SMALL)
    assert ended.exit_code == 2, ended.output
    assert re.search(message, ended.stderr)


def test_a_source_stands_alone(here: Path) -> None:
    write_starter("alone_task", here)
    with pytest.raises(InputError, match=r"task.source names a whole task, so model cannot be set too"):
        load_config("alone_task.toml", ["task.model=mlp"])


def test_a_starter_overwrites_nothing(here: Path) -> None:
    write_starter("kept_task", here)
    for name, message in (("kept_task", "exists already"), ("json", "Python can import"), ("a b", "Python can import")):
        with pytest.raises(InputError, match=message):
            write_starter(name, here)


def test_a_target_ends_a_run_and_is_no_part_of_its_identity(here: Path) -> None:
    (here / "target_task.py").write_text(PLAIN)
    ended = call("run", "target_task.py:task", *SMALL, "--set", "evolution.target=100")
    assert ended.exit_code == 0, ended.output
    assert "reached its target 100 in generation 1" in ended.stderr
    assert len(outcomes("target_task")) == 2
    assert call("resume", "target_task", "--set", "evolution.target=-1").exit_code == 0
    assert len(outcomes("target_task")) == 4


def test_a_study_of_a_script_is_not_exported(here: Path) -> None:
    space = {"x": Float(0.0, 1.0)}
    optimize(lambda params: params["x"], space, storage="runs/studies.db", name="script", generations=1, progress=False)
    assert "study.best_params" in call("export", "script").stderr
