"""Results in words: partial trainings are named as such, and every objective has its direction."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_cli import CONFIG, call

from deap_hpo import Categorical, Float, Space, optimize
from deap_hpo.functions.checkpoint import Checkpoint
from deap_hpo.notebook import study_html
from deap_hpo.reports.html import page
from deap_hpo.reports.study import print_study

pytestmark = pytest.mark.usefixtures("no_figures", "small_forests", "light_model")


def overfitted(params: Any, epochs: int, checkpoint: Checkpoint) -> float:
    """Worse with every epoch."""
    checkpoint.save({"at": epochs})
    return abs(float(params["x"]) - 0.3) + 0.02 * epochs


@pytest.mark.parametrize("algorithm", ["hyperband", "halving", "dehb", "freeze-thaw", "pbt"])
def test_a_best_evaluation_of_a_part_of_a_training_is_said_to_be_one(algorithm: str) -> None:
    search: Any = {"population": 4, "generations": 9} if algorithm == "pbt" else {"max_epochs": 120}
    study = optimize(
        overfitted, {"x": Float(0.0, 1.0)}, algorithm=algorithm, epochs=9, seed=1, progress=False, **search
    )
    part = f"after {study.best.epochs} of 9 epochs"
    assert study.best.epochs in (1, 2)
    assert repr(study).endswith(f" {part}>")
    assert f", the best {part}.</p>" in study_html(study)
    assert f"Best: evaluation {study.best.number}, {part} with <strong>" in page([study.found()])
    console = Console(width=200)
    with console.capture() as printed:
        print_study(study.found(), console, 3)
    assert f"The best one was measured {part}." in printed.get()


def test_a_best_evaluation_of_a_whole_training_is_not() -> None:
    def learning(params: Any, epochs: int) -> float:
        return float(params["x"]) / epochs

    searches: list[Any] = [{"algorithm": "hyperband", "max_epochs": 60}, {"algorithm": "random", "generations": 1}]
    for search in searches:
        study = optimize(learning, {"x": Float(0.5, 1.0)}, epochs=9, seed=1, progress=False, **search)
        assert " after " not in repr(study) + study_html(study)
    assert "after" not in repr(optimize(lambda params: 1.0, {"x": Float(0.0, 1.0)}, generations=1, progress=False))


def test_the_end_of_a_run_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(CONFIG)
    settings = ["evolution.algorithm=hyperband", "training.epochs=9", "evolution.max_epochs=5"]
    ended = call("run", "small.toml", *(f"--set={one}" for one in settings))
    assert ended.exit_code == 0, ended.output
    assert " ".join(ended.output.split()).count("is too few for one whole training (9 epochs)") == 1
    assert re.search(r"best +evaluation \d, after 1 of 9 epochs: lr ", ended.output)


def test_a_notebook_shows_every_direction_and_a_dash_for_what_is_not_in_use() -> None:
    def network(params: Any) -> dict[str, float]:
        return {"accuracy": float(params["x"]), "size": float(params.get("momentum", -1.0))}

    either = {"x": Float(0.0, 1.0), "kind": Categorical(["sgd", "adam"]), "momentum": Float(0.0, 1.0)}
    goals: Any = {"metric": ["accuracy", "size"], "direction": ["maximize", "minimize"]}
    space = Space(either, when={"momentum": {"kind": "sgd"}})
    study = optimize(network, space, **goals, max_evaluations=40, seed=1, progress=False)
    shown = study_html(study)
    assert "(seed 1, maximize accuracy, minimize size)" in shown
    assert "NaN" not in shown
    assert "<td>-</td>" in shown
