"""The package as built and shipped, and how fast it starts."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest

import deap_hpo

ROOT = Path(__file__).parent.parent
HELP = "import sys; from deap_hpo.cli import main; sys.argv = ['deap-hpo', '--help']; main()"


def seconds(*arguments: str) -> float:
    """Processor time, the least of five runs, since other work of the machine only adds to it."""
    taken = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


def test_import_and_help_answer_at_once() -> None:
    """In multiples of the time of an idle interpreter, so that no slow machine fails; 1.2 and 14 when written."""
    nothing = seconds("-c", "pass")
    assert seconds("-c", "import deap_hpo") < 3 * nothing
    assert seconds("-c", HELP) < 25 * nothing
    assert seconds("-m", "deap_hpo", "--help") < 25 * nothing


@pytest.mark.parametrize("module", ["deap_hpo", "deap_hpo.cli"])
def test_python_m_is_the_command_line(module: str) -> None:
    for arguments, said in ((["--help"], "deap-hpo run"), (["run", "--help"], "--dry-run"), (["list", "-h"], "--json")):
        command = [sys.executable, "-m", module, *arguments]
        assert said in subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_the_wheel_has_all_that_is_needed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    built = subprocess.run([*command, str(tmp_path), "."], cwd=ROOT, capture_output=True, text=True, check=False)
    if "BackendUnavailable" in built.stderr or "Cannot import" in built.stderr:
        pytest.skip("setuptools is not installed")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"deap_hpo-{deap_hpo.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "deap_hpo").rglob("*") if path.is_file()}
    wanted = {name for name in sources if "__pycache__" not in name}
    assert wanted <= names, wanted - names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "examples/"))]


def test_the_version_is_semantic_and_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", deap_hpo.__version__)
    assert metadata("deap-hpo")["Version"] == deap_hpo.__version__
    assert (ROOT / "deap_hpo" / "py.typed").exists()


def test_make_test_ends_where_a_process_dies(tmp_path: Path) -> None:
    (line,) = re.findall(r"-m pytest (.*) \$\(ARGS\)", (ROOT / "Makefile").read_text())
    dies = "import os, pytest\n@pytest.mark.parametrize('i', range(4))\ndef test_it(i):\n    if i == 1: os.abort()\n"
    (tmp_path / "test_dies.py").write_text(dies)
    for name in "abc":
        (tmp_path / f"test_{name}.py").write_text(dies.replace("i == 1: os.abort()", "i < 0: return"))
    command = [sys.executable, "-m", "pytest", *line.split(), "--numprocesses", "2", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1, ended.stdout
    assert "crashed while running 'test_dies.py::test_it[1]'" in ended.stdout
