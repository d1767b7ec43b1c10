"""An interruption that cannot be raised at once, or would do harm, is raised a little later."""

from __future__ import annotations

import pkgutil
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from signal import SIGINT, SIGTERM, raise_signal
from typing import Any

import optuna
import pytest
import torch
from typer import Exit

from deap_hpo import Float, Space, Task, make_trainer, optimize
from deap_hpo.commands.exits import TERMINATED, _Terminated, reporting
from deap_hpo.configuration.suitability import check_space
from deap_hpo.evolution.individual import Individual
from deap_hpo.execution.executors import SerialExecutor
from deap_hpo.interruption import interruptions_kept, raise_kept, raise_swallowed, undisturbed
from deap_hpo.optimization import Interrupted
from deap_hpo.recorded import load_study
from deap_hpo.steady_study import SteadyStudy
from deap_hpo.study import Study

SPACE = Space({"x": Float(0.0, 1.0)})


class Raises:
    """Raises when it is garbage-collected, like a signal that arrives then."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


class Interrupting:
    """An objective that is interrupted in the garbage collector during a given evaluation."""

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 0

    def __call__(self, params: dict[str, Any]) -> float:
        if self.count == self.number:
            Raises(KeyboardInterrupt())
        self.count += 1
        return float(params["x"])


@pytest.fixture(autouse=True)
def all_is_put_back() -> Iterator[None]:
    before = sys.unraisablehook, signal.getsignal(SIGINT), signal.getsignal(SIGTERM)
    yield
    assert (sys.unraisablehook, signal.getsignal(SIGINT), signal.getsignal(SIGTERM)) == before


def test_a_study_ends_after_the_evaluation_and_resumes(tmp_path: Path) -> None:
    options: dict[str, Any] = {"algorithm": "random", "seed": 1, "name": "cut", "resume": True}
    options["storage"] = f"{tmp_path}/a.db"
    with pytest.raises(Interrupted, match=r" To continue it, start the program or the cell again\.$") as stop:
        optimize(Interrupting(13), SPACE, **options)
    assert len(stop.value.study.record) == 14
    with pytest.raises(Interrupted, match=r" start the program or the cell again, with resume=True\.$"):
        optimize(Interrupting(0), SPACE, **{**options, "name": "other", "resume": False})
    assert len(optimize(Interrupting(-1), SPACE, **options).record) == 100


def test_one_between_two_generations_is_heard_in_the_next() -> None:
    class Once:
        def on_generation(self, study: Study, _: Any) -> None:
            if study.generation == 1:
                Raises(KeyboardInterrupt())

    with pytest.raises(Interrupted) as stop:
        optimize(Interrupting(-1), SPACE, algorithm="random", callbacks=[Once()])
    assert len(stop.value.study.record) == 11


def test_a_program_in_deaps_form_is_interrupted_too() -> None:
    with Study(SPACE, seed=1) as study, pytest.raises(KeyboardInterrupt):
        study.map(Interrupting(1), [Individual([0.1]), Individual([0.2]), Individual([0.3])])
    assert len(study.record) == 2
    with SteadyStudy(SPACE, seed=1) as study, pytest.raises(KeyboardInterrupt):
        list(study.each(Interrupting(1), [Individual([0.1]), Individual([0.2]), Individual([0.3])]))
    assert len(study.record) == 2


def test_it_is_raised_at_the_end_or_before_and_once() -> None:
    with pytest.raises(KeyboardInterrupt), interruptions_kept():
        Raises(KeyboardInterrupt())
    with interruptions_kept():
        raise_kept()
        Raises(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            raise_kept()


def test_another_error_comes_first_and_leaves_nothing_behind() -> None:
    def interrupted_and_wrong() -> None:
        Raises(KeyboardInterrupt())
        raise ValueError("other")

    with pytest.raises(ValueError, match="other"), interruptions_kept():
        interrupted_and_wrong()
    with interruptions_kept():
        raise_kept()


def test_what_is_no_interruption_is_reported_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_value))
        with interruptions_kept():
            Raises(ValueError("in __del__"))
    assert [str(error) for error in seen] == ["in __del__"]


def test_contexts_of_threads_may_overlap() -> None:
    """As they do when runs are evaluated side by side: the first to enter is the first to leave."""
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with interruptions_kept():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait()

    def second() -> None:
        leave.set()
        thread.join()
        Raises(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt), interruptions_kept():
        second()


def test_a_command_says_how_it_was_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit) as ended, reporting(debug=False, resume="deap-hpo resume a"):
        Raises(_Terminated())
    assert ended.value.exit_code == TERMINATED
    assert "Continue with: deap-hpo resume a" in capsys.readouterr().err


def test_the_record_is_whole(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        optimize(Interrupting(2), SPACE, algorithm="random", name="cut", storage=f"{tmp_path}/a.db")
    assert [entry.evaluation.status for entry in load_study("cut", f"{tmp_path}/a.db").entries] == ["ok"] * 3


def test_it_is_put_off_where_it_would_do_harm_and_a_second_one_is_not() -> None:
    done: list[int] = []
    with interruptions_kept():
        with undisturbed():
            raise_signal(SIGINT)
            done.append(1)
        done.append(2)
        with pytest.raises(KeyboardInterrupt):
            raise_kept()
        raise_kept()
        with pytest.raises(KeyboardInterrupt):  # outside of `undisturbed`: at once
            raise_signal(SIGINT)
        with undisturbed():
            raise_signal(SIGINT)
            with pytest.raises(KeyboardInterrupt):
                raise_signal(SIGINT)
        with pytest.raises(KeyboardInterrupt):
            raise_kept()
    assert done == [1, 2]


def test_nothing_is_put_off_where_nothing_would_raise_it() -> None:
    with pytest.raises(KeyboardInterrupt), undisturbed():
        raise_signal(SIGINT)


def test_handlers_of_others_are_called_and_put_back() -> None:
    called: list[int] = []
    before = signal.signal(SIGTERM, lambda number, _: called.append(number))
    try:
        with interruptions_kept():
            with undisturbed():
                raise_signal(SIGTERM)
                assert called == []
            raise_kept()
            assert called == [SIGTERM]
            raise_signal(SIGTERM)
        raise_signal(SIGTERM)
        assert called == [SIGTERM] * 3
        with interruptions_kept():  # as ray.init() does
            other = signal.signal(SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(SIGTERM) == signal.SIG_IGN
        assert other != before
    finally:
        signal.signal(SIGTERM, before)


def test_a_handler_that_was_left_behind_does_not_call_itself() -> None:
    before = signal.getsignal(SIGINT)
    with interruptions_kept():
        left = signal.getsignal(SIGINT)
    try:
        signal.signal(SIGINT, left)
        with interruptions_kept(), pytest.raises(KeyboardInterrupt):
            raise_signal(SIGINT)
        assert signal.getsignal(SIGINT) == before
    finally:
        signal.signal(SIGINT, before)


@pytest.mark.parametrize("trainer", ["reference", "population"])
def test_a_training_is_interrupted_between_two_steps(digits_task: Task, trainer: str) -> None:
    """Within a step, torch would stay inside a transformation: without gradients for the rest of the process."""
    states: list[bool] = []

    def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(output) == 64:  # of a step, not of a measurement
            if len(states) == 4:
                raise_signal(SIGINT)
            states.append(torch.is_grad_enabled())
        return torch.nn.functional.cross_entropy(output, targets)

    task = replace(digits_task, loss=loss)
    made = make_trainer(task, trainer=trainer, device="cpu", epochs=2)
    space = Space({"lr": Float(1e-3, 0.1, log=True)})
    with pytest.raises(Interrupted) as stop:
        optimize(made, space, algorithm="random", population=2, generations=1, seed=1)
    assert len(states) == 5  # the step in which it came was done, and no other one
    assert len(stop.value.study.record) == 0
    assert torch.is_grad_enabled()
    again = optimize(made, space, algorithm="random", population=2, generations=1, seed=1)
    assert all(entry.evaluation.status == "ok" for entry in again.record)


def test_a_study_that_is_interrupted_as_it_is_made_leaves_its_name_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **named: Any) -> Any:
        raise_signal(SIGINT)
        return create(*arguments, **named)

    create = optuna.create_study
    options: dict[str, Any] = {"algorithm": "random", "generations": 1, "name": "a", "storage": f"{tmp_path}/a.db"}
    monkeypatch.setattr(optuna, "create_study", interrupted)
    with pytest.raises(Interrupted) as stop:
        optimize(Interrupting(-1), SPACE, **options)
    assert len(stop.value.study.record) == 1
    monkeypatch.undo()
    assert len(optimize(Interrupting(-1), SPACE, resume=True, **options).record) == 10


def test_a_measurement_is_interrupted_between_two_batches(digits_task: Task) -> None:
    calls: list[int] = []

    def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            if len(calls) == 1:
                raise_signal(SIGINT)
            calls.append(len(output))
        return torch.nn.functional.cross_entropy(output, targets)

    task = replace(digits_task, loss=loss, evaluation_batch_size=20)  # of 200 examples
    with interruptions_kept(), pytest.raises(KeyboardInterrupt):
        make_trainer(task, device="cpu", epochs=1)({"lr": 0.1})
    assert calls == [20, 20]


def test_a_network_is_built_whole(digits_task: Task) -> None:
    """Initial weights are drawn without gradients; an interruption could leave gradients switched off."""
    built: list[int] = []

    def model() -> torch.nn.Module:
        raise_signal(SIGINT)
        built.append(1)
        return digits_task.model()

    task = replace(digits_task, model=model)
    with pytest.raises(KeyboardInterrupt), interruptions_kept():
        make_trainer(task, trainer="population", device="cpu", epochs=1)({"lr": 0.1})
    assert built == [1]
    with pytest.raises(KeyboardInterrupt), interruptions_kept():
        check_space(task, Space({"lr": Float(1e-3, 0.1)}))
    assert built == [1, 1]


@pytest.mark.parametrize("place", ["optuna.Study.add_trial", "deap_hpo.training.checkpoints.MemoryCheckpoints.collect"])
def test_the_record_is_written_whole_and_old_checkpoints_are_dropped_whole(
    place: str, monkeypatch: pytest.MonkeyPatch, digits_task: Task
) -> None:
    owner, _, name = place.rpartition(".")
    true = getattr(pkgutil.resolve_name(owner), name)
    done: list[int] = []

    def interrupted(*arguments: Any, **named: Any) -> Any:
        raise_signal(SIGINT)
        result = true(*arguments, **named)
        done.append(1)
        return result

    monkeypatch.setattr(place, interrupted)
    trainer = make_trainer(digits_task, device="cpu", epochs=1)
    with pytest.raises(Interrupted):
        optimize(trainer, Space({"lr": Float(1e-3, 0.1)}), algorithm="random", population=2, generations=2)
    assert done == [1]


def test_a_study_that_is_interrupted_as_it_is_closed_is_unlocked(tmp_path: Path) -> None:
    class Interrupting(SerialExecutor):
        def close(self) -> None:
            raise_signal(SIGINT)

    options: dict[str, Any] = {"name": "a", "storage": tmp_path / "a.db", "resume": True}
    with pytest.raises(KeyboardInterrupt), interruptions_kept():
        Study(SPACE, executor=Interrupting(), **options).close()
    Study(SPACE, **options).close()


def test_an_interruption_that_has_ended_what_it_was_in_is_not_raised_again() -> None:
    with pytest.raises(KeyboardInterrupt), interruptions_kept():
        signal.raise_signal(signal.SIGINT)
    raise_swallowed()
