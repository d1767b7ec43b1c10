"""A script as a user writes it, in which the tests of changed code change one thing."""

from __future__ import annotations

import textwrap
from typing import Any

BEFORE = """
import math
EPOCHS = 5
calls = 0

class Network:
    depth = 2

    def __init__(self, width=8):
        self.width, self.used = width, 0

    def forward(self, x):
        self.used += 1
        return x * self.width

class Larger(Network):
    pass

def helper(x):
    return x + 1

def train(params, rate=0.1):
    "Says what it does."
    global calls
    calls += 1
    return helper(params["x"]) * EPOCHS * rate + Larger().forward(math.sqrt(2)) + sum(y for y in {1, 2, 3})

def made(factor):
    seen = 0
    def inner(params):
        nonlocal seen
        seen += 1
        return params["x"] * factor
    return inner
"""


def script(before: str = "", after: str = "", source: str = BEFORE) -> dict[str, Any]:
    """The names of a script of the user's, in which one thing has been changed."""
    assert before in source
    names: dict[str, Any] = {"__name__": "script"}
    exec(textwrap.dedent(source.replace(before, after) if before else source), names)
    return names
