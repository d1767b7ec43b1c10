"""Attention and recurrent layers in plain operations: equal to torch's kernels, with masks by keys."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils.rnn import pack_padded_sequence

from deap_hpo.training.keyed import member_keys
from deap_hpo.training.keyed_dropout import KeyedDropout, Undropped
from deap_hpo.training.plain_layers import PlainLayers

KEY = member_keys([1])[0]


@contextmanager
def keyed(key: Tensor, *, stacked: bool = False) -> Iterator[None]:
    with KeyedDropout(key), PlainLayers(stacked=stacked):
        yield


ATTENTION = F.scaled_dot_product_attention
NOTHING = 1e-6  # a rate below the masks' resolution of 2^-16: it drops nothing, and so shows the rest


def rows(heads=2, length=5, width=4, seed=0):
    return torch.randn(3, heads, length, width, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def blind(length=5):
    """A mask in which the second query may look at nothing."""
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[1] = False
    return mask


CALLS = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.3},
    "boolean mask": {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril()},
    "a query that may look at nothing": {"attn_mask": blind()},
    "added mask": {"attn_mask": torch.zeros(5, 5).masked_fill(~blind(), -math.inf) + torch.arange(5.0)},
    "mask of each example": {"attn_mask": torch.arange(3).view(3, 1, 1, 1) >= torch.arange(5) - 2},
}


@pytest.mark.parametrize("call", CALLS)
def test_attention_is_that_of_torch_where_nothing_is_dropped(call):
    results = []
    for rate in (0.0, NOTHING):
        tensors = rows(seed=1), rows(seed=2), rows(seed=3)
        with keyed(KEY):
            output = ATTENTION(*tensors, dropout_p=rate, **CALLS[call])
        output.square().sum().backward()
        results.append([output, *(one.grad for one in tensors)])
    for got, expected in zip(*results, strict=True):
        assert torch.allclose(got, expected, atol=1e-4)


def test_fewer_keys_than_queries_are_shared_among_heads():
    query, key, value = rows(heads=4), rows(heads=2, seed=1), rows(heads=2, seed=2)
    with keyed(KEY):
        got, expected = (ATTENTION(query, key, value, dropout_p=p, enable_gqa=True) for p in (NOTHING, 0.0))
    assert torch.allclose(got, expected, atol=1e-5)


def test_a_mask_beside_a_causal_one_is_refused_as_torch_does() -> None:
    tensors = rows(seed=1), rows(seed=2), rows(seed=3)
    both = {"attn_mask": torch.ones(5, 5, dtype=torch.bool), "is_causal": True, "dropout_p": 0.3}
    with pytest.raises(RuntimeError, match="is_causal"):
        ATTENTION(*tensors, **both)  # type: ignore[arg-type]
    with keyed(KEY), pytest.raises(RuntimeError, match="is_causal"):
        ATTENTION(*tensors, **both)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")  # torch warns if it runs a kernel member by member
def test_in_a_stack_attention_has_a_batching_rule() -> None:
    members = torch.stack([rows(seed=seed).detach() for seed in range(3)])

    def attended(tensors: Tensor) -> Tensor:
        with keyed(KEY, stacked=True):
            return ATTENTION(tensors, tensors, tensors)

    alone = torch.stack([ATTENTION(one, one, one) for one in members])
    assert torch.allclose(vmap(attended)(members), alone, atol=1e-5)


def test_the_weights_of_attention_are_dropped_by_keyed_masks():
    query, key = rows(seed=1), rows(seed=2)
    value = torch.eye(5).expand(3, 2, 5, 5)  # so that the output is the weights
    with keyed(KEY):
        weights = ATTENTION(query, key, value, dropout_p=0.4)
        other = ATTENTION(query, key, value, dropout_p=0.4)
    with keyed(KEY):
        mask = F.dropout(torch.ones(3, 2, 5, 5), 0.4)
        of_the_next_call = F.dropout(torch.ones(3, 2, 5, 5), 0.4)
    plain = ATTENTION(query, key, value)
    assert torch.allclose(weights, plain * mask, atol=1e-6)
    assert torch.allclose(other, plain * of_the_next_call, atol=1e-6)
    assert 0 < int((mask == 0).sum()) < mask.numel()


def test_torchs_generator_is_not_drawn_from_where_attention_drops():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
    x = torch.randn(3, 5, 8)
    before = torch.get_rng_state()
    outputs = []
    for key in (1, 1, 2):
        with keyed(member_keys([key])[0]):
            outputs.append(layer(x))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("weights", [True, False])
def test_multi_head_attention_is_that_of_torch_where_nothing_is_dropped(weights):
    layer = nn.MultiheadAttention(8, 2, dropout=0.0, batch_first=True)
    x, padding = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([[5], [3], [4]])
    results = []
    for layer.dropout in (0.0, NOTHING):
        with keyed(KEY):
            results.append(layer(x, x, x, need_weights=weights, key_padding_mask=padding))
    (output, of_weights), (expected, expected_weights) = results
    assert torch.allclose(output, expected, atol=1e-5)
    assert (of_weights is None) is not weights
    assert not weights or torch.allclose(of_weights, expected_weights, atol=1e-5)


@pytest.mark.parametrize("weights", [True, False])
def test_in_multi_head_attention_each_member_drops_at_its_own_rate(weights):
    layer, x = nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True), torch.randn(3, 5, 8)

    def attended(rate, key):
        layer.__dict__["dropout"] = rate
        with keyed(key):
            return layer(x, x, x, need_weights=weights)[0]

    rates, keys = torch.tensor([0.0, 0.2, 0.6], dtype=torch.float64), member_keys([1, 2, 3])
    together = vmap(attended, randomness="error")(rates, keys)
    alone = torch.stack([attended(float(rate), key) for rate, key in zip(rates, keys, strict=True)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together[1], together[0], atol=1e-2)


@pytest.mark.parametrize("context", [partial(KeyedDropout, KEY), Undropped])
def test_attention_in_evaluation_mode_drops_nothing(context):
    layer, x = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True).eval(), torch.randn(3, 5, 8)
    expected = layer(x, x, x)[0]
    for layer.dropout in (0.5, torch.tensor(0.5)):  # type: ignore[assignment]
        with context(), PlainLayers(stacked=context is Undropped):
            assert torch.allclose(layer(x, x, x)[0], expected, atol=1e-6)


RECURRENT: dict[str, Any] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": partial(nn.RNN, nonlinearity="relu"),
    "projected": partial(nn.LSTM, proj_size=2),
}


def tensors_of(result: Any) -> list[Tensor]:
    """The output, and the states that it ends in."""
    output, states = result
    return [output, *(states if isinstance(states, tuple) else (states,))]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers_are_those_of_torch(kind: str, bidirectional: bool, bias: bool) -> None:
    torch.manual_seed(0)
    network = RECURRENT[kind](4, 3, num_layers=2, bidirectional=bidirectional, bias=bias, batch_first=bias)
    x = torch.randn(5, 7, 4)
    results = []
    for context in (keyed(KEY), keyed(KEY, stacked=True)):
        network.zero_grad()
        with context:
            found = tensors_of(network(x))
        sum(one.square().sum() for one in found).backward()  # type: ignore[union-attr]
        results.append([*found, *(parameter.grad for parameter in network.parameters())])
    for got, expected in zip(*results, strict=True):
        assert torch.allclose(got, expected, atol=1e-5)
    start = tuple(torch.randn_like(one) for one in tensors_of(network(x))[1:])
    begun = start if len(start) > 1 else start[0]
    with PlainLayers(stacked=True):
        got = network(x, begun)[0]
    assert torch.allclose(got, network(x, begun)[0], atol=1e-5)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell, partial(nn.RNNCell, nonlinearity="relu")])
def test_cells_are_those_of_torch(kind: Any) -> None:
    cell, x = kind(4, 3), torch.randn(5, 4)
    expected = cell(x, cell(x))
    with PlainLayers(stacked=True):
        got = cell(x, cell(x))
    assert type(got) is type(expected)
    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh", "relu"])
def test_between_recurrent_layers_keyed_masks_drop(kind: str) -> None:
    torch.manual_seed(0)
    network = RECURRENT[kind](4, 3, num_layers=3, dropout=0.4)
    x = torch.randn(7, 5, 4)
    before = torch.get_rng_state()
    with keyed(KEY):
        alone = tensors_of(network(x))
    assert torch.equal(torch.get_rng_state(), before)
    single = [RECURRENT[kind](4 if i == 0 else 3, 3) for i in range(3)]
    sequence, ended = x, []
    with KeyedDropout(KEY):
        for i, layer in enumerate(single):
            layer.load_state_dict({f"{n[:-1]}0": p for n, p in network.named_parameters() if n.endswith(f"l{i}")})
            sequence, *states = tensors_of(layer(sequence))
            ended.append(states)
            if i < 2:
                sequence = F.dropout(sequence, 0.4)
    for got, expected in zip(alone, [sequence, *map(torch.cat, zip(*ended, strict=True))], strict=True):
        assert torch.allclose(got, expected, atol=1e-6)
    with keyed(KEY, stacked=True):
        together = tensors_of(network(x))
    for got, expected in zip(together, alone, strict=True):
        assert torch.allclose(got, expected, atol=1e-5)
    with keyed(member_keys([2])[0]):
        assert not torch.allclose(network(x)[0], alone[0], atol=1e-2)
    with keyed(KEY):
        assert torch.allclose(network.eval()(x)[0], network(x)[0])


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_under_vmap_each_member_has_its_weights_and_its_rate(kind: str) -> None:
    networks = [RECURRENT[kind](4, 3, num_layers=2, dropout=0.1) for _ in range(3)]
    x, rates, keys = torch.randn(7, 5, 4), torch.tensor([0.0, 0.2, 0.6], dtype=torch.float64), member_keys([1, 2, 3])
    weights = {
        name: torch.stack([n.get_parameter(name).detach() for n in networks])
        for name, _ in networks[0].named_parameters()
    }

    def run(tensors: dict[str, Tensor], rate: Tensor, key: Tensor) -> Tensor:
        networks[0].__dict__["dropout"] = rate
        with keyed(key, stacked=True):
            return functional_call(networks[0], tensors, (x,))[0]  # type: ignore[no-any-return]

    together = vmap(run, randomness="error")(weights, rates, keys)
    for i, network in enumerate(networks):
        network.__dict__["dropout"] = float(rates[i])
        with keyed(keys[i]):
            assert torch.allclose(together[i], network(x)[0], atol=1e-5)


def test_packed_sequences_are_left_to_the_kernel() -> None:
    network = nn.GRU(4, 3)
    packed = pack_padded_sequence(torch.randn(7, 3, 4), torch.tensor([7, 5, 2]))
    with PlainLayers(stacked=True):
        got = network(packed)[0].data
    assert torch.equal(got, network(packed)[0].data)
