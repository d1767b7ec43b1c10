"""The other ways of training a stack that benchmarks/ measures: they must give the same results."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks import STACKABLE, small_task
from test_population import MEMBERS

from deap_hpo.training.stacking.stack import Stack
from deap_hpo.training.stacking.structure import Member

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from throughput import measure, processor_seconds
from variants import ProductStack, train_on_streams, train_stack


def stack_of(kind, network, members, epochs=1):
    model, data = STACKABLE[network]
    task = small_task(model, data(), batch_size=16)
    described = [Member(i, 0, 3, one, *task.configure(one)) for i, one in enumerate(members)]
    return kind(task, task.data, described, epochs=epochs, precision="fp32")


@pytest.mark.parametrize("network", ["batch-norm", "view"])
def test_convolutions_as_products_train_the_same(network):
    expected, got = (stack_of(kind, network, MEMBERS[:3]) for kind in (Stack, ProductStack))
    for stack in (expected, got):
        train_stack(stack)
    torch.testing.assert_close(got.weights, expected.weights, rtol=1e-4, atol=1e-5)


def test_members_on_streams_train_the_same():
    together = stack_of(Stack, "mlp", MEMBERS[:3])
    alone = [stack_of(Stack, "mlp", [member]) for member in MEMBERS[:3]]
    train_stack(together)
    train_on_streams(alone, streams=2)
    weights = torch.cat([stack.weights for stack in alone])
    torch.testing.assert_close(weights, together.weights, rtol=1e-5, atol=1e-6)


def test_rates_count_images_over_wall_clock_and_processor_time():
    rates = measure({"row": lambda: sum(range(5_000_000))}, images=100, repeats=3)
    assert len(rates["row"]) == 3
    assert all(wall > 0 and processor > 0 for wall, processor in rates["row"])
    assert processor_seconds() > 0


def test_a_row_that_fails_leaves_the_others_measured(capsys):
    def fail():
        raise RuntimeError("no compiler")

    rates = measure({"first": fail, "second": lambda: None}, images=1, repeats=2)
    assert {label: len(pairs) for label, pairs in rates.items()} == {"second": 2}
    assert capsys.readouterr().err == "first failed: RuntimeError: no compiler\n"


def test_no_round_begins_after_the_time_is_up_once_one_has_counted():
    rates = measure({"row": lambda: None}, images=1, repeats=5, until=0.0)
    assert len(rates["row"]) == 1


def test_every_way_of_training_trains_all_epochs():
    whole, alone = stack_of(Stack, "mlp", MEMBERS[:1], epochs=2), stack_of(Stack, "mlp", MEMBERS[:1], epochs=2)
    train_stack(whole)
    train_on_streams([alone])
    assert int(whole.trained) == int(alone.trained) == 2 * whole.steps_per_epoch


def test_without_optuna_all_rows_but_its_own_are_measured():
    # A borrowed machine may not have Optuna.
    code = "import sys; sys.modules['optuna'] = None; import throughput"
    folder = Path(__file__).parents[2] / "benchmarks"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
