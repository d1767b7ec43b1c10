import math
import warnings
from functools import cache, partial

import pytest
import torch
from networks import (
    STACKABLE,
    DataDependent,
    Memory,
    Noisy,
    Transformer,
    digits,
    enlarged,
    in_double_precision,
    small_task,
)

from deap_hpo.errors import DeapHPOWarning
from deap_hpo.evaluation import Request
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer

# Settings that differ between members; the first ones are what is tested at P = 1 and P = 3.
MEMBERS = [
    {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3},
    {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.0},
    {"lr": 0.03, "momentum": 0.0, "weight_decay": 1e-2},
    {"lr": 0.01, "momentum": 0.95, "weight_decay": 1e-4},
    {"lr": 0.003, "momentum": 0.8, "weight_decay": 0.1},
    {"lr": 0.0, "momentum": 0.9, "weight_decay": 0.0},
    {"lr": 0.03, "momentum": 0.3, "weight_decay": 1e-3},
    {"lr": 0.02, "momentum": 0.7, "weight_decay": 1e-5},
]
# The last is never reached; some have none, for example when a condition switches it off.
BOUNDS = [0.3, 0.1, None, 0.05, 0.02, None, 0.02, 20.0]
CLIPPED = [
    member if bound is None else {**member, "max_grad_norm": bound}
    for member, bound in zip(MEMBERS, BOUNDS, strict=True)
]
DIVERGING = {"lr": 1e30, "momentum": 0.9, "weight_decay": 0.1}


def requests_of(params, seeds=None):
    return [Request(i, one, seeds[i] if seeds else 3) for i, one in enumerate(params)]


def evaluate(trainer, params, seeds=None):
    """Train together; a fall-back to the reference is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluations = dict(trainer.evaluate_batch(requests_of(params, seeds)))
    return [evaluations[i] for i in range(len(params))]


def curves(evaluations):
    return [[loss for e in one.curve for loss in (e.training_loss, e.validation_loss)] for one in evaluations]


def assert_same_curves(got, expected, rel=1e-4):
    for one, other in zip(curves(got), curves(expected), strict=True):
        assert one == pytest.approx(other, rel=rel)
    assert [one.status for one in got] == [one.status for one in expected]


def steps_of_the_reference(network, members, optimizer="sgd", clipped=False):
    return [_trained_by_the_reference(network, i, optimizer, clipped) for i in range(members)]


@cache
def _trained_by_the_reference(network, member, optimizer, clipped):
    trainer = ReferenceTrainer(task_of_steps(network, optimizer), epochs=20, device="cpu")
    return trainer(of_steps(optimizer, clipped)[member], seed=3)


def task_of_steps(network, optimizer="sgd"):
    # One batch is the whole split: an epoch is a step, and its training loss the loss of that step.
    model, data = STACKABLE[network]
    return small_task(model, data(), batch_size=64, schedule="constant", optimizer=optimizer)


def of_steps(optimizer, clipped):
    params = CLIPPED if clipped else MEMBERS
    # Adam cancels a factor that all gradients have, unless eps is large compared with them.
    return params if optimizer == "sgd" else [{**one, "lr": one["lr"] / 5, "eps": 0.01} for one in params]


@pytest.mark.parametrize("members", [1, 3, 8])
@pytest.mark.parametrize("network", STACKABLE)
def test_every_loss_of_20_steps_is_the_references(network, members):
    got = evaluate(PopulationTrainer(task_of_steps(network), epochs=20, device="cpu"), MEMBERS[:members])
    assert_same_curves(got, steps_of_the_reference(network, members))
    assert all(len(one.curve) == 20 for one in got)


@pytest.mark.parametrize("members", [1, 8])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("network", ["mlp", "batch-norm", "recurrent"])
def test_every_clipped_step_is_the_references(network, optimizer, members):
    trainer = PopulationTrainer(task_of_steps(network, optimizer), epochs=20, device="cpu")
    got = evaluate(trainer, of_steps(optimizer, clipped=True)[:members])
    assert {one.environment["stack"] for one in got} == {members}
    assert_same_curves(got, steps_of_the_reference(network, members, optimizer, clipped=True))
    # Bounds that changed nothing would show nothing; these change losses by 50 times the tolerance and more.
    without = curves(steps_of_the_reference(network, members, optimizer))
    changes = [
        max(abs(a / b - 1) for a, b in zip(one, other, strict=True))
        for one, other in zip(curves(got), without, strict=True)
    ]
    assert [change > 5e-3 for change in changes] == [True, True, False, True, True, False, True, False][:members]


@pytest.mark.parametrize("network", STACKABLE)
def test_in_double_precision_even_high_rates_agree_to_ten_digits(network):
    # Near the edge of divergence a rounding error of one network grows a thousandfold within 20 steps, in fp32 beyond
    # 1e-4. Double precision shows that this is only rounding.
    model, data = STACKABLE[network]
    task = small_task(partial(in_double_precision, model), data(), batch_size=64, schedule="constant")
    params = [{"lr": 0.1, "weight_decay": 1e-2}, {"lr": 0.06, "momentum": 0.6}, {"lr": 0.03, "momentum": 0.9}]
    params += [{**params[0], "max_grad_norm": 0.3}, {**params[2], "max_grad_norm": 0.05}]
    got = evaluate(PopulationTrainer(task, epochs=8, device="cpu"), params)
    expected = [ReferenceTrainer(task, epochs=8, device="cpu")(one, seed=3) for one in params]
    assert_same_curves(got, expected, rel=1e-10)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_batches_of_an_epoch_are_the_references(optimizer):
    # 64 examples in batches of 24: the last batch is smaller; two epochs: another order in each.
    task = small_task(batch_size=24, optimizer=optimizer)
    settings = {"epochs": 2, "device": "cpu"}
    got = evaluate(PopulationTrainer(task, **settings), MEMBERS)
    assert_same_curves(got, [ReferenceTrainer(task, **settings)(params, seed=3) for params in MEMBERS])


@pytest.mark.parametrize("params", [MEMBERS, CLIPPED], ids=["free", "clipped"])
@pytest.mark.parametrize("network", ["mlp", "batch-norm", "transformer", "lstm"])
def test_packing_never_changes_a_result(network, params):
    model, data = STACKABLE[network]
    task = small_task(model, data(), batch_size=24)
    trainer = PopulationTrainer(task, epochs=2, device="cpu")
    seeds = [3, 3, 4, 5, 3, 6, 7, 8]
    alone = [trainer(one, seed) for one, seed in zip(params, seeds, strict=True)]
    assert_same_curves(evaluate(trainer, params, seeds), alone)
    backwards = evaluate(trainer, params[::-1], seeds[::-1])
    assert_same_curves(backwards[::-1], alone)
    for size in (1, 3, 5):
        assert_same_curves(
            evaluate(PopulationTrainer(task, epochs=2, device="cpu", stack_size=size), params, seeds), alone
        )
    bad = {**DIVERGING, **({"max_grad_norm": 0.1} if params is CLIPPED else {})}
    beside_diverging = evaluate(trainer, [bad, *params[:3], bad, *params[3:]], [9, *seeds[:3], 9, *seeds[3:]])
    assert [one.status for one in beside_diverging[::4]] == ["diverged", "diverged", "ok"]
    assert_same_curves([one for i, one in enumerate(beside_diverging) if i not in (0, 4)], alone)


def test_seeds_matter():
    trainer = PopulationTrainer(small_task(), device="cpu")
    first, second = evaluate(trainer, MEMBERS[:1] * 2, [1, 2])
    assert first.value != second.value


def test_diverged_members_are_dropped_and_nobody_else_is_touched(monkeypatch):
    from deap_hpo.training.stacking import stack

    sizes = []
    advance = stack.Stack._advance
    monkeypatch.setattr(stack.Stack, "_advance", lambda self, *a: (sizes.append(len(self.members)), advance(self, *a)))
    # Weight decay times learning rate beyond 2 makes the weights grow without bound: a certain divergence.
    late = {"lr": 1.0, "momentum": 0.9, "weight_decay": 60.0}
    task = small_task(batch_size=16, schedule="constant")
    trainer = PopulationTrainer(task, epochs=12, device="cpu")
    order = []
    evaluations = {}
    for position, evaluation in trainer.evaluate_batch(requests_of([MEMBERS[0], DIVERGING, late, MEMBERS[1]])):
        order.append(position)
        evaluations[position] = evaluation
    assert [evaluations[i].status for i in range(4)] == ["ok", "diverged", "diverged", "ok"]
    assert evaluations[1].values == (math.inf,)
    assert len(evaluations[1].curve) == 0
    assert 0 < len(evaluations[2].curve) < 12
    reference = ReferenceTrainer(task, epochs=12, device="cpu")(late, seed=3)
    assert (reference.status, len(reference.curve)) == ("diverged", len(evaluations[2].curve))
    assert order[:2] == [1, 2], "what is decided early is told early"
    assert sizes[:4] == [4, 4, 3, 3], "dropped within the epoch, as soon as its loss is seen not to be finite"
    assert sizes[-1] == 2
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) < 0.7 * 4 * 48, "steps of dropped members are saved"
    assert_same_curves([evaluations[0], evaluations[3]], evaluate(trainer, MEMBERS[:2]))


def test_the_papers_network_at_a_rate_of_1_diverges_and_harms_nobody():
    model, _ = STACKABLE["paper-cnn"]
    task = small_task(model, enlarged(digits(32, 8)), batch_size=4, schedule="constant")
    bad = {"lr": 1.0, "momentum": 0.9, "weight_decay": 0.1}
    trainer = PopulationTrainer(task, epochs=3, device="cpu")
    got = evaluate(trainer, [bad, MEMBERS[3], bad, MEMBERS[4]])
    assert [one.status for one in got] == ["diverged", "ok", "diverged", "ok"]
    assert len(got[0].curve) == len(got[2].curve) < 3
    assert got[0].seconds < got[1].seconds
    assert_same_curves(got[1::2], evaluate(trainer, MEMBERS[3:5]))


def test_each_member_has_a_schedule_of_its_own():
    schedules = [
        {"schedule": "step", "gamma": 0.5},
        {"schedule": "step", "gamma": 0.1, "step_size": 2},
        {"schedule": "cosine", "warmup": 0.5},
        {"schedule": "linear"},
        {"schedule": "constant", "warmup": 2.5},
    ]
    params = [member | schedule for member, schedule in zip(MEMBERS, schedules, strict=False)]
    task = small_task(batch_size=24)
    settings = {"epochs": 4, "device": "cpu"}
    got = evaluate(PopulationTrainer(task, **settings), params)
    assert {one.environment["stack"] for one in got} == {len(schedules)}
    assert_same_curves(got, [ReferenceTrainer(task, **settings)(one, seed=3) for one in params])


def test_dropout_in_place_drops_at_each_members_rate():
    task = small_task(*(one() if one is digits else one for one in STACKABLE["in place"]))
    params = [{"lr": 0.05, "dropout": dropout} for dropout in (0.0, 0.5, 0.9)]
    got = evaluate(PopulationTrainer(task, epochs=2, device="cpu"), params)
    assert_same_curves(got, [ReferenceTrainer(task, epochs=2, device="cpu")(one, seed=3) for one in params])
    losses = [one.curve[-1].training_loss for one in got]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("network", [Transformer, Memory])
def test_layers_that_drop_by_themselves_are_stacked_whatever_their_rates(network):
    task = small_task(network, optimizer="adam", max_grad_norm=1.0)
    params = [{"lr": 0.003, "dropout": dropout} for dropout in (0.0, 0.1, 0.6)]
    for seeds in ([3, 3, 3], [3, 4, 5]):
        got = evaluate(PopulationTrainer(task, epochs=2, device="cpu"), params, seeds)
        assert [one.environment["stack"] for one in got] == [3, 3, 3]
        reference = ReferenceTrainer(task, epochs=2, device="cpu")
        assert_same_curves(got, [reference(one, seed=seed) for one, seed in zip(params, seeds, strict=True)])
        assert len({one.value for one in got}) == 3


def test_members_of_different_structure_are_stacked_apart():
    params = [
        {"lr": 0.05, "width": width, "batch_size": size, "optimizer": optimizer, "dropout": dropout}
        for width, size, optimizer, dropout in [
            (16, 24, "sgd", 0.1),
            (16, 24, "sgd", 0.6),
            (8, 24, "sgd", 0.1),
            (16, 32, "sgd", 0.1),
            (16, 24, "adam", 0.1),
            (16, 24, "sgd", 0.0),
        ]
    ] + [{"lr": 0.05, "depth": 2}, *[{"lr": 0.05, "momentum": 0.9, "nesterov": one} for one in (True, False)]]
    task = small_task()
    settings = {"epochs": 2, "device": "cpu"}
    got = evaluate(PopulationTrainer(task, **settings), params)
    assert [one.environment["stack"] for one in got] == [3, 3, 1, 1, 1, 3, 1, 1, 1]
    assert_same_curves(got, [ReferenceTrainer(task, **settings)(one, seed=3) for one in params])


@pytest.mark.parametrize(("model", "reason"), [(DataDependent, "data-dependent"), (Noisy, "random")])
def test_what_cannot_be_stacked_is_left_to_the_reference_with_one_warning(model, reason):
    task = small_task(model)
    trainer = PopulationTrainer(task, device="cpu")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        got = dict(trainer.evaluate_batch(requests_of(MEMBERS[:3])))
        again = dict(trainer.evaluate_batch(requests_of(MEMBERS[:3])))
    messages = [str(one.message) for one in warned if one.category is DeapHPOWarning]
    assert len(messages) == 1
    assert "trained one at a time" in messages[0]
    assert reason in messages[0]
    reference = [ReferenceTrainer(task, device="cpu")(params, seed=3) for params in MEMBERS[:3]]
    assert curves([got[i] for i in range(3)]) == curves([again[i] for i in range(3)]) == curves(reference)


def test_torchs_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    evaluate(PopulationTrainer(small_task(), device="cpu"), MEMBERS[:2])
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_hyperparameters_fail_alone():
    got = dict(PopulationTrainer(small_task(), device="cpu").evaluate_batch(requests_of([{"lr": -1}, {"lr": 0.1}])))
    assert [got[i].status for i in range(2)] == ["failed", "ok"]
    assert "lr must be a finite number" in got[0].error
