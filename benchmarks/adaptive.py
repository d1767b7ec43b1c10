"""Do partial trainings pay? Methods compared by epochs, on learning curves: python benchmarks/adaptive.py --data DIR.

DIR holds `hpo_bench.py` and its data; the problems are surrogates of real learning curves (LCBench), with 52 epochs for
a whole training. Every method gets the epochs of `--budget` whole trainings; a continued training costs its added
epochs.

Prints, per budget, the normalised regret of the best network trained so far, at the epoch that it has reached (0 is the
best known, 1 the median of random configurations; mean over problems and seeds, 95 % bootstrap interval over seeds) and
the mean rank. Also prints the share of the epochs needed to reach the final loss of the paper's genetic algorithm
(median over problems and seeds), and how often it was reached. Population-based training is not among the methods,
because no table has curves of schedules. Runs are added to `--output` as they finish.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from deap import algorithms
from scipy.stats import rankdata
from strategies import load_problems

from deap_hpo.budget import BudgetSpent
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import Evaluator
from deap_hpo.evolution.algorithms import eaTruncation
from deap_hpo.evolution.individual import Individual, make_toolbox
from deap_hpo.evolution.stages import StagedMap
from deap_hpo.search_space.space import Float, Int, Space
from deap_hpo.strategies import make_strategy
from deap_hpo.study import Study

PROBLEMS = ["lcb-3945", "lcb-34539", "lcb-126029", "lcb-167104", "lcb-168868", "lcb-189862"]
EPOCHS = 52
STAGES = [2, 6, 17, 52]  # Hyperband's rungs for eta = 3
Run = dict[str, Any]


class Curves(Evaluator):
    """Answers from a problem's learning curves; a checkpoint is just the number of epochs."""

    shared = True
    epochs = EPOCHS

    def __init__(self, problem: Any) -> None:
        self.checkpoints = self
        self.trained, self.best = 0, math.inf
        self.improvements: list[tuple[int, float]] = []  # (all epochs trained so far, regret)
        self._problem = problem

    def __contains__(self, reference: str) -> bool:
        return True

    def collect(self, needed: Sequence[str]) -> None:
        """Do nothing: there are no files to delete."""

    def evaluate(self, request: Request) -> Evaluation:
        """Look the loss up, and count the added epochs."""
        total = request.epochs or EPOCHS
        self.trained += total - int(request.start_from or 0)
        genome = self._problem.encode([[float(value) for value in request.params.values()]])[0]
        loss = self._problem(genome, epoch=total)
        if loss < self.best:
            self.best = loss
            self.improvements.append((self.trained, float(self._problem.regret(loss))))
        return Evaluation((loss,), checkpoint=str(total))


def truncation(study: Study, toolbox: Any, stages: str | None = None) -> None:
    if stages:
        toolbox.register("map", StagedMap(study.map, STAGES, stages))
    eaTruncation(toolbox.population(n=20), toolbox, 1.0, 1.0, ngen=10**6, verbose=False)


def strategy(study: Study, toolbox: Any, name: str, **arguments: Any) -> None:
    made = make_strategy(name, study.space, seed=study.seed, **arguments)
    toolbox.register("generate", made.generate, Individual)
    toolbox.register("update", made.update)
    algorithms.eaGenerateUpdate(toolbox, ngen=10**6, verbose=False)


METHODS: dict[str, Callable[..., None]] = {
    "truncation": truncation,
    "truncation + median stages": partial(truncation, stages="median"),
    "truncation + halving stages": partial(truncation, stages="halving"),
    "random": partial(strategy, name="random", batch_size=20),
    "surrogate": partial(strategy, name="surrogate", batch_size=4),
    "surrogate, one at a time": partial(strategy, name="surrogate", batch_size=1),
    "freeze-thaw": partial(strategy, name="freeze-thaw", epochs=EPOCHS, batch_size=4),
    "freeze-thaw, one at a time": partial(strategy, name="freeze-thaw", epochs=EPOCHS, batch_size=1),
    "halving": partial(strategy, name="halving", epochs=EPOCHS),
    "hyperband": partial(strategy, name="hyperband", epochs=EPOCHS),
    "dehb": partial(strategy, name="dehb", epochs=EPOCHS),
}
"""The first is the paper's genetic algorithm (population 20, mutation rate 0.1), to which the others are compared."""


def run(problems: Any, method: str, problem: str, seed: int, budget: int) -> Run:
    """Let a method spend the epochs of `budget` whole trainings on a problem."""
    curves = Curves(problems.problem(problem))
    space = Space(
        {
            name: Int(int(low), int(high), log) if integer else Float(low, high, log)
            for name, low, high, log, integer in problems.problem(problem).space
        }
    )
    with Study(space, seed=seed, max_epochs=budget * EPOCHS) as study:
        toolbox = make_toolbox(space, indpb=0.1)
        toolbox.register("evaluate", curves)
        toolbox.register("map", study.map)
        with suppress(BudgetSpent):
            METHODS[method](study, toolbox)
    improvements = [[epochs, float(f"{regret:.5g}")] for epochs, regret in curves.improvements]
    return {"method": method, "problem": problem, "seed": seed, "budget": budget, "improvements": improvements}


def regret_after(run: Run, epochs: float) -> float:
    """Return the regret of the best network after some epochs; 1, that of a median configuration, if there is none."""
    return float([1.0, *(regret for trained, regret in run["improvements"] if trained <= epochs)][-1])


def epochs_to(run: Run, regret: float) -> float:
    """Return the epochs after which a regret was reached; infinity if it never was."""
    return min((trained for trained, reached in run["improvements"] if reached <= regret), default=math.inf)


def summarise(runs: dict[tuple[str, str, int], Run], methods: list[str], budget: int) -> list[Run]:
    """Give a row per method and share of the budget."""
    problems, seeds = sorted({key[1] for key in runs}), sorted({key[2] for key in runs})
    drawn = np.random.default_rng(0).integers(len(seeds), size=(2000, len(problems), len(seeds)))
    shares = {}
    for method in methods:
        reached = [
            epochs_to(runs[method, p, s], regret_after(runs[methods[0], p, s], budget * EPOCHS)) / (budget * EPOCHS)
            for p in problems
            for s in seeds
        ]
        shares[method] = float(np.median(reached)), float(np.mean(np.isfinite(reached)))
    rows = []
    for trainings in sorted({max(1, budget // 10), max(1, 3 * budget // 10), budget}):
        regrets = np.array(
            [[[regret_after(runs[m, p, s], trainings * EPOCHS) for s in seeds] for p in problems] for m in methods]
        )
        ranks = rankdata(regrets, axis=0).mean((1, 2))
        for i, method in enumerate(methods):
            means = np.take_along_axis(regrets[i][None], drawn, axis=2).mean((1, 2))
            low, high = np.quantile(means, (0.025, 0.975))
            share, often = shares[method]
            rows.append(
                {"method": method, "trainings": trainings, "regret": regrets[i].mean(), "low": low, "high": high,
                 "rank": ranks[i], "share": share, "reached": often}
            )  # fmt: skip
    return rows


def print_table(rows: list[Run], first: str) -> None:
    trainings = sorted({row["trainings"] for row in rows})
    cells = {(row["method"], row["trainings"]): row for row in rows}
    print("| method | " + " | ".join(f"{t} trainings' epochs: regret (95 %), rank" for t in trainings), end=" | ")
    print(f"share of the epochs to {first}'s last loss (reached) |\n| --- |" + " --- |" * (len(trainings) + 1))
    for method in sorted({row["method"] for row in rows}, key=lambda one: cells[one, trainings[-1]]["regret"]):
        row = [cells[method, one] for one in trainings]
        shown = [f"{c['regret']:.3f} ({c['low']:.3f}-{c['high']:.3f}), {c['rank']:.2f}" for c in row]
        print(f"| {method} | " + " | ".join(shown) + f" | {row[0]['share']:.2f} ({row[0]['reached']:.0%}) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of hpo_bench.py")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD")
    parser.add_argument("--problems", nargs="+", default=PROBLEMS, metavar="PROBLEM")
    parser.add_argument("--seeds", type=int, default=11)
    parser.add_argument("--budget", type=int, default=100, help="whole trainings' epochs")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/adaptive.jsonl"))
    arguments = parser.parse_args()
    problems = load_problems(arguments.data)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    lines = arguments.output.read_text().splitlines() if arguments.output.exists() else []
    kept = [json.loads(line) for line in lines if line.endswith("}")]
    runs = {(one["method"], one["problem"], one["seed"]): one for one in kept if one["budget"] == arguments.budget}
    with arguments.output.open("a") as file:
        for seed in range(arguments.seeds):
            for problem in arguments.problems:
                for method in arguments.methods:
                    if (method, problem, seed) not in runs:
                        runs[method, problem, seed] = run(problems, method, problem, seed, arguments.budget)
                        file.write(json.dumps(runs[method, problem, seed]) + "\n")
                        file.flush()
    wanted = {key: one for key, one in runs.items() if key[0] in arguments.methods and key[2] < arguments.seeds}
    print(f"{arguments.seeds} seeds, {len(arguments.problems)} problems, {arguments.budget} x {EPOCHS} epochs\n")
    print_table(summarise(wanted, arguments.methods, arguments.budget), arguments.methods[0])


if __name__ == "__main__":
    main()
