"""Files are written whole or not at all, and where the user says."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded import SPACE, entries

from deap_hpo.configuration.starting import write_starter
from deap_hpo.errors import InputError
from deap_hpo.files import write_text, written_whole
from deap_hpo.plotting.study import plot_slice
from deap_hpo.plotting.style import save
from deap_hpo.recorded import Recorded
from deap_hpo.reports.html import write_report
from deap_hpo.training import idx
from deap_hpo.training.vision import load_data


def test_what_fails_in_the_middle_leaves_nothing_and_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError), written_whole(path) as partial:
        partial.write_text("half \ud800", encoding="utf-8")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("synced", [False, True])
def test_two_writers_leave_the_last_ones_file_whole(tmp_path: Path, synced: bool) -> None:
    path = tmp_path / "notes.txt"
    with written_whole(path, synced=synced) as first, written_whole(path, synced=synced) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_tilde_is_the_home_folder_wherever_files_are_read_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (home / "data").mkdir(parents=True)
    for part in idx._FILES:
        (home / "data" / idx._FILES[part]).touch()
    assert idx.find_fashion_mnist("~/data") == home / "data"
    with pytest.raises(InputError, match=rf"^mnist was not found in {home}/empty, "):
        load_data("mnist", "~/empty")
    study = Recorded("run", ("minimize",), SPACE, entries(), {})
    write_report([study], "~/report.html")
    written = save(plot_slice(study.trials_dataframe(), SPACE), "~/slice", pdf=False)
    code, settings = write_starter("a_task", Path("~/starter"))
    for path in (*written, home / "report.html", code, settings):
        assert path.is_relative_to(home)
        assert path.is_file()
    assert list((tmp_path / "work").iterdir()) == []


def test_who_may_read_a_file_is_not_the_librarys_affair(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with written_whole(tmp_path / "weights") as partial:  # as safetensors does
        partial.unlink()
        partial.touch(mode=0o600)
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "plain").stat().st_mode
