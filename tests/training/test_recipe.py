import math
from functools import partial

import pytest
import torch
from networks import small_task
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LambdaLR, LinearLR, OneCycleLR, StepLR

from deap_hpo.errors import InputError
from deap_hpo.training.learning_rates import one_cycle
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.reference import ReferenceTrainer

STEPS, EPOCHS = 10, 6


def rates_of_torch(make_scheduler, every=1):
    """Learning rates of a scheduler that is stepped every `every` training steps, from 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer)
    rates = []
    for step in range(STEPS * EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return rates


def of_transformers(after, warmup_steps=6):
    """`transformers.optimization.get_linear_schedule_with_warmup`, or `get_cosine_schedule_with_warmup`."""

    def factor(step):
        if step < warmup_steps:
            return step / max(1, warmup_steps)
        return after((step - warmup_steps) / max(1, STEPS * EPOCHS - warmup_steps))

    return factor


def all_factors(recipe):
    return [factor for epoch in range(EPOCHS) for factor in recipe.lr_factors(epoch, STEPS, EPOCHS)]


@pytest.mark.parametrize(
    ("settings", "make_scheduler", "every"),
    [
        ({"schedule": "step", "gamma": 0.7}, lambda o: StepLR(o, 1, 0.7), STEPS),
        ({"schedule": "step", "gamma": 0.5, "step_size": 2}, lambda o: StepLR(o, 2, 0.5), STEPS),
        ({"schedule": "cosine"}, lambda o: CosineAnnealingLR(o, STEPS * EPOCHS), 1),
        ({"schedule": "one_cycle"}, lambda o: OneCycleLR(o, 1.0, STEPS * EPOCHS, cycle_momentum=False), 1),
        (
            {"schedule": partial(one_cycle, pct_start=0.0)},
            lambda o: OneCycleLR(o, 1.0, STEPS * EPOCHS, pct_start=0.0, cycle_momentum=False),
            1,
        ),
        ({"schedule": "warmup_linear"}, lambda o: LambdaLR(o, of_transformers(lambda share: 1 - share)), 1),
        (
            {"schedule": "warmup_cosine"},
            lambda o: LambdaLR(o, of_transformers(lambda share: 0.5 * (1 + math.cos(math.pi * share)))),
            1,
        ),
        (
            {"schedule": partial(one_cycle, pct_start=0.1, div_factor=5.0, final_div_factor=10.0)},
            lambda o: OneCycleLR(
                o, 1.0, STEPS * EPOCHS, pct_start=0.1, cycle_momentum=False, div_factor=5.0, final_div_factor=10.0
            ),
            1,
        ),
        ({"schedule": "linear"}, lambda o: LinearLR(o, 1.0, 0.0, STEPS * EPOCHS), 1),
        ({"schedule": "constant"}, lambda o: ConstantLR(o, 1.0), 1),
        ({"schedule": "constant", "warmup": 1.5}, lambda o: LinearLR(o, 1 / 15, 1.0, 14), 1),
    ],
)
def test_schedules_are_those_of_torch(settings, make_scheduler, every):
    recipe = Recipe(**settings)
    assert all_factors(recipe) == pytest.approx(rates_of_torch(make_scheduler, every), abs=1e-12)


def test_warm_up_multiplies_any_schedule():
    for schedule in ("cosine", "one_cycle", lambda step, steps: 0.5):
        plain, warm = (all_factors(Recipe(schedule=schedule, warmup=warmup)) for warmup in (0, 2))
        assert warm == pytest.approx([min(1.0, (step + 1) / 20) * factor for step, factor in enumerate(plain)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sdg"}, "optimizer must be one of adam, adamw, rmsprop, sgd; got 'sdg'"),
        (
            {"schedule": "exp"},
            "schedule must be one of constant, cosine, linear, one_cycle, plateau, step, warmup_cosine, warmup_li",
        ),
        ({"lr": -0.1}, "lr must be a finite number from 0"),
        ({"lr": float("nan")}, "lr must be a finite number from 0"),
        ({"momentum": 1.5}, "momentum must be a finite number from 0 to 1; got 1.5"),
        ({"beta1": 1.0}, "beta1 must be less than 1; got 1.0"),
        ({"beta2": 1}, "beta2 must be less than 1; got 1"),
        ({"alpha": 1.0}, "alpha must be less than 1; got 1.0"),
        ({"max_grad_norm": 0}, "max_grad_norm must be a finite number above 0, or None; got 0"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be a finite number above 0, or None; got -1.0"),
        ({"max_grad_norm": float("inf")}, "max_grad_norm must be a finite number above 0, or None; got inf"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm must be a finite number above 0, or None; got nan"),
        ({"max_grad_norm": True}, "max_grad_norm must be a finite number above 0, or None; got True"),
        ({"max_grad_norm": "1"}, "max_grad_norm must be a finite number above 0, or None; got '1'"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({"step_size": 1.5}, "step_size must be an integer of at least 1; got 1.5"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Recipe(**settings)


def test_a_recipe_without_a_bound_is_recorded_as_before_there_was_one():
    names = "optimizer lr momentum nesterov weight_decay beta1 beta2 eps batch_size schedule gamma step_size warmup"
    without, bounded = (
        ReferenceTrainer(small_task(**recipe), device="cpu").settings["recipe"] for recipe in ({}, {"max_grad_norm": 1})
    )
    assert list(without) == names.split()
    assert bounded == {**without, "max_grad_norm": 1}
