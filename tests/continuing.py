"""Evaluators that can continue from checkpoints, cheap and exact: a weight that creeps towards a hyperparameter."""

from __future__ import annotations

import math
from typing import Any

import torch

from deap_hpo.evaluation import Epoch, Evaluation, Request
from deap_hpo.evaluator import Evaluator
from deap_hpo.training.checkpoints import MemoryCheckpoints


class Creeping(Evaluator):
    """Each epoch halves the distance of the weight, from 0, to ``params["x"]``; above 9 it diverges.

    Attributes:
        asked: Numbers of the requests that were done.
    """

    def __init__(self, checkpoints: Any = None, epochs: int = 4) -> None:
        self.checkpoints = checkpoints or MemoryCheckpoints()
        self.epochs = epochs
        self.asked: list[int] = []

    @property
    def settings(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def evaluate(self, request: Request) -> Evaluation:
        self.asked.append(request.number)
        weight, first = 0.0, 0
        if request.start_from is not None:
            state = self.checkpoints.load(request.start_from)
            weight, first = state["weight"].item(), int(state["epochs"])
        curve = []
        total = request.epochs or self.epochs
        for epoch in range(first, total):
            weight += (request.params["x"] - weight) / 2
            if weight > 9:
                return Evaluation((math.inf,), "diverged", tuple(curve))
            curve.append(Epoch(epoch + 1, weight, weight))
        kept = {"weight": torch.tensor(weight, dtype=torch.float64), "epochs": torch.tensor(total)}
        return Evaluation(
            (weight,), curve=tuple(curve), checkpoint=self.checkpoints.save(kept) if request.keep else None
        )


class Interrupted(Creeping):
    """Presses Ctrl-C after `after` evaluations."""

    def __init__(self, checkpoints: Any, after: int) -> None:
        super().__init__(checkpoints)
        self.after = after

    def evaluate(self, request: Request) -> Evaluation:
        if len(self.asked) == self.after:
            raise KeyboardInterrupt
        return super().evaluate(request)
