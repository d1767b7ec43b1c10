"""Functions that train in parts: their arguments, their checkpoints, and that the parts equal the whole."""

from __future__ import annotations

import copy
import gc
import itertools
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch import nn

from deap_hpo.deletion import delete_study
from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.evaluator import evaluate_one
from deap_hpo.evolution.individual import Individual
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.functions.checkpoint import Checkpoint
from deap_hpo.functions.objective import Objective
from deap_hpo.optimization import Interrupted, optimize
from deap_hpo.pruning import MedianPruner
from deap_hpo.recorded import load_study
from deap_hpo.search_space.space import Float, Int
from deap_hpo.strategies import make_strategy
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import FolderCheckpoints, MemoryCheckpoints, TemporaryCheckpoints

SPACE = {"lr": Float(1e-2, 1.0, log=True), "noise": Float(0.0, 0.1)}
quick = partial(optimize, space=SPACE, seed=1, progress=False)


def train(params: dict[str, Any], epochs: int, checkpoint: Any, report: Any) -> float:
    """A network with an optimiser that has a memory, and all three generators in use."""
    network = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=params["lr"], momentum=0.9)
    if state := checkpoint.load():
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        optimizer.param_groups[0]["lr"] = params["lr"]
    for epoch in range(checkpoint.epoch + 1, epochs + 1):
        inputs = torch.randn(8, 3)
        targets = inputs.sum(1, keepdim=True) + params["noise"] * (random.random() + np.random.random())
        loss = nn.functional.mse_loss(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(epoch, loss.item())
    checkpoint.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()})
    return network.weight.sub(1).abs().sum().item()


def grow(params: dict[str, Any], epochs: int) -> float:
    """Has no checkpoint to continue from."""
    return float((params["lr"] - 0.1) ** 2 + params["noise"] / epochs)


def widening(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
    """Weights of one width do not fit another."""
    weights = torch.zeros(params["width"])
    if state := checkpoint.load():
        weights = weights + state["weights"]
    weights = weights + params["lr"] * (epochs - checkpoint.epoch)
    checkpoint.save({"weights": weights})
    return float((weights.mean() - 1) ** 2)


def curve(evaluation: Any) -> list[tuple[int, float]]:
    return [(epoch.epoch, epoch.validation_loss) for epoch in evaluation.curve]


def outcomes(study: Any) -> list[Any]:
    return [(e.genes, e.epochs, e.start_from, e.evaluation.values, curve(e.evaluation)) for e in study.entries]


def test_parts_make_the_whole_to_the_bit() -> None:
    objective = Objective(train)
    params = {"lr": 0.1, "noise": 0.1}
    whole = objective.evaluate(Request(0, params, seed=5, epochs=5))
    first = objective.evaluate(Request(1, params, seed=5, epochs=2, keep=True))
    torch.rand(7), random.random(), np.random.random()  # others draw in between
    second = objective.evaluate(Request(2, params, seed=5, epochs=5, start_from=first.checkpoint))
    assert curve(first) + curve(second) == curve(whole)
    assert second.values == whole.values


def test_what_was_saved_stays_as_it_was_and_only_the_last_counts() -> None:
    """A state_dict refers to weights that are trained further, and the code that loads it may change them."""
    checkpoint = Checkpoint(MemoryCheckpoints())
    weights = torch.ones(2)
    checkpoint.save({"weights": weights, "part": 1})
    checkpoint.save({"weights": weights, "part": 2})
    weights += 1
    store = checkpoint._store
    reference = checkpoint.keep(3)
    for _ in range(2):
        later = Checkpoint(store, reference)
        state = later.load()
        assert (later.epoch, state["part"], state["weights"].tolist()) == (3, 2, [1.0, 1.0])
        state["weights"] += 1


@pytest.mark.parametrize(
    "state",
    [
        torch.optim.Adam([nn.Parameter(torch.ones(2))]).state_dict(),
        torch.optim.lr_scheduler.MultiStepLR(torch.optim.SGD([nn.Parameter(torch.ones(2))]), [3, 4, 4]).state_dict(),
        {1: (2.5, None, "te\nxt", b"bytes", b"", True), None: [{"deep": {3, 4}}], False: float("inf"), "": {}, 0.5: ()},
        "only text",
        2**70,
        {frozenset({1, 2}), frozenset()},
        {np.int64(3): "three"},
    ],
)
@pytest.mark.parametrize("kept_in", [MemoryCheckpoints, TemporaryCheckpoints])
def test_a_state_may_be_nested(state: Any, kept_in: Any) -> None:
    checkpoint = Checkpoint(kept_in())
    checkpoint.save(state)
    loaded = Checkpoint(checkpoint._store, checkpoint.keep(1)).load()
    assert loaded == state
    assert repr(loaded) == repr(state).replace("np.int64(3)", "3"), "types as well"


@pytest.mark.parametrize(
    "held",
    [
        torch.arange(6).reshape(2, 3).T,
        torch.tensor(3.0, dtype=torch.bfloat16),
        torch.zeros(0, 2),
        torch.tensor([True, False]),
        nn.Parameter(torch.ones(2)),
        np.arange(6, dtype=np.int16).reshape(2, 3).T,
        np.array(2.5),
        np.zeros((0, 3)),
        np.arange(3, dtype=">f4"),
        np.float32(0.1),
        np.int64(7),
        np.bool_(True),
    ],
    ids=repr,
)
def test_tensors_and_arrays_keep_type_shape_and_values(held: Any) -> None:
    checkpoint = Checkpoint(TemporaryCheckpoints())
    checkpoint.save([held])
    (loaded,) = Checkpoint(checkpoint._store, checkpoint.keep(1)).load()
    assert np.shape(loaded) == np.shape(held)
    assert (loaded == held).all() if np.shape(held) else loaded == held
    if hasattr(loaded, "dtype"):
        assert loaded.dtype == (held.dtype.newbyteorder("=") if isinstance(held, np.ndarray) else held.dtype)


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (nn.Linear(1, 1), "got a Linear."),
        ({"a": [1, lambda: 1]}, "got a function at ['a'][1]."),
        (({"a": np.array([None])},), "got a ndarray of object at [0]['a']."),
        (torch.ones(2).to_sparse(), "got a Tensor of torch.float32, torch.sparse_coo."),
        ([torch.ones(2, dtype=torch.complex128)], "got a Tensor of torch.complex128 at [0]."),
        (np.ones(2, dtype=np.longdouble), "got a ndarray of float128."),
        ({"a": {(1, 2): 3}}, "The keys of a state are numbers and texts; got (1, 2) at ['a']."),
    ],
)
def test_what_no_state_is_made_of_is_named(state: Any, named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named) + "$"):
        Checkpoint(MemoryCheckpoints()).save(state)


@pytest.mark.parametrize(
    ("algorithm", "more"),
    [
        ("hyperband", {"epochs": 9, "max_epochs": 40}),
        ("pbt", {"population": 4, "generations": 4}),
        ("truncation", {"epochs": 4, "population": 4, "generations": 3, "arguments": {"stages": [1, 2, 4]}}),
        ("freeze-thaw", {"epochs": 8, "max_epochs": 30, "population": 2}),
    ],
)
@pytest.mark.parametrize("lost", [False, True])
def test_interrupted_and_resumed_it_ends_the_same_checkpoints_lost_or_not(
    algorithm: str, more: dict[str, Any], lost: bool, tmp_path: Path
) -> None:
    whole = quick(train, algorithm=algorithm, **more)
    left = [len(whole.entries) // 2]

    def interrupted(params: dict[str, Any], epochs: int, checkpoint: Any, report: Any) -> float:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return train(params, epochs, checkpoint, report)

    interrupted.__qualname__ = "train"
    recorded = {"algorithm": algorithm, "storage": tmp_path / "studies.db", "name": "run", **more}
    with pytest.raises(Interrupted):
        quick(interrupted, **recorded)
    assert len(load_study("run", tmp_path / "studies.db").entries) < len(whole.entries)
    if lost:
        shutil.rmtree(tmp_path / "run" / "states")
    with pytest.warns(RuntimeWarning, match="the evaluator of the study .* has changed since"):
        resumed = quick(train, resume=True, **recorded)
    assert outcomes(resumed) == outcomes(whole)
    assert any(entry.start_from is not None for entry in whole.entries)
    kept = {path.stem for path in (tmp_path / "run" / "states").iterdir()}
    assert resumed.best.evaluation.checkpoint in kept
    assert len(kept) < len(whole.entries)


def test_workers_go_on_from_each_others_checkpoints() -> None:
    arguments = {"algorithm": "pbt", "population": 4, "generations": 4}
    beside = quick(train, executor=ProcessExecutor(2), **arguments)
    assert outcomes(beside) == outcomes(quick(train, **arguments))
    assert beside.best_state()["network"].keys() == {"weight", "bias"}


@pytest.mark.parametrize("algorithm", ["hyperband", "halving", "dehb", "freeze-thaw", "truncation"])
def test_without_a_checkpoint_every_part_is_trained_from_the_beginning_and_counted_so(algorithm: str) -> None:
    stages = {"arguments": {"stages": [1, 3, 9]}, "population": 6} if algorithm == "truncation" else {}
    study = quick(grow, algorithm=algorithm, epochs=9, max_epochs=60, **stages)
    trained = [entry for entry in study.entries if entry.duplicate_of is None]
    assert {entry.start_from for entry in study.entries} == {None}
    assert len({entry.epochs for entry in trained}) >= 3
    assert study.budget.epochs == sum(entry.epochs or 0 for entry in trained[: study.budget.evaluations]) <= 60
    assert len({entry.genes for entry in trained}) < len(trained), "the better ones are trained again, for longer"
    for entry in trained:
        assert entry.evaluation.value == grow(study.params_of(entry), entry.epochs or 0)


def test_the_display_knows_what_training_again_costs(capsys: pytest.CaptureFixture[str]) -> None:
    for evaluate, epochs in ((grow, 9 + 9 + 9 + 5 * 3 + 9), (train, 9 + 6 + 6 + 5 * 3 + 6)):
        optimize(evaluate, SPACE, algorithm="hyperband", epochs=9, generations=5, seed=1)
        first, *_, last = capsys.readouterr().err.splitlines()
        assert f"generation 1/5: 9/19 evaluations, 9/{epochs} epochs" in first, "which is planned"
        assert f"generation 5/5: 19/19 evaluations, {epochs}/{epochs} epochs" in last, "and so it comes"


def test_what_does_not_fit_other_weights_is_kept_with_them() -> None:
    space = {"lr": Float(0.01, 0.2), "width": Int(2, 64)}
    arguments = {"algorithm": "pbt", "population": 6, "generations": 5, "seed": 1, "progress": False}
    study = optimize(widening, space, arguments={"kept": ["width"]}, **arguments)
    assert {entry.evaluation.status for entry in study.entries} == {"ok"}
    widths = {entry.number: study.params_of(entry)["width"] for entry in study.entries}
    assert all(widths[e.number] == widths[e.start_from] for e in study.entries if e.start_from is not None)
    with pytest.warns(RuntimeWarning, match="failed"):
        free = optimize(widening, space, **arguments)
    assert "failed" in {entry.evaluation.status for entry in free.entries}
    with pytest.raises(InputError, match=r"^kept: the space has no 'widht'. Did you mean 'width'\?$"):
        optimize(widening, space, **{**arguments, "arguments": {"kept": ["widht"]}})
    with pytest.raises(InputError, match=r"^kept must be a list of names of hyperparameters; got 'width'"):
        optimize(widening, space, **{**arguments, "arguments": {"kept": "width"}})


def test_the_best_state_is_kept_by_any_algorithm_and_found_later(tmp_path: Path) -> None:
    storage = tmp_path / "studies.db"
    study = quick(train, algorithm="random", epochs=3, population=3, generations=4, storage=storage, name="run")
    state = study.best_state()
    error = float(state["network"]["weight"].sub(1).abs().sum())
    assert error == study.best_value
    folder = FolderCheckpoints(tmp_path / "run" / "states")
    recorded = load_study("run", storage)
    assert torch.equal(recorded.best_state(folder)["network"]["weight"], state["network"]["weight"])
    assert len(list(folder.folder.iterdir())) <= 4, "that of the best, and those of the last batch"
    assert torch.equal(recorded.best_state()["network"]["weight"], state["network"]["weight"])
    with pytest.raises(InputError, match=r"^checkpoints must be a store, such as FolderCheck"):
        recorded.best_state(f"{tmp_path}/run/states")  # type: ignore[arg-type]
    moved = replace(recorded, storage=None)
    with pytest.raises(
        InputError, match=r"of the study 'run' has no state in `checkpoints`: its state is kept elsewhere"
    ):
        moved.best_state()
    dropped = next(entry for entry in study.entries if entry.evaluation.checkpoint not in folder)
    with pytest.raises(InputError, match=r"^The state of evaluation \d+ of the study 'run' does not exist any more"):
        study.state_of(dropped)
    assert quick(lambda params: params["lr"], generations=1).best.evaluation.checkpoint is None
    with pytest.raises(
        InputError, match=r"Evaluation 0 .* has no state in .checkpoints.: it saved none with checkpoint"
    ):
        quick(lambda params: 1.0, generations=1).best_state()


def test_of_several_objectives_the_states_of_the_front_are_kept() -> None:
    def train(params: dict[str, Any], epochs: int, checkpoint: Any) -> tuple[float, float]:
        checkpoint.save(params["lr"])
        return params["lr"] + params["noise"], 1 / params["lr"]

    arguments = {"epochs": 1, "population": 4, "generations": 6, "algorithm": "random"}
    study = quick(train, direction=["minimize", "minimize"], **arguments)
    front = study.pareto_front()
    assert len(front) >= 4
    assert min(entry.generation for entry in front) < 5
    for entry in front:
        assert study.state_of(entry) == study.params_of(entry)["lr"]
    assert len(list(study.evaluator.checkpoints.folder.iterdir())) < 24


def test_a_temporary_folder_goes_with_its_study() -> None:
    study = quick(train, algorithm="random", epochs=1, generations=1)
    folder = study.evaluator.checkpoints.folder
    assert list(folder.iterdir())
    del study
    gc.collect()
    assert not folder.exists()


def test_what_is_pruned_or_diverged_leaves_nothing() -> None:
    def told(params: dict[str, Any], epochs: int, checkpoint: Any, report: Any) -> float:
        checkpoint.save("something")
        report(1, params["loss"])
        return params["loss"]

    objective = Objective(told, epochs=1)
    for loss, status in ((1.0, "ok"), (3.0, "pruned"), (float("inf"), "diverged")):
        evaluation = objective.evaluate(Request(0, {"loss": loss}, seed=0, limits={1: 2.0}, keep=True))
        assert (evaluation.status, evaluation.checkpoint is None) == (status, status != "ok")


def test_what_a_function_cannot_do_is_named() -> None:
    with pytest.raises(InputError, match="named checkpoint also needs one named epochs"):
        Objective(lambda params, checkpoint: 0.0)
    with pytest.raises(InputError, match=r"^epochs is for functions that have a parameter named epochs; got 3"):
        Objective(lambda params: 0.0, epochs=3)
    with pytest.raises(
        InputError, match=r"^checkpoints is for functions that have a parameter named checkpoint; got <"
    ):
        Objective(grow, checkpoints=MemoryCheckpoints())
    with pytest.raises(InputError, match=r"^epochs must be an integer of at least 1, or None; got 0"):
        Objective(grow, epochs=0)
    with pytest.raises(InputError, match=r"^The algorithm 'pbt' continues from checkpoints: .* got <function grow"):
        quick(grow, algorithm="pbt")
    for algorithm in ("hyperband", "random"):
        with pytest.raises(InputError, match=r"^epochs must give the length of a whole training, .*; got None"):
            quick(grow, algorithm=algorithm)
    with pytest.raises(InputError, match=r"^epochs must give the length of a whole training of <function grow"):
        Objective(grow)({"lr": 0.1, "noise": 0.0})
    with pytest.raises(InputError, match=r"^max_epochs must be at least 3, the epochs that the first training takes"):
        optimize(grow, SPACE, algorithm="halving", arguments={"min_epochs": 3}, epochs=9, max_epochs=2)


def test_a_function_that_does_not_keep_to_what_it_is_told_fails_with_the_reason() -> None:
    forgetful = Objective(lambda params, epochs, checkpoint: 0.0)
    with pytest.raises(InputError, match=r"must call checkpoint.save\(state\) before it returns"):
        forgetful.evaluate(Request(0, {}, seed=0, epochs=1, keep=True))
    assert forgetful.evaluate(Request(0, {}, seed=0, epochs=1)).checkpoint is None

    def restless(params: dict[str, Any], epochs: int, checkpoint: Any, report: Any) -> float:
        for epoch in range(1, params["until"] + 1):
            report(epoch, 1.0)
        checkpoint.save({})
        return 1.0

    objective = Objective(restless, checkpoints=MemoryCheckpoints())
    with pytest.raises(InputError, match=r"^epoch must be at most `epochs`, here 2; got 3"):
        objective.evaluate(Request(0, {"until": 3}, seed=0, epochs=2))
    reference = objective.evaluate(Request(0, {"until": 2}, seed=0, epochs=2, keep=True)).checkpoint
    with pytest.raises(InputError, match=r"larger than the last one trained before, checkpoint.epoch, 2; got 1"):
        objective.evaluate(Request(0, {"until": 4}, seed=0, epochs=4, start_from=reference))
    assert "trained before" in evaluate_one(objective, Request(0, {"until": 4}, 0, {}, 4, reference)).error


def test_in_a_toolbox_other_hyperparameters_need_a_checkpoint() -> None:
    with Study(SPACE) as study:
        first, second = Individual([0.5, 0.5]), Individual([0.6, 0.5])
        first.epochs, second.epochs = 1, 2
        study.map(Objective(grow), [first])
        second.start_from = 0
        with pytest.raises(InputError, match="with other hyperparameters needs what the earlier one has learnt"):
            study.map(Objective(grow), [second])
        second[:] = first
        assert study.map(Objective(grow), [second]) == [(grow(study.params_of(study.entries[0]), 2),)]


def test_the_epochs_of_a_whole_training_are_the_parameters_default() -> None:
    def trained(params: dict[str, Any], epochs: int = 7) -> float:
        return float(epochs)

    assert Objective(trained)({}).value == 7.0
    assert Objective(trained, epochs=2)({}).value == 2.0
    assert Objective(partial(trained, epochs=4))({}).value == 4.0
    assert Objective(trained).settings == {**Objective(trained, epochs=7).settings}
    assert Objective(trained).settings != Objective(trained, epochs=8).settings


def test_torch_is_seeded_also_where_the_function_imports_it() -> None:
    """In a new process, which has not imported it."""
    script = """
import importlib.util, sys
from deap_hpo import Float, optimize

before = list(sys.meta_path)

def draw(params):
    importlib.util.find_spec("torch")  # as those do that want to know whether it is installed
    import torch
    return float(torch.rand(1))

assert "torch" not in sys.modules
study = optimize(draw, {"x": Float(0.0, 1.0)}, algorithm="random", generations=1, population=3, progress=False)
print(len({entry.evaluation.value for entry in study.entries}), "torch" in sys.modules, sys.meta_path == before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "True", "True"]


def test_torch_is_seeded_alike_around_what_imports_it() -> None:
    script = """
import sys
from deap_hpo.seeding import seeded

def outer():
    with seeded(1):
        with seeded(2):
            import torch
            torch.rand(1)
        return float(torch.rand(1))

assert "torch" not in sys.modules
print(outer() == outer() == outer())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


def half(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
    """The state is the value."""
    checkpoint.save(params["lr"])
    return params["lr"]


@pytest.mark.parametrize("ending", ["diverged", "failed", "pruned", "infeasible"])
def test_the_best_state_outlives_batches_in_which_nothing_ends_well(ending: str) -> None:
    calls = [0]

    def train(params: dict[str, Any], epochs: int, checkpoint: Any, report: Any) -> dict[str, float]:
        calls[0] += 1
        checkpoint.save(params["lr"])
        report(1, params["lr"])
        late = calls[0] > 3
        if late and ending == "failed":
            raise RuntimeError("no more")
        if late and ending == "pruned":
            raise optuna.TrialPruned
        return {"loss": float("nan") if late and ending == "diverged" else params["lr"], "size": 9.0 if late else 0.0}

    constraints = ["size <= 1"] if ending == "infeasible" else []
    arguments = {"epochs": 1, "algorithm": "random", "population": 3, "generations": 3, "metric": "loss"}
    study = quick(train, constraints=constraints, **arguments)
    assert study.best.number < 3
    assert study.best_state() == study.best_params["lr"]


def test_a_damaged_checkpoint_is_made_again(tmp_path: Path) -> None:
    recorded = {"algorithm": "hyperband", "epochs": 9, "storage": tmp_path / "studies.db", "name": "run"}
    quick(train, generations=1, **recorded)
    files = list((tmp_path / "run" / "states").iterdir())
    for path in files:
        path.write_bytes(path.read_bytes()[:50])
    resumed = quick(train, generations=3, resume=True, **recorded)
    assert outcomes(resumed) == outcomes(quick(train, algorithm="hyperband", epochs=9, generations=3))


def test_a_state_that_was_made_again_and_is_another_is_found() -> None:
    made = itertools.count()

    def train(params: dict[str, Any], epochs: int, checkpoint: Any) -> float:
        checkpoint.save({"made": next(made)})
        return params["lr"] * epochs  # the best is one of the first rung

    class Losing(TemporaryCheckpoints):
        """Loses all checkpoints once, after the first batch."""

        def collect(self, needed: Any) -> None:
            super().collect(needed if next(batches) else [])

    batches = itertools.count()
    with Study(SPACE, seed=1) as study:
        strategy = make_strategy("hyperband", study.space, epochs=9, seed=1)
        for _ in range(2):
            rung = strategy.generate(Individual)
            objective = study.evaluator or Objective(train, checkpoints=Losing())
            for individual, values in zip(rung, study.map(objective, rung), strict=True):
                individual.fitness.values = values
            strategy.update(rung)
        assert study.best.epochs == 1
        assert study.best_state()["made"] >= 9, "it was trained a second time"


def test_a_pruned_part_is_the_worst_to_an_algorithm_and_nobody_goes_on_from_it() -> None:
    def train(params: dict[str, Any], epochs: int, checkpoint: Any, report: Any) -> float:
        for epoch in range(checkpoint.epoch + 1, epochs + 1):
            report(epoch, params["lr"])
            if params["noise"] < 0.05:
                raise optuna.TrialPruned
        checkpoint.save("something")
        return params["lr"]

    for algorithm, more in (
        ("pbt", {"population": 6, "generations": 4}),
        ("hyperband", {"epochs": 9, "generations": 5}),
    ):
        study = quick(train, algorithm=algorithm, **more)
        pruned = {entry.number for entry in study.entries if entry.evaluation.status == "pruned"}
        assert pruned
        assert not pruned & {entry.start_from for entry in study.entries}
    with pytest.raises(InputError, match=r"^pruner is for whole trainings; the algorithm 'pbt' itself ends"):
        quick(train, algorithm="pbt", pruner=MedianPruner())


@pytest.mark.parametrize(
    ("reported", "ends", "cost"),
    [([], "nan", 9), ([3, 6, 9], "nan", 9), ([3], "error", 9), ([3, 6], "pruned", 6), ([5], "ok", 9), ([], "ok", 9)],
)
def test_what_does_not_end_well_costs_the_epochs_that_it_took(reported: list[int], ends: str, cost: int) -> None:
    def train(params: dict[str, Any], epochs: int, report: Any) -> float:
        for epoch in reported:
            report(epoch, 1.0)
        if ends == "error":
            raise RuntimeError
        if ends == "pruned":
            raise optuna.TrialPruned
        return float("nan") if ends == "nan" else 1.0

    study = Study(SPACE)
    study.map(Objective(train, epochs=9), [Individual([0.5, 0.5])])
    assert study.budget.epochs == cost


@pytest.mark.parametrize(("ends", "cost"), [("pruned", 1), ("nan", 2), ("ok", 3)])
def test_a_part_costs_what_it_adds(ends: str, cost: int) -> None:
    def train(params: dict[str, Any], epochs: int, checkpoint: Any, report: Any) -> float:
        checkpoint.save("something")
        report(checkpoint.epoch + 1, 1.0)
        if checkpoint.epoch and ends == "pruned":
            raise optuna.TrialPruned
        return float("nan") if checkpoint.epoch and ends == "nan" else 1.0

    objective = Objective(train)
    with Study(SPACE) as study:
        first, second = Individual([0.5, 0.5]), Individual([0.5, 0.5])
        first.epochs, second.epochs, second.start_from = 4, 7, 0
        study.map(objective, [first])
        study.map(objective, [second])
    assert study.budget.epochs == 4 + cost


def test_a_whole_training_that_was_pruned_keeps_its_value_for_the_algorithm() -> None:
    def train(params: dict[str, Any], report: Any) -> float:
        report(1, 0.75)
        raise optuna.TrialPruned

    with Study(SPACE) as study:
        assert study.map(Objective(train), [Individual([0.5, 0.5])]) == [(0.75,)]
    assert study.entries[0].evaluation.status == "pruned"


def test_without_common_numbers_parts_from_the_beginning_have_one_seed() -> None:
    with Study(SPACE, common_random_numbers=False) as study:
        first, second = Individual([0.5, 0.5]), Individual([0.5, 0.5])
        first.epochs, second.epochs, second.start_from = 1, 2, 0
        study.map(Objective(grow), [first])
        study.map(Objective(grow), [second])
    assert [entry.start_from for entry in study.entries] == [None, None]
    assert study.entries[0].seed == study.entries[1].seed


def test_epochs_count_from_1_where_there_is_a_checkpoint() -> None:
    def train(params: dict[str, Any], epochs: int, checkpoint: Any, report: Any) -> float:
        report(0, 1.0)
        return 1.0

    with pytest.raises(InputError, match=r"larger than the last one trained before, checkpoint.epoch, 0; got 0"):
        Objective(train, epochs=3)({})
    Objective(lambda params, report: report(0, 1.0) or 1.0)({})  # without epochs, it may begin with 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"arguments": {"epochs": 9}, "algorithm": "hyperband"},
            r"^arguments must not contain epochs: pass them to optimize itself",
        ),
        (
            {"arguments": {"kept": None}, "algorithm": "pbt"},
            "^kept must be a list of names of hyperparameters; got None",
        ),
        ({"epochs": 9, "max_epochs": 4, "algorithm": "random"}, "^max_epochs must be at least 9"),
        (
            {"epochs": 2, "arguments": {"min_epochs": 5}, "algorithm": "hyperband"},
            r"^epochs must be at least min_epochs, 5; got 2\.$",
        ),
    ],
)
def test_what_cannot_be_is_said_in_the_words_of_python(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        quick(half, **arguments)


def test_studies_of_one_name_in_two_files_have_states_of_their_own(tmp_path: Path) -> None:
    arguments = {"algorithm": "random", "epochs": 1, "population": 3, "generations": 1}
    first, second = (quick(half, storage=tmp_path / name, **arguments) for name in ("a.db", "b.db"))
    assert first.best_state() == second.best_state()
    delete_study("study", tmp_path / "a.db")
    assert not (tmp_path / "study@a").exists()
    assert second.best_state() == second.best_params["lr"]
    delete_study("study", tmp_path / "b.db")
    assert not (tmp_path / "study@b").exists()


def test_a_grid_fills_a_budget_of_epochs() -> None:
    study = quick(grow, algorithm="grid", epochs=9, max_epochs=90)
    assert len(study.entries) == 9
    assert {
        len({round(one, 9) for one in column}) for column in zip(*(e.genes for e in study.entries), strict=True)
    } == {3}


def test_a_copy_shares_the_folder_of_the_original() -> None:
    original = Objective(half)
    copied = copy.deepcopy(original)
    folder = original.checkpoints.folder  # type: ignore[union-attr]
    del original
    gc.collect()
    assert copied.evaluate(Request(0, {"lr": 0.5}, seed=0, epochs=1, keep=True)).checkpoint in copied.checkpoints
    del copied
    gc.collect()
    assert not folder.exists()


def test_what_nobody_needs_is_not_left_where_nobody_drops_it() -> None:
    """In a worker's own memory; a folder is cleared after each batch."""
    for store, is_left in ((MemoryCheckpoints(), False), (TemporaryCheckpoints(), True)):
        evaluation = Objective(half, checkpoints=store).evaluate(Request(0, {"lr": 0.5}, seed=0, epochs=1))
        assert (evaluation.checkpoint is not None) == is_left


def test_nothing_is_no_state() -> None:
    with pytest.raises(InputError, match=r"^checkpoint.save needs a state other than None"):
        Checkpoint(MemoryCheckpoints()).save(None)


def test_weights_that_do_not_fit_another_architecture_are_told_to_be_kept_with_it() -> None:
    def function(params: dict[str, Any], epochs: int, checkpoint: Checkpoint) -> float:
        network = nn.Linear(params["width"], 1)
        if state := checkpoint.load():
            network.load_state_dict(state)
        checkpoint.save(network.state_dict())
        return float(params["lr"])

    space, options = {**SPACE, "width": Int(3, 30)}, {"algorithm": "pbt", "population": 4, "generations": 3}
    with pytest.warns(RuntimeWarning, match=r"size mismatch .* must stay with the weights.*\"kept\": \[\"width\"\]"):
        optimize(function, space, progress=False, **options)  # type: ignore[arg-type]
