"""In a notebook: a study shows itself, progress is one line that moves, and an interrupted cell loses nothing."""

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
    """What a cell shows; `interrupt` is called for each message, and may press the button."""
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
