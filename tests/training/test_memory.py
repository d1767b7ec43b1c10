import gc
import warnings
import weakref
from dataclasses import replace
from functools import partial

import pytest
import torch
from networks import small_task
from test_population import MEMBERS, assert_same_curves, curves, evaluate, requests_of

from deap_hpo.errors import InputError
from deap_hpo.training.memory import is_out_of_memory, step_memory
from deap_hpo.training.models import MLP
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.stacking import stack
from deap_hpo.training.stacking.forward import StackedForward
from deap_hpo.training.stacking.structure import Member


@pytest.fixture
def task():
    return small_task(batch_size=16)


def fail_beyond(monkeypatch, members, error=torch.OutOfMemoryError, from_step=0):
    """Let stacks of more members run out of memory."""
    advance = stack.Stack._advance
    tried = []

    def limited(self, *arguments):
        tried.append(len(self.members))
        if len(self.members) > members and int(self.trained) >= from_step:
            raise error("can't allocate memory: the fake limit")
        advance(self, *arguments)

    monkeypatch.setattr(stack.Stack, "_advance", limited)
    return tried


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("from_step", [0, 5])
def test_a_stack_that_does_not_fit_is_halved_until_it_does(monkeypatch, task, error, from_step):
    trainer = PopulationTrainer(task, epochs=2, device="cpu")
    expected = evaluate(trainer, MEMBERS)
    tried = fail_beyond(monkeypatch, 3, error, from_step)
    limited = PopulationTrainer(task, epochs=2, device="cpu")
    got = evaluate(limited, MEMBERS)
    assert_same_curves(got, expected)
    assert [one.environment["stack"] for one in got] == [2] * 8
    assert [n for n in dict.fromkeys(tried)] == [8, 4, 2]
    del tried[:]
    evaluate(limited, MEMBERS)
    assert set(tried) == {2}, "what fits is remembered"


def fail_in_measuring_beyond(monkeypatch, images):
    """Let networks run out of memory if they are measured on more images at a time, counted over all members."""
    in_stack, alone, tried = StackedForward.forward, ReferenceTrainer._forward, []

    def limited(training, members, inputs):
        if not training:
            tried.append(members * len(inputs))
            if tried[-1] > images:
                raise torch.OutOfMemoryError("the fake limit")

    def of_stack(self, weights, buffers, inputs):
        if not self.network.training:  # a level of vmap, and none of a gradient
            members = torch._C._functorch.get_unwrapped(weights).shape[0]
            limited(False, members, inputs)
        return in_stack(self, weights, buffers, inputs)

    def of_reference(self, model, inputs):
        limited(model.training, 1, inputs)
        return alone(self, model, inputs)

    monkeypatch.setattr(StackedForward, "forward", of_stack)
    monkeypatch.setattr(ReferenceTrainer, "_forward", of_reference)
    return tried


@pytest.mark.parametrize("count", [8, 1])
@pytest.mark.parametrize("kind", [PopulationTrainer, ReferenceTrainer])
def test_where_memory_runs_out_in_measuring_fewer_images_are_measured_at_a_time(monkeypatch, task, kind, count):
    requests = requests_of(MEMBERS[:count])
    expected = [kind(task, epochs=2, device="cpu").evaluate(one) for one in requests]
    tried = fail_in_measuring_beyond(monkeypatch, 12)
    trainer = kind(task, epochs=2, device="cpu")
    if kind is PopulationTrainer:
        told = dict(trainer.evaluate_batch(requests))
        got = [told[i] for i in range(count)]
        assert {one.environment["stack"] for one in got} == {count}, "as many train together as before"
    else:
        got = [trainer.evaluate(one) for one in requests]
    assert_same_curves(got, expected)
    too_many = [images for images in tried if images > 12]
    assert too_many == sorted(set(too_many), reverse=True), "what is too much is remembered"
    assert 6 <= max(set(tried) - set(too_many)) <= 12


def test_members_are_split_before_images_in_measuring(monkeypatch, task):
    # A network's output for an image may depend on the others of its batch, but never on another member's.
    tried = fail_in_measuring_beyond(monkeypatch, 60)  # there are 50 images
    got = evaluate(PopulationTrainer(task, epochs=2, device="cpu"), MEMBERS)
    assert [one.environment["stack"] for one in got] == [8] * 8
    assert tried == [400, 200, 100] + [50] * 16
    fail_in_measuring_beyond(monkeypatch, 2)
    got = evaluate(PopulationTrainer(task, device="cpu"), MEMBERS)
    assert [one.environment["stack"] for one in got] == [8] * 8, "as many train together as before"


def test_where_a_single_image_is_too_much_to_measure_the_evaluation_fails(monkeypatch, task):
    fail_in_measuring_beyond(monkeypatch, 0)
    got = dict(PopulationTrainer(task, device="cpu").evaluate_batch(requests_of(MEMBERS[:3])))
    assert ["the fake limit" in got[i].reason for i in range(3)] == [True] * 3


def test_what_diverged_before_memory_ran_out_is_told_once(monkeypatch, task):
    params = [MEMBERS[0], {"lr": 1e30}, *MEMBERS[1:4]]
    fail_beyond(monkeypatch, 2, from_step=5)
    told = list(PopulationTrainer(task, epochs=3, device="cpu").evaluate_batch(requests_of(params)))
    assert sorted(position for position, _ in told) == list(range(5))
    assert dict(told)[1].status == "diverged"


@pytest.mark.parametrize("limit", [8, 3])
def test_a_stack_is_freed_with_its_last_user(monkeypatch, task, limit):
    # Freed without waiting for Python's cycle collector: on a GPU, a recorded step holds all memory of a step.
    living = weakref.WeakSet()
    true = stack.Stack.__init__

    def watched(self, *arguments, **settings):
        assert not living, "the one before is still there"
        living.add(self)
        true(self, *arguments, **settings)

    fail_beyond(monkeypatch, limit)
    monkeypatch.setattr(stack.Stack, "__init__", watched)
    gc.disable()
    try:
        got = evaluate(PopulationTrainer(task, epochs=2, device="cpu"), [*MEMBERS, {"lr": 0.1, "batch_size": 8}])
        assert not living
    finally:
        gc.enable()
    assert {one.status for one in got} == {"ok"}


def test_where_not_even_one_member_fits_the_reference_goes_on(monkeypatch, task):
    fail_beyond(monkeypatch, 0)
    trainer = PopulationTrainer(task, device="cpu")
    with pytest.warns(RuntimeWarning, match="one at a time.*the fake limit"):
        got = dict(trainer.evaluate_batch(requests_of(MEMBERS[:3])))
    reference = ReferenceTrainer(task, device="cpu")
    assert curves([got[i] for i in range(3)]) == curves([reference(params, 3) for params in MEMBERS[:3]])


def test_the_first_stack_is_made_to_fit_the_memory(task):
    trainer = PopulationTrainer(task, device="cpu")
    evaluate(trainer, MEMBERS[:1])
    model = task.model()
    examples = task.data.training[:16]
    step = step_memory(lambda: trainer.reference.loss(model, examples), trainer.device)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert 16 * 64 * 4 < step < 20 * 16 * 64 * 4, "some times the inputs"
    limit = int(3.5 * (step + 6 * weights) / 0.8)
    got = evaluate(PopulationTrainer(task, device="cpu", memory_limit=limit), MEMBERS)
    assert [one.environment["stack"] for one in got] == [3, 3, 3, 3, 3, 3, 2, 2], "nearly equal, none beyond 3"


def test_a_recorded_step_and_the_last_batch_have_to_fit_together(task):
    # 64 examples in batches of 16 leave no rest, in batches of 24 one of 16: two thirds of a step beside the recorded.
    for batch_size, share in ((16, 1), (24, 5 / 3)):
        size = {}
        for engine in ("eager", "graph"):
            trainer = PopulationTrainer(small_task(batch_size=batch_size), device="cpu", stack_size=10**9)
            trainer.engine = engine  # as on CUDA
            trainer.memory_limit = 10**10
            ((member, _),) = trainer._members(0, requests_of(MEMBERS[:1])[0])
            size[engine] = trainer._fitting(member)
        if share == 1:
            assert size["graph"] == size["eager"]
        else:
            assert size["eager"] / share < size["graph"] < size["eager"]


def test_a_limit_below_one_member_trains_them_singly(task):
    got = evaluate(PopulationTrainer(task, device="cpu", memory_limit=1), MEMBERS[:2])
    assert [one.environment["stack"] for one in got] == [1, 1]


@pytest.mark.parametrize("argument", ["stack_size", "memory_limit"])
def test_limits_are_checked(task, argument):
    with pytest.raises(InputError, match=f"{argument} must be an integer of at least 1, or None; got 0"):
        PopulationTrainer(task, device="cpu", **{argument: 0})


def test_errors_that_say_that_memory_ran_out():
    with pytest.raises(RuntimeError) as real:
        torch.empty(2**60)
    assert is_out_of_memory(real.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


@pytest.mark.gpu
def test_on_cuda_running_out_of_memory_is_survived():
    # 64 members take some 6 GB, which the device has free; the process may take 2.
    task = small_task(partial(MLP, inputs=64, width=2048, depth=2))
    trainer = PopulationTrainer(task, device="cuda")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2e9 / total))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = dict(trainer.evaluate_batch(requests_of(MEMBERS * 8)))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert {one.status for one in got.values()} == {"ok"}


@pytest.mark.parametrize(("device", "together"), [("cpu", 100), ("meta", 8 * 64)])
def test_a_gpu_measures_as_many_images_together_as_it_trains_on(device, together):
    task = replace(small_task(batch_size=64), evaluation_batch_size=100)
    members = [Member(i, 0, 3, one, *task.configure(one)) for i, one in enumerate(MEMBERS)]
    made = stack.Stack(task, task.data.to(device), members, epochs=1, precision="fp32")
    measured = []

    def compute(rows, inputs):
        measured.append((rows.stop - rows.start) * len(inputs))
        return torch.zeros(rows.stop - rows.start, len(inputs))

    made._parts(compute, torch.zeros(100, 1), 8)
    assert max(measured) == together // 100 * 100
