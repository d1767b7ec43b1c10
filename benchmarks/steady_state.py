"""Compare generations with a steady state, in simulated time: python benchmarks/steady_state.py --data DIR --jobs 2.

DIR holds `hpo_bench.py` and its data (see `strategies.py`). Workers are simulated: the time of an evaluation is drawn
from a log-normal distribution with median 1 (`--spread` is the standard deviation of its logarithm), and then its
worker takes the next one; proposing takes no time. Prints, per variant, how busy the workers are until 100 evaluations
are done, and the normalised regret of the incumbent at the times at which workers that never wait have done 30, 60 and
90 evaluations (0 is the best known configuration, 1 the median of random ones; mean over problems and seeds, 95 %
bootstrap interval over seeds). Runs are added to `--output` as they finish, so that a stopped command continues where
it was.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Small matrices, and one process per job.

import argparse
import heapq
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from strategies import kept_as_they_finish, load_problems

from deap_hpo import Float, Int, Space, optimize
from deap_hpo.evaluation import Evaluation, Request
from deap_hpo.evaluator import Evaluate, evaluate_one

Run = dict[str, Any]
BUDGET = 100  # evaluations
TIMES = (30, 60, 90)  # in evaluations done by workers that never wait
VARIANTS: dict[str, dict[str, Any]] = {
    "generations of 8": {"population": 8},
    "generations of 16": {"population": 16},
    "steady state of 8": {"population": 8, "steady_state": True},
    "steady state of 12": {"population": 12, "steady_state": True},
    "steady state of 16": {"population": 16, "steady_state": True},
    "random, steady state of 16": {"population": 16, "steady_state": True, "algorithm": "random"},
}
AHEAD = "steady state of 12"


class SimulatedWorkers:
    """An executor whose workers take simulated time.

    Args:
        workers: Number of workers.
        spread: Standard deviation of the logarithm of an evaluation's time, whose median is 1.
        seed: Seed of these times.
    """

    in_process = True

    def __init__(self, workers: int, spread: float, seed: int) -> None:
        self._workers, self._spread, self._seed = workers, spread, seed
        self._now = 0.0
        self.ends: list[tuple[float, float]] = []  # (time, value) of each evaluation
        self.work = 0.0

    def run(self, evaluate: Evaluate, requests: Sequence[Request]) -> Iterator[tuple[int, Evaluation]]:
        """Yield (position in `requests`, evaluation) in the order in which the workers finish them."""
        begun, busy = 0, list[tuple[float, int]]()
        while busy or begun < len(requests):  # requests may be added meanwhile
            while len(busy) < self._workers and begun < len(requests):
                rng = np.random.default_rng([self._seed, requests[begun].number])
                seconds = float(rng.lognormal(0.0, self._spread))
                self.work += seconds
                heapq.heappush(busy, (self._now + seconds, begun))
                begun += 1
            self._now, position = heapq.heappop(busy)
            evaluation = evaluate_one(evaluate, requests[position])
            self.ends.append((self._now, evaluation.value))
            yield position, evaluation

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def run(data: Path, variant: str, problem_name: str, seed: int, workers: int, spread: float) -> Run:
    """Let a variant do its evaluations on a problem."""
    problem = load_problems(data).problem(problem_name)
    space = Space(
        {
            name: Int(int(low), int(high), log) if integer else Float(low, high, log)
            for name, low, high, log, integer in problem.space
        }
    )

    def loss(params: dict[str, Any]) -> float:
        return float(problem(problem.encode([[float(params[name]) for name in space]])[0]))

    executor = SimulatedWorkers(workers, spread, seed)
    optimize(loss, space, executor=executor, seed=seed, max_evaluations=BUDGET, progress=False, **VARIANTS[variant])
    mean = float(np.exp(spread**2 / 2))
    values = np.array([value for _, value in executor.ends])
    ends = np.array([end for end, _ in executor.ends])
    incumbents = [values[ends <= time * mean / workers].min(initial=np.inf) for time in TIMES]
    return {
        "variant": variant,
        "problem": problem_name,
        "seed": seed,
        "workers": workers,
        "spread": spread,
        "busy": round(executor.work / (workers * float(ends.max())), 4),
        "regrets": [float(f"{problem.regret(incumbent):.4g}") for incumbent in incumbents],
    }


def key(run: Run) -> tuple[Any, ...]:
    return run["variant"], run["problem"], run["seed"], run["workers"], run["spread"]


def complete_runs(arguments: argparse.Namespace, problems: list[str]) -> list[Run]:
    """Do the runs that are not on file yet, and return all."""
    lines = arguments.output.read_text().splitlines() if arguments.output.exists() else []
    runs = {key(one): one for one in (json.loads(line) for line in lines if line.endswith("}"))}
    wanted = [
        (variant, problem, seed, arguments.workers, arguments.spread)
        for seed in range(arguments.seeds)
        for problem in problems
        for variant in VARIANTS
    ]
    calls = [(arguments.data, *one) for one in wanted if one not in runs]
    runs |= {key(done): done for done in kept_as_they_finish(run, calls, arguments.jobs, arguments.output)}
    return [runs[one] for one in wanted]


def regrets_of(runs: list[Run], variant: str) -> NDArray[np.float64]:
    """Return the regrets of a variant, [times, problems, seeds]."""
    problems, seeds = (sorted({one[name] for one in runs}) for name in ("problem", "seed"))
    ours = {(one["problem"], one["seed"]): one["regrets"] for one in runs if one["variant"] == variant}
    return np.moveaxis(np.array([[ours[problem, seed] for seed in seeds] for problem in problems]), 2, 0)


def with_interval(values: NDArray[np.float64]) -> str:
    """Write the mean over problems and seeds, and its 95 % bootstrap interval over seeds."""
    drawn = np.random.default_rng(0).integers(values.shape[1], size=(2000, *values.shape))
    low, high = np.quantile(np.take_along_axis(values[None], drawn, axis=2).mean((1, 2)), [0.025, 0.975])
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def print_tables(runs: list[Run]) -> None:
    """Print two Markdown tables: one of all variants, and one of the lead of `AHEAD` over generations."""
    print("| variant | busy | " + " | ".join(f"regret at time {time} (95 %)" for time in TIMES) + " |")
    print("| --- |" + " ---: |" * (len(TIMES) + 1))
    for variant in VARIANTS:
        busy = np.mean([one["busy"] for one in runs if one["variant"] == variant])
        print(f"| {variant} | {busy:.0%} | " + " | ".join(map(with_interval, regrets_of(runs, variant))) + " |")
    print(f"\n| lead of {AHEAD} over | " + " | ".join(f"at time {time}, pair by pair" for time in TIMES) + " |")
    print("| --- |" + " ---: |" * len(TIMES))
    for variant in VARIANTS:
        if variant.startswith("generations"):
            gains = regrets_of(runs, variant) - regrets_of(runs, AHEAD)
            print(f"| {variant} | " + " | ".join(map(with_interval, gains)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of hpo_bench.py")
    parser.add_argument("--problems", nargs="+", metavar="PROBLEM", help="default: all")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument("--workers", type=int, default=8, help="number of simulated workers")
    parser.add_argument("--spread", type=float, default=0.5)
    parser.add_argument("--jobs", type=int, default=1, help="processes of this machine")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/steady_state.jsonl"))
    arguments = parser.parse_args()
    problems = arguments.problems or list(load_problems(arguments.data).PROBLEMS)
    runs = complete_runs(arguments, problems)
    seeds = f"{len(problems)} problems, {arguments.seeds} seeds, {arguments.workers} workers"
    print(f"\n{seeds}, times of spread {arguments.spread}\n")
    print_tables(runs)


if __name__ == "__main__":
    main()
