"""Dropout with keyed masks, and no dropout while a network is measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from deap_hpo.errors import InputError
from deap_hpo.training.keyed import int32, keyed_mask, mix_key

# For each channel-wise form, the number of dimensions by which torch takes an input for a single example.
_UNBATCHED = {F.dropout1d: 2, F.dropout2d: 0, F.dropout3d: 4}
DROPOUTS = frozenset({F.dropout, *_UNBATCHED})
"""The functions that are replaced here."""

_CHECKPOINTS = checkpoint.__file__


class KeyedDropout(TorchFunctionMode):
    """Within this context, dropout in any module draws its masks from `key` instead of torch's generator.

    Covers `torch.nn.functional.dropout` and its channel-wise forms (1d, 2d, 3d), and so the modules built on them; with
    `PlainLayers`, also attention and recurrent layers. Each call in a forward pass has its own masks, by the number of
    the call. A call with a rate of 0 drops nothing and is not counted.

    `torch.utils.checkpoint` calls parts of a network again in the backward pass, where they need the masks that they
    had. It restores torch's generator at the beginning of such a part. So the numbers of its calls are remembered by
    the generator's state, which is advanced with each of them.

    Args:
        key: 0-dim int32 tensor; batched under `vmap`, one per member.
        repeatable: Whether parts of the network may be called again; not in a stack, where that is impossible.

    Example:
        >>> from deap_hpo.training.keyed import member_keys
        >>> x, key = torch.ones(4, 8), member_keys([3])[0]
        >>> with KeyedDropout(key):
        ...     first = F.dropout(x, 0.5)
        >>> with KeyedDropout(key):
        ...     again = F.dropout(x, 0.5)
        >>> torch.equal(first, again)
        True

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), for counter-based generation.
    """

    def __init__(self, key: Tensor, *, repeatable: bool = False) -> None:
        super().__init__()
        self.key = key
        self._repeatable = repeatable
        self.calls: int | Tensor = 0  # under `vmap`, one count per member once rates differ
        self._in_backward = False
        self._remembered: dict[bytes, int | Tensor] = {}  # by the state of torch's generator

    @property
    def is_repeated(self) -> bool:
        """Whether calls so far may be repeated in the backward pass."""
        return bool(self._remembered)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Answer the calls inside, which are those of a backward pass, with the masks that they had before."""
        self._in_backward = True
        try:
            yield
        finally:
            self._in_backward = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer dropout calls with keyed masks; pass every other call on."""
        if func is F.dropout:
            return self._drop(*args, **(kwargs or {}))
        if func in _UNBATCHED:
            return self._drop(*args, **(kwargs or {}), unbatched=_UNBATCHED[func])
        return func(*args, **(kwargs or {}))

    def _drop(
        self,
        input: Tensor,
        p: float | Tensor = 0.5,
        training: bool = True,
        inplace: bool = False,
        *,
        unbatched: int | None = None,
    ) -> Tensor:
        # A tensor has one rate per member. Python must not branch on it, because it may be 0 for some of them.
        if not training or (not isinstance(p, Tensor) and p == 0):
            return input
        calls = self._number(p)
        offset = calls * int32(0x9E3779B9) if isinstance(calls, Tensor) else int32(calls * 0x9E3779B9)
        key = mix_key(self.key + offset)
        channels = input.dim() if unbatched is None else 1 if input.dim() == unbatched else 2
        shape = torch.Size([*input.shape[:channels], *[1] * (input.dim() - channels)])
        if isinstance(p, Tensor):
            scale: float | Tensor = (1 / (1 - p)).nan_to_num(posinf=0.0).to(input.dtype)
        else:
            scale = 1 / (1 - p) if p < 1 else 0.0
        mask = keyed_mask(shape, p, key).to(input.dtype).mul(scale)
        return input.mul_(mask) if inplace else input * mask

    def _number(self, p: float | Tensor) -> int | Tensor:
        """Give the number of a call."""
        if not self._in_backward:
            # As above, a rate of 0 counts no call: a member has the same masks in a stack as alone.
            self.calls = self.calls + ((p > 0).int() if isinstance(p, Tensor) else 1)
            if not (self._repeatable and _is_checkpointed()):
                return self.calls
        state = torch.get_rng_state().numpy().tobytes()
        torch.rand(())  # the next call has another state
        if not self._in_backward:
            self._remembered[state] = self.calls
        elif state not in self._remembered:
            raise InputError("torch.utils.checkpoint repeats dropout only with preserve_rng_state=True, its default.")
        return self._remembered[state]


def _is_checkpointed() -> bool:
    """Tell whether the part of the network that runs now may be called again in the backward pass."""
    if not torch.is_grad_enabled():  # as in functions with a backward pass of their own
        return True
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename != _CHECKPOINTS:
        frame = frame.f_back
    return frame is not None


class Undropped(TorchFunctionMode):
    """Within this context, dropout in evaluation mode returns its input, whatever the rate.

    Torch would read the rate first, which is impossible if each member of a stack has its own.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer dropout calls that drop nothing; pass every other call on."""
        if func in DROPOUTS and not _is_training(*args, **(kwargs or {})):
            return kwargs["input"] if kwargs and "input" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


def _is_training(input: Tensor, p: Any = 0.5, training: bool = True, inplace: bool = False) -> bool:
    """Give the argument `training` of a call of dropout."""
    return training
