"""How a command ends: one sentence, an exit code that scripts know, and no password."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import typer

from deap_hpo.commands.exits import reporting
from deap_hpo.errors import InputError


def _interrupted_by(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_says_how_to_go_on(number: int, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(typer.Exit) as ended, reporting(False, "deap-hpo resume quick"):
        _interrupted_by(number)
    assert ended.value.exit_code == code
    assert "every finished evaluation is on record. Continue with: deap-hpo resume quick" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def _breaking(stop: BaseException) -> None:
    """Do what a library may do when it is interrupted: raise its own error instead."""
    try:
        raise stop
    finally:
        raise AssertionError("half done")


def test_an_error_that_a_library_made_of_an_interruption_is_one(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, reporting(False):
        _breaking(KeyboardInterrupt())
    assert ended.value.exit_code == 130
    assert "Interrupted" in capfd.readouterr().err
    with pytest.raises(typer.Exit), reporting(False), reporting(False, "deap-hpo resume quick"):
        _breaking(KeyboardInterrupt())
    assert capfd.readouterr().err.count("Interrupted") == 1, "the inner one has told it"
    with pytest.raises(AssertionError, match="half done"), reporting(False):
        _breaking(OSError())


def test_wrong_input_is_one_sentence_with_its_brackets(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, reporting(False):
        raise InputError("pip install 'deap-hpo[ray]'.")
    assert ended.value.exit_code == 2
    assert capfd.readouterr().err == "Error: pip install 'deap-hpo[ray]'.\n"


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(typer.Exit) as ended, reporting(False):
        (tmp_path / "file" / "figures").mkdir(parents=True)
    assert ended.value.exit_code == 2
    assert capfd.readouterr().err == f"Error: {tmp_path}/file/figures could not be used: Not a directory.\n"
    with pytest.raises(OSError, match="of the program"), reporting(False):
        raise OSError("of the program")
