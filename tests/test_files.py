"""Files are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from deap_hpo.files import write_text, written_whole


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
