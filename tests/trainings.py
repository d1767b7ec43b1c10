"""Tables of invented trainings whose answer is known, for the tests of hyperparameters' effects and their figures."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from deap_hpo.search_space.space import Float, Space

SPACE = Space({"lr": Float(1e-4, 1.0, log=True), "momentum": Float(0.0, 0.9), "decay": Float(0.0, 1.0)})


def table(loss: str = "additive", rows: int = 80) -> pd.DataFrame:
    """Trainings of an invented network: the learning rate decides most, the weight decay nothing."""
    generator = np.random.default_rng(3)
    genes = generator.random((rows, 3))
    trials = pd.DataFrame([SPACE.decode(row) for row in genes]).add_prefix("params_")
    if loss == "additive":
        logs = 4 * (genes[:, 0] - 0.6) ** 2 + 0.4 * genes[:, 1]
    elif loss == "product":
        logs = 4 * (genes[:, 0] - 0.5) * (genes[:, 1] - 0.5)
    else:
        logs = np.abs(np.log(trials["params_lr"] / (1 - trials["params_momentum"])) - math.log(0.05))
    return trials.assign(value=np.exp(logs), status="ok", sample="sobol")


def repeats(between: float, within: float) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    rows = [
        {"configuration": i, "value": math.exp(between * i + within * generator.normal()), "status": "ok"}
        for i in range(10)
        for _ in range(6)
    ]
    return pd.DataFrame(rows)
