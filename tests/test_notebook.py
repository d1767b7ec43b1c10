"""In a notebook: a study shows itself, progress is one line that is updated, and an interrupted cell loses nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

jupyter_client = pytest.importorskip("jupyter_client")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parent.parent
CELL = """
import time
from deap_hpo import Float, optimize

def objective(params):
    time.sleep({pause})
    return params["x"] ** 2

study = optimize(
    objective, {{"x": Float(-1, 1)}}, algorithm="random", population=4, generations=3, seed=1,
    name="cell", storage="runs/cell.db", resume=True,
)
study
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython")}
    manager = jupyter_client.KernelManager()
    manager.start_kernel(cwd=str(tmp_path), env=environment)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def outputs(client: Any, code: str, interrupt: Any = None) -> list[dict[str, Any]]:
    """The outputs of a cell; `interrupt` is called for each message, and may press the button."""
    request = client.execute(code, stop_on_error=False)
    messages = []
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        message = client.get_iopub_msg(timeout=120)
        if message["parent_header"].get("msg_id") != request:
            continue
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return messages
        messages.append(message)
        if interrupt:
            interrupt(message)
    raise AssertionError("the cell did not end")


def recorded(client: Any) -> int:
    code = "from deap_hpo.recorded import load_study\nlen(load_study('cell', 'runs/cell.db').entries)"
    (message,) = [one for one in outputs(client, code) if one["msg_type"] == "execute_result"]
    return int(message["content"]["data"]["text/plain"])


def test_an_interrupted_cell_goes_on_where_it_was(kernel: tuple[Any, Any]) -> None:
    manager, client = kernel
    pressed = []

    def press(message: dict[str, Any]) -> None:
        if not pressed and "3/12 evaluations" in str(message["content"].get("data")):
            pressed.append(manager.interrupt_kernel())

    first = outputs(client, CELL.format(pause=0.5), press)
    assert pressed
    assert [one["content"]["ename"] for one in first if one["msg_type"] == "error"] == ["Interrupted"]
    kept = recorded(client)
    assert 3 <= kept < 12
    second = outputs(client, CELL.format(pause=0))
    assert not [one for one in second if one["msg_type"] == "error"]
    assert recorded(client) == 12
    (shown,) = [one["content"]["data"] for one in second if one["msg_type"] == "execute_result"]
    assert "12 evaluations in 3 generations" in shown["text/html"]


def test_an_interrupted_cell_without_a_storage_leaves_its_study(kernel: tuple[Any, Any]) -> None:
    manager, client = kernel
    pressed = []

    def press(message: dict[str, Any]) -> None:
        shown = str(message["content"].get("data", ""))
        if "2/12 evaluations" in shown and not pressed:
            pressed.append(True)
            manager.interrupt_kernel()

    cell = CELL.format(pause=0.3).replace('storage="runs/cell.db", resume=True,', "")
    first = outputs(client, cell, press)
    (error,) = [one["content"] for one in first if one["msg_type"] == "error"]
    assert "was interrupted after" in error["evalue"]
    second = outputs(client, "import sys; study = sys.last_value.study; print(len(study.record), study.best_value)")
    (said,) = [one["content"]["text"] for one in second if one["msg_type"] == "stream"]
    assert 2 <= int(said.split()[0]) < 12


def test_progress_is_one_display_that_moves(kernel: tuple[Any, Any]) -> None:
    _, client = kernel
    messages = outputs(client, CELL.format(pause=0))
    kinds = [one["msg_type"] for one in messages]
    assert "stream" not in kinds, [one["content"] for one in messages if one["msg_type"] == "stream"]
    assert kinds.count("display_data") == 1
    updates = [one["content"]["data"] for one in messages if one["msg_type"] == "update_display_data"]
    assert "12/12 evaluations" in updates[-1]["text/html"]


def test_a_long_evaluation_has_a_line_below_while_it_runs(kernel: tuple[Any, Any]) -> None:
    _, client = kernel
    cell = CELL.format(pause=5).replace("population=4, generations=3", "max_evaluations=1")
    messages = outputs(client, cell)
    shown = [one["content"]["data"]["text/html"] for one in messages if one["msg_type"] == "update_display_data"]
    assert any("0/1 evaluations" in one and "<small>  evaluation 0 · " in one for one in shown)
    assert "1/1 evaluations" in shown[-1]
    assert "<small>" not in shown[-1]


WORKERS = """
import numpy as np
from torch import nn
from deap_hpo import Float, Int, ProcessExecutor, Task, make_trainer, optimize

class Network(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))

    def forward(self, x):
        return self.layers(x)

shift = 0.25

def objective(params, report):
    report(1, shift)
    print("tried", params["x"])
    return (params["x"] - shift) ** 2 + np.random.rand()

def found(evaluate, space, executor):
    study = optimize(
        evaluate, space, algorithm="random", population=3, generations=2, seed=1, executor=executor, progress=False
    )
    done = [entry.evaluation for entry in study.record]
    return [(one.values, *(epoch.validation_loss for epoch in one.curve)) for one in done]

points = np.random.default_rng(0).normal(size=(100, 2)).astype("float32")
task = Task.from_data(Network, (points, (points.sum(1) > 0).astype("int64")))
for evaluate, space in (
    (objective, {"x": Float(-1, 1)}),
    (lambda params: (params["x"] - shift) ** 2, {"x": Float(-1, 1)}),
    (make_trainer(task, epochs=2, device="cpu"), {"lr": Float(0.01, 1.0), "width": Int(2, 8)}),
):
    there = found(evaluate, space, ProcessExecutor(2))
    print(len(there), len(set(there)), there == found(evaluate, space, None))
"""


def test_worker_processes_evaluate_what_cells_define(kernel: tuple[Any, Any]) -> None:
    _, client = kernel
    shown = outputs(client, WORKERS)
    assert not [one["content"] for one in shown if one["msg_type"] == "error"]
    text = "".join(one["content"]["text"] for one in shown if one["msg_type"] == "stream")
    printed = [line for line in text.splitlines() if line.startswith("tried")]
    assert (len(printed), len(set(printed))) == (12, 6), "by workers, and by the notebook's own process"
    assert [line for line in text.splitlines() if line not in printed] == ["6 6 True"] * 3


def test_the_line_tells_failures_and_repeats(kernel: tuple[Any, Any]) -> None:
    _, client = kernel
    cell = """
from deap_hpo import Categorical, optimize

def objective(params):
    if params["x"] == 1:
        raise ValueError("no")
    return params["x"]

study = optimize(objective, {"x": Categorical([0, 1, 2])}, algorithm="random", population=4, generations=3, seed=1)
"""
    shown = [str(one["content"]["data"]) for one in outputs(client, cell) if "data" in one["content"]]
    lines = [text for text in shown if "evaluations" in text]
    assert "1 failed, 9 repeated" in lines[-1]
    assert "failed" not in lines[0]
