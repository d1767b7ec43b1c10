"""Evaluations whose process was killed continue where they were, and end as if it had not been."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import exit_code_of
from torch import nn

from deap_hpo import Float, Objective, Task, load_study, make_trainer, optimize
from deap_hpo.deletion import delete_study
from deap_hpo.errors import DeapHPOWarning
from deap_hpo.evaluation import Epoch, Request
from deap_hpo.functions.checkpoint import Checkpoint
from deap_hpo.training import underway
from deap_hpo.training.checkpoints import FolderCheckpoints

EPOCHS = 6
begun_at: list[int] = []


def train(params: dict[str, Any], epochs: int, checkpoint: Any, report: Any) -> float:
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(network.parameters(), params["lr"], momentum=0.9)
    if state := checkpoint.load():
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    begun_at.append(checkpoint.epoch)
    for epoch in range(checkpoint.epoch + 1, epochs + 1):
        inputs = torch.randn(8, 4)
        optimizer.zero_grad()
        loss = ((network(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean()
        loss.backward()
        optimizer.step()
        report(epoch, loss.item(), size=2.0 * epoch)
        checkpoint.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, epoch=epoch)
        die_at(epoch)
    return loss.item()


def die_at(epoch: int) -> None:
    if os.environ.get("DIE_AT") == str(epoch):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("FAIL_AT") == str(epoch):
        raise ValueError("broken")


class Fragile(nn.Module):
    """A network that counts the epochs in which it is measured, and whose process dies at one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, x: Any) -> Any:
        return self.layers(x)


measured: list[int] = []


def error(outputs: Any, targets: Any) -> float:
    measured.append(1)
    die_at(len(measured) - 1)  # one is of the check before
    return float((outputs.argmax(1) != targets).float().mean())


def trainer(**options: Any) -> Any:
    inputs = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    task = Task.from_data(Fragile, (inputs, (inputs[:, 0] > 0).astype(int)), validation=0.5, metrics={"error": error})
    return make_trainer(task, epochs=EPOCHS, device="cpu", **options)


def search(objective: Any, storage: str | None, **options: Any) -> Any:
    underway.SECONDS_BETWEEN = underway.LEAST_RATIO = 0.0
    given: Any = {"algorithm": "random", "population": 2, "generations": 2, "seed": 1, "progress": False, **options}
    if objective is train:
        given["epochs"] = EPOCHS
    return optimize(
        objective, {"lr": Float(1e-3, 1e-1, log=True)}, name="run", storage=storage, resume=storage is not None, **given
    )


@pytest.fixture(autouse=True)
def _each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(underway, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(underway, "LEAST_RATIO", 0.0)
    measured.clear()
    begun_at.clear()


def killed(storage: Path, die_at: int, options: dict[str, Any] | None = None) -> None:
    """Run a search in a process that dies: of a trainer with these options, or of `train`."""
    assert exit_code_of(search_with, options, str(storage), DIE_AT=str(die_at)) == -signal.SIGKILL


def search_with(options: dict[str, Any] | None, storage: str) -> None:
    search(train if options is None else trainer(**options), storage)


def told(study: Any) -> list[Any]:
    epochs = [[(one.epoch, one.validation_loss, one.metrics) for one in e.evaluation.curve] for e in study.entries]
    return [
        (e.genes, e.evaluation.values, e.evaluation.metrics, curve)
        for e, curve in zip(study.entries, epochs, strict=True)
    ]


def left(folder: Path) -> list[Path]:
    return list(folder.rglob("*.underway"))


def test_a_function_continues_from_its_own_state(tmp_path: Path) -> None:
    killed(tmp_path / "a.db", 3)
    killed(tmp_path / "a.db", 5)
    assert len(left(tmp_path)) == 1
    resumed = search(train, f"{tmp_path}/a.db")
    assert begun_at == [5, 0, 0, 0]
    assert left(tmp_path) == []
    assert told(resumed) == told(search(train, f"{tmp_path}/b.db"))
    assert told(load_study("run", f"{tmp_path}/a.db")) == told(resumed)


PATIENT = {"keep_best": True, "patience": 3}


@pytest.mark.parametrize("options", [{}, PATIENT, {"repeats": 2}], ids=str)
def test_so_does_a_training_of_ours(options: dict[str, Any], tmp_path: Path) -> None:
    killed(tmp_path / "a.db", 5, options)
    assert len(left(tmp_path)) == 1
    made = trainer(**options)
    resumed = search(made, f"{tmp_path}/a.db")
    count = len(measured)
    assert left(tmp_path) == []
    measured.clear()
    assert told(resumed) == told(search(made, f"{tmp_path}/b.db"))
    assert len(measured) == count + 4, "four epochs were not trained again"
    assert told(resumed) == told(search(made, None)), "where no states are written"


@pytest.mark.parametrize(
    ("options", "die_at", "states"),
    [({}, 7, 2), (PATIENT, 7, 2), ({"repeats": 2}, 7, 4), ({"stack_size": 1}, 4, 1)],
    ids=str,
)
def test_so_do_trainings_of_a_stack(options: dict[str, Any], die_at: int, states: int, tmp_path: Path) -> None:
    options = {"trainer": "population", "precision": "fp32", **options}
    made = trainer(**options)
    killed(tmp_path / "a.db", die_at, options)
    assert len(left(tmp_path)) == states
    resumed = search(made, f"{tmp_path}/a.db")
    count = len(measured)
    assert left(tmp_path) == []
    measured.clear()
    assert told(resumed) == told(search(made, f"{tmp_path}/b.db"))
    assert len(measured) > count, "some epochs were not trained again"
    assert told(resumed) == told(search(made, None)), "where no states are written"


REQUESTS = [Request(i, {"lr": lr}, seed=1) for i, lr in enumerate((0.01, 0.1, 0.5))]


def stacked(store: Any, **changed: Any) -> Any:
    return trainer(trainer="population", precision="fp32", checkpoints=store, **changed)


def curves(evaluations: Any) -> list[list[tuple[int, float]]]:
    found = dict(evaluations)
    return [[(one.epoch, one.validation_loss) for one in found[i].curve] for i in range(len(REQUESTS))]


@pytest.fixture
def whole() -> list[list[tuple[int, float]]]:
    """The curves of the three requests, none of which was interrupted."""
    return curves(stacked(None).evaluate_batch(REQUESTS))


def test_states_of_a_stack_may_be_of_different_epochs(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the process was killed while they were written."""
    saves: list[str] = []

    def counting(store: Any, key: str, tensors: Any) -> None:
        if len(saves) == 5:
            raise KeyboardInterrupt
        saves.append(key)
        write(store, key, tensors)

    write = FolderCheckpoints.save_underway
    monkeypatch.setattr(FolderCheckpoints, "save_underway", counting)
    with pytest.raises(KeyboardInterrupt):
        list(stacked(FolderCheckpoints(tmp_path)).evaluate_batch(REQUESTS))
    assert len(left(tmp_path)) == 3
    monkeypatch.undo()
    measured.clear()
    again = curves(stacked(FolderCheckpoints(tmp_path)).evaluate_batch(REQUESTS))
    assert len(measured) == 4 + 4 + 5
    assert [[epoch for epoch, _ in curve] for curve in again] == [list(range(1, EPOCHS + 1))] * 3
    assert np.allclose([[loss for _, loss in one] for one in again], [[loss for _, loss in one] for one in whole], 1e-4)


def test_seconds_and_epochs_of_a_stack_are_those_of_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its last epoch leaves no state, since nothing would be left to do."""
    saved: list[int] = []

    def stops_late(store: Any, key: str, tensors: Any) -> None:
        write(store, key, tensors)
        saved.append(1)
        if len(saved) == stop_after:
            raise KeyboardInterrupt

    write, stop_after = FolderCheckpoints.save_underway, 6
    monkeypatch.setattr(FolderCheckpoints, "save_underway", stops_late)
    clock = underway.perf_counter
    for name in ("perf_counter", "training_clock"):  # each state is written 100 s later than it was
        monkeypatch.setattr(underway, name, lambda: clock() + 100.0 * len(saved))
    with pytest.raises(KeyboardInterrupt):
        list(stacked(FolderCheckpoints(tmp_path)).evaluate_batch(REQUESTS))
    for name in ("perf_counter", "training_clock"):
        monkeypatch.setattr(underway, name, clock)
    ended = dict(stacked(FolderCheckpoints(tmp_path)).evaluate_batch(REQUESTS))
    assert len(saved) == len(REQUESTS) * (EPOCHS - 1)
    assert all(300.0 <= ended[i].seconds < 600.0 for i in range(len(REQUESTS)))


def test_a_stack_that_runs_out_of_memory_later_begins_its_trainings_anew(whole: Any, tmp_path: Path) -> None:
    calls: list[int] = []

    def out_of_memory_once(outputs: Any, targets: Any) -> float:
        calls.append(1)
        if len(calls) == 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return float((outputs.argmax(1) != targets).float().mean())

    task = replace(trainer().task, metrics={"error": out_of_memory_once})
    settings: Any = {"trainer": "population", "epochs": EPOCHS, "device": "cpu", "precision": "fp32"}
    made = make_trainer(task, checkpoints=FolderCheckpoints(tmp_path), **settings)
    again = curves(made.evaluate_batch(REQUESTS))
    assert len(calls) == 8 + 3 * EPOCHS
    assert len(left(tmp_path)) == 3
    assert [[epoch for epoch, _ in curve] for curve in again] == [list(range(1, EPOCHS + 1))] * 3
    assert np.allclose([[loss for _, loss in one] for one in again], [[loss for _, loss in one] for one in whole], 1e-4)


class LateObstacle(Fragile):
    """A network that turns out not to be stackable once it was measured a few times."""

    def forward(self, x: Any) -> Any:
        if not self.training:
            measured.append(1)
        if len(measured) >= 4 and torch._C._functorch.maybe_current_level() is not None:
            raise RuntimeError("not in a stack")
        return super().forward(x)


def test_what_turns_out_not_to_be_stackable_is_trained_alone_from_the_beginning(tmp_path: Path) -> None:
    """Not from the states of the stack; those of its own training it continues from."""
    task = replace(trainer().task, model=LateObstacle, metrics={})
    store = FolderCheckpoints(tmp_path)
    settings: Any = {"epochs": EPOCHS, "device": "cpu", "precision": "fp32"}
    made = make_trainer(task, trainer="population", checkpoints=store, **settings)
    with pytest.warns(DeapHPOWarning, match="trained one at a time: as a stack they raised RuntimeError: not in"):
        again = curves(made.evaluate_batch(REQUESTS))
    alone = make_trainer(task, **settings)
    assert again == curves((i, alone(one.params, one.seed)) for i, one in enumerate(REQUESTS))


def test_large_states_are_written_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    now = [100.0]
    for name in ("perf_counter", "training_clock"):
        monkeypatch.setattr(underway, name, lambda: now[0])
    pace = underway.Pace()
    due = []
    for _ in range(3):
        for _ in range(7):
            now[0] += 5.0
            due.append(pace.is_due)
        with pace.writing():
            now[0] += 1.5
    assert due == [False, *[True] * 6, *[False] * 5, True, True, *[False] * 5, True, True]


def test_the_network_of_the_best_epoch_is_kept_too(tmp_path: Path) -> None:
    """It is that of an epoch before the interruption."""
    errors = [0.3, 0.1, 0.4, 0.5, 0.6, 0.7]

    def one_by_one(outputs: Any, targets: Any) -> float:
        seen.append(errors[len(seen)])
        if interrupted and len(seen) == 4:
            raise KeyboardInterrupt
        return seen[-1]

    best = make_trainer(replace(trainer().task, metrics={"e": one_by_one}, objective="e"), epochs=EPOCHS, device="cpu",
                        keep_best=True)  # fmt: skip
    store, request = FolderCheckpoints(tmp_path), Request(0, {"lr": 0.1}, seed=1)
    seen: list[float] = []
    interrupted = False
    network, evaluation, _ = best.train_on(None, request.params, request.seed)
    assert evaluation.metrics["best_epoch"] == 2
    interrupted, seen[:] = True, []
    with pytest.raises(KeyboardInterrupt), underway.Underway(store, request) as stopped:
        best.train_on(None, request.params, request.seed, underway=stopped)
    interrupted, seen[:] = False, errors[:3]
    again, found, _ = best.train_on(None, request.params, request.seed, underway=underway.Underway(store, request))
    assert (found.values, found.metrics) == (evaluation.values, evaluation.metrics)
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in network.state_dict().items())


def test_what_has_failed_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderCheckpoints(tmp_path / "states")
    for objective in (Objective(train, epochs=EPOCHS, checkpoints=store), trainer(checkpoints=store)):
        monkeypatch.setenv("FAIL_AT", "3")
        with pytest.raises(ValueError, match="broken"):
            objective.evaluate(Request(0, {"lr": 0.1}, seed=1))
        assert left(tmp_path) == []
        measured.clear()
    monkeypatch.setenv("FAIL_AT", "3")
    with pytest.raises(Exception, match="broken"):
        search(train, f"{tmp_path}/a.db")
    assert left(tmp_path) == []
    monkeypatch.delenv("FAIL_AT")
    begun_at.clear()
    search(train, f"{tmp_path}/a.db", retry_failed=True)
    assert begun_at == [0, 0, 0, 0]


def test_states_are_written_at_most_every_ten_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(underway.Underway, "save", None)  # fails if it is called
    given: Any = {"algorithm": "random", "population": 1, "generations": 1, "epochs": EPOCHS, "progress": False}
    optimize(train, {"lr": Float(1e-3, 1e-1)}, name="run", storage=tmp_path / "a.db", **given)
    assert underway.SECONDS_BETWEEN == 10.0


def test_after_the_last_epoch_no_state_is_written(tmp_path: Path) -> None:
    """With none left to train, a function would return nothing."""
    killed(tmp_path / "a.db", 6)
    search(train, f"{tmp_path}/a.db")
    assert begun_at[0] == 5


def test_another_study_does_not_continue_from_it(tmp_path: Path) -> None:
    killed(tmp_path / "a.db", 3)
    assert len(left(tmp_path)) == 1
    for path in tmp_path.glob("a.db*"):
        path.unlink()
    search(train, f"{tmp_path}/a.db")
    assert begun_at == [0, 0, 0, 0]
    killed(tmp_path / "b.db", 3)
    begun_at.clear()
    search(train, f"{tmp_path}/b.db", population=3)  # not one evaluation is on record
    assert begun_at[0] == 0


def test_seconds_in_killed_processes_count(tmp_path: Path) -> None:
    store, request = FolderCheckpoints(tmp_path), Request(0, {"lr": 0.1}, seed=1)
    begun = underway.Underway(store, request)
    begun._start -= 100.0
    begun.save({"weight": torch.ones(1)})
    again = underway.Underway(store, request)
    assert again.seconds < 1.0
    assert again.load() is not None
    assert 100.0 <= again.seconds < 110.0
    assert underway.Underway(store, replace(request, seed=2)).load() is None, "another evaluation's"
    begun.drop()
    begun.curve.append(Epoch(1, math.nan, 0.5))
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    own = Checkpoint(store, params=request.params, underway=begun, epochs=EPOCHS)
    own.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, epoch=1)
    assert Objective(train, epochs=EPOCHS, checkpoints=store).evaluate(request).seconds > 100.0
    assert begun_at == [1]


def test_a_deletion_takes_it_along(tmp_path: Path) -> None:
    killed(tmp_path / "a.db", 3)
    search(train, f"{tmp_path}/a.db", max_evaluations=1)
    killed(tmp_path / "a.db", 3)
    assert left(tmp_path) != []
    delete_study("run", tmp_path / "a.db")
    assert left(tmp_path) == []


def test_a_damaged_state_is_not_used(tmp_path: Path) -> None:
    killed(tmp_path / "a.db", 3)
    (path,) = left(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert told(search(train, f"{tmp_path}/a.db")) == told(search(train, f"{tmp_path}/b.db"))
    assert begun_at[0] == 0
