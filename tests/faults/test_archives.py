"""Archives that unpack to far more than they are: an error in bounded time and memory."""

import gzip
import io
import tarfile
import tracemalloc
from hashlib import md5
from pathlib import Path

import pytest

from kdbench.data import bounded
from kdbench.data.archive import extract
from kdbench.errors import UserError

LIMIT = 1_000_000


def refused(archive: bytes, folder: Path) -> str:
    """What is said of an archive."""
    (folder / "a.tar.gz").write_bytes(archive)
    with pytest.raises(UserError) as error:
        extract(folder / "a.tar.gz", folder / "place", {"train": md5(b"").hexdigest()}, limit=LIMIT)  # noqa: S324
    return str(error.value)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The head of a member, whatever follows it."""
    student_run = tarfile.TarInfo(name)
    student_run.size, student_run.type = size, kind
    return student_run.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_header_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path, kind: bytes) -> None:
    """100 MB of zeros in 0.1 MB: tarfile reads such headers whole."""
    archive = gzip.compress(header("x", 100_000_000, kind) + bytes(100_000_000), 1)
    tracemalloc.start()
    try:
        assert "it cannot be read (" in refused(archive, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_member_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    assert "unpacks to more than 1,000,000 bytes" in refused(gzip.compress(header("train", 2**40)), tmp_path)


def test_many_small_members_beyond_the_bound_are_refused(tmp_path: Path) -> None:
    content = b"".join(header(f"a{number}", 0) for number in range(5000))
    assert "it cannot be read (it unpacks to more than 2,010,240 bytes)" in refused(
        gzip.compress(content), tmp_path
    )


def test_more_members_than_any_data_set_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST_MEMBERS", 10)
    content = b"".join(header(f"a{number}", 0) for number in range(11))
    assert "it has more than 10 members" in refused(gzip.compress(content), tmp_path)


def test_member_with_a_null_byte_in_its_name_is_refused(tmp_path: Path) -> None:
    """Found by fuzzing: an extended header may put one there."""
    student_run = tarfile.TarInfo("train")
    student_run.pax_headers = {"path": "tr\0ain"}
    content = student_run.tobuf(tarfile.PAX_FORMAT)
    assert "has a null byte in its name" in refused(gzip.compress(content + bytes(1024)), tmp_path)


def test_archive_within_its_bound_is_unpacked(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        student_run = tarfile.TarInfo("train")
        student_run.size = LIMIT
        tar.addfile(student_run, io.BytesIO(bytes(LIMIT)))
    (tmp_path / "a.tar.gz").write_bytes(stream.getvalue())
    extract(tmp_path / "a.tar.gz", tmp_path, {"train": md5(bytes(LIMIT)).hexdigest()}, limit=LIMIT)  # noqa: S324
    assert (tmp_path / "train").stat().st_size == LIMIT
