"""Files written whole or not at all."""

from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.store.files import check_writable, write


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="results: a file, where a folder is kept"):
        check_writable(tmp_path / "results")


def test_folder_that_can_be_written_keeps_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "results")
    assert list((tmp_path / "results").iterdir()) == []


def test_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_write_that_fails_keeps_what_was_there(tmp_path: Path) -> None:
    name = "a" * 250
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(UserError, match="cannot be written: File name too long"):
        write(tmp_path / name, b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"old")]
