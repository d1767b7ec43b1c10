"""Who may call a study's `map`: evaluations may hold it, but not call it."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from deap import algorithms, base, tools

from deap_hpo import Individual, InputError, ProcessExecutor, Study
from deap_hpo.errors import FailureNotice


def test_evaluations_in_workers_may_use_the_toolbox_that_holds_the_map(tmp_path: Path) -> None:
    """A toolbox that is defined in a function, or in a notebook, is sent with the evaluation that uses it."""

    def run(**options: Any) -> list[Any]:
        toolbox = base.Toolbox()
        toolbox.register("gene", lambda: 0.25)
        toolbox.register("distance", lambda first, second: abs(first - second))
        toolbox.register("evaluate", lambda one: (toolbox.distance(one[0], 1.0),))
        toolbox.register("individual", tools.initRepeat, Individual, toolbox.gene, n=1)
        toolbox.register("mutate", tools.mutGaussian, mu=0, sigma=0.3, indpb=1.0)
        toolbox.register("select", tools.selTournament, tournsize=2)
        with Study(seed=1, **options) as study:
            toolbox.register("map", study.map)
            population = tools.initRepeat(list, toolbox.individual, 4)
            algorithms.eaMuPlusLambda(population, toolbox, 4, 4, 0.0, 1.0, 2, verbose=False)
        return [(entry.genes, entry.evaluation.values) for entry in study.entries]

    here = run()
    assert len(here) > 8
    assert run(executor=ProcessExecutor(1), storage=tmp_path / "a.db") == here


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(cloudpickle.dumps(one))])
def test_a_study_in_another_process_evaluates_nothing(copied: Any) -> None:
    with Study(seed=1) as study:
        elsewhere = copied(study)
        with pytest.raises(InputError, match="must not call `map` of the study that it belongs to"):
            elsewhere.map(len, [[1.0]])
        assert study.map(len, [[1.0]]) == [(1.0,)]
    assert len(study.entries) == 1
    assert copy.copy(study).entries == study.entries


@pytest.mark.parametrize("executor", [None, ProcessExecutor(1)], ids=["here", "workers"])
def test_an_evaluation_that_calls_the_map_of_its_study_fails_and_leaves_the_record_intact(executor: Any) -> None:
    with Study(seed=1, executor=executor) as study:

        def nested(one: Any) -> float:
            return study.map(lambda inner: inner[0], [[one[0] * 10]])[0][0]

        with pytest.warns(FailureNotice, match="its evaluations would be recorded among the program's"):
            study.map(nested, [[1.0], [2.0]])
        assert study.map(len, [[1.0]]) == [(1.0,)], "it can be used afterwards"
    assert [(entry.number, entry.evaluation.status) for entry in study.entries] == [
        (0, "failed"), (1, "failed"), (2, "ok"),
    ]  # fmt: skip


def test_an_evaluation_may_have_a_study_of_its_own() -> None:
    def nested(one: Any) -> float:
        with Study(seed=2) as inner:
            return inner.map(lambda gene: gene[0] + 1, [[one[0] * 10]])[0][0]

    with Study(seed=1) as study:
        assert study.map(nested, [[1.0], [2.0]]) == [(11.0,), (21.0,)]


def test_several_populations_are_zipped() -> None:
    hosts, parasites = [[1.0], [2.0]], [[3.0, 4.0], [5.0, 6.0]]
    with Study(seed=1) as study:
        with pytest.raises(InputError, match=r"map takes one population; got 2\. Zip them"):
            study.map(lambda host, parasite: host[0], hosts, parasites)  # type: ignore[call-arg]
        assert study.map(lambda pair: pair[0][0] + pair[1][1], zip(hosts, parasites, strict=True)) == [(5.0,), (8.0,)]
    assert study.entries[0].genes == ((1.0,), (3.0, 4.0))
