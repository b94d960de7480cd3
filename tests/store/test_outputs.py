"""Files that a person names: a link, a device, a pipe and a mode stay what they are."""

import os
import stat
import threading
from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.store.outputs import read_text, write_output


def test_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_output(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_link_to_a_file_that_is_not_there_yet_makes_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("later")
    write_output(tmp_path / "link", b"new")
    assert (tmp_path / "later").read_text() == "new"


def test_links_in_a_circle_are_one_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match="a: cannot be written"):
        write_output(tmp_path / "a", b"new")


@pytest.mark.parametrize("mode", [0o664, 0o600])
def test_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "report.md"
    path.write_text("old")
    path.chmod(mode)
    write_output(path, b"new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", mode)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    path.write_text("old")
    os.chown(path, 1234, 2345)
    write_output(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a device")
def test_device_is_written_in_place(tmp_path: Path) -> None:
    null = tmp_path / "null"
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    write_output(null, b"new")
    assert stat.S_ISCHR(null.stat().st_mode)


def test_pipe_is_written_in_place(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_output(pipe, b"new")
    reader.join()
    assert read == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_text_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "latin.md"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"latin\.md: not UTF-8 text: .*; save it as UTF-8"):
        read_text(path)
