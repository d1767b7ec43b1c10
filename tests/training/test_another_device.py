"""Trainers on a device whose tensors do not mix with the CPU's: tests of other files, in a process with that device.

It stands for a GPU where there is none, but for its speed and for what is CUDA's own (graphs, streams, its memory).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
FILES = ("places", "population", "stacked_optimizers", "unlabelled", "averaging", "folds")
LEFT_OUT = (
    "lstm", "Memory",  # the device has no kernel for them
    "nobody_else_is_touched", "is_that_of_torch",  # look at each step, and compare with tensors of the CPU
    "processes",  # other processes have no such device
    "ten_digits",  # slow
    "-8]",  # slow too; other tests train as many with each optimiser, clipped or not
    "batch-norm-free", "transformer-free",  # their clipped ones are there
)  # fmt: skip


BUILDS = shutil.which("c++") and shutil.which("ninja") and Path(sysconfig.get_path("include"), "Python.h").exists()


@pytest.mark.skipif(not BUILDS, reason="needs a C++ compiler, ninja and Python's headers")
def test_trainers_work_on_another_device() -> None:
    files = [str(TESTS / "training" / f"test_{name}.py") for name in FILES]
    chosen = " and ".join(f"not {name}" for name in LEFT_OUT)
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    changed = {"PYTHONPATH": path, "PYTEST_ADDOPTS": "", "DEAP_HPO_TEST_DEVICE": "pretended"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pretended_device", "-p", "no:cacheprovider", *files, "-k", chosen],
        cwd=TESTS.parent, env={**os.environ, **changed},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout[-500:]
    assert int(passed[1]) > 150
