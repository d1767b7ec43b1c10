import math
from dataclasses import replace

import pytest
from networks import small_task
from test_population import CLIPPED, MEMBERS, assert_same_curves, curves, evaluate

from deap_hpo import Float, optimize
from deap_hpo.errors import DeapHPOWarning
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.training.outcome import combine, repeat_seeds
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer


def test_repeats_are_the_mean_over_seeds():
    task = small_task(batch_size=16)
    settings = {"epochs": 2, "device": "cpu"}
    single = ReferenceTrainer(task, **settings)
    each = [single(MEMBERS[0], seed) for seed in repeat_seeds(3, 3)]
    together = ReferenceTrainer(task, repeats=3, **settings)(MEMBERS[0], 3)
    values = [one.value for one in each]
    assert together.value == pytest.approx(sum(values) / 3)
    spread = math.sqrt(sum((value - together.value) ** 2 for value in values) / 2)
    assert together.metrics["loss_std"] == pytest.approx(spread)
    assert together.metrics["accuracy"] == pytest.approx(sum(one.metrics["accuracy"] for one in each) / 3)
    assert set(together.metrics) == {"accuracy", "accuracy_std", "loss_std", "parameters"}
    assert together.curve[-1].validation_loss == pytest.approx(together.value)


def test_repeats_mean_the_same_in_both_trainers():
    task = small_task(batch_size=16)
    settings = {"epochs": 2, "device": "cpu", "repeats": 3}
    reference = ReferenceTrainer(task, **settings)
    population = PopulationTrainer(task, **settings)
    assert reference.settings == population.settings
    params = [*CLIPPED[:3], {"lr": 1e30}]
    got, expected = evaluate(population, params), [reference(one, 3) for one in params]
    assert_same_curves(got, expected)
    assert [one.value for one in got[:3]] == pytest.approx([one.value for one in expected[:3]], rel=1e-4)
    for one, other in zip(got, expected, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-3, abs=1e-6)
    assert (got[3].status, got[3].values, got[3].metrics) == ("diverged", (math.inf,), {})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("trainer", [ReferenceTrainer, PopulationTrainer])
@pytest.mark.parametrize("repeats", [1, 2])
def test_an_objective_that_is_not_finite_has_diverged_and_says_which(trainer, repeats):
    def share(output, target):  # 0 / 0 where no output is large
        large = (output > 100).float()
        return (large * (output > 101)).sum() / large.sum()

    task = replace(small_task(batch_size=16), metrics={"share": share}, objective="share", direction="maximize")
    made = trainer(task, epochs=2, device="cpu", repeats=repeats)
    ((_, one),) = SerialExecutor().run(made, [Request(0, {}, 3)])
    assert (one.status, one.values, one.trained_epochs) == ("diverged", (-math.inf,), 2)
    assert one.error == "the objective 'share' was nan, although the training ended well"
    assert math.isfinite(one.metrics["loss"])
    assert len(one.curve) == 2
    assert made({}, seed=3).value == -math.inf, "as of what is called directly"
    unbounded = replace(task, metrics={"share": lambda output, target: math.inf})
    assert trainer(unbounded, epochs=1, device="cpu", repeats=repeats)({}, seed=3).status == "diverged"
    with pytest.warns(
        DeapHPOWarning, match=r"evaluation 0 of the study 'study' counts as the worst: the objective 'sha"
    ):
        study = optimize(made, {"lr": Float(0.001, 0.002)}, algorithm="random", population=2, generations=2, seed=1)
    assert {entry.evaluation.status for entry in study.entries} == {"diverged"}, "the search goes on"
    assert study.trials_dataframe()["metrics_loss"].notna().all()


@pytest.mark.parametrize("trainer", [ReferenceTrainer, PopulationTrainer])
def test_what_diverges_is_the_worst_for_what_is_maximised(trainer):
    made = trainer(replace(small_task(), objective=["accuracy", "loss"]), device="cpu")
    diverged = made({"lr": 1e30}, seed=3)
    assert (diverged.status, diverged.values) == ("diverged", (-math.inf, math.inf))


def test_seeds_of_repeats_come_from_the_requests_seed():
    assert repeat_seeds(3, 1) == [3]
    assert repeat_seeds(3, 4)[:2] == repeat_seeds(3, 2)
    assert len({seed for start in range(50) for seed in repeat_seeds(start, 4)}) == 200


def test_one_bad_repeat_decides():
    good, diverged = Evaluation((0.5,), metrics={"accuracy": 1.0}), Evaluation((math.inf,), status="diverged")
    failed = Evaluation((math.inf,), status="failed", error="Traceback")
    assert combine([good, diverged], 2.0).status == "diverged"
    assert combine([diverged, failed, good], 2.0).status == "failed"
    assert combine([diverged, failed, good], 2.0).error == "Traceback"
    two = Evaluation((math.inf, math.inf), status="diverged")
    assert combine([Evaluation((0.5, 3.0)), two], 2.0).values == (math.inf, math.inf)
    assert combine([good], 2.0) == Evaluation((0.5,), metrics={"accuracy": 1.0}, seconds=2.0)


def test_one_repeat_is_a_plain_training():
    task = small_task(batch_size=16)
    trainer = ReferenceTrainer(task, device="cpu")
    assert curves([trainer(MEMBERS[0], 3)]) == curves([trainer.train(MEMBERS[0], 3)[1]])
