"""What is asked of an evaluation and what it answers: the words that study, executors and trainers share.

Nothing here knows of DEAP, of torch, or of storage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["minimize", "maximize"]
Status = Literal["ok", "pruned", "diverged", "failed", "infeasible"]

BEST_EPOCH = "best_epoch"  # the metric that says which epoch a network is judged after, where that is its best one
TIMED_OUT = "Time limit"  # how the error of an evaluation that was ended for its duration begins


@dataclass(frozen=True)
class Request:
    """One evaluation to be done.

    Attributes:
        number: Running number of the evaluation in its run, from 0.
        params: Decoded hyperparameters by name (or the bare individual, where the study has no space).
        seed: Seed of everything random in the evaluation, 0 <= seed < 2**32.
        limits: Values by epoch: an evaluation that reports a worse one there is ended, as "pruned".
        epochs: Total epochs of the training when the evaluation is done, those before its start included; None for the
            evaluator's own number.
        start_from: Reference of the checkpoint to go on from, in the evaluator's `checkpoints`; None to start afresh.
        keep: Whether to leave a checkpoint, from which another evaluation can go on.
    """

    number: int
    params: Any
    seed: int
    limits: Mapping[int, float] = field(default_factory=dict)
    epochs: int | None = None
    start_from: str | None = None
    keep: bool = False


@dataclass(frozen=True)
class Epoch:
    """Measurements at the end of one training epoch; losses are means per example.

    Attributes:
        epoch: Epochs trained so far, from 1.
        training_loss: Mean loss of the epoch's training batches, as seen during training (dropout on); NaN where a
            function reported the epoch.
        validation_loss: Mean loss on the validation split; of a function, the value that it reported.
        metrics: Further metrics on the validation split, such as ``{"accuracy": 0.91}``.
        seconds: Wall-clock seconds spent in the epoch, validation included.
    """

    epoch: int
    training_loss: float
    validation_loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """What came of one evaluation.

    Attributes:
        values: Objective values, one per objective; ``inf`` (the worst, when minimising) where there is none.
            Never NaN: DEAP would rank a NaN as the best about half of the time.
        status: "ok"; "pruned" when it was ended early, with the value it had by then; "diverged" when the training
            loss stopped being finite; "failed" when it raised, ran out of time, or lost its worker too often;
            "infeasible" when it was known beforehand to break a constraint, and was not begun.
        curve: Measurements per epoch trained here, in order; epochs before its start are not repeated.
        metrics: Final metrics besides the objective, such as ``{"accuracy": 0.91}``.
        seconds: Wall-clock seconds of the evaluation.
        environment: Where a training ran: its device, the device's name, precision, version of torch.
        error: Why a failed evaluation failed, usually a traceback; or which objective of a training that ended well
            is no finite number; else an empty string.
        retries: How often it was started again because the process or machine that did it was lost.
        checkpoint: Reference of the checkpoint that it left, if it was asked to.
        violation: How far it breaks its constraints, at least 0: the sum of the relative excesses; 0 where it keeps
            them all, or there are none.
        notes: Texts by name that a function gave with its metrics, such as the path of a checkpoint of its own.

    Raises:
        ValueError: A value is NaN, or there is none; or the violation is negative or NaN.

    Example:
        >>> Evaluation((0.31,)).value
        0.31
        >>> Evaluation((float("nan"),))
        Traceback (most recent call last):
            ...
        ValueError: values must be numbers other than NaN, at least one; got (nan,). A worst value is inf.
    """

    values: tuple[float, ...]
    status: Status = "ok"
    curve: tuple[Epoch, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    environment: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    retries: int = 0
    checkpoint: str | None = None
    violation: float = 0.0
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.values or any(math.isnan(value) for value in self.values):
            raise ValueError(
                f"values must be numbers other than NaN, at least one; got {self.values}. A worst value is inf."
            )
        if not self.violation >= 0:
            raise ValueError(f"violation must be a number of at least 0; got {self.violation}.")

    @property
    def value(self) -> float:
        """The first (often the only) objective value."""
        return self.values[0]

    @property
    def kept_epoch(self) -> Epoch | None:
        """The epoch that its network is judged after: the last, or the best where the trainer keeps that one.

        None where there are none, or of several trainings each has a best one of its own.
        """
        if f"{BEST_EPOCH}_std" in self.metrics:
            return None
        best = self.metrics.get(BEST_EPOCH)
        return next((epoch for epoch in self.curve if epoch.epoch == best), self.curve[-1] if self.curve else None)

    @property
    def feasible(self) -> bool:
        """Whether it ended well, with finite values, and breaks no constraint; only such can be the best."""
        return self.status == "ok" and self.violation == 0 and all(map(math.isfinite, self.values))

    @property
    def trained_epochs(self) -> int:
        """Epochs that it cost: those on its curve, and the one in which it diverged or failed.

        What has metrics all the same had all its epochs: one of them is no finite number.
        """
        return len(self.curve) + (self.status in ("diverged", "failed") and not self.metrics)

    @property
    def reason(self) -> str:
        """Why it failed, in a line: of a traceback the first line of its message, and the next after a colon."""
        lines = self.error.strip().splitlines() or ["no reason given"]
        last_call = max((i for i, line in enumerate(lines) if line.startswith('  File "')), default=-1)
        first = next((i for i, line in enumerate(lines) if i > last_call and not line.startswith(" ")), len(lines) - 1)
        more = lines[first + 1].strip() if lines[first].endswith(":") and first + 1 < len(lines) else ""
        return f"{lines[first]} {more}".rstrip()

    @property
    def timed_out(self) -> bool:
        """Whether it failed because its time was up."""
        return self.status == "failed" and self.error.startswith(TIMED_OUT)


def sign_of(direction: Direction) -> int:
    """Give what makes a cost of a value, which is the better the lower it is, by multiplication: 1 or -1.

    Example:
        >>> sign_of("minimize"), sign_of("maximize")
        (1, -1)
    """
    return 1 if direction == "minimize" else -1


def failure(error: str, seconds: float = 0.0) -> Evaluation:
    """Give the evaluation that stands for one that could not be done."""
    return Evaluation(values=(math.inf,), status="failed", seconds=seconds, error=error)
