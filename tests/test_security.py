"""Untrusted input: nothing from a disk is unpickled, and no configuration is run as code."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import deap_hpo
from deap_hpo.configuration.config import load_config
from deap_hpo.errors import InputError

SOURCES = sorted(Path(deap_hpo.__file__).parent.rglob("*.py"))
RUNS_WHAT_IT_READS = {
    "eval", "exec", "compile", "os.system", "os.popen", "pickle.load", "torch.load", "joblib.load", "marshal.load",
    "marshal.loads", "shelve.open", "numpy.load", "np.load", "yaml.load", "dill.load", "cloudpickle.load",
}  # fmt: skip


def calls(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_that_is_read_is_run(path: Path) -> None:
    assert not calls(path) & RUNS_WHAT_IT_READS
    # Between the driver and the workers that it started itself, and nowhere else.
    assert "pickle.loads" not in calls(path) or path.name in ("parcel.py", "workers.py")


def test_weights_are_written_as_safetensors_only() -> None:
    writing = {path.name for path in SOURCES if {"torch.save", "pickle.dump"} & calls(path)}
    assert writing == set()


@pytest.mark.parametrize(
    "text", ["__import__('os').system('touch ran')", "!!python/object/apply:os.system [touch ran]"]
)
def test_a_configuration_is_data(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text(f"[study]\nname = {text}\n")
    with pytest.raises(InputError, match="is not TOML"):
        load_config("run.toml")
    load_config("quick", [f"study.name={text}"])
    assert os.listdir() == ["run.toml"]


@pytest.mark.parametrize("name", ["../quick", "/etc/passwd", "paper/../../quick"])
def test_a_preset_is_one_of_ours(name: str) -> None:
    with pytest.raises(InputError, match="There is no preset"):
        load_config(name)
