"""Objects that reach worker processes (functions of any kind, wherever they are defined), and those that never do."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deap import base, creator
from processes import parent_of
from torch import nn

from deap_hpo import make_trainer
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.execution import parcel, workers
from deap_hpo.execution.executors import Executor, ProcessExecutor, SerialExecutor
from deap_hpo.execution.fork_server import ensure_fork_server
from deap_hpo.functions.objective import Objective
from deap_hpo.study import Study
from deap_hpo.training.task import Task


@pytest.fixture(params=["forked", "spawned"])
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessExecutor]:
    forked = request.param == "forked" and ensure_fork_server()
    if not forked:
        monkeypatch.setattr(workers, "ensure_fork_server", lambda: False)
    made = ProcessExecutor(1)
    yield made
    assert {parent_of(pid) == os.getpid() for pid in made.worker_pids()} <= {not forked}
    made.close()


def outcomes(executor: Executor, evaluate: Any, params: list[Any]) -> list[Any]:
    requests = [Request(i, one, seed=i) for i, one in enumerate(params)]
    done = dict(executor.run(evaluate, requests))
    curves = [[epoch.validation_loss for epoch in done[i].curve] for i in range(len(params))]
    return [(done[i].values, done[i].error, curve) for i, curve in enumerate(curves)]


def local_evaluators() -> dict[str, Any]:
    shift = 0.5

    def drawn(params: dict[str, Any], report: Callable[..., None]) -> float:
        report(1, shift)
        return float(params["x"] + shift + np.random.rand())

    @dataclass
    class Model:
        factor: float

        def __call__(self, params: dict[str, Any]) -> float:
            return self.factor * params["x"]

        def method(self, params: dict[str, Any]) -> float:
            return self(params) + shift

        def __private(self, params: dict[str, Any]) -> float:
            return self(params) - shift

        def private(self) -> Any:
            return self.__private

    return {
        "lambda": lambda params: params["x"] + shift,
        "objective": Objective(drawn),
        "partial": functools.partial(lambda more, params: params["x"] + more, 3),
        "object": Model(2.0),
        "bound method": Model(3.0).method,
        "private method": Model(4.0).private(),
    }


@pytest.mark.parametrize("kind", local_evaluators())
def test_what_plain_pickle_refuses_gives_the_same_to_the_bit(kind: str, executor: ProcessExecutor) -> None:
    evaluate, params = local_evaluators()[kind], [{"x": i} for i in range(3)]
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(evaluate)
    done = outcomes(executor, evaluate, params)
    assert done == outcomes(SerialExecutor(), evaluate, params)
    assert [error for _, error, _ in done] == [""] * 3


def local_task(examples: int) -> Task:
    class Network(nn.Module):
        def __init__(self, width: int = 4) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)

    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (examples, 1, 8, 8), dtype=np.uint8)
    metrics = {"error": lambda output, target: (output.argmax(1) != target).float().mean()}
    return Task.from_data(Network, (images, generator.integers(0, 3, examples)), metrics=metrics)


def test_a_task_of_local_parts_is_trained_the_same_to_the_bit(executor: ProcessExecutor) -> None:
    trainer = make_trainer(local_task(300), epochs=2, device="cpu")
    params = [{"lr": 0.1, "width": 3 + i} for i in range(3)]
    done = outcomes(executor, trainer, params)
    assert done == outcomes(SerialExecutor(), trainer, params)
    assert len({curve[-1] for _, _, curve in done}) == 3


def test_images_are_shared_and_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    task, sizes = local_task(50_000), []

    def recorded(content: Any) -> bytes:
        packed = pack(content)
        sizes.append(len(packed))
        return packed

    pack = parcel.pack
    monkeypatch.setattr(parcel, "pack", recorded)
    executor = ProcessExecutor(1)
    ((values, error, _),) = outcomes(executor, lambda params: float(task.data.training.inputs.float().mean()), [{}])
    executor.close()
    assert not error
    assert values == (float(task.data.training.inputs.float().mean()),)
    assert 0 < max(sizes) < 20_000  # of 3.2 MB


def test_individuals_of_local_and_of_creator_types_are_sent(executor: ProcessExecutor) -> None:
    class Genome(list[float]):
        fitness: Any = None

    creator.create("ParcelFitness", base.Fitness, weights=(-1.0,))
    creator.create("ParcelIndividual", Genome, fitness=creator.ParcelFitness)
    individuals = [creator.ParcelIndividual([0.5, i]) for i in range(3)]

    def evaluate(individual: Any) -> float:
        assert isinstance(individual, Genome)
        assert type(individual).__name__ == "ParcelIndividual"
        return sum(individual)

    try:
        with Study(executor=executor) as study:
            assert study.map(evaluate, individuals) == [(0.5,), (1.5,), (2.5,)]
    finally:
        del creator.ParcelFitness, creator.ParcelIndividual


def test_a_worker_that_is_killed_is_started_again_with_the_same(tmp_path: Path) -> None:
    def dies_once_at_1(params: dict[str, Any]) -> float:
        mark = tmp_path / "died"
        if params["x"] == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(params["x"])

    executor = ProcessExecutor(1)
    done = dict(executor.run(dies_once_at_1, [Request(i, {"x": i}, seed=0) for i in range(3)]))
    executor.close()
    assert [(done[i].value, done[i].retries) for i in range(3)] == [(0.0, 0), (1.0, 1), (2.0, 0)]


OF_THIS_PROCESS: dict[str, tuple[Callable[[], Any], str]] = {
    "text file": (functools.partial(open, os.devnull), "the open file '/dev/null'"),
    "file": (functools.partial(open, os.devnull, "wb"), "BufferedWriter"),
    "lock": (threading.Lock, "lock"),
    "generator": (lambda: (i for i in range(3)), "generator"),
}


@pytest.mark.parametrize("kind", OF_THIS_PROCESS)
def test_what_belongs_to_this_process_is_refused(kind: str) -> None:
    make, told = OF_THIS_PROCESS[kind]
    executor, part = ProcessExecutor(1), make()
    end = r"Make what belongs to one process .* inside the function that uses it, or evaluate in this process .*\.$"
    with pytest.raises(InputError, match=rf"^The evaluator could not be sent to a worker process: .*{told}.* {end}"):
        outcomes(executor, lambda params: part, [{}])
    with pytest.raises(InputError, match=rf"^The arguments of evaluation 1 could not be sent .*{told}.* {end}"):
        outcomes(executor, abs, [1, part])
    assert executor.worker_pids() == []
    if hasattr(part, "close"):
        part.close()


def test_standard_output_is_each_workers_own(executor: ProcessExecutor) -> None:
    out, error = sys.__stdout__, sys.__stderr__
    with pytest.MonkeyPatch.context() as patch:  # pytest has replaced them
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", error)
        assert outcomes(executor, lambda params: error.write("") + out.write(""), [{}]) == [((0.0,), "", [])]


SCRIPT = """
import sys
from dataclasses import dataclass

from deap_hpo.evaluation import Request
from deap_hpo.execution.executors import ProcessExecutor, SerialExecutor


@dataclass
class Pair:
    x: float
    y: float


def total(pair):
    assert isinstance(pair, Pair)
    return pair.x + pair.y, float(__name__ == "__main__")


class Private:
    def method(self):
        return self.__total

    def __total(self, pair):
        return total(pair)


def main(*evaluators):
    requests = [Request(i, Pair(i, 0.5), seed=i) for i in range(2)]
    for evaluate in (total, lambda pair: total(pair), Private().method(), *evaluators):
        executor = ProcessExecutor(2)
        done = dict(executor.run(evaluate, requests))
        executor.close()
        print([done[i].values or done[i].error for i in range(2)])

"""
GUARD = '\nif __name__ == "__main__":\n    main()\n'
# Development environments set __file__ to the file that is open in them.
AT_THE_PROMPT = "__file__ = 'defines.py'\ndef typed(pair):\n    return total(pair)\n\nmain(typed)\n"


def run(arguments: list[str], folder: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, input=text, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "text", "by_value"),
    [
        (["script.py"], "", False),
        (["-m", "script"], "", False),
        (["folder"], "", True),
        (["-m", "folder"], "", True),
        (["-c", SCRIPT + "main()"], "", True),
        ([], SCRIPT + "main()", True),  # from standard input
        (["-i", "defines.py"], AT_THE_PROMPT, True),
    ],
    ids=["script", "-m module", "folder", "-m package", "-c", "stdin", "prompt"],
)
def test_what_the_main_module_defines_is_sent(arguments: list[str], text: str, by_value: bool, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, code in {"script.py": GUARD, "folder/__main__.py": "main()", "defines.py": ""}.items():
        (tmp_path / name).write_text(SCRIPT + code)
    done = run(arguments, tmp_path, text)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines == [str([(0.5, float(by_value)), (1.5, float(by_value))])] * (4 if text == AT_THE_PROMPT else 3)


def test_a_script_without_its_guard_is_told_so_whatever_it_evaluates(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT + "main()")
    done = run(["script.py"], tmp_path)
    assert done.returncode == 1
    assert "under `if __name__" in done.stderr.splitlines()[-1]


def test_what_a_script_defines_under_its_guard_is_told_to_stand_above_it(tmp_path: Path) -> None:
    under = "def late(pair):\n    return 0.0\n\nfor _ in range(2):\n    main(late)\n"
    (tmp_path / "script.py").write_text(SCRIPT + 'if __name__ == "__main__":\n' + textwrap.indent(under, "    "))
    done = run(["script.py"], tmp_path)
    assert done.returncode == 1
    assert "Define the evaluator, and everything it uses, above that line" in done.stderr.splitlines()[-1]


def test_the_main_module_is_afterwards_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", None, raising=False)
    monkeypatch.setattr(main, "__file__", "<stdin>", raising=False)
    with parcel.importing_what_is_there():
        assert main.__file__ is None
    assert main.__file__ == "<stdin>"
