"""The examples run, and resume."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

# What the last line of each says.
LAST_LINES = {
    "evolve_a_schedule.py": r"[a-z(].*: rates of \[[01]\.\d.*\] .*; loss 0\.[01]\d+",
    "evolve_with_deap.py": r"value \d\.\d+ at \[.*\]",
    "pareto.py": r"([5-9]|1\d) networks on the front; hypervolume (19|2\d)\d{3}",
    "tune_a_function.py": r"loss 1\.\d+ with .*; [1-9]\d* of 100 ended early",
    "tune_a_training_loop.py": r"loss 0\.2\d+, accuracy 0\.9\d+ after [78] epochs",
    "tune_a_network.py": r"validation error 0\.[56]\d*, test .*'mean_absolute_error': 0\.[56].* with .*",
    "tune_with_scikit_learn.py": r"accuracy 0\.9[78]\d, test 0\.9\d+ with .*",
    "population_based_training.py": r"population-based training   Q = 1\.[12]\d+, \d+ values of h along the way",
}


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("name", LAST_LINES)
def test_an_example_runs_and_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """First in a new process, if the example has workers, which import it; then in this process, which is faster."""

    def here() -> str:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()[-1]

    monkeypatch.chdir(tmp_path)
    has_workers = "ProcessExecutor" in (EXAMPLES / name).read_text()
    first = run(tmp_path, str(EXAMPLES / name)).splitlines()[-1] if has_workers else here()
    assert re.fullmatch(LAST_LINES[name], first)
    assert here() == first


def test_an_example_imports_what_it_needs(tmp_path: Path) -> None:
    """All of them in one new process, without running their main part."""
    imports = "import runpy, sys; [runpy.run_path(name, run_name='imported') for name in sys.argv[1:]]"
    run(tmp_path, "-c", imports, *[str(EXAMPLES / name) for name in LAST_LINES])
    assert list(tmp_path.iterdir()) == []


def test_every_example_is_run() -> None:
    """Here, or in the test of its subject."""
    others = " ".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    names = {path.name for path in EXAMPLES.glob("*.py")} - set(LAST_LINES)
    assert [name for name in names if name not in others] == []
