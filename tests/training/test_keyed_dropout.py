"""Dropout by keys, alone and under `vmap`: in dropout layers, and in torch's attention."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import vmap

from deap_hpo.training.keyed import member_keys
from deap_hpo.training.keyed_dropout import KeyedDropout, Undropped


def test_what_is_kept_is_scaled_up():
    with KeyedDropout(member_keys([1])[0]):
        assert set(F.dropout(torch.ones(100), 0.2).tolist()) == {0.0, 1.25}


@pytest.mark.parametrize("dropout", [nn.Dropout(0.3), nn.Dropout1d(0.3), nn.Dropout2d(0.3), nn.Dropout3d(0.3)])
def test_under_vmap_each_member_gets_its_own_mask(dropout):
    shape = {nn.Dropout1d: (2, 8, 5), nn.Dropout2d: (2, 8, 5, 5), nn.Dropout3d: (2, 8, 3, 3, 3)}.get(
        type(dropout), (2, 8)
    )
    x, keys = torch.randn(3, *shape), member_keys(range(3))

    def drop(x, key):
        with KeyedDropout(key):
            return dropout(x)

    together = vmap(drop)(x, keys)
    assert torch.equal(together, torch.stack([drop(*one) for one in zip(x, keys, strict=True)]))
    if len(shape) > 2:  # whole channels
        assert torch.equal((together != 0).flatten(3).any(-1), (together != 0).flatten(3).all(-1))


def test_a_rate_for_each_member():
    rates, keys = [0.0, 0.1, 0.5, 1.0], member_keys([1, 2, 3, 4])

    def drop(rate, key):
        with KeyedDropout(key):
            return F.dropout(torch.ones(64), rate)

    together = vmap(drop)(torch.tensor(rates, dtype=torch.float64), keys)
    assert torch.equal(together, torch.stack([drop(*one) for one in zip(rates, keys, strict=True)]))
    assert together.dtype == torch.float32


@pytest.mark.parametrize("drop", [F.dropout, F.dropout1d, F.dropout2d, F.dropout3d])
@pytest.mark.parametrize("rate", [0.3, torch.tensor(0.3)])
def test_in_place_it_drops_the_same(drop, rate):
    x = torch.ones(*(2, 8), *{F.dropout1d: (5,), F.dropout2d: (5, 5), F.dropout3d: (3, 3, 3)}.get(drop, ()))
    with KeyedDropout(member_keys([1])[0]):
        expected = drop(x, rate)
    assert torch.equal(x, torch.ones_like(x))
    with KeyedDropout(member_keys([1])[0]):
        assert drop(x, rate, inplace=True) is x
    assert torch.equal(x, expected)
    assert (x == 0).any()


@pytest.mark.parametrize("rate", [0.99999, 0.9999995, torch.tensor(0.9999995, dtype=torch.float64)])
def test_a_rate_next_to_1_drops_nearly_everything(rate):
    with KeyedDropout(member_keys([1])[0]):
        kept = F.dropout(torch.ones(200_000), rate) != 0
    assert kept.sum() < 30  # odds of a false alarm: below 1e-16


@pytest.mark.parametrize(("drop", "shape"), [(F.dropout1d, (64, 10)), (F.dropout3d, (64, 2, 3, 4))])
def test_where_torch_takes_an_input_for_one_example_so_do_channels_here(drop, shape):
    def whole(dropped):
        of_each = (dropped != 0).flatten(1)
        return bool((of_each.any(1) == of_each.all(1)).all()) and 0 < int(of_each.all(1).sum()) < 64

    with KeyedDropout(member_keys([1])[0]):
        assert whole(drop(torch.ones(shape), 0.5))
    torch.manual_seed(0)
    assert whole(drop(torch.ones(shape), 0.5))


def test_evaluation_mode_drops_nothing():
    x = torch.randn(10)
    with KeyedDropout(member_keys([1])[0]):
        assert torch.equal(nn.Dropout(0.5).eval()(x), x)


ATTENTION = F.scaled_dot_product_attention
NOTHING = 1e-6  # a rate that drops nothing, as the masks have a resolution of 2^-16, and so shows the rest


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
        with KeyedDropout(member_keys([1])[0]):
            output = ATTENTION(*tensors, dropout_p=rate, **CALLS[call])
        output.square().sum().backward()
        results.append([output, *(one.grad for one in tensors)])
    for got, expected in zip(*results, strict=True):
        assert torch.allclose(got, expected, atol=1e-4)


def test_fewer_keys_than_queries_are_shared_among_heads():
    query, key, value = rows(heads=4), rows(heads=2, seed=1), rows(heads=2, seed=2)
    with KeyedDropout(member_keys([1])[0]):
        got, expected = (ATTENTION(query, key, value, dropout_p=p, enable_gqa=True) for p in (NOTHING, 0.0))
    assert torch.allclose(got, expected, atol=1e-5)


def test_the_weights_of_attention_are_dropped_by_keyed_masks():
    query, key = rows(seed=1), rows(seed=2)
    value = torch.eye(5).expand(3, 2, 5, 5)  # so that the output is the weights
    with KeyedDropout(member_keys([1])[0]):
        weights = ATTENTION(query, key, value, dropout_p=0.4)
        other = ATTENTION(query, key, value, dropout_p=0.4)
    with KeyedDropout(member_keys([1])[0]):
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
        with KeyedDropout(member_keys([key])[0]):
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
        with KeyedDropout(member_keys([1])[0]):
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
        with KeyedDropout(key):
            return layer(x, x, x, need_weights=weights)[0]

    rates, keys = torch.tensor([0.0, 0.2, 0.6], dtype=torch.float64), member_keys([1, 2, 3])
    together = vmap(attended, randomness="error")(rates, keys)
    alone = torch.stack([attended(float(rate), key) for rate, key in zip(rates, keys, strict=True)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together[1], together[0], atol=1e-2)


@pytest.mark.parametrize("context", [partial(KeyedDropout, member_keys([1])[0]), Undropped])
def test_attention_in_evaluation_mode_drops_nothing(context):
    layer, x = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True).eval(), torch.randn(3, 5, 8)
    expected = layer(x, x, x)[0]
    for layer.dropout in (0.5, torch.tensor(0.5)):  # type: ignore[assignment]
        with context():
            assert torch.allclose(layer(x, x, x)[0], expected, atol=1e-6)
