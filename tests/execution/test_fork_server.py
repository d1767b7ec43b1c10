"""Workers are forked from a process that has imported torch, and otherwise behave like new interpreters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, get_all_start_methods, get_context, get_start_method, set_start_method
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evaluators
import pytest
import torch
from processes import all_gone, children_of, parent_of

from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.execution import fork_server
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

pytestmark = pytest.mark.skipif(not fork_server.ensure_fork_server(), reason="workers are new interpreters here")


@pytest.fixture(scope="module")
def started_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessExecutor]:
    """Workers of a server that was started in a folder of misleading modules, without a setting of threads."""
    _kill_server()  # that of the tests before
    folder = tmp_path_factory.mktemp("misleading")
    (folder / "deap_hpo").mkdir()
    for name in ("torch.py", "numpy.py", "deap_hpo/__init__.py", "profile.py"):  # the last one shadows Python's library
        (folder / name).write_text("raise SystemExit('not this one')")
    executor = ProcessExecutor(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path, str(folder)])
        for name in fork_server._ONE_THREAD:
            patch.delenv(name, raising=False)
        evaluations(executor, evaluators.square)
    yield executor
    executor.close()
    _kill_server()


@pytest.fixture
def workers(started_here: ProcessExecutor) -> Iterator[ProcessExecutor]:
    yield started_here
    started_here.close()


def _servers(driver: int | None = None) -> list[int]:
    children = children_of(driver or os.getpid())
    return [one for one in children if "forkserver" in Path(f"/proc/{one}/cmdline").read_text()]


def _kill_server() -> None:
    servers = _servers()
    for server in servers:
        os.kill(server, signal.SIGKILL)
    assert all_gone(servers)


def evaluations(executor: ProcessExecutor, evaluate: Any, count: int = 2) -> list[Evaluation]:
    done = dict(executor.run(evaluate, [Request(i, {"x": i}, seed=i) for i in range(count)]))
    return [done[i] for i in range(count)]


def test_a_worker_has_torch_and_what_optimizers_import_from_its_birth(workers: ProcessExecutor) -> None:
    modules = ["torch", "torch._dynamo", ReferenceTrainer.__module__]
    done = evaluations(workers, evaluators.BirthOf(modules))
    assert [one.values[:3] for one in done] == [(1.0, 1.0, 1.0)] * 2
    assert all(one.values[3] > 100_000 for one in done), "objects that garbage collections leave out"


def test_modules_of_the_user_are_each_workers_own(workers: ProcessExecutor) -> None:
    done = evaluations(workers, evaluators.BirthOf([]))
    assert {one.values[-1] for one in done} == set(workers.worker_pids()), "they were imported after the fork"


def test_the_environment_is_the_drivers_of_now(workers: ProcessExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_AFTER_THE_SERVER_STARTED", "3")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("HOME")
    (done,) = evaluations(workers, evaluators.environment, 1)
    assert done.environment == fork_server.worker_environment()
    assert done.environment.keys() - os.environ.keys() <= fork_server._ONE_THREAD.keys()


def test_generators_that_nobody_seeds_differ_between_workers_and_runs(workers: ProcessExecutor) -> None:
    drawn = []
    for _ in range(2):
        drawn += [value for one in evaluations(workers, evaluators.Draws()) for value in one.values]
        workers.close()
    assert len(set(drawn)) == 8


def test_processes_that_the_user_forks_from_the_server_have_the_users_environment(workers: ProcessExecutor) -> None:
    evaluations(workers, evaluators.square)
    with get_context("forkserver").Pool(1) as pool:
        there = pool.apply(evaluators.environment, ({},)).environment
    ours = {*fork_server._ONE_THREAD, "PYTHONPATH", "PYTHONSAFEPATH", "DEAP_HPO_PRELOADING"}
    assert len(there) > 3
    assert there.keys() & ours <= os.environ.keys() - fork_server._ONE_THREAD.keys(), "it was started without those"


def test_umask_cores_and_niceness_are_the_drivers_of_now(
    workers: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpriority", lambda *_: 5)  # a mock: really raised, niceness could not be lowered
    mask, cores = os.umask(0o077), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        (done,) = evaluations(workers, evaluators.ProcessAttributes(), 1)
    finally:
        os.umask(mask)
        os.sched_setaffinity(0, cores)
    assert done.values == (0o077, 1.0, 5.0)


@pytest.mark.parametrize("method", [None, "fork", "spawn"])
def test_processes_of_the_users_own_are_started_as_in_the_driver(workers: ProcessExecutor, method: str | None) -> None:
    """Otherwise each process of a DataLoader imports torch and the script, in every epoch."""
    expected = method or get_all_start_methods()[0]

    def is_expected(params: dict[str, Any]) -> float:
        import multiprocessing  # the worker's own: its functions are methods, and would be sent with their state

        return float(multiprocessing.get_start_method() == expected)

    before = get_start_method(allow_none=True)
    set_start_method(method, force=True)
    try:
        (done,) = evaluations(workers, is_expected, 1)
    finally:
        set_start_method(before, force=True)
    assert done.values == (1.0,)


def test_a_start_that_is_interrupted_leaves_no_worker(
    workers: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluations(workers, evaluators.square)
    workers.close()
    (server,) = _servers()

    def interrupted(*_: object) -> None:  # where the driver waits for the new worker's process id
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forkserver, "read_signed", interrupted)
        with pytest.raises(KeyboardInterrupt) as kept:  # with its frames, as a notebook keeps them
            evaluations(workers, evaluators.square)
    time.sleep(1)  # by then the worker has come
    assert all_gone(children_of(server))
    assert kept.traceback
    assert [one.value for one in evaluations(workers, evaluators.square)] == [0, 1]


@pytest.mark.parametrize("there", [True, False])
def test_only_what_is_found_where_the_driver_found_it_is_preloaded(there: bool) -> None:
    found = sys.modules["json"].__file__ if there else "/elsewhere/json/__init__.py"
    told = {"modules": ["json.tool"], "packages": {"json": found}, "environment": {"WAS_SET": None}}
    folder = Path(fork_server.__file__).parent / "forking"
    done = subprocess.run(
        [sys.executable, "-c", "import os, sys, deap_hpo_preloading; print('json.tool' in sys.modules, *os.environ)"],
        env={"PYTHONPATH": str(folder), "DEAP_HPO_PRELOADING": json.dumps(told), "WAS_SET": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    is_imported, *names = done.stdout.split()
    assert is_imported == str(there)
    assert not {"WAS_SET", "DEAP_HPO_PRELOADING"} & {*names}


INTERRUPTED = """
import sys
import evaluators, torch
from deap_hpo.evaluation import Request
from deap_hpo.execution.executors import ProcessExecutor

if __name__ == "__main__":
    executor = ProcessExecutor(1)
    print("started", flush=True)
    try:
        list(executor.run(evaluators.square, [Request(0, {"x": 1}, 0)]))
    except KeyboardInterrupt:
        kept = sys.exc_info()  # as a notebook does
        executor.close()
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize("seconds", [0.3, 1.5])
def test_ctrl_c_while_the_server_imports_is_told_by_the_driver_alone(tmp_path: Path, seconds: float) -> None:
    (tmp_path / "script.py").write_text(INTERRUPTED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "started\n"
    while not (servers := _servers(driver.pid)):
        assert driver.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)
    os.killpg(driver.pid, signal.SIGINT)
    assert all_gone(servers, seconds=3), "it does not go on importing"
    assert driver.stdout.read() == "interrupted\n", "up to the end of all that has this output open"
    driver.wait()


def test_what_is_forked_has_one_thread_and_has_not_asked_for_a_gpu(workers: ProcessExecutor) -> None:
    evaluations(workers, evaluators.square)
    (server,) = _servers()
    assert "\nThreads:\t1\n" in Path(f"/proc/{server}/status").read_text()
    code = f"""
import torch
def refused(*arguments, **keywords):
    raise SystemExit("the GPU was asked for something")
functions = [name for name in dir(torch._C) if name.startswith("_cuda") and not name[5:6].isupper()]
assert len(functions) > 10 or not torch.backends.cuda.is_built()
for name in functions:
    setattr(torch._C, name, refused)
for name in {fork_server._imported()}:
    __import__(name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_more_tensors_than_the_server_passes_on_at_once(workers: ProcessExecutor) -> None:
    many = evaluators.SharedTensors([torch.full((2,), i) for i in range(300)])
    assert [one.value for one in evaluations(workers, many)] == [2.0 * sum(range(300))] * 2
    assert {parent_of(pid) for pid in workers.worker_pids()} == {os.getpid()}, "new interpreters"


# From here on each test ends the server, so that the next one would have to wait for its imports.


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_where_the_server_dies_before_its_first_worker_others_are_started(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server, "_imported", list)
    _kill_server()
    with monkeypatch.context() as patch:
        patch.setattr(fork_server, "json", SimpleNamespace(dumps=lambda _: "no JSON: it raises, and ends the server"))
        executor = ProcessExecutor(1)
        assert evaluations(executor, evaluators.Weighs(b"0" * size), 1)[0].value == size
        (pid,) = executor.worker_pids()
        assert parent_of(pid) == os.getpid()
        executor.close()


def test_a_server_that_is_killed_costs_what_its_workers_were_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "_imported", list)  # it is started again at once
    executor = ProcessExecutor(2, retries=1000)
    done: dict[int, Evaluation] = {}
    pids: set[int] = set()
    for position, evaluation in executor.run(evaluators.sleep, [Request(i, {"x": i}, seed=0) for i in range(30)]):
        done[position] = evaluation
        pids |= {*executor.worker_pids()}
        if len(done) in (3, 7, 11):
            _kill_server()
    assert [done[i].value for i in range(30)] == list(range(30))
    assert 0 < sum(one.retries for one in done.values()) <= 6
    executor.close()
    assert len(pids) > 2
    assert all_gone(list(pids)), "workers that have outlived their server end, too"


def test_a_server_that_is_killed_while_a_worker_starts_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "_imported", list)
    executor = ProcessExecutor(1)
    evaluate, kills = evaluators.SlowToOpen(), 0

    def kill_the_first_two(executor_wait: Callable[..., Any]) -> Callable[..., Any]:
        def wait_for(*arguments: Any) -> Any:
            nonlocal kills
            if kills < 2:
                kills += 1
                _kill_server()
            return executor_wait(*arguments)

        return wait_for

    monkeypatch.setattr(executor._pool, "_wait_for", kill_the_first_two(executor._pool._wait_for))
    assert [one.value for one in evaluations(executor, evaluate)] == [0.0, 1.0]
    assert kills == 2
    executor.close()


def no_socket() -> None:
    raise OSError("AF_UNIX path too long")


@pytest.mark.parametrize(
    ("where", "name", "there"), [(forkserver, "ensure_running", no_socket), (sys, "platform", "darwin")]
)
def test_without_a_server_results_are_the_same(
    where: Any, name: str, there: Any, digits_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> tuple[list[float], bool]:
        executor = ProcessExecutor(1)
        trainer = ReferenceTrainer(digits_task, epochs=2, device="cpu")
        ((_, done),) = executor.run(trainer, [Request(0, {"lr": 0.1}, seed=1)])
        (pid,) = executor.worker_pids()
        forked = parent_of(pid) != os.getpid()
        executor.close()
        return [loss for e in done.curve for loss in (e.training_loss, e.validation_loss)], forked

    losses, forked = run()
    assert len(losses) == 4
    monkeypatch.setattr(where, name, there)
    assert forked
    assert run() == (losses, False)
