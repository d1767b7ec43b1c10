"""The arithmetic of benchmarks/ that tables rest on."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from oracle import ended_by_oracle


def test_an_oracle_pays_whole_trainings_for_improvements_only():
    incumbents = [[1, 0.5], [4, 0.1]]  # of six trainings: two of 52 epochs, four of 6
    assert ended_by_oracle(incumbents, trainings=6, epochs=6, limit=52 + 2 * 6 + 52 + 2 * 6) == (0.1, 6)
    assert ended_by_oracle(incumbents, trainings=6, epochs=6, limit=52 + 2 * 6 + 51) == (0.5, 3)
    assert ended_by_oracle(incumbents, trainings=6, epochs=52, limit=3 * 52) == (0.5, 3)
