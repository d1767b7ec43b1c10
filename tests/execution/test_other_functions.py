"""Workers take another function as they are, if new ones would differ from them in nothing; else they start anew."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import evaluators
import numpy as np
import pytest
import torch
from processes import all_gone
from test_executors import requests, results

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation
from deap_hpo.evolution.individual import Individual
from deap_hpo.execution import workers as workers_module
from deap_hpo.execution.executors import ProcessExecutor, SerialExecutor
from deap_hpo.functions.objective import Objective
from deap_hpo.study import Study


@pytest.fixture
def executor() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(1) as made:
        yield made


def pid_with(more: Any = None) -> Callable[[dict[str, Any]], float]:
    """Give a new function that tells its process, and holds something."""
    return lambda params: [more, float(os.getpid())][1]


def pid_of(executor: ProcessExecutor, evaluate: Any) -> int:
    (done,) = results(executor, evaluate, 1)
    assert not done.error
    return int(done.value)


class PidObject:
    def __init__(self, action: Callable[[], Any] | None = None) -> None:
        self.action = action

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.action:
            self.action()

    def __call__(self, params: dict[str, Any]) -> float:
        return float(os.getpid())


def no_such_data() -> None:
    raise FileNotFoundError("no such data")


@pytest.mark.parametrize("server", ["forked", "spawned"])
def test_functions_of_all_kinds_are_taken_by_the_same_workers(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if server == "spawned":
        monkeypatch.setattr(workers_module, "ensure_fork_server", lambda: False)
    with ProcessExecutor(2) as executor:
        results(executor, evaluators.sleep)
        pids = set(executor.worker_pids())
        functions: list[Any] = [evaluators.draw, lambda params: params["x"] + np.random.rand(), partial(plus, 0.5)]
        for evaluate in [*functions, *functions]:
            done = results(executor, evaluate)
            assert [one.values for one in done] == [one.values for one in results(SerialExecutor(), evaluate)]
            assert not any(one.error for one in done)
        assert set(executor.worker_pids()) == pids


def plus(number: float, params: dict[str, Any]) -> float:
    return float(params["x"] + number)


def test_a_coevolution_keeps_its_workers_and_gives_the_same_to_the_bit() -> None:
    def run(executor: Any) -> list[Any]:
        outcomes = []
        with Study(seed=1, executor=executor) as study:
            for partner in range(4):
                population = [Individual([float(i)]) for i in range(4)]
                outcomes.append(study.map(lambda one, p=partner: one[0] * p + np.random.rand(), population))
                pids.append(executor.worker_pids() if isinstance(executor, ProcessExecutor) else [])
        return outcomes

    pids: list[list[int]] = []
    assert run(ProcessExecutor(1)) == run(SerialExecutor())
    assert len(pids[0]) == 1
    assert pids[:4] == [pids[0]] * 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(3),
        lambda: {"layer": torch.nn.Linear(2, 2)},
        socket.socket,
        multiprocessing.get_context("spawn").Lock,
    ],
    ids=["tensor", "network", "socket", "lock"],
)
def test_what_is_passed_while_a_process_starts_needs_a_new_worker(executor: ProcessExecutor, make: Any) -> None:
    first, held = pid_of(executor, pid_with()), make()
    assert pid_of(executor, pid_with(held)) != first
    if hasattr(held, "close"):
        held.close()


def test_tensors_of_other_functions_are_still_shared(executor: ProcessExecutor) -> None:
    tensor = torch.zeros(1)

    def fill(params: dict[str, Any]) -> float:
        tensor.fill_(7.0)
        return 0.0

    results(executor, evaluators.square, 1)
    results(executor, fill, 1)
    assert tensor.item() == 7


def test_evaluators_need_new_workers(executor: ProcessExecutor) -> None:
    pid = pid_of(executor, pid_with())
    for evaluate in (Objective(evaluators.square), pid_with(), Objective(evaluators.square)):
        results(executor, evaluate, 1)
        assert executor.worker_pids() != [pid]
        (pid,) = executor.worker_pids()


def test_workers_are_new_if_the_driver_has_changed(
    executor: ProcessExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pids = [pid_of(executor, pid_with())]

    def is_new() -> bool:
        pids.append(pid_of(executor, pid_with()))
        return pids[-1] != pids[-2]

    assert not is_new()
    monkeypatch.setenv("DEAP_HPO_TEST", "1")
    assert is_new()
    assert not is_new()
    monkeypatch.chdir(tmp_path)
    assert is_new()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert is_new()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "more"])
    assert is_new()
    mask = os.umask(0o77)
    assert is_new()
    os.umask(mask)
    assert is_new()


def test_a_module_that_was_reloaded_is_not_the_old_one_in_workers(
    executor: ProcessExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    script = tmp_path / "changes_meanwhile.py"
    try:
        results(executor, evaluators.square, 1)
        for number in range(3):  # imported after the worker's start, and then reloaded
            script.write_text(f"def number(params):\n    return {float(number)}\n")
            importlib.invalidate_caches()
            module = importlib.import_module(script.stem)
            if number:
                module = importlib.reload(module)
            assert [one.value for one in results(executor, partial(module.number), 2)] == [number] * 2
    finally:
        sys.modules.pop(script.stem, None)


@pytest.mark.parametrize(
    ("evaluate", "told"),
    [
        (PidObject(no_such_data), "made ready in a worker process:\n(.*\n)*FileNotFoundError: no such data"),
        (PidObject(partial(os._exit, 7)), r"before it was ready \(exit code 7\)"),
        (pid_with(threading.Lock()), "The evaluator could not be sent to a worker process: .*lock"),
    ],
    ids=["raises", "ends", "cannot be sent"],
)
def test_one_that_does_not_work_there_is_refused_as_at_the_start(
    executor: ProcessExecutor, evaluate: Any, told: str
) -> None:
    messages = []
    for _ in range(2):
        with pytest.raises(InputError, match=told) as caught:
            results(executor, evaluate)
        messages.append(str(caught.value).splitlines()[-1])
        assert executor.worker_pids() == []
        results(executor, evaluators.square)
    executor.close()
    with pytest.raises(InputError) as caught:
        results(executor, evaluate)
    assert messages == [str(caught.value).splitlines()[-1]] * 2


def test_workers_killed_before_another_function_cost_nothing() -> None:
    with ProcessExecutor(2) as executor:
        for factor in range(3):
            done = results(executor, lambda params, factor=factor: params["x"] * factor)
            assert [(one.value, one.retries) for one in done] == [(i * factor, 0) for i in range(5)]
            pids = executor.worker_pids()[: 1 + factor % 2]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            assert all_gone(pids)


def leaves_a_child_and_ends_later(params: dict[str, Any]) -> float:
    if os.fork() == 0:  # it holds the worker's end of the pipe
        time.sleep(5)
        os._exit(0)
    threading.Timer(0.1, os._exit, [7]).start()
    return 0.0


def test_so_does_one_that_has_ended_by_itself_though_a_child_of_its_holds_its_pipe(executor: ProcessExecutor) -> None:
    results(executor, leaves_a_child_and_ends_later, 1)
    assert all_gone(executor.worker_pids())
    assert [one.retries for one in results(executor, evaluators.square)] == [0] * 5


def test_workers_killed_while_they_take_another_function_cost_nothing() -> None:
    with ProcessExecutor(2) as executor:
        results(executor, evaluators.sleep, 4)
        pids = executor.worker_pids()

        def kill() -> None:
            time.sleep(0.2)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        done = results(executor, evaluators.SlowToOpen(), 3)
        thread.join()
        assert [(one.value, one.retries) for one in done] == [(0, 0), (1, 0), (2, 0)]
        assert not set(pids) & set(executor.worker_pids())


def test_deaths_and_time_limits_are_those_of_the_other_function(tmp_path: Path) -> None:
    with ProcessExecutor(2, timeout=0.7) as executor:
        results(executor, evaluators.square)
        done = results(executor, evaluators.DiesAt2(tmp_path, 1))
        assert [(one.value, one.retries) for one in done] == [(0, 0), (1, 0), (2, 1), (3, 0), (4, 0)]
        done = results(executor, evaluators.hang_at_2)
        assert [one.timed_out for one in done] == [False, False, True, False, False]
        assert [one.value for one in results(executor, evaluators.square)] == [0, 1, 4, 9, 16]


def test_a_worker_that_is_not_ready_yet_takes_the_last_function() -> None:
    with ProcessExecutor(2) as executor:
        results(executor, evaluators.SlowToOpen(), 1)
        executor._pool._idle.append(executor._start())  # as one that had no turn before the batch was done
        assert [one.ready for one in executor._pool.workers] == [True, False]
        results(executor, evaluators.square, 1)
        done = results(executor, lambda params: [time.sleep(0.2), (params["x"] + 100, os.getpid())][1], 12)
        assert [one.values[0] for one in done] == list(range(100, 112))
        assert {one.values[1] for one in done} == set(executor.worker_pids())
        assert all(one.ready for one in executor._pool.workers)


def test_a_run_that_was_left_has_no_part_in_the_next(executor: ProcessExecutor) -> None:
    left = executor.run(evaluators.sleep, requests(3, seconds=0.3))
    next(left)
    assert [one.value for one in results(executor, evaluators.square)] == [0, 1, 4, 9, 16]
    left.close()


def test_an_interruption_between_two_workers_leaves_none_with_an_old_function(monkeypatch: pytest.MonkeyPatch) -> None:
    give, given = workers_module.Worker.give, []

    def interrupted(*arguments: Any) -> None:
        given.append(arguments)
        if len(given) == 2:
            raise KeyboardInterrupt
        give(*arguments)

    with ProcessExecutor(2) as executor:
        results(executor, evaluators.sleep)
        with monkeypatch.context() as patch:
            patch.setattr(workers_module.Worker, "give", interrupted)
            with pytest.raises(KeyboardInterrupt):
                results(executor, evaluators.square)
        for evaluate in (evaluators.sleep, evaluators.square):
            assert [one.values for one in results(executor, evaluate)] == [
                one.values for one in results(SerialExecutor(), evaluate)
            ]


def test_workers_keep_their_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with ProcessExecutor(gpus=[1, 3]) as executor:
        functions = [lambda params: evaluators.visible_gpu(params) for _ in range(2)]
        first, second = ({one.values for one in results(executor, evaluate, 8)} for evaluate in functions)
    assert first == second
    assert {gpu for gpu, _ in first} == {1, 3}


def test_a_worker_is_replaced_after_its_evaluations_whatever_their_functions() -> None:
    with ProcessExecutor(1, max_tasks_per_child=2) as executor:
        pids = [pid_of(executor, pid_with(i)) for i in range(5)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


if sys.platform == "linux":

    def test_memory_does_not_grow_over_100_functions(executor: ProcessExecutor) -> None:
        def holding(number: int) -> Callable[[dict[str, Any]], float]:
            data = np.full(1_000_000, float(number))  # 8 MB
            return lambda params: evaluators.own_memory(params) + 0 * float(data[0])

        done: list[Evaluation] = []
        for number in range(100):
            done += results(executor, holding(number), 1)
        assert done[-1].value - done[10].value < 20
