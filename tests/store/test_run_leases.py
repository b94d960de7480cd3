"""The runs that a process trains: each held by one, and nothing written of one that was taken over."""

from pathlib import Path

import pytest

from kdbench.store.lease import LostError
from kdbench.store.run_leases import RunLeases


def leases(folder: Path) -> RunLeases:
    return RunLeases(folder / "results", folder / "scratch")


def test_run_is_held_by_one_as_long_as_the_block_lasts(tmp_path: Path) -> None:
    mine, theirs = leases(tmp_path), leases(tmp_path)
    with mine.hold("a") as held, theirs.hold("a") as again, theirs.hold("b") as other:
        assert (held, again, other) == (True, False, True)
        assert (list(mine.held), list(theirs.held)) == (["a"], ["b"])
    with theirs.hold("a") as held:
        assert held
    assert not mine.held


def test_run_that_was_taken_over_writes_nothing(tmp_path: Path) -> None:
    mine = leases(tmp_path)
    with mine.hold("a"):
        assert mine.write("a", lambda: 3) == 3
        (tmp_path / "scratch" / "locks" / "a" / "2").touch()
        with pytest.raises(LostError, match=r"^a: another process trains it now$"):
            mine.write("a", lambda: pytest.fail("it was written"))
