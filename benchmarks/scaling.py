"""Measure the cost of each part of a run per evaluation, and two workers against one; docs/scaling.md has the results.

    python benchmarks/scaling.py [--storage postgresql://...]      # with rows for Ray if it is installed

Each figure is the median of several repeats, with the smallest and the largest. On a shared machine, the smallest is
nearest to the cost of the part itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from deap import base

from deap_hpo.evaluation import Epoch, Evaluation, Request
from deap_hpo.evolution.algorithms import next_generation
from deap_hpo.evolution.individual import make_toolbox
from deap_hpo.execution import workers
from deap_hpo.execution.executors import Executor, ProcessExecutor, SerialExecutor
from deap_hpo.execution.fork_server import ensure_fork_server
from deap_hpo.recorded import load_study
from deap_hpo.records.entries import Entry
from deap_hpo.records.record import Record
from deap_hpo.search_space.space import Float, Space

SPACE = Space({name: Float(0.0, 1.0) for name in "abcdef"})
REPEATS = 5


def nothing(params: dict[str, Any]) -> float:
    return 0.0


def busy(params: dict[str, Any]) -> float:
    """Keep one core busy for some tenths of a second, always with the same work."""
    total = 0
    for i in range(5_000_000):
        total += i
    return float(total)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def requests(count: int) -> list[Request]:
    return [Request(i, SPACE.decode([0.5] * len(SPACE)), seed=i) for i in range(count)]


def told(name: str, seconds: list[float], unit: str = "ms", factor: float = 1e3) -> None:
    low, middle, high = (f"{factor * one:.3g}" for one in (min(seconds), median(seconds), max(seconds)))
    print(f"| {name} | {middle} {unit} | {low} - {high} {unit} |", flush=True)


def overhead(name: str, executor: Executor, count: int) -> None:
    """Measure a batch of evaluations that do nothing, after a batch that starts the workers."""
    list(executor.run(nothing, requests(2)))
    told(name, [timed(lambda: list(executor.run(nothing, requests(count)))) / count for _ in range(REPEATS)])
    executor.close()


def starting() -> None:
    """Measure the time until a worker has done a short training, and its private memory after that."""
    import torch
    from torch import nn

    from deap_hpo.training.models import PaperCNN
    from deap_hpo.training.task import Task
    from deap_hpo.training.trainers import make_trainer

    targets = torch.randint(10, (2000,))
    tasks = {
        "a linear layer": Task.from_data(partial(nn.Linear, 64, 10), (torch.rand(2000, 64), targets)),
        "the paper's CNN": Task.from_data(PaperCNN, (torch.rand(2000, 1, 28, 28), targets)),
    }
    for kind, has_server in (("forked", ensure_fork_server), ("a new interpreter", lambda: False)):
        workers.ensure_fork_server = has_server
        for name, task in tasks.items():
            trainer = make_trainer(task, epochs=1, device="cpu")
            seconds, private = [], []
            for _ in range(REPEATS + 1):
                executor = ProcessExecutor(1)
                seconds += [timed(lambda: list(executor.run(trainer, [Request(0, {"lr": 0.1}, seed=1)])))]  # noqa: B023
                private += [private_megabytes(pid) for pid in executor.worker_pids()]
                executor.close()
            if kind == "forked" and name == "a linear layer":
                told("the process that forks workers, and the first worker", seconds[:1], "s", 1)
            told(f"{kind}: {name} is trained", seconds[1:], "s", 1)
            told(f"{kind}: private memory afterwards", private[1:], "MB", 1)


def private_megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6


def two_workers(executors: list[Executor]) -> None:
    """Compare one and two workers on eight evaluations, and bare processes to see what the machine can do."""
    batch = requests(8)
    for executor in executors:
        list(executor.run(busy, batch[:2]))
    ours, bare = [], []
    for _ in range(REPEATS):  # in turn, so that other load on the machine affects all equally
        one, two = (timed(lambda: list(executor.run(busy, batch))) for executor in executors)  # noqa: B023
        ours.append(one / two)
        bare.append(timed(lambda: bare_processes(1, batch)) / timed(lambda: bare_processes(2, batch)))
    told("2 workers: times as fast as 1", ours, "", 1)
    told("2 bare processes: times as fast as 1", bare, "", 1)
    for executor in executors:
        executor.close()


def bare_processes(count: int, batch: list[Request]) -> None:
    context = get_context("fork")
    processes = [context.Process(target=list, args=(map(busy, batch[i::count]),)) for i in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def recording(name: str, storage: str, count: int = 100) -> None:
    curve = tuple(Epoch(i, 0.5, 0.5, {"accuracy": 0.9}, 1.0) for i in range(1, 6))
    entries = [Entry(i, 0, (0.5,) * 6, Evaluation((0.5,), curve=curve), seed=1) for i in range(count)]
    seconds, reading = [], []
    for repeat in range(REPEATS):
        record = Record(f"scaling-{time.time_ns()}-{repeat}", storage, SPACE, ["minimize"], {"seed": 1})
        seconds += [timed(lambda: [record.append(entry) for entry in entries]) / count]  # noqa: B023
        record.close()
        reading += [timed(lambda: load_study(record.name, storage)) / count]  # noqa: B023
    told(f"{name}: an evaluation of 5 epochs is recorded", seconds)
    told(f"{name}: one is read back", reading)


def memory(count: int = 2000) -> None:
    """Measure the memory that the driver keeps for each evaluation until the run ends."""
    tracemalloc.start()
    epoch = {"epoch": 1, "training_loss": 0.5, "validation_loss": 0.5, "metrics": {"accuracy": 0.9}, "seconds": 1.0}
    entries = []
    for i in range(count):
        curve = tuple(Epoch(**json.loads(json.dumps(epoch))) for _ in range(5))
        genes = tuple(random.random() for _ in range(6))
        entries.append(Entry(i, 0, genes, Evaluation((random.random(),), curve=curve), seed=1))
    told("memory of the driver", [tracemalloc.get_traced_memory()[0] / count], "KB", 1e-3)
    tracemalloc.stop()


def journal(folder: str, count: int = 300) -> None:
    """Measure appending a line of 2 KB to a file and synchronising it, the lower bound for any record."""
    line = b"x" * 2000 + b"\n"
    with open(f"{folder}/journal", "ab", buffering=0) as file:

        def append() -> None:
            for _ in range(count):
                file.write(line)
                os.fsync(file.fileno())

        told("a line is appended to a file and synchronised", [timed(append) / count for _ in range(REPEATS)])


def breeding(count: int = 1000) -> None:
    toolbox: base.Toolbox = make_toolbox(SPACE)
    population = toolbox.population(n=count)
    for individual in population:
        individual.fitness.values = (random.random(),)
    told(
        "a child is bred (population of 1,000)",
        [timed(lambda: next_generation(population, toolbox, 1.0, 1.0)) / (count / 2) for _ in range(REPEATS)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", help="URL of a database to measure, too")
    arguments = parser.parse_args()
    print("| part | median | range |\n|---|---:|---:|")
    overhead("in this process: handing over", SerialExecutor(), 2000)
    overhead("2 worker processes: handing over", ProcessExecutor(2), 2000)
    if find_spec("ray"):
        from deap_hpo.execution.ray_executor import RayExecutor

        overhead("2 Ray workers on this machine: handing over", RayExecutor(2), 500)
    # In a separate process: once torch is imported here, seeding its generators dominates the cost of handing over.
    in_a_process_of_its_own = get_context("spawn").Process(target=starting)
    in_a_process_of_its_own.start()
    in_a_process_of_its_own.join()
    breeding()
    with tempfile.TemporaryDirectory() as folder:
        recording("SQLite file", f"{folder}/studies.db")
        journal(folder)
    memory()
    if arguments.storage:
        recording("database server", arguments.storage)
    two_workers([ProcessExecutor(1), ProcessExecutor(2)])


if __name__ == "__main__":
    main()
