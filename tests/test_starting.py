"""A task of one's own from the command line: the starter, running it, resuming it, exporting its best network."""

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

from deap_hpo import Float, optimize
from deap_hpo.cli import app
from deap_hpo.config import load_config, tomllib
from deap_hpo.errors import InputError
from deap_hpo.recorded import read_record
from deap_hpo.starting import load_source, write_starter

ROOT = Path(__file__).parent.parent
SMALL = ["--set", "evolution.algorithm=random", "--set", "evolution.population=2", "--set", "evolution.generations=2"]
SMALL += ["--set", "training.epochs=1", "--executor", "serial", "--set", "training.device=cpu"]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def outcomes(name: str) -> list[tuple[Any, ...]]:
    return [(entry.genes, entry.evaluation.values) for entry in read_record(name, "runs/studies.db").entries]


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
    assert json.loads(exported.output) == ["network/best.safetensors", "network/best.toml"]
    facts = tomllib.loads(Path("network/best.toml").read_text())
    task = load_source("digits_task.py:task")
    network = task.model(**facts["architecture"])
    load_model(network, "network/best.safetensors")
    images, targets = task.data.test.inputs, task.data.test.targets
    loss = task.loss(network.eval()(task.data.prepare(images)), targets).item()
    assert loss == pytest.approx(facts["measured"]["test_loss"], rel=0.02)  # measured in bf16 where there is one
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


PLAIN = """
from functools import partial
from deap_hpo import Float, Task
from deap_hpo.training.data import load_digits
from deap_hpo.training.models import MLP
space = {"lr": Float(0.01, 0.1)}
def task(): return Task("plain", partial(MLP, inputs=64), load_digits(training_size=100, validation_size=50))
number = 3
"""


def test_a_python_file_alone_is_enough_if_it_has_a_space(here: Path) -> None:
    (here / "plain_task.py").write_text(PLAIN)
    ended = call("run", "plain_task.py:task", *SMALL)
    assert ended.exit_code == 0, ended.output
    assert read_record("plain_task", "runs/studies.db").space is not None
    assert torch.isfinite(torch.tensor([values for _, values in outcomes("plain_task")])).all()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.py:task", "There is no file nowhere.py"),
        ("other_task.py:tsk", "other_task.py has no 'tsk'; it has: .*task"),
        ("other_task.py:number", "must be a Task, or a function .*; it is a int"),
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
    (here / "broken_task.py").write_text("import nothing_like_it")
    (here / "raising_task.py").write_text("task = {}['lr']")
    (here / "mistyped_task.py").write_text("def task(:")
    ended = call("run", source, *SMALL)
    assert ended.exit_code == 2, ended.output
    assert re.search(message, ended.stderr)


def test_a_source_stands_alone(here: Path) -> None:
    write_starter("alone_task", here)
    with pytest.raises(InputError, match=r"task.source names a whole task, and so takes no model besides"):
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
    assert "study.best_model()" in call("export", "script").stderr
