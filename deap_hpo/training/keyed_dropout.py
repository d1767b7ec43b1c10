"""Dropout by keyed masks, wherever a network drops: in its dropout layers, and in its attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from deap_hpo.training.keyed import int32, keyed_mask, mix_key

# For each form that drops whole channels, the dimensions of an input that torch takes for one example.
_UNBATCHED = {F.dropout1d: 2, F.dropout2d: 0, F.dropout3d: 4}


class KeyedDropout(TorchFunctionMode):
    """Within this context, dropout in any module draws its masks from `key` instead of torch's generator.

    Covers `torch.nn.functional.dropout` and its channel-wise forms (1d, 2d, 3d), that of attention
    (`scaled_dot_product_attention`, `multi_head_attention_forward`), and so the modules built on them. Each call in a
    forward pass has masks of its own, numbered in order of the calls. A call with a rate of 0 drops nothing and is not
    counted.

    Args:
        key: 0-dim int32 tensor; batched under `vmap`, one per member.
        stacked: Whether it is run under `vmap`.

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

    def __init__(self, key: Tensor, *, stacked: bool = False) -> None:
        super().__init__()
        self.key = key
        self._stacked = stacked
        self.calls: int | Tensor = 0  # under `vmap` those of each member, once rates differ

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer dropout calls with keyed masks; let every other call pass."""
        given = kwargs or {}
        if func is F.dropout:
            return self._drop(*args, **given)
        if func in _UNBATCHED:
            return self._drop(*args, **given, unbatched=_UNBATCHED[func])
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **given)
        if func is F.multi_head_attention_forward:
            return _attention_by(self._drop, self._attend, *args, **given)
        return func(*args, **given)

    def _drop(
        self,
        input: Tensor,
        p: float | Tensor = 0.5,
        training: bool = True,
        inplace: bool = False,
        *,
        unbatched: int | None = None,
    ) -> Tensor:
        # A rate given as a tensor is one per member, and must not steer Python: it may be 0 for some of them.
        if not training or (not isinstance(p, Tensor) and p == 0):
            return input
        # By the same rule as above: a member whose rate is 0 counts no call, beside others as alone.
        calls = self.calls = self.calls + ((p > 0).int() if isinstance(p, Tensor) else 1)
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

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _attended(self._drop, self._stacked, query, key, value, *args, **kwargs)


class Undropped(TorchFunctionMode):
    """Within this context, that of a stack, dropout in evaluation mode gives its input back, whatever its rate is.

    Torch would look at the rate first, which cannot be done where it is one for each member of a stack.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer dropout calls that drop nothing; let every other call pass."""
        given = kwargs or {}
        if (func is F.dropout or func in _UNBATCHED) and not _is_training(*args, **given):
            return given["input"] if "input" in given else args[0]
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **given)
        if func is F.multi_head_attention_forward:
            return _attention_by(F.dropout, self._attend, *args, **given)
        return func(*args, **given)

    def _attend(self, *args: Any, **kwargs: Any) -> Tensor:
        return _attended(F.dropout, True, *args, **kwargs)


def _is_training(input: Tensor, p: Any = 0.5, training: bool = True, inplace: bool = False) -> bool:
    """Read what dropout is called with."""
    return training


def _attended(
    drop: Callable[..., Tensor],
    stacked: bool,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float | Tensor = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Do what `scaled_dot_product_attention` does, in plain operations where its kernels would not do.

    They draw by themselves where they drop; and in a stack, that of a CPU runs member by member.
    """
    plainly = isinstance(dropout_p, Tensor) or dropout_p > 0 or (stacked and query.device.type == "cpu")
    if not plainly or query.is_nested or (is_causal and attn_mask is not None):
        kernel = F.scaled_dot_product_attention
        return kernel(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)  # type: ignore[arg-type]
    if enable_gqa:
        queries = query.size(-3)
        key = key.repeat_interleave(queries // key.size(-3), -3)
        value = value.repeat_interleave(queries // value.size(-3), -3)
    if is_causal:
        attn_mask = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool, device=query.device).tril()
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
    weights = _softmax(scores, attn_mask)
    return (drop(weights, dropout_p) if isinstance(dropout_p, Tensor) or dropout_p > 0 else weights) @ value


def _softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Turn scores into weights; a query that may look at nothing has weights of zero, as torch's kernels give it."""
    if mask is None:
        return scores.softmax(-1)
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -math.inf)
    blind = mask.isneginf().all(-1, keepdim=True)
    return (scores + mask).masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)


class _Rate:
    """A rate of dropout that is one for each member, for code that asks whether it is more than 0."""

    def __init__(self, rates: Tensor) -> None:
        self.rates = rates

    def __gt__(self, other: float) -> bool:
        return True


_MULTI_HEAD = F.multi_head_attention_forward
_ARGUMENTS = signature(_MULTI_HEAD)


def _attention_by(drop: Callable[..., Tensor], attend: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Any:
    """Run torch's `multi_head_attention_forward` with other functions in the place of the two that draw in it.

    Within a mode's answer no mode is in force, so what that function calls would be answered by nobody.
    """

    def dropped(input: Tensor, p: float | _Rate) -> Tensor:
        return drop(input, p.rates if isinstance(p, _Rate) else p)

    def attended(query: Tensor, key: Tensor, value: Tensor, mask: Any, p: float | _Rate, *others: Any) -> Tensor:
        return attend(query, key, value, mask, p.rates if isinstance(p, _Rate) else p, *others)

    given = _ARGUMENTS.bind(*args, **kwargs).arguments
    if isinstance(given["dropout_p"], Tensor):
        given["dropout_p"] = _Rate(given["dropout_p"])
    names = {**_MULTI_HEAD.__globals__, "dropout": dropped, "scaled_dot_product_attention": attended}
    body = FunctionType(_MULTI_HEAD.__code__, names, argdefs=_MULTI_HEAD.__defaults__)
    return body(**given)
