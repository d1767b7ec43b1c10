"""Population-based training: whose weights are continued, the best schedule trained again, and kill -9 in between."""

from __future__ import annotations

import importlib
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from continuing import Creeping
from deap import tools
from hypothesis import given, settings
from hypothesis import strategies as st
from interruptions import count_recorded, wait_until_recorded
from typer.testing import CliRunner
from written import PBT

from deap_hpo.analysis.lineages import lineage_table
from deap_hpo.cli import app
from deap_hpo.errors import InputError
from deap_hpo.evolution.individual import Individual, make_toolbox
from deap_hpo.evolution.pbt import EXPLOITS, PBTSettings, eaPBT, exploitTruncation
from deap_hpo.optimization import optimize
from deap_hpo.plotting.lineage import plot_lineage
from deap_hpo.plotting.style import save
from deap_hpo.recorded import load_study
from deap_hpo.search_space.space import Categorical, Float, Int, Space
from deap_hpo.study import Study
from deap_hpo.training.models import MLP
from deap_hpo.training.population import PopulationTrainer
from deap_hpo.training.reference import ReferenceTrainer
from deap_hpo.training.task import Task

ROOT = Path(__file__).parents[2]
SPACE = Space({"x": Float(0.0, 8.0)})


def evolved(study: Study, evaluate: Any, ngen: int = 4, **arguments: Any) -> tuple[list[Any], tools.Logbook]:
    toolbox = make_toolbox(SPACE)
    toolbox.register("evaluate", evaluate)
    toolbox.register("map", study.map)
    PBTSettings.of(arguments).register(toolbox, population=8)
    chosen = PBTSettings.of(arguments)
    return eaPBT(
        toolbox.population(n=8), toolbox, chosen.cxpb, chosen.mutpb, ngen, study.statistics(),
        interval=chosen.interval, verbose=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [{}, {"exploit": "tournament", "explore": "resample"}, {"interval": 3, "share": 0.5, "cxpb": 1.0, "indpb": 0.5}],
)
def test_every_member_trains_on_from_itself_or_from_a_better_one(arguments: dict[str, Any]) -> None:
    interval = arguments.get("interval", 1)
    with Study(SPACE, seed=1) as study:
        population, logbook = evolved(study, Creeping(), **arguments)
    entries = list(study.record)
    assert len(entries) == 40
    assert study.budget.epochs == interval * sum(entry.duplicate_of is None for entry in entries)
    assert logbook.select("epochs") == [interval * (gen + 1) for gen in range(5)]
    inherited = [0] * 5
    for i, entry in enumerate(entries):
        if entry.generation == 0:
            assert (entry.start_from, entry.epochs) == (None, interval)
            continue
        source, member = entries[entry.start_from or 0], entries[i - 8]
        assert source.generation == entry.generation - 1
        assert entry.epochs == (source.epochs or 0) + interval
        assert source.number in entry.parents
        if source is member:
            assert (entry.genes, entry.operators) == (member.genes, ())
        else:
            inherited[entry.generation] += 1
            assert source.evaluation.value <= member.evaluation.value
            assert "mutate" in entry.operators
    assert logbook.select("inherited") == inherited
    assert sum(inherited) >= 4
    assert [one.fitness.values for one in population] == [entry.evaluation.values for entry in entries[-8:]]


@pytest.mark.parametrize("explore", ["perturb", "resample"])
def test_schedules_move_in_steps(explore: str) -> None:
    space = Space({"x": Float(0.0, 8.0, step=0.8), "width": Int(16, 64, step=16)})
    with Study(space, seed=1) as study:
        toolbox = make_toolbox(space)
        toolbox.register("evaluate", Creeping())
        toolbox.register("map", study.map)
        PBTSettings(explore=explore).register(toolbox, population=8)
        eaPBT(toolbox.population(n=8), toolbox, 0.0, 1.0, 4, verbose=False)
    params = [space.decode(entry.genes) for entry in study.record]
    assert all(repr(one["x"]) in map(repr, space["x"].grid(11)) and one["width"] % 16 == 0 for one in params)
    entries = list(study.record)
    varied = [(params[i], params[entry.start_from or 0]) for i, entry in enumerate(entries) if entry.operators]
    assert all(any(child[name] != source[name] for child, source in varied) for name in space)


@given(st.lists(st.floats(0, 5) | st.just(math.inf), min_size=2, max_size=12), st.sampled_from(sorted(EXPLOITS)))
@settings(deadline=None)
def test_whoever_is_taken_over_is_better_and_nobody_without_a_value_goes_on_beside_one_with_a_value(
    losses: list[float], name: str
) -> None:
    population = [Individual([random.random()]) for _ in losses]
    for member, loss in zip(population, losses, strict=True):
        member.fitness.values = (loss,)
    sources = EXPLOITS[name](population)
    assert len(sources) == len(population)
    for member, source in zip(population, sources, strict=True):
        assert any(source is one for one in population)
        assert source is member or source.fitness.values[0] <= member.fitness.values[0]
        if name == "truncation" and min(losses) < math.inf:
            assert source.fitness.values[0] < math.inf


def test_settings_out_of_range_are_named() -> None:
    for arguments, said in (
        ({"interval": 0}, "interval must be an integer of at least 1; got 0"),
        ({"exploit": "best"}, "exploit must be one of truncation, tournament; got 'best'"),
        ({"share": 0.6}, "share must be from 1e-06 to 0.5; got 0.6"),
        ({"mutpb": 2}, "mutpb must be from 0 to 1; got 2"),
        ({"mutpb": True}, "mutpb must be from 0 to 1; got True"),
        ({"step": "a"}, "step must be from 1e-06 to 1; got 'a'"),
        ({"share": None}, "share must be from 1e-06 to 0.5; got None"),
        ({"shere": 0.2}, "pbt has no argument 'shere'. Did you mean 'share'"),
    ):
        with pytest.raises(InputError, match=said):
            PBTSettings.of(arguments)
    with pytest.raises(ValueError, match="share must be above 0"):
        exploitTruncation([], share=0)
    toolbox = make_toolbox(SPACE)
    with pytest.raises(ValueError, match="population must be at least 2"):
        eaPBT(toolbox.population(n=1), toolbox, 0, 1, 1)
    toolbox.register("evaluate", lambda individual: (1.0,))
    with pytest.raises(ValueError, match="map of a Study"):
        eaPBT(toolbox.population(n=2), toolbox, 0, 1, 1)


@pytest.mark.parametrize("kind", [ReferenceTrainer, PopulationTrainer])
def test_architectures_are_taken_over_with_the_weights_and_never_varied(digits_task: Task, kind: Any) -> None:
    task = replace(digits_task, model=partial(MLP, inputs=64))
    space = Space({
        "lr": Float(0.001, 1.0, log=True),
        "width": Int(4, 64),
        "dropout": Float(0.0, 0.5),
        "depth": Categorical([1, 2]),
    })  # fmt: skip
    arguments = {"exploit": "tournament", "explore": "resample", "indpb": 0.7, "cxpb": 0.5}
    trainer = kind(task, epochs=4, device="cpu")
    study = optimize(trainer, space, algorithm="pbt", population=6, generations=4, arguments=arguments, seed=1)
    entries = list(study.record)
    assert {entry.evaluation.status for entry in entries} <= {"ok", "diverged"}
    varied = [(entry.genes, entries[entry.start_from].genes) for entry in entries if entry.operators]
    assert len(varied) >= 4
    for child, source in varied:
        assert (child[1], child[3]) == (source[1], source[3])
    for i in (0, 2):
        assert any(child[i] != source[i] for child, source in varied)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(PBT)
    return tmp_path


def call(*arguments: str) -> str:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


@pytest.mark.usefixtures("no_figures")
def test_the_command_keeps_architectures_too(here: Path) -> None:
    (here / "wide.toml").write_text(
        PBT.replace("[evolution]", "width = { type = 'int', low = 4, high = 32 }\n\n[evolution]")
    )
    call("run", "wide.toml", "--set", "evolution.generations=3")
    entries = load_study("wide", "runs/studies.db").entries
    assert {entry.evaluation.status for entry in entries} <= {"ok", "diverged"}
    varied = [(entry.genes, entries[entry.start_from or 0].genes) for entry in entries if entry.operators]
    assert varied
    assert all(child[3] == source[3] and child[0] != source[0] for child, source in varied)


@pytest.mark.parametrize("trainer", ["reference", "population"])
def test_the_winners_schedule_trained_again_gives_the_winner(here: Path, trainer: str) -> None:
    precise = ["--set", "training.precision=fp32"] if trainer == "population" else []
    call("run", "small.toml", "--name", "small", "--set", f"training.trainer={trainer}", *precise)
    made = json.loads(call("replay", "small", "--json"))
    assert len(made["schedule"]) == len(made["lineage"]) >= 2
    assert [part["epochs"] for part in made["schedule"]] == list(range(1, len(made["lineage"]) + 1))
    assert made["replayed"] == pytest.approx(made["recorded"], rel=1e-3)
    if trainer == "reference":
        assert made["replayed"] == made["recorded"]
        assert made["same_weights"] is True
        said = call("replay", "small")
        assert "bit for bit those of its checkpoint" in said
        assert "up to epoch 1: lr" in said
    final = json.loads(Path("runs/small/best.json").read_text())
    assert [epochs for _, epochs in final["schedule"]] == [part["epochs"] for part in made["schedule"]]
    assert Path("runs/small/lineage.png").exists()
    assert "no checkpoint of it" in _replayed_without_checkpoints()


def _replayed_without_checkpoints() -> str:
    for path in Path("runs/small/checkpoints").iterdir():
        path.unlink()
    return call("replay", "small")


KILLED = """
import sys, time

from continuing import Creeping
from deap_hpo import Float, ProcessExecutor, optimize
from deap_hpo.training.checkpoints import FolderCheckpoints

class Slow(Creeping):
    def evaluate(self, request):
        time.sleep(float(sys.argv[1]))
        return super().evaluate(request)

def run(name, executor=None):
    evaluate = Slow(FolderCheckpoints(f"runs/{name}/checkpoints"))
    options = {"algorithm": "pbt", "population": 6, "generations": 4, "seed": 1, "progress": False, "resume": True}
    options |= {"name": name, "storage": "runs/studies.db", "executor": executor}
    optimize(evaluate, {"x": Float(0.0, 8.0)}, **options)

if __name__ == "__main__":
    run("killed", ProcessExecutor(2))
"""


def test_killed_with_kill_9_again_and_again_it_ends_the_same_weights_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(KILLED)
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("script")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(ROOT)])}
    for wait in (0.0, 0.25):
        before = count_recorded("killed")
        process = subprocess.Popen([sys.executable, "script.py", "0.3"], env=environment)  # slow enough to be caught
        wait_until_recorded(before + 7, process, "killed")  # in the second generation, and in the third
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert 14 <= count_recorded("killed") < 24
    monkeypatch.setattr(sys, "argv", ["script.py", "0"])
    ended = []
    for name in ("whole", "killed"):
        made.run(name)
        entries = load_study(name, "runs/studies.db").entries
        kept = sorted(path.name for path in Path(f"runs/{name}/checkpoints").iterdir())
        ended.append(([(e.genes, e.start_from, e.evaluation.values, e.evaluation.checkpoint) for e in entries], kept))
    assert len(ended[0][0]) == 24
    assert ended[0] == ended[1]


@pytest.mark.usefixtures("no_figures")
def test_a_limit_of_checkpoints_says_what_it_drops_and_changes_nothing_else(here: Path) -> None:
    call("run", "small.toml", "--name", "whole")
    size = max(path.stat().st_size for path in Path("runs/whole/checkpoints").iterdir())
    limit = ("--set", f"execution.checkpoint_limit={2 * size}")
    said = CliRunner().invoke(app, ["run", "small.toml", "--name", "tight", *limit]).stderr
    assert re.search(r"^Warning: \d of \d checkpoints \([\d,]+ of [\d,]+ bytes\) in .* were dropped", said, re.M)
    assert f"limit of {2 * size:,} bytes" in said
    assert sum(path.stat().st_size for path in Path("runs/tight/checkpoints").iterdir()) <= 2 * size
    whole, tight = (load_study(name, "runs/studies.db").entries for name in ("whole", "tight"))
    assert [(e.genes, e.start_from, e.evaluation.values, e.evaluation.checkpoint) for e in tight] == [
        (e.genes, e.start_from, e.evaluation.values, e.evaluation.checkpoint) for e in whole
    ]
    assert Path("runs/tight/best.safetensors").read_bytes() == Path("runs/whole/best.safetensors").read_bytes()


def test_lineages_are_tabled_and_drawn_the_same_byte_for_byte(tmp_path: Path) -> None:
    space = Space({"x": Float(0.01, 20.0, log=True), "kind": Categorical(["a", "b"])})

    def individual(x: float, epochs: int, start: int | None = None) -> Any:
        one = Individual([space["x"].encode(x), 0.2])
        one.epochs, one.start_from = epochs, start
        return one

    with Study(space) as study:
        study.map(Creeping(), [individual(4.0, 2), individual(2.0, 2), individual(20.0, 2)])
        study.map(Creeping(), [individual(1.0, 3, 0), individual(0.1, 4, 1)])
    table = lineage_table(list(study.record), space)
    assert table["founder"].tolist() == [0, 1, 2, 0, 1]
    assert table["start_epoch"].tolist() == [0, 0, 0, 2, 2]
    assert table["epoch"].tolist() == [2, 2, 2, 3, 4]
    assert table.loc[table["winner"], "number"].tolist() == [1, 4]
    assert table["value"].isna().tolist() == [False, False, True, False, False]
    figure = plot_lineage(table, space)
    drawn = figure.axes[0].lines[0].get_xydata().tolist()
    assert [row[0] for row in drawn] == [0, 2, 2, 4]
    assert [row[1] for row in drawn] == pytest.approx([2.0, 2.0, 0.1, 0.1])
    first, second = ([p.read_bytes() for p in save(plot_lineage(table, space), tmp_path / f)] for f in ("a/l", "b/l"))
    assert first == second
    assert lineage_table([], space).empty


@pytest.mark.parametrize(("direction", "scale"), [("minimize", "log"), ("maximize", "linear")])
def test_losses_are_coloured_by_their_logarithm_and_accuracies_by_themselves(direction: Any, scale: str) -> None:
    space = Space({"x": Float(0.01, 20.0, log=True)})
    with Study(space) as study:
        study.map(Creeping(), [Individual([space["x"].encode(x)]) for x in (1.0, 2.0, 4.0)])
    figure = plot_lineage(lineage_table(list(study.record), space), space, direction=direction)
    assert figure.axes[-1].get_yscale() == scale
