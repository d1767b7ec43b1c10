"""Measure how fast a population is trained: python benchmarks/throughput.py [--device cuda --members 20].

Prints tables of images x members per second: the training images of all members and epochs over the wall-clock seconds
of training and validating them. Every row trains the paper's network on the same images of Fashion-MNIST with the same
hyperparameters. All rows are measured in turns, `--repeats` times, after one round that does not count; the tables have
the median, the extremes, and the median of the ratios to the first row within each round. The same rates per second of
processor time show the cost of a row on a machine that has other work to do.

A row that fails is left out, with its error, and the exit code is then 1. With `--minutes` no further round or table is
started after that time, so that a run on a machine that is available for an hour does not end in the middle of a round.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from peer import optimize
from profiling import print_floor
from variants import (
    ChannelsFirst,
    CompiledProductStack,
    CompiledStack,
    GivingBack,
    Measuring,
    ProductStack,
    train_on_streams,
    train_stack,
)

from deap_hpo.evaluation import Request
from deap_hpo.evaluator import BatchEvaluator
from deap_hpo.execution.executors import Executor, ProcessExecutor, SerialExecutor
from deap_hpo.training.data import load_fashion_mnist
from deap_hpo.training.hardware import computing, device_name
from deap_hpo.training.models import PaperCNN
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.stacking.stack import Stack
from deap_hpo.training.stacking.structure import Member
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import Trainer, make_trainer

Rows = dict[str, Callable[[], object]]


def train(trainer: Trainer | Measuring, executor: Executor, requests: Sequence[Request]) -> None:
    """Let an executor do all requests; a failed one ends the row."""
    for _, evaluation in executor.run(trainer, requests):  # type: ignore[arg-type]
        if evaluation.status == "failed":
            raise RuntimeError(evaluation.error)


def main_rows(task: Task, requests: Sequence[Request], arguments: argparse.Namespace) -> Rows:
    """Give rows (a) to (e)."""
    epochs, device = arguments.epochs, torch.device(arguments.device)
    settings = {"epochs": epochs, "device": device}
    configurations = [request.params for request in requests]
    chosen = make_trainer(task, precision="auto", **settings)
    executor = SerialExecutor() if isinstance(chosen, BatchEvaluator) else ProcessExecutor()
    return {
        "(a) Optuna, Dataset + DataLoader": partial(
            optimize, task.data, configurations, epochs, device, in_memory=False
        ),
        "(a) with one thread": partial(
            with_one_thread, optimize, task.data, configurations, epochs, device, in_memory=False
        ),
        "(b) Optuna, tensors in memory": partial(optimize, task.data, configurations, epochs, device, in_memory=True),
        "(c) reference, fp32": partial(train, ReferenceTrainer(task, **settings), SerialExecutor(), requests),
        "(d) population, fp32": partial(train, PopulationTrainer(task, **settings), SerialExecutor(), requests),
        "(e) what 'auto' picks": partial(train, chosen, executor, requests),
    }


def with_one_thread(function: Callable[..., object], *arguments: Any, **settings: Any) -> None:
    """Call a function with one thread.

    On a machine with other work to do, threads that wait for one another lose more than their share. On an idle one,
    (a) does most per second of processor time with one thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        function(*arguments, **settings)
    finally:
        torch.set_num_threads(threads)


def cpu_rows(task: Task, requests: Sequence[Request], arguments: argparse.Namespace) -> Rows:
    """Give rows that show the gain of each setting of (e) by itself."""
    cores = len(os.sched_getaffinity(0))
    rows: Rows = {}
    for workers in sorted({1, cores}):
        for kind, memory in ((GivingBack, ""), (ReferenceTrainer, ", keeps memory")):
            for precision in ("fp32", "bf16"):
                trainer = kind(task, epochs=arguments.epochs, device="cpu", precision=precision)
                label = f"reference in {workers} process(es), {precision}{memory}"
                rows[label] = partial(train, trainer, ProcessExecutor(workers), requests)
    for precision in ("fp32", "bf16"):
        trainer = ChannelsFirst(task, epochs=arguments.epochs, device="cpu", precision=precision)
        label = f"reference in 1 process(es), {precision}, keeps memory, channels first"
        rows[label] = partial(train, trainer, ProcessExecutor(1), requests)
    population = PopulationTrainer(task, epochs=arguments.epochs, device="cpu", precision="bf16")
    rows["population in 1 process, bf16, keeps memory"] = partial(train, population, ProcessExecutor(1), requests)
    return rows


def measuring_rows(task: Task, requests: Sequence[Request], arguments: argparse.Namespace) -> Rows:
    """Give rows that only measure, with evaluation batches of several sizes."""
    rows: Rows = {}
    for kind, memory in ((GivingBack, ""), (ReferenceTrainer, ", keeps memory")):
        for precision in ("fp32", "bf16"):
            for size in (100, 500, 1000, 2000):
                trainer = kind(replace(task, evaluation_batch_size=size), device="cpu", precision=precision)
                label = f"measuring, batches of {size}, {precision}{memory}"
                rows[label] = partial(train, Measuring(trainer), ProcessExecutor(1), requests)
    return rows


def divergence_rows(task: Task, requests: Sequence[Request], arguments: argparse.Namespace) -> Rows:
    """Give rows that show the gain of dropping diverged members; their images count as if trained on."""
    trainer = PopulationTrainer(task, epochs=arguments.epochs, device=arguments.device)
    bad = {"lr": 1.0, "momentum": 0.9, "weight_decay": 0.1}
    half = [replace(one, params=bad) if i % 2 else one for i, one in enumerate(requests)]
    return {
        "population, all members converge": partial(train, trainer, SerialExecutor(), requests),
        "population, every second one diverges": partial(train, trainer, SerialExecutor(), half),
    }


def stack_rows(task: Task, requests: Sequence[Request], arguments: argparse.Namespace) -> Rows:
    """Give rows that train a stack in other ways; on a CPU, those that need no CUDA graph."""
    device = torch.device(arguments.device)
    data = task.data.to(device)
    members = [
        Member(i, 0, request.seed, request.params, *task.configure(request.params))
        for i, request in enumerate(requests)
    ]
    kinds = {
        "vmap": Stack,
        "vmap, compiled": CompiledStack,
        "vmap, convolutions as products": ProductStack,
        "vmap, convolutions as products, compiled": CompiledProductStack,
    }
    rows: Rows = {}
    for precision in ("fp32", "bf16"):
        settings = {"epochs": arguments.epochs, "precision": precision}
        for engine in ("eager", "graph") if device.type == "cuda" else ("eager",):
            for label, kind in kinds.items():
                stack = kind(task, data, members, engine=engine, **settings)
                rows[f"{label}, {engine}, {precision}"] = partial(within, device, precision, train_stack, stack)
            alone = [Stack(task, data, [member], engine=engine, **settings) for member in members]
            label = f"one stack a member, 8 streams, {engine}, {precision}"
            rows[label] = partial(within, device, precision, train_on_streams, alone)
    return rows


def within(device: torch.device, precision: str, function: Callable[[Any], None], argument: Any) -> None:
    """Call a function with the torch settings that trainers use."""
    with computing(device, precision):
        function(argument)


def measure(rows: Rows, images: int, repeats: int, *, until: float = math.inf) -> dict[str, list[tuple[float, float]]]:
    """Run all rows in turns; return images x members per second of wall-clock and processor time, a pair per round.

    After `until` (a time of `perf_counter`), no further round is started if one has counted. Failed rows are left out.
    """
    rates: dict[str, list[tuple[float, float]]] = {label: [] for label in rows}
    for i in range(repeats + 1):
        if i > 1 and perf_counter() > until:
            break
        for label in list(rates):
            start, start_processor = perf_counter(), processor_seconds()
            try:
                rows[label]()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
            except Exception as error:  # the other rows are still useful
                print(f"{label} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                del rates[label]
                continue
            if i > 0:
                seconds, processor = perf_counter() - start, processor_seconds() - start_processor
                rates[label].append((images / seconds, images / max(processor, 1e-9)))
    return rates


def processor_seconds() -> float:
    """Give the processor time of this process and of its running descendants (Linux)."""
    total = 0.0
    waiting = [os.getpid()]
    while waiting:
        folder = Path("/proc") / str(waiting.pop())
        with suppress(OSError):
            ticks = folder.joinpath("stat").read_text().rsplit(")", 1)[1].split()
            total += (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
            for children in folder.glob("task/*/children"):
                waiting += map(int, children.read_text().split())
    return total


def print_table(rates: dict[str, list[tuple[float, float]]]) -> None:
    first = next(iter(rates.values()), [])
    print(
        f"\n{len(first)} round(s)\n\n| | per second | extremes | times the first row | per processor second | times |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for label, pairs in rates.items():
        wall, processor = zip(*pairs, strict=True)
        ratios = [median(pair[k] / base[k] for pair, base in zip(pairs, first, strict=True)) for k in (0, 1)]
        print(
            f"| {label} | {median(wall):,.0f} | {min(wall):,.0f} to {max(wall):,.0f} | {ratios[0]:.2f} | "
            f"{median(processor):,.0f} | {ratios[1]:.2f} |"
        )


TABLES = {
    "main": main_rows,
    "cpu": cpu_rows,
    "measuring": measuring_rows,
    "divergence": divergence_rows,
    "stack": stack_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--training-size", type=int, default=1000)
    parser.add_argument("--validation-size", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=math.inf, help="start nothing new after this many minutes")
    parser.add_argument("--tables", nargs="+", default=["main"], choices=TABLES, help="default: main")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows with this in their label")
    parser.add_argument("--without", metavar="TEXT", help="no rows with this in their label")
    parser.add_argument("--evaluation-batch-size", type=int, default=1000, help="images measured at a time")
    arguments = parser.parse_args()
    until = perf_counter() + 60 * arguments.minutes

    data = load_fashion_mnist(training_size=arguments.training_size, validation_size=arguments.validation_size)
    task = Task("throughput", PaperCNN, data, evaluation_batch_size=arguments.evaluation_batch_size)
    requests = [
        Request(i, {"lr": 0.01 * 1.1**i, "momentum": 0.5, "weight_decay": 1e-4}, seed=0)
        for i in range(arguments.members)
    ]
    cores = len(os.sched_getaffinity(0))
    print(f"{device_name(torch.device(arguments.device))}, {cores} usable cores, torch {torch.__version__}")
    print(f"Load averages at the start: {os.getloadavg()}")
    print(
        f"{arguments.members} members, {arguments.epochs} epoch(s) of {len(data.training):,} images, validation on "
        f"{len(data.validation):,}"
    )
    failed = False
    for table in arguments.tables:
        if perf_counter() > until:
            print(f"\nNot measured, as time was up: {table}")
            continue
        rows = TABLES[table](task, requests, arguments)
        chosen = {
            label: run
            for label, run in rows.items()
            if arguments.rows in label and (arguments.without is None or arguments.without not in label)
        }
        passes = 1 if table == "measuring" else arguments.epochs
        rates = measure(chosen, arguments.members * passes * len(data.training), arguments.repeats, until=until)
        failed |= len(rates) < len(chosen)
        print_table(rates)
        print(f"Load averages at the end: {os.getloadavg()}", flush=True)
    if arguments.device != "cpu" and perf_counter() < until:
        print_floor(task, requests, arguments.epochs, torch.device(arguments.device))
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
