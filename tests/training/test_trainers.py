import os
import pickle
import platform
import subprocess
import sys
import warnings
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from networks import STACKABLE, small_task
from test_population import CLIPPED, MEMBERS, assert_same_curves, curves, requests_of
from torch import nn

from deap_hpo import cli
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.evaluator import BatchEvaluator
from deap_hpo.execution.executors import ProcessExecutor, SerialExecutor
from deap_hpo.training import allocator, hardware, reference, trainers
from deap_hpo.training.hardware import PRECISIONS, resolve_precision
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.stacking import training
from deap_hpo.training.task import Task

CPU = torch.device("cpu")


def test_a_cpu_gets_the_reference_and_an_accelerator_the_population(monkeypatch):
    assert isinstance(trainers.make_trainer(small_task(), device="cpu"), ReferenceTrainer)
    monkeypatch.setattr(trainers, "resolve_device", lambda device: torch.device("cuda"))
    monkeypatch.setitem(trainers.TRAINERS, "population", lambda task, **settings: ("population", settings))
    name, settings = trainers.make_trainer(small_task(), epochs=2, stack_size=5)
    assert (name, settings["epochs"], settings["stack_size"], settings["device"]) == ("population", 2, 5, "auto")


def test_the_same_arguments_do_wherever_it_trains():
    speed = {"stack_size": 2, "memory_limit": 10**9, "engine": "eager"}
    reference, population = (
        trainers.make_trainer(small_task(), trainer=name, device="cpu", **speed) for name in ("auto", "population")
    )
    assert isinstance(reference, ReferenceTrainer)
    assert (population.stack_size, population.memory_limit, population.engine) == tuple(speed.values())
    with pytest.raises(InputError, match=r"make_trainer has no argument .epoch."):
        trainers.make_trainer(small_task(), epoch=3)
    for name in ("stack_size", "memory_limit", "engine"):
        with pytest.raises(InputError, match=f"{name} must be"):
            trainers.make_trainer(small_task(), device="cpu", **{name: 0})


@pytest.mark.parametrize("name", trainers.TRAINERS)
def test_every_trainer_works_in_every_executor(name):
    trainer = trainers.make_trainer(small_task(), trainer=name, device="cpu", epochs=2)
    assert isinstance(trainer, BatchEvaluator) == (name == "population")
    requests = requests_of(MEMBERS[:2])
    here = dict(SerialExecutor().run(trainer, requests))
    executor = ProcessExecutor(1)
    try:
        there = dict(executor.run(trainer, requests))
    finally:
        executor.close()
    assert_same_curves([there[i] for i in range(2)], [here[i] for i in range(2)])
    assert curves([trainer(MEMBERS[0], 3)]) == curves([there[0]])


def test_trainers_share_their_settings_and_record_where_they_computed():
    settings = {"epochs": 2, "device": "cpu", "precision": "bf16", "repeats": 2}
    both = [trainers.make_trainer(small_task(), trainer=name, **settings) for name in trainers.TRAINERS]
    assert both[0].settings == both[1].settings
    assert both[0].settings["precision"] == "bf16"
    for trainer in both:
        about = trainer.evaluate(Request(0, MEMBERS[0], 1)).environment
        assert (about["device"], about["precision"]) == ("cpu", "bf16")


def test_workers_keep_memory(monkeypatch):

    called = []
    monkeypatch.setattr(reference, "keep_memory", lambda: called.append(True))
    for name in ("population", "reference"):
        trainers.make_trainer(small_task(), trainer=name, device="cpu").prepare_worker()
    assert called == [True, True]


def test_freed_memory_is_kept_where_the_c_library_is_glibc():
    # In a new process, since the setting is global to a process.
    code = """
import resource, torch
from deap_hpo.training.allocator import keep_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(20_000_000)  # beyond 32 MiB, the highest that glibc raises its threshold to
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
# The least of several: it takes some rounds until the freed blocks that are kept fit what is asked for.
given_back = min(faults() for _ in range(8))
keep_memory()
print(given_back, min(faults() for _ in range(8)))
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    given_back, kept = map(int, printed.split())
    if platform.libc_ver()[0] == "glibc":
        assert kept < given_back / 10


@pytest.mark.parametrize(
    ("most", "asked"), [(1 << 30, [1 << 30]), (1 << 25, [1 << 30, 1 << 25]), (0, [1 << 30, 1 << 25])]
)
def test_an_older_glibc_keeps_less_and_one_that_takes_nothing_is_left_alone(monkeypatch, most, asked):
    calls = []

    def mallopt(parameter, value):
        calls.append((parameter, value))
        return int(parameter == allocator._TRIM_THRESHOLD or value <= most)

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    allocator.keep_memory()
    assert [value for parameter, value in calls if parameter == allocator._MMAP_THRESHOLD] == asked
    assert (allocator._TRIM_THRESHOLD in dict(calls)) == (most > 0)


def test_a_command_keeps_memory(monkeypatch):
    done = []
    monkeypatch.setattr(cli, "keep_memory", lambda: done.append("memory"))
    monkeypatch.setattr(cli, "app", lambda: done.append("command"))
    cli.main()
    assert done == ["memory", "command"]


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="trainer must be one of auto, population, reference, leaking; got 'fast'"):
        trainers.make_trainer(small_task(), trainer="fast", device="cpu")
    with pytest.raises(InputError, match="repeats must be an integer of at least 1; got 0"):
        trainers.make_trainer(small_task(), device="cpu", repeats=0)
    with pytest.raises(InputError, match="precision must be one of auto, fp32, bf16; got 'fp8'"):
        trainers.make_trainer(small_task(), device="cpu", precision="fp8")


@pytest.mark.parametrize(
    ("flags", "expected"), [("fma avx2 avx512f", "fp32"), ("avx512f avx512_bf16 sse", "bf16"), ("amx_bf16", "bf16")]
)
def test_auto_is_bf16_where_the_processor_has_it(monkeypatch, tmp_path, flags, expected):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags\t\t: fpu {flags}\n")
    monkeypatch.setattr(hardware, "Path", lambda _: cpuinfo)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("auto", CPU, of_numbers=True) == "fp32"
    regression = Task.from_data(lambda: nn.Linear(4, 1), (torch.rand(9, 4), torch.rand(9)))
    assert ReferenceTrainer(regression, device="cpu", precision="auto").precision == "fp32"
    assert ReferenceTrainer(small_task(), device="cpu", precision="auto").precision == expected
    assert [resolve_precision(one, CPU) for one in PRECISIONS[1:]] == ["fp32", "bf16"]


@pytest.mark.parametrize("params", [MEMBERS[0], CLIPPED[0]], ids=["free", "clipped"])
def test_bf16_gives_nearly_the_same_losses(params):
    task = small_task()
    exact, rough = (ReferenceTrainer(task, epochs=2, device="cpu", precision=p)(params, 3) for p in ("fp32", "bf16"))
    stacked = PopulationTrainer(task, epochs=2, device="cpu", precision="bf16")(params, 3)
    assert exact.value != rough.value
    assert_same_curves([rough, stacked], [exact, exact], rel=0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_channels_come_last_where_the_network_works_with_it(precision):
    layouts = []
    for model, data in (STACKABLE[name] for name in ("paper-cnn", "view")):
        trainer = ReferenceTrainer(small_task(model, data()), device="cpu", precision=precision)
        layouts.append(hardware.has_channels_last(trainer.train(MEMBERS[0], 3)[0]))
    assert layouts == [True, False]


def test_computing_puts_settings_back(two_threads):
    before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with hardware.computing(CPU, "fp32"):
        assert torch.get_num_threads() == 1
    assert before == (torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)


@pytest.mark.parametrize("turned_off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", trainers.TRAINERS)
def test_networks_are_trained_where_the_caller_has_turned_gradients_off(name, turned_off):
    """As in `with torch.no_grad(): outputs = study.best_model()(inputs)`, which trains first."""
    requests = requests_of(MEMBERS[:2])
    plain = dict(SerialExecutor().run(trainers.make_trainer(small_task(), trainer=name, device="cpu"), requests))
    trainer = trainers.make_trainer(small_task(), trainer=name, device="cpu")
    with turned_off():
        done = dict(SerialExecutor().run(trainer, requests))
        assert not torch.is_grad_enabled()
    assert [done[i].values for i in range(2)] == [plain[i].values for i in range(2)]


@pytest.mark.parametrize("before", [(True, False), (False, True), (False, False)])
def test_convolutions_on_cuda_are_the_same_each_time_and_settings_are_put_back(monkeypatch, before):
    def settings():
        return torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic

    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())  # there may be no GPU
    for name, value in zip(("benchmark", "deterministic"), before, strict=True):
        monkeypatch.setattr(torch.backends.cudnn, name, value)
    with hardware.computing(torch.device("cuda"), "fp32"):
        assert settings() == (False, True)
    assert settings() == before
    with hardware.computing(CPU, "fp32"):
        assert settings() == before


@pytest.mark.gpu
def test_on_cuda_the_same_stack_gives_the_same_bits():
    model, data = STACKABLE["paper-cnn"]
    requests = requests_of(MEMBERS[:4])
    first, second = (
        dict(
            trainers.make_trainer(small_task(model, data()), trainer="population", device="cuda").evaluate_batch(
                requests
            )
        )
        for _ in range(2)
    )
    assert curves([first[i] for i in range(4)]) == curves([second[i] for i in range(4)])


TF32 = """
import os, sys, traceback
import torch
from deap_hpo.training.hardware import computing, tf32

def state():
    new = [one.fp32_precision for one in (torch.backends.cudnn.conv, torch.backends.cuda.matmul)]
    try:
        return new, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:
        return new, "refused"

def used():
    return [one == "tf32" for one in state()[0]]

def check():
    before = state()
    with computing(torch.device("cpu"), "fp32"):
        assert state() == before
    first = used()
    for allowed in (False, True):
        with tf32(allowed):
            assert used() == [allowed, allowed], state()
        assert (used(), state()[1:]) == (first, before[1:]), (state(), before)

for setting in sys.argv[1:]:
    child = os.fork()  # torch mixes the two interfaces up for good
    if child:
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(f"with the setting {setting!r}")
        continue
    try:
        exec(setting)
        check()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="an older PyTorch")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each setting needs a process of its own")
def test_tf32_is_put_back_by_whichever_interface_a_script_has_used():
    settings = [
        "",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.set_float32_matmul_precision('high')",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.backends.fp32_precision = 'ieee'",
        "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    ]
    done = subprocess.run([sys.executable, "-c", TF32, *settings], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_torch_has_to_say_of_tf32_disturbs_nobody(monkeypatch):
    class Products:
        told = False

        @property
        def allow_tf32(self):
            if not self.told:
                self.told = True
                warnings.warn("Please use the new API settings to control TF32 behavior", stacklevel=1)
            return False

        @allow_tf32.setter
        def allow_tf32(self, value):
            pass

    monkeypatch.setattr(torch.backends.cuda, "matmul", Products())
    hardware._swallow_tf32_warning.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with hardware.tf32(False):
            pass


def test_what_a_network_draws_itself_comes_from_the_seed():
    from networks import Noisy

    trainer = ReferenceTrainer(small_task(Noisy), device="cpu")
    torch.manual_seed(1)
    first = trainer(MEMBERS[0], 3)
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    assert curves([trainer(MEMBERS[0], 3)]) == curves([first])
    assert torch.equal(torch.rand(1), expected), "and torch's generator is left as it was"


class InPlace(nn.Module):
    """Changes its inputs, as a user's network may do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x.mul_(0.5))


@pytest.mark.parametrize("trainer", [ReferenceTrainer, PopulationTrainer])
def test_a_network_may_change_its_inputs_but_not_the_data(trainer):
    inputs = torch.randn(40, 4)
    task = Task.from_data(InPlace, (inputs, (inputs.sum(1) > 0).long()), normalize=False)
    task.check({})
    assert trainer(task, epochs=2, device="cpu")({"lr": 0.1}).status == "ok"
    kept = torch.cat([task.data.training.inputs, task.data.validation.inputs])
    assert torch.equal(kept.sort(0).values, inputs.sort(0).values)


class InSpace(nn.Module):
    """Looks at images as volumes; the weights of its convolution have five dimensions."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv3d(1, 4, (1, 3, 3))
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.convolution(x.unsqueeze(1)).mean((2, 3, 4)))


def test_weights_of_five_dimensions_have_no_channels_last():
    model = ReferenceTrainer(small_task(InSpace), device="cpu").train(MEMBERS[0], 3)[0]
    assert not hardware.has_channels_last(model)


def weighing(weights):
    loss, metrics = nn.CrossEntropyLoss(weight=weights), {"likelihood": nn.NLLLoss(weight=weights)}
    return replace(small_task(batch_size=8), loss=loss, metrics=metrics)


def test_the_weights_of_classes_are_where_the_training_is(monkeypatch):
    # On the device "meta" there are no values, but tensors elsewhere are noticed as on a GPU.
    monkeypatch.setattr(hardware, "autocast", lambda device, precision: nullcontext())
    monkeypatch.setattr(reference, "resolve_device", torch.device)
    task = weighing(torch.arange(1.0, 11.0))
    trainer = ReferenceTrainer(task, device="meta")
    network = task.model().to("meta")
    assert trainer.loss(network, trainer.data.training[:8]).device.type == "meta"
    assert trainer.placed.metrics["likelihood"].weight.device.type == "meta"
    assert task.loss.weight.device == CPU
    assert pickle.loads(pickle.dumps(trainer)).data.training.targets.device.type == "meta"


def test_a_stack_is_trained_on_the_task_as_it_is_on_the_device(monkeypatch):
    trained_on = []

    class Noted(training.Stack):
        def __init__(self, task, *args, **kwargs):
            trained_on.append(task)
            super().__init__(task, *args, **kwargs)

    monkeypatch.setattr(training, "Stack", Noted)
    trainer = PopulationTrainer(weighing(torch.arange(1.0, 11.0)), device="cpu")
    assert trainer(MEMBERS[0]).status == "ok"
    (task,) = trained_on
    assert task is trainer.reference.placed is not trainer.task


@pytest.mark.gpu
@pytest.mark.parametrize("trainer", [ReferenceTrainer, PopulationTrainer])
def test_on_cuda_classes_may_have_weights(trainer):
    task = weighing(torch.arange(1.0, 11.0))
    got, expected = (trainer(task, device=device)(MEMBERS[0]) for device in ("cuda", "cpu"))
    assert_same_curves([got], [expected], rel=1e-3)
    assert got.metrics["likelihood"] == pytest.approx(expected.metrics["likelihood"], rel=1e-3)
