"""A short run of the fault script: nothing acknowledged is lost, and every run ends as if no fault had occurred."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[1] / "benchmarks" / "faults.py"


@pytest.mark.skipif(sys.platform != "linux", reason="counts on signals, /proc and file-size limits")
def test_no_fault_costs_an_acknowledged_evaluation() -> None:
    done = subprocess.run([sys.executable, str(FAULTS), "--short"], capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 11
    for _, times, runs, identical, lost in rows:
        assert int(times) >= 1
        assert int(identical) == int(runs) >= 1
        assert int(lost) == 0
