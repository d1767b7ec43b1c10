import pytest
import torch
from networks import small_task
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, StepLR

from deap_hpo.errors import InputError
from deap_hpo.training.recipe import Recipe
from deap_hpo.training.reference import ReferenceTrainer

STEPS, EPOCHS = 10, 6


def rates_of_torch(make_scheduler, every=1):
    """Learning rates of a scheduler that is stepped every so many training steps, from 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer)
    rates = []
    for step in range(STEPS * EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("settings", "make_scheduler", "every"),
    [
        ({"schedule": "step", "gamma": 0.7}, lambda o: StepLR(o, 1, 0.7), STEPS),
        ({"schedule": "step", "gamma": 0.5, "step_size": 2}, lambda o: StepLR(o, 2, 0.5), STEPS),
        ({"schedule": "cosine"}, lambda o: CosineAnnealingLR(o, STEPS * EPOCHS), 1),
        ({"schedule": "linear"}, lambda o: LinearLR(o, 1.0, 0.0, STEPS * EPOCHS), 1),
        ({"schedule": "constant"}, lambda o: ConstantLR(o, 1.0), 1),
        ({"schedule": "constant", "warmup": 1.5}, lambda o: LinearLR(o, 1 / 15, 1.0, 14), 1),
    ],
)
def test_schedules_are_those_of_torch(settings, make_scheduler, every):
    recipe = Recipe(**settings)
    factors = [recipe.lr_factor(step, STEPS, EPOCHS) for step in range(STEPS * EPOCHS)]
    assert factors == pytest.approx(rates_of_torch(make_scheduler, every), abs=1e-12)


def test_warm_up_multiplies_any_schedule():
    plain, warm = Recipe(schedule="cosine"), Recipe(schedule="cosine", warmup=2)
    for step in range(STEPS * EPOCHS):
        ramp = min(1.0, (step + 1) / 20)
        assert warm.lr_factor(step, STEPS, EPOCHS) == pytest.approx(ramp * plain.lr_factor(step, STEPS, EPOCHS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sdg"}, "optimizer must be one of adam, adamw, rmsprop, sgd; got 'sdg'"),
        ({"schedule": "exp"}, "schedule must be one of constant, cosine, linear, step; got 'exp'"),
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
