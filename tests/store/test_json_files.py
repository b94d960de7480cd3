"""Records in JSON files: written whole, read whole, or refused by name."""

from pathlib import Path

import pytest
from msgspec import Struct

from kdbench.errors import UserError
from kdbench.store.json_files import load_folder, load_json, save_json


class Note(Struct):
    """A record."""

    text: str


WORDS = {"what": "note", "hint": "write it again"}


def test_a_record_comes_back(tmp_path: Path) -> None:
    save_json(tmp_path / "new" / "a.json", Note("x"))
    assert (tmp_path / "new" / "a.json").read_text() == '{\n "text": "x"\n}\n'
    assert load_json(tmp_path / "new" / "a.json", Note, **WORDS) == Note("x")


def test_records_of_a_folder_in_the_order_of_names(tmp_path: Path) -> None:
    for name in "ba":
        save_json(tmp_path / f"{name}.json", Note(name))
    (tmp_path / "c.txt").write_text("no record")
    assert [note.text for note in load_folder(tmp_path, Note, **WORDS).values()] == ["a", "b"]
    assert load_folder(tmp_path / "none", Note, **WORDS) == {}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "Input data was truncated; write it again"),
        (b'{"text": 3}', r"Expected `str`, got `int`.*; write it again"),
        (b'{"text": "\xff"}', "; write it again"),
        (b"[" * 100_000, "; write it again"),
        (b"<<<<<<< HEAD\n{}", "git checkout --ours"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_a_broken_record_is_refused_by_its_path(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json: no valid note: .*{why}"):
        load_json(path, Note, **WORDS)
    with pytest.raises(UserError) as both:
        load_folder(tmp_path, Note, **WORDS)
    assert len(both.value.problems) == 2


def test_what_is_not_there_and_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_json(tmp_path / "a.json", Note, **WORDS)
    (tmp_path / "a.json").mkdir()
    with pytest.raises(UserError, match=r"directory.*; write it again"):
        load_json(tmp_path / "a.json", Note, **WORDS)
