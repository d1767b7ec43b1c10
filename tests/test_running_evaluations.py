"""Evaluations under way can be seen, by their own process and by others, and leave nothing behind."""

from __future__ import annotations

import fcntl
import gc
import io
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import evaluators
import numpy as np
import pytest
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

from deap_hpo import Float, Objective, ProcessExecutor, Study, Task, load_study, make_trainer, optimize
from deap_hpo.cli import app
from deap_hpo.deletion import delete_study
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Epoch, Request
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.notebook import study_html
from deap_hpo.records.progress_folder import ProgressFolder
from deap_hpo.records.run_files import progress_folder
from deap_hpo.reports.html import page
from deap_hpo.running_evaluations import Logged, RunningEvaluation, log_epoch, running_evaluations
from deap_hpo.running_lines import ProgressWithLines, RunningLines
from deap_hpo.training.checkpoints import FolderCheckpoints
from deap_hpo.training.underway import Underway

SPACE = {"x": Float(0.0, 1.0)}


def read_by_itself(params: dict[str, Any], report: Any, number: int, epochs: int = 4) -> dict[str, Any]:
    """Reports half of its epochs, and looks itself up as another process would."""
    report(1, params["x"], size=3.0)
    report(2, params["x"], size=5.0)
    found = next(one for one in load_study("study", os.environ["RECORD"]).running if one.number == number)
    epoch = found.latest[0]
    assert found.params == params
    assert 0 <= found.seconds < 60
    return {"loss": params["x"], "progress": found.progress, "size": epoch.metrics["size"], "last": epoch.epoch}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = f"{tmp_path}/studies.db"
    monkeypatch.setenv("RECORD", path)
    return path


@pytest.mark.parametrize("executor", [SerialExecutor, lambda: ProcessExecutor(2)])
def test_each_is_seen_by_others_while_it_runs_and_nothing_is_left(executor: Any, record: str) -> None:
    options: Any = {"algorithm": "random", "population": 3, "generations": 1, "metric": "loss", "progress": False}
    study = optimize(read_by_itself, SPACE, executor=executor(), storage=record, **options)
    assert [entry.evaluation.error for entry in study.entries] == [""] * 3
    for entry in study.entries:
        assert entry.evaluation.notes == {"progress": "2/4"}
        assert entry.evaluation.metrics == {"size": 5.0, "last": 2.0}
    assert study.running == load_study("study", record).running == ()
    assert os.listdir(Path(record).parent) == ["studies.db"]


def test_without_a_storage_the_study_itself_sees_them() -> None:
    seen = []

    def objective(params: dict[str, Any], number: int) -> float:
        seen.append([one.number for one in study.running])
        return float(params["x"])

    with Study(SPACE) as study:
        study.map(Objective(objective), [[0.1], [0.2]])
        folder = study.record.progress.open() or ""
        assert os.path.isdir(folder)
    assert seen == [[0], [1]]
    assert not os.path.exists(folder)


def test_a_study_that_is_never_closed_leaves_nothing_either() -> None:
    study = Study(SPACE)
    study.map(lambda params: params["x"], [[0.1]])
    folder = study.record.progress.open() or ""
    assert os.path.isdir(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del study
        gc.collect()
    assert not os.path.exists(folder)


def test_genomes_without_a_space_may_be_long_and_are_not_written() -> None:
    def evaluate(genes: Any) -> float:
        (one,) = study.running
        assert one.params == {}
        return float(sum(genes))

    with Study() as study:
        assert study.map(evaluate, [[1.0] * 1000]) == [(1000.0,)]


def of_a_task(metric: Callable[[Any, Any], float], **options: Any) -> Any:
    inputs = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    data = inputs, (inputs[:, 0] > 0).astype(int)
    task = Task.from_data(lambda: nn.Linear(4, 2), data, validation=0.5, metrics={"error": metric})
    return make_trainer(task, epochs=3, device="cpu", **options)


@pytest.mark.parametrize("trainer", ["reference", "population"])
@pytest.mark.parametrize("repeats", [1, 2])
def test_trainings_tell_every_epoch(trainer: str, repeats: int, tmp_path: Path) -> None:
    told: list[str] = []

    def error(outputs: Any, targets: Any) -> float:
        told.extend(f"{one.number}: {one.progress}" for one in running_evaluations(tmp_path))
        if one := next((one for one in running_evaluations(tmp_path) if one.latest), None):
            assert one.measured(["error"], trains=True) == ("error", 0.25)
            assert one.measured(["other"], trains=True) == ("loss", one.latest[0].validation_loss) or repeats > 1
        return 0.25

    requests = [Request(i, {"lr": 0.1 * (i + 1)}, seed=0, progress=str(tmp_path)) for i in range(2)]
    evaluations = dict(SerialExecutor().run(of_a_task(error, repeats=repeats, trainer=trainer), requests))
    assert [one.status for one in evaluations.values()] == ["ok", "ok"]
    whole = 3 * repeats
    for number in range(2):
        mine = [one for one in told if one.startswith(f"{number}:")]
        assert mine[0] == f"{number}: 0/{whole}"
        # The last epoch of the last training is told after it was measured.
        assert set(mine) >= {f"{number}: {done}/{whole}" for done in (0, *range(repeats, whole, repeats))}
        assert f"{number}: {whole}/{whole}" not in mine
    assert running_evaluations(tmp_path) == ()


def test_a_training_that_continues_begins_with_the_epochs_before_the_interruption(tmp_path: Path) -> None:
    request = Request(0, {"lr": 0.1}, seed=1, epochs=5, progress=str(tmp_path))
    store = FolderCheckpoints(tmp_path / "checkpoints")
    begun = Underway(store, request)
    begun.add(Epoch(3, 0.5, 0.4))
    begun.save({})
    log = Logged(request)
    assert running_evaluations(tmp_path)[0].progress == "0/5"
    Underway(store, request).load()
    assert running_evaluations(tmp_path)[0].progress == "3/5"
    log.close()


def in_another_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_those_of_a_killed_process_are_not_under_way_and_the_next_run_removes_its_log(tmp_path: Path) -> None:
    code = """
        import sys
        from deap_hpo.evaluation import Request
        from deap_hpo.running_evaluations import Logged
        log = Logged(Request(5, {"x": 0.5}, seed=0, progress=sys.argv[1]))
        print("begun", flush=True)
        sys.stdin.read()
    """
    folder = progress_folder("study", tmp_path / "studies.db")
    folder.mkdir(parents=True)
    other = in_another_process(code, folder)
    assert other.stdout is not None
    assert other.stdout.readline() == "begun\n"
    assert [one.number for one in running_evaluations(folder)] == [5]
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert len(os.listdir(folder)) == 1
    assert running_evaluations(folder) == ()
    resumed = ProgressFolder(folder)
    resumed.open()
    assert os.listdir(folder) == []
    resumed.close()
    assert os.listdir(tmp_path) == []


def test_a_deletion_takes_what_a_killed_run_has_left(tmp_path: Path) -> None:
    storage = f"{tmp_path}/studies.db"
    optimize(lambda params: params["x"], SPACE, storage=storage, max_evaluations=2, progress=False)
    folder = progress_folder("study", storage)
    folder.mkdir(parents=True)
    (folder / "machine-7.jsonl").write_text("{}\n")
    (folder / ".machine-7.jsonl.partial").touch()
    delete_study("study", storage)
    assert os.listdir(tmp_path) == ["studies.db"]


@pytest.mark.parametrize("place", [None, "/dev/null/nowhere", "there/is/no/such/folder"])
def test_without_a_place_evaluations_go_on(place: str | None) -> None:
    before = os.listdir("/proc/self/fd")
    request = Request(0, {"x": 2.0}, seed=0, progress=place)
    (_, evaluation), *_ = SerialExecutor().run(evaluators.square, [request])
    log_epoch(request, Epoch(1, 0.5, 0.4))
    assert evaluation.value == 4.0
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_folder_that_cannot_be_made_costs_no_evaluation(tmp_path: Path) -> None:
    (tmp_path / "study@a").write_text("a file of the user's")
    study = optimize(evaluators.square, SPACE, storage=f"{tmp_path}/a.db", max_evaluations=3, progress=False)
    assert len(study.entries) == 3
    assert (tmp_path / "study@a").read_text() == "a file of the user's"


def test_a_log_stays_short_however_many_epochs_there_are(tmp_path: Path) -> None:
    requests = [Request(i, {"x": float(i)}, seed=0, progress=str(tmp_path)) for i in range(3)]
    logs = [Logged(request) for request in requests]
    for epoch in range(2000):
        for request in requests[:2]:
            log_epoch(request, Epoch(epoch, 0.5, 0.4))
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size < 70_000
    assert [(one.number, one.progress) for one in running_evaluations(tmp_path)] == [(0, "1999"), (1, "1999"), (2, "")]
    for log in logs:
        log.close()


def test_a_line_that_is_being_written_does_not_count_yet(tmp_path: Path) -> None:
    log = Logged(Request(0, {"x": 1.0}, seed=0, progress=str(tmp_path)))
    (file,) = tmp_path.iterdir()
    with file.open("a") as unfinished:
        unfinished.write('{"number": 1, "par')
    assert [one.number for one in running_evaluations(tmp_path)] == [0]
    log.close()


def test_a_line_that_a_full_disk_has_cut_is_left_out(tmp_path: Path) -> None:
    request = Request(0, {"x": 1.0}, seed=0, progress=str(tmp_path))
    log = Logged(request)
    (file,) = tmp_path.iterdir()
    with file.open("a") as unfinished:
        unfinished.write('{"number": 0, "par')
    log_epoch(request, Epoch(1, 0.5, 0.4))
    log_epoch(request, Epoch(2, 0.5, 0.4))
    assert [(one.number, one.progress) for one in running_evaluations(tmp_path)] == [(0, "2")]
    log.close()


def test_a_forked_process_neither_keeps_nor_ends_what_its_parent_does(tmp_path: Path) -> None:
    """Such as one of a `DataLoader`, which may live on for a while when its worker was killed."""
    code = """
        import os, sys
        from deap_hpo.evaluation import Request
        from deap_hpo.running_evaluations import Logged
        log = Logged(Request(5, {"x": 0.5}, seed=0, progress=sys.argv[1]))
        child = os.fork()
        if child == 0:
            log.close()
            print("forked", flush=True)
        sys.stdin.read()
        os._exit(0)
    """
    parent = in_another_process(code, tmp_path)
    assert parent.stdout is not None
    assert parent.stdin is not None
    assert parent.stdout.readline() == "forked\n"
    assert [one.number for one in running_evaluations(tmp_path)] == [5]
    parent.kill()
    parent.wait()
    after = running_evaluations(tmp_path)
    parent.stdin.close()  # the child ends
    assert after == ()


def test_two_may_read_at_once_what_a_dead_process_left(tmp_path: Path) -> None:
    left = tmp_path / "machine-7.jsonl"
    left.write_text('{"number": 0, "started": 0, "params": {}, "epochs": null, "trainings": 1, "latest": {}}\n')
    with left.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert running_evaluations(tmp_path) == ()


def test_the_epochs_of_a_request_count_before_those_of_its_evaluator(tmp_path: Path) -> None:
    log = Logged(Request(0, {}, seed=0, epochs=5, progress=str(tmp_path)), epochs=10)
    assert running_evaluations(tmp_path)[0].epochs == 5
    log.close()


def test_a_process_keeps_no_log_open_of_a_study_that_it_has_left(tmp_path: Path) -> None:
    folders = [tmp_path / str(i) for i in range(20)]
    before = len(os.listdir("/proc/self/fd"))
    for folder in folders:
        folder.mkdir()
        Logged(Request(0, {}, seed=0, progress=str(folder))).close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert [len(os.listdir(folder)) for folder in folders] == [0] * 19 + [1]


def test_what_is_told_after_the_folder_was_closed_goes_nowhere(tmp_path: Path) -> None:
    progress = ProgressFolder(tmp_path / "progress")
    request = Request(0, {}, seed=0, progress=progress.open())
    given_up = Logged(request)
    progress.close()
    with (tmp_path / "other").open("w") as other:  # which gets the number of the file that was closed
        log_epoch(request, Epoch(1, 0.5, 0.4))
        given_up.close()
        os.fsync(other.fileno())
    assert (tmp_path / "other").read_text() == ""
    assert os.listdir(tmp_path) == ["other"]


def test_a_user_folder_of_the_studys_name_stays(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    optimize(evaluators.square, SPACE, storage=f"{tmp_path}/studies.db", max_evaluations=2, progress=False)
    assert sorted(os.listdir(tmp_path)) == ["studies.db", "study"]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[str]:
    """A record with five evaluations, of a study of which three more are under way, one before its first epoch."""
    storage = f"{tmp_path}/studies.db"

    def objective(params: dict[str, Any], report: Any, epochs: int = 10) -> dict[str, float]:
        report(1, params["x"])
        return {"loss": params["x"]}

    optimize(objective, SPACE, metric="loss", storage=storage, max_evaluations=5, progress=False)
    Study(SPACE, name="idle", storage=storage).close()
    folder = progress_folder("study", storage)
    folder.mkdir(parents=True)
    requests = [Request(i, {"x": i / 10}, seed=0, progress=str(folder)) for i in (5, 6, 7)]
    logs = [Logged(request, epochs=10) for request in requests]
    log_epoch(requests[0], Epoch(4, 0.0, 0.4321))
    log_epoch(requests[1], Epoch(10, 0.0, 0.25))
    yield storage
    for log in logs:
        log.close()


def command(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output


def test_show_and_list_say_what_is_under_way(running: str) -> None:
    lines = command("show", "study", "--storage", running).splitlines()
    start = lines.index("Under way:")
    assert [line.split() for line in lines[start + 1 : start + 5]] == [
        ["evaluation", "epochs", "loss", "time", "x"],
        ["5", "4/10", "0.4321", "0", "s", "0.5"],
        ["6", "10/10", "0.25", "0", "s", "0.6"],
        ["7", "0/10", "-", "0", "s", "0.7"],
    ]
    assert "Under way" not in command("show", "idle", "--storage", running)
    table = [line.split() for line in command("list", "--storage", running).splitlines()]
    assert table[0][-2:] == ["under", "way"]
    assert {row[0]: row[-1] for row in table[1:]} == {"study": "3", "idle": "0"}
    assert "under way" not in command("list", "idle", "--storage", running)
    described = json.loads(command("show", "study", "--storage", running, "--json"))["running"]
    assert [(one["number"], one["params"], one["epochs"]) for one in described] == [
        (5, {"x": 0.5}, 10),
        (6, {"x": 0.6}, 10),
        (7, {"x": 0.7}, 10),
    ]
    assert described[0]["latest"][0]["validation_loss"] == 0.4321


def test_show_says_it_before_the_first_evaluation_has_ended(tmp_path: Path) -> None:
    storage = f"{tmp_path}/studies.db"
    with Study(SPACE, storage=storage) as study:
        log = Logged(Request(0, {"x": 0.5}, seed=0, progress=study.record.progress.open()))
        assert "Under way:" in command("show", "study", "--storage", storage)
        html = study_html(load_study("study", storage))
        assert html.endswith("no evaluations yet. 1 evaluation under way.</p>")
        log.close()


def test_reports_and_notebooks_say_it_too(running: str) -> None:
    study = load_study("study", running)
    assert "<caption>Under way</caption>" in page([study])
    assert "<td>4/10</td><td>0.4321</td>" in page([study])
    assert page([study]) == page([study])
    assert "3 evaluations under way." in study_html(study)
    over = replace(study, running=())
    assert "nder way" not in page([over]) + study_html(over)


class Watched:
    """A study with evaluations under way, for what is shown on a terminal."""

    evaluator_settings: dict[str, Any] = {}  # noqa: RUF012 - never changed
    objective_names = ("loss",)

    def __init__(self, *seconds: float) -> None:
        self.running = tuple(RunningEvaluation(i, one, {"lr": 0.5}) for i, one in enumerate(seconds))


def test_a_terminal_has_a_line_for_each_that_takes_long() -> None:
    now = 0.0
    lines = RunningLines(clock=lambda: now)
    assert lines() == []
    lines.study = Watched(0.1, 1.9)  # type: ignore[assignment]
    assert lines() == []
    lines.study = Watched(0.1, 65.0)  # type: ignore[assignment]
    assert lines() == [], "read a moment ago"
    now = 1.0
    assert lines() == ["  evaluation 0 · 0 s · lr 0.5", "  evaluation 1 · 1 min 5 s · lr 0.5"]
    now = 2.0
    lines.study = Watched(*[5.0] * 11)  # type: ignore[assignment]
    assert len(lines()) == 9
    assert lines()[-1] == "  and 3 evaluations more"
    lines.study = None
    assert lines() == []


def test_lines_may_be_asked_for_while_another_thread_ends_the_display() -> None:
    def clock() -> float:
        lines.study = None
        return 0.0

    lines = RunningLines(clock=clock)
    lines.study = Watched(60.0)  # type: ignore[assignment]
    assert lines() == ["  evaluation 0 · 1 min 0 s · lr 0.5"]
    assert lines() == []


def test_lines_are_cut_where_the_terminal_ends() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=20)
    with ProgressWithLines(lambda: ["evaluation 3 · learning_rate 0.5"], console=console, auto_refresh=False) as shown:
        shown.refresh()
    assert "evaluation 3 · lear…" in screen.getvalue()


def test_callbacks_hear_of_requests_before_evaluations_begin(tmp_path: Path) -> None:
    heard: list[Any] = []

    class Listening:
        def on_requests(self, study: Study, requests: list[Request]) -> None:
            heard.append([request.number for request in requests])

    def evaluate(params: dict[str, Any]) -> float:
        heard.append(params["x"])
        return float(params["x"])

    def run(resume: bool) -> None:
        random.seed(0)
        with Study(SPACE, storage=f"{tmp_path}/a.db", callbacks=[Listening()], resume=resume) as study:
            study.map(evaluate, [[0.25], [0.25], [0.5]])
            study.map(evaluate, [[0.25]])

    run(resume=False)
    assert heard == [[0, 2], 0.25, 0.5]
    run(resume=True)
    assert heard == [[0, 2], 0.25, 0.5], "a replay evaluates nothing"

    class Misspelt:
        def on_request(self, study: Study, requests: list[Request]) -> None: ...

    with pytest.raises(InputError, match="'on_requests'"):
        Study(SPACE, callbacks=[Misspelt()])
