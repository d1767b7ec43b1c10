"""How many members fit into memory together."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from deap_hpo.training.inputs import Inputs, in_parts, number_of_examples
from deap_hpo.training.outputs import Outputs, leaves, together

# Share of the free memory. The rest is left for fragmentation, other processes, and what one step does not show.
_USABLE = 0.8


def free_memory(device: torch.device) -> int:
    """Give the bytes that tensors may still take on a device, including freed memory that torch keeps for reuse.

    Example:
        >>> free_memory(torch.device("cpu")) > 0
        True
    """
    if device.type == "cuda":
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + reusable)
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    # If the system does not say, half of the installed memory.
    return available[0] if available else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def step_memory(step: Callable[[], Tensor], device: torch.device) -> int:
    """Give the bytes that a training step takes: `step` computes a loss, and its backward pass is run here.

    On CUDA it is the allocator's peak. A CPU reports no peak, so it is twice what autograd keeps for the backward pass,
    where each kept activation meets a gradient of its size.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step().backward()  # type: ignore[no-untyped-call]
        return torch.cuda.max_memory_allocated(device) - before
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = step()
    loss.backward()  # type: ignore[no-untyped-call]
    return 2 * sum(kept.values())


def fitting_members(member_bytes: int, free_bytes: int) -> int:
    """Give how many members of `member_bytes` fit into `free_bytes`, at least 1.

    Example:
        >>> fitting_members(member_bytes=100, free_bytes=1000)
        8
    """
    return max(1, int(_USABLE * free_bytes) // max(1, member_bytes))


# Messages of errors that are no `OutOfMemoryError`: from torch's allocator for CPUs, CUDA itself, and its libraries.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
        True
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


class Parts:
    """Computes on a batch in parts, whose size is halved for good when memory runs out.

    Members are split before examples, because a network's output for one example may depend on the others of its batch
    (as with a batch norm without running statistics). Examples are split only if not even one member fits.

    Args:
        size: Initial number of examples in a part, counted over all its members, at least 1.

    Example:
        >>> parts = Parts(6)
        >>> def double(rows, examples):
        ...     if (rows.stop - rows.start) * len(examples) > 3:
        ...         raise torch.OutOfMemoryError
        ...     return 2 * examples.expand(rows.stop - rows.start, -1)
        >>> parts(double, torch.arange(3), members=2), parts.size
        (tensor([[0, 2, 4],
                [0, 2, 4]]), 3)
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, compute: Callable[[slice, Inputs], Outputs], inputs: Inputs, members: int = 1) -> Outputs:
        """Compute on all inputs, for all members.

        Args:
            compute: Maps members (p of them, a slice of all) and a part of the inputs [n, ...] to outputs [p, n, ...].
            inputs: The inputs [N, ...], or several of them by name, N at least 1.
            members: P, at least 1.

        Returns:
            The outputs [P, N, ...].

        Raises:
            Exception: Whatever `compute` raises, unless memory ran out and the batch can be halved; or the batch had to
                be divided, and an output does not have one entry per example.
        """
        size = number_of_examples(inputs)
        while True:
            abreast, count = max(1, min(members, self.size // size)), min(size, self.size)
            try:
                parts = in_parts(inputs, count)
                made = []
                for i in range(0, members, abreast):
                    outputs = [compute(slice(i, min(i + abreast, members)), part) for part in parts]
                    if len(parts) > 1 and not all(map(_of_examples, outputs, parts)):
                        raise ValueError("memory ran out, and what is not an output for each example has no parts")
                    made.append(together(outputs, 1))
                return together(made)
            except Exception as error:
                if abreast * count == 1 or not is_out_of_memory(error):
                    raise
            self.size = abreast * count // 2


def _of_examples(outputs: Outputs, inputs: Inputs) -> bool:
    return all(one.dim() > 1 and one.shape[1] == number_of_examples(inputs) for one in leaves(outputs))
