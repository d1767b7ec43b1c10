"""Evaluations on a Ray cluster: in parallel on many machines, in chunks on each GPU, repeated if a machine is lost."""

from __future__ import annotations

import logging
import pickle
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from deap_hpo.checks import check_optional_integer
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import Evaluate, as_evaluator, evaluate_chunk
from deap_hpo.execution.pool import WorkerPool
from deap_hpo.execution.workers import WorkerDied

try:
    import ray
    from ray.cloudpickle import CloudPickler
    from ray.exceptions import RayError, RayTaskError
    from ray.util.serialization import deregister_serializer, register_serializer
except ImportError:
    raise InputError("The executor 'ray' needs a further package: pip install 'deap-hpo[ray]'.") from None


class RayExecutor:
    """Evaluates on the workers of a Ray cluster; the results are those of any other executor.

    The evaluator and its data are put into the cluster's object store once. An evaluation that raises is "failed". One
    whose worker or machine is lost is repeated elsewhere, up to `retries` times, and then "failed".

    Args:
        workers: Number of workers; None for as many as the cluster has room for at the start of a batch.
        address: Address of a cluster, such as "auto" or "ray://head:10001"; None joins the one that this process uses
            or RAY_ADDRESS names, or else starts one on this machine.
        num_cpus: Cores that a worker takes.
        num_gpus: GPUs that a worker takes; may be a fraction.
        chunk: Requests that a worker is given at once: the size of a stack, for an evaluator that takes batches.
        timeout: Seconds that one evaluation may take (for a chunk, times its number of requests); None for no limit.
        retries: How often an evaluation whose worker was lost is repeated, at least 0.
        max_tasks_per_child: Evaluations after which a worker is replaced by a new one, at least 1, for example for code
            that leaks memory; None for no limit.

    Raises:
        InputError: An argument is out of its range, or the cluster cannot be reached. From `run`: the evaluator does
            not work on a worker.

    Example::

        executor = RayExecutor(address="auto", num_gpus=1, chunk=16)
        with Study(space, storage="runs/studies.db", executor=executor) as study:
            ...
    """

    in_process = False

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        num_cpus: float = 1,
        num_gpus: float = 0,
        chunk: int = 1,
        timeout: float | None = None,
        retries: int = 2,
        max_tasks_per_child: int | None = None,
    ) -> None:
        check_optional_integer("workers", workers, 1)
        if num_cpus < 0 or num_gpus < 0 or not num_cpus + num_gpus > 0:
            raise InputError(f"num_cpus and num_gpus must be at least 0, one of them more; got {num_cpus}, {num_gpus}.")
        self.workers = workers
        self._address = address
        self._resources = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self._evaluate: Evaluate | None = None
        self._stored: Any = None
        self._pool = WorkerPool(
            self._start,
            _wait_for,
            timeout=timeout,
            retries=retries,
            chunk=chunk,
            max_tasks_per_child=max_tasks_per_child,
        )

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) as each is finished, in order of completion."""
        self._connect()
        if self._evaluate is not evaluate:
            self.close()
            self._evaluate, self._stored = evaluate, _stored(evaluate)
        yield from self._pool.run(requests, self.workers or self._room())

    def close(self) -> None:
        """End the workers, whatever they are doing. The cluster keeps running."""
        self._pool.close()
        self._evaluate = self._stored = None

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        try:
            ray.init(address=self._address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise InputError(
                f"The Ray cluster at {self._address!r} could not be reached ({error}). "
                "Start it with `ray start --head`."
            ) from error

    def _room(self) -> int:
        """Give the number of workers that the cluster's live machines can hold."""
        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        names = {"num_cpus": "CPU", "num_gpus": "GPU"}
        room = min(int(total.get(names[key], 0) / amount) for key, amount in self._resources.items() if amount)
        if room < 1:
            raise InputError(f"The Ray cluster has no room for a worker of {self._resources}; it has {total}.")
        return room

    def _start(self) -> _RayWorker:
        return _RayWorker(self._stored, self._resources)


def _stored(evaluate: Evaluate) -> Any:
    try:
        with _tensors_by_their_memory():
            return ray.put(evaluate)
    except Exception as error:  # whatever an evaluator's own pickling raises
        raise InputError(f"The evaluator could not be put into Ray's object store: {error}.") from error


@contextmanager
def _tensors_by_their_memory() -> Iterator[None]:
    """Put tensors into the object store as arrays, of which all workers on a machine read a single copy.

    Ray copies tensors to each worker. Its own switch (RAY_ENABLE_ZERO_COPY_TORCH_TENSORS) must be set before Ray is
    imported, and makes every worker import torch, whether it is needed or not.
    """
    torch = sys.modules.get("torch")
    over_a_network = ray.util.client.ray.is_connected()  # type: ignore[no-untyped-call]
    if torch is None or torch.Tensor in CloudPickler.dispatch or over_a_network:
        yield  # there are no tensors, they have another serializer, or the cluster is behind a Ray client
        return
    register_serializer(torch.Tensor, serializer=_as_array, deserializer=_from_array)
    try:
        yield
    finally:
        deregister_serializer(torch.Tensor)


def _as_array(tensor: Any) -> tuple[Any, ...]:
    """Give a tensor's bytes as a numpy array, which has no bfloat16, and what else is needed to rebuild the tensor."""
    torch = sys.modules["torch"]
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not plain or tensor.requires_grad:
        rebuild, arguments, *_ = tensor.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return rebuild, arguments
    return tensor.contiguous().flatten().view(torch.uint8).numpy(), tensor.dtype, tuple(tensor.shape)


def _from_array(packed: tuple[Any, ...]) -> Any:
    if callable(packed[0]):
        rebuild, arguments = packed
        return rebuild(*arguments)
    import torch

    array, dtype, shape = packed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the array is read-only: an evaluator's data are never changed
        return torch.from_numpy(array).view(dtype).reshape(shape)


class _RayWorker:
    """An actor with the interface of `deap_hpo.execution.workers.Worker`."""

    def __init__(self, stored: Any, resources: dict[str, float]) -> None:
        self._actor = _Actor.options(  # type: ignore[attr-defined]
            max_restarts=0, max_task_retries=0, **resources
        ).remote(stored)
        self._answer = self._actor.prepare.remote()
        self.ready = False
        self.taken = False  # whether the answer was received

    def send(self, requests: Sequence[Request]) -> None:
        self._answer = self._actor.work.remote(requests)
        self.taken = False

    def receive(self) -> list[Evaluation] | None:
        self.taken = True
        try:
            answer = ray.get(self._answer)
        except RayTaskError as error:
            raise InputError(f"The evaluator could not be used by a Ray worker:\n{error}") from None
        except RayError as error:
            self.kill()
            raise WorkerDied(str(error).splitlines()[0], killed=True) from None
        if isinstance(answer, str):
            raise InputError(f"The evaluator could not be made ready by a Ray worker:\n{answer}")
        self.ready = True
        return answer  # type: ignore[no-any-return]

    def has_spoken_or_died(self) -> bool:
        return bool(ray.wait([self._answer], timeout=0)[0])

    def kill(self) -> None:
        if ray.is_initialized():
            ray.kill(self._actor)


def _wait_for(workers: list[_RayWorker], timeout: float | None) -> list[_RayWorker]:
    # An idle worker's answer has been taken, so there is nothing to wait for.
    waiting = {worker._answer: worker for worker in workers if not worker.taken}
    done, _ = ray.wait(list(waiting), num_returns=1, timeout=timeout)
    return [waiting[answer] for answer in done]


@ray.remote
class _Actor:
    """The part that runs on a worker."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = as_evaluator(evaluate)

    def prepare(self) -> str | None:
        try:
            self._evaluate.prepare_worker()
        except Exception:
            return traceback.format_exc()
        return None

    def work(self, requests: Sequence[Request]) -> list[Evaluation]:
        return evaluate_chunk(self._evaluate, requests)
