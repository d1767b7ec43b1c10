"""Compare search strategies on tabulated training runs: python benchmarks/strategies.py --data DIR --jobs 2.

DIR holds `hpo_bench.py` and its data. Prints, per budget, the normalised regret of the incumbent (0 is the best known
configuration, 1 the median of random ones; mean over problems and seeds, 95 % bootstrap interval), the mean rank among
the methods, and the CPU milliseconds per proposal. Runs are added to `--output` as they finish, so that a stopped
command continues where it was; `--fresh METHOD` discards those of a method. Other packages' methods need
pip install "deap-hpo[benchmarks]".
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Small matrices, and one process per job.

import argparse
import csv
import importlib.util
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from scipy.stats import rankdata
from search_methods import DEFAULT, METHODS, missing_package

from deap_hpo.search_space.space import Float, Int, Space

Run = dict[str, Any]
CURVE = (
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    12,
    15,
    20,
    25,
    30,
    40,
    50,
    60,
    80,
    100,
    120,
    150,
    200,
)  # Evaluations, for `--curves`.


class BudgetSpent(Exception):
    """The evaluations of a run are used up."""


class Objective:
    """Evaluates batches of hyperparameters on a problem, counts them, and keeps the incumbents.

    Args:
        problem: A problem of `hpo_bench`.
        budget: Number of evaluations, after which a call raises `BudgetSpent`.
        noise: None, or a seed: each evaluation then returns one training run drawn at random, if the problem has
            several. Incumbents are chosen by the returned losses, and judged by the mean over the training runs.
    """

    def __init__(self, problem: Any, budget: int, noise: int | None) -> None:
        self.space = Space(
            {
                name: Int(int(low), int(high), log) if integer else Float(low, high, log)
                for name, low, high, log, integer in problem.space
            }
        )
        self.incumbents: list[tuple[int, float]] = []  # (evaluations, regret) at every change.
        self.seconds = 0.0
        self._problem, self._budget = problem, budget
        self._noise = None if noise is None else np.random.default_rng(noise)
        self._count, self._best = 0, np.inf

    def __call__(self, batch: list[dict[str, Any]]) -> list[float]:
        """Return the losses of a batch; a batch that reaches the budget is cut to it and raises `BudgetSpent`."""
        start = process_time()
        losses = [self._evaluate(params) for params in batch[: self._budget - self._count]]
        self.seconds += process_time() - start
        if self._count == self._budget:
            raise BudgetSpent
        return losses

    def _evaluate(self, params: dict[str, Any]) -> float:
        genome = self._problem.encode([[float(params[name]) for name in self.space]])[0]
        loss = self._problem(genome)
        seen = loss if self._noise is None else self._problem(genome, seed=int(self._noise.integers(1000)))
        self._count += 1
        if seen < self._best:
            self._best = seen
            self.incumbents.append((self._count, float(self._problem.regret(loss))))
        return seen


def load_problems(data: Path) -> Any:
    """Import `hpo_bench` from its folder."""
    specification = importlib.util.spec_from_file_location("hpo_bench", data / "hpo_bench.py")
    if specification is None or specification.loader is None or not (data / "hpo_bench.py").exists():
        sys.exit(f"--data must be the folder of hpo_bench.py; there is none in {data}.")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def run(data: Path, method: str, problem: str, seed: int, batch_size: int, budget: int, noise: bool) -> Run:
    """Let a method spend a budget on a problem."""
    objective = Objective(load_problems(data).problem(problem), budget, seed if noise else None)
    importlib.import_module(METHODS[method].module)  # The import should not count as time of a proposal.
    start = process_time()
    with suppress(BudgetSpent):
        METHODS[method].function(objective.space, objective, budget=budget, batch_size=batch_size, seed=seed)
    seconds = process_time() - start - objective.seconds
    return {
        "method": method,
        "problem": problem,
        "seed": seed,
        "batch_size": batch_size,
        "noise": noise,
        "budget": budget,
        "milliseconds": round(1000 * seconds / budget, 3),
        "incumbents": [[count, float(f"{regret:.4g}")] for count, regret in objective.incumbents],
    }


def key(run: Run) -> tuple[Any, ...]:
    return run["method"], run["problem"], run["seed"], run["batch_size"], run["noise"]


def read_runs(path: Path, fresh: list[str]) -> dict[tuple[Any, ...], Run]:
    """Return the runs on file, after removing those of the methods in `fresh` from it."""
    if not path.exists():
        return {}
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")]  # A kill may have cut the last one.
    runs = {key(run): run for run in map(json.loads, lines) if run["method"] not in fresh}
    path.write_text("".join(json.dumps(run) + "\n" for run in runs.values()))
    return runs


def complete_runs(arguments: argparse.Namespace, problems: list[str]) -> dict[tuple[Any, ...], Run]:
    """Do the runs that are not on file yet and whose packages are installed, and return all."""
    budget, seeds = max(arguments.budgets), range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = read_runs(arguments.output, arguments.fresh)
    wanted = [
        (method, problem, seed, arguments.batch_size, arguments.noise)
        for seed, problem, method in itertools.product(seeds, problems, arguments.methods)
    ]
    todo = [one for one in wanted if one not in runs or runs[one]["budget"] < budget]
    missing = {method: package for method in {one[0] for one in todo} if (package := missing_package(method))}
    for method, package in missing.items():
        print(f"{method} is left out: not all of its runs are on file, and {package} is not installed.")
    todo, wanted = ([one for one in some if one[0] not in missing] for some in (todo, wanted))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    calls = [(arguments.data, *one[:4], budget, one[4]) for one in todo]
    runs |= {key(done): done for done in kept_as_they_finish(run, calls, arguments.jobs, arguments.output)}
    return {one: runs[one] for one in wanted}


def kept_as_they_finish(
    function: Callable[..., Run], calls: Sequence[tuple[Any, ...]], jobs: int, output: Path
) -> Iterator[Run]:
    """Call a function in several processes, and yield each result once it is written to a file as a line."""
    with ProcessPoolExecutor(jobs) as pool, output.open("a") as file:
        futures = [pool.submit(function, *call) for call in calls]
        for number, future in enumerate(as_completed(futures), 1):
            done = future.result()
            file.write(json.dumps(done) + "\n")
            file.flush()
            print(f"{number}/{len(calls)} runs", end="\r", file=sys.stderr, flush=True)
            yield done


def regret_after(run: Run, budget: int) -> float:
    return float([regret for count, regret in run["incumbents"] if count <= budget][-1])


def summarise(runs: dict[tuple[Any, ...], Run], budgets: list[int], resamples: int = 2000) -> Iterator[Run]:
    """Yield a row per method and budget: regret, its 95 % bootstrap interval over seeds, mean rank, milliseconds."""
    methods, problems, seeds = (list(dict.fromkeys(one[place] for one in runs)) for place in range(3))
    batch_size, noise = next(iter(runs))[3:]
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(seeds), size=(resamples, len(problems), len(seeds)))
    for budget in budgets:
        regrets = np.array(  # [methods, problems, seeds]
            [
                [[regret_after(runs[m, p, s, batch_size, noise], budget) for s in seeds] for p in problems]
                for m in methods
            ]
        )
        ranks = rankdata(regrets, axis=0).mean((1, 2))
        for method, regret, rank in zip(methods, regrets, ranks, strict=True):
            means = np.take_along_axis(regret[None], drawn, axis=2).mean((1, 2))
            yield {
                "method": method,
                "budget": budget,
                "regret": regret.mean(),
                "low": np.quantile(means, 0.025),
                "high": np.quantile(means, 0.975),
                "rank": rank,
                # The median, because other processes on the machine distort single times.
                "milliseconds": np.median([one["milliseconds"] for one in runs.values() if one["method"] == method]),
            }


def print_table(rows: list[Run], budgets: list[int]) -> None:
    """Print a Markdown table, best regret at the last budget first."""
    by_cell = {(row["method"], row["budget"]): row for row in rows}
    methods = sorted({row["method"] for row in rows}, key=lambda method: by_cell[method, budgets[-1]]["regret"])
    print("| method | " + " | ".join(f"{budget}: regret (95 %), rank" for budget in budgets) + " | ms per proposal |")
    print("| --- |" + " --- |" * (len(budgets) + 1))
    for method in methods:
        cells = [by_cell[method, budget] for budget in budgets]
        shown = [f"{c['regret']:.3f} ({c['low']:.3f}-{c['high']:.3f}), {c['rank']:.2f}" for c in cells]
        print(f"| {method} | " + " | ".join(shown) + f" | {cells[0]['milliseconds']:.2f} |")


def write_table(rows: list[Run], path: Path) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of hpo_bench.py")
    parser.add_argument("--methods", nargs="+", default=DEFAULT, choices=METHODS, metavar="METHOD")
    parser.add_argument("--problems", nargs="+", metavar="PROBLEM", help="default: all")
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budgets", type=int, nargs="+", default=[10, 30, 100, 200])
    parser.add_argument("--batch-size", type=int, default=1, help="proposals made before any of them is evaluated")
    parser.add_argument("--noise", action="store_true", help="each evaluation is one training run, not the mean")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/strategies.jsonl"))
    parser.add_argument("--curves", type=Path, help="write regrets after 1 to 200 evaluations there, for a figure")
    parser.add_argument("--fresh", nargs="+", default=[], metavar="METHOD", help="forget the runs of these methods")
    arguments = parser.parse_args()

    problems = arguments.problems or load_problems(arguments.data).PROBLEMS
    runs = complete_runs(arguments, problems)
    rows = list(summarise(runs, sorted(arguments.budgets)))
    seeds = f"{arguments.seeds} seeds from {arguments.first_seed}"
    print(f"\n{seeds}, {len(problems)} problems, batches of {arguments.batch_size}\n")
    print_table(rows, sorted(arguments.budgets))
    write_table(rows, arguments.output.with_suffix(".csv"))
    if arguments.curves:
        counts = [count for count in CURVE if count <= max(arguments.budgets)]
        columns = ("method", "budget", "regret", "low", "high")
        write_table([{name: row[name] for name in columns} for row in summarise(runs, counts)], arguments.curves)


if __name__ == "__main__":
    main()
