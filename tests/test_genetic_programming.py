"""Programs of genetic programming, with trees as individuals, are recorded, resumed and parallel as all others are."""

from __future__ import annotations

import math
import operator
import os
import random
import signal
import subprocess
import sys
import warnings
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from deap import algorithms, base, creator, gp, tools
from processes import exit_code_of

from deap_hpo import InputError, ProcessExecutor, Study, load_study
from deap_hpo.errors import DeapHPOWarning
from deap_hpo.evolution.feasibility import Fitness
from deap_hpo.genomes import genes_of
from deap_hpo.records.record import ReplayError
from deap_hpo.reports.study import describe

POINTS = [i / 5 for i in range(-5, 6)]
calls: list[None] = []


def arithmetic(name: str, arity: int, *, with_cos: bool = True) -> gp.PrimitiveSet:
    pset = gp.PrimitiveSet(name, arity)
    for function in (operator.add, operator.sub, operator.mul):
        pset.addPrimitive(function, 2)
    if with_cos:
        pset.addPrimitive(math.cos, 1)
    pset.addEphemeralConstant("constant", partial(random.uniform, -1, 1))
    return pset


MAIN, ADF = arithmetic("MAIN", 1), arithmetic("ADF", 2)
WITH_ADF = arithmetic("MAIN", 1)
WITH_ADF.addADF(ADF)

creator.create("ErrorOfTrees", Fitness, weights=(-1.0,))
creator.create("TestedTree", gp.PrimitiveTree, fitness=creator.ErrorOfTrees)
creator.create("TestedBranch", gp.PrimitiveTree)
creator.create("TestedBranches", list, fitness=creator.ErrorOfTrees)


def error(function: Any) -> float:
    calls.append(None)
    if os.environ.get("DIE_AT") == str(len(calls)):
        os.kill(os.getpid(), signal.SIGKILL)
    return math.fsum((function(x) - (x**3 + x)) ** 2 for x in POINTS)


def error_of_tree(tree: Any) -> float:
    return error(gp.compile(tree, MAIN))


def error_of_branches(branches: Any) -> float:
    return error(gp.compileADF(branches, [WITH_ADF, ADF]))


def toolbox_of_trees() -> base.Toolbox:
    toolbox = base.Toolbox()
    toolbox.register("expression", gp.genHalfAndHalf, pset=MAIN, min_=1, max_=2)
    toolbox.register("individual", tools.initIterate, creator.TestedTree, toolbox.expression)
    toolbox.register("mate", gp.cxOnePoint)
    toolbox.register("subtree", gp.genFull, min_=0, max_=2)
    toolbox.register("mutate", gp.mutUniform, expr=toolbox.subtree, pset=MAIN)
    toolbox.register("evaluate", error_of_tree)
    for name in ("mate", "mutate"):
        toolbox.decorate(name, gp.staticLimit(operator.attrgetter("height"), max_value=5))
    return toolbox


def toolbox_of_branches() -> base.Toolbox:
    def branches() -> Any:
        return creator.TestedBranches([creator.TestedBranch(gp.genHalfAndHalf(pset, 1, 2)) for pset in (WITH_ADF, ADF)])

    def mutated(individual: Any) -> tuple[Any]:
        for branch, pset in zip(individual, (WITH_ADF, ADF), strict=True):
            gp.mutEphemeral(branch, mode="all")
            gp.mutNodeReplacement(branch, pset)
        return (individual,)

    def mated(first: Any, second: Any) -> Any:
        for one, other in zip(first, second, strict=True):
            gp.cxOnePoint(one, other)
        return first, second

    toolbox = base.Toolbox()
    toolbox.register("individual", branches)
    toolbox.register("mate", mated)
    toolbox.register("mutate", mutated)
    toolbox.register("evaluate", error_of_branches)
    return toolbox


TOOLBOXES = {"trees": toolbox_of_trees, "branches": toolbox_of_branches}


def evolve(kind: str, storage: Any, generations: int = 4, **options: Any) -> tuple[Study, Any]:
    toolbox = TOOLBOXES[kind]()
    toolbox.register("population", tools.initRepeat, list, toolbox.individual)
    toolbox.register("select", tools.selTournament, tournsize=3)
    with Study(name=kind, storage=storage, seed=5, resume=storage is not None, **options) as study:
        toolbox.register("map", study.map)
        population, _ = algorithms.eaSimple(toolbox.population(n=12), toolbox, 0.6, 0.3, generations, verbose=False)
    return study, [genes_of(one) for one in population]


def told(study: Any) -> list[Any]:
    return [(one.genes, one.evaluation.values, one.parents, one.duplicate_of) for one in study.entries]


@pytest.fixture(scope="module", params=TOOLBOXES)
def uninterrupted(request: pytest.FixtureRequest) -> tuple[str, Study, Any]:
    return request.param, *evolve(request.param, None)


def test_a_killed_run_of_trees_ends_as_if_it_had_not_been(uninterrupted: Any, tmp_path: Path) -> None:
    kind, whole, population = uninterrupted
    assert len({one.genes for one in whole.entries}) > 20
    for die_at in ("8", "11"):
        assert exit_code_of(evolve, kind, str(tmp_path / "a.db"), DIE_AT=die_at) == -signal.SIGKILL
    assert len(load_study(kind, tmp_path / "a.db").entries) >= 17
    resumed, resumed_population = evolve(kind, tmp_path / "a.db")
    assert told(resumed) == told(whole)
    assert resumed_population == population


def test_workers_evaluate_trees(uninterrupted: Any) -> None:
    kind, whole, population = uninterrupted
    here = len(calls)
    study, parallel_population = evolve(kind, None, executor=ProcessExecutor(2))
    assert len(calls) == here, "they are evaluated elsewhere"
    assert told(study) == told(whole)
    assert parallel_population == population


def test_a_recorded_tree_can_be_made_again(uninterrupted: Any) -> None:
    kind, study, _ = uninterrupted
    psets = [MAIN] if kind == "trees" else [WITH_ADF, ADF]
    again = [gp.PrimitiveTree.from_string(gene, pset) for gene, pset in zip(study.best.genes, psets, strict=True)]
    assert tuple(map(str, again)) == study.best.genes
    value = error_of_tree(again[0]) if kind == "trees" else error_of_branches(again)
    assert value == study.best_value < error(lambda x: 0.0)


def test_a_study_of_trees_is_read_as_others_are(uninterrupted: Any) -> None:
    kind, study, _ = uninterrupted
    columns = ["gene_0"] if kind == "trees" else ["gene_0", "gene_1"]
    table = study.trials_dataframe()
    assert [one for one in table.columns if one.startswith("gene_")] == columns
    assert tuple(table.loc[study.best.number, columns]) == study.best.genes
    assert describe(study)["best"]["params"] == dict(zip(columns, study.best.genes, strict=True)) == study.best_params


def test_another_set_of_primitives_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evolve("trees", tmp_path / "a.db", 1)
    monkeypatch.setattr(sys.modules[__name__], "MAIN", arithmetic("MAIN", 1, with_cos=False))
    with pytest.raises(ReplayError, match=r"evaluation \d+ on record has the genes \('.*',\), this run has \('"):
        evolve("trees", tmp_path / "a.db", 1)


def test_an_evaluation_that_changes_its_tree_is_noticed() -> None:
    toolbox = toolbox_of_trees()

    def simplifying(tree: Any) -> float:
        tree[tree.searchSubtree(0)] = [MAIN.terminals[object][0]]
        return 1.0

    with Study(seed=1) as study, pytest.raises(InputError, match="evaluate must leave the individual as it is"):
        study.map(simplifying, [toolbox.individual()])


class ByName(type):
    """Classes of which sets have the same order in each process."""

    def __hash__(cls) -> int:
        return zlib.crc32(cls.__qualname__.encode())


TYPED = """
import random, sys
sys.path.insert(0, {here!r})
import test_genetic_programming as t
for _ in range(int(sys.argv[1])):  # other addresses in each process
    type("Filler", (), {{}})
study, _ = t.evolve_typed({hashed}, {storage!r})
print([entry.genes for entry in study.entries])
"""


def typed_trees(metaclass: type) -> tuple[Any, list[Any]]:
    """A set of primitives over three types, each made from the two others."""
    kinds = [metaclass(name, (), {}) for name in ("Length", "Angle", "Mass")]
    pset = gp.PrimitiveSetTyped("main", kinds, kinds[0])
    for i, kind in enumerate(kinds):
        pset.addPrimitive(max, [kind, kinds[i - 1]], kind, name=f"join_{kind.__name__}")
        pset.addTerminal(float(i), kind)
    return pset, kinds


def evolve_typed(hashed: bool, storage: Any = None) -> tuple[Study, Any]:
    pset, _ = typed_trees(ByName if hashed else type)
    toolbox = base.Toolbox()
    toolbox.register("individual", lambda: creator.TestedTree(gp.genFull(pset, 2, 3)))
    toolbox.register("population", tools.initRepeat, list, toolbox.individual)
    toolbox.register("mate", gp.cxOnePoint)
    toolbox.register("mutate", gp.mutShrink)
    toolbox.register("select", tools.selTournament, tournsize=2)
    toolbox.register("evaluate", len)
    with Study(name="typed", storage=storage, seed=1, resume=storage is not None) as study:
        toolbox.register("map", study.map)
        population, _ = algorithms.eaSimple(toolbox.population(n=10), toolbox, 0.9, 0.1, 3, verbose=False)
    return study, population


def test_types_of_ones_own_are_warned_of_unless_they_have_an_order() -> None:
    with pytest.warns(DeapHPOWarning, match=r"types of their own \(Angle, Length, Mass\).* hash by name"):
        evolve_typed(hashed=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evolve_typed(hashed=True)


def test_a_run_with_types_that_have_an_order_is_resumed(tmp_path: Path) -> None:
    code = TYPED.format(here=str(Path(__file__).parent), hashed=True, storage=str(tmp_path / "a.db"))
    said = {
        subprocess.run([sys.executable, "-c", code, count], capture_output=True, text=True, check=True).stdout
        for count in ("0", "57")
    }
    assert len(said) == 1
    assert said.pop() == f"{[one.genes for one in evolve_typed(hashed=True)[0].entries]}\n"
