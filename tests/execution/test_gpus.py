"""GPUs are shared out among worker processes: each sees one, and is given its share of a batch at once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evaluators
import pytest
import torch
from processes import all_gone
from test_executors import results

from deap_hpo.configuration.assembly import make_executor
from deap_hpo.configuration.config import load_config
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import BatchEvaluator, Evaluator
from deap_hpo.execution.executors import ProcessExecutor, SerialExecutor
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.task import Task


class _OnCuda(Evaluator):
    device = torch.device("cuda")

    def evaluate(self, request: Request) -> Evaluation:
        raise AssertionError("there may be no GPU")


CUDA = _OnCuda()


@pytest.fixture
def no_gpu_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def workers_by_gpu(executor: ProcessExecutor, count: int) -> dict[int, set[int]]:
    workers: dict[int, set[int]] = {}
    for evaluation in results(executor, evaluators.visible_gpu, count):
        gpu, pid = map(int, evaluation.values)
        workers.setdefault(gpu, set()).add(pid)
    return workers


@pytest.mark.usefixtures("no_gpu_is_hidden")
def test_each_worker_sees_one_gpu_and_one_that_is_replaced_the_freed_one() -> None:
    executor = ProcessExecutor(gpus=[1, 3])
    assert executor.workers == 2
    before = workers_by_gpu(executor, 8)
    assert sorted(before) == [1, 3]
    (lost,) = before[3]
    os.kill(lost, signal.SIGKILL)
    assert all_gone([lost])
    after = workers_by_gpu(executor, 8)
    executor.close()
    assert after[1] == before[1]
    assert sorted(after) == [1, 3]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ, "the driver sees all"


def test_gpus_are_counted_as_the_driver_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6, 4,5")
    executor = ProcessExecutor(4, gpus=(0, 2))
    assert Counter({gpu: len(pids) for gpu, pids in workers_by_gpu(executor, 16).items()}) == {6: 2, 5: 2}
    executor.close()
    with pytest.raises(InputError, match=r"gpus must be below 3, as CUDA_VISIBLE_DEVICES is '6, 4,5'; got \[0, 3\]"):
        ProcessExecutor(gpus=[0, 3])


def test_a_batch_that_raises_is_done_one_by_one(tmp_path: Path) -> None:
    executor = ProcessExecutor(2, chunk=3)
    done = results(executor, evaluators.BreaksInBatches(tmp_path, 0), 6)
    executor.close()
    assert [evaluation.values for evaluation in done] == [(0, 1), (1, 1), (2, 1), (3, 3), (4, 3), (5, 3)]
    assert not any(evaluation.retries for evaluation in done)
    batch = [Request(i, {"x": i}, seed=0) for i in range(3)]
    with pytest.warns(RuntimeWarning, match=r"a batch of 3 is done one by one \(RuntimeError: no such batch\)"):
        here = list(SerialExecutor().run(evaluators.BreaksInBatches(tmp_path, 0), batch))
    assert [(i, evaluation.values) for i, evaluation in here] == [(0, (0, 1)), (1, (1, 1)), (2, (2, 1))]


def test_what_a_batch_has_given_before_it_raises_is_not_done_again() -> None:
    asked: list[list[int]] = []

    class GivesUp(BatchEvaluator):
        def evaluate_batch(self, requests: Any) -> Iterator[tuple[int, Evaluation]]:
            asked.append([one.number for one in requests])
            for i, request in enumerate(requests):
                if request.number == 2:
                    raise RuntimeError("not 2")
                yield i, Evaluation((float(request.number),))

    requests = [Request(i, {}, seed=0) for i in range(4)]
    with pytest.warns(RuntimeWarning, match="a batch of 2 is done one by one"):
        done = dict(SerialExecutor().run(GivesUp(), requests))
    assert [done[i].status for i in range(4)] == ["ok", "ok", "failed", "ok"]
    assert asked == [[0, 1, 2, 3], [2], [3]]


class _OneOfEachBatch(BatchEvaluator):
    def __init__(self, end: BaseException | None) -> None:
        self.end = end

    def evaluate_batch(self, requests: Any) -> Iterator[tuple[int, Evaluation]]:
        yield 0, Evaluation((float(requests[0].number),))
        if self.end and len(requests) > 1:
            raise self.end


@pytest.mark.parametrize(
    ("end", "said"),
    [(None, "it gave too few evaluations"), (SystemExit(3), "SystemExit: 3"), (OSError("no"), "OSError: no")],
)
def test_what_a_batch_has_not_given_is_done_whatever_has_ended_it(end: BaseException | None, said: str) -> None:
    requests = [Request(i, {}, seed=0) for i in range(3)]
    with pytest.warns(RuntimeWarning, match=rf"a batch of 2 is done one by one \({said}\)"):
        done = dict(SerialExecutor().run(_OneOfEachBatch(end), requests))
    assert [done[i].value for i in range(3)] == [0.0, 1.0, 2.0]


def test_a_chunk_is_trained_as_one_stack_with_the_same_result(digits_task: Task) -> None:
    trainer = PopulationTrainer(digits_task, epochs=2, device="cpu")
    batch = [Request(i, {"lr": 0.1 / (1 + i)}, seed=3) for i in range(4)]
    executor = ProcessExecutor(1, chunk=4)
    there = dict(executor.run(trainer, batch))
    executor.close()
    assert [there[i].values for i in range(4)] == [e.values for _, e in sorted(SerialExecutor().run(trainer, batch))]


@pytest.mark.usefixtures("no_gpu_is_hidden")
@pytest.mark.parametrize("gpus", [[0, 0], [-1], "01", [0.5], 2, [True]])
def test_what_is_no_list_of_gpus_is_refused(gpus: Any) -> None:
    with pytest.raises(InputError, match="gpus must be different integers of at least 0"):
        ProcessExecutor(gpus=gpus)


@pytest.mark.usefixtures("no_gpu_is_hidden")
def test_gpus_that_are_not_there_or_not_computed_on_are_refused(
    monkeypatch: pytest.MonkeyPatch, digits_task: Task
) -> None:
    with pytest.raises(InputError, match="the device of PopulationTrainer is 'cpu'"):
        results(ProcessExecutor(gpus=[0]), PopulationTrainer(digits_task, device="cpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    executor = ProcessExecutor(gpus=[0, 2])
    with pytest.raises(InputError, match=r"gpus must be below 2, the number of GPUs; got \[0, 2\]"):
        next(executor.run(CUDA, []))
    assert executor.worker_pids() == []


@pytest.mark.usefixtures("no_gpu_is_hidden")
def test_a_configuration_names_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    asked: list[dict[str, Any]] = []

    def noted(workers: int | None, **settings: Any) -> ProcessExecutor:
        asked.append(settings)
        return ProcessExecutor(workers, **settings)

    monkeypatch.setattr("deap_hpo.configuration.assembly.ProcessExecutor", noted)
    trainer: Any = CUDA
    for executor in ("auto", "processes"):
        made = make_executor(trainer, load_config("quick", ["execution.gpus=[0,1]", f"execution.executor={executor}"]))
        assert isinstance(made, ProcessExecutor)
        assert (made.gpus, made.workers) == ((0, 1), 2)
        assert asked[-1] == {
            "gpus": [0, 1],
            "chunk": 16,
            "timeout": None,
            "retries": 2,
            "max_tasks_per_child": None,
        }
    assert isinstance(make_executor(trainer, load_config("quick", [])), SerialExecutor)
    limits = ["execution.timeout=9", "execution.retries=1", "execution.max_tasks_per_child=3"]
    make_executor(trainer, load_config("quick", ["execution.executor=processes", *limits]))
    assert asked[-1] == {"timeout": 9.0, "retries": 1, "max_tasks_per_child": 3}
    with pytest.raises(InputError, match=r"execution\.gpus is for the executor 'processes'; got 'serial'"):
        make_executor(trainer, load_config("quick", ["execution.gpus=[0]", "execution.executor=serial"]))
    with pytest.raises(InputError, match="below 2, the number of GPUs"):
        make_executor(trainer, load_config("quick", ["execution.gpus=[2]"]))


@pytest.mark.gpu
def test_on_cuda_workers_train_the_same(digits_task: Task) -> None:
    trainer = PopulationTrainer(digits_task, epochs=2, device="cuda")
    batch = [Request(i, {"lr": 0.1 / (1 + i)}, seed=3) for i in range(4)]
    executor = ProcessExecutor(gpus=range(torch.cuda.device_count()), chunk=2)
    there = dict(executor.run(trainer, batch))
    executor.close()
    for i, evaluation in SerialExecutor().run(trainer, batch):
        assert there[i].value == pytest.approx(evaluation.value, rel=1e-3)
