"""The random numbers of training. The statistical tests are deterministic (their keys are fixed); "odds" says how
often a perfect generator would fail them, over all choices of keys."""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deap_hpo.training import keyed
from deap_hpo.training.keyed import (
    derive_key,
    keyed_mask,
    keyed_model,
    keyed_permutation,
    member_keys,
    step_keys,
)
from deap_hpo.training.keyed_dropout import KeyedDropout


def masks(keys, size=4096, p=0.25):
    """Give the keep-masks of keys [K] as 0 and 1: float [K, size]."""
    return torch.stack([keyed_mask(torch.Size([size]), p, key) for key in keys]).double()


def z_scores_of_pairs(rows, p):
    """Correlations between all pairs of rows [K, size], scaled to be standard normal for independent rows."""
    centred = (rows - (1 - p)) / math.sqrt(p * (1 - p))
    correlations = centred @ centred.T / math.sqrt(rows.shape[1])
    return correlations[torch.triu(torch.ones_like(correlations), diagonal=1).bool()]


def assert_standard_normal(z):
    """Odds of a false alarm: below 1e-4 for the largest of up to 2,016 (6 sigma: 2e-9 each), 6e-7 for the others."""
    assert z.abs().max() < 6
    assert abs(z.mean()) < 5 / math.sqrt(len(z))
    assert abs((z**2).mean() - 1) < 5 * math.sqrt(2 / len(z))


@pytest.mark.parametrize("p", [0.01, 0.25, 0.5, 0.9])
def test_rate(p):
    # Odds: 6e-7 (5 sigma).
    kept = masks(member_keys(range(256)), p=p)
    assert abs(kept.mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / kept.numel())


def test_every_element_and_every_mask_is_fair():
    # 1,024 masks of 512 elements: the sums over masks, and over elements. Odds: see assert_standard_normal.
    rows = masks(member_keys(range(1024)), size=512)
    centred = (rows - 0.75) / math.sqrt(0.75 * 0.25)
    assert_standard_normal(centred.sum(0) / math.sqrt(1024))
    assert_standard_normal(centred.sum(1) / math.sqrt(512))


def test_members_are_independent():
    assert_standard_normal(z_scores_of_pairs(masks(member_keys(range(64))), 0.25))


def test_steps_are_independent():
    key = member_keys([5])[0]
    assert_standard_normal(z_scores_of_pairs(masks([step_keys(key, step) for step in range(64)]), 0.25))


def test_calls_of_one_forward_pass_are_independent():
    with KeyedDropout(step_keys(member_keys([5])[0], 3)):
        rows = torch.stack([F.dropout(torch.ones(4096), 0.25) for _ in range(64)])
    assert_standard_normal(z_scores_of_pairs((rows > 0).double(), 0.25))


def test_neighbouring_elements_are_independent():
    # Two elements share one hash. Odds: 6e-7 for each lag.
    rows = (masks(member_keys(range(256))) - 0.75) / math.sqrt(0.75 * 0.25)
    for lag in (1, 2, 3, 64):
        products = rows[:, lag:] * rows[:, :-lag]
        assert abs(products.mean()) < 5 / math.sqrt(products.numel())


def test_the_step_may_be_a_tensor():
    keys = member_keys(range(5))
    assert torch.equal(step_keys(keys, 70_000), step_keys(keys, torch.tensor(70_000, dtype=torch.int32)))


def test_weights_depend_on_the_seed_alone_and_leave_the_generator():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = keyed_model(lambda: nn.Linear(3, 3), seed=5)
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(2)
    assert torch.equal(keyed_model(lambda: nn.Linear(3, 3), seed=5).weight, first.weight)
    assert not torch.equal(keyed_model(lambda: nn.Linear(3, 3), seed=6).weight, first.weight)


def test_building_a_network_leaves_no_seed_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    keyed_model(lambda: nn.Linear(3, 3), seed=5)
    assert seeds == []


@pytest.mark.gpu
def test_the_generators_of_a_gpu_are_left_as_they_were() -> None:
    torch.cuda.manual_seed(1)
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed(1)
    keyed_model(lambda: nn.Linear(3, 3, device="cuda"), seed=5)
    assert torch.equal(torch.rand(3, device="cuda"), expected)


def test_permutations_differ_by_seed_and_epoch():
    orders = [keyed_permutation(50, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_keys_are_the_same_in_every_process():
    code = "from deap_hpo.training.keyed import derive_key; print(derive_key('weights', 3, 'x'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(printed) == derive_key("weights", 3, "x")


def test_masks_of_many_sizes_keep_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # A search over batch sizes and widths asks for hundreds: for batches of 16 to 256, one layer kept 0.8 GB.
    kept: dict[Any, torch.Tensor] = {}
    monkeypatch.setattr(keyed, "_INDEX_HASHES", kept)
    key = member_keys([5])[0]
    for size in range(1, 3000):
        keyed_mask(torch.Size([size]), 0.5, key)
    assert sum(hashes.numel() for hashes in kept.values()) < 2 * 3000


def test_a_mask_of_another_size_begins_alike():
    key = member_keys([5])[0]
    whole = keyed_mask(torch.Size([1000]), 0.5, key)
    assert all(torch.equal(keyed_mask(torch.Size([size]), 0.5, key), whole[:size]) for size in (1, 2, 3, 512, 513, 999))
