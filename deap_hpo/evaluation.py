"""The request for an evaluation, and its result: the types that study, executors and trainers share.

Nothing here depends on DEAP, torch or storage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["minimize", "maximize"]
Status = Literal["ok", "pruned", "diverged", "failed", "infeasible"]

BEST_EPOCH = "best_epoch"  # the metric that says after which epoch a network is judged, if that is its best one
TIMED_OUT = "Time limit"  # the start of the error of an evaluation that took too long and was ended


@dataclass(frozen=True)
class Request:
    """A request for one evaluation.

    Attributes:
        number: Running number of the evaluation in its run, from 0.
        params: Decoded hyperparameters by name (or the bare individual, if the study has no space).
        seed: Seed of everything random in the evaluation, 0 <= seed < 2**32.
        limits: Values by epoch: an evaluation that reports a worse value at that epoch is ended as "pruned".
        epochs: Total epochs of the training when the evaluation ends, those before its start included; None for the
            evaluator's own number.
        start_from: Reference of the checkpoint to continue from, in the evaluator's `checkpoints`; None for none.
        keep: Whether to leave a checkpoint from which another evaluation can continue.
        progress: Path of a folder in which it is logged that this is under way; None for nowhere. See
            `deap_hpo.running_evaluations`.
    """

    number: int
    params: Any
    seed: int
    limits: Mapping[int, float] = field(default_factory=dict)
    epochs: int | None = None
    start_from: str | None = None
    keep: bool = False
    progress: str | None = None


@dataclass(frozen=True)
class Epoch:
    """Measurements at the end of one training epoch; losses are means per example.

    Attributes:
        epoch: Epochs trained so far, from 1.
        training_loss: Mean loss of the epoch's training batches, measured during training (dropout on); NaN if a
            function reported the epoch.
        validation_loss: Mean loss on the validation split; for a function, the value that it reported.
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
    """The result of one evaluation.

    Attributes:
        values: Objective values, one per objective; ``inf`` (the worst, when minimising) if there is none.
            Never NaN: DEAP would rank a NaN as the best about half of the time.
        status: "ok"; "pruned" if it was ended early, with its latest value; "diverged" if the training loss or a value
            was not finite; "failed" if it raised, ran out of time, or lost its worker too often; "infeasible" if it was
            known beforehand to break a constraint, and was not started.
        curve: Measurements per epoch trained here, in order; epochs before its start are not repeated.
        metrics: Final metrics besides the objective, such as ``{"accuracy": 0.91}``.
        seconds: Wall-clock seconds of the evaluation.
        environment: Where a training ran: device, name of the device, precision, version of torch.
        error: Why an evaluation failed, usually a traceback; which objective of a function, or of a training that ended
            well, is not finite; or which constraint an infeasible one breaks; otherwise an empty string.
        retries: How often it was started again because its process or machine was lost.
        checkpoint: Reference of the checkpoint that it left, if it was asked to.
        violation: How far it breaks its constraints, at least 0: the sum of the relative excesses; 0 if it satisfies
            them all, or there are none.
        notes: Texts by name that a function returned with its metrics, such as the path of its own checkpoint.

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
        """The epoch after which its network is judged: the last, or the best if the trainer keeps that one.

        None if there are no epochs, or if there were several trainings, each with its own best epoch.
        """
        if f"{BEST_EPOCH}_std" in self.metrics:
            return None
        best = self.metrics.get(BEST_EPOCH)
        return next((epoch for epoch in self.curve if epoch.epoch == best), self.curve[-1] if self.curve else None)

    @property
    def feasible(self) -> bool:
        """Whether it ended well, with finite values, and breaks no constraint; only then can it be the best."""
        return self.status == "ok" and self.violation == 0 and all(map(math.isfinite, self.values))

    @property
    def trained_epochs(self) -> int:
        """Epochs that it cost: those on its curve, and the one in which it diverged or failed.

        If it has metrics, it had all its epochs, and diverged only because an objective is not finite.
        """
        return len(self.curve) + (self.status in ("diverged", "failed") and not self.metrics)

    @property
    def reason(self) -> str:
        """Why it did not end well, in a line; empty if it did.

        Of a traceback, this is the first line of its message, and the next one after a colon.
        """
        if self.status == "ok":
            return ""
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
    """Give the factor, 1 or -1, that turns a value into a cost (lower is better).

    Example:
        >>> sign_of("minimize"), sign_of("maximize")
        (1, -1)
    """
    return 1 if direction == "minimize" else -1


def worst_values(directions: Sequence[Direction]) -> tuple[float, ...]:
    """Give the values of an evaluation that did not end well: infinite, on the bad side of each objective.

    Example:
        >>> worst_values(["minimize", "maximize"])
        (inf, -inf)
    """
    return tuple(sign_of(direction) * math.inf for direction in directions)


def not_finite(values: Sequence[float], names: Sequence[str]) -> str:
    """Say which objective of a function is the first that is not finite.

    Example:
        >>> not_finite([math.nan], ["value"]), not_finite([0.5, math.inf], ["loss", "size"])
        ('the objective was nan', "the objective 'size' was inf")
    """
    name, value = next((name, one) for name, one in zip(names, values, strict=False) if not math.isfinite(one))
    return f"the objective was {value}" if name == "value" else f"the objective {name!r} was {value}"


def failure(error: str, seconds: float = 0.0) -> Evaluation:
    """Give the result of an evaluation that could not be done."""
    return Evaluation(values=(math.inf,), status="failed", seconds=seconds, error=error)
