"""Deleting a study: the record and its files go, other files stay, and a study that is running is not deleted."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from test_cli import CONFIG, call

import deap_hpo.recorded
from deap_hpo import Float, Study, delete_study, load_study, optimize
from deap_hpo.errors import InputError
from deap_hpo.recorded import study_names
from deap_hpo.records.trials import ForeignStudyError
from deap_hpo.reports.figures import save_figures


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(name: str, storage: str = "runs/studies.db", **changed: Any) -> Study:
    arguments = {"algorithm": "random", "population": 3, "generations": 1, "progress": False, **changed}
    return optimize(lambda params: params["x"], {"x": Float(0.0, 1.0)}, name=name, storage=storage, **arguments)


def test_a_burnt_name_is_free_again(here: Path) -> None:
    def raising(params: Any) -> float:
        raise ValueError("a mistake")

    space = {"x": Float(0.0, 1.0)}
    with pytest.raises(InputError, match=r"delete what is on record \(`deap-hpo delete study --storage a.db`\)"):
        optimize(raising, space, storage="a.db", progress=False)
    with pytest.raises(
        InputError,
        match=r"Resume it \(resume=True\), delete it \(`deap-hpo delete study --storage a.db`,",
    ):
        made("study", "a.db", seed=3)
    delete_study("study", "a.db")
    assert study_names("a.db") == []
    assert made("study", "a.db", seed=3).best_value > 0
    with closing(sqlalchemy.create_engine("sqlite:///a.db").raw_connection()) as database:
        cursor = database.cursor()
        cursor.execute("SELECT count(*) FROM trial_user_attributes WHERE trial_id NOT IN (SELECT trial_id FROM trials)")
        assert cursor.fetchone() == (0,), "nothing is left of the deleted trials"
        cursor.execute("SELECT count(*) FROM trials")
        assert cursor.fetchone() == (3,)


def test_all_that_the_commands_write_goes_with_it(here: Path) -> None:
    (here / "small.toml").write_text(CONFIG)
    staged = ["--set", "evolution.stages=[1,2]", "--set", "evolution.generations=1"]
    for command in (
        ["run", "small.toml", *staged],
        ["plot", "small"],
        ["report", "small"],
        ["export", "small"],
        ["export", "small", "--evaluation", "0"],
    ):
        ended = call(*command)
        assert ended.exit_code == 0, ended.output
    assert any((here / "runs" / "small" / "checkpoints").iterdir())
    ended = call("delete", "small", "--yes")
    assert (ended.exit_code, ended.output) == (0, "Deleted small.\n")
    assert [path.name for path in (here / "runs").iterdir() if not path.name.startswith("studies.db-")] == [
        "studies.db"
    ]


@pytest.mark.usefixtures("small_forests")
def test_all_figures_go_with_it(here: Path) -> None:
    study = made("drawn", population=25)
    drawn = [path.stem for path in save_figures(load_study("drawn", "runs/studies.db"), here / "runs" / "drawn")]
    assert {"history", "hyperparameters", "importances", "partial_dependence"} <= set(drawn)
    assert len(study.entries) == 25
    delete_study("drawn", "runs/studies.db")
    assert not (here / "runs" / "drawn").exists()


def test_what_was_in_the_folder_and_is_not_ours_stays(here: Path) -> None:
    made("data", "studies.db")  # beside the user's folder of that name
    theirs = [here / "data" / "images.csv", here / "data" / "checkpoints" / "notes.txt"]
    for path in [*theirs, here / "data" / "best.json"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    ended = call("delete", "data", "--yes", "--storage", "studies.db")
    assert ended.output == "Deleted data.\nLeft data: it holds files that deap-hpo did not write.\n"
    assert sorted(path for path in (here / "data").rglob("*") if path.is_file()) == sorted(theirs)


def test_several_go_at_once_or_none(here: Path) -> None:
    for name in ("a1", "b2", "c3"):
        made(name)
    ended = call("delete", "a1", "b22", "--yes")
    assert ended.exit_code == 2
    assert "There is no study named 'b22' on record. Did you mean 'b2'?" in ended.stderr
    with Study(name="running", storage="runs/studies.db"):
        ended = call("delete", "a1", "running", "--yes")
        assert ended.exit_code == 2
        assert "Another process is running the study 'running'" in ended.stderr
    assert study_names("runs/studies.db") == ["a1", "b2", "c3", "running"]
    assert call("delete", "a1", "c3", "a1", "--yes").output == "Deleted a1.\nDeleted c3.\n"
    assert study_names("runs/studies.db") == ["b2", "running"]
    assert len(load_study("b2", "runs/studies.db").entries) == 3


@pytest.mark.parametrize("step", ["check_ours", "directions_of"])
def test_a_study_that_is_deleted_while_it_is_read_is_said_to_be_gone(
    step: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made("a")
    original = getattr(deap_hpo.recorded, step)

    def after_it_was_deleted(*arguments: Any) -> Any:
        monkeypatch.undo()
        delete_study("a", here / "runs/studies.db")
        return original(*arguments)

    monkeypatch.setattr(deap_hpo.recorded, step, after_it_was_deleted)
    with pytest.raises(InputError, match="The record of the study 'a' is gone: another process has deleted it"):
        load_study("a", here / "runs/studies.db")


def test_a_study_of_somebody_else_is_left_alone(here: Path) -> None:
    made("ours", "a.db")
    other = optuna.create_study(storage="sqlite:///a.db", study_name="theirs")
    other.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(ForeignStudyError, match="did not write"):
        delete_study("theirs", "a.db")
    with pytest.raises(InputError, match="There is no record at"):
        delete_study("ours", "b.db")
    assert study_names("a.db") == ["ours", "theirs"]


def test_without_a_terminal_it_has_to_be_said(here: Path) -> None:
    made("run")
    ended = call("delete", "run")
    assert ended.exit_code == 2
    assert "`deap-hpo delete run --yes`" in ended.stderr
    assert study_names("runs/studies.db") == ["run"]


@pytest.mark.skipif(os.name != "posix", reason="no pseudoterminals")
@pytest.mark.parametrize(
    ("answer", "said", "left"), [("n", "Nothing was deleted.", ["run"]), ("y", "Deleted run.", [])]
)
def test_on_a_terminal_it_asks(answer: str, said: str, left: list[str], here: Path) -> None:
    made("run")
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    command = [sys.executable, "-m", "deap_hpo", "delete", "run"]
    ended = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=60, check=False)
    os.close(ours)
    os.close(theirs)
    assert ended.returncode == 0, ended.stderr
    assert "Delete run (3 evaluations) from runs/studies.db, and the files of the run? [y/N]" in ended.stderr
    assert said in ended.stdout + ended.stderr
    assert study_names("runs/studies.db") == left
