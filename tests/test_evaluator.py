"""Evaluators: what a user may bring, and that studies, executors and algorithms know only one type."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F
from evaluators import Batches
from torch import nn

from deap_hpo.errors import FailureNotice, InputError
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import BatchEvaluator, Evaluator, PlainFunction, as_evaluator
from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import Individual, make_toolbox
from deap_hpo.execution.executors import ProcessExecutor
from deap_hpo.optimization import optimize
from deap_hpo.records.record import ReplayError
from deap_hpo.search_space.space import Float, Int, Space
from deap_hpo.study import Study
from deap_hpo.training.checkpoints import MemoryCheckpoints
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task
from deap_hpo.training.trainers import make_trainer

SPACE = Space({"x": Float(0.0, 1.0)})


class Scaled(Evaluator):
    """The simplest evaluator with settings."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    @property
    def settings(self) -> dict[str, Any]:
        return {"factor": self.factor}

    def evaluate(self, request: Request) -> Evaluation:
        return Evaluation((self.factor * request.params["x"],), metrics={"seed": request.seed})


class Pairs(BatchEvaluator):
    """Gives each request of a batch the size of the batch."""

    def evaluate_batch(self, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        for i, _ in reversed(list(enumerate(requests))):
            yield i, Evaluation((float(len(requests)),))


def test_an_evaluator_is_itself_and_a_function_becomes_one() -> None:
    evaluator = Scaled(2.0)
    assert as_evaluator(evaluator) is evaluator is evaluator.brought
    function = as_evaluator(abs)
    assert isinstance(function, PlainFunction)
    assert function.brought is abs
    assert function.evaluate(Request(0, -3, 0)).value == 3.0


def test_a_class_of_ones_own_that_happens_to_have_a_method_named_evaluate_is_a_function() -> None:
    class Model:
        """A user's class, which knows nothing of requests."""

        def evaluate(self, inputs: Any) -> None:
            raise AssertionError("not meant for a search")

        def __call__(self, params: dict[str, float]) -> float:
            return 3 * params["x"]

    study = optimize(Model(), SPACE, algorithm="random", generations=1, population=2, progress=False)
    assert [entry.evaluation.value for entry in study.record] == [3 * entry.genes[0] for entry in study.record]


@pytest.mark.parametrize("thing", [3, "tune", None, {}])
def test_what_cannot_be_called_is_refused(thing: Any) -> None:
    with pytest.raises(InputError, match="must be a function of the hyperparameters, a trainer or another Evaluator"):
        as_evaluator(thing)


def test_one_of_ones_own_runs_and_its_settings_are_insisted_on(tmp_path: Any) -> None:
    def run(factor: float, resume: bool = False) -> Study:
        with Study(SPACE, name="own", storage=tmp_path / "s.db", seed=3, resume=resume) as study:
            toolbox = make_toolbox(SPACE)
            toolbox.register("evaluate", Scaled(factor))
            toolbox.register("map", study.map)
            eaTruncation(toolbox.population(n=4), toolbox, 1.0, 1.0, ngen=1, verbose=False)
        return study

    study = run(2.0)
    assert study.attributes["evaluator"] == {"factor": 2.0}
    assert all(entry.evaluation.value == 2.0 * entry.genes[0] for entry in study.record)
    with pytest.raises(ReplayError, match=r"recorded with evaluator.*2\.0.*3\.0"):
        run(3.0, resume=True)


def test_in_optimize_it_says_itself_what_it_has() -> None:
    with pytest.raises(InputError, match="epochs is for functions; Scaled has epochs of its own"):
        optimize(Scaled(1.0), SPACE, epochs=3)
    with pytest.raises(InputError, match=r"max_epochs is for trainers.*Scaled"):
        optimize(Scaled(1.0), SPACE, max_epochs=3)
    study = optimize(Scaled(1.0), SPACE, algorithm="random", direction="maximize", generations=1, progress=False)
    assert study.best_value == max(entry.evaluation.value for entry in study.record)
    with pytest.raises(InputError, match=r"The best network needs a study whose evaluations were trainings"):
        study.best_model()


def test_a_batch_of_one_is_what_a_batch_evaluator_makes_of_a_request() -> None:
    assert Pairs().evaluate(Request(0, {}, 0)).value == 1.0
    with Study(SPACE, seed=1) as study:
        individuals = [Individual([gene]) for gene in (0.1, 0.2, 0.3)]
        assert study.map(Pairs(), individuals) == [(3.0,)] * 3


def test_a_worker_takes_a_chunk_as_a_batch(tmp_path: Any) -> None:
    requests = [Request(i, {"x": float(i + 3)}, 0) for i in range(4)]
    executor = ProcessExecutor(workers=2, chunk=2)
    sizes = {i: evaluation.values for i, evaluation in executor.run(Batches(tmp_path, 0), requests)}
    executor.close()
    assert sizes == {i: (float(i + 3), 2.0) for i in range(4)}


def test_settings_may_be_set_and_the_class_itself_is_no_evaluator() -> None:
    class Noted(Scaled):
        settings = None  # type: ignore[assignment]

        def __init__(self) -> None:
            super().__init__(1.0)
            self.settings = {"version": 3}

    with Study(SPACE, seed=1) as study:
        study.map(Noted(), [Individual([0.5])])
    assert study.attributes["evaluator"] == {"version": 3}
    with pytest.raises(InputError, match=r"evaluate must be an object, Scaled\(\.\.\.\); got the class itself"):
        as_evaluator(Scaled)
    with pytest.raises(InputError, match="objective must be an object"):
        optimize(Scaled, SPACE)


def test_with_checkpoints_elsewhere_all_else_is_shared(digits_task: Any) -> None:
    trainer = PopulationTrainer(digits_task, device="cpu")
    placed = trainer.reference.placed
    other = trainer.with_checkpoints(checkpoints := MemoryCheckpoints())
    assert other.checkpoints is other.reference.checkpoints is checkpoints is not trainer.checkpoints
    assert other.reference.placed is placed, "on a GPU, data twice would be too much"


def regression(width: int = 8) -> nn.Module:
    """Outputs [N, 1], which a loss of functional torch compares with targets [N] each with every other one."""
    if width == 13:
        raise ValueError("an unlucky width")
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 1))


def broadcasting(loss: Any = F.mse_loss) -> Task:
    table = np.random.default_rng(0).normal(size=(60, 4))
    return Task.from_data(regression, (table, table[:, 0]), loss=loss)


@pytest.mark.parametrize("trainer", [ReferenceTrainer, PopulationTrainer])
def test_a_trainer_that_is_called_directly_checks_that_network_and_loss_fit(trainer: Any) -> None:
    with pytest.raises(InputError, match="every output is compared with every target"):
        trainer(broadcasting(), device="cpu")({"lr": 0.1})
    with pytest.raises(InputError, match="every output is compared with every target"):
        ReferenceTrainer(broadcasting(), device="cpu").train({"lr": 0.1})


def test_a_toolbox_with_a_trainer_checks_it_before_anything_is_recorded() -> None:
    space = Space({"lr": Float(0.01, 0.1)})
    with Study(space, seed=1) as study:
        toolbox = make_toolbox(space)
        individuals = toolbox.population(n=4)
        with pytest.raises(InputError, match="every output is compared with every target"):
            study.map(make_trainer(broadcasting(), device="cpu"), individuals)
        assert len(study.record) == 0


def test_it_is_checked_once_and_a_configuration_that_cannot_be_built_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked = []
    check = Task.check
    monkeypatch.setattr(Task, "check", lambda task, params: checked.append(params) or check(task, params))
    space = Space({"width": Int(1, 20)})
    trainer = make_trainer(broadcasting(loss=None), device="cpu")
    genes = [space.encode({"width": width}) for width in (13, 5, 6)]
    with warnings.catch_warnings(), Study(space, seed=1) as study:
        warnings.simplefilter("ignore", FailureNotice)
        study.map(trainer, [Individual(one) for one in genes])
        study.map(trainer, [Individual(space.encode({"width": 7}))])
    assert checked == [{"width": 13}, {"width": 5}]
    assert [entry.evaluation.status for entry in study.entries] == ["failed", "ok", "ok", "ok"]
    optimize(make_trainer(broadcasting(loss=None), device="cpu"), {"lr": Float(0.01, 0.1)}, max_evaluations=2)
    assert len(checked) == 3, "of which one is by optimize, which checks a space, and none by its study"
