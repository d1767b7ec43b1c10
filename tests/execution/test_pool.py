"""The pool as a state machine, over workers that do as they are told: no processes, and the test's own clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from deap_hpo.budget import Budget, WhileTimeLasts
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.execution import pool
from deap_hpo.execution.pool import WorkerPool
from deap_hpo.execution.workers import WorkerDied


class Workers:
    """Starts workers, and decides what happens to them.

    Attributes:
        dies: How often a worker dies on a request, by the request's number.
        hangs: Numbers of the requests that never end.
        starts: For each of the next starts, whether it fails; later ones do not.
        sent: Numbers of the requests of each job, in the order in which they were handed out.
        now: The time, which advances when no worker has an answer.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.dies: dict[int, int] = {}
        self.hangs: set[int] = set()
        self.starts: list[bool] = []
        self.sent: list[list[int]] = []
        self.made: list[Fake] = []
        self.now = 0.0
        monkeypatch.setattr(pool, "monotonic", lambda: self.now)
        self.pool = WorkerPool(self._start, self._wait, **{"timeout": None, "retries": 2, **settings})

    def _start(self) -> Fake:
        self.made.append(Fake(self))
        return self.made[-1]

    def _wait(self, workers: list[Fake], seconds: float | None) -> list[Fake]:
        spoken = [worker for worker in workers if worker.has_spoken_or_died()]
        if not spoken:
            assert seconds is not None
            self.now += seconds + 0.01
        return spoken

    def run(self, count: int, workers: int = 2) -> list[Evaluation]:
        done = dict(self.pool.run([Request(number, None, 0) for number in range(count)], workers))
        return [done[number] for number in range(count)]


class Fake:
    """A worker that answers at once with the numbers of its requests."""

    def __init__(self, workers: Workers) -> None:
        self.workers, self.ready, self.killed = workers, False, False
        self.given: list[Request] = []

    def send(self, requests: Sequence[Request]) -> None:
        self.given = list(requests)
        self.workers.sent.append([request.number for request in requests])

    def receive(self) -> list[Evaluation] | None:
        if not self.ready:
            if self.workers.starts and self.workers.starts.pop(0):
                raise WorkerDied("killed", killed=True)
            self.ready = True
            return None
        for request in self.given:
            if self.workers.dies.get(request.number, 0) > 0:
                self.workers.dies[request.number] -= 1
                raise WorkerDied("exit code -9", killed=True)
        done, self.given = [Evaluation((float(request.number),)) for request in self.given], []
        return done

    def has_spoken_or_died(self) -> bool:
        hangs = any(request.number in self.workers.hangs for request in self.given)
        return not hangs and (not self.ready or bool(self.given))

    def kill(self) -> None:
        self.killed = True


def test_a_death_costs_a_retry_of_its_own_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(monkeypatch)
    workers.dies = {2: 2, 4: 9}
    done = workers.run(6)
    expected = [("ok", 0), ("ok", 0), ("ok", 2), ("ok", 0), ("failed", 2), ("ok", 0)]
    assert [(one.status, one.retries) for one in done] == expected
    assert "died 3 time(s)" in str(done[4].error)


def test_of_a_chunk_whose_worker_died_each_is_tried_alone_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(monkeypatch, chunk=3)
    workers.dies = {1: 1}
    assert [one.retries for one in workers.run(6)] == [1, 1, 1, 0, 0, 0]
    assert workers.sent == [[0, 1, 2], [3, 4, 5], [0], [1], [2]]


def test_a_chunk_may_take_as_many_times_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(monkeypatch, chunk=3, timeout=10.0)
    workers.hangs = {1}
    done = workers.run(3, workers=1)
    assert all(one.status == "failed" and one.timed_out for one in done)
    assert "time limit is 30 s" in str(done[0].error)
    assert 30 <= workers.now < 33


def test_a_worker_that_has_done_its_share_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(monkeypatch, max_tasks_per_child=2)
    workers.dies = {3: 1}
    assert [one.value for one in workers.run(7, workers=1)] == [float(number) for number in range(7)]
    assert workers.sent == [[0], [1], [2], [3], [3], [4], [5], [6]]
    assert [worker.killed for worker in workers.made] == [True, False, True, True], "the second one died"
    kept = Workers(monkeypatch)
    kept.run(7, workers=1)
    assert len(kept.made) == 1


def test_starts_that_are_killed_are_counted_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(monkeypatch, retries=99)
    workers.dies, workers.starts = {0: 30}, ([True] * 3 + [False]) * 31
    assert workers.run(1, workers=1)[0].retries == 30
    workers.pool.close()
    workers.starts = [True] * 10
    with pytest.raises(InputError, match="ended before it was ready"):
        workers.run(1, workers=1)


def test_nothing_is_handed_out_once_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even to a worker that has become free just before its result is recorded."""
    workers, budget = Workers(monkeypatch), Budget()
    requests = WhileTimeLasts([Request(number, None, 0) for number in range(9)], budget)
    answers = []
    for position, _ in workers.pool.run(requests, 2):
        answers.append(position)
        budget.stop()
    handed_out = [number for job in workers.sent for number in job]
    assert sorted(answers) == sorted(handed_out)
    assert len(handed_out) == 4  # the first two, and two more that were handed out before the first result was reported


def test_what_cannot_be_read_ends_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(self: Fake) -> None:
        raise InputError("The result does not reach this process.")

    workers = Workers(monkeypatch)
    workers.run(2)
    monkeypatch.setattr(Fake, "receive", unreadable)
    with pytest.raises(InputError, match="does not reach"):
        workers.run(2)
    assert all(worker.killed for worker in workers.made)
