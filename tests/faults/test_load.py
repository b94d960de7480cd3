"""Many runs: what a driver holds does not grow with what it did, and status stays quick."""

import pytest

from tests.support.faults.load import queue, time_status


@pytest.mark.slow
def test_status_of_twenty_thousand_runs_takes_less_than_two_seconds() -> None:
    """Of this process alone: others may share the cores."""
    assert time_status(20_000)["of this process"] < 2


@pytest.mark.slow
def test_what_is_held_does_not_grow_with_the_runs() -> None:
    """The script beside it does it with 2,000."""
    found = queue(200, 2)
    assert (found["runs"], found["failed"]) == (200, 0)
    first, last = found["at a tenth"], found["at the end"]
    assert isinstance(first, dict)
    assert isinstance(last, dict)
    assert last["handles"] <= first["handles"] + 2
    assert last["threads"] <= first["threads"] + 2
    assert last["megabytes"] <= 1.1 * first["megabytes"]
