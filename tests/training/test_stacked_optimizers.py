import pytest
import torch

from deap_hpo.training.recipe import OPTIMIZERS, Recipe
from deap_hpo.training.stacked_optimizers import STACKED_OPTIMIZERS

SETTINGS = {
    "sgd": [
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        {"lr": 0.02, "momentum": 0.0, "weight_decay": 0.0},
        {"lr": 0.05, "momentum": 0.3, "weight_decay": 0.1},
    ],
    "adam": [
        {"lr": 0.1, "weight_decay": 0.01},
        {"lr": 0.003, "beta1": 0.5, "beta2": 0.9},
        {"lr": 0.01, "beta1": 0.0, "eps": 1e-3, "weight_decay": 0.5},
    ],
}
SETTINGS["adamw"] = SETTINGS["adam"]


def trained_by_torch(recipe, start, targets, steps):
    weights = torch.nn.Parameter(start.clone())
    optimizer = OPTIMIZERS[recipe.optimizer](recipe, [weights])
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = recipe.lr * recipe.lr_factor(step, 10, 3)
        optimizer.zero_grad()
        ((weights - targets[step]) ** 4).sum().backward()
        optimizer.step()
    return weights.detach()


@pytest.mark.parametrize("used", [slice(None), slice(1, 2)], ids=["all", "without momentum and decay"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("optimizer", "nesterov"), [("sgd", False), ("sgd", True), ("adam", False), ("adamw", False)])
def test_each_member_is_updated_as_torch_does(optimizer, nesterov, dtype, tolerance, used):
    recipes = [Recipe(optimizer=optimizer, nesterov=nesterov, **one) for one in SETTINGS[optimizer][used]]
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(20, generator=generator, dtype=dtype)
    targets = torch.rand(30, 20, generator=generator, dtype=dtype)
    weights = start.repeat(len(recipes), 1)
    stacked = STACKED_OPTIMIZERS[optimizer](recipes, weights)
    for step in range(30):
        rate = torch.tensor([[recipe.lr * recipe.lr_factor(step, 10, 3)] for recipe in recipes], dtype=dtype)
        stacked.update(weights, 4 * (weights - targets[step]) ** 3, rate, torch.tensor(step, dtype=torch.int32))
    expected = torch.stack([trained_by_torch(recipe, start, targets, 30) for recipe in recipes])
    torch.testing.assert_close(weights, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("optimizer", STACKED_OPTIMIZERS)
def test_those_that_are_kept_go_on_as_before(optimizer):
    recipes = [Recipe(optimizer=optimizer, **one) for one in SETTINGS[optimizer]]
    gradient = torch.rand(3, 20, generator=torch.Generator().manual_seed(0))
    rate, index = torch.full((3, 1), 0.1), torch.tensor([0, 2])
    whole, part = torch.ones(3, 20), torch.ones(3, 20)
    undisturbed, compacted = (STACKED_OPTIMIZERS[optimizer](recipes, whole) for _ in range(2))
    undisturbed.update(whole, gradient, rate, torch.tensor(0))
    compacted.update(part, gradient, rate, torch.tensor(0))
    compacted.keep(index)
    part = part[index]
    undisturbed.update(whole, gradient, rate, torch.tensor(1))
    compacted.update(part, gradient[index], rate[index], torch.tensor(1))
    assert torch.equal(part, whole[index])
