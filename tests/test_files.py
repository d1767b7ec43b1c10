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
