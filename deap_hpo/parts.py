"""Whether an evaluator can train in parts, as some methods ask."""

from __future__ import annotations

from deap_hpo.errors import InputError
from deap_hpo.evaluator import Evaluator
from deap_hpo.execution.executors import Executor, in_this_process


def check_whole(evaluator: Evaluator, asked_by: str) -> None:
    """Check that an evaluator may train in parts.

    Raises:
        InputError: It needs whole trainings.
    """
    if evaluator.whole_trainings:
        raise InputError(
            f"{asked_by} asks for trainings in parts, which go on from where another one has stopped. A trainer with "
            "keep_best or patience looks at whole trainings; leave them out."
        )


def check_parts(evaluator: Evaluator, executor: Executor | None, asked_by: str) -> None:
    """Check that an evaluator can train in parts, and that its checkpoints can be read wherever it evaluates.

    Args:
        evaluator: The evaluator.
        executor: Where it evaluates; None for this process.
        asked_by: What asks for parts, for the error message.

    Raises:
        InputError: It cannot train in parts, or its checkpoints cannot be read there.

    Example:
        >>> from deap_hpo.evaluator import PlainFunction
        >>> check_parts(PlainFunction(len), None, "Hyperband")
        Traceback (most recent call last):
            ...
        deap_hpo.errors.InputError: Hyperband asks for trainings in parts. That takes a trainer \
(`make_trainer(task)`), or an objective whose function has a parameter named epochs, and one named checkpoint if it \
is to go on where it stopped; got <built-in function len>.
    """
    check_whole(evaluator, asked_by)
    checkpoints = evaluator.checkpoints
    if checkpoints is None and not evaluator.takes_epochs:
        raise InputError(
            f"{asked_by} asks for trainings in parts. That takes a trainer (`make_trainer(task)`), or an objective "
            "whose function has a parameter named epochs, and one named checkpoint if it is to go on where it stopped; "
            f"got {evaluator.brought!r}."
        )
    if checkpoints is not None and not checkpoints.shared and not in_this_process(executor):
        raise InputError(
            "Checkpoints in memory cannot be seen by worker processes: give what evaluates "
            "checkpoints=FolderCheckpoints(folder), or evaluate in this process (SerialExecutor, or an executor of "
            "your own that says in_process = True)."
        )
