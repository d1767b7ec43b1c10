"""Conversion of nested state into tensors by name, which checkpoints can hold, and back; nothing is pickled."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deap_hpo.errors import InputError

_STRUCTURE = "structure"
_DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8),
    torch.bool,
)
_KEYS = (str, int, float, bool, type(None))

# How to rebuild each kind of container from its parts.
_SEQUENCES: dict[str, type[Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_MAPPINGS: dict[str, Callable[[Any], Any]] = {"dict": dict, "Counter": lambda pairs: Counter(dict(pairs))}


def flattened(name: str, state: Any) -> dict[str, Tensor]:
    """Give a state as tensors: copies on the CPU, and a tensor of bytes that describes how they belong together.

    Args:
        name: What the names of the tensors begin with.
        state: Nested dicts, lists, tuples and sets of tensors, arrays of any shape, numbers, texts and bytes.
            Subclasses become the type that they derive from: a namedtuple a tuple, a defaultdict a dict, numpy's
            numbers Python's.

    Raises:
        InputError: It contains anything else; the error says where.

    Example:
        >>> tensors = flattened("state", {"weights": torch.ones(2), "steps": (3, None)})
        >>> sorted(tensors)
        ['state/0', 'state/structure']
        >>> rebuilt("state", tensors)
        {'weights': tensor([1., 1.]), 'steps': (3, None)}
        >>> flattened("state", {"layers": [torch.nn.Linear(1, 1)]})
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: A state is made of dicts, lists, tuples and sets of tensors, arrays, numbers, \
texts and bytes, such as a state_dict(); got a Linear at ['layers'][0].
    """
    tensors: dict[str, Tensor] = {}

    def kept(tensor: Tensor) -> str:
        place = f"{name}/{len(tensors)}"
        tensors[place] = tensor.detach().to("cpu", copy=True)
        return place

    def told(part: Any, path: str) -> Any:
        if isinstance(part, (str, bool, type(None))):
            return part
        if isinstance(part, np.bool_):
            return bool(part)
        if isinstance(part, (int, np.integer)):
            return int(part)
        if isinstance(part, (float, np.floating)):
            return float(part)
        if isinstance(part, Tensor) and part.layout is torch.strided and part.dtype in _DTYPES:
            return {"tensor": kept(part)}
        if isinstance(part, np.ndarray) and part.dtype.kind in "biuf" and part.dtype.itemsize <= 8:
            native = np.array(part, dtype=part.dtype.newbyteorder("="), order="C")
            return {"array": kept(torch.from_numpy(native)), "shape": part.shape}
        if isinstance(part, bytes):
            return {"bytes": kept(torch.frombuffer(bytearray(part), dtype=torch.uint8) if part else torch.empty(0))}
        if isinstance(part, Mapping):
            for key in part:
                if not isinstance(key, (*_KEYS, np.integer)):
                    raise InputError(f"The keys of a state are numbers and texts; got {key!r}{_at(path)}.")
            kind = "Counter" if isinstance(part, Counter) else "dict"
            return {kind: [[told(key, path), told(value, f"{path}[{key!r}]")] for key, value in part.items()]}
        for kind, of in _SEQUENCES.items():
            if isinstance(part, of):
                return {kind: [told(value, f"{path}[{i}]") for i, value in enumerate(part)]}
        raise InputError(
            "A state is made of dicts, lists, tuples and sets of tensors, arrays, numbers, texts and bytes, such as a "
            f"state_dict(); got a {_described(part)}{_at(path)}."
        )

    text = json.dumps(told(state, ""))
    return {**tensors, f"{name}/{_STRUCTURE}": torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)}


def _described(part: Any) -> str:
    kind = [str(part.dtype)] if hasattr(part, "dtype") else []
    layout = [str(part.layout)] if isinstance(part, Tensor) and part.layout is not torch.strided else []
    return type(part).__name__ + (f" of {', '.join([*kind, *layout])}" if kind else "")


def _at(path: str) -> str:
    return f" at {path}" if path else ""


def holds(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors contain a state of that name.

    Example:
        >>> holds("one", flattened("one", [1])), holds("other", flattened("one", [1]))
        (True, False)
    """
    return f"{name}/{_STRUCTURE}" in tensors


def rebuilt(name: str, tensors: Mapping[str, Tensor]) -> Any:
    """Rebuild the state that `flattened` turned into tensors under that name; its parts are copies.

    Example:
        >>> tensors = {**flattened("one", [1, b"x"]), **flattened("other", {"mean": np.zeros(2)})}
        >>> rebuilt("one", tensors), rebuilt("other", tensors)
        ([1, b'x'], {'mean': array([0., 0.])})
    """

    def part_of(told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        kind, what = next(iter(told.items()))
        if kind in _SEQUENCES:
            return _SEQUENCES[kind]([part_of(one) for one in what])
        if kind in _MAPPINGS:
            return _MAPPINGS[kind]([(key, part_of(value)) for key, value in what])
        tensor = tensors[what].clone()
        if kind == "bytes":
            return tensor.to(torch.uint8).numpy().tobytes()
        return tensor.numpy().reshape(told["shape"]) if kind == "array" else tensor

    return part_of(json.loads(tensors[f"{name}/{_STRUCTURE}"].numpy().tobytes()))
