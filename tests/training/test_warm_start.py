"""Trainings that continue from a checkpoint: 2 + 3 epochs are 5, in both trainers, whatever changes in between."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from networks import STACKABLE, Noisy, digits, small_task

from deap_hpo.errors import InputError
from deap_hpo.evaluation import Request
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.training.checkpoints import FolderCheckpoints, MemoryCheckpoints
from deap_hpo.training.models import MLP
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.state import unpack

PARAMS = {"lr": 0.02, "momentum": 0.9, "weight_decay": 1e-3}
OTHER = {"lr": 0.05, "momentum": 0.5, "weight_decay": 0.0}
ADAM = {"lr": 0.003, "beta1": 0.8, "weight_decay": 1e-3}
RMS = {"lr": 0.002, "momentum": 0.5, "alpha": 0.9, "eps": 1e-3, "weight_decay": 1e-3}
CLIPPED = {**ADAM, "max_grad_norm": 0.1}


def losses(*evaluations):
    return [(e.epoch, e.training_loss, e.validation_loss, e.metrics) for one in evaluations for e in one.curve]


def ask(number, params, epochs, start_from=None, keep=False):
    return Request(number, params, 3, epochs=epochs, start_from=start_from, keep=keep)


def one(trainer, params, epochs, start=None):
    evaluation = trainer.evaluate(ask(0, params, epochs, start and start.checkpoint, keep=True))
    assert evaluation.status == "ok", evaluation.error
    return evaluation


def tensors(trainer, evaluation):
    return trainer.checkpoints.load(evaluation.checkpoint)


def assert_same_tensors(got, expected):
    assert got.keys() == expected.keys()
    for name in got:
        assert torch.equal(got[name], expected[name]), name


# A schedule gives rates whatever the optimiser is, so not every pair of the two needs a test.
@pytest.mark.parametrize(
    ("optimizer", "params", "schedule"),
    [
        ("sgd", PARAMS, "step"),
        ("sgd", PARAMS, "cosine"),
        ("sgd", PARAMS, "constant"),
        ("adam", ADAM, "cosine"),
        ("adamw", CLIPPED, "step"),
        ("rmsprop", RMS, "step"),
    ],
)
@pytest.mark.parametrize("network", ["paper-cnn", "batch-norm"])  # dropout; running statistics
@pytest.mark.parametrize("kind", [ReferenceTrainer, PopulationTrainer])
def test_2_epochs_and_3_more_are_5_bit_for_bit(kind, network, optimizer, params, schedule, tmp_path):
    model, data = STACKABLE[network]
    task = small_task(model, data(), batch_size=24, schedule=schedule, optimizer=optimizer)
    trainer = kind(task, epochs=5, device="cpu", checkpoints=FolderCheckpoints(tmp_path))
    whole = one(trainer, params, 5)
    first = one(trainer, params, 2)
    second = one(trainer, params, 5, first)
    assert losses(first, second) == losses(whole)
    assert second.checkpoint == whole.checkpoint, "named by its content"
    assert losses(trainer.evaluate(Request(0, params, 3))) == losses(whole), "asked for nothing, it trains all"


@pytest.mark.parametrize("kind", [ReferenceTrainer, PopulationTrainer])
def test_repeats_go_on_each_from_its_own_weights(kind):
    trainer = kind(small_task(batch_size=24), epochs=5, device="cpu", repeats=3)
    whole, first = one(trainer, PARAMS, 5), one(trainer, PARAMS, 2)
    second = one(trainer, PARAMS, 5, first)
    assert losses(first, second) == losses(whole)
    assert second.metrics == whole.metrics
    assert_same_tensors(tensors(trainer, second), tensors(trainer, whole))
    assert len(unpack(tensors(trainer, whole))) == 3


def test_a_network_that_draws_by_itself_goes_on_as_if_it_had_never_paused():
    trainer = ReferenceTrainer(small_task(Noisy, batch_size=24), epochs=4, device="cpu")
    whole, first = one(trainer, PARAMS, 4), one(trainer, PARAMS, 1)
    assert losses(first, one(trainer, PARAMS, 4, first)) == losses(whole)


SCHEDULES = {
    "other values": [PARAMS, OTHER, PARAMS],
    "momentum off and on": [PARAMS, {**PARAMS, "momentum": 0.0}, PARAMS],
    "clipping off and on": [{**PARAMS, "max_grad_norm": 0.1}, PARAMS, {**PARAMS, "max_grad_norm": 0.05}],
    "batch size": [PARAMS, {**PARAMS, "batch_size": 10}, {**OTHER, "batch_size": 32}],
    "of RMSprop": [{**RMS, "optimizer": "rmsprop", **one} for one in ({}, {"momentum": 0.0}, {"alpha": 0.5}, {})],
    "RMSprop after others": [PARAMS, *({**RMS, "optimizer": one} for one in ("rmsprop", "sgd", "adam", "rmsprop"))],
    "optimiser": [PARAMS, {**ADAM, "optimizer": "adam"}, {**ADAM, "optimizer": "adamw"}],
    "and back": [{**ADAM, "optimizer": "adam"}, PARAMS, {**ADAM, "optimizer": "adam"}],
}


@pytest.mark.parametrize("settings", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("network", ["mlp", "batch-norm"])
def test_population_and_reference_agree_when_hyperparameters_change_in_between(network, settings):
    model, data = STACKABLE[network]
    task = small_task(model, data(), batch_size=24)
    ended = []
    for kind in (ReferenceTrainer, PopulationTrainer):
        trainer = kind(task, epochs=4, device="cpu")
        evaluations = [one(trainer, settings[0], 2)]
        for epochs, params in enumerate(settings[1:], 3):
            evaluations.append(one(trainer, params, epochs, evaluations[-1]))
        ended.append((losses(*evaluations), tensors(trainer, evaluations[-1])))
    (got, kept), (expected, reference) = ended
    assert [row[:3] for row in got] == [pytest.approx(row[:3], rel=1e-4) for row in expected]
    assert kept.keys() == reference.keys()
    for name in kept:
        torch.testing.assert_close(kept[name], reference[name], rtol=1e-3, atol=1e-5)


def test_members_of_a_stack_may_inherit_from_each_other_and_beside_new_ones():
    trainer = PopulationTrainer(small_task(batch_size=24), epochs=4, device="cpu")
    parents = dict(trainer.evaluate_batch([ask(i, p, 2, None, True) for i, p in enumerate([PARAMS, OTHER])]))
    requests = [
        ask(2, OTHER, 4, parents[0].checkpoint, True),  # its own hyperparameters, the other's weights
        ask(3, PARAMS, 4, parents[0].checkpoint, True),
        ask(4, PARAMS, 4),
        ask(5, OTHER, 4, parents[1].checkpoint),
    ]
    together = dict(trainer.evaluate_batch(requests))
    for i, request in enumerate(requests):
        alone = trainer.evaluate(request)
        assert [row[1:3] for row in losses(together[i])] == [pytest.approx(row[1:3], 1e-4) for row in losses(alone)]
    assert losses(together[2])[2:] == [
        (epoch, pytest.approx(a, 1e-4), pytest.approx(b, 1e-4), metrics) for epoch, a, b, metrics in losses(together[1])
    ]
    assert together[0].value != together[1].value
    assert together[2].checkpoint is None, "kept only where asked for"


def test_what_diverges_leaves_no_checkpoint(tmp_path):
    for kind in (ReferenceTrainer, PopulationTrainer):
        trainer = kind(small_task(), epochs=2, device="cpu", checkpoints=FolderCheckpoints(tmp_path))
        evaluation = trainer.evaluate(ask(0, {"lr": 1e30}, 2, None, True))
        assert (evaluation.status, evaluation.checkpoint) == ("diverged", None)
    assert not list(tmp_path.iterdir())


def test_workers_leave_checkpoints_that_others_go_on_from(tmp_path):
    task = small_task(partial(MLP, inputs=64, width=8), digits(64, 32), batch_size=24)
    trainer = ReferenceTrainer(task, epochs=3, device="cpu", checkpoints=FolderCheckpoints(tmp_path))
    executor = ProcessExecutor(workers=2)
    requests = [ask(i, params, 1, None, True) for i, params in enumerate([PARAMS, OTHER])]
    first = dict(executor.run(trainer, requests))
    swapped = [ask(2, OTHER, 3, first[0].checkpoint, True), ask(3, PARAMS, 3, first[1].checkpoint, True)]
    second = dict(executor.run(trainer, swapped))
    executor.close()
    for request, got in zip(swapped, (second[0], second[1]), strict=True):
        here = trainer.evaluate(request)
        assert (losses(got), got.checkpoint) == (losses(here), here.checkpoint)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("kind", [ReferenceTrainer, PopulationTrainer])
def test_what_cannot_be_gone_on_from_is_refused(kind, schedule):
    task = small_task(partial(MLP, inputs=64, width=8), digits(64, 32), schedule=schedule)
    trainer = kind(task, epochs=3, device="cpu")
    start = one(trainer, PARAMS, 2)

    def said(request):
        if kind is PopulationTrainer:
            return trainer.evaluate(request).error
        with pytest.raises(InputError) as error:
            trainer.evaluate(request)
        return str(error.value)

    assert "epochs must be more than the 2 trained before; got 2" in said(ask(1, PARAMS, 2, start.checkpoint))
    assert f"epochs must be at most 3, where the trainer's {schedule} schedule" in said(ask(1, PARAMS, 4))
    assert "only go on with the architecture of its checkpoint" in said(
        ask(1, {**PARAMS, "width": 9}, 3, start.checkpoint)
    )
    assert "not in this process's memory" in said(ask(1, PARAMS, 3, "memory/0"))


def test_a_trainers_pickle_leaves_what_is_in_memory_behind():
    trainer = ReferenceTrainer(small_task(), device="cpu")
    start = one(trainer, PARAMS, 1)
    copy = pickle.loads(pickle.dumps(trainer))
    assert start.checkpoint in trainer.checkpoints
    assert start.checkpoint not in copy.checkpoints


def test_a_file_is_whole_and_what_its_name_says_or_counts_as_missing(tmp_path: Path):
    checkpoints = FolderCheckpoints(tmp_path / "deep" / "er")
    reference = checkpoints.save({"a": torch.arange(3.0)})
    assert checkpoints.save({"a": torch.arange(3.0)}) == reference, "the same content is one file"
    path = checkpoints.folder / f"{reference}.safetensors"
    assert [path] == list(checkpoints.folder.iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"\0\0")
    assert reference not in checkpoints
    with pytest.raises(InputError, match="is damaged"):
        checkpoints.load(reference)
    path.unlink()
    with pytest.raises(InputError, match="is missing"):
        checkpoints.load(reference)
    assert checkpoints.save({"a": torch.arange(3.0)}) in checkpoints


def test_what_is_not_needed_is_collected_and_a_limit_says_what_it_drops(tmp_path):
    checkpoints = FolderCheckpoints(tmp_path)
    kept = [checkpoints.save({"a": torch.full((100,), float(i))}) for i in range(4)]
    (tmp_path / f".{kept[0]}.1.partial").write_bytes(b"half")  # of a worker that was killed
    checkpoints.collect(kept[1:])
    assert [reference in checkpoints for reference in kept] == [False, True, True, True]
    assert len(list(tmp_path.iterdir())) == 3
    size = (tmp_path / f"{kept[1]}.safetensors").stat().st_size
    with pytest.warns(RuntimeWarning, match=rf"1 of 3 checkpoints \({size} of {3 * size:,} bytes\) .* were dropped"):
        FolderCheckpoints(tmp_path, limit=2 * size).collect(kept[1:])
    assert [reference in checkpoints for reference in kept] == [False, False, True, True]
    with pytest.raises(InputError, match="limit must be an integer of at least 1, or None"):
        FolderCheckpoints(tmp_path, limit=0)


def test_memory_is_given_back():
    checkpoints = MemoryCheckpoints()
    first, second = (checkpoints.save({"a": torch.zeros(1)}) for _ in range(2))
    checkpoints.collect([second, "of another process"])
    assert (first in checkpoints, second in checkpoints) == (False, True)


def test_the_schedule_is_laid_out_over_the_trainers_epochs_whatever_part_is_trained():
    task = small_task(batch_size=64, schedule="cosine")
    short, long = (ReferenceTrainer(task, epochs=epochs, device="cpu") for epochs in (2, 8))
    assert one(short, PARAMS, 2).value != one(long, PARAMS, 2).value
    constant = replace(task, recipe=replace(task.recipe, schedule="constant"))
    beyond = one(ReferenceTrainer(constant, epochs=2, device="cpu"), PARAMS, 4)
    assert len(beyond.curve) == 4
    assert math.isfinite(beyond.value)
