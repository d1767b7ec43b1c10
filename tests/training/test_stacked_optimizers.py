import pytest
import torch

from deap_hpo.training.recipe import OPTIMIZERS, Recipe
from deap_hpo.training.stacking.clipping import Clipping, row_norms
from deap_hpo.training.stacking.optimizers import STACKED_OPTIMIZERS

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
SETTINGS["rmsprop"] = [
    {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01},
    {"lr": 0.02, "alpha": 0.5, "eps": 1e-3},
    {"lr": 0.05, "momentum": 0.3, "alpha": 0.0, "weight_decay": 0.1},
]
BOUNDS = {"free": [None] * 3, "clipped": [0.5, None, 2.0]}  # the gradients' norms are 0.5 to 4


def stacked_of(recipes, weights):
    made = [OPTIMIZERS[recipe.optimizer](recipe, [torch.nn.Parameter(torch.zeros(1))]) for recipe in recipes]
    stacked = STACKED_OPTIMIZERS[recipes[0].optimizer]([one.param_groups[0] for one in made], weights)
    return stacked, Clipping([recipe.max_grad_norm for recipe in recipes], weights)


def trained_by_torch(recipe, start, targets, steps):
    weights = torch.nn.Parameter(start.clone())
    optimizer = OPTIMIZERS[recipe.optimizer](recipe, [weights])
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = recipe.lr * recipe.lr_factors(step // 10, 10, 3)[step % 10]
        optimizer.zero_grad()
        ((weights - targets[step]) ** 4).sum().backward()
        if recipe.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_([weights], recipe.max_grad_norm)
        optimizer.step()
    return weights.detach()


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
@pytest.mark.parametrize("used", [slice(None), slice(1, 2)], ids=["all", "without momentum and decay"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(
    ("optimizer", "nesterov"), [("sgd", False), ("sgd", True), ("adam", False), ("adamw", False), ("rmsprop", False)]
)
def test_each_member_is_updated_as_torch_does(optimizer, nesterov, dtype, tolerance, used, bounds):
    recipes = [
        Recipe(optimizer=optimizer, nesterov=nesterov, max_grad_norm=bound, **one)
        for one, bound in list(zip(SETTINGS[optimizer], bounds, strict=True))[used]
    ]
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(20, generator=generator, dtype=dtype)
    targets = torch.rand(30, 20, generator=generator, dtype=dtype)
    weights = start.repeat(len(recipes), 1)
    stacked, clipping = stacked_of(recipes, weights)
    for step in range(30):
        rate = torch.tensor(
            [[recipe.lr * recipe.lr_factors(step // 10, 10, 3)[step % 10]] for recipe in recipes], dtype=dtype
        )
        gradient = clipping(4 * (weights - targets[step]) ** 3)
        stacked.update(weights, gradient, rate, torch.tensor(step, dtype=torch.int32))
    expected = torch.stack([trained_by_torch(recipe, start, targets, 30) for recipe in recipes])
    torch.testing.assert_close(weights, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
@pytest.mark.parametrize("optimizer", STACKED_OPTIMIZERS)
def test_those_that_are_kept_go_on_as_before(optimizer, bounds):
    recipes = [
        Recipe(optimizer=optimizer, max_grad_norm=bound, **one)
        for one, bound in zip(SETTINGS[optimizer], bounds, strict=True)
    ]
    gradient = torch.rand(3, 20, generator=torch.Generator().manual_seed(0))
    rate, index = torch.full((3, 1), 0.1), torch.tensor([0, 2])
    whole, part = torch.ones(3, 20), torch.ones(3, 20)
    (undisturbed, clipping), (compacted, fewer) = (stacked_of(recipes, whole) for _ in range(2))
    undisturbed.update(whole, clipping(gradient), rate, torch.tensor(0))
    compacted.update(part, fewer(gradient), rate, torch.tensor(0))
    compacted.keep(index)
    fewer.keep(index)
    part = part[index]
    undisturbed.update(whole, clipping(gradient), rate, torch.tensor(1))
    compacted.update(part, fewer(gradient[index]), rate[index], torch.tensor(1))
    assert torch.equal(part, whole[index])


@pytest.mark.parametrize("columns", [0, 1, 20, 4096, 4097, 10_000, 1_200_000])
def test_norms_of_rows_are_exact_however_long_these_are(columns):
    rows = torch.rand(2, columns, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [1e-3]])
    exact = rows.double().square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(row_norms(rows).double(), exact, rtol=1e-6, atol=0.0)


def test_nobody_is_clipped_by_a_neighbours_gradient_nor_without_a_bound():
    gradient = torch.rand(5, 20, generator=torch.Generator().manual_seed(0))
    gradient[1] *= 1e6
    gradient[2, 0], gradient[3, 0], gradient[4, 0] = torch.inf, torch.nan, torch.inf
    bounds = [0.5, None, 0.5, 0.5, None]
    clipped = Clipping(bounds, torch.zeros(5, 20))(gradient)
    alone = [Clipping([0.5], torch.zeros(1, 20))(one[None])[0] for one in gradient]
    assert torch.equal(clipped[0], alone[0])
    assert clipped[0].norm().item() == pytest.approx(0.5, rel=1e-5)
    for unbounded in (1, 4):
        assert torch.equal(clipped[unbounded], gradient[unbounded])
    for bounded in (2, 3):
        expected = torch.nn.Parameter(torch.zeros(20))
        expected.grad = gradient[bounded].clone()
        torch.nn.utils.clip_grad_norm_([expected], 0.5)
        torch.testing.assert_close(clipped[bounded], expected.grad, equal_nan=True)


def test_where_nobody_has_a_bound_nothing_is_computed():
    gradient = torch.rand(2, 20)
    assert Clipping([None] * 2, torch.zeros(2, 20))(gradient) is gradient
