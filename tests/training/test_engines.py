import warnings

import pytest
import torch
from networks import small_task
from test_population import MEMBERS, assert_same_curves, evaluate

from deap_hpo.errors import InputError
from deap_hpo.training.engines import RecordedStep, Watch, make_step, resolve_engine
from deap_hpo.training.population import PopulationTrainer

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


def test_an_eager_step_is_the_step_itself():
    def step():
        pass

    assert make_step("eager", step) is step


def test_recorded_steps_train_the_same(monkeypatch):
    # A capture that only keeps the step: it fails to train if a step's tensors are replaced behind its back.
    from deap_hpo.training import stack

    def capture(step):
        kept = (*step.args, step.func.__self__.weights)

        def replay():
            owner = step.func.__self__
            current = (*owner._epoch_plan[:2], owner.weights)
            assert all(one is other for one, other in zip(kept, current, strict=True))
            step()

        return replay

    monkeypatch.setattr(stack, "make_step", lambda engine, step: RecordedStep(step, capture))
    task = small_task(batch_size=8, schedule="constant")
    params = [*MEMBERS[:2], {"lr": 1.0, "weight_decay": 8.0}, MEMBERS[2]]
    recorded = evaluate(PopulationTrainer(task, epochs=12, device="cpu"), params)
    monkeypatch.undo()
    assert_same_curves(recorded, evaluate(PopulationTrainer(task, epochs=12, device="cpu"), params))
    assert [one.status for one in recorded] == ["ok", "ok", "diverged", "ok"]


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
        got = evaluate(PopulationTrainer(task, epochs=2, device="cuda", engine=engine), MEMBERS)
    assert_same_curves(got, evaluate(PopulationTrainer(task, epochs=2, device="cpu"), MEMBERS), rel=1e-3)


@pytest.mark.gpu
def test_on_cuda_a_late_look_drops_diverged_members():
    task = small_task(batch_size=1, schedule="constant")
    params = [MEMBERS[1], {"lr": 1e30}, MEMBERS[4]]
    got = evaluate(PopulationTrainer(task, epochs=3, device="cuda"), params)
    assert [one.status for one in got] == ["ok", "diverged", "ok"]
