"""The leak for demonstration: off by default, announced loudly, and nothing but another split."""

import importlib
import json
import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from networks import small_task

from deap_hpo.configuration.assembly import make_task
from deap_hpo.evaluation import Request
from deap_hpo.training.leak import LeakingTrainer, redrawn
from deap_hpo.training.reference import ReferenceTrainer

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PARAMS = {"lr": 0.05, "momentum": 0.9}


def leaking(task, **settings):
    with pytest.warns(RuntimeWarning, match="LEAK: training and validation examples are split anew"):
        return LeakingTrainer(task, device="cpu", **settings)


def test_a_redrawn_split_has_the_same_examples_in_other_places():
    data = small_task().data
    first, again, other = redrawn(data, 1), redrawn(data, 1), redrawn(data, 2)
    assert torch.equal(first.validation.inputs, again.validation.inputs)
    assert not torch.equal(first.validation.inputs, other.validation.inputs)

    def examples(one):
        return sorted(
            (target, image.sum().item())
            for split in (one.training, one.validation)
            for image, target in zip(split.inputs.float(), split.targets.tolist(), strict=True)
        )

    assert examples(first) == examples(data) == examples(other)
    assert first.test is data.test


def test_until_something_goes_on_nothing_leaks_and_then_it_validates_on_what_it_knows():
    task = small_task(batch_size=8, schedule="constant")
    trainers = leaking(task, epochs=60), ReferenceTrainer(task, epochs=60, device="cpu")
    first = [one.evaluate(Request(0, PARAMS, 3, epochs=40, keep=True)) for one in trainers]
    assert first[0].value == first[1].value
    second = [
        trainer.evaluate(Request(1, PARAMS, 3, epochs=41, start_from=one.checkpoint))
        for trainer, one in zip(trainers, first, strict=True)
    ]
    assert second[0].value < 0.5 * second[1].value, "most of the new validation examples were learnt by heart"
    assert trainers[0].settings == {**trainers[1].settings, "leak": True}


def test_honest_trainings_say_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ReferenceTrainer(small_task(), device="cpu")


@pytest.mark.fashion_mnist
def test_the_benchmark_measures_both_splits_and_says_how(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    leak = importlib.import_module("leak")

    def with_fewer_test_images(config):
        task = make_task(config)
        return replace(task, data=replace(task.data, test=task.data.test[:200]))

    monkeypatch.setattr(leak, "make_task", with_fewer_test_images)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})  # one core: no workers to be started
    sizes = ["--training-size", "200", "--validation-size", "100", "--generations", "2", "--population", "4"]
    monkeypatch.setattr("sys.argv", ["leak.py", *sizes, "--output", str(tmp_path / "leak.csv")])
    leak.main()
    table = pd.read_csv(tmp_path / "leak.csv")
    assert list(table["split"]) == ["fixed", "fixed", "redrawn", "redrawn"]
    losses = table[["training_loss", "validation_loss", "test_loss"]].to_numpy()
    assert (losses[0] == losses[2]).all()  # the first generation has nothing to continue
    assert (losses[1] != losses[3]).all()
    made = json.loads((tmp_path / "leak.json").read_text())
    assert made["command"].startswith("python benchmarks/leak.py --generations 2 --population 4")
