"""What workers print is printed by the driver, whole and before their results, or goes where its output goes."""

from __future__ import annotations

import copy
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.execution.output import Channel, PassedOn, passed_on, print_for_worker


def evaluations(function: Callable[[dict[str, Any]], float], count: int = 1, **options: Any) -> list[Evaluation]:
    requests = [Request(i, {"x": i}, seed=0) for i in range(count)]
    with ProcessExecutor(workers=min(count, 2), **options) as executor:
        return [evaluation for _, evaluation in sorted(executor.run(function, requests), key=lambda done: done[0])]


def test_both_streams_are_printed_before_the_result_comes(capsys: pytest.CaptureFixture[str]) -> None:
    def talk(params: dict[str, Any]) -> float:
        print("begun", end="")
        print(" and done")
        sys.stderr.write("a warning\n")
        sys.stdout.writelines(["one\n", "two\n"])
        print("without an end", end="")
        return 1.0

    requests = [Request(0, {}, seed=0)]
    with ProcessExecutor(workers=1) as executor:
        for _, evaluation in executor.run(talk, requests):
            said = capsys.readouterr()
            assert said.out == "begun and done\none\ntwo\nwithout an end\n"
            assert said.err == "a warning\n"
            assert evaluation.value == 1.0


def test_of_a_progress_bar_only_its_end_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def train(params: dict[str, Any]) -> float:
        for share in range(0, 101, 10):
            sys.stderr.write(f"\r{share} %")
            sys.stderr.flush()
        sys.stderr.write("\n")
        return 1.0

    evaluations(train)
    assert capsys.readouterr().err == "100 %\n"


def test_logging_and_warnings_of_workers_are_seen(capsys: pytest.CaptureFixture[str]) -> None:
    def train(params: dict[str, Any]) -> float:
        import warnings

        logging.basicConfig(level="INFO", format="%(message)s", force=True)
        logging.info("epoch 1")
        warnings.warn("a plateau", stacklevel=1)
        return 1.0

    evaluations(train)
    said = capsys.readouterr().err
    assert said.startswith("epoch 1\n")
    assert "UserWarning: a plateau" in said


def test_lines_of_many_threads_come_whole_and_so_does_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    def talk(params: dict[str, Any]) -> float:
        def say(name: int) -> None:
            for i in range(300):
                sys.stdout.write(f"{name}-{i}-{'x' * 100}\n")

        threads = [threading.Thread(target=say, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return float(params["x"])

    assert [one.value for one in evaluations(talk, 2)] == [0.0, 1.0]
    lines = capsys.readouterr().out.splitlines()
    wanted = sorted(f"{name}-{i}-{'x' * 100}" for name in range(4) for i in range(300))
    assert sorted(lines) == sorted(wanted * 2)


def test_a_worker_that_never_stops_talking_keeps_no_other_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    def talk(params: dict[str, Any]) -> float:
        while params["x"] == 0:
            print("and so on")
        return 1.0

    start = time.monotonic()
    late, other = evaluations(talk, 2, timeout=1.5)
    assert (late.timed_out, other.value) == (True, 1.0)
    assert time.monotonic() - start < 30
    assert set(capsys.readouterr().out.splitlines()) == {"and so on"}


def test_what_a_worker_said_before_it_died_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def die(params: dict[str, Any]) -> float:
        print("last words")
        os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

    (failed,) = evaluations(die, retries=1)
    assert "died 2 time(s)" in failed.error
    assert capsys.readouterr().out == "last words\n" * 2


def test_processes_that_a_worker_forks_do_not_use_its_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Two processes that send on one pipe would break each other's messages."""

    def fork(params: dict[str, Any]) -> float:
        child = os.fork()
        if child == 0:
            for _ in range(200):
                print("from a child", flush=True)
            os._exit(0)
        for _ in range(200):
            print("from the worker")
        os.waitpid(child, 0)
        return 1.0

    assert evaluations(fork)[0].value == 1.0
    assert capsys.readouterr().out == "from the worker\n" * 200


@pytest.mark.parametrize("where", ["file", "nowhere"])
def test_output_that_goes_elsewhere_is_written_there_by_the_workers_themselves(where: str, tmp_path: Path) -> None:
    code = """
        import os, sys
        from deap_hpo.evaluation import Request
        from deap_hpo.execution.executors import ProcessExecutor

        def talk(params):
            print("hello", os.getpid(), type(sys.stdout).__name__, flush=True)
            return float(os.getpid())

        if __name__ == "__main__":
            if sys.argv[1] == "nowhere":
                sys.stdout = None
            with ProcessExecutor(workers=1) as executor:
                ((_, evaluation),) = executor.run(talk, [Request(0, {}, seed=0)])
            print(f"done {evaluation.value:.0f}", file=sys.__stdout__)
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, str(script), where], stdout=out, check=True)
    hello, done = (tmp_path / "out").read_text().splitlines()
    pid = done.split()[1]
    assert hello == f"hello {pid} TextIOWrapper"


def test_what_is_printed_in_the_middle_of_a_message_does_not_break_it() -> None:
    sent: list[bytes] = []

    def send(message: bytes) -> None:
        sent.append(message[:2])
        if message == b"owhole\n":
            stream.write("a finaliser\n")  # is called now, by the garbage collector
        sent.append(message[2:])

    channel = Channel(send)
    stream = PassedOn(None, b"o", channel)
    stream.write("whole\n")
    channel.send(b"an answer")
    assert sent == [b"ow", b"hole\n", b"oa", b" finaliser\n", b"an", b" answer"]


def test_an_alarm_while_the_driver_is_busy_breaks_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    """Evaluations may limit their own time by an alarm, which interrupts whatever they are doing."""

    def talk(params: dict[str, Any]) -> float:
        def ring(*_: object) -> None:
            raise TimeoutError

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            while params["x"]:
                print("x" * 100_000)
        except TimeoutError:
            return 2.0
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return 1.0

    requests = [Request(i, {"x": i}, seed=0) for i in range(2)]
    with ProcessExecutor(workers=2) as executor:
        values = []
        for _, evaluation in executor.run(talk, requests):
            values.append(evaluation.value)
            time.sleep(0.5)  # the pipe is full by now
    assert sorted(values) == [1.0, 2.0]
    assert set(capsys.readouterr().out.splitlines()) == {"x" * 100_000}


def test_an_evaluation_that_was_done_in_time_is_not_late_because_the_driver_was_busy() -> None:
    def talk(params: dict[str, Any]) -> float:
        for _ in range(220 * params["x"]):
            print("a line")
        return 1.0

    requests = [Request(i, {"x": i}, seed=0) for i in range(2)]
    values = []
    with ProcessExecutor(workers=2, timeout=1.5) as executor:
        for _, evaluation in executor.run(talk, requests):
            values.append(evaluation.value)
            time.sleep(2.0)
    assert values == [1.0, 1.0]


def test_a_line_may_be_made_of_many_parts() -> None:
    sent: list[bytes] = []
    stream = PassedOn(None, b"o", Channel(sent.append))
    start = time.monotonic()
    for _ in range(300_000):
        stream.write(".")
    stream.end_line()
    assert time.monotonic() - start < 10  # it took longer when the beginning was looked through each time
    assert sent == [b"o" + b"." * 300_000 + b"\n"]


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (["a line\r", "\n"], b"oa line\r\n"),
        (["a line\r\n"], b"oa line\r\n"),
        (["10 %\r", "20 %\r", "\n"], b"o20 %\r\n"),
        (["\r10 %", "\r", "20", " %", "\n"], b"o20 %\n"),
        (["10 %\r", "done\nnext\n"], b"odone\nnext\n"),
    ],
)
def test_a_carriage_return_at_the_end_of_a_line_overwrites_nothing(parts: list[str], line: bytes) -> None:
    sent: list[bytes] = []
    stream = PassedOn(None, b"o", Channel(sent.append))
    for part in parts:
        stream.write(part)
    assert sent == [line]


def test_what_no_encoding_has_is_replaced() -> None:
    sent: list[bytes] = []
    PassedOn(None, b"o", Channel(sent.append)).write("\ud800\n")
    assert sent == [b"o?\n"]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_driver_prints_for_workers_on_a_terminal(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def isatty(self) -> bool:
            return terminal

    for name in ("stdout", "stderr"):
        stream = Stream()
        monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, f"__{name}__", stream)
    assert passed_on() == (("stdout", "stderr") if terminal else ())


def test_a_stream_may_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    def talk(params: dict[str, Any]) -> float:
        copy.copy(sys.stdout).write("from a copy\n")
        return 1.0

    assert evaluations(talk)[0].error == ""
    assert capsys.readouterr().out == "from a copy\n"


def test_a_driver_that_cannot_print_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> int:
            raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(sys, "stdout", Closed())
    assert print_for_worker(b"ohello")
    assert not print_for_worker(b"\x80an answer")
