"""Attention and recurrent layers in plain operations, where torch's kernels draw masks or cannot be stacked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from inspect import signature
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from deap_hpo.training.keyed_dropout import DROPOUTS

_MULTI_HEAD = F.multi_head_attention_forward
_ARGUMENTS = signature(_MULTI_HEAD)


class PlainLayers(TorchFunctionMode):
    """Within this context, attention and recurrent layers drop out by `torch.nn.functional.dropout`.

    Their kernels draw masks from torch's generator; here, the replacement of dropout draws them. In a stack, which runs
    under `torch.vmap`, layers whose kernels have no batching rule are computed in plain operations altogether:
    recurrent ones, and attention on a CPU. Packed sequences are left to the kernels.

    Args:
        dropout: The replacement of dropout, `KeyedDropout` or `Undropped`; None if it is an outer context. (Every
            context intercepts all functions of torch, which takes as long as a small layer: one is better than two.)
        stacked: Whether it runs under `vmap`.
        padding: Whether attention may have a padding mask.

    Raises:
        ValueError: It has one although it may not.

    Example:
        >>> from deap_hpo.training.keyed import member_keys
        >>> from deap_hpo.training.keyed_dropout import KeyedDropout
        >>> layer, x = torch.nn.LSTM(4, 3, num_layers=2, dropout=0.5), torch.rand(7, 2, 4)
        >>> with PlainLayers(KeyedDropout(member_keys([3])[0])):
        ...     first, _ = layer(x)
        >>> with PlainLayers(KeyedDropout(member_keys([3])[0]), stacked=True):
        ...     again, _ = layer(x)
        >>> torch.allclose(first, again, atol=1e-6)
        True

    Source: Vaswani et al., "Attention is all you need" (NeurIPS 2017), equation 1; Hochreiter & Schmidhuber, "Long
    short-term memory" (Neural Computation 9, 1997); Cho et al. (arXiv:1406.1078), with the gates as torch has them.
    """

    def __init__(
        self, dropout: TorchFunctionMode | None = None, *, stacked: bool = False, padding: bool = True
    ) -> None:
        super().__init__()
        self._dropout = dropout
        self._stacked = stacked
        self._padding = padding
        self._answered = _LAYERS | _CELLS.keys() | {F.embedding} if stacked else _LAYERS

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer calls of such layers and of dropout; pass every other call on."""
        given = kwargs or {}
        if func in self._answered:
            with self._dropout or nullcontext():
                return self._answer(func, args, given)
        if func in DROPOUTS and self._dropout is not None:
            return self._dropout.__torch_function__(func, types, args, given)  # type: ignore[no-untyped-call]
        return func(*args, **given)

    def _answer(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **given)
        if func is _MULTI_HEAD:
            return self._attend_by_heads(*args, **given)
        if func in _STEPS and len(args) > 2 and isinstance(args[2], (list, tuple)):  # otherwise sequences are packed
            return self._recur(func, *args, **given)
        if func in _CELLS:
            return _cell(_CELLS[func], *args, **given)
        if func is F.embedding:
            return _embedded(*args, **given)
        return func(*args, **given)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float | Tensor = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        drops = isinstance(dropout_p, Tensor) or dropout_p > 0
        kernel_does = not drops and not (self._stacked and query.device.type == "cpu")
        if kernel_does or query.is_nested or (is_causal and attn_mask is not None):
            kernel: Callable[..., Tensor] = F.scaled_dot_product_attention
            return kernel(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        if enable_gqa:
            queries = query.size(-3)
            key = key.repeat_interleave(queries // key.size(-3), -3)
            value = value.repeat_interleave(queries // value.size(-3), -3)
        if is_causal:
            attn_mask = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool, device=query.device).tril()
        scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
        weights = _softmax(scores, attn_mask)
        return (F.dropout(weights, dropout_p) if drops else weights) @ value  # type: ignore[arg-type]

    def _attend_by_heads(self, *args: Any, **kwargs: Any) -> Any:
        """Run torch's function with replacements for the two functions in it that draw.

        Calls inside it would not be intercepted, because a mode is not active inside its own handler. Nor may the
        function ask other modes to handle it as a whole.
        """

        def attend(query: Tensor, key: Tensor, value: Tensor, mask: Any, p: float | _Rate, *others: Any) -> Tensor:
            return self._attend(query, key, value, mask, p.rates if isinstance(p, _Rate) else p, *others)

        given = _ARGUMENTS.bind(*args, **kwargs).arguments
        if not self._padding and given.get("key_padding_mask") is not None:
            raise ValueError("a transformer encoder has a padding mask, where torch computes zeros")
        if isinstance(given["dropout_p"], Tensor):
            given["dropout_p"] = _Rate(given["dropout_p"])
        others = {"dropout": _dropped, "scaled_dot_product_attention": attend, "has_torch_function": lambda _: False}
        names = {**_MULTI_HEAD.__globals__, **others}
        return FunctionType(_MULTI_HEAD.__code__, names, argdefs=_MULTI_HEAD.__defaults__)(**given)

    def _recur(
        self,
        func: Any,
        inputs: Tensor,
        start: Any,
        weights: Sequence[Tensor],
        biased: bool,
        layers: int,
        dropout: float | Tensor,
        training: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        """Run a recurrent network layer by layer, with dropout between layers."""
        drops = training and layers > 1 and (isinstance(dropout, Tensor) or dropout > 0)
        if not drops and not self._stacked:
            kernel: tuple[Tensor, ...] = func(
                inputs, start, weights, biased, layers, dropout, training, bidirectional, batch_first
            )
            return kernel
        directions = 2 if bidirectional else 1
        states = start if isinstance(start, (list, tuple)) else (start,)
        share = len(weights) // layers
        sequence = inputs.transpose(0, 1) if batch_first else inputs
        ended = []
        for layer in range(layers):
            of_layer = weights[layer * share : (layer + 1) * share]
            begun = [state[layer * directions : (layer + 1) * directions] for state in states]
            if self._stacked:
                sequence, *last = _layer(_STEPS[func], sequence, begun, of_layer, biased, directions)
            else:
                first = begun if len(states) > 1 else begun[0]
                sequence, *last = func(sequence, first, of_layer, biased, 1, 0.0, training, bidirectional, False)
            ended.append(last)
            if drops and layer < layers - 1:
                sequence = F.dropout(sequence, dropout)  # type: ignore[arg-type]
        output = sequence.transpose(0, 1) if batch_first else sequence
        return output, *(torch.cat(states) for states in zip(*ended, strict=True))


def _softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Turn scores into weights; a query whose keys are all masked has weights of zero, as torch's kernels give it."""
    if mask is None:
        return scores.softmax(-1)
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -math.inf)
    blind = mask.isneginf().all(-1, keepdim=True)
    return (scores + mask).masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)


class _Rate:
    """The dropout rates of all members as one value, for code that asks whether the rate is more than 0."""

    def __init__(self, rates: Tensor) -> None:
        self.rates = rates

    def __gt__(self, other: float) -> bool:
        return True


def _dropped(input: Tensor, p: float | _Rate) -> Tensor:
    return F.dropout(input, p.rates if isinstance(p, _Rate) else p)  # type: ignore[arg-type]


Step = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, ...]]
"""Maps the input's part of the gates, the states, and the weights from state to gates to the next states."""


def _lstm(gates: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    hidden, cell = states
    enter, forget, content, leave = (gates + F.linear(hidden, *weights[:2])).chunk(4, -1)
    cell = forget.sigmoid() * cell + enter.sigmoid() * content.tanh()
    hidden = leave.sigmoid() * cell.tanh()
    return (F.linear(hidden, weights[2]) if len(weights) > 2 else hidden), cell


def _gru(gates: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    (hidden,) = states
    reset, update, content = gates.chunk(3, -1)
    from_reset, from_update, from_content = F.linear(hidden, *weights[:2]).chunk(3, -1)
    update = (update + from_update).sigmoid()
    content = (content + (reset + from_reset).sigmoid() * from_content).tanh()
    return (content + update * (hidden - content),)


def _rnn(activation: Callable[[Tensor], Tensor]) -> Step:
    def step(gates: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (activation(gates + F.linear(states[0], *weights[:2])),)

    return step


_STEPS: dict[Any, Step] = {
    torch.lstm: _lstm,
    torch.gru: _gru,
    torch.rnn_tanh: _rnn(torch.tanh),
    torch.rnn_relu: _rnn(torch.relu),
}
_CELLS: dict[Any, Step] = {
    torch.lstm_cell: _lstm,
    torch.gru_cell: _gru,
    torch.rnn_tanh_cell: _rnn(torch.tanh),
    torch.rnn_relu_cell: _rnn(torch.relu),
}
_LAYERS = frozenset({F.scaled_dot_product_attention, _MULTI_HEAD, *_STEPS})


def _layer(
    step: Step, sequence: Tensor, start: Sequence[Tensor], weights: Sequence[Tensor], biased: bool, directions: int
) -> tuple[Tensor, ...]:
    """Run a layer over a sequence [T, N, F]; give its output [T, N, directions * H] and the states at its end."""
    share = len(weights) // directions
    outputs, ended = [], []
    for direction in range(directions):
        of_input, of_state, *others = weights[direction * share : (direction + 1) * share]
        bias, state_bias, *projection = others if biased else [None, None, *others]
        inputs = F.linear(sequence, of_input, bias).unbind(0)
        states: Sequence[Tensor] = [state[direction] for state in start]
        passed = []
        for gates in reversed(inputs) if direction else inputs:
            states = step(gates, states, [of_state, state_bias, *projection])  # type: ignore[list-item]
            passed.append(states[0])
        outputs.append(torch.stack(passed[::-1] if direction else passed))
        ended.append(states)
    return torch.cat(outputs, -1), *(torch.stack(states) for states in zip(*ended, strict=True))


def _embedded(input: Tensor, weight: Tensor, padding_idx: int | None = None, *others: Any, **more: Any) -> Tensor:
    """Embed; the gradient of a padding row is 0, which torch forgets for a batch of tables."""
    found = F.embedding(input, weight, None, *others, **more)
    if padding_idx is None:
        return found
    is_padding = (input == (padding_idx % weight.size(-2))).unsqueeze(-1)
    return torch.where(is_padding, found.detach(), found)


def _cell(
    step: Step,
    inputs: Tensor,
    start: Any,
    of_input: Tensor,
    of_state: Tensor,
    bias: Tensor | None = None,
    state_bias: Tensor | None = None,
) -> Any:
    states = start if isinstance(start, (list, tuple)) else (start,)
    after = step(F.linear(inputs, of_input, bias), states, [of_state, state_bias])  # type: ignore[list-item]
    return after if len(after) > 1 else after[0]
