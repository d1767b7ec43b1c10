"""Find how much ending trainings early could save at most: python benchmarks/oracle.py.

Takes the recorded runs of `surrogate` on whole trainings (results/strategies.jsonl, the learning-curve problems) and
counts their epochs as if an oracle had ended some trainings after a few epochs: just those that do not improve on the
best one so far. The search is told their last losses all the same. No method that looks at losses along the way knows
as much. Prints, for the epochs of `--budget` whole trainings, the mean normalised regret (0 is the best known, 1 the
median of random configurations), and the number of trainings that these epochs pay for.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

EPOCHS = 52


def ended_by_oracle(incumbents: list[list[float]], trainings: int, epochs: int, limit: int) -> tuple[float, int]:
    """Return the regret when the epochs are spent, and the number of trainings by then.

    Args:
        incumbents: The improvements of a run as (number of the training from 1, regret).
        trainings: The trainings of the run.
        epochs: Number of epochs after which the oracle ends a training that is no improvement.
        limit: Number of epochs to spend.
    """
    regrets = {int(number): regret for number, regret in incumbents}
    spent, best = 0, 1.0
    for number in range(1, trainings + 1):
        spent += EPOCHS if number in regrets else epochs
        if spent > limit:
            return best, number - 1
        best = regrets.get(number, best)
    return best, trainings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "strategies.jsonl")
    parser.add_argument("--budget", type=int, default=30, help="whole trainings' epochs")
    arguments = parser.parse_args()
    runs = [
        run
        for run in map(json.loads, arguments.results.read_text().splitlines())
        if run["method"] == "surrogate" and run["problem"].startswith("lcb-")
        if run["batch_size"] == 1 and not run["noise"]
    ]
    print(f"{len(runs)} runs, the epochs of {arguments.budget} whole trainings\n")
    print("| ended after | regret | trainings, median |\n| --- | --- | --- |")
    for epochs in (6, 13, 26, EPOCHS):
        ended = [ended_by_oracle(run["incumbents"], run["budget"], epochs, arguments.budget * EPOCHS) for run in runs]
        regrets, numbers = np.array(ended).T
        print(f"| {epochs} epochs | {regrets.mean():.4f} | {np.median(numbers):.0f} |")


if __name__ == "__main__":
    main()
