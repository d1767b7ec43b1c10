import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from networks import STACKABLE, small_task
from test_population import CLIPPED, MEMBERS, assert_same_curves, evaluate, requests_of
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deap_hpo.errors import InputError
from deap_hpo.training.data import Split
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.stacking import engines, forward, stack
from deap_hpo.training.stacking.engines import RecordedStep, Watch, capture_cuda_graph, make_step, resolve_engine
from deap_hpo.training.stacking.structure import Member

CPU = torch.device("cpu")


def test_a_recorded_step_warms_up_is_captured_once_and_replayed():
    calls = []

    def capture(step):
        calls.append("captured")
        return lambda: calls.append("replayed")

    step = RecordedStep(lambda: calls.append("run"), capture)
    for _ in range(6):
        step()
    assert calls == ["run"] * 3 + ["captured"] + ["replayed"] * 3


def test_where_capturing_fails_the_step_goes_on_as_it_is():
    calls = []

    def capture(step):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    step = RecordedStep(lambda: calls.append("run"), capture)
    for _ in range(3):
        step()
    with pytest.warns(RuntimeWarning, match=r"without a CUDA graph \(operation not permitted"):
        step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step()
    assert calls == ["run"] * 5


class Counting(nn.Module):
    """Counts its calls, and keeps its last output, as networks do that are inspected."""

    def __init__(self, counts=True):
        super().__init__()
        self.linear, self.counts, self.calls = nn.Linear(64, 10), counts, 0

    def forward(self, x):
        self.given = self.linear(x.flatten(1))
        self.calls += self.counts
        return self.given


class CountingLoss(nn.CrossEntropyLoss):
    calls = 0

    def forward(self, output, target):
        self.calls += 1
        return super().forward(output, target)


@pytest.mark.parametrize(
    ("counts", "loss"), [(True, F.cross_entropy), (False, CountingLoss()), (False, F.cross_entropy)]
)
def test_a_step_that_changes_what_it_reads_in_python_is_not_replayed(monkeypatch, counts, loss):
    captured = []

    def capture(step):
        captured.append(step)
        return step

    monkeypatch.setattr(stack, "make_step", lambda engine, step, host_state: RecordedStep(step, capture, host_state))
    task = replace(small_task(partial(Counting, counts), batch_size=8), loss=loss)
    constant = not counts and loss is F.cross_entropy
    changes = pytest.warns(RuntimeWarning, match=r"without a CUDA graph \(attributes of the network or the loss")
    with nullcontext() if constant else changes:
        evaluations = dict(PopulationTrainer(task, device="cpu").evaluate_batch(requests_of(MEMBERS[:2])))
    assert {one.status for one in evaluations.values()} == {"ok"}
    assert bool(captured) == constant


def test_an_eager_step_is_the_step_itself():
    def step():
        pass

    assert make_step("eager", step, lambda: None) is step


def test_recorded_steps_train_the_same(monkeypatch):
    # A capture that only keeps the step: it fails to train if a step's tensors are replaced behind its back.
    def capture(step):
        kept = (*step.args, step.func.__self__.weights)

        def replay():
            owner = step.func.__self__
            current = (*owner._tables[:2], owner.weights)
            assert all(one is other for one, other in zip(kept, current, strict=True))
            step()

        return replay

    monkeypatch.setattr(stack, "make_step", lambda engine, step, host_state: RecordedStep(step, capture, host_state))
    task = small_task(batch_size=8, schedule="constant")
    params = [*MEMBERS[:2], {"lr": 1.0, "weight_decay": 8.0}, MEMBERS[2]]
    recorded = evaluate(PopulationTrainer(task, epochs=12, device="cpu"), params)
    monkeypatch.undo()
    assert_same_curves(recorded, evaluate(PopulationTrainer(task, epochs=12, device="cpu"), params))
    assert [one.status for one in recorded] == ["ok", "ok", "diverged", "ok"]


class Hosts(TorchDispatchMode):
    """Notes the operations that involve a tensor on the CPU that is more than a number."""

    def __init__(self):
        super().__init__()
        self.seen, self.on_the_host = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.seen += 1
        tensors = [one for one in tree_leaves((args, kwargs, result)) if isinstance(one, torch.Tensor)]
        if any(one.device.type == "cpu" and one.dim() > 0 for one in tensors):
            self.on_the_host.append(str(func))
        return result


def assert_steps_need_no_host(task, params, seeds, *, unlabelled=False):
    """On the device "meta" there are no values to look at."""
    members = [Member(i, 0, seeds[i], one, *task.configure(one)) for i, one in enumerate(params)]
    made = stack.Stack(task, task.data.to("meta"), members, epochs=1, precision="fp32")
    made._counting._has_unlabelled = unlabelled
    made.start_epoch(0)
    for step in range(made.steps_per_epoch):
        with Hosts() as hosts:
            made.train_batch(step)
        assert hosts.seen > 50
        assert hosts.on_the_host == []


# With one seed members share their batches; what an optimiser does with its gradients does not depend on that.
@pytest.mark.parametrize(
    ("optimizer", "seeds"),
    [("sgd", [3, 3, 3]), ("sgd", [3, 4, 5]), ("adam", [3, 3, 3]), ("adamw", [3, 4, 5]), ("rmsprop", [3, 4, 5])],
)
@pytest.mark.parametrize("network", [*STACKABLE, "losses"])
def test_a_step_looks_at_no_value_and_copies_nothing_from_the_host(monkeypatch, network, optimizer, seeds):
    # Either would break a CUDA graph, and stall a GPU.
    monkeypatch.setattr(forward, "autocast", lambda device, precision: nullcontext())
    model, data = STACKABLE["mlp" if network == "losses" else network]
    examples = data()
    size = len(examples.training) // 3 + 1  # three batches, the last of which is smaller
    task = small_task(model, examples, batch_size=size, optimizer=optimizer)
    own = {"mlp": "dropout", "losses": "label_smoothing"}.get(network)
    params = [one | ({own: 0.1 * i} if own else {}) for i, one in enumerate(CLIPPED[:3])]
    assert_steps_need_no_host(task, params, seeds)


@pytest.mark.parametrize("seeds", [[3, 3, 3], [3, 4, 5]])
def test_nor_does_one_that_counts_labels(monkeypatch, seeds):
    monkeypatch.setattr(forward, "autocast", lambda device, precision: nullcontext())
    model, data = STACKABLE["mlp"]
    assert_steps_need_no_host(small_task(model, data(), batch_size=22), CLIPPED[:3], seeds, unlabelled=True)


def _by_groups(network, lr=0.01, momentum=0.9):
    *weights, _last = network.parameters()
    groups = [{"params": weights[::2]}, {"params": weights[1::2], "lr": lr / 2, "momentum": 0.0}]
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=0.1)  # the last parameter is in none


class _TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.kind, self.size = nn.Linear(64, 10), nn.Linear(64, 1)

    def forward(self, x):
        return {"kind": self.kind(x.flatten(1)), "size": (self.size(x.flatten(1)).squeeze(1),)}


def _both(outputs, targets):
    found = F.cross_entropy(outputs["kind"], targets["kind"])
    return found + (outputs["size"][0] - targets["size"]).square().mean()


@pytest.mark.parametrize("seeds", [[3, 3, 3], [3, 4, 5]])
@pytest.mark.parametrize("what", ["groups", "several outputs and targets", "averages and schedules"])
def test_nor_does_one_with_groups_outputs_and_targets_averages_or_schedules(monkeypatch, what, seeds):
    monkeypatch.setattr(forward, "autocast", lambda device, precision: nullcontext())
    task = replace(small_task(batch_size=22), optimizer=_by_groups)
    if what == "several outputs and targets":
        data = {
            split: Split(part.inputs, {"kind": part.targets, "size": part.targets.float()})
            for split, part in (("training", task.data.training), ("validation", task.data.validation))
        }
        task = replace(task, model=_TwoHeads, data=replace(task.data, test=None, **data), loss=_both, metrics={})
    params = [{"lr": 0.1, "max_grad_norm": 0.1}, {"lr": 0.01, "momentum": 0.0}, {"momentum": 0.5}]
    if what == "averages and schedules":
        params = [
            {**params[0], "ema": 0.9},
            {**params[1], "schedule": "one_cycle"},
            {**params[2], "schedule": "plateau"},
        ]
    assert_steps_need_no_host(task, params, seeds)


def test_a_broken_capture_leaves_the_caller_on_its_stream(monkeypatch):
    monkeypatch.setattr(engines, "_CAPTURED", {})
    # As in torch: if the capture cannot be ended, the captured stream stays the current one.
    streams = ["default"]

    @contextmanager
    def graph(made, stream):
        streams.append(stream)
        try:
            yield
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture") from None
        streams.append(streams[-2])

    fakes = {"synchronize": lambda: None, "CUDAGraph": object, "graph": graph, "set_stream": streams.append}
    fakes |= {"current_stream": lambda: streams[-1], "default_stream": lambda: "default"}
    fakes |= {"current_device": lambda: 0, "Stream": lambda: "one to capture"}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def waits():
        assert streams[-1] != "default"
        raise RuntimeError("operation not permitted when stream is capturing")

    calls = []
    step = RecordedStep(lambda: calls.append(streams[-1]) if streams[-1] == "default" else waits(), capture_cuda_graph)
    for _ in range(3):
        step()
    with pytest.warns(RuntimeWarning, match="without a CUDA graph"):
        step()
    step()
    assert calls == ["default"] * 5
    streams.append("one's own")
    with pytest.raises(RuntimeError, match="previous error"):
        capture_cuda_graph(waits)
    assert streams[-2:] == ["one's own"] * 2


def test_each_gpu_has_a_stream_of_its_own_to_capture(monkeypatch):
    # torch keeps one for all GPUs: work for another GPU would run at once, and its graph would stay empty.
    monkeypatch.setattr(engines, "_CAPTURED", {})
    captured, current = [], [0]
    fakes = {"synchronize": lambda: None, "CUDAGraph": lambda: SimpleNamespace(replay=lambda: None)}
    fakes |= {"current_stream": lambda: "default", "default_stream": lambda: "default", "set_stream": lambda one: None}
    fakes |= {"current_device": lambda: current[0], "Stream": lambda: f"of GPU {current[0]}, made"}
    fakes["graph"] = lambda made, stream: nullcontext(captured.append(stream))
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    for current[0] in (0, 1, 0):
        capture_cuda_graph(lambda: None)
    assert captured == ["of GPU 0, made", "of GPU 1, made", "of GPU 0, made"]
    assert len(engines._CAPTURED) == 2


def test_a_watch_looks_at_intervals():
    watch = Watch(CPU, interval=3)
    losses = torch.tensor([1.0, float("nan"), float("inf")])
    assert [watch.finite(losses) for _ in range(6)] == [None, None, [True, False, False]] * 2
    assert Watch(CPU).finite(losses) == [True, False, False]


def test_engines_are_checked():
    with pytest.raises(InputError, match="engine must be one of auto, eager, graph; got 'fast'"):
        resolve_engine("fast", CPU)
    with pytest.raises(InputError, match="'graph' needs a CUDA device; the device is 'cpu'"):
        PopulationTrainer(small_task(), device="cpu", engine="graph")


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["eager", "graph"])
def test_on_cuda_the_losses_are_those_of_the_cpu(engine):
    task = small_task(batch_size=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = evaluate(PopulationTrainer(task, epochs=2, device="cuda", engine=engine), CLIPPED)
    assert_same_curves(got, evaluate(PopulationTrainer(task, epochs=2, device="cpu"), CLIPPED), rel=1e-3)


@pytest.mark.gpu
def test_on_cuda_a_late_look_drops_diverged_members():
    task = small_task(batch_size=1, schedule="constant")
    params = [MEMBERS[1], {"lr": 1e30}, MEMBERS[4]]
    got = evaluate(PopulationTrainer(task, epochs=3, device="cuda"), params)
    assert [one.status for one in got] == ["ok", "diverged", "ok"]


@pytest.mark.gpu
def test_on_cuda_a_broken_capture_leaves_torchs_generator_in_order():
    with pytest.raises(RuntimeError):
        capture_cuda_graph(lambda: torch.ones(1, device="cuda").item())
    assert torch.rand(3, device="cuda").isfinite().all()
