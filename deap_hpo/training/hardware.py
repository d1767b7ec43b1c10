"""Where and how precisely training computes: device, precision, threads."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from deap_hpo.errors import InputError
from deap_hpo.interruption import undisturbed
from deap_hpo.training.inputs import Inputs, call, each, tensors
from deap_hpo.training.keyed import keyed_generators
from deap_hpo.training.outputs import Outputs, leaves, widened

PRECISIONS = ("auto", "fp32", "bf16")


def training_clock() -> float:
    """Read the clock, after torch has imported what its optimisers need: that takes seconds, and is not training.

    Example:
        >>> training_clock() < training_clock()
        True
    """
    _import_for_optimizers()
    return perf_counter()


@lru_cache
def _import_for_optimizers() -> None:
    torch.optim.SGD([torch.zeros(1)], lr=0.0)


def steps_between_looks(device: torch.device) -> int:
    """Give after how many training steps the losses are looked at: on a GPU, each look waits for the steps before.

    Example:
        >>> steps_between_looks(torch.device("cpu"))
        1
    """
    return 50 if device.type == "cuda" else 1


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:1" into a device that exists; "auto" is CUDA where there is one.

    Raises:
        InputError: There is no such device, or it is of another kind.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError):
        resolved = None
    if resolved is None or resolved.type not in ("cpu", "cuda"):
        raise InputError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got {device!r}.")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!r} is not there: {torch.cuda.device_count()} CUDA devices were found.")
    return resolved


def resolve_precision(precision: str, device: torch.device, *, of_numbers: bool = False) -> str:
    """Turn "auto", "fp32" or "bf16" into "fp32" or "bf16"; "auto" is bf16 if the processor supports it.

    Support is read from feature flags, never timed, so the same machine always gives the same answer. For targets that
    are numbers rather than classes (`of_numbers`), "auto" is fp32: bf16 has three digits, so the output for a target of
    300 is off by up to 1, and good networks could not be told apart by their errors.

    Raises:
        InputError: There is no such precision.

    Example:
        >>> resolve_precision("fp32", torch.device("cpu"))
        'fp32'
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    if precision == "auto":
        return "bf16" if _has_bf16(device) and not of_numbers else "fp32"
    return precision


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere, the first with bf16 tensor cores
    # Other processors emulate bf16, slower than fp32. The flags are avx512_bf16 and amx_bf16 on x86, bf16 on Arm.
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return not flags.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Give the context in which a forward pass runs; it does nothing for "fp32"."""
    # A network uses each weight once per pass: caching its cast would only hold memory, and outlive a vmap's level.
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def use_channels_last(model: nn.Module, inputs: Inputs, precision: str) -> nn.Module:
    """Lay a network's weights out with channels last, if that is faster and the network works with it.

    It is faster on CPUs, and on CUDA in bf16. It does not work for a network that flattens with ``view``, because a
    channel's values are then not contiguous, nor for one that reads strides. It is not used for strided 1x1
    convolutions of few channels on a CPU: torch 2.14 writes out of bounds in their backward pass on some processors,
    which ends the process.

    Args:
        model: The network. Copies are tried, because it may keep something of its first call, or count changes of mode.
        inputs: Some prepared inputs to try it with.
        precision: "fp32" or "bf16".
    """
    on_cpu = tensors(inputs)[0].device.type == "cpu"
    images = any(one.dim() == 4 for one in tensors(inputs))
    of_images = images and any(weight.dim() == 4 for weight in model.parameters())
    if of_images and (on_cpu or precision == "bf16") and not (on_cpu and any(map(_breaks, model.modules()))):
        try:
            expected = _tried(deepcopy(model), each(torch.clone, inputs))
            last = torch.channels_last  # raises for the weights of three-dimensional convolutions
            outputs = _tried(deepcopy(model).to(memory_format=last), each(_channels_last, inputs))
            # Another order of summation is allowed; other values are not.
            if all(
                torch.allclose(one, other, rtol=0, atol=1e-2 * float(other.abs().max()), equal_nan=True)
                for one, other in zip(outputs, expected, strict=True)
            ):
                model.to(memory_format=last)
        except Exception:
            return model  # as it is: it works in one layout only, cannot be copied, or does not work at all
    return model


def _channels_last(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs


def _tried(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    with torch.no_grad(), keyed_generators(0):  # the same draws each time, where it draws
        return leaves(widened(call(model.eval(), inputs)))


def _breaks(module: nn.Module) -> bool:
    """Tell whether a module may end the process if channels come last on a CPU."""
    few = isinstance(module, nn.Conv2d) and module.in_channels < 8
    return few and set(module.kernel_size) == {1} and max(module.stride) > 1  # type: ignore[arg-type]


def has_channels_last(model: nn.Module) -> bool:
    """Tell whether a network's weights are laid out with channels last."""
    return any(weight.dim() == 4 and not weight.is_contiguous() for weight in model.parameters())


def run_network(model: nn.Module, inputs: Inputs, precision: str) -> Outputs:
    """Run a network, with its inputs laid out like its weights; the outputs are at least fp32."""
    if any(one.dim() == 4 for one in tensors(inputs)) and has_channels_last(model):
        inputs = each(_channels_last, inputs)
    with autocast(tensors(inputs)[0].device, precision):
        return widened(call(model, inputs))


@contextmanager
def computing(device: torch.device, precision: str) -> Iterator[None]:
    """Compute reproducibly inside: with one CPU thread, and on CUDA with fixed algorithms and "fp32" meaning fp32.

    One thread makes the order of summation, and so every bit of a result, independent of the machine's load and of
    how many evaluations run in parallel. Parallel evaluations also use the other cores best. On CUDA, torch would by
    default let convolutions compute "fp32" in TF32, with 10 bits of mantissa, and sum gradients in an order that
    changes from run to run.

    Gradients are enabled even if the caller has disabled them, for example around code that first trains a network and
    then uses it. Ctrl-C is deferred, because it would leave torch in the middle of a transformation; long computations
    call `raise_kept` from time to time.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        with (
            undisturbed(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.cuda.device(device) if device.type == "cuda" else nullcontext(),
            tf32(precision != "fp32") if device.type == "cuda" else nullcontext(),
            fixed_convolutions() if device.type == "cuda" else nullcontext(),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let CUDA's convolutions and products of fp32 tensors compute in TF32 inside, or not; restore it afterwards.

    torch has two interfaces for that: `allow_tf32`, and `fp32_precision` from 2.9 on. The first raises an error once a
    caller has used the second. The one that works is used here, which leaves both usable for the caller.
    """
    _swallow_tf32_warning()
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    settings: list[tuple[Any, str, bool | str]]
    try:
        settings = [(convolutions, "allow_tf32", allowed), (products, "allow_tf32", allowed)]
        before = [getattr(owner, name) for owner, name, _ in settings]
    except RuntimeError:
        kind = "tf32" if allowed else "ieee"
        owners = (convolutions.conv, convolutions.rnn, products)  # type: ignore[attr-defined]
        settings = [(owner, "fp32_precision", kind) for owner in owners]
        before = [getattr(owner, name) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


@lru_cache
def _swallow_tf32_warning() -> None:
    """Trigger torch's one-time warning about `allow_tf32` here, silenced: the user did nothing to cause it."""
    with warnings.catch_warnings(), suppress(RuntimeError):
        warnings.simplefilter("ignore")
        getattr(torch.backends.cuda.matmul, "allow_tf32")  # noqa: B009


@contextmanager
def fixed_convolutions() -> Iterator[None]:
    """Let cuDNN choose only convolutions that give the same bits each time inside; restore its settings afterwards.

    Disables `benchmark`, whose choice depends on timing, and non-deterministic algorithms, which sum in thread order.
    A stack of other networks is still another computation, whose results agree only within rounding.
    """
    settings = torch.backends.cudnn
    before = settings.benchmark, settings.deterministic
    try:
        settings.benchmark, settings.deterministic = False, True
        yield
    finally:
        settings.benchmark, settings.deterministic = before


@lru_cache
def device_name(device: torch.device) -> str:
    """Name the hardware behind a device, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Describe where an evaluation ran, for its record."""
    return {
        "device": device.type,
        "device_name": device_name(device),
        "precision": precision,
        "torch": torch.__version__,
    }
