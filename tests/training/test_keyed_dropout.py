"""Dropout by keys, alone and under `vmap`."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import vmap

from deap_hpo.training.keyed import member_keys
from deap_hpo.training.keyed_dropout import KeyedDropout


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
