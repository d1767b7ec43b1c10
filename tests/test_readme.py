"""The README is true: its programs run, its commands run, its map of files is complete."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import CONFIG
from typer.testing import CliRunner

from deap_hpo.cli import app
from deap_hpo.configuration.config import preset_names
from deap_hpo.recorded import load_study

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [line.partition("#")[0].strip() for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


QUICK_START, PROGRAM = (text for kind, text in BLOCKS if kind == "python")


def test_the_quick_start_runs_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = {}, {}
    for made in (first, second):
        exec(compile(QUICK_START, "README.md", "exec"), made)
    assert len(first["study"].record) == 24
    assert first["study"].best_value < 0.5  # 0.08 when written; guessing gives 2.30
    assert second["study"].best_params == first["study"].best_params


def test_the_program_is_the_example() -> None:
    assert (ROOT / "examples" / "evolve_fashion_mnist.py").read_text() == PROGRAM


@pytest.mark.fashion_mnist
def test_the_example_runs_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = str(ROOT / "examples" / "evolve_fashion_mnist.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, example]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(example, run_name="__main__")
    first, second = done.stdout.splitlines(), capsys.readouterr().out.splitlines()
    assert len(first) == 5
    assert first[-1].startswith("validation loss")
    assert second[-1] == first[-1]
    assert float(first[-1].split()[2]) < 1.5  # 1.09 when written; guessing gives 2.30


@pytest.mark.fashion_mnist
def test_the_example_with_conditions_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "tune_architecture.py"), "--evaluations", "8", "--images", "200"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    loss = float(done.stdout.splitlines()[-1].split()[2])
    assert 0 < loss < 2.3  # the loss of guessing
    recorded = load_study("architecture", str(tmp_path / "runs" / "architecture.db"))
    assert recorded.space is not None
    tried = [recorded.space.decode(entry.genes) for entry in recorded.entries]
    assert len(tried) == 8
    assert all(("momentum" in one) == (one["optimizer"] == "sgd") for one in tried)


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for target in re.findall(r"`?make ([a-z-]+)", README)} - {"it"}
    assert {"run", "test", "lint"} <= named <= targets


@pytest.mark.fashion_mnist
@pytest.mark.usefixtures("no_figures")
def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long runs only plan; the rest run on a small study of the same name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(CONFIG)
    commands = [shlex.split(command) for command in COMMANDS if command.startswith("deap-hpo")]
    assert len(commands) >= 9
    small = ["task.data=digits", "task.model=mlp", "task.arguments={inputs=64}", "execution.executor=serial"]
    small += ["task.training_size=300", "task.validation_size=200", "training.device=cpu", "evolution.population=4"]
    start = ["run", "--preset", "quick", *[word for setting in small for word in ("--set", setting)]]
    assert CliRunner().invoke(app, start).exit_code == 0
    few = ["--set", "task.training_size=200", "--set", "task.validation_size=100"]  # images, to estimate the time with
    for _, *arguments in commands:
        plan_only = ["--dry-run", *(few if "--preset" in arguments else [])] if arguments[0] == "run" else []
        # The same comparison, but on digits, and shorter: if an option is given twice, the last one counts.
        shorter = ["--config", "small.toml", "--seeds", "2", "--budget", "4", "--repeats", "1"]
        endless = ["--help"]
        changed = {"compare": shorter, "dashboard": endless}.get(arguments[0], plan_only)
        ended = CliRunner().invoke(app, [*arguments, *changed])
        assert ended.exit_code == 0, (arguments, ended.output)


def test_the_presets_that_are_named_exist() -> None:
    assert set(re.findall(r"--preset ([\w/]+)", README)) <= set(preset_names())


def test_the_map_names_every_folder_and_every_file_with_its_header() -> None:
    assert README.partition("## Files\n\n")[2].rstrip().splitlines() == file_map()


def file_map() -> list[str]:
    """The tables of folders and files, each with its header; print them with ``python tests/test_readme.py``."""
    package = ROOT / "deap_hpo"
    folders = sorted(path.parent for path in package.glob("*/__init__.py"))
    lines = ["| folder | subject |", "| --- | --- |"]
    lines += [f"| `{folder.relative_to(ROOT)}/` | {header_of(folder / '__init__.py')} |" for folder in folders]
    for folder, paths in [(package, package.glob("*.py")), *((folder, folder.rglob("*.py")) for folder in folders)]:
        files = sorted(path for path in paths if path != folder / "__init__.py" or folder == package)
        rows = [f"| `{path.relative_to(folder)}` | {header_of(path)} |" for path in files]
        lines += ["", f"| `{folder.relative_to(ROOT)}/` | |", "| --- | --- |", *rows]
    return lines


def header_of(path: Path) -> str:
    header = re.match(r'"""(.*?)(?:"""|\n)', path.read_text())
    assert header, f"{path} has no header"
    return header[1]


if __name__ == "__main__":
    print("\n".join(file_map()))
