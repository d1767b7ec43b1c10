"""Compare the speed of a training with the peak of the hardware, and show where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from deap_hpo.evaluation import Request
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

# Dense bf16 peak in operations per second by the name of the device, from the vendor's data sheets.
_PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


def flops_per_image(task: Task) -> float:
    """Count the floating-point operations of one training step per image; a product and a sum count as two."""
    trainer = ReferenceTrainer(task, device="cpu")
    examples = trainer.data.training[:64]
    with FlopCounterMode(display=False) as counter:
        trainer.loss(task.model(), examples).backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops() / len(examples))


def print_floor(task: Task, requests: Sequence[Request], epochs: int, device: torch.device) -> None:
    """Print the seconds of (d) in bf16, the share of the device's peak speed, and the costliest operations."""
    trainer = PopulationTrainer(task, epochs=epochs, device=device, precision="bf16")
    list(trainer.evaluate_batch(requests))
    start = perf_counter()
    list(trainer.evaluate_batch(requests))
    seconds = perf_counter() - start
    work = flops_per_image(task) * len(requests) * epochs * len(task.data.training)
    print(f"\npopulation, bf16: {seconds:.2f} s for {work / 1e12:,.2f} TFLOP of training steps, validation included")
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for model, peak in _PEAKS.items():
            if model in name:
                print(
                    f"At the {peak / 1e12:,.0f} TFLOP/s of an {model} that is {work / peak / seconds:.1%} of the peak."
                )
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiled:
        list(trainer.evaluate_batch(requests))
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(profiled.key_averages().table(sort_by=key, row_limit=12, max_name_column_width=60))
