"""The Ray executor on real clusters on this machine: the contract of all executors, and the loss of a node."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import evaluators
import pytest
import torch
from test_executors import check_that_one_that_kills_takes_no_other_of_its_chunk_with_it, requests, results
from written import PBT

from deap_hpo.__main__ import evolve
from deap_hpo.configuration.config import load_config
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.recorded import load_study
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

ray = pytest.importorskip("ray", reason="needs the extra [ray]")
cluster_utils = pytest.importorskip("ray.cluster_utils")

from ray.cloudpickle import CloudPickler  # noqa: E402

from deap_hpo.execution.ray_executor import RayExecutor, _as_array, _from_array  # noqa: E402

QUIET = {"include_dashboard": False, "num_cpus": 1}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each, as two raylets on loopback."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *([before] if before else [])])
    made = cluster_utils.Cluster(initialize_head=True, head_node_args=QUIET)
    made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture
def executor(cluster: Any) -> Iterator[RayExecutor]:
    made = RayExecutor(address=cluster.address)
    yield made
    made.close()


def test_evaluations_under_way_are_seen_if_the_workers_share_the_folder(executor: RayExecutor, tmp_path: Path) -> None:
    seen = [Request(i, {"x": 0.5}, seed=0, progress=f"{tmp_path}/{there}") for i, there in enumerate([".", "not"])]
    assert [one.value for _, one in sorted(executor.run(evaluators.Watching(), seen))] == [1.0, 0.0]


def test_results_are_the_same_to_the_bit(executor: RayExecutor, digits_task: Task) -> None:
    drawn = [evaluation.values for evaluation in results(executor, evaluators.draw)]
    assert drawn == [evaluation.values for evaluation in results(SerialExecutor(), evaluators.draw)]
    trainer = ReferenceTrainer(digits_task, epochs=1, device="cpu")
    batch = [Request(i, {"lr": 0.01 * (i + 1)}, seed=3) for i in range(3)]
    trained = {i: (e.status, e.values, e.curve[-1].training_loss) for i, e in executor.run(trainer, batch)}
    assert trained == {
        i: (e.status, e.values, e.curve[-1].training_loss) for i, e in SerialExecutor().run(trainer, batch)
    }


def test_what_goes_wrong_is_failed_and_harms_nothing_else(executor: RayExecutor, tmp_path: Path) -> None:
    done = results(executor, evaluators.break_at_2)
    assert [evaluation.status for evaluation in done] == ["ok", "ok", "failed", "ok", "ok"]
    assert "no such thing" in done[2].error
    done = results(executor, evaluators.DiesAt2(tmp_path, 1))
    assert [(evaluation.value, evaluation.retries) for evaluation in done] == [(i, int(i == 2)) for i in range(5)]
    executor.close()  # its workers hold the cluster's cores
    late = RayExecutor(2, timeout=2)
    done = results(late, evaluators.hang_at_2)
    late.close()
    assert [evaluation.timed_out for evaluation in done] == [False, False, True, False, False]
    with pytest.raises(InputError, match="not prepared"):
        results(executor, evaluators.BreaksInPreparation())


def test_batches_go_in_chunks_and_one_that_kills_takes_no_other_with_it(cluster: Any, tmp_path: Path) -> None:
    check_that_one_that_kills_takes_no_other_of_its_chunk_with_it(RayExecutor(2, chunk=3), tmp_path)


def test_the_loss_of_a_node_costs_retries_and_nothing_else(cluster: Any) -> None:
    node = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    executor = RayExecutor(address=cluster.address)
    (raylet,) = node.all_processes["raylet"]
    done: dict[int, Evaluation] = {}
    lost = False
    further = iter(requests(200, seconds=0.2))
    asked = list(islice(further, 10))
    for position, evaluation in executor.run(evaluators.sleep_and_tell_parent, asked):
        done[position] = evaluation
        if not lost and evaluation.values[1] == raylet.process.pid:  # it is at work
            cluster.remove_node(node, allow_graceful=False)
            lost = True
            asked += islice(further, 10)
        elif not lost:
            asked += islice(further, 1)
    executor.close()
    assert [done[i].values[0] for i in range(len(asked))] == list(range(len(asked)))
    assert lost
    assert 1 <= sum(evaluation.retries for evaluation in done.values()) <= 2


def test_workers_are_replaced_after_as_many_evaluations_as_asked(cluster: Any) -> None:
    with RayExecutor(workers=1, address=cluster.address, max_tasks_per_child=2) as executor:
        done = dict(executor.run(lambda _: float(os.getpid()), requests(5)))
    pids = [done[number].value for number in range(5)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


def test_tensors_stay_in_the_store(executor: RayExecutor) -> None:
    """Also if Ray was imported before this package, as here: Ray reads its own switch for it when it is imported."""
    private = {}
    for megabytes in (1, 128):
        tensor = torch.ones(megabytes * 1_000_000 // 4, dtype=torch.float32)
        (evaluation,) = results(executor, evaluators.PrivateMemory(tensor), 1)
        assert evaluation.values[0] == len(tensor)
        private[megabytes] = evaluation.values[1]
    assert private[128] - private[1] < 64
    assert torch.Tensor not in CloudPickler.dispatch, "what a user's own tasks send goes as Ray sends it"


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3).t(),
        torch.tensor(3),
        torch.zeros(0, 4),
        torch.tensor([True, False]),
        torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        torch.ones(3, requires_grad=True),
        torch.eye(3).to_sparse(),
    ],
    ids=lambda one: f"{one.dtype}-{tuple(one.shape)}",
)
def test_a_tensor_arrives_as_it_was(tensor: torch.Tensor) -> None:
    packed = pickle.loads(pickle.dumps(_as_array(tensor)))
    arrived = _from_array(packed)
    assert (arrived.dtype, arrived.shape, arrived.layout) == (tensor.dtype, tensor.shape, tensor.layout)
    assert arrived.requires_grad == tensor.requires_grad
    assert torch.equal(arrived.to_dense(), tensor.to_dense())


def test_a_worker_imports_torch_only_for_what_needs_it(executor: RayExecutor) -> None:
    (evaluation,) = results(executor, evaluators.BirthOf(["torch"]), 1)
    assert evaluation.values[0] == 0.0


def test_population_based_training_goes_on_from_checkpoints_of_other_workers(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere, and the storage is a relative path
    (tmp_path / "pbt.toml").write_text(PBT.replace("generations = 5", "generations = 3"))
    runs = {}
    for name, executor in (("here", "serial"), ("ray", "ray")):
        settings = [f"study.name={name}", f"execution.executor={executor}", f'execution.address="{cluster.address}"']
        evolve(load_config("pbt.toml", settings), verbose=False)
        entries = load_study(name, "runs/studies.db").entries
        runs[name] = [(e.genes, e.start_from, e.epochs, e.evaluation.values, e.evaluation.checkpoint) for e in entries]
        kept = {path.stem for path in Path(f"runs/{name}/checkpoints").iterdir()}
        assert {entry.evaluation.checkpoint for entry in entries[-4:]} <= kept
    assert len(runs["ray"]) == 12
    assert any(start is not None and start % 4 != i % 4 for i, (_, start, *_) in enumerate(runs["ray"])), "inherited"
    assert runs["ray"] == runs["here"], "to the bit, weights included"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"workers": 0}, "workers"),
        ({"chunk": True}, "chunk"),
        ({"num_cpus": -1}, "num_cpus"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        RayExecutor(**arguments)


def test_a_worker_larger_than_the_cluster_is_refused(cluster: Any) -> None:
    with pytest.raises(InputError, match="no room for a worker"):
        list(RayExecutor(address=cluster.address, num_gpus=1).run(evaluators.square, requests(1)))
