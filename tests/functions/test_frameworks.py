"""Frameworks: the functions of docs/how-to/frameworks.md are pruned, run in processes, and continue exactly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from deap_hpo import Float, MedianPruner, ProcessExecutor, optimize

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "frameworks.md"


def section(title: str) -> dict[str, Any]:
    """The names that the code of a section defines; its studies are left out."""
    text = PAGE.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    kept = [line for line in "".join(blocks).splitlines() if not line.startswith(("study = ", "best = ", "print("))]
    names: dict[str, Any] = {"__name__": "frameworks"}
    exec(compile("\n".join(kept), str(PAGE), "exec"), names)
    return names


@pytest.fixture(scope="module")
def lightning() -> dict[str, Any]:
    return section("Lightning")


@pytest.mark.parametrize(("title", "function"), [("Lightning", "train_on"), ("LightGBM", "boost")])
def test_a_training_in_parts_ends_as_a_whole_one_does(title: str, function: str) -> None:
    page = section(title)
    settings: dict[str, Any] = {"epochs": 5, "seed": 1, "progress": False}
    stages = {"algorithm": "truncation", "arguments": {"stages": [2, 5]}, "population": 4, "generations": 1}
    parts = optimize(page[function], page["space"], **stages, **settings)
    last = next(one for one in parts.entries if one.epochs == 5)
    params = parts.params_of(last)
    whole = optimize(page[function], page["space"], algorithm="random", enqueue=[params], max_evaluations=1, **settings)
    assert [one.epoch for one in last.evaluation.curve] == [3, 4, 5]
    assert last.evaluation.curve[-1].validation_loss == whole.best.evaluation.curve[-1].validation_loss
    assert last.evaluation.value == whole.best_value


def test_lightning_is_pruned_and_runs_in_processes_with_the_same_results(lightning: dict[str, Any]) -> None:
    space = {"lr": Float(1e-5, 1e-1, log=True), "width": lightning["space"]["width"]}
    settings: dict[str, Any] = {
        "population": 3,
        "generations": 3,
        "pruner": MedianPruner(),
        "seed": 1,
        "progress": False,
    }
    here = optimize(lightning["train"], space, **settings)
    with ProcessExecutor(2) as executor:
        there = optimize(lightning["train"], space, executor=executor, **settings)
    assert {one.evaluation.status for one in here.entries} == {"ok", "pruned"}
    assert [one.evaluation.values for one in here.entries] == [one.evaluation.values for one in there.entries]
    assert all([epoch.epoch for epoch in one.evaluation.curve][:1] == [1] for one in here.entries)


def test_what_transformers_draws_follows_the_evaluations_seed() -> None:
    fine_tune, params = section("Transformers")["fine_tune"], {"lr": 0.01, "dropout": 0.3}
    curves: list[list[float]] = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        curves.append([])
        fine_tune(params, seed, lambda epoch, loss: curves[-1].append(loss))
    assert len(curves[0]) == 4  # of three epochs, and of the evaluation at the end
    assert curves[0] == curves[1] != curves[2]
