"""Fetching, against a real server on this machine: resuming, mirrors, dangerous archives, offline."""

import io
import socket
import tarfile
import zipfile
from base64 import b64encode
from hashlib import md5, sha256
from pathlib import Path

import pytest

from kdbench.data import download as transfer
from kdbench.data.archive import extract, opened_zip
from kdbench.data.download import download
from kdbench.data.fetch import Fetcher, Official, addresses
from kdbench.data.progress import reporting
from kdbench.errors import UserError, plain, without_passwords
from tests.support.archives import tgz
from tests.support.server import Server

CONTENT = bytes(range(256)) * 4000
FILES = {"fake/train": CONTENT, "fake/test": b"test" * 1000}
LIMIT = 1 << 22


def checksum(content: bytes) -> str:
    return md5(content, usedforsecurity=False).hexdigest()


def packed(*members: tarfile.TarInfo, files: dict[str, bytes] = FILES) -> bytes:
    return tgz(files, *members)


def special(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def official(server: Server, archive: bytes) -> Official:
    files = {name: checksum(content) for name, content in FILES.items()}
    url = server.url("/official/fake.tar.gz")
    return Official(url=url, archive="fake.tar.gz", md5=checksum(archive), files=files)


def bring(server: Server, path: Path, *names: str) -> None:
    download([server.url(name) for name in names], path, checksum(CONTENT), limit=LIMIT)


def test_download_brings_the_whole_file(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    bring(server, tmp_path / "a", "/a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.files["/a"], server.breaks = CONTENT, 2
    bring(server, tmp_path / "a", "/a")
    half, quarter = len(CONTENT) // 2, len(CONTENT) // 4
    assert [span for _, span in server.asked] == [None, f"bytes={half}-", f"bytes={half + quarter}-"]


@pytest.mark.parametrize(
    ("part", "ranges", "spans"),
    [
        (CONTENT[:1000], True, ["bytes=1000-"]),
        (b"x" * 1000, False, ["bytes=1000-"]),
        (b"x" * 1000, True, ["bytes=1000-", None]),
        (CONTENT, True, [f"bytes={len(CONTENT)}-"]),
    ],
    ids=["goes on", "anew: the server knows no ranges", "anew: it is corrupt", "it is whole"],
)
def test_download_uses_the_part_of_an_earlier_call(
    server: Server, tmp_path: Path, part: bytes, spans: list[str | None], *, ranges: bool
) -> None:
    server.files["/a"], server.ranges = CONTENT, ranges
    (tmp_path / "a.part").write_bytes(part)
    bring(server, tmp_path / "a", "/a")
    assert server.asked == [("/a", span) for span in spans]
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("first", ["/missing", "/wrong"])
def test_download_takes_the_next_mirror_after_a_404_or_a_wrong_checksum(
    server: Server, tmp_path: Path, first: str
) -> None:
    server.files |= {"/wrong": b"another file", "/b": CONTENT}
    bring(server, tmp_path / "a", first, "/b")
    assert [path for path, _ in server.asked] == [first, "/b"]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_download_goes_on_at_the_next_mirror_where_the_first_stopped(server: Server, tmp_path: Path) -> None:
    server.files["/a"], server.files["/b"], server.breaks = CONTENT, CONTENT, transfer._TRIES  # noqa: SLF001
    bring(server, tmp_path / "a", "/a", "/b")
    assert server.asked[-1][0] == "/b"
    assert server.asked[-1][1] is not None


def test_download_tells_what_each_mirror_gave(server: Server, tmp_path: Path) -> None:
    server.files["/wrong"] = b"another file"
    with pytest.raises(UserError) as error:
        bring(server, tmp_path / "a", "/missing", "/wrong")
    first, missing, wrong, hint = error.value.problems
    assert checksum(CONTENT) in first
    assert missing.endswith("/missing: HTTP 404 Not Found")
    assert f"sent 12 bytes with md5 {checksum(b'another file')}" in wrong
    assert "by hand, or name a mirror" in hint
    assert list(tmp_path.iterdir()) == []


def test_download_tells_of_a_server_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a"
        with pytest.raises(UserError, match="refused"):
            download([url], tmp_path / "a", checksum(CONTENT), limit=LIMIT)


def test_download_refuses_more_than_the_file_can_have(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    with pytest.raises(UserError, match="offers 1,024,000 bytes; the file has at most 10"):
        download([server.url("/a")], tmp_path / "a", checksum(CONTENT), limit=10)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "fake.tar.gz"])
def test_download_refuses_other_addresses(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no http or https address"):
        download([url], tmp_path / "a", checksum(CONTENT), limit=LIMIT)


def test_fetcher_downloads_unpacks_and_verifies(server: Server, tmp_path: Path) -> None:
    server.files["/official/fake.tar.gz"] = packed()
    assert Fetcher(place=tmp_path).read(official(server, packed())) == FILES
    assert (tmp_path / "fake/train").read_bytes() == CONTENT


def test_fetcher_asks_the_mirrors_first(server: Server, tmp_path: Path) -> None:
    server.files["/official/fake.tar.gz"] = packed()
    Fetcher(place=tmp_path, mirrors=(server.url("/near/"),)).read(official(server, packed()))
    assert [path for path, _ in server.asked] == ["/near/fake.tar.gz", "/official/fake.tar.gz"]


def test_mirrors_of_the_environment_come_second(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDBENCH_MIRRORS", "http://b/x http://c")
    found = addresses(official(server, b""), ["http://a"])
    names = ["http://a/fake.tar.gz", "http://b/x/fake.tar.gz", "http://c/fake.tar.gz"]
    assert found == (*names, server.url("/official/fake.tar.gz"))


def test_fetcher_takes_files_that_lie_there(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fake").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    assert Fetcher(place=tmp_path, offline=True).read(official(server, packed())) == FILES
    assert server.asked == []


def test_fetcher_takes_an_archive_that_lies_there(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fake.tar.gz").write_bytes(packed())
    assert Fetcher(place=tmp_path, offline=True).read(official(server, packed())) == FILES


def test_fetcher_offline_says_what_is_missing_and_asks_nobody(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fake/train, fake/test: not found below") as error:
        Fetcher(place=tmp_path, offline=True).read(official(server, packed()))
    assert str(tmp_path) in str(error.value)
    assert "kdbench data fetch" in str(error.value)
    assert server.asked == []


def test_fetcher_refuses_an_altered_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fake.tar.gz").write_bytes(packed())
    fetcher = Fetcher(place=tmp_path, offline=True)
    fetcher.read(official(server, packed()))
    (tmp_path / "fake/test").write_bytes(b"altered")
    with pytest.raises(UserError, match=r"fake/test: not the official file: its md5 is .* Delete it"):
        fetcher.read(official(server, packed()))


def test_fetcher_refuses_an_altered_archive(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fake.tar.gz").write_bytes(packed()[:-10])
    with pytest.raises(UserError, match="not the official archive"):
        Fetcher(place=tmp_path, offline=True).read(official(server, packed()))


def unpack(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(archive)
    files = {name: checksum(content) for name, content in FILES.items()}
    extract(tmp_path / "a.tar.gz", tmp_path / "place", files)


def test_extract_passes_over_other_files(tmp_path: Path) -> None:
    others = {"fake/readme.html": b"read me", "fake/../../out": b"out", "/out": b"out"}
    unpack(
        packed(special("fake/link", tarfile.SYMTYPE, "/etc/hostname"), files={**FILES, **others}), tmp_path
    )
    found = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(found) == ["a.tar.gz", "place/fake/test", "place/fake/train"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_extract_takes_no_link_for_a_file(kind: bytes, tmp_path: Path) -> None:
    archive = packed(special("fake/test", kind, "fake/train"), files={"fake/train": CONTENT})
    with pytest.raises(UserError, match="it lacks fake/test"):
        unpack(archive, tmp_path)


def test_extract_refuses_a_member_of_another_content(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its fake/test has md5 .* instead of"):
        unpack(packed(files={**FILES, "fake/test": b"other"}), tmp_path)


@pytest.mark.parametrize("damaged", [b"no archive at all", packed()[:2000], b""])
def test_extract_refuses_a_damaged_archive(damaged: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        unpack(damaged, tmp_path)
    assert not (tmp_path / "place/fake/test").exists()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("fake/good", b"good")
    return buffer.getvalue()


@pytest.mark.parametrize("archive", [zipped()[:-30], zipped().replace(b"good", b"evil"), b""])
def test_damaged_zip_is_refused_at_once_or_when_read(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive)
    with pytest.raises(UserError, match="refused, it cannot be read"), opened_zip(tmp_path / "a.zip") as file:
        file.read(file.namelist()[0])


def test_unpacked_folder_lasts_as_long_as_its_block(server: Server, tmp_path: Path) -> None:
    server.files["/official/fake.tar.gz"] = packed()
    fetcher = Fetcher(place=tmp_path)
    with fetcher.unpacked([official(server, packed())], "fake", lambda name: name == "fake/test") as folder:
        assert [str(path.relative_to(folder)) for path in folder.rglob("*")] == ["fake", "fake/test"]
    assert [path.name for path in tmp_path.iterdir()] == ["fake.tar.gz"]


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (special("fake/link", tarfile.SYMTYPE, "/etc/hostname"), "link to an absolute path"),
        (special("fake/link", tarfile.LNKTYPE, "../../out"), "outside the destination"),
        (special("fake/device", tarfile.CHRTYPE), "is a special file"),
        (special("fake/pipe", tarfile.FIFOTYPE), "is a special file"),
        (special("fake/../../out"), "outside the destination"),
    ],
    ids=["symlink", "hard link", "device", "pipe", "dots"],
)
def test_dangerous_member_is_refused_and_the_folder_removed(
    member: tarfile.TarInfo, why: str, server: Server, tmp_path: Path
) -> None:
    server.files["/official/fake.tar.gz"] = packed(member)
    unpacked = Fetcher(place=tmp_path).unpacked([official(server, packed(member))], "fake", lambda _: True)
    with pytest.raises(UserError, match=f"refused, it cannot be read .*{why}"), unpacked:
        pytest.fail("it was unpacked")
    assert [path.name for path in tmp_path.iterdir()] == ["fake.tar.gz"]


def test_member_with_a_null_byte_in_its_name_is_refused(server: Server, tmp_path: Path) -> None:
    """Found by fuzzing: an extended header may put one there."""
    member = special("fake/train")
    member.pax_headers = {"path": "fake/tr\0ain"}
    server.files["/official/fake.tar.gz"] = packed(member, files={})
    wanted = official(server, server.files["/official/fake.tar.gz"])
    unpacked = Fetcher(place=tmp_path).unpacked([wanted], "fake", lambda _: True)
    with pytest.raises(UserError, match=r"refused, it cannot be read .*null byte"), unpacked:
        pytest.fail("it was unpacked")


def test_download_holds_a_file_to_its_sha256_too(server: Server, tmp_path: Path) -> None:
    server.files |= {"/wrong": b"another file", "/b": CONTENT}
    urls = [server.url("/wrong"), server.url("/b")]
    download(urls, tmp_path / "a", sha256(CONTENT).hexdigest(), limit=LIMIT)
    assert (tmp_path / "a").read_bytes() == CONTENT
    with pytest.raises(UserError, match=f"sha256 {sha256(b'another file').hexdigest()} instead of 0000"):
        download(urls[:1], tmp_path / "b", "0" * 64, limit=LIMIT)


def test_progress_is_plain_lines_away_from_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting("a.tar.gz", wanted=True) as report:
        for done in range(0, 101, 5):
            report(done * 10**6, 100 * 10**6)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[5] == "a.tar.gz: 50.0 of 100.0 MB"


def test_progress_is_silent_unless_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting("a.tar.gz", wanted=False) as report:
        report(1, 2)
    assert capsys.readouterr() == ("", "")


# Addresses as people have them.


def with_password(server: Server, name: str) -> str:
    return server.url(name).replace("http://", "http://me:s%40fe@")


def test_mirror_gets_the_password_of_its_address(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    download([with_password(server, "/a")], tmp_path / "a", checksum(CONTENT), limit=LIMIT)
    assert server.authorization == f"Basic {b64encode(b'me:s@fe').decode()}"
    bring(server, tmp_path / "b", "/a")
    assert server.authorization is None


def test_password_of_a_mirror_is_in_no_message(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        download([with_password(server, "/missing")], tmp_path / "a", checksum(CONTENT), limit=LIMIT)
    assert "s%40fe" not in str(error.value)
    assert f"  {server.url('/missing').replace('://', '://***@')}: HTTP 404" in str(error.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@mirror.example/a: HTTP 404", "https://***@mirror.example/a: HTTP 404"),
        ("a http://u:p@h/a and http://v:q@h/b", "a http://***@h/a and http://***@h/b"),
        ("git@github.com:a/b and resnet18@1", "git@github.com:a/b and resnet18@1"),
        ("https://mirror.example/a@b", "https://mirror.example/a@b"),
    ],
)
def test_passwords_are_left_out(text: str, shown: str) -> None:
    assert without_passwords(text) == plain(text) == str(UserError(text)) == shown
